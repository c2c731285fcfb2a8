/*
 * test_findings.c: from records to a report: what is grouped, what is not, in which order it is
 * told, and what the last line says.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ledger_writer.h"
#include "policy/policy.h"
#include "report/allocators.h"
#include "report/report.h"
#include "report/write.h"

#define CODE UINT64_C(0x550000000000)
#define BASE UINT64_C(0x7f0000000000)

struct scene {
    struct ledger_writer writer;
    struct suppressions suppressions;
    struct kernel_view *view;
    struct reader *reader;
    struct symbols *symbols;
    struct report report;
};

static void scene_begin(struct scene *scene)
{
    memset(scene, 0, sizeof *scene);
    writer_begin(&scene->writer);
    (void)writer_module(&scene->writer, "/nonexistent/supervisor", CODE, CODE + 0x100000);
}

static uint32_t stack_at(struct scene *scene, uint64_t offset)
{
    return writer_stack(&scene->writer, (const uint64_t[]){CODE + offset, CODE + 0x900, 0});
}

static void scene_report(struct scene *scene)
{
    const struct report_options options = {
        .suppressions = scene->suppressions.count ? &scene->suppressions : NULL,
        .settle_ns = REPORT_SETTLE_NS,
    };
    struct failure failure = {0};
    int fd = writer_open(&scene->writer);

    scene->reader = reader_open_fd(fd, "L", &failure);
    close(fd);
    if (!scene->reader)
        fail_msg("%s", failure.text);
    scene->symbols = symbols_new();
    if (!report_build(&scene->report, scene->reader, scene->view, scene->symbols, &options,
                      &failure))
        fail_msg("%s", failure.text);
}

static void scene_end(struct scene *scene)
{
    report_free(&scene->report);
    symbols_free(scene->symbols);
    suppressions_free(&scene->suppressions);
    reader_close(scene->reader);
    writer_end(&scene->writer);
}

/* The last line of the text report. */
static void assert_summary(const struct scene *scene, const char *expected)
{
    struct write_options options = {0};
    char *text = NULL, *line;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    text_write_report(out, &scene->report, &options, true);
    (void)fclose(out);
    text[length - 1] = '\0';
    line = strrchr(text, '\n') + 1;
    assert_string_equal(line, expected);
    free(text);
}

static void one_stack_is_one_finding(void **state)
{
    struct scene scene;
    uint32_t stack;

    (void)state;
    scene_begin(&scene);
    stack = stack_at(&scene, 0x100);
    for (uint32_t fd = 3; fd < 53; fd++)
        writer_fd(&scene.writer, fd, LEDGER_FD_MEMFD, stack);
    scene_report(&scene);
    assert_int_equal(scene.report.live.count, 1);
    assert_int_equal(scene.report.live.items[0].count, 50);
    assert_string_equal(scene.report.live.items[0].what, "memfd");
    assert_int_equal(scene.report.live.items[0].stack->count, 2);
    /* A return address is looked up one byte before: the call, not what follows it. */
    assert_int_equal(scene.report.live.items[0].stack->frames[0].offset, 0xff);
    assert_int_equal(scene.report.findings.count, 0);
    scene_end(&scene);
}

static void stacks_resources_and_kinds_are_kept_apart(void **state)
{
    struct scene scene;
    uint32_t one, two;

    (void)state;
    scene_begin(&scene);
    one = stack_at(&scene, 0x100);
    two = stack_at(&scene, 0x200);
    writer_fd(&scene.writer, 3, LEDGER_FD_MEMFD, one);
    writer_fd(&scene.writer, 4, LEDGER_FD_MEMFD, two);
    writer_fd(&scene.writer, 5, LEDGER_FD_EVENTFD, one);
    writer_mapping(&scene.writer, BASE, 4096, one);
    writer_mapping(&scene.writer, BASE + 8192, 4096, one)->flags = LEDGER_FILE_MAP;
    scene_report(&scene);
    assert_int_equal(scene.report.live.count, 5);
    scene_end(&scene);
}

static void the_same_code_loaded_elsewhere_is_the_same_stack(void **state)
{
    struct scene scene;
    struct ledger_module *first;
    uint32_t again;

    (void)state;
    scene_begin(&scene);
    writer_fd(&scene.writer, 3, LEDGER_FD_MEMFD, stack_at(&scene, 0x100));
    /* Unloaded and loaded again, at another address; something else is where it was. */
    first = writer_record(&scene.writer, LEDGER_MODULES, 1);
    first->generation_last = 1;
    writer_header(&scene.writer)->generation = 2;
    again = writer_module(&scene.writer, "/nonexistent/supervisor", 2 * CODE, 2 * CODE + 0x100000);
    ((struct ledger_module *)writer_record(&scene.writer, LEDGER_MODULES, again))
        ->generation_first = 2;
    again = writer_module(&scene.writer, "/nonexistent/other.so", CODE, CODE + 0x100000);
    ((struct ledger_module *)writer_record(&scene.writer, LEDGER_MODULES, again))
        ->generation_first = 2;
    writer_fd(
        &scene.writer, 4, LEDGER_FD_MEMFD,
        writer_stack(&scene.writer, (const uint64_t[]){2 * CODE + 0x100, 2 * CODE + 0x900, 0}));
    writer_fd(&scene.writer, 5, LEDGER_FD_MEMFD, stack_at(&scene, 0x100)); /* other.so's */
    scene_report(&scene);
    assert_int_equal(scene.report.live.count, 2);
    assert_int_equal(scene.report.live.items[0].count, 2);
    assert_string_equal(scene.report.live.items[1].stack->frames[0].object,
                        "/nonexistent/other.so");
    scene_end(&scene);
}

