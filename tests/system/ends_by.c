/*
 * ends_by.c: takes three memfds and two mappings and then ends, at once, in the way its argument
 * names. The report must come all the same and show the last thing taken.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system.h"

static volatile int *volatile nowhere = (void *)8; /* hidden from the compiler */

static __attribute__((noinline)) void the_last_taker(void)
{
    if (memfd_create("the last", MFD_CLOEXEC) < 0)
        exit(99);
}

static void *ends(void *how)
{
    the_last_taker();
    if (strcmp(how, "sigkill") == 0)
        raw(SYS_kill, getpid(), SIGKILL);
    if (strcmp(how, "sigsegv") == 0)
        *nowhere = 1;
    if (strcmp(how, "sigterm") == 0)
        kill(getpid(), SIGTERM);
    if (strcmp(how, "abort") == 0)
        abort();
    if (strcmp(how, "_exit") == 0)
        _exit(3);
    if (strcmp(how, "_Exit") == 0)
        _Exit(3);
    if (strcmp(how, "quick_exit") == 0)
        quick_exit(3);
    if (strcmp(how, "exit") == 0)
        exit(3);
    if (strcmp(how, "syscall_exit_group") == 0)
        syscall(SYS_exit_group, 3);
    if (strcmp(how, "inline_exit_group") == 0)
        raw(SYS_exit_group, 3);
    return NULL;
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 30);
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    if (system_argc < 1)
        return 99;
    memfd_create("first", 0);
    memfd_create("second", 0);
    mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (strcmp(system_argv[0], "thread") == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, ends, (void *)"_exit");
        pause();
    }
    ends(system_argv[0]);
    return strcmp(system_argv[0], "return") == 0 ? 3 : 98;
}
