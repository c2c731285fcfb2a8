/*
 * test_owners.c: owners, their anchors, memory slots and scopes, driven by events alone: no shim,
 * no kernel. The last test is a storm: many threads, many short owners, one mapping that all of
 * them bind; a thread sanitizer's proof as well. It makes no real descriptor or mapping.
 */
#include <errno.h>
#include <pthread.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "../../src/ledger/ledger.h"
#include "../../src/sandbox/sandbox.h"
#include "../../src/sandbox/seccomp.h"

#define PAGE 4096u
#define BASE UINT64_C(0x7f0000000000)
#define STORM_THREADS 64u
#define STORM_OWNERS 100000u /* in all */

/* --- a ledger in memory of its own --- */

struct heap {
    struct ledger_backing backing; /* first */
    _Atomic(void *) chunk[LEDGER_MAX_CHUNKS];
    _Atomic(void *) arena[4096];
    atomic_uint arenas;
    atomic_ullong clock;
    bool is_full;
};

/* process-global because the backing's clock is given no context */
static struct heap *heap;
/* process-global, as the heap */
static struct ledger *ledger;

static void *give(size_t size)
{
    void *memory = NULL;
    if (posix_memalign(&memory, PAGE, size) == 0) {
        memset(memory, 0, size);
    }
    return memory;
}

static void *heap_chunk(struct ledger_backing *self, uint32_t number)
{
    (void)self;
    if (!heap->chunk[number] && !heap->is_full) {
        heap->chunk[number] = give(LEDGER_CHUNK_SIZE);
    }
    return heap->chunk[number];
}

static void *heap_arena(struct ledger_backing *self, size_t bytes)
{
    (void)self;
    return heap->arena[atomic_fetch_add(&heap->arenas, 1)] = give(bytes);
}

static uint64_t heap_now(void)
{
    return atomic_fetch_add(&heap->clock, 1) + 1;
}

static bool heap_yield(const struct ledger_actor *actor, uint32_t ns)
{
    (void)actor;
    return nanosleep(&(struct timespec){.tv_nsec = ns}, NULL) == 0;
}

static int begin_ledger(void **state)
{
    (void)state;
    heap = give(sizeof(*heap));
    ledger = give(sizeof(*ledger));
    heap->backing = (struct ledger_backing){
        .chunk = heap_chunk, .arena = heap_arena, .now = heap_now, .yield = heap_yield};
    return ledger_start(ledger, give(LEDGER_BASE_SIZE), &heap->backing) ? 0 : -1;
}

static int end_ledger(void **state)
{
    (void)state;
    free(ledger->header);
    for (unsigned i = 0; i < LEDGER_MAX_CHUNKS; i++) {
        free(heap->chunk[i]);
    }
    for (unsigned i = 0; i < atomic_load(&heap->arenas); i++) {
        free(heap->arena[i]);
    }
    free(heap);
    free(ledger);
    return 0;
}

/* --- a thread's part --- */

struct actor {
    struct ledger_actor actor;
    struct sandbox_thread thread;
    struct sandbox *sandbox;
    uint32_t stack;
};

static uint32_t stack_of(struct ledger_actor *actor, uint64_t frame)
{
    return ledger_stack_intern(ledger, actor, &frame, 1, 0, 1);
}

/* process-global: the stack that the next captured event is said to have */
static __thread uint32_t captured;

static uint32_t capture(const void *here)
{
    (void)here;
    return captured;
}

static struct sandbox_event event_of(struct actor *actor)
{
    return (struct sandbox_event){.sandbox = actor->sandbox,
                                  .ledger = ledger,
                                  .actor = &actor->actor,
                                  .thread = &actor->thread,
                                  .now_ns = heap_now(),
                                  .capture = capture,
                                  .here = actor,
                                  .pid = 1};
}

static struct actor make_actor(void)
{
    return (struct actor){.actor = {.tid = 1, .may_grow = true},
                          .sandbox = give(sizeof(struct sandbox))};
}

static uint32_t begin_vm(struct actor *actor, int fd)
{
    struct sandbox_event event = event_of(actor);
    uint32_t vm = kvm_vm_begins(&event);
    struct ledger_fd_event take = {.kind = LEDGER_FD_KVM_VM, .flags = LEDGER_ANCHOR, .owner = vm};
    ledger_fd_take(ledger, &actor->actor, fd, &take);
    return vm;
}

