/*
 * defects.h: the table of everything that boxsup can be told to do wrong, each exactly the bug of
 * one row of the field. All are off unless --defect names them.
 *
 * A part asks for its own defect by its bit; no part knows another's.
 */
#ifndef SUPERVISOR_DEFECTS_H
#define SUPERVISOR_DEFECTS_H

#include <stdint.h>

struct error;

/* Bits. The variants of addfd-leak are the places that inject a descriptor. */
enum defect {
    DEFECT_COW_MAP_LEAK = 1 << 0,
    DEFECT_SLOT_ONLY_UNMAP = 1 << 1,
    DEFECT_RESTORE_LEAK = 1 << 2,
    DEFECT_SHARED_GAP_HINTS = 1 << 3,
    DEFECT_MERGE_TRAP = 1 << 4,
    DEFECT_ADDFD_LEAK_PROC = 1 << 5,
    DEFECT_ADDFD_LEAK_HOSTNAME = 1 << 6,
    DEFECT_ADDFD_LEAK_RANDOM = 1 << 7,
    DEFECT_PIPE_NO_CLOEXEC = 1 << 8,
    DEFECT_SHORT_READ = 1 << 9,
    DEFECT_SHADOW_UNSEALED = 1 << 10,
    DEFECT_SHADOW_UNBOUNDED = 1 << 11,
    DEFECT_SHADOW_STALE_SILENT = 1 << 12,
    DEFECT_ADDFD_LEAK_ROOT = 1 << 13,
    DEFECT_ADDFD_LEAK_ROOT_DIRECTORY = 1 << 14,
    DEFECT_ADDFD_LEAK_COW = 1 << 15,
};

/* Adds what the name stands for to *defects: a defect, or addfd-leak for all of its variants.
 * Returns 0, or -1 with the reason in *error. */
int defects_add(uint32_t *defects, const char *name, struct error *error);

/* Those of *defects that a VM sandbox can have, in the bits of vm.h. */
unsigned defects_of_vm(uint32_t defects);

/* Prints the table. */
void defects_print(void);

#endif
