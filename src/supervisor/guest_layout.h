/*
 * guest_layout.h: which addresses of one guest are taken, and where the next free ones are.
 *
 * Everything about one guest is in its own object, the hints above all: two guests of one process
 * never influence each other's addresses. It maps nothing, makes no system call and knows no host
 * address. Not locked: a layout belongs to one thread at a time.
 *
 * Units: bytes, all of them multiples of GUEST_PAGE. Results: 0, or a negative errno value, and
 * then nothing has changed.
 */
#ifndef SUPERVISOR_GUEST_LAYOUT_H
#define SUPERVISOR_GUEST_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_PAGE UINT64_C(4096)

enum guest_region {
    GUEST_WRITABLE,
    GUEST_EXECUTABLE,
    GUEST_REGIONS,
};

/* Addresses from start up to end, which is not one of them. */
struct guest_range {
    uint64_t start;
    uint64_t end;
};

struct guest_layout {
    /* Where regions of each kind are placed. The two do not overlap. */
    struct guest_range windows[GUEST_REGIONS];
    /* Where the search for a gap starts: the end of the last region that was placed, or the lowest
     * address freed since. 0: at the window's start. */
    uint64_t hints[GUEST_REGIONS];
    /* What is taken, by address. No two overlap. */
    struct guest_range *ranges;
    size_t count;
    size_t room;
    /* The defect shared-gap-hints: the hints of all guests of the process are one. */
    bool shares_hints;
};

/* A layout in which nothing is taken. EINVAL: a window that is empty, not whole pages, starts at 0
 * or overlaps the other. */
int guest_layout_init(struct guest_layout *layout, const struct guest_range windows[GUEST_REGIONS]);

/* Frees what the layout itself holds; the object can be initialised again. */
void guest_layout_clear(struct guest_layout *layout);

/* As after init, with the same windows: a guest that starts anew. */
void guest_layout_reset(struct guest_layout *layout);

/* A copy of what is taken and of the hints, into a layout that was initialised or cleared: what a
 * snapshot keeps and what restoring it brings back. ENOMEM. */
int guest_layout_copy(struct guest_layout *copy, const struct guest_layout *layout);

/* Takes the addresses that somebody chose, in or outside of the windows. EEXIST: not all of them
 * are free. EINVAL: not whole pages, empty, or past the end of 64 bits. ENOMEM. */
int guest_layout_reserve(struct guest_layout *layout, uint64_t start, uint64_t bytes);

/* Takes the first gap from the hint on, or else from the window's start on, whose start is a
 * multiple of `alignment`, a power of two of at least a page. ENOMEM: there is none. EINVAL. */
int guest_layout_place(struct guest_layout *layout, enum guest_region kind, uint64_t bytes,
                       uint64_t alignment, uint64_t *start);

/* Gives back the region that starts there. ENOENT: none does. */
int guest_layout_release(struct guest_layout *layout, uint64_t start);

/* Gives the region at *start another size: in place where it shrinks or there is room behind it,
 * or else in a new gap of its kind, whose start goes to *start, and the old one is free. ENOENT,
 * EINVAL, ENOMEM: as above. */
int guest_layout_resize(struct guest_layout *layout, enum guest_region kind, uint64_t bytes,
                        uint64_t alignment, uint64_t *start);

/* The bytes of the region that starts there; 0: none does. */
uint64_t guest_layout_bytes(const struct guest_layout *layout, uint64_t start);

#endif
