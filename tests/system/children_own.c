/*
 * children_own.c: what a child's sandbox holds in the supervisor: its pidfds and what comes through
 * them, its files under /proc, the pipe whose other end was left to it. And what another sandbox's
 * child would get, since it lacks close-on-exec. Bare it checks only that the calls work.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/sched.h>

#include "system.h"

int __open_2(const char *, int);
int __openat64_2(int, const char *, int);

static struct ledger_view view;

static const struct ledger_owner *owner_of(int fd)
{
    const struct ledger_fd *record = ledger_view_fd(&view, (unsigned)fd);
    if (!check(record != NULL, "descriptor %d is not recorded", fd) || record->owner == 0)
        return NULL;
    return ledger_view_record(&view, LEDGER_OWNERS, record->owner);
}

/* `pid`: 0 for the supervisor's own. Closes it. */
static void expect_owner(int fd, pid_t pid, bool tied, const char *what)
{
    if (!check(fd >= 0, "%s: %s", what, strerror(errno)))
        return;
    if (system_ledger && check(ledger_view_open(&view, system_ledger) == 0, "no ledger")) {
        const struct ledger_owner *owner = owner_of(fd);
        check((owner ? owner->pid : 0) == (uint32_t)pid, "%s: it is %d's, not %d's", what,
              owner ? (int)owner->pid : 0, pid);
        const struct ledger_fd *record = ledger_view_fd(&view, (unsigned)fd);
        check(record && !(record->flags & LEDGER_TIED) == !tied, "%s: its flags are %#x", what,
              record ? record->flags : 0u);
        ledger_view_close(&view);
    }
    close(fd);
}

static int sleeps(void *unused)
{
    (void)unused;
    for (;;)
        pause();
    return 0;
}

static pid_t make(void)
{
    pid_t pid = fork();
    if (pid == 0)
        sleeps(NULL);
    check(pid > 0, "fork: %m");
    return pid;
}

static __attribute__((noinline)) pid_t make_at_once(void)
{
    pid_t pid = vfork();
    if (pid == 0)
        _exit(0);
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    check(waitpid(pid, NULL, 0) == pid, "waitpid: %m");
}

static void files(void)
{
    char path[64], no_child[64];
    uint64_t how[3] = {O_RDONLY | O_CLOEXEC, 0, 0};
    pid_t pid = make();

    snprintf(path, sizeof path, "/proc/%d/status", pid);
    snprintf(no_child, sizeof no_child, "/proc/%d/status", getppid());
    expect_owner(open(path, O_RDONLY | O_CLOEXEC), pid, false, "open");
    expect_owner(open64(path, O_RDONLY | O_CLOEXEC), pid, false, "open64");
    expect_owner(openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC), pid, false, "openat");
    expect_owner(openat64(99, path, O_RDONLY | O_CLOEXEC), pid, false, "openat64");
    expect_owner(__open_2(path, O_RDONLY), pid, false, "__open_2");
    expect_owner(__openat64_2(AT_FDCWD, path, O_RDONLY), pid, false, "__openat64_2");
    expect_owner((int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY), pid, false, "SYS_openat");
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, how, sizeof how);
    if (fd >= 0 || errno != ENOSYS)
        expect_owner(fd, pid, false, "SYS_openat2");
#ifdef SYS_open
    expect_owner((int)syscall(SYS_open, path, O_RDONLY), pid, false, "SYS_open");
