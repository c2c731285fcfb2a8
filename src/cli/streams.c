/*
 * streams.c: standard output and standard error that wait where there is no room. Whoever shares
 * them may have made them non-blocking, the watched program itself for one; stdio would lose what a
 * full pipe does not take at once.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <unistd.h>

#include "cli/cli.h"

/* As fopencookie(3) wants it: 0 is an error. `cookie` is the descriptor. */
static ssize_t write_all(void *cookie, const char *bytes, size_t count)
{
    int fd = (int)(intptr_t)cookie;
    size_t done = 0;

    while (done < count) {
        ssize_t written = write(fd, bytes + done, count - done);

        if (written > 0) {
            done += (size_t)written;
        } else if (written < 0 && errno == EAGAIN) {
            struct pollfd room = {.fd = fd, .events = POLLOUT};

            (void)poll(&room, 1, -1);
        } else if (written == 0 || errno != EINTR) {
            return 0;
        }
    }
    return (ssize_t)done;
}

static FILE *open_stream(int fd, int buffering)
{
    static const cookie_io_functions_t functions = {.write = write_all};
    FILE *stream =
        fopencookie((void *)(intptr_t)fd, "w", functions); // NOLINT(performance-no-int-to-ptr)

    if (!stream || setvbuf(stream, NULL, buffering, buffering == _IONBF ? 0 : BUFSIZ) != 0)
        base_no_memory();
    return stream;
}

void streams_begin(void)
{
    stdout = open_stream(STDOUT_FILENO, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF);
    stderr = open_stream(STDERR_FILENO, _IONBF);
}
