/*
 * test_limit.c: what a sandbox is refused, to the last one, and what nobody is refused. The ledger
 * is one of its own; the kernel is asked for nothing.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "policy/limit.h"
#include "policy_world.h"

#define BASE UINT64_C(0x700000000000)
#define PAGES(n) ((uint64_t)(n)*WORLD_PAGE)

static void begin(struct limit_terms terms)
{
    limit_begin(&terms);
}

static int fds(uint32_t owner, unsigned count)
{
    struct policy_event event = world_event(owner);
    int error = limit_fds(&event, count);
    /* The quick look never promises what the long one refuses. */
    assert_true(error == 0 || !limit_is_far(world_ledger(), owner, count));
    return error;
}

static int map(uint32_t owner, unsigned mappings, uint64_t bytes)
{
    struct policy_event event = world_event(owner);
    return limit_map(&event, mappings, bytes);
}

static int map_over(uint32_t owner, unsigned page, unsigned pages)
{
    struct policy_event event = world_event(owner);
    return limit_map_over(&event, BASE + PAGES(page), BASE + PAGES(page + pages));
}

static int bind(uint32_t vm, unsigned page, unsigned pages)
{
    struct policy_event event = world_event(vm);
    return limit_bind(&event, BASE + PAGES(page), BASE + PAGES(page + pages));
}

static int grow(unsigned page, unsigned pages, unsigned wanted, bool once_more)
{
    struct policy_event event = world_event(0);
    return limit_grow(&event, BASE + PAGES(page), BASE + PAGES(page + pages), PAGES(wanted),
                      once_more);
}

static int split(unsigned page, unsigned pages, int prot)
{
    struct policy_event event = world_event(0);
    return limit_split(&event, BASE + PAGES(page), BASE + PAGES(page + pages), prot);
}

static void map_pages(uint32_t owner, unsigned page, unsigned pages)
{
    world_map(BASE + PAGES(page), PAGES(pages), PROT_READ | PROT_WRITE, owner);
}

static void descriptors_to_the_last(void **state)
{
    uint32_t a = world_owner(0), b = world_owner(0);

    (void)state;
    begin((struct limit_terms){.fds = 3});
    for (int fd = 10; fd < 13; fd++) {
        assert_int_equal(fds(a, 1), 0);
        world_take_fd(fd, a);
    }
    assert_int_equal(fds(a, 1), EMFILE);
    assert_int_equal(fds(b, 3), 0);
    assert_int_equal(fds(b, 4), EMFILE);
    assert_int_equal(fds(0, 1000), 0);
    world_close_fd(11);
    assert_int_equal(fds(a, 1), 0);
    assert_int_equal(fds(a, 2), EMFILE);
    assert_int_equal(fds(LIMIT_NEW_OWNER, 3), 0);
    assert_int_equal(fds(LIMIT_NEW_OWNER, 4), EMFILE);
}

static void a_refusal_is_noted(void **state)
{
    uint32_t a = world_owner(0);
    const struct ledger_header *header = world_ledger()->header;

    (void)state;
    begin((struct limit_terms){.fds = 1, .vmas = 1});
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(fds(a, 2), EMFILE);
    assert_int_equal(map(a, 2, PAGES(5)), ENOMEM);
    assert_int_equal(header->limited, 4);
    assert_int_equal(header->used[LEDGER_EVENTS], 3);
    const struct ledger_event *event = ledger_at(world_ledger(), LEDGER_EVENTS, 1);
    assert_int_equal(event->kind, LEDGER_EVENT_LIMITED_FD);
    assert_int_equal(event->error, EMFILE);
    assert_int_equal(event->count, 3);
    assert_int_equal(event->owner, a);
    assert_int_not_equal(event->stack, 0);
    event = ledger_at(world_ledger(), LEDGER_EVENTS, 2);
    assert_int_equal(event->kind, LEDGER_EVENT_LIMITED_MAPPING);
    assert_int_equal(event->error, ENOMEM);
    assert_int_equal(event->bytes, PAGES(5));
    assert_int_equal(event->owner, a);
}

