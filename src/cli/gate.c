/*
 * gate.c: `boxledger gate`: runs a program as `boxledger run` does, once or more, and says by its
 * exit status whether there is anything that the project's baseline does not know of. What counts
 * as a finding is findings.c's, what makes the gate fail judged.c's.
 *
 * It never says "clean" of what was not seen to its end: a program that failed, or could not be
 * watched, is no verdict.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "cli/gate.h"
#include "cli/replace.h"

#define TAKES(key) (UINT64_C(1) << OPTIONS_KEY_##key)
static const uint64_t keys =
    ((UINT64_C(1) << OPTIONS_KEYS) - 1) &
    ~(TAKES(attach) | TAKES(follow_dir) | TAKES(command_pid) | TAKES(error_exitcode));

static uint64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* --- before the start ------------------------------------------------------------------------- */

static const char *project_root(struct arena *arena)
{
    const char *const places[] = {getenv("GITHUB_WORKSPACE"), getenv("CI_PROJECT_DIR"), "."};
    char real[PATH_MAX];

    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (places[i] && *places[i] && realpath(places[i], real))
            return arena_text(arena, real, strlen(real));
    return "/";
}

static void name_command(struct gate *gate)
{
    struct arena *arena = &gate->judged.arena;
    char **operands = gate->arguments.operands;
    int count = gate->arguments.operand_count;
    const char *command = operands[0];

    for (int i = 1; i < count; i++)
        command = arena_format(arena, "%s %s", command, operands[i]);
    gate->judged.command = command;
    gate->judged.program = program_name(arena, operands, count);
    gate->judged.root = project_root(arena);
}

static bool read_baseline(struct gate *gate)
{
    const struct options *options = &gate->arguments.options;
    struct failure failure = {0};
    struct stat file;

    gate->baseline_path = arguments_text(&gate->arguments, options->baseline);
    gate->update = options->update_baseline;
    if (!gate->baseline_path) {
        if (gate->update)
            cli_say("--update-baseline: which one? --baseline=FILE");
        return !gate->update;
    }
    if (gate->update && stat(gate->baseline_path, &file) != 0 && errno == ENOENT)
        gate->has_baseline = false;
    else if (baseline_load(&gate->baseline, gate->baseline_path, gate->judged.program, &failure))
        gate->has_baseline = true;
    else
        cli_say("--baseline: %s", failure.text);
    if (!failure.text[0] && gate->update && !replace_possible(gate->baseline_path, &failure))
        cli_say("--baseline: %s", failure.text);
    return !failure.text[0];
}

static bool read_options(struct gate *gate)
{
    const struct options *options = &gate->arguments.options;
    const char *found_in = arguments_text(&gate->arguments, options->found_in);

    if (found_in && strcmp(found_in, "any") != 0 && strcmp(found_in, "all") != 0) {
        cli_say("--found-in=%s: a finding is found in any of the runs, or in all", found_in);
        return false;
    }
    gate->options.in_all_runs = found_in && strcmp(found_in, "all") == 0;
    gate->options.max_leaked = options->max_leaked;
    gate->judged.runs_wanted = options->repeat;
    return true;
}

/* Where the ledger of a run is saved; NULL: nowhere. */
static const char *ledger_of_run(struct gate *gate, unsigned run)
{
    struct arguments *arguments = &gate->arguments;
    char *path = arguments_text(arguments, arguments->options.ledger);

    return path && gate->judged.runs_wanted > 1
               ? arena_format(&arguments->arena, "%s.%u", path, run)
               : path;
}

/* All of them, before the first run. */
static bool ledgers_are_new(struct gate *gate)
{
    struct stat file;

    for (unsigned run = 1; run <= gate->judged.runs_wanted; run++) {
        const char *path = ledger_of_run(gate, run);

        if (path && lstat(path, &file) == 0) {
            cli_say("--ledger: %s: %s", path, strerror(EEXIST));
            return false;
        }
    }
    return true;
}

/* --- the runs --------------------------------------------------------------------------------- */

