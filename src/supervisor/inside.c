/*
 * inside.c: see inside.h.
 */
#include "supervisor/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervisor/defects.h"
#include "supervisor/policy.h"
#include "supervisor/privileges.h"
#include "supervisor/status.h"

static void write_all(int fd, const void *bytes, size_t count)
{
    const char *from = bytes;

    while (count > 0) {
        ssize_t written = write(fd, from, count);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return; /* nobody listens any more */
        from += written;
        count -= (size_t)written;
    }
}

static _Noreturn void fail(const struct inside *inside, enum inside_stage stage, const char *what)
{
    struct inside_report report = {{0}, (int)stage, errno};
    size_t length = what ? strnlen(what, sizeof report.what - 1) : 0;

    if (length > 0)
        memcpy(report.what, what, length);
    write_all(inside->control, &report, sizeof report);
    _exit(STATUS_FAILED);
}

/* Signals are as a new program expects them, whatever the supervisor does with its own. */
static void reset_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        (void)sigaction(number, &action, NULL); /* fails for those that cannot be caught */
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool set_stdio(const struct inside *inside)
{
    for (int number = 0; number < 3; number++)
        if (inside->stdio[number] >= 0 && dup2(inside->stdio[number], number) < 0)
            return false;
    return true;
}

static bool set_limits(const struct profile *profile)
{
    const struct rlimit no_core = {0, 0};
    const struct rlimit memory = {profile->memory, profile->memory};

    return setrlimit(RLIMIT_CORE, &no_core) == 0 &&
           (profile->memory == 0 || setrlimit(RLIMIT_DATA, &memory) == 0);
}

static bool send_listener(int channel, int listener)
{
    char byte = 0;
    struct iovec bytes = {&byte, sizeof byte};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.space = {0}};
    struct msghdr message = {
        .msg_iov = &bytes,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };

    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof listener);
    memcpy(CMSG_DATA(&control.header), &listener, sizeof listener);
    return sendmsg(channel, &message, MSG_NOSIGNAL) == (ssize_t)sizeof byte;
}

_Noreturn void inside_run(const struct inside *inside)
{
    const struct profile *profile = &inside->policy->profile;
    int listener;

    reset_signals();
    /* The command dies with its supervisor, which may have died before this line. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != inside->supervisor)
        fail(inside, INSIDE_PRIVILEGES, NULL);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !privileges_drop())
        fail(inside, INSIDE_PRIVILEGES, NULL);
    if (!set_stdio(inside))
        fail(inside, INSIDE_STDIO, NULL);
    if (inside->policy->root >= 0 && fchdir(inside->policy->root) != 0)
        fail(inside, INSIDE_DIRECTORY, profile->root);
    if (inside->start >= 0 ? fchdir(inside->start) != 0
                           : inside->directory && chdir(inside->directory) != 0)
        fail(inside, INSIDE_DIRECTORY, inside->directory);
    if (!set_limits(profile))
        fail(inside, INSIDE_LIMITS, NULL);
    if (syscall(SYS_landlock_restrict_self, inside->ruleset, 0) != 0)
        fail(inside, INSIDE_LANDLOCK, NULL);
    /* All of the supervisor's close by themselves. This is for those of whoever started it. */
    if (!(profile->defects & DEFECT_PIPE_NO_CLOEXEC))
        (void)syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
    listener = filter_install(&inside->policy->filter);
    if (listener < 0)
        fail(inside, INSIDE_FILTER, NULL);
    if (!send_listener(inside->channel, listener))
        fail(inside, INSIDE_LISTENER, NULL);
    (void)close(listener);
    execve(inside->path, inside->command, inside->environment);
    fail(inside, INSIDE_COMMAND, inside->path);
}
