/*
 * rescue.c: see rescue.h.
 */
#include "rescue.h"

#include <sys/mman.h>

bool rescue_unmap(const struct policy_event *event, uint64_t start, uint64_t end, uint32_t stack)
{
    (void)event;
    (void)start;
    (void)end;
    (void)stack;
    return false;
}

void *rescue_serve(const struct policy_event *event, const struct policy_map *map)
{
    (void)event;
    (void)map;
    return MAP_FAILED;
}

void *rescue_noreplace(const struct policy_event *event, const struct policy_map *map)
{
    (void)event;
    (void)map;
    return MAP_FAILED;
}

void rescue_replaced(const struct policy_event *event, uint64_t start, uint64_t end)
{
    (void)event;
    (void)start;
    (void)end;
}

void rescue_retry(const struct policy_event *event)
{
    (void)event;
}
