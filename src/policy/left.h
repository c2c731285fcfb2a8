/*
 * left.h: what ended sandboxes have left behind, as far as it can be told from within the watched
 * process: for boxledger_check and for the report of a bare LD_PRELOAD.
 *
 * The command judges by the same rules and knows more: names, whose children have gone, and how
 * full the process is (src/report/verdicts.h). What it would call held is never counted here.
 * Nothing here allocates, waits, or changes the ledger.
 */
#ifndef BOXLEDGER_POLICY_LEFT_H
#define BOXLEDGER_POLICY_LEFT_H

#include "ledger/ledger.h"

/* Told of each thing that was left: one of fd and mapping. */
typedef void (*left_tell)(void *context, const struct ledger_fd *fd,
                          const struct ledger_mapping *mapping);

/* What was left: one of fd and mapping, as it was when it was judged. */
struct left_thing {
    const struct ledger_fd *fd;
    const struct ledger_mapping *mapping;
    uint32_t index; /* the descriptor; of a mapping, its record */
    uint32_t owner; /* the outermost one that left it; it has ended */
};
typedef void (*left_found)(void *context, const struct left_thing *thing);

struct left_terms {
    uint64_t now_ns;    /* CLOCK_MONOTONIC_COARSE */
    uint64_t settle_ns; /* what a sandbox may take to tidy up after its end */
    bool at_exit;       /* nothing more can come: only anchors need to settle */
    bool may_call;      /* the kernel may be asked whether a thing is still there */
    bool crowded;       /* above half of a limit: LEFT_LATER_ENDS settle an end as well */
    left_tell tell;     /* NULL: nobody */
    left_found found;   /* NULL: nobody. Not of what was left by a sandbox that lives on */
    void *context;
};

#define LEFT_LATER_ENDS 8u /* of the same kind */

struct left {
    uint64_t fds;
    uint64_t mappings; /* calls' worth: the pieces of one are one */
    uint64_t bytes;
    uint64_t owners; /* sandboxes that left them */
};

/* False: another thread is at it; nothing was counted. */
bool left_count(const struct ledger *ledger, const struct left_terms *terms, uint32_t tid,
                struct left *left);

#endif
