/*
 * test_rescue.c: what waits to be unmapped, by itself: which ranges may wait, how they are joined,
 * cut and given out, and that nothing that is somebody's is ever touched.
 *
 * On real memory of its own, with a ledger that is told of it by its events. No limit is reached:
 * the policy is told that the kernel refused, and believes it.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "policy/rescue.h"

#define PAGE 4096u
#define PAGES 64u
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define RANGES 8192u /* as many as there is room for */

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* asm-generic/mman-common.h, Linux 4.17 */
#endif

struct world {
    struct ledger_backing backing; /* first */
    void *given[64];
    unsigned count;
    struct ledger *ledger;
    struct ledger_actor actor;
    struct policy_event event;
    char *memory; /* PAGES of it, mapped and recorded; a page on either side is not */
};

static void *give(struct ledger_backing *self, size_t bytes)
{
    struct world *world = (struct world *)self;
    void *memory = NULL;
    if (posix_memalign(&memory, PAGE, bytes) == 0) {
        memset(memory, 0, bytes);
        world->given[world->count++] = memory;
    }
    return memory;
}

static void *chunk(struct ledger_backing *self, uint32_t number)
{
    (void)number;
    return give(self, LEDGER_CHUNK_SIZE);
}

static void record(struct world *world, void *at, size_t pages, uint16_t flags, uint32_t detail)
{
    struct ledger_map_event event = {.op = LEDGER_MAP_INSERT,
                                     .start = (uintptr_t)at,
                                     .end = (uintptr_t)at + pages * PAGE,
                                     .ticket = ledger_ticket(world->ledger),
                                     .flags = flags,
                                     .detail = detail,
                                     .prot = RW,
                                     .fixed = true};
    ledger_map_submit(world->ledger, &world->actor, &event);
}

