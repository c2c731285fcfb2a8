/*
 * child.c: a supervisor of child processes. Each is a fork (or a relative of it) that writes three
 * bytes and exits. It varies how the child is made, what is opened on it, how it is reaped, and in
 * which order the rest goes.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "supervise.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

extern char **environ;

enum { STACK = 16 * PAGE, OUTPUT = 3, LIVE_MAX = 16, PATH_BYTES = 64, NO_STATUS = -1 };

enum spawned_by { FORK, VFORK_EXEC, SPAWN, CLONE, CLONE3, SPAWNED_BYS };

/* How the children of an epoch are reaped. The disposition of a signal is the whole process's. */
enum { BY_WAITING, BY_HANDLER, BY_NOBODY, BY_THE_KERNEL, DISPOSITIONS };

enum reaped_by {
    WAIT,
    WAITPID,
    WAITPID_ANY,
    WAITPID_POLLING,
    WAIT3,
    WAIT4,
    WAITID,
    WAITID_TWICE,
    WAITID_ANY,
    WAITID_PIDFD,
    WAIT_ON_WORKER,
    REAPED_BYS
};

struct box {
    pid_t pid;
    volatile sig_atomic_t reaped; /* also by a wait for another child, and by the handler */
    enum spawned_by spawned_by;
    enum reaped_by reaped_by;
    int output[2], output_file, pidfd;
    int gate[2]; /* the child waits here for a byte, if it has to stay for a while */
    bool reads_pipe, drained, traced, stopped, gated;
};

/* Process-global: the handler and any wait may meet any child. */
static struct box *volatile live[LIVE_MAX];
static int disposition;
static char self_path[] = "/proc/self/exe";

/* --- the child -------------------------------------------------------------------------------- */

/* On the parent's memory or a copy of it: makes system calls and nothing else. */
static __attribute__((noreturn)) void be_child(const struct box *box)
{
    int out = box->output_file >= 0 ? box->output_file : box->output[1];
    char byte;
    if (box->traced) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    }
    if (box->traced || box->stopped) {
        raise(SIGSTOP);
    }
    if (out >= 0 && write(out, "out", OUTPUT) != OUTPUT) {
        _exit(1);
    }
    if (box->gated && read(box->gate[0], &byte, 1) != 1) {
        _exit(1);
    }
    _exit(0);
}

static int be_clone(void *box)
{
    be_child(box);
}

/* --- what takes ------------------------------------------------------------------------------- */

TAKES static void make_output_pipe(int pair[2])
{
    if (pipe2(pair, O_CLOEXEC) != 0) {
        give_up("a pipe");
    }
    NOT_LAST();
}

