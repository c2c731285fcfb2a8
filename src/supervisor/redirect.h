/*
 * redirect.h: opens under another root: every path means what it would after chroot(2) to a
 * directory, without the privilege that takes.
 *
 * No open of such a sandbox is left to the kernel, so neither .. nor a link nor a path that changes
 * after the check leads out: the kernel resolves it for boxsup, in the directory, and boxsup opens
 * what was found. Other calls with a path are in redirect_calls.h.
 */
#ifndef SUPERVISOR_REDIRECT_H
#define SUPERVISOR_REDIRECT_H

#include <stdbool.h>
#include <stddef.h>

struct notification;

/* Answers an open. EROFS: not for reading alone; EACCES: neither a file nor a directory, or
 * relative to a directory outside. A few devices and what is virtual are as everywhere. `argument`
 * is the number of the path. */
void redirect_answer_open(const struct notification *notification, int directory, const char *path,
                          int flags, unsigned argument);

/* What a path leads to, as an O_PATH descriptor: 0, or an errno value for the process. Of `flags`
 * O_NOFOLLOW and O_DIRECTORY count. */
int redirect_find(const struct notification *notification, int directory, const char *path,
                  int flags, int *target);

/* Whether a path means what it means without the other root: a device or a file of /proc. */
bool redirect_is_machines(const struct notification *notification, const char *path, int flags);

/* A path from the new root is one outside. False: it is too long, or none of it. */
bool redirect_name_inside(const struct notification *notification, char *path, size_t bytes);

#endif