static void close_fd(struct actor *actor, int fd)
{
    struct ledger_fd_flight flight = ledger_fd_fly(ledger, &actor->actor, fd, captured);
    ledger_fd_released(ledger, &actor->actor, fd, flight, false);
}

static void submit(struct actor *actor, struct ledger_map_event event)
{
    event.ticket = event.ticket ? event.ticket : ledger_ticket(ledger);
    event.now_ns = heap_now() << LEDGER_UNBOUND_SHIFT;
    ledger_map_submit(ledger, &actor->actor, &event);
}

static void map_pages(struct actor *actor, unsigned first, unsigned pages, uint32_t stack)
{
    submit(actor, (struct ledger_map_event){.op = LEDGER_MAP_INSERT,
                                            .start = BASE + (uint64_t)first * PAGE,
                                            .end = BASE + (uint64_t)(first + pages) * PAGE,
                                            .stack = stack});
}

static void unmap_pages(struct actor *actor, unsigned first, unsigned pages)
{
    struct ledger_map_event event = {.op = LEDGER_MAP_FLY,
                                     .ticket = ledger_ticket(ledger),
                                     .start = BASE + (uint64_t)first * PAGE,
                                     .end = BASE + (uint64_t)(first + pages) * PAGE};
    submit(actor, event);
    event.op = LEDGER_MAP_COMMIT;
    submit(actor, event);
}

static void bind_pages(struct actor *actor, uint32_t vm, unsigned slot, unsigned first,
                       unsigned pages)
{
    submit(actor, (struct ledger_map_event){.op = pages ? LEDGER_MAP_BIND : LEDGER_MAP_UNBIND,
                                            .owner = vm,
                                            .detail = slot,
                                            .start = BASE + (uint64_t)first * PAGE,
                                            .end = BASE + (uint64_t)(first + pages) * PAGE,
                                            .stack = captured});
}

static const struct ledger_mapping *mapping_of(unsigned page)
{
    uint64_t at = BASE + (uint64_t)page * PAGE;
    for (uint64_t i = 1; i < ledger->header->used[LEDGER_MAPPINGS]; i++) {
        const struct ledger_mapping *mapping = ledger_at(ledger, LEDGER_MAPPINGS, (uint32_t)i);
        if (mapping->state == LEDGER_LIVE && mapping->start <= at && mapping->end > at) {
            return mapping;
        }
    }
    return NULL;
}

static unsigned bindings(unsigned page)
{
    return (mapping_of(page)->flags & LEDGER_BINDINGS) / LEDGER_BINDING;
}

static uint32_t state_of(uint32_t owner)
{
    return ((struct ledger_owner *)ledger_at(ledger, LEDGER_OWNERS, owner))->state;
}

/* --- anchors --- */

static void a_vm_lives_as_long_as_a_descriptor_of_it(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    uint32_t vm = begin_vm(&actor, 5);
    struct ledger_fd_event copy = {.kind = LEDGER_FD_KVM_VM, .flags = LEDGER_ANCHOR, .owner = vm};
    ledger_fd_take(ledger, &actor.actor, 6, &copy);
    close_fd(&actor, 5);
    assert_int_equal(state_of(vm), LEDGER_LIVE);
    close_fd(&actor, 6);
    assert_int_equal(state_of(vm), LEDGER_ENDED);
    assert_int_equal(ledger->header->owners_begun[LEDGER_OWNER_KVM], 1);
    assert_int_equal(ledger->header->owners_ended[LEDGER_OWNER_KVM], 1);
    assert_int_equal(ledger->header->owners_live, 0);
    free(actor.sandbox);
}

static void a_close_unseen_ends_it_when_the_number_is_taken_again(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    uint32_t vm = begin_vm(&actor, 5);
    struct ledger_fd_event file = {.kind = LEDGER_FD_FILE};
    ledger_fd_take(ledger, &actor.actor, 5, &file);
    assert_int_equal(state_of(vm), LEDGER_ENDED);
    free(actor.sandbox);
}

