/*
 * json.c: a report for programs: DESIGN 8's version 1, as doc/report.schema.json has it. Things
 * may be added to it; nothing is ever renamed. It decides nothing.
 */
#include <inttypes.h>
#include <string.h>

#include "report/write.h"

/* JSON is UTF-8 and names are bytes: what is not UTF-8 is written as \xNN. */
static json_t *text_of(const char *text)
{
    json_t *value = json_string(text);
    char *escaped, *to;

    if (value)
        return value;
    escaped = to = base_alloc(4 * strlen(text) + 1);
    for (; *text; text++) {
        if ((unsigned char)*text >= 0x80)
            to += sprintf(to, "\\x%02x", (unsigned char)*text);
        else
            *to++ = *text;
    }
    value = json_string(escaped);
    free(escaped);
    if (!value)
        base_no_memory();
    return value;
}

/* Takes both references; without memory there is no report. */
static void put(json_t *object, const char *key, json_t *value)
{
    if (!value || json_object_set_new(object, key, value) != 0)
        base_no_memory();
}

static void put_text(json_t *object, const char *key, const char *text)
{
    put(object, key, text_of(text));
}

static void put_number(json_t *object, const char *key, uint64_t number)
{
    put(object, key, json_integer(number > INT64_MAX ? INT64_MAX : (json_int_t)number));
}

static void put_bool(json_t *object, const char *key, bool value)
{
    put(object, key, json_boolean(value));
}

static void put_hex(json_t *object, const char *key, uint64_t number)
{
    char text[32];

    (void)snprintf(text, sizeof text, "0x%" PRIx64, number);
    put_text(object, key, text);
}

static void append(json_t *array, json_t *value)
{
    if (!value || json_array_append_new(array, value) != 0)
        base_no_memory();
}

static json_t *stack_of(const struct symbols_stack *stack)
{
    json_t *frames = json_array();

    for (size_t i = 0; stack && i < stack->count; i++) {
        const struct symbols_frame *from = &stack->frames[i];
        json_t *frame = json_object();

        put_hex(frame, "pc", from->pc);
        put_text(frame, "object", from->object);
        put_hex(frame, "offset", from->offset);
        put_text(frame, "function", from->function);
        put_text(frame, "file", from->file);
        put_number(frame, "line", from->line);
        if (from->inlined)
            put_bool(frame, "inlined", true);
        append(frames, frame);
    }
    return frames;
}

static json_t *thread_of(const struct report_thread *thread)
{
    json_t *object = json_object();

    put_number(object, "tid", thread->tid);
    put_text(object, "name", thread->name);
    return object;
}

