/*
 * placement.h: each sandbox's unhinted mappings go to windows of addresses of its own, so that
 * strangers are never neighbours: the kernel merges neighbours that are alike, and then one's
 * munmap is a hole in the other's VMA.
 *
 * A window is addresses, not memory: nothing is reserved, and whatever is there already stays. Each
 * sandbox has one for what may be executed and one for all else, takes further ones when they are
 * full, and has a place by itself for each large mapping. Within a window the lowest addresses that
 * were freed are used again, and where nothing is left of a window it starts anew. Between windows
 * there is always a gap. A window is another sandbox's when its own has ended and nothing is mapped
 * in it any more.
 *
 * All of this is advice: what is wrong with it costs a try that the kernel refuses, or a mapping
 * where the kernel likes, never one over another. Hence there is no lock. A thread that is
 * interrupted, or jumped out of, leaves at worst some addresses unused.
 */
#ifndef BOXLEDGER_POLICY_PLACEMENT_H
#define BOXLEDGER_POLICY_PLACEMENT_H

#include "policy.h"

#define PLACEMENT_TRIES 5u /* of a mapping, before the kernel chooses */

/* What the windows' places are chosen by. */
struct placement_host {
    uint64_t stack_top; /* of the main thread */
    uint64_t random;    /* 0: no randomness is wanted */
    bool shadowed;      /* a sanitizer leaves programs few addresses */
};

/* Lays the windows out; the tables are the ledger's arena's. Without memory, or in an address space
 * of less than 47 bits, there are none. */
void placement_begin(struct ledger *ledger, const struct placement_host *host);

/* Where event->owner's next mapping should go, after so many tries that the kernel refused; 0: the
 * kernel's choice. The address is the caller's until one of the next two. */
uint64_t placement_hint(const struct policy_event *event, const struct policy_map *map,
                        unsigned tries);

/* It did not get there: because something else is, or for another reason. */
void placement_refused(const struct policy_event *event, const struct policy_map *map,
                       uint64_t address, bool occupied);

/* [start, end) is free again. */
void placement_unmapped(const struct policy_event *event, uint64_t start, uint64_t end);

/* mremap: [start, end) is [to_start, to_end) now, perhaps in part the same. */
void placement_moved(const struct policy_event *event, uint64_t start, uint64_t end,
                     uint64_t to_start, uint64_t to_end);

#endif
