/*
 * resolve.c: see resolve.h.
 */
#include "supervisor/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Beside threads that do nothing but rename, a path of five `..` needs two at most, one of 1,300
 * at most 1,600, or 16 ms, until those threads' time slice ends. */
enum { TRIES = 50000 };

/* Otherwise EAGAIN has another reason: a lease, say, and O_NONBLOCK. */
static bool may_go_up(const char *path, unsigned resolve)
{
    return (resolve & (RESOLVE_IN_ROOT | RESOLVE_BENEATH)) &&
           (!(resolve & RESOLVE_NO_SYMLINKS) || strstr(path, ".."));
}

int resolve_open(int directory, const char *path, unsigned flags, unsigned resolve)
{
    const struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};
    int fd = -1;

    for (int tried = 0; tried < TRIES; tried++) {
        fd = (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
        if (fd >= 0 || errno != EAGAIN || !may_go_up(path, resolve))
            break;
    }
    return fd;
}
