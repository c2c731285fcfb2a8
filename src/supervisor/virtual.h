/*
 * virtual.h: files and calls that tell a sandbox something else than the machine would.
 *
 * A virtual file is a memfd with its contents, of which the sandbox gets a read-only copy, and
 * boxsup keeps none. What each file says is in contents.c.
 */
#ifndef SUPERVISOR_VIRTUAL_H
#define SUPERVISOR_VIRTUAL_H

#include <stdbool.h>

struct notification;

/* /proc/NAME. False: it is not virtual, and nothing was answered. */
bool virtual_answer_proc(const struct notification *notification, const char *name, int flags);

/* /proc/net/NAME, which `target` is an O_PATH descriptor of. */
void virtual_answer_network(const struct notification *notification, int target, const char *name,
                            int flags);

void virtual_answer_hostname(const struct notification *notification, int flags);

/* /dev/random and /dev/urandom: so many bytes, and then the end of the file. */
#define VIRTUAL_RANDOM_BYTES 65536
void virtual_answer_random(const struct notification *notification, int flags);

void virtual_answer_getrandom(const struct notification *notification);
void virtual_answer_uname(const struct notification *notification);

#endif
