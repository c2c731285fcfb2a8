/*
 * quarantine.c: see quarantine.h. It gives nothing up that the kernel does not say is still what
 * was put there.
 */
#include "quarantine.h"

#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>

#include "identity.h"
#include "ledger/fault.h"
#include "placement.h"
#include "raw.h"

#define SHARE_OF_LIMIT 8u /* of the descriptors that there may be, one in so many */

/* --- the hand --------------------------------------------------------------------------------- */

void quarantine_hand_on_fd(struct quarantine *quarantine, int fd)
{
    __atomic_store_n(&quarantine->hand_fd, (uint32_t)fd + 1, __ATOMIC_SEQ_CST);
}

void quarantine_hand_off_fd(struct quarantine *quarantine)
{
    __atomic_store_n(&quarantine->hand_fd, 0, __ATOMIC_SEQ_CST);
}

void quarantine_hand_on_range(struct quarantine *quarantine, uint64_t start, uint64_t end)
{
    __atomic_store_n(&quarantine->gone_end, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&quarantine->hand_start, start, __ATOMIC_SEQ_CST);
    __atomic_store_n(&quarantine->hand_end, end, __ATOMIC_SEQ_CST);
}

void quarantine_hand_off_range(struct quarantine *quarantine)
{
    __atomic_store_n(&quarantine->hand_end, 0, __ATOMIC_SEQ_CST);
}

#define SPINS 100u        /* what two system calls take */
#define YIELDS (1u << 20) /* whoever has not gone on by then was stopped for good */
#define LOADS (1u << 29)  /* likewise, where no call may be made */

static unsigned tries_of(bool may_call)
{
    return may_call ? YIELDS : LOADS;
}

static void pause_once(unsigned tries, bool may_call)
{
    if (may_call && tries > SPINS) {
        raw_syscall0(SYS_sched_yield);
    }
}

void quarantine_wait_fds(const struct quarantine *quarantine, uint32_t first, uint32_t last,
                         bool may_call)
{
    for (unsigned tries = 0; tries < tries_of(may_call); tries++) {
        uint32_t hand = __atomic_load_n(&quarantine->hand_fd, __ATOMIC_SEQ_CST);
        if (hand == 0 || hand - 1 < first || hand - 1 > last || FAULT(reclaim_unwaited)) {
            return;
        }
        pause_once(tries, may_call);
    }
}

bool quarantine_wait_range(const struct quarantine *quarantine, uint64_t start, uint64_t end,
                           bool may_call)
{
    bool within = false;
    for (unsigned tries = 0; tries < tries_of(may_call); tries++) {
        uint64_t hand_end = __atomic_load_n(&quarantine->hand_end, __ATOMIC_SEQ_CST);
        uint64_t hand_start = __atomic_load_n(&quarantine->hand_start, __ATOMIC_SEQ_CST);
        bool same = hand_end == __atomic_load_n(&quarantine->hand_end, __ATOMIC_SEQ_CST);
        if (hand_end == 0 || (same && (hand_end <= start || hand_start >= end)) ||
            FAULT(reclaim_unwaited)) {
            break;
        }
        within |= same && hand_start <= start && end <= hand_end;
        pause_once(tries, may_call);
    }
    return within && __atomic_load_n(&quarantine->gone_start, __ATOMIC_SEQ_CST) <= start &&
           __atomic_load_n(&quarantine->gone_end, __ATOMIC_SEQ_CST) >= end;
}

/* --- numbers ---------------------------------------------------------------------------------- */

/* By O_PATH (open.2): whoever still reads, writes, maps or passes on the number that was reclaimed
 * is told EBADF, as if it had been closed. */
static long path_to(long fd)
{
    char path[IDENTITY_PATH];
    identity_path(path, (int)fd);
    return raw_syscall4(SYS_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC, 0);
}

/* Whether the number is still in there: neither released nor handed out anew. */
static bool is_kept(const struct ledger *ledger, const struct quarantine_fd *entry)
{
    const struct ledger_fd *record = ledger_fd_record(ledger, entry->fd);
    if (FAULT(reclaim_late_twice)) {
        return true;
    }
    return record && record->kind == LEDGER_FD_RECLAIMED && record->since_ns == entry->since_ns;
}

static struct quarantine_fd *entry_at(struct quarantine *quarantine, uint32_t place)
{
    return &quarantine->fds[(quarantine->first + place) % QUARANTINE_FDS];
}

