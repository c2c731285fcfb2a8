/*
 * looks.h: what calls that only look at a file are answered, for a file that boxsup has found: the
 * results of stat(2) and its kin, access(2), readlink(2). It decides nothing and finds nothing.
 *
 * Each returns what the call returns: a value, or a negative errno value.
 */
#ifndef SUPERVISOR_LOOKS_H
#define SUPERVISOR_LOOKS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct notification;

/* The status of `fd`, written to where argument `to` points. `number`: of which it has the device
 * and inode; NULL: its own. */
int64_t looks_stat(const struct notification *notification, unsigned to, int fd,
                   const struct stat *number);

/* The same for statx(2), whose flags and mask are the call's. */
int64_t looks_statx(const struct notification *notification, int fd, const struct stat *number);

/* Whether our user may do with `fd` what `mode` says. `flags` as of faccessat2(2). */
int64_t looks_access(int fd, int mode, int flags);

/* A text of so many bytes, written to where argument `to` points, as far as the next one says that
 * there is room. */
int64_t looks_text(const struct notification *notification, unsigned to, const char *text,
                   size_t length);

/* The text of a link. */
int64_t looks_link(const struct notification *notification, unsigned to, int fd);

/* getcwd(2) of a process whose directory is called so. */
int64_t looks_directory(const struct notification *notification, const char *path);

#endif
