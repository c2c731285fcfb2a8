/*
 * test_verdicts.c: what was left behind by whom, and what is merely held. The ledgers are made up,
 * and so is the kernel, which has all that they hold.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "ledger_writer.h"
#include "report/report.h"
#include "report/write.h"

#define CODE UINT64_C(0x550000000000)
#define BASE UINT64_C(0x7f0000000000)
#define SETTLE_NS REPORT_SETTLE_NS
#define CLOCK_STEP_NS 10000000u /* how far behind a time of the ledger may be */
#define LONG_AFTER (WRITER_START_NS + 100 * SETTLE_NS)

enum moment { RUNNING, AT_EXIT };

struct scene {
    struct ledger_writer writer;
    struct kernel_view view;
    uint64_t now_ns, max_fds;
    struct reader *reader;
    struct symbols *symbols;
    struct report report;
    uint32_t stack, other_stack;
    uint64_t next_range;
    const char *const *fd_names; /* as the kernel has them, in order; NULL: not known */
};

static void scene_begin(struct scene *scene)
{
    memset(scene, 0, sizeof *scene);
    writer_begin(&scene->writer);
    scene->now_ns = LONG_AFTER;
    scene->max_fds = 1024;
    scene->next_range = BASE;
    (void)writer_module(&scene->writer, "/nonexistent/supervisor", CODE, CODE + 0x100000);
    scene->stack = writer_stack(&scene->writer, (const uint64_t[]){CODE + 0x100, 0});
    scene->other_stack = writer_stack(&scene->writer, (const uint64_t[]){CODE + 0x200, 0});
}

static struct ledger_fd *scene_fd(struct scene *scene, uint32_t fd, uint32_t owner, unsigned flags)
{
    struct ledger_fd *record = writer_fd(&scene->writer, fd, LEDGER_FD_MEMFD, scene->stack);

    record->owner = owner;
    record->flags = (uint16_t)flags;
    return record;
}

static struct ledger_mapping *scene_mapping(struct scene *scene, uint32_t owner,
                                            uint32_t bound_owner, unsigned flags)
{
    struct ledger_mapping *record =
        writer_mapping(&scene->writer, scene->next_range, 4096, scene->stack);

    scene->next_range += 8192;
    record->owner = owner;
    record->bound_owner = bound_owner;
    record->flags = (uint16_t)flags;
    return record;
}

/* The kernel has all of it. */
static void confirm(struct scene *scene)
{
    struct kernel_view *view = &scene->view;

    for (uint32_t i = 0; i < writer_header(&scene->writer)->used[LEDGER_FDS]; i++) {
        const struct ledger_fd *fd = writer_record(&scene->writer, LEDGER_FDS, i);

        if (fd->state == LEDGER_EMPTY)
            continue;
        view->fds = base_grow(view->fds, view->fd_count, sizeof *view->fds);
        view->fds[view->fd_count] = (struct kernel_fd){
            .fd = i, .name = scene->fd_names ? scene->fd_names[view->fd_count] : NULL};
        view->fd_count++;
    }
    for (uint64_t start = BASE; start < scene->next_range; start += 8192) {
        view->ranges = base_grow(view->ranges, view->range_count, sizeof *view->ranges);
        view->ranges[view->range_count++] =
            (struct kernel_range){.start = start, .end = start + 4096};
    }
}

static void scene_report(struct scene *scene, enum moment moment)
{
    struct failure failure = {0};
    int fd = writer_open(&scene->writer);

    scene->view.fds_known = scene->view.ranges_known = true;
    scene->view.running = moment == RUNNING;
    scene->view.taken_ns = scene->now_ns;
    scene->view.max_fds = scene->max_fds;
    scene->view.max_map_count = 65530;
    confirm(scene);
    if (moment == RUNNING) {
        writer_outside(&scene->writer)->ended = LEDGER_ENDED_UNKNOWN;
        writer_header(&scene->writer)->process_state = LEDGER_PROCESS_RUNNING;
        close(fd);
        fd = writer_open(&scene->writer);
    }
    scene->reader = reader_open_fd(fd, "L", &failure);
    close(fd);
    if (!scene->reader)
        fail_msg("%s", failure.text);
    scene->symbols = symbols_new();
    if (!report_build(&scene->report, scene->reader, &scene->view, scene->symbols, NULL, &failure))
        fail_msg("%s", failure.text);
}

