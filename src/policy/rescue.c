/*
 * rescue.c: see rescue.h.
 *
 * It never touches memory whose range it does not hold by itself, and never what the ledger does
 * not know for certain to be private, anonymous and nobody else's business.
 */
#include "rescue.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#include "ledger/fault.h"
#include "raw.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* asm-generic/mman-common.h, Linux 4.17 */
#endif

/* A range as one word, so that it changes at once: where it starts and how long it is, both in
 * units of 4 KiB, and what it is. 0: no range. */
#define BUSY UINT64_C(0x1)   /* one thread is at it, with its signals blocked */
#define PLAIN UINT64_C(0x2)  /* as a fresh mmap with no other flags would be */
#define PLACED UINT64_C(0x4) /* where the program wished, who may wish for it again */
#define PROT_SHIFT 3u
#define PROT_BITS (UINT64_C(7) << PROT_SHIFT)
#define LIKE (PLAIN | PLACED | PROT_BITS) /* neighbours that are alike are joined */
#define SIZE_SHIFT 6u
#define SIZE_BITS 22u /* up to 16 GiB */
#define START_SHIFT (SIZE_SHIFT + SIZE_BITS)
#define UNIT_SHIFT 12u

#define RANGES 8192u
#define RETRIES 16u /* of one event: each is a system call or two */
#define FAILURES 2u /* of these, that were refused again */
#define JOINS 4u    /* of one range at one time */
#define SCANS 1000u /* a table that changes all the time */
#define SPINS 2000u /* another thread is in a system call */
#define NAPS 20000u /* of 0.1 ms: it was put aside */
#define NAP_NS 100000
#define SIGNAL_BYTES 8u /* the kernel's sigset_t */

/* process-global because the process has one address space, like the rest of these */
static uint64_t waiting[RANGES];
/* process-global: one past the highest slot ever used */
static uint32_t slots_used;
/* process-global: how many of them hold a range */
static uint32_t ranges;
/* process-global: counts what a slot got and did not have before; who looks for all that meets a
 * range looks again if that has changed */
static uint32_t growths;
/* process-global: where the next retry goes on */
static uint32_t hand;
/* process-global: the ledger's epoch at the last look for ends of sandboxes */
static uint32_t epoch_seen;

static uint64_t start_of(uint64_t range)
{
    return range >> START_SHIFT << UNIT_SHIFT;
}

static uint64_t size_of(uint64_t range)
{
    return (range >> SIZE_SHIFT & ((UINT64_C(1) << SIZE_BITS) - 1)) << UNIT_SHIFT;
}

static uint64_t end_of(uint64_t range)
{
    return start_of(range) + size_of(range);
}

/* 0: there is no word for it. */
static uint64_t range_of(uint64_t start, uint64_t end, uint64_t like)
{
    uint64_t first = start >> UNIT_SHIFT;
    uint64_t size = (end - start) >> UNIT_SHIFT;
    if (start >= end || first >> (64 - START_SHIFT) || size >> SIZE_BITS) {
        return 0;
    }
    return first << START_SHIFT | size << SIZE_SHIFT | (like & LIKE);
}

static bool meets(uint64_t range, uint64_t start, uint64_t end)
{
    return range != 0 && start_of(range) < end && end_of(range) > start;
}

static uint64_t load(uint32_t slot)
{
    return __atomic_load_n(&waiting[slot], __ATOMIC_SEQ_CST);
}

static uint32_t used(void)
{
    return __atomic_load_n(&slots_used, __ATOMIC_SEQ_CST);
}

bool rescue_any(void)
{
    return __atomic_load_n(&ranges, __ATOMIC_SEQ_CST) != 0;
}

static void count(const struct policy_event *event, int more, int64_t bytes)
{
    struct ledger_header *header = event->ledger->header;
    __atomic_add_fetch(&ranges, (uint32_t)more, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&header->rescue_waiting_ranges, (uint64_t)(int64_t)more, __ATOMIC_RELAXED);
    __atomic_add_fetch(&header->rescue_waiting_bytes, (uint64_t)bytes, __ATOMIC_RELAXED);
}