static void parts_count_for_the_whole(void **state)
{
    uint32_t a = world_owner(0), part = world_owner(a), other = world_owner(a);

    (void)state;
    begin((struct limit_terms){.fds = 2, .vmas = 2});
    world_take_fd(10, part);
    world_take_fd(11, other);
    assert_int_equal(fds(a, 1), EMFILE);
    assert_int_equal(fds(part, 1), EMFILE);
    map_pages(part, 0, 1);
    map_pages(a, 2, 1);
    assert_int_equal(map(other, 1, PAGES(1)), ENOMEM);
}

static void who_comes_after_has_all_of_it(void **state)
{
    uint32_t a = world_owner(0);

    (void)state;
    begin((struct limit_terms){.fds = 1});
    world_take_fd(10, a);
    assert_int_equal(fds(a, 1), EMFILE);
    world_owner_ends(a);
    assert_int_equal(fds(world_owner(0), 1), 0);
}

static void other_tables_of_descriptors_are_not_limited(void **state)
{
    struct policy_event event = world_event(world_owner(0));

    (void)state;
    begin((struct limit_terms){.fds = 1, .reserve_fds = 10, .max_fds = 10});
    assert_int_equal(limit_fds(&event, 5), EMFILE);
    event.watching_fds = false;
    assert_int_equal(limit_fds(&event, 5), 0);
}

static void mappings_and_bytes_to_the_last(void **state)
{
    uint32_t a = world_owner(0), b = world_owner(0);

    (void)state;
    begin((struct limit_terms){.vmas = 3, .bytes = PAGES(10)});
    assert_int_equal(map(a, 1, PAGES(10)), 0);
    assert_int_equal(map(a, 1, PAGES(10) + 1), ENOMEM);
    assert_int_equal(map(a, 1, UINT64_MAX), ENOMEM);
    map_pages(a, 0, 4);
    map_pages(a, 10, 4);
    assert_int_equal(map(a, 1, PAGES(2)), 0);
    assert_int_equal(map(a, 1, PAGES(3)), ENOMEM);
    assert_int_equal(map(a, 2, PAGES(1)), ENOMEM);
    assert_int_equal(map(a, 1, UINT64_MAX - PAGES(2)), ENOMEM);
    map_pages(a, 20, 1);
    assert_int_equal(map(a, 1, PAGES(1)), ENOMEM);
    assert_int_equal(map(b, 3, PAGES(10)), 0);
    assert_int_equal(map(0, 1000, UINT64_MAX), 0);
    world_unmap(BASE, PAGES(4));
    assert_int_equal(map(a, 1, PAGES(5)), 0);
}

static void what_is_replaced_counts_no_more(void **state)
{
    uint32_t a = world_owner(0), b = world_owner(0);

    (void)state;
    begin((struct limit_terms){.vmas = 3, .bytes = PAGES(12)});
    map_pages(a, 0, 4);
    map_pages(a, 4, 4);
    map_pages(a, 8, 4);
    map_pages(b, 20, 4);
    assert_int_equal(map(a, 1, PAGES(1)), ENOMEM);
    assert_int_equal(map_over(a, 0, 4), 0);       /* one for one */
    assert_int_equal(map_over(a, 0, 12), 0);      /* one for three */
    assert_int_equal(map_over(a, 2, 4), ENOMEM);  /* one more, between two */
    assert_int_equal(map_over(a, 1, 2), ENOMEM);  /* in the middle: two more */
    assert_int_equal(map_over(a, 0, 2), ENOMEM);  /* over an end: one more */
    assert_int_equal(map_over(a, 20, 4), ENOMEM); /* another's */
    assert_int_equal(map_over(a, 8, 5), ENOMEM);  /* a page more */
    assert_int_equal(map_over(0, 0, 100), 0);
    world_unmap(BASE, PAGES(4));
    assert_int_equal(map_over(a, 2, 6), 0);
}

