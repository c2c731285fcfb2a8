/*
 * placement.c: see placement.h.
 *
 * Addresses: the last eighth of the address space but one sixteenth, which is between what a
 * position-independent program and its heap grow up to and what the kernel hands out from the top
 * down. First a row of windows, two for each place in the owners' table (the ledger uses low ones
 * again, so these stay close together), then a row of rooms for large mappings.
 *
 * A window's addresses are counted in pages from its start. Below `top` they are in use, or in one
 * of a few holes, or forgotten: a hole that finds no place, and is smaller than all that have one,
 * is lost until the window is empty or, when all else is used, the ledger is asked what is there.
 */
#include "placement.h"

#include <sys/mman.h>

#include "ledger/fault.h"

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#define MAP_HUGE_MASK 0x3f
#endif
#ifndef MAP_32BIT
#define MAP_32BIT 0 /* x86 only */
#endif

#define HUGE_SIZE (UINT64_C(2) << 20)
#define SEPARATOR HUGE_SIZE /* at the end of each window and room: never handed out */
#define WINDOW_SIZE (UINT64_C(256) << 20)
#define WINDOWS 16384u                  /* even: of two neighbours one is for code */
#define LARGE_SIZE (UINT64_C(32) << 20) /* from here on a mapping has rooms of its own */
#define ROOM_SIZE (UINT64_C(512) << 20)
#define ROOMS 16384u
#define RANDOM_SIZE (UINT64_C(1) << 40) /* by so much the start varies */
#define SPACE_MIN (UINT64_C(1) << 47)

/* ThreadSanitizer and MemorySanitizer end a program with a mapping elsewhere; below it is what the
 * ledger itself uses (src/preload/memory.c), above it the lowest top of what the kernel hands out.
 */
#define SHADOWED_START UINT64_C(0x7ec800000000)
#define SHADOWED_WINDOWS 384u
#define SHADOWED_ROOMS 192u
#define SHADOWED_RANDOM (UINT64_C(8) << 30)

#define HOLES 4u
#define PROBES 16u /* windows that a sandbox may have, of either kind */
#define STEPS 16u  /* of a search in the ledger */
#define CAS_TRIES 8u
#define NOWHERE UINT32_MAX

struct window {
    uint64_t tag;         /* whose; 0: nobody's yet */
    uint64_t hole[HOLES]; /* first page << 32 | pages; 0: none */
    uint32_t top;         /* above it nothing was handed out */
    int32_t live;         /* pages that are handed out and not free again */
    uint32_t searched;    /* where the next search in the ledger starts */
    uint32_t unused;
};

#define BLOCKED UINT64_MAX /* as a room's tag: something else is in it */

struct room {
    uint64_t tag;  /* whose; 0: free */
    uint64_t live; /* bytes */
};

/* process-global because the process has one address space */
static struct {
    uint64_t start, rooms_start; /* 0: no placement */
    uint32_t windows, rooms;
    struct window *window;
    struct room *room;
    uint32_t first_room; /* below it none was free */
} space;

/* --- the layout --- */

static uint64_t highest_bit(uint64_t value)
{
    return UINT64_C(1) << (63 - __builtin_clzll(value));
}

static uint64_t round_to_page(uint64_t bytes)
{
    return (bytes + 4095) & ~UINT64_C(4095); /* of the arena, whatever the page */
}

void placement_begin(struct ledger *ledger, const struct placement_host *host)
{
    uint64_t end = host->stack_top ? highest_bit(host->stack_top) * 2 : 0;
    space.start = 0;
    space.first_room = 0;
    if (end < SPACE_MIN) {
        return;
    }
    uint64_t vary = host->shadowed ? SHADOWED_RANDOM : RANDOM_SIZE;
    uint64_t start = host->shadowed ? SHADOWED_START : end / 8 * 7;
    space.windows = host->shadowed ? SHADOWED_WINDOWS : WINDOWS;
    space.rooms = host->shadowed ? SHADOWED_ROOMS : ROOMS;
    space.window = ledger->backing->arena(ledger->backing,
                                          round_to_page(space.windows * sizeof(struct window)));
    space.room =
        ledger->backing->arena(ledger->backing, round_to_page(space.rooms * sizeof(struct room)));
    if (space.window && space.room) {
        start += host->random % (vary / HUGE_SIZE) * HUGE_SIZE;
        space.rooms_start = start + space.windows * WINDOW_SIZE;
        space.start = start;
    }
}

