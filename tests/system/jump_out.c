/*
 * jump_out.c: a signal handler that interrupted a wrapper leaves by siglongjmp, 20,000 times
 * (promise 4: a frame of ours may never return). Then the ledger is still exact and later events
 * are still recorded. What a jump cut off between the kernel's answer and the ledger is lost to
 * the program as well; such descriptors are counted and must be rare.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

#include "system.h"
#include "workload.h"

static sigjmp_buf out;
static volatile sig_atomic_t armed;
static unsigned long jumps;
static timer_t timer; /* one for the process's one thread */

static void on_signal(int sig)
{
    (void)sig;
    if (armed) {
        armed = 0;
        siglongjmp(out, 1);
    }
}

static void again(unsigned long n)
{
    struct itimerspec when = {.it_value.tv_nsec = 3000 + (long)(n * 7919 % 60000)};
    timer_settime(timer, 0, &when, NULL);
}

/* Where the mappings are made, so that those whose address was lost in a jump can be released. */
#define ARENA ((char *)0x320000000000)
#define PLACES 1024u

static void forget_all(void)
{
    close_range(3, ~0u, 0);
    munmap(ARENA, PLACES * 8 * PAGE);
}

static void map_and_unmap(unsigned n)
{
    char *map = mmap(ARENA + n % PLACES * 8 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(map + PAGE, PAGE, PROT_READ);
    munmap(map + 2 * PAGE, PAGE);
    munmap(map, 4 * PAGE);
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 100);
    unsigned long wanted = 20000, lost = 0, checks = 0;
    struct sigaction action = {.sa_handler = on_signal};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct system_difference d;

    sigaction(SIGUSR1, &action, NULL);
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    if (sigsetjmp(out, 1)) {
        jumps++;
        if (jumps % 100 == 0) {
            workload(); /* the next call is the one that repairs what the last one left */
            d = system_compare("between jumps", true, true);
            lost += d.fds_missing;
            checks++;
            check(d.fds_stale == 0 && d.maps_stale == 0,
                  "after %lu jumps %u closed descriptors and %u gone mappings are in the ledger",
                  jumps, d.fds_stale, d.maps_stale);
            forget_all();
        }
    }
    if (jumps < wanted) {
        armed = 1;
        again(jumps);
        for (unsigned n = 0;; n++) {
            workload_descriptors();
            map_and_unmap(n + (unsigned)jumps);
        }
    }
    forget_all();
    for (int i = 0; i < 100; i++)
        workload();
    printf("%lu jumps, %lu descriptors cut off from the ledger\n", jumps, lost);
    check(lost * 50 < jumps, "%lu descriptors were missing after %lu jumps", lost, jumps);
    d = system_compare("at the end", false, true);
    check(d.fds_missing == 0 && d.fds_stale == 0 && d.maps_stale == 0, "the ledger is wrong");
    struct ledger_view view;
    if (system_ledger && ledger_view_open(&view, system_ledger) == 0) {
        printf("incomplete %#x, %lu events lost, %lu records missed, %lu rebuilds\n",
               view.header->incomplete, (unsigned long)view.header->lost_events,
               (unsigned long)view.header->missed_records, (unsigned long)view.header->rebuilds);
        ledger_view_close(&view);
    }
    int fds[50];
    void *maps[50];
    for (int i = 0; i < 50; i++) {
        fds[i] = dup(2);
        maps[i] = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        check(is_recorded(fds[i]), "event %d after the jumps was not recorded", i);
        expect_recorded(maps[i], PAGE, true, "a mapping after the jumps");
    }
    for (int i = 0; i < 50; i++) {
        close(fds[i]);
        munmap(maps[i], PAGE);
        check(system_ledger == NULL || !is_recorded(fds[i]), "a close after the jumps was missed");
    }
    return system_end();
}
