/*
 * lazy_copy.h: a copy of a file in a memfd that is filled when somebody is about to read it, in
 * pieces, each of which appears at once: no reader ever sees half of one.
 *
 * Nobody but boxsup can write to it, from the beginning (F_SEAL_FUTURE_WRITE), and boxsup itself
 * can only by a userfaultfd over its own mapping. When all of it is there, it is sealed for good.
 * It does not know who reads: lazy_calls.h and lazy_faults.h ask for what is needed.
 *
 * Any number of threads may use one.
 */
#ifndef SUPERVISOR_LAZY_COPY_H
#define SUPERVISOR_LAZY_COPY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct lazy_copy;

/* A copy of `from`, a file of *status, of which nothing is read yet. *from is empty afterwards if
 * it returns 0. Otherwise an errno value: ENOSYS, EPERM and the like where the kernel does not have
 * or permit what it takes. `path` and `tell` (NULL: nobody listens) are for what the user should
 * know. */
int lazy_copy_make(int *from, const struct stat *status, const char *path,
                   void (*tell)(const char *sentence), struct lazy_copy **copy);

/* The memfd, which stays the copy's. */
int lazy_copy_fd(const struct lazy_copy *copy);

/* Sees to it that so many bytes from `offset` on are there, or all that the file has of them.
 * Returns 0, or an errno value; ESTALE: the file is not any more what it was when the copy was
 * made, and what has not been read is lost. What failed once fails again. */
int lazy_copy_fill(struct lazy_copy *copy, uint64_t offset, uint64_t bytes);

/* All of it. */
int lazy_copy_fill_whole(struct lazy_copy *copy);

/* Whether all of it is there. What is, stays. */
bool lazy_copy_is_whole(struct lazy_copy *copy);

/* *copy may be NULL, and is afterwards. */
void lazy_copy_free(struct lazy_copy **copy);

#endif
