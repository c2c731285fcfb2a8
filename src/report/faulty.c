/*
 * faulty.c: which fault the command's test build is to have: BOXLEDGER_FAULT, as the shim's
 * (ledger/fault.h). Part of that build alone.
 */
#include <stdlib.h>

#include "ledger/fault.h"

/* process-global because a test breaks the whole command */
char boxledger_fault[32];
/* process-global, like the fault it counts for */
unsigned boxledger_fault_count;

static __attribute__((constructor)) void choose_fault(void)
{
    const char *fault = getenv("BOXLEDGER_FAULT");

    if (fault)
        strncpy(boxledger_fault, fault, sizeof boxledger_fault - 1);
}