static const struct {
    uint32_t bit;
    const char *text;
} unseen[] = {
    {LEDGER_INCOMPLETE_RECORDS, "some records found no room"},
    {LEDGER_INCOMPLETE_EVENTS, "some events were lost"},
    {LEDGER_INCOMPLETE_FILTERED, "a thread's filter forbade to make room"},
};

/* What a process did, or what was not seen of it, that leaves the last run without a verdict. */
static const char *trouble_of_reports(struct gate *gate)
{
    struct arena *arena = &gate->judged.arena;
    const struct judged_run *run = &gate->runs[gate->judged.runs - 1];

    for (size_t i = 0; i < run->count; i++)
        for (size_t j = 0; j < sizeof unseen / sizeof *unseen; j++)
            if (run->reports[i]->incomplete & unseen[j].bit)
                return arena_format(arena, "the ledger of process %" PRId64 " is incomplete: %s",
                                    run->reports[i]->pid, unseen[j].text);
    return NULL;
}

static const char *trouble_of_run(struct gate *gate)
{
    struct arena *arena = &gate->judged.arena;
    const char *name = gate->arguments.operands[0];
    int status = gate->run.wait_status;

    if (run_went_on(&gate->run, &gate->output))
        return arena_text(arena, gate->run.failure.text, strlen(gate->run.failure.text));
    if (run_interrupted())
        return arena_format(arena, "interrupted by signal %d", run_interrupted());
    if (WIFSIGNALED(status))
        return arena_format(arena, "%s was ended by signal %d", name, WTERMSIG(status));
    if (WEXITSTATUS(status))
        return arena_format(arena, "%s exited with status %d", name, WEXITSTATUS(status));
    if (!gate->run.complete)
        return "boxledger could not keep all that it recorded";
    return trouble_of_reports(gate);
}

/* Takes the reports that the last run added to the output. They still move: see point_at_reports.
 */
static void count_run(struct gate *gate)
{
    gate->runs = base_grow(gate->runs, gate->judged.runs, sizeof *gate->runs);
    gate->runs[gate->judged.runs++] = (struct judged_run){NULL, gate->run.reports};
}

static void point_at_reports(struct gate *gate)
{
    const struct report **reports =
        arena_alloc(&gate->judged.arena, (gate->output.count + 1) * sizeof(struct report *));
    size_t at = 0;

    for (size_t i = 0; i < gate->output.count; i++)
        reports[i] = &gate->output.reports[i].report;
    for (unsigned i = 0; i < gate->judged.runs; i++) {
        gate->runs[i].reports = reports + at;
        at += gate->runs[i].count;
    }
}

/* Returns 0, or the status with which to end without a word more. */
static int run_all(struct gate *gate)
{
    struct judged *judged = &gate->judged;
    int status;

    run_begin(&gate->run, &gate->arguments, &gate->output);
    judged->start_ns = now_ns();
    while (judged->runs < judged->runs_wanted && !judged->trouble) {
        status = run_once(&gate->run, ledger_of_run(gate, judged->runs + 1));
        if (status == CLI_USAGE)
            return GATE_USAGE;
        if (gate->run.reports == 0) {
            const char *why = gate->run.failure.text;

            judged->trouble = arena_text(&judged->arena, why, strlen(why));
            break;
        }
        count_run(gate);
        point_at_reports(gate);
        judged->trouble = trouble_of_run(gate);
    }
    judged->end_ns = now_ns();
    return 0;
}

/* --- the verdict ------------------------------------------------------------------------------ */

/* How many sandboxes ended in the run that had the fewest. */
static void count_sandboxes(struct gate *gate)
{
    struct judged *judged = &gate->judged;
    uint64_t least = gate->arguments.options.min_sandboxes;

    for (unsigned i = 0; i < judged->runs; i++) {
        uint64_t ended = 0;

        for (size_t j = 0; j < gate->runs[i].count; j++)
            ended += gate->runs[i].reports[j]->owners_ended;
        if (i == 0 || ended < judged->sandboxes)
            judged->sandboxes = ended;
    }
    if (judged->trouble)
        return;
    if (judged->sandboxes < least)
        judged->trouble = arena_format(&judged->arena,
                                       "%" PRIu64 " sandboxes have ended, not %" PRIu64 " or more",
                                       judged->sandboxes, least);
    else if (judged->sandboxes == 0)
        judged->doubt = "no sandbox has ended, so none could leave anything behind (where children "
                        "of the command run them: --follow)";
}

