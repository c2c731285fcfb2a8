/*
 * lookup.h: what a path of a sandbox's process means, and where a descriptor of boxsup's leads.
 */
#ifndef SUPERVISOR_LOOKUP_H
#define SUPERVISOR_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>

struct notification;

/* The file as an O_PATH descriptor, or -1 with errno. `directory` is the process's descriptor or
 * AT_FDCWD. Links of /proc that lead anywhere are not followed. Good for finding out what is meant,
 * never for permitting the process to do something with it by its own path. */
int lookup_path(const struct notification *notification, int directory, const char *path,
                bool no_follow);

/* The directory that the process's relative paths start at, as an O_PATH descriptor, or -1. */
int lookup_start(const struct notification *notification, int directory);

/* The path of a descriptor of ours. False: it has none, or a longer one. */
bool lookup_name(int fd, char *path, size_t bytes);

/* A new descriptor of what an O_PATH descriptor leads to, or -1 with errno. */
int lookup_open(int fd, int flags);

/* Whether the process is of our user, whose rights boxsup does things with. */
bool lookup_has_our_user(const struct notification *notification);

/* Whether a path is below a directory; both absolute, without links. */
bool lookup_is_below(const char *path, const char *directory);

#endif
