/*
 * replace.c: writes files that others read while they are replaced, or after the command was
 * killed in the middle. It never leaves half a file in its place.
 */
#include "cli/replace.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

/* A file that is written to as it is: another one in its place would not be the same thing. */
static bool is_written_to(const char *path, const struct stat *file)
{
    return !S_ISREG(file->st_mode) || strncmp(path, "/dev/", 5) == 0 ||
           strncmp(path, "/proc/", 6) == 0;
}

/* Where the file itself lies, with its links followed; the last part need not be there. */
static bool find_place(const char *path, char *place, char *directory)
{
    char above[PATH_MAX], *slash;

    if (strlen(path) >= sizeof above) {
        errno = ENAMETOOLONG;
        return false;
    }
    if (!realpath(path, place)) {
        const char *name = strrchr(path, '/');

        if (errno != ENOENT)
            return false;
        (void)snprintf(above, sizeof above, "%.*s", name ? (int)(name - path) + 1 : 1,
                       name ? path : ".");
        if (!realpath(above, directory))
            return false;
        if (snprintf(place, PATH_MAX, "%s/%s", directory, name ? name + 1 : path) >= PATH_MAX) {
            errno = ENAMETOOLONG;
            return false;
        }
        return true;
    }
    memcpy(directory, place, strlen(place) + 1);
    slash = strrchr(directory, '/');
    slash[slash == directory] = '\0';
    return true;
}

bool replace_possible(const char *path, struct failure *failure)
{
    char place[PATH_MAX], directory[PATH_MAX];
    struct stat file;

    if (stat(path, &file) == 0) {
        if (S_ISDIR(file.st_mode))
            return failure_set(failure, "%s: %s", path, strerror(EISDIR));
        if (access(path, W_OK) != 0)
            return failure_set(failure, "%s: %s", path, strerror(errno));
        if (is_written_to(path, &file))
            return true;
    } else if (errno != ENOENT) {
        return failure_set(failure, "%s: %s", path, strerror(errno));
    }
    if (!find_place(path, place, directory))
        return failure_set(failure, "%s: %s", path, strerror(errno));
    if (place[strlen(place) - 1] == '/')
        return failure_set(failure, "%s: %s", path, strerror(EISDIR));
    if (access(directory, W_OK | X_OK) != 0)
        return failure_set(failure, "%s: %s: %s", path, directory, strerror(errno));
    return true;
}

static bool write_all(int fd, const char *text, size_t length)
{
    while (length) {
        ssize_t put = write(fd, text, length);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return false;
        text += put;
        length -= (size_t)put;
    }
    return true;
}

/* The mode of a new file, as open(2) would give it. */
static mode_t new_mode(void)
{
    mode_t mask = umask(0);

    (void)umask(mask);
    return 0666 & ~mask;
}

static bool put_in_place(const char *place, const char *directory, const char *text, size_t length)
{
    cleanup_close int fd = -1;
    cleanup_close int above = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char temporary[PATH_MAX];
    struct stat before;
    int error;

    if (snprintf(temporary, sizeof temporary, "%s/.boxledger-XXXXXX", directory) >=
        (int)sizeof temporary) {
        errno = ENAMETOOLONG;
        return false;
    }
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return false;
    if (write_all(fd, text, length) &&
        fchmod(fd, stat(place, &before) == 0 ? before.st_mode & 07777 : new_mode()) == 0 &&
        fsync(fd) == 0 && rename(temporary, place) == 0) {
        /* The name is on the disk with its directory; there is nothing to be done if not. */
        if (above >= 0)
            (void)fsync(above);
        return true;
    }
    error = errno;
    (void)unlink(temporary);
    errno = error;
    return false;
}

bool replace_file(const char *path, const char *text, size_t length, struct failure *failure)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    char place[PATH_MAX], directory[PATH_MAX];
    struct stat file;
    bool good;
    int error;

    /* A limit on the size of files is an error to tell, not a signal to die of. */
    (void)sigaction(SIGXFSZ, &ignore, &before);
    if (stat(path, &file) == 0 && is_written_to(path, &file)) {
        cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_APPEND);

        good = fd >= 0 && write_all(fd, text, length);
    } else {
        good = find_place(path, place, directory) && put_in_place(place, directory, text, length);
    }
    error = errno;
    (void)sigaction(SIGXFSZ, &before, NULL);
    return good || failure_set(failure, "%s: %s", path, strerror(error));
}
