/*
 * looks.c: see looks.h.
 */
#include "supervisor/looks.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "supervisor/notify.h"

/* The numbers of statx's arguments. */
enum { STATX_FLAGS = 2, STATX_MASK = 3, STATX_BUFFER = 4 };

int64_t looks_stat(const struct notification *notification, unsigned to, int fd,
                   const struct stat *number)
{
    struct stat status;

    if (fstat(fd, &status) != 0)
        return -errno;
    if (number) {
        status.st_dev = number->st_dev;
        status.st_ino = number->st_ino;
    }
    return -notify_write(notification, notification->request.data.args[to], &status, sizeof status);
}

int64_t looks_statx(const struct notification *notification, int fd, const struct stat *number)
{
    const __u64 *args = notification->request.data.args;
    struct statx status;

    if (statx(fd, "", ((int)args[STATX_FLAGS] & AT_STATX_SYNC_TYPE) | AT_EMPTY_PATH,
              (unsigned)args[STATX_MASK], &status) != 0)
        return -errno;
    if (number) {
        status.stx_dev_major = major(number->st_dev);
        status.stx_dev_minor = minor(number->st_dev);
        status.stx_ino = number->st_ino;
    }
    return -notify_write(notification, args[STATX_BUFFER], &status, sizeof status);
}

int64_t looks_access(int fd, int mode, int flags)
{
    return syscall(SYS_faccessat2, fd, "", mode, (flags & AT_EACCESS) | AT_EMPTY_PATH) == 0
               ? 0
               : -errno;
}

int64_t looks_text(const struct notification *notification, unsigned to, const char *text,
                   size_t length)
{
    const __u64 *args = notification->request.data.args;
    int room = (int)args[to + 1];
    int failed;

    if (room <= 0)
        return -EINVAL;
    length = length < (size_t)room ? length : (size_t)room;
    failed = notify_write(notification, args[to], text, length);
    return failed == 0 ? (int64_t)length : -failed;
}

int64_t looks_link(const struct notification *notification, unsigned to, int fd)
{
    char text[PATH_MAX];
    struct stat status;
    ssize_t length;

    if (fstat(fd, &status) != 0)
        return -errno;
    if (!S_ISLNK(status.st_mode))
        return -EINVAL;
    length = readlinkat(fd, "", text, sizeof text);
    return length < 0 ? -errno : looks_text(notification, to, text, (size_t)length);
}

int64_t looks_directory(const struct notification *notification, const char *path)
{
    const __u64 *args = notification->request.data.args;
    size_t bytes = strlen(path) + 1;
    int failed;

    if (args[1] < bytes)
        return -ERANGE;
    failed = notify_write(notification, args[0], path, bytes);
    return failed == 0 ? (int64_t)bytes : -failed;
}
