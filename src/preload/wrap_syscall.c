/*
 * wrap_syscall.c: syscall(2), for every number that takes, releases or names something.
 *
 * All other numbers are jumped to the real one, with no frame of ours in between: some (vfork,
 * clone with memory shared, clone onto another stack) return twice, and many wait.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "calls.h"
#include "police.h"
#include "wrap.h"

/* asm-generic/unistd.h: numbers that are the same on x86-64 and aarch64 since Linux 5.1, and that
 * this libc's headers may be too old for. */
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif
#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13 /* linux/futex.h, Linux 5.14 */
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#ifndef SYS_fanotify_init
#error "sys/syscall.h is incomplete"
#endif

#define FIRST_ADDRESS 4096ul /* below it nothing is mapped: the kernel shall say EFAULT */

/* A call that returns a descriptor; which argument holds its close-on-exec bit. */
struct taker {
    int16_t number;
    uint8_t kind;
    uint8_t flags_argument; /* 1..5; 0: none; 6: always close-on-exec; 7: inside a struct */
    uint32_t cloexec;
};

static const struct taker takers[] = {
    {SYS_openat, LEDGER_FD_FILE, 3, O_CLOEXEC},
    {SYS_memfd_create, LEDGER_FD_MEMFD, 2, MFD_CLOEXEC},
    {SYS_memfd_secret, LEDGER_FD_SECRETMEM, 1, O_CLOEXEC},
    {SYS_socket, LEDGER_FD_SOCKET, 2, SOCK_CLOEXEC},
    {SYS_accept4, LEDGER_FD_SOCKET, 4, SOCK_CLOEXEC},
    {SYS_accept, LEDGER_FD_SOCKET, 0, 0},
    {SYS_eventfd2, LEDGER_FD_EVENTFD, 2, O_CLOEXEC},
    {SYS_epoll_create1, LEDGER_FD_EPOLL, 1, O_CLOEXEC},
    {SYS_timerfd_create, LEDGER_FD_TIMERFD, 2, O_CLOEXEC},
    {SYS_inotify_init1, LEDGER_FD_INOTIFY, 1, O_CLOEXEC},
    {SYS_fanotify_init, LEDGER_FD_FANOTIFY, 1, 1},
    {SYS_pidfd_open, LEDGER_FD_PIDFD, 6, 0},
    {SYS_pidfd_getfd, LEDGER_FD_RECEIVED, 6, 0},
    {SYS_mq_open, LEDGER_FD_MQUEUE, 2, O_CLOEXEC},
    {SYS_fsopen, LEDGER_FD_MOUNT, 2, 1},
    {SYS_fspick, LEDGER_FD_MOUNT, 3, 1},
    {SYS_fsmount, LEDGER_FD_MOUNT, 2, 1},
    {SYS_open_tree, LEDGER_FD_MOUNT, 3, O_CLOEXEC},
    {SYS_io_uring_setup, LEDGER_FD_IO_URING, 6, 0},
    {SYS_userfaultfd, LEDGER_FD_USERFAULTFD, 1, O_CLOEXEC},
    {SYS_perf_event_open, LEDGER_FD_PERF, 5, 8 /* PERF_FLAG_FD_CLOEXEC */},
    {SYS_open_by_handle_at, LEDGER_FD_FILE, 3, O_CLOEXEC},
    {SYS_openat2, LEDGER_FD_FILE, 7, O_CLOEXEC},
#ifdef SYS_open
    {SYS_open, LEDGER_FD_FILE, 2, O_CLOEXEC},
    {SYS_creat, LEDGER_FD_FILE, 0, 0},
    {SYS_eventfd, LEDGER_FD_EVENTFD, 0, 0},
    {SYS_epoll_create, LEDGER_FD_EPOLL, 0, 0},
    {SYS_inotify_init, LEDGER_FD_INOTIFY, 0, 0},
#endif
};

static const struct taker *find_taker(long number)
{
    for (unsigned i = 0; i < sizeof(takers) / sizeof(takers[0]); i++) {
        if (takers[i].number == number) {
            return &takers[i];
        }
    }
    return NULL;
}

