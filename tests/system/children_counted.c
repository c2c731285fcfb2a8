/*
 * children_counted.c: children made in every way there is and reaped in every way there is. Each
 * is one sandbox, that begins when it is made and ends when it is reaped: never before, never
 * twice, and none is missed. Bare it only checks that the ways work.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/sched.h>

#include "system.h"

#define BY_PIDFD 3    /* P_PIDFD of linux/wait.h */
#define BY_HANDLER 11 /* place in `reaps` */

static char stack[64 << 10] __attribute__((aligned(16))); /* of one child at a time */
static int gate[2];   /* a child ends when it can read from here, if it does not exec */
static unsigned made; /* ever */

/* --- what the ledger says --- */

static void expect_children(unsigned begun, unsigned ended, const char *when)
{
    struct ledger_view view;
    if (system_ledger == NULL || !check(ledger_view_open(&view, system_ledger) == 0, "no ledger"))
        return;
    const struct ledger_header *header = view.header;
    check(header->owners_begun[LEDGER_OWNER_CHILD] == begun, "%s: %u children, the ledger has %lu",
          when, begun, (unsigned long)header->owners_begun[LEDGER_OWNER_CHILD]);
    check(header->owners_ended[LEDGER_OWNER_CHILD] == ended,
          "%s: %u children have ended, in the ledger %lu have", when, ended,
          (unsigned long)header->owners_ended[LEDGER_OWNER_CHILD]);
    ledger_view_close(&view);
}

/* Whether it is code of this program: then the stack was read from the right place. */
static bool is_ours(uint64_t pc)
{
    extern const char __executable_start, etext;
    return pc > (uintptr_t)&__executable_start && pc <= (uintptr_t)&etext;
}

/* The record of the child that was made last: alive, or reaped by a wait that said so. */
static void expect_last(pid_t pid, bool ended, const char *when)
{
    struct ledger_view view;
    if (system_ledger == NULL || ledger_view_open(&view, system_ledger) != 0)
        return;
    const struct ledger_owner *last = NULL;
    for (uint64_t i = 1; i < view.header->used[LEDGER_OWNERS]; i++) {
        const struct ledger_owner *owner = ledger_view_record(&view, LEDGER_OWNERS, i);
        if (owner && owner->pid == (uint32_t)pid && (!last || owner->serial > last->serial))
            last = owner;
    }
    if (check(last != NULL, "%s: there is no owner with pid %d", when, pid)) {
        check(last->state == (ended ? LEDGER_ENDED : LEDGER_LIVE), "%s: its state is %u", when,
              last->state);
        check(!ended || last->flags & LEDGER_OWNER_REAPED, "%s: its flags are %#x", when,
              last->flags);
        check(is_ours(ledger_view_frame(&view, last->begun_stack, 0)), "%s: made elsewhere", when);
        check(!ended || last->ended_stack != 0, "%s: nobody reaped it", when);
    }
    ledger_view_close(&view);
}

/* --- made --- */

static void child_runs(void)
{
    char byte;
    while (read(gate[0], &byte, 1) < 0 && errno == EINTR)
        ;
    _exit(3);
}

static int runs(void *unused)
{
    (void)unused;
    child_runs();
    return 0;
}

static pid_t by_fork(void)
{
    pid_t pid = fork();
    if (pid == 0)
        child_runs();
    return pid;
}

static pid_t by_underscore_fork(void)
{
    pid_t pid = _Fork();
    if (pid == 0)
        child_runs();
    return pid;
}

static pid_t by_forkpty(void)
{
    static int master = -1; /* its close hangs up on the child */
    close(master);
    pid_t pid = forkpty(&master, NULL, NULL, NULL);
    if (pid == 0)
        child_runs();
    return pid;
}

static pid_t by_vfork(void)
{
    pid_t pid = vfork();
    if (pid == 0)
        _exit(3);
    return pid;
}

static pid_t by_vfork_exec(void)
{
    pid_t pid = vfork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", "exit 3", NULL);
        _exit(99);
    }
    return pid;
}

static pid_t by_clone(void)
{
    return clone(runs, stack + sizeof stack, SIGCHLD, NULL);
}

