/*
 * test_guest_layout.c: the gap finder of a guest's addresses, by examples and against a model that
 * keeps one byte a page and looks at every page. GUEST_LAYOUT_SEED repeats a run.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "supervisor/guest_layout.h"

#define PAGES(count) ((count)*GUEST_PAGE)
#define BASE PAGES(16)
#define BIG_ALIGNMENT PAGES(8)

static const struct guest_range windows[GUEST_REGIONS] = {
    [GUEST_WRITABLE] = {BASE, PAGES(80)},
    [GUEST_EXECUTABLE] = {PAGES(96), PAGES(160)},
};
static const struct guest_range other_windows[GUEST_REGIONS] = {
    [GUEST_WRITABLE] = {PAGES(101), PAGES(180)},
    [GUEST_EXECUTABLE] = {PAGES(3), PAGES(50)},
};

static struct guest_layout new_layout(const struct guest_range chosen[GUEST_REGIONS])
{
    struct guest_layout layout;

    assert_int_equal(guest_layout_init(&layout, chosen), 0);
    return layout;
}

static uint64_t place(struct guest_layout *layout, enum guest_region kind, unsigned pages)
{
    uint64_t start = 0;

    assert_int_equal(guest_layout_place(layout, kind, PAGES(pages), GUEST_PAGE, &start), 0);
    return start;
}

static void regions_follow_one_another_from_the_base(void **state)
{
    struct guest_layout layout = new_layout(windows);

    (void)state;
    assert_int_equal(place(&layout, GUEST_WRITABLE, 2), BASE);
    assert_int_equal(place(&layout, GUEST_EXECUTABLE, 1), PAGES(96));
    assert_int_equal(place(&layout, GUEST_WRITABLE, 1), BASE + PAGES(2));
    assert_int_equal(place(&layout, GUEST_EXECUTABLE, 1), PAGES(97));
    assert_int_equal(guest_layout_bytes(&layout, BASE), PAGES(2));
    assert_int_equal(guest_layout_bytes(&layout, BASE + PAGES(1)), 0);
    guest_layout_clear(&layout);
}

static void a_release_takes_the_hint_back_when_lower(void **state)
{
    struct guest_layout layout = new_layout(windows);
    uint64_t first = place(&layout, GUEST_WRITABLE, 2);
    uint64_t second = place(&layout, GUEST_WRITABLE, 2);
    uint64_t third = place(&layout, GUEST_WRITABLE, 2);

    (void)state;
    assert_int_equal(guest_layout_release(&layout, first), 0);
    assert_int_equal(guest_layout_release(&layout, third), 0); /* higher: the hint stays */
    assert_int_equal(place(&layout, GUEST_WRITABLE, 2), first);
    assert_int_equal(place(&layout, GUEST_WRITABLE, 2), third);
    assert_int_equal(guest_layout_release(&layout, first + PAGES(1)), -ENOENT);
    assert_int_equal(guest_layout_bytes(&layout, second), PAGES(2));
    guest_layout_clear(&layout);
}

static void a_release_of_one_kind_leaves_the_other_hint(void **state)
{
    struct guest_layout layout = new_layout(windows);
    uint64_t code = place(&layout, GUEST_EXECUTABLE, 1);
    uint64_t data = place(&layout, GUEST_WRITABLE, 1);
    uint64_t more_code = place(&layout, GUEST_EXECUTABLE, 1);

    (void)state;
    assert_int_equal(guest_layout_release(&layout, data), 0);
    assert_int_equal(place(&layout, GUEST_EXECUTABLE, 1), more_code + PAGES(1));
    assert_int_equal(place(&layout, GUEST_WRITABLE, 1), data);
    assert_int_equal(guest_layout_bytes(&layout, code), PAGES(1));
    guest_layout_clear(&layout);
}

static void a_miss_is_followed_by_a_full_scan(void **state)
{
    struct guest_layout layout = new_layout(windows);
    uint64_t small = place(&layout, GUEST_WRITABLE, 1);
    uint64_t wall = place(&layout, GUEST_WRITABLE, 1);
    uint64_t start = 0;

    (void)state;
    place(&layout, GUEST_WRITABLE, 60);
    assert_int_equal(guest_layout_release(&layout, small), 0);
    /* Too big for the gap: found behind everything, and the hint is then past the gap. */
    assert_int_equal(place(&layout, GUEST_WRITABLE, 2), BASE + PAGES(62));
    assert_int_equal(guest_layout_place(&layout, GUEST_WRITABLE, PAGES(2), GUEST_PAGE, &start),
                     -ENOMEM);
    assert_int_equal(place(&layout, GUEST_WRITABLE, 1), small);
    assert_int_equal(guest_layout_place(&layout, GUEST_WRITABLE, PAGES(1), GUEST_PAGE, &start),
                     -ENOMEM);
    assert_int_equal(guest_layout_release(&layout, wall), 0);
    assert_int_equal(place(&layout, GUEST_WRITABLE, 1), wall);
    guest_layout_clear(&layout);
}

