/*
 * text.c: a report for people, in the form that users of valgrind and the sanitizers can read
 * already. It ends in one SUMMARY line. It decides nothing.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "report/write.h"

#define UNSEEN_TOLD 8u /* names of what was never seen; JSON has all */

static const char rule[] = "=================================================================";

struct number {
    char text[32];
};

/* 65530 as 65,530. */
static const char *grouped(struct number *number, uint64_t value)
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, value);
    char *to = &number->text[0];

    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return number->text;
}

static const char *size_text(struct number *number, uint64_t bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    unsigned unit = 0;
    uint64_t part = 1;

    while (unit < 4 && bytes / part >= 1024) {
        part *= 1024;
        unit++;
    }
    if (bytes % part == 0)
        (void)snprintf(number->text, sizeof number->text, "%" PRIu64 " %s", bytes / part,
                       units[unit]);
    else
        (void)snprintf(number->text, sizeof number->text, "%.1f %s", (double)bytes / (double)part,
                       units[unit]);
    return number->text;
}

static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

/* Names come from files and other people's programs: no control characters on a terminal. */
static void put_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < ' ' || c == 0x7f)
            (void)fprintf(out, "\\x%02x", c);
        else
            (void)fputc(c, out);
    }
}

static void put_stack(FILE *out, const struct symbols_stack *stack)
{
    if (!stack || stack->count == 0) {
        (void)fputs("    (no stack)\n", out);
        return;
    }
    for (size_t i = 0; i < stack->count; i++) {
        const struct symbols_frame *frame = &stack->frames[i];

        (void)fprintf(out, "    #%zu 0x%" PRIx64 " in ", i, frame->pc);
        put_text(out, frame->function[0] ? frame->function : "??");
        if (frame->file[0]) {
            (void)fputc(' ', out);
            put_text(out, frame->file);
            if (frame->line)
                (void)fprintf(out, ":%u", frame->line);
        }
        if (frame->inlined)
            (void)fputs(" (inlined)\n", out);
        else if (frame->object[0]) {
            (void)fputs(" (", out);
            put_text(out, frame->object);
            (void)fprintf(out, "+0x%" PRIx64 ")\n", frame->offset);
        } else {
            (void)fputs(" (<unknown module>)\n", out);
        }
    }
    if (stack->truncated)
        (void)fputs("    (outer frames could not be read)\n", out);
}

static void put_names(FILE *out, const struct report_finding *finding)
{
    unsigned shown = 0;

    for (unsigned i = 0; i < finding->name_count; i++) {
        const char *name = finding->names[i];

        if (strcmp(name, finding->what) == 0 ||
            (name[0] == '/' && strcmp(name + 1, finding->what) == 0))
            continue;
        (void)fputs(shown++ ? ", " : "  such as ", out);
        put_text(out, name);
    }
    if (shown)
        (void)fputs(finding->name_count == REPORT_NAMES ? ", ...\n" : "\n", out);
}

static void put_threads(FILE *out, const struct report_finding *finding)
{
    for (unsigned i = 0; i < finding->thread_count; i++) {
        const struct report_thread *thread = &finding->threads[i];

        (void)fprintf(out, "%s%" PRIu32, i ? ", " : "  by thread ", thread->tid);
        if (thread->name[0]) {
            (void)fputs(" (", out);
            put_text(out, thread->name);
            (void)fputc(')', out);
        }
    }
    if (finding->thread_count)
        (void)fputs(finding->thread_count == REPORT_THREADS ? ", ...\n" : "\n", out);
}

static const char *resource_word(const struct report_finding *finding)
{
    return finding->resource == REPORT_FD ? "descriptor" : "mapping";
}

static const char *unit_word(enum report_rate_unit unit)
{
    static const char *const words[] = {[REPORT_PER_SANDBOX] = "sandbox",
                                        [REPORT_PER_MARK] = "mark",
                                        [REPORT_PER_UNBIND] = "deleted slot"};

    return words[unit];
}

