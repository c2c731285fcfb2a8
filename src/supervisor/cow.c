/*
 * cow.c: see cow.h.
 */
#include "supervisor/cow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "supervisor/access.h"
#include "supervisor/cow_layer.h"
#include "supervisor/cow_temporary.h"
#include "supervisor/cow_walk.h"
#include "supervisor/error.h"
#include "supervisor/lookup.h"
#include "supervisor/owned.h"
#include "supervisor/profile.h"

/* Whether the sandbox could change it behind boxsup's back, or it would be a copy of itself. */
static bool is_unfit(const struct profile *profile, const char *path)
{
    for (size_t i = 0; i < profile->writable_count; i++)
        if (strcmp(path, profile->writable[i]) == 0 || lookup_is_below(path, profile->writable[i]))
            return true;
    return strcmp(path, profile->cow) == 0 || lookup_is_below(path, profile->cow);
}

#define PLACES 3

/* Where a temporary layer may be: false, not there. */
static bool find_place(const struct profile *profile, size_t index, char place[PATH_MAX])
{
    const char *const places[PLACES] = {getenv("TMPDIR"), "/tmp", "/var/tmp"};

    return places[index] && realpath(places[index], place) && !is_unfit(profile, place);
}

void cow_sweep(const struct profile *profile)
{
    char place[PATH_MAX];

    for (size_t i = 0; i < PLACES; i++)
        if (find_place(profile, i, place))
            cow_temporary_sweep(place);
}

static int make_temporary(struct cow *cow, struct error *error)
{
    char place[PATH_MAX];

    for (size_t i = 0; i < PLACES && cow->holder < 0; i++)
        if (find_place(cow->profile, i, place))
            cow->holder = cow_temporary_make(place, cow->holder_path, sizeof cow->holder_path);
    if (cow->holder >= 0)
        return 0;
    cow->holder_path[0] = 0;
    return error_set(error, 0, "there is no place for the upper layer; --upper names one");
}

/* The user's: an empty directory, or one that is made. */
static int make_named(struct cow *cow, struct error *error)
{
    const char *path = cow->profile->upper;
    bool is_new = mkdir(path, S_IRWXU) == 0;

    cow->keeps = true;
    if (!is_new && errno != EEXIST)
        return error_set(error, errno, "cannot make %s", path);
    if (!realpath(path, cow->holder_path))
        return error_set(error, errno, "cannot find %s", path);
    if (is_unfit(cow->profile, cow->holder_path)) {
        if (is_new)
            (void)rmdir(cow->holder_path);
        return error_set(error, 0, "%s is in a directory that the sandbox may write", path);
    }
    if (rmdir(cow->holder_path) != 0)
        return error_set(error, errno, "cannot use %s", path);
    if (mkdir(cow->holder_path, S_IRWXU) != 0)
        return error_set(error, errno, "cannot make %s", path);
    return 0;
}

static int open_layers(struct cow *cow, struct error *error)
{
    int written = snprintf(cow->tree_path, sizeof cow->tree_path, "%s/" COW_TREE, cow->holder_path);

    if ((size_t)written >= sizeof cow->tree_path)
        return error_set(error, ENAMETOOLONG, "%s", cow->holder_path);
    if (cow->holder < 0) /* the user's */
        cow->holder = open(cow->holder_path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (cow->holder < 0 || mkdirat(cow->holder, COW_TREE, 0) != 0 ||
        fchmodat(cow->holder, COW_TREE, COW_STANDS_FOR, 0) != 0)
        return error_set(error, errno, "cannot make the upper layer in %s", cow->holder_path);
    cow->tree = openat(cow->holder, COW_TREE, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    cow->lower = open(cow->profile->cow, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (cow->tree < 0 || cow->lower < 0 || fstat(cow->tree, &cow->tree_status) != 0 ||
        fstat(cow->lower, &cow->lower_status) != 0)
        return error_set(error, errno, "cannot open %s", cow->profile->cow);
    cow->ruleset = access_make_ruleset(cow->profile, cow->tree_path, error);
    return cow->ruleset < 0 ? -1 : 0;
}

int cow_begin(struct cow **begun, const struct profile *profile, struct error *error)
{
    struct cow *cow = calloc(1, sizeof *cow);

    *begun = cow;
    if (!cow)
        return error_set(error, ENOMEM, "no room for the upper layer");
    cow->profile = profile;
    cow->ruleset = cow->holder = cow->tree = cow->lower = -1;
    if ((profile->upper ? make_named(cow, error) : make_temporary(cow, error)) != 0 ||
        open_layers(cow, error) != 0) {
        cow_end(begun);
        return -1;
    }
    return 0;
}

int cow_start_directory(struct cow *cow, const char *directory)
{
    owned_cow_place struct cow_place place = COW_PLACE_NONE;
    char path[PATH_MAX];

    if (!realpath(directory ? directory : ".", path))
        return -1;
    cow_find_absolute(cow, path, &place);
    if (!place.inside || place.failed != 0 || !S_ISDIR(place.status.st_mode) ||
        cow_fill(cow, place.target) != 0)
        return -1;
    return owned_fd_move(&place.target);
}

void cow_keep(struct cow *cow, struct error *error)
{
    cow->keeps = true;
    cow_temporary_keep(cow->holder);
    (void)error_prefix(error, "what changed is still in %s", cow->tree_path);
}

void cow_end(struct cow **ended)
{
    struct cow *cow = *ended;

    if (!cow)
        return;
    if (cow->keeps && cow->tree >= 0)
        cow_tidy(cow->tree);
    if (!cow->keeps && cow->holder >= 0)
        cow_temporary_remove(cow->holder, cow->holder_path);
    cow_forget_removed(cow);
    owned_fd_close(&cow->ruleset);
    owned_fd_close(&cow->holder);
    owned_fd_close(&cow->tree);
    owned_fd_close(&cow->lower);
    owned_memory_free(ended);
}
