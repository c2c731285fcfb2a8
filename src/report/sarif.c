/*
 * sarif.c: a gate's result as SARIF 2.1.0 (OASIS), which code scanning services read. What is gone
 * is not written: services show every result as one that is there.
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "config.h"
#include "report/escape.h"
#include "report/judged_write.h"

#define NS 1000000000u
#define SOURCE_ROOT "%SRCROOT%" /* the name by which most tools know it */
#define SCHEMA                                                                                     \
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

static const struct {
    enum report_verdict verdict;
    const char *name, *brief, *full, *level;
} rules[] = {
    {REPORT_LEAKED, "Leaked", "What an ended sandbox left behind",
     "A mapping or descriptor was taken for a sandbox; the sandbox has ended and had time to "
     "release it, and the kernel still has it.",
     "error"},
    {REPORT_GROWING, "Growing", "What becomes more with every sandbox",
     "What is taken here belongs to no one sandbox, but becomes more at a steady rate with the "
     "number of sandboxes that have ended.",
     "error"},
    {REPORT_DOUBLE_CLOSE, "DoubleClose", "A descriptor that is closed twice",
     "The descriptor had been closed already. If another thread is given the same number in "
     "between, the second close closes what is that thread's.",
     "error"},
    {REPORT_FOREIGN_CLOSE, "ForeignClose", "A close of another sandbox's descriptor",
     "What was done for one sandbox closed a descriptor of another.", "warning"},
    {REPORT_INHERITABLE, "Inheritable", "A descriptor that a sandbox's child may have got",
     "The descriptor had no close-on-exec flag when the child of a sandbox was made.", "warning"},
    {REPORT_RECLAIMED, "Reclaimed", "What an ended sandbox left behind, taken back by a policy",
     "A mapping or descriptor was left behind by an ended sandbox. The policy reclaim closed or "
     "unmapped it; the code that forgets it is still there.",
     "error"},
    {REPORT_RESCUED, "Rescued", "An munmap that the kernel refused",
     "The process had as many VMAs as it may have, so that one could not be split. The policy "
     "rescue gave the pages back and unmaps the range when there is room.",
     "warning"},
    {REPORT_LIMITED, "Limited", "A sandbox that reached its limit",
     "A call for a sandbox was refused because of limit_vmas, limit_bytes, limit_fds or a reserve.",
     "warning"},
};
#define RULES (sizeof rules / sizeof *rules)

/* Takes the reference; without memory there is no document. */
static void put(json_t *object, const char *key, json_t *value)
{
    if (!value || json_object_set_new(object, key, value) != 0)
        base_no_memory();
}

static void append(json_t *array, json_t *value)
{
    if (!value || json_array_append_new(array, value) != 0)
        base_no_memory();
}

static void put_text(struct judged *judged, json_t *object, const char *key, const char *text)
{
    put(object, key, json_string(escape_utf8(&judged->arena, text)));
}

static json_t *message_of(struct judged *judged, const char *text)
{
    json_t *message = json_object();

    put_text(judged, message, "text", text);
    return message;
}

static json_t *tool_of(struct judged *judged)
{
    json_t *tool = json_object(), *driver = json_object(), *array = json_array();

    put_text(judged, driver, "name", "boxledger");
    put_text(judged, driver, "version", PACKAGE_VERSION);
    for (size_t i = 0; i < RULES; i++) {
        json_t *rule = json_object(), *configuration = json_object();

        put_text(judged, rule, "id", report_verdict_name(rules[i].verdict));
        put_text(judged, rule, "name", rules[i].name);
        put(rule, "shortDescription", message_of(judged, rules[i].brief));
        put(rule, "fullDescription", message_of(judged, rules[i].full));
        put_text(judged, configuration, "level", rules[i].level);
        put(rule, "defaultConfiguration", configuration);
        append(array, rule);
    }
    put(driver, "rules", array);
    put(tool, "driver", driver);
    return tool;
}

static void put_time(struct judged *judged, json_t *object, const char *key, uint64_t ns)
{
    time_t seconds = (time_t)(ns / NS);
    struct tm when;
    char text[40];

    if (!gmtime_r(&seconds, &when) || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &when) == 0)
        return;
    put_text(judged, object, key,
             arena_format(&judged->arena, "%s.%03uZ", text, (unsigned)(ns % NS / 1000000)));
}

