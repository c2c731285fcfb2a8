/*
 * allocator.c: threads that allocate and free much, for an allocator that maps by itself, while
 * they take and release descriptors and mappings. Linked or preloaded with jemalloc the ledger
 * sees the allocator's own mmap and munmap, and must be true all the same.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system.h"
#include "workload.h"

static void *churn(void *number)
{
    unsigned seed = (unsigned)(uintptr_t)number;
    void *blocks[200] = {0};
    for (int i = 0; i < 6000; i++) {
        unsigned at = (unsigned)rand_r(&seed) % 200;
        size_t size = (size_t)1 << ((unsigned)rand_r(&seed) % 22);
        free(blocks[at]);
        blocks[at] = malloc(size);
        if (blocks[at])
            memset(blocks[at], 1, size > 4096 ? 4096 : size);
        if (i % 5 == 0)
            workload();
        if (i % 7 == 0)
            blocks[at] = realloc(blocks[at], size / 2 + 1);
    }
    for (int i = 0; i < 200; i++)
        free(blocks[i]);
    return NULL;
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 60);
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, churn, (void *)(i + 1));
    churn((void *)99);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    FILE *stream = tmpfile();
    fprintf(stream, "buffered\n");
    expect_exact("with an allocator at work");
    fclose(stream);
    expect_exact("at the end");
    struct system_difference d = system_compare("count", true, true);
    printf("%u mappings, %u descriptors in the ledger\n", d.maps, d.fds);
    return system_end();
}
