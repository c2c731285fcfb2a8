/*
 * cow_calls.c: see cow_calls.h. A row of the table for each call, and a function that does it.
 */
#include "supervisor/cow_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervisor/children.h"
#include "supervisor/cow.h"
#include "supervisor/cow_layer.h"
#include "supervisor/cow_walk.h"
#include "supervisor/defects.h"
#include "supervisor/looks.h"
#include "supervisor/lookup.h"
#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/path_call.h"
#include "supervisor/policy.h"
#include "supervisor/proc.h"
#include "supervisor/redo.h"
#include "supervisor/sandbox.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define NUMBER_BYTES (3 * sizeof(int))

/* Linux 6.13; newer than Debian 12's headers. */
enum {
    CALL_GETXATTRAT = 464,
    CALL_LISTXATTRAT = 465,
};

/* What a function returns that leaves the call to the kernel: no result and no -errno. */
#define NATIVE INT64_MIN

struct call;

struct row {
    struct path_call call;
    bool may_be_missing; /* the name may be free */
    int64_t (*give)(struct call *call);
};

struct call {
    const struct notification *notification;
    const __u64 *args;
    struct cow *cow;
    const struct row *row;
    int flags;
    struct cow_place place;
};

/* --- what the functions share ----------------------------------------------------------------- */

/* The process's file mode creation mask. */
static mode_t mask_of(const struct notification *notification)
{
    char path[sizeof "/proc//status" + NUMBER_BYTES];
    char line[256];
    owned_file FILE *file = NULL;
    unsigned mask = S_IRWXG | S_IRWXO;

    (void)snprintf(path, sizeof path, "/proc/%d/status", notify_thread(notification));
    file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Umask: %o", &mask) == 1)
            break;
    return mask;
}

static int64_t result_of(int returned)
{
    return returned == 0 ? 0 : -errno;
}