static char *island(size_t pages)
{
    char *all = mmap(NULL, (pages + 2) * PAGE, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(all, MAP_FAILED);
    char *at = mmap(all + PAGE, pages * PAGE, RW, ANON | MAP_FIXED, -1, 0);
    assert_ptr_equal(at, all + PAGE);
    munmap(all, PAGE);
    munmap(at + pages * PAGE, PAGE);
    memset(at, 'x', pages * PAGE);
    return at;
}

static int begin(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    world->backing.chunk = chunk;
    world->backing.arena = give;
    world->actor.may_grow = true;
    world->actor.stack_top = UINTPTR_MAX;
    world->ledger = calloc(1, sizeof *world->ledger);
    if (!ledger_start(world->ledger, give(&world->backing, LEDGER_BASE_SIZE), &world->backing)) {
        return -1;
    }
    world->event = (struct policy_event){
        .ledger = world->ledger, .actor = &world->actor, .page = PAGE, .may_call = true};
    world->memory = island(PAGES);
    record(world, world->memory, PAGES, 0, 0);
    *state = world;
    return 0;
}

static int end(void **state)
{
    struct world *world = *state;
    struct rescue_taken taken;
    (void)rescue_take(&world->event, 0, UINT64_MAX, &taken);
    munmap(world->memory, PAGES * PAGE);
    for (unsigned i = 0; i < world->count; i++) {
        free(world->given[i]);
    }
    free(world->ledger);
    free(world);
    return 0;
}

static uint64_t address(const struct world *world, size_t page)
{
    return (uintptr_t)world->memory + page * PAGE;
}

static bool wait_from(struct world *world, size_t page, size_t pages)
{
    return rescue_unmap(&world->event, address(world, page), address(world, page + pages), 0);
}

static void assert_waiting(const struct world *world, uint64_t ranges, uint64_t pages)
{
    assert_int_equal(world->ledger->header->rescue_waiting_ranges, ranges);
    assert_int_equal(world->ledger->header->rescue_waiting_bytes, pages * PAGE);
    assert_int_equal(rescue_any(), ranges != 0);
}

static bool is_mapped(const void *at, size_t pages)
{
    return msync((void *)(uintptr_t)at, pages * PAGE, MS_ASYNC) == 0;
}

static void *ask(struct world *world, void *at, size_t bytes, int prot, int flags)
{
    struct policy_map map = {at, bytes, prot, ANON | flags, -1, 0};
    void *result = rescue_serve(&world->event, &map);
    if (result != MAP_FAILED) { /* as the wrapper tells the ledger */
        record(world, result, (bytes + PAGE - 1) / PAGE, 0, 0);
    }
    return result;
}

/* --- */

static void what_waits_is_empty_and_its_neighbours_are_not(void **state)
{
    struct world *world = *state;
    struct ledger_range range;
    assert_true(wait_from(world, 10, 3));
    assert_waiting(world, 1, 3);
    for (size_t i = 0; i < PAGES * PAGE; i++) {
        assert_int_equal(world->memory[i], i / PAGE >= 10 && i / PAGE < 13 ? 0 : 'x');
    }
    assert_int_equal(world->ledger->header->rescued, 1);
    assert_int_equal(ledger_map_examine(world->ledger, &world->actor, address(world, 10),
                                        address(world, 13), &range),
                     0);
    assert_true(range.kept);
    assert_int_equal(range.detail, LEDGER_WAITS);
    ledger_map_examine(world->ledger, &world->actor, address(world, 9), address(world, 13), &range);
    assert_false(range.kept);
}

static void what_is_not_certain_is_refused(void **state)
{
    static const struct {
        uint16_t flags;
        uint32_t detail;
    } kinds[] = {{LEDGER_FILE_MAP, 5},  {LEDGER_SHARED_MAP, 0}, {LEDGER_SHM_MAP, 1},
                 {LEDGER_STACK_MAP, 0}, {LEDGER_INHERITED, 0},  {LEDGER_ADOPTED, 0},
                 {LEDGER_UNSURE, 0},    {LEDGER_BINDING, 0},    {0, LEDGER_WATCHED},
                 {LEDGER_KEPT, 0}};
    struct world *world = *state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        record(world, world->memory + i * PAGE, 1, kinds[i].flags, kinds[i].detail);
        assert_false(wait_from(world, i, 1));
        assert_false(wait_from(world, i, 2));
    }
    assert_false(wait_from(world, PAGES - 1, 2)); /* not all of it is recorded */
    /* Not mlock: a sanitizer's does nothing. */
    assert_int_equal(syscall(SYS_mlock, world->memory + 20 * PAGE, PAGE), 0);
    assert_false(wait_from(world, 20, 1));
    assert_false(wait_from(world, 19, 3));
    munmap(world->memory + 30 * PAGE, PAGE); /* recorded, and not there */
    assert_false(wait_from(world, 29, 3));
    world->event.may_call = false;
    assert_false(wait_from(world, 40, 1));
    assert_waiting(world, 0, 0);
    for (size_t i = 0; i < PAGES; i++) {
        if (i != 30) {
            assert_int_equal(world->memory[i * PAGE], 'x');
        }
    }
}

static void neighbours_are_joined_in_any_order(void **state)
{
    static const unsigned char orders[][4] = {
        {0, 1, 2, 3}, {3, 2, 1, 0}, {0, 2, 1, 3}, {3, 0, 2, 1}};
    struct world *world = *state;
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        for (size_t part = 0; part < 4; part++) {
            assert_true(wait_from(world, 10 * i + orders[i][part], 1));
        }
        assert_waiting(world, i + 1, 4 * (i + 1));
    }
    /* All four pages at once, from each of them. */
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        assert_ptr_not_equal(ask(world, NULL, 4 * PAGE, RW, 0), MAP_FAILED);
    }
    assert_waiting(world, 0, 0);
}

static void a_larger_range_serves_smaller_requests_until_it_is_used_up(void **state)
{
    struct world *world = *state;
    wait_from(world, 8, 6);
    assert_ptr_equal(ask(world, NULL, 7 * PAGE, RW, 0), MAP_FAILED);
    assert_ptr_equal(ask(world, NULL, 1, RW, 0), world->memory + 8 * PAGE);
    assert_waiting(world, 1, 5);
    memset(world->memory + 8 * PAGE, 'y', PAGE);
    assert_ptr_equal(ask(world, NULL, 5 * PAGE - 1, RW, 0), world->memory + 9 * PAGE);
    assert_waiting(world, 0, 0);
    assert_int_equal(world->memory[8 * PAGE], 'y');
    assert_int_equal(world->ledger->header->rescue_reused, 2);
}

