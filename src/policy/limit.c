/*
 * limit.c: see limit.h.
 *
 * The kernel has no count of VMAs to ask for, only a list. The ledger's estimate misses what libc
 * maps for itself, so the list is counted where a sandbox comes near the reserve, now and then,
 * with signals blocked: whoever counts cannot be interrupted. Of descriptors the kernel hands out
 * the lowest free number. So there is room below the reserve exactly if some number below it is
 * free, and high ones mostly are.
 */
#include "limit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include "ledger/fault.h"
#include "maps.h"
#include "raw.h"

#define COUNTS_APART_NS UINT64_C(250000000) /* 65,000 VMAs take 21 ms to count */
#define COUNT_AGAIN 512                     /* VMAs more, or a quarter of the room */
#define LIMIT_AGAIN_NS UINT64_C(1000000000)
#define FREE_NS UINT64_C(10000000) /* so long a number that is free is taken to stay free */
#define PIECES_MAX 64u /* mappings that a slot, or a change of protection, is followed through */
#define BUFFER_SIZE 4096u
#define NO_NUMBER UINT32_MAX

/* process-global because the user sets it for the process */
static struct limit_terms terms;

/* What is known of the process, and when it was asked for. */
/* process-global because it describes the process */
static struct {
    uint64_t max_fds, max_fds_ns;
    uint64_t vmas_ns;
    int64_t count_at; /* VMAs, by the estimate, at which to count again */
    uint32_t counting;
    uint32_t free_fd; /* a number that was free lately, ... */
    uint64_t free_ns; /* ... then */
} process;

/* process-global: used by the one thread that counts */
static char buffer[BUFFER_SIZE];

/* --- whose, and what it holds --- */

static uint32_t sandbox_of(const struct ledger *ledger, uint32_t owner)
{
    if (FAULT(limit_of_another) && owner != 0) {
        return 1;
    }
    return owner == LIMIT_NEW_OWNER ? owner : ledger_owner_outermost(ledger, owner);
}

static int refuse(const struct policy_event *event, enum ledger_event_kind kind, int error,
                  uint64_t held, uint64_t bytes, uint32_t sandbox)
{
    ledger_note_limited(event->ledger, event->actor, kind, error, policy_stack(event), held, bytes,
                        sandbox == LIMIT_NEW_OWNER ? 0 : sandbox, event->now_ns);
    __atomic_add_fetch(&event->ledger->header->limited, 1, __ATOMIC_RELAXED);
    return error;
}

/* --- VMAs of the process --- */

/* Makes the estimate right, if that can be done now and was not done lately. */
static void count_vmas(const struct policy_event *event, int64_t room)
{
    uint64_t all = UINT64_MAX, before;
    uint32_t idle = 0;
    int64_t *estimate = &event->ledger->header->vmas_estimated;
    uint64_t last = __atomic_load_n(&process.vmas_ns, __ATOMIC_RELAXED);
    if (!event->may_call || (last && event->now_ns - last < COUNTS_APART_NS) ||
        raw_failed(raw_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof(all)))) {
        return;
    }
    if (__atomic_compare_exchange_n(&process.counting, &idle, 1, false, __ATOMIC_ACQUIRE,
                                    __ATOMIC_RELAXED)) {
        int64_t was = __atomic_load_n(estimate, __ATOMIC_RELAXED);
        int64_t lines = (int64_t)maps_count(buffer, sizeof(buffer));
        if (lines > 0) {
            int64_t is = __atomic_add_fetch(estimate, lines - was, __ATOMIC_RELAXED);
            int64_t later = (room - is) / 4 > COUNT_AGAIN ? (room - is) / 4 : COUNT_AGAIN;
            __atomic_store_n(&process.count_at, is + later, __ATOMIC_RELAXED);
        }
        __atomic_store_n(&process.vmas_ns, event->now_ns, __ATOMIC_RELAXED);
        __atomic_store_n(&process.counting, 0, __ATOMIC_RELEASE);
    }
    raw_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(before));
}

