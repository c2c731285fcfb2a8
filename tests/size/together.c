/*
 * together.c: threads that need more of a table at one moment make one piece of it, not one each.
 *
 *     together LEDGER
 *
 * More threads than processors take descriptors, each from a stack of its own, until the ledger's
 * first part of the stacks is full, all of them at once. It knows of the ledger no more than its
 * header says.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "../system/system.h"

enum {
    THREADS = 200,
    EACH = 8,        /* more than the ledger's start has stacks for, in all */
    CHUNKS_MAX = 16, /* that so much needs, with what threads put aside may cost on top */
    LEVELS = 12,     /* two ways each: more ways than stacks */
    STACK = 65536,   /* bytes of each thread */
};

static int null;
static pthread_barrier_t start;

static int branch(unsigned way, unsigned levels);
/* process-global: keeps the compiler from seeing through the recursion */
static int (*volatile branch_pointer)(unsigned, unsigned) = branch;

/* No two ways lead through the same return addresses. */
static __attribute__((noinline)) int branch(unsigned way, unsigned levels)
{
    int result;
    if (levels == 0) {
        result = dup(null);
        __asm__ volatile("# leaf");
    } else if (way % 2) {
        result = branch_pointer(way / 2, levels - 1);
        __asm__ volatile("# one");
    } else {
        result = branch_pointer(way / 2, levels - 1);
        __asm__ volatile("# other");
    }
    return result;
}

/* As many descriptors, each from a stack of its own. */
static void *take(void *thread)
{
    pthread_barrier_wait(&start);
    for (unsigned i = 0; i < EACH; i++) {
        check(branch_pointer((unsigned)(uintptr_t)thread * EACH + i, LEVELS) >= 0, "dup: %s",
              strerror(errno));
    }
    return NULL;
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 60);
    pthread_t threads[THREADS];
    pthread_attr_t attributes;
    struct ledger_view view;
    null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_barrier_init(&start, NULL, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        int error = pthread_create(&threads[i], &attributes, take, (void *)(uintptr_t)i);
        if (!check(error == 0, "pthread_create: %s", strerror(error))) {
            return system_end();
        }
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    if (system_ledger != NULL && check(ledger_view_open(&view, system_ledger) == 0, "no ledger")) {
        check(view.header->used[LEDGER_STACKS] > LEDGER_STACKS_IN_BASE, "only %llu stacks",
              (unsigned long long)view.header->used[LEDGER_STACKS]);
        check(view.header->chunks <= CHUNKS_MAX, "%u pieces of 2 MiB", view.header->chunks);
        check(view.header->incomplete == 0, "incomplete: %u", view.header->incomplete);
        ledger_view_close(&view);
    }
    return system_end();
}
