/*
 * rules_children.c: children made in every way there is, that run true, or sh, or nothing, and are
 * reaped. Of one that runs true and of one that runs sh a pidfd is left.
 */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static char *true_arguments[] = {"true", NULL};
static char *sh_arguments[] = {"sh", "-c", ":", NULL};

static void reap(pid_t child)
{
    if (child > 0) {
        waitpid(child, NULL, 0);
    }
}

static void forks(const char *path, char **arguments, int keep_pidfd)
{
    pid_t child = fork();
    if (child == 0) {
        execv(path, arguments);
        _exit(127);
    }
    if (keep_pidfd) {
        syscall(SYS_pidfd_open, child, 0);
    }
    reap(child);
}

static void vforks(const char *name, char **arguments)
{
    pid_t child = vfork();
    if (child == 0) {
        execvp(name, arguments);
        _exit(127);
    }
    reap(child);
}

static void spawns(const char *path, const char *name, char **arguments)
{
    pid_t child = -1;
    if (posix_spawn(&child, path, NULL, NULL, arguments, environ) == 0) {
        reap(child);
    }
    if (posix_spawnp(&child, name, NULL, NULL, arguments, environ) == 0) {
        reap(child);
    }
}

int main(void)
{
    pid_t child;
    for (int i = 0; i < 2; i++) {
        forks("/bin/true", true_arguments, i);
        forks("/bin/sh", sh_arguments, i);
        vforks("true", true_arguments);
        vforks("sh", sh_arguments);
        spawns("/bin/true", "true", true_arguments);
        spawns("/bin/sh", "sh", sh_arguments);
        child = fork(); /* runs nothing else */
        if (child == 0) {
            _exit(0);
        }
        reap(child);
        forks("/nowhere/true", true_arguments, 0); /* nothing, after all */
    }
    puts("done");
    return 0;
}