static void scene_end(struct scene *scene)
{
    report_free(&scene->report);
    symbols_free(scene->symbols);
    reader_close(scene->reader);
    kernel_view_free(&scene->view);
    writer_end(&scene->writer);
}

/* How many things were left behind, by how many sandboxes. */
#define assert_leaked(scene, things, sandboxes)                                                    \
    do {                                                                                           \
        assert_int_equal((scene)->report.leaked_fds + (scene)->report.leaked_mappings, things);    \
        assert_int_equal((scene)->report.owners_leaking, sandboxes);                               \
    } while (0)

static void what_an_ended_sandbox_holds_at_the_exit_was_left_behind(void **state)
{
    struct scene scene;
    uint32_t ended, live;

    (void)state;
    scene_begin(&scene);
    ended = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_ENDED);
    live = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_LIVE);
    writer_owner_record(&scene.writer, ended)->ended_ns = scene.now_ns; /* this very moment */
    (void)scene_fd(&scene, 5, ended, 0);
    (void)scene_fd(&scene, 6, live, 0);
    (void)scene_fd(&scene, 7, 0, 0);
    (void)scene_mapping(&scene, ended, 0, 0);
    (void)scene_mapping(&scene, 0, live, LEDGER_BINDING);
    scene_report(&scene, AT_EXIT);
    assert_leaked(&scene, 2, 1);
    assert_true(scene.report.findings.items[0].verified);
    assert_string_equal(scene.report.findings.items[0].owner_kind, "kvm");
    scene_end(&scene);
}

static void on_a_live_process_an_end_takes_its_time_to_settle(void **state)
{
    (void)state;
    for (unsigned late = 0; late < 2; late++) {
        struct scene scene;
        uint32_t owner;

        scene_begin(&scene);
        owner = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_ENDED);
        writer_owner_record(&scene.writer, owner)->ended_ns = scene.now_ns - SETTLE_NS + !late;
        (void)scene_fd(&scene, 5, owner, 0);
        writer_ends(&scene.writer, LEDGER_OWNER_KVM, 100);
        scene_report(&scene, RUNNING);
        assert_leaked(&scene, late, late);
        scene_end(&scene);
    }
}

static void above_half_of_a_limit_later_ends_of_its_kind_settle_it(void **state)
{
    static const struct {
        uint64_t max_fds;
        unsigned kind, later, leaked;
    } cases[] = {
        {3, LEDGER_OWNER_KVM, 8, 2},
        {3, LEDGER_OWNER_KVM, 7, 0},
        {3, LEDGER_OWNER_CHILD, 8, 0}, /* of its kind */
        {4, LEDGER_OWNER_KVM, 8, 0},   /* exactly half */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scene scene;
        uint32_t owner;

        scene_begin(&scene);
        scene.max_fds = cases[i].max_fds;
        owner = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_ENDED);
        writer_owner_record(&scene.writer, owner)->ended_ns = scene.now_ns - CLOCK_STEP_NS;
        (void)scene_fd(&scene, 5, owner, 0);
        (void)scene_fd(&scene, 6, owner, 0);
        writer_ends(&scene.writer, cases[i].kind, cases[i].later);
        scene_report(&scene, RUNNING);
        assert_leaked(&scene, cases[i].leaked, cases[i].leaked != 0);
        scene_end(&scene);
    }
}

