/*
 * redirect.h: opens under another root: every path means what it would after chroot(2) to a
 * directory, without the privilege that takes.
 *
 * No open of such a sandbox is left to the kernel, so neither .. nor a link nor a path that changes
 * after the check leads out: the kernel resolves it for boxsup, in the directory, and boxsup opens
 * what was found. Only opens are redirected: a program is executed, and a file's status is asked
 * for, by its path outside.
 */
#ifndef SUPERVISOR_REDIRECT_H
#define SUPERVISOR_REDIRECT_H

struct notification;

/* Answers an open. EROFS: not for reading alone; EACCES: neither a file nor a directory, or
 * relative to a directory outside. A few devices and what is virtual are as everywhere. */
void redirect_answer_open(const struct notification *notification, int directory, const char *path,
                          int flags);

#endif
