/*
 * exec_environment.c: an exec succeeds with all that the kernel would take, and its image sees the
 * environment that it was given.
 *
 * "largest": execs "ended" with the largest environment that a child of it, which is not watched,
 * could. "preload LENGTH": LD_PRELOAD is LENGTH bytes long, here and after an exec.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "system.h"
#include "workload.h"

#define PIECE 100000u /* below the kernel's limit for one string */
#define PIECES 256u

static char text[PIECE + 1];

static void exec_with(const char *self, size_t bytes)
{
    static char rest[PIECE + 1];
    char *environment[PIECES + 2], *arguments[] = {(char *)(uintptr_t)self, "-", "ended", NULL};
    size_t count = 0;

    memset(text, 'a', PIECE);
    memset(rest, 'b', bytes % PIECE);
    text[1] = rest[1] = '=';
    for (; count < bytes / PIECE && count < PIECES; count++)
        environment[count] = text;
    environment[count++] = rest;
    environment[count] = NULL;
    execve(self, arguments, environment);
}

static bool child_can(const char *self, size_t bytes)
{
    int status = 1;
    pid_t child = fork();

    if (child == 0) {
        exec_with(self, bytes);
        _exit(1);
    }
    return waitpid(child, &status, 0) == child && status == 0;
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 60);
    const char *what = system_argc > 0 ? system_argv[0] : "";

    if (strcmp(what, "largest") == 0) {
        size_t low = PIECE, high = (size_t)PIECE * (PIECES - 1);
        while (high - low > 1) {
            size_t middle = (low + high) / 2;
            if (child_can(argv[0], middle))
                low = middle;
            else
                high = middle;
        }
        exec_with(argv[0], low);
        return 3;
    }
    if (strcmp(what, "preload") == 0) {
        const char *preload = getenv("LD_PRELOAD");
        if ((preload ? strlen(preload) : 0) != strtoul(system_argv[1], NULL, 10))
            return 4;
        if (system_argc == 2)
            execl(argv[0], argv[0], "-", "preload", system_argv[1], "again", (char *)NULL);
    }
    return 0;
}
