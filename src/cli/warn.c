/*
 * warn.c: one line on stderr when a process has nearly reached a limit, while it can still be
 * looked at: what holds most, and for how many sandboxes the rest will do.
 *
 * It is written by a process of its own, which has copies of everything and touches nothing: to
 * read the debug information of a large program takes seconds, and with a small stack it may fail.
 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "cli/cli.h"
#include "policy/policy.h"

#define TOLD 3u              /* stacks */
#define SECONDS_MAX 30u      /* that the other process may take */
#define LINE_MAX_BYTES 1024u /* what cli_say takes */

static void put_place(FILE *out, const struct symbols_stack *stack)
{
    const struct symbols_frame *frame = NULL;

    for (size_t i = 0; stack && i < stack->count && !frame; i++)
        if (!symbols_is_libc(stack->frames[i].object))
            frame = &stack->frames[i];
    if (!frame)
        (void)fputs("an unknown place", out);
    else if (frame->function[0] && frame->file[0])
        (void)fprintf(out, "%s (%s:%u)", frame->function, frame->file, frame->line);
    else
        (void)fprintf(out, "%s (%s+0x%llx)", frame->function[0] ? frame->function : "??",
                      frame->object, (unsigned long long)frame->offset);
}

/* How many sandboxes more, if each goes on to keep what each has kept so far. */
static void put_left(FILE *out, const struct report *report, uint64_t used, uint64_t inherited,
                     uint64_t limit)
{
    uint64_t taken = used > inherited ? used - inherited : 0, left;

    if (report->owners_ended == 0 || taken == 0 || limit < used)
        return;
    if (report->policies.on & POLICY_RECLAIM) /* which is there to keep it from being reached */
        return;
    left = (uint64_t)((double)(limit - used) * (double)report->owners_ended / (double)taken);
    (void)fprintf(out, "; at this rate the limit is reached in %llu sandbox%s",
                  (unsigned long long)left, left == 1 ? "" : "es");
}

static void write_line(const struct report *report, enum report_resource resource)
{
    bool fds = resource == REPORT_FD;
    uint64_t used = fds ? report->fds : report->vmas;
    uint64_t limit = fds ? report->max_fds : report->max_map_count;
    char line[LINE_MAX_BYTES] = "";
    unsigned told = 0;
    FILE *out = fmemopen(line, sizeof line - 1, "w");

    if (!out)
        return;
    (void)fprintf(out, "process %lld uses %llu of %llu %s", (long long)report->pid,
                  (unsigned long long)used, (unsigned long long)limit,
                  fds ? "descriptors" : "VMAs");
    for (size_t i = 0; i < report->live.count && told < TOLD; i++) {
        const struct report_finding *finding = &report->live.items[i];

        if (finding->resource != resource)
            continue;
        if (finding->kept) {
            (void)fprintf(out, "%s%llu kept by a policy (%s)", told ? ", " : ": ",
                          (unsigned long long)finding->count, finding->what);
            told++;
            continue;
        }
        (void)fprintf(out, "%s%llu (%s) taken in ", told ? ", " : ": ",
                      (unsigned long long)finding->count, finding->what);
        put_place(out, finding->stack);
        told++;
    }
    put_left(out, report, used, fds ? report->inherited_fds : report->inherited_mappings, limit);
    (void)fclose(out);
    cli_say("%s", line);
}

static void look_and_tell(const struct watched *watched, const bool *which)
{
    struct kernel_view view = {.running = true};
    struct symbols *symbols = symbols_new();
    struct failure failure = {0};
    struct reader *reader;
    struct report report;

    symbols_name_one_place(symbols);
    /* In this order, so that no stack holds more than the process uses. */
    reader = reader_open_fd(watched->fd, "the ledger", &failure);
    kernel_look(&view, watched->pid);
    if (!reader || !report_build(&report, reader, &view, symbols, NULL, &failure))
        return;
    for (unsigned resource = 0; resource < 2; resource++)
        if (which[resource])
            write_line(&report, (enum report_resource)resource);
}

/* Which limits the ledger says were nearly reached, and nobody was told of yet. */
static bool find_new(struct watched *watched, bool *which)
{
    cleanup_reader struct reader *reader = NULL;
    uint64_t used = 0;
    bool any = false;

    (void)pread(watched->fd, &used, sizeof used,
                offsetof(struct ledger_header, used) + LEDGER_EVENTS * sizeof used);
    if (used == watched->events_seen)
        return false;
    reader = reader_open_table(watched->fd, "the ledger", LEDGER_EVENTS, NULL);
    if (!reader)
        return false;
    for (uint64_t i = 1; i < reader->tables[LEDGER_EVENTS].count; i++) {
        const struct ledger_event *event = reader_record(reader, LEDGER_EVENTS, i);
        enum report_resource resource = event->error == ENOMEM ? REPORT_MAPPING : REPORT_FD;

        if (event->state != LEDGER_LIVE) {
            used = i; /* being written: again from here */
            break;
        }
        if (event->kind != LEDGER_EVENT_NEARLY_FULL || watched->warned[resource])
            continue;
        which[resource] = watched->warned[resource] = any = true;
    }
    watched->events_seen = used;
    return any;
}

void warn_about_limits(struct watched *watched)
{
    bool which[2] = {false, false};
    pid_t child;

    if (watched->warning) {
        if (waitpid(watched->warning, NULL, WNOHANG) == 0)
            return;
        watched->warning = 0;
    }
    if (watched->warned[REPORT_FD] && watched->warned[REPORT_MAPPING])
        return;
    if (!find_new(watched, which))
        return;
    (void)fflush(NULL);
    child = fork();
    if (child == 0) {
        (void)alarm(SECONDS_MAX);
        look_and_tell(watched, which);
        _exit(0);
    }
    watched->warning = child > 0 ? child : 0;
}

void warn_finish(struct watched *watched)
{
    while (watched->warning && waitpid(watched->warning, NULL, 0) < 0 && errno == EINTR)
        continue;
    watched->warning = 0;
}