/* A record may name an owner that has ended by the time the owners are copied. */
static void what_ended_since_a_live_process_was_looked_at_is_not_accused(void **state)
{
    (void)state;
    for (unsigned before = 0; before < 2; before++) {
        struct scene scene;
        uint32_t owner;

        scene_begin(&scene);
        scene.max_fds = 3; /* more than half: later ends settle */
        owner = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_ENDED);
        writer_owner_record(&scene.writer, owner)->ended_ns =
            scene.now_ns - CLOCK_STEP_NS + !before;
        scene_fd(&scene, 5, owner, LEDGER_ANCHOR)->kind = LEDGER_FD_KVM_VM;
        (void)scene_fd(&scene, 6, owner, 0);
        writer_ends(&scene.writer, LEDGER_OWNER_KVM, 100);
        scene_report(&scene, RUNNING);
        assert_leaked(&scene, 2 * before, before);
        scene_end(&scene);
    }
}

static void the_order_of_ends_may_wrap(void **state)
{
    struct scene scene;
    uint32_t owner;

    (void)state;
    scene_begin(&scene);
    scene.max_fds = 1;
    owner = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_ENDED);
    writer_owner_record(&scene.writer, owner)->ended_ns = scene.now_ns - CLOCK_STEP_NS;
    writer_owner_record(&scene.writer, owner)->ended_order = UINT32_MAX - 2;
    writer_header(&scene.writer)->owners_ended[LEDGER_OWNER_KVM] = (UINT64_C(1) << 32) + 5;
    (void)scene_fd(&scene, 5, owner, 0);
    scene_report(&scene, RUNNING);
    assert_leaked(&scene, 1, 1);
    scene_end(&scene);
}

/* A live ledger's header is read before its owners. */
static void an_end_that_the_header_has_not_counted_yet_has_not_settled(void **state)
{
    struct scene scene;
    uint32_t owner;

    (void)state;
    scene_begin(&scene);
    scene.max_fds = 1;
    owner = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_ENDED);
    writer_owner_record(&scene.writer, owner)->ended_ns = scene.now_ns;
    writer_owner_record(&scene.writer, owner)->ended_order = 3;
    (void)scene_fd(&scene, 5, owner, 0);
    scene_report(&scene, RUNNING);
    assert_leaked(&scene, 0, 0);
    scene_end(&scene);
}

static void a_mapping_is_its_slots_unless_the_supervisor_said_whose(void **state)
{
    struct scene scene;
    uint32_t vm, live, api, live_api;

    (void)state;
    scene_begin(&scene);
    vm = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_ENDED);
    live = writer_owner(&scene.writer, LEDGER_OWNER_CHILD, LEDGER_LIVE);
    api = writer_owner(&scene.writer, LEDGER_OWNER_API, LEDGER_ENDED);
    live_api = writer_owner(&scene.writer, LEDGER_OWNER_API, LEDGER_LIVE);
    (void)scene_mapping(&scene, 0, vm, 0);        /* the slot's: left behind */
    (void)scene_mapping(&scene, live, vm, 0);     /* the slot's: left behind */
    (void)scene_mapping(&scene, live_api, vm, 0); /* explicitly of one that lives */
    (void)scene_mapping(&scene, api, live, 0);    /* explicitly of one that ended */
    scene_report(&scene, AT_EXIT);
    assert_leaked(&scene, 3, 2);
    scene_end(&scene);
}