static void adopted_descriptors_are_kept_apart_by_their_names(void **state)
{
    static struct kernel_fd fds[] = {
        {3, "/memfd:cpuinfo"},
        {4, "/memfd:meminfo"},
        {5, "/memfd:cpuinfo"},
        {6, "socket:[1]"},
        {7, "socket:[2]"},
        {8, "/tmp/a"},
        {9, "/tmp/b"},
        {10, "anon_inode:kvm-vcpu:0"},
        {11, "anon_inode:kvm-vcpu:1"},
        {12, "/proc/77/mem"},
        {13, "/proc/88/mem"},
    };
    struct kernel_view view = {
        .fds_known = true, .taken_ns = INT64_MAX, .fds = fds, .fd_count = sizeof fds / sizeof *fds};
    static const struct {
        const char *what;
        unsigned count;
    } expected[] = {{"memfd:cpuinfo", 2}, {"memfd:meminfo", 1}, {"socket", 2},
                    {"file", 2},          {"kvm-vcpu", 2},      {"/proc/N/mem", 2}};
    struct scene scene;
    uint32_t stack;

    (void)state;
    scene_begin(&scene);
    stack = stack_at(&scene, 0x100);
    for (uint32_t fd = 3; fd <= 13; fd++)
        writer_fd(&scene.writer, fd, LEDGER_FD_UNKNOWN, stack)->flags = LEDGER_ADOPTED;
    scene.view = &view;
    scene_report(&scene);
    assert_int_equal(scene.report.live.count, sizeof expected / sizeof *expected);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        bool found = false;

        for (size_t j = 0; j < scene.report.live.count; j++) {
            const struct report_finding *finding = &scene.report.live.items[j];

            if (strcmp(finding->what, expected[i].what) == 0) {
                found = true;
                assert_int_equal(finding->count, expected[i].count);
                assert_true(finding->verified);
            }
        }
        if (!found)
            fail_msg("no %s", expected[i].what);
    }
    scene_end(&scene);
}

static void what_was_inherited_is_counted_but_not_told(void **state)
{
    struct scene scene;

    (void)state;
    scene_begin(&scene);
    for (uint32_t fd = 0; fd < 3; fd++)
        writer_fd(&scene.writer, fd, LEDGER_FD_UNKNOWN, 0)->flags = LEDGER_INHERITED;
    scene_report(&scene);
    assert_int_equal(scene.report.live.count, 0);
    assert_int_equal(scene.report.fds, 3);
    assert_int_equal(scene.report.inherited_fds, 3);
    scene_end(&scene);
}

static void what_kills_first_is_told_first(void **state)
{
    struct scene scene;
    uint32_t many_maps, few_fds, more_fds;

    (void)state;
    scene_begin(&scene);
    many_maps = stack_at(&scene, 0x100);
    few_fds = stack_at(&scene, 0x200);
    more_fds = stack_at(&scene, 0x300);
    for (uint32_t i = 0; i < 600; i++) /* of 65,530 */
        writer_mapping(&scene.writer, BASE + i * UINT64_C(8192), 4096, many_maps);
    for (uint32_t fd = 10; fd < 15; fd++) /* of 1,024 */
        writer_fd(&scene.writer, fd, LEDGER_FD_FILE, few_fds);
    for (uint32_t fd = 20; fd < 35; fd++)
        writer_fd(&scene.writer, fd, LEDGER_FD_FILE, more_fds);
    scene_report(&scene);
    assert_int_equal(scene.report.live.count, 3);
    assert_int_equal(scene.report.live.items[0].count, 15);
    assert_int_equal(scene.report.live.items[1].count, 600);
    assert_int_equal(scene.report.live.items[2].count, 5);
    scene_end(&scene);
}