static void count_change(const struct policy_event *event, uint64_t before, uint64_t after)
{
    count(event, (after != 0) - (before != 0), (int64_t)size_of(after) - (int64_t)size_of(before));
}

/* False, and *before is what was there instead. */
static bool swap(const struct policy_event *event, uint32_t slot, uint64_t *before, uint64_t after)
{
    uint64_t range = *before;
    if (!__atomic_compare_exchange_n(&waiting[slot], before, after, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST)) {
        return false;
    }
    count_change(event, range, after);
    return true;
}

/* Of a slot that this thread has marked. */
static void store(const struct policy_event *event, uint32_t slot, uint64_t before, uint64_t after)
{
    __atomic_store_n(&waiting[slot], after, __ATOMIC_SEQ_CST);
    count_change(event, before, after);
}

static void grew(void)
{
    __atomic_add_fetch(&growths, 1, __ATOMIC_SEQ_CST);
}

/* --- a thread at a range: nothing may interrupt it, and jump out of it --- */

static uint64_t block_signals(void)
{
    uint64_t all = ~UINT64_C(0);
    uint64_t before = 0;
    raw_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, SIGNAL_BYTES);
    return before;
}

static void unblock_signals(uint64_t before)
{
    raw_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, SIGNAL_BYTES);
}

/* Until nobody is at it. False: that takes too long. */
static bool wait_for(const struct policy_event *event, uint32_t slot)
{
    struct timespec nap = {0, NAP_NS};
    for (unsigned i = 0; i < SPINS * (event->may_call ? 1 : SPINS); i++) {
        if (!(load(slot) & BUSY)) {
            return true;
        }
    }
    for (unsigned i = 0; event->may_call && i < NAPS; i++) {
        raw_syscall2(SYS_nanosleep, &nap, NULL);
        if (!(load(slot) & BUSY)) {
            return true;
        }
    }
    return false;
}

/* --- the table --- */