static pid_t by_clone_vm(void)
{
    return clone(runs, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL);
}

static pid_t by_clone_pidfd(void)
{
    int pidfd = -1;
    pid_t pid = clone(runs, stack + sizeof stack, CLONE_PIDFD | SIGCHLD, NULL, &pidfd);
    close(pidfd);
    return pid;
}

static pid_t by_syscall_clone(void)
{
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        child_runs();
    return pid;
}

static pid_t by_syscall_clone3(void)
{
    struct clone_args args = {.exit_signal = SIGCHLD};
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0)
        child_runs();
    return pid;
}

#ifdef SYS_fork
static pid_t by_syscall_fork(void)
{
    pid_t pid = (pid_t)syscall(SYS_fork);
    if (pid == 0)
        child_runs();
    return pid;
}
#endif

static char *spawn_argv[] = {(char *)"sh", (char *)"-c", (char *)"exit 3", NULL};

static pid_t by_posix_spawn(void)
{
    pid_t pid = -1;
    int error = posix_spawn(&pid, "/bin/sh", NULL, NULL, spawn_argv, environ);
    return error ? -1 : pid;
}

static pid_t by_posix_spawnp(void)
{
    pid_t pid = -1;
    int error = posix_spawnp(&pid, "sh", NULL, NULL, spawn_argv, environ);
    return error ? -1 : pid;
}

static const struct {
    const char *name;
    pid_t (*make)(void);
} makes[] = {
    {"fork", by_fork},
    {"_Fork", by_underscore_fork},
    {"forkpty", by_forkpty},
    {"vfork", by_vfork},
    {"vfork and exec", by_vfork_exec},
    {"clone", by_clone},
    {"clone with a pidfd", by_clone_pidfd},
    {"syscall(SYS_clone)", by_syscall_clone},
    {"syscall(SYS_clone3)", by_syscall_clone3},
#ifdef SYS_fork
    {"syscall(SYS_fork)", by_syscall_fork},
#endif
    {"posix_spawn", by_posix_spawn},
    {"posix_spawnp", by_posix_spawnp},
    {"clone on our memory", by_clone_vm}, /* the last: from then on each guard asks for the pid */
};

/* --- reaped; each returns the pid --- */

static int status;

static pid_t by_wait(pid_t pid)
{
    (void)pid;
    return wait(&status);
}

static pid_t by_wait_null(pid_t pid)
{
    (void)pid;
    status = 3 << 8;
    return wait(NULL);
}

static pid_t by_waitpid(pid_t pid)
{
    return waitpid(pid, &status, 0);
}

static pid_t by_waitpid_null(pid_t pid)
{
    status = 3 << 8;
    return waitpid(pid, NULL, 0);
}

static pid_t by_waitpid_any(pid_t pid)
{
    (void)pid;
    return waitpid(-1, &status, WUNTRACED);
}

static pid_t by_asking(pid_t pid)
{
    pid_t got;
    while ((got = waitpid(pid, &status, WNOHANG)) == 0)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return got;
}

static pid_t by_wait3(pid_t pid)
{
    struct rusage usage;
    (void)pid;
    return wait3(&status, 0, &usage);
}

static pid_t by_wait4(pid_t pid)
{
    return wait4(pid, &status, __WALL, NULL);
}

static pid_t by_waitid(pid_t pid)
{
    siginfo_t info = {.si_signo = 0};
    int result = waitid(P_PID, (id_t)pid, &info, WEXITED);
    status = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
    return result == 0 ? info.si_pid : -1;
}

static pid_t by_waitid_null(pid_t pid)
{
    status = 3 << 8;
    return waitid(P_ALL, 0, NULL, WEXITED | WSTOPPED) == 0 ? pid : -1;
}

static pid_t by_waitid_pidfd(pid_t pid)
{
    siginfo_t info = {.si_signo = 0};
    int pidfd = pidfd_open(pid, 0);
    int result = waitid((idtype_t)BY_PIDFD, (id_t)pidfd, &info, WEXITED);
    status = info.si_status << 8;
    close(pidfd);
    return result == 0 ? info.si_pid : -1;
}