static void a_double_close_is_a_finding_with_both_its_stacks(void **state)
{
    struct scene scene;
    struct ledger_event *event;
    uint32_t second, first;

    (void)state;
    scene_begin(&scene);
    second = stack_at(&scene, 0x100);
    first = stack_at(&scene, 0x200);
    event = writer_event(&scene.writer, LEDGER_EVENT_DOUBLE_CLOSE, EBADF, second, 3);
    event->other_stack = first;
    event->start = 17;
    scene_report(&scene);
    assert_int_equal(scene.report.findings.count, 1);
    assert_int_equal(scene.report.findings.items[0].verdict, REPORT_DOUBLE_CLOSE);
    assert_int_equal(scene.report.findings.items[0].count, 3);
    assert_int_equal(scene.report.findings.items[0].address, 17);
    assert_int_equal(scene.report.findings.items[0].stack->frames[0].offset, 0xff);
    assert_int_equal(scene.report.findings.items[0].released_count, 1);
    assert_int_equal(scene.report.findings.items[0].released_by[0]->frames[0].offset, 0x1ff);
    assert_true(report_has_errors(&scene.report));
    assert_summary(&scene,
                   "SUMMARY: boxledger: nothing left behind by 0 sandboxes; 3 double closes");
    scene_end(&scene);
}

static void refused_calls_are_told_apart_from_findings(void **state)
{
    struct scene scene;
    struct ledger_event *event;

    (void)state;
    scene_begin(&scene);
    event =
        writer_event(&scene.writer, LEDGER_EVENT_UNMAP_REFUSED, ENOMEM, stack_at(&scene, 0x100), 7);
    event->bytes = 7 * 4096;
    event->vmas = 65530;
    (void)writer_event(&scene.writer, LEDGER_EVENT_FD_REFUSED, EMFILE, stack_at(&scene, 0x200), 2);
    scene_report(&scene);
    assert_int_equal(scene.report.findings.count, 0);
    assert_int_equal(scene.report.refused.count, 2);
    assert_string_equal(scene.report.refused.items[1].what, "munmap");
    assert_int_equal(scene.report.refused.items[1].count, 7);
    assert_int_equal(scene.report.refused.items[1].bytes, 7 * 4096);
    assert_false(report_has_errors(&scene.report));
    scene_end(&scene);
}

static void what_was_reclaimed_is_a_finding_and_an_error(void **state)
{
    struct scene scene;
    struct ledger_event *event;
    uint32_t taken, closed, owner;

    (void)state;
    scene_begin(&scene);
    taken = stack_at(&scene, 0x100);
    closed = stack_at(&scene, 0x200);
    owner = writer_owner(&scene.writer, LEDGER_OWNER_SECCOMP, LEDGER_ENDED);
    writer_header(&scene.writer)->policies = POLICY_RECLAIM;
    writer_header(&scene.writer)->reclaimed_fds = 38;
    event = writer_event(&scene.writer, LEDGER_EVENT_LATE_CLOSE, 0, closed, 2);
    event->other_stack = taken;
    event = writer_event(&scene.writer, LEDGER_EVENT_RECLAIMED_FD, LEDGER_FD_MEMFD, taken, 38);
    event->owner = owner;
    event = writer_event(&scene.writer, LEDGER_EVENT_RECLAIMED_MAPPING, LEDGER_FILE_MAP, taken, 3);
    event->bytes = 12288;
    scene_report(&scene);
    assert_int_equal(scene.report.findings.count, 2);
    assert_int_equal(scene.report.findings.items[0].verdict, REPORT_RECLAIMED);
    assert_int_equal(scene.report.findings.items[0].resource, REPORT_FD);
    assert_int_equal(scene.report.findings.items[0].count, 38);
    assert_string_equal(scene.report.findings.items[0].what, "memfd");
    assert_string_equal(scene.report.findings.items[0].owner_kind, "seccomp");
    assert_int_equal(scene.report.findings.items[0].last_id, 1);
    assert_int_equal(scene.report.findings.items[0].owners, 0);
    assert_int_equal(scene.report.findings.items[0].stack->frames[0].offset, 0xff);
    assert_int_equal(scene.report.findings.items[0].late_releases, 2);
    assert_int_equal(scene.report.findings.items[0].released_by[0]->frames[0].offset, 0x1ff);
    assert_int_equal(scene.report.findings.items[1].resource, REPORT_MAPPING);
    assert_string_equal(scene.report.findings.items[1].what, "private file mapping");
    assert_int_equal(scene.report.findings.items[1].bytes, 12288);
    assert_int_equal(scene.report.leaked_fds, 0);
    assert_int_equal(scene.report.policies.reclaimed_fds, 38);
    assert_true(report_has_errors(&scene.report));
    assert_summary(&scene, "SUMMARY: boxledger: nothing left behind by 1 sandbox; 41 reclaimed");
    scene_end(&scene);
}

static void what_policies_keep_is_accused_by_nobody(void **state)
{
    struct scene scene;
    uint32_t stack;

    (void)state;
    scene_begin(&scene);
    stack = stack_at(&scene, 0x100);
    for (uint32_t i = 0; i < 50; i++) {
        struct ledger_mapping *mapping =
            writer_mapping(&scene.writer, BASE + i * 0x2000, 4096, stack);

        writer_fd(&scene.writer, 3 + i, LEDGER_FD_RECLAIMED, stack);
        mapping->flags |= LEDGER_KEPT;
        mapping->detail = i % 2 ? LEDGER_WAITS : 0;
    }
    writer_growth(&scene.writer, stack, 1, (const uint32_t[]){5, 10, 15, 20, 25, 30, 35, 40, 45},
                  9);
    scene_report(&scene);
    assert_int_equal(scene.report.findings.count, 0);
    assert_int_equal(scene.report.leaked_fds + scene.report.leaked_mappings, 0);
    assert_int_equal(scene.report.live.count, 3);
    for (size_t i = 0; i < 3; i++) {
        const char *what = scene.report.live.items[i].what;

        assert_true(strcmp(what, "reclaimed number") == 0 || strcmp(what, "reclaimed range") == 0 ||
                    strcmp(what, "memory that waits to be unmapped") == 0);
    }
    scene_end(&scene);
}