static bool is_cloexec(const struct taker *taker, const long *a)
{
    switch (taker->flags_argument) {
    case 0:
        return false;
    case 6:
        return true;
    case 7:
        return (*(const uint64_t *)a[3] & taker->cloexec) != 0; /* struct open_how */
    default:
        return ((unsigned long)a[taker->flags_argument] & taker->cloexec) != 0;
    }
}

/* bpf.2: some commands return a descriptor, most do not. linux/bpf.h */
static bool bpf_takes(long command)
{
    switch (command) {
    case 0:  /* BPF_MAP_CREATE */
    case 5:  /* BPF_PROG_LOAD */
    case 7:  /* BPF_OBJ_GET */
    case 13: /* BPF_PROG_GET_FD_BY_ID */
    case 14: /* BPF_MAP_GET_FD_BY_ID */
    case 17: /* BPF_RAW_TRACEPOINT_OPEN */
    case 18: /* BPF_BTF_LOAD */
    case 19: /* BPF_BTF_GET_FD_BY_ID */
    case 28: /* BPF_LINK_CREATE */
    case 30: /* BPF_LINK_GET_FD_BY_ID */
    case 32: /* BPF_ENABLE_STATS */
    case 33: /* BPF_ITER_CREATE */
        return true;
    default:
        return false;
    }
}

static long made(const long *a)
{
    return libc_result(raw_syscall6(a[0], a[1], a[2], a[3], a[4], a[5], a[6]));
}

/* Which child's the new descriptor is, from the call's arguments; 0: none. */
static uint32_t owner_of(const long *a)
{
    switch (a[0]) {
    case SYS_openat:
    case SYS_openat2:
        return shim_path_owner_at((int)a[1], (const char *)a[2]);
#ifdef SYS_open
    case SYS_open:
        return shim_path_owner((const char *)a[1]);
#endif
    case SYS_pidfd_open:
        return shim_pid_owner((int)a[1]);
    case SYS_pidfd_getfd:
        return shim_pidfd_owner((int)a[1]);
    default:
        return 0;
    }
}

/* The same before the call, from what needs no look at the program's memory. */
static uint32_t owner_before(const long *a)
{
    switch (a[0]) {
    case SYS_pidfd_open:
    case SYS_pidfd_getfd:
        return owner_of(a);
    default:
        return 0;
    }
}

static long took(const struct unwind_start *here, const struct taker *taker, const long *a)
{
    if (shim_polices(POLICY_LIMIT) && police_refuses_fds(here, 1, owner_before(a))) {
        return -1;
    }
    int result = (int)TRY_TWICE(here, made(a));
    bool good = result >= 0;
    return shim_took_for(here, result, (enum ledger_fd_kind)taker->kind,
                         good && is_cloexec(taker, a), good ? owner_of(a) : 0);
}

static long took_pair(const struct unwind_start *here, const long *a, const int *fds,
                      enum ledger_fd_kind kind, bool cloexec)
{
    if (shim_limits_fds(here, 2)) {
        return -1;
    }
    long result = TRY_TWICE(here, made(a));
    shim_took(here, result == 0 ? fds[0] : -1, kind, cloexec);
    if (result == 0) {
        shim_took(here, fds[1], kind, cloexec);
    }
    return result;
}

/* `takes`: whether it answers with a descriptor of this kind, which nothing more is known of. */
static long took_if(const struct unwind_start *here, bool takes, enum ledger_fd_kind kind,
                    const long *a)
{
    if (!takes) {
        return made(a);
    }
    return shim_limits_fds(here, 1) ? -1
                                    : shim_took(here, (int)TRY_TWICE(here, made(a)), kind, true);
}

static long ioctl_made(const struct unwind_start *here, const long *a)
{
    bool watching = shim_ioctl_matters((unsigned long)a[2]) && shim_watching();
    if (watching && shim_polices(POLICY_LIMIT) &&
        police_refuses_ioctl(here, (int)a[1], (uint32_t)a[2], a[3])) {
        return -1;
    }
    if (watching) {
        shim_ioctl_begins(here, (unsigned long)a[2]);
    }
    long result = made(a);
    if (watching) {
        shim_ioctl_done(here, (int)a[1], (unsigned long)a[2], a[3], (int)result);
    }
    return result;
}

