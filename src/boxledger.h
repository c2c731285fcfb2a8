/*
 * boxledger.h: what a supervisor may say to its ledger. None has to: everything works without.
 *
 * Needs no library and costs nothing where the shim is absent: its functions are weak symbols of
 * the preloaded shim, and the ones below look for them first. Usable from C and C++.
 *
 * Results: 0 or an owner on success; on failure -1 (an owner: 0), errno set, and no state changed.
 * Without the shim each fails with ENOSYS, so a supervisor that ignores their results runs the
 * same with and without. None allocates or opens anything, and none waits, but for assign_range and
 * usage, which give a thread that is changing the ledger up to half a second to get on. All but
 * boxledger_check may be called from a signal handler. Manual: boxledger.h(3).
 */
#ifndef BOXLEDGER_H
#define BOXLEDGER_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#ifdef __GNUC__ /* boxledger_usage is a struct and a function, as stat is */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif
#endif

#define BOXLEDGER_API_VERSION 1

/* One sandbox, from its begin to its end. 0 is the supervisor itself. Never used twice in one
 * process, but in 2^32 sandboxes. */
typedef uint64_t boxledger_owner;

/* What an owner holds, or what is left behind. Additions at the end only: `size` says which
 * version of the struct the caller knows, and is set by the functions below. */
struct boxledger_usage {
    size_t size;
    uint64_t fds;
    uint64_t mappings; /* as the ledger keeps them: one that was split counts for each part */
    uint64_t bytes;    /* of those mappings */
    uint64_t owners;   /* boxledger_check: ended sandboxes that left them; otherwise 1 */
};

/* Defined by the shim. Call the functions below instead. */
int boxledger_shim_attached(void) __attribute__((weak));
boxledger_owner boxledger_shim_begin(const char *label) __attribute__((weak));
int boxledger_shim_enter(boxledger_owner owner) __attribute__((weak));
int boxledger_shim_leave(boxledger_owner owner) __attribute__((weak));
int boxledger_shim_end(boxledger_owner owner) __attribute__((weak));
int boxledger_shim_assign_fd(boxledger_owner owner, int fd) __attribute__((weak));
int boxledger_shim_assign_range(boxledger_owner owner, const void *start, size_t bytes)
    __attribute__((weak));
int boxledger_shim_usage(boxledger_owner owner, struct boxledger_usage *usage)
    __attribute__((weak));
int boxledger_shim_mark(void) __attribute__((weak));
int boxledger_shim_check(struct boxledger_usage *left) __attribute__((weak));

#define BOXLEDGER_ASK(function, arguments, absent)                                                 \
    ((function) ? function arguments : (errno = ENOSYS, (absent)))

/* Whether the shim is loaded and keeps a ledger of this process: 1, or 0. It is 0 in a child after
 * fork(2), unless that is followed and has a ledger of its own. Keeps errno. */
static inline int boxledger_present(void)
{
    return boxledger_shim_attached ? boxledger_shim_attached() : 0;
}

/* A sandbox begins. `label` names it in reports: copied, at most 47 bytes of it; NULL: none.
 * Returns its owner, or 0: ENOSYS (no shim, or this process is not watched), ENOMEM (the ledger
 * has no room). Nothing becomes its own by this; see enter and assign. */
static inline boxledger_owner boxledger_begin(const char *label)
{
    return BOXLEDGER_ASK(boxledger_shim_begin, (label), UINT64_C(0));
}

/* From here to boxledger_leave, what the calling thread acquires is the owner's. Scopes nest, at
 * most 16 deep; an owner may be entered by several threads at once.
 * ESRCH: no such owner; EINVAL: it has ended, or is no owner of boxledger_begin; EOVERFLOW: nested
 * too deep. */
static inline int boxledger_enter(boxledger_owner owner)
{
    return BOXLEDGER_ASK(boxledger_shim_enter, (owner), -1);
}

/* EINVAL: the calling thread's innermost scope is not this owner's. An owner that has ended
 * meanwhile can still be left. */
static inline int boxledger_leave(boxledger_owner owner)
{
    return BOXLEDGER_ASK(boxledger_shim_leave, (owner), -1);
}

/* The sandbox has ended, and what it still holds is left behind once it had time to settle.
 * ESRCH: no such owner; EINVAL: it has ended, or is no owner of boxledger_begin. */
static inline int boxledger_end(boxledger_owner owner)
{
    return BOXLEDGER_ASK(boxledger_shim_end, (owner), -1);
}

/* The descriptor belongs to this owner from now on, whoever had it; 0 gives it back to the
 * supervisor. ESRCH, EINVAL: as for enter; EBADF: the ledger does not know it as open. */
static inline int boxledger_assign_fd(boxledger_owner owner, int fd)
{
    return BOXLEDGER_ASK(boxledger_shim_assign_fd, (owner, fd), -1);
}

/* The same for [start, start + bytes), rounded outward to pages: all of it must be recorded as
 * mapped, and a mapping that it covers in part is split. ESRCH, EINVAL: as for enter, or an empty
 * range; ENOMEM: not all of it is mapped as far as the ledger knows; EAGAIN: the ledger was being
 * changed at that moment (in a handler above such a change, or by a thread that does not run),
 * nothing was done. */
static inline int boxledger_assign_range(boxledger_owner owner, const void *start, size_t bytes)
{
    return BOXLEDGER_ASK(boxledger_shim_assign_range, (owner, start, bytes), -1);
}

/* What an owner holds now, live or ended. ESRCH: no such owner, or one that ended with nothing
 * left and has been forgotten. */
static inline int boxledger_usage(boxledger_owner owner, struct boxledger_usage *usage)
{
    usage->size = sizeof(*usage);
    return BOXLEDGER_ASK(boxledger_shim_usage, (owner, usage), -1);
}

/* An epoch, where there are no sandboxes: what grows from mark to mark is told as growing. */
static inline int boxledger_mark(void)
{
    return BOXLEDGER_ASK(boxledger_shim_mark, (), -1);
}

/* How much ended sandboxes have left behind right now, settled and confirmed by the kernel as far
 * as that can be asked from within. Repeatable, prints nothing, never exits. Returns 1 if anything
 * is left behind, 0 if nothing. EAGAIN: another thread is asking. */
static inline int boxledger_check(struct boxledger_usage *left)
{
    left->size = sizeof(*left);
    return BOXLEDGER_ASK(boxledger_shim_check, (left), -1);
}

#ifdef __cplusplus
#ifdef __GNUC__
#pragma GCC diagnostic pop
#endif
}
#endif

#endif