static void a_part_is_counted_with_its_whole(void **state)
{
    struct scene scene;
    uint32_t whole, part, live_whole, ended_part;

    (void)state;
    scene_begin(&scene);
    whole = writer_owner(&scene.writer, LEDGER_OWNER_API, LEDGER_ENDED);
    part = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_ENDED);
    writer_owner_record(&scene.writer, part)->parent = whole;
    live_whole = writer_owner(&scene.writer, LEDGER_OWNER_API, LEDGER_LIVE);
    ended_part = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_ENDED);
    writer_owner_record(&scene.writer, ended_part)->parent = live_whole;
    writer_header(&scene.writer)->owners_begun[LEDGER_OWNER_KVM] = 0; /* parts are not counted */
    writer_header(&scene.writer)->owners_ended[LEDGER_OWNER_KVM] = 0;
    (void)scene_fd(&scene, 5, whole, 0);
    (void)scene_fd(&scene, 6, part, 0);
    (void)scene_fd(&scene, 7, ended_part, 0); /* its whole lives on */
    (void)scene_mapping(&scene, whole, part, 0);
    scene_report(&scene, AT_EXIT);
    assert_leaked(&scene, 3, 1);
    assert_int_equal(scene.report.owner_count, 2);
    assert_int_equal(scene.report.owners[0].id, 1);
    assert_string_equal(scene.report.owners[0].kind, "api");
    assert_int_equal(scene.report.owners[1].id, 3);
    assert_true(scene.report.owners[1].live);
    assert_int_equal(scene.report.owners_begun, 2);
    assert_int_equal(scene.report.owners_ended, 1);
    scene_end(&scene);
}

static void owners_that_are_parts_of_one_another_are_nobodys(void **state)
{
    struct scene scene;
    uint32_t one, two;

    (void)state;
    scene_begin(&scene);
    one = writer_owner(&scene.writer, LEDGER_OWNER_API, LEDGER_ENDED);
    two = writer_owner(&scene.writer, LEDGER_OWNER_API, LEDGER_ENDED);
    writer_owner_record(&scene.writer, one)->parent = two;
    writer_owner_record(&scene.writer, two)->parent = one;
    (void)scene_fd(&scene, 5, one, 0);
    (void)scene_fd(&scene, 6, 987654, 0); /* there is none of this number */
    scene_report(&scene, AT_EXIT);
    assert_leaked(&scene, 0, 0);
    assert_int_equal(scene.report.live.items[0].count, 2);
    scene_end(&scene);
}

static void what_sandboxes_share_is_only_held(void **state)
{
    struct scene scene;
    struct ledger_stack *stack;
    uint32_t owner;

    (void)state;
    scene_begin(&scene);
    owner = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_ENDED);
    (void)scene_mapping(&scene, owner, owner, LEDGER_SHARED);
    (void)scene_fd(&scene, 5, owner, LEDGER_TIED);
    stack = writer_record(&scene.writer, LEDGER_STACKS, scene.other_stack);
    stack->flags = LEDGER_STACK_REBINDS;
    scene_mapping(&scene, owner, owner, 0)->stack = scene.other_stack;
    scene_report(&scene, AT_EXIT);
    assert_leaked(&scene, 0, 0);
    assert_int_equal(scene.report.live.count, 3);
    scene_end(&scene);
}