static long prctl_made(const struct unwind_start *here, const long *a)
{
    bool sets = a[1] == PR_SET_SECCOMP;
    if (sets) {
        shim_before_filter(false);
    }
    long result = made(a);
    if (sets) {
        shim_after_filter(false, result == 0);
    } else if (a[1] == PR_SET_NAME && result == 0) {
        shim_thread_named(here, (const char *)a[2]);
    }
    return result;
}

/* mbind.2: memory of a policy of its own. */
static long mbind_made(const struct unwind_start *here, const long *a)
{
    long result = made(a);
    if (result == 0 && shim_polices(POLICY_RESCUE) && a[2] > 0) {
        police_spoil(here, (uint64_t)a[1], (uint64_t)(a[1] + a[2]), LEDGER_ODD);
    }
    return result;
}

static long seccomp_made(const struct unwind_start *here, const long *a)
{
    enum { SET_STRICT = 0, SET_FILTER = 1, TSYNC = 1, NEW_LISTENER = 8 }; /* linux/seccomp.h */
    bool sets = a[1] == SET_STRICT || a[1] == SET_FILTER;
    bool all_threads = (a[2] & TSYNC) != 0;
    if (a[1] == SET_FILTER && (a[2] & NEW_LISTENER) && shim_limits_fds(here, 1)) {
        return -1;
    }
    if (sets) {
        shim_before_filter(all_threads);
    }
    long result = made(a);
    if (sets) { /* with TSYNC, a thread that stood in the way is the result: seccomp.2 */
        shim_after_filter(all_threads, result >= 0);
    }
    if (a[1] == SET_FILTER && (a[2] & NEW_LISTENER)) {
        shim_took(here, (int)result, LEDGER_FD_SECCOMP, true);
    }
    return result;
}

static void trim_received(const struct unwind_start *here, const long *a, long result)
{
    if (a[0] == SYS_recvmsg) {
        shim_trim_received(here, (struct msghdr *)a[2]);
        return;
    }
    for (long i = 0; i < result; i++) {
        shim_trim_received(here, &((struct mmsghdr *)a[2])[i].msg_hdr);
    }
}

static long received(const struct unwind_start *here, const long *a)
{
    sandbox_blocks(&shim_thread.sandbox);
    long result = made(a);
    if (result >= 0 && shim_watching()) {
        if (shim_polices(POLICY_LIMIT)) {
            trim_received(here, a, result);
        }
        if (a[0] == SYS_recvmsg) {
            shim_received(here, (const struct msghdr *)a[2], (int)a[3]);
        } else {
            shim_received_many(here, (const struct mmsghdr *)a[2], (int)result, (int)a[4]);
        }
    }
    return result;
}

static long piped(const struct unwind_start *here, const long *a, bool cloexec)
{
    if (shim_limits_fds(here, 2)) {
        return -1;
    }
    long result = made(a);
    shim_took_pipe(here, (const int *)a[1], (int)result, cloexec);
    return result;
}

/* clone.2: whether the child has a copy of our memory, and goes on where we do. */
static bool is_fork(long number, long first, long second)
{
    if (number == SYS_clone) {
        return !(first & (CLONE_VM | CLONE_THREAD)) && second == 0;
    }
    const struct clone_args *args = (const struct clone_args *)first;
    return (unsigned long)first >= FIRST_ADDRESS && second >= CLONE_ARGS_SIZE_VER0 &&
           !(args->flags & (CLONE_VM | CLONE_THREAD)) && args->stack == 0;
}

static long forked(const struct unwind_start *here, const long *a)
{
    uint32_t ticket = shim_child_ticket();
    long result = made(a);
    if (a[0] == SYS_clone) {
        shim_child_cloned(here, (pid_t)result, ticket, (uint64_t)a[1], (int)(a[1] & CSIGNAL),
                          (const int *)a[3]);
    } else if (a[0] == SYS_clone3) {
        const struct clone_args *args = (const struct clone_args *)a[1];
        shim_child_cloned(here, (pid_t)result, ticket, args->flags, (int)args->exit_signal,
                          (const int *)args->pidfd);
    } else {
        shim_child_made(here, (pid_t)result, ticket, SIGCHLD);
    }
    return result;
}

static long signalfd_made(const struct unwind_start *here, const long *a)
{
    if (a[1] == -1 && shim_limits_fds(here, 1)) {
        return -1;
    }
    int result = (int)made(a);
    if (a[1] == -1) {
        return shim_took(here, result, LEDGER_FD_SIGNALFD, (a[4] & O_CLOEXEC) != 0);
    }
    return result;
}