static json_t *finding_of(const struct report_finding *finding)
{
    static const char *const units[] = {
        [REPORT_PER_SANDBOX] = "sandbox", [REPORT_PER_MARK] = "mark", [REPORT_PER_UNBIND] = "slot"};
    json_t *object = json_object(), *released = json_array(), *names = json_array();
    json_t *threads = json_array();

    put_text(object, "verdict", report_verdict_name(finding->verdict));
    put_text(object, "resource", report_resource_name(finding->resource));
    put_text(object, "what", finding->what);
    put_number(object, "count", finding->count);
    put_number(object, "bytes", finding->bytes);
    put_text(object, "owner_kind", finding->owner_kind);
    put_number(object, "owners", finding->owners);
    put(object, "per_sandbox",
        json_real(finding->owners ? (double)finding->count / (double)finding->owners : 0));
    put_number(object, "first_ns", finding->first_ns);
    put_number(object, "last_ns", finding->last_ns);
    put_bool(object, "verified", finding->verified);
    put(object, "stack", stack_of(finding->stack));
    if (finding->stack && finding->stack->truncated)
        put_bool(object, "stack_truncated", true);
    for (unsigned i = 0; i < finding->released_count; i++)
        append(released, stack_of(finding->released_by[i]));
    put(object, "released_by", released);
    if (finding->unbound_by)
        put(object, "unbound_by", stack_of(finding->unbound_by));
    for (unsigned i = 0; i < finding->thread_count; i++)
        append(threads, thread_of(&finding->threads[i]));
    put(object, "threads", threads);
    for (unsigned i = 0; i < finding->name_count; i++)
        append(names, text_of(finding->names[i]));
    put(object, "names", names);
    if (finding->verdict == REPORT_REFUSED || finding->verdict == REPORT_RESCUED ||
        finding->verdict == REPORT_LIMITED) {
        put_number(object, "errno", (uint64_t)finding->error);
        put_number(object, "vmas", finding->vmas);
    }
    if (finding->verdict == REPORT_RECLAIMED)
        put_number(object, "late_releases", finding->late_releases);
    if (finding->verdict == REPORT_RESCUED)
        put_number(object, "waiting_bytes", finding->waiting_bytes);
    if (finding->last_id) {
        json_t *last = json_object();

        put_number(last, "id", finding->last_id);
        put_text(last, "label", finding->last_label);
        put(object, "last_owner", last);
    }
    if (finding->verdict == REPORT_DOUBLE_CLOSE || finding->verdict == REPORT_FOREIGN_CLOSE ||
        finding->verdict == REPORT_INHERITABLE)
        put_number(object, "fd", finding->address);
    if (finding->verdict == REPORT_GROWING) {
        put(object, "rate", json_real(finding->rate));
        put_text(object, "rate_per", units[finding->rate_unit]);
        if (finding->limit_in != REPORT_LIMIT_UNKNOWN)
            put_number(object, "limit_in", finding->limit_in);
    }
    return object;
}

static json_t *findings_of(const struct report_findings *findings)
{
    json_t *array = json_array();

    for (size_t i = 0; i < findings->count; i++)
        append(array, finding_of(&findings->items[i]));
    return array;
}

static json_t *process_of(const struct report *report)
{
    static const char *const ends[] = {
        [REPORT_RUNNING] = "running", [REPORT_EXIT] = "exit", [REPORT_SIGNAL] = "signal"};
    json_t *object = json_object(), *argv = json_array();

    put(object, "pid", json_integer(report->pid));
    put_text(object, "exe", report->exe);
    for (size_t i = 0; i < report->argc; i++)
        append(argv, text_of(report->argv[i]));
    put(object, "argv", argv);
    put_number(object, "start_ns", report->start_ns);
    put_number(object, "end_ns", report->end_ns);
    put_text(object, "ended", ends[report->ended]);
    put(object, "status", json_integer(report->status));
    put_bool(object, "verified", report->verified);
    if (report->execed)
        put_text(object, "went_on_as", report->execed);
    return object;
}

static json_t *totals_of(const struct report *report)
{
    json_t *object = json_object();

    put_number(object, "mappings", report->mappings);
    put_number(object, "mapped_bytes", report->mapped_bytes);
    put_number(object, "vmas", report->vmas);
    put_number(object, "max_map_count", report->max_map_count);
    put_number(object, "fds", report->fds);
    put_number(object, "max_fds", report->max_fds);
    put_number(object, "owners_begun", report->owners_begun);
    put_number(object, "owners_ended", report->owners_ended);
    put_number(object, "leaked_mappings", report->leaked_mappings);
    put_number(object, "leaked_bytes", report->leaked_bytes);
    put_number(object, "leaked_fds", report->leaked_fds);
    put_bool(object, "incomplete", report->incomplete != 0);
    put_bool(object, "vmas_estimated", report->vmas_estimated);
    put_number(object, "inherited_mappings", report->inherited_mappings);
    put_number(object, "inherited_fds", report->inherited_fds);
    put_number(object, "unseen_fds", report->unseen_fds);
    put_number(object, "missed_records", report->missed_records);
    put_number(object, "missed_stacks", report->missed_stacks);
    put_number(object, "lost_events", report->lost_events);
    put_number(object, "suppressed_findings", report->suppressed);
    return object;
}

