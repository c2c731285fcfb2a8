/*
 * baseline.h: the findings that a project knows of already, in a file that is kept with its
 * sources.
 *
 *   {"boxledger_baseline": 1, "program": "my-supervisor", "findings": [
 *     {"verdict": "leaked", "resource": "fd", "what": "memfd", "count": 40,
 *      "stack": ["inject", "answer", "main"]}]}
 *
 * A finding is known again by its verdict, its resource, what it is, and the names of the functions
 * of its stack, innermost first: by nothing that another build, another line or another machine
 * would change. What a policy has reclaimed was left behind, and is known as that.
 */
#ifndef BOXLEDGER_REPORT_BASELINE_H
#define BOXLEDGER_REPORT_BASELINE_H

#include "report/report.h"

#define BASELINE_VERSION 1

struct baseline_entry {
    const char *verdict, *resource, *what; /* UTF-8, as all of these texts */
    const char **stack;
    size_t depth;
    uint64_t count;  /* the most of them that a run had */
    double rate;     /* of what grows: resources more, per sandbox */
    const char *key; /* all but count and rate: two entries are the same finding if it is equal */
};

struct baseline {
    const char *program;            /* the last part of the command's name, or of its script's */
    struct baseline_entry *entries; /* by their keys */
    size_t count;
    struct arena arena;
};

/* What a finding is known again by, with its count and rate. */
struct baseline_entry baseline_entry_of(struct arena *arena, const struct report_finding *finding);

/* Reads a baseline, or a file's text. Returns false, saying what is wrong with it: that it cannot
 * be read or does not parse, that it is a newer version's, or that `program` is another. */
bool baseline_load(struct baseline *baseline, const char *path, const char *program,
                   struct failure *failure);
bool baseline_parse(struct baseline *baseline, const char *path, const char *text, size_t length,
                    const char *program, struct failure *failure);
/* The entry of the same finding, or NULL. */
const struct baseline_entry *baseline_find(const struct baseline *baseline,
                                           const struct baseline_entry *entry);
void baseline_free(struct baseline *baseline);

/* Writes one: sorted, so that two of them can be compared line by line. */
bool baseline_write(FILE *out, const char *program, struct baseline_entry *entries, size_t count);

#endif