bool quarantine_open(struct quarantine_placeholder *placeholder)
{
    long fd = raw_syscall2(SYS_memfd_create, "boxledger:reclaimed",
                           (unsigned)(MFD_CLOEXEC | MFD_ALLOW_SEALING));
    placeholder->memory = placeholder->number = -1;
    if (raw_failed(fd)) {
        return false;
    }
    raw_syscall3(SYS_fcntl, fd, F_ADD_SEALS,
                 F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    long path = path_to(fd);
    placeholder->memory = (int)fd;
    placeholder->number = raw_failed(path) ? -1 : (int)path;
    placeholder->inode = identity_inode((int)fd);
    if (placeholder->inode == 0) {
        quarantine_close(placeholder);
    }
    return placeholder->memory >= 0;
}

void quarantine_close(struct quarantine_placeholder *placeholder)
{
    if (placeholder->memory >= 0) {
        raw_syscall1(SYS_close, placeholder->memory);
    }
    if (placeholder->number >= 0) {
        raw_syscall1(SYS_close, placeholder->number);
    }
    placeholder->memory = placeholder->number = -1;
}

int quarantine_youngest(struct quarantine *quarantine, const struct ledger *ledger, uint64_t *inode)
{
    for (uint32_t i = quarantine->count; i-- > 0;) {
        const struct quarantine_fd *entry = entry_at(quarantine, i);
        if (is_kept(ledger, entry) && identity_inode(entry->fd) == entry->inode) {
            *inode = entry->inode;
            return entry->fd;
        }
    }
    return -1;
}

void quarantine_put_fd(struct quarantine *quarantine, int fd, uint64_t since_ns, uint64_t inode)
{
    if (quarantine->count < QUARANTINE_FDS) {
        *entry_at(quarantine, quarantine->count++) =
            (struct quarantine_fd){.fd = fd, .since_ns = since_ns, .inode = inode};
    }
}

void quarantine_replace(struct quarantine *quarantine, const struct policy_event *event,
                        uint64_t inode, const struct quarantine_placeholder *by)
{
    int number = by->number >= 0 ? by->number : by->memory;
    for (uint32_t i = 0; i < quarantine->count && number >= 0 && inode != 0; i++) {
        struct quarantine_fd *entry = entry_at(quarantine, i);
        if (entry->inode != inode) {
            continue;
        }
        quarantine_hand_on_fd(quarantine, entry->fd);
        struct ledger_fd_flight flight =
            ledger_fd_fly_reclaimed(event->ledger, entry->fd, entry->since_ns);
        if (flight.state && identity_inode(entry->fd) == inode &&
            !raw_failed(raw_syscall3(SYS_dup3, number, entry->fd, O_CLOEXEC))) {
            entry->inode = by->inode;
        }
        ledger_fd_released(event->ledger, event->actor, entry->fd, flight, true);
        quarantine_hand_off_fd(quarantine);
    }
}

/* Closes it, if it is the placeholder; what else is there by now was put there unseen. */
static void give_up_fd(struct quarantine *quarantine, const struct policy_event *event,
                       const struct quarantine_fd *entry)
{
    quarantine_hand_on_fd(quarantine, entry->fd);
    struct ledger_fd_flight flight =
        ledger_fd_fly_reclaimed(event->ledger, entry->fd, entry->since_ns);
    if (flight.state || FAULT(reclaim_late_twice)) {
        if (FAULT(quarantine_blind) || FAULT(reclaim_late_twice) ||
            identity_inode(entry->fd) == entry->inode) {
            raw_syscall1(SYS_close, entry->fd);
        }
        ledger_fd_released(event->ledger, event->actor, entry->fd, flight, false);
    }
    quarantine_hand_off_fd(quarantine);
}

void quarantine_trim_fds(struct quarantine *quarantine, const struct policy_event *event,
                         uint64_t soft_limit)
{
    uint64_t most = quarantine->fds_max;
    if (most > soft_limit / SHARE_OF_LIMIT) {
        most = soft_limit / SHARE_OF_LIMIT;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < quarantine->count; i++) {
        struct quarantine_fd entry = *entry_at(quarantine, i);
        if (is_kept(event->ledger, &entry)) {
            *entry_at(quarantine, kept++) = entry;
        }
    }
    quarantine->count = kept;
    while (quarantine->count > most && !FAULT(quarantine_endless)) {
        give_up_fd(quarantine, event, entry_at(quarantine, 0));
        quarantine->first = (quarantine->first + 1) % QUARANTINE_FDS;
        quarantine->count--;
    }
    __atomic_store_n(&event->ledger->header->quarantined_fds, quarantine->count, __ATOMIC_RELAXED);
}

/* --- ranges ----------------------------------------------------------------------------------- */

static bool try_range(struct quarantine_range *range, uint32_t state)
{
    return __atomic_compare_exchange_n(&range->state, &state, QUARANTINE_WRITING, false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static void leave_range(struct quarantine_range *range, uint32_t state)
{
    __atomic_store_n(&range->state, state, __ATOMIC_SEQ_CST);
}

/* True: it is kept, and the caller has it now, to say what becomes of it by leave_range. */
static bool hold_range(struct quarantine_range *range, bool may_call)
{
    for (unsigned tries = 0; tries < tries_of(may_call); tries++) {
        uint32_t state = __atomic_load_n(&range->state, __ATOMIC_SEQ_CST);
        if (state == QUARANTINE_FREE) {
            return false;
        }
        if (state == QUARANTINE_KEPT && try_range(range, QUARANTINE_KEPT)) {
            return true;
        }
        pause_once(tries, may_call);
    }
    return false;
}

static uint32_t used(const struct quarantine *quarantine)
{
    return __atomic_load_n(&quarantine->ranges_used, __ATOMIC_SEQ_CST);
}

/* A place that nobody has, now the caller's; NULL: there is none. */
static struct quarantine_range *new_range(struct quarantine *quarantine)
{
    for (uint32_t i = 0; i < QUARANTINE_RANGES; i++) {
        struct quarantine_range *range = &quarantine->ranges[i];
        if (__atomic_load_n(&range->state, __ATOMIC_RELAXED) == QUARANTINE_FREE &&
            try_range(range, QUARANTINE_FREE)) {
            uint32_t old = used(quarantine);
            while (old < i + 1 &&
                   !__atomic_compare_exchange_n(&quarantine->ranges_used, &old, i + 1, false,
                                                __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            }
            __atomic_add_fetch(&quarantine->ranges_kept, 1, __ATOMIC_SEQ_CST);
            return range;
        }
    }
    return NULL;
}

static void free_range(struct quarantine *quarantine, struct quarantine_range *range)
{
    __atomic_sub_fetch(&quarantine->ranges_kept, 1, __ATOMIC_SEQ_CST);
    leave_range(range, QUARANTINE_FREE);
}

/* Who goes through the places while a piece moves to one that he has passed does not find it, and
 * looks again. Before the piece leaves its old place. */
static void moved(struct quarantine *quarantine)
{
    __atomic_add_fetch(&quarantine->moves, 1, __ATOMIC_SEQ_CST);
}

static uint32_t moves_of(const struct quarantine *quarantine)
{
    return __atomic_load_n(&quarantine->moves, __ATOMIC_SEQ_CST);
}

bool quarantine_has_room(const struct quarantine *quarantine)
{
    return __atomic_load_n(&quarantine->ranges_kept, __ATOMIC_SEQ_CST) <
           QUARANTINE_RANGES - QUARANTINE_SPARE;
}

static void widen(uint64_t *bound, uint64_t value)
{
    if (__atomic_load_n(bound, __ATOMIC_RELAXED) < value) {
        __atomic_store_n(bound, value, __ATOMIC_SEQ_CST);
    }
}

long quarantine_map(uint64_t start, uint64_t end, int placeholder)
{
    return raw_syscall6(SYS_mmap, (long)start, (long)(end - start), PROT_NONE,
                        MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, placeholder, (long)start);
}

static bool is_next_to(const struct quarantine_range *range, uint64_t start, uint64_t end)
{
    return range->end == start || range->start == end;
}

/* Next to what is kept already, of one file and stack: one range, as it is one VMA. `order`: of
 * what is added; `older`: that is the older of the two. */
static bool add_to_neighbour(struct quarantine *quarantine, const struct quarantine_range *added,
                             bool older)
{
    for (uint32_t i = 0; i < used(quarantine); i++) {
        struct quarantine_range *range = &quarantine->ranges[i];
        if (range == added || range->inode != added->inode ||
            !is_next_to(range, added->start, added->end) || !hold_range(range, true)) {
            continue;
        }
        bool joins = range->inode == added->inode && range->stack == added->stack &&
                     is_next_to(range, added->start, added->end);
        if (joins) {
            bool above = range->end == added->start;
            range->downward = above == older;
            range->start = above ? range->start : added->start;
            range->end = above ? added->end : range->end;
            range->order = added->order < range->order ? added->order : range->order;
            moved(quarantine);
        }
        leave_range(range, QUARANTINE_KEPT);
        if (joins) {
            return true;
        }
    }
    return false;
}

static void add_bytes(struct quarantine *quarantine, int64_t bytes)
{
    __atomic_add_fetch(&quarantine->bytes, (uint64_t)bytes, __ATOMIC_SEQ_CST);
}

void quarantine_put_range(struct quarantine *quarantine, uint64_t start, uint64_t end,
                          uint32_t stack, uint64_t inode)
{
    struct quarantine_range added = {
        .state = QUARANTINE_WRITING,
        .stack = stack,
        .start = start,
        .end = end,
        .inode = inode,
        .order = __atomic_add_fetch(&quarantine->order, 1, __ATOMIC_RELAXED),
    };
    widen(&quarantine->low, ~start);
    widen(&quarantine->high, end);
    if (add_to_neighbour(quarantine, &added, false)) {
        add_bytes(quarantine, (int64_t)(end - start));
        return;
    }
    struct quarantine_range *range = new_range(quarantine);
    if (range) {
        *range = added;
        add_bytes(quarantine, (int64_t)(end - start));
        leave_range(range, QUARANTINE_KEPT);
    }
}

/* Those that touch one of the placeholder's. */
static uint32_t choose_neighbours(struct quarantine *quarantine, uint64_t inode)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < used(quarantine); i++) {
        const struct quarantine_range *range = &quarantine->ranges[i];
        bool touches = false;
        if (__atomic_load_n(&range->state, __ATOMIC_SEQ_CST) != QUARANTINE_KEPT ||
            range->inode == inode) {
            continue;
        }
        for (uint32_t k = 0; k < used(quarantine) && !touches; k++) {
            const struct quarantine_range *own = &quarantine->ranges[k];
            touches = own->inode == inode &&
                      __atomic_load_n(&own->state, __ATOMIC_SEQ_CST) == QUARANTINE_KEPT &&
                      is_next_to(own, range->start, range->end);
        }
        if (touches) {
            quarantine->asked[count++] =
                (struct maps_range){.start = range->start, .end = range->end};
        }
    }
    return count;
}

/* The kernel has just said that the range is as its own placeholder had it. */
static void join_asked(struct quarantine *quarantine, const struct maps_range *asked,
                       const struct quarantine_placeholder *placeholder)
{
    for (uint32_t i = 0; i < used(quarantine); i++) {
        struct quarantine_range *range = &quarantine->ranges[i];
        if (range->start != asked->start || range->end != asked->end || !hold_range(range, true)) {
            continue;
        }
        bool ours = range->start == asked->start && range->end == asked->end && asked->whole &&
                    asked->inode == range->inode && asked->prot == PROT_NONE;
        if (ours && !raw_failed(quarantine_map(range->start, range->end, placeholder->memory))) {
            range->inode = placeholder->inode;
            if (add_to_neighbour(quarantine, range, true)) {
                free_range(quarantine, range);
                return;
            }
        }
        leave_range(range, QUARANTINE_KEPT);
        return;
    }
}

#define JOIN_ROUNDS 2u /* what is joined touches others: of these, so many in a row */

void quarantine_join_ranges(struct quarantine *quarantine,
                            const struct quarantine_placeholder *placeholder, char *buffer)
{
    for (unsigned round = 0; round < JOIN_ROUNDS; round++) {
        uint32_t count = choose_neighbours(quarantine, placeholder->inode);
        quarantine_sort(quarantine->asked, count);
        if (count == 0 || !maps_ask(quarantine->asked, count, buffer)) {
            return;
        }
        for (uint32_t i = 0; i < count; i++) {
            join_asked(quarantine, &quarantine->asked[i], placeholder);
        }
    }
}

static bool may_be_kept(const struct quarantine *quarantine, uint64_t start, uint64_t end)
{
    return __atomic_load_n(&quarantine->ranges_kept, __ATOMIC_SEQ_CST) != 0 &&
           end > ~__atomic_load_n(&quarantine->low, __ATOMIC_SEQ_CST) &&
           start < __atomic_load_n(&quarantine->high, __ATOMIC_SEQ_CST);
}

/* Takes [start, end) out of a range that the caller has; how many bytes. */
static uint64_t cut_range(struct quarantine *quarantine, struct quarantine_range *range,
                          uint64_t start, uint64_t end)
{
    struct quarantine_range old = *range;
    uint64_t from = start > old.start ? start : old.start;
    uint64_t to = end < old.end ? end : old.end;
    struct quarantine_range *upper =
        from > old.start && to < old.end ? new_range(quarantine) : NULL;
    if (upper) { /* both ends stay */
        *upper = old;
        upper->start = to;
        moved(quarantine);
        leave_range(upper, QUARANTINE_KEPT);
    }
    if (from > old.start) {
        range->end = from;
        leave_range(range, QUARANTINE_KEPT);
    } else if (to < old.end) {
        range->start = to;
        leave_range(range, QUARANTINE_KEPT);
    } else {
        free_range(quarantine, range);
    }
    /* Without a place for the upper end that is forgotten, and stays as it is. */
    uint64_t gone = (from > old.start && to < old.end && !upper ? old.end : to) - from;
    add_bytes(quarantine, -(int64_t)gone);
    return gone;
}

static uint64_t take_once(struct quarantine *quarantine, uint64_t start, uint64_t end,
                          bool may_call, uint32_t *stack)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < used(quarantine); i++) {
        struct quarantine_range *range = &quarantine->ranges[i];
        if (range->end <= start || range->start >= end || !hold_range(range, may_call)) {
            continue;
        }
        if (range->end <= start || range->start >= end) {
            leave_range(range, QUARANTINE_KEPT);
            continue;
        }
        *stack = range->stack;
        bytes += cut_range(quarantine, range, start, end);
    }
    return bytes;
}