static void rescued_and_limited_are_told_and_no_errors(void **state)
{
    struct scene scene;
    struct ledger_event *event;
    struct ledger_mapping *mapping;
    uint32_t called, asked;

    (void)state;
    scene_begin(&scene);
    called = stack_at(&scene, 0x100);
    asked = stack_at(&scene, 0x200);
    event = writer_event(&scene.writer, LEDGER_EVENT_RESCUED, ENOMEM, called, 7);
    event->bytes = 28672;
    event->vmas = 65530;
    event = writer_event(&scene.writer, LEDGER_EVENT_LIMITED_FD, EMFILE, asked, 12);
    event->owner = writer_owner(&scene.writer, LEDGER_OWNER_API, LEDGER_LIVE);
    event = writer_event(&scene.writer, LEDGER_EVENT_ADVICE_REFUSED, EAGAIN, asked, 1);
    event->vmas = 65529;
    mapping = writer_mapping(&scene.writer, BASE, 8192, asked);
    mapping->flags |= LEDGER_KEPT;
    mapping->detail = LEDGER_WAITS;
    mapping->unbound_stack = called;
    scene_report(&scene);
    assert_int_equal(scene.report.findings.count, 2);
    assert_int_equal(scene.report.findings.items[0].verdict, REPORT_RESCUED);
    assert_int_equal(scene.report.findings.items[0].count, 7);
    assert_int_equal(scene.report.findings.items[0].waiting_bytes, 8192);
    assert_int_equal(scene.report.findings.items[0].vmas, 65530);
    assert_int_equal(scene.report.findings.items[1].verdict, REPORT_LIMITED);
    assert_int_equal(scene.report.findings.items[1].error, EMFILE);
    assert_string_equal(scene.report.findings.items[1].owner_kind, "api");
    assert_int_equal(scene.report.findings.items[1].last_id, 1);
    assert_int_equal(scene.report.refused.count, 1);
    assert_string_equal(scene.report.refused.items[0].what, "madvise");
    assert_int_equal(scene.report.refused.items[0].vmas, 65529);
    assert_false(report_has_errors(&scene.report));
    assert_summary(&scene, "SUMMARY: boxledger: nothing left behind by 0 sandboxes");
    scene_end(&scene);
}

static void what_ended_owners_hold_is_left_behind(void **state)
{
    struct scene scene;
    uint32_t stack, live, owners[3];

    (void)state;
    scene_begin(&scene);
    stack = stack_at(&scene, 0x100);
    for (unsigned i = 0; i < 3; i++)
        owners[i] = writer_owner(&scene.writer, 1, LEDGER_ENDED);
    live = writer_owner(&scene.writer, 1, LEDGER_LIVE);
    for (uint32_t fd = 10; fd < 14; fd++)
        writer_fd(&scene.writer, fd, LEDGER_FD_MEMFD, stack)->owner = owners[fd % 2];
    writer_fd(&scene.writer, 20, LEDGER_FD_MEMFD, stack)->owner = live;
    for (unsigned i = 0; i < 3; i++)
        writer_mapping(&scene.writer, BASE + i * UINT64_C(131072), 65536, stack)->bound_owner =
            owners[0];
    scene_report(&scene);
    assert_int_equal(scene.report.findings.count, 2);
    assert_int_equal(scene.report.findings.items[0].resource, REPORT_FD);
    assert_int_equal(scene.report.findings.items[0].count, 4);
    assert_int_equal(scene.report.findings.items[0].owners, 2);
    assert_string_equal(scene.report.findings.items[0].owner_kind, "kvm");
    assert_int_equal(scene.report.owners_begun, 4);
    assert_true(report_has_errors(&scene.report));
    assert_summary(&scene, "SUMMARY: boxledger: 4 descriptors, 3 mappings (192 KiB) left behind by "
                           "2 of 3 sandboxes");
    scene_end(&scene);
}

static const uint32_t climbing[] = {2, 10, 18, 26, 34, 42, 50, 58, 66, 74};

