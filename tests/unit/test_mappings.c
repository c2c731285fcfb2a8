/*
 * test_mappings.c: the ledger's mappings against a plain array of pages, event by event.
 *
 * Drives the ledger with no shim: seeded random inserts, releases that succeed or fail, moves and
 * fixed maps over others, on memory from malloc. It never makes a real mapping.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/ledger/index.h"
#include "../../src/ledger/ledger.h"

#define PAGE 4096u
#define PAGES 3000u
#define BASE (UINT64_C(0x7f0000000000))

static void *give(size_t size)
{
    void *memory = NULL;
    if (posix_memalign(&memory, PAGE, size) == 0) {
        memset(memory, 0, size);
    }
    return memory;
}

struct heap {
    struct ledger_backing backing; /* first */
    void *given[4096];
    unsigned count;
};

static void *heap_give(struct ledger_backing *self, size_t bytes)
{
    struct heap *heap = (struct heap *)self;
    void *memory = give(bytes);
    heap->given[heap->count++] = memory;
    return memory;
}

static void *heap_chunk(struct ledger_backing *self, uint32_t number)
{
    (void)number;
    return heap_give(self, LEDGER_CHUNK_SIZE);
}

struct world {
    struct heap heap;
    struct ledger *ledger;
    struct ledger_actor actor;
    uint32_t model[PAGES]; /* who mapped it: a stack number, 0: nothing */
};

static int begin(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    world->heap.backing.chunk = heap_chunk;
    world->heap.backing.arena = heap_give;
    world->actor.may_grow = true;
    world->actor.stack_top = UINTPTR_MAX;
    world->ledger = calloc(1, sizeof(*world->ledger));
    void *base = heap_give(&world->heap.backing, LEDGER_BASE_SIZE);
    if (!ledger_start(world->ledger, base, &world->heap.backing)) {
        return -1;
    }
    *state = world;
    return 0;
}

static int end(void **state)
{
    struct world *world = *state;
    for (unsigned i = 0; i < world->heap.count; i++) {
        free(world->heap.given[i]);
    }
    free(world->ledger);
    free(world);
    return 0;
}

static void submit(struct world *world, struct ledger_map_event event)
{
    ledger_map_submit(world->ledger, &world->actor, &event);
}

static struct ledger_map_event range(enum ledger_map_op op, unsigned first, unsigned pages)
{
    return (struct ledger_map_event){.op = (uint8_t)op,
                                     .start = BASE + (uint64_t)first * PAGE,
                                     .end = BASE + (uint64_t)(first + pages) * PAGE};
}

static void map(struct world *world, unsigned first, unsigned pages, uint32_t stack, bool fixed)
{
    struct ledger_map_event event = range(LEDGER_MAP_INSERT, first, pages);
    event.ticket = ledger_ticket(world->ledger);
    event.stack = stack;
    event.fixed = fixed;
    submit(world, event);
    for (unsigned i = first; i < first + pages; i++) {
        world->model[i] = stack;
    }
}

static void unmap(struct world *world, unsigned first, unsigned pages, bool succeeds)
{
    struct ledger_map_event event = range(LEDGER_MAP_FLY, first, pages);
    event.ticket = ledger_ticket(world->ledger);
    submit(world, event);
    event.op = succeeds ? LEDGER_MAP_COMMIT : LEDGER_MAP_ROLLBACK;
    submit(world, event);
    for (unsigned i = first; succeeds && i < first + pages; i++) {
        world->model[i] = 0;
    }
}

static void move(struct world *world, unsigned first, unsigned pages, unsigned to,
                 unsigned to_pages)
{
    struct ledger_map_event event = range(LEDGER_MAP_FLY, first, pages);
    event.ticket = ledger_ticket(world->ledger);
    submit(world, event);
    event.op = LEDGER_MAP_MOVE;
    event.new_ticket = ledger_ticket(world->ledger);
    event.to_start = BASE + (uint64_t)to * PAGE;
    event.to_end = event.to_start + (uint64_t)to_pages * PAGE;
    event.fixed = true;
    submit(world, event);
    uint32_t moved[PAGES];
    for (unsigned i = 0; i < to_pages; i++) {
        moved[i] = world->model[first + (i < pages ? i : pages - 1)];
    }
    memset(&world->model[first], 0, pages * sizeof(uint32_t));
    memcpy(&world->model[to], moved, to_pages * sizeof(uint32_t));
}

