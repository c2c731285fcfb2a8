/*
 * opens.c: see opens.h.
 */
#include "supervisor/opens.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "supervisor/cow_calls.h"
#include "supervisor/cow_walk.h"
#include "supervisor/lookup.h"
#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/policy.h"
#include "supervisor/proc.h"
#include "supervisor/redirect.h"
#include "supervisor/sandbox.h"
#include "supervisor/shadow.h"
#include "supervisor/virtual.h"

/* Linux's numbers of /dev/random and /dev/urandom: Documentation/admin-guide/devices.txt. */
#define MEMORY_MAJOR 1
#define RANDOM_MINOR 8
#define URANDOM_MINOR 9

/* The three calls in one form. */
struct open_request {
    int directory;
    uint64_t path;
    int flags;
    mode_t mode;
    unsigned argument; /* the number of the path */
};

static struct open_request read_request(const struct seccomp_data *data)
{
#ifdef SYS_open
    if (data->nr == SYS_open)
        return (struct open_request){AT_FDCWD, data->args[0], (int)data->args[1],
                                     (mode_t)data->args[2], 0};
    if (data->nr == SYS_creat)
        return (struct open_request){AT_FDCWD, data->args[0], O_CREAT | O_WRONLY | O_TRUNC,
                                     (mode_t)data->args[1], 0};
#endif
    return (struct open_request){(int)data->args[0], data->args[1], (int)data->args[2],
                                 (mode_t)data->args[3], 1};
}

static bool is_random(const struct stat *status)
{
    return S_ISCHR(status->st_mode) && major(status->st_rdev) == MEMORY_MAJOR &&
           (minor(status->st_rdev) == RANDOM_MINOR || minor(status->st_rdev) == URANDOM_MINOR);
}

static bool is_hostname(const struct policy *policy, const struct stat *status)
{
    return status->st_dev == policy->hostname_dev && status->st_ino == policy->hostname_ino;
}

/* Whether it would cut off a file that it opens for reading, which an old Landlock permits. */
static bool truncates_unseen(const struct policy *policy, int flags)
{
    return policy->refuses_truncation && (flags & O_TRUNC) && (flags & O_ACCMODE) == O_RDONLY;
}

/* What boxsup answers for itself; `target` may be -1. False: nothing was answered. */
static bool answer_virtual(const struct notification *notification, int target, int flags)
{
    const struct policy *policy = notification->sandbox->policy;
    struct stat status;

    if (target < 0 || fstat(target, &status) != 0 || (flags & O_PATH))
        return false;
    if (status.st_dev == policy->proc && S_ISREG(status.st_mode))
        proc_answer_open(notification, target, flags);
    else if (policy->profile.has_seed && is_random(&status))
        virtual_answer_random(notification, flags);
    else if (policy->profile.hostname && is_hostname(policy, &status))
        virtual_answer_hostname(notification, flags);
    else if (policy->profile.shadow[0] && S_ISREG(status.st_mode) &&
             shadow_is_meant(notification, target, flags))
        shadow_answer_open(notification, target, flags);
    else
        return false;
    return true;
}

/* With a copy-on-write directory: there, or virtual, or the kernel's by the path that is meant. */
static void answer_with_upper(const struct notification *notification,
                              const struct open_request *request, const char *path)
{
    owned_cow_place struct cow_place place = COW_PLACE_NONE;
    enum cow_follow follow = COW_FOLLOW;

    if (path[0] == 0) {
        notify_fail(notification, ENOENT);
        return;
    }
    if ((request->flags & O_CREAT) && path[strlen(path) - 1] == '/')
        follow = COW_NAME; /* of a directory, which cannot be made so */
    else if ((request->flags & O_NOFOLLOW) ||
             ((request->flags & O_CREAT) && (request->flags & O_EXCL)))
        follow = COW_NO_FOLLOW;
    cow_find(notification, request->directory, path, follow, &place);
    if (place.inside)
        cow_answer_open(notification, &place, request->flags, request->mode, request->argument);
    else if (!answer_virtual(notification, place.target, request->flags))
        cow_leave(notification, &place, request->argument);
}

void opens_answer(const struct notification *notification)
{
    const struct policy *policy = notification->sandbox->policy;
    struct open_request request = read_request(&notification->request.data);
    char path[PATH_MAX];
    owned_fd int target = -1;
    int failed;

    if (truncates_unseen(policy, request.flags)) {
        notify_fail(notification, EACCES);
        return;
    }
    failed = notify_read_text(notification, request.path, path, sizeof path);
    if (failed != 0) {
        notify_fail(notification, failed);
        return;
    }
    if (policy->root >= 0) {
        redirect_answer_open(notification, request.directory, path, request.flags,
                             request.argument);
        return;
    }
    if (notification->sandbox->cow) {
        answer_with_upper(notification, &request, path);
        return;
    }
    target = lookup_path(notification, request.directory, path, request.flags & O_NOFOLLOW);
    if (target < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
        notify_fail(notification, errno); /* ours; what it means is not known */
    else if (!answer_virtual(notification, target, request.flags))
        notify_continue(notification);
}