static void alignment_is_kept(void **state)
{
    struct guest_layout layout = new_layout(windows);
    uint64_t start = 0;

    (void)state;
    assert_int_equal(place(&layout, GUEST_WRITABLE, 1), BASE);
    assert_int_equal(guest_layout_place(&layout, GUEST_WRITABLE, PAGES(1), BIG_ALIGNMENT, &start),
                     0);
    assert_int_equal(start, BASE + BIG_ALIGNMENT);
    assert_int_equal(place(&layout, GUEST_WRITABLE, 1), BASE + BIG_ALIGNMENT + PAGES(1));
    /* Also when it moves: in place there is no room. */
    assert_int_equal(guest_layout_resize(&layout, GUEST_WRITABLE, PAGES(2), BIG_ALIGNMENT, &start),
                     0);
    assert_int_equal(start, BASE + 2 * BIG_ALIGNMENT);
    assert_int_equal(guest_layout_place(&layout, GUEST_WRITABLE, PAGES(1), GUEST_PAGE / 2, &start),
                     -EINVAL);
    assert_int_equal(guest_layout_place(&layout, GUEST_WRITABLE, PAGES(1), 3 * GUEST_PAGE, &start),
                     -EINVAL);
    guest_layout_clear(&layout);
}

static void a_region_that_is_resized_stays_where_it_can(void **state)
{
    struct guest_layout layout = new_layout(windows);
    uint64_t first = place(&layout, GUEST_WRITABLE, 4);
    uint64_t start = first;

    (void)state;
    assert_int_equal(guest_layout_resize(&layout, GUEST_WRITABLE, PAGES(8), GUEST_PAGE, &start), 0);
    assert_int_equal(start, first);
    assert_int_equal(guest_layout_resize(&layout, GUEST_WRITABLE, PAGES(2), GUEST_PAGE, &start), 0);
    assert_int_equal(start, first);
    /* The hint was taken back to what shrinking freed. */
    assert_int_equal(place(&layout, GUEST_WRITABLE, 1), first + PAGES(2));
    assert_int_equal(guest_layout_resize(&layout, GUEST_WRITABLE, PAGES(3), GUEST_PAGE, &start), 0);
    assert_int_equal(start, first + PAGES(3));
    /* And to where the region was before it moved. */
    assert_int_equal(place(&layout, GUEST_WRITABLE, 2), first);
    guest_layout_clear(&layout);
}

static void a_resize_that_fails_changes_nothing(void **state)
{
    struct guest_layout layout = new_layout(windows);
    uint64_t first = place(&layout, GUEST_WRITABLE, 4);
    uint64_t start = first;

    (void)state;
    place(&layout, GUEST_WRITABLE, 30);
    assert_int_equal(guest_layout_resize(&layout, GUEST_WRITABLE, PAGES(31), GUEST_PAGE, &start),
                     -ENOMEM);
    assert_int_equal(guest_layout_resize(&layout, GUEST_WRITABLE, PAGES(65), GUEST_PAGE, &start),
                     -ENOMEM);
    assert_int_equal(guest_layout_resize(&layout, GUEST_WRITABLE, 0, GUEST_PAGE, &start), -EINVAL);
    assert_int_equal(start, first);
    assert_int_equal(guest_layout_bytes(&layout, first), PAGES(4));
    assert_int_equal(place(&layout, GUEST_WRITABLE, 1), first + PAGES(34));
    guest_layout_clear(&layout);
}