static void put_limit(FILE *out, const struct report *report, const struct report_finding *finding)
{
    uint64_t most = finding->resource == REPORT_FD ? report->max_fds : report->max_map_count;
    const char *many = finding->rate_unit == REPORT_PER_SANDBOX ? "es" : "s";
    struct number limit, in;

    if (finding->limit_in == REPORT_LIMIT_UNKNOWN)
        return;
    if (finding->limit_in == 0)
        (void)fprintf(out, "  the limit of %s has been reached\n", grouped(&limit, most));
    else
        (void)fprintf(out, "  at this rate the limit of %s is reached in %s %s%s\n",
                      grouped(&limit, most), grouped(&in, finding->limit_in),
                      unit_word(finding->rate_unit), finding->limit_in == 1 ? "" : many);
}

static void put_held(FILE *out, const struct report *report, const struct report_finding *finding)
{
    bool leaked = finding->verdict != REPORT_HELD;
    struct number number, bytes;

    (void)fprintf(out, "\n%s: %s %s%s (",
                  finding->verdict == REPORT_LEAKED    ? "Left behind"
                  : finding->verdict == REPORT_GROWING ? "Growing"
                  : leaked                             ? report_verdict_name(finding->verdict)
                                                       : "Held",
                  grouped(&number, finding->count), resource_word(finding), plural(finding->count));
    put_text(out, finding->what);
    if (finding->resource == REPORT_MAPPING)
        (void)fprintf(out, ", %s", size_text(&bytes, finding->bytes));
    (void)fputc(')', out);
    if (finding->owners) {
        if (leaked)
            (void)fprintf(out, ", %.3g per sandbox, by %s",
                          (double)finding->count / (double)finding->owners,
                          grouped(&number, finding->owners));
        else
            (void)fprintf(out, " by %s", grouped(&number, finding->owners));
        if (leaked)
            (void)fprintf(out, " of %s",
                          grouped(&number, report->owners_ended + report->owners_leaking_live));
        (void)fprintf(out, " %s sandbox%s", finding->owner_kind,
                      finding->owners == 1 && !leaked ? "" : "es");
    }
    if (finding->verdict == REPORT_GROWING)
        (void)fprintf(out, ", %.2g more per %s", finding->rate, unit_word(finding->rate_unit));
    if (finding->verdict == REPORT_GROWING && !finding->stack && finding->thread_count == 0) {
        (void)fprintf(out, ", never seen made%s\n", finding->verified ? "" : " (not verified)");
    } else {
        (void)fprintf(out, ", taken at%s:\n", finding->verified ? "" : " (not verified)");
        put_stack(out, finding->stack);
    }
    if (finding->verdict == REPORT_GROWING)
        put_limit(out, report, finding);
    put_names(out, finding);
    put_threads(out, finding);
    if (finding->unbound_by) {
        (void)fputs("  slot deleted at:\n", out);
        put_stack(out, finding->unbound_by);
    }
    for (unsigned i = 0; leaked && i < finding->released_count; i++) {
        (void)fputs("  others of this stack were released at:\n", out);
        put_stack(out, finding->released_by[i]);
    }
}

static void put_double_close(FILE *out, const struct report_finding *finding)
{
    struct number number;

    (void)fprintf(out,
                  "\nDouble close: descriptor %" PRIu64 " was no longer open; "
                  "close failed %s time%s with EBADF, at:\n",
                  finding->address, grouped(&number, finding->count), plural(finding->count));
    put_stack(out, finding->stack);
    for (unsigned i = 0; i < finding->released_count; i++) {
        (void)fputs("  it had been closed at:\n", out);
        put_stack(out, finding->released_by[i]);
    }
}

static void put_foreign_close(FILE *out, const struct report_finding *finding)
{
    struct number number;

    (void)fprintf(out,
                  "\nForeign close: descriptor %" PRIu64 " belonged to another sandbox%s%s than "
                  "the one that closed it, %s time%s; taken at:\n",
                  finding->address, finding->owner_kind[0] ? ", of kind " : "", finding->owner_kind,
                  grouped(&number, finding->count), plural(finding->count));
    put_stack(out, finding->stack);
    for (unsigned i = 0; i < finding->released_count; i++) {
        (void)fputs("  closed at:\n", out);
        put_stack(out, finding->released_by[i]);
    }
}

