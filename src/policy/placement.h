/*
 * placement.h: each sandbox's unhinted mappings go to a window of addresses of its own, so that
 * strangers are never neighbours.
 */
#ifndef BOXLEDGER_POLICY_PLACEMENT_H
#define BOXLEDGER_POLICY_PLACEMENT_H

#include "policy.h"

/* Where event->owner's next mapping might go; a hint to mmap. NULL: the kernel's choice. */
void *placement_hint(const struct policy_event *event, const struct policy_map *map);

/* The kernel put it there. */
void placement_mapped(const struct policy_event *event, const struct policy_map *map,
                      uint64_t start);

/* [start, end) is free again. */
void placement_unmapped(const struct policy_event *event, uint64_t start, uint64_t end);

#endif