static void a_chosen_address_is_taken_once_and_anywhere(void **state)
{
    struct guest_layout layout = new_layout(windows);
    uint64_t outside = PAGES(1000);

    (void)state;
    assert_int_equal(guest_layout_reserve(&layout, outside, PAGES(2)), 0);
    assert_int_equal(guest_layout_reserve(&layout, outside + PAGES(1), PAGES(2)), -EEXIST);
    assert_int_equal(guest_layout_reserve(&layout, outside - PAGES(1), PAGES(4)), -EEXIST);
    assert_int_equal(guest_layout_reserve(&layout, outside - PAGES(1), PAGES(1)), 0);
    assert_int_equal(guest_layout_reserve(&layout, BASE, PAGES(1)), 0);
    assert_int_equal(place(&layout, GUEST_WRITABLE, 1), BASE + PAGES(1));
    assert_int_equal(guest_layout_reserve(&layout, 1, PAGES(1)), -EINVAL);
    assert_int_equal(guest_layout_reserve(&layout, PAGES(1), 0), -EINVAL);
    assert_int_equal(guest_layout_reserve(&layout, PAGES(1), 1), -EINVAL);
    assert_int_equal(guest_layout_reserve(&layout, -PAGES(1), PAGES(1)), -EINVAL);
    assert_int_equal(guest_layout_reserve(&layout, -PAGES(2), PAGES(1)), 0);
    guest_layout_clear(&layout);
}

/* What begins below a window frees addresses in it, but never takes its hint below it. */
static void a_hint_stays_in_its_window(void **state)
{
    struct guest_layout layout = new_layout(windows);

    (void)state;
    assert_int_equal(guest_layout_reserve(&layout, BASE - PAGES(2), PAGES(4)), 0);
    assert_int_equal(place(&layout, GUEST_WRITABLE, 1), BASE + PAGES(2));
    assert_int_equal(guest_layout_release(&layout, BASE - PAGES(2)), 0);
    assert_int_equal(place(&layout, GUEST_WRITABLE, 1), BASE);
    guest_layout_clear(&layout);
}

static void bad_windows_are_refused(void **state)
{
    static const struct guest_range bad[][GUEST_REGIONS] = {
        {{0, PAGES(4)}, {PAGES(8), PAGES(9)}},
        {{PAGES(2), PAGES(2)}, {PAGES(8), PAGES(9)}},
        {{PAGES(3), PAGES(2)}, {PAGES(8), PAGES(9)}},
        {{PAGES(1) + 1, PAGES(2)}, {PAGES(8), PAGES(9)}},
        {{PAGES(1), PAGES(9)}, {PAGES(8), PAGES(9)}},
    };
    struct guest_layout layout;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(guest_layout_init(&layout, bad[i]), -EINVAL);
}

static void a_reset_guest_starts_at_its_base(void **state)
{
    struct guest_layout layout = new_layout(windows);

    (void)state;
    place(&layout, GUEST_WRITABLE, 30);
    place(&layout, GUEST_EXECUTABLE, 30);
    guest_layout_reset(&layout);
    assert_int_equal(place(&layout, GUEST_WRITABLE, 40), BASE);
    assert_int_equal(place(&layout, GUEST_EXECUTABLE, 40), PAGES(96));
    guest_layout_clear(&layout);
}

static void a_copy_is_what_the_layout_was(void **state)
{
    struct guest_layout layout = new_layout(windows);
    struct guest_layout copy = {0};
    uint64_t first = place(&layout, GUEST_WRITABLE, 3);

    (void)state;
    assert_int_equal(guest_layout_copy(&copy, &layout), 0);
    assert_int_equal(guest_layout_release(&layout, first), 0);
    for (unsigned i = 0; i < 40; i++)
        place(&layout, GUEST_WRITABLE, 1);
    assert_int_equal(place(&copy, GUEST_WRITABLE, 1), first + PAGES(3));
    assert_int_equal(guest_layout_copy(&layout, &copy), 0);
    assert_int_equal(guest_layout_bytes(&layout, first), PAGES(3));
    assert_int_equal(place(&layout, GUEST_WRITABLE, 1), first + PAGES(4));
    guest_layout_clear(&copy);
    guest_layout_clear(&layout);
}

/* --- the model ------------------------------------------------------------------------------- */

#define MODEL_PAGES 200
#define MODEL_STEPS 20000
#define MODEL_LARGEST 12 /* pages: large enough that searches miss */

/* One guest as the rules say it, in the plainest way: which page belongs to the region that starts
 * where (0: none; no region starts at page 0). */
struct model {
    unsigned owner[MODEL_PAGES];
    struct guest_range windows[GUEST_REGIONS]; /* in pages */
    unsigned hints[GUEST_REGIONS];
};

static bool model_is_free(const struct model *model, unsigned first, unsigned pages)
{
    for (unsigned page = first; page < first + pages; page++)
        if (page >= MODEL_PAGES || model->owner[page] != 0)
            return false;
    return true;
}

static void model_set(struct model *model, unsigned first, unsigned pages, unsigned owner)
{
    for (unsigned page = first; page < first + pages; page++)
        model->owner[page] = owner;
}

static unsigned model_pages(const struct model *model, unsigned first)
{
    unsigned pages = 0;

    while (first + pages < MODEL_PAGES && model->owner[first + pages] == first)
        pages++;
    return pages;
}