static void put_inheritable(FILE *out, const struct report_finding *finding)
{
    struct number number;

    (void)fprintf(out, "\nInheritable: descriptor %" PRIu64 " (", finding->address);
    put_text(out, finding->what);
    (void)fprintf(out,
                  ") was not close-on-exec when a sandbox's child was made, %s time%s; "
                  "taken at:\n",
                  grouped(&number, finding->count), plural(finding->count));
    put_stack(out, finding->stack);
    for (unsigned i = 0; i < finding->released_count; i++) {
        (void)fputs("  child made at:\n", out);
        put_stack(out, finding->released_by[i]);
    }
}

static void put_last(FILE *out, const struct report_finding *finding)
{
    if (finding->last_id == 0)
        return;
    (void)fprintf(out, "  the last time for %s sandbox %" PRIu64, finding->owner_kind,
                  finding->last_id);
    if (finding->last_label[0]) {
        (void)fputs(" (", out);
        put_text(out, finding->last_label);
        (void)fputc(')', out);
    }
    (void)fputc('\n', out);
}

static void put_reclaimed(FILE *out, const struct report_finding *finding)
{
    struct number number, bytes;
    bool fd = finding->resource == REPORT_FD;

    (void)fprintf(out, "\nReclaimed: %s %s%s (", grouped(&number, finding->count),
                  resource_word(finding), plural(finding->count));
    put_text(out, finding->what);
    if (!fd)
        (void)fprintf(out, ", %s", size_text(&bytes, finding->bytes));
    (void)fprintf(out, ") that ended sandboxes had left behind, taken at:\n");
    put_stack(out, finding->stack);
    put_last(out, finding);
    if (finding->late_releases)
        (void)fprintf(out, "  the supervisor itself %s %s of them after that, at:\n",
                      fd ? "closed" : "unmapped", grouped(&number, finding->late_releases));
    for (unsigned i = 0; finding->late_releases && i < finding->released_count; i++)
        put_stack(out, finding->released_by[i]);
}

static void put_rescued(FILE *out, const struct report *report,
                        const struct report_finding *finding)
{
    struct number number, bytes, vmas, limit;

    (void)fprintf(out, "\nRescued: munmap, refused %s time%s with ENOMEM (%s)",
                  grouped(&number, finding->count), plural(finding->count),
                  size_text(&bytes, finding->bytes));
    if (finding->vmas && report->max_map_count)
        (void)fprintf(out, " at about %s of %s VMAs", grouped(&vmas, finding->vmas),
                      grouped(&limit, report->max_map_count));
    if (finding->waiting_bytes)
        (void)fprintf(out, "; %s still wait%s", size_text(&bytes, finding->waiting_bytes),
                      report->ended == REPORT_RUNNING ? "" : " at the end");
    (void)fputs("; called at:\n", out);
    put_stack(out, finding->stack);
}

static void put_limited(FILE *out, const struct report_finding *finding)
{
    struct number number, bytes;

    (void)fprintf(out, "\nLimited: a %s, refused %s time%s with %s", resource_word(finding),
                  grouped(&number, finding->count), plural(finding->count),
                  finding->error == EMFILE ? "EMFILE" : "ENOMEM");
    if (finding->bytes)
        (void)fprintf(out, " (%s)", size_text(&bytes, finding->bytes));
    (void)fputs(", asked for at:\n", out);
    put_stack(out, finding->stack);
    put_last(out, finding);
}

static void put_refused(FILE *out, const struct report *report,
                        const struct report_finding *finding)
{
    struct number count, bytes, vmas, limit;
    char number[32];
    const char *error;

    switch (finding->error) {
    case ENOMEM:
        error = "ENOMEM";
        break;
    case EMFILE:
        error = "EMFILE";
        break;
    case ENFILE:
        error = "ENFILE";
        break;
    case EPERM:
        error = "EPERM";
        break;
    default:
        (void)snprintf(number, sizeof number, "errno %d", finding->error);
        error = number;
        break;
    }
    (void)fputs("\nRefused: ", out);
    if (finding->resource == REPORT_FD) {
        (void)fprintf(out, "a descriptor, %s time%s, with %s", grouped(&count, finding->count),
                      plural(finding->count), error);
    } else {
        put_text(out, finding->what);
        (void)fprintf(out, " failed %s time%s with %s (%s)", grouped(&count, finding->count),
                      plural(finding->count), error, size_text(&bytes, finding->bytes));
        if (finding->vmas && report->max_map_count)
            (void)fprintf(out, " at about %s of %s VMAs", grouped(&vmas, finding->vmas),
                          grouped(&limit, report->max_map_count));
    }
    (void)fputs(", at:\n", out);
    put_stack(out, finding->stack);
}

