/*
 * vm_driver.c: the VM half of boxsup by itself, for its tests.
 *
 *   vm_driver vm ARGUMENT...                  the command `boxsup vm`
 *   vm_driver churn COUNT JOBS [DEFECT...]    sandboxes one after another, in JOBS threads
 *
 * A churn prints a line at the 1,000th sandbox and at the last, with what the process holds; at the
 * first error it stops, says it, and exits with 125.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "supervisor/status.h"
#include "vm_test.h"

#define SETTLED 1000 /* sandboxes, after which nothing may grow */
#define MOST_JOBS 64

static const struct {
    const char *name;
    unsigned defect;
} defects[] = {
    {"cow-map-leak", VM_COW_MAP_LEAK}, {"slot-only-unmap", VM_SLOT_ONLY_UNMAP},
    {"restore-leak", VM_RESTORE_LEAK}, {"shared-gap-hints", VM_SHARED_GAP_HINTS},
    {"merge-trap", VM_MERGE_TRAP},
};

struct run {
    struct vm_churn *churn;
    unsigned long count;
    atomic_ulong begun;
    atomic_ulong ended;
    atomic_bool has_failed;
    struct error error;
    pthread_mutex_t lock;
};

static void tell(unsigned long done)
{
    struct holds holds = count_holds();

    printf("done=%lu fds=%lu vmas=%lu rss_kib=%lu\n", done, holds.descriptors, holds.vmas,
           holds.resident_kib);
    fflush(stdout);
}

static void *work(void *argument)
{
    struct run *run = argument;
    struct error error = {0};
    unsigned long number;

    while (!atomic_load(&run->has_failed) &&
           (number = atomic_fetch_add(&run->begun, 1) + 1) <= run->count) {
        if (vm_churn_one(run->churn, number, &error) == 0) {
            atomic_fetch_add(&run->ended, 1);
            continue;
        }
        pthread_mutex_lock(&run->lock);
        run->error = error;
        atomic_store(&run->has_failed, true);
        pthread_mutex_unlock(&run->lock);
    }
    return NULL;
}

/* Up to the count-th sandbox. No thread but this one is left, and no sandbox, but the defects'. */
static void run_until(struct run *run, unsigned long count, unsigned jobs)
{
    pthread_t threads[MOST_JOBS];

    atomic_store(&run->begun, atomic_load(&run->ended));
    run->count = count;
    for (unsigned i = 1; i < jobs; i++)
        if (pthread_create(&threads[i], NULL, work, run) != 0)
            abort();
    work(run);
    for (unsigned i = 1; i < jobs; i++)
        pthread_join(threads[i], NULL);
    tell(atomic_load(&run->ended));
}

static int churn(unsigned long count, unsigned jobs, unsigned chosen)
{
    const struct vm_churn_options options = {.defects = chosen};
    struct run run = {.lock = PTHREAD_MUTEX_INITIALIZER};

    if (vm_churn_open(&run.churn, &options, &run.error) != 0) {
        fprintf(stderr, "vm_driver: %s\n", run.error.text);
        return STATUS_UNSUPPORTED;
    }
    run_until(&run, count < SETTLED ? count : SETTLED, jobs);
    if (count > SETTLED && !run.has_failed)
        run_until(&run, count, jobs);
    if (vm_churn_close(run.churn, run.has_failed ? NULL : &run.error) != 0 || run.has_failed) {
        fprintf(stderr, "vm_driver: %s\n", run.error.text);
        return STATUS_FAILED;
    }
    return 0;
}

static unsigned find_defect(const char *name)
{
    for (size_t i = 0; i < sizeof(defects) / sizeof(defects[0]); i++)
        if (strcmp(defects[i].name, name) == 0)
            return defects[i].defect;
    fprintf(stderr, "vm_driver: no defect %s\n", name);
    exit(STATUS_USAGE);
}

int main(int argc, char **argv)
{
    unsigned chosen = 0;

    if (argc >= 2 && strcmp(argv[1], "vm") == 0)
        return vm_command(argc - 1, argv + 1);
    if (argc < 4 || strcmp(argv[1], "churn") != 0 || atoi(argv[3]) > MOST_JOBS) {
        fprintf(stderr, "usage: vm_driver vm ... | churn COUNT JOBS [DEFECT...]\n");
        return STATUS_USAGE;
    }
    for (int i = 4; i < argc; i++)
        chosen |= find_defect(argv[i]);
    return churn(strtoul(argv[2], NULL, 10), (unsigned)atoi(argv[3]), chosen);
}