static unsigned model_scan(const struct model *model, unsigned from, unsigned end, unsigned pages,
                           unsigned alignment)
{
    for (unsigned page = from; page + pages <= end; page++)
        if (page % alignment == 0 && model_is_free(model, page, pages))
            return page;
    return 0;
}

static unsigned model_place(struct model *model, enum guest_region kind, unsigned pages,
                            unsigned alignment)
{
    unsigned base = (unsigned)model->windows[kind].start;
    unsigned end = (unsigned)model->windows[kind].end;
    unsigned from = model->hints[kind] != 0 ? model->hints[kind] : base;
    unsigned found = model_scan(model, from, end, pages, alignment);

    if (found == 0)
        found = model_scan(model, base, end, pages, alignment);
    if (found != 0) {
        model_set(model, found, pages, found);
        model->hints[kind] = found + pages;
    }
    return found;
}

static void model_free(struct model *model, unsigned first, unsigned pages)
{
    model_set(model, first, pages, 0);
    for (unsigned kind = 0; kind < GUEST_REGIONS; kind++)
        for (unsigned page = first; page < first + pages; page++)
            if (page >= model->windows[kind].start && page < model->windows[kind].end &&
                page < model->hints[kind])
                model->hints[kind] = page;
}

struct guest {
    struct guest_layout layout;
    struct model model;
};

static struct guest new_guest(const struct guest_range chosen[GUEST_REGIONS])
{
    struct guest guest = {.layout = new_layout(chosen)};

    for (unsigned kind = 0; kind < GUEST_REGIONS; kind++)
        guest.model.windows[kind] =
            (struct guest_range){chosen[kind].start / GUEST_PAGE, chosen[kind].end / GUEST_PAGE};
    return guest;
}

/* A random page at which a region starts, or any other page now and then. */
static unsigned any_region(const struct model *model, unsigned short seed[3])
{
    unsigned page = (unsigned)nrand48(seed) % MODEL_PAGES;

    if (nrand48(seed) % 16 == 0)
        return page;
    for (unsigned i = 0; i < MODEL_PAGES; i++, page = (page + 1) % MODEL_PAGES)
        if (model->owner[page] == page && page != 0)
            return page;
    return page;
}

static void step_place(struct guest *guest, enum guest_region kind, unsigned pages,
                       unsigned alignment)
{
    unsigned expected = model_place(&guest->model, kind, pages, alignment);
    uint64_t start = 0;
    int result = guest_layout_place(&guest->layout, kind, PAGES(pages), PAGES(alignment), &start);

    assert_int_equal(result, expected != 0 ? 0 : -ENOMEM);
    assert_int_equal(start, PAGES(expected));
}

static void step_reserve(struct guest *guest, unsigned page, unsigned pages)
{
    bool is_free = model_is_free(&guest->model, page, pages);

    if (page == 0 || page + pages > MODEL_PAGES)
        return;
    assert_int_equal(guest_layout_reserve(&guest->layout, PAGES(page), PAGES(pages)),
                     is_free ? 0 : -EEXIST);
    if (is_free)
        model_set(&guest->model, page, pages, page);
}

static void step_release(struct guest *guest, unsigned page)
{
    unsigned had = page != 0 ? model_pages(&guest->model, page) : 0;

    assert_int_equal(guest_layout_bytes(&guest->layout, PAGES(page)), PAGES(had));
    assert_int_equal(guest_layout_release(&guest->layout, PAGES(page)), had != 0 ? 0 : -ENOENT);
    model_free(&guest->model, page, had);
}

static void step_resize(struct guest *guest, enum guest_region kind, unsigned page, unsigned pages,
                        unsigned alignment)
{
    struct model *model = &guest->model;
    unsigned had = page != 0 ? model_pages(model, page) : 0;
    uint64_t start = PAGES(page);
    unsigned expected = page;

    if (had == 0) {
        expected = 0;
    } else if (pages < had) {
        model_free(model, page + pages, had - pages);
    } else if (page + pages <= model->windows[kind].end &&
               model_is_free(model, page + had, pages - had)) {
        model_set(model, page, pages, page);
    } else {
        expected = model_place(model, kind, pages, alignment);
        if (expected != 0)
            model_free(model, page, had);
    }

    int result = guest_layout_resize(&guest->layout, kind, PAGES(pages), PAGES(alignment), &start);

    assert_int_equal(result, had == 0 ? -ENOENT : expected == 0 ? -ENOMEM : 0);
    if (result == 0)
        assert_int_equal(start, PAGES(expected));
}

