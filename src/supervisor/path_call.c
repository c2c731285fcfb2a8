/*
 * path_call.c: see path_call.h.
 */
#include "supervisor/path_call.h"

#include <fcntl.h>

const void *path_call_find(const void *rows, size_t count, size_t row_bytes, int number)
{
    for (size_t i = 0; i < count; i++) {
        const struct path_call *call = (const void *)((const char *)rows + i * row_bytes);

        if (call->number == number)
            return call;
    }
    return NULL;
}

int path_call_directory(const struct path_call *call, const struct seccomp_data *data)
{
    return call->directory != PATH_NONE ? (int)data->args[call->directory] : AT_FDCWD;
}

int path_call_flags(const struct path_call *call, const struct seccomp_data *data)
{
    return call->flags != PATH_NONE ? (int)data->args[call->flags] : 0;
}

enum path_follow path_call_follow(const struct path_call *call, int flags)
{
    switch (call->follow) {
    case PATH_UNLESS_FLAG:
        return flags & AT_SYMLINK_NOFOLLOW ? PATH_NO_FOLLOW : PATH_FOLLOW;
    case PATH_IF_FLAG:
        return flags & AT_SYMLINK_FOLLOW ? PATH_FOLLOW : PATH_NO_FOLLOW;
    default:
        return call->follow;
    }
}