static void put_unseen(FILE *out, const struct report *report)
{
    if (report->unseen_fds == 0)
        return;
    (void)fprintf(out, "==%" PRId64 "== never seen: ", report->pid);
    for (size_t i = 0; i < report->unseen_count && i < UNSEEN_TOLD; i++) {
        (void)fprintf(out, "%s%" PRIu64 " x ", i ? ", " : "", report->unseen[i].count);
        put_text(out, report->unseen[i].what);
    }
    (void)fprintf(out, "%s (passed by no call that boxledger sees)\n",
                  report->unseen_count > UNSEEN_TOLD ? ", ..." : "");
}

static void put_process(FILE *out, const struct report *report)
{
    struct number number;

    (void)fprintf(out, "%s\n==%" PRId64 "== boxledger:", rule, report->pid);
    for (size_t i = 0; i < report->argc; i++) {
        (void)fputc(' ', out);
        put_text(out, report->argv[i]);
    }
    if (report->argc == 0) {
        (void)fputc(' ', out);
        put_text(out, report->exe[0] ? report->exe : "(unknown program)");
    }
    (void)fprintf(out, "\n==%" PRId64 "== ", report->pid);
    if (report->ended == REPORT_RUNNING)
        (void)fputs("still running", out);
    else if (report->ended == REPORT_EXIT)
        (void)fprintf(out, "exited with status %d", report->status);
    else if (report->status)
        (void)fprintf(out, "ended by signal %d", report->status);
    else
        (void)fputs("ended without passing by its exit", out);
    if (!report->verified)
        (void)fputs("; not verified", out);
    if (report->end_ns > report->start_ns && report->start_ns)
        (void)fprintf(out, "; ran %.3f s", (double)(report->end_ns - report->start_ns) / 1e9);
    (void)fprintf(out, "\n==%" PRId64 "== held%s: %s", report->pid,
                  report->ended == REPORT_RUNNING ? "" : " at the end",
                  grouped(&number, report->fds));
    if (report->max_fds)
        (void)fprintf(out, " of %s", grouped(&number, report->max_fds));
    (void)fprintf(out, " descriptors; %s mapping%s", grouped(&number, report->mappings),
                  plural(report->mappings));
    (void)fprintf(out, " (%s); ", size_text(&number, report->mapped_bytes));
    (void)fprintf(out, "%s%s", report->vmas_estimated ? "about " : "",
                  grouped(&number, report->vmas));
    if (report->max_map_count)
        (void)fprintf(out, " of %s", grouped(&number, report->max_map_count));
    (void)fprintf(out, " VMAs%s\n", report->vmas_estimated ? " (estimated)" : "");
    put_unseen(out, report);
    if (report->execed) {
        (void)fprintf(out, "==%" PRId64 "== the process went on as ", report->pid);
        put_text(out, report->execed);
        (void)fputs(", into which boxledger could not be loaded\n", out);
    }
}

