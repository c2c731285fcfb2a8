/*
 * process.c: see process.h.
 */
#include "supervisor/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "boxledger.h"
#include "supervisor/children.h"
#include "supervisor/command.h"
#include "supervisor/cow.h"
#include "supervisor/cow_commit.h"
#include "supervisor/defects.h"
#include "supervisor/error.h"
#include "supervisor/inside.h"
#include "supervisor/lazy_faults.h"
#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/policy.h"
#include "supervisor/resolve.h"
#include "supervisor/sandbox.h"
#include "supervisor/status.h"

/* The control pipe's size: many sandboxes at once, and a user's pipes have a limit together. */
#define CONTROL_BYTES 4096

/* How long what an ended sandbox left is given to die before it is looked for again. */
#define LEFTOVERS_MS 1

/* What a sandbox has while it starts and runs. */
struct run {
    struct sandbox sandbox;
    int process;    /* a pidfd of its main process */
    int control[2]; /* from the sandbox: why its command did not start, or its end: it did */
    int channel[2]; /* from the sandbox: its listener */
    uint64_t deadline_ms;
};

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int make_channels(struct run *run, uint32_t defects, struct error *error)
{
    int flags = defects & DEFECT_PIPE_NO_CLOEXEC ? 0 : O_CLOEXEC;

    if (pipe2(run->control, flags) != 0)
        return error_set(error, errno, "cannot make a pipe");
    (void)fcntl(run->control[0], F_SETPIPE_SZ, CONTROL_BYTES);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, run->channel) != 0)
        return error_set(error, errno, "cannot make a socket pair");
    return 0;
}

/* Waits until the sandbox has sent its listener, or says why it cannot. It may not be waited for on
 * one channel alone: what it has to say need not fit into the other. */
static bool is_listener_sent(const struct run *run)
{
    enum { CHANNEL, CONTROL, COUNT };
    struct pollfd polled[COUNT] = {
        [CHANNEL] = {.fd = run->channel[0], .events = POLLIN},
        [CONTROL] = {.fd = run->control[0], .events = POLLIN},
    };

    while (poll(polled, COUNT, -1) < 0 && errno == EINTR)
        ;
    return polled[CHANNEL].revents & POLLIN;
}

static int receive_listener(struct run *run, struct error *error)
{
    char byte;
    struct iovec bytes = {&byte, sizeof byte};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &bytes,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };
    ssize_t got;

    do
        got = recvmsg(run->channel[0], &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return error_set(error, errno, "cannot receive the listener");
    if (got == 0)
        return 0; /* killed before it had one: its end says so */
    /* The kernel drops it where there is no room for one more descriptor. */
    if (message.msg_controllen < CMSG_LEN(sizeof run->sandbox.listener) ||
        control.header.cmsg_type != SCM_RIGHTS)
        return error_set(error, EMFILE, "cannot receive the listener");
    memcpy(&run->sandbox.listener, CMSG_DATA(&control.header), sizeof run->sandbox.listener);
    notify_prepare(run->sandbox.listener);
    return 0;
}

/* Reads what the sandbox says about its start, all of it. False: it started. */
static bool read_report(int control, uint32_t defects, struct inside_report *report)
{
    size_t have = 0;
    ssize_t got;

    memset(report, 0, sizeof *report);
    do {
        got = read(control, (char *)report + have, sizeof *report - have);
        if (got > 0)
            have += (size_t)got;
        /* The defect: what one read returned is taken for all of it. */
        if (got > 0 && (defects & DEFECT_SHORT_READ))
            break;
    } while (have < sizeof *report && (got > 0 || (got < 0 && errno == EINTR)));
    return report->stage != INSIDE_STARTED;
}

