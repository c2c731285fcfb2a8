/*
 * shim.c: finds libboxledger.so. It loads nothing.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "cli/cli.h"

static char *usable(struct arena *arena, const char *path)
{
    char *real;

    if (access(path, R_OK) != 0)
        return NULL;
    /* Absolute, for programs that change their directory and exec. */
    real = realpath(path, NULL);
    if (real) {
        char *copy = arena_text(arena, real, strlen(real));

        free(real);
        return copy;
    }
    return NULL;
}

char *shim_find(struct arena *arena, struct failure *failure)
{
    static const char *const beside[] = {"libboxledger.so", ".libs/libboxledger.so"};
    const char *override = getenv("BOXLEDGER_SHIM");
    char own[PATH_MAX], *found = NULL, *slash;
    ssize_t length;

    if (override && *override) {
        found = usable(arena, override);
        if (!found) {
            failure_set(failure, "BOXLEDGER_SHIM: %s: %s", override, strerror(errno));
            return NULL;
        }
    }
    length = readlink("/proc/self/exe", own, sizeof own - 1);
    own[length > 0 ? length : 0] = '\0';
    slash = strrchr(own, '/');
    for (size_t i = 0; !found && slash && i < sizeof beside / sizeof *beside; i++)
        found = usable(arena, arena_format(arena, "%.*s/%s", (int)(slash - own), own, beside[i]));
    if (!found)
        found = usable(arena, BOXLEDGER_PKGLIBDIR "/libboxledger.so");
    if (!found) {
        failure_set(failure, "libboxledger.so is neither beside this command nor in %s",
                    BOXLEDGER_PKGLIBDIR);
        return NULL;
    }
    /* ld.so(8) splits LD_PRELOAD at both, and there is no way to quote them. */
    if (strpbrk(found, ": ")) {
        failure_set(failure, "%s: a path with a space or a colon cannot be preloaded", found);
        return NULL;
    }
    return found;
}
