/*
 * capture.h: what a sandbox prints, up to a limit, while it runs. What is more than that is read
 * and dropped, so that no program waits for us.
 */
#ifndef SUPERVISOR_CAPTURE_H
#define SUPERVISOR_CAPTURE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct error;

/* Of one stream. */
#define CAPTURE_BYTES ((size_t)1024 * 1024)

/* Empty: CAPTURE_EMPTY. */
struct capture {
    int from, to; /* a pipe; the sandbox writes to `to` */
    char *bytes;
    size_t count;
    bool cut; /* there was more */
    bool runs;
    pthread_t reader;
};

#define CAPTURE_EMPTY ((struct capture){.from = -1, .to = -1})

int capture_begin(struct capture *capture, struct error *error);

/* When nobody of the sandbox is left: waits for the last bytes. */
void capture_end(struct capture *capture);

void capture_clear(struct capture *capture);

#endif
