/*
 * api.c: the shim's side of boxledger.h.
 */
#include "boxledger.h"

#include "shim.h"

EXPORT int boxledger_shim_attached(void)
{
    return shim_watching_memory() ? 1 : 0;
}
