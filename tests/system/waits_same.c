/*
 * waits_same.c: every call that waits or makes a child, good and bad, with its result and errno on
 * stdout, one a line. Run with and without the shim the two outputs must be the same (promise 1).
 *
 * errno is 777 before each call, so that a call that succeeds and changes it is seen as well.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/sched.h>

#include "system.h"

#define SAY(call)                                                                                  \
    do {                                                                                           \
        errno = 777;                                                                               \
        long result_ = (long)(call);                                                               \
        printf("%d %s = %ld errno %d\n", __LINE__, #call, result_, errno);                         \
    } while (0)

static void *volatile bad_pointer = (void *)8; /* EFAULT; hidden from the compiler */
int __poll_chk(struct pollfd *, nfds_t, int, size_t);
int __ppoll_chk(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *, size_t);

static pid_t ends(int status)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(status);
    return pid;
}

static void waits(void)
{
    int status = 0;
    pid_t pid;
    siginfo_t info;
    struct rusage usage;

    SAY(wait(NULL));
    SAY(wait(bad_pointer));
    SAY(waitpid(-1, &status, WNOHANG));
    SAY(waitpid(getpid(), &status, 0));
    SAY(waitpid(0, &status, 0));
    SAY(waitpid(-2147483647 - 1, &status, 0));
    SAY(waitpid(-1, &status, 0x7f000000));
    SAY(wait3(&status, 0, NULL));
    SAY(wait4(1, &status, 0, &usage));
    SAY(waitid(P_ALL, 0, NULL, WEXITED));
    SAY(waitid(P_ALL, 0, &info, 0));
    SAY(waitid(P_ALL, 0, &info, WNOHANG));
    SAY(waitid(P_PID, 0, &info, WEXITED));
    SAY(waitid((idtype_t)77, 1, &info, WEXITED));
    SAY(waitid((idtype_t)3, 99, &info, WEXITED));
    SAY(waitid((idtype_t)3, 0, &info, WEXITED));
    SAY(syscall(SYS_wait4, -1, NULL, 0, NULL));
    SAY(syscall(SYS_wait4, -1, NULL, 0x7f000000, NULL));
    SAY(syscall(SYS_waitid, P_ALL, 0, NULL, WEXITED, NULL));

    SAY((pid = ends(5)) > 0 ? waitpid(pid, &status, 0) == pid : -1);
    SAY(status);
    SAY((pid = ends(6)) > 0 ? wait(NULL) == pid : -1);
    SAY((pid = ends(6)) > 0 ? wait4(pid, NULL, 0, &usage) == pid : -1);
    SAY(usage.ru_maxrss > 0);
    SAY((pid = ends(7)) > 0 ? wait3(&status, 0, bad_pointer) == pid : -1);
    SAY(wait(NULL));
    SAY((pid = ends(7)) > 0 && waitpid(pid, bad_pointer, 0) == -1);
    SAY(waitpid(pid, NULL, 0));
    SAY((pid = ends(8)) > 0 && waitid(P_PID, (id_t)pid, bad_pointer, WEXITED) == -1);
    SAY(waitpid(pid, NULL, 0));
    SAY((pid = ends(9)) > 0 && waitid(P_ALL, 0, &info, WEXITED) == 0);
    SAY(info.si_pid == pid && info.si_code == CLD_EXITED && info.si_signo == SIGCHLD);
    SAY(info.si_status);
    SAY((pid = ends(10)) > 0 && waitid(P_ALL, 0, NULL, WEXITED | WNOWAIT) == 0);
    SAY(waitpid(pid, &status, WNOHANG) == pid);
    SAY(status);
    info.si_pid = 99;
    if ((pid = fork()) == 0) {
        pause();
        _exit(1);
    }
    SAY(waitpid(pid, &status, WNOHANG));
    SAY(waitpid(pid, bad_pointer, WNOHANG));
    SAY(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG));
    SAY(info.si_pid);
    SAY(waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOHANG));
    SAY(syscall(SYS_waitid, P_PID, pid, bad_pointer, WEXITED | WNOHANG, NULL));
    SAY(kill(pid, SIGKILL));
    SAY(syscall(SYS_wait4, pid, &status, 0, &usage) == pid);
    SAY(status);
}

