/*
 * cow_walk.h: which file of a copy-on-write directory a path means. It changes nothing but that it
 * fills the directories of `tree` on the way (cow_layer.h), and decides nothing.
 *
 * A path is followed name by name, from descriptor to descriptor, and no step follows a link by
 * itself. DIR is `tree` wherever it is met; what is above `tree` is what is above DIR. Where the
 * path leads elsewhere the place is outside, which is for the kernel and Landlock.
 */
#ifndef SUPERVISOR_COW_WALK_H
#define SUPERVISOR_COW_WALK_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

struct cow;
struct notification;

/* What is done with a link that the path ends in. */
enum cow_follow {
    COW_FOLLOW,
    COW_NO_FOLLOW, /* but behind a slash it is followed all the same */
    COW_NAME,      /* never: it is the name that is meant */
};

struct cow_place {
    bool inside;             /* in `tree` */
    bool native;             /* the kernel finds the same by the process's own path */
    int failed;              /* why there is no target; ENOENT with a parent: the name is free */
    int parent;              /* the last name's directory; -1: it was not reached */
    int target;              /* O_PATH; a link, where the last was not to be followed; -1: none */
    char name[NAME_MAX + 1]; /* the last; ".": parent itself */
    struct stat status;      /* of the target, as it is in `tree`: see cow_status */
    bool slash;              /* the path ended in one */
};

#define COW_PLACE_NONE ((struct cow_place){.parent = -1, .target = -1})

void cow_place_clear(struct cow_place *place);
#define owned_cow_place __attribute__((cleanup(cow_place_clear)))

/* A path of the process that waits, of its descriptor `directory` or AT_FDCWD. Not empty. */
void cow_find(const struct notification *notification, int directory, const char *path,
              enum cow_follow follow, struct cow_place *place);

/* A path of ours. */
void cow_find_absolute(struct cow *cow, const char *path, struct cow_place *place);

/* The real path of the place, which means the same to the kernel. False: it is too long. */
bool cow_real_path(const struct cow_place *place, char *path, size_t bytes);

#endif
