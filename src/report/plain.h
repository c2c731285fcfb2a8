/*
 * plain.h: the one report that is written inside the watched process.
 */
#ifndef BOXLEDGER_REPORT_PLAIN_H
#define BOXLEDGER_REPORT_PLAIN_H

#include "ledger/ledger.h"

struct plain_terms {
    unsigned wait_ms;   /* how long a write may wait for its reader */
    uint64_t now_ns;    /* CLOCK_MONOTONIC_COARSE */
    uint64_t settle_ns; /* what a sandbox may take to tidy up after its end */
    uint32_t tid;
};

/* Writes what was left behind and what is still held, by stack, to descriptor 2. Raw system calls
 * only; asks the kernel about each descriptor and mapping first. Ends early where a write fails, or
 * could not be made for `wait_ms`. */
void plain_report(const struct ledger *ledger, const struct plain_terms *terms);

/* What is nearly used up: descriptors, or else VMAs. */
struct plain_warning {
    bool fds;
    uint64_t used;
    uint64_t limit;
};

/* Writes one line to descriptor 2, if that can be done at once: what holds most, and for how many
 * sandboxes the rest will do. Once for each limit: the memory that it needs is the process's. */
void plain_warn(const struct ledger *ledger, const struct plain_warning *warning);

#endif
