/*
 * test_placement.c: where placement sends mappings, against a kernel of our own: a set of pages
 * that are taken or free. It makes no mapping, so the whole address space can be used.
 *
 * The last test is a storm of threads, and a thread sanitizer's proof as well.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "policy/placement.h"
#include "policy_world.h"

#define STACK_TOP UINT64_C(0x7ffd00000000)
#define AREA_START UINT64_C(0x700000000000)
#define AREA_END UINT64_C(0x7e8000000000) /* the ledger's own memory */
#define HUGE_SIZE (UINT64_C(2) << 20)
#define MIB (UINT64_C(1) << 20)
#define PAGES(n) ((uint64_t)(n)*WORLD_PAGE)
#define APART (UINT64_C(1) << 20) /* strangers, at least */

enum {
    DATA = PROT_READ | PROT_WRITE,
    CODE = PROT_READ | PROT_EXEC,
    TAKEN_MAX = 4096,
    RANDOM_TURNS = 60000,
    RANDOM_OWNERS = 40,
    STORM_THREADS = 8,
    STORM_TURNS = 30000,
    STORM_HOLDS = 32,
};

static void begin(void)
{
    placement_begin(world_ledger(), &(struct placement_host){.stack_top = STACK_TOP});
}

static struct policy_map map_of(uint64_t bytes, int prot)
{
    return (struct policy_map){
        .length = bytes, .prot = prot, .flags = MAP_PRIVATE | MAP_ANONYMOUS, .fd = -1};
}

static uint64_t hint(uint32_t owner, uint64_t bytes, int prot)
{
    struct policy_event event = world_event(owner);
    struct policy_map map = map_of(bytes, prot);
    return placement_hint(&event, &map, 0);
}

static void unmapped(uint64_t start, uint64_t bytes)
{
    struct policy_event event = world_event(0);
    placement_unmapped(&event, start, start + bytes);
}

static uint64_t between(uint64_t a, uint64_t b)
{
    return a < b ? b - a : a - b;
}

/* --- one after another --- */

static void each_has_windows_of_its_own(void **state)
{
    uint32_t a = world_owner(0), b = world_owner(0), part = world_owner(a);

    (void)state;
    begin();
    uint64_t of_a = hint(a, PAGES(1), DATA), of_b = hint(b, PAGES(1), DATA);
    uint64_t code = hint(a, PAGES(1), CODE);
    assert_true(of_a >= AREA_START && of_b >= AREA_START && code >= AREA_START);
    assert_true(between(of_a, of_b) >= APART && between(of_a, code) >= APART);
    assert_int_equal(hint(a, PAGES(3), PROT_NONE), of_a + PAGES(1));
    assert_int_equal(hint(a, 1, DATA), of_a + PAGES(4));
    assert_int_equal(hint(part, PAGES(1), DATA), of_a + PAGES(5));
    assert_int_equal(hint(part, PAGES(1), CODE), code + PAGES(1));
    assert_int_equal(hint(0, PAGES(1), DATA), 0);
    assert_int_equal(hint(4000, PAGES(1), DATA), 0); /* there is no such owner */
}

static void freed_addresses_come_first(void **state)
{
    uint32_t a = world_owner(0);
    uint64_t start;

    (void)state;
    begin();
    start = hint(a, PAGES(1), DATA);
    for (unsigned i = 1; i < 20; i++)
        assert_int_equal(hint(a, PAGES(1), DATA), start + PAGES(i));
    unmapped(start + PAGES(10), PAGES(1));
    unmapped(start + PAGES(5), PAGES(1));
    unmapped(start + PAGES(12), PAGES(1));
    assert_int_equal(hint(a, PAGES(1), DATA), start + PAGES(5));
    assert_int_equal(hint(a, PAGES(2), DATA), start + PAGES(20));
    unmapped(start + PAGES(11), PAGES(1)); /* joins 10 and 12 */
    assert_int_equal(hint(a, PAGES(3), DATA), start + PAGES(10));
    unmapped(start + PAGES(20), PAGES(2)); /* the top comes down */
    unmapped(start + PAGES(18), PAGES(2));
    assert_int_equal(hint(a, PAGES(5), DATA), start + PAGES(18));
    unmapped(start, PAGES(23)); /* all */
    assert_int_equal(hint(a, PAGES(30), DATA), start);
}

