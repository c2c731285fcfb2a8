/*
 * judged.h: what the runs of a gate found, held against a baseline: which findings make it fail,
 * and which do not.
 *
 * Built once, then only read: the writers of the gate's formats write the same struct.
 */
#ifndef BOXLEDGER_REPORT_JUDGED_H
#define BOXLEDGER_REPORT_JUDGED_H

#include "report/baseline.h"

/* In the order in which they are told. The first two make a gate fail. */
enum judged_state {
    JUDGED_NEW,     /* not in the baseline */
    JUDGED_GROWN,   /* in the baseline, with less */
    JUDGED_ALLOWED, /* new or grown, and within --max-leaked */
    JUDGED_RARE,    /* new or grown, but not in every run, where only those count */
    JUDGED_TOLD,    /* of a verdict that never fails: foreign-close, inheritable */
    JUDGED_KNOWN,   /* in the baseline, with as much or more */
    JUDGED_GONE,    /* in the baseline, and in none of the runs */
    JUDGED_STATES
};

struct judged_item {
    enum judged_state state;
    struct baseline_entry entry;          /* its count and rate are what is judged, over the runs */
    const struct report_finding *finding; /* the first of them; NULL of what is gone */
    const struct report *report;          /* that has it */
    const struct baseline_entry *known;   /* in the baseline; NULL: it is not */
    uint64_t most, least;                 /* how many, over the runs that had any */
    double most_rate, least_rate;
    unsigned runs; /* that had any */
};

/* Where a finding is best mended: the innermost frame whose source is the project's own. */
struct judged_site {
    const char *function; /* "": unknown */
    const char *file;     /* below the project's root; else as the debug information has it; "" */
    unsigned line;
    bool in_project; /* `file` is relative to the root */
};

struct judged {
    const char *program;        /* as in the baseline */
    const char *command;        /* as it was written */
    const char *baseline_path;  /* NULL: none */
    const char *trouble;        /* why there is no verdict: the command failed, say; NULL */
    const char *doubt;          /* what makes a clean result worth little; NULL */
    unsigned runs_wanted, runs; /* made */
    uint64_t start_ns, end_ns;  /* CLOCK_REALTIME */
    uint64_t sandboxes;         /* that ended, in all runs */
    int status;                 /* with which the gate ends */
    struct judged_item *items;  /* by state, within it as reports have them */
    size_t count;
    uint64_t tally[JUDGED_STATES];
    const char *root; /* of the project; absolute */
    struct arena arena;
};

struct judged_options {
    const struct baseline *baseline; /* NULL: none */
    bool in_all_runs;                /* what is not in every run does not count */
    uint64_t max_leaked;             /* so many leaked resources may be new */
};

/* One run: the reports of its processes. */
struct judged_run {
    const struct report **reports;
    size_t count;
};

/* Fills items, count and tally, anew if need be; what it points at are the reports' own. */
void judged_build(struct judged *judged, const struct judged_run *runs, size_t run_count,
                  const struct judged_options *options);
void judged_free(struct judged *judged);

/* Whether anything makes the gate fail. */
static inline bool judged_fails(const struct judged *judged)
{
    return judged->tally[JUDGED_NEW] + judged->tally[JUDGED_GROWN] > 0;
}

const char *judged_state_name(enum judged_state state);

/* Everything that was found in any run, for a new baseline: an array with its length in *count. */
struct baseline_entry *judged_baseline(struct judged *judged, size_t *count);

/* The file of a frame by its path below the root; NULL: it is not there, or not below it. Where
 * debug information has a path that is relative to where the object was built, that is mostly where
 * the object lies, or above it. */
const char *judged_source(struct judged *judged, const struct symbols_frame *frame);
struct judged_site judged_site_of(struct judged *judged, const struct judged_item *item);
/* "40 descriptors (memfd) left behind by 20 sandboxes, in inject (notify.c:114)". */
const char *judged_sentence(struct judged *judged, const struct judged_item *item);
/* "1 new, 2 known", or "clean": the end of the last line. */
const char *judged_summary(struct judged *judged);
#endif
