/*
 * stats.c: see stats.h. What is found out here is only told, so it does not matter whether the path
 * still says the same when the kernel reads it.
 */
#include "supervisor/stats.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "supervisor/cow_calls.h"
#include "supervisor/lookup.h"
#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/policy.h"
#include "supervisor/redirect_calls.h"
#include "supervisor/sandbox.h"
#include "supervisor/shadow.h"

/* The calls in one form. */
struct stat_request {
    int directory; /* or the descriptor that is meant */
    uint64_t path; /* 0: none */
    int flags;
};

static struct stat_request read_request(const struct seccomp_data *data)
{
    switch (data->nr) {
    case SYS_fstat:
        return (struct stat_request){(int)data->args[0], 0, 0};
    case SYS_newfstatat:
        return (struct stat_request){(int)data->args[0], data->args[1], (int)data->args[3]};
    case SYS_statx:
        return (struct stat_request){(int)data->args[0], data->args[1], (int)data->args[2]};
#ifdef SYS_lstat
    case SYS_lstat:
        return (struct stat_request){AT_FDCWD, data->args[0], AT_SYMLINK_NOFOLLOW};
#endif
    default:
        return (struct stat_request){AT_FDCWD, data->args[0], 0};
    }
}

static void look_at_descriptor(const struct notification *notification, int fd)
{
    char link[sizeof "/proc//fd/" + 3 * (sizeof(pid_t) + sizeof(int))];
    struct stat status;

    (void)snprintf(link, sizeof link, "/proc/%d/fd/%d", notify_thread(notification), fd);
    if (stat(link, &status) == 0)
        shadow_check_copy(notification->sandbox, &status);
}

static void look_at_path(const struct notification *notification,
                         const struct stat_request *request, const char *path)
{
    owned_fd int target =
        lookup_path(notification, request->directory, path, request->flags & AT_SYMLINK_NOFOLLOW);

    if (target >= 0)
        shadow_check_source(notification->sandbox, target);
}

void stats_answer(const struct notification *notification)
{
    struct stat_request request = read_request(&notification->request.data);
    char path[PATH_MAX] = "";

    if (notification->sandbox->cow) {
        cow_answer(notification);
        return;
    }
    if (notification->sandbox->policy->root >= 0) {
        redirect_answer(notification);
        return;
    }
    /* A path that cannot be read is the kernel's to refuse. */
    if (request.path == 0 ||
        (notify_read_text(notification, request.path, path, sizeof path) == 0 && path[0] == 0))
        look_at_descriptor(notification, request.directory);
    else if (path[0] != 0)
        look_at_path(notification, &request, path);
    notify_continue(notification);
}
