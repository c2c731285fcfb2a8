/*
 * waits_told_apart.c: which waits end a sandbox that is a child, and which do not: not a stop, not
 * WNOWAIT, not WNOHANG's 0, not a wait that was cancelled or jumped out of; and ECHILD only of the
 * children that the wait would have found. Bare it checks that the waits do what it expects.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "system.h"

#define BY_PIDFD 3 /* P_PIDFD of linux/wait.h */

static int gate[2]; /* a child ends when it can read from here */
static unsigned made, ended;

static void expect(const char *when)
{
    struct ledger_view view;
    if (system_ledger == NULL || !check(ledger_view_open(&view, system_ledger) == 0, "no ledger"))
        return;
    const struct ledger_header *header = view.header;
    check(header->owners_begun[LEDGER_OWNER_CHILD] == made, "%s: %u children, the ledger has %lu",
          when, made, (unsigned long)header->owners_begun[LEDGER_OWNER_CHILD]);
    check(header->owners_ended[LEDGER_OWNER_CHILD] == ended,
          "%s: %u children have ended, in the ledger %lu have", when, ended,
          (unsigned long)header->owners_ended[LEDGER_OWNER_CHILD]);
    ledger_view_close(&view);
}

static void child_waits(void)
{
    char byte;
    while (read(gate[0], &byte, 1) < 0 && errno == EINTR)
        ;
    _exit(0);
}

static pid_t make(void)
{
    pid_t pid = fork();
    if (pid == 0)
        child_waits();
    check(pid > 0, "no child: %s", strerror(errno));
    made++;
    expect("a child was made");
    return pid;
}

static void let_go(void)
{
    check(write(gate[1], "x", 1) == 1, "the gate is closed");
}

/* Until it is a zombie, whoever reaps it. */
static void until_dead(pid_t pid)
{
    siginfo_t info;
    check(raw(SYS_waitid, P_PID, pid, &info, WEXITED | WNOWAIT | __WALL, 0) == 0, "%d does not end",
          pid);
}

static void until_vanished(pid_t pid)
{
    for (int i = 0; i < 5000 && kill(pid, 0) == 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void reap(pid_t pid)
{
    int status = -1;
    check(waitpid(pid, &status, 0) == pid, "%d is not reaped: %s", pid, strerror(errno));
    ended++;
    expect("a child was reaped");
}

static void stops_and_looks(void)
{
    int status = 0;
    siginfo_t info = {.si_pid = 0};
    pid_t pid = make();

    check(waitpid(pid, &status, WNOHANG) == 0, "it ended");
    check(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0, "it ended");
    check(waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOHANG) == 0, "it ended");
    expect("WNOHANG found nothing");
    kill(pid, SIGSTOP);
    check(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status), "no stop: %#x", status);
    expect("a child stopped");
    kill(pid, SIGCONT);
    check(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status), "%#x", status);
    kill(pid, SIGSTOP);
    check(waitid(P_PID, (id_t)pid, &info, WSTOPPED) == 0 && info.si_code == CLD_STOPPED, "no stop");
    kill(pid, SIGCONT);
    check(waitid(P_ALL, 0, NULL, WEXITED | WCONTINUED) == 0, "not continued");
    expect("a child stopped and continued, by waitid");

    let_go();
    check(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0 && info.si_pid == pid, "WNOWAIT");
    check(waitid(P_ALL, 0, NULL, WEXITED | WNOWAIT) == 0, "WNOWAIT without info");
    check(syscall(SYS_waitid, P_PID, pid, &info, WEXITED | WNOWAIT, NULL) == 0, "WNOWAIT");
    expect("looked at, and left");
    /* Without WEXITED a zombie is not found: ECHILD says nothing of it. */
    check(waitid(P_PID, (id_t)pid, &info, WSTOPPED) == -1 && errno == ECHILD, "a zombie stopped");
    expect("a zombie was not found");
    reap(pid);
}

static void killed(void)
{
    int status = 0;
    siginfo_t info;
    pid_t pid = make();
    kill(pid, SIGKILL);
    check(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status), "status %#x", status);
    ended++;
    expect("a child was killed");
    pid = make();
    kill(pid, SIGTERM);
    check(waitid(P_PID, (id_t)pid, &info, WEXITED) == 0 && info.si_code == CLD_KILLED, "not so");
    ended++;
    expect("a child was killed, by waitid");
}

static void traced(void)
{
    int status = 0, stops = 0;
    pid_t pid = make();
    if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEEXIT) != 0) {
        let_go();
        reap(pid);
        return;
    }
    ptrace(PTRACE_INTERRUPT, pid, 0, 0);
    check(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status), "status %#x", status);
    ptrace(PTRACE_CONT, pid, 0, 0);
    kill(pid, SIGUSR1);
    check(waitpid(pid, &status, __WALL) == pid && WSTOPSIG(status) == SIGUSR1, "%#x", status);
    expect("a child under ptrace stopped");
    ptrace(PTRACE_CONT, pid, 0, 0);
    let_go();
    for (;;) {
        check(waitpid(pid, &status, __WALL) == pid, "ptrace: %s", strerror(errno));
        if (!WIFSTOPPED(status))
            break;
        stops++;
        expect("a child under ptrace is about to exit");
        ptrace(PTRACE_CONT, pid, 0, 0);
    }
    check(stops >= 1 && WIFEXITED(status), "%d stops, status %#x", stops, status);
    ended++;
    expect("a child under ptrace has ended");
}

