/*
 * gauges.c: see gauges.h. It opens one table after the other, so that a process with a million
 * mappings is looked at in pieces.
 */
#include "report/gauges.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "ledger/kinds.h"
#include "report/names.h"

static uint64_t monotonic_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool take_fds(struct gauges *gauges, int fd, const char *name, struct failure *failure)
{
    cleanup_reader struct reader *reader = reader_open_table(fd, name, LEDGER_FDS, failure);

    if (!reader)
        return false;
    for (uint64_t i = 0; i < reader->tables[LEDGER_FDS].count; i++) {
        const struct ledger_fd *record = reader_record(reader, LEDGER_FDS, i);

        gauges->fds += (record->state & 7) == LEDGER_LIVE;
    }
    return true;
}

static bool take_mappings(struct gauges *gauges, int fd, const char *name, struct failure *failure)
{
    cleanup_reader struct reader *reader = reader_open_table(fd, name, LEDGER_MAPPINGS, failure);

    if (!reader)
        return false;
    for (uint64_t i = 1; i < reader->tables[LEDGER_MAPPINGS].count; i++) {
        const struct ledger_mapping *record = reader_record(reader, LEDGER_MAPPINGS, i);

        if (record->state == LEDGER_LIVE) {
            gauges->mappings++;
            gauges->mapped_bytes += record->end - record->start;
        }
    }
    return true;
}

static bool holds_more(const struct gauges_owner *a, const struct gauges_owner *b)
{
    return a->fds + a->mappings != b->fds + b->mappings
               ? a->fds + a->mappings > b->fds + b->mappings
               : a->serial < b->serial;
}

static void rank(struct gauges *gauges, const struct gauges_owner *owner)
{
    unsigned at = gauges->top_count;

    while (at > 0 && holds_more(owner, &gauges->top[at - 1]))
        at--;
    if (at == GAUGES_TOP)
        return;
    if (gauges->top_count < GAUGES_TOP)
        gauges->top_count++;
    memmove(&gauges->top[at + 1], &gauges->top[at],
            (gauges->top_count - at - 1) * sizeof gauges->top[0]);
    gauges->top[at] = *owner;
}

/* What a part holds counts for the sandbox that it is a part of. */
static void take_owner(struct gauges *gauges, const struct ledger_owner *record, uint64_t now_ns)
{
    bool live = record->state == LEDGER_LIVE;
    struct gauges_owner owner = {
        .serial = record->serial,
        .kind = names_of_owner(record->kind),
        .live = live,
        .fds = record->fds,
        .mappings = record->mappings,
        .bytes = record->bytes,
        .age_ns = now_ns > record->begun_ns ? now_ns - record->begun_ns : 0,
    };

    if ((!live && record->state != LEDGER_ENDED) || record->parent != 0 ||
        record->kind == LEDGER_OWNER_NONE)
        return;
    memcpy(owner.label, record->label, sizeof owner.label);
    owner.label[sizeof owner.label - 1] = '\0';
    if (!live) {
        gauges->ended_fds += owner.fds;
        gauges->ended_mappings += owner.mappings;
        gauges->ended_bytes += owner.bytes;
    }
    if (live || owner.fds + owner.mappings > 0)
        rank(gauges, &owner);
}

bool gauges_take(struct gauges *gauges, int fd, const char *name, struct failure *failure)
{
    cleanup_reader struct reader *reader = reader_open_table(fd, name, LEDGER_OWNERS, failure);
    const struct ledger_header *header;

    if (!reader)
        return false;
    header = &reader->header;
    *gauges = (struct gauges){
        .pid = header->pid,
        .running = header->process_state == LEDGER_PROCESS_RUNNING,
        .max_fds = header->max_fds,
        .max_map_count = header->max_map_count,
        .vmas_estimated = header->vmas_estimated,
        .incomplete = header->incomplete,
        .policies = header->policies,
        .reclaimed_fds = header->reclaimed_fds,
        .reclaimed_mappings = header->reclaimed_mappings,
        .reclaimed_bytes = header->reclaimed_bytes,
        .late_releases = header->late_releases,
        .rescued = header->rescued,
        .waiting_ranges = header->rescue_waiting_ranges,
        .waiting_bytes = header->rescue_waiting_bytes,
        .limited = header->limited,
        .quarantined_fds = header->quarantined_fds,
        .quarantined_bytes = header->quarantined_bytes,
    };
    memcpy(gauges->owners_begun, header->owners_begun, sizeof gauges->owners_begun);
    memcpy(gauges->owners_ended, header->owners_ended, sizeof gauges->owners_ended);
    for (uint64_t i = 1; i < reader->tables[LEDGER_OWNERS].count; i++)
        take_owner(gauges, reader_record(reader, LEDGER_OWNERS, i), monotonic_ns());
    return take_fds(gauges, fd, name, failure) && take_mappings(gauges, fd, name, failure);
}

/* --- OpenMetrics ------------------------------------------------------------------------------ */

static void gauge(FILE *out, const char *name, const char *help, uint64_t value)
{
    (void)fprintf(out,
                  "# TYPE boxledger_%s gauge\n# HELP boxledger_%s %s\nboxledger_%s %" PRIu64 "\n",
                  name, name, help, name, value);
}

static void counter(FILE *out, const char *name, const char *help, uint64_t value)
{
    (void)fprintf(out,
                  "# TYPE boxledger_%s counter\n# HELP boxledger_%s %s\nboxledger_%s_total %" PRIu64
                  "\n",
                  name, name, help, name, value);
}