static void assigning_moves_what_is_counted(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    struct sandbox_event event = event_of(&actor);
    uint64_t one = api_begin(&event, "one");
    uint64_t two = api_begin(&event, "two");
    struct ledger_fd_event file = {.kind = LEDGER_FD_FILE, .stack = stack_of(&actor.actor, 7)};
    ledger_fd_take(ledger, &actor.actor, 9, &file);
    assert_int_equal(api_assign_fd(&event, one, 9), 0);
    assert_int_equal(api_owner(ledger, one)->fds, 1);
    assert_int_equal(api_assign_fd(&event, two, 9), 0);
    assert_int_equal(api_owner(ledger, one)->fds, 0);
    assert_int_equal(api_owner(ledger, two)->fds, 1);
    assert_int_equal(ledger_stack(ledger, file.stack)->fds_live, 1);
    close_fd(&actor, 9);
    assert_int_equal(api_owner(ledger, two)->fds, 0);
    assert_int_equal(api_assign_fd(&event, two, 9), EBADF);
    free(actor.sandbox);
}

/* --- slots --- */

static void a_mapping_remembers_who_bound_it_and_where_the_slot_went(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    map_pages(&actor, 0, 4, stack_of(&actor.actor, 1));
    uint32_t vm = begin_vm(&actor, 5);
    bind_pages(&actor, vm, 0, 0, 4);
    assert_int_equal(mapping_of(0)->bound_owner, vm);
    assert_int_equal(bindings(0), 1);
    assert_int_equal(ledger_owner(ledger, vm)->mappings, 1);
    assert_int_equal(ledger_owner(ledger, vm)->bytes, 4 * PAGE);
    captured = stack_of(&actor.actor, 2);
    uint32_t epoch = ledger->header->epoch;
    bind_pages(&actor, vm, 0, 0, 0);
    assert_int_equal(bindings(0), 0);
    assert_int_equal(mapping_of(0)->unbound_stack, captured);
    assert_int_not_equal(mapping_of(0)->flight, 0);
    assert_int_equal(mapping_of(0)->bound_owner, vm);
    assert_int_equal(ledger->header->epoch, epoch + 1);
    bind_pages(&actor, vm, 0, 0, 4); /* a slot that comes and goes is no pool */
    assert_int_equal(mapping_of(0)->unbound_stack, 0);
    assert_int_equal(mapping_of(0)->flags & LEDGER_SHARED, 0);
    close_fd(&actor, 5);
    assert_int_equal(bindings(0), 0);
    assert_int_equal(mapping_of(0)->unbound_stack, captured);
    unmap_pages(&actor, 0, 4);
    assert_int_equal(ledger_owner(ledger, vm)->mappings, 0);
    assert_int_equal(ledger_owner(ledger, vm)->bytes, 0);
    free(actor.sandbox);
}

static void a_slot_binds_the_part_that_it_maps(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    map_pages(&actor, 0, 10, stack_of(&actor.actor, 1));
    uint32_t vm = begin_vm(&actor, 5);
    bind_pages(&actor, vm, 0, 3, 4);
    assert_int_equal(mapping_of(2)->bound_owner, 0);
    assert_int_equal(mapping_of(3)->bound_owner, vm);
    assert_int_equal(mapping_of(6)->bound_owner, vm);
    assert_int_equal(mapping_of(7)->bound_owner, 0);
    assert_int_equal(ledger_owner(ledger, vm)->bytes, 4 * PAGE);
    free(actor.sandbox);
}

static void what_two_vms_share_is_nobodys_alone(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    uint32_t stack = stack_of(&actor.actor, 1);
    map_pages(&actor, 0, 4, stack);
    uint32_t one = begin_vm(&actor, 5), two = begin_vm(&actor, 6);
    bind_pages(&actor, one, 0, 0, 4);
    bind_pages(&actor, two, 0, 0, 4);
    assert_int_equal(bindings(0), 2);
    assert_true(mapping_of(0)->flags & LEDGER_SHARED);
    close_fd(&actor, 5);
    assert_int_equal(bindings(0), 1);
    assert_false(ledger_stack(ledger, stack)->flags & LEDGER_STACK_REBINDS);
    close_fd(&actor, 6);
    assert_int_equal(bindings(0), 0);
    free(actor.sandbox);
}

