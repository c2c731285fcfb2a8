/*
 * at_the_end.c: what happens before our constructor and after our destructor passes through, and
 * the exit report goes to descriptor 2 only if that is still the file it was (promise 8).
 *
 * replaced FILE: closes 2 and gets FILE as 2, as daemons and databases do. closed: closes 2.
 * Otherwise only takes and releases in constructors and destructors.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "system.h"
#include "workload.h"

static int before_main = -1;

__attribute__((constructor(101))) static void very_early(void)
{
    workload();
    before_main = dup(2);
}

__attribute__((destructor(101))) static void very_late(void)
{
    workload();
    close(before_main);
    dup(0);
}

static void last_handler(void)
{
    workload();
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 20);
    const char *what = system_argc > 0 ? system_argv[0] : "";
    atexit(last_handler);
    check(is_recorded(before_main), "what a constructor took is not in the ledger");
    expect_exact("in main");
    memfd_create("left behind", 0);
    if (system_end())
        return 1;
    if (strcmp(what, "replaced") == 0) {
        close(2);
        if (open(system_argv[1], O_CREAT | O_RDWR, 0600) != 2)
            return 3;
    } else if (strcmp(what, "closed") == 0) {
        close(2);
    } else if (strcmp(what, "all_closed") == 0) {
        close_range(0, ~0u, 0);
    }
    return 0;
}
