/*
 * cow_calls.h: the calls of a sandbox with a path in a copy-on-write directory. boxsup does them in
 * the upper layer, with the rights of its own user, for processes of the same user.
 *
 * What only the process can do, change its directory say, the kernel does, by the process's own
 * path where it leads to `tree`, and by another one where it does not (redo.h).
 */
#ifndef SUPERVISOR_COW_CALLS_H
#define SUPERVISOR_COW_CALLS_H

#include <stdbool.h>
#include <sys/types.h>

struct cow_place;
struct notification;

/* Every call but opens and those of attributes.h. */
void cow_answer(const struct notification *notification);

/* Answers an open of a place in `tree`; `argument` is the number of its path. */
void cow_answer_open(const struct notification *notification, struct cow_place *place, int flags,
                     mode_t mode, unsigned argument);

/* A call with the number of the argument that is the path, and a place outside: the kernel's. */
void cow_leave(const struct notification *notification, const struct cow_place *place,
               unsigned argument);

/* The file whose attributes are to be changed, as a real one of `tree`: 0, or an errno value.
 * *inside: it is one; otherwise *target is -1, or where the path leads. `path` may be "": a
 * descriptor. */
int cow_find_for_change(const struct notification *notification, int directory, const char *path,
                        bool no_follow, bool *inside, int *target);

/* How many calls cow_answer is for, and which, for the filter. */
unsigned cow_call_count(void);
int cow_call(unsigned index);

#endif
