/*
 * raw_calls.c: what a process does to itself by syscall(2): a child's end, a filter, descriptors
 * of its own.
 *
 * Without an argument, children that end by it. "filter": installs one by it that kills whoever
 * makes a call of the shim's, then maps and copies until any ledger must grow. "child_filter": the
 * same in a forked child, whose filter came from its parent. "unshared": one memfd is held; the
 * main thread has a table of descriptors of its own; then exits, or execs what follows. "version":
 * asks landlock for its version, which is the number of an open descriptor and no new one.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "system.h"
#include "workload.h"

#define ALLOW(number)                                                                              \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1),                                           \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void install_filter(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(SYS_mmap),
        ALLOW(SYS_dup),
        ALLOW(SYS_write),
        ALLOW(SYS_clone),
        ALLOW(SYS_wait4),
        ALLOW(SYS_set_robust_list),
        ALLOW(SYS_gettid),
        ALLOW(SYS_exit_group),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog filter = {sizeof code / sizeof *code, code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        system_skip("no seccomp filters here");
}

static void take_much(void)
{
    for (int i = 0; i < 30000; i++)
        if (mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
            break;
    for (int i = 0; i < 3000; i++)
        (void)dup(0);
}

static void expect_end(pid_t child, int status, const char *what)
{
    int got = 0;

    check(child > 0 && waitpid(child, &got, 0) == child, "%s: %s", what, strerror(errno));
    check(WIFEXITED(got) && WEXITSTATUS(got) == status, "%s: ended with %x", what, (unsigned)got);
}

static void children_end(void)
{
    pid_t child = fork();

    if (child == 0)
        syscall(SYS_exit_group, 3);
    expect_end(child, 3, "a forked child that ends by syscall(2)");
    child = vfork();
    if (child == 0)
        syscall(SYS_exit_group, 4);
    expect_end(child, 4, "a vfork child that ends by syscall(2)");
    check(is_recorded(dup(0)), "after a vfork child's end nothing is recorded");
    expect_exact("after children have ended");
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 20);
    const char *what = system_argc > 0 ? system_argv[0] : "";

    if (strcmp(what, "filter") == 0) {
        install_filter();
        take_much();
        syscall(SYS_exit_group, 0);
    } else if (strcmp(what, "child_filter") == 0) {
        install_filter();
        pid_t child = fork();
        if (child == 0) {
            take_much();
            syscall(SYS_exit_group, 3);
        }
        int status = 0;
        syscall(SYS_wait4, child, &status, 0, NULL);
        syscall(SYS_exit_group, status == 3 << 8 ? 0 : 1);
    } else if (strcmp(what, "unshared") == 0) {
        memfd_create("held", 0);
        if (syscall(SYS_close_range, 1000, ~0u, 2 /* CLOSE_RANGE_UNSHARE */) != 0)
            system_skip("no close_range here");
        if (system_argc > 1)
            execv(system_argv[1], system_argv + 1);
        return 0;
    } else if (strcmp(what, "version") == 0) {
        long version = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
        if (version < 3)
            system_skip("no landlock here whose version could be a descriptor");
        check(dup2(0, (int)version) == version, "dup2: %s", strerror(errno));
        return syscall(SYS_landlock_create_ruleset, NULL, 0, 1) == version ? 0 : 1;
    }
    children_end();
    return system_end();
}
