/*
 * police.h: the wrappers of calls that a policy may refuse, answer or follow up, while one is on.
 *
 * They stand around the plain ones of wrap_mappings.c and wrap_descriptors.c, which make the call
 * and tell the ledger whatever the policies say.
 */
#ifndef BOXLEDGER_PRELOAD_POLICE_H
#define BOXLEDGER_PRELOAD_POLICE_H

#include "policy/policy.h"
#include "shim.h"

/* Whether any of these policies is on; never in another process than the watched one. */
static inline bool shim_polices(unsigned policies)
{
    return unlikely((*shim.attached & policies) != 0);
}

/* Turns on what the options ask for, at the end of the constructor: the attached word. */
uint32_t police_begin(void);

struct policy_event police_event(const struct unwind_start *here);

void *police_mmap(const struct unwind_start *here, bool raw, const struct policy_map *map);
int police_munmap(const struct unwind_start *here, bool raw, void *address, size_t length);

/* Before mremap, and where it may put what it moves (MREMAP_FIXED; 0, 0: it may not). False: *error
 * is its answer; the call is not made. */
struct policy_move {
    uint64_t start, end, to_start, to_end;
};
bool police_mremap(const struct unwind_start *here, const struct policy_move *move, int *error);

/* Before shmat(SHM_REMAP). False: ENOMEM; the call is not made. */
bool police_shmat(const struct unwind_start *here, uint64_t start, uint64_t end);

/* [start, end) is no plain memory any more: LEDGER_ODD or LEDGER_WATCHED. */
void police_spoil(const struct unwind_start *here, uint64_t start, uint64_t end, uint32_t detail);

/* True: a reclaimed number's late release, which is done. */
bool police_late_close(const struct unwind_start *here, int fd);
void police_fds_replaced(const struct unwind_start *here, unsigned first, unsigned last);

/* After anything that may have ended a sandbox. */
void police_look(const struct unwind_start *here);

/* Of wrap_mappings.c: the calls themselves, and a mapping that was made without one. */
void *plain_mmap(const struct unwind_start *here, bool raw, void *address, size_t length, int prot,
                 int flags, int fd, int64_t offset);
int plain_munmap(const struct unwind_start *here, bool raw, void *address, size_t length);
void plain_mapped(const struct unwind_start *here, const struct policy_map *map, void *result,
                  bool fixed);

#endif
