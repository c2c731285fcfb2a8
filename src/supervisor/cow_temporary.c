/*
 * cow_temporary.c: see cow_temporary.h.
 */
#include "supervisor/cow_temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "supervisor/cow_layer.h"
#include "supervisor/owned.h"

#define PREFIX "boxsup-"
#define PATTERN PREFIX "XXXXXX"
#define MARK "temporary"

/* A sweep may have the lock of a directory that is just being made: then another one is. */
#define TRIES 8

static bool has_mark(int holder)
{
    struct stat status;

    return fstatat(holder, MARK, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode) &&
           status.st_uid == geteuid();
}

static bool put_mark(int holder)
{
    owned_fd int mark =
        openat(holder, MARK, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);

    return mark >= 0;
}

int cow_temporary_make(const char *place, char *path, size_t bytes)
{
    for (int i = 0; i < TRIES; i++) {
        owned_fd int holder = -1;

        if ((size_t)snprintf(path, bytes, "%s/" PATTERN, place) >= bytes || !mkdtemp(path))
            return -1;
        holder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        /* First the lock, then the mark: what has one and is not locked is nobody's any more. A
         * file system without locks has no marks. */
        if (holder >= 0 &&
            (flock(holder, LOCK_EX | LOCK_NB) == 0 ? put_mark(holder) : errno != EWOULDBLOCK))
            return owned_fd_move(&holder);
        (void)rmdir(path);
    }
    return -1;
}

void cow_temporary_remove(int holder, const char *path)
{
    /* The mark goes last: should this be cut short, the next sweep goes on. */
    if (cow_empty(holder, MARK) == 0)
        (void)unlinkat(holder, MARK, 0);
    (void)rmdir(path);
}

void cow_temporary_keep(int holder)
{
    (void)unlinkat(holder, MARK, 0);
}

static bool is_swept(int holder)
{
    struct stat status;

    return fstat(holder, &status) == 0 && status.st_uid == geteuid() && has_mark(holder) &&
           flock(holder, LOCK_EX | LOCK_NB) == 0 &&
           has_mark(holder); /* kept, or swept, before it was locked */
}

void cow_temporary_sweep(const char *place)
{
    owned_fd int listed = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    owned_directory DIR *entries = listed >= 0 ? fdopendir(listed) : NULL;
    const struct dirent *entry;

    if (!entries)
        return;
    (void)owned_fd_move(&listed);
    while ((entry = readdir(entries))) {
        owned_fd int holder = -1;

        if (strncmp(entry->d_name, PREFIX, sizeof PREFIX - 1) != 0 ||
            strlen(entry->d_name) != sizeof PATTERN - 1)
            continue;
        holder =
            openat(dirfd(entries), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (holder < 0 || !is_swept(holder) || cow_empty(holder, MARK) != 0)
            continue;
        (void)unlinkat(holder, MARK, 0);
        (void)unlinkat(dirfd(entries), entry->d_name, AT_REMOVEDIR);
    }
}