#endif
    FILE *stream = fopen(path, "re");
    expect_owner(stream ? dup(fileno(stream)) : -1, 0, false, "a duplicate of a file's");
    check(stream != NULL, "fopen: %m");
    if (stream) {
        int at = fileno(stream);
        expect_owner(at, pid, false, "fopen");
        fclose(stream);
    }
    path[strlen(path) - strlen("/status")] = 0;
    expect_owner(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), pid, false, "/proc/PID itself");
    int below = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    expect_owner(openat(below, "status", O_RDONLY), pid, false, "below /proc/PID");
    expect_owner((int)syscall(SYS_openat, below, "stat", O_RDONLY), pid, false, "below, raw");
    expect_owner(openat(below, "../self/status", O_RDONLY), 0, false, "beside /proc/PID");
    expect_owner(openat(below, "/dev/null", O_RDONLY), 0, false, "not below /proc/PID");
    expect_owner(below, pid, false, "what others were opened below");
    DIR *directory = opendir(path);
    check(directory != NULL, "opendir: %m");
    if (directory) {
        expect_owner(dirfd(directory), pid, false, "opendir");
        closedir(directory);
    }
    expect_owner(open(no_child, O_RDONLY | O_CLOEXEC), 0, false, "another process's");
    expect_owner(open("/proc/self/status", O_RDONLY), 0, false, "the supervisor's");
    expect_owner(open("/dev/null", O_RDONLY), 0, false, "/dev/null");
    check(open("/proc/999999999/status", O_RDONLY) == -1 && errno == ENOENT, "nobody's: %m");
    check(open((char *)8, O_RDONLY) == -1 && errno == EFAULT, "a bad path: %m");
    end(pid);
}

static void pidfds(void)
{
    static char stack[64 << 10] __attribute__((aligned(16)));
    int pidfd = -1, keep = memfd_create("target", MFD_CLOEXEC);
    pid_t pid = make();

    pidfd = pidfd_open(pid, 0);
    int got = pidfd_getfd(pidfd, keep, 0);
    if (got >= 0 || errno != EPERM)
        expect_owner(got, pid, false, "pidfd_getfd");
    got = (int)syscall(SYS_pidfd_getfd, pidfd, keep, 0);
    if (got >= 0 || errno != EPERM)
        expect_owner(got, pid, false, "SYS_pidfd_getfd");
    expect_owner(dup(pidfd), pid, false, "a duplicate of a pidfd");
    expect_owner(pidfd, pid, false, "pidfd_open");
    expect_owner((int)syscall(SYS_pidfd_open, pid, 0), pid, false, "SYS_pidfd_open");
    expect_owner(pidfd_open(getpid(), 0), 0, false, "our own pidfd");
    end(pid);

    pid = clone(sleeps, stack + sizeof stack, CLONE_PIDFD | SIGCHLD, NULL, &pidfd);
    check(pid > 0, "clone: %m");
    expect_owner(pidfd, pid, false, "clone(CLONE_PIDFD)");
    end(pid);
    pid = (pid_t)syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, &pidfd, 0, 0);
    if (pid == 0)
        sleeps(NULL);
    expect_owner(pidfd, pid, false, "SYS_clone with CLONE_PIDFD");
    end(pid);
    struct clone_args args = {
        .flags = CLONE_PIDFD, .pidfd = (uint64_t)&pidfd, .exit_signal = SIGCHLD};
    pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0)
        sleeps(NULL);
    expect_owner(pidfd, pid, false, "SYS_clone3 with CLONE_PIDFD");
    end(pid);
    check(syscall(SYS_clone3, 8, sizeof args) == -1 && errno == EFAULT, "a bad clone3: %m");
    check(syscall(SYS_clone3, &args, 8) == -1 && errno == EINVAL, "a short clone3: %m");
    close(keep);
}

static void pipes(void)
{
    int out[2], in[2], idle[2];
    check(pipe2(out, O_CLOEXEC) == 0 && pipe(in) == 0 && syscall(SYS_pipe2, idle, O_CLOEXEC) == 0,
          "pipe: %m");
    pid_t pid = make();
    close(out[1]);
    syscall(SYS_close, in[0]);
    expect_owner(dup(out[0]), 0, false, "a duplicate of a pipe's end");
    expect_owner(out[0], pid, true, "the end of a pipe that was kept");
    expect_owner(in[1], pid, true, "the end that was kept, by syscall(2)");
    end(pid);
    close(idle[0]);
    expect_owner(idle[1], 0, false, "a pipe closed when the child had gone");

    /* Numbers used again are no partners. */
    check(pipe2(out, O_CLOEXEC) == 0, "pipe: %m");
    pid = make();
    close(out[0]);
    check(open("/dev/null", O_RDONLY | O_CLOEXEC) == out[0], "another number");
    close(out[0]);
    expect_owner(out[1], pid, true, "an end whose partner's number is another file's");
    end(pid);
}

