/*
 * reuses_hole.c: a program that finds itself an address by mapping and unmapping, and fills it
 * later with fixed mappings, as allocators and emulators do. Nobody else in the process maps
 * anything in between, so nothing of the shim's may have come to lie there.
 */
#include <string.h>
#include <sys/mman.h>

#include "system.h"

#define PAGES 40000u

static void fill(bool noreplace)
{
    const size_t size = (size_t)PAGES * PAGE;
    uint8_t *hole = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(hole != MAP_FAILED && munmap(hole, size) == 0, "a hole");
    unsigned taken = 0;
    for (size_t i = PAGES; i-- > 0;) {
        uint8_t *page = mmap(
            hole + i * PAGE, PAGE, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | (noreplace ? MAP_FIXED_NOREPLACE : MAP_FIXED), -1, 0);
        if (page == MAP_FAILED) {
            taken++;
        } else {
            memset(page, (int)(i % 251) + 1, PAGE);
        }
    }
    check(taken == 0, "%u pages of the program's own hole were taken", taken);
    unsigned changed = 0;
    for (size_t i = 0; i < PAGES && taken == 0; i++) {
        uint8_t *page = hole + i * PAGE;
        changed += page[0] != (uint8_t)(i % 251 + 1) || memcmp(page, page + 1, PAGE - 1) != 0;
    }
    check(changed == 0, "%u pages do not hold what the program wrote", changed);
    expect_recorded(hole, size, taken == 0, "after the hole was filled");
    munmap(hole, size);
    expect_exact("after the hole was given back");
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 60);
    fill(true);
    fill(false);
    return system_end();
}
