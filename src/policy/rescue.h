/*
 * rescue.h: an munmap of private anonymous memory that the kernel refuses for want of VMAs
 * (munmap.2: ENOMEM) answers 0 all the same: its pages go back at once, its range waits.
 *
 * A waiting range is unmapped as soon as there is room, or given to an mmap that it suits. For the
 * program it is unmapped: what it maps there takes it over, and calls that name it answer as they
 * would. Only an access does not fault; it finds zeros.
 *
 * All of it may be called by any number of threads at once. A range is in one slot of a table, in
 * one atomic word, so that it is never handed to two. Who unmaps or clears a range marks its slot
 * meanwhile, with all signals blocked, and is waited for by who wants to map over it: for one
 * system call's time, and for no longer than a bound.
 */
#ifndef BOXLEDGER_POLICY_RESCUE_H
#define BOXLEDGER_POLICY_RESCUE_H

#include "policy.h"

/* Whether anything waits: without that, nothing below has to be called but rescue_unmap. */
bool rescue_any(void);

/* The kernel has just refused to unmap [start, end) with ENOMEM. True: it waits now, and for the
 * program it is gone. False: the refusal stands. */
bool rescue_unmap(const struct policy_event *event, uint64_t start, uint64_t end, uint32_t stack);

/* A waiting range, or the lower part of one, that does for this mmap, zeroed; with MAP_FIXED or
 * MAP_FIXED_NOREPLACE the part at map->address. MAP_FAILED: none does. */
void *rescue_serve(const struct policy_event *event, const struct policy_map *map);

/* mmap with MAP_FIXED_NOREPLACE has just said EEXIST: once more, where what is there only waited
 * and can be unmapped now. The address; or MAP_FAILED, and EEXIST stands. */
void *rescue_noreplace(const struct policy_event *event, const struct policy_map *map);

/* What was taken out of the ranges that wait. */
#define RESCUE_TAKEN 4u
struct rescue_taken {
    uint64_t range[RESCUE_TAKEN]; /* as the table has them */
    unsigned count;
    bool more; /* than there was room for: these do not wait any more, and stay mapped */
};

/* Before the program maps over [start, end), or unmaps it: nothing of it waits any more. False: it
 * is being unmapped, and that takes too long; the call must not be made. */
bool rescue_take(const struct policy_event *event, uint64_t start, uint64_t end,
                 struct rescue_taken *taken);

/* That call failed, and changed nothing. */
void rescue_put_back(const struct policy_event *event, const struct rescue_taken *taken);

/* The lowest address of [start, end) that waits; `end`: none does. */
uint64_t rescue_first(uint64_t start, uint64_t end);

/* What waits in [start, end) is like other memory no more: no mmap gets it. */
void rescue_spoil(const struct policy_event *event, uint64_t start, uint64_t end);

/* The kernel has put something else there of its own accord: somebody unmapped it unseen. */
void rescue_displaced(const struct policy_event *event, uint64_t start, uint64_t end);

/* A sandbox has ended since this was last true, and something waits. */
bool rescue_is_due(const struct ledger *ledger);

/* There may be room, since [start, end) was unmapped (0, 0: for another reason): a bounded number
 * of waiting ranges is tried again, neighbours first. */
void rescue_retry(const struct policy_event *event, uint64_t start, uint64_t end);

#endif