uint64_t quarantine_take_range(struct quarantine *quarantine, uint64_t start, uint64_t end,
                               bool may_call, uint32_t *stack)
{
    uint64_t bytes = 0;
    uint32_t before;
    do {
        before = moves_of(quarantine);
        bytes += take_once(quarantine, start, end, may_call, stack);
    } while (before != moves_of(quarantine));
    return bytes;
}

bool quarantine_touches(const struct quarantine *quarantine, uint64_t start, uint64_t end)
{
    if (!may_be_kept(quarantine, start, end)) {
        return false;
    }
    uint32_t before;
    do {
        before = moves_of(quarantine);
        for (uint32_t i = 0; i < used(quarantine); i++) {
            const struct quarantine_range *range = &quarantine->ranges[i];
            if (__atomic_load_n(&range->state, __ATOMIC_SEQ_CST) != QUARANTINE_FREE &&
                range->start < end && range->end > start) {
                return true;
            }
        }
    } while (before != moves_of(quarantine));
    return false;
}

bool quarantine_keeps(const struct quarantine *quarantine, uint64_t start, uint64_t end)
{
    uint64_t kept = 0;
    if (!may_be_kept(quarantine, start, end)) {
        return false;
    }
    for (uint32_t i = 0; i < used(quarantine); i++) {
        const struct quarantine_range *range = &quarantine->ranges[i];
        if (__atomic_load_n(&range->state, __ATOMIC_SEQ_CST) == QUARANTINE_KEPT &&
            range->start < end && range->end > start) {
            kept += (range->end < end ? range->end : end) -
                    (range->start > start ? range->start : start);
        }
    }
    return kept == end - start;
}