static void step(struct guest *guest, unsigned short seed[3])
{
    enum guest_region kind = nrand48(seed) % GUEST_REGIONS;
    unsigned pages = 1 + (unsigned)nrand48(seed) % MODEL_LARGEST;
    unsigned alignment = 1U << (nrand48(seed) % 4);
    unsigned page = any_region(&guest->model, seed);

    switch (nrand48(seed) % 16) {
    case 0:
        if (nrand48(seed) % 32 != 0)
            break;
        guest_layout_reset(&guest->layout);
        memset(guest->model.owner, 0, sizeof(guest->model.owner));
        memset(guest->model.hints, 0, sizeof(guest->model.hints));
        break;
    case 1:
        step_reserve(guest, (unsigned)nrand48(seed) % MODEL_PAGES, pages);
        break;
    case 2:
    case 3:
    case 4:
        step_resize(guest, kind, page, pages, alignment);
        break;
    case 5:
    case 6:
    case 7:
    case 8:
    case 9:
        step_release(guest, page);
        break;
    default:
        step_place(guest, kind, pages, alignment);
        break;
    }
}

/* Two guests take random turns. Each must be where its own model says, so neither can have had any
 * influence on the other. */
static void interleaved_guests_are_each_as_their_model(void **state)
{
    const char *chosen = getenv("GUEST_LAYOUT_SEED");
    unsigned long number = chosen ? strtoul(chosen, NULL, 0) : (unsigned long)time(NULL);
    unsigned short seed[3] = {(unsigned short)number, (unsigned short)(number >> 16), 0};
    struct guest guests[] = {new_guest(windows), new_guest(other_windows)};

    (void)state;
    print_message("GUEST_LAYOUT_SEED=%lu\n", number);
    for (unsigned i = 0; i < MODEL_STEPS; i++)
        step(&guests[nrand48(seed) % 2], seed);
    guest_layout_clear(&guests[0].layout);
    guest_layout_clear(&guests[1].layout);
}

/* --- the defect ------------------------------------------------------------------------------ */

/* Two guests of different layouts, each with one region of each kind, and a second of the first's:
 * with hints of its own, each region is at the base of its guest's window or right behind it. */
static unsigned count_wrong_addresses(bool shares_hints)
{
    struct guest_layout first = new_layout(windows);
    struct guest_layout second = new_layout(other_windows);
    unsigned wrong = 0;

    first.shares_hints = shares_hints;
    second.shares_hints = shares_hints;
    wrong += place(&first, GUEST_WRITABLE, 2) != windows[GUEST_WRITABLE].start;
    wrong += place(&second, GUEST_WRITABLE, 2) != other_windows[GUEST_WRITABLE].start;
    wrong += place(&first, GUEST_WRITABLE, 2) != windows[GUEST_WRITABLE].start + PAGES(2);
    wrong += place(&first, GUEST_EXECUTABLE, 2) != windows[GUEST_EXECUTABLE].start;
    wrong += place(&second, GUEST_EXECUTABLE, 2) != other_windows[GUEST_EXECUTABLE].start;
    guest_layout_clear(&first);
    guest_layout_clear(&second);
    return wrong;
}

static void shared_hints_place_one_guest_by_the_other(void **state)
{
    (void)state;
    assert_int_equal(count_wrong_addresses(false), 0);
    assert_int_not_equal(count_wrong_addresses(true), 0);
    /* And the harm outlives them: the next guest starts where those ended. */
    assert_int_not_equal(count_wrong_addresses(true), 0);
    assert_int_equal(count_wrong_addresses(false), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regions_follow_one_another_from_the_base),
        cmocka_unit_test(a_release_takes_the_hint_back_when_lower),
        cmocka_unit_test(a_release_of_one_kind_leaves_the_other_hint),
        cmocka_unit_test(a_miss_is_followed_by_a_full_scan),
        cmocka_unit_test(alignment_is_kept),
        cmocka_unit_test(a_region_that_is_resized_stays_where_it_can),
        cmocka_unit_test(a_resize_that_fails_changes_nothing),
        cmocka_unit_test(a_chosen_address_is_taken_once_and_anywhere),
        cmocka_unit_test(a_hint_stays_in_its_window),
        cmocka_unit_test(bad_windows_are_refused),
        cmocka_unit_test(a_reset_guest_starts_at_its_base),
        cmocka_unit_test(a_copy_is_what_the_layout_was),
        cmocka_unit_test(interleaved_guests_are_each_as_their_model),
        cmocka_unit_test(shared_hints_place_one_guest_by_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
