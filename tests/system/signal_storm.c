/*
 * signal_storm.c: close and map from a signal handler while the same thread, and another, do so
 * too (promise 3: nobody waits). A shim that waits for its own lock hangs here.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "system.h"
#include "workload.h"

static atomic_ulong handled;
static atomic_ulong rounds[2]; /* of each target, outside of its handlers */
static atomic_bool stop;
static __thread int depth;
static pthread_t targets[2];

static void on_signal(int sig)
{
    (void)sig;
    if (depth >= 3)
        return;
    depth++;
    workload();
    depth--;
    handled++;
}

/* Handlers that follow one another without an end would starve the update that they came upon, and
 * fill its queue: a storm is over when both targets have got on. They have long to do so, but a
 * shim that hangs is to be seen as one. */
#define STORM_SIGNALS 400
#define PAUSES_MAX 50000

static void *storm(void *unused)
{
    (void)unused;
    struct timespec pause = {0, 20000};
    unsigned long seen[2];
    for (unsigned i = 0; !stop; i++) {
        pthread_kill(targets[i & 1], i & 2 ? SIGUSR1 : SIGUSR2);
        if (i % 4 == 3)
            nanosleep(&pause, NULL);
        if (i % STORM_SIGNALS != 0)
            continue;
        for (unsigned k = 0; k < 2; k++)
            seen[k] = rounds[k];
        for (unsigned n = 0; !stop && n < PAUSES_MAX; n++) {
            if (rounds[0] != seen[0] && rounds[1] != seen[1])
                break;
            nanosleep(&pause, NULL);
        }
    }
    return NULL;
}

static void *churn(void *unused)
{
    (void)unused;
    while (!stop) {
        workload();
        rounds[1]++;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    system_start(argc, argv, system_long() ? 120 : 40);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_NODEFER | SA_RESTART};
    struct timespec start, now;
    pthread_t sender;
    sigset_t both;

    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    targets[0] = pthread_self();
    pthread_create(&targets[1], NULL, churn, NULL);
    sigemptyset(&both);
    sigaddset(&both, SIGUSR1);
    sigaddset(&both, SIGUSR2);
    pthread_create(&sender, NULL, storm, NULL);
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        for (int i = 0; i < 100; i++) {
            workload();
            rounds[0]++;
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec < (system_long() ? 60 : 5));
    stop = true;
    pthread_join(sender, NULL);
    pthread_join(targets[1], NULL);
    pthread_sigmask(SIG_BLOCK, &both, NULL);
    printf("%lu signals handled\n", (unsigned long)handled);
    check(handled > 1000, "only %lu signals were handled", (unsigned long)handled);
    workload();
    int fd = dup(2);
    check(is_recorded(fd), "after the storm nothing is recorded any more");
    close(fd);
    system_compare("after the storm", false, false);
    struct system_difference d = system_compare("after the storm", true, true);
    check(d.fds_missing + d.fds_stale + d.maps_stale == 0, "the storm left the ledger wrong");
    check(d.incomplete == 0, "events were lost: the ledger is incomplete (%u)", d.incomplete);
    return system_end();
}
