/*
 * clean_child.c: starts a shell in every way there is; each prints its environment and its
 * descriptors. None may see LD_PRELOAD, our variables or a descriptor of ours (promise 6).
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system.h"

extern char **environ;
/* `echo` of the glob runs in the shell itself: its descriptors are the shell's. */
static char show[] = "env | grep -v ^_= | sort; echo /proc/self/fd/*; tr '\\0' '\\n' "
                     "</proc/self/environ | grep -c -e LD_PRELOAD -e BOXLEDGER_OPTIONS; "
                     "grep -c boxledger.*[.]so /proc/$$/maps";
static char *args[] = {(char *)"sh", (char *)"-c", show, NULL};
static char *small_env[] = {(char *)"ONLY=this", (char *)"PATH=/usr/bin:/bin", NULL};
static char stack[64 << 10] __attribute__((aligned(16))); /* of one child */

static void begin(const char *how)
{
    printf("-- %s\n", how);
    fflush(stdout);
}

static void reap(pid_t pid)
{
    int status = -1;
    while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(status))
        printf("ended with 0x%x\n", status);
}

static int in_clone(void *unused)
{
    (void)unused;
    execve("/bin/sh", args, environ);
    return 1;
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 40);
    pid_t pid;
    int status;

    dup(2);
    open("/dev/null", O_RDONLY | O_CLOEXEC);
    setenv("MINE", "1", 1);
    begin("system");
    status = system(show);
    begin("popen");
    FILE *stream = popen(show, "r");
    for (int c; (c = fgetc(stream)) != EOF;)
        putchar(c);
    pclose(stream);
#define FORKED(call)                                                                               \
    begin(#call);                                                                                  \
    if ((pid = fork()) == 0) {                                                                     \
        call;                                                                                      \
        _exit(127);                                                                                \
    }                                                                                              \
    reap(pid);
    FORKED(execve("/bin/sh", args, environ));
    FORKED(execve("/bin/sh", args, small_env));
    FORKED(execv("/bin/sh", args));
    FORKED(execvp("sh", args));
    FORKED(execvpe("sh", args, small_env));
    FORKED(execl("/bin/sh", "sh", "-c", show, NULL));
    FORKED(execlp("sh", "sh", "-c", show, NULL));
    FORKED(execle("/bin/sh", "sh", "-c", show, NULL, small_env));
    FORKED(fexecve(open("/bin/sh", O_RDONLY | O_CLOEXEC), args, environ));
    FORKED(execveat(AT_FDCWD, "/bin/sh", args, environ, 0));
    FORKED(syscall(SYS_execve, "/bin/sh", args, environ));
    begin("vfork");
    if ((pid = vfork()) == 0) {
        execve("/bin/sh", args, environ);
        _exit(127);
    }
    reap(pid);
    begin("clone(CLONE_VM)");
    reap(clone(in_clone, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL));
    begin("posix_spawn");
    posix_spawn(&pid, "/bin/sh", NULL, NULL, args, environ);
    reap(pid);
    begin("posix_spawnp");
    posix_spawnp(&pid, "sh", NULL, NULL, args, small_env);
    reap(pid);
    fflush(stdout);
    return status == -1;
}