static void what_goes_from_vm_to_vm_is_a_pool(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    uint32_t stack = stack_of(&actor.actor, 1);
    map_pages(&actor, 0, 4, stack);
    map_pages(&actor, 8, 4, stack);
    uint32_t one = begin_vm(&actor, 5), two = begin_vm(&actor, 6);
    bind_pages(&actor, one, 0, 0, 4);
    bind_pages(&actor, one, 1, 8, 4);
    const struct ledger_growth *growth = ledger_at(ledger, LEDGER_GROWTH, stack);
    assert_int_equal(growth->mappings_owned, 2);
    bind_pages(&actor, one, 0, 0, 0);
    bind_pages(&actor, two, 0, 0, 4);
    assert_true(ledger_stack(ledger, stack)->flags & LEDGER_STACK_REBINDS);
    assert_int_equal(growth->mappings_owned, 0);
    unmap_pages(&actor, 8, 4);
    assert_int_equal(growth->mappings_owned, 0);
    free(actor.sandbox);
}

static void what_a_vm_takes_anew_is_told_by_the_order_of_events(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    uint32_t rom = stack_of(&actor.actor, 1), file = stack_of(&actor.actor, 2);
    uint32_t vm = begin_vm(&actor, 5), other = begin_vm(&actor, 6);
    map_pages(&actor, 0, 1, rom);
    map_pages(&actor, 2, 1, rom); /* mapped before the first slot went, bound after that */
    bind_pages(&actor, vm, 0, 0, 1);
    bind_pages(&actor, vm, 0, 0, 0);
    bind_pages(&actor, vm, 0, 2, 1);
    map_pages(&actor, 4, 1, rom); /* another VM's */
    bind_pages(&actor, other, 0, 4, 1);
    assert_false(ledger_stack(ledger, rom)->flags & LEDGER_STACK_ANEW);
    map_pages(&actor, 6, 1, file);
    bind_pages(&actor, vm, 1, 6, 1);
    bind_pages(&actor, vm, 1, 6, 0);
    map_pages(&actor, 8, 1, file);
    bind_pages(&actor, vm, 1, 8, 1);
    assert_true(ledger_stack(ledger, file)->flags & LEDGER_STACK_ANEW);
    free(actor.sandbox);
}

static void memory_that_goes_before_its_slot_leaves_nothing_behind(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    uint32_t stack = stack_of(&actor.actor, 1);
    map_pages(&actor, 0, 4, stack);
    uint32_t vm = begin_vm(&actor, 5);
    bind_pages(&actor, vm, 0, 0, 4);
    unmap_pages(&actor, 0, 4);
    map_pages(&actor, 0, 4, stack); /* somebody else's, at the same place */
    close_fd(&actor, 5);
    assert_int_equal(mapping_of(0)->bound_owner, 0);
    assert_int_equal(bindings(0), 0);
    assert_int_equal(ledger_owner(ledger, vm)->mappings, 0);
    free(actor.sandbox);
}

static void memory_that_no_wrapper_saw_goes_with_its_slot(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    map_pages(&actor, 2, 2, stack_of(&actor.actor, 1));
    uint32_t vm = begin_vm(&actor, 5);
    bind_pages(&actor, vm, 0, 0, 8);
    assert_true(mapping_of(0)->flags & LEDGER_ADOPTED);
    assert_true(mapping_of(7)->flags & LEDGER_ADOPTED);
    assert_false(mapping_of(2)->flags & LEDGER_ADOPTED);
    close_fd(&actor, 5);
    assert_null(mapping_of(0));
    assert_null(mapping_of(7));
    assert_non_null(mapping_of(2));
    free(actor.sandbox);
}

/* --- children --- */

static void a_child_reaped_before_it_was_registered_has_ended(void **state)
{
    struct actor maker = make_actor();
    struct actor waiter = maker;
    (void)state;
    struct sandbox_event event = event_of(&maker), wait = event_of(&waiter);
    uint32_t before = child_ticket(&event);
    child_reaped(&wait, 77);
    uint32_t owner = child_begins(&event, 77, before, 0);
    assert_int_equal(state_of(owner), LEDGER_ENDED);
    assert_int_equal(maker.sandbox->children, 0);
    before = child_ticket(&event); /* the same pid again, and this one lives */
    owner = child_begins(&event, 77, before, 0);
    assert_int_equal(state_of(owner), LEDGER_LIVE);
    free(maker.sandbox);
}

static void a_pid_that_is_used_again_was_reaped_unseen(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    struct sandbox_event event = event_of(&actor);
    uint32_t first = child_begins(&event, 77, child_ticket(&event), 0);
    uint32_t second = child_begins(&event, 77, child_ticket(&event), 0);
    assert_int_equal(state_of(first), LEDGER_ENDED);
    assert_int_equal(state_of(second), LEDGER_LIVE);
    assert_int_equal(child_owner(actor.sandbox, 77), second);
    free(actor.sandbox);
}

