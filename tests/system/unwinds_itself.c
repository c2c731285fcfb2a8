/*
 * unwinds_itself.c: a program that unwinds with libunwind, locally, also out of handlers that
 * interrupted a wrapper, while it maps and closes (promise 7). Its stacks stay what they were.
 */
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "system.h"
#include "workload.h"

static atomic_bool stop;
static atomic_ulong interrupted, reached_bottom;

static int unwind(void)
{
    unw_context_t context;
    unw_cursor_t cursor;
    int frames = 0;
    unw_getcontext(&context);
    unw_init_local(&cursor, &context);
    while (frames < 100 && unw_step(&cursor) > 0)
        frames++;
    return frames;
}

static void on_signal(int sig)
{
    (void)sig;
    int error = errno;
    interrupted++;
    if (unwind() > 3)
        reached_bottom++;
    errno = error;
}

static __attribute__((noinline)) int nested(int depth)
{
    volatile char room[64];
    room[0] = 1;
    if (depth > 0)
        return nested(depth - 1) + (room[0] - 1);
    workload();
    return unwind();
}

static void *churn(void *unused)
{
    (void)unused;
    while (!stop)
        workload();
    return NULL;
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 60);
    pthread_t thread;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec often = {{0, 200000}, {0, 200000}};
    timer_t timer;

    int expected = nested(10);
    check(expected > 11, "libunwind sees %d frames only", expected);
    pthread_create(&thread, NULL, churn, NULL);
    sigaction(SIGUSR1, &action, NULL);
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    timer_settime(timer, 0, &often, NULL);
    for (int i = 0; i < 20000; i++) {
        int frames = nested(10);
        if (!check(frames == expected, "libunwind sees %d frames, not %d", frames, expected))
            break;
    }
    timer_delete(timer);
    stop = true;
    pthread_join(thread, NULL);
    printf("%lu handlers unwound, %lu of them far\n", (unsigned long)interrupted,
           (unsigned long)reached_bottom);
    check(interrupted > 10, "hardly interrupted");
    /* libunwind keeps two descriptors of its own, taken by inline or wrapped calls alike: the
     * ledger may or may not have them, but must have nothing that is closed. */
    struct system_difference d = system_compare("at the end", false, true);
    check(d.fds_stale == 0 && d.maps_stale == 0, "the ledger is wrong");
    return system_end();
}