/* A stack that kept `count` descriptors over 80 ends, and whose low-water marks climbed. */
static uint32_t growing_stack(struct scene *scene, uint64_t offset, uint32_t first, uint32_t count)
{
    uint32_t stack = stack_at(scene, offset);
    struct ledger_stack *record = writer_record(&scene->writer, LEDGER_STACKS, stack);

    record->fds_live = (int32_t)count;
    record->epoch = writer_header(&scene->writer)->epoch;
    for (uint32_t fd = first; fd < first + count; fd++)
        writer_fd(&scene->writer, fd, LEDGER_FD_SOCKET, stack);
    writer_growth(&scene->writer, stack, 8, climbing, sizeof climbing / sizeof *climbing);
    return stack;
}

static void what_grows_is_told_with_its_rate_and_its_end(void **state)
{
    const struct report_finding *finding;
    struct write_options options = {0};
    struct scene scene;
    char *text = NULL;
    size_t length = 0;
    FILE *out;

    (void)state;
    scene_begin(&scene);
    writer_ends(&scene.writer, LEDGER_OWNER_CHILD, 80);
    (void)growing_stack(&scene, 0x100, 10, 80);
    for (uint32_t fd = 100; fd < 150; fd++) /* as many, but they do not climb */
        writer_fd(&scene.writer, fd, LEDGER_FD_FILE, stack_at(&scene, 0x200));
    scene_report(&scene);
    assert_int_equal(scene.report.findings.count, 1);
    finding = &scene.report.findings.items[0];
    assert_int_equal(finding->verdict, REPORT_GROWING);
    assert_string_equal(finding->what, "socket");
    assert_int_equal(finding->count, 80);
    assert_int_equal(finding->owners, 0);
    assert_true(finding->rate > 0.9 && finding->rate < 1.1);
    /* 130 of 1,024 are used. */
    assert_true(finding->limit_in > 850 && finding->limit_in < 950);
    assert_int_equal(finding->stack->frames[0].offset, 0xff);
    assert_true(report_has_errors(&scene.report));
    out = open_memstream(&text, &length);
    text_write_report(out, &scene.report, &options, true);
    (void)fclose(out);
    assert_non_null(strstr(text, "Growing: 80 descriptors (socket), "));
    assert_non_null(strstr(text, "  at this rate the limit of 1,024 is reached in "));
    free(text);
    assert_summary(&scene, "SUMMARY: boxledger: nothing left behind by 80 sandboxes; 1 growing");
    scene_end(&scene);
}

/* What fills up shortly before the limit is met was growing; what had been full for long was not.
 */
static void what_met_the_limit_was_growing(void **state)
{
    static const uint32_t lows[] = {2, 18, 34, 50, 66, 80, 80, 80, 80, 80};

    (void)state;
    for (unsigned early = 0; early < 2; early++) {
        struct ledger_event *event;
        struct scene scene;
        uint32_t stack;

        scene_begin(&scene);
        writer_ends(&scene.writer, LEDGER_OWNER_CHILD, 80);
        stack = growing_stack(&scene, 0x100, 10, 80);
        writer_growth(&scene.writer, stack, 8, lows, sizeof lows / sizeof *lows);
        for (uint32_t fd = 10; fd < 90; fd++)
            ((struct ledger_fd *)writer_record(&scene.writer, LEDGER_FDS, fd))->since_ns =
                WRITER_START_NS + fd * (early ? 1000 : 10000);
        event = writer_event(&scene.writer, LEDGER_EVENT_FD_REFUSED, EMFILE, 0, 5);
        event->first_ns = WRITER_START_NS + 900000;
        scene_report(&scene);
        assert_int_equal(scene.report.findings.count, !early);
        scene_end(&scene);
    }
}

static void without_sandboxes_a_rate_is_told_by_marks(void **state)
{
    struct scene scene;

    (void)state;
    scene_begin(&scene);
    writer_header(&scene.writer)->epoch = 80;
    writer_header(&scene.writer)->marks = 40;
    writer_header(&scene.writer)->unbinds = 40;
    (void)growing_stack(&scene, 0x100, 10, 80);
    scene_report(&scene);
    assert_int_equal(scene.report.findings.count, 1);
    assert_int_equal(scene.report.findings.items[0].rate_unit, REPORT_PER_MARK);
    assert_true(scene.report.findings.items[0].rate > 1.8 &&
                scene.report.findings.items[0].rate < 2.2);
    scene_end(&scene);
}

static void what_the_kernel_denies_does_not_grow(void **state)
{
    struct kernel_fd fds[] = {{11, NULL}, {12, NULL}};
    struct kernel_view view = {
        .fds_known = true, .taken_ns = INT64_MAX, .fds = fds, .fd_count = 2, .max_fds = 1024};
    struct scene scene;

    (void)state;
    scene_begin(&scene);
    writer_ends(&scene.writer, LEDGER_OWNER_CHILD, 80);
    (void)growing_stack(&scene, 0x100, 10, 80);
    scene.view = &view;
    scene_report(&scene);
    assert_int_equal(scene.report.findings.count, 0);
    scene_end(&scene);
}

