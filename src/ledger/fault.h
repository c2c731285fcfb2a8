/*
 * fault.h: promises that the test build can break by name, to show that their tests notice.
 *
 * In the real build FAULT(name) is the constant 0 and leaves no code behind. In the test build
 * (-DBOXLEDGER_FAULTS) it is true where the environment said BOXLEDGER_FAULT=name at start.
 * tests/system/faults.txt lists the names.
 */
#ifndef BOXLEDGER_LEDGER_FAULT_H
#define BOXLEDGER_LEDGER_FAULT_H

#ifdef BOXLEDGER_FAULTS
#include <string.h>
/* process-global because a test breaks the whole shim, not one thread of it */
extern char boxledger_fault[32];
#define FAULT(name) (strcmp(boxledger_fault, #name) == 0)
/* The same for one time in `count`. */
#define FAULT_EVERY(name, count)                                                                   \
    (FAULT(name) && __atomic_add_fetch(&boxledger_fault_count, 1, __ATOMIC_RELAXED) % (count) == 0)
/* process-global, like the fault it counts for */
extern unsigned boxledger_fault_count;
#else
#define FAULT(name) 0
#define FAULT_EVERY(name, count) 0
#endif

#endif
