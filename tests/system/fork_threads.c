/*
 * fork_threads.c: fork from a process whose other threads are inside the shim at that moment
 * (promise 5). The child must not hang and must not write into our ledger; ours stays exact.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "system.h"
#include "workload.h"

static atomic_bool stop;

static void *churn(void *unused)
{
    (void)unused;
    while (!stop) {
        workload();
        free(malloc(1000));
    }
    return NULL;
}

static void *child_thread(void *unused)
{
    workload();
    return unused;
}

static void child(int round)
{
    pthread_t thread;
    alarm(10); /* ends a child that hangs, by signal */
    signal(SIGALRM, SIG_DFL);
    for (int i = 0; i < 20; i++)
        workload();
    close_range(3, ~0u, 0);
    for (int i = 0; i < 30; i++)
        dup(2);
    mmap(NULL, 5 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (round % 4 == 0) {
        pthread_create(&thread, NULL, child_thread, NULL);
        pthread_join(thread, NULL);
    }
    if (round % 4 == 1 && fork() == 0)
        _exit(0);
    if (round % 4 == 2)
        execl("/bin/true", "true", NULL);
    if (round % 4 == 3)
        exit(0); /* destructors run in it, too; they must not report or write */
    _exit(0);
}

int main(int argc, char **argv)
{
    system_start(argc, argv, system_long() ? 1200 : 90);
    int rounds = system_long() ? 4000 : 300;
    pthread_t threads[3];

    for (int i = 0; i < 50; i++)
        dup(2);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, churn, NULL);
    for (int round = 0; round < rounds; round++) {
        int status = -1;
        pid_t pid = fork();
        if (pid == 0)
            child(round);
        int fd = open("/dev/null", O_RDONLY);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        check(status == 0, "child %d ended with 0x%x", round, status);
        check(is_recorded(fd), "after fork %d nothing is recorded", round);
        close(fd);
    }
    stop = true;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    expect_exact("after forks among threads");
    return system_end();
}
