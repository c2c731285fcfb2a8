/*
 * cow.h: a copy-on-write directory: what a sandbox changes below it is changed in an upper layer,
 * and written back at the end or forgotten.
 *
 * The upper layer is a directory of boxsup's own whose `tree` stands for the lower directory: what
 * the sandbox's process calls DIR is `tree`, whatever path leads there. It is filled as it is
 * looked at, one directory at a time (cow_layer.h). Every call with a path in it is boxsup's to
 * answer (cow_calls.h): opens with descriptors, all others by doing them in `tree`.
 *
 * Landlock grants the sandbox neither the lower directory nor a change in the upper one. So nothing
 * but boxsup writes to `tree`, one thread for each sandbox, and what it finds there stays what it
 * is while it looks.
 */
#ifndef SUPERVISOR_COW_H
#define SUPERVISOR_COW_H

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

struct cow_removed;
struct error;
struct profile;

/* Its name in the upper layer. */
#define COW_TREE "tree"

struct cow {
    const struct profile *profile;
    int ruleset; /* of Landlock: the profile's, and the upper layer */
    int holder;  /* the upper layer: `tree`, and a file that is being copied */
    int tree;    /* O_PATH */
    int lower;   /* DIR */
    char holder_path[PATH_MAX];
    char tree_path[PATH_MAX]; /* without links, as is profile->cow */
    struct stat tree_status;
    struct stat lower_status;
    struct cow_removed *removed; /* names in DIR that were removed from `tree` */
    bool keeps;                  /* the upper layer is the user's and stays */
};

/* Makes the upper layer of one sandbox. Returns 0, or -1 with the reason in *error. */
int cow_begin(struct cow **cow, const struct profile *profile, struct error *error);

/* Where the command is to start, if that is below DIR: a descriptor of the directory in `tree`; -1:
 * it is elsewhere, or it is not there. `directory` may be NULL: where boxsup is. */
int cow_start_directory(struct cow *cow, const char *directory);

/* From any state. The upper layer goes, unless it is the user's: then what did not change goes. */
void cow_end(struct cow **cow);

/* Removes temporary upper layers of boxsups that were killed, where one of this profile would be.
 */
void cow_sweep(const struct profile *profile);

/* It stays after all, where the error says. */
void cow_keep(struct cow *cow, struct error *error);

#endif
