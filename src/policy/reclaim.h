/*
 * reclaim.h: closes and unmaps what ended sandboxes left, on promise or on evidence, and keeps
 * numbers and ranges occupied for a while: the supervisor may yet release them itself.
 */
#ifndef BOXLEDGER_POLICY_RECLAIM_H
#define BOXLEDGER_POLICY_RECLAIM_H

#include "policy.h"

/* After anything that may have ended a sandbox: does what is due. */
void reclaim_look(const struct policy_event *event);

/* Before close(fd): it is a reclaimed number, so this is the supervisor's own, late, release. The
 * number is given back and the call answers 0. False: close goes on. */
bool reclaim_late_close(const struct policy_event *event, int fd);

/* Before a call that replaces or closes these numbers on its own (dup2, close_range): they are
 * nobody's to keep any more. */
void reclaim_fds_replaced(const struct policy_event *event, uint32_t first, uint32_t last);

/* Before munmap of [start, end): reclaimed ranges in it are given up to it, which is a late
 * release. */
void reclaim_late_unmap(const struct policy_event *event, uint64_t start, uint64_t end);

/* Something else is, or will be, at [start, end) by the program's wish. */
void reclaim_replaced(const struct policy_event *event, uint64_t start, uint64_t end);

/* As rescue_noreplace. */
void *reclaim_noreplace(const struct policy_event *event, const struct policy_map *map);

/* A descriptor became event->owner's, or a range: what it is, to know it again. */
void reclaim_fd_owned(const struct policy_event *event, int fd);
void reclaim_range_owned(const struct policy_event *event, uint64_t start, uint64_t end);

#endif
