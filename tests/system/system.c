/*
 * system.c: see system.h. Never allocates and never calls what the shim wraps, but for stderr.
 */
#include "system.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#define MAX_FDS 65536
#define MAX_MAPS 300000

const char *system_ledger;
int system_argc;
char **system_argv;
static _Atomic unsigned failures;             /* of the whole program */
static const struct ledger_mapping **records; /* room for a look, taken at the start */
static struct kernel_range *vmas;             /* likewise */

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    raw(SYS_write, 2, line, n < (int)sizeof line ? n : (int)sizeof line - 1);
}

static void hung(int sig)
{
    (void)sig;
    say("watchdog: the program hangs\n");
    raw(SYS_exit_group, 99);
}

void system_start(int argc, char **argv, unsigned seconds)
{
    if (argc < 2) {
        say("usage: %s LEDGER|- ...\n", argv[0]);
        raw(SYS_exit_group, 2);
    }
    system_ledger = strcmp(argv[1], "-") == 0 ? NULL : argv[1];
    system_argc = argc - 2;
    system_argv = argv + 2;
    /* Now, for at the limits that tests go to there is no more; bare as well, to compare. */
    records = kernel_view_memory(MAX_MAPS * sizeof *records);
    vmas = kernel_view_memory(MAX_MAPS * sizeof *vmas);
    if (seconds) {
        signal(SIGALRM, hung);
        alarm(seconds);
    }
}

int system_end(void)
{
    return failures ? 1 : 0;
}

void system_skip(const char *why)
{
    say("skip: %s\n", why);
    raw(SYS_exit_group, SKIPPED);
    __builtin_unreachable();
}

bool system_long(void)
{
    return getenv("BOXLEDGER_LONG") != NULL;
}

bool check_that(bool good, const char *file, int line, const char *format, ...)
{
    char text[400];
    va_list arguments;
    if (good)
        return true;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (failures++ < 20)
        say("%s:%d: %s\n", file, line, text);
    return false;
}

/* 0: not all of it is mapped; 1: with another protection; 2: as the record says. */
static int vma_covers(const struct ledger_mapping *m, long vma_count)
{
    int as_said = 2;
    size_t low = 0, high = (size_t)vma_count;
    uint64_t at = m->start;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (vmas[middle].end <= at)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < (size_t)vma_count && at < m->end; low++) {
        if (vmas[low].start > at)
            return 0;
        if (vmas[low].prot != (m->prot & 7u))
            as_said = 1;
        at = vmas[low].end;
    }
    return at >= m->end ? as_said : 0;
}

static bool look(struct ledger_view *view, size_t *record_count)
{
    int bad = ledger_view_open(view, system_ledger);
    if (!check(bad == 0, "the ledger %s cannot be read: %s", system_ledger, strerror(-bad)))
        return false;
    *record_count = ledger_view_mappings(view, records, MAX_MAPS);
    return true;
}

struct system_difference system_compare(const char *when, bool quiet, bool lenient)
{
    static uint64_t bits[MAX_FDS / 64]; /* a look's own room */
    struct system_difference d = {0};
    struct ledger_view view;
    size_t record_count;
    char path[40], target[128];

    if (system_ledger == NULL || !look(&view, &record_count))
        return d;
    check(kernel_view_fds(bits, MAX_FDS) >= 0, "/proc/self/fd cannot be read");
    for (unsigned fd = 0; fd < MAX_FDS; fd++) {
        const struct ledger_fd *record = ledger_view_fd(&view, fd);
        bool open_now = kernel_view_has(bits, fd);
        d.fds += record != NULL;
        if (open_now == (record != NULL))
            continue;
        if (lenient && record &&
            (record->flags & LEDGER_UNSURE || ledger_view_state(record->state) != LEDGER_LIVE))
            continue;
        if (open_now)
            d.fds_missing++;
        else
            d.fds_stale++;
        if (quiet || d.fds_missing + d.fds_stale > 6)
            continue;
        if (open_now) {
            snprintf(path, sizeof path, "/proc/self/fd/%u", fd);
            long n = raw(SYS_readlinkat, -100, path, target, sizeof target - 1);
            target[n > 0 ? n : 0] = '\0';
            say("%s: descriptor %u (%s) is open, but not in the ledger\n", when, fd, target);
        } else {
            say("%s: descriptor %u is in the ledger (state %u, kind %u, flags %#x), but closed\n",
                when, fd, ledger_view_state(record->state), record->kind, record->flags);
        }
    }
    long vma_count = kernel_view_maps(vmas, MAX_MAPS);
    check(vma_count >= 0, "/proc/self/maps cannot be read");
    for (size_t i = 0; i < record_count; i++) {
        const struct ledger_mapping *m = records[i];
        bool doubtful = m->flags & LEDGER_UNSURE || ledger_view_state(m->state) != LEDGER_LIVE;
        d.maps++;
        int covered = vma_covers(m, vma_count);
        if (m->flags & LEDGER_INHERITED || covered == 2 ||
            (covered && m->flags & LEDGER_UNSURE_PROT))
            continue;
        if (lenient && doubtful)
            continue;
        unsigned *count = covered ? &d.protections : &d.maps_stale;
        if ((*count)++ < 6 && !quiet)
            say("%s: the ledger has %#lx-%#lx (state %u, prot %u, flags %#x); %s\n", when, m->start,
                m->end, ledger_view_state(m->state), m->prot, m->flags,
                covered ? "its protection is another" : "it is not mapped");
    }
    for (size_t i = 1; i < record_count; i++)
        check(records[i - 1]->end <= records[i]->start, "%s: two records overlap at %#lx", when,
              records[i]->start);
    d.incomplete = view.header->incomplete;
    if (!quiet && d.fds_missing + d.fds_stale + d.maps_stale + d.protections > 0)
        say("%s: incomplete %#x, %lu events lost, %lu records missed, %lu rebuilds\n", when,
            d.incomplete, (unsigned long)view.header->lost_events,
            (unsigned long)view.header->missed_records, (unsigned long)view.header->rebuilds);
    ledger_view_close(&view);
    return d;
}

void expect_exact(const char *when)
{
    struct system_difference d = system_compare(when, false, false);
    check(d.fds_missing == 0, "%s: %u descriptors are missing in the ledger", when, d.fds_missing);
    check(d.fds_stale == 0, "%s: %u descriptors in the ledger are closed", when, d.fds_stale);
    check(d.maps_stale == 0, "%s: %u mappings in the ledger are gone", when, d.maps_stale);
    check(d.protections == 0, "%s: %u mappings have another protection", when, d.protections);
}

void expect_recorded(const void *start, size_t bytes, bool recorded, const char *when)
{
    struct ledger_view view;
    size_t record_count, covered = 0;
    uint64_t low = (uint64_t)start, high = low + bytes;

    if (system_ledger == NULL || !look(&view, &record_count))
        return;
    for (size_t i = 0; i < record_count; i++) {
        uint64_t from = records[i]->start > low ? records[i]->start : low;
        uint64_t to = records[i]->end < high ? records[i]->end : high;
        if (from < to)
            covered += to - from;
    }
    check(covered == (recorded ? bytes : 0), "%s: %zu of %zu bytes at %p are in the ledger", when,
          covered, bytes, start);
    ledger_view_close(&view);
}

bool is_recorded(int fd)
{
    struct ledger_view view;
    if (system_ledger == NULL)
        return true;
    if (ledger_view_open(&view, system_ledger) != 0)
        return false;
    bool is = fd >= 0 && ledger_view_fd(&view, (unsigned)fd) != NULL;
    ledger_view_close(&view);
    return is;
}
