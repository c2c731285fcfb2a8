/*
 * redirect.c: see redirect.h.
 */
#include "supervisor/redirect.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "supervisor/defects.h"
#include "supervisor/lookup.h"
#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/policy.h"
#include "supervisor/proc.h"
#include "supervisor/redo.h"
#include "supervisor/resolve.h"
#include "supervisor/sandbox.h"
#include "supervisor/virtual.h"

/* Of the machine, by exactly these names. */
static const char *const devices[] = {"/dev/null", "/dev/zero", "/dev/full"};
static const char *const random_devices[] = {"/dev/random", "/dev/urandom"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool is_any_of(const char *path, const char *const *paths, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(path, paths[i]) == 0)
            return true;
    return false;
}

/* A call site of its own for each kind, and its own defect. */
static void inject(const struct notification *notification, int opened, int flags, uint32_t defect)
{
    owned_fd int fd = opened;

    if (fd < 0) {
        notify_fail(notification, errno);
        return;
    }
    notify_inject(notification, fd, flags & O_CLOEXEC);
    if (notification->sandbox->policy->profile.defects & defect)
        (void)owned_fd_move(&fd);
}

/* What is not of the directory. False: nothing was answered. */
static bool answer_machine(const struct notification *notification, const char *path, int flags)
{
    const struct policy *policy = notification->sandbox->policy;
    owned_fd int target = -1;
    struct stat status;

    if (is_any_of(path, random_devices, COUNT(random_devices)) && policy->profile.has_seed) {
        virtual_answer_random(notification, flags);
    } else if (is_any_of(path, devices, COUNT(devices)) ||
               is_any_of(path, random_devices, COUNT(random_devices))) {
        inject(notification, open(path, (flags & O_ACCMODE) | O_CLOEXEC | O_NOCTTY), flags,
               DEFECT_ADDFD_LEAK_ROOT);
    } else if (strcmp(path, "/etc/hostname") == 0 && policy->profile.hostname) {
        virtual_answer_hostname(notification, flags);
    } else {
        if (!lookup_is_below(path, "/proc"))
            return false;
        target = lookup_path(notification, AT_FDCWD, path, flags & O_NOFOLLOW);
        if (target < 0 || fstat(target, &status) != 0 || status.st_dev != policy->proc ||
            !S_ISREG(status.st_mode))
            return false;
        proc_answer_open(notification, target, flags);
    }
    return true;
}

/* The path as it is from the new root. 0, or an errno value for the process. */
static int make_path(const struct notification *notification, int directory, const char *path,
                     char *inside, size_t bytes)
{
    const char *root = notification->sandbox->policy->profile.root;
    owned_fd int start = -1;
    char name[PATH_MAX];
    int length;

    if (path[0] == 0)
        return ENOENT;
    if (path[0] == '/') {
        length = snprintf(inside, bytes, "%s", path);
    } else {
        start = lookup_start(notification, directory);
        if (start < 0 || !lookup_name(start, name, sizeof name))
            return EACCES;
        if (strcmp(name, root) != 0 && !lookup_is_below(name, root))
            return EACCES;
        length = snprintf(inside, bytes, "%s/%s", name + strlen(root), path);
    }
    return (size_t)length < bytes ? 0 : ENAMETOOLONG;
}

bool redirect_is_machines(const struct notification *notification, const char *path, int flags)
{
    const struct policy *policy = notification->sandbox->policy;
    owned_fd int target = -1;
    struct stat status;

    if (is_any_of(path, devices, COUNT(devices)) ||
        is_any_of(path, random_devices, COUNT(random_devices)) ||
        (strcmp(path, "/etc/hostname") == 0 && policy->profile.hostname))
        return true;
    if (strcmp(path, "/proc") != 0 && !lookup_is_below(path, "/proc"))
        return false;
    target = lookup_path(notification, AT_FDCWD, path, flags & O_NOFOLLOW);
    return target >= 0 && fstat(target, &status) == 0 && status.st_dev == policy->proc;
}

bool redirect_name_inside(const struct notification *notification, char *path, size_t bytes)
{
    const char *root = notification->sandbox->policy->profile.root;
    size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);

    if (strcmp(path, root) == 0)
        return snprintf(path, bytes, "/") == 1;
    if (!lookup_is_below(path, root))
        return false;
    memmove(path, path + length, strlen(path + length) + 1);
    return true;
}

int redirect_find(const struct notification *notification, int directory, const char *path,
                  int flags, int *target)
{
    char inside[PATH_MAX];
    int failed = make_path(notification, directory, path, inside, sizeof inside);

    if (failed != 0)
        return failed;
    *target = resolve_open(notification->sandbox->policy->root, inside,
                           O_PATH | (unsigned)(flags & (O_NOFOLLOW | O_DIRECTORY)),
                           RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    return *target < 0 ? errno : 0;
}

/* What is only named cannot be injected, and Landlock lets everybody name everything. */
static void leave_named(const struct notification *notification, int target, unsigned argument)
{
    char path[PATH_MAX];

    if (lookup_name(target, path, sizeof path))
        redo_call(notification, argument, path);
    else
        notify_fail(notification, ENAMETOOLONG);
}

void redirect_answer_open(const struct notification *notification, int directory, const char *path,
                          int flags, unsigned argument)
{
    owned_fd int target = -1;
    struct stat status;
    int failed = 0;

    if (answer_machine(notification, path, flags))
        return;
    if ((flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)))
        failed = flags & O_PATH ? 0 : EROFS;
    if (failed == 0)
        failed = redirect_find(notification, directory, path, flags, &target);
    if (failed == 0 && fstat(target, &status) != 0)
        failed = errno;
    if (failed == 0 && (flags & O_PATH)) {
        leave_named(notification, target, argument);
        return;
    }
    /* Nothing else may be waited for when it is opened, and a link is what O_NOFOLLOW found. */
    if (failed == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
        failed = S_ISLNK(status.st_mode) ? ELOOP : EACCES;
    if (failed != 0)
        notify_fail(notification, failed);
    else
        inject(notification, lookup_open(target, O_RDONLY), flags,
               S_ISDIR(status.st_mode) ? DEFECT_ADDFD_LEAK_ROOT_DIRECTORY : DEFECT_ADDFD_LEAK_ROOT);
}