static __attribute__((noinline)) long dispatch(const struct unwind_start *here, const long *a)
{
    switch (a[0]) {
    case SYS_close:
        return shim_close(here, true, (int)a[1]);
    case SYS_close_range:
        return shim_close_range(here, true, (unsigned)a[1], (unsigned)a[2], (unsigned)a[3]);
    case SYS_dup:
        return shim_dup(here, true, (int)a[1]);
#ifdef SYS_dup2
    case SYS_dup2:
        return shim_dup2(here, true, (int)a[1], (int)a[2]);
    case SYS_pipe:
        return piped(here, a, false);
    case SYS_signalfd:
        return signalfd_made(here, (const long[]){a[0], a[1], a[2], a[3], 0, 0, 0});
    case SYS_fork:
#endif
    case SYS_clone:
    case SYS_clone3:
        return forked(here, a);
    case SYS_dup3:
        return shim_dup3(here, true, (int)a[1], (int)a[2], (int)a[3]);
    case SYS_fcntl:
        return shim_fcntl_limited(here, (int)a[2])
                   ? -1
                   : shim_fcntl(here, (int)a[1], (int)a[2], (int)made(a), a[3]);
    case SYS_pipe2:
        return piped(here, a, (a[2] & O_CLOEXEC) != 0);
    case SYS_socketpair:
        return took_pair(here, a, (const int *)a[4], LEDGER_FD_SOCKET, (a[2] & SOCK_CLOEXEC) != 0);
    case SYS_accept:
    case SYS_accept4:
        sandbox_blocks(&shim_thread.sandbox);
        return took(here, find_taker(a[0]), a);
    case SYS_recvmsg:
    case SYS_recvmmsg:
        return received(here, a);
    case SYS_wait4:
        return shim_wait4(here, true, (pid_t)a[1], (int *)a[2], (int)a[3], (struct rusage *)a[4]);
    case SYS_waitid:
        return shim_waitid(here, true, (int)a[1], (unsigned)a[2], (siginfo_t *)a[3], (int)a[4],
                           (struct rusage *)a[5]);
    case SYS_signalfd4:
        return signalfd_made(here, a);
    case SYS_landlock_create_ruleset: /* with flags it answers with a version: landlock(7) */
        return took_if(here, a[3] == 0, LEDGER_FD_LANDLOCK, a);
    case SYS_bpf:
        return took_if(here, bpf_takes(a[1]), LEDGER_FD_BPF, a);
    case SYS_seccomp:
        return seccomp_made(here, a);
    case SYS_prctl:
        return prctl_made(here, a);
    case SYS_ioctl:
        return ioctl_made(here, a);
    case SYS_mmap:
        return (long)shim_mmap(here, true, (void *)a[1], (size_t)a[2], (int)a[3], (int)a[4],
                               (int)a[5], a[6]);
    case SYS_munmap:
        return shim_munmap(here, true, (void *)a[1], (size_t)a[2]);
    case SYS_mremap:
        return (long)shim_mremap(here, true, (void *)a[1], (size_t)a[2], (size_t)a[3], (int)a[4],
                                 (void *)a[5]);
    case SYS_mprotect:
        return shim_mprotect(here, true, (void *)a[1], (size_t)a[2], (int)a[3], -2);
    case SYS_pkey_mprotect:
        return shim_mprotect(here, true, (void *)a[1], (size_t)a[2], (int)a[3], (int)a[4]);
    case SYS_madvise:
        return shim_madvise(here, true, (void *)a[1], (size_t)a[2], (int)a[3]);
    case SYS_mbind:
        return mbind_made(here, a);
    case SYS_shmat:
        return (long)shim_shmat(here, true, (int)a[1], (const void *)a[2], (int)a[3]);
    case SYS_shmdt:
        return shim_shmdt(here, true, (const void *)a[1]);
    case SYS_execve:
        return shim_execve(true, (const char *)a[1], (char *const *)a[2], (char *const *)a[3]);
    case SYS_execveat:
        return shim_execveat(true, (int)a[1], (const char *)a[2], (char *const *)a[3],
                             (char *const *)a[4], (int)a[5]);
    case SYS_unshare: {
        long result = made(a);
        if (result == 0 && (a[1] & CLONE_FILES) && shim_watching_process()) {
            shim_thread.detached = true;
        }
        return result;
    }
    case SYS_exit_group:
        if (shim_watching_process()) {
            shim_finish((int)a[1]);
        }
        return made(a);
    default:
        return took(here, find_taker(a[0]), a);
    }
}