/* SIGCHLD's handler reaps. */
static volatile pid_t handled;

static void on_child(int sig)
{
    int error = errno, got_status;
    (void)sig;
    for (pid_t got; (got = waitpid(-1, &got_status, WNOHANG)) > 0;) {
        status = got_status;
        handled = got;
    }
    errno = error;
}

static pid_t by_handler(pid_t pid)
{
    (void)pid;
    for (int i = 0; i < 5000 && !handled; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return handled;
}

static void *in_thread(void *pid)
{
    return (void *)(intptr_t)waitpid((pid_t)(intptr_t)pid, &status, 0);
}

static pid_t by_thread(pid_t pid)
{
    pthread_t thread;
    void *got = NULL;
    pthread_create(&thread, NULL, in_thread, (void *)(intptr_t)pid);
    pthread_join(thread, &got);
    return (pid_t)(intptr_t)got;
}

static pid_t by_syscall_wait4(pid_t pid)
{
    return (pid_t)syscall(SYS_wait4, pid, &status, 0, NULL);
}

static pid_t by_syscall_waitid(pid_t pid)
{
    siginfo_t info = {.si_signo = 0};
    long result = syscall(SYS_waitid, P_PID, pid, &info, WEXITED, NULL);
    status = info.si_status << 8;
    return result == 0 ? info.si_pid : -1;
}

static const struct {
    const char *name;
    pid_t (*reap)(pid_t pid);
} reaps[] = {
    {"wait", by_wait},
    {"wait(NULL)", by_wait_null},
    {"waitpid", by_waitpid},
    {"waitpid without status", by_waitpid_null},
    {"waitpid(-1)", by_waitpid_any},
    {"waitpid(WNOHANG)", by_asking},
    {"wait3", by_wait3},
    {"wait4", by_wait4},
    {"waitid", by_waitid},
    {"waitid without info", by_waitid_null},
    {"waitid of a pidfd", by_waitid_pidfd},
    [BY_HANDLER] = {"a handler of SIGCHLD", by_handler},
    {"another thread", by_thread},
    {"syscall(SYS_wait4)", by_syscall_wait4},
    {"syscall(SYS_waitid)", by_syscall_waitid},
};

static void one(unsigned m, unsigned r)
{
    char when[120];
    snprintf(when, sizeof when, "%s, reaped by %s", makes[m].name, reaps[r].name);
    handled = 0;
    status = -1;
    signal(SIGCHLD, r == BY_HANDLER ? on_child : SIG_DFL);
    pid_t pid = makes[m].make();
    if (!check(pid > 0, "%s: no child: %s", when, strerror(errno)))
        return;
    made++;
    if (r != BY_HANDLER) {
        expect_children(made, made - 1, when);
        expect_last(pid, false, when);
    }
    check(write(gate[1], "x", 1) == 1, "the gate is closed");
    errno = 777;
    pid_t got = reaps[r].reap(pid);
    check(got == pid, "%s: got %d of %d", when, got, pid);
    check(errno == 777 || r == BY_HANDLER, "%s: errno is %d", when, errno);
    check(WIFEXITED(status) && WEXITSTATUS(status) == 3, "%s: status %#x", when, (unsigned)status);
    signal(SIGCHLD, SIG_DFL);
    expect_children(made, made, when);
    expect_last(pid, true, when);
    /* Some children wait for nothing. */
    char byte;
    struct pollfd waiting = {.fd = gate[0], .events = POLLIN};
    while (poll(&waiting, 1, 0) == 1 && read(gate[0], &byte, 1) == 1)
        ;
}

/* Many at once, reaped by two threads and a handler, whoever comes first. */
#define MANY 2000
static atomic_uint reaped;

static void count_reaped(int sig)
{
    int error = errno;
    (void)sig;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        reaped++;
    errno = error;
}

static void *reap_many(void *unused)
{
    while (reaped < MANY) {
        if (wait(NULL) > 0)
            reaped++;
        else
            nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    return unused;
}

static void many_at_once(void)
{
    pthread_t threads[2];
    pid_t pid = 0;
    signal(SIGCHLD, count_reaped);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, reap_many, NULL);
    for (int i = 0; i < MANY; i++) {
        pid = i % 2 ? vfork() : fork();
        if (pid == 0)
            _exit(0);
        if (!check(pid > 0, "child %d: %s", i, strerror(errno)))
            break;
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    signal(SIGCHLD, SIG_DFL);
    made += MANY;
    expect_children(made, made, "many at once");
}

/* Alive together, reaped at the end. */
static void many_alive(void)
{
    int count = system_long() ? MANY : 300, got = 0;
    for (int i = 0; i < count; i++) {
        pid_t pid = vfork();
        if (pid == 0)
            _exit(0);
        check(pid > 0, "child %d: %s", i, strerror(errno));
    }
    made += (unsigned)count;
    expect_children(made, made - (unsigned)count, "many zombies");
    while (wait(NULL) > 0)
        got++;
    check(got == count && errno == ECHILD, "%d of %d were reaped", got, count);
    expect_children(made, made, "many zombies, reaped");
}

/* What makes no child of ours, or none at all. */
static void makes_none(void)
{
    pid_t pid = -1;
    char *argv[] = {(char *)"x", NULL};
    check(posix_spawn(&pid, "/nonexistent", NULL, NULL, argv, environ) == ENOENT, "it spawned");
    check(system("exit 3") == 3 << 8, "system");
    FILE *stream = popen("exit 3", "r");
    check(stream && pclose(stream) == 3 << 8, "popen");
    pthread_t thread;
    pthread_create(&thread, NULL, in_thread, (void *)(intptr_t)-2);
    pthread_join(thread, NULL);
    expect_children(made, made, "what makes no child that the program knows");

    /* A child's own children are its own, also where it runs on our memory. */
    if ((pid = fork()) == 0) {
        pid_t inner = fork();
        if (inner == 0)
            _exit(0);
        _exit(waitpid(inner, NULL, 0) == inner ? 0 : 1);
    }
    check(waitpid(pid, &status, 0) == pid && status == 0, "a child with a child: %#x", status);
    made++;
    if ((pid = vfork()) == 0) {
        pid_t inner = fork();
        if (inner == 0)
            _exit(0);
        _exit(waitpid(inner, NULL, 0) == inner ? 0 : 1);
    }
    check(waitpid(pid, &status, 0) == pid && status == 0, "a vfork child's child: %#x", status);
    made++;
    expect_children(made, made, "children with children");
    check(posix_spawn(NULL, "/bin/sh", NULL, NULL, spawn_argv, environ) == 0, "no pid wanted");
    check(wait(&status) > 0 && status == 3 << 8, "status %#x", status);
    made++;
    expect_children(made, made, "posix_spawn that wants no pid");
}

/* The process goes on as another image, its children with it. */
static void exec_with_children(const char *program)
{
    static char text[2][16];
    for (int i = 0; i < 2; i++) {
        pid_t pid = fork();
        if (pid == 0)
            for (;;)
                pause();
        snprintf(text[i], sizeof text[i], "%d", pid);
    }
    expect_children(2, 0, "before an exec");
    execl(program, program, system_ledger ? system_ledger : "-", "goes on", text[0], text[1], NULL);
    check(false, "exec: %s", strerror(errno));
}

static void go_on_after_exec(void)
{
    expect_children(2, 0, "after an exec");
    for (int i = 1; i <= 2; i++) {
        pid_t pid = (pid_t)atoi(system_argv[i]);
        kill(pid, SIGKILL);
        check(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status), "status %#x", status);
        expect_children(2, (unsigned)i, "reaped by the image after");
    }
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 90);
    check(pipe2(gate, O_CLOEXEC) == 0, "no pipe");
    if (system_argc > 0) {
        if (system_argc == 3)
            go_on_after_exec();
        else
            exec_with_children(argv[0]);
        return system_end();
    }
    makes_none();
    many_at_once();
    many_alive();
    for (unsigned m = 0; m < sizeof makes / sizeof *makes; m++)
        for (unsigned r = 0; r < sizeof reaps / sizeof *reaps; r++)
            one(m, r);
    return system_end();
}
