/*
 * lookup.c: see lookup.h.
 */
#include "supervisor/lookup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/proc.h"
#include "supervisor/resolve.h"

#define NUMBER_BYTES (3 * sizeof(int))

int lookup_start(const struct notification *notification, int directory)
{
    char path[sizeof "/proc//fd/" + 2 * NUMBER_BYTES];

    if (directory == AT_FDCWD)
        (void)snprintf(path, sizeof path, "/proc/%d/cwd", notify_thread(notification));
    else
        (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", notify_thread(notification), directory);
    return open(path, O_PATH | O_CLOEXEC);
}

int lookup_path(const struct notification *notification, int directory, const char *path,
                bool no_follow)
{
    owned_fd int start = -1;
    char own[PATH_MAX];

    if (path[0] != '/') {
        start = lookup_start(notification, directory);
        if (start < 0)
            return -1;
    }
    path = proc_own_path(notification, path, own, sizeof own);
    return resolve_open(start, path, O_PATH | (no_follow ? O_NOFOLLOW : 0), RESOLVE_NO_MAGICLINKS);
}

bool lookup_name(int fd, char *path, size_t bytes)
{
    char link[sizeof "/proc/self/fd/" + NUMBER_BYTES];
    ssize_t length;

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, bytes);
    if (length < 0 || (size_t)length == bytes)
        return false;
    path[length] = 0;
    return path[0] == '/';
}

int lookup_open(int fd, int flags)
{
    char link[sizeof "/proc/self/fd/" + NUMBER_BYTES];

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return open(link, flags | O_CLOEXEC);
}

bool lookup_has_our_user(const struct notification *notification)
{
    char path[sizeof "/proc/" + NUMBER_BYTES];
    struct stat status;

    (void)snprintf(path, sizeof path, "/proc/%d", notify_thread(notification));
    return stat(path, &status) == 0 && status.st_uid == geteuid();
}

bool lookup_is_below(const char *path, const char *directory)
{
    size_t length = strlen(directory);

    return strncmp(path, directory, length) == 0 &&
           (path[length] == '/' || (length > 0 && directory[length - 1] == '/'));
}
