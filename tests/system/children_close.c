/*
 * children_close.c: children of every kind close 3 to 1,023 (promise 5). What they close is
 * theirs: the parent's records stay, and what the parent does meanwhile and later is recorded.
 * The argument picks one kind; without it all run.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>

#include "system.h"
#include "workload.h"

static char stack[256 << 10] __attribute__((aligned(16))); /* of one child at a time */
static atomic_bool stop;

static void close_all(void)
{
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
    close_range(3, ~0u, 0);
    open("/dev/null", O_RDONLY);
}

static int closes(void *unused)
{
    (void)unused;
    close_all();
    return 0;
}

static int by_vfork(void)
{
    pid_t pid = vfork();
    if (pid == 0) {
        close_all();
        _exit(0);
    }
    return pid;
}

/* What it does to itself is not done to the thread whose storage it has. */
static int by_vfork_unshare(void)
{
    pid_t pid = vfork();
    if (pid == 0) {
        int failed = unshare(CLONE_FILES);
        close_all();
        _exit(failed != 0);
    }
    return pid;
}

static int by_vfork_syscall_unshare(void)
{
    pid_t pid = vfork();
    if (pid == 0) {
        long failed = syscall(SYS_unshare, CLONE_FILES);
        close_all();
        _exit(failed != 0);
    }
    return pid;
}

static int by_vfork_filter(void)
{
    static struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    static const struct sock_fprog program = {.len = 1, .filter = allow};
    pid_t pid = vfork();
    if (pid == 0) {
        int failed = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
                     prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ||
                     syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0;
        close_all();
        _exit(failed);
    }
    return pid;
}

static int by_vfork_exec(void)
{
    pid_t pid = vfork();
    if (pid == 0) {
        close_all();
        execl("/bin/true", "true", NULL);
        _exit(1);
    }
    return pid;
}

static int by_vfork_failed_exec(void)
{
    pid_t pid = vfork();
    if (pid == 0) {
        close_all();
        execl("/nonexistent", "true", NULL);
        _exit(0);
    }
    return pid;
}

static int by_fork(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        close_all();
        munmap(stack, 0);
        _exit(0);
    }
    return pid;
}

static int by_underscore_fork(void)
{
    pid_t pid = _Fork();
    if (pid == 0) {
        close_all();
        _exit(0);
    }
    return pid;
}

static int by_clone_vm_vfork(void)
{
    return clone(closes, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
}

static int by_clone_vm(void)
{
    return clone(closes, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL);
}

static int by_clone(void)
{
    return clone(closes, stack + sizeof stack, SIGCHLD, NULL);
}

static int by_syscall_clone(void)
{
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        close_all();
        _exit(0);
    }
    return pid;
}

static int by_syscall_clone3(void)
{
    struct clone_args args = {.exit_signal = SIGCHLD};
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) {
        close_all();
        _exit(0);
    }
    return pid;
}

static int by_inline_clone(void)
{
    pid_t pid = (pid_t)raw(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        close_all();
        raw(SYS_exit_group, 0);
    }
    return pid;
}

static int by_posix_spawn(void)
{
    posix_spawn_file_actions_t actions;
    char *argv[] = {(char *)"true", NULL}, *env[] = {NULL};
    pid_t pid = -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    posix_spawn_file_actions_addopen(&actions, 9, "/dev/null", O_RDONLY, 0);
    posix_spawn(&pid, "/bin/true", &actions, NULL, argv, env);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

static const struct {
    const char *name;
    int (*make)(void);
    bool shares_memory;
} kinds[] = {
    {"vfork", by_vfork, true},
    {"vfork_unshare", by_vfork_unshare, true},
    {"vfork_syscall_unshare", by_vfork_syscall_unshare, true},
    {"vfork_filter", by_vfork_filter, true},
    {"vfork_exec", by_vfork_exec, true},
    {"vfork_failed_exec", by_vfork_failed_exec, true},
    {"fork", by_fork, false},
    {"_Fork", by_underscore_fork, false},
    {"clone_vm_vfork", by_clone_vm_vfork, true},
    {"clone_vm", by_clone_vm, true},
    {"clone", by_clone, false},
    {"syscall_clone", by_syscall_clone, false},
    {"syscall_clone3", by_syscall_clone3, false},
    {"inline_clone", by_inline_clone, false},
    {"posix_spawn", by_posix_spawn, true},
};

static void *meanwhile(void *unused)
{
    (void)unused;
    while (!stop)
        workload();
    return NULL;
}

static void one_kind(unsigned k, int rounds, bool threads)
{
    char when[80];
    pthread_t thread;
    snprintf(when, sizeof when, "after a child made by %s%s", kinds[k].name,
             threads ? ", other threads running" : "");
    stop = false;
    if (threads)
        pthread_create(&thread, NULL, meanwhile, NULL);
    for (int round = 0; round < rounds; round++) {
        int status = 0;
        pid_t pid = kinds[k].make();
        check(pid > 0, "%s makes no child", kinds[k].name);
        /* Our own, while a child on our memory may still run. */
        int during = dup(2), closed = dup(2);
        close(closed);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        check(status == 0, "%s: the child ended with 0x%x", when, status);
        check(is_recorded(during), "%s: what was opened while it ran is not recorded", when);
        close(during);
        int fd = open("/dev/null", O_RDONLY);
        check(is_recorded(fd), "%s: nothing is recorded any more", when);
        close(fd);
    }
    stop = true;
    if (threads)
        pthread_join(thread, NULL);
    expect_exact(when);
}

/* More than there was room for: a child's filter keeps nobody else from making more. */
static void many_more(void)
{
    enum { MANY = 24000 };
    static void *start[MANY];
    for (int i = 0; i < MANY; i++)
        start[i] =
            mmap(NULL, PAGE, i & 1 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect_exact("with many more mappings");
    struct system_difference d = system_compare("with many more mappings", true, false);
    check(system_ledger == NULL || d.incomplete == 0, "the ledger could not grow: %#x",
          d.incomplete);
    for (int i = 0; i < MANY; i++)
        munmap(start[i], PAGE);
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 90);
    int rounds = system_long() ? 500 : 20;
    unsigned ran = 0;

    for (int i = 0; i < 300; i++)
        if (i % 3)
            dup(2);
        else
            open("/dev/null", O_RDONLY | (i & 1 ? O_CLOEXEC : 0));
    for (int i = 0; i < 20; i++)
        mmap(NULL, PAGE, i & 1 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect_exact("at first");
    for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        if (system_argc > 0 && strcmp(system_argv[0], kinds[k].name) != 0)
            continue;
        ran++;
        one_kind(k, rounds, false);
        one_kind(k, rounds, true);
    }
    many_more();
    check(ran > 0, "there is no kind of child called %s", system_argv[0]);
    return system_end();
}