static void an_anchor_may_outlive_its_sandbox_for_a_while(void **state)
{
    static const struct {
        enum ledger_fd_kind kind;
        unsigned flags;
        bool late;
        unsigned later;
        unsigned leaked;
    } cases[] = {
        {LEDGER_FD_PIDFD, 0, false, 0, 0},   {LEDGER_FD_PIDFD, 0, true, 0, 1},
        {LEDGER_FD_PIDFD, 0, false, 8, 1},   {LEDGER_FD_PIDFD, 0, false, 7, 0},
        {LEDGER_FD_SECCOMP, 0, false, 0, 0}, {LEDGER_FD_KVM_VM, 0, false, 0, 0},
        {LEDGER_FD_SOCKET, 0, false, 0, 1},  {LEDGER_FD_SOCKET, LEDGER_ANCHOR, false, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scene scene;
        uint32_t owner;

        scene_begin(&scene);
        owner = writer_owner(&scene.writer, LEDGER_OWNER_CHILD, LEDGER_ENDED);
        writer_owner_record(&scene.writer, owner)->ended_ns =
            cases[i].late ? scene.now_ns - SETTLE_NS : scene.now_ns - 1;
        scene_fd(&scene, 5, owner, cases[i].flags)->kind = (uint16_t)cases[i].kind;
        writer_ends(&scene.writer, LEDGER_OWNER_CHILD, cases[i].later);
        scene_report(&scene, AT_EXIT);
        assert_leaked(&scene, cases[i].leaked, cases[i].leaked);
        scene_end(&scene);
    }
}

static void once_one_anchor_of_a_stack_counts_all_of_them_do(void **state)
{
    struct scene scene;

    (void)state;
    scene_begin(&scene);
    for (uint32_t i = 0; i < 10; i++) {
        uint32_t owner = writer_owner(&scene.writer, LEDGER_OWNER_CHILD, LEDGER_ENDED);

        writer_owner_record(&scene.writer, owner)->ended_ns = scene.now_ns - 1;
        scene_fd(&scene, 10 + i, owner, 0)->kind = LEDGER_FD_PIDFD;
    }
    /* The last one of another stack has nobody to be compared with. */
    ((struct ledger_fd *)writer_record(&scene.writer, LEDGER_FDS, 19))->stack = scene.other_stack;
    scene_report(&scene, AT_EXIT);
    assert_leaked(&scene, 9, 9);
    scene_end(&scene);
}

static void circumstance_alone_needs_a_second_sandbox(void **state)
{
    static const unsigned doubtful[] = {LEDGER_SCOPED, LEDGER_GIVEN | LEDGER_ADOPTED};

    (void)state;
    for (size_t i = 0; i < sizeof doubtful / sizeof *doubtful; i++)
        for (unsigned sandboxes = 1; sandboxes <= 2; sandboxes++) {
            struct scene scene;

            scene_begin(&scene);
            for (uint32_t j = 0; j < 4; j++)
                if (j < sandboxes)
                    (void)writer_owner(&scene.writer, LEDGER_OWNER_SECCOMP, LEDGER_ENDED);
            for (uint32_t j = 0; j < 4; j++)
                (void)scene_fd(&scene, 10 + j, 1 + j % sandboxes, doubtful[i]);
            /* The same from elsewhere, by one of them only. */
            scene_fd(&scene, 20, 1, doubtful[i])->stack = scene.other_stack;
            scene_report(&scene, AT_EXIT);
            assert_leaked(&scene, sandboxes == 2 ? 4 : 0, sandboxes == 2 ? 2 : 0);
            scene_end(&scene);
        }
}

static void a_witness_has_the_same_name(void **state)
{
    static const char *const names[] = {"/memfd:cpuinfo", "/memfd:meminfo"};
    struct scene scene;

    (void)state;
    scene_begin(&scene);
    for (uint32_t i = 0; i < 2; i++)
        (void)writer_owner(&scene.writer, LEDGER_OWNER_SECCOMP, LEDGER_ENDED);
    (void)scene_fd(&scene, 10, 1, LEDGER_GIVEN | LEDGER_ADOPTED);
    (void)scene_fd(&scene, 11, 2, LEDGER_GIVEN | LEDGER_ADOPTED);
    scene.fd_names = names;
    scene_report(&scene, AT_EXIT);
    assert_leaked(&scene, 0, 0);
    assert_string_equal(scene.report.live.items[0].what, "memfd:cpuinfo");
    scene_end(&scene);
}

static void memory_taken_while_answering_needs_a_second_sandbox(void **state)
{
    (void)state;
    for (unsigned sandboxes = 1; sandboxes <= 2; sandboxes++) {
        struct scene scene;

        scene_begin(&scene);
        for (unsigned i = 0; i < sandboxes; i++)
            (void)scene_mapping(
                &scene, writer_owner(&scene.writer, LEDGER_OWNER_SECCOMP, LEDGER_ENDED), 0, 0);
        scene_report(&scene, AT_EXIT);
        assert_leaked(&scene, sandboxes == 2 ? 2 : 0, sandboxes == 2 ? 2 : 0);
        scene_end(&scene);
    }
}

static void what_a_living_sandbox_unbound_for_good_was_left_behind(void **state)
{
    static const struct {
        enum moment moment;
        uint64_t ago_ns;
        unsigned bindings;
        unsigned flags;
        bool unbound;
        unsigned leaked;
    } cases[] = {
        {RUNNING, 2 * SETTLE_NS, 0, 0, true, 1},
        {RUNNING, SETTLE_NS / 2, 0, 0, true, 0},
        {AT_EXIT, SETTLE_NS / 2, 0, 0, true, 1},
        {AT_EXIT, 2 * SETTLE_NS, LEDGER_BINDING, 0, true, 0}, /* rebound */
        {AT_EXIT, 2 * SETTLE_NS, 0, LEDGER_SHARED, true, 0},
        {AT_EXIT, 2 * SETTLE_NS, 0, 0, false, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scene scene;
        struct ledger_mapping *mapping;
        uint32_t vm;

        scene_begin(&scene);
        vm = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_LIVE);
        mapping = scene_mapping(&scene, 0, vm, cases[i].bindings | cases[i].flags);
        mapping->unbound_stack = cases[i].unbound ? scene.other_stack : 0;
        mapping->flight = (uint32_t)((scene.now_ns - cases[i].ago_ns) >> LEDGER_UNBOUND_SHIFT);
        /* Another was taken since, at the same place: so the first was forgotten. */
        mapping = scene_mapping(&scene, 0, vm, LEDGER_BINDING);
        mapping->since_ns = scene.now_ns;
        scene_report(&scene, cases[i].moment);
        assert_leaked(&scene, cases[i].leaked, cases[i].leaked);
        if (cases[i].leaked) {
            const struct report_finding *finding = &scene.report.findings.items[0];

            assert_non_null(finding->unbound_by);
            assert_int_equal(finding->unbound_by->frames[0].offset, 0x1ff);
            assert_int_equal(finding->released_count, 0);
        }
        scene_end(&scene);
    }
}

static void memory_whose_slot_may_return_is_held(void **state)
{
    (void)state;
    for (unsigned slices = 0; slices < 2; slices++) {
        struct scene scene;
        struct ledger_mapping *mapping;
        uint32_t vm;

        scene_begin(&scene);
        vm = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_LIVE);
        /* A device's ROM, taken with all others before the first slot went. */
        for (unsigned i = 0; i < 3; i++) {
            mapping = scene_mapping(&scene, 0, vm, slices ? LEDGER_SPLIT : 0);
            mapping->since_ns = scene.now_ns - 10 * SETTLE_NS + (slices ? i * SETTLE_NS : 0);
            mapping->unbound_stack = scene.other_stack;
            mapping->flight = (uint32_t)((scene.now_ns - 9 * SETTLE_NS) >> LEDGER_UNBOUND_SHIFT);
            mapping->ticket = slices ? 77 : mapping->ticket;
        }
        if (slices) { /* of one machine's memory: another part is still in use */
            mapping = scene_mapping(&scene, 0, vm, LEDGER_SPLIT | LEDGER_BINDING);
            mapping->ticket = 77;
        }
        scene_report(&scene, AT_EXIT);
        assert_leaked(&scene, 0, 0);
        scene_end(&scene);
    }
}

