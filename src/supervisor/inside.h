/*
 * inside.h: what happens in a sandbox's process between fork(2) and its command: it gives up what
 * it may, hands over its listener, and becomes the command. Only calls that are safe after fork in
 * a process with threads; nothing is allocated.
 */
#ifndef SUPERVISOR_INSIDE_H
#define SUPERVISOR_INSIDE_H

#include <limits.h>
#include <sys/types.h>

struct policy;

/* Where it can fail. */
enum inside_stage {
    INSIDE_STARTED, /* it did not */
    INSIDE_STDIO,
    INSIDE_DIRECTORY,
    INSIDE_LIMITS,
    INSIDE_PRIVILEGES,
    INSIDE_LANDLOCK,
    INSIDE_FILTER,
    INSIDE_LISTENER,
    INSIDE_COMMAND,
};

/* Why the command did not start, through the control pipe. That holds one page, so this never
 * comes in one piece. */
struct inside_report {
    char what[PATH_MAX]; /* the path that was meant, or "" */
    int stage;           /* enum inside_stage */
    int number;          /* an errno value */
};

struct inside {
    const struct policy *policy;
    pid_t supervisor;
    const char *path; /* of the command, found already */
    char *const *command;
    char *const *environment;
    int ruleset;           /* of Landlock */
    const char *directory; /* NULL: as it is */
    int start;             /* the same as a descriptor; -1: it is not one */
    int stdio[3];          /* what becomes 0, 1, 2; -1: as they are */
    int channel;           /* a socket: takes the listener */
    int control;           /* a pipe: takes the report */
};

_Noreturn void inside_run(const struct inside *inside);

#endif
