/*
 * cow_walk.c: see cow_walk.h.
 */
#include "supervisor/cow_walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/cow.h"
#include "supervisor/cow_layer.h"
#include "supervisor/lookup.h"
#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/policy.h"
#include "supervisor/proc.h"
#include "supervisor/sandbox.h"

/* As many as the kernel follows. */
#define LINKS_MAX 40

struct walk {
    const struct notification *notification; /* NULL: a path of ours */
    const struct cow *cow;
    dev_t proc;
    int current; /* a directory, O_PATH */
    bool inside; /* it is in `tree` */
    bool native;
    unsigned links;
    char rest[PATH_MAX]; /* what is still to be followed */
};

void cow_place_clear(struct cow_place *place)
{
    owned_fd_close(&place->parent);
    owned_fd_close(&place->target);
}

static bool is_same(const struct stat *one, const struct stat *other)
{
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

/* Takes a directory as the current one: DIR is `tree`. 0, or an errno value. */
static int enter(struct walk *walk, int directory)
{
    owned_fd int fd = directory;
    struct stat status;

    if (fd < 0 || fstat(fd, &status) != 0)
        return errno;
    if (!walk->inside && is_same(&status, &walk->cow->lower_status)) {
        owned_fd_replace(&fd, fcntl(walk->cow->tree, F_DUPFD_CLOEXEC, 0));
        if (fd < 0)
            return errno;
        walk->inside = true;
        walk->native = false;
    } else if (!walk->inside && is_same(&status, &walk->cow->tree_status)) {
        walk->inside = true;
    }
    owned_fd_replace(&walk->current, owned_fd_move(&fd));
    return 0;
}

static int enter_root(struct walk *walk)
{
    walk->inside = false;
    return enter(walk, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
}

static int enter_parent(struct walk *walk)
{
    char name[PATH_MAX];
    struct stat status;
    owned_fd int up = -1;

    if (fstat(walk->current, &status) != 0)
        return errno;
    if (walk->inside && is_same(&status, &walk->cow->tree_status)) {
        walk->inside = walk->native = false;
        return enter(walk, openat(walk->cow->lower, "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
    }
    up = openat(walk->current, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    /* Nobody moves what is in `tree` out of it; if somebody did, this would not be its parent. */
    if (walk->inside &&
        (up < 0 || !lookup_name(up, name, sizeof name) ||
         (strcmp(name, walk->cow->tree_path) != 0 && !lookup_is_below(name, walk->cow->tree_path))))
        return EACCES;
    return enter(walk, owned_fd_move(&up));
}

/* Puts a link's text, or part of one, before what is still to be followed. */
static int prepend(struct walk *walk, const char *text, const char *rest)
{
    char whole[PATH_MAX];

    if ((size_t)snprintf(whole, sizeof whole, "%s%s%s", text, *rest ? "/" : "", rest) >=
        sizeof whole)
        return ENAMETOOLONG;
    memcpy(walk->rest, whole, sizeof whole);
    return text[0] == '/' ? enter_root(walk) : 0;
}

/* Goes on at a directory that was found by other means than its path. One of DIR itself is the one
 * in `tree`. */
static int go_on_at(struct walk *walk, int directory, const char *rest)
{
    owned_fd int fd = directory;
    char name[PATH_MAX];

    if (!lookup_name(fd, name, sizeof name))
        return ENAMETOOLONG;
    if (lookup_is_below(name, walk->cow->profile->cow)) {
        walk->native = false;
        return prepend(walk, name, rest);
    }
    walk->inside = lookup_is_below(name, walk->cow->tree_path);
    (void)snprintf(walk->rest, sizeof walk->rest, "%s", rest);
    return enter(walk, owned_fd_move(&fd));
}

/* Follows a link. ENOENT: it is one of /proc's that leads to what has no path. */
static int follow_link(struct walk *walk, int link, const char *name, const struct stat *status,
                       const char *rest)
{
    static const char gone[] = " (deleted)";
    owned_fd int directory = -1;
    char text[PATH_MAX];
    ssize_t length = readlinkat(link, "", text, sizeof text - 1);

    if (length < 0)
        return errno;
    text[length] = 0;
    if (++walk->links > LINKS_MAX)
        return ELOOP;
    if (status->st_dev == walk->proc && text[0] == '/') {
        /* Such a link leads to its directory, whoever may look into those above it. */
        directory = openat(walk->current, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (directory >= 0)
            return go_on_at(walk, owned_fd_move(&directory), rest);
        if ((size_t)length >= sizeof gone && strcmp(text + length - (sizeof gone - 1), gone) == 0)
            return ENOENT;
    }
    return prepend(walk, text, rest);
}

/* In /proc: what `self` is to the process that asks. */
static bool is_own_link(const struct walk *walk, const char *name, const struct stat *status)
{
    return walk->notification && status->st_dev == walk->proc && S_ISLNK(status->st_mode) &&
           (strcmp(name, "self") == 0 || strcmp(name, "thread-self") == 0);
}

static int follow_own(struct walk *walk, const char *name, const char *rest)
{
    const char *path = strcmp(name, "self") == 0 ? "/proc/self/." : "/proc/thread-self/.";
    char own[PATH_MAX];

    return prepend(walk, proc_own_path(walk->notification, path, own, sizeof own), rest);
}

/* Takes the next name off the rest. Empty: there is none. `*last`: nothing but slashes follow. */
static int take_name(struct walk *walk, char *name, const char **rest, bool *last, bool *slash)
{
    const char *start = walk->rest + strspn(walk->rest, "/");
    size_t length = strcspn(start, "/");

    if (length > NAME_MAX)
        return ENAMETOOLONG;
    memcpy(name, start, length);
    name[length] = 0;
    *slash = start[length] == '/';
    *rest = start + length + strspn(start + length, "/");
    *last = **rest == 0;
    return 0;
}

/* The place is the current directory itself. */
static void arrive(struct walk *walk, struct cow_place *place)
{
    place->inside = walk->inside;
    place->native = walk->native;
    place->parent = fcntl(walk->current, F_DUPFD_CLOEXEC, 0);
    place->target = owned_fd_move(&walk->current);
    (void)snprintf(place->name, sizeof place->name, ".");
    if (place->parent < 0 || fstat(place->target, &place->status) != 0)
        place->failed = errno;
}

/* The place is an entry of the current directory, or could be one. */
static void arrive_at(struct walk *walk, const char *name, int target, enum cow_follow follow,
                      struct cow_place *place)
{
    place->failed = target < 0 ? ENOENT : 0;
    place->inside = walk->inside;
    place->native = walk->native;
    place->parent = owned_fd_move(&walk->current);
    place->target = target;
    (void)snprintf(place->name, sizeof place->name, "%s", name);
    if (follow != COW_NAME && place->slash && target >= 0 && !S_ISDIR(place->status.st_mode)) {
        owned_fd_close(&place->target);
        owned_fd_close(&place->parent);
        place->failed = ENOTDIR;
    }
}

/* One name. 0: go on; -1: arrived; else an errno value. */
static int step(struct walk *walk, enum cow_follow follow, struct cow_place *place)
{
    char name[NAME_MAX + 1];
    char left[PATH_MAX];
    owned_fd int fd = -1;
    const char *rest;
    bool last, followed;
    int failed = take_name(walk, name, &rest, &last, &place->slash);

    if (failed != 0)
        return failed;
    if (name[0] == 0) {
        arrive(walk, place);
        return -1;
    }
    memcpy(left, rest, strlen(rest) + 1); /* out of the buffer that is written to */
    rest = left;
    if (walk->inside && (failed = cow_fill(walk->cow, walk->current)) != 0)
        return failed;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        memcpy(walk->rest, left, strlen(left) + 1);
        return name[1] == '.' ? enter_parent(walk) : 0;
    }
    fd = openat(walk->current, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && last) {
        arrive_at(walk, name, -1, follow, place);
        return -1;
    }
    if (fd < 0 || fstat(fd, &place->status) != 0)
        return errno;
    followed = !last || follow == COW_FOLLOW || (follow == COW_NO_FOLLOW && place->slash);
    if (followed && is_own_link(walk, name, &place->status))
        return follow_own(walk, name, rest);
    /* Behind a slash it must lead to a directory. */
    if (followed && S_ISLNK(place->status.st_mode))
        return follow_link(walk, fd, name, &place->status, last && place->slash ? "." : rest);
    if (S_ISDIR(place->status.st_mode) &&
        (!last || (!walk->inside && is_same(&place->status, &walk->cow->lower_status)) ||
         is_same(&place->status, &walk->cow->tree_status))) {
        memcpy(walk->rest, left, strlen(left) + 1);
        return enter(walk, owned_fd_move(&fd));
    }
    if (!last)
        return ENOTDIR;
    arrive_at(walk, name, owned_fd_move(&fd), follow, place);
    return -1;
}

static void walk_to_end(struct walk *walk, enum cow_follow follow, struct cow_place *place)
{
    int result;

    do
        result = step(walk, follow, place);
    while (result == 0);
    if (result > 0) {
        place->failed = result;
        place->inside = walk->inside;
        place->native = walk->native;
    }
    owned_fd_close(&walk->current);
}

/* Where a relative path starts. */
static int start(struct walk *walk, int directory, const char *path)
{
    owned_fd int fd = lookup_start(walk->notification, directory);
    struct stat status;

    if (fd < 0)
        return errno == ENOENT && directory != AT_FDCWD ? EBADF : errno;
    if (fstat(fd, &status) != 0 || !S_ISDIR(status.st_mode))
        return ENOTDIR;
    return go_on_at(walk, owned_fd_move(&fd), path);
}

void cow_find(const struct notification *notification, int directory, const char *path,
              enum cow_follow follow, struct cow_place *place)
{
    struct walk walk = {
        .notification = notification,
        .cow = notification->sandbox->cow,
        .proc = notification->sandbox->policy->proc,
        .current = -1,
        .native = true,
    };
    int failed = path[0] == '/' ? prepend(&walk, path, "") : start(&walk, directory, path);

    *place = COW_PLACE_NONE;
    place->native = true;
    place->failed = failed;
    if (failed == 0)
        walk_to_end(&walk, follow, place);
    owned_fd_close(&walk.current);
}

void cow_find_absolute(struct cow *cow, const char *path, struct cow_place *place)
{
    struct walk walk = {.cow = cow, .current = -1, .native = true};
    int failed = prepend(&walk, path, "");

    *place = COW_PLACE_NONE;
    place->failed = failed;
    if (failed == 0)
        walk_to_end(&walk, COW_FOLLOW, place);
    owned_fd_close(&walk.current);
}

bool cow_real_path(const struct cow_place *place, char *path, size_t bytes)
{
    char directory[PATH_MAX];
    int written;

    if (place->parent < 0 || !lookup_name(place->parent, directory, sizeof directory))
        return false;
    if (strcmp(place->name, ".") == 0)
        written = snprintf(path, bytes, "%s", directory);
    else
        written = snprintf(path, bytes, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory,
                           place->name);
    return (size_t)written < bytes;
}
