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
    __atomic_store_n(&quarantine->hand_start, start, __ATOMIC_SEQ_CST);
    __atomic_store_n(&quarantine->hand_end, end, __ATOMIC_SEQ_CST);
}

void quarantine_hand_off_range(struct quarantine *quarantine)
{
    __atomic_store_n(&quarantine->hand_end, 0, __ATOMIC_SEQ_CST);
}

#define SPINS 100u       /* what two system calls take */
#define TRIES (1u << 20) /* whoever has not gone on by then was stopped for good */

static void pause_once(unsigned tries, bool may_call)
{
    if (may_call && tries > SPINS) {
        raw_syscall0(SYS_sched_yield);
    }
}

void quarantine_wait_fds(const struct quarantine *quarantine, uint32_t first, uint32_t last,
                         bool may_call)
{
    for (unsigned tries = 0; tries < TRIES; tries++) {
        uint32_t hand = __atomic_load_n(&quarantine->hand_fd, __ATOMIC_SEQ_CST);
        if (hand == 0 || hand - 1 < first || hand - 1 > last) {
            return;
        }
        pause_once(tries, may_call);
    }
}

void quarantine_wait_range(const struct quarantine *quarantine, uint64_t start, uint64_t end,
                           bool may_call)
{
    for (unsigned tries = 0; tries < TRIES; tries++) {
        uint64_t hand_end = __atomic_load_n(&quarantine->hand_end, __ATOMIC_SEQ_CST);
        uint64_t hand_start = __atomic_load_n(&quarantine->hand_start, __ATOMIC_SEQ_CST);
        bool same = hand_end == __atomic_load_n(&quarantine->hand_end, __ATOMIC_SEQ_CST);
        if (hand_end == 0 || (same && (hand_end <= start || hand_start >= end))) {
            return;
        }
        pause_once(tries, may_call);
    }
}

/* --- numbers ---------------------------------------------------------------------------------- */

static char *put_number(char *to, unsigned number)
{
    char digits[12];
    unsigned count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    while (count) {
        *to++ = digits[--count];
    }
    *to = 0;
    return to;
}

/* By O_PATH (open.2): whoever still reads, writes, maps or passes on the number that was reclaimed
 * is told EBADF, as if it had been closed. */
static long path_to(long fd)
{
    char path[32] = "/proc/self/fd/";
    unsigned length = 0;
    while (path[length]) {
        length++;
    }
    put_number(path + length, (unsigned)fd);
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

int quarantine_placeholder(uint64_t *inode)
{
    long fd = raw_syscall2(SYS_memfd_create, "boxledger:reclaimed",
                           (unsigned)(MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (raw_failed(fd)) {
        return -1;
    }
    raw_syscall3(SYS_fcntl, fd, F_ADD_SEALS,
                 F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    long path = path_to(fd);
    if (!raw_failed(path)) {
        raw_syscall1(SYS_close, fd);
        fd = path;
    }
    *inode = identity_inode((int)fd);
    if (*inode == 0) {
        raw_syscall1(SYS_close, fd);
        return -1;
    }
    return (int)fd;
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

/* Closes it, if it is the placeholder; what else is there by now was put there unseen. */
static void give_up_fd(struct quarantine *quarantine, const struct policy_event *event,
                       const struct quarantine_fd *entry)
{
    quarantine_hand_on_fd(quarantine, entry->fd);
    struct ledger_fd_flight flight =
        ledger_fd_fly_reclaimed(event->ledger, entry->fd, entry->since_ns);
    if (flight.state || FAULT(reclaim_late_twice)) {
        if (FAULT(quarantine_blind) || FAULT(reclaim_late_twice) || identity_inode(entry->fd) == entry->inode) {
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
