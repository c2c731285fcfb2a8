/*
 * wrap_sockets.c: sockets, and the descriptors that arrive over them (unix.7, SCM_RIGHTS).
 */
#include <sys/socket.h>

#include "calls.h"
#include "wrap.h"

#ifndef SCM_PIDFD
#define SCM_PIDFD 0x04 /* include/linux/socket.h, Linux 6.5 */
#endif

TAKES_FD(socket, SOCKET, (int domain, int type, int protocol), (domain, type, protocol),
         (type & SOCK_CLOEXEC) != 0)

/* These wait, and so close what the thread was answering: see wrap_blocking.c. */
EXPORT int accept(int fd, struct sockaddr *address, socklen_t *length)
{
    sandbox_blocks(&shim_thread.sandbox);
    if (shim_limits_fds(HERE, 1)) {
        return -1;
    }
    return shim_took(
        HERE,
        (int)TRY_TWICE(HERE, PERFORM(FAULT(not_cancelled), int, accept, (fd, address, length),
                                     raw_syscall3(SYS_accept, fd, address, length))),
        LEDGER_FD_SOCKET, false);
}

EXPORT int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    sandbox_blocks(&shim_thread.sandbox);
    if (shim_limits_fds(HERE, 1)) {
        return -1;
    }
    return shim_took(HERE, (int)TRY_TWICE(HERE, REAL(accept4)(fd, address, length, flags)),
                     LEDGER_FD_SOCKET, (flags & SOCK_CLOEXEC) != 0);
}

EXPORT int socketpair(int domain, int type, int protocol, int fds[2])
{
    if (shim_limits_fds(HERE, 2)) {
        return -1;
    }
    int result = (int)TRY_TWICE(HERE, REAL(socketpair)(domain, type, protocol, fds));
    bool cloexec = (type & SOCK_CLOEXEC) != 0;
    shim_took(HERE, result == 0 ? fds[0] : -1, LEDGER_FD_SOCKET, cloexec);
    if (result == 0) {
        shim_took(HERE, fds[1], LEDGER_FD_SOCKET, cloexec);
    }
    return result;
}

void shim_received(const struct unwind_start *here, const struct msghdr *message, int flags)
{
    struct msghdr *header = (struct msghdr *)(uintptr_t)message;
    for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control;
         control = CMSG_NXTHDR(header, control)) {
        if (control->cmsg_level != SOL_SOCKET ||
            (control->cmsg_type != SCM_RIGHTS && control->cmsg_type != SCM_PIDFD)) {
            continue;
        }
        size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        const int *fds = (const int *)CMSG_DATA(control);
        for (size_t i = 0; i < count; i++) {
            if (fds[i] >= 0) { /* a pidfd may be an error instead */
                shim_fd_taken(here, fds[i],
                              control->cmsg_type == SCM_RIGHTS ? LEDGER_FD_RECEIVED
                                                               : LEDGER_FD_PIDFD,
                              flags & MSG_CMSG_CLOEXEC ? LEDGER_CLOEXEC : 0, 0);
            }
        }
    }
}

/* Descriptors come with a message whether there is room for them or not. What there is no room for
 * goes as the kernel lets it go for a process that is at its limit: the message is there, its
 * control data ends before them, and MSG_CTRUNC says so. */
void shim_trim_received(const struct unwind_start *here, struct msghdr *message)
{
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control;
         control = CMSG_NXTHDR(message, control)) {
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        unsigned count = (unsigned)((control->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        int *fds = (int *)CMSG_DATA(control);
        unsigned stay = police_admits_fds(here, fds, count);
        if (stay == count) {
            continue;
        }
        for (unsigned i = stay; i < count; i++) {
            raw_syscall1(SYS_close, fds[i]);
            fds[i] = -1;
        }
        bool last = CMSG_NXTHDR(message, control) == NULL;
        control->cmsg_len = CMSG_LEN(stay * sizeof(int));
        message->msg_flags |= MSG_CTRUNC;
        if (last) {
            size_t used = (size_t)((char *)control - (char *)message->msg_control);
            message->msg_controllen = used + (stay ? CMSG_SPACE(stay * sizeof(int)) : 0);
        }
    }
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    sandbox_blocks(&shim_thread.sandbox);
    ssize_t result = REAL(recvmsg)(fd, message, flags);
    if (result >= 0 && message->msg_controllen > 0 && shim_watching()) {
        if (shim_polices(POLICY_LIMIT)) {
            shim_trim_received(HERE, message);
        }
        shim_received(HERE, message, flags);
    }
    return result;
}

void shim_received_many(const struct unwind_start *here, const struct mmsghdr *messages, int count,
                        int flags)
{
    for (int i = 0; i < count; i++) {
        if (messages[i].msg_hdr.msg_controllen > 0) {
            shim_received(here, &messages[i].msg_hdr, flags);
        }
    }
}

EXPORT int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                    struct timespec *timeout)
{
    sandbox_blocks(&shim_thread.sandbox);
    int result = REAL(recvmmsg)(fd, messages, count, flags, timeout);
    for (int i = 0; shim_polices(POLICY_LIMIT) && i < result && shim_watching(); i++) {
        shim_trim_received(HERE, &messages[i].msg_hdr);
    }
    if (result > 0 && shim_watching()) {
        shim_received_many(HERE, messages, result, flags);
    }
    return result;
}