static void judge(struct gate *gate, const struct baseline *baseline)
{
    struct judged *judged = &gate->judged;

    gate->options.baseline = baseline;
    judged_build(judged, gate->runs, judged->runs, &gate->options);
    judged->baseline_path = gate->baseline_path;
    judged->status = judged->trouble        ? GATE_NO_VERDICT
                     : judged_fails(judged) ? GATE_FINDINGS
                                            : GATE_CLEAN;
}

/* Writes what was found as the new baseline, and judges by that. */
static bool update_baseline(struct gate *gate)
{
    struct judged *judged = &gate->judged;
    cleanup_free char *text = NULL;
    struct failure failure = {0};
    struct baseline_entry *entries;
    size_t length = 0, count;
    FILE *memory = base_open_memory(&text, &length);
    uint64_t added =
        judged->tally[JUDGED_NEW] + judged->tally[JUDGED_ALLOWED] + judged->tally[JUDGED_RARE];
    bool good;

    entries = judged_baseline(judged, &count);
    good = baseline_write(memory, judged->program, entries, count);
    base_close_memory(memory);
    if (!good)
        base_no_memory();
    if (!replace_file(gate->baseline_path, text, length, &failure)) {
        cli_say("--baseline: %s: the old one is as it was", failure.text);
        return false;
    }
    cli_say("--baseline: %s has %zu finding%s now: %" PRIu64 " more, %" PRIu64 " gone",
            gate->baseline_path, count, count == 1 ? "" : "s", added, judged->tally[JUDGED_GONE]);
    baseline_free(&gate->baseline);
    if (!baseline_parse(&gate->baseline, gate->baseline_path, text, length, judged->program,
                        &failure)) {
        cli_say("--baseline: %s", failure.text);
        return false;
    }
    judge(gate, &gate->baseline);
    return true;
}

static int judge_all(struct gate *gate)
{
    struct judged *judged = &gate->judged;
    bool good = true;

    count_sandboxes(gate);
    judge(gate, gate->has_baseline ? &gate->baseline : NULL);
    if (gate->update && judged->trouble)
        cli_say("--baseline: %s is as it was", gate->baseline_path);
    else if (gate->update)
        good = update_baseline(gate);
    good = gate_write(gate) && good;
    return good ? judged->status : GATE_NO_VERDICT;
}

static int gate_command(struct gate *gate)
{
    int status = GATE_USAGE;

    name_command(gate);
    if (read_options(gate) && gate_choose_sinks(gate) && read_baseline(gate) &&
        ledgers_are_new(gate) && output_prepare(&gate->output, &gate->arguments)) {
        status = run_all(gate);
        /* A reader of a report that went away is an error to tell, not a signal to die of. */
        (void)signal(SIGPIPE, SIG_IGN);
        if (status == 0)
            status = judge_all(gate);
    }
    run_end(&gate->run);
    judged_free(&gate->judged);
    baseline_free(&gate->baseline);
    output_free(&gate->output, false);
    free(gate->sinks);
    free(gate->runs);
    return status;
}

int gate_main(int argc, char **argv)
{
    struct gate gate = {.output.fd = -1};
    int status = GATE_USAGE;

    base_fails_with(GATE_NO_VERDICT);
    if (!arguments_read(&gate.arguments, "gate", keys, argc, argv)) {
        status = GATE_USAGE;
    } else if (gate.arguments.help) {
        (void)puts("usage: boxledger gate [--OPTION...] [--] COMMAND [ARGUMENT...]\n");
        arguments_help(stdout, keys);
        status = 0;
    } else if (gate.arguments.operand_count == 0) {
        cli_say("gate: which program? boxledger gate [--OPTION...] [--] COMMAND [ARGUMENT...]");
    } else {
        status = gate_command(&gate);
    }
    arguments_free(&gate.arguments);
    return status;
}