static void no_child_left_ends_those_that_were_there_before(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    struct sandbox_event event = event_of(&actor);
    uint32_t old = child_begins(&event, 10, child_ticket(&event), 0);
    uint32_t clone = child_begins(&event, 11, child_ticket(&event), SANDBOX_CHILD_NO_SIGCHLD);
    uint32_t before = child_ticket(&event);
    uint32_t young = child_begins(&event, 12, child_ticket(&event), 0);
    child_gone(&event, 0, before);
    assert_int_equal(state_of(old), LEDGER_ENDED);
    assert_int_equal(state_of(clone), LEDGER_LIVE);
    assert_int_equal(state_of(young), LEDGER_LIVE);
    free(actor.sandbox);
}

static void many_children_come_and_go(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    struct sandbox_event event = event_of(&actor);
    for (int round = 0; round < 20; round++) {
        for (int pid = 2; pid < 8000; pid++) {
            assert_int_not_equal(child_begins(&event, pid, child_ticket(&event), 0), 0);
        }
        assert_int_equal(actor.sandbox->children, 7998);
        for (int pid = 2; pid < 8000; pid++) {
            child_reaped(&event, pid);
        }
        assert_int_equal(actor.sandbox->children, 0);
    }
    assert_int_equal(ledger->header->owners_ended[LEDGER_OWNER_CHILD], 20 * 7998);
    assert_true(ledger->header->used[LEDGER_OWNERS] <= LEDGER_OWNERS_KEPT + 8000);
    assert_int_equal(ledger->header->incomplete, 0);
    free(actor.sandbox);
}

static void children_that_nobody_reaps_give_way(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    struct sandbox_event event = event_of(&actor);
    uint32_t holder = child_begins(&event, 2, child_ticket(&event), 0);
    struct ledger_fd_event pidfd = {.kind = LEDGER_FD_PIDFD, .owner = holder};
    ledger_fd_take(ledger, &actor.actor, 5, &pidfd);
    for (uint32_t pid = 3; pid < 5 * SANDBOX_CHILDREN; pid++) {
        assert_int_not_equal(child_begins(&event, (int)pid, child_ticket(&event), 0), 0);
    }
    assert_true(actor.sandbox->children <= SANDBOX_CHILDREN);
    assert_true(ledger->header->used[LEDGER_OWNERS] <= 2 * SANDBOX_CHILDREN);
    assert_int_equal(ledger->header->incomplete, 0);
    assert_int_equal(state_of(holder), LEDGER_LIVE); /* there is something to tell of it */
    assert_int_equal(child_owner(actor.sandbox, 2), holder);
    child_reaped(&event, 5 * (int)SANDBOX_CHILDREN - 1);
    assert_int_equal(child_owner(actor.sandbox, 5 * (int)SANDBOX_CHILDREN - 1), 0);
    free(actor.sandbox);
}

static void without_room_the_last_ended_ones_records_serve(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    struct sandbox_event event = event_of(&actor);
    heap->is_full = true;
    for (unsigned i = 0; i < 5000; i++) {
        uint64_t id = api_begin(&event, "x");
        assert_int_not_equal(id, 0);
        assert_int_equal(api_end(&event, id), 0);
    }
    assert_int_equal(ledger->header->owners_missed, 0);
    assert_int_equal(ledger->header->owners_ended[LEDGER_OWNER_API], 5000);
    free(actor.sandbox);
}

/* --- scopes --- */

static void an_explicit_scope_beats_a_notification(void **state)
{
    struct actor actor = make_actor(), other = actor;
    (void)state;
    struct sandbox_event event = event_of(&actor);
    uint64_t id = api_begin(&event, "x");
    sandbox_answer_begins(actor.sandbox, &actor.thread, 42, 1000);
    assert_int_equal(sandbox_scope(actor.sandbox, &actor.thread).owner, 42);
    assert_int_equal(api_enter(&event, id), 0);
    assert_int_equal(sandbox_scope(actor.sandbox, &actor.thread).owner, (uint32_t)id);
    assert_int_equal(api_leave(&event, id), 0);
    assert_int_equal(sandbox_scope(actor.sandbox, &actor.thread).owner, 42);
    sandbox_answered(other.sandbox, 42, 1000); /* by another thread */
    assert_int_equal(sandbox_scope(actor.sandbox, &actor.thread).owner, 0);
    free(actor.sandbox);
}