/* Every published record, laid out as pages; and the index finds each of them. */
static void check(struct world *world)
{
    uint32_t seen[PAGES] = {0};
    unsigned records = 0;
    for (uint64_t i = 1; i < world->ledger->header->used[LEDGER_MAPPINGS]; i++) {
        struct ledger_mapping *mapping = ledger_at(world->ledger, LEDGER_MAPPINGS, (uint32_t)i);
        if (mapping->state == LEDGER_EMPTY) {
            continue;
        }
        records++;
        assert_int_equal(mapping->state, LEDGER_LIVE);
        for (uint64_t a = mapping->start; a < mapping->end; a += PAGE) {
            assert_int_equal(seen[(a - BASE) / PAGE], 0);
            seen[(a - BASE) / PAGE] = mapping->stack;
        }
    }
    assert_memory_equal(seen, world->model, sizeof(seen));
    uint64_t last = 0;
    unsigned indexed = 0;
    for (struct ledger_position p = ledger_index_find(world->ledger, 0); p.node;
         p = ledger_index_next(p)) {
        struct ledger_mapping *mapping =
            ledger_at(world->ledger, LEDGER_MAPPINGS, ledger_index_record(p));
        assert_true(mapping->start >= last);
        last = mapping->end;
        struct ledger_position found = ledger_index_find(world->ledger, mapping->start);
        assert_int_equal(ledger_index_record(found), ledger_index_record(p));
        indexed++;
    }
    assert_int_equal(indexed, records);
}

static void follows_any_sequence_of_events(void **state)
{
    struct world *world = *state;
    srandom(42);
    for (unsigned step = 0; step < 60000; step++) {
        unsigned pages = 1 + (unsigned)random() % (random() % 4 ? 3 : 40);
        unsigned first = (unsigned)random() % (PAGES - pages);
        unsigned phase = step / 10000 % 2; /* grow, then shrink */
        unsigned what = (unsigned)random() % 10;
        if (what < (phase ? 2u : 6u)) {
            map(world, first, pages, 1 + step % 50, random() % 2);
        } else if (what < 9) {
            unmap(world, first, pages, random() % 5 != 0);
        } else {
            unsigned to_pages = 1 + (unsigned)random() % (pages * 2);
            unsigned to = (unsigned)random() % PAGES;
            bool apart = to + to_pages <= first || to >= first + pages;
            bool whole = true; /* mremap's own rule: one VMA; here: all of it mapped by one */
            for (unsigned i = first; i < first + pages; i++) {
                whole = whole && world->model[i] == world->model[first] && world->model[i];
            }
            if (apart && whole && to + to_pages <= PAGES) {
                move(world, first, pages, to, to_pages);
            }
        }
        if (step % 500 == 0) {
            check(world);
        }
    }
    check(world);
    assert_int_equal(world->ledger->header->incomplete, 0);
}

static void a_late_release_leaves_a_younger_mapping(void **state)
{
    struct world *world = *state;
    map(world, 10, 4, 1, false);
    struct ledger_map_event late = range(LEDGER_MAP_FLY, 10, 4);
    late.ticket = ledger_ticket(world->ledger);
    map(world, 10, 4, 2, false); /* the kernel gave the range away before the event arrived */
    submit(world, late);
    late.op = LEDGER_MAP_COMMIT;
    submit(world, late);
    check(world);
    assert_int_equal(world->ledger->header->map_releases_unseen, 1);
}

static void a_failed_release_leaves_one_record(void **state)
{
    struct world *world = *state;
    map(world, 10, 9, 1, false);
    unmap(world, 13, 2, false);
    check(world);
    unsigned records = 0;
    for (uint64_t i = 1; i < world->ledger->header->used[LEDGER_MAPPINGS]; i++) {
        struct ledger_mapping *mapping = ledger_at(world->ledger, LEDGER_MAPPINGS, (uint32_t)i);
        records += mapping->state == LEDGER_LIVE;
    }
    assert_int_equal(records, 1);
}

static void holds_a_million_mappings_and_forgets_them(void **state)
{
    struct world *world = *state;
    for (unsigned phase = 0; phase < 2; phase++) {
        for (unsigned i = 0; i < 1000000; i++) {
            struct ledger_map_event event = {
                .op = LEDGER_MAP_INSERT,
                .start = BASE - (uint64_t)(2 * i + 1) * PAGE,
                .end = BASE - (uint64_t)(2 * i) * PAGE,
                .ticket = ledger_ticket(world->ledger),
            };
            submit(world, event);
        }
        assert_int_equal(world->ledger->header->used[LEDGER_MAPPINGS], 1000001);
        for (unsigned i = 0; i < 1000000; i++) {
            unsigned k = (unsigned)((uint64_t)i * 7919 % 1000000); /* in no order */
            struct ledger_map_event event = {
                .op = LEDGER_MAP_FLY,
                .start = BASE - (uint64_t)(2 * k + 1) * PAGE,
                .end = BASE - (uint64_t)(2 * k) * PAGE,
                .ticket = ledger_ticket(world->ledger),
            };
            submit(world, event);
            event.op = LEDGER_MAP_COMMIT;
            submit(world, event);
        }
    }
    check(world);
    assert_int_equal(world->ledger->header->incomplete, 0);
}

