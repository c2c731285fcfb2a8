/*
 * cow_layer.h: the upper layer of a copy-on-write directory: what is in it and what it only stands
 * for. It answers nobody.
 *
 * All of its state is in its files. An entry of `tree` is either real, or it says by the mode
 * 01000, which nothing else in it ever has, that what it stands for is in DIR at the same path:
 *
 *   a regular file  stands for one that has not been written to: empty, and never opened
 *   a directory     stands for one that nobody has looked into yet
 *
 * A directory that was looked into has an entry for every file, link and directory that DIR had
 * there, so that what is missing was removed and nothing has to say so. (Pipes, sockets and
 * devices are not shown.)
 */
#ifndef SUPERVISOR_COW_LAYER_H
#define SUPERVISOR_COW_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

struct cow;

/* The mode of what stands for something else. */
#define COW_STANDS_FOR S_ISVTX

/* What may become a mode in `tree`: rights, and for directories the sticky bit. Nobody is given a
 * setuid file. */
mode_t cow_mode(mode_t mode, bool is_directory);

static inline bool cow_stands_for(const struct stat *status)
{
    return (status->st_mode & ALLPERMS) == COW_STANDS_FOR &&
           (S_ISREG(status->st_mode) || S_ISDIR(status->st_mode));
}

/* The path, in DIR and in `tree`, of `name` in a directory of `tree`. 0, or an errno value. */
int cow_relative(const struct cow *cow, int directory, const char *name, char *path, size_t bytes);

/* What is at that path in DIR, no link followed, or -1 with errno. */
int cow_open_lower(const struct cow *cow, const char *path, int flags);

/* Makes a directory of `tree`, an O_PATH descriptor, a real one. 0, or an errno value. */
int cow_fill(const struct cow *cow, int directory);

/* Makes a file of `tree` that stands for one a real one: a copy, or an empty one. Descriptors of it
 * are not of it any more. 0, or an errno value. */
int cow_copy_up(const struct cow *cow, int directory, const char *name, bool empty);

/* Copies all of a file, by reference where the file system can. 0, or an errno value. */
int cow_copy_bytes(int from, int to);

/* A descriptor, O_PATH, of what an entry of `tree` is or stands for, or -1 with errno. `target` is
 * one of the entry itself. */
int cow_open_meant(const struct cow *cow, int directory, const char *name, int target);

/* A name was removed from `tree`: notes it if DIR has it. 0, or an errno value. */
int cow_note_removed(struct cow *cow, const char *path);

/* Calls `each` for every name that was noted, with DIR's path of it. Stops at a failure. */
int cow_each_removed(const struct cow *cow, int (*each)(const char *path, void *context),
                     void *context);
void cow_forget_removed(struct cow *cow);

/* Removes all that is in a directory but for one name; needs few descriptors however deep it is.
 * Follows no link, though others may write there. 0, or an errno value. */
int cow_empty(int directory, const char *but);

/* Removes from `tree` what only stands for something. */
void cow_tidy(int directory);

#endif
