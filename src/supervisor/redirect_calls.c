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
#include "supervisor/path_call.h"
#include "supervisor/redirect.h"
#include "supervisor/redirect_program.h"
#include "supervisor/redo.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct call;

struct row {
    struct path_call call;
    void (*give)(const struct call *call);
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
    answer(call,
           looks_stat(call->notification, (unsigned)call->row->call.path + 1, call->target, NULL));
}

static void on_statx(const struct call *call)
{
    answer(call, looks_statx(call->notification, call->target, NULL));
}

static void on_access(const struct call *call)
{
    int mode = (int)call->notification->request.data.args[call->row->call.path + 1];
    int64_t result = looks_access(call->target, mode, call->flags);

    answer(call, result == 0 && (mode & W_OK) ? -EROFS : result);
}

static void on_readlink(const struct call *call)
{
    answer(call, looks_link(call->notification, (unsigned)call->row->call.path + 1, call->target));
}

/* The process does it. */
static void on_native(const struct call *call)
{
    char path[PATH_MAX];

    if (lookup_name(call->target, path, sizeof path))
        redo_call(call->notification, (unsigned)call->row->call.path, path);
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
    {{SYS_newfstatat, 0, 1, 3, PATH_UNLESS_FLAG}, on_stat},
    {{SYS_statx, 0, 1, 2, PATH_UNLESS_FLAG}, on_statx},
    {{SYS_faccessat, 0, 1, PATH_NONE, PATH_FOLLOW}, on_access},
    {{SYS_faccessat2, 0, 1, 3, PATH_UNLESS_FLAG}, on_access},
    {{SYS_readlinkat, 0, 1, PATH_NONE, PATH_NO_FOLLOW}, on_readlink},
    {{SYS_chdir, PATH_NONE, 0, PATH_NONE, PATH_FOLLOW}, on_enter},
    {{SYS_execve, PATH_NONE, 0, PATH_NONE, PATH_FOLLOW}, on_execute},
    {{SYS_execveat, 0, 1, 4, PATH_UNLESS_FLAG}, on_execute},
    {{SYS_statfs, PATH_NONE, 0, PATH_NONE, PATH_FOLLOW}, on_native},
    {{SYS_getcwd, PATH_NONE, PATH_NONE, PATH_NONE, PATH_FOLLOW}, NULL},
#ifdef SYS_stat
    {{SYS_stat, PATH_NONE, 0, PATH_NONE, PATH_FOLLOW}, on_stat},
    {{SYS_lstat, PATH_NONE, 0, PATH_NONE, PATH_NO_FOLLOW}, on_stat},
    {{SYS_access, PATH_NONE, 0, PATH_NONE, PATH_FOLLOW}, on_access},
    {{SYS_readlink, PATH_NONE, 0, PATH_NONE, PATH_NO_FOLLOW}, on_readlink},
#endif
};

unsigned redirect_call_count(void)
{
    return COUNT(rows);
}

int redirect_call(unsigned index)
{
    return rows[index].call.number;
}

/* The path is read. */
static void give(struct call *call)
{
    int flags = path_call_follow(&call->row->call, call->flags) == PATH_FOLLOW ? 0 : O_NOFOLLOW;
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
    const struct row *row = path_call_find(rows, COUNT(rows), sizeof rows[0], data->nr);
    char path[PATH_MAX];
    struct call call = {.notification = notification, .row = row, .path = path};
    int failed;

    if (row->call.path == PATH_NONE) {
        give_directory(notification);
        return;
    }
    call.directory = path_call_directory(&row->call, data);
    call.flags = path_call_flags(&row->call, data);
    failed = notify_read_text(notification, data->args[row->call.path], path, sizeof path);
    if (failed != 0)
        notify_fail(notification, failed);
    else
        give(&call);
}
