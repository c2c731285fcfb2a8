/*
 * cow_layer.c: see cow_layer.h.
 */
#include "supervisor/cow_layer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>

#include <uthash.h>

#include "supervisor/children.h"
#include "supervisor/cow.h"
#include "supervisor/lookup.h"
#include "supervisor/owned.h"
#include "supervisor/resolve.h"

#define NUMBER_BYTES (3 * sizeof(int))

/* In the holder: a file on its way into `tree`. */
#define NEW_NAME "new"

/* sendfile(2) copies at most this much at once. */
#define COPY_BYTES 0x7ffff000

struct cow_removed {
    UT_hash_handle hh;
    char path[];
};

mode_t cow_mode(mode_t mode, bool is_directory)
{
    mode &= is_directory ? ACCESSPERMS | S_ISVTX : ACCESSPERMS;
    return mode == COW_STANDS_FOR ? 0 : mode;
}

static void make_link(char *link, size_t bytes, int fd)
{
    (void)snprintf(link, bytes, "/proc/self/fd/%d", fd);
}

static int change_mode(int fd, mode_t mode)
{
    char link[sizeof "/proc/self/fd/" + NUMBER_BYTES];

    make_link(link, sizeof link, fd);
    return chmod(link, mode) == 0 ? 0 : errno;
}

/* --- paths ------------------------------------------------------------------------------------ */

int cow_relative(const struct cow *cow, int directory, const char *name, char *path, size_t bytes)
{
    size_t length = strlen(cow->tree_path);
    char whole[PATH_MAX];
    int written;

    if (!lookup_name(directory, whole, sizeof whole))
        return ENAMETOOLONG;
    if (strcmp(whole, cow->tree_path) == 0)
        written = snprintf(path, bytes, "%s", name);
    else if (lookup_is_below(whole, cow->tree_path))
        written = strcmp(name, ".") == 0 ? snprintf(path, bytes, "%s", whole + length + 1)
                                         : snprintf(path, bytes, "%s/%s", whole + length + 1, name);
    else
        return EACCES;
    return (size_t)written < bytes ? 0 : ENAMETOOLONG;
}

int cow_open_lower(const struct cow *cow, const char *path, int flags)
{
    return resolve_open(cow->lower, path, (unsigned)flags | O_NOFOLLOW,
                        RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
}

/* --- filling ---------------------------------------------------------------------------------- */

/* ESTALE: it is no link any more. */
static int add_link(int directory, int from, const char *name, const struct stat *status)
{
    const struct timespec times[2] = {status->st_atim, status->st_mtim};
    char text[PATH_MAX];
    ssize_t length = readlinkat(from, name, text, sizeof text - 1);

    if (length < 0)
        return errno == ENOENT ? 0 : errno == EINVAL ? ESTALE : errno;
    text[length] = 0;
    if (symlinkat(text, directory, name) != 0)
        return errno;
    (void)utimensat(directory, name, times, AT_SYMLINK_NOFOLLOW);
    return 0;
}

/* One that was begun already may have it. */
static int add_entry(int directory, int from, const char *name)
{
    struct stat status;
    owned_fd int fd = -1;
    int failed = 0;

    if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : errno; /* gone meanwhile */
    if (S_ISLNK(status.st_mode)) {
        failed = add_link(directory, from, name, &status);
    } else if (S_ISDIR(status.st_mode)) {
        if (mkdirat(directory, name, 0) != 0 || fchmodat(directory, name, COW_STANDS_FOR, 0) != 0)
            failed = errno;
    } else if (S_ISREG(status.st_mode)) {
        fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0);
        if (fd < 0 || fchmod(fd, COW_STANDS_FOR) != 0)
            failed = errno;
    }
    if (failed == ESTALE)
        return add_entry(directory, from, name);
    return failed == EEXIST ? 0 : failed;
}

