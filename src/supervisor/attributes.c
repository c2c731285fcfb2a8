/*
 * attributes.c: see attributes.h.
 */
#include "supervisor/attributes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "supervisor/cow_calls.h"
#include "supervisor/cow_layer.h"
#include "supervisor/lookup.h"
#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/policy.h"
#include "supervisor/sandbox.h"

#define NUMBER_BYTES (3 * sizeof(int))

enum attribute { MODE, OWNER, TIMES };

/* The calls in one form. */
struct change {
    enum attribute what;
    int directory;      /* or the descriptor that is meant */
    uint64_t path;      /* 0: none */
    uint64_t values[2]; /* the mode; user and group; the times' address */
    int flags;          /* AT_... */
};

static struct change read_change(const struct seccomp_data *data)
{
    const __u64 *args = data->args;

    switch (data->nr) {
    case SYS_fchmod:
        return (struct change){MODE, (int)args[0], 0, {args[1]}, 0};
    case SYS_fchmodat:
        return (struct change){MODE, (int)args[0], args[1], {args[2]}, 0};
    case SYS_fchown:
        return (struct change){OWNER, (int)args[0], 0, {args[1], args[2]}, 0};
    case SYS_fchownat:
        return (struct change){OWNER, (int)args[0], args[1], {args[2], args[3]}, (int)args[4]};
#ifdef SYS_chmod
    case SYS_chmod:
        return (struct change){MODE, AT_FDCWD, args[0], {args[1]}, 0};
    case SYS_chown:
        return (struct change){OWNER, AT_FDCWD, args[0], {args[1], args[2]}, 0};
    case SYS_lchown:
        return (struct change){OWNER, AT_FDCWD, args[0], {args[1], args[2]}, AT_SYMLINK_NOFOLLOW};
#endif
    default: /* utimensat */
        return (struct change){TIMES, (int)args[0], args[1], {args[2]}, (int)args[3]};
    }
}

/* The file that is meant, as an O_PATH descriptor. 0, or an errno value. */
static int find_target(const struct notification *notification, const struct change *change,
                       bool *in_upper, int *target)
{
    char path[PATH_MAX] = "";
    int failed = 0;

    if (change->path != 0)
        failed = notify_read_text(notification, change->path, path, sizeof path);
    if (failed != 0)
        return failed;
    if (change->path != 0 && path[0] == 0 && !(change->flags & AT_EMPTY_PATH))
        return ENOENT;
    if (notification->sandbox->cow)
        return cow_find_for_change(notification, change->directory, path,
                                   change->flags & AT_SYMLINK_NOFOLLOW, in_upper, target);
    *target = path[0] == 0 ? lookup_start(notification, change->directory)
                           : lookup_path(notification, change->directory, path,
                                         change->flags & AT_SYMLINK_NOFOLLOW);
    if (*target >= 0)
        return 0;
    return errno == ELOOP ? EPERM : errno;
}

static bool is_writable(const struct profile *profile, int target)
{
    char name[PATH_MAX];

    if (!lookup_name(target, name, sizeof name))
        return false;
    for (size_t i = 0; i < profile->writable_count; i++)
        if (strcmp(name, profile->writable[i]) == 0 || lookup_is_below(name, profile->writable[i]))
            return true;
    return false;
}

static int set_times(const struct notification *notification, const struct change *change,
                     const char *link)
{
    struct timespec times[2];
    int failed = 0;

    if (change->values[0] != 0)
        failed = notify_read(notification, change->values[0], times, sizeof times);
    if (failed != 0)
        return failed;
    return utimensat(AT_FDCWD, link, change->values[0] != 0 ? times : NULL, 0) == 0 ? 0 : errno;
}

/* Returns 0, or an errno value. */
static int apply(const struct notification *notification, const struct change *change, int target)
{
    char link[sizeof "/proc/self/fd/" + NUMBER_BYTES];

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", target);
    switch (change->what) {
    case MODE:
        return chmod(link, (mode_t)change->values[0]) == 0 ? 0 : errno;
    case OWNER:
        return fchownat(target, "", (uid_t)change->values[0], (gid_t)change->values[1],
                        AT_EMPTY_PATH) == 0
                   ? 0
                   : errno;
    default:
        return set_times(notification, change, link);
    }
}

/* The same of a file of the upper layer, where some modes have a meaning of their own. */
static int apply_in_upper(const struct notification *notification, struct change *change,
                          int target)
{
    struct stat status;

    if (fstat(target, &status) != 0)
        return errno;
    if (change->what == MODE)
        change->values[0] = cow_mode((mode_t)change->values[0], S_ISDIR(status.st_mode));
    return apply(notification, change, target);
}

void attributes_answer(const struct notification *notification)
{
    struct change change = read_change(&notification->request.data);
    owned_fd int target = -1;
    bool in_upper = false;
    int failed = find_target(notification, &change, &in_upper, &target);

    if (failed == 0 &&
        (!lookup_has_our_user(notification) ||
         (!in_upper && !is_writable(&notification->sandbox->policy->profile, target))))
        failed = EPERM;
    if (failed == 0)
        failed = in_upper ? apply_in_upper(notification, &change, target)
                          : apply(notification, &change, target);
    if (failed == 0)
        notify_return(notification, 0);
    else
        notify_fail(notification, failed);
}