static void it_is_empty_again_when_it_is_given_out(void **state)
{
    struct world *world = *state;
    wait_from(world, 8, 2);
    memset(world->memory + 8 * PAGE, 'z', 2 * PAGE); /* a bug of the program's */
    assert_ptr_equal(ask(world, NULL, 2 * PAGE, RW, 0), world->memory + 8 * PAGE);
    for (size_t i = 8 * PAGE; i < 10 * PAGE; i++) {
        assert_int_equal(world->memory[i], 0);
    }
}

static void what_is_unlike_serves_nobody(void **state)
{
    struct world *world = *state;
    record(world, world->memory, 4, 0, LEDGER_ODD);
    record(world, world->memory + 4 * PAGE, 4, LEDGER_UNSURE_PROT, 0);
    wait_from(world, 1, 2);
    wait_from(world, 5, 2);
    assert_ptr_equal(ask(world, NULL, PAGE, RW, 0), MAP_FAILED);
    wait_from(world, 20, 4);
    assert_waiting(world, 3, 8);
    assert_ptr_equal(ask(world, NULL, PAGE, PROT_READ, 0), MAP_FAILED);
    assert_ptr_equal(ask(world, NULL, PAGE, RW | PROT_EXEC, 0), MAP_FAILED);
    assert_ptr_equal(ask(world, NULL, PAGE, RW, MAP_NORESERVE), MAP_FAILED);
    assert_ptr_equal(ask(world, NULL, PAGE, RW, MAP_SHARED), MAP_FAILED);
    assert_ptr_equal(ask(world, NULL, SIZE_MAX, RW, 0), MAP_FAILED);
    world->event.may_call = false;
    assert_ptr_equal(ask(world, NULL, PAGE, RW, 0), MAP_FAILED);
    world->event.may_call = true;
    /* Advice, or the like, while it waits. */
    rescue_spoil(&world->event, address(world, 22), address(world, 23));
    assert_ptr_equal(ask(world, NULL, PAGE, RW, 0), MAP_FAILED);
    assert_waiting(world, 3, 8);
}

static void what_was_placed_serves_only_who_asks_for_that_place(void **state)
{
    struct world *world = *state;
    record(world, world->memory + 8 * PAGE, 8, 0, LEDGER_PLACED);
    wait_from(world, 9, 6);
    assert_ptr_equal(ask(world, NULL, PAGE, RW, 0), MAP_FAILED);
    assert_ptr_equal(ask(world, world->memory + 14 * PAGE, 2 * PAGE, RW, MAP_FIXED), MAP_FAILED);
    assert_ptr_equal(ask(world, world->memory + 8 * PAGE, 2 * PAGE, RW, MAP_FIXED), MAP_FAILED);
    assert_ptr_equal(ask(world, world->memory + 11 * PAGE, 2 * PAGE, RW, MAP_FIXED),
                     world->memory + 11 * PAGE);
    assert_waiting(world, 2, 4);
    assert_ptr_equal(ask(world, world->memory + 13 * PAGE, PAGE, RW, MAP_FIXED_NOREPLACE),
                     world->memory + 13 * PAGE);
    assert_waiting(world, 2, 3);
}

static void what_is_taken_out_no_retry_unmaps(void **state)
{
    struct world *world = *state;
    struct rescue_taken taken;
    wait_from(world, 4, 8);
    wait_from(world, 20, 2);
    assert_int_equal(rescue_first(address(world, 0), address(world, 30)), address(world, 4));
    assert_int_equal(rescue_first(address(world, 6), address(world, 30)), address(world, 6));
    assert_int_equal(rescue_first(address(world, 12), address(world, 20)), address(world, 20));
    assert_true(rescue_take(&world->event, address(world, 6), address(world, 8), &taken));
    assert_int_equal(taken.count, 1);
    assert_waiting(world, 3, 8);
    assert_true(rescue_take(&world->event, address(world, 10), address(world, 21), &taken));
    assert_int_equal(taken.count, 2);
    assert_false(taken.more);
    assert_waiting(world, 3, 5);
    memset(world->memory + 6 * PAGE, 'y', 2 * PAGE);
    memset(world->memory + 10 * PAGE, 'y', 2 * PAGE);
    memset(world->memory + 20 * PAGE, 'y', PAGE);
    for (int i = 0; i < 4; i++) {
        rescue_retry(&world->event, 0, 0);
    }
    assert_waiting(world, 0, 0);
    assert_int_equal(world->ledger->header->rescue_unmapped, 3);
    assert_false(is_mapped(world->memory + 4 * PAGE, 1) || is_mapped(world->memory + 5 * PAGE, 1) ||
                 is_mapped(world->memory + 8 * PAGE, 1) || is_mapped(world->memory + 9 * PAGE, 1) ||
                 is_mapped(world->memory + 21 * PAGE, 1));
    assert_int_equal(world->memory[6 * PAGE], 'y');
    assert_int_equal(world->memory[11 * PAGE], 'y');
    assert_int_equal(world->memory[20 * PAGE], 'y');
    assert_int_equal(world->memory[12 * PAGE], 'x');
}