static void what_a_sandbox_left_is_not_told_as_growing_as_well(void **state)
{
    struct scene scene;
    struct ledger_growth *growth;
    uint32_t stack, owner;

    (void)state;
    scene_begin(&scene);
    writer_ends(&scene.writer, LEDGER_OWNER_CHILD, 79);
    owner = writer_owner(&scene.writer, LEDGER_OWNER_CHILD, LEDGER_ENDED);
    stack = growing_stack(&scene, 0x100, 10, 80);
    for (uint32_t fd = 90; fd < 100; fd++)
        writer_fd(&scene.writer, fd, LEDGER_FD_SOCKET, stack)->owner = owner;
    ((struct ledger_stack *)writer_record(&scene.writer, LEDGER_STACKS, stack))->fds_live = 90;
    growth = writer_record(&scene.writer, LEDGER_GROWTH, stack);
    growth->fds_owned = 10;
    scene_report(&scene);
    assert_int_equal(scene.report.findings.count, 2);
    assert_int_equal(scene.report.findings.items[0].verdict, REPORT_GROWING);
    assert_int_equal(scene.report.findings.items[0].count, 80);
    assert_int_equal(scene.report.findings.items[1].verdict, REPORT_LEAKED);
    assert_int_equal(scene.report.findings.items[1].count, 10);
    scene_end(&scene);
}

static void a_foreign_close_is_a_finding_with_both_its_stacks(void **state)
{
    struct write_options options = {0};
    struct scene scene;
    struct ledger_event *event;
    uint32_t taken, closed, owner;
    char *text = NULL;
    size_t length = 0;
    FILE *out;

    (void)state;
    scene_begin(&scene);
    taken = stack_at(&scene, 0x100);
    closed = stack_at(&scene, 0x200);
    owner = writer_owner(&scene.writer, LEDGER_OWNER_API, LEDGER_LIVE);
    event = writer_event(&scene.writer, LEDGER_EVENT_FOREIGN_CLOSE, 0, taken, 2);
    event->other_stack = closed;
    event->start = 17;
    event->owner = owner;
    event->other_owner = writer_owner(&scene.writer, LEDGER_OWNER_API, LEDGER_LIVE);
    scene_report(&scene);
    assert_int_equal(scene.report.findings.count, 1);
    assert_int_equal(scene.report.findings.items[0].verdict, REPORT_FOREIGN_CLOSE);
    assert_string_equal(scene.report.findings.items[0].owner_kind, "api");
    assert_int_equal(scene.report.findings.items[0].stack->frames[0].offset, 0xff);
    assert_int_equal(scene.report.findings.items[0].released_by[0]->frames[0].offset, 0x1ff);
    assert_false(report_has_errors(&scene.report));
    out = open_memstream(&text, &length);
    text_write_report(out, &scene.report, &options, true);
    (void)fclose(out);
    assert_non_null(strstr(text, "Foreign close: descriptor 17 "));
    assert_non_null(strstr(text, "  closed at:\n"));
    free(text);
    scene_end(&scene);
}

static void an_inheritable_descriptor_is_named_if_it_is_still_there(void **state)
{
    struct scene scene;
    struct ledger_event *event;
    uint32_t taken, other;

    (void)state;
    scene_begin(&scene);
    taken = stack_at(&scene, 0x100);
    other = stack_at(&scene, 0x200);
    writer_fd(&scene.writer, 5, LEDGER_FD_PIPE, taken);
    writer_fd(&scene.writer, 6, LEDGER_FD_SOCKET, taken);
    event = writer_event(&scene.writer, LEDGER_EVENT_INHERITABLE, 0, taken, 1);
    event->start = 5;
    event->other_stack = other;
    event = writer_event(&scene.writer, LEDGER_EVENT_INHERITABLE, 0, other, 1);
    event->start = 6; /* somebody else's by now */
    scene_report(&scene);
    assert_int_equal(scene.report.findings.count, 2);
    assert_int_equal(scene.report.findings.items[0].verdict, REPORT_INHERITABLE);
    assert_string_equal(scene.report.findings.items[0].what, "pipe");
    assert_string_equal(scene.report.findings.items[1].what, "descriptor");
    scene_end(&scene);
}

static void nearly_full_is_a_warning(void **state)
{
    struct write_options options = {0};
    const json_t *warning;
    struct scene scene;
    json_t *document;

    (void)state;
    scene_begin(&scene);
    (void)writer_event(&scene.writer, LEDGER_EVENT_NEARLY_FULL, EMFILE, 0, 1);
    (void)writer_event(&scene.writer, LEDGER_EVENT_NEARLY_FULL, ENOMEM, 0, 1);
    scene_report(&scene);
    assert_int_equal(scene.report.findings.count, 0);
    assert_int_equal(scene.report.warning_count, 2);
    assert_string_equal(scene.report.warnings[0].text, "80% of 1024 descriptors were in use");
    document = json_of_report(&scene.report, &options);
    warning = json_array_get(json_object_get(document, "warnings"), 1);
    assert_string_equal(json_string_value(json_object_get(warning, "resource")), "mapping");
    assert_int_equal(json_integer_value(json_object_get(warning, "limit")), 65530);
    json_decref(document);
    scene_end(&scene);
}

