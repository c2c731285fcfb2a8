/*
 * capture.c: see capture.h. A thread a stream, which ends when the last writer is gone.
 */
#include "supervisor/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "supervisor/error.h"
#include "supervisor/owned.h"

/* What is read at once, and the first piece of memory. */
#define PIECE_BYTES 4096

/* Room for one more piece, or less if that is what is left of the limit. */
static size_t make_room(struct capture *capture, size_t *room)
{
    if (capture->count == *room && *room < CAPTURE_BYTES) {
        size_t wanted = *room == 0 ? PIECE_BYTES : 2 * *room;
        char *bytes = realloc(capture->bytes, wanted);

        if (bytes) {
            capture->bytes = bytes;
            *room = wanted;
        }
    }
    return *room - capture->count;
}

static void *read_all(void *argument)
{
    struct capture *capture = argument;
    char piece[PIECE_BYTES];
    size_t room = 0;

    for (;;) {
        ssize_t got = read(capture->from, piece, sizeof piece);
        size_t done = 0;

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return NULL;
        while (done < (size_t)got) {
            size_t space = make_room(capture, &room);
            size_t part = (size_t)got - done < space ? (size_t)got - done : space;

            if (part == 0) {
                capture->cut = true;
                break;
            }
            memcpy(capture->bytes + capture->count, piece + done, part);
            capture->count += part;
            done += part;
        }
    }
}

int capture_begin(struct capture *capture, struct error *error)
{
    int ends[2];
    int failed;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(error, errno, "cannot make a pipe");
    capture->from = ends[0];
    capture->to = ends[1];
    failed = pthread_create(&capture->reader, NULL, read_all, capture);
    if (failed != 0)
        return error_set(error, failed, "cannot start a reader");
    capture->runs = true;
    return 0;
}

void capture_end(struct capture *capture)
{
    owned_fd_close(&capture->to);
    if (capture->runs)
        (void)pthread_join(capture->reader, NULL);
    capture->runs = false;
    owned_fd_close(&capture->from);
}

void capture_clear(struct capture *capture)
{
    capture_end(capture);
    owned_memory_free(&capture->bytes);
    capture->count = 0;
}