static bool room_for_vmas(const struct policy_event *event, unsigned count)
{
    const int64_t *estimate = &event->ledger->header->vmas_estimated;
    int64_t room = (int64_t)terms.max_vmas - terms.reserve_vmas;
    if (terms.reserve_vmas == 0 || terms.max_vmas == 0) {
        return true;
    }
    int64_t used = __atomic_load_n(estimate, __ATOMIC_RELAXED);
    if (used + count > room || used >= __atomic_load_n(&process.count_at, __ATOMIC_RELAXED)) {
        count_vmas(event, room);
        used = __atomic_load_n(estimate, __ATOMIC_RELAXED);
    }
    return used + count <= room;
}

/* What a sandbox was let have while updates of the ledger were under way: its counts may not have
 * these yet. Two sandboxes may share a place; then the ledger is asked to catch up sooner. */
#define LATELY 256u
/* process-global: a table of sandboxes */
static struct {
    uint64_t bytes;
    uint32_t mappings;
} lately[LATELY];

struct holding {
    uint64_t mappings, bytes;
};

static struct holding holding_of(const struct policy_event *event, uint32_t sandbox)
{
    const struct ledger_owner *record = ledger_owner(event->ledger, sandbox);
    if (!record) {
        return (struct holding){0};
    }
    return (struct holding){__atomic_load_n(&record->mappings, __ATOMIC_RELAXED),
                            __atomic_load_n(&record->bytes, __ATOMIC_RELAXED)};
}

static bool fits(struct holding held, unsigned mappings, uint64_t bytes)
{
    return (terms.vmas == 0 || mappings == 0 || held.mappings + mappings <= terms.vmas) &&
           (terms.bytes == 0 || bytes == 0 ||
            (bytes <= terms.bytes && held.bytes <= terms.bytes - bytes));
}

static void forget_lately(uint32_t sandbox)
{
    __atomic_store_n(&lately[sandbox % LATELY].mappings, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&lately[sandbox % LATELY].bytes, 0, __ATOMIC_RELAXED);
}

void limit_begin(const struct limit_terms *wanted)
{
    terms = *wanted;
    for (uint32_t i = 0; i < LATELY; i++) {
        forget_lately(i);
    }
    process.max_fds = wanted->max_fds;
    process.free_fd = NO_NUMBER;
}

/* Whether the sandbox may have so much more of each, as far as the ledger can tell: where it lags
 * behind and that would make the difference, it is made to catch up. */
static bool may_have(const struct policy_event *event, uint32_t sandbox, unsigned mappings,
                     uint64_t bytes)
{
    if (ledger_map_is_settled(event->ledger)) {
        forget_lately(sandbox);
        return fits(holding_of(event, sandbox), mappings, bytes);
    }
    struct holding held = holding_of(event, sandbox);
    held.mappings += __atomic_load_n(&lately[sandbox % LATELY].mappings, __ATOMIC_RELAXED);
    held.bytes += __atomic_load_n(&lately[sandbox % LATELY].bytes, __ATOMIC_RELAXED);
    if (fits(held, mappings, bytes)) {
        return true;
    }
    if (ledger_map_catch_up(event->ledger, event->actor)) {
        forget_lately(sandbox);
        return fits(holding_of(event, sandbox), mappings, bytes);
    }
    return false;
}

static int admit(const struct policy_event *event, uint32_t sandbox, unsigned mappings,
                 uint64_t bytes, bool new_vmas)
{
    bool good = may_have(event, sandbox, mappings, bytes) &&
                (!new_vmas || mappings == 0 || room_for_vmas(event, mappings));
    if (good) {
        __atomic_add_fetch(&lately[sandbox % LATELY].mappings, mappings, __ATOMIC_RELAXED);
        __atomic_add_fetch(&lately[sandbox % LATELY].bytes, bytes, __ATOMIC_RELAXED);
        return 0;
    }
    return refuse(event, LEDGER_EVENT_LIMITED_MAPPING, ENOMEM, holding_of(event, sandbox).mappings,
                  bytes, sandbox);
}

int limit_map(const struct policy_event *event, unsigned mappings, uint64_t bytes)
{
    uint32_t sandbox = sandbox_of(event->ledger, event->owner);
    return sandbox ? admit(event, sandbox, mappings, bytes, true) : 0;
}