static int in_clone(void *unused)
{
    (void)unused;
    return 3;
}

static void children(void)
{
    static char stack[64 << 10] __attribute__((aligned(16)));
    int status = 0, pidfd = -1;
    pid_t pid = -7;
    char *argv[] = {(char *)"x", NULL}, *none[] = {NULL};
    struct clone_args args = {.exit_signal = SIGCHLD};

    SAY(posix_spawn(&pid, "/nonexistent", NULL, NULL, argv, none));
    SAY(pid);
    SAY(posix_spawn(NULL, "/nonexistent", NULL, NULL, argv, none));
    SAY(posix_spawn(&pid, "/", NULL, NULL, argv, none));
    SAY(posix_spawnp(&pid, "no-such-program-anywhere", NULL, NULL, argv, none));
    SAY(posix_spawnp(&pid, "true", NULL, NULL, argv, none));
    SAY(waitpid(pid, &status, 0) == pid);
    SAY(posix_spawn(NULL, "/bin/false", NULL, NULL, argv, none));
    SAY(wait(&status) > 0);
    SAY(status);
    SAY(clone(in_clone, NULL, SIGCHLD, NULL));
    SAY(clone(in_clone, stack + sizeof stack, CLONE_THREAD, NULL));
    SAY((pid = clone(in_clone, stack + sizeof stack, SIGCHLD | CLONE_PIDFD, NULL, &pidfd)) > 0);
    SAY(waitpid(pid, &status, 0) == pid);
    SAY(status);
    SAY(close(pidfd));
    SAY(clone(in_clone, stack + sizeof stack, SIGCHLD | CLONE_PIDFD, NULL, bad_pointer));
    SAY((pid = clone(in_clone, stack + sizeof stack, 0, NULL)) > 0);
    SAY(waitpid(pid, &status, 0));
    SAY(waitpid(pid, &status, __WCLONE) == pid);
    SAY(syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0));
    SAY(syscall(SYS_clone3, NULL, sizeof args));
    SAY(syscall(SYS_clone3, bad_pointer, sizeof args));
    SAY(syscall(SYS_clone3, &args, 3));
    SAY((pid = (pid_t)syscall(SYS_clone3, &args, sizeof args)) == 0 ? (_exit(4), 0) : pid > 0);
    SAY(waitpid(pid, &status, 0) == pid);
    SAY(status);
    struct rlimit none_left = {0, 0}, old;
    getrlimit(RLIMIT_NPROC, &old);
    none_left.rlim_max = old.rlim_max;
    if (getuid() != 0 && setrlimit(RLIMIT_NPROC, &none_left) == 0) {
        SAY(fork());
        SAY(vfork());
        SAY(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, none));
        SAY(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
        setrlimit(RLIMIT_NPROC, &old);
    }
}

static void on_signal(int sig)
{
    (void)sig;
}

