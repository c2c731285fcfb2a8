/*
 * gate.h: what the files of `boxledger gate` share.
 */
#ifndef BOXLEDGER_CLI_GATE_H
#define BOXLEDGER_CLI_GATE_H

#include "cli/cli.h"
#include "report/judged_write.h"

/* How a gate ends, whatever happened to the command: an interface (boxledger(1)). */
enum gate_status {
    GATE_CLEAN = 0,
    GATE_FINDINGS = 1,
    GATE_USAGE = CLI_USAGE,
    GATE_NO_VERDICT = 3,
};

enum gate_format { GATE_TEXT, GATE_JSON, GATE_JUNIT, GATE_SARIF };

struct gate {
    struct arguments arguments;
    struct output output; /* every run's reports, one after the other */
    struct run run;
    struct judged judged;
    struct judged_run *runs; /* that have reports; judged.runs of them */
    struct judged_options options;
    struct baseline baseline;
    char *baseline_path;
    bool has_baseline, update;
    struct gate_sink {
        const char *path; /* NULL: standard error */
        enum gate_format format;
    } * sinks;
    size_t sink_count;
};

/* --- program.c --- */

/* What the program of a command line is called in a baseline; `words` ends in a NULL. */
const char *program_name(struct arena *arena, char **words, int count);

/* --- gate_write.c --- */

/* Where the result goes, and as what; checks all that can be wrong with that. */
bool gate_choose_sinks(struct gate *gate);
/* Writes it everywhere. False, after saying so, if some of that failed. */
bool gate_write(struct gate *gate);

#endif