static void a_scope_never_left_is_not_the_next_owners(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    struct sandbox_event event = event_of(&actor);
    uint64_t id = api_begin(&event, "x");
    assert_int_equal(api_enter(&event, id), 0);
    assert_int_equal(api_end(&event, id), 0);
    uint64_t later = 0;
    for (unsigned i = 0; i < 2 * LEDGER_OWNERS_KEPT && (uint32_t)later != (uint32_t)id; i++) {
        later = api_begin(&event, "y");
        if ((uint32_t)later != (uint32_t)id) {
            assert_int_equal(api_end(&event, later), 0);
        }
    }
    assert_int_equal((uint32_t)later, (uint32_t)id); /* its record is used again */
    assert_int_equal(sandbox_scope(actor.sandbox, &actor.thread).owner, 0);
    assert_false(sandbox_scope(actor.sandbox, &actor.thread).is_explicit);
    assert_int_equal(api_leave(&event, later), EINVAL);
    assert_int_equal(api_leave(&event, id), 0);
    free(actor.sandbox);
}

static void a_lost_notification_is_answered_no_more(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    struct sandbox_event event = event_of(&actor);
    struct ledger_fd_event take = {.kind = LEDGER_FD_SECCOMP};
    ledger_fd_take(ledger, &actor.actor, 6, &take);
    for (uint64_t id = 1000; id < 1003; id++) {
        struct seccomp_notif received = {.id = id};
        struct seccomp_notif_resp answer = {.id = id};
        struct seccomp_notif_addfd added = {.id = id};
        seccomp_on_ioctl(&event, 6, (uint32_t)SECCOMP_IOCTL_NOTIF_RECV, &received, 0);
        assert_int_not_equal(sandbox_scope(actor.sandbox, &actor.thread).owner, 0);
        if (id == 1000) {
            seccomp_on_ioctl(&event, 6, (uint32_t)SECCOMP_IOCTL_NOTIF_SEND, &answer, -1);
        } else if (id == 1001) {
            seccomp_on_ioctl(&event, 6, (uint32_t)SECCOMP_IOCTL_NOTIF_ID_VALID, &id, -1);
        } else {
            seccomp_on_ioctl(&event, 6, (uint32_t)SECCOMP_IOCTL_NOTIF_ADDFD, &added, -1);
        }
        assert_int_equal(sandbox_scope(actor.sandbox, &actor.thread).owner, 0);
    }
    free(actor.sandbox);
}

static void a_wrong_call_changes_nothing(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    struct sandbox_event event = event_of(&actor);
    uint64_t id = api_begin(&event, "x");
    assert_int_equal(api_enter(&event, id + (UINT64_C(1) << 32)), ESRCH);
    assert_int_equal(api_enter(&event, 12345), ESRCH);
    assert_int_equal(api_leave(&event, id), EINVAL);
    map_pages(&actor, 0, 2, 0);
    map_pages(&actor, 3, 1, 0);
    assert_int_equal(api_assign_range(&event, id, BASE, BASE + 4 * PAGE), ENOMEM);
    assert_int_equal(mapping_of(0)->owner, 0);
    assert_int_equal(api_assign_range(&event, id, BASE, BASE), EINVAL);
    assert_int_equal(api_assign_range(&event, id, BASE + PAGE, BASE + 2 * PAGE), 0);
    assert_int_equal(mapping_of(0)->owner, 0);
    assert_int_equal(mapping_of(1)->owner, (uint32_t)id);
    for (unsigned i = 0; i < SANDBOX_SCOPES; i++) {
        assert_int_equal(api_enter(&event, id), 0);
    }
    assert_int_equal(api_enter(&event, id), EOVERFLOW);
    assert_int_equal(api_end(&event, id), 0);
    assert_int_equal(api_end(&event, id), EINVAL);
    assert_int_equal(api_enter(&event, id), EINVAL);
    for (unsigned i = 0; i < SANDBOX_SCOPES; i++) {
        assert_int_equal(api_leave(&event, id), 0);
    }
    assert_int_equal(api_leave(&event, id), EINVAL);
    free(actor.sandbox);
}

/* --- growth --- */

