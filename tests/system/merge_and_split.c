/*
 * merge_and_split.c: 131,030 one-page maps, then every second one unmapped. Equal neighbours are
 * one VMA; each unmap splits one, and at vm.max_map_count the kernel refuses the rest (mmap(2)).
 * The ledger's ranges must equal /proc/self/maps, and every refusal must be in it.
 *
 * Prints how many were refused and how many VMAs there are at the very end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "system.h"

#define MAPS 131030u

static char *maps[MAPS];
static unsigned char gone[MAPS];

static __attribute__((noinline)) int unmap_one(char *at)
{
    int bad = munmap(at, PAGE);
    __asm__ volatile("");
    return bad;
}

static long vmas(void)
{
    static struct kernel_range ranges[200000]; /* room for a look */
    long count = kernel_view_maps(ranges, 200000);
    if (count > 0 && ranges[count - 1].start >= UINT64_C(0xffffffff00000000))
        count--; /* [vsyscall] is the same for all and no VMA */
    return count;
}

static void check_ledger(unsigned refused)
{
    struct ledger_view view;
    unsigned said = 0;
    static const struct ledger_mapping *records[300000]; /* room for a look */

    if (system_ledger == NULL ||
        !check(ledger_view_open(&view, system_ledger) == 0, "the ledger cannot be read"))
        return;
    size_t n = ledger_view_mappings(&view, records, 300000), at = 0;
    unsigned missing = 0, stale = 0;
    /* The maps came in descending order, neighbours first; look each up. */
    for (unsigned i = 0; i < MAPS; i++) {
        uint64_t address = (uint64_t)maps[i];
        size_t low = 0, high = n;
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (records[middle]->end <= address)
                low = middle + 1;
            else
                high = middle;
        }
        at = low;
        bool has = at < n && records[at]->start <= address;
        missing += !gone[i] && !has;
        stale += gone[i] && has;
    }
    check(missing == 0 && stale == 0, "%u pages are missing in the ledger, %u are there but gone",
          missing, stale);
    for (uint64_t i = 0; i < view.header->used[LEDGER_EVENTS]; i++) {
        const struct ledger_event *e = ledger_view_record(&view, LEDGER_EVENTS, i);
        if (e == NULL || ledger_view_state(e->state) != LEDGER_LIVE ||
            e->kind != LEDGER_EVENT_UNMAP_REFUSED)
            continue;
        said += e->count;
        check(e->error == 12, "refused with errno %u", e->error);
        check(ledger_view_frame(&view, e->stack, 0) - (uint64_t)unmap_one < 100,
              "refused at %#lx, not in unmap_one", ledger_view_frame(&view, e->stack, 0));
    }
    check(said == refused, "%u unmaps were refused, the ledger says %u", refused, said);
    printf("estimated %ld, counted %ld\n", (long)view.header->vmas_estimated, vmas());
    ledger_view_close(&view);
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 60);
    unsigned refused = 0;
    char text[80];
    int limit = 0;
    FILE *stream = fopen("/proc/sys/vm/max_map_count", "r");
    if (stream && fscanf(stream, "%d", &limit) == 1 && limit != 65530)
        system_skip("vm.max_map_count is not 65,530 here");
    if (stream)
        fclose(stream);
    for (unsigned i = 0; i < MAPS; i++) {
        maps[i] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (maps[i] == MAP_FAILED)
            return !check(false, "mmap %u is refused", i);
    }
    for (unsigned i = 0; i < MAPS; i += 2) {
        gone[i] = unmap_one(maps[i]) == 0;
        refused += !gone[i];
    }
    check(refused > 0, "nothing was refused: this shows nothing");
    check_ledger(refused);
    struct system_difference d = system_compare("split", false, false);
    check(d.maps_stale == 0 && d.fds_stale == 0 && d.fds_missing == 0, "the ledger is wrong");
    int status = system_end();
    int n = snprintf(text, sizeof text, "refused %u\nvmas %ld\n", refused, vmas());
    (void)!write(1, text, (size_t)n);
    _exit(status);
}
