/*
 * blocking_closes.c: a supervisor thread that received a notification answers it until it sends the
 * answer or makes a call that waits: what it takes after such a call is no sandbox's (DESIGN 5).
 * A thread of the program's own, under a filter, is the sandbox.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "system.h"

int __poll_chk(struct pollfd *, nfds_t, int, size_t);
int __ppoll_chk(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *, size_t);

static const struct timespec moment = {0, 1000};
static int epoll, listening, quiet;
static sigset_t usr1, all_but;
static uint32_t word = 1;
static struct epoll_event event;
static siginfo_t info;
static int pipe_fds[2];

/* --- calls that wait; none does so for long --- */

static void in_poll(void)
{
    poll(NULL, 0, 0);
}
static void in_poll_chk(void)
{
    __poll_chk(NULL, 0, 0, 0);
}
static void in_ppoll(void)
{
    ppoll(NULL, 0, &moment, NULL);
}
static void in_ppoll_chk(void)
{
    __ppoll_chk(NULL, 0, &moment, NULL, 0);
}
static void in_epoll_wait(void)
{
    epoll_wait(epoll, &event, 1, 0);
}
static void in_epoll_pwait(void)
{
    epoll_pwait(epoll, &event, 1, 0, NULL);
}
static void in_select(void)
{
    select(0, NULL, NULL, NULL, &(struct timeval){0, 1});
}
static void in_pselect(void)
{
    pselect(0, NULL, NULL, NULL, &moment, NULL);
}
static void in_nanosleep(void)
{
    nanosleep(&moment, NULL);
}
static void in_clock_nanosleep(void)
{
    clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
}
static void in_sleep(void)
{
    sleep(0);
}
static void in_usleep(void)
{
    usleep(1);
}
static void in_pause(void)
{
    /* Again and again: the first may come before the pause. */
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 5000}, {0, 5000}}, NULL);
    pause();
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
}
static void in_sigsuspend(void)
{
    raise(SIGUSR1);
    sigsuspend(&all_but);
}
static void in_sigwait(void)
{
    int got;
    raise(SIGUSR1);
    sigwait(&usr1, &got);
}
static void in_sigwaitinfo(void)
{
    raise(SIGUSR1);
    sigwaitinfo(&usr1, &info);
}
static void in_sigtimedwait(void)
{
    sigtimedwait(&usr1, NULL, &moment);
}
static void in_wait(void)
{
    wait(NULL);
}
static void in_waitpid(void)
{
    waitpid(-1, NULL, WNOHANG);
}
static void in_wait3(void)
{
    wait3(NULL, WNOHANG, NULL);
}
static void in_wait4(void)
{
    wait4(-1, NULL, WNOHANG, NULL);
}
static void in_waitid(void)
{
    waitid(P_ALL, 0, NULL, WEXITED | WNOHANG);
}
static void in_accept(void)
{
    accept(listening, NULL, NULL);
}
static void in_accept4(void)
{
    accept4(listening, NULL, NULL, SOCK_CLOEXEC);
}
static void in_recvmsg(void)
{
    recvmsg(quiet, &(struct msghdr){0}, MSG_DONTWAIT);
}
static void in_recvmmsg(void)
{
    recvmmsg(quiet, &(struct mmsghdr){{0}, 0}, 1, MSG_DONTWAIT, NULL);
}
static void in_futex(void)
{
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL);
}
static void in_raw_ppoll(void)
{
    syscall(SYS_ppoll, NULL, 0, &moment, NULL, 8);
}
static void in_raw_epoll(void)
{
    syscall(SYS_epoll_pwait, epoll, &event, 1, 0, NULL, 8);
}
static void in_raw_select(void)
{
    syscall(SYS_pselect6, 0, NULL, NULL, NULL, &moment, NULL);
}
static void in_raw_wait4(void)
{
    syscall(SYS_wait4, -1, NULL, WNOHANG, NULL);
}
static void in_raw_waitid(void)
{
    syscall(SYS_waitid, P_ALL, 0, NULL, WEXITED | WNOHANG, NULL);
}
static void in_raw_recvmsg(void)
{
    syscall(SYS_recvmsg, quiet, &(struct msghdr){0}, MSG_DONTWAIT);
}
static void in_raw_accept(void)
{
    syscall(SYS_accept4, listening, NULL, NULL, 0);
}

/* --- and some that do not --- */

static void in_nothing(void)
{
}
static void in_wake(void)
{
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1);
}
static void in_write_and_read(void)
{
    char byte = 0;
    check(write(pipe_fds[1], &byte, 1) == 1 && read(pipe_fds[0], &byte, 1) == 1, "the pipe");
}
static void in_open(void)
{
    close(dup(quiet));
}
static void in_getpid(void)
{
    syscall(SYS_getpid);
}