static bool matters(long number, long first, long second)
{
    switch (number) {
    case SYS_clone:
    case SYS_clone3:
        return is_fork(number, first, second);
    case SYS_close:
    case SYS_close_range:
    case SYS_dup:
    case SYS_dup3:
    case SYS_fcntl:
    case SYS_pipe2:
    case SYS_socketpair:
    case SYS_recvmsg:
    case SYS_recvmmsg:
    case SYS_signalfd4:
    case SYS_bpf:
    case SYS_landlock_create_ruleset:
    case SYS_seccomp:
    case SYS_prctl:
    case SYS_ioctl:
    case SYS_mmap:
    case SYS_munmap:
    case SYS_mremap:
    case SYS_mprotect:
    case SYS_pkey_mprotect:
    case SYS_madvise:
    case SYS_mbind:
    case SYS_shmat:
    case SYS_shmdt:
    case SYS_execve:
    case SYS_execveat:
    case SYS_unshare:
    case SYS_exit_group:
    case SYS_wait4:
    case SYS_waitid:
#ifdef SYS_dup2
    case SYS_fork:
    case SYS_dup2:
    case SYS_pipe:
    case SYS_signalfd:
#endif
        return true;
    default:
        return find_taker(number) != NULL;
    }
}

/* Whether it waits: see wrap_blocking.c. */
static bool blocks(long number, long second)
{
    switch (number) {
    case SYS_futex:
        switch (second & FUTEX_CMD_MASK) {
        case FUTEX_WAIT:
        case FUTEX_WAIT_BITSET:
        case FUTEX_WAIT_REQUEUE_PI:
        case FUTEX_LOCK_PI:
        case FUTEX_LOCK_PI2:
            return true;
        default:
            return false;
        }
    case SYS_futex_waitv:
    case SYS_ppoll:
    case SYS_pselect6:
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
    case SYS_rt_sigsuspend:
    case SYS_rt_sigtimedwait:
#ifdef SYS_poll
    case SYS_poll:
    case SYS_select:
    case SYS_epoll_wait:
    case SYS_pause:
#endif
        return true;
    default:
        return false;
    }
}

/* A process that is about to run on our memory: its calls are not ours. The count is never taken
 * back, since nobody tells when such a child has gone. */
static void note_clone(long number, long first)
{
    uint64_t flags = 0;
#ifdef SYS_vfork
    flags = number == SYS_vfork ? CLONE_VM | CLONE_VFORK : 0;
#endif
    if (number == SYS_clone) {
        flags = (uint64_t)first;
    } else if (number == SYS_clone3 && (unsigned long)first >= FIRST_ADDRESS) {
        flags = *(const uint64_t *)first; /* struct clone_args */
    }
    if ((flags & (CLONE_VM | CLONE_VFORK)) == CLONE_VM) {
        shim.ledger.alone = &ledger_never_alone; /* libc does not know of it */
    }
    if ((flags & CLONE_VM) && !(flags & CLONE_THREAD)) {
        __atomic_add_fetch(&shim.vm_children, 1, __ATOMIC_RELAXED);
    }
}

EXPORT long shim_syscall_wrapper(long number, long a, long b, long c, long d, long e,
                                 long f) __asm__("syscall");
EXPORT long shim_syscall_wrapper(long number, long a, long b, long c, long d, long e, long f)
{
    if (blocks(number, b)) {
        sandbox_blocks(&shim_thread.sandbox);
    } else if (unlikely(matters(number, a, b))) {
        const long arguments[] = {number, a, b, c, d, e, f};
        return dispatch(HERE, arguments);
    }
    note_clone(number, a);
    if (unlikely(real.syscall == NULL)) {
        return libc_result(raw_syscall6(number, a, b, c, d, e, f));
    }
    return ((long (*)(long, long, long, long, long, long, long))real.syscall)(number, a, b, c, d, e,
                                                                              f);
}