static int tell_report(const struct inside_report *report, struct error *error)
{
    if (report->stage == INSIDE_COMMAND)
        return error_set(error, report->number, "cannot run %s", report->what);
    (void)error_set(error, report->number, "%s%s",
                    report->stage == INSIDE_DIRECTORY    ? "cannot start in "
                    : report->stage == INSIDE_STDIO      ? "cannot pass the standard descriptors"
                    : report->stage == INSIDE_LIMITS     ? "cannot set the limits"
                    : report->stage == INSIDE_PRIVILEGES ? "cannot give up privileges"
                    : report->stage == INSIDE_LANDLOCK   ? "cannot restrict it by Landlock"
                    : report->stage == INSIDE_FILTER     ? "cannot install the filter"
                                                         : "cannot hand over the listener",
                    report->what);
    error->number = 0; /* it is not the command's fault */
    return -1;
}

/* Where the command is to start, as a descriptor, where that is not what its path outside says; -1:
 * it is. */
static int find_start(const struct run *run, const char *directory, int *start, struct error *error)
{
    int root = run->sandbox.policy->root;

    if (run->sandbox.cow)
        *start = cow_start_directory(run->sandbox.cow, directory);
    if (root < 0 || !directory)
        return 0;
    *start = resolve_open(root, directory, O_PATH | O_DIRECTORY,
                          RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    if (*start >= 0)
        return 0;
    (void)error_set(error, errno, "cannot start in %s", directory);
    error->number = 0; /* it is not the command's fault */
    return -1;
}

static int start(struct run *run, const struct process_request *request, const char *path,
                 struct error *error)
{
    const struct policy *policy = run->sandbox.policy;
    owned_fd int start_directory = -1;
    struct inside inside = {
        .policy = policy,
        .supervisor = getpid(),
        .path = path,
        .command = request->command,
        .environment = request->environment,
        .ruleset = run->sandbox.cow ? run->sandbox.cow->ruleset : policy->ruleset,
        .directory = request->directory,
        .start = -1,
        .stdio = {request->stdio[0], request->stdio[1], request->stdio[2]},
    };

    if (find_start(run, request->directory, &start_directory, error) != 0)
        return -1;
    inside.start = start_directory;
    if (make_channels(run, policy->profile.defects, error) != 0)
        return -1;
    inside.channel = run->channel[1];
    inside.control = run->control[1];
    run->sandbox.main = children_fork();
    if (run->sandbox.main < 0)
        return error_set(error, errno, "cannot fork");
    if (run->sandbox.main == 0)
        inside_run(&inside);
    owned_fd_close(&run->channel[1]);
    owned_fd_close(&run->control[1]);
    /* It is not reaped yet, so this is it. */
    run->process = (int)syscall(SYS_pidfd_open, run->sandbox.main, 0);
    if (run->process < 0)
        return error_set(error, errno, "cannot open a pidfd");
    if (is_listener_sent(run) && receive_listener(run, error) != 0)
        return -1;
    owned_fd_close(&run->channel[0]);
    return 0;
}

/* For poll(2). */
static int time_left(const struct run *run)
{
    uint64_t now = now_ms();

    if (run->deadline_ms == 0)
        return -1;
    return run->deadline_ms > now ? (int)(run->deadline_ms - now) : 0;
}

/* Answers until the main process has ended. */
static int serve(struct run *run, struct process_result *result, struct error *error)
{
    enum { PROCESS, LISTENER, CONTROL, COUNT };
    struct pollfd polled[COUNT] = {
        [PROCESS] = {.fd = run->process, .events = POLLIN},
        [LISTENER] = {.fd = run->sandbox.listener, .events = POLLIN},
        [CONTROL] = {.fd = run->control[0], .events = POLLIN},
    };
    struct inside_report report;

    for (;;) {
        int ready = poll(polled, COUNT, time_left(run));

        if (ready < 0 && errno != EINTR)
            return error_set(error, errno, "cannot wait for the sandbox");
        /* One that never stops asking has no more time than others; one that has ended in time has,
         * however late we look. */
        if (!(ready > 0 && polled[PROCESS].revents) && time_left(run) == 0) {
            result->timed_out = true;
            return 0;
        }
        if (ready <= 0)
            continue;
        if (polled[CONTROL].revents) {
            polled[CONTROL].fd = -1;
            if (read_report(run->control[0], run->sandbox.policy->profile.defects, &report))
                return tell_report(&report, error);
            owned_fd_close(&run->control[0]);
        }
        if ((polled[LISTENER].revents & POLLIN) && notify_serve(&run->sandbox, error) != 0)
            return -1;
        /* Nobody is left to notify; poll would say so again and again. */
        if (polled[LISTENER].revents & ~POLLIN)
            polled[LISTENER].fd = -1;
        if (polled[PROCESS].revents)
            return 0;
    }
}

/* Whether processes of the sandbox are alive still, or dying. */
static bool is_populated(const struct run *run, int wait_ms)
{
    struct pollfd polled = {.fd = run->sandbox.listener, .events = 0};

    return run->sandbox.listener >= 0 && poll(&polled, 1, wait_ms) == 0;
}

/* From any state of the run. */
static void finish(struct run *run, struct process_result *result)
{
    if (run->sandbox.main > 0) {
        (void)kill(run->sandbox.main, SIGKILL); /* not reaped yet: the number is its own */
        result->status = children_reap(run->sandbox.main);
        owned_fd_close(&run->process); /* its number may be needed to list what is left */
        /* What it left is our children now. Each time some die, theirs become ours. */
        for (int wait_ms = 0; is_populated(run, wait_ms); wait_ms = LEFTOVERS_MS)
            children_kill_orphans();
    }
    owned_fd_close(&run->sandbox.listener);
    lazy_faults_end(&run->sandbox);
    shadow_clear(&run->sandbox);
    owned_fd_close(&run->process);
    for (int end = 0; end < 2; end++) {
        owned_fd_close(&run->control[end]);
        owned_fd_close(&run->channel[end]);
    }
}

/* What a sandbox has before it has a process. */
static int begin(struct run *run, struct error *error)
{
    const struct profile *profile = &run->sandbox.policy->profile;

    if (!profile->cow[0] || cow_begin(&run->sandbox.cow, profile, error) == 0)
        return 0;
    error->number = 0; /* it is not the command's fault */
    return -1;
}

/* What the command changed is not lost where it cannot be written back. */
static int commit(struct run *run, struct error *error)
{
    if (cow_commit(run->sandbox.cow, error) == 0)
        return 0;
    error->number = 0; /* it is not the command's fault */
    cow_keep(run->sandbox.cow, error);
    return -1;
}

int process_run(const struct policy *policy, const struct process_request *request,
                struct process_result *result, struct error *error)
{
    struct run run = {
        .sandbox = {.policy = policy,
                    .listener = -1,
                    .random = {policy->profile.seed},
                    .tell = request->tell},
        .process = -1,
        .control = {-1, -1},
        .channel = {-1, -1},
        .deadline_ms = request->timeout_ms > 0 ? now_ms() + request->timeout_ms : 0,
    };
    owned_memory char *path = NULL;
    boxledger_owner owner;
    int failed;

    *result = (struct process_result){0};
    path = command_find(policy->root, request->directory, request->command[0], request->environment,
                        error);
    if (!path)
        return -1;
    owner = boxledger_begin(request->label);
    (void)boxledger_enter(owner);
    failed = begin(&run, error);
    if (failed == 0)
        failed = start(&run, request, path, error);
    if (failed == 0)
        failed = serve(&run, result, error);
    finish(&run, result);
    if (failed == 0 && policy->profile.commits && process_exit_status(result) == 0)
        failed = commit(&run, error);
    cow_end(&run.sandbox.cow);
    result->notifications = run.sandbox.notifications;
    (void)boxledger_leave(owner);
    (void)boxledger_end(owner);
    return failed;
}

int process_exit_status(const struct process_result *result)
{
    if (result->timed_out)
        return STATUS_TIMED_OUT;
    if (WIFSIGNALED(result->status))
        return STATUS_SIGNAL_BASE + WTERMSIG(result->status);
    return WEXITSTATUS(result->status);
}

int process_error_status(const struct error *error)
{
    switch (error->number) {
    case ENOENT:
    case ENOTDIR:
        return STATUS_NOT_FOUND;
    case EACCES:
    case ENOEXEC:
        return STATUS_NOT_EXECUTABLE;
    default:
        return STATUS_FAILED;
    }
}
