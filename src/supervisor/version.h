/*
 * version.h: what a file was at some moment, and whether it still is. A change within one tick of
 * the file system's clock does not show.
 */
#ifndef SUPERVISOR_VERSION_H
#define SUPERVISOR_VERSION_H

#include <stdbool.h>
#include <sys/stat.h>

struct version {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
    struct timespec changed;
};

static inline struct version version_of(const struct stat *status)
{
    return (struct version){status->st_dev, status->st_ino, status->st_size, status->st_mtim,
                            status->st_ctim};
}

static inline bool version_is_same_time(const struct timespec *one, const struct timespec *other)
{
    return one->tv_sec == other->tv_sec && one->tv_nsec == other->tv_nsec;
}

/* What a reader of a copy has to know; a change of mode or links is not. */
static inline bool version_is_as_read(const struct version *one, const struct version *other)
{
    return one->device == other->device && one->inode == other->inode && one->size == other->size &&
           version_is_same_time(&one->modified, &other->modified);
}

/* `changed` too: times of modification can be set back. */
static inline bool version_is_same(const struct version *one, const struct version *other)
{
    return version_is_as_read(one, other) && version_is_same_time(&one->changed, &other->changed);
}

#endif