/* The oldest that comes after `order`; NULL: none. */
static const struct quarantine_range *next_by_age(const struct quarantine *quarantine,
                                                  uint64_t order)
{
    const struct quarantine_range *oldest = NULL;
    for (uint32_t i = 0; i < used(quarantine); i++) {
        const struct quarantine_range *range = &quarantine->ranges[i];
        if (__atomic_load_n(&range->state, __ATOMIC_SEQ_CST) == QUARANTINE_KEPT &&
            range->order > order && (!oldest || range->order < oldest->order)) {
            oldest = range;
        }
    }
    return oldest;
}

/* What goes, by age; of the last one perhaps a part. */
static uint32_t choose(struct quarantine *quarantine, uint64_t page)
{
    uint32_t count = 0;
    uint64_t order = 0;
    uint64_t bytes = __atomic_load_n(&quarantine->bytes, __ATOMIC_SEQ_CST);
    uint32_t kept = __atomic_load_n(&quarantine->ranges_kept, __ATOMIC_SEQ_CST);
    uint64_t over = bytes > quarantine->bytes_max ? bytes - quarantine->bytes_max : 0;
    while ((over > 0 || kept > QUARANTINE_RANGES / 2) && count < QUARANTINE_RANGES) {
        const struct quarantine_range *range = next_by_age(quarantine, order);
        if (!range) {
            break;
        }
        struct quarantine_range copy = *range;
        uint64_t size = copy.end - copy.start;
        uint64_t goes = size;
        if (kept <= QUARANTINE_RANGES / 2 && over < size) {
            goes = (over + page - 1) & ~(page - 1);
        }
        uint64_t from = copy.downward ? copy.end - goes : copy.start;
        quarantine->asked[count++] = (struct maps_range){.start = from, .end = from + goes};
        over -= goes < over ? goes : over;
        kept -= goes == size;
        order = copy.order;
    }
    return count;
}

