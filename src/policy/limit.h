/*
 * limit.h: a sandbox may hold so many VMAs, bytes and descriptors, and the last of the process's
 * are the supervisor's own: limit_vmas, limit_bytes, limit_fds, reserve_vmas, reserve_fds.
 *
 * A call that a sandbox has no room for is not made: it answers ENOMEM or EMFILE, so that nothing
 * it would have done on the way (a file created, a connection accepted) is lost, and it is noted
 * with its stack. The supervisor's own calls are never refused.
 *
 * What a sandbox is said to hold is what the ledger counts for it, its parts included: mappings
 * are counted as records, of which neighbours that are alike may share a VMA. Threads of one
 * sandbox that take the last at the same moment may all get it. What is taken unseen is counted
 * once it is adopted, and not refused; nor is what the sandbox is given by other calls than those
 * that take (an eventfd that an IRQFD names). Nothing here waits.
 */
#ifndef BOXLEDGER_POLICY_LIMIT_H
#define BOXLEDGER_POLICY_LIMIT_H

#include "policy.h"

/* As event->owner: a sandbox that begins with what is taken (KVM_CREATE_VM). */
#define LIMIT_NEW_OWNER UINT32_MAX

/* 0 anywhere: no such limit, or not known. */
struct limit_terms {
    uint64_t bytes;                     /* a sandbox */
    uint32_t vmas, fds;                 /* a sandbox */
    uint32_t reserve_vmas, reserve_fds; /* of the process's last, no sandbox's */
    uint64_t max_fds;                   /* soft RLIMIT_NOFILE at start; asked for again later */
    uint64_t max_vmas;                  /* vm.max_map_count */
};

/* Before anything else here, once. */
void limit_begin(const struct limit_terms *terms);

/* Before event->owner gets `mappings` more, of `bytes` in all. 0; or ENOMEM, noted. */
int limit_map(const struct policy_event *event, unsigned mappings, uint64_t bytes);

/* The same before it maps over [start, end), by its own wish (MAP_FIXED): what of that is its own
 * already counts for no more. */
int limit_map_over(const struct policy_event *event, uint64_t start, uint64_t end);

/* Before a memory slot of VM event->owner maps [start, end), which somebody has mapped already and
 * which will be the VM's sandbox's as well. 0; or ENOMEM, noted. */
int limit_bind(const struct policy_event *event, uint64_t start, uint64_t end);

/* Before [start, end) of what is mapped becomes `new_size` long, or, where that is wanted
 * `once_more`, there is as much elsewhere: for whose it is. 0; or ENOMEM, noted. */
int limit_grow(const struct policy_event *event, uint64_t start, uint64_t end, uint64_t new_size,
               bool once_more);

/* Before the protection of [start, end) is changed to `prot`, so that a part of a mapping becomes
 * one of its own: for whose it is. 0; or ENOMEM, noted. */
int limit_split(const struct policy_event *event, uint64_t start, uint64_t end, int prot);

/* Whether it may take `count` more descriptors without another look: most often it may. */
bool limit_is_far(const struct ledger *ledger, uint32_t owner, unsigned count);

/* Before it takes `count` more descriptors. 0; or EMFILE, noted. */
int limit_fds(const struct policy_event *event, unsigned count);

/* It has been sent these, and they are open. How many of them, from the first on, may stay. */
unsigned limit_received(const struct policy_event *event, const int *fds, unsigned count);

#endif