/* A file that stands for one becomes a real one, which is the place's target then. */
static int make_real(struct cow *cow, struct cow_place *place, bool empty)
{
    int failed;

    if (!cow_stands_for(&place->status))
        return 0;
    if (S_ISDIR(place->status.st_mode)) {
        failed = cow_fill(cow, place->target);
    } else {
        failed = cow_copy_up(cow, place->parent, place->name, empty);
        if (failed == 0)
            owned_fd_replace(&place->target,
                             openat(place->parent, place->name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
    }
    if (failed == 0 && fstat(place->target, &place->status) != 0)
        failed = errno;
    return failed;
}

/* --- looking ---------------------------------------------------------------------------------- */

static int open_meant(const struct call *call)
{
    return cow_open_meant(call->cow, call->place.parent, call->place.name, call->place.target);
}

/* A directory has the number of its own, which stays the same when it is filled. */
static const struct stat *number_of(const struct call *call)
{
    return S_ISDIR(call->place.status.st_mode) ? &call->place.status : NULL;
}

static int64_t on_stat(struct call *call)
{
    owned_fd int meant = open_meant(call);

    return meant < 0 ? -errno
                     : looks_stat(call->notification, (unsigned)call->row->call.path + 1, meant,
                                  number_of(call));
}

static int64_t on_statx(struct call *call)
{
    owned_fd int meant = open_meant(call);

    return meant < 0 ? -errno : looks_statx(call->notification, meant, number_of(call));
}

static int64_t on_access(struct call *call)
{
    int mode = (int)call->args[call->row->call.path + 1];
    owned_fd int meant = open_meant(call);
    int64_t result;

    if (meant < 0)
        return -errno;
    result = looks_access(meant, mode, call->flags);
    /* What is below is not what would be written to. */
    return result == -EROFS ? looks_access(meant, mode & ~W_OK, call->flags) : result;
}

static int64_t on_readlink(struct call *call)
{
    return looks_link(call->notification, (unsigned)call->row->call.path + 1, call->place.target);
}

/* A path in `tree` is one in DIR. False: it is none. */
static bool name_outside(const struct cow *cow, char *path, size_t bytes)
{
    size_t length = strlen(cow->tree_path);
    char whole[PATH_MAX];

    if (strcmp(path, cow->tree_path) != 0 && !lookup_is_below(path, cow->tree_path))
        return false;
    if ((size_t)snprintf(whole, sizeof whole, "%s%s", cow->profile->cow, path + length) >= bytes)
        return false;
    memcpy(path, whole, strlen(whole) + 1);
    return true;
}

/* A link of /proc to what is in `tree`: a process's own directory, or what it has open. */
static int64_t on_readlink_outside(struct call *call)
{
    char text[PATH_MAX];
    ssize_t length = -1;

    if (call->place.target >= 0 && S_ISLNK(call->place.status.st_mode) &&
        call->place.status.st_dev == call->notification->sandbox->policy->proc)
        length = readlinkat(call->place.target, "", text, sizeof text - 1);
    if (length < 0)
        return NATIVE;
    text[length] = 0;
    return name_outside(call->cow, text, sizeof text)
               ? looks_text(call->notification, (unsigned)call->row->call.path + 1, text,
                            strlen(text))
               : NATIVE;
}

static int64_t on_getcwd(struct call *call)
{
    owned_fd int directory = lookup_start(call->notification, AT_FDCWD);
    char path[PATH_MAX];

    if (directory < 0 || !lookup_name(directory, path, sizeof path) ||
        !name_outside(call->cow, path, sizeof path))
        return NATIVE;
    if (faccessat(directory, ".", F_OK, 0) != 0 && errno == ENOENT)
        return -ENOENT;
    return looks_directory(call->notification, path);
}

static int64_t on_attributes(struct call *call)
{
    (void)call;
    return -ENOTSUP;
}

/* --- what the process does itself ------------------------------------------------------------- */

static int64_t on_enter(struct call *call)
{
    int failed;

    if (!S_ISDIR(call->place.status.st_mode))
        return -ENOTDIR;
    failed = make_real(call->cow, &call->place, false);
    return failed == 0 ? NATIVE : -failed;
}

static int64_t on_native(struct call *call)
{
    int failed = make_real(call->cow, &call->place, false);

    return failed == 0 ? NATIVE : -failed;
}

/* --- changing --------------------------------------------------------------------------------- */

static int64_t on_mkdir(struct call *call)
{
    const struct cow_place *place = &call->place;
    mode_t mode = (mode_t)call->args[call->row->call.path + 1] & ~mask_of(call->notification);

    if (place->target >= 0)
        return -EEXIST;
    if (mkdirat(place->parent, place->name, S_IRWXU) != 0)
        return -errno;
    return result_of(fchmodat(place->parent, place->name, cow_mode(mode, true), 0));
}

/* Whether something that is no directory cannot be made here: an errno value. */
static int is_taken(const struct cow_place *place)
{
    return place->target >= 0 ? EEXIST : place->slash ? ENOENT : 0;
}

/* Makes an empty file. 0, or an errno value. */
static int make_file(const struct cow_place *place, mode_t mode)
{
    owned_fd int fd =
        openat(place->parent, place->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
               S_IRUSR | S_IWUSR);

    return fd >= 0 && fchmod(fd, cow_mode(mode, false)) == 0 ? 0 : errno;
}

static int64_t on_mknod(struct call *call)
{
    mode_t mode = (mode_t)call->args[call->row->call.path + 1];
    int failed = is_taken(&call->place);

    if (failed != 0)
        return -failed;
    if ((mode & S_IFMT) != 0 && !S_ISREG(mode))
        return -EPERM;
    children_hold_forks();
    failed = make_file(&call->place, mode & ~mask_of(call->notification));
    children_permit_forks();
    return -failed;
}

/* The path is the second of two, and the first one a text. */
static int64_t on_symlink(struct call *call)
{
    const struct cow_place *place = &call->place;
    char text[PATH_MAX];
    int failed;

    if (is_taken(place) != 0)
        return -is_taken(place);
    failed = notify_read_text(call->notification, call->args[0], text, sizeof text);
    if (failed != 0)
        return -failed;
    return result_of(symlinkat(text, place->parent, place->name));
}

static int remove_name(struct cow *cow, const struct cow_place *place, int flags)
{
    char path[PATH_MAX];
    int failed = cow_relative(cow, place->parent, place->name, path, sizeof path);

    if (failed == 0 && unlinkat(place->parent, place->name, flags) != 0)
        failed = errno;
    return failed == 0 ? cow_note_removed(cow, path) : failed;
}

static int64_t remove_directory(struct call *call)
{
    struct cow_place *place = &call->place;
    int failed;

    if (!S_ISDIR(place->status.st_mode))
        return -ENOTDIR;
    if (strcmp(place->name, ".") == 0)
        return -EBUSY;                           /* DIR itself, or a path that ends in a dot */
    failed = make_real(call->cow, place, false); /* to see whether it is empty */
    return -(failed == 0 ? remove_name(call->cow, place, AT_REMOVEDIR) : failed);
}

static int64_t on_rmdir(struct call *call)
{
    return remove_directory(call);
}

static int64_t on_unlink(struct call *call)
{
    if (call->flags & AT_REMOVEDIR)
        return remove_directory(call);
    if (S_ISDIR(call->place.status.st_mode))
        return -EISDIR;
    if (call->place.slash)
        return -ENOTDIR;
    return -remove_name(call->cow, &call->place, 0);
}

static int cut_off(int target, off_t length)
{
    owned_fd int fd = lookup_open(target, O_WRONLY | O_NONBLOCK);

    return fd >= 0 && ftruncate(fd, length) == 0 ? 0 : errno;
}

static int64_t on_truncate(struct call *call)
{
    off_t length = (off_t)call->args[1];
    int failed;

    if (S_ISDIR(call->place.status.st_mode))
        return -EISDIR;
    failed = make_real(call->cow, &call->place, length == 0);
    if (failed != 0)
        return -failed;
    children_hold_forks();
    failed = cut_off(call->place.target, length);
    children_permit_forks();
    return -failed;
}

/* --- two paths -------------------------------------------------------------------------------- */

/* What a directory of DIR's own stands for cannot be elsewhere: no path would lead to it. */
static bool is_of_lower(const struct cow *cow, const struct cow_place *place)
{
    owned_fd int lower = -1;
    char path[PATH_MAX];

    if (cow_relative(cow, place->parent, place->name, path, sizeof path) != 0)
        return true;
    lower = cow_open_lower(cow, path, O_PATH | O_DIRECTORY);
    return lower >= 0;
}

/* Makes what is to get another name a real file, or refuses. */
static int prepare_move(struct cow *cow, struct cow_place *place)
{
    if (place->target < 0)
        return place->failed;
    if (strcmp(place->name, ".") == 0)
        return EBUSY;
    if (S_ISDIR(place->status.st_mode))
        return is_of_lower(cow, place) ? EXDEV : 0;
    if (place->slash)
        return ENOTDIR;
    return make_real(cow, place, false);
}

static int move(struct cow *cow, struct cow_place *from, struct cow_place *to, unsigned flags)
{
    char path[PATH_MAX];
    int failed = prepare_move(cow, from);

    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
        return EINVAL;
    if (failed == 0 && (flags & RENAME_EXCHANGE))
        failed = prepare_move(cow, to);
    else if (failed == 0 && to->target >= 0 && S_ISDIR(to->status.st_mode))
        failed = cow_fill(cow, to->target); /* to see whether it is empty */
    if (failed == 0 && to->slash && !S_ISDIR(from->status.st_mode))
        failed = ENOTDIR;
    if (failed == 0)
        failed = cow_relative(cow, from->parent, from->name, path, sizeof path);
    if (failed == 0 &&
        syscall(SYS_renameat2, from->parent, from->name, to->parent, to->name, flags) != 0)
        failed = errno;
    return failed == 0 && !(flags & RENAME_EXCHANGE) ? cow_note_removed(cow, path) : failed;
}

/* One more path of the call. */
static int find_other(const struct call *call, int directory, unsigned argument,
                      struct cow_place *place)
{
    char path[PATH_MAX];
    int failed = notify_read_text(call->notification, call->args[argument], path, sizeof path);

    if (failed == 0 && path[0] == 0)
        failed = ENOENT;
    if (failed == 0)
        cow_find(call->notification, directory, path, COW_NAME, place);
    return failed;
}

/* The other path's arguments follow the first one's. */
static int find_second(const struct call *call, struct cow_place *place)
{
    bool with_directories = call->row->call.directory != PATH_NONE;

    return find_other(call, with_directories ? (int)call->args[2] : AT_FDCWD,
                      with_directories ? 3 : 1, place);
}

static bool is_free_or_there(const struct cow_place *place)
{
    return place->failed == 0 || (place->failed == ENOENT && place->parent >= 0);
}

static int64_t on_rename(struct call *call)
{
    owned_cow_place struct cow_place to = COW_PLACE_NONE;
    unsigned flags =
        call->notification->request.data.nr == SYS_renameat2 ? (unsigned)call->args[4] : 0;
    int failed = find_second(call, &to);

    if (failed != 0)
        return -failed;
    if (!call->place.inside && !to.inside)
        return call->place.native && to.native ? NATIVE : -EXDEV;
    if (!is_free_or_there(&call->place))
        return -call->place.failed;
    if (!is_free_or_there(&to))
        return -to.failed;
    if (!call->place.inside || !to.inside)
        return -EXDEV;
    return -move(call->cow, &call->place, &to, flags);
}

static int64_t on_link(struct call *call)
{
    owned_cow_place struct cow_place to = COW_PLACE_NONE;
    int failed = find_second(call, &to);

    if (failed != 0)
        return -failed;
    if (!call->place.inside && !to.inside)
        return call->place.native && to.native ? NATIVE : -EXDEV;
    if (call->place.failed != 0 || !is_free_or_there(&to))
        return call->place.failed != 0 ? -call->place.failed : -to.failed;
    if (!call->place.inside || !to.inside)
        return -EXDEV;
    if (is_taken(&to) != 0)
        return -is_taken(&to);
    if (S_ISDIR(call->place.status.st_mode))
        return -EPERM;
    failed = make_real(call->cow, &call->place, false);
    if (failed != 0)
        return -failed;
    return result_of(linkat(call->place.parent, call->place.name, to.parent, to.name, 0));
}

/* --- the table -------------------------------------------------------------------------------- */

static const struct row rows[] = {
    {{SYS_newfstatat, 0, 1, 3, PATH_UNLESS_FLAG}, false, on_stat},
    {{SYS_statx, 0, 1, 2, PATH_UNLESS_FLAG}, false, on_statx},
    {{SYS_faccessat, 0, 1, PATH_NONE, PATH_FOLLOW}, false, on_access},
    {{SYS_faccessat2, 0, 1, 3, PATH_UNLESS_FLAG}, false, on_access},
    {{SYS_readlinkat, 0, 1, PATH_NONE, PATH_NO_FOLLOW}, false, on_readlink},
    {{SYS_mkdirat, 0, 1, PATH_NONE, PATH_NAME}, true, on_mkdir},
    {{SYS_mknodat, 0, 1, PATH_NONE, PATH_NAME}, true, on_mknod},
    {{SYS_symlinkat, 1, 2, PATH_NONE, PATH_NAME}, true, on_symlink},
    {{SYS_unlinkat, 0, 1, 2, PATH_NAME}, false, on_unlink},
    {{SYS_renameat2, 0, 1, PATH_NONE, PATH_NAME}, true, on_rename},
    {{SYS_linkat, 0, 1, 4, PATH_IF_FLAG}, true, on_link},
    {{SYS_truncate, PATH_NONE, 0, PATH_NONE, PATH_FOLLOW}, false, on_truncate},
    {{SYS_chdir, PATH_NONE, 0, PATH_NONE, PATH_FOLLOW}, false, on_enter},
    {{SYS_execve, PATH_NONE, 0, PATH_NONE, PATH_FOLLOW}, false, on_native},
    {{SYS_execveat, 0, 1, 4, PATH_UNLESS_FLAG}, false, on_native},
    {{SYS_statfs, PATH_NONE, 0, PATH_NONE, PATH_FOLLOW}, false, on_native},
    {{SYS_inotify_add_watch, PATH_NONE, 1, PATH_NONE, PATH_FOLLOW}, false, on_native},
    {{SYS_getxattr, PATH_NONE, 0, PATH_NONE, PATH_FOLLOW}, false, on_attributes},
    {{SYS_lgetxattr, PATH_NONE, 0, PATH_NONE, PATH_NO_FOLLOW}, false, on_attributes},
    {{SYS_listxattr, PATH_NONE, 0, PATH_NONE, PATH_FOLLOW}, false, on_attributes},
    {{SYS_llistxattr, PATH_NONE, 0, PATH_NONE, PATH_NO_FOLLOW}, false, on_attributes},
    {{CALL_GETXATTRAT, 0, 1, 2, PATH_UNLESS_FLAG}, false, on_attributes},
    {{CALL_LISTXATTRAT, 0, 1, 2, PATH_UNLESS_FLAG}, false, on_attributes},
    {{SYS_getcwd, PATH_NONE, PATH_NONE, PATH_NONE, PATH_FOLLOW}, false, on_getcwd},
#ifdef SYS_renameat
    {{SYS_renameat, 0, 1, PATH_NONE, PATH_NAME}, true, on_rename},
#endif
#ifdef SYS_stat
    {{SYS_stat, PATH_NONE, 0, PATH_NONE, PATH_FOLLOW}, false, on_stat},
    {{SYS_lstat, PATH_NONE, 0, PATH_NONE, PATH_NO_FOLLOW}, false, on_stat},
    {{SYS_access, PATH_NONE, 0, PATH_NONE, PATH_FOLLOW}, false, on_access},
    {{SYS_readlink, PATH_NONE, 0, PATH_NONE, PATH_NO_FOLLOW}, false, on_readlink},
    {{SYS_mkdir, PATH_NONE, 0, PATH_NONE, PATH_NAME}, true, on_mkdir},
    {{SYS_mknod, PATH_NONE, 0, PATH_NONE, PATH_NAME}, true, on_mknod},
    {{SYS_symlink, PATH_NONE, 1, PATH_NONE, PATH_NAME}, true, on_symlink},
    {{SYS_unlink, PATH_NONE, 0, PATH_NONE, PATH_NAME}, false, on_unlink},
    {{SYS_rmdir, PATH_NONE, 0, PATH_NONE, PATH_NAME}, false, on_rmdir},
    {{SYS_rename, PATH_NONE, 0, PATH_NONE, PATH_NAME}, true, on_rename},
    {{SYS_link, PATH_NONE, 0, PATH_NONE, PATH_NO_FOLLOW}, true, on_link},
#endif
};

unsigned cow_call_count(void)
{
    return COUNT(rows);
}

int cow_call(unsigned index)
{
    return rows[index].call.number;
}

static enum cow_follow follow_of(const struct call *call)
{
    switch (path_call_follow(&call->row->call, call->flags)) {
    case PATH_FOLLOW:
        return COW_FOLLOW;
    case PATH_NAME:
        return COW_NAME;
    default:
        return COW_NO_FOLLOW;
    }
}

static bool has_two_paths(const struct row *row)
{
    return row->give == on_rename || row->give == on_link;
}

static int64_t give(struct call *call)
{
    if (has_two_paths(call->row))
        return call->row->give(call);
    if (!call->place.inside && call->row->give == on_truncate &&
        call->notification->sandbox->policy->refuses_truncation)
        return -EACCES;
    if (!call->place.inside)
        return call->row->give == on_readlink ? on_readlink_outside(call) : NATIVE;
    if (call->place.failed != 0 && !(call->row->may_be_missing && is_free_or_there(&call->place)))
        return -call->place.failed;
    return call->row->give(call);
}

/* The place is found: what the call's function says is the answer. */
static void answer(struct call *call)
{
    int64_t result;

    if (call->place.inside && !lookup_has_our_user(call->notification)) {
        notify_fail(call->notification, EACCES);
        return;
    }
    result = give(call);
    if (result == NATIVE)
        cow_leave(call->notification, &call->place, (unsigned)call->row->call.path);
    else if (result < 0)
        notify_fail(call->notification, (int)-result);
    else
        notify_return(call->notification, result);
}

void cow_answer(const struct notification *notification)
{
    const struct seccomp_data *data = &notification->request.data;
    struct call call = {
        .notification = notification,
        .args = data->args,
        .cow = notification->sandbox->cow,
        .row = path_call_find(rows, COUNT(rows), sizeof rows[0], data->nr),
        .place = COW_PLACE_NONE,
    };
    const struct row *row = call.row;
    char path[PATH_MAX];
    int failed = 0;

    call.flags = path_call_flags(&row->call, data);
    if (row->call.path == PATH_NONE) {
        call.place.native = call.place.inside = true;
        answer(&call);
        return;
    }
    failed = notify_read_text(notification, data->args[row->call.path], path, sizeof path);
    if (failed != 0) {
        notify_fail(notification, failed);
        return;
    }
    /* A descriptor is what it is. */
    if (path[0] == 0) {
        notify_continue(notification);
        return;
    }
    cow_find(notification, path_call_directory(&row->call, data), path, follow_of(&call),
             &call.place);
    answer(&call);
    cow_place_clear(&call.place);
}

/* What the filter asks about in any case where Landlock is old. */
static bool opens(const struct notification *notification)
{
    int call = notification->request.data.nr;

#ifdef SYS_open
    if (call == SYS_open || call == SYS_creat)
        return true;
#endif
    return call == SYS_openat;
}

void cow_leave(const struct notification *notification, const struct cow_place *place,
               unsigned argument)
{
    char path[PATH_MAX];

    if (place->native)
        notify_continue(notification);
    else if (opens(notification) && notification->sandbox->policy->refuses_truncation)
        notify_fail(notification, ENOTSUP);
    else if (!is_free_or_there(place))
        notify_fail(notification, place->failed);
    else if (!cow_real_path(place, path, sizeof path))
        notify_fail(notification, ENAMETOOLONG);
    else
        redo_call(notification, argument, path);
}

/* --- opens ------------------------------------------------------------------------------------ */

static void inject(const struct notification *notification, int opened, int flags)
{
    owned_fd int fd = opened;

    if (fd < 0) {
        notify_fail(notification, errno);
        return;
    }
    notify_inject(notification, fd, flags & O_CLOEXEC);
    if (notification->sandbox->policy->profile.defects & DEFECT_ADDFD_LEAK_COW)
        (void)owned_fd_move(&fd);
}

/* What of an open's flags is for the file that is open then. */
#define STATUS_FLAGS                                                                               \
    (O_ACCMODE | O_APPEND | O_NONBLOCK | O_SYNC | O_DSYNC | O_DIRECT | O_NOATIME | O_TRUNC)

static int create(const struct notification *notification, const struct cow_place *place, int flags,
                  mode_t mode)
{
    owned_fd int fd = openat(place->parent, place->name,
                             (flags & STATUS_FLAGS) | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                             S_IRUSR | S_IWUSR);

    if (fd < 0 || fchmod(fd, cow_mode(mode & ~mask_of(notification), false)) != 0)
        return -1;
    return owned_fd_move(&fd);
}

/* An entry that is there becomes what can be opened so. 0, or an errno value. */
static int prepare_target(struct cow *cow, struct cow_place *place, int flags)
{
    mode_t mode = place->status.st_mode;
    bool changes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);

    if ((flags & O_CREAT) && (flags & O_EXCL))
        return EEXIST;
    if ((flags & O_DIRECTORY) && !S_ISDIR(mode))
        return ENOTDIR;
    if (S_ISLNK(mode))
        return ELOOP;
    if (S_ISDIR(mode) && (changes || (flags & O_CREAT)))
        return EISDIR;
    if (!S_ISREG(mode) && !S_ISDIR(mode))
        return ENXIO;
    return S_ISDIR(mode) || changes ? make_real(cow, place, flags & O_TRUNC) : 0;
}

/* A descriptor, or -1 with errno. */
static int open_target(const struct cow *cow, const struct cow_place *place, int flags)
{
    owned_fd int meant = cow_open_meant(cow, place->parent, place->name, place->target);

    if (meant < 0)
        return -1;
    return lookup_open(meant, S_ISDIR(place->status.st_mode) ? O_RDONLY | O_DIRECTORY
                                                             : flags & STATUS_FLAGS);
}

/* What is only named cannot be injected, and Landlock lets everybody name everything. */
static void leave_named(const struct notification *notification, struct cow_place *place,
                        unsigned argument)
{
    int failed = make_real(notification->sandbox->cow, place, false);

    if (failed != 0)
        notify_fail(notification, failed);
    else
        cow_leave(notification, place, argument);
}

static void open_and_inject(const struct notification *notification, struct cow_place *place,
                            bool creates, int flags, mode_t mode)
{
    struct cow *cow = notification->sandbox->cow;
    int failed = creates ? 0 : prepare_target(cow, place, flags);

    if (failed != 0) {
        notify_fail(notification, failed);
        return;
    }
    children_hold_forks();
    inject(notification,
           creates ? create(notification, place, flags, mode) : open_target(cow, place, flags),
           flags);
    children_permit_forks();
}

void cow_answer_open(const struct notification *notification, struct cow_place *place, int flags,
                     mode_t mode, unsigned argument)
{
    bool is_new = place->failed == ENOENT && place->parent >= 0;
    bool creates = is_new && (flags & O_CREAT) && !(flags & O_PATH);
    bool is_to_be_directory =
        (flags & O_CREAT) && !(flags & O_PATH) && place->slash && place->parent >= 0;

    if (!lookup_has_our_user(notification))
        notify_fail(notification, EACCES);
    else if (place->failed != 0 && !creates)
        notify_fail(notification, is_to_be_directory ? EISDIR : place->failed);
    else if (flags & O_PATH)
        leave_named(notification, place, argument);
    else if ((flags & O_TMPFILE) == O_TMPFILE)
        notify_fail(notification, EOPNOTSUPP);
    else if (is_to_be_directory)
        notify_fail(notification, EISDIR);
    else if (creates && (flags & O_DIRECTORY))
        notify_fail(notification, EINVAL);
    else
        open_and_inject(notification, place, creates, flags, mode);
}

/* --- attributes ------------------------------------------------------------------------------- */

int cow_find_for_change(const struct notification *notification, int directory, const char *path,
                        bool no_follow, bool *inside, int *target)
{
    owned_cow_place struct cow_place place = COW_PLACE_NONE;
    owned_fd int start = -1;
    char name[PATH_MAX] = "";
    int failed;

    *inside = false;
    if (path[0] == 0) {
        /* A file of DIR is open for reading only, and stood for; it is found by its path. */
        start = lookup_start(notification, directory);
        if (start < 0)
            return EBADF;
        if (!lookup_name(start, name, sizeof name) ||
            !lookup_is_below(name, notification->sandbox->cow->profile->cow)) {
            *inside = lookup_is_below(name, notification->sandbox->cow->tree_path);
            *target = owned_fd_move(&start);
            return 0;
        }
        path = name;
    }
    cow_find(notification, directory, path, no_follow ? COW_NO_FOLLOW : COW_FOLLOW, &place);
    if (place.failed != 0)
        return place.failed;
    *inside = place.inside;
    failed = place.inside ? make_real(notification->sandbox->cow, &place, false) : 0;
    *target = owned_fd_move(&place.target);
    return failed;
}
