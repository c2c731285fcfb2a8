/*
 * reclaim.h: closes and unmaps what ended sandboxes left, on promise or on evidence, and keeps
 * numbers and ranges occupied for a while: the supervisor may yet release them itself.
 *
 *   left.c        what was left
 *   evidence.c    whether what a stack takes is never released
 *   identity.c    whether the kernel still has what was taken
 *   quarantine.c  what becomes of numbers and ranges
 */
#ifndef BOXLEDGER_POLICY_RECLAIM_H
#define BOXLEDGER_POLICY_RECLAIM_H

#include "policy.h"

struct reclaim_options {
    uint32_t settle_ms;
    uint32_t quarantine_fds;
    uint64_t quarantine_bytes;
};

/* Once, before anything else here. False: no memory for it; nothing is reclaimed. */
bool reclaim_begin(struct ledger *ledger, const struct reclaim_options *options);

/* Whether it is time to look again, and whether it may be: that asks for no clock. Cheap. */
bool reclaim_may_be_due(const struct ledger *ledger);
bool reclaim_is_due(const struct ledger *ledger, uint64_t now_ns);

/* After anything that may have ended a sandbox: does what is due. */
void reclaim_look(const struct policy_event *event);

/* A call was refused for want of room: looks whether it is due or not. True: there is more room. */
bool reclaim_make_room(const struct policy_event *event);

/* A release of fd is in flight, and the call is about to be made: waits until no look has its hand
 * on it. True: it is a reclaimed number, so the next is to be asked. */
bool reclaim_fd_is_late(int fd, const struct ledger_fd_flight *flight, bool may_call);

/* True: another is giving that number up just now; there is nothing left to release. */
bool reclaim_fd_flies(const struct policy_event *event, int fd,
                      const struct ledger_fd_flight *flight, uint32_t stack);

/* Before releases of all numbers in [first, last] are put in flight, by `stack`. */
void reclaim_fds_late(const struct policy_event *event, uint32_t first, uint32_t last,
                      uint32_t stack);

/* Once they are: likewise. */
void reclaim_fds_fly(const struct policy_event *event, uint32_t first, uint32_t last);

/* A release of [start, end) is in flight, and the call is about to be made: reclaimed ranges in it
 * are given up to it. `late`: the program releases them; otherwise something else will be there by
 * its wish. True: all of it is being given up just now; there is nothing left to release. */
bool reclaim_range_flies(const struct policy_event *event, uint64_t start, uint64_t end, bool late,
                         uint32_t stack);

/* The kernel would not release [start, end) after all: what is kept there is kept on. */
void reclaim_range_stays(const struct policy_event *event, uint64_t start, uint64_t end);

/* mmap with MAP_FIXED_NOREPLACE has just said EEXIST. True: all that is there was reclaimed, and is
 * given up to it now: the call is to be made again with MAP_FIXED. */
bool reclaim_gives_way(const struct policy_event *event, uint64_t start, uint64_t end);

/* A descriptor became a sandbox's: what it is, to know it again. `assigned`: by the supervisor's
 * word. */
void reclaim_fd_owned(const struct policy_event *event, int fd, bool assigned);

/* A stream writes to it: it may hold what is not written yet. */
void reclaim_fd_buffered(int fd);

/* mmap has just put this there, of the file that `fd` is. */
void reclaim_range_mapped(const struct policy_event *event, uint64_t start, uint64_t end, int fd);

/* boxledger_assign_range. */
void reclaim_range_assigned(uint64_t start, uint64_t end);

#endif
