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

/* Whose it will be, if by itself it is `own`'s (0: nobody's): an explicit scope beats that. */
uint32_t police_owner(uint32_t own);

void *police_mmap(const struct unwind_start *here, bool raw, struct policy_map *map);
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

/* While a release is in flight and its call is not made yet, only under reclaim. True: it is of a
 * reclaimed number that another gives up just now; nothing is left to release. */
bool police_fd_flies(const struct unwind_start *here, int fd, const struct shim_release *release);
void police_fds_late(const struct unwind_start *here, unsigned first, unsigned last,
                     uint32_t stack);
void police_fds_fly(const struct unwind_start *here, unsigned first, unsigned last);

/* The same for [start, end). `stack` 0: what is there is replaced, which is no late release. */
bool police_range_flies(uint64_t start, uint64_t end, uint32_t stack);

/* A descriptor became a sandbox's; `assigned`: because the supervisor said so. */
void police_fd_owned(const struct unwind_start *here, int fd, bool assigned);

/* Whether the sandbox that would take `count` descriptors, or the owner that would get them (0: it
 * goes by the scope), has no room for them: errno is EMFILE then, and the call is not made. */
bool police_refuses_fds(const struct unwind_start *here, unsigned count, uint32_t owner);

static inline bool shim_limits_fds(const struct unwind_start *here, unsigned count)
{
    return shim_polices(POLICY_LIMIT) && police_refuses_fds(here, count, 0);
}

static inline bool shim_limits_fds_of(const struct unwind_start *here, uint32_t owner)
{
    return shim_polices(POLICY_LIMIT) && police_refuses_fds(here, 1, owner);
}

/* The same for one at a number that the program chose, unless that is a sandbox's already. */
bool police_refuses_fd_at(const struct unwind_start *here, int fd);

/* How many of these, which have been received, may stay; the others are to be closed. */
unsigned police_admits_fds(const struct unwind_start *here, const int *fds, unsigned count);

/* Before an ioctl of which shim_ioctl_matters: errno is EMFILE or ENOMEM then. */
bool police_refuses_ioctl(const struct unwind_start *here, int fd, uint32_t request, long argument);

/* Before mremap and mprotect, of what is a sandbox's: errno is ENOMEM then. */
bool police_refuses_growth(const struct unwind_start *here, uint64_t start, uint64_t end,
                           uint64_t new_size, bool once_more);
bool police_refuses_split(const struct unwind_start *here, uint64_t start, uint64_t end, int prot);

/* The call itself, where the sandbox's window has room: map->address is what was had then. */
void police_placement_begin(void);
void *police_placed_mmap(bool raw, struct policy_map *map);

/* After an mremap. */
void police_moved(const struct unwind_start *here, const struct policy_move *move);

/* Before mmap, and shmat of so much: errno is ENOMEM then. */
bool police_refuses_mmap(const struct unwind_start *here, const struct policy_map *map);
bool police_refuses_bytes(const struct unwind_start *here, uint64_t bytes);

/* Whether no policy has anything to do just now, whatever the time is. */
bool police_is_idle(void);

void police_look_now(const struct unwind_start *here);
bool police_makes_room(const struct unwind_start *here);

/* After anything that may have ended a sandbox. */
static inline void police_look(const struct unwind_start *here)
{
    if (shim_polices(POLICY_RECLAIM | POLICY_RESCUE)) {
        police_look_now(here);
    }
}

/* A call for a descriptor was refused: is it worth a second try? */
static inline bool police_retries(const struct unwind_start *here)
{
    return errno == EMFILE && shim_polices(POLICY_RECLAIM) && police_makes_room(here);
}

/* Of wrap_mappings.c: the calls themselves, and a mapping that was made without one. */
void *plain_mmap(const struct unwind_start *here, bool raw, struct policy_map *map);
int plain_munmap(const struct unwind_start *here, bool raw, void *address, size_t length);
void *plain_mmap_made(bool raw, const struct policy_map *map);
/* The sandbox whose device this is a descriptor of (a vCPU's registers); 0: none's. */
uint32_t plain_owner_of_map(int fd);
void *plain_mapped(const struct unwind_start *here, const struct policy_map *map, void *result,
                   bool fixed);

#endif