static void low_water_marks_follow_the_ends(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    uint32_t stack = stack_of(&actor.actor, 1);
    struct ledger_fd_event file = {.kind = LEDGER_FD_EVENTFD, .stack = stack};
    for (int end = 0; end < 1000; end++) { /* one each, and one that comes and goes */
        ledger_fd_take(ledger, &actor.actor, 10000, &file);
        ledger_fd_take(ledger, &actor.actor, end + 3, &file);
        close_fd(&actor, 10000);
        ledger_mark_epoch(ledger);
    }
    const struct ledger_growth *growth = ledger_at(ledger, LEDGER_GROWTH, stack);
    assert_true(growth->stride >= 1000 / LEDGER_GROWTH_INTERVALS);
    free(actor.sandbox);
    assert_int_equal(growth->noted - growth->first, 999);
    unsigned last = (growth->noted - growth->first - 1) / growth->stride;
    for (unsigned i = 0; i <= last; i++) {
        assert_int_equal(growth->interval[i].low, i * growth->stride + 1);
    }
}

static void a_long_pause_leaves_the_marks_as_they_were(void **state)
{
    struct actor actor = make_actor();
    (void)state;
    uint32_t stack = stack_of(&actor.actor, 1);
    struct ledger_fd_event file = {.kind = LEDGER_FD_EVENTFD, .stack = stack};
    const struct ledger_growth *growth = ledger_at(ledger, LEDGER_GROWTH, stack);
    for (int end = 0; end < 5; end++) {
        ledger_fd_take(ledger, &actor.actor, end, &file);
        ledger_mark_epoch(ledger);
    }
    for (int end = 0; end < 200; end++) {
        ledger_mark_epoch(ledger);
    }
    ledger_fd_take(ledger, &actor.actor, 5, &file);
    uint32_t last = (growth->noted - growth->first - 1) / growth->stride;
    assert_int_equal(growth->interval[0].low, 1);
    for (uint32_t i = 1; i <= last; i++) {
        assert_int_equal(growth->interval[i].low, 5);
    }
    free(actor.sandbox);
}

/* --- the storm --- */

struct storm {
    struct sandbox *sandbox;
    _Atomic uint32_t next_fd;
    atomic_uint failed;
};

struct storm_thread {
    struct storm *storm;
    unsigned index;
    pthread_t thread;
};

/* Short owners of two kinds, each with a descriptor and a mapping; VMs bind the mapping that all
 * share, too. */
static void *storm(void *argument)
{
    struct storm_thread *self = argument;
    struct storm *storm = self->storm;
    struct actor actor = {.actor = {.tid = self->index + 1, .may_grow = true},
                          .sandbox = storm->sandbox};
    uint32_t stack = stack_of(&actor.actor, 100 + self->index);
    unsigned page = 16 + self->index * 4;
    int fd = (int)(self->index * 4);
    captured = stack;
    for (unsigned i = 0; i < STORM_OWNERS / STORM_THREADS; i++) {
        struct ledger_fd_event file = {.kind = LEDGER_FD_FILE, .stack = stack};
        map_pages(&actor, page, 2, stack);
        if (i % 2) {
            uint32_t vm = begin_vm(&actor, fd);
            bind_pages(&actor, vm, 0, page, 2);
            bind_pages(&actor, vm, 1, 0, 8);
            file.owner = vm;
            ledger_fd_take(ledger, &actor.actor, fd + 1, &file);
            if (i % 4 == 1) {
                bind_pages(&actor, vm, 1, 0, 0);
            }
            close_fd(&actor, fd);
            if (ledger_owner_lives(ledger, vm)) {
                atomic_fetch_add(&storm->failed, 1);
            }
        } else {
            struct sandbox_event event = event_of(&actor);
            uint64_t id = api_begin(&event, "storm");
            ledger_fd_take(ledger, &actor.actor, fd + 1, &file);
            bool good = api_enter(&event, id) == 0 && api_assign_fd(&event, id, fd + 1) == 0 &&
                        api_leave(&event, id) == 0 && api_end(&event, id) == 0;
            const struct ledger_owner *owner = api_owner(ledger, id);
            if (!good || !owner || __atomic_load_n(&owner->fds, __ATOMIC_RELAXED) != 1) {
                atomic_fetch_add(&storm->failed, 1);
            }
        }
        close_fd(&actor, fd + 1);
        unmap_pages(&actor, page, 2);
    }
    return NULL;
}

