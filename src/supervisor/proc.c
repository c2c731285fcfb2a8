/*
 * proc.c: see proc.h.
 */
#include "supervisor/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/policy.h"
#include "supervisor/resolve.h"
#include "supervisor/sandbox.h"
#include "supervisor/virtual.h"

/* A line of /proc/PID/status is shorter. */
#define LINE_BYTES 256
#define NUMBER_BYTES (3 * sizeof(pid_t))
/* Until it is believed that a process above cannot be read: there is none above those that another
 * pid namespace has put here. */
#define CLIMBS 8

/* Of the machine. Read-only, and only if everybody may read them. Ends in '/': all below. */
static const char *const permitted[] = {
    "cgroups", "cmdline", "cpuinfo", "devices", "filesystems", "loadavg", "meminfo",  "misc",
    "stat",    "swaps",   "sys/",    "uptime",  "version",     "vmstat",  "zoneinfo",
};

/* The number behind a key of /proc/PID/status, or 0. */
static pid_t read_status(pid_t pid, const char *key)
{
    char path[sizeof "/proc//status" + NUMBER_BYTES];
    char line[LINE_BYTES];
    owned_file FILE *file = NULL;

    (void)snprintf(path, sizeof path, "/proc/%d/status", pid);
    file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0)
            return (pid_t)strtol(line + strlen(key), NULL, 10);
    return 0;
}

pid_t proc_process_of(pid_t thread)
{
    return read_status(thread, "Tgid:");
}

/* Which process above it, or itself, is the sandbox's first or none of a sandbox's; 0: one could
 * not be read. */
static pid_t climb(const struct sandbox *sandbox, pid_t pid)
{
    pid = proc_process_of(pid);
    while (pid > 1 && pid != sandbox->main)
        pid = read_status(pid, "PPid:");
    return pid;
}

/* Whether a process is the sandbox's first or below it. While we climb a parent may die, and its
 * children have another one then. */
static bool is_inside(const struct sandbox *sandbox, pid_t pid)
{
    pid_t top = climb(sandbox, pid);

    for (unsigned climbs = 1; top == 0 && climbs < CLIMBS; climbs++)
        top = climb(sandbox, pid);
    return top == sandbox->main;
}

/* What is behind a prefix that ends before a '/', or NULL. */
static const char *skip_directory(const char *path, const char *prefix)
{
    size_t length = strlen(prefix);

    return strncmp(path, prefix, length) == 0 && path[length] == '/' ? path + length : NULL;
}

const char *proc_own_path(const struct notification *notification, const char *path, char *space,
                          size_t bytes)
{
    const char *rest = skip_directory(path, "/proc/self");
    pid_t thread = notify_thread(notification);

    if (rest) {
        (void)snprintf(space, bytes, "/proc/%d%s", proc_process_of(thread), rest);
        return space;
    }
    rest = skip_directory(path, "/proc/thread-self");
    if (rest) {
        (void)snprintf(space, bytes, "/proc/%d/task/%d%s", proc_process_of(thread), thread, rest);
        return space;
    }
    return path;
}

/* A file below the directory of a process: `rest` is behind its number. Found through a link such
 * as /etc/mtab, `self` was boxsup's own, and is the asking process's. */
static void answer_process(const struct notification *notification, pid_t pid, const char *rest,
                           int flags)
{
    char path[sizeof "/proc/" + NUMBER_BYTES];
    owned_fd int directory = -1;
    owned_fd int fd = -1;

    if (pid == getpid())
        pid = proc_process_of(notify_thread(notification));
    (void)snprintf(path, sizeof path, "/proc/%d", pid);
    directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    /* Asked after the directory is open, which stays that of one process. */
    if (directory < 0 || !is_inside(notification->sandbox, pid)) {
        notify_fail(notification, EACCES);
        return;
    }
    fd = resolve_open(directory, rest, O_RDONLY | O_NOCTTY | O_NONBLOCK,
                      RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    if (fd < 0) {
        notify_fail(notification, errno);
        return;
    }
    notify_inject(notification, fd, flags & O_CLOEXEC);
}

static bool is_permitted(const char *name)
{
    for (size_t i = 0; i < sizeof permitted / sizeof permitted[0]; i++) {
        size_t length = strlen(permitted[i]);

        if (permitted[i][length - 1] == '/' ? strncmp(name, permitted[i], length) == 0
                                            : strcmp(name, permitted[i]) == 0)
            return true;
    }
    return false;
}

/* One of the machine's, as it is. */
static void answer_machine(const struct notification *notification, int target, const char *name,
                           int flags)
{
    char path[sizeof "/proc/self/fd/" + NUMBER_BYTES];
    owned_fd int fd = -1;
    struct stat status;

    if (!is_permitted(name) || fstat(target, &status) != 0 || !(status.st_mode & S_IROTH)) {
        notify_fail(notification, EACCES);
        return;
    }
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", target);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        notify_fail(notification, errno);
        return;
    }
    notify_inject(notification, fd, flags & O_CLOEXEC);
}

/* net of a process or of its thread: `rest` is behind the process's number. */
static const char *network_name(const char *rest)
{
    const char *name = skip_directory(rest, "task");

    if (name) {
        name = strchr(name + 1, '/');
        rest = name ? name + 1 : "";
    }
    name = skip_directory(rest, "net");
    return name ? name + 1 : NULL;
}

void proc_answer_open(const struct notification *notification, int target, int flags)
{
    char link[sizeof "/proc/self/fd/" + NUMBER_BYTES];
    char path[PATH_MAX];
    const char *name = NULL;
    char *rest = NULL;
    ssize_t length;
    long pid;

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", target);
    length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    name = skip_directory(path, "/proc");
    /* Another /proc than ours, or one for writing. */
    if (!name || (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)) {
        notify_fail(notification, EACCES);
        return;
    }
    name++;
    pid = strtol(name, &rest, 10);
    if (pid > 0 && pid <= INT_MAX && *rest == '/') {
        const char *network = network_name(rest + 1);

        if (network)
            virtual_answer_network(notification, target, network, flags);
        else
            answer_process(notification, (pid_t)pid, rest + 1, flags);
    } else if (!virtual_answer_proc(notification, name, flags)) {
        answer_machine(notification, target, name, flags);
    }
}
