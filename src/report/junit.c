/*
 * junit.c: a gate's result as JUnit's XML, with the elements and attributes that Jenkins, GitLab
 * and their like all read (tests/gate/junit.xsd). A test case for the command comes first, so that
 * a clean gate is not an empty file.
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "report/escape.h"
#include "report/judged_write.h"

#define NS 1000000000u

static void put_attribute(FILE *out, const char *name, const char *value)
{
    (void)fprintf(out, " %s=\"", name);
    escape_xml(out, value);
    (void)fputc('"', out);
}

static void put_seconds(FILE *out, uint64_t ns)
{
    (void)fprintf(out, " time=\"%" PRIu64 ".%03" PRIu64 "\"", ns / NS, ns % NS / 1000000);
}

/* The finding as the text report has it. */
static void put_body(FILE *out, const struct judged_item *item)
{
    cleanup_free char *text = NULL;
    size_t length = 0;
    FILE *body = base_open_memory(&text, &length);

    text_write_finding(body, item->report, item->finding);
    base_close_memory(body);
    escape_xml(out, text);
}

static void put_case(FILE *out, struct judged *judged, const struct judged_item *item)
{
    struct judged_site site = judged_site_of(judged, item);
    const struct baseline_entry *entry = &item->entry;
    const char *sentence = judged_sentence(judged, item);

    (void)fputs("    <testcase", out);
    put_attribute(out, "classname", arena_format(&judged->arena, "boxledger.%s", entry->verdict));
    put_attribute(out, "name",
                  site.function[0]
                      ? arena_format(&judged->arena, "%s (%s)", site.function, entry->what)
                      : entry->what);
    (void)fputs(" time=\"0\"", out);
    if (item->state == JUDGED_GONE) {
        (void)fputs("/>\n", out);
        return;
    }
    (void)fputs(">\n      ", out);
    if (item->state <= JUDGED_GROWN) {
        (void)fputs("<failure", out);
        put_attribute(out, "type", judged_state_name(item->state));
        put_attribute(out, "message", sentence);
        (void)fputc('>', out);
        put_body(out, item);
        (void)fputs("</failure>\n", out);
    } else {
        (void)fputs("<skipped", out);
        put_attribute(
            out, "message",
            arena_format(&judged->arena, "%s: %s", judged_state_name(item->state), sentence));
        (void)fputs("/>\n", out);
    }
    (void)fputs("    </testcase>\n", out);
}

void judged_write_junit(FILE *out, struct judged *judged)
{
    uint64_t failures = judged->tally[JUDGED_NEW] + judged->tally[JUDGED_GROWN];
    uint64_t skipped = judged->tally[JUDGED_ALLOWED] + judged->tally[JUDGED_RARE] +
                       judged->tally[JUDGED_TOLD] + judged->tally[JUDGED_KNOWN];
    uint64_t took = judged->end_ns - judged->start_ns;
    time_t start = (time_t)(judged->start_ns / NS);
    char stamp[32] = "1970-01-01T00:00:00";
    struct tm when;

    if (gmtime_r(&start, &when))
        (void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &when);
    (void)fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite", out);
    put_attribute(out, "name", arena_format(&judged->arena, "boxledger gate %s", judged->program));
    (void)fprintf(out,
                  " tests=\"%zu\" failures=\"%" PRIu64 "\" errors=\"%d\" skipped=\"%" PRIu64 "\"",
                  judged->count + 1, failures, judged->trouble != NULL, skipped);
    put_seconds(out, took);
    put_attribute(out, "timestamp", stamp);
    (void)fputs(">\n    <testcase classname=\"boxledger.command\"", out);
    put_attribute(out, "name", judged->command);
    put_seconds(out, took);
    if (judged->trouble) {
        (void)fputs(">\n      <error type=\"no-verdict\"", out);
        put_attribute(out, "message", judged->trouble);
        (void)fputs("/>\n    </testcase>\n", out);
    } else {
        (void)fputs("/>\n", out);
    }
    for (size_t i = 0; i < judged->count; i++)
        put_case(out, judged, &judged->items[i]);
    if (judged->doubt) {
        (void)fputs("    <system-err>", out);
        escape_xml(out, judged->doubt);
        (void)fputs("</system-err>\n", out);
    }
    (void)fputs("  </testsuite>\n</testsuites>\n", out);
}
