/*
 * defects.c: see defects.h.
 */
#include "supervisor/defects.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "supervisor/error.h"
#include "supervisor/vm.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define ADDFD_LEAK                                                                                 \
    (DEFECT_ADDFD_LEAK_PROC | DEFECT_ADDFD_LEAK_HOSTNAME | DEFECT_ADDFD_LEAK_RANDOM |              \
     DEFECT_ADDFD_LEAK_ROOT | DEFECT_ADDFD_LEAK_ROOT_DIRECTORY | DEFECT_ADDFD_LEAK_COW)

static const struct row {
    const char *name;
    uint32_t bits;
    unsigned vm; /* the same in vm.h, or 0 */
    const char *row;
    const char *text;
} rows[] = {
    {"cow-map-leak", DEFECT_COW_MAP_LEAK, VM_COW_MAP_LEAK, "F1",
     "a file mapped into a VM is never unmapped"},
    {"slot-only-unmap", DEFECT_SLOT_ONLY_UNMAP, VM_SLOT_ONLY_UNMAP, "F1",
     "unmapping removes the VM's memory slot and keeps the mapping"},
    {"restore-leak", DEFECT_RESTORE_LEAK, VM_RESTORE_LEAK, "F1",
     "so does restoring a snapshot, of what the snapshot does not have"},
    {"shared-gap-hints", DEFECT_SHARED_GAP_HINTS, VM_SHARED_GAP_HINTS, "F2",
     "the gap hints of all guests of the process are one"},
    {"merge-trap", DEFECT_MERGE_TRAP, VM_MERGE_TRAP, "F3",
     "regions of different sandboxes merge into one VMA, and are freed in the fatal order"},
    {"shadow-unsealed", DEFECT_SHADOW_UNSEALED, 0, "F4",
     "the copy of a file that was opened for reading can be written"},
    {"shadow-unbounded", DEFECT_SHADOW_UNBOUNDED, 0, "F4",
     "neither the cap nor the budget of copies is kept"},
    {"shadow-stale-silent", DEFECT_SHADOW_STALE_SILENT, 0, "F4",
     "nobody is told that a file has changed since it was copied"},
    {"addfd-leak", ADDFD_LEAK, 0, "F5", "all of the following"},
    {"addfd-leak-proc", DEFECT_ADDFD_LEAK_PROC, 0, "F5",
     "the supervisor keeps its copy of an injected file of /proc"},
    {"addfd-leak-hostname", DEFECT_ADDFD_LEAK_HOSTNAME, 0, "F5",
     "the same of an injected /etc/hostname"},
    {"addfd-leak-random", DEFECT_ADDFD_LEAK_RANDOM, 0, "F5",
     "the same of an injected /dev/urandom or /dev/random"},
    {"addfd-leak-root", DEFECT_ADDFD_LEAK_ROOT, 0, "F5", "the same of a file opened under --root"},
    {"addfd-leak-root-directory", DEFECT_ADDFD_LEAK_ROOT_DIRECTORY, 0, "F5",
     "the same of a directory opened under --root"},
    {"addfd-leak-cow", DEFECT_ADDFD_LEAK_COW, 0, "F5", "the same of a file opened under --cow"},
    {"pipe-no-cloexec", DEFECT_PIPE_NO_CLOEXEC, 0, "F5",
     "the control pipe is inherited by the sandboxed program"},
    {"short-read", DEFECT_SHORT_READ, 0, "F5",
     "what one read of the control pipe returned is taken for all of the message"},
};

int defects_add(uint32_t *defects, const char *name, struct error *error)
{
    for (size_t i = 0; i < COUNT(rows); i++)
        if (strcmp(name, rows[i].name) == 0) {
            *defects |= rows[i].bits;
            return 0;
        }
    return error_set(error, 0, "%s is not a defect; `boxsup defects` lists them", name);
}

unsigned defects_of_vm(uint32_t defects)
{
    unsigned vm = 0;

    for (size_t i = 0; i < COUNT(rows); i++)
        if (defects & rows[i].bits)
            vm |= rows[i].vm;
    return vm;
}

void defects_print(void)
{
    for (size_t i = 0; i < COUNT(rows); i++)
        (void)printf("%-25s %s  %s\n", rows[i].name, rows[i].row, rows[i].text);
}
