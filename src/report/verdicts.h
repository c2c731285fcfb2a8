/*
 * verdicts.h: whose each thing is that is still held, and whether it was left behind (DESIGN 5
 * and 6). Pure: it looks at a ledger and at what the kernel said, and asks nobody.
 */
#ifndef BOXLEDGER_REPORT_VERDICTS_H
#define BOXLEDGER_REPORT_VERDICTS_H

#include "report/owners.h"
#include "report/verify.h"

/* One thing that is held, and what is said of it. */
struct verdicts_case {
    const struct verify_held *held;
    uint32_t code; /* of its stack: codes.h */
    uint32_t what; /* the same for what is called the same */
    /* The answer: */
    uint32_t owner;       /* whose it is, an outermost one; 0: the supervisor's */
    bool leaked;          /* else held */
    bool loose;           /* no sandbox's own: what it does over time is for growth.h */
    uint32_t unbound_by;  /* the stack that deleted its slot while its VM lived; 0: none */
    unsigned char reason; /* verdicts.c's own */
};

/* When to call something settled. */
struct verdicts_terms {
    bool at_exit;       /* nothing more can come */
    bool running;       /* it goes on since the kernel was asked */
    bool half_full;     /* half of the descriptors or VMAs are in use */
    uint64_t now_ns;    /* CLOCK_MONOTONIC, when the kernel was asked */
    uint64_t settle_ns; /* what a sandbox may take to tidy up after its end */
};

void verdicts_judge(struct verdicts_case *cases, size_t count, const struct reader *reader,
                    const struct owners *owners, const struct verdicts_terms *terms);

#endif
