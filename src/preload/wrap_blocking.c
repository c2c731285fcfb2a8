/*
 * wrap_blocking.c: calls that wait, and so end what a thread did for the notification that it was
 * answering (DESIGN 5).
 *
 * One store, then a jump: no frame of ours waits, so that a cancellation, or a handler that jumps,
 * meets none. Calls that also take a descriptor (accept, recvmsg) or a child (waitpid) do the same
 * in their own files. read and write are not here: they are too hot, and most do not wait.
 */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

#include "wrap.h"

static int no_such_call(void)
{
    errno = ENOSYS;
    return -1;
}

/* What only newer C libraries have may be missing. */
#define BLOCKS(type, name, params, args)                                                           \
    EXPORT type name params                                                                        \
    {                                                                                              \
        if (!FAULT(scope_stays)) {                                                                 \
            sandbox_blocks(&shim_thread.sandbox);                                                  \
        }                                                                                          \
        if (unlikely(REAL(name) == NULL)) {                                                        \
            return (type)no_such_call();                                                           \
        }                                                                                          \
        return real.name args;                                                                     \
    }

/* poll.2 and its fortified forms, epoll_wait.2, select.2 */
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t size);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                const sigset_t *mask, size_t size);
BLOCKS(int, poll, (struct pollfd * fds, nfds_t count, int timeout), (fds, count, timeout))
BLOCKS(int, __poll_chk, (struct pollfd * fds, nfds_t count, int timeout, size_t size),
       (fds, count, timeout, size))
BLOCKS(int, ppoll,
       (struct pollfd * fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask),
       (fds, count, timeout, mask))
BLOCKS(int, __ppoll_chk,
       (struct pollfd * fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask,
        size_t size),
       (fds, count, timeout, mask, size))
BLOCKS(int, epoll_wait, (int epoll, struct epoll_event *events, int max, int timeout),
       (epoll, events, max, timeout))
BLOCKS(int, epoll_pwait,
       (int epoll, struct epoll_event *events, int max, int timeout, const sigset_t *mask),
       (epoll, events, max, timeout, mask))
BLOCKS(int, epoll_pwait2,
       (int epoll, struct epoll_event *events, int max, const struct timespec *timeout,
        const sigset_t *mask),
       (epoll, events, max, timeout, mask))
BLOCKS(int, select, (int count, fd_set *in, fd_set *out, fd_set *except, struct timeval *timeout),
       (count, in, out, except, timeout))
BLOCKS(int, pselect,
       (int count, fd_set *in, fd_set *out, fd_set *except, const struct timespec *timeout,
        const sigset_t *mask),
       (count, in, out, except, timeout, mask))

/* nanosleep.2, clock_nanosleep.2, sleep.3, usleep.3 */
BLOCKS(int, nanosleep, (const struct timespec *time, struct timespec *left), (time, left))
BLOCKS(int, clock_nanosleep,
       (clockid_t clock, int flags, const struct timespec *time, struct timespec *left),
       (clock, flags, time, left))
BLOCKS(unsigned, sleep, (unsigned seconds), (seconds))
BLOCKS(int, usleep, (useconds_t time), (time))

/* pause.2, sigsuspend.2, sigwait.3, sigwaitinfo.2 */
BLOCKS(int, pause, (void), ())
BLOCKS(int, sigsuspend, (const sigset_t *mask), (mask))
BLOCKS(int, sigwait, (const sigset_t *set, int *signal), (set, signal))
BLOCKS(int, sigwaitinfo, (const sigset_t *set, siginfo_t *info), (set, info))
BLOCKS(int, sigtimedwait, (const sigset_t *set, siginfo_t *info, const struct timespec *timeout),
       (set, info, timeout))
