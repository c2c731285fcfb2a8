/*
 * identity.c: see identity.h. statx(2) is asked for what the system has, and never waits for a file
 * server (AT_STATX_DONT_SYNC): that may be the very process.
 */
#include "identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "decimal.h"
#include "raw.h"

#define PIDFS 0x50494446            /* linux/magic.h, Linux 6.9: a pidfd has an inode of its own */
#define PIPEFS 0x50495045           /* linux/magic.h */
#define PROCFS 0x9fa0               /* linux/magic.h */
#define ANONYMOUS_INODES 0x09041934 /* linux/magic.h */
#define LINK_BYTES 256u             /* more than a name in /proc that begins with a number */
#define RANGE_PROBES 8u
#define PAGE_SHIFT 12u

#define WANTED (STATX_TYPE | STATX_INO | STATX_NLINK)

static bool stat_fd(int fd, struct statx *status)
{
    long result =
        raw_syscall5(SYS_statx, fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, WANTED, status);
    return !raw_failed(result) && (status->stx_mask & STATX_INO) && (status->stx_mask & STATX_TYPE);
}

static long stat_name(const char *name, struct statx *status)
{
    return raw_syscall5(SYS_statx, AT_FDCWD, name, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, WANTED,
                        status);
}

static uint64_t device_of(const struct statx *status)
{
    return (uint64_t)status->stx_dev_major << 32 | status->stx_dev_minor;
}

static bool is_on(int fd, long magic)
{
    struct statfs status;
    return !raw_failed(raw_syscall2(SYS_fstatfs, fd, &status)) && (long)status.f_type == magic;
}

/* What KVM makes beside a VM and its vCPUs has a type and an inode of its own only where it is a
 * guest_memfd, which has no name. */
static enum identity_strength strength_of_file(int fd, const struct statx *status, uint16_t kind)
{
    if ((status->stx_mask & STATX_NLINK) && status->stx_nlink == 0) {
        return IDENTITY_UNIQUE;
    }
    if (kind == LEDGER_FD_KVM_DEVICE) {
        return is_on(fd, ANONYMOUS_INODES) ? IDENTITY_UNIQUE : IDENTITY_NAMED;
    }
    return status->stx_dev_major == 0 && is_on(fd, PROCFS) ? IDENTITY_PROCESS : IDENTITY_NAMED;
}

static enum identity_strength strength_of(int fd, const struct statx *status, uint16_t kind)
{
    switch (status->stx_mode & S_IFMT) {
    case S_IFSOCK:
        return IDENTITY_UNIQUE;
    case S_IFIFO:
        return is_on(fd, PIPEFS) ? IDENTITY_UNIQUE : IDENTITY_NAMED;
    case S_IFREG:
        if (kind == LEDGER_FD_PIDFD) {
            return is_on(fd, PIDFS) ? IDENTITY_UNIQUE : IDENTITY_NONE;
        }
        return strength_of_file(fd, status, kind);
    case S_IFDIR:
        return is_on(fd, PROCFS) ? IDENTITY_PROCESS : IDENTITY_NAMED;
    case 0: /* an anonymous inode; since Linux 6.17 a pidfd shows no type either */
        return kind == LEDGER_FD_PIDFD && is_on(fd, PIDFS) ? IDENTITY_UNIQUE : IDENTITY_NONE;
    default:
        return IDENTITY_NONE;
    }
}

/* Kinds that share an inode with all others, or are a device. */
static bool is_weak(uint16_t kind)
{
    switch (kind) {
    case LEDGER_FD_EVENTFD:
    case LEDGER_FD_EPOLL:
    case LEDGER_FD_TIMERFD:
    case LEDGER_FD_SIGNALFD:
    case LEDGER_FD_INOTIFY:
    case LEDGER_FD_FANOTIFY:
    case LEDGER_FD_IO_URING:
    case LEDGER_FD_USERFAULTFD:
    case LEDGER_FD_PERF:
    case LEDGER_FD_BPF:
    case LEDGER_FD_SECCOMP:
    case LEDGER_FD_KVM_VM:
    case LEDGER_FD_KVM_VCPU:
    case LEDGER_FD_LANDLOCK:
        return true;
    default:
        return false;
    }
}

void identity_take_fd(struct identity *identity, const struct ledger *ledger, int fd, bool assigned)
{
    const struct ledger_fd *record = ledger_fd_record(ledger, fd);
    if (!record || (uint32_t)fd >= IDENTITY_FDS) {
        return;
    }
    struct identity_fd *place = &identity->fds[fd];
    uint32_t state = __atomic_load_n(&record->state, __ATOMIC_ACQUIRE);
    struct statx status;
    __atomic_store_n(&place->state, 0, __ATOMIC_RELEASE);
    if ((state & 7) != LEDGER_LIVE || is_weak(record->kind) || !stat_fd(fd, &status)) {
        return;
    }
    place->strength = (uint16_t)strength_of(fd, &status, record->kind);
    place->assigned = assigned;
    place->device = device_of(&status);
    place->inode = status.stx_ino;
    __atomic_store_n(&place->state, state, __ATOMIC_RELEASE);
}

bool identity_fd_assigned(const struct identity *identity, int fd)
{
    return fd >= 0 && (uint32_t)fd < IDENTITY_FDS && identity->fds[fd].assigned;
}

