/*
 * guest_layout.c: the gap finder of one guest's addresses. See guest_layout.h.
 *
 * A search starts at a hint, because a guest that maps and maps would otherwise walk over all that
 * it has every time. A hint may only ever skip gaps that are too small: whatever frees addresses
 * below it takes it back to them, and a search that finds nothing starts again at the base.
 */
#include "supervisor/guest_layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Ranges that the first allocation has room for; it doubles from there. */
#define FIRST_ROOM 16

/* process-global: this is the defect shared-gap-hints, the failure of F2, and only that reads or
 * writes it. Without the defect the hints are in the layout. */
static uint64_t shared_hints[GUEST_REGIONS];

static uint64_t *hint_of(struct guest_layout *layout, enum guest_region kind)
{
    return layout->shares_hints ? &shared_hints[kind] : &layout->hints[kind];
}

static bool is_whole_pages(uint64_t value)
{
    return value % GUEST_PAGE == 0;
}

static bool is_range(uint64_t start, uint64_t bytes)
{
    return bytes != 0 && is_whole_pages(start) && is_whole_pages(bytes) &&
           bytes <= UINT64_MAX - start;
}

static bool is_alignment(uint64_t alignment)
{
    return alignment >= GUEST_PAGE && (alignment & (alignment - 1)) == 0;
}

static bool overlap(const struct guest_range *a, const struct guest_range *b)
{
    return a->start < b->end && b->start < a->end;
}

int guest_layout_init(struct guest_layout *layout, const struct guest_range windows[GUEST_REGIONS])
{
    for (unsigned kind = 0; kind < GUEST_REGIONS; kind++) {
        const struct guest_range *window = &windows[kind];

        /* 0 is not an address that can be placed: it is the hint that says "from the start". */
        if (window->start == 0 || window->end <= window->start ||
            !is_range(window->start, window->end - window->start))
            return -EINVAL;
    }
    if (overlap(&windows[GUEST_WRITABLE], &windows[GUEST_EXECUTABLE]))
        return -EINVAL;
    *layout = (struct guest_layout){0};
    memcpy(layout->windows, windows, sizeof(layout->windows));
    return 0;
}

void guest_layout_clear(struct guest_layout *layout)
{
    free(layout->ranges);
    *layout = (struct guest_layout){0};
}

void guest_layout_reset(struct guest_layout *layout)
{
    layout->count = 0;
    memset(layout->hints, 0, sizeof(layout->hints));
}

int guest_layout_copy(struct guest_layout *copy, const struct guest_layout *layout)
{
    struct guest_range *ranges = NULL;

    if (layout->count != 0) {
        ranges = malloc(layout->count * sizeof(*ranges));
        if (ranges == NULL)
            return -ENOMEM;
        memcpy(ranges, layout->ranges, layout->count * sizeof(*ranges));
    }
    free(copy->ranges);
    *copy = *layout;
    copy->ranges = ranges;
    copy->room = layout->count;
    return 0;
}

