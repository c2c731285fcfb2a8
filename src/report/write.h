/*
 * write.h: how a report is written down, in text or in JSON.
 *
 * The writers change nothing and decide nothing: what is in a report was decided by findings.c.
 */
#ifndef BOXLEDGER_REPORT_WRITE_H
#define BOXLEDGER_REPORT_WRITE_H

#include <jansson.h>

#include "report/report.h"

struct write_options {
    bool live;                               /* all that is still held, too */
    bool print_suppressions;                 /* list those that matched */
    const struct suppressions *suppressions; /* NULL: none were given */
};

/* What the SUMMARY line is made of; of several processes, their sum. */
struct write_summary {
    uint64_t processes;
    uint64_t fds, mappings, bytes; /* left behind */
    uint64_t owners_leaking, owners_leaking_live, owners_ended;
    uint64_t growing, double_closes;
    uint64_t reclaimed;    /* left behind, and taken back by a policy */
    uint64_t out_of_sight; /* processes that went on where the shim could not be loaded */
};
void write_summary_add(struct write_summary *summary, const struct report *report);

/* One process's report as text, ending in its SUMMARY line. If it is `alone`, what there is to say
 * about suppressions comes before that; of several processes it is said once, at the end. */
void text_write_report(FILE *out, const struct report *report, const struct write_options *options,
                       bool alone);
/* One of its findings, with an empty line before it. */
void text_write_finding(FILE *out, const struct report *report,
                        const struct report_finding *finding);
/* The line of all processes together, where there was more than one. */
void text_write_summary(FILE *out, const struct write_summary *summary);
/* "Suppressions used", in the sanitizers' form, and each that matched nothing. */
void text_write_suppressions(FILE *out, const struct write_options *options);

/* One process's report as the object of DESIGN 8 (doc/report.schema.json). */
json_t *json_of_report(const struct report *report, const struct write_options *options);
/* The suppressions' array, once for a whole document. */
json_t *json_of_suppressions(const struct write_options *options);
bool json_write(FILE *out, const json_t *document);

#endif