static void what_was_put_back_waits_again(void **state)
{
    struct world *world = *state;
    struct rescue_taken taken;
    wait_from(world, 4, 8);
    assert_true(rescue_take(&world->event, address(world, 6), address(world, 8), &taken));
    rescue_put_back(&world->event, &taken);
    assert_waiting(world, 1, 8);
    assert_ptr_equal(ask(world, NULL, 8 * PAGE, RW, 0), world->memory + 4 * PAGE);
}

static void what_the_kernel_put_there_is_nobodys_to_unmap(void **state)
{
    struct world *world = *state;
    wait_from(world, 4, 8);
    /* Unmapped and mapped by calls that no wrapper saw. */
    rescue_displaced(&world->event, address(world, 5), address(world, 7));
    assert_waiting(world, 2, 6);
    memset(world->memory + 5 * PAGE, 'y', 2 * PAGE);
    for (int i = 0; i < 4; i++) {
        rescue_retry(&world->event, 0, 0);
    }
    assert_waiting(world, 0, 0);
    assert_int_equal(world->memory[5 * PAGE], 'y');
    assert_int_equal(world->memory[7 * PAGE - 1], 'y');
}

static void neighbours_of_what_was_unmapped_are_tried_first(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 20; i++) {
        wait_from(world, 2 * i + 1, 1);
    }
    munmap(world->memory + 38 * PAGE, PAGE);
    rescue_retry(&world->event, address(world, 38), address(world, 39));
    assert_false(is_mapped(world->memory + 37 * PAGE, 1));
    assert_false(is_mapped(world->memory + 39 * PAGE, 1));
    /* Bounded: the others are for later. */
    assert_int_equal(world->ledger->header->rescue_unmapped, 16);
    assert_waiting(world, 4, 4);
}

static void noreplace_has_what_waits_unmapped(void **state)
{
    struct world *world = *state;
    struct policy_map map = {world->memory + 4 * PAGE, 4 * PAGE, PROT_READ, ANON, -1, 0};
    map.flags |= MAP_FIXED_NOREPLACE;
    assert_ptr_equal(rescue_noreplace(&world->event, &map), MAP_FAILED);
    wait_from(world, 4, 2);
    assert_ptr_equal(rescue_noreplace(&world->event, &map), MAP_FAILED); /* the rest is in use */
    assert_int_equal(world->memory[6 * PAGE], 'x');
    wait_from(world, 6, 4);
    assert_ptr_equal(rescue_noreplace(&world->event, &map), map.address);
    assert_waiting(world, 1, 2);
    assert_int_equal(world->memory[10 * PAGE], 'x');
    assert_true(is_mapped(map.address, 4));
}

static void a_full_table_lets_the_refusal_stand(void **state)
{
    struct world *world = *state;
    size_t pages = 2 * RANGES + 4;
    char *at = island(pages);
    record(world, at, pages, 0, 0);
    for (size_t i = 0; i < RANGES; i++) {
        uint64_t start = (uintptr_t)at + (2 * i + 1) * PAGE;
        assert_true(rescue_unmap(&world->event, start, start + PAGE, 0));
    }
    assert_waiting(world, RANGES, RANGES);
    uint64_t last = (uintptr_t)at + (2 * RANGES + 1) * PAGE;
    assert_false(rescue_unmap(&world->event, last, last + PAGE, 0));
    assert_int_equal(*(char *)(uintptr_t)last, 'x');
    for (size_t i = 0; i < RANGES && rescue_any(); i++) {
        rescue_retry(&world->event, 0, 0);
    }
    assert_waiting(world, 0, 0);
    assert_int_equal(at[0], 'x');
    munmap(at, pages * PAGE);
}

