/*
 * cow_commit.c: see cow_commit.h.
 */
#include "supervisor/cow_commit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "supervisor/cow.h"
#include "supervisor/cow_layer.h"
#include "supervisor/error.h"
#include "supervisor/owned.h"
#include "supervisor/profile.h"
#include "supervisor/resolve.h"

#define COMPARED_BYTES 65536

/* One run of it: what each file is called until it is whole. */
struct commit {
    char beside[sizeof ".boxsup-" + 2 * sizeof(uint64_t)];
};

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static DIR *list(int directory)
{
    owned_fd int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;

    if (entries)
        (void)owned_fd_move(&fd);
    return entries;
}

static int open_directory(int directory, const char *name)
{
    return openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* A file, or a directory with nothing in it. 0, or an errno value. */
static int remove_entry(int directory, const char *name)
{
    if (unlinkat(directory, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return errno;
    return unlinkat(directory, name, AT_REMOVEDIR) == 0 ? 0 : errno;
}

/* Puts what is finished in its place, and out of it whatever is of another kind. */
static int put(const struct commit *commit, int directory, const char *name,
               bool is_directory_there)
{
    int failed = is_directory_there ? remove_entry(directory, name) : 0;

    if (failed == 0 && renameat(directory, commit->beside, directory, name) != 0)
        failed = errno;
    if (failed != 0)
        (void)unlinkat(directory, commit->beside, 0);
    return failed;
}

/* --- files ------------------------------------------------------------------------------------ */

static bool has_same_bytes(int one, int other)
{
    static const size_t half = COMPARED_BYTES;
    owned_memory char *bytes = malloc(2 * half);
    off_t offset = 0;

    while (bytes) {
        ssize_t got = pread(one, bytes, half, offset);

        if (got < 0 || pread(other, bytes + half, half, offset) != got ||
            memcmp(bytes, bytes + half, (size_t)got) != 0)
            return false;
        if (got == 0)
            return true;
        offset += got;
    }
    return false;
}

/* Whether what is there is the same, so that it can stay with its links and its number. */
static bool is_unchanged(int directory, const char *name, const struct stat *there, int file,
                         const struct stat *status)
{
    owned_fd int old = -1;

    if (!S_ISREG(there->st_mode) ||
        (there->st_mode & ACCESSPERMS) != (status->st_mode & ACCESSPERMS) ||
        there->st_size != status->st_size || there->st_mtim.tv_sec != status->st_mtim.tv_sec ||
        there->st_mtim.tv_nsec != status->st_mtim.tv_nsec)
        return false;
    old = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return old >= 0 && has_same_bytes(old, file);
}

/* The whole new file, on the disk. */
static int write_beside(const struct commit *commit, int directory, int from,
                        const struct stat *status)
{
    const struct timespec times[2] = {status->st_atim, status->st_mtim};
    owned_fd int to = -1;
    int failed;

    to = openat(directory, commit->beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                S_IRUSR | S_IWUSR);
    if (to < 0)
        return errno;
    failed = cow_copy_bytes(from, to);
    (void)fchown(to, status->st_uid, status->st_gid); /* where we may */
    if (failed == 0 && (fchmod(to, cow_mode(status->st_mode, false)) != 0 ||
                        futimens(to, times) != 0 || fsync(to) != 0))
        failed = errno;
    return failed;
}

static int open_own(int upper, const char *name)
{
    int fd = openat(upper, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    /* Ours, but closed to its owner by its mode: nobody looks at it any more. */
    if (fd < 0 && errno == EACCES && fchmodat(upper, name, S_IRUSR, 0) == 0)
        fd = openat(upper, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return fd;
}

static int commit_file(const struct commit *commit, int lower, int upper, const char *name,
                       const struct stat *status)
{
    owned_fd int from = open_own(upper, name);
    struct stat there = {0};
    int failed;

    if (from < 0)
        return errno;
    if (fstatat(lower, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
        is_unchanged(lower, name, &there, from, status))
        return 0;
    failed = write_beside(commit, lower, from, status);
    if (failed != 0) {
        (void)unlinkat(lower, commit->beside, 0);
        return failed;
    }
    return put(commit, lower, name, S_ISDIR(there.st_mode));
}

static int commit_link(const struct commit *commit, int lower, int upper, const char *name)
{
    char text[PATH_MAX], old[PATH_MAX];
    struct stat there = {0};
    ssize_t length = readlinkat(upper, name, text, sizeof text - 1);

    if (length < 0)
        return errno;
    text[length] = 0;
    if (readlinkat(lower, name, old, sizeof old) == length &&
        memcmp(old, text, (size_t)length) == 0)
        return 0;
    (void)fstatat(lower, name, &there, AT_SYMLINK_NOFOLLOW);
    if (symlinkat(text, lower, commit->beside) != 0)
        return errno;
    return put(commit, lower, name, S_ISDIR(there.st_mode));
}

/* --- directories ------------------------------------------------------------------------------ */

static int commit_directory(const struct commit *commit, int lower, int upper);

/* A directory of DIR for one of `tree`. */
static int make_directory(int lower, const char *name)
{
    struct stat there;
    int failed;

    if (fstatat(lower, name, &there, AT_SYMLINK_NOFOLLOW) == 0) {
        if (S_ISDIR(there.st_mode))
            return 0;
        failed = remove_entry(lower, name);
        if (failed != 0)
            return failed;
    }
    return mkdirat(lower, name, S_IRWXU) == 0 ? 0 : errno;
}

/* All of `name` in `upper`, for a directory that is there. */
static int commit_into(const struct commit *commit, int lower, int upper, const char *name,
                       const struct stat *status)
{
    const struct timespec times[2] = {status->st_atim, status->st_mtim};
    owned_fd int from = -1;
    struct stat there;
    int failed;

    if (!(status->st_mode & S_IRUSR) || !(status->st_mode & S_IXUSR))
        (void)fchmodat(upper, name, S_IRWXU, 0); /* ours; nobody looks at it any more */
    from = open_directory(upper, name);
    if (from < 0)
        return errno;
    failed = commit_directory(commit, lower, from);
    if (failed != 0)
        return failed;
    if (fstat(lower, &there) != 0)
        return errno;
    /* Bits beyond ours that it had, it keeps. */
    if ((there.st_mode & ACCESSPERMS) != (status->st_mode & ACCESSPERMS) &&
        fchmod(lower, cow_mode(status->st_mode, true)) != 0)
        return errno;
    (void)futimens(lower, times);
    return 0;
}

static int commit_below(const struct commit *commit, int lower, int upper, const char *name,
                        const struct stat *status)
{
    int failed = make_directory(lower, name);
    owned_fd int below = failed == 0 ? open_directory(lower, name) : -1;

    if (failed != 0)
        return failed;
    return below < 0 ? errno : commit_into(commit, below, upper, name, status);
}

static int commit_entry(const struct commit *commit, int lower, int upper, const char *name)
{
    struct stat status;

    if (fstatat(upper, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno;
    if (cow_stands_for(&status))
        return 0;
    if (S_ISDIR(status.st_mode))
        return commit_below(commit, lower, upper, name, &status);
    return S_ISLNK(status.st_mode) ? commit_link(commit, lower, upper, name)
                                   : commit_file(commit, lower, upper, name, &status);
}

static int commit_directory(const struct commit *commit, int lower, int upper)
{
    owned_directory DIR *entries = list(upper);
    const struct dirent *entry;
    int failed = entries ? 0 : errno;

    while (failed == 0 && (errno = 0, entry = readdir(entries)))
        if (!is_dots(entry->d_name))
            failed = commit_entry(commit, lower, upper, entry->d_name);
    return failed != 0 ? failed : errno;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int open_beneath(int directory, const char *path, int flags)
{
    return resolve_open(directory, path, (unsigned)flags | O_PATH | O_NOFOLLOW,
                        RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
}

/* One name that was removed, unless something has it again. What is in a directory was noted before
 * it; something more is somebody else's, and stays. */
static int commit_removal(const char *path, void *context)
{
    const struct cow *cow = context;
    owned_fd int again = open_beneath(cow->tree, path, 0);
    const char *slash = strrchr(path, '/');
    owned_fd int directory = -1;
    char parent[PATH_MAX];
    int failed;

    if (again >= 0)
        return 0;
    (void)snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - path) : 1,
                   slash ? path : ".");
    directory = open_beneath(cow->lower, parent, O_DIRECTORY);
    /* Its directory went, too, or is not one any more. */
    failed = directory < 0 ? 0 : remove_entry(directory, slash ? slash + 1 : path);
    return failed == ENOTEMPTY ? 0 : failed;
}

int cow_commit(struct cow *cow, struct error *error)
{
    struct commit commit;
    struct stat status;
    uint64_t number;
    int failed;

    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        return error_set(error, errno, "cannot have a random number");
    (void)snprintf(commit.beside, sizeof commit.beside, ".boxsup-%016" PRIx64, number);
    if (fstat(cow->tree, &status) != 0)
        return error_set(error, errno, "cannot open the upper layer");
    if (cow_stands_for(&status))
        return 0; /* nobody looked at it */
    failed = cow_each_removed(cow, commit_removal, cow);
    if (failed == 0)
        failed = commit_into(&commit, cow->lower, cow->holder, COW_TREE, &status);
    if (failed != 0)
        return error_set(error, failed, "cannot write back to %s", cow->profile->cow);
    return 0;
}