static int in_clone(void *unused)
{
    (void)unused;
    child_waits();
    return 0;
}

/* SIGCHLD ignored: children vanish, and only ECHILD says so. */
static void ignored(void)
{
    static char stack[64 << 10] __attribute__((aligned(16)));
    pid_t pid, other;
    int status = 77;

    signal(SIGCHLD, SIG_IGN);
    pid = make();
    other = make();
    kill(pid, SIGKILL);
    check(waitpid(pid, NULL, 0) == -1 && errno == ECHILD, "SIGCHLD is ignored: %m");
    ended++;
    expect("waitpid said ECHILD of one of two");
    check(waitpid(pid, &status, 0) == -1 && errno == ECHILD && status == 77, "again: %d", status);
    expect("waitpid said ECHILD again");
    check(waitpid(-54321, NULL, 0) == -1 && errno == ECHILD, "a group: %m");
    check(waitid(P_PGID, 54321, NULL, WEXITED) == -1 && errno == ECHILD, "a group: %m");
    check(waitpid(-1, NULL, __WCLONE | WNOHANG) == -1 && errno == ECHILD, "__WCLONE: %m");
    expect("waits that look for others");
    kill(other, SIGKILL);
    check(wait(NULL) == -1 && errno == ECHILD, "wait: %m");
    ended++;
    expect("wait said ECHILD");

    /* What tells its end by no signal is there until __WALL or __WCLONE finds it. */
    pid_t quiet = clone(in_clone, stack + sizeof stack, 0, NULL);
    check(quiet > 0, "clone: %m");
    made++;
    for (int i = 0; i < 3; i++) {
        pid = make();
        kill(pid, SIGKILL);
        until_vanished(pid);
        if (i == 0)
            check(waitid(P_ALL, 0, NULL, WEXITED) == -1 && errno == ECHILD, "waitid: %m");
        else if (i == 1)
            check(syscall(SYS_wait4, -1, &status, 0, NULL) == -1 && errno == ECHILD, "wait4: %m");
        else
            check(wait3(&status, WNOHANG, NULL) == -1 && errno == ECHILD, "wait3: %m");
        ended++;
        expect("ECHILD beside a child without a signal");
    }
    let_go();
    until_dead(quiet);
    check(waitpid(quiet, NULL, 0) == -1 && errno == ECHILD, "found without __WALL: %m");
    expect("a child without a signal was looked for in vain");
    check(waitpid(quiet, &status, __WCLONE) == quiet && status == 0, "__WCLONE: %m");
    ended++;
    expect("a child without a signal was reaped");

    pid = make();
    int pidfd = pidfd_open(pid, 0);
    kill(pid, SIGKILL);
    until_vanished(pid);
    check(waitid((idtype_t)BY_PIDFD, (id_t)pidfd, NULL, WEXITED) == -1 && errno == ECHILD,
          "a pidfd: %m");
    ended++;
    expect("ECHILD of a pidfd");
    close(pidfd);
    signal(SIGCHLD, SIG_DFL);
}

static void *looks_for_own(void *unused)
{
    check(waitpid(-1, NULL, __WNOTHREAD) == -1 && errno == ECHILD, "__WNOTHREAD: %m");
    return unused;
}

static void others_children(void)
{
    pthread_t thread;
    pid_t pid = make();
    pthread_create(&thread, NULL, looks_for_own, NULL);
    pthread_join(thread, NULL);
    expect("another thread has no child of its own");
    let_go();
    reap(pid);
}

/* Waits that never return. */
static pid_t awaited;
static sigjmp_buf back;

static void *waits(void *how)
{
    siginfo_t info;
    switch ((intptr_t)how) {
    case 0:
        wait(NULL);
        break;
    case 1:
        waitpid(awaited, NULL, 0);
        break;
    case 2:
        wait4(awaited, NULL, 0, NULL);
        break;
    case 3:
        waitid(P_PID, (id_t)awaited, &info, WEXITED);
        break;
    case 4:
        wait3(NULL, 0, NULL);
        break;
    }
    return "was not cancelled";
}

static void jumps(int sig)
{
    (void)sig;
    siglongjmp(back, 1);
}

static __attribute__((noinline)) void jump_out(intptr_t how)
{
    signal(SIGALRM, jumps);
    if (sigsetjmp(back, 1) == 0) {
        ualarm(2000, 2000); /* again, if it came too early */
        waits((void *)how);
        check(false, "a wait returned");
    }
    ualarm(0, 0);
}

static void never_returns(void)
{
    for (intptr_t how = 0; how < 5; how++) {
        pthread_t thread;
        void *result = NULL;
        struct timespec limit;
        awaited = make();
        pthread_create(&thread, NULL, waits, (void *)how);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        pthread_cancel(thread);
        clock_gettime(CLOCK_REALTIME, &limit);
        limit.tv_sec += 5;
        if (!check(pthread_timedjoin_np(thread, &result, &limit) == 0, "wait %d goes on", (int)how))
            return;
        check(result == PTHREAD_CANCELED, "wait %d was not cancelled", (int)how);
        expect("a wait was cancelled");
        jump_out(how);
        expect("a handler jumped out of a wait");
        let_go();
        reap(awaited);
    }
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 0);
    check(pipe2(gate, O_CLOEXEC) == 0, "no pipe");
    stops_and_looks();
    killed();
    traced();
    ignored();
    others_children();
    never_returns();
    return system_end();
}
