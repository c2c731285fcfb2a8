/*
 * path_call.h: system calls with a path: which of their arguments say what. For tables with a row
 * for each call; what is done about a call is the table's own business.
 */
#ifndef SUPERVISOR_PATH_CALL_H
#define SUPERVISOR_PATH_CALL_H

#include <linux/seccomp.h>
#include <stddef.h>

/* Whether the path's last link is followed. */
enum path_follow {
    PATH_FOLLOW,
    PATH_NO_FOLLOW,
    PATH_NAME,        /* never: it is the name that is meant */
    PATH_UNLESS_FLAG, /* AT_SYMLINK_NOFOLLOW */
    PATH_IF_FLAG,     /* AT_SYMLINK_FOLLOW */
};

#define PATH_NONE (-1)

struct path_call {
    int number;    /* SYS_... */
    int directory; /* the number of an argument, or PATH_NONE */
    int path;
    int flags;
    enum path_follow follow;
};

/* The row of a call in a table whose rows each begin with a struct path_call; NULL: it has none. */
const void *path_call_find(const void *rows, size_t count, size_t row_bytes, int number);

/* The descriptor that a relative path starts at, or AT_FDCWD. */
int path_call_directory(const struct path_call *call, const struct seccomp_data *data);

/* AT_... */
int path_call_flags(const struct path_call *call, const struct seccomp_data *data);

/* PATH_FOLLOW, PATH_NO_FOLLOW or PATH_NAME, whatever it depended on. */
enum path_follow path_call_follow(const struct path_call *call, int flags);

#endif
