/*
 * placement.c: see placement.h.
 */
#include "placement.h"

void *placement_hint(const struct policy_event *event, const struct policy_map *map)
{
    (void)event;
    (void)map;
    return NULL;
}

void placement_mapped(const struct policy_event *event, const struct policy_map *map,
                      uint64_t start)
{
    (void)event;
    (void)map;
    (void)start;
}

void placement_unmapped(const struct policy_event *event, uint64_t start, uint64_t end)
{
    (void)event;
    (void)start;
    (void)end;
}