static void threads_are_named_where_they_were_seen(void **state)
{
    struct kernel_thread threads[] = {{77, "vm-worker"}};
    struct kernel_view view = {.threads = threads, .thread_count = 1};
    struct write_options options = {.live = true};
    struct scene scene;
    char *text = NULL;
    size_t length = 0;
    uint32_t stack;
    FILE *out;

    (void)state;
    scene_begin(&scene);
    stack = stack_at(&scene, 0x100);
    writer_fd(&scene.writer, 3, LEDGER_FD_MEMFD, stack)->tid = 77;
    writer_fd(&scene.writer, 4, LEDGER_FD_MEMFD, stack)->tid = 78;
    writer_fd(&scene.writer, 5, LEDGER_FD_MEMFD, stack)->tid = 77;
    scene.view = &view;
    scene_report(&scene);
    assert_int_equal(scene.report.live.items[0].thread_count, 2);
    out = open_memstream(&text, &length);
    text_write_report(out, &scene.report, &options, true);
    (void)fclose(out);
    assert_non_null(strstr(text, "  by thread 77 (vm-worker), 78\n"));
    free(text);
    scene_end(&scene);
}

static void nothing_is_said_as_the_design_says_it(void **state)
{
    struct scene scene;

    (void)state;
    scene_begin(&scene);
    scene_report(&scene);
    assert_summary(&scene, "SUMMARY: boxledger: nothing left behind by 0 sandboxes");
    assert_false(report_has_errors(&scene.report));
    scene_end(&scene);
}

static void what_went_out_of_sight_is_never_called_nothing(void **state)
{
    struct scene scene;

    (void)state;
    scene_begin(&scene);
    writer_header(&scene.writer)->process_state = LEDGER_PROCESS_EXECING;
    writer_header(&scene.writer)->exec_path = writer_string(&scene.writer, "/bin/busybox");
    scene_report(&scene);
    assert_string_equal(scene.report.execed, "/bin/busybox");
    assert_summary(&scene,
                   "SUMMARY: boxledger: 1 process went on where boxledger could not be loaded");
    scene_end(&scene);
}

static void suppressed_findings_are_not_counted_anywhere(void **state)
{
    static const char text[] = "leak:^memfd$\n";
    struct scene scene;
    struct failure failure = {0};
    uint32_t owner;

    (void)state;
    scene_begin(&scene);
    owner = writer_owner(&scene.writer, 1, LEDGER_ENDED);
    writer_fd(&scene.writer, 3, LEDGER_FD_MEMFD, stack_at(&scene, 0x100))->owner = owner;
    assert_true(suppressions_parse(&scene.suppressions, "S", text, strlen(text), &failure));
    scene_report(&scene);
    assert_int_equal(scene.report.findings.count, 0);
    assert_int_equal(scene.report.live.count, 0);
    assert_int_equal(scene.report.leaked_fds, 0);
    assert_int_equal(scene.report.suppressed, 1);
    assert_false(report_has_errors(&scene.report));
    assert_summary(&scene, "SUMMARY: boxledger: nothing left behind by 1 sandbox");
    scene_end(&scene);
}

static void a_killed_process_is_told_as_such(void **state)
{
    struct write_options options = {.live = true};
    struct scene scene;
    char *text = NULL;
    size_t length = 0;
    FILE *out;

    (void)state;
    scene_begin(&scene);
    writer_header(&scene.writer)->process_state = LEDGER_PROCESS_RUNNING;
    writer_outside(&scene.writer)->ended = LEDGER_ENDED_SIGNAL;
    writer_outside(&scene.writer)->status = 9;
    writer_header(&scene.writer)->incomplete = LEDGER_INCOMPLETE_RECORDS;
    writer_fd(&scene.writer, 3, LEDGER_FD_MEMFD, 0);
    scene_report(&scene);
    assert_false(scene.report.live.items[0].verified);
    out = open_memstream(&text, &length);
    text_write_report(out, &scene.report, &options, true);
    (void)fclose(out);
    assert_non_null(strstr(text, "ended by signal 9; not verified"));
    assert_non_null(strstr(text, "incomplete"));
    assert_non_null(strstr(text, "(no stack)"));
    free(text);
    scene_end(&scene);
}