static void a_slot_takes_what_is_not_its_sandboxs_yet(void **state)
{
    uint32_t vm = world_owner(0), other = world_owner(0);

    (void)state;
    begin((struct limit_terms){.vmas = 2, .bytes = PAGES(10)});
    map_pages(0, 0, 8);
    map_pages(0, 8, 8);
    map_pages(other, 20, 11);
    assert_int_equal(bind(vm, 0, 10), 0);
    assert_int_equal(bind(vm, 0, 11), ENOMEM);
    assert_int_equal(bind(vm, 7, 2), 0);
    assert_int_equal(bind(vm, 20, 11), ENOMEM);
    assert_int_equal(bind(vm, 100, 10), 0); /* mapped unseen */
    assert_int_equal(bind(vm, 100, 11), ENOMEM);
    assert_int_equal(bind(vm, 7, 14), ENOMEM); /* three pieces, and a gap */
    world_bind(vm, 0, BASE, PAGES(8));
    assert_int_equal(bind(vm, 0, 8), 0); /* it has it already */
    assert_int_equal(bind(vm, 6, 4), 0);
    assert_int_equal(bind(vm, 8, 3), ENOMEM);
    world_bind(vm, 1, BASE + PAGES(8), PAGES(1));
    assert_int_equal(bind(vm, 9, 1), ENOMEM);
    assert_int_equal(bind(other, 20, 11), 0);
    assert_int_equal(bind(0, 0, 16), 0);
}

static void growth_counts_for_whose_it_is(void **state)
{
    uint32_t a = world_owner(0);

    (void)state;
    begin((struct limit_terms){.vmas = 2, .bytes = PAGES(10)});
    map_pages(a, 0, 8);
    map_pages(0, 20, 8);
    assert_int_equal(grow(0, 8, 10, false), 0);
    assert_int_equal(grow(0, 8, 11, false), ENOMEM);
    assert_int_equal(grow(0, 8, 1, false), 0);
    assert_int_equal(grow(0, 8, 2, true), 0);
    assert_int_equal(grow(0, 8, 8, true), ENOMEM);
    assert_int_equal(grow(20, 8, 1000, false), 0);
    assert_int_equal(grow(20, 8, 1000, true), 0);
    assert_int_equal(grow(50, 1, 1000, false), 0);
    map_pages(a, 30, 1);
    assert_int_equal(grow(0, 8, 1, true), ENOMEM);
}

static void only_a_part_that_differs_is_one_more(void **state)
{
    uint32_t a = world_owner(0);

    (void)state;
    begin((struct limit_terms){.vmas = 2});
    map_pages(a, 0, 8);
    map_pages(0, 20, 8);
    assert_int_equal(split(2, 6, PROT_READ), 0); /* two */
    map_pages(a, 8, 8);
    assert_int_equal(split(2, 6, PROT_READ), ENOMEM);
    assert_int_equal(split(0, 2, PROT_READ), ENOMEM);
    assert_int_equal(split(0, 8, PROT_READ), 0);
    assert_int_equal(split(0, 16, PROT_READ), 0);
    assert_int_equal(split(2, 3, PROT_READ | PROT_WRITE), 0); /* no change */
    assert_int_equal(split(22, 2, PROT_READ), 0);             /* the supervisor's */
    assert_int_equal(split(100, 2, PROT_READ), 0);
}

static void the_last_vmas_are_the_supervisors(void **state)
{
    uint32_t a = world_owner(0);
    int64_t *estimate = &world_ledger()->header->vmas_estimated;

    (void)state;
    begin((struct limit_terms){.reserve_vmas = 100, .max_vmas = 1000});
    *estimate = 899;
    assert_int_equal(map(a, 1, PAGES(1)), 0);
    assert_int_equal(map(a, 2, PAGES(1)), ENOMEM);
    *estimate = 900;
    assert_int_equal(map(a, 1, PAGES(1)), ENOMEM);
    assert_int_equal(map(0, 1, PAGES(1)), 0);
    assert_int_equal(map(a, 0, PAGES(1)), 0); /* growth takes none */
    *estimate = 5000;
    assert_int_equal(map(a, 1, PAGES(1)), ENOMEM);
    begin((struct limit_terms){.reserve_vmas = 100}); /* of how many, nobody knows */
    assert_int_equal(map(a, 1, PAGES(1)), 0);
}