static sigjmp_buf out;

static void leave_in_the_middle(struct world *world, unsigned page)
{
    /* As if a handler had jumped out while the lock was held: the frame below is gone. */
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    world->actor.locked = &canary;
    world->ledger->lock = &world->actor;
    struct ledger_map_event event = range(LEDGER_MAP_INSERT, page, 1);
    event.ticket = ledger_ticket(world->ledger);
    event.stack = 9;
    world->ledger->current = event;
    world->ledger->applying = 1;
    world->ledger->index.root = NULL; /* whatever a half-done insertion may leave */
    world->ledger->index.cursor = NULL;
    world->model[page] = 9;
    siglongjmp(out, 1);
}

static void repairs_what_an_abandoned_update_left(void **state)
{
    struct world *world = *state;
    for (unsigned i = 0; i < 200; i++) {
        map(world, i * 2, 1, 1 + i, false);
    }
    for (unsigned i = 0; i < 5; i++) {
        if (sigsetjmp(out, 0) == 0) {
            leave_in_the_middle(world, 401 + i * 2);
        }
        ledger_enter(world->ledger, &world->actor);
        map(world, 500 + i, 1, 7, false);
        check(world);
    }
    assert_int_equal(world->ledger->header->rebuilds, 5);
}

/* --- a full queue --- */

/* Whoever holds the lock while others wait; process-global because yield is given no context. */
static struct holder {
    struct ledger *ledger;
    struct ledger_actor actor;
    unsigned rests;
    uint64_t ns;
    unsigned lets_go_after; /* rests; 0: never */
    bool frees;             /* a place before each rest, which another takes */
} holder;

static bool rest(const struct ledger_actor *actor, uint32_t ns)
{
    assert_true(actor->may_grow);
    holder.ns += ns;
    holder.rests++;
    if (holder.frees) {
        holder.ledger->unused += UINT64_C(1) << 32;
    }
    if (holder.rests == holder.lets_go_after) {
        holder.ledger->lock = NULL;
    }
    return true;
}

static void fill_the_queue(struct world *world, struct holder how)
{
    holder = how;
    holder.ledger = world->ledger;
    world->heap.backing.yield = rest;
    world->ledger->lock = &holder.actor;
    for (unsigned i = 0; i < LEDGER_QUEUE_EVENTS; i++) {
        map(world, i % PAGES, 1, 1 + i % 200, true);
    }
    assert_int_equal(holder.rests, 0);
}

static void a_full_queue_is_waited_for(void **state)
{
    struct world *world = *state;
    fill_the_queue(world, (struct holder){.lets_go_after = 100});
    map(world, 0, 1, 7, true);
    assert_int_equal(holder.rests, 100);
    assert_int_equal(world->ledger->header->lost_events, 0);
    check(world);
}

static void a_holder_that_frees_places_is_not_given_up(void **state)
{
    struct world *world = *state;
    fill_the_queue(world, (struct holder){.lets_go_after = 5000, .frees = true});
    map(world, 0, 1, 7, true);
    assert_int_equal(holder.rests, 5000);
    assert_int_equal(world->ledger->header->lost_events, 0);
    check(world);
}

static void a_holder_that_was_stopped_is_given_up_once(void **state)
{
    struct world *world = *state;
    struct ledger_map_event event = range(LEDGER_MAP_INSERT, 0, 1);
    fill_the_queue(world, (struct holder){0});
    submit(world, event);
    assert_in_range(holder.ns, UINT64_C(1000000000), UINT64_C(3000000000));
    assert_int_equal(world->ledger->header->lost_events, 1);
    unsigned rests = holder.rests;
    submit(world, event);
    assert_int_equal(holder.rests, rests);
    assert_int_equal(world->ledger->header->lost_events, 2);
    world->ledger->lock = NULL;
    map(world, 0, 1, 7, true);
    check(world);
    assert_int_equal(world->ledger->stuck, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(follows_any_sequence_of_events, begin, end),
        cmocka_unit_test_setup_teardown(a_late_release_leaves_a_younger_mapping, begin, end),
        cmocka_unit_test_setup_teardown(a_failed_release_leaves_one_record, begin, end),
        cmocka_unit_test_setup_teardown(holds_a_million_mappings_and_forgets_them, begin, end),
        cmocka_unit_test_setup_teardown(repairs_what_an_abandoned_update_left, begin, end),
        cmocka_unit_test_setup_teardown(a_full_queue_is_waited_for, begin, end),
        cmocka_unit_test_setup_teardown(a_holder_that_frees_places_is_not_given_up, begin, end),
        cmocka_unit_test_setup_teardown(a_holder_that_was_stopped_is_given_up_once, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
