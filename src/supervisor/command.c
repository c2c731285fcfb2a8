/*
 * command.c: see command.h.
 */
#include "supervisor/command.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "supervisor/error.h"
#include "supervisor/owned.h"
#include "supervisor/resolve.h"

/* What execvp(3) uses where PATH is not set. */
#define DEFAULT_PATH "/bin:/usr/bin"

static const char *search_path(char *const *environment)
{
    for (; *environment; environment++)
        if (strncmp(*environment, "PATH=", 5) == 0)
            return *environment + 5;
    return DEFAULT_PATH;
}

/* Where names are looked up: see command.h. */
struct place {
    int root;
    const char *directory;
};

/* 0, or why there is nothing of this path. */
static int open_path(const struct place *place, const char *path, int *fd)
{
    int root = place->root;
    owned_memory char *below = NULL;

    if (place->directory && path[0] != '/') {
        if (asprintf(&below, "%s/%s", place->directory, path) < 0) {
            below = NULL;
            return ENOMEM;
        }
        path = below;
    }
    *fd = root >= 0 ? resolve_open(root, path, O_PATH, RESOLVE_IN_ROOT)
                    : open(path, O_PATH | O_CLOEXEC);
    return *fd >= 0 ? 0 : errno;
}

static bool is_there(const struct place *place, const char *path)
{
    owned_fd int fd = -1;

    return open_path(place, path, &fd) == 0;
}

/* 0, or why it cannot be run. */
static int refusal(const struct place *place, const char *path)
{
    owned_fd int fd = -1;
    struct stat status;
    int failed = open_path(place, path, &fd);

    if (failed != 0)
        return failed;
    if (fstat(fd, &status) != 0)
        return errno;
    if (!S_ISREG(status.st_mode))
        return EACCES;
    return syscall(SYS_faccessat2, fd, "", X_OK, AT_EMPTY_PATH) == 0 ? 0 : errno;
}

static char *search(const struct place *place, const char *name, const char *directories, int *why)
{
    *why = ENOENT;
    for (;;) {
        int length = (int)strcspn(directories, ":");
        owned_memory char *path = NULL;
        int number;

        if (asprintf(&path, "%.*s%s%s", length, directories, length > 0 ? "/" : "", name) < 0) {
            path = NULL;
            *why = ENOMEM;
            return NULL;
        }
        number = refusal(place, path);
        if (number == 0)
            return owned_memory_move(path);
        /* One that is there, and not merely in a directory that may not be looked into. */
        if (is_there(place, path))
            *why = number;
        directories += length;
        if (*directories++ == 0)
            return NULL;
    }
}

char *command_find(int root, const char *directory, const char *name, char *const *environment,
                   struct error *error)
{
    const struct place place = {root, directory};
    char *path = NULL;
    int why = name[0] == 0 ? ENOENT : 0;

    if (why == 0 && !strchr(name, '/')) {
        path = search(&place, name, search_path(environment), &why);
    } else if (why == 0) {
        why = refusal(&place, name);
        path = why == 0 ? strdup(name) : NULL;
    }
    if (!path)
        (void)error_set(error, why != 0 ? why : ENOMEM, "cannot run %s", name);
    return path;
}