/* Taken in the tick of the clock in which the first slot went: the ledger knows which came first.
 */
static void within_one_tick_the_order_of_events_decides(void **state)
{
    (void)state;
    for (unsigned anew = 0; anew < 2; anew++) {
        struct scene scene;
        struct ledger_mapping *mapping;
        struct ledger_stack *stack;
        uint64_t then_ns;
        uint32_t vm;

        scene_begin(&scene);
        then_ns = scene.now_ns - 9 * SETTLE_NS;
        vm = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_LIVE);
        for (unsigned i = 0; i < 2; i++) {
            mapping = scene_mapping(&scene, 0, vm, 0);
            mapping->since_ns = then_ns;
            mapping->unbound_stack = scene.other_stack;
            mapping->flight = (uint32_t)(then_ns >> LEDGER_UNBOUND_SHIFT);
        }
        stack = writer_record(&scene.writer, LEDGER_STACKS, scene.stack);
        stack->flags |= anew ? LEDGER_STACK_ANEW : 0;
        scene_report(&scene, AT_EXIT);
        assert_leaked(&scene, anew ? 2 : 0, anew ? 1 : 0);
        scene_end(&scene);
    }
}

static void a_vms_end_within_a_longer_sandbox_is_no_unbinding(void **state)
{
    struct scene scene;
    struct ledger_mapping *mapping;
    uint32_t whole, vm;

    (void)state;
    scene_begin(&scene);
    whole = writer_owner(&scene.writer, LEDGER_OWNER_API, LEDGER_LIVE);
    vm = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_ENDED);
    writer_owner_record(&scene.writer, vm)->parent = whole;
    mapping = scene_mapping(&scene, whole, vm, 0);
    mapping->unbound_stack = scene.other_stack;
    scene_report(&scene, AT_EXIT);
    assert_leaked(&scene, 0, 0);
    scene_end(&scene);
}