/* What policies did: one line, where any is on. */
static void put_policies(FILE *out, const struct report *report)
{
    const struct report_policies *did = &report->policies;
    struct number number, bytes;
    const char *separator = "";

    if (did->on == 0)
        return;
    (void)fprintf(out, "==%" PRId64 "== policies: ", report->pid);
    for (unsigned i = 0; i < REPORT_POLICIES; i++) {
        if (!report_policy_name(did->on, i))
            continue;
        (void)fprintf(out, "%s%s", separator, report_policy_name(did->on, i));
        separator = ", ";
    }
    if (did->reclaimed_fds)
        (void)fprintf(out, "; reclaimed %s descriptor%s", grouped(&number, did->reclaimed_fds),
                      plural(did->reclaimed_fds));
    if (did->reclaimed_mappings)
        (void)fprintf(out, "; reclaimed %s mapping%s (%s)",
                      grouped(&number, did->reclaimed_mappings), plural(did->reclaimed_mappings),
                      size_text(&bytes, did->reclaimed_bytes));
    if (did->late_releases)
        (void)fprintf(out, "; %s released late", grouped(&number, did->late_releases));
    if (did->rescued)
        (void)fprintf(out, "; rescued %s munmap%s", grouped(&number, did->rescued),
                      plural(did->rescued));
    if (did->waiting_ranges)
        (void)fprintf(out, ", of which %s wait%s", size_text(&bytes, did->waiting_bytes),
                      report->ended == REPORT_RUNNING ? "" : " still");
    if (did->limited)
        (void)fprintf(out, "; refused %s call%s of sandboxes", grouped(&number, did->limited),
                      plural(did->limited));
    (void)fputc('\n', out);
}

static void put_incomplete(FILE *out, const struct report *report)
{
    static const struct {
        uint32_t bit;
        const char *text;
    } reasons[] = {
        {LEDGER_INCOMPLETE_STACKS, "some stacks found no room"},
        {LEDGER_INCOMPLETE_RECORDS, "some records found no room"},
        {LEDGER_INCOMPLETE_EVENTS, "some events were lost"},
        {LEDGER_INCOMPLETE_FILTERED, "a thread's filter forbade to make room"},
        {LEDGER_INCOMPLETE_MODULES, "some modules found no room"},
    };
    const char *separator = "";

    if (!report->incomplete)
        return;
    (void)fprintf(out, "==%" PRId64 "== incomplete: ", report->pid);
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        if (!(report->incomplete & reasons[i].bit))
            continue;
        (void)fprintf(out, "%s%s", separator, reasons[i].text);
        separator = ", ";
    }
    (void)fprintf(out, " (missed: %" PRIu64 " records, %" PRIu64 " stacks, %" PRIu64 " events)\n",
                  report->missed_records, report->missed_stacks, report->lost_events);
}

void write_summary_add(struct write_summary *summary, const struct report *report)
{
    summary->processes++;
    summary->fds += report->leaked_fds;
    summary->mappings += report->leaked_mappings;
    summary->bytes += report->leaked_bytes;
    summary->owners_leaking += report->owners_leaking;
    summary->owners_ended += report->owners_ended;
    summary->owners_leaking_live += report->owners_leaking_live;
    summary->out_of_sight += report->execed != NULL;
    for (size_t i = 0; i < report->findings.count; i++) {
        const struct report_finding *finding = &report->findings.items[i];

        if (finding->verdict == REPORT_GROWING)
            summary->growing++;
        if (finding->verdict == REPORT_DOUBLE_CLOSE)
            summary->double_closes += finding->count;
        if (finding->verdict == REPORT_RECLAIMED)
            summary->reclaimed += finding->count;
    }
}

/* DESIGN 8 fixes this line; its numbers are plain, for those who read it with a program. */
void text_write_summary(FILE *out, const struct write_summary *summary)
{
    struct number bytes;
    uint64_t ended;

    (void)fputs("SUMMARY: boxledger: ", out);
    if (summary->fds == 0 && summary->mappings == 0 && summary->out_of_sight) {
        /* Never "nothing left behind" about what was not seen to its end. */
        (void)fprintf(out, "%" PRIu64 " process%s went on where boxledger could not be loaded",
                      summary->out_of_sight, summary->out_of_sight == 1 ? "" : "es");
    } else if (summary->fds == 0 && summary->mappings == 0) {
        (void)fprintf(out, "nothing left behind by %" PRIu64 " sandbox%s", summary->owners_ended,
                      summary->owners_ended == 1 ? "" : "es");
    } else {
        if (summary->fds)
            (void)fprintf(out, "%" PRIu64 " descriptor%s%s", summary->fds, plural(summary->fds),
                          summary->mappings ? ", " : "");
        if (summary->mappings)
            (void)fprintf(out, "%" PRIu64 " mapping%s (%s)", summary->mappings,
                          plural(summary->mappings), size_text(&bytes, summary->bytes));
        /* One that lives on, and forgets what it had bound, is one of them, too. */
        ended = summary->owners_ended + summary->owners_leaking_live;
        (void)fprintf(out, " left behind by %" PRIu64 " of %" PRIu64 " sandbox%s",
                      summary->owners_leaking, ended, ended == 1 ? "" : "es");
    }
    if (summary->growing)
        (void)fprintf(out, "; %" PRIu64 " growing", summary->growing);
    if (summary->double_closes)
        (void)fprintf(out, "; %" PRIu64 " double close%s", summary->double_closes,
                      plural(summary->double_closes));
    if (summary->reclaimed)
        (void)fprintf(out, "; %" PRIu64 " reclaimed", summary->reclaimed);
    if (summary->processes > 1)
        (void)fprintf(out, " in %" PRIu64 " processes", summary->processes);
    (void)fputc('\n', out);
}

