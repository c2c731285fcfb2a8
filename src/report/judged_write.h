/*
 * judged_write.h: a gate's result in the formats that CI services read.
 *
 * The writers change nothing and decide nothing: what fails was decided by judged.c. They take
 * `judged` for its arena. What could not be written shows in the stream.
 */
#ifndef BOXLEDGER_REPORT_JUDGED_WRITE_H
#define BOXLEDGER_REPORT_JUDGED_WRITE_H

#include <jansson.h>

#include "report/judged.h"
#include "report/write.h"

/* A line for each finding, then the last line: "SUMMARY: boxledger: gate ...". */
void judged_write_text(FILE *out, struct judged *judged);

/* The document of doc/gate.schema.json. `runs` is an array with one report a run, `suppressions`
 * NULL where there are none; both are taken. */
void judged_write_json(FILE *out, struct judged *judged, json_t *runs, json_t *suppressions);

/* JUnit's XML: a test case for the command, and one for each finding. */
void judged_write_junit(FILE *out, struct judged *judged);

/* SARIF 2.1.0: a rule for each verdict, a result for each finding that is there. */
void judged_write_sarif(FILE *out, struct judged *judged);

/* GitHub's workflow commands: an error for each finding that fails, and for a command that did. */
void judged_write_annotations(FILE *out, struct judged *judged);

#endif