static void a_child_that_is_gone_unreaped_has_ended(void **state)
{
    static uint64_t gone[] = {1};

    (void)state;
    for (unsigned moment = RUNNING; moment <= AT_EXIT; moment++) {
        struct scene scene;
        uint32_t child, other;

        scene_begin(&scene);
        child = writer_owner(&scene.writer, LEDGER_OWNER_CHILD, LEDGER_LIVE);
        other = writer_owner(&scene.writer, LEDGER_OWNER_CHILD, LEDGER_LIVE);
        (void)scene_fd(&scene, 5, child, 0);
        (void)scene_fd(&scene, 6, other, 0);
        scene.view.gone = gone;
        scene.view.gone_count = 1;
        scene_report(&scene, (enum moment)moment);
        /* That moment is when it ended: on a live process, it has not settled. */
        assert_leaked(&scene, moment == AT_EXIT, moment == AT_EXIT);
        assert_int_equal(scene.report.owners_ended, 1);
        assert_false(scene.report.owners[0].live);
        assert_true(scene.report.owners[1].live);
        scene.view.gone = NULL;
        scene_end(&scene);
    }
}

/* With SIGCHLD ignored no child is ever reaped, and its end has no time. Its pidfd may be closed
 * late, too. */
static void pidfds_of_children_gone_unreaped_count_after_eight_more(void **state)
{
    (void)state;
    for (unsigned children = 8; children <= 9; children++) {
        uint64_t gone[9];
        struct scene scene;

        scene_begin(&scene);
        for (uint32_t i = 0; i < children; i++) {
            uint32_t child = writer_owner(&scene.writer, LEDGER_OWNER_CHILD, LEDGER_LIVE);

            gone[i] = 1 + i;
            scene_fd(&scene, 10 + i, child, 0)->kind = LEDGER_FD_PIDFD;
        }
        scene.view.gone = gone;
        scene.view.gone_count = children;
        scene_report(&scene, AT_EXIT);
        /* Of one stack: once one counts, all do. */
        assert_leaked(&scene, children == 9 ? 9 : 0, children == 9 ? 9 : 0);
        scene.view.gone = NULL;
        scene_end(&scene);
    }
}