static void large_ones_are_aligned_and_apart(void **state)
{
    uint32_t a = world_owner(0), b = world_owner(0);

    (void)state;
    begin();
    (void)hint(a, PAGES(1), DATA);
    assert_int_equal(hint(a, HUGE_SIZE, DATA) % HUGE_SIZE, 0);
    assert_int_equal(hint(a, HUGE_SIZE - PAGES(1), DATA) % WORLD_PAGE, 0);
    uint64_t one = hint(a, 32 * MIB, DATA), two = hint(b, 900 * MIB, DATA);
    uint64_t three = hint(a, 32 * MIB, DATA);
    assert_true(one && two && three);
    assert_true(between(one, two) >= 32 * MIB + APART && between(two, three) >= 900 * MIB + APART);
    assert_int_equal((one | two | three) % HUGE_SIZE, 0);
    unmapped(two, 900 * MIB);
    unmapped(one, 16 * MIB);
    assert_int_not_equal(hint(b, 32 * MIB, DATA), one); /* half of it is still there */
    unmapped(one + 16 * MIB, 16 * MIB);
    assert_int_equal(hint(b, 32 * MIB, DATA), one);
    assert_int_equal(hint(a, UINT64_C(1) << 46, DATA), 0);
    assert_int_equal(hint(a, UINT64_MAX - 5, DATA), 0);
}

static void some_mappings_are_the_kernels_business(void **state)
{
    struct policy_event event;
    struct policy_map map = map_of(PAGES(1), DATA);

    (void)state;
    begin();
    event = world_event(world_owner(0));
    map.flags |= MAP_GROWSDOWN;
    assert_int_equal(placement_hint(&event, &map, 0), 0);
#ifdef MAP_32BIT
    map.flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT;
    assert_int_equal(placement_hint(&event, &map, 0), 0);
#endif
    map.flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
    uint64_t first = placement_hint(&event, &map, 0);
    assert_true(first != 0 && first % HUGE_SIZE == 0);
    assert_int_equal(placement_hint(&event, &map, 0), first + HUGE_SIZE);
    map.flags |= 30 << 26; /* 1 GiB: MAP_HUGE_SHIFT */
    assert_int_equal(placement_hint(&event, &map, 0), 0);
}

static void what_is_refused_is_gone_around(void **state)
{
    uint32_t a = world_owner(0);
    struct policy_event event = world_event(a);
    struct policy_map map = map_of(PAGES(1), DATA), large = map_of(40 * MIB, DATA);
    uint64_t last, place;

    (void)state;
    begin();
    uint64_t start = hint(a, PAGES(1), DATA);
    last = start;
    for (unsigned tries = 0; tries < PLACEMENT_TRIES; tries++) {
        place = placement_hint(&event, &map, tries);
        assert_true(place > last);
        placement_refused(&event, &map, place, true);
        last = place;
    }
    assert_true(last > start + PAGES(512)); /* in few steps past much */
    /* For another reason than that something is there, it is had again. */
    place = placement_hint(&event, &map, 0);
    placement_refused(&event, &map, place, false);
    assert_int_equal(placement_hint(&event, &map, 0), place);

    place = placement_hint(&event, &large, 0);
    placement_refused(&event, &large, place, true);
    last = placement_hint(&event, &large, 1);
    assert_true(last > place);
    placement_refused(&event, &large, last, false);
    assert_int_equal(placement_hint(&event, &large, 0), last);
    unmapped(place, PAGES(1)); /* what was in the way has gone */
    assert_int_equal(placement_hint(&event, &large, 0), place);
}