static void blocking(void)
{
    struct timespec moment = {0, 1000}, bad_time = {0, -1}, left;
    struct timeval soon = {0, 1000}, bad_value = {-1, 0};
    struct epoll_event event;
    struct pollfd closed = {.fd = 99, .events = POLLIN};
    sigset_t usr1, all_but;
    siginfo_t info;
    fd_set set;
    int got, word = 1, epoll = epoll_create1(EPOLL_CLOEXEC);

    FD_ZERO(&set);
    FD_SET(99, &set);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigfillset(&all_but);
    sigdelset(&all_but, SIGUSR1);
    SAY(poll(NULL, 0, 1));
    SAY(poll(&closed, 1, 0));
    SAY(closed.revents);
    SAY(poll(bad_pointer, 1, 0));
    SAY(__poll_chk(&closed, 1, 0, sizeof closed));
    SAY(ppoll(NULL, 0, &moment, NULL));
    SAY(ppoll(NULL, 0, &bad_time, NULL));
    SAY(__ppoll_chk(&closed, 1, &moment, NULL, sizeof closed));
    SAY(epoll_wait(epoll, &event, 1, 1));
    SAY(epoll_wait(99, &event, 1, 1));
    SAY(epoll_wait(epoll, &event, 0, 1));
    SAY(epoll_pwait(epoll, &event, 1, 0, &usr1));
    SAY(epoll_pwait(0, &event, 1, 0, NULL));
#if __GLIBC_PREREQ(2, 35)
    SAY(epoll_pwait2(epoll, &event, 1, &moment, NULL));
    SAY(epoll_pwait2(epoll, &event, 1, &bad_time, NULL));
#endif
    SAY(select(0, NULL, NULL, NULL, &soon));
    SAY(select(-1, NULL, NULL, NULL, &soon));
    SAY(select(0, NULL, NULL, NULL, &bad_value));
    SAY(select(100, &set, NULL, NULL, &soon));
    SAY(pselect(0, NULL, NULL, NULL, &moment, &usr1));
    SAY(pselect(0, NULL, NULL, NULL, &bad_time, NULL));
    SAY(nanosleep(&moment, NULL));
    SAY(nanosleep(&bad_time, &left));
    SAY(nanosleep(bad_pointer, &left));
    SAY(clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL));
    SAY(clock_nanosleep(77, 0, &moment, NULL));
    SAY(clock_nanosleep(CLOCK_MONOTONIC, 0, &bad_time, NULL));
    SAY(sleep(0));
    SAY(usleep(10));

    signal(SIGUSR1, on_signal);
    signal(SIGALRM, on_signal);
    /* Again and again: the first may come before the call that it is to end. */
    struct itimerval timer = {{0, 20000}, {0, 20000}};
    SAY(setitimer(ITIMER_REAL, &timer, NULL) == 0 ? pause() : 0);
    SAY(setitimer(ITIMER_REAL, &timer, NULL) == 0 ? (int)sleep(5) : 0);
    SAY(setitimer(ITIMER_REAL, &timer, NULL) == 0 ? poll(NULL, 0, -1) : 0);
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    raise(SIGUSR1);
    SAY(sigsuspend(&all_but));
    raise(SIGUSR1);
    SAY(sigwait(&usr1, &got));
    SAY(got);
    raise(SIGUSR1);
    SAY(sigwaitinfo(&usr1, &info));
    SAY(info.si_signo);
    raise(SIGUSR1);
    SAY(sigtimedwait(&usr1, NULL, &moment));
    SAY(sigtimedwait(&usr1, &info, &moment));
    SAY(sigtimedwait(&usr1, &info, &bad_time));
    SAY(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL));
    SAY(syscall(SYS_futex, &word, FUTEX_WAIT, 1, &moment));
    SAY(syscall(SYS_futex, &word, FUTEX_WAKE, 1));
    SAY(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 1, NULL, NULL, 0));
    SAY(syscall(SYS_epoll_pwait, epoll, &event, 1, 0, NULL, 8));
    SAY(syscall(SYS_ppoll, NULL, 0, &moment, NULL, 8));
    SAY(syscall(SYS_pselect6, 0, NULL, NULL, NULL, &moment, NULL));
    SAY(syscall(SYS_nanosleep, &bad_time, NULL));
#ifdef SYS_poll
    SAY(syscall(SYS_poll, &closed, 1, 0));
    SAY(syscall(SYS_select, 0, NULL, NULL, NULL, &soon));
    SAY(syscall(SYS_epoll_wait, 99, &event, 1, 0));
#endif
    SAY(syscall(SYS_accept4, 99, NULL, NULL, 0));
    SAY(syscall(SYS_recvmsg, 99, NULL, 0));
    close(epoll);
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 0);
    setvbuf(stdout, NULL, _IONBF, 0); /* nothing waits in a buffer when a child is made */
    waits();
    children();
    blocking();
    return system_end();
}
