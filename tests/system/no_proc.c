/*
 * no_proc.c: a process that chroots to a place without /proc (promise 1). It works as before, the
 * ledger goes on, and the exit report does not need /proc.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "system.h"
#include "workload.h"

static void *churn(void *unused)
{
    for (int i = 0; i < 2000; i++)
        workload();
    return unused;
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 30);
    struct ledger_view view;
    pthread_t threads[2];
    int fds[40];

    if (system_ledger)
        check(ledger_view_open(&view, system_ledger) == 0, "no ledger at %s", system_ledger);
    int null = open("/dev/null", O_RDONLY);
    if (geteuid() != 0 && unshare(CLONE_NEWUSER) != 0)
        system_skip("neither root nor a user namespace to be had");
    if (chroot(system_argv[0]) != 0 || chdir("/") != 0)
        system_skip("no chroot here");
    check(access("/proc/self/maps", F_OK) != 0, "there is a /proc after all");
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, churn, NULL);
    churn(NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 40; i++)
        fds[i] = dup(null);
    for (int i = 0; i < 40; i += 2)
        close(fds[i]);
    /* A failed fixed map makes the ledger ask the kernel, without /proc. */
    char *map = mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(mmap(map, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, 9999, 0) == MAP_FAILED, "mapped");
    munmap(map + 2 * PAGE, PAGE);
    check(mprotect(map, 4 * PAGE, PROT_NONE) != 0, "protected over a hole");
    if (system_ledger) {
        for (int fd = 0; fd < 1024; fd++) {
            bool open_now = raw(SYS_fcntl, fd, F_GETFD) >= 0;
            bool recorded = ledger_view_fd(&view, (unsigned)fd) != NULL;
            check(open_now == recorded, "descriptor %d: the kernel says %d, the ledger %d", fd,
                  open_now, recorded);
        }
        ledger_view_close(&view);
    }
    return system_end();
}