static void windows_of_the_ended_are_used_again_once_empty(void **state)
{
    uint32_t a = world_owner(0);
    enum { COUNT = 40000 };

    (void)state;
    begin();
    uint64_t kept = hint(a, PAGES(1), DATA);
    world_owner_ends(a);
    for (unsigned i = 0; i < COUNT; i++) {
        uint32_t owner = world_owner(0);
        uint64_t place = hint(owner, PAGES(2), DATA), code = hint(owner, PAGES(1), CODE);
        assert_true(place && code);
        assert_true(between(place, kept) >= APART && between(code, kept) >= APART);
        unmapped(place, PAGES(2));
        unmapped(code, PAGES(1));
        world_owner_ends(owner);
    }
}

static int by_address(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

    return (a > b) - (a < b);
}

static void more_sandboxes_than_windows_share_none(void **state)
{
    enum { COUNT = 30000 };
    uint64_t *place = calloc(COUNT, sizeof *place);
    unsigned without = 0;

    (void)state;
    begin();
    for (unsigned i = 0; i < COUNT; i++) {
        place[i] = hint(world_owner(0), PAGES(1), DATA);
        without += place[i] == 0;
    }
    assert_true(without > 0 && without < COUNT - 8000);
    qsort(place, COUNT, sizeof *place, by_address);
    for (unsigned i = 1; i < COUNT; i++)
        assert_true(place[i] == 0 || place[i] - place[i - 1] >= APART);
    free(place);
}

static void growth_and_moves_are_followed(void **state)
{
    uint32_t a = world_owner(0);
    struct policy_event event = world_event(a);

    (void)state;
    begin();
    uint64_t start = hint(a, PAGES(4), DATA);
    placement_moved(&event, start, start + PAGES(4), start, start + PAGES(10));
    assert_int_equal(hint(a, PAGES(1), DATA), start + PAGES(10));
    placement_moved(&event, start, start + PAGES(10), start, start + PAGES(2));
    assert_int_equal(hint(a, PAGES(8), DATA), start + PAGES(2));
    placement_moved(&event, start, start + PAGES(2), 0x10000, 0x10000 + PAGES(2));
    assert_int_equal(hint(a, PAGES(2), DATA), start);
    unmapped(start, PAGES(11));
    assert_int_equal(hint(a, PAGES(1), DATA), start); /* every page was counted once */
}

static void there_may_be_no_place_at_all(void **state)
{
    uint32_t a = world_owner(0);

    (void)state;
    placement_begin(world_ledger(), &(struct placement_host){.stack_top = UINT64_C(1) << 38});
    assert_int_equal(hint(a, PAGES(1), DATA), 0);
    placement_begin(world_ledger(), &(struct placement_host){0});
    assert_int_equal(hint(a, PAGES(1), DATA), 0);
    unmapped(0, UINT64_MAX / 2);
}

static void the_start_varies_within_the_area(void **state)
{
    const uint64_t randoms[] = {0, 1, 77, UINT64_MAX, UINT64_C(0x123456789abcdef)};
    uint64_t last = 0;

    (void)state;
    for (unsigned i = 0; i < 2 * sizeof randoms / sizeof *randoms; i++) {
        bool shadowed = i % 2;
        placement_begin(world_ledger(), &(struct placement_host){.stack_top = STACK_TOP,
                                                                 .random = randoms[i / 2],
                                                                 .shadowed = shadowed});
        /* The last window, and the last room, of as many as there may be. */
        uint64_t lowest = UINT64_MAX, highest = 0;
        for (unsigned owner = 0; owner < 9000; owner++) {
            uint64_t place = hint(world_owner(0), PAGES(1), owner % 2 ? DATA : CODE);
            lowest = place && place < lowest ? place : lowest;
            highest = place > highest ? place : highest;
        }
        uint32_t a = world_owner(0);
        for (uint64_t place; (place = hint(a, 500 * MIB, DATA)) != 0;) {
            highest = place + 500 * MIB > highest ? place + 500 * MIB : highest;
        }
        assert_true(lowest >= (shadowed ? UINT64_C(0x7ec800000000) : AREA_START));
        assert_true(highest <= (shadowed ? UINT64_C(0x7f0000000000) : AREA_END));
        assert_true(lowest != last);
        assert_int_equal(lowest % HUGE_SIZE, 0);
        last = lowest;
    }
}

