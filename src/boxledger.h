/*
 * boxledger.h: what a supervisor may say to its ledger. None has to: everything works without.
 *
 * Needs no library and costs nothing where the shim is absent: its functions are weak symbols of
 * the preloaded shim, and the ones below look for them first. Usable from C and C++.
 */
#ifndef BOXLEDGER_H
#define BOXLEDGER_H

#ifdef __cplusplus
extern "C" {
#endif

#define BOXLEDGER_API_VERSION 1

/* Defined by the shim. Call boxledger_present instead. */
int boxledger_shim_attached(void) __attribute__((weak));

/* Whether the shim is loaded and keeps a ledger of this process: 1, or 0. It is 0 in a child after
 * fork(2), unless that is followed and has a ledger of its own. Async-signal-safe; keeps errno. */
static inline int boxledger_present(void)
{
    return boxledger_shim_attached ? boxledger_shim_attached() : 0;
}

#ifdef __cplusplus
}
#endif

#endif