static void the_last_descriptors_are_the_supervisors(void **state)
{
    uint32_t a = world_owner(0);

    (void)state;
    begin((struct limit_terms){.reserve_fds = 10, .max_fds = 30});
    for (int fd = 0; fd < 18; fd++)
        world_take_fd(fd, 0);
    world_take_fd(25, a); /* one that was put into the reserve, by number */
    assert_int_equal(fds(a, 2), 0);
    assert_int_equal(fds(a, 3), EMFILE);
    world_take_fd(19, 0);
    assert_int_equal(fds(a, 1), 0);
    assert_int_equal(fds(a, 2), EMFILE);
    world_take_fd(18, 0);
    assert_int_equal(fds(a, 1), EMFILE);
    assert_int_equal(fds(LIMIT_NEW_OWNER, 1), EMFILE);
    assert_int_equal(fds(0, 1), 0);
    world_close_fd(3);
    assert_int_equal(fds(a, 1), 0);
    begin((struct limit_terms){.reserve_fds = 10}); /* of how many, nobody knows */
    assert_int_equal(fds(a, 1), 0);
}

static void what_was_received_stays_as_far_as_there_is_room(void **state)
{
    const int got[] = {12, 13, 14, 15};
    uint32_t a = world_owner(0);
    struct policy_event event = world_event(a);

    (void)state;
    begin((struct limit_terms){.fds = 3});
    assert_int_equal(limit_received(&event, got, 2), 2);
    world_take_fd(10, a);
    assert_int_equal(limit_received(&event, got, 4), 2);
    world_take_fd(11, a);
    world_take_fd(12, a);
    assert_int_equal(limit_received(&event, got, 4), 0);
    assert_int_equal(world_ledger()->header->limited, 2);
    begin((struct limit_terms){.reserve_fds = 6, .max_fds = 20});
    assert_int_equal(limit_received(&event, got, 4), 2); /* 14 and 15 are of the last six */
    event = world_event(0);
    assert_int_equal(limit_received(&event, got, 4), 4);
}

/* While an update is under way, what was let through meanwhile counts as well. */
static void a_ledger_that_lags_behind_lets_no_more_through(void **state)
{
    uint32_t a = world_owner(0);
    struct ledger_actor other = {.tid = 2};
    unsigned let = 0;

    (void)state;
    begin((struct limit_terms){.vmas = 5});
    map_pages(a, 0, 1);
    world_ledger()->lock = &other; /* put aside in the middle of it */
    while (let < 100 && map(a, 1, PAGES(1)) == 0) {
        map_pages(a, 10 + let, 1); /* is queued */
        let++;
    }
    assert_int_equal(let, 4);
    world_ledger()->lock = NULL;
    assert_int_equal(map(a, 1, PAGES(1)), ENOMEM);
    world_unmap(BASE, PAGES(1));
    assert_int_equal(map(a, 1, PAGES(1)), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(descriptors_to_the_last),
        TEST(a_refusal_is_noted),
        TEST(parts_count_for_the_whole),
        TEST(who_comes_after_has_all_of_it),
        TEST(other_tables_of_descriptors_are_not_limited),
        TEST(mappings_and_bytes_to_the_last),
        TEST(what_is_replaced_counts_no_more),
        TEST(a_slot_takes_what_is_not_its_sandboxs_yet),
        TEST(growth_counts_for_whose_it_is),
        TEST(only_a_part_that_differs_is_one_more),
        TEST(the_last_vmas_are_the_supervisors),
        TEST(the_last_descriptors_are_the_supervisors),
        TEST(what_was_received_stays_as_far_as_there_is_room),
        TEST(a_ledger_that_lags_behind_lets_no_more_through),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