static int add_entries(int directory, int lower)
{
    owned_fd int listed = lower;
    owned_directory DIR *entries = fdopendir(listed);
    const struct dirent *entry;
    int failed = 0;

    if (!entries)
        return errno;
    (void)owned_fd_move(&listed); /* closes with `entries` */
    while (failed == 0 && (errno = 0, entry = readdir(entries)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            failed = add_entry(directory, dirfd(entries), entry->d_name);
    return failed != 0 ? failed : errno;
}

int cow_fill(const struct cow *cow, int directory)
{
    char link[sizeof "/proc/self/fd/" + NUMBER_BYTES];
    struct timespec times[2];
    owned_fd int lower = -1;
    char path[PATH_MAX];
    struct stat status;
    int failed;

    if (fstat(directory, &status) != 0)
        return errno;
    if (!cow_stands_for(&status))
        return 0;
    failed = cow_relative(cow, directory, ".", path, sizeof path);
    if (failed != 0)
        return failed;
    lower = cow_open_lower(cow, path, O_RDONLY | O_DIRECTORY);
    if (lower < 0 || fstat(lower, &status) != 0)
        return errno;
    failed = change_mode(directory, S_IRWXU);
    if (failed == 0)
        failed = add_entries(directory, owned_fd_move(&lower));
    if (failed != 0) {
        (void)change_mode(directory, COW_STANDS_FOR); /* begun, and to be begun again */
        return failed;
    }
    make_link(link, sizeof link, directory);
    times[0] = status.st_atim;
    times[1] = status.st_mtim;
    (void)chown(link, status.st_uid, status.st_gid); /* where we may */
    (void)utimensat(AT_FDCWD, link, times, 0);
    return change_mode(directory, cow_mode(status.st_mode, true));
}

/* --- copies ----------------------------------------------------------------------------------- */

int cow_copy_bytes(int from, int to)
{
    ssize_t copied;

    if (ioctl(to, FICLONE, from) == 0)
        return 0;
    do
        copied = sendfile(to, from, NULL, COPY_BYTES);
    while (copied > 0 || (copied < 0 && errno == EINTR));
    return copied == 0 ? 0 : errno;
}

/* A file of the holder, with all that the lower one has. 0, or an errno value. */
static int make_copy(const struct cow *cow, int from, bool empty, const struct stat *status)
{
    const struct timespec times[2] = {status->st_atim, status->st_mtim};
    owned_fd int to = -1;
    int failed;

    (void)unlinkat(cow->holder, NEW_NAME, 0);
    to = openat(cow->holder, NEW_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (to < 0)
        return errno;
    failed = empty ? 0 : cow_copy_bytes(from, to);
    (void)fchown(to, status->st_uid, status->st_gid); /* where we may */
    if (failed == 0 &&
        (fchmod(to, cow_mode(status->st_mode, false)) != 0 || futimens(to, times) != 0))
        failed = errno;
    return failed;
}

int cow_copy_up(const struct cow *cow, int directory, const char *name, bool empty)
{
    owned_fd int from = -1;
    char path[PATH_MAX];
    struct stat status;
    int failed = cow_relative(cow, directory, name, path, sizeof path);

    if (failed != 0)
        return failed;
    from = cow_open_lower(cow, path, O_RDONLY | O_NONBLOCK);
    if (from < 0 && errno == EWOULDBLOCK) /* a regular file with a lease: as for open(2) */
        from = cow_open_lower(cow, path, O_RDONLY);
    if (from < 0 || fstat(from, &status) != 0)
        return errno;
    if (!S_ISREG(status.st_mode))
        return ESTALE;
    children_hold_forks();
    failed = make_copy(cow, from, empty, &status);
    children_permit_forks();
    if (failed == 0 && renameat(cow->holder, NEW_NAME, directory, name) != 0)
        failed = errno;
    if (failed != 0)
        (void)unlinkat(cow->holder, NEW_NAME, 0);
    return failed;
}

int cow_open_meant(const struct cow *cow, int directory, const char *name, int target)
{
    owned_fd int fd = -1;
    char path[PATH_MAX];
    struct stat status, meant;

    if (fstat(target, &status) != 0)
        return -1;
    if (!cow_stands_for(&status))
        return fcntl(target, F_DUPFD_CLOEXEC, 0);
    errno = cow_relative(cow, directory, name, path, sizeof path);
    fd = errno != 0 ? -1 : cow_open_lower(cow, path, O_PATH);
    if (fd < 0 || fstat(fd, &meant) != 0)
        return -1;
    /* Somebody outside has put something else there: a pipe, say, that opening waits for. */
    if ((meant.st_mode & S_IFMT) != (status.st_mode & S_IFMT)) {
        errno = ESTALE;
        return -1;
    }
    return owned_fd_move(&fd);
}

/* --- what was removed ------------------------------------------------------------------------- */

int cow_note_removed(struct cow *cow, const char *path)
{
    owned_fd int lower = cow_open_lower(cow, path, O_PATH);
    struct cow_removed *removed = NULL;
    size_t length = strlen(path);

    if (lower < 0)
        return 0;
    HASH_FIND(hh, cow->removed, path, length, removed);
    if (removed)
        return 0;
    removed = calloc(1, sizeof *removed + length + 1);
    if (!removed)
        return ENOMEM;
    memcpy(removed->path, path, length + 1);
    HASH_ADD(hh, cow->removed, path, length, removed);
    return 0;
}

int cow_each_removed(const struct cow *cow, int (*each)(const char *path, void *context),
                     void *context)
{
    int failed = 0;

    for (struct cow_removed *at = cow->removed; at && failed == 0; at = at->hh.next)
        failed = each(at->path, context);
    return failed;
}

void cow_forget_removed(struct cow *cow)
{
    struct cow_removed *next = cow->removed;

    HASH_CLEAR(hh, cow->removed); /* the table; what was in it is still a list */
    while (next) {
        struct cow_removed *at = next;

        next = at->hh.next;
        free(at);
    }
}

/* --- its end ---------------------------------------------------------------------------------- */

/* A directory, which may be changed and looked into from now on; O_PATH. */
static int open_for_removal(int directory, const char *name)
{
    owned_fd int fd = openat(directory, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    errno = fd < 0 ? errno : change_mode(fd, S_IRWXU);
    return errno != 0 ? -1 : owned_fd_move(&fd);
}

/* Moves a directory up into `top`, under a name that nothing there has: one that was begun to be
 * emptied, and never was, may have some. */
static int move_up(int top, int directory, const char *name, unsigned long *number)
{
    owned_fd int fd = open_for_removal(directory, name);
    char above[sizeof "removed-" + 3 * sizeof *number];

    if (fd < 0)
        return errno;
    do
        (void)snprintf(above, sizeof above, "removed-%lu", (*number)++);
    while (faccessat(top, above, F_OK, AT_SYMLINK_NOFOLLOW) == 0);
    return renameat(directory, name, top, above) == 0 ? 0 : errno;
}

/* A directory in the way: all of it goes up into `top`. */
static int flatten(int top, int directory, const char *name, unsigned long *number)
{
    owned_fd int found = open_for_removal(directory, name);
    owned_fd int fd = found < 0 ? -1 : openat(found, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    owned_directory DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;

    if (!entries)
        return errno;
    (void)owned_fd_move(&fd);
    while ((entry = readdir(entries))) {
        int failed = 0;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            unlinkat(dirfd(entries), entry->d_name, 0) == 0)
            continue;
        failed = move_up(top, dirfd(entries), entry->d_name, number);
        if (failed != 0)
            return failed;
    }
    return unlinkat(directory, name, AT_REMOVEDIR) == 0 ? 0 : errno;
}

/* One pass over a directory: 0 with *left; what is put into it meanwhile is for the next. */
static int empty_once(int directory, const char *but, unsigned long *number, bool *left)
{
    owned_fd int listed = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    owned_directory DIR *entries = listed >= 0 ? fdopendir(listed) : NULL;
    const struct dirent *entry;
    int failed = 0;

    if (!entries)
        return errno;
    (void)owned_fd_move(&listed);
    *left = false;
    while (failed == 0 && (entry = readdir(entries))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            strcmp(entry->d_name, but) == 0)
            continue;
        *left = true;
        if (unlinkat(directory, entry->d_name, 0) != 0)
            failed = flatten(directory, directory, entry->d_name, number);
    }
    return failed;
}

int cow_empty(int directory, const char *but)
{
    unsigned long number = 0;
    bool left = true;
    int failed = 0;

    while (failed == 0 && left)
        failed = empty_once(directory, but, &number, &left);
    return failed;
}

void cow_tidy(int directory)
{
    owned_fd int listed = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    owned_directory DIR *entries = listed >= 0 ? fdopendir(listed) : NULL;
    const struct dirent *entry;

    if (!entries)
        return;
    (void)owned_fd_move(&listed);
    while ((entry = readdir(entries))) {
        owned_fd int below = -1;
        struct stat status;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (cow_stands_for(&status)) {
            (void)unlinkat(directory, entry->d_name, S_ISDIR(status.st_mode) ? AT_REMOVEDIR : 0);
        } else if (S_ISDIR(status.st_mode)) {
            below = openat(directory, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (below >= 0)
                cow_tidy(below);
        }
    }
}
