/*
 * exec_environment.c: an exec succeeds with all that the kernel would take, and its image sees the
 * environment that it was given.
 *
 * "largest": execs "ended" with the largest environment that a child of it, which is not watched,
 * could. "preload LENGTH": LD_PRELOAD is LENGTH bytes long, here and after an exec. "auxv": the
 * auxiliary vector that lies behind the environment is empty or what the kernel gave.
 */
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
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

/* As Go's runtime finds it; it looks elsewhere if that is empty. */
static bool vector_is_sound(char **argv, int argc)
{
    bool page_size = false;
    char **at = argv + argc + 1;

    while (*at)
        at++;
    const ElfW(auxv_t) *first = (const void *)(at + 1);
    const ElfW(auxv_t) *entry = first;
    for (; entry->a_type != AT_NULL; entry++) {
        if (entry->a_type >= UINT16_MAX) /* a pointer */
            return false;
        if (entry->a_type == AT_PAGESZ)
            page_size = entry->a_un.a_val == getauxval(AT_PAGESZ);
    }
    return page_size || entry == first;
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 60);
    const char *what = system_argc > 0 ? system_argv[0] : "";

    if (strcmp(what, "auxv") == 0)
        return vector_is_sound(argv, argc) ? 0 : 5;
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
