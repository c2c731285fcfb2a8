/*
 * quarantine.h: numbers and ranges that were reclaimed, and stay occupied for a while: their
 * supervisor may yet release them, and must not hit what another has been given meanwhile.
 *
 * Also the hand: the one number or range that reclaim is replacing or giving up at this moment. A
 * release that was seen to begin (in flight in the ledger) waits until the hand has left it; a hand
 * that was put somewhere leaves alone what is in flight. So neither ever acts on what the other has
 * just freed. This wait, of two or three system calls of another thread with its signals blocked,
 * is the only one, and bounded.
 */
#ifndef BOXLEDGER_POLICY_QUARANTINE_H
#define BOXLEDGER_POLICY_QUARANTINE_H

#include <stdbool.h>
#include <stdint.h>

#include "policy.h"

#define QUARANTINE_FDS 65536u   /* at most, whatever the options say */
#define QUARANTINE_RANGES 1024u /* likewise: each may be a VMA of its own */

struct quarantine_fd {
    int32_t fd;
    uint32_t unused;
    uint64_t since_ns; /* of its record, which tells whether it is still in there */
    uint64_t inode;    /* of the placeholder */
};

enum quarantine_range_state {
    QUARANTINE_FREE,
    QUARANTINE_WRITING,
    QUARANTINE_KEPT,
    QUARANTINE_LEAVING, /* being given up, to the kernel or to a release that came late */
};

struct quarantine_range {
    uint32_t state; /* enum quarantine_range_state */
    uint32_t stack; /* that had mapped it */
    uint64_t start, end;
    uint64_t order; /* the oldest go first */
};

struct quarantine {
    uint32_t fds_max;
    uint64_t bytes_max;
    /* Numbers, by age; only under reclaim's try. */
    struct quarantine_fd fds[QUARANTINE_FDS];
    uint32_t first, count;
    /* Ranges: put in under reclaim's try, taken out by whoever swaps `state`. */
    struct quarantine_range ranges[QUARANTINE_RANGES];
    uint32_t ranges_used; /* how far they were ever used */
    uint32_t ranges_kept;
    uint64_t bytes, order;
    uint64_t low, high; /* where ranges were ever kept: [low, high) */
    /* The hand. */
    uint32_t hand_fd; /* + 1; 0: on none */
    uint64_t hand_start, hand_end;
};

/* --- the hand --- */

void quarantine_hand_on_fd(struct quarantine *quarantine, int fd);
void quarantine_hand_off_fd(struct quarantine *quarantine);
void quarantine_hand_on_range(struct quarantine *quarantine, uint64_t start, uint64_t end);
void quarantine_hand_off_range(struct quarantine *quarantine);

/* Until the hand is on none of these. */
void quarantine_wait_fds(const struct quarantine *quarantine, uint32_t first, uint32_t last,
                         bool may_call);
void quarantine_wait_range(const struct quarantine *quarantine, uint64_t start, uint64_t end,
                           bool may_call);

/* --- numbers --- */

/* A new file that numbers are occupied by, with close-on-exec set: who uses such a number as if it
 * were still open is told EBADF. Its inode in *inode. Negative: none can be had just now. */
int quarantine_placeholder(uint64_t *inode);

/* A number that is occupied already, where there is no new one; negative: none. */
int quarantine_youngest(struct quarantine *quarantine, const struct ledger *ledger,
                        uint64_t *inode);

void quarantine_put_fd(struct quarantine *quarantine, int fd, uint64_t since_ns, uint64_t inode);

/* Gives up the oldest numbers while there are more than may be: of the options, and an eighth of
 * what the process may have open. */
void quarantine_trim_fds(struct quarantine *quarantine, const struct policy_event *event,
                         uint64_t soft_limit);

#endif
