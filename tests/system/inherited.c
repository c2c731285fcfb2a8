/*
 * inherited.c: what the process held before the shim is in the ledger, as inherited (promise 8),
 * and leaves it like anything else. Expects the descriptors of its arguments.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "system.h"

int main(int argc, char **argv)
{
    system_start(argc, argv, 20);
    struct ledger_view view;
    expect_exact("at the start");
    if (system_ledger && ledger_view_open(&view, system_ledger) == 0) {
        for (int i = 0; i < system_argc; i++) {
            unsigned fd = (unsigned)atoi(system_argv[i]);
            const struct ledger_fd *record = ledger_view_fd(&view, fd);
            if (check(record != NULL, "descriptor %u was inherited and is not in the ledger", fd))
                check(record->flags & LEDGER_INHERITED, "descriptor %u is not inherited", fd);
        }
        ledger_view_close(&view);
    }
    int mine = dup(atoi(system_argv[0]));
    if (system_ledger && ledger_view_open(&view, system_ledger) == 0) {
        const struct ledger_fd *record = ledger_view_fd(&view, (unsigned)mine);
        check(record && !(record->flags & LEDGER_INHERITED), "what it took itself is inherited");
        ledger_view_close(&view);
    }
    for (int i = 0; i < system_argc; i++)
        close(atoi(system_argv[i]));
    expect_exact("after what was inherited is closed");
    return system_end();
}