static void a_killed_processes_last_sandbox_had_no_time(void **state)
{
    struct scene scene;
    struct ledger_header *header;
    uint32_t late, early;

    (void)state;
    scene_begin(&scene);
    early = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_ENDED);
    late = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_ENDED);
    header = writer_header(&scene.writer);
    header->process_state = LEDGER_PROCESS_RUNNING;
    header->end_ns = 0;
    writer_outside(&scene.writer)->ended = LEDGER_ENDED_SIGNAL;
    writer_outside(&scene.writer)->status = 9;
    writer_outside(&scene.writer)->end_ns = header->start_ns + 10 * SETTLE_NS;
    writer_owner_record(&scene.writer, late)->ended_ns = WRITER_START_NS + 10 * SETTLE_NS - 1;
    (void)scene_fd(&scene, 5, early, 0);
    (void)scene_fd(&scene, 6, late, 0);
    {
        struct failure failure = {0};
        int fd = writer_open(&scene.writer);

        scene.reader = reader_open_fd(fd, "L", &failure);
        close(fd);
        scene.symbols = symbols_new();
        assert_true(report_build(&scene.report, scene.reader, NULL, scene.symbols, NULL, &failure));
    }
    assert_leaked(&scene, 1, 1);
    assert_false(scene.report.findings.items[0].verified);
    scene_end(&scene);
}

static void the_summary_counts_one_that_lives_on_as_well(void **state)
{
    struct write_options options = {0};
    struct scene scene;
    char *text = NULL;
    size_t length = 0;
    uint32_t vm;
    FILE *out;

    (void)state;
    scene_begin(&scene);
    vm = writer_owner(&scene.writer, LEDGER_OWNER_KVM, LEDGER_LIVE);
    scene_mapping(&scene, 0, vm, 0)->unbound_stack = scene.other_stack;
    scene_report(&scene, AT_EXIT);
    out = open_memstream(&text, &length);
    text_write_report(out, &scene.report, &options, true);
    (void)fclose(out);
    assert_non_null(strstr(text, "slot deleted at:"));
    assert_non_null(strstr(text, "SUMMARY: boxledger: 1 mapping (4 KiB) left behind by 1 of 1 "
                                 "sandbox\n"));
    free(text);
    scene_end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_an_ended_sandbox_holds_at_the_exit_was_left_behind),
        cmocka_unit_test(on_a_live_process_an_end_takes_its_time_to_settle),
        cmocka_unit_test(above_half_of_a_limit_later_ends_of_its_kind_settle_it),
        cmocka_unit_test(what_ended_since_a_live_process_was_looked_at_is_not_accused),
        cmocka_unit_test(the_order_of_ends_may_wrap),
        cmocka_unit_test(an_end_that_the_header_has_not_counted_yet_has_not_settled),
        cmocka_unit_test(a_mapping_is_its_slots_unless_the_supervisor_said_whose),
        cmocka_unit_test(a_part_is_counted_with_its_whole),
        cmocka_unit_test(owners_that_are_parts_of_one_another_are_nobodys),
        cmocka_unit_test(what_sandboxes_share_is_only_held),
        cmocka_unit_test(an_anchor_may_outlive_its_sandbox_for_a_while),
        cmocka_unit_test(once_one_anchor_of_a_stack_counts_all_of_them_do),
        cmocka_unit_test(circumstance_alone_needs_a_second_sandbox),
        cmocka_unit_test(a_witness_has_the_same_name),
        cmocka_unit_test(memory_taken_while_answering_needs_a_second_sandbox),
        cmocka_unit_test(what_a_living_sandbox_unbound_for_good_was_left_behind),
        cmocka_unit_test(memory_whose_slot_may_return_is_held),
        cmocka_unit_test(within_one_tick_the_order_of_events_decides),
        cmocka_unit_test(a_vms_end_within_a_longer_sandbox_is_no_unbinding),
        cmocka_unit_test(a_child_that_is_gone_unreaped_has_ended),
        cmocka_unit_test(pidfds_of_children_gone_unreaped_count_after_eight_more),
        cmocka_unit_test(a_killed_processes_last_sandbox_had_no_time),
        cmocka_unit_test(the_summary_counts_one_that_lives_on_as_well),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