static json_t *invocation_of(struct judged *judged)
{
    json_t *invocation = json_object(), *notifications = json_array();
    const struct {
        const char *level, *text;
    } notes[] = {{"error", judged->trouble}, {"warning", judged->doubt}};

    put(invocation, "executionSuccessful", json_boolean(judged->trouble == NULL));
    put(invocation, "exitCode", json_integer(judged->status));
    put_text(judged, invocation, "commandLine", judged->command);
    put_time(judged, invocation, "startTimeUtc", judged->start_ns);
    put_time(judged, invocation, "endTimeUtc", judged->end_ns);
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++) {
        json_t *notification;

        if (!notes[i].text)
            continue;
        notification = json_object();
        put_text(judged, notification, "level", notes[i].level);
        put(notification, "message", message_of(judged, notes[i].text));
        append(notifications, notification);
    }
    put(invocation, "toolExecutionNotifications", notifications);
    return invocation;
}

/* `file` is below the project's root, or as the debug information has it; `line` 0: all of it. */
static json_t *physical_of(struct judged *judged, const char *file, unsigned line, bool in_project)
{
    json_t *physical = json_object(), *artifact = json_object(), *region;
    const char *uri = escape_uri(&judged->arena, file);

    put_text(judged, artifact, "uri",
             uri[0] == '/' ? arena_format(&judged->arena, "file://%s", uri) : uri);
    if (in_project)
        put_text(judged, artifact, "uriBaseId", SOURCE_ROOT);
    put(physical, "artifactLocation", artifact);
    if (line) {
        region = json_object();
        put(region, "startLine", json_integer(line));
        put(physical, "region", region);
    }
    return physical;
}

static json_t *logical_of(struct judged *judged, const char *function)
{
    json_t *array = json_array(), *logical = json_object();

    put_text(judged, logical, "fullyQualifiedName", function);
    put_text(judged, logical, "kind", "function");
    append(array, logical);
    return array;
}

static json_t *frame_of(struct judged *judged, const struct symbols_frame *frame)
{
    json_t *object = json_object(), *location = json_object();
    const char *source = judged_source(judged, frame);

    if (frame->file[0] && frame->line)
        put(location, "physicalLocation",
            physical_of(judged, source ? source : frame->file, frame->line, source != NULL));
    if (frame->function[0])
        put(location, "logicalLocations", logical_of(judged, frame->function));
    if (frame->function[0])
        put(location, "message", message_of(judged, frame->function));
    put(object, "location", location);
    if (frame->object[0])
        put_text(judged, object, "module", frame->object);
    return object;
}

static void append_stack(struct judged *judged, json_t *stacks, const char *title,
                         const struct symbols_stack *stack)
{
    json_t *object, *frames;

    if (!stack || stack->count == 0)
        return;
    object = json_object();
    frames = json_array();
    put(object, "message", message_of(judged, title));
    for (size_t i = 0; i < stack->count; i++)
        append(frames, frame_of(judged, &stack->frames[i]));
    put(object, "frames", frames);
    append(stacks, object);
}

static json_t *stacks_of(struct judged *judged, const struct report_finding *finding)
{
    json_t *stacks = json_array();

    append_stack(judged, stacks,
                 finding->verdict == REPORT_DOUBLE_CLOSE ? "closed again at" : "taken at",
                 finding->stack);
    for (unsigned i = 0; i < finding->released_count; i++)
        append_stack(judged, stacks,
                     finding->verdict == REPORT_DOUBLE_CLOSE    ? "had been closed at"
                     : finding->verdict == REPORT_INHERITABLE   ? "child made at"
                     : finding->verdict == REPORT_FOREIGN_CLOSE ? "closed at"
                                                                : "others were released at",
                     finding->released_by[i]);
    append_stack(judged, stacks, "slot deleted at", finding->unbound_by);
    return stacks;
}