void identity_forget_fd(struct identity *identity, int fd)
{
    if (fd >= 0 && (uint32_t)fd < IDENTITY_FDS) {
        __atomic_store_n(&identity->fds[fd].state, 0, __ATOMIC_RELEASE);
    }
}

enum identity_strength identity_claimed(const struct identity *identity, int fd, uint32_t state)
{
    bool known = fd >= 0 && (uint32_t)fd < IDENTITY_FDS &&
                 __atomic_load_n(&identity->fds[fd].state, __ATOMIC_ACQUIRE) == state;
    return known ? (enum identity_strength)identity->fds[fd].strength : IDENTITY_NONE;
}

void identity_path(char path[IDENTITY_PATH], int fd)
{
    static const char folder[] = "/proc/self/fd/";
    unsigned length = 0;
    for (; folder[length]; length++) {
        path[length] = folder[length];
    }
    *decimal_put(path + length, (unsigned)fd) = 0;
}

/* The name that the kernel has for it, if that is one of a process; what proc_pid_fd(5) adds to one
 * that is gone is cut off. */
static bool name_in_proc(int fd, char name[LINK_BYTES])
{
    static const char folder[] = "/proc/", gone[] = " (deleted)";
    const unsigned gone_length = sizeof gone - 1;
    char path[IDENTITY_PATH];
    identity_path(path, fd);
    long length = raw_syscall4(SYS_readlinkat, AT_FDCWD, path, name, LINK_BYTES - 1);
    if (raw_failed(length) || length == LINK_BYTES - 1) {
        return false;
    }
    name[length] = 0;
    for (unsigned i = 0; folder[i]; i++) {
        if (name[i] != folder[i]) {
            return false;
        }
    }
    if (length > (long)gone_length && name[length - 1] == ')') {
        name[length - gone_length] = 0;
    }
    return name[sizeof folder - 1] >= '1' && name[sizeof folder - 1] <= '9';
}

/* Its name leads to nothing, or to another process's, in the same /proc: nobody opens it by that.
 */
static bool has_lost_its_name(int fd, const struct statx *status)
{
    char name[LINK_BYTES];
    struct statx there, proc;
    if (!name_in_proc(fd, name)) {
        return false;
    }
    long result = stat_name(name, &there);
    if (result == -ENOENT || result == -ESRCH) {
        return !raw_failed(stat_name("/proc/", &proc)) && device_of(&proc) == device_of(status);
    }
    return !raw_failed(result) && device_of(&there) == device_of(status) &&
           there.stx_ino != status->stx_ino;
}

enum identity_strength identity_of_fd(const struct identity *identity, int fd, uint32_t state)
{
    enum identity_strength strength = identity_claimed(identity, fd, state);
    struct statx status;
    if (strength == IDENTITY_NONE || !stat_fd(fd, &status)) {
        return IDENTITY_NONE;
    }
    const struct identity_fd *place = &identity->fds[fd];
    bool same = status.stx_ino == place->inode && device_of(&status) == place->device;
    if (!same || identity_claimed(identity, fd, state) != strength) {
        return IDENTITY_NONE;
    }
    if (strength != IDENTITY_PROCESS) {
        return strength;
    }
    return has_lost_its_name(fd, &status) ? IDENTITY_UNIQUE : IDENTITY_NAMED;
}

uint64_t identity_inode(int fd)
{
    struct statx status;
    return stat_fd(fd, &status) ? status.stx_ino : 0;
}

/* --- ranges ----------------------------------------------------------------------------------- */

/* The place of what starts there, or one that may be had for it. */
static struct identity_range *range_of(const struct identity *identity, uint64_t start, bool make)
{
    uint64_t hash = (start >> PAGE_SHIFT) * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    const struct identity_range *free = NULL;
    for (unsigned probe = 0; probe < RANGE_PROBES; probe++) {
        const struct identity_range *range = &identity->ranges[(hash + probe) % IDENTITY_RANGES];
        if (range->start == start) {
            return (struct identity_range *)range;
        }
        free = !free && range->start == 0 ? range : free;
    }
    if (!free) { /* what was there is not known any more, which harms nobody */
        free = &identity->ranges[hash % IDENTITY_RANGES];
    }
    return make ? (struct identity_range *)free : NULL;
}

void identity_take_range(struct identity *identity, uint64_t start, uint64_t end, int fd)
{
    struct identity_range *range = range_of(identity, start, true);
    __atomic_store_n(&range->inode, 0, __ATOMIC_RELEASE);
    range->start = start;
    range->end = end;
    range->assigned = 0;
    __atomic_store_n(&range->inode, identity_inode(fd), __ATOMIC_RELEASE);
}

void identity_assign_range(struct identity *identity, uint64_t start, uint64_t end)
{
    struct identity_range *range = range_of(identity, start, false);
    if (range && range->end == end) {
        range->assigned = 1;
    }
}

bool identity_range_assigned(const struct identity *identity, uint64_t start, uint64_t end)
{
    const struct identity_range *range = range_of(identity, start, false);
    return range && range->end == end && range->assigned;
}

uint64_t identity_of_range(const struct identity *identity, uint64_t start, uint64_t end)
{
    const struct identity_range *range = range_of(identity, start, false);
    uint64_t inode = range ? __atomic_load_n(&range->inode, __ATOMIC_ACQUIRE) : 0;
    return range && range->end == end ? inode : 0;
}