#define CALL(name, waits)                                                                          \
    {                                                                                              \
#name, name, waits                                                                         \
    }
static const struct {
    const char *name;
    void (*make)(void);
    bool waits;
} calls[] = {
    CALL(in_nothing, false),     CALL(in_wake, false),       CALL(in_write_and_read, false),
    CALL(in_open, false),        CALL(in_getpid, false),     CALL(in_poll, true),
    CALL(in_poll_chk, true),     CALL(in_ppoll, true),       CALL(in_ppoll_chk, true),
    CALL(in_epoll_wait, true),   CALL(in_epoll_pwait, true), CALL(in_select, true),
    CALL(in_pselect, true),      CALL(in_nanosleep, true),   CALL(in_clock_nanosleep, true),
    CALL(in_sleep, true),        CALL(in_usleep, true),      CALL(in_pause, true),
    CALL(in_sigsuspend, true),   CALL(in_sigwait, true),     CALL(in_sigwaitinfo, true),
    CALL(in_sigtimedwait, true), CALL(in_wait, true),        CALL(in_waitpid, true),
    CALL(in_wait3, true),        CALL(in_wait4, true),       CALL(in_waitid, true),
    CALL(in_accept, true),       CALL(in_accept4, true),     CALL(in_recvmsg, true),
    CALL(in_recvmmsg, true),     CALL(in_futex, true),       CALL(in_raw_ppoll, true),
    CALL(in_raw_epoll, true),    CALL(in_raw_select, true),  CALL(in_raw_wait4, true),
    CALL(in_raw_waitid, true),   CALL(in_raw_recvmsg, true), CALL(in_raw_accept, true),
};
#define CALLS (sizeof calls / sizeof *calls)

/* --- the sandbox: a thread whose every getppid is for the supervisor to answer --- */

static int listener = -1;
static pthread_barrier_t ready;

static void *sandboxed(void *unused)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof code / sizeof *code, code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                                SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
    pthread_barrier_wait(&ready);
    for (unsigned i = 0; i < CALLS && listener >= 0; i++)
        check(raw(SYS_getppid) == 4711, "getppid was not answered");
    return unused;
}

static bool is_somebodys(int fd)
{
    struct ledger_view view;
    if (ledger_view_open(&view, system_ledger) != 0)
        return false;
    const struct ledger_fd *record = ledger_view_fd(&view, (unsigned)fd);
    bool is = record && record->owner != 0;
    check(!is || record->flags & LEDGER_SCOPED, "its flags are %#x", record ? record->flags : 0u);
    ledger_view_close(&view);
    return is;
}

static void answer(unsigned c)
{
    struct seccomp_notif notification = {0};
    struct seccomp_notif_resp response = {.val = 4711};

    int before = memfd_create("before", MFD_CLOEXEC);
    check(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notification) == 0, "RECV: %m");
    int within = memfd_create("within", MFD_CLOEXEC);
    calls[c].make();
    int after = memfd_create("after", MFD_CLOEXEC);
    response.id = notification.id;
    check(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) == 0, "SEND: %m");
    int answered = memfd_create("answered", MFD_CLOEXEC);
    if (system_ledger) {
        check(!is_somebodys(before), "before %s: a sandbox's", calls[c].name);
        check(is_somebodys(within), "what was taken before %s is nobody's", calls[c].name);
        check(is_somebodys(after) == !calls[c].waits, "what was taken after %s is %s",
              calls[c].name, calls[c].waits ? "still a sandbox's" : "nobody's any more");
        check(!is_somebodys(answered), "after the answer, %s: a sandbox's", calls[c].name);
    }
    close(before);
    close(within);
    close(after);
    close(answered);
}

static void on_signal(int sig)
{
    (void)sig;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    int pair[2];

    system_start(argc, argv, 0);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigfillset(&all_but);
    sigdelset(&all_but, SIGUSR1);
    signal(SIGUSR1, on_signal);
    signal(SIGALRM, on_signal);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    listening = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    check(bind(listening, (struct sockaddr *)&(struct sockaddr_un){.sun_family = AF_UNIX},
               sizeof(sa_family_t)) == 0 &&
              listen(listening, 1) == 0,
          "no listening socket: %m");
    check(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) == 0 && pipe(pipe_fds) == 0,
          "no pair");
    quiet = pair[0];

    pthread_barrier_init(&ready, NULL, 2);
    pthread_create(&thread, NULL, sandboxed, NULL);
    pthread_barrier_wait(&ready);
    if (listener < 0)
        system_skip("no seccomp listeners here");
    for (unsigned c = 0; c < CALLS; c++)
        answer(c);
    pthread_join(thread, NULL);
    return system_end();
}