/* Insertion: they are few, or nearly in order. */
void quarantine_sort(struct maps_range *ranges, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        struct maps_range range = ranges[i];
        uint32_t at = i;
        for (; at > 0 && ranges[at - 1].start > range.start; at--) {
            ranges[at] = ranges[at - 1];
        }
        ranges[at] = range;
    }
}

/* Of the placeholder that occupies all of it; 0: not all of it is kept as one. */
static uint64_t inode_of(const struct quarantine *quarantine, uint64_t start, uint64_t end)
{
    for (uint32_t i = 0; i < used(quarantine); i++) {
        const struct quarantine_range *range = &quarantine->ranges[i];
        if (__atomic_load_n(&range->state, __ATOMIC_SEQ_CST) == QUARANTINE_KEPT &&
            range->start <= start && range->end >= end) {
            return range->inode;
        }
    }
    return 0;
}

/* Unmaps it, if it is still kept and the placeholder; what else is there by now was put there
 * unseen. */
static void give_up_range(struct quarantine *quarantine, const struct policy_event *event,
                          const struct maps_range *asked)
{
    uint32_t stack = 0;
    quarantine_hand_on_range(quarantine, asked->start, asked->end);
    uint64_t inode = inode_of(quarantine, asked->start, asked->end);
    uint64_t taken =
        inode ? quarantine_take_range(quarantine, asked->start, asked->end, true, &stack) : 0;
    if (taken == asked->end - asked->start) { /* a release may have come for a part of it */
        bool ours = asked->whole && asked->inode == inode && asked->prot == PROT_NONE;
        bool gone = false;
        struct ledger_map_event release = {.op = LEDGER_MAP_FLY,
                                           .start = asked->start,
                                           .end = asked->end,
                                           .ticket = ledger_ticket(event->ledger),
                                           .now_ns = event->now_ns};
        ledger_map_submit(event->ledger, event->actor, &release);
        if (ours || FAULT(quarantine_blind)) {
            __atomic_store_n(&quarantine->gone_start, asked->start, __ATOMIC_SEQ_CST);
            __atomic_store_n(&quarantine->gone_end, asked->end, __ATOMIC_SEQ_CST);
            gone = !raw_failed(raw_syscall2(SYS_munmap, asked->start, asked->end - asked->start));
        }
        if (gone) {
            placement_unmapped(event, asked->start, asked->end);
        } else if (ours) { /* it would have split a VMA, at their limit: another time */
            quarantine_put_range(quarantine, asked->start, asked->end, stack, inode);
        }
        release.op = gone || !ours ? LEDGER_MAP_COMMIT : LEDGER_MAP_ROLLBACK;
        ledger_map_submit(event->ledger, event->actor, &release);
    }
    quarantine_hand_off_range(quarantine);
}

void quarantine_trim_ranges(struct quarantine *quarantine, const struct policy_event *event,
                            char *buffer)
{
    uint32_t count = FAULT(quarantine_endless) ? 0 : choose(quarantine, event->page);
    if (count != 0) {
        quarantine_sort(quarantine->asked, count);
        if (maps_ask(quarantine->asked, count, buffer)) {
            for (uint32_t i = 0; i < count; i++) {
                give_up_range(quarantine, event, &quarantine->asked[i]);
            }
        }
    }
    quarantine_tell_bytes(quarantine, event->ledger);
}

void quarantine_tell_bytes(const struct quarantine *quarantine, const struct ledger *ledger)
{
    uint64_t bytes = __atomic_load_n(&quarantine->bytes, __ATOMIC_SEQ_CST);
    __atomic_store_n(&ledger->header->quarantined_bytes, bytes, __ATOMIC_RELAXED);
}
