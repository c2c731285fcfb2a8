/*
 * rescue.h: an munmap of private anonymous memory that the kernel refuses for want of VMAs
 * (munmap.2: ENOMEM) answers 0 all the same: its pages go back at once, its range waits.
 */
#ifndef BOXLEDGER_POLICY_RESCUE_H
#define BOXLEDGER_POLICY_RESCUE_H

#include "policy.h"

/* The kernel has just refused to unmap [start, end) with ENOMEM. True: it waits now, and for the
 * program it is gone. False: the refusal stands. */
bool rescue_unmap(const struct policy_event *event, uint64_t start, uint64_t end, uint32_t stack);

/* A waiting range that does for this mmap, zeroed; MAP_FAILED: none does. */
void *rescue_serve(const struct policy_event *event, const struct policy_map *map);

/* mmap with MAP_FIXED_NOREPLACE has just said EEXIST: once more, where what is there only waits.
 * The address; or MAP_FAILED, and EEXIST stands. */
void *rescue_noreplace(const struct policy_event *event, const struct policy_map *map);

/* Something else is at [start, end) now, by the program's wish (MAP_FIXED, mremap, shmat). */
void rescue_replaced(const struct policy_event *event, uint64_t start, uint64_t end);

/* There may be room: a bounded number of waiting ranges is tried again. */
void rescue_retry(const struct policy_event *event);

#endif
