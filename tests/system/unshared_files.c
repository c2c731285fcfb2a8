/*
 * unshared_files.c: a thread that leaves the shared table of descriptors, by unshare or by
 * close_range, closes only its own copies from then on (promise 5).
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>

#include <linux/close_range.h>

#include "system.h"
#include "workload.h"

static void *leaves(void *how)
{
    int bad = 0;
    if ((intptr_t)how == 0)
        bad = unshare(CLONE_FILES);
    else if ((intptr_t)how == 1)
        bad = close_range(3, ~0u, CLOSE_RANGE_UNSHARE);
    else
        bad = (int)syscall(SYS_unshare, CLONE_FILES);
    check(bad == 0, "way %ld of leaving fails with %d", (long)how, errno);
    for (int fd = 3; fd < 300; fd++)
        close(fd);
    for (int i = 0; i < 100; i++)
        dup(2);
    return NULL;
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 20);
    for (int i = 0; i < 60; i++)
        dup(2);
    for (intptr_t how = 0; how < 3; how++) {
        pthread_t thread;
        pthread_create(&thread, NULL, leaves, (void *)how);
        pthread_join(thread, NULL);
        expect_exact("after a thread closed what was its own");
        workload();
        int fd = dup(2);
        check(is_recorded(fd), "nothing is recorded any more");
    }
    return system_end();
}
