/*
 * suppressions.h: what a user does not want to be told, in LeakSanitizer's format.
 *
 *   leak:PATTERN          leaves out findings with PATTERN in their stack or resource
 *   leak:PATTERN max:N    ... as long as all of those together hold no more than N
 *   only:PATTERN          leaves out findings without it
 *   # comment
 *
 * PATTERN is looked for anywhere in a function's name, source file, object or resource; `*` in it
 * stands for anything, `^` and `$` at its ends tie it to the beginning and the end.
 */
#ifndef BOXLEDGER_REPORT_SUPPRESSIONS_H
#define BOXLEDGER_REPORT_SUPPRESSIONS_H

#include "report/base.h"

struct report_finding;

struct suppression {
    const char *pattern;
    unsigned line; /* in its file */
    bool only;
    bool limited; /* max:N was given */
    uint64_t max;
    /* What it matched: in what is wrong, and in what is merely held (the same things may be in
     * both, so they are never added up). */
    struct suppression_use {
        uint64_t findings, count, bytes;
    } uses[2];                        /* in the process at hand, which max:N is about */
    struct suppression_use totals[2]; /* in all processes */
    bool exceeded;                    /* in one of them there was more than max:N */
};

struct suppressions {
    const char *name; /* of the file; NULL: none was given */
    struct suppression *items;
    size_t count;
    bool has_only;
    struct arena arena;
};

/* Reads a file. An empty one is valid; what is wrong is told with its line. */
bool suppressions_load(struct suppressions *suppressions, const char *path,
                       struct failure *failure);
bool suppressions_parse(struct suppressions *suppressions, const char *name, const char *text,
                        size_t length, struct failure *failure);
void suppressions_free(struct suppressions *suppressions);

/* Whether `pattern` occurs in `text`, as above. */
bool suppressions_match(const char *pattern, const char *text);

/* Forgets the counts of the process before; the totals stay. */
void suppressions_begin(struct suppressions *suppressions);

/* Counts a finding at every suppression that matches it. To be called for all findings first:
 * max:N is about their sum. */
void suppressions_count(struct suppressions *suppressions, const struct report_finding *finding,
                        bool live);

/* Whether a finding is to be left out, after all were counted. */
bool suppressions_hide(struct suppressions *suppressions, const struct report_finding *finding,
                       bool live);

/* What is to be told of one: of what is wrong if there was any, else of what is held. */
static inline const struct suppression_use *suppression_told(const struct suppression *suppression)
{
    return &suppression->totals[suppression->totals[0].findings == 0];
}

#endif
