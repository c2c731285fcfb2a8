/*
 * command.c: see command.h.
 */
#include "supervisor/command.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "supervisor/error.h"
#include "supervisor/owned.h"

/* What execvp(3) uses where PATH is not set. */
#define DEFAULT_PATH "/bin:/usr/bin"

static const char *search_path(char *const *environment)
{
    for (; *environment; environment++)
        if (strncmp(*environment, "PATH=", 5) == 0)
            return *environment + 5;
    return DEFAULT_PATH;
}

/* 0, or why it cannot be run. */
static int refusal(const char *path)
{
    struct stat status;

    if (stat(path, &status) != 0)
        return errno;
    if (!S_ISREG(status.st_mode))
        return EACCES;
    return access(path, X_OK) == 0 ? 0 : errno;
}

static char *search(const char *name, const char *directories, int *why)
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
        number = refusal(path);
        if (number == 0)
            return owned_memory_move(path);
        /* One that is there, and not merely in a directory that may not be looked into. */
        if (access(path, F_OK) == 0)
            *why = number;
        directories += length;
        if (*directories++ == 0)
            return NULL;
    }
}

char *command_find(const char *name, char *const *environment, struct error *error)
{
    char *path = NULL;
    int why = name[0] == 0 ? ENOENT : 0;

    if (why == 0 && !strchr(name, '/')) {
        path = search(name, search_path(environment), &why);
    } else if (why == 0) {
        why = refusal(name);
        path = why == 0 ? strdup(name) : NULL;
    }
    if (!path)
        (void)error_set(error, why != 0 ? why : ENOMEM, "cannot run %s", name);
    return path;
}