/* A slot for a range that nobody knows of yet; RANGES: all are taken. */
static uint32_t put(const struct policy_event *event, uint64_t range)
{
    for (uint32_t slot = 0; slot < RANGES; slot++) {
        uint64_t nothing = 0;
        if (load(slot) != 0 || !swap(event, slot, &nothing, range)) {
            continue;
        }
        uint32_t high = used();
        while (high <= slot && !__atomic_compare_exchange_n(&slots_used, &high, slot + 1, false,
                                                            __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        }
        grew();
        return slot;
    }
    return RANGES;
}

/* The range in `slot`, marked by this thread, and its neighbours that wait, too. While one goes
 * over into the other both say that they have it. */
static uint64_t join(const struct policy_event *event, uint32_t slot, uint64_t range)
{
    unsigned joins = 0;
    for (uint32_t i = 0; i < used() && joins < JOINS; i++) {
        uint64_t other = load(i);
        if (i == slot || other == 0 || (other & BUSY) || (other & LIKE) != (range & LIKE)) {
            continue;
        }
        bool below = end_of(other) == start_of(range);
        if (!below && start_of(other) != end_of(range)) {
            continue;
        }
        uint64_t both = range_of(below ? start_of(other) : start_of(range),
                                 below ? end_of(range) : end_of(other), range);
        if (both == 0 || !swap(event, i, &other, other | BUSY)) {
            continue;
        }
        store(event, slot, range | BUSY, both | BUSY);
        grew();
        store(event, i, other | BUSY, 0);
        range = both;
        joins++;
        i = UINT32_MAX; /* from the start: it has other neighbours now */
    }
    return range;
}

/* Signals are blocked. False: no room, and it does not wait. */
static bool add(const struct policy_event *event, uint64_t range)
{
    uint32_t slot = put(event, range | BUSY);
    if (slot == RANGES) {
        return false;
    }
    uint64_t all = join(event, slot, range);
    store(event, slot, all | BUSY, all);
    return true;
}

/* [start, end) of the range in `slot` goes; what is left of it stays, in two slots if need be.
 * False: it has changed. */
static bool cut(const struct policy_event *event, uint32_t slot, uint64_t range, uint64_t start,
                uint64_t end)
{
    uint64_t low = range_of(start_of(range), start, range);
    uint64_t high = range_of(end, end_of(range), range);
    uint64_t mask = event->may_call ? block_signals() : 0;
    bool ours;
    if (low && high && event->may_call) {
        ours = swap(event, slot, &range, range | BUSY);
        if (ours) {
            (void)put(event, high);
            store(event, slot, range | BUSY, low);
        }
    } else { /* without signals blocked, the upper part is lost */
        ours = swap(event, slot, &range, low ? low : high);
    }
    if (event->may_call) {
        unblock_signals(mask);
    }
    return ours;
}

static void note_taken(struct rescue_taken *taken, uint64_t range, uint64_t start, uint64_t end)
{
    uint64_t from = start_of(range) > start ? start_of(range) : start;
    uint64_t to = end_of(range) < end ? end_of(range) : end;
    if (taken->count == RESCUE_TAKEN) {
        taken->more = true;
        return;
    }
    taken->range[taken->count++] = range_of(from, to, range);
}

bool rescue_take(const struct policy_event *event, uint64_t start, uint64_t end,
                 struct rescue_taken *taken)
{
    taken->count = 0;
    taken->more = false;
    for (unsigned scans = 0; rescue_any() && !FAULT(waiting_stays); scans++) {
        uint32_t before = __atomic_load_n(&growths, __ATOMIC_SEQ_CST);
        for (uint32_t slot = 0; slot < used(); slot++) {
            uint64_t range;
            while (meets(range = load(slot), start, end)) {
                if (range & BUSY) {
                    if (!wait_for(event, slot)) {
                        return false;
                    }
                } else if (cut(event, slot, range, start, end)) {
                    note_taken(taken, range, start, end);
                }
            }
        }
        if (before == __atomic_load_n(&growths, __ATOMIC_SEQ_CST)) {
            break;
        }
        if (scans == SCANS) {
            return false;
        }
    }
    return true;
}

void rescue_put_back(const struct policy_event *event, const struct rescue_taken *taken)
{
    if (taken->count == 0 || !event->may_call) {
        return;
    }
    uint64_t mask = block_signals();
    for (unsigned i = 0; i < taken->count; i++) {
        (void)add(event, taken->range[i]);
    }
    unblock_signals(mask);
}

uint64_t rescue_first(uint64_t start, uint64_t end)
{
    uint64_t first = end;
    for (uint32_t slot = 0; slot < used(); slot++) {
        uint64_t range = load(slot);
        if (meets(range, start, first)) {
            first = start_of(range) > start ? start_of(range) : start;
        }
    }
    return first;
}

void rescue_spoil(const struct policy_event *event, uint64_t start, uint64_t end)
{
    for (uint32_t slot = 0; slot < used(); slot++) {
        uint64_t range = load(slot);
        while (meets(range, start, end) && (range & PLAIN) && !(range & BUSY) &&
               !swap(event, slot, &range, range & ~PLAIN)) {
        }
    }
}

void rescue_displaced(const struct policy_event *event, uint64_t start, uint64_t end)
{
    for (uint32_t slot = 0; slot < used(); slot++) {
        uint64_t range = load(slot);
        /* One that somebody is at has just been unmapped by him: so it could be handed out. */
        while (meets(range, start, end) && !(range & BUSY) &&
               !cut(event, slot, range, start, end)) {
            range = load(slot);
        }
    }
}

/* --- waiting --- */

static void submit(const struct policy_event *event, enum ledger_map_op op, uint64_t start,
                   uint64_t end, uint64_t ticket, uint32_t stack)
{
    struct ledger_map_event change = {.op = (uint8_t)op,
                                      .start = start,
                                      .end = end,
                                      .ticket = ticket,
                                      .stack = stack,
                                      .detail = LEDGER_WAITS};
    ledger_map_submit(event->ledger, event->actor, &change);
}

/* Nobody locked a page of it, and all of it is mapped: msync.2, EBUSY and ENOMEM. */
static bool is_free_of_locks(uint64_t start, uint64_t end)
{
    return !raw_failed(raw_syscall3(SYS_msync, start, end - start, MS_ASYNC | MS_INVALIDATE));
}

/* Its pages go, and what is read there is zero: madvise.2, for private anonymous memory. */
static bool drop_pages(uint64_t start, uint64_t size)
{
    return FAULT(waiting_pages_stay) ||
           !raw_failed(raw_syscall3(SYS_madvise, start, size, MADV_DONTNEED));
}

/* Whether it is what this policy is for, as far as the ledger knows; and the word for it. */
static bool is_ours_to_keep(const struct policy_event *event, uint64_t start, uint64_t end,
                            uint64_t *word, bool *known)
{
    const uint16_t never = LEDGER_FILE_MAP | LEDGER_SHARED_MAP | LEDGER_SHM_MAP | LEDGER_STACK_MAP |
                           LEDGER_INHERITED | LEDGER_ADOPTED | LEDGER_UNSURE | LEDGER_BINDINGS;
    struct ledger_range range;
    if (ledger_map_examine(event->ledger, event->actor, start, end, &range) != 0 ||
        (range.flags & never) || (range.detail & LEDGER_WATCHED) || range.reclaimed) {
        return false;
    }
    bool plain =
        range.one_prot && !(range.flags & LEDGER_UNSURE_PROT) && !(range.detail & LEDGER_ODD);
    *word = range_of(start, end,
                     (uint64_t)(range.prot & 7) << PROT_SHIFT | (plain ? PLAIN : 0) |
                         (range.detail & LEDGER_PLACED ? PLACED : 0));
    *known = range.kept;
    return *word != 0;
}

bool rescue_unmap(const struct policy_event *event, uint64_t start, uint64_t end, uint32_t stack)
{
    struct ledger_header *header = event->ledger->header;
    uint64_t word;
    bool known; /* released before, with success; unmapped once more */
    if (!event->may_call || __atomic_load_n(&ranges, __ATOMIC_RELAXED) >= RANGES ||
        !is_ours_to_keep(event, start, end, &word, &known) || !is_free_of_locks(start, end) ||
        !drop_pages(start, end - start)) {
        return false;
    }
    submit(event, LEDGER_MAP_KEEP, start, end, ledger_ticket(event->ledger), stack);
    uint64_t mask = block_signals();
    (void)add(event, word);
    unblock_signals(mask);
    if (!known) {
        __atomic_add_fetch(&header->rescued, 1, __ATOMIC_RELAXED);
        ledger_note(event->ledger, event->actor, LEDGER_EVENT_RESCUED, ENOMEM, stack, 0, start,
                    end - start, event->now_ns);
    }
    return true;
}

/* --- an end of waiting --- */

/* Of a range that this thread has marked, or taken. */
static bool unmap(const struct policy_event *event, uint64_t range)
{
    uint64_t ticket = ledger_ticket(event->ledger);
    submit(event, LEDGER_MAP_FLY, start_of(range), end_of(range), ticket, 0);
    bool gone = !raw_failed(raw_syscall2(SYS_munmap, start_of(range), size_of(range)));
    submit(event, gone ? LEDGER_MAP_COMMIT : LEDGER_MAP_ROLLBACK, start_of(range), end_of(range),
           ticket, 0);
    if (gone) {
        __atomic_add_fetch(&event->ledger->header->rescue_unmapped, 1, __ATOMIC_RELAXED);
    }
    return gone;
}

/* Signals are blocked. False: it was refused again. */
static bool try_again(const struct policy_event *event, uint32_t slot, uint64_t range)
{
    if (!swap(event, slot, &range, range | BUSY)) {
        return true; /* somebody else is at it */
    }
    uint64_t all = join(event, slot, range);
    bool gone = unmap(event, all);
    store(event, slot, all | BUSY, gone ? 0 : all);
    return gone;
}

bool rescue_is_due(const struct ledger *ledger)
{
    uint32_t epoch = __atomic_load_n(&ledger->header->epoch, __ATOMIC_RELAXED);
    return rescue_any() && __atomic_exchange_n(&epoch_seen, epoch, __ATOMIC_RELAXED) != epoch;
}

void rescue_retry(const struct policy_event *event, uint64_t start, uint64_t end)
{
    if (!rescue_any() || !event->may_call || FAULT(waits_for_good)) {
        return;
    }
    unsigned tries = 0;
    unsigned failures = 0;
    uint64_t mask = block_signals();
    for (uint32_t slot = 0; slot < used() && tries < RETRIES && start < end; slot++) {
        uint64_t range = load(slot);
        /* It lies at an end of its VMA now, so that no VMA is needed. */
        if (range != 0 && !(range & BUSY) && (end_of(range) == start || start_of(range) == end)) {
            (void)try_again(event, slot, range);
            tries++;
        }
    }
    uint32_t from = __atomic_load_n(&hand, __ATOMIC_RELAXED);
    uint32_t all = used();
    for (uint32_t i = 0; i < all && tries < RETRIES && failures < FAILURES; i++) {
        uint32_t slot = (from + i) % all;
        uint64_t range = load(slot);
        if (range == 0 || (range & BUSY)) {
            continue;
        }
        failures += !try_again(event, slot, range);
        tries++;
        __atomic_store_n(&hand, slot + 1, __ATOMIC_RELAXED);
    }
    unblock_signals(mask);
}

/* Signals are blocked. [start, end) of the range in `slot`, which this thread has marked. */
static bool hand_out(const struct policy_event *event, uint32_t slot, uint64_t range,
                     uint64_t start, uint64_t end)
{
    if (!FAULT(waiting_dirty) && !drop_pages(start, end - start)) {
        store(event, slot, range | BUSY, range & ~PLAIN); /* locked, or whatever: it stays */
        return false;
    }
    uint64_t low = range_of(start_of(range), start, range);
    uint64_t high = range_of(end, end_of(range), range);
    if (low && high) {
        (void)put(event, high);
    }
    store(event, slot, range | BUSY, low ? low : high);
    return true;
}

void *rescue_serve(const struct policy_event *event, const struct policy_map *map)
{
    uint64_t size = (map->length + event->page - 1) & ~(event->page - 1);
    const int at_address = MAP_FIXED | MAP_FIXED_NOREPLACE;
    bool fixed = (map->flags & at_address) != 0;
    uint64_t like = (uint64_t)(map->prot & 7) << PROT_SHIFT | PLAIN;
    uint64_t placed = fixed ? PLACED : 0; /* for others it is not to be had */
    void *result = MAP_FAILED;
    if (!rescue_any() || !event->may_call || (map->prot & ~7) || map->offset != 0 ||
        size < map->length || (map->flags & ~at_address) != (MAP_PRIVATE | MAP_ANONYMOUS)) {
        return MAP_FAILED;
    }
    for (uint32_t slot = 0; slot < used() && result == MAP_FAILED; slot++) {
        uint64_t range = load(slot);
        uint64_t start = fixed ? (uintptr_t)map->address : start_of(range);
        if (range == 0 || (range & BUSY) || (range & LIKE & ~placed) != like ||
            start_of(range) > start || end_of(range) - start < size || end_of(range) < start) {
            continue;
        }
        uint64_t mask = block_signals();
        if (swap(event, slot, &range, range | BUSY) &&
            hand_out(event, slot, range, start, start + size)) {
            __atomic_add_fetch(&event->ledger->header->rescue_reused, 1, __ATOMIC_RELAXED);
            result = (void *)(uintptr_t)start;
        }
        unblock_signals(mask);
    }
    return result;
}

void *rescue_noreplace(const struct policy_event *event, const struct policy_map *map)
{
    uint64_t start = (uintptr_t)map->address;
    uint64_t end = start + ((map->length + event->page - 1) & ~(event->page - 1));
    struct rescue_taken taken;
    void *result = MAP_FAILED;
    if (!rescue_any() || !event->may_call || end <= start) {
        return result;
    }
    uint64_t mask = block_signals();
    bool all = rescue_take(event, start, end, &taken) && !taken.more && taken.count != 0;
    while (all && taken.count != 0) {
        all = unmap(event, taken.range[taken.count - 1]);
        taken.count -= all;
    }
    rescue_put_back(event, &taken);
    unblock_signals(mask);
    if (all) {
        long address =
            raw_syscall6(SYS_mmap, start, map->length, map->prot, map->flags, map->fd, map->offset);
        result = raw_failed(address) ? MAP_FAILED : (void *)address;
    }
    return result;
}
