/*
 * reclaim.c: see reclaim.h.
 */
#include "reclaim.h"

#include <sys/mman.h>

void reclaim_look(const struct policy_event *event)
{
    (void)event;
}

bool reclaim_late_close(const struct policy_event *event, int fd)
{
    (void)event;
    (void)fd;
    return false;
}

void reclaim_fds_replaced(const struct policy_event *event, uint32_t first, uint32_t last)
{
    (void)event;
    (void)first;
    (void)last;
}

void reclaim_late_unmap(const struct policy_event *event, uint64_t start, uint64_t end)
{
    (void)event;
    (void)start;
    (void)end;
}

void reclaim_replaced(const struct policy_event *event, uint64_t start, uint64_t end)
{
    (void)event;
    (void)start;
    (void)end;
}

void *reclaim_noreplace(const struct policy_event *event, const struct policy_map *map)
{
    (void)event;
    (void)map;
    return MAP_FAILED;
}

void reclaim_fd_owned(const struct policy_event *event, int fd)
{
    (void)event;
    (void)fd;
}

void reclaim_range_owned(const struct policy_event *event, uint64_t start, uint64_t end)
{
    (void)event;
    (void)start;
    (void)end;
}
