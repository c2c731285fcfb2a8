/*
 * cow_temporary.h: upper layers that are boxsup's own: directories that go when their sandbox ends,
 * or, where boxsup was killed, when the next one starts.
 *
 * Such a directory is locked (flock(2)) by the boxsup that uses it, and a lock goes with its
 * process. It has a mark, a file: without one, and of another user, nothing is ever removed, so
 * that a layer that is kept only loses its mark.
 */
#ifndef SUPERVISOR_COW_TEMPORARY_H
#define SUPERVISOR_COW_TEMPORARY_H

#include <stddef.h>

/* Makes one in the directory `place`. Returns a descriptor of it, which holds the lock, and its
 * path; -1: not there. */
int cow_temporary_make(const char *place, char *path, size_t bytes);

/* Removes one, of which `holder` is a descriptor. */
void cow_temporary_remove(int holder, const char *path);

/* Its files are its user's from now on. */
void cow_temporary_keep(int holder);

/* Removes those in the directory `place` whose boxsup is gone. */
void cow_temporary_sweep(const char *place);

#endif