static void by_kind(FILE *out, const char *name, const char *help, const uint64_t *values)
{
    (void)fprintf(out, "# TYPE boxledger_%s counter\n# HELP boxledger_%s %s\n", name, name, help);
    for (unsigned kind = LEDGER_OWNER_KVM; kind <= LEDGER_OWNER_THREAD; kind++)
        (void)fprintf(out, "boxledger_%s_total{kind=\"%s\"} %" PRIu64 "\n", name,
                      names_of_owner(kind), values[kind]);
}

void gauges_write_openmetrics(FILE *out, const struct gauges *gauges)
{
    uint64_t vmas = gauges->vmas_estimated > 0 ? (uint64_t)gauges->vmas_estimated : 0;

    gauge(out, "descriptors", "Descriptors that are held.", gauges->fds);
    gauge(out, "descriptors_limit", "Soft RLIMIT_NOFILE at the start.", gauges->max_fds);
    gauge(out, "mappings", "Mappings that are held, made through libc.", gauges->mappings);
    gauge(out, "mapped_bytes", "Bytes of these.", gauges->mapped_bytes);
    gauge(out, "vmas_estimated", "Estimate of the kernel's count of VMAs.", vmas);
    gauge(out, "vmas_limit", "vm.max_map_count.", gauges->max_map_count);
    by_kind(out, "sandboxes_begun", "Sandboxes that have begun.", gauges->owners_begun);
    by_kind(out, "sandboxes_ended", "Sandboxes that have ended.", gauges->owners_ended);
    gauge(out, "ended_descriptors", "Descriptors that ended sandboxes still have.",
          gauges->ended_fds);
    gauge(out, "ended_mappings", "Mappings that ended sandboxes still have.",
          gauges->ended_mappings);
    gauge(out, "ended_bytes", "Bytes of these.", gauges->ended_bytes);
    gauge(out, "incomplete", "Not 0: something could not be recorded.", gauges->incomplete);
    counter(out, "reclaimed_descriptors", "Closed by the policy reclaim.", gauges->reclaimed_fds);
    counter(out, "reclaimed_mappings", "Unmapped by the policy reclaim.",
            gauges->reclaimed_mappings);
    counter(out, "reclaimed_bytes", "Bytes of these.", gauges->reclaimed_bytes);
    counter(out, "late_releases", "Releases by the supervisor of what had been reclaimed.",
            gauges->late_releases);
    gauge(out, "quarantined_descriptors", "Reclaimed numbers that stay occupied.",
          gauges->quarantined_fds);
    gauge(out, "quarantined_bytes", "Reclaimed ranges that stay reserved.",
          gauges->quarantined_bytes);
    counter(out, "rescued", "Refused munmap calls that the policy rescue took over.",
            gauges->rescued);
    gauge(out, "rescue_waiting_ranges", "Ranges that wait to be unmapped.", gauges->waiting_ranges);
    gauge(out, "rescue_waiting_bytes", "Bytes of these.", gauges->waiting_bytes);
    counter(out, "limited", "Calls of sandboxes that the policy limit refused.", gauges->limited);
    (void)fputs("# EOF\n", out);
}

/* --- for people ------------------------------------------------------------------------------- */

static uint64_t sum(const uint64_t *values)
{
    uint64_t all = 0;

    for (unsigned kind = 0; kind < LEDGER_OWNER_KINDS; kind++)
        all += values[kind];
    return all;
}

void gauges_write_screen(FILE *out, const struct gauges *gauges, unsigned rows)
{
    const uint64_t mebi = UINT64_C(1) << 20;
    uint64_t begun = sum(gauges->owners_begun), ended = sum(gauges->owners_ended);

    (void)fprintf(out,
                  "process %" PRIu32 "%s: %" PRIu64 " of %" PRIu64 " descriptors, %" PRIu64
                  " mappings (%" PRIu64 " MiB), about %" PRId64 " of %" PRIu64 " VMAs%s\n",
                  gauges->pid, gauges->running ? "" : " (ended)", gauges->fds, gauges->max_fds,
                  gauges->mappings, gauges->mapped_bytes / mebi, gauges->vmas_estimated,
                  gauges->max_map_count, gauges->incomplete ? "; incomplete" : "");
    (void)fprintf(out,
                  "sandboxes: %" PRIu64 " live, %" PRIu64 " ended; ended ones still have %" PRIu64
                  " descriptors, %" PRIu64 " mappings (%" PRIu64 " MiB)\n",
                  begun - ended, ended, gauges->ended_fds, gauges->ended_mappings,
                  gauges->ended_bytes / mebi);
    if (gauges->policies)
        (void)fprintf(
            out,
            "reclaimed %" PRIu64 " descriptors and %" PRIu64 " mappings (%" PRIu64 " MiB), %" PRIu64
            " released late; rescued %" PRIu64 ", %" PRIu64 " wait; limited %" PRIu64 "\n",
            gauges->reclaimed_fds, gauges->reclaimed_mappings, gauges->reclaimed_bytes / mebi,
            gauges->late_releases, gauges->rescued, gauges->waiting_ranges, gauges->limited);
    (void)fprintf(out, "\n%10s %-8s %-6s %8s %8s %10s %9s  %s\n", "SANDBOX", "KIND", "STATE", "FDS",
                  "MAPS", "KIB", "AGE s", "LABEL");
    for (unsigned i = 0; i < gauges->top_count && i < rows; i++) {
        const struct gauges_owner *owner = &gauges->top[i];

        (void)fprintf(out,
                      "%10" PRIu64 " %-8s %-6s %8" PRIu64 " %8" PRIu64 " %10" PRIu64 " %9.1f  ",
                      owner->serial, owner->kind, owner->live ? "live" : "ended", owner->fds,
                      owner->mappings, owner->bytes >> 10, (double)owner->age_ns / 1e9);
        for (const char *c = owner->label; *c; c++) /* the supervisor's own words */
            (void)fputc((unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c, out);
        (void)fputc('\n', out);
    }
}
