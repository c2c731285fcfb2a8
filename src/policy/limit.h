/*
 * limit.h: a sandbox may hold so many VMAs, bytes and descriptors, and the last of the process's
 * are the supervisor's own: limit_vmas, limit_bytes, limit_fds, reserve_vmas, reserve_fds.
 */
#ifndef BOXLEDGER_POLICY_LIMIT_H
#define BOXLEDGER_POLICY_LIMIT_H

#include "policy.h"

/* Before event->owner maps `bytes` more. 0; or ENOMEM, noted. */
int limit_map(const struct policy_event *event, uint64_t bytes);

/* Before it takes `count` more descriptors. 0; or EMFILE, noted. */
int limit_fds(const struct policy_event *event, unsigned count);

#endif