/* --- threads, and handlers that jump --- */

static sigjmp_buf out;
static volatile sig_atomic_t jumps;

static void jump(int number)
{
    (void)number;
    jumps++;
    siglongjmp(out, 1);
}

/* A handler that jumps out of whatever it interrupts leaves no range that nobody can get at. */
static void a_jump_out_of_it_leaves_nothing_marked(void **state)
{
#ifdef __SANITIZE_THREAD__
    print_message("skipped: this sanitizer keeps signals back until the next library call\n");
    skip();
#endif
    struct world *world = *state;
    struct sigaction action = {.sa_handler = jump};
    struct itimerspec every = {.it_interval.tv_nsec = 200000, .it_value.tv_nsec = 200000};
    struct sigevent how = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct rescue_taken taken;
    timer_t timer;
    volatile unsigned i = 0;
    sigaction(SIGUSR1, &action, NULL);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &how, &timer), 0);
    assert_int_equal(timer_settime(timer, 0, &every, NULL), 0);
    while (jumps < 300 && i < 3000000) {
        (void)sigsetjmp(out, 1);
        ledger_enter(world->ledger, &world->actor);
        size_t page = i++ % (PAGES - 4);
        (void)wait_from(world, page, 1 + i % 4);
        void *at = ask(world, NULL, PAGE, RW, 0);
        if (at != MAP_FAILED) {
            *(volatile char *)at = 'x';
        }
        (void)rescue_take(&world->event, address(world, page), address(world, page + 2), &taken);
    }
    timer_delete(timer);
    signal(SIGUSR1, SIG_IGN);
    assert_true(jumps > 10);
    ledger_enter(world->ledger, &world->actor);
    assert_true(rescue_take(&world->event, 0, UINT64_MAX, &taken));
    assert_waiting(world, 0, 0);
}

static void the_end_of_a_sandbox_makes_it_due_once(void **state)
{
    struct world *world = *state;
    assert_false(rescue_is_due(world->ledger));
    wait_from(world, 4, 2);
    (void)rescue_is_due(world->ledger);
    assert_false(rescue_is_due(world->ledger));
    world->ledger->header->epoch++;
    assert_true(rescue_is_due(world->ledger));
    assert_false(rescue_is_due(world->ledger));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_waits_is_empty_and_its_neighbours_are_not, begin, end),
        cmocka_unit_test_setup_teardown(what_is_not_certain_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(neighbours_are_joined_in_any_order, begin, end),
        cmocka_unit_test_setup_teardown(a_larger_range_serves_smaller_requests_until_it_is_used_up,
                                        begin, end),
        cmocka_unit_test_setup_teardown(it_is_empty_again_when_it_is_given_out, begin, end),
        cmocka_unit_test_setup_teardown(what_is_unlike_serves_nobody, begin, end),
        cmocka_unit_test_setup_teardown(what_was_placed_serves_only_who_asks_for_that_place, begin,
                                        end),
        cmocka_unit_test_setup_teardown(what_is_taken_out_no_retry_unmaps, begin, end),
        cmocka_unit_test_setup_teardown(what_was_put_back_waits_again, begin, end),
        cmocka_unit_test_setup_teardown(what_the_kernel_put_there_is_nobodys_to_unmap, begin, end),
        cmocka_unit_test_setup_teardown(neighbours_of_what_was_unmapped_are_tried_first, begin,
                                        end),
        cmocka_unit_test_setup_teardown(noreplace_has_what_waits_unmapped, begin, end),
        cmocka_unit_test_setup_teardown(the_end_of_a_sandbox_makes_it_due_once, begin, end),
        cmocka_unit_test_setup_teardown(a_full_table_lets_the_refusal_stand, begin, end),
        cmocka_unit_test_setup_teardown(a_jump_out_of_it_leaves_nothing_marked, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