static bool is_of(const struct policy_event *event, const struct ledger_mapping *mapping,
                  uint32_t sandbox)
{
    return ledger_owner_outermost(event->ledger, mapping->owner) == sandbox ||
           ledger_owner_outermost(event->ledger, mapping->bound_owner) == sandbox;
}

int limit_map_over(const struct policy_event *event, uint64_t start, uint64_t end)
{
    uint32_t sandbox = sandbox_of(event->ledger, event->owner);
    uint64_t bytes = end - start;
    int mappings = 1;
    struct ledger_mapping mapping;
    uint64_t from = start;
    for (unsigned i = 0; sandbox && from < end && i < PIECES_MAX; i++) {
        if (!ledger_map_look(event->ledger, event->actor, from, &mapping) || mapping.start >= end) {
            break;
        }
        if (is_of(event, &mapping, sandbox)) {
            uint64_t low = mapping.start < start ? start : mapping.start;
            uint64_t high = mapping.end > end ? end : mapping.end;
            mappings += (mapping.start < start) + (mapping.end > end) - 1;
            bytes -= high - low;
        }
        from = mapping.end;
    }
    return sandbox ? admit(event, sandbox, mappings > 0 ? (unsigned)mappings : 0, bytes, true) : 0;
}

int limit_bind(const struct policy_event *event, uint64_t start, uint64_t end)
{
    uint32_t sandbox = sandbox_of(event->ledger, event->owner);
    unsigned mappings = 0;
    uint64_t bytes = 0;
    struct ledger_mapping mapping;
    for (unsigned i = 0; sandbox && start < end && i < PIECES_MAX; i++) {
        bool any = ledger_map_look(event->ledger, event->actor, start, &mapping);
        bool unseen = !any || mapping.start > start; /* it will be adopted */
        uint64_t until = unseen ? any ? mapping.start : end : mapping.end;
        until = until < end ? until : end;
        if (unseen || !is_of(event, &mapping, sandbox)) {
            mappings++;
            bytes += until - start;
        }
        start = until;
    }
    /* The process has these VMAs already. */
    return mappings ? admit(event, sandbox, mappings, bytes, false) : 0;
}

/* As `event`, but for whose that mapping is. */
static struct policy_event owned_as(const struct policy_event *event,
                                    const struct ledger_mapping *mapping)
{
    struct policy_event its = *event;
    its.owner = mapping->owner ? mapping->owner : mapping->bound_owner;
    return its;
}

int limit_grow(const struct policy_event *event, uint64_t start, uint64_t end, uint64_t new_size,
               bool once_more)
{
    struct ledger_mapping mapping;
    uint64_t old_size = end - start;
    uint64_t more = once_more ? new_size : new_size > old_size ? new_size - old_size : 0;
    if (more == 0 || !ledger_map_look(event->ledger, event->actor, start, &mapping) ||
        mapping.start > start) {
        return 0;
    }
    struct policy_event its = owned_as(event, &mapping);
    return limit_map(&its, once_more ? 1 : 0, more);
}

int limit_split(const struct policy_event *event, uint64_t start, uint64_t end, int prot)
{
    const uint64_t within[2] = {start, end - 1};
    const uint64_t boundary[2] = {start, end};
    struct ledger_mapping mapping;
    for (unsigned i = 0; i < 2; i++) {
        bool inside = ledger_map_look(event->ledger, event->actor, within[i], &mapping) &&
                      mapping.start < boundary[i] && mapping.end > boundary[i];
        struct policy_event its = owned_as(event, &mapping);
        if (inside && mapping.prot != prot && limit_map(&its, 1, 0) != 0) {
            return ENOMEM;
        }
    }
    return 0;
}

/* --- descriptors --- */

/* Many programs raise it at their start, some later. */
static uint64_t max_fds(const struct policy_event *event, bool now)
{
    struct rlimit64 limit;
    uint64_t last = __atomic_load_n(&process.max_fds_ns, __ATOMIC_RELAXED);
    if (event->may_call && (now || event->now_ns - last >= LIMIT_AGAIN_NS)) {
        __atomic_store_n(&process.max_fds_ns, event->now_ns, __ATOMIC_RELAXED);
        if (!raw_failed(raw_syscall4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &limit))) {
            __atomic_store_n(&process.max_fds, limit.rlim_cur, __ATOMIC_RELAXED);
        }
    }
    return __atomic_load_n(&process.max_fds, __ATOMIC_RELAXED);
}