static void short_owners_on_many_threads_are_counted_exactly(void **state)
{
    struct storm world = {.sandbox = give(sizeof(struct sandbox))};
    static struct storm_thread threads[STORM_THREADS];
    struct actor actor = make_actor();
    (void)state;
    map_pages(&actor, 0, 8, stack_of(&actor.actor, 1)); /* the one that all VMs bind */
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        threads[i] = (struct storm_thread){.storm = &world, .index = i};
        pthread_create(&threads[i].thread, NULL, storm, &threads[i]);
    }
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
    }
    const unsigned each = STORM_OWNERS / STORM_THREADS;
    struct ledger_header *header = ledger->header;
    assert_int_equal(atomic_load(&world.failed), 0);
    assert_int_equal(header->owners_begun[LEDGER_OWNER_API], (each + 1) / 2 * STORM_THREADS);
    assert_int_equal(header->owners_begun[LEDGER_OWNER_KVM], each / 2 * STORM_THREADS);
    assert_int_equal(header->owners_ended[LEDGER_OWNER_API],
                     header->owners_begun[LEDGER_OWNER_API]);
    assert_int_equal(header->owners_ended[LEDGER_OWNER_KVM],
                     header->owners_begun[LEDGER_OWNER_KVM]);
    assert_int_equal(header->owners_live, 0);
    assert_int_equal(header->incomplete, 0);
    assert_int_equal(header->lost_events, 0);
    uint64_t named = 0;
    for (uint64_t i = 1; i < header->used[LEDGER_OWNERS]; i++) {
        const struct ledger_owner *owner = ledger_at(ledger, LEDGER_OWNERS, (uint32_t)i);
        assert_int_equal(owner->state, LEDGER_ENDED);
        assert_int_equal(owner->fds, 0);
        assert_int_equal(owner->holds, 0);
        assert_int_equal(owner->anchors, 0);
        named += owner->mappings;
    }
    assert_int_equal(named, 1); /* the last VM that bound the shared one */
    assert_non_null(mapping_of(0));
    assert_true(bindings(0) == 0 || bindings(0) == LEDGER_BINDINGS / LEDGER_BINDING);
    assert_true(mapping_of(0)->flags & LEDGER_SHARED);
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        assert_null(mapping_of(16 + i * 4));
    }
    assert_true(header->used[LEDGER_OWNERS] < LEDGER_OWNERS_KEPT + 4 * STORM_THREADS);
    free(world.sandbox);
    free(actor.sandbox);
}

#define OWNER_TEST(name) cmocka_unit_test_setup_teardown(name, begin_ledger, end_ledger)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OWNER_TEST(a_vm_lives_as_long_as_a_descriptor_of_it),
        OWNER_TEST(a_close_unseen_ends_it_when_the_number_is_taken_again),
        OWNER_TEST(assigning_moves_what_is_counted),
        OWNER_TEST(a_mapping_remembers_who_bound_it_and_where_the_slot_went),
        OWNER_TEST(a_slot_binds_the_part_that_it_maps),
        OWNER_TEST(what_two_vms_share_is_nobodys_alone),
        OWNER_TEST(what_goes_from_vm_to_vm_is_a_pool),
        OWNER_TEST(what_a_vm_takes_anew_is_told_by_the_order_of_events),
        OWNER_TEST(memory_that_goes_before_its_slot_leaves_nothing_behind),
        OWNER_TEST(memory_that_no_wrapper_saw_goes_with_its_slot),
        OWNER_TEST(a_child_reaped_before_it_was_registered_has_ended),
        OWNER_TEST(a_pid_that_is_used_again_was_reaped_unseen),
        OWNER_TEST(no_child_left_ends_those_that_were_there_before),
        OWNER_TEST(many_children_come_and_go),
        OWNER_TEST(children_that_nobody_reaps_give_way),
        OWNER_TEST(without_room_the_last_ended_ones_records_serve),
        OWNER_TEST(an_explicit_scope_beats_a_notification),
        OWNER_TEST(a_scope_never_left_is_not_the_next_owners),
        OWNER_TEST(a_lost_notification_is_answered_no_more),
        OWNER_TEST(a_wrong_call_changes_nothing),
        OWNER_TEST(low_water_marks_follow_the_ends),
        OWNER_TEST(a_long_pause_leaves_the_marks_as_they_were),
        OWNER_TEST(short_owners_on_many_threads_are_counted_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
