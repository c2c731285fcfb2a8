/*
 * stop_the_world.c: a thread stops all others by signal, wherever they are, and opens, maps and
 * closes while they stand still, as collectors and profilers do (promise 3). A shim whose lock
 * one of the stopped threads holds must not make the stopper wait.
 */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#include "system.h"
#include "workload.h"

#define THREADS 3

static sem_t stopped;
static atomic_bool finish;
static pthread_t threads[THREADS];

static void on_stop(int sig)
{
    (void)sig;
    sigset_t only;
    int error = errno;
    sigfillset(&only);
    sigdelset(&only, SIGUSR2);
    sigdelset(&only, SIGALRM);
    sem_post(&stopped);
    sigsuspend(&only);
    errno = error;
}

static void on_go(int sig)
{
    (void)sig;
}

/* One unmap of 64 records: the longer a thread holds the lock, the likelier it is stopped so. */
static void unmap_many(char *place)
{
    for (int i = 0; i < 64; i++)
        mmap(place + (size_t)i * PAGE, PAGE, i & 1 ? PROT_READ : PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    munmap(place, 64 * PAGE);
}

static void *churn(void *number)
{
    while (!finish) {
        workload();
        unmap_many((char *)0x330000000000 + (uintptr_t)number * 256 * PAGE);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 90);
    unsigned rounds = system_long() ? 20000 : 1500;
    struct sigaction stop = {.sa_handler = on_stop}, go = {.sa_handler = on_go};
    int fds[20];
    void *maps[20];

    sem_init(&stopped, 0, 0);
    sigfillset(&stop.sa_mask);
    sigaction(SIGUSR1, &stop, NULL);
    sigaction(SIGUSR2, &go, NULL);
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, churn, (void *)i);
    for (unsigned round = 0; round < rounds; round++) {
        for (int i = 0; i < THREADS; i++)
            pthread_kill(threads[i], SIGUSR1);
        for (int i = 0; i < THREADS; i++)
            while (sem_wait(&stopped) != 0)
                ;
        for (int i = 0; i < 20; i++) {
            fds[i] = i % 2 ? dup(2) : open("/dev/null", O_RDONLY);
            maps[i] =
                mmap(NULL, PAGE, i % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        }
        for (int i = 0; i < 10; i++) {
            close(fds[i]);
            munmap(maps[i], PAGE);
        }
        for (int i = 0; i < THREADS; i++)
            pthread_kill(threads[i], SIGUSR2);
        for (int i = 10; i < 20; i++) {
            close(fds[i]);
            munmap(maps[i], PAGE);
        }
    }
    finish = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    /* A thread that is stopped inside an update makes the others queue theirs; what found no room
     * there may be unsure, but not wrong. */
    struct system_difference d = system_compare("after the world was stopped", false, true);
    check(d.fds_missing + d.fds_stale + d.maps_stale + d.protections == 0, "the ledger is wrong");
    return system_end();
}
