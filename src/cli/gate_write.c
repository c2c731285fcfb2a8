/*
 * gate_write.c: the result of `boxledger gate` in every place and format that was asked for. It
 * changes nothing in it.
 */
#include <string.h>

#include "cli/gate.h"
#include "cli/replace.h"

/* --- where to --------------------------------------------------------------------------------- */

static bool format_of_name(const char *name, enum gate_format *format)
{
    static const char *const names[] = {
        [GATE_TEXT] = "text", [GATE_JSON] = "json", [GATE_JUNIT] = "junit", [GATE_SARIF] = "sarif"};

    for (enum gate_format i = GATE_TEXT; i <= GATE_SARIF; i++) {
        if (strcmp(names[i], name) == 0) {
            *format = i;
            return true;
        }
    }
    return false;
}

static bool ends_in(const char *path, const char *ending)
{
    size_t length = strlen(path), least = strlen(ending);

    return length > least && strcmp(path + length - least, ending) == 0;
}

static enum gate_format format_of_path(const char *path)
{
    if (ends_in(path, ".sarif") || ends_in(path, ".sarif.json"))
        return GATE_SARIF;
    return ends_in(path, ".json") ? GATE_JSON : ends_in(path, ".xml") ? GATE_JUNIT : GATE_TEXT;
}

static void add_sink(struct gate *gate, const char *path, enum gate_format format)
{
    gate->sinks = base_grow(gate->sinks, gate->sink_count, sizeof *gate->sinks);
    gate->sinks[gate->sink_count++] = (struct gate_sink){path, format};
}

bool gate_choose_sinks(struct gate *gate)
{
    struct arguments *arguments = &gate->arguments;
    const char *name = arguments_text(arguments, arguments->options.format);
    const char *only = arguments_text(arguments, arguments->options.report);
    enum gate_format format = GATE_TEXT;
    struct failure failure = {0};

    if (name && !format_of_name(name, &format)) {
        cli_say("--format=%s: formats are text, json, junit and sarif", name);
        return false;
    }
    /* Several can only be given on the command line; in the environment the last one counts. */
    if (arguments->report_count == 0 && only)
        add_sink(gate, only, name ? format : format_of_path(only));
    for (size_t i = 0; i < arguments->report_count; i++) {
        const char *path = arguments->reports[i];

        add_sink(gate, path, name ? format : format_of_path(path));
    }
    for (size_t i = 0; i < gate->sink_count; i++) {
        if (!replace_possible(gate->sinks[i].path, &failure)) {
            cli_say("--report: %s", failure.text);
            return false;
        }
    }
    if (gate->sink_count == 0)
        add_sink(gate, NULL, format);
    return true;
}

/* --- what ------------------------------------------------------------------------------------- */

static void write_text(struct gate *gate, FILE *out)
{
    struct output *output = &gate->output;
    bool alone = output->count == 1;

    for (unsigned i = 0; i < gate->judged.runs; i++) {
        if (gate->judged.runs > 1)
            (void)fprintf(out, "\nRun %u of %u\n", i + 1, gate->judged.runs);
        for (size_t j = 0; j < gate->runs[i].count; j++)
            text_write_report(out, gate->runs[i].reports[j], &output->write, alone);
    }
    if (!alone)
        text_write_suppressions(out, &output->write);
    (void)fputc('\n', out);
    judged_write_text(out, &gate->judged);
}

static void append(json_t *array, json_t *value)
{
    if (!value || json_array_append_new(array, value) != 0)
        base_no_memory();
}

/* A report a run, as `boxledger run` writes it. */
static json_t *json_of_runs(struct gate *gate)
{
    const struct write_options *options = &gate->output.write;
    json_t *runs = json_array();

    for (unsigned i = 0; i < gate->judged.runs; i++) {
        json_t *run = json_of_report(gate->runs[i].reports[0], options), *followed;

        append(runs, run);
        if (!gate->arguments.options.follow.text)
            continue;
        followed = json_array();
        for (size_t j = 1; j < gate->runs[i].count; j++)
            append(followed, json_of_report(gate->runs[i].reports[j], options));
        if (json_object_set_new(run, "followed", followed) != 0)
            base_no_memory();
    }
    return runs;
}

static void write_as(struct gate *gate, enum gate_format format, FILE *out)
{
    switch (format) {
    case GATE_JSON:
        judged_write_json(
            out, &gate->judged, json_of_runs(gate),
            gate->output.write.suppressions ? json_of_suppressions(&gate->output.write) : NULL);
        break;
    case GATE_JUNIT:
        judged_write_junit(out, &gate->judged);
        break;
    case GATE_SARIF:
        judged_write_sarif(out, &gate->judged);
        break;
    case GATE_TEXT:
        write_text(gate, out);
        break;
    }
}

static bool write_file(struct gate *gate, const struct gate_sink *sink)
{
    cleanup_free char *text = NULL;
    struct failure failure = {0};
    size_t length = 0;
    FILE *memory = base_open_memory(&text, &length);

    write_as(gate, sink->format, memory);
    base_close_memory(memory);
    if (replace_file(sink->path, text, length, &failure))
        return true;
    cli_say("the report could not be written to %s", failure.text);
    return false;
}

static bool write_stream(struct gate *gate, const struct gate_sink *sink)
{
    /* Of what was never watched there is nothing more to say than has been said. */
    if (sink->format != GATE_TEXT)
        write_as(gate, sink->format, stderr);
    else if (gate->judged.runs)
        write_text(gate, stderr);
    return fflush(stderr) == 0 && !ferror(stderr);
}

static bool runs_at_github(void)
{
    const char *word = getenv("GITHUB_ACTIONS");

    return word && strcmp(word, "true") == 0;
}

bool gate_write(struct gate *gate)
{
    bool good = true;

    for (size_t i = 0; i < gate->sink_count; i++)
        good = (gate->sinks[i].path ? write_file(gate, &gate->sinks[i])
                                    : write_stream(gate, &gate->sinks[i])) &&
               good;
    /* With the reports in files, a job's log has the findings in a line each. */
    if (gate->sinks[0].path && gate->judged.runs)
        judged_write_text(stderr, &gate->judged);
    if (runs_at_github()) {
        judged_write_annotations(stdout, &gate->judged);
        good = fflush(stdout) == 0 && !ferror(stdout) && good;
    }
    return good;
}