static void json_holds_all_that_the_design_names(void **state)
{
    static const char *const totals[] = {"mappings",      "mapped_bytes", "vmas",
                                         "max_map_count", "fds",          "max_fds",
                                         "owners_begun",  "owners_ended", "leaked_mappings",
                                         "leaked_bytes",  "leaked_fds",   "incomplete"};
    static const char *const finding[] = {
        "verdict",     "resource", "what",    "count",    "bytes", "owner_kind", "owners",
        "per_sandbox", "first_ns", "last_ns", "verified", "stack", "released_by"};
    static const char *const process[] = {"pid",    "exe",   "argv",  "start_ns",
                                          "end_ns", "ended", "status"};
    struct write_options options = {.live = true};
    const json_t *object;
    struct scene scene;
    json_t *document;

    (void)state;
    scene_begin(&scene);
    writer_fd(&scene.writer, 3, LEDGER_FD_MEMFD, stack_at(&scene, 0x100));
    /* A path need not be UTF-8. */
    writer_header(&scene.writer)->exe = writer_string(&scene.writer, "/tmp/\xff\xfe");
    scene_report(&scene);
    document = json_of_report(&scene.report, &options);
    assert_int_equal(json_integer_value(json_object_get(document, "boxledger")), 1);
    object = json_object_get(document, "totals");
    for (size_t i = 0; i < sizeof totals / sizeof *totals; i++)
        assert_non_null(json_object_get(object, totals[i]));
    object = json_object_get(document, "process");
    for (size_t i = 0; i < sizeof process / sizeof *process; i++)
        assert_non_null(json_object_get(object, process[i]));
    assert_string_equal(json_string_value(json_object_get(object, "exe")), "/tmp/\\xff\\xfe");
    object = json_array_get(json_object_get(document, "live"), 0);
    for (size_t i = 0; i < sizeof finding / sizeof *finding; i++)
        assert_non_null(json_object_get(object, finding[i]));
    assert_true(json_is_array(json_object_get(document, "findings")));
    assert_true(json_is_array(json_object_get(document, "owners")));
    assert_true(json_is_array(json_object_get(document, "refused")));
    json_decref(document);
    scene_end(&scene);
}

static void no_frame_of_the_shim_is_shown(void **state)
{
    struct scene scene;

    (void)state;
    scene_begin(&scene);
    (void)writer_module(&scene.writer, "/usr/lib/boxledger/libboxledger.so", BASE, BASE + 0x10000);
    writer_fd(&scene.writer, 3, LEDGER_FD_MEMFD,
              writer_stack(&scene.writer, (const uint64_t[]){BASE + 0x10, CODE + 0x100, 0}));
    scene_report(&scene);
    assert_int_equal(scene.report.live.items[0].stack->count, 1);
    assert_string_equal(scene.report.live.items[0].stack->frames[0].object,
                        "/nonexistent/supervisor");
    scene_end(&scene);
}

static void a_stack_through_an_allocator_is_the_allocators(void **state)
{
    static const struct {
        const char *function;
        bool allocators;
    } cases[] = {
        {"aligned_alloc", true},
        {"malloc", true},
        {"__rust_alloc", true},
        {"_rjem_mallocx", true},
        {"operator new[](unsigned long)", true},
        {"map_guest_memory", false},
        {"my_malloc", false},
        {"", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct symbols_frame frames[] = {
            {.function = "pages_map"}, {.function = cases[i].function}, {.function = "main"}};
        struct symbols_stack stack = {.frames = frames, .count = 3};

        assert_int_equal(allocators_made(&stack), cases[i].allocators);
    }
    assert_false(allocators_made(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stack_through_an_allocator_is_the_allocators),
        cmocka_unit_test(one_stack_is_one_finding),
        cmocka_unit_test(stacks_resources_and_kinds_are_kept_apart),
        cmocka_unit_test(the_same_code_loaded_elsewhere_is_the_same_stack),
        cmocka_unit_test(adopted_descriptors_are_kept_apart_by_their_names),
        cmocka_unit_test(what_was_inherited_is_counted_but_not_told),
        cmocka_unit_test(what_kills_first_is_told_first),
        cmocka_unit_test(a_double_close_is_a_finding_with_both_its_stacks),
        cmocka_unit_test(refused_calls_are_told_apart_from_findings),
        cmocka_unit_test(what_ended_owners_hold_is_left_behind),
        cmocka_unit_test(what_grows_is_told_with_its_rate_and_its_end),
        cmocka_unit_test(what_met_the_limit_was_growing),
        cmocka_unit_test(without_sandboxes_a_rate_is_told_by_marks),
        cmocka_unit_test(what_the_kernel_denies_does_not_grow),
        cmocka_unit_test(what_a_sandbox_left_is_not_told_as_growing_as_well),
        cmocka_unit_test(a_foreign_close_is_a_finding_with_both_its_stacks),
        cmocka_unit_test(an_inheritable_descriptor_is_named_if_it_is_still_there),
        cmocka_unit_test(nearly_full_is_a_warning),
        cmocka_unit_test(threads_are_named_where_they_were_seen),
        cmocka_unit_test(nothing_is_said_as_the_design_says_it),
        cmocka_unit_test(what_went_out_of_sight_is_never_called_nothing),
        cmocka_unit_test(suppressed_findings_are_not_counted_anywhere),
        cmocka_unit_test(a_killed_process_is_told_as_such),
        cmocka_unit_test(what_was_reclaimed_is_a_finding_and_an_error),
        cmocka_unit_test(what_policies_keep_is_accused_by_nobody),
        cmocka_unit_test(rescued_and_limited_are_told_and_no_errors),
        cmocka_unit_test(json_holds_all_that_the_design_names),
        cmocka_unit_test(no_frame_of_the_shim_is_shown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