/* The first range that ends after `address`, or count. */
static size_t find_range(const struct guest_layout *layout, uint64_t address)
{
    size_t low = 0;
    size_t high = layout->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (layout->ranges[middle].end > address)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The range that starts there, or count. */
static size_t find_start(const struct guest_layout *layout, uint64_t start)
{
    size_t at = find_range(layout, start);

    return at < layout->count && layout->ranges[at].start == start ? at : layout->count;
}

static int insert(struct guest_layout *layout, size_t at, struct guest_range range)
{
    if (layout->count == layout->room) {
        size_t room = layout->room != 0 ? layout->room * 2 : FIRST_ROOM;
        struct guest_range *ranges = realloc(layout->ranges, room * sizeof(*ranges));

        if (ranges == NULL)
            return -ENOMEM;
        layout->ranges = ranges;
        layout->room = room;
    }
    memmove(&layout->ranges[at + 1], &layout->ranges[at],
            (layout->count - at) * sizeof(layout->ranges[0]));
    layout->ranges[at] = range;
    layout->count++;
    return 0;
}

static void erase(struct guest_layout *layout, size_t at)
{
    layout->count--;
    memmove(&layout->ranges[at], &layout->ranges[at + 1],
            (layout->count - at) * sizeof(layout->ranges[0]));
}

/* What was just freed: a hint above it would hide it from the next search. */
static void rewind_hints(struct guest_layout *layout, struct guest_range freed)
{
    for (unsigned kind = 0; kind < GUEST_REGIONS; kind++) {
        const struct guest_range *window = &layout->windows[kind];
        uint64_t *hint = hint_of(layout, kind);
        uint64_t lowest = freed.start > window->start ? freed.start : window->start;

        if (overlap(window, &freed) && lowest < *hint)
            *hint = lowest;
    }
}

/* The start of the first gap of [from, to) in which an aligned region of that size fits; `at` is
 * the range before which it lies. */
static bool find_gap(const struct guest_layout *layout, struct guest_range within, uint64_t bytes,
                     uint64_t alignment, size_t *at, uint64_t *start)
{
    uint64_t from = within.start;

    for (size_t next = find_range(layout, from);; next++) {
        bool is_last = next == layout->count;
        uint64_t aligned = (from + alignment - 1) & ~(alignment - 1);

        if (aligned < from || aligned > within.end || bytes > within.end - aligned)
            return false;
        if (is_last || aligned + bytes <= layout->ranges[next].start) {
            *at = next;
            *start = aligned;
            return true;
        }
        from = layout->ranges[next].end;
    }
}

int guest_layout_reserve(struct guest_layout *layout, uint64_t start, uint64_t bytes)
{
    if (!is_range(start, bytes))
        return -EINVAL;

    struct guest_range range = {start, start + bytes};
    size_t at = find_range(layout, start);

    if (at < layout->count && overlap(&layout->ranges[at], &range))
        return -EEXIST;
    return insert(layout, at, range);
}

int guest_layout_place(struct guest_layout *layout, enum guest_region kind, uint64_t bytes,
                       uint64_t alignment, uint64_t *start)
{
    if (!is_range(0, bytes) || !is_alignment(alignment))
        return -EINVAL;

    const struct guest_range *window = &layout->windows[kind];
    uint64_t *hint = hint_of(layout, kind);
    struct guest_range from_hint = {*hint != 0 ? *hint : window->start, window->end};
    uint64_t found = 0;
    size_t at = 0;

    if (!find_gap(layout, from_hint, bytes, alignment, &at, &found) &&
        !find_gap(layout, *window, bytes, alignment, &at, &found))
        return -ENOMEM;

    int result = insert(layout, at, (struct guest_range){found, found + bytes});

    if (result != 0)
        return result;
    *hint = found + bytes;
    *start = found;
    return 0;
}

int guest_layout_release(struct guest_layout *layout, uint64_t start)
{
    size_t at = find_start(layout, start);

    if (at == layout->count)
        return -ENOENT;

    struct guest_range freed = layout->ranges[at];

    erase(layout, at);
    rewind_hints(layout, freed);
    return 0;
}

int guest_layout_resize(struct guest_layout *layout, enum guest_region kind, uint64_t bytes,
                        uint64_t alignment, uint64_t *start)
{
    size_t at = find_start(layout, *start);

    if (at == layout->count)
        return -ENOENT;
    if (!is_range(*start, bytes) || !is_alignment(alignment))
        return -EINVAL;

    struct guest_range *range = &layout->ranges[at];
    uint64_t end = *start + bytes;
    bool has_next = at + 1 < layout->count;

    if (end < range->end) {
        struct guest_range freed = {end, range->end};

        range->end = end;
        rewind_hints(layout, freed);
        return 0;
    }
    if (end <= layout->windows[kind].end && (!has_next || end <= range[1].start)) {
        range->end = end;
        return 0;
    }

    uint64_t moved = 0;
    int result = guest_layout_place(layout, kind, bytes, alignment, &moved);

    if (result != 0)
        return result;
    guest_layout_release(layout, *start);
    *start = moved;
    return 0;
}

uint64_t guest_layout_bytes(const struct guest_layout *layout, uint64_t start)
{
    size_t at = find_start(layout, start);

    return at < layout->count ? layout->ranges[at].end - layout->ranges[at].start : 0;
}
