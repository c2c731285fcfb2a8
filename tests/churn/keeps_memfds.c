/*
 * keeps_memfds.c: a supervisor with a leak, the smallest that is like the real ones.
 *
 *     keeps_memfds SANDBOXES [fixed]
 *
 * Each sandbox is given its configuration in a memfd. The sandbox ends; the supervisor's own copy
 * of the descriptor stays open, unless `fixed`. Knows nothing of boxledger.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int make_configuration(int number)
{
    int fd = memfd_create("box-configuration", MFD_CLOEXEC);
    if (fd >= 0) {
        dprintf(fd, "sandbox %d\n", number);
    }
    return fd;
}

static bool run_sandbox(int number, bool fixed)
{
    int configuration = make_configuration(number);
    if (configuration < 0) {
        fprintf(stderr, "keeps_memfds: sandbox %d cannot be started: %s\n", number,
                strerror(errno));
        return false;
    }
    pid_t child = fork();
    if (child == 0) {
        char text[64];
        _exit(pread(configuration, text, sizeof text, 0) > 0 ? 0 : 1);
    }
    int status = 1;
    bool good = child > 0 && waitpid(child, &status, 0) == child && status == 0;
    if (fixed) {
        close(configuration);
    }
    return good;
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 20;
    bool fixed = argc > 2 && strcmp(argv[2], "fixed") == 0;
    for (int i = 1; i <= count; i++) {
        if (!run_sandbox(i, fixed)) {
            return 1;
        }
    }
    printf("%d sandboxes ran\n", count);
    return 0;
}