static json_t *policies_of(const struct report *report)
{
    const struct report_policies *did = &report->policies;
    json_t *object = json_object(), *on = json_array();

    for (unsigned i = 0; i < REPORT_POLICIES; i++)
        if (report_policy_name(did->on, i))
            append(on, text_of(report_policy_name(did->on, i)));
    put(object, "on", on);
    put_number(object, "reclaimed_fds", did->reclaimed_fds);
    put_number(object, "reclaimed_mappings", did->reclaimed_mappings);
    put_number(object, "reclaimed_bytes", did->reclaimed_bytes);
    put_number(object, "late_releases", did->late_releases);
    put_number(object, "quarantined_fds", did->quarantined_fds);
    put_number(object, "quarantined_bytes", did->quarantined_bytes);
    put_number(object, "rescued", did->rescued);
    put_number(object, "rescue_unmapped", did->rescue_unmapped);
    put_number(object, "rescue_reused", did->rescue_reused);
    put_number(object, "waiting_ranges", did->waiting_ranges);
    put_number(object, "waiting_bytes", did->waiting_bytes);
    put_number(object, "limited", did->limited);
    return object;
}

static json_t *owners_of(const struct report *report)
{
    json_t *array = json_array();

    for (size_t i = 0; i < report->owner_count; i++) {
        const struct report_owner *owner = &report->owners[i];
        json_t *object = json_object();

        put_number(object, "id", owner->id);
        put_text(object, "kind", owner->kind);
        put_text(object, "label", owner->label);
        put_text(object, "state", owner->live ? "live" : "ended");
        put_number(object, "mappings", owner->mappings);
        put_number(object, "bytes", owner->bytes);
        put_number(object, "fds", owner->fds);
        append(array, object);
    }
    return array;
}

static json_t *warnings_of(const struct report *report)
{
    json_t *array = json_array();

    for (size_t i = 0; i < report->warning_count; i++) {
        const struct report_warning *warning = &report->warnings[i];
        json_t *object = json_object();

        put_text(object, "resource", report_resource_name(warning->resource));
        put_number(object, "limit", warning->limit);
        put_number(object, "first_ns", warning->first_ns);
        put_number(object, "last_ns", warning->last_ns);
        put_text(object, "text", warning->text);
        append(array, object);
    }
    return array;
}

static json_t *unseen_of(const struct report *report)
{
    json_t *array = json_array();

    for (size_t i = 0; i < report->unseen_count; i++) {
        json_t *object = json_object();

        put_text(object, "what", report->unseen[i].what);
        put_number(object, "count", report->unseen[i].count);
        append(array, object);
    }
    return array;
}

json_t *json_of_report(const struct report *report, const struct write_options *options)
{
    json_t *object = json_object();

    put_number(object, "boxledger", 1);
    put(object, "process", process_of(report));
    put(object, "totals", totals_of(report));
    put(object, "policies", policies_of(report));
    put(object, "owners", owners_of(report));
    put(object, "findings", findings_of(&report->findings));
    put(object, "refused", findings_of(&report->refused));
    put(object, "warnings", warnings_of(report));
    put(object, "unseen", unseen_of(report));
    if (options->live)
        put(object, "live", findings_of(&report->live));
    return object;
}

json_t *json_of_suppressions(const struct write_options *options)
{
    json_t *array = json_array();

    for (size_t i = 0; i < options->suppressions->count; i++) {
        const struct suppression *suppression = &options->suppressions->items[i];
        const struct suppression_use *use = suppression_told(suppression);
        json_t *object = json_object();

        put_text(object, "kind", suppression->only ? "only" : "leak");
        put_text(object, "pattern", suppression->pattern);
        put_number(object, "line", suppression->line);
        put_number(object, "findings", use->findings);
        put_number(object, "count", use->count);
        put_number(object, "bytes", use->bytes);
        if (suppression->limited) {
            put_number(object, "max", suppression->max);
            put_bool(object, "exceeded", suppression->exceeded);
        }
        append(array, object);
    }
    return array;
}

bool json_write(FILE *out, const json_t *document)
{
    return json_dumpf(document, out, JSON_INDENT(1)) == 0 && fputc('\n', out) != EOF;
}
