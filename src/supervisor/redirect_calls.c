/*
 * redirect_calls.c: see redirect_calls.h. A row of the table for each call.
 */
#include "supervisor/redirect_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervisor/looks.h"
#include "supervisor/lookup.h"
#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/redirect.h"
#include "supervisor/redirect_program.h"
#include "supervisor/redo.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define NONE (-1)

/* Whether the path's last link is followed. */
enum follow {
    FOLLOW,
    NO_FOLLOW,
    UNLESS_FLAG, /* AT_SYMLINK_NOFOLLOW */
};

struct call;

struct row {
    int call;
    void (*give)(const struct call *call);
    int directory; /* the number of the argument, or NONE */
    int path;
    int flags; /* or NONE */
    enum follow follow;
};

struct call {
    const struct notification *notification;
    const struct row *row;
    const char *path;
    int directory;
    int flags;
    int target; /* O_PATH */
};

static void answer(const struct call *call, int64_t result)
{
    if (result < 0)
        notify_fail(call->notification, (int)-result);
    else
        notify_return(call->notification, result);
}

static void on_stat(const struct call *call)
{
    answer(call, looks_stat(call->notification, (unsigned)call->row->path + 1, call->target, NULL));
}

static void on_statx(const struct call *call)
{
    answer(call, looks_statx(call->notification, call->target, NULL));
}

static void on_access(const struct call *call)
{
    int mode = (int)call->notification->request.data.args[call->row->path + 1];
    int64_t result = looks_access(call->target, mode, call->flags);

    answer(call, result == 0 && (mode & W_OK) ? -EROFS : result);
}

static void on_readlink(const struct call *call)
{
    answer(call, looks_link(call->notification, (unsigned)call->row->path + 1, call->target));
}

/* The process does it. */
static void on_native(const struct call *call)
{
    char path[PATH_MAX];

    if (lookup_name(call->target, path, sizeof path))
        redo_call(call->notification, (unsigned)call->row->path, path);
    else
        notify_fail(call->notification, ENAMETOOLONG);
}

static void on_enter(const struct call *call)
{
    struct stat status;

    if (fstat(call->target, &status) == 0 && !S_ISDIR(status.st_mode))
        notify_fail(call->notification, ENOTDIR);
    else
        on_native(call);
}

static void on_execute(const struct call *call)
{
    redirect_program_execute(call->notification, call->directory, call->path, call->target);
}

static void give_directory(const struct notification *notification)
{
    owned_fd int directory = lookup_start(notification, AT_FDCWD);
    struct call call = {.notification = notification};
    char path[PATH_MAX];

    if (directory < 0 || !lookup_name(directory, path, sizeof path) ||
        !redirect_name_inside(notification, path, sizeof path))
        notify_continue(notification);
    else
        answer(&call, looks_directory(notification, path));
}

static const struct row rows[] = {
    {SYS_newfstatat, on_stat, 0, 1, 3, UNLESS_FLAG},
    {SYS_statx, on_statx, 0, 1, 2, UNLESS_FLAG},
    {SYS_faccessat, on_access, 0, 1, NONE, FOLLOW},
    {SYS_faccessat2, on_access, 0, 1, 3, UNLESS_FLAG},
    {SYS_readlinkat, on_readlink, 0, 1, NONE, NO_FOLLOW},
    {SYS_chdir, on_enter, NONE, 0, NONE, FOLLOW},
    {SYS_execve, on_execute, NONE, 0, NONE, FOLLOW},
    {SYS_execveat, on_execute, 0, 1, 4, UNLESS_FLAG},
    {SYS_statfs, on_native, NONE, 0, NONE, FOLLOW},
    {SYS_getcwd, NULL, NONE, NONE, NONE, FOLLOW},
#ifdef SYS_stat
    {SYS_stat, on_stat, NONE, 0, NONE, FOLLOW},
    {SYS_lstat, on_stat, NONE, 0, NONE, NO_FOLLOW},
    {SYS_access, on_access, NONE, 0, NONE, FOLLOW},
    {SYS_readlink, on_readlink, NONE, 0, NONE, NO_FOLLOW},
#endif
};

unsigned redirect_call_count(void)
{
    return COUNT(rows);
}

int redirect_call(unsigned index)
{
    return rows[index].call;
}

static const struct row *find_row(int call)
{
    for (size_t i = 0; i < COUNT(rows); i++)
        if (rows[i].call == call)
            return &rows[i];
    return NULL;
}

static bool follows(const struct call *call)
{
    return call->row->follow == FOLLOW ||
           (call->row->follow == UNLESS_FLAG && !(call->flags & AT_SYMLINK_NOFOLLOW));
}

/* The path is read. */
static void give(struct call *call)
{
    int flags = follows(call) ? 0 : O_NOFOLLOW;
    owned_fd int target = -1;
    int failed;

    /* A descriptor is what it is. */
    if (call->path[0] == 0 || redirect_is_machines(call->notification, call->path, flags)) {
        notify_continue(call->notification);
        return;
    }
    failed = redirect_find(call->notification, call->directory, call->path, flags, &target);
    if (failed != 0) {
        notify_fail(call->notification, failed);
        return;
    }
    call->target = target;
    call->row->give(call);
}

void redirect_answer(const struct notification *notification)
{
    const struct seccomp_data *data = &notification->request.data;
    const struct row *row = find_row(data->nr);
    char path[PATH_MAX];
    struct call call = {.notification = notification, .row = row, .path = path};
    int failed;

    if (row->path == NONE) {
        give_directory(notification);
        return;
    }
    call.directory = row->directory != NONE ? (int)data->args[row->directory] : AT_FDCWD;
    call.flags = row->flags != NONE ? (int)data->args[row->flags] : 0;
    failed = notify_read_text(notification, data->args[row->path], path, sizeof path);
    if (failed != 0)
        notify_fail(notification, failed);
    else
        give(&call);
}