/* The ledger may not know all that are open: the kernel has the last word, where it may be asked.
 */
static bool is_free(const struct policy_event *event, uint32_t fd)
{
    return !ledger_fd_record(event->ledger, (int)fd) &&
           (!event->may_call || raw_syscall2(SYS_fcntl, fd, F_GETFD) == -EBADF);
}

/* Whether `count` of the numbers below `end` are free. */
static bool any_free(const struct policy_event *event, uint64_t end, unsigned count)
{
    uint32_t last = __atomic_load_n(&process.free_fd, __ATOMIC_RELAXED);
    uint64_t since = event->now_ns - __atomic_load_n(&process.free_ns, __ATOMIC_RELAXED);
    unsigned found = 0;
    if (count == 1 && last < end && since < FREE_NS &&
        !ledger_fd_record(event->ledger, (int)last)) {
        return true;
    }
    for (uint64_t fd = end < INT32_MAX ? end : INT32_MAX; fd-- > 0 && found < count;) {
        if (is_free(event, (uint32_t)fd)) {
            __atomic_store_n(&process.free_fd, (uint32_t)fd, __ATOMIC_RELAXED);
            __atomic_store_n(&process.free_ns, event->now_ns, __ATOMIC_RELAXED);
            found++;
        }
    }
    return found == count;
}

static uint64_t below_reserve(uint64_t limit)
{
    return limit > terms.reserve_fds ? limit - terms.reserve_fds : 0;
}

/* One of the last numbers, which are the supervisor's. */
static bool in_reserve(const struct policy_event *event, int fd)
{
    uint64_t limit = terms.reserve_fds ? max_fds(event, false) : 0;
    return limit != 0 && (uint64_t)fd >= below_reserve(limit) &&
           (uint64_t)fd >= below_reserve(max_fds(event, true));
}

static bool room_for_fds(const struct policy_event *event, unsigned count)
{
    if (terms.reserve_fds == 0) {
        return true;
    }
    uint64_t limit = max_fds(event, false);
    if (limit == 0 || any_free(event, below_reserve(limit), count)) {
        return true;
    }
    uint64_t limit_now = max_fds(event, true);
    return limit_now != limit && any_free(event, below_reserve(limit_now), count);
}

static uint64_t fds_of(const struct ledger *ledger, uint32_t sandbox)
{
    const struct ledger_owner *record = ledger_owner(ledger, sandbox);
    return record ? __atomic_load_n(&record->fds, __ATOMIC_RELAXED) : 0;
}

bool limit_is_far(const struct ledger *ledger, uint32_t owner, unsigned count)
{
    return owner == 0 ||
           (terms.reserve_fds == 0 &&
            (terms.fds == 0 || fds_of(ledger, sandbox_of(ledger, owner)) + count <= terms.fds));
}

int limit_fds(const struct policy_event *event, unsigned count)
{
    uint32_t sandbox = event->watching_fds ? sandbox_of(event->ledger, event->owner) : 0;
    if (sandbox == 0) {
        return 0;
    }
    uint64_t held = fds_of(event->ledger, sandbox);
    bool good = (terms.fds == 0 || held + count <= terms.fds) && room_for_fds(event, count);
    return good ? 0 : refuse(event, LEDGER_EVENT_LIMITED_FD, EMFILE, held, 0, sandbox);
}

unsigned limit_received(const struct policy_event *event, const int *fds, unsigned count)
{
    uint32_t sandbox = event->watching_fds ? sandbox_of(event->ledger, event->owner) : 0;
    uint64_t held = fds_of(event->ledger, sandbox);
    unsigned good = 0;
    if (sandbox == 0) {
        return count;
    }
    while (good < count && (terms.fds == 0 || held + good < terms.fds) &&
           !in_reserve(event, fds[good])) {
        good++;
    }
    if (good < count) {
        refuse(event, LEDGER_EVENT_LIMITED_FD, EMFILE, held + good, 0, sandbox);
    }
    return good;
}