/* FNV-1a, 64 bits: short, and the same wherever it is computed. */
static char *fingerprint(struct judged *judged, const char *key)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (; *key; key++)
        hash = (hash ^ (unsigned char)*key) * UINT64_C(1099511628211);
    return arena_format(&judged->arena, "%016" PRIx64, hash);
}

static json_t *suppressions_of(struct judged *judged, const struct judged_item *item)
{
    json_t *array = json_array(), *suppression;

    if (item->state <= JUDGED_GROWN || item->state == JUDGED_TOLD)
        return array;
    suppression = json_object();
    put_text(judged, suppression, "kind", "external");
    put_text(judged, suppression, "justification",
             item->state == JUDGED_KNOWN     ? "It is in the baseline."
             : item->state == JUDGED_ALLOWED ? "It is within --max-leaked."
                                             : "It was not found in every run.");
    append(array, suppression);
    return array;
}

/* Where nothing tells a line, the object's file, or the program's: services take no result that is
 * in no file. */
static json_t *location_of(struct judged *judged, const struct judged_item *item)
{
    const struct symbols_stack *stack = item->finding->stack;
    struct judged_site site = judged_site_of(judged, item);
    json_t *location = json_object();
    const char *object = item->report->exe;

    if (stack && stack->count && stack->frames[0].object[0])
        object = stack->frames[0].object;
    if (site.file[0] && site.line)
        put(location, "physicalLocation",
            physical_of(judged, site.file, site.line, site.in_project));
    else
        put(location, "physicalLocation", physical_of(judged, object, 0, false));
    if (site.function[0])
        put(location, "logicalLocations", logical_of(judged, site.function));
    return location;
}

static json_t *result_of(struct judged *judged, const struct judged_item *item)
{
    json_t *result = json_object(), *locations = json_array(), *prints = json_object();
    json_t *properties = json_object();
    size_t rule = 0;

    while (rule < RULES - 1 && rules[rule].verdict != item->finding->verdict)
        rule++;
    put_text(judged, result, "ruleId", report_verdict_name(rules[rule].verdict));
    put(result, "ruleIndex", json_integer((json_int_t)rule));
    put_text(judged, result, "level",
             item->state <= JUDGED_GROWN  ? "error"
             : item->state == JUDGED_TOLD ? "warning"
                                          : "note");
    put(result, "message", message_of(judged, judged_sentence(judged, item)));
    append(locations, location_of(judged, item));
    put(result, "locations", locations);
    put(result, "stacks", stacks_of(judged, item->finding));
    put_text(judged, prints, "boxledger/v1", fingerprint(judged, item->entry.key));
    put(result, "partialFingerprints", prints);
    put(result, "suppressions", suppressions_of(judged, item));
    if (judged->baseline_path)
        put_text(judged, result, "baselineState",
                 !item->known                              ? "new"
                 : item->entry.count == item->known->count ? "unchanged"
                                                           : "updated");
    put(result, "occurrenceCount", json_integer((json_int_t)item->entry.count));
    put_text(judged, properties, "state", judged_state_name(item->state));
    put_text(judged, properties, "resource", item->entry.resource);
    put_text(judged, properties, "what", item->entry.what);
    put(result, "properties", properties);
    return result;
}

void judged_write_sarif(FILE *out, struct judged *judged)
{
    json_t *document = json_object(), *runs = json_array(), *run = json_object();
    json_t *results = json_array(), *invocations = json_array(), *bases = json_object();
    json_t *base = json_object();

    put_text(judged, document, "$schema", SCHEMA);
    put_text(judged, document, "version", "2.1.0");
    put(run, "tool", tool_of(judged));
    append(invocations, invocation_of(judged));
    put(run, "invocations", invocations);
    put_text(judged, base, "uri",
             arena_format(&judged->arena, "file://%s/", escape_uri(&judged->arena, judged->root)));
    put(bases, SOURCE_ROOT, base);
    put(run, "originalUriBaseIds", bases);
    for (size_t i = 0; i < judged->count; i++)
        if (judged->items[i].finding)
            append(results, result_of(judged, &judged->items[i]));
    put(run, "results", results);
    append(runs, run);
    put(document, "runs", runs);
    (void)json_write(out, document);
    json_decref(document);
}
