/*
 * owned.h: descriptors, mappings and memory with exactly one owner: a variable that gives them back
 * when its scope ends, or a member of a struct whose own end does. Everything in this directory
 * holds what it holds in this way, and nothing is given back because somebody remembered.
 *
 *     owned_fd int fd = open(...);      closed at the end of the scope
 *     object->fd = owned_fd_move(&fd);  the source is empty now: the object closes it
 *
 * An empty descriptor is -1, an empty mapping has 0 bytes, an empty pointer is NULL. Giving back
 * what is empty does nothing. Nothing here changes errno. It decides nothing, and it prints
 * nothing.
 */
#ifndef SUPERVISOR_OWNED_H
#define SUPERVISOR_OWNED_H

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- descriptors ------------------------------------------------------------------------------ */

/* Closes it and empties the variable. On Linux a close that fails has closed all the same. */
static inline void owned_fd_close(int *fd)
{
    int saved = errno;
    int number = *fd;

    *fd = -1;
    if (number >= 0)
        close(number);
    errno = saved;
}

/* The descriptor, of which the caller is the owner now. */
static inline int owned_fd_move(int *fd)
{
    int number = *fd;

    *fd = -1;
    return number;
}

/* Puts another descriptor into a variable, which closes the one that it had. */
static inline void owned_fd_replace(int *fd, int number)
{
    owned_fd_close(fd);
    *fd = number;
}

#define owned_fd __attribute__((cleanup(owned_fd_close)))

/* --- mappings --------------------------------------------------------------------------------- */

struct mapping {
    void *start;
    size_t bytes;
};

#define MAPPING_EMPTY ((struct mapping){NULL, 0})

/* mmap(2). *map was empty. Returns 0, or -1 with errno, and *map is empty still. */
static inline int owned_map_make(struct mapping *map, size_t bytes, int protection, int flags,
                                 int fd, off_t offset)
{
    void *start = mmap(NULL, bytes, protection, flags, fd, offset);

    if (start == MAP_FAILED)
        return -1;
    *map = (struct mapping){start, bytes};
    return 0;
}

/* Unmaps it and empties the variable. Returns 0, or an errno value, and then the mapping is still
 * there and still owned: the kernel refuses (ENOMEM) where unmapping would split a VMA and the
 * process has as many as it may have. */
static inline int owned_map_unmap(struct mapping *map)
{
    int saved = errno;
    int failed = 0;

    if (map->bytes > 0 && munmap(map->start, map->bytes) != 0)
        failed = errno;
    else
        *map = MAPPING_EMPTY;
    errno = saved;
    return failed;
}

/* The same where nobody is left to try again: what the kernel refuses to unmap at least gives its
 * pages back. */
static inline void owned_map_drop(struct mapping *map)
{
    int saved = errno;

    if (owned_map_unmap(map) != 0)
        (void)madvise(map->start, map->bytes, MADV_DONTNEED);
    *map = MAPPING_EMPTY;
    errno = saved;
}

static inline struct mapping owned_map_move(struct mapping *map)
{
    struct mapping moved = *map;

    *map = MAPPING_EMPTY;
    return moved;
}

#define owned_map __attribute__((cleanup(owned_map_drop)))

/* --- memory and streams ----------------------------------------------------------------------- */

/* For the cleanup attribute: the address of a pointer of any type. */
static inline void owned_memory_free(void *pointer)
{
    void **memory = pointer;
    int saved = errno;

    free(*memory);
    *memory = NULL;
    errno = saved;
}

#define owned_memory __attribute__((cleanup(owned_memory_free)))

/* A pointer, of which the caller is the owner now. */
#define owned_memory_move(pointer)                                                                 \
    __extension__({                                                                                \
        __typeof__(pointer) owned_moved = (pointer);                                               \
        (pointer) = NULL;                                                                          \
        owned_moved;                                                                               \
    })

static inline void owned_file_close(FILE **file)
{
    int saved = errno;

    if (*file)
        (void)fclose(*file);
    *file = NULL;
    errno = saved;
}

#define owned_file __attribute__((cleanup(owned_file_close)))

static inline void owned_directory_close(DIR **directory)
{
    int saved = errno;

    if (*directory)
        (void)closedir(*directory);
    *directory = NULL;
    errno = saved;
}

#define owned_directory __attribute__((cleanup(owned_directory_close)))

#endif