struct counted {
    uint64_t found;
    int fd;
    pid_t whose, gets;
};

static struct counted inheritable(void)
{
    struct counted all = {0};
    if (!system_ledger || ledger_view_open(&view, system_ledger) != 0)
        return all;
    for (uint64_t i = 1; i < view.header->used[LEDGER_EVENTS]; i++) {
        const struct ledger_event *event = ledger_view_record(&view, LEDGER_EVENTS, i);
        if (!event || event->state != LEDGER_LIVE || event->kind != LEDGER_EVENT_INHERITABLE)
            continue;
        all.found += event->count;
        const struct ledger_owner *whose = ledger_view_record(&view, LEDGER_OWNERS, event->owner);
        const struct ledger_owner *gets =
            ledger_view_record(&view, LEDGER_OWNERS, event->other_owner);
        all.fd = (int)event->start;
        all.whose = whose ? (pid_t)whose->pid : 0;
        all.gets = gets ? (pid_t)gets->pid : 0;
        check(event->stack && event->other_stack, "who took it and who made the child: no stacks");
    }
    ledger_view_close(&view);
    return all;
}

/* First of all: nothing was inheritable yet. */
static void inherited(void)
{
    char path[64];
    int tied[2];
    int own = open("/dev/null", O_RDONLY); /* the supervisor's: not another sandbox's */
    pid_t first = make(), second;

    snprintf(path, sizeof path, "/proc/%d/status", first);
    int closes = open(path, O_RDONLY | O_CLOEXEC);
    second = make();
    check(inheritable().found == 0, "with close-on-exec, or nobody's, it is inheritable");
    end(second);

    int stays = open(path, O_RDONLY);
    second = make();
    struct counted seen = inheritable();
    if (system_ledger) {
        check(seen.found == 1 && seen.fd == stays, "%lu events, of %d", (unsigned long)seen.found,
              seen.fd);
        check(seen.whose == first && seen.gets == second, "of %d to %d", seen.whose, seen.gets);
    }
    end(second);
    char *argv[] = {(char *)"true", NULL};
    check(posix_spawn(&second, "/bin/true", NULL, NULL, argv, environ) == 0, "no spawn");
    check(!system_ledger || inheritable().found == 2, "after posix_spawn: %lu",
          (unsigned long)inheritable().found);
    end(second);
    check(fcntl(stays, F_SETFD, FD_CLOEXEC) == 0, "F_SETFD");
    second = make_at_once();
    check(!system_ledger || inheritable().found == 2, "close-on-exec now: %lu",
          (unsigned long)inheritable().found);
    end(second);
    close(stays);

    /* A pipe of the third's, without close-on-exec. The next child may be the one that it leads
     * to; all others keep it open. */
    check(pipe(tied) == 0, "pipe: %m");
    pid_t third = make();
    close(tied[1]);
    check(!system_ledger || inheritable().found == 2, "its own pipe: %lu",
          (unsigned long)inheritable().found);
    for (unsigned found = 2; found < 5; found++) {
        second = make_at_once();
        check(!system_ledger || inheritable().found == found, "another's pipe: %lu, not %u",
              (unsigned long)inheritable().found, found);
        end(second);
    }
    end(third);
    close(tied[0]);
    close(closes);
    close(own);
    end(first);
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 60);
    inherited();
    files();
    pidfds();
    pipes();
    return system_end();
}