TAKES static int make_output_file(void)
{
    int fd = memfd_create("output", MFD_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static void *map_stack(void)
{
    void *start =
        mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    NOT_LAST();
    return start;
}

TAKES static pid_t clone_child(struct box *box, char *stack)
{
    pid_t pid = clone(be_clone, stack + STACK, CLONE_PIDFD | SIGCHLD, box, &box->pidfd);
    NOT_LAST();
    return pid;
}

TAKES static pid_t clone3_child(struct box *box)
{
    struct clone_args arguments = {
        .flags = CLONE_PIDFD, .pidfd = (uintptr_t)&box->pidfd, .exit_signal = SIGCHLD};
    pid_t pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid == 0) {
        be_child(box);
    }
    return pid;
}

TAKES static int open_pidfd(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    NOT_LAST();
    return fd;
}

TAKES static int duplicate_pidfd(int pidfd)
{
    int fd = fcntl(pidfd, F_DUPFD_CLOEXEC, 0);
    NOT_LAST();
    return fd;
}

TAKES static int fetch_descriptor(int pidfd, int theirs)
{
    int fd = (int)syscall(SYS_pidfd_getfd, pidfd, theirs, 0);
    NOT_LAST();
    return fd;
}

static const char *proc_path(char path[PATH_BYTES], pid_t pid, const char *name)
{
    snprintf(path, PATH_BYTES, "/proc/%d/%s", (int)pid, name);
    return path;
}

TAKES static int open_proc_status(pid_t pid)
{
    char path[PATH_BYTES];
    int fd = open(proc_path(path, pid, "status"), O_RDONLY | O_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static int open_proc_directory(pid_t pid)
{
    char path[PATH_BYTES];
    int fd = openat(AT_FDCWD, proc_path(path, pid, ""), O_DIRECTORY | O_PATH | O_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static int open_proc_relative(int directory)
{
    int fd = openat(directory, "stat", O_RDONLY | O_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static FILE *open_proc_stream(pid_t pid)
{
    char path[PATH_BYTES];
    FILE *stream = fopen(proc_path(path, pid, "stat"), "re");
    NOT_LAST();
    return stream;
}

TAKES static DIR *open_proc_listing(pid_t pid)
{
    char path[PATH_BYTES];
    DIR *listing = opendir(proc_path(path, pid, "task"));
    NOT_LAST();
    return listing;
}

/* --- making a child --------------------------------------------------------------------------- */

static pid_t exec_child(struct box *box, bool spawn)
{
    int out = box->output_file >= 0 ? box->output_file : box->output[1];
    char writes[] = "--child=out", silent[] = "--child=";
    char *arguments[] = {self_path, out >= 0 ? writes : silent, NULL};
    if (spawn) {
        posix_spawn_file_actions_t actions;
        pid_t pid;
        posix_spawn_file_actions_init(&actions);
        if (out >= 0) {
            posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
        }
        int result = posix_spawn(&pid, self_path, &actions, NULL, arguments, environ);
        posix_spawn_file_actions_destroy(&actions);
        errno = result;
        return result == 0 ? pid : -1;
    }
    pid_t pid = vfork();
    if (pid == 0) {
        if (out >= 0) {
            dup2(out, STDOUT_FILENO);
        }
        execv(self_path, arguments);
        _exit(127);
    }
    return pid;
}

static pid_t start_child(struct sandbox *sandbox, struct box *box)
{
    pid_t pid;
    switch (box->spawned_by) {
    case VFORK_EXEC:
    case SPAWN:
        return exec_child(box, box->spawned_by == SPAWN);
    case CLONE: {
        char *stack = map_stack();
        hold_mapping(sandbox, site_child_stack, stack, STACK);
        pid = clone_child(box, stack);
        if (pid > 0) {
            hold_fd(sandbox, site_child_pidfd_of_clone, box->pidfd);
        }
        return pid;
    }
    case CLONE3:
        pid = clone3_child(box);
        if (pid > 0) {
            hold_fd(sandbox, site_child_pidfd_of_clone3, box->pidfd);
        }
        return pid;
    default:
        pid = fork();
        if (pid == 0) {
            be_child(box);
        }
        return pid;
    }
}

/* --- reaping ---------------------------------------------------------------------------------- */

static void note_reaped(pid_t pid)
{
    for (int i = 0; i < LIVE_MAX; i++) {
        if (live[i] != NULL && live[i]->pid == pid) {
            live[i]->reaped = 1;
            live[i] = NULL;
            return;
        }
    }
}

static void on_sigchld(int signal)
{
    (void)signal;
    int saved = errno;
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
        note_reaped(pid);
    }
    errno = saved;
}

static void wait_on_worker(void *argument)
{
    struct box *box = argument;
    if (waitpid(box->pid, NULL, 0) == box->pid) {
        note_reaped(box->pid);
    }
}

static pid_t wait_once(struct box *box)
{
    siginfo_t info = {.si_pid = 0};
    struct rusage usage;
    int status;
    pid_t pid;
    switch (box->reaped_by) {
    case WAIT:
        return wait(NULL);
    case WAITPID:
        return waitpid(box->pid, &status, 0);
    case WAITPID_ANY:
        return waitpid(-1, &status, 0);
    case WAITPID_POLLING:
        while ((pid = waitpid(box->pid, &status, WNOHANG)) == 0) {
            nanosleep(&(struct timespec){0, 100000}, NULL);
        }
        return pid;
    case WAIT3:
        return wait3(&status, 0, &usage);
    case WAIT4:
        return wait4(box->pid, NULL, 0, &usage);
    case WAITID:
        return waitid(P_PID, (id_t)box->pid, &info, WEXITED) == 0 ? info.si_pid : -1;
    case WAITID_TWICE:
        if (waitid(P_PID, (id_t)box->pid, &info, WEXITED | WNOWAIT) != 0) {
            return -1;
        }
        return waitid(P_PID, (id_t)box->pid, NULL, WEXITED) == 0 ? box->pid : -1;
    case WAITID_ANY:
        return waitid(P_ALL, 0, &info, WEXITED) == 0 ? info.si_pid : -1;
    case WAITID_PIDFD:
        return waitid(box->pidfd >= 0 ? P_PIDFD : P_PID,
                      (id_t)(box->pidfd >= 0 ? box->pidfd : box->pid), &info, WEXITED) == 0
                   ? info.si_pid
                   : -1;
    case WAIT_ON_WORKER:
        run_on_worker(wait_on_worker, box);
        return box->pid;
    default:
        return -1;
    }
}

static void reap(struct box *box)
{
    sigset_t chld, before;
    switch (disposition) {
    case BY_HANDLER:
        sigemptyset(&chld);
        sigaddset(&chld, SIGCHLD);
        sigprocmask(SIG_BLOCK, &chld, &before);
        while (!box->reaped) {
            sigsuspend(&before);
        }
        sigprocmask(SIG_SETMASK, &before, NULL);
        return;
    case BY_NOBODY:
    case BY_THE_KERNEL:
        /* Ignored: it is gone when nobody can be waited for, or when its pidfd says so. The latter
         * no preload sees, and no rate can be told by ends that nobody saw. */
        if (disposition == BY_NOBODY && box->pidfd >= 0 && run.mutated == NO_SITE) {
            struct pollfd poll_it = {.fd = box->pidfd, .events = POLLIN};
            poll(&poll_it, 1, -1);
        } else if (waitpid(box->pid, NULL, 0) != -1 || errno != ECHILD) {
            give_up("a child that nobody waits for");
        }
        note_reaped(box->pid);
        return;
    default:
        while (!box->reaped) {
            pid_t pid = wait_once(box);
            if (pid <= 0) {
                give_up("waiting");
            }
            note_reaped(pid);
        }
    }
}

/* --- a sandbox -------------------------------------------------------------------------------- */

static void remember(struct box *box)
{
    for (int i = 0; i < LIVE_MAX; i++) {
        if (live[i] == NULL) {
            live[i] = box;
            return;
        }
    }
    give_up("too many children");
}

/* It stops by itself; it goes on when it was seen to have stopped. None of this is its end. */
static void pass_stops(struct sandbox *sandbox, struct box *box)
{
    int status;
    if (box->traced) {
        if (waitpid(box->pid, &status, 0) != box->pid || !WIFSTOPPED(status) ||
            ptrace(PTRACE_CONT, box->pid, NULL, NULL) != 0) {
            give_up("a traced child's stop");
        }
    } else if (box->stopped) {
        siginfo_t info;
        if (draw(sandbox, 2) == 0) {
            if (waitpid(box->pid, &status, WUNTRACED) != box->pid || !WIFSTOPPED(status)) {
                give_up("a child's stop");
            }
        } else if (waitid(P_PID, (id_t)box->pid, &info, WSTOPPED) != 0) {
            give_up("a child's stop");
        }
        kill(box->pid, SIGCONT);
        waitid(P_PID, (id_t)box->pid, &info, WCONTINUED | WEXITED | WNOWAIT);
    }
}

/* Anything of its that can be opened. It may be gone already where SIGCHLD is ignored. */
static void open_things(struct sandbox *sandbox, struct box *box)
{
    pid_t pid = box->pid;
    int fd;
    if (box->pidfd < 0 && draw_for(sandbox, site_child_pidfd, 2) && (fd = open_pidfd(pid)) >= 0) {
        box->pidfd = fd;
        hold_fd(sandbox, site_child_pidfd, fd);
    }
    if (box->pidfd >= 0 && draw_for(sandbox, site_child_pidfd_dup, 6)) {
        hold_fd(sandbox, site_child_pidfd_dup, duplicate_pidfd(box->pidfd));
    }
    if (draw_for(sandbox, site_child_proc_status, 4) && (fd = open_proc_status(pid)) >= 0) {
        hold_fd(sandbox, site_child_proc_status, fd);
    }
    if ((draw_for(sandbox, site_child_proc_directory, 6) ||
         run.mutated == site_child_proc_relative) &&
        (fd = open_proc_directory(pid)) >= 0) {
        hold_fd(sandbox, site_child_proc_directory, fd);
        if (draw_for(sandbox, site_child_proc_relative, 2) && (fd = open_proc_relative(fd)) >= 0) {
            hold_fd(sandbox, site_child_proc_relative, fd);
        }
    }
    FILE *stream;
    if (draw_for(sandbox, site_child_proc_stream, 8) && (stream = open_proc_stream(pid)) != NULL) {
        hold(sandbox,
             (struct held){.site = site_child_proc_stream, .fd = fileno(stream), .start = stream});
    }
    DIR *listing;
    if (draw_for(sandbox, site_child_proc_listing, 8) &&
        (listing = open_proc_listing(pid)) != NULL) {
        hold(sandbox, (struct held){
                          .site = site_child_proc_listing, .fd = dirfd(listing), .start = listing});
    }
    if (box->gated) {
        if (box->pidfd >= 0 && (fd = fetch_descriptor(box->pidfd, box->gate[0])) >= 0) {
            hold_fd(sandbox, site_child_fetched, fd);
        }
        if (write(box->gate[1], "g", 1) != 1) {
            give_up("a gate");
        }
        close(box->gate[1]);
    }
}

static void draw_child(struct sandbox *sandbox, struct box *box)
{
    box->spawned_by = draw(sandbox, SPAWNED_BYS);
    if (draw(sandbox, 2) == 0) {
        box->spawned_by = FORK;
    }
    if (run.mutated == site_child_pidfd_of_clone || run.mutated == site_child_stack) {
        box->spawned_by = CLONE;
    } else if (run.mutated == site_child_pidfd_of_clone3) {
        box->spawned_by = CLONE3;
    } else if (run.mutated == site_child_pidfd) {
        box->spawned_by = draw(sandbox, SPAWN + 1);
    }
    box->reaped_by = run.mutated == site_child_reap ? WAITPID : draw(sandbox, REAPED_BYS);
    box->reads_pipe = draw(sandbox, 2) == 0 || run.mutated == site_child_pipe_read ||
                      run.mutated == site_child_pipe_write;
    bool copies = box->spawned_by == FORK || box->spawned_by == CLONE || box->spawned_by == CLONE3;
    box->gated = draw_for(sandbox, site_child_fetched, 6) && copies;
    bool stops = disposition == BY_WAITING && box->spawned_by == FORK;
    box->traced = draw(sandbox, 6) == 0 && stops;
    box->stopped = draw(sandbox, 6) == 0 && stops && !box->traced;
}

static void begin(struct sandbox *sandbox)
{
    struct box *box = sandbox->own;
    sigset_t chld, before;
    draw_child(sandbox, box);
    box->output[0] = box->output[1] = box->output_file = box->pidfd = -1;
    if (box->reads_pipe) {
        make_output_pipe(box->output);
        hold_fd(sandbox, site_child_pipe_read, box->output[0]);
    }
    if (draw_for(sandbox, site_child_output_file, 4)) {
        box->output_file = make_output_file();
        hold_fd(sandbox, site_child_output_file, box->output_file);
    }
    if (box->gated && pipe2(box->gate, O_CLOEXEC) != 0) {
        give_up("a gate");
    }
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, &before);
    box->pid = start_child(sandbox, box);
    if (box->pid < 0) {
        give_up("a child");
    }
    remember(box);
    sigprocmask(SIG_SETMASK, &before, NULL);
    owners_begun(1);
    if (run.mutated != site_child_reap) {
        owners_ended(1);
    }
    if (box->gated) {
        close(box->gate[0]);
    }
    if (box->reads_pipe) {
        if (draw(sandbox, 8) != 0 || run.mutated == site_child_pipe_write) {
            release_fd(sandbox, site_child_pipe_write, box->output[1]);
            hold(NULL, (struct held){.site = site_child_pipe_write});
        } else {
            hold_fd(sandbox, site_child_pipe_write, box->output[1]);
        }
    }
    pass_stops(sandbox, box);
    open_things(sandbox, box);
    hold(sandbox, (struct held){.site = site_child_reap, .fd = -1});
}

static bool work(struct sandbox *sandbox)
{
    struct box *box = sandbox->own;
    /* Some keep the pidfd until the output is drained; some reap first, or last of all. */
    uint32_t order = draw(sandbox, 4);
    for (unsigned i = 0; i < sandbox->held_count; i++) {
        struct held *held = &sandbox->held[i];
        if (held->fd >= 0 && held->fd == box->pidfd &&
            (order == 0 || disposition == BY_NOBODY || box->reaped_by == WAITID_PIDFD)) {
            held->key = LAST;
        } else if (held->site == site_child_reap && order < 2) {
            held->key = FIRST;
        } else if (held->site == site_child_reap && order == 2) {
            held->key = LAST - 1;
        }
    }
    return false;
}

static void drain(struct box *box)
{
    char bytes[OUTPUT];
    ssize_t got;
    if (box->output_file >= 0 || box->drained) {
        return;
    }
    do {
        got = read(box->output[0], bytes, sizeof bytes);
    } while (got < 0 && errno == EINTR);
    if (got != OUTPUT || memcmp(bytes, "out", OUTPUT) != 0) {
        give_up("a child's output");
    }
    box->drained = true;
}

static void before_release(struct sandbox *sandbox, const struct held *held)
{
    struct box *box = sandbox->own;
    if (held->site == site_child_reap && run.mutated == site_child_reap) {
        note_reaped(box->pid); /* in its own books, as a supervisor would that forgot the wait */
    } else if (held->site == site_child_reap) {
        reap(box);
    } else if (held->site == site_child_pipe_read) {
        drain(box);
    }
}

/* No child is live: what SIGCHLD does may change. */
static void change_disposition(void)
{
    disposition = draw_global(2) == 0 ? BY_WAITING : (int)draw_global(DISPOSITIONS);
    if (run.mutated == site_child_reap) {
        disposition = BY_WAITING;
    }
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigemptyset(&action.sa_mask);
    switch (disposition) {
    case BY_HANDLER:
        action.sa_handler = on_sigchld;
        action.sa_flags = SA_RESTART | SA_NOCLDSTOP;
        break;
    case BY_NOBODY:
        action.sa_handler = SIG_IGN;
        break;
    case BY_THE_KERNEL:
        action.sa_flags = SA_NOCLDWAIT;
        break;
    default:
        break;
    }
    sigaction(SIGCHLD, &action, NULL);
}

static void start(void)
{
    change_disposition();
    owner_kinds_are("\"child\"");
}

static void stop(void)
{
    signal(SIGCHLD, SIG_DFL);
}

const struct supervisor supervise_child = {.own_size = sizeof(struct box),
                                           .start = start,
                                           .begin = begin,
                                           .work = work,
                                           .before = before_release,
                                           .drained = change_disposition,
                                           .stop = stop};
