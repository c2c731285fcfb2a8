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

#include "maps.h"
#include "policy.h"

#define QUARANTINE_FDS 8192u    /* at most, whatever the options say */
#define QUARANTINE_RANGES 1024u /* likewise: each may be a VMA of its own */
#define QUARANTINE_SPARE 64u    /* of these, for what late releases of parts leave */

struct quarantine_fd {
    int32_t fd;
    uint32_t unused;
    uint64_t since_ns; /* of its record, which tells whether it is still in there */
    uint64_t inode;    /* of the placeholder */
};

enum quarantine_range_state {
    QUARANTINE_FREE,
    QUARANTINE_WRITING, /* for a moment, by a thread with its signals blocked, or a release */
    QUARANTINE_KEPT,
};

struct quarantine_range {
    uint32_t state; /* enum quarantine_range_state: who swaps it to WRITING has it */
    uint32_t stack; /* that had mapped it */
    uint64_t start, end;
    uint64_t inode; /* of the placeholder */
    uint64_t order; /* the oldest go first; of several that became one, the oldest's */
    bool downward;  /* which lies at its end then, not at its start */
};

/* What occupies numbers and ranges for one look. */
struct quarantine_placeholder {
    int memory; /* a memfd, to be mapped; negative: none */
    int number; /* the same file by O_PATH: who uses it as if it were still open is told EBADF */
    uint64_t inode;
};

struct quarantine {
    uint32_t fds_max;
    uint64_t bytes_max;
    /* Numbers, by age; only under reclaim's try. */
    struct quarantine_fd fds[QUARANTINE_FDS];
    uint32_t first, count;
    /* Ranges: by any thread. */
    struct quarantine_range ranges[QUARANTINE_RANGES];
    uint32_t ranges_used; /* how far they were ever used */
    uint32_t ranges_kept;
    uint32_t moves; /* how often a piece of one place has become another's */
    uint64_t bytes, order;
    uint64_t low, high; /* where ranges were ever kept: [~low, high) */
    /* Those that the kernel is asked about. */
    struct maps_range asked[QUARANTINE_RANGES];
    /* The hand. */
    uint32_t hand_fd; /* + 1; 0: on none */
    uint64_t hand_start, hand_end;
    uint64_t gone_start, gone_end; /* what it has just given up */
};

/* --- the hand --- */

void quarantine_hand_on_fd(struct quarantine *quarantine, int fd);
void quarantine_hand_off_fd(struct quarantine *quarantine);
void quarantine_hand_on_range(struct quarantine *quarantine, uint64_t start, uint64_t end);
void quarantine_hand_off_range(struct quarantine *quarantine);

/* Until the hand is on none of these. True: it has given up all of the range meanwhile. */
void quarantine_wait_fds(const struct quarantine *quarantine, uint32_t first, uint32_t last,
                         bool may_call);
bool quarantine_wait_range(const struct quarantine *quarantine, uint64_t start, uint64_t end,
                           bool may_call);

/* A file that occupies. False: none can be had just now. */
bool quarantine_open(struct quarantine_placeholder *placeholder);
void quarantine_close(struct quarantine_placeholder *placeholder);

/* --- numbers --- */

/* A number that is occupied already, where there is no new one; negative: none. */
int quarantine_youngest(struct quarantine *quarantine, const struct ledger *ledger,
                        uint64_t *inode);

void quarantine_put_fd(struct quarantine *quarantine, int fd, uint64_t since_ns, uint64_t inode);

/* What was occupied by the file of that inode, by the placeholder from now on. */
void quarantine_replace(struct quarantine *quarantine, const struct policy_event *event,
                        uint64_t inode, const struct quarantine_placeholder *by);

/* Gives up the oldest numbers while there are more than may be: of the options, and an eighth of
 * what the process may have open. */
void quarantine_trim_fds(struct quarantine *quarantine, const struct policy_event *event,
                         uint64_t soft_limit);

/* --- ranges --- */

/* Whether there is a place for one more. */
bool quarantine_has_room(const struct quarantine *quarantine);

/* Without any access, at an offset that is the address, so that neighbours of one file are one VMA:
 * what mmap(2) answers. */
long quarantine_map(uint64_t start, uint64_t end, int placeholder);

/* The placeholder is mapped there now. */
void quarantine_put_range(struct quarantine *quarantine, uint64_t start, uint64_t end,
                          uint32_t stack, uint64_t inode);

/* What lies next to ranges of this placeholder, and is another's from an earlier look, becomes this
 * one's: with it, it is one VMA. */
void quarantine_join_ranges(struct quarantine *quarantine,
                            const struct quarantine_placeholder *placeholder, char *buffer);

/* What of [start, end) is kept is given up to a release that is in flight, or to what will be there
 * by the program's wish: how many bytes. The stack that had mapped the last of it in *stack. */
uint64_t quarantine_take_range(struct quarantine *quarantine, uint64_t start, uint64_t end,
                               bool may_call, uint32_t *stack);

/* How many bytes are kept now, for readers of the ledger. */
void quarantine_tell_bytes(const struct quarantine *quarantine, const struct ledger *ledger);

/* By their start, as maps_ask wants them. */
void quarantine_sort(struct maps_range *ranges, uint32_t count);

/* Some of it is kept; all of it is. */
bool quarantine_touches(const struct quarantine *quarantine, uint64_t start, uint64_t end);
bool quarantine_keeps(const struct quarantine *quarantine, uint64_t start, uint64_t end);

/* Gives up the oldest ranges while there are more, or more bytes, than may be. */
void quarantine_trim_ranges(struct quarantine *quarantine, const struct policy_event *event,
                            char *buffer);

#endif
