/*
 * lazy_copy.c: see lazy_copy.h.
 */
#include "supervisor/lazy_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "supervisor/memory_file.h"
#include "supervisor/owned.h"
#include "supervisor/version.h"

/* Linux 5.11, include/uapi/linux/userfaultfd.h: one that everybody may have. What only userspace
 * must not do without it, nobody does here: our own mapping is never touched. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/* What is read at once: as much as the kernel's own read-ahead, of 128 KiB. */
#define PIECE_BYTES ((uint64_t)128 * 1024)

#define SEALS_BEFORE (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE)
#define SEALS_AFTER (F_SEAL_WRITE | F_SEAL_SEAL)

struct lazy_copy {
    int memory;    /* the memfd */
    char *path;    /* of the file */
    uint64_t size; /* of the file, in bytes */
    void (*tell)(const char *sentence);
    pthread_mutex_t lock; /* of what follows */
    int from;             /* the file, until all is there */
    struct version version;
    int publisher; /* a userfaultfd over `map` */
    struct mapping map;
    uint64_t *pieces; /* bits: which are there */
    uint64_t missing; /* how many are not */
    char *buffer;     /* for a piece */
    int failed;       /* an errno value, for good */
};

enum { WORD_BITS = 64 };

static uint64_t count_pieces(uint64_t size)
{
    return (size + PIECE_BYTES - 1) / PIECE_BYTES;
}

static bool is_there(const struct lazy_copy *copy, uint64_t piece)
{
    return copy->pieces[piece / WORD_BITS] >> piece % WORD_BITS & 1;
}

/* A userfaultfd over our mapping. 0, or an errno value. */
static int make_publisher(struct lazy_copy *copy)
{
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_MISSING_SHMEM};
    struct uffdio_register range = {
        .range = {(uintptr_t)copy->map.start, copy->map.bytes},
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };

    copy->publisher = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    if (copy->publisher < 0 || ioctl(copy->publisher, UFFDIO_API, &api) != 0 ||
        ioctl(copy->publisher, UFFDIO_REGISTER, &range) != 0)
        return errno;
    return 0;
}

/* 0, or an errno value. */
static int prepare(struct lazy_copy *copy)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = ((size_t)copy->size + page - 1) / page * page;
    uint64_t words = (copy->missing + WORD_BITS - 1) / WORD_BITS;

    copy->pieces = calloc(words, sizeof *copy->pieces);
    copy->buffer = malloc(PIECE_BYTES);
    if (!copy->path || !copy->pieces || !copy->buffer)
        return ENOMEM;
    copy->memory = memory_file_make("boxsup-shadow");
    if (copy->memory < 0 || ftruncate(copy->memory, (off_t)copy->size) != 0 ||
        fchmod(copy->memory, S_IRUSR | S_IRGRP | S_IROTH) != 0 ||
        owned_map_make(&copy->map, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, copy->memory, 0) !=
            0 ||
        madvise(copy->map.start, bytes, MADV_DONTFORK) != 0 ||
        fcntl(copy->memory, F_ADD_SEALS, SEALS_BEFORE) != 0)
        return errno;
    return make_publisher(copy);
}

int lazy_copy_make(int *from, const struct stat *status, const char *path,
                   void (*tell)(const char *sentence), struct lazy_copy **copy)
{
    struct lazy_copy *made = calloc(1, sizeof *made);
    int failed;

    if (!made)
        return ENOMEM;
    *made = (struct lazy_copy){
        .memory = -1,
        .path = strdup(path),
        .size = (uint64_t)status->st_size,
        .tell = tell,
        .from = -1,
        .version = version_of(status),
        .publisher = -1,
        .missing = count_pieces((uint64_t)status->st_size),
    };
    (void)pthread_mutex_init(&made->lock, NULL);
    failed = prepare(made);
    if (failed != 0) {
        lazy_copy_free(&made);
        return failed;
    }
    made->from = owned_fd_move(from);
    *copy = made;
    return 0;
}

int lazy_copy_fd(const struct lazy_copy *copy)
{
    return copy->memory;
}

/* Reads a piece as it was when the copy was made, with zeros up to the page's end. 0, or an errno
 * value. */