/* --- whose --- */

/* An owner's record may be used again: its serial number tells. */
static uint64_t tag_of(const struct policy_event *event, uint32_t *sandbox)
{
    *sandbox = FAULT(placement_shared) && event->owner
                   ? 1
                   : ledger_owner_outermost(event->ledger, event->owner);
    const struct ledger_owner *record = ledger_owner(event->ledger, *sandbox);
    if (FAULT(placement_shared) && record) {
        return 1;
    }
    return record ? record->serial << 32 | *sandbox : 0;
}

static bool lives(const struct policy_event *event, uint64_t tag)
{
    const struct ledger_owner *record = ledger_owner(event->ledger, (uint32_t)tag);
    return record && (uint32_t)record->serial == tag >> 32 &&
           ledger_owner_lives(event->ledger, (uint32_t)tag);
}

/* --- holes --- */

#define HOLE(first, pages) ((uint64_t)(first) << 32 | (pages))

static uint32_t hole_first(uint64_t hole)
{
    return (uint32_t)(hole >> 32);
}

static uint32_t hole_end(uint64_t hole)
{
    return (uint32_t)(hole >> 32) + (uint32_t)hole;
}

static bool swap64(uint64_t *word, uint64_t from, uint64_t to)
{
    return __atomic_compare_exchange_n(word, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static bool swap32(uint32_t *word, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(word, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static uint64_t hole_at(const struct window *window, unsigned i)
{
    return __atomic_load_n(&window->hole[i], __ATOMIC_ACQUIRE);
}

/* Takes a hole that touches *hole into it. */
static bool join(struct window *window, uint64_t *hole)
{
    for (unsigned i = 0; i < HOLES; i++) {
        uint64_t other = hole_at(window, i);
        bool below = other && hole_end(other) == hole_first(*hole);
        bool above = other && hole_first(other) == hole_end(*hole);
        if ((below || above) && swap64(&window->hole[i], other, 0)) {
            *hole = HOLE(hole_first(below ? other : *hole), (uint32_t)*hole + (uint32_t)other);
            return true;
        }
    }
    return false;
}

/* In the place of none, or of the smallest if that is smaller. */
static bool keep(struct window *window, uint64_t hole)
{
    unsigned smallest = 0;
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < HOLES; i++) {
        uint64_t other = hole_at(window, i);
        if ((uint32_t)other < (uint32_t)least || least == UINT64_MAX) {
            smallest = i;
            least = other;
        }
    }
    return (uint32_t)least >= (uint32_t)hole || swap64(&window->hole[smallest], least, hole);
}

/* These pages are free: the top comes down to them, or they are a hole. */
static void give_back(struct window *window, uint64_t hole)
{
    for (unsigned i = 0; i < CAS_TRIES; i++) {
        if (join(window, &hole)) {
            continue;
        }
        if (swap32(&window->top, hole_end(hole), hole_first(hole)) || keep(window, hole)) {
            return;
        }
    }
}

static uint32_t align_up(uint32_t page, uint32_t alignment)
{
    return (page + alignment - 1) & ~(alignment - 1);
}

/* The lowest hole that has room for so many pages. */
static uint32_t take_from_hole(struct window *window, uint32_t pages, uint32_t alignment)
{
    for (unsigned tries = 0; tries < CAS_TRIES; tries++) {
        unsigned best = HOLES;
        uint64_t hole = UINT64_MAX;
        for (unsigned i = 0; i < HOLES; i++) {
            uint64_t other = hole_at(window, i);
            uint32_t first = align_up(hole_first(other), alignment);
            if (other && other < hole && first + pages <= hole_end(other)) {
                best = i;
                hole = other;
            }
        }
        if (best == HOLES) {
            return NOWHERE;
        }
        uint32_t first = align_up(hole_first(hole), alignment);
        uint32_t rest = hole_end(hole) - (first + pages);
        uint32_t before = first - hole_first(hole);
        uint64_t above = rest ? HOLE(first + pages, rest) : 0;
        uint64_t below = before ? HOLE(hole_first(hole), before) : 0;
        if (swap64(&window->hole[best], hole, below ? below : above)) {
            if (below && above) {
                keep(window, above);
            }
            return first;
        }
    }
    return NOWHERE;
}

/* --- windows --- */

static uint32_t window_pages(const struct policy_event *event)
{
    return (uint32_t)((WINDOW_SIZE - SEPARATOR) / event->page);
}

static uint64_t window_start(const struct window *window)
{
    return space.start + (uint64_t)(window - space.window) * WINDOW_SIZE;
}

static uint32_t take_from_top(const struct policy_event *event, struct window *window,
                              uint32_t pages, uint32_t alignment)
{
    for (unsigned tries = 0; tries < CAS_TRIES; tries++) {
        uint32_t top = __atomic_load_n(&window->top, __ATOMIC_RELAXED);
        uint32_t first = align_up(top, alignment);
        if (first + pages > window_pages(event)) {
            return NOWHERE;
        }
        if (swap32(&window->top, top, first + pages)) {
            if (first > top) {
                keep(window, HOLE(top, first - top));
            }
            return first;
        }
    }
    return NOWHERE;
}

/* All was handed out once: what is free by now the ledger knows. */
static uint32_t search(const struct policy_event *event, struct window *window, uint32_t pages,
                       uint32_t alignment)
{
    uint64_t start = window_start(window);
    uint32_t at = __atomic_load_n(&window->searched, __ATOMIC_RELAXED);
    struct ledger_mapping mapping;
    for (unsigned i = 0; i < STEPS; i++) {
        at = align_up(at, alignment);
        if (at + pages > window_pages(event)) {
            at = 0;
            break;
        }
        if (!ledger_map_look(event->ledger, event->actor, start + at * event->page, &mapping)) {
            return NOWHERE;
        }
        if (mapping.start >= start + (at + pages) * event->page) {
            __atomic_store_n(&window->searched, at + pages, __ATOMIC_RELAXED);
            return at;
        }
        at = (uint32_t)((mapping.end - start + event->page - 1) / event->page);
    }
    __atomic_store_n(&window->searched, at, __ATOMIC_RELAXED);
    return NOWHERE;
}

static uint64_t take(const struct policy_event *event, struct window *window, uint32_t pages,
                     uint32_t alignment)
{
    __atomic_add_fetch(&window->live, (int32_t)pages, __ATOMIC_ACQ_REL);
    uint32_t first = take_from_hole(window, pages, alignment);
    if (first == NOWHERE) {
        first = take_from_top(event, window, pages, alignment);
    }
    if (first == NOWHERE) {
        first = search(event, window, pages, alignment);
    }
    if (first == NOWHERE) {
        __atomic_sub_fetch(&window->live, (int32_t)pages, __ATOMIC_ACQ_REL);
        return 0;
    }
    return window_start(window) + first * event->page;
}

static void empty(struct window *window)
{
    __atomic_store_n(&window->top, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&window->searched, 0, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < HOLES; i++) {
        __atomic_store_n(&window->hole[i], 0, __ATOMIC_RELAXED);
    }
}

static bool is_free(const struct policy_event *event, const struct window *window, uint64_t tag)
{
    return tag == 0 ||
           (__atomic_load_n(&window->live, __ATOMIC_ACQUIRE) <= 0 && !lives(event, tag));
}

/* The sandbox's windows, then one that is free, from where all of its own are. */
static uint64_t place_small(const struct policy_event *event, uint64_t tag, uint32_t sandbox,
                            bool code, uint32_t pages, uint32_t alignment)
{
    uint32_t home = (sandbox % (space.windows / 2)) * 2 + code;
    struct window *free = NULL;
    uint64_t free_tag = 0;
    for (unsigned i = 0; i < PROBES; i++) {
        struct window *window = &space.window[(home + 2 * i) % space.windows];
        uint64_t its = __atomic_load_n(&window->tag, __ATOMIC_ACQUIRE);
        uint64_t address = its == tag ? take(event, window, pages, alignment) : 0;
        if (address) {
            return address;
        }
        if (!free && its != tag && is_free(event, window, its)) {
            free = window;
            free_tag = its;
        }
    }
    if (!free || !swap64(&free->tag, free_tag, tag)) {
        return 0;
    }
    __atomic_store_n(&free->live, 0, __ATOMIC_RELAXED);
    empty(free);
    return take(event, free, pages, alignment);
}

static void free_pages(const struct policy_event *event, struct window *window, uint64_t start,
                       uint64_t end)
{
    int32_t pages = (int32_t)((end - start) / event->page);
    int32_t left = __atomic_sub_fetch(&window->live, pages, __ATOMIC_ACQ_REL);
    if (left > 0) {
        give_back(window, HOLE((start - window_start(window)) / event->page, (uint32_t)pages));
        return;
    }
    if (left < 0) { /* more was unmapped than was mapped here */
        __atomic_sub_fetch(&window->live, left, __ATOMIC_ACQ_REL);
    }
    empty(window);
}

/* --- rooms --- */

static bool claim(uint32_t first, uint32_t count, uint64_t tag, uint64_t size)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t here = size < ROOM_SIZE ? size : ROOM_SIZE;
        if (!swap64(&space.room[first + i].tag, 0, tag)) {
            while (i-- > 0) {
                __atomic_store_n(&space.room[first + i].tag, 0, __ATOMIC_RELEASE);
            }
            return false;
        }
        __atomic_store_n(&space.room[first + i].live, here, __ATOMIC_RELAXED);
        size -= here;
    }
    return true;
}

static bool room_is_free(uint32_t room)
{
    return __atomic_load_n(&space.room[room].tag, __ATOMIC_RELAXED) == 0;
}

static uint64_t place_large(uint64_t tag, uint64_t size)
{
    uint64_t count = (size + SEPARATOR + ROOM_SIZE - 1) / ROOM_SIZE;
    uint32_t first = __atomic_load_n(&space.first_room, __ATOMIC_RELAXED);
    uint32_t row = 0;
    bool any = false;
    for (uint32_t i = first; i < space.rooms && count < space.rooms; i++) {
        bool is = room_is_free(i);
        if (is && !any) { /* those before it are not */
            any = true;
            swap32(&space.first_room, first, i);
        }
        row = is ? row + 1 : 0;
        if (row == count) {
            uint32_t at = i + 1 - (uint32_t)count;
            if (claim(at, (uint32_t)count, tag, size)) {
                return space.rooms_start + at * ROOM_SIZE;
            }
            row = 0;
        }
    }
    return 0;
}

static void free_in_room(uint32_t index, uint64_t bytes)
{
    struct room *room = &space.room[index];
    uint64_t live = __atomic_load_n(&room->live, __ATOMIC_ACQUIRE);
    bool opens = swap64(&room->tag, BLOCKED, 0);
    while (live && !swap64(&room->live, live, live > bytes ? live - bytes : 0)) {
        live = __atomic_load_n(&room->live, __ATOMIC_ACQUIRE);
    }
    if (live && live <= bytes) {
        __atomic_store_n(&room->tag, 0, __ATOMIC_RELEASE);
        opens = true;
    }
    uint32_t first = __atomic_load_n(&space.first_room, __ATOMIC_RELAXED);
    while (opens && index < first && !swap32(&space.first_room, first, index)) {
        first = __atomic_load_n(&space.first_room, __ATOMIC_RELAXED);
    }
}

/* --- mappings --- */

/* What a mapping takes, and what its address must be a multiple of; 0: it is not for us. */
static uint64_t alignment_of(const struct policy_event *event, const struct policy_map *map)
{
    if (map->flags & (MAP_GROWSDOWN | MAP_32BIT)) {
        return 0;
    }
    if (map->flags & MAP_HUGETLB) {
        unsigned shift = (unsigned)map->flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK;
        uint64_t size = shift ? UINT64_C(1) << shift : HUGE_SIZE;
        return size <= HUGE_SIZE ? HUGE_SIZE : 0;
    }
    return map->length >= HUGE_SIZE ? HUGE_SIZE : event->page;
}

static uint64_t size_of(const struct policy_event *event, const struct policy_map *map)
{
    uint64_t unit = map->flags & MAP_HUGETLB ? HUGE_SIZE : event->page;
    return (map->length + unit - 1) & ~(unit - 1);
}

/* After some tries that met something else, further up. */
static void skip(const struct policy_event *event, uint64_t tag, uint32_t sandbox, bool code,
                 uint32_t pages, unsigned tries)
{
    uint32_t home = (sandbox % (space.windows / 2)) * 2 + code;
    for (unsigned i = 0; i < PROBES; i++) {
        struct window *window = &space.window[(home + 2 * i) % space.windows];
        uint32_t top = __atomic_load_n(&window->top, __ATOMIC_RELAXED);
        uint32_t further = top + (pages << 3 * tries);
        if (__atomic_load_n(&window->tag, __ATOMIC_RELAXED) == tag &&
            further <= window_pages(event)) {
            swap32(&window->top, top, further);
            return;
        }
    }
}

uint64_t placement_hint(const struct policy_event *event, const struct policy_map *map,
                        unsigned tries)
{
    uint32_t sandbox = 0;
    uint64_t alignment = space.start && event->owner ? alignment_of(event, map) : 0;
    uint64_t tag = alignment ? tag_of(event, &sandbox) : 0;
    uint64_t size = size_of(event, map);
    bool code = (map->prot & PROT_EXEC) != 0;
    if (tag == 0 || size < map->length) {
        return 0;
    }
    if (size >= LARGE_SIZE) {
        return place_large(tag, size);
    }
    uint32_t pages = (uint32_t)(size / event->page);
    if (tries > 0) {
        skip(event, tag, sandbox, code, pages, tries - 1);
    }
    return place_small(event, tag, sandbox, code, pages, (uint32_t)(alignment / event->page));
}

void placement_refused(const struct policy_event *event, const struct policy_map *map,
                       uint64_t address, bool occupied)
{
    uint64_t size = size_of(event, map);
    if (!occupied) {
        placement_unmapped(event, address, address + size);
    } else if (address < space.rooms_start) {
        struct window *window = &space.window[(address - space.start) / WINDOW_SIZE];
        __atomic_sub_fetch(&window->live, (int32_t)(size / event->page), __ATOMIC_ACQ_REL);
    } else {
        struct room *room = &space.room[(address - space.rooms_start) / ROOM_SIZE];
        placement_unmapped(event, address, address + size);
        swap64(&room->tag, 0, BLOCKED);
    }
}

void placement_unmapped(const struct policy_event *event, uint64_t start, uint64_t end)
{
    uint64_t all_end = space.rooms_start + space.rooms * ROOM_SIZE;
    start = start < space.start ? space.start : start;
    end = end > all_end ? all_end : end;
    if (space.start == 0 || start >= end) {
        return;
    }
    while (start < end) {
        bool small = start < space.rooms_start;
        uint64_t unit = small ? WINDOW_SIZE : ROOM_SIZE;
        uint64_t row = small ? space.start : space.rooms_start;
        uint64_t index = (start - row) / unit;
        uint64_t next = row + (index + 1) * unit;
        uint64_t until = end < next ? end : next;
        if (!small) {
            free_in_room((uint32_t)index, until - start);
        } else if (__atomic_load_n(&space.window[index].tag, __ATOMIC_RELAXED)) {
            free_pages(event, &space.window[index], start, until);
        }
        start = next;
    }
}

/* What grew where it was has more pages in its window. */
static void grown(const struct policy_event *event, uint64_t start, uint64_t end)
{
    if (space.start == 0 || start < space.start || end > space.rooms_start || start >= end) {
        return;
    }
    struct window *window = &space.window[(start - space.start) / WINDOW_SIZE];
    uint32_t last = (uint32_t)((end - window_start(window)) / event->page);
    uint32_t top = __atomic_load_n(&window->top, __ATOMIC_RELAXED);
    __atomic_add_fetch(&window->live, (int32_t)((end - start) / event->page), __ATOMIC_ACQ_REL);
    if (top < last) {
        swap32(&window->top, top, last);
    }
}

void placement_moved(const struct policy_event *event, uint64_t start, uint64_t end,
                     uint64_t to_start, uint64_t to_end)
{
    if (start != to_start) {
        placement_unmapped(event, start, end);
    } else if (to_end < end) {
        placement_unmapped(event, to_end, end);
    } else {
        grown(event, end, to_end);
    }
}
