/*
 * policy.h: what may be done about what sandboxes take and leave, all of it off by default.
 *
 *   reclaim.c    what ended sandboxes left is closed and unmapped
 *   rescue.c     an munmap that the kernel refuses is remembered and tried again
 *   limit.c      a sandbox may hold so much and no more
 *   placement.c  each sandbox's mappings in a stretch of addresses of their own
 *
 * Which are on is in the word that every wrapper looks at anyway (shim.h), so that one that is off
 * costs nothing. src/preload/police.c is where wrappers meet them. Like the ledger, nothing here
 * waits, allocates or touches errno; all of it may be interrupted by a signal handler that comes
 * here again, and then the handler goes without.
 */
#ifndef BOXLEDGER_POLICY_POLICY_H
#define BOXLEDGER_POLICY_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "ledger/ledger.h"

/* Bits of the attached word beside its lowest. */
enum policy {
    POLICY_RECLAIM = 0x2,
    POLICY_RESCUE = 0x4,
    POLICY_LIMIT = 0x8,
    POLICY_PLACEMENT = 0x10,
};
#define POLICY_ALL (POLICY_RECLAIM | POLICY_RESCUE | POLICY_LIMIT | POLICY_PLACEMENT)

/* Where a policy is asked. */
struct policy_event {
    struct ledger *ledger;
    struct ledger_actor *actor;
    uint64_t now_ns;
    uint64_t page;     /* bytes */
    uint32_t owner;    /* whose what is taken now will be; 0: the supervisor's */
    bool may_call;     /* system calls of our own are allowed in this thread */
    bool watching_fds; /* the thread's descriptors are the process's */
    uint32_t (*capture)(const void *here); /* the program's stack; `here` is the shim's */
    const void *here;
};

static inline uint32_t policy_stack(const struct policy_event *event)
{
    return event->capture ? event->capture(event->here) : 0;
}

/* mmap's arguments, as the program or a policy has them. */
struct policy_map {
    void *address;
    uint64_t length; /* as given; not 0 */
    int prot, flags, fd;
    int64_t offset;
};

#endif