static int read_piece(struct lazy_copy *copy, uint64_t start, uint64_t bytes)
{
    uint64_t have = 0;
    struct version now;
    struct stat status;

    while (have < bytes) {
        ssize_t got =
            pread(copy->from, copy->buffer + have, (size_t)(bytes - have), (off_t)(start + have));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        if (got == 0)
            return ESTALE; /* it is shorter */
        have += (uint64_t)got;
    }
    memset(copy->buffer + bytes, 0, PIECE_BYTES - bytes);
    if (fstat(copy->from, &status) != 0)
        return errno;
    now = version_of(&status);
    return version_is_same(&copy->version, &now) ? 0 : ESTALE;
}

/* Page by page each is there with all of its bytes or not at all. 0, or an errno value. */
static int publish(struct lazy_copy *copy, uint64_t start)
{
    uint64_t left = copy->map.bytes - start < PIECE_BYTES ? copy->map.bytes - start : PIECE_BYTES;
    uint64_t done = 0;

    while (done < left) {
        struct uffdio_copy request = {
            .dst = (uintptr_t)copy->map.start + start + done,
            .src = (uintptr_t)copy->buffer + done,
            .len = left - done,
        };

        if (ioctl(copy->publisher, UFFDIO_COPY, &request) == 0)
            return 0;
        if (request.copy > 0)
            done += (uint64_t)request.copy;
        else if (errno != EAGAIN)
            /* One that is there already is of zeros: the sandbox has read where it was not told. */
            return errno == EEXIST ? EIO : errno;
    }
    return 0;
}

static void tell_stale(const struct lazy_copy *copy)
{
    char sentence[PATH_MAX + 128];

    if (!copy->tell)
        return;
    (void)snprintf(sentence, sizeof sentence,
                   "the shadow of %s lost what had not been read: the file has changed",
                   copy->path);
    copy->tell(sentence);
}

/* What is needed only as long as something is missing. */
static void close_sources(struct lazy_copy *copy)
{
    owned_fd_close(&copy->publisher);
    owned_map_drop(&copy->map);
    owned_fd_close(&copy->from);
    owned_memory_free(&copy->buffer);
}

static int fill_piece(struct lazy_copy *copy, uint64_t piece)
{
    uint64_t start = piece * PIECE_BYTES;
    uint64_t bytes = copy->size - start < PIECE_BYTES ? copy->size - start : PIECE_BYTES;
    int failed = read_piece(copy, start, bytes);

    if (failed == 0)
        failed = publish(copy, start);
    if (failed != 0)
        return failed;
    /* They are the memfd's; in our own table of pages they are of no use. */
    (void)madvise((char *)copy->map.start + start, (size_t)bytes, MADV_DONTNEED);
    copy->pieces[piece / WORD_BITS] |= UINT64_C(1) << piece % WORD_BITS;
    if (--copy->missing == 0) {
        close_sources(copy);
        (void)fcntl(copy->memory, F_ADD_SEALS, SEALS_AFTER);
    }
    return 0;
}

int lazy_copy_fill(struct lazy_copy *copy, uint64_t offset, uint64_t bytes)
{
    uint64_t room = offset < copy->size ? copy->size - offset : 0;
    uint64_t end = offset + (bytes < room ? bytes : room);
    int failed = 0;

    pthread_mutex_lock(&copy->lock);
    for (uint64_t piece = offset / PIECE_BYTES;
         failed == 0 && copy->missing > 0 && piece * PIECE_BYTES < end; piece++) {
        if (is_there(copy, piece))
            continue;
        failed = copy->failed != 0 ? copy->failed : fill_piece(copy, piece);
        if (failed == ESTALE && copy->failed == 0)
            tell_stale(copy);
        copy->failed = failed;
    }
    pthread_mutex_unlock(&copy->lock);
    return failed;
}

int lazy_copy_fill_whole(struct lazy_copy *copy)
{
    return lazy_copy_fill(copy, 0, copy->size);
}

bool lazy_copy_is_whole(struct lazy_copy *copy)
{
    bool whole;

    pthread_mutex_lock(&copy->lock);
    whole = copy->missing == 0;
    pthread_mutex_unlock(&copy->lock);
    return whole;
}

void lazy_copy_free(struct lazy_copy **copy)
{
    struct lazy_copy *old = *copy;

    *copy = NULL;
    if (!old)
        return;
    close_sources(old);
    owned_fd_close(&old->memory);
    owned_memory_free(&old->pieces);
    owned_memory_free(&old->path);
    (void)pthread_mutex_destroy(&old->lock);
    free(old);
}