/* --- at random --- */

struct taken {
    uint64_t start, end;
    uint32_t owner;
};

static struct taken taken[TAKEN_MAX];
static unsigned taken_count;
static uint32_t seed;

static uint32_t next_random(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static void assert_fits(uint64_t start, uint64_t end, uint32_t owner)
{
    for (unsigned i = 0; i < taken_count; i++) {
        assert_true(end <= taken[i].start || start >= taken[i].end);
        assert_true(taken[i].owner == owner ||
                    (end + APART <= taken[i].start || start >= taken[i].end + APART));
    }
}

static void unmap_at(unsigned i)
{
    unmapped(taken[i].start, taken[i].end - taken[i].start);
    world_unmap(taken[i].start, taken[i].end - taken[i].start);
    taken[i] = taken[--taken_count];
}

static void no_two_ever_meet(void **state)
{
    uint32_t owners[RANDOM_OWNERS];
    unsigned unplaced = 0;

    (void)state;
    begin();
    seed = 4711;
    taken_count = 0;
    for (unsigned i = 0; i < RANDOM_OWNERS; i++)
        owners[i] = world_owner(0);
    for (unsigned turn = 0; turn < RANDOM_TURNS; turn++) {
        uint32_t which = next_random() % RANDOM_OWNERS;
        if (next_random() % 500 == 0) { /* ends; what it has stays for a while */
            world_owner_ends(owners[which]);
            owners[which] = world_owner(0);
        } else if (taken_count == TAKEN_MAX || (taken_count && next_random() % 100 < 49)) {
            unmap_at(next_random() % taken_count);
        } else {
            uint32_t kind = next_random() % 100;
            uint64_t size = kind < 90   ? PAGES(1 + next_random() % 20)
                            : kind < 99 ? MIB * (1 + next_random() % 31)
                                        : MIB * (32 + next_random() % 1000);
            int prot = next_random() % 4 ? DATA : CODE;
            uint64_t start = hint(owners[which], size, prot);
            if (start == 0) {
                unplaced++;
                continue;
            }
            assert_int_equal(start % (size >= HUGE_SIZE ? HUGE_SIZE : WORLD_PAGE), 0);
            assert_fits(start, start + size, owners[which]);
            world_map(start, size, prot, owners[which]);
            taken[taken_count++] = (struct taken){start, start + size, owners[which]};
        }
    }
    assert_true(unplaced < RANDOM_TURNS / 100);
    while (taken_count)
        unmap_at(taken_count - 1);
}

/* A window whose every page was handed out is used on, by what the ledger knows to be free. */
static void a_window_that_was_used_up_goes_on(void **state)
{
    uint32_t a = world_owner(0);
    enum { KEPT = 2000 };
    uint64_t kept[KEPT];
    unsigned elsewhere = 0;

    (void)state;
    begin();
    seed = 99;
    uint64_t first = hint(a, PAGES(1), DATA);
    world_map(first, PAGES(1), DATA, a);
    for (unsigned i = 0; i < KEPT; i++) {
        kept[i] = hint(a, PAGES(1), DATA);
        world_map(kept[i], PAGES(1), DATA, a);
    }
    for (unsigned turn = 0; turn < 400000; turn++) {
        unsigned i = next_random() % KEPT;
        unmapped(kept[i], PAGES(1));
        world_unmap(kept[i], PAGES(1));
        uint64_t place = hint(a, PAGES(1 + turn % 2), DATA);
        assert_int_not_equal(place, 0);
        elsewhere += between(place, first) > 600 * MIB;
        kept[i] = place;
        world_map(place, PAGES(1), DATA, a);
        if (turn % 2) {
            unmapped(place + PAGES(1), PAGES(1));
        }
    }
    assert_int_equal(elsewhere, 0);
}

/* --- all at once --- */

static atomic_uchar *page_taken; /* of the first window */
static uint64_t window_start, window_pages;
static uint32_t storm_owner;

static void *storm(void *argument)
{
    unsigned random = (unsigned)(uintptr_t)argument * 7919u + 1, refused = 0;
    uint64_t start[STORM_HOLDS] = {0}, size[STORM_HOLDS];
    world_actor()->tid = (uint32_t)(uintptr_t)argument;
    for (unsigned turn = 0; turn < STORM_TURNS; turn++) {
        random = random * 1664525u + 1013904223u;
        unsigned i = random >> 16 & (STORM_HOLDS - 1);
        struct policy_event event = world_event(storm_owner);
        if (start[i]) {
            world_unmap(start[i], PAGES(size[i]));
            for (uint64_t page = 0; page < size[i]; page++) {
                atomic_store(&page_taken[(start[i] - window_start) / WORLD_PAGE + page], 0);
            }
            placement_unmapped(&event, start[i], start[i] + PAGES(size[i]));
            start[i] = 0;
            continue;
        }
        size[i] = 1 + (random >> 24) % 8;
        struct policy_map map = map_of(PAGES(size[i]), DATA);
        uint64_t place = placement_hint(&event, &map, 0);
        uint64_t first = (place - window_start) / WORLD_PAGE, page = 0;
        if (place == 0 || first + size[i] > window_pages) { /* another window of its own */
            continue;
        }
        while (page < size[i] && atomic_exchange(&page_taken[first + page], 1) == 0) {
            page++;
        }
        if (page == size[i]) {
            start[i] = place;
            world_map(place, PAGES(size[i]), DATA, storm_owner);
            continue;
        }
        refused++; /* as the kernel would */
        while (page-- > 0) {
            atomic_store(&page_taken[first + page], 0);
        }
        placement_refused(&event, &map, place, true);
    }
    return (void *)(uintptr_t)refused;
}

static void threads_of_one_sandbox_seldom_meet(void **state)
{
    pthread_t threads[STORM_THREADS];
    uintptr_t refused = 0;

    (void)state;
    begin();
    storm_owner = world_owner(0);
    window_start = hint(storm_owner, PAGES(1), DATA);
    window_pages = (UINT64_C(256) << 20) / WORLD_PAGE;
    page_taken = calloc(window_pages, sizeof *page_taken);
    atomic_store(&page_taken[0], 1);
    for (unsigned i = 0; i < STORM_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, storm, (void *)(uintptr_t)(i + 2)), 0);
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        void *its;
        pthread_join(threads[i], &its);
        refused += (uintptr_t)its;
    }
    assert_true(refused < STORM_THREADS * STORM_TURNS / 50);
    free(page_taken);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_has_windows_of_its_own),
        TEST(freed_addresses_come_first),
        TEST(large_ones_are_aligned_and_apart),
        TEST(some_mappings_are_the_kernels_business),
        TEST(what_is_refused_is_gone_around),
        TEST(windows_of_the_ended_are_used_again_once_empty),
        TEST(more_sandboxes_than_windows_share_none),
        TEST(growth_and_moves_are_followed),
        TEST(there_may_be_no_place_at_all),
        TEST(the_start_varies_within_the_area),
        TEST(no_two_ever_meet),
        TEST(a_window_that_was_used_up_goes_on),
        TEST(threads_of_one_sandbox_seldom_meet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
