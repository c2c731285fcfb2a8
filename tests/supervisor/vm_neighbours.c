/*
 * vm_neighbours.c: at the limit of VMAs, memory that was mapped apart can be unmapped in any order;
 * memory that merged with its neighbours cannot (F3). Needs no KVM.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "supervisor/vm_memory.h"
#include "vm_test.h"

#define MOST 400000 /* blocks, and more than the usual limit has room for */

static struct vm_memory *blocks[MOST]; /* process-global: the test has one of it */

static size_t fill(size_t most, bool apart)
{
    size_t count = 0;
    struct error error = {0};

    while (count < most && vm_memory_map_zeros(&blocks[count], GUEST_PAGE, apart, &error) == 0)
        count++;
    check(count == most || strstr(error.text, "Cannot allocate memory") != NULL, "%s", error.text);
    return count;
}

/* Every second block from `first` on; how many the kernel refused to unmap. */
static size_t release_half(size_t first, size_t count)
{
    struct error error = {0};
    size_t refused = 0;

    for (size_t i = first; i < count; i += 2) {
        refused += vm_memory_release(blocks[i], &error) != 0;
        blocks[i] = NULL;
    }
    return refused;
}

static unsigned long max_map_count(void)
{
    owned_file FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
    unsigned long count = 0;

    if (file == NULL || fscanf(file, "%lu", &count) != 1 || count > MOST / 3) {
        printf("skip: vm.max_map_count is unknown, or too high to be reached: %lu\n", count);
        exit(77);
    }
    return count;
}

int main(void)
{
    unsigned long limit = max_map_count();
    struct holds before = count_holds();
    size_t count = fill(MOST, true);

    check(count >= limit / 3, "only %zu blocks are at the limit", count);
    check(release_half(1, count) == 0, "a block that is apart was refused");
    check(release_half(0, count) == 0, "the last blocks were refused");
    check(count_holds().vmas == before.vmas, "VMAs: %lu, then %lu", before.vmas,
          count_holds().vmas);

    count = fill(2 * limit, false);
    check(count == 2 * limit, "only %zu blocks that merge", count);
    check(release_half(1, count) > 0, "no block that merged was refused");
    release_half(0, count);
    return verdict();
}