void text_write_suppressions(FILE *out, const struct write_options *options)
{
    static const char line[] = "-----------------------------------------------------";
    const struct suppressions *suppressions = options->suppressions;
    bool any = false;

    for (size_t i = 0; suppressions && options->print_suppressions && i < suppressions->count;
         i++) {
        const struct suppression *suppression = &suppressions->items[i];
        const struct suppression_use *use = suppression_told(suppression);

        if (suppression->only || use->findings == 0)
            continue;
        if (!any)
            (void)fprintf(out, "\n%s\nSuppressions used:\n  count      bytes template\n", line);
        any = true;
        (void)fprintf(out, "%7" PRIu64 " %10" PRIu64 " ", use->count, use->bytes);
        put_text(out, suppression->pattern);
        if (suppression->limited)
            (void)fprintf(out, " max:%" PRIu64 "%s", suppression->max,
                          suppression->exceeded ? " (exceeded: not applied)" : "");
        (void)fputc('\n', out);
    }
    if (any)
        (void)fprintf(out, "%s\n", line);
    for (size_t i = 0; suppressions && i < suppressions->count; i++) {
        const struct suppression *suppression = &suppressions->items[i];

        if (suppression_told(suppression)->findings)
            continue;
        put_text(out, suppressions->name);
        (void)fprintf(out, ":%u: matched nothing: %s:", suppression->line,
                      suppression->only ? "only" : "leak");
        put_text(out, suppression->pattern);
        (void)fputc('\n', out);
    }
}

void text_write_finding(FILE *out, const struct report *report,
                        const struct report_finding *finding)
{
    if (finding->verdict == REPORT_DOUBLE_CLOSE)
        put_double_close(out, finding);
    else if (finding->verdict == REPORT_FOREIGN_CLOSE)
        put_foreign_close(out, finding);
    else if (finding->verdict == REPORT_INHERITABLE)
        put_inheritable(out, finding);
    else if (finding->verdict == REPORT_RECLAIMED)
        put_reclaimed(out, finding);
    else if (finding->verdict == REPORT_RESCUED)
        put_rescued(out, report, finding);
    else if (finding->verdict == REPORT_LIMITED)
        put_limited(out, finding);
    else
        put_held(out, report, finding);
}

void text_write_report(FILE *out, const struct report *report, const struct write_options *options,
                       bool alone)
{
    struct write_summary summary = {0};

    put_process(out, report);
    put_policies(out, report);
    put_incomplete(out, report);
    for (size_t i = 0; i < report->warning_count; i++)
        (void)fprintf(out, "==%" PRId64 "== warning: %s\n", report->pid, report->warnings[i].text);
    for (size_t i = 0; i < report->findings.count; i++)
        text_write_finding(out, report, &report->findings.items[i]);
    for (size_t i = 0; i < report->refused.count; i++)
        put_refused(out, report, &report->refused.items[i]);
    for (size_t i = 0; options->live && i < report->live.count; i++)
        put_held(out, report, &report->live.items[i]);
    if (alone)
        text_write_suppressions(out, options);
    (void)fputc('\n', out);
    write_summary_add(&summary, report);
    text_write_summary(out, &summary);
}
