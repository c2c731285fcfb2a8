/*
 * test_kernel.c: the kernel's view of a process (here, of this one), and its way through an annex.
 */
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ledger_writer.h"
#include "report/census.h"
#include "report/kernel.h"

static void the_own_process_is_seen_as_it_is(void **state)
{
    int fd = memfd_create("seen from outside", MFD_CLOEXEC);
    char *pages = mmap(NULL, 3 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct kernel_view view = {0};
    const struct kernel_fd *found;
    size_t range;

    (void)state;
    assert_int_equal(munmap(pages + 4096, 4096), 0);
    kernel_look(&view, getpid());
    assert_true(view.fds_known);
    assert_true(view.ranges_known);
    assert_int_equal(view.vmas, view.range_count);
    assert_true(view.max_fds > 0);
    assert_true(view.max_map_count > 0);
    found = kernel_find_fd(&view, (uint32_t)fd);
    assert_non_null(found);
    assert_string_equal(found->name, "/memfd:seen from outside"); /* without " (deleted)" */
    assert_null(kernel_find_fd(&view, 987654));
    range = kernel_find_range(&view, (uintptr_t)pages);
    assert_true(view.ranges[range].start <= (uintptr_t)pages);
    assert_int_equal(view.ranges[range].end, (uintptr_t)pages + 4096);
    assert_int_equal(view.ranges[range + 1].start, (uintptr_t)pages + 2 * 4096);
    assert_int_equal(kernel_find_range(&view, UINT64_MAX), view.range_count);
    kernel_view_free(&view);
    close(fd);
    (void)munmap(pages, 4096);
    (void)munmap(pages + 2 * 4096, 4096);
}

static void a_process_that_is_gone_is_unknown_not_empty(void **state)
{
    struct kernel_view view = {0};
    pid_t child = fork();

    (void)state;
    if (child == 0)
        _exit(0);
    /* A zombie, still in /proc, with no descriptors and no memory. */
    assert_int_equal(waitid(P_PID, (id_t)child, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
    kernel_look(&view, child);
    assert_false(view.fds_known);
    assert_false(view.ranges_known);
    assert_int_equal(waitpid(child, NULL, 0), child);
    kernel_look(&view, child);
    assert_false(view.fds_known);
    assert_false(view.ranges_known);
    kernel_view_free(&view);
}

static void an_annex_says_what_was_packed(void **state)
{
    struct kernel_series series = {.what = (char[]){"eventfd"}, .count = 3};
    struct kernel_view view = {0}, copy = {0};
    struct failure failure = {0};
    unsigned char *bytes;
    size_t size;

    (void)state;
    series.growth.stride = 77;
    kernel_look(&view, getpid());
    kernel_sample_threads(&view, getpid());
    view.gone = (uint64_t[]){4, 9};
    view.gone_count = 2;
    view.series = &series;
    view.series_count = 1;
    bytes = kernel_view_pack(&view, &size);
    view.gone = NULL;
    view.series = NULL;
    view.gone_count = view.series_count = 0;
    assert_true(kernel_view_unpack(&copy, bytes, size, &failure));
    assert_int_equal(copy.fd_count, view.fd_count);
    assert_int_equal(copy.range_count, view.range_count);
    assert_int_equal(copy.vmas, view.vmas);
    assert_int_equal(copy.taken_ns, view.taken_ns);
    for (size_t i = 0; i < view.fd_count; i++) {
        assert_int_equal(copy.fds[i].fd, view.fds[i].fd);
        if (view.fds[i].name)
            assert_string_equal(copy.fds[i].name, view.fds[i].name);
    }
    for (size_t i = 0; i < view.range_count; i++) {
        assert_int_equal(copy.ranges[i].start, view.ranges[i].start);
        assert_int_equal(copy.ranges[i].end, view.ranges[i].end);
        if (view.ranges[i].name)
            assert_string_equal(copy.ranges[i].name, view.ranges[i].name);
        else
            assert_null(copy.ranges[i].name);
    }
    assert_true(kernel_owner_is_gone(&copy, 9));
    assert_false(kernel_owner_is_gone(&copy, 5));
    assert_string_equal(kernel_find_thread(&copy, (uint32_t)getpid()),
                        kernel_find_thread(&view, (uint32_t)getpid()));
    assert_string_equal(copy.series[0].what, "eventfd");
    assert_int_equal(copy.series[0].count, 3);
    assert_int_equal(copy.series[0].growth.stride, 77);
    free(bytes);
    kernel_view_free(&copy);
    kernel_view_free(&view);
}

static void a_damaged_annex_is_refused_or_harmless(void **state)
{
    struct kernel_view view = {0};
    struct failure failure = {0};
    unsigned char *bytes;
    size_t size;

    (void)state;
    kernel_look(&view, getpid());
    bytes = kernel_view_pack(&view, &size);
    for (size_t cut = 0; cut < size; cut++) {
        struct kernel_view copy = {0};

        assert_false(kernel_view_unpack(&copy, bytes, cut, &failure));
        kernel_view_free(&copy);
    }
    for (size_t at = 0; at < size; at++) {
        struct kernel_view copy = {0};
        size_t length = 0;

        bytes[at] ^= 0xff;
        if (kernel_view_unpack(&copy, bytes, size, &failure))
            for (size_t i = 0; i < copy.fd_count; i++)
                length += copy.fds[i].name ? strlen(copy.fds[i].name) : 0;
        assert_true(length <= size * size);
        kernel_view_free(&copy);
        bytes[at] ^= 0xff;
    }
    free(bytes);
    kernel_view_free(&view);
}

static void an_annex_out_of_order_is_refused(void **state)
{
    struct kernel_fd fds[] = {{5, NULL}, {5, NULL}};
    struct kernel_range ranges[] = {{4096, 12288, 0, NULL}, {8192, 16384, 0, NULL}};
    struct kernel_view view = {.fds = fds, .fd_count = 2};
    struct failure failure = {0};

    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        struct kernel_view copy = {0};
        unsigned char *bytes;
        size_t size;

        bytes = kernel_view_pack(&view, &size);
        assert_false(kernel_view_unpack(&copy, bytes, size, &failure));
        kernel_view_free(&copy);
        free(bytes);
        view = (struct kernel_view){.ranges = ranges, .range_count = 2};
    }
}

static void names_of_adopted_descriptors_are_noted_while_they_are_theirs(void **state)
{
    int fd = memfd_create("adopted", MFD_CLOEXEC), ledger;
    struct ledger_writer writer;
    struct kernel_view view = {0};
    struct ledger_fd *record, other;

    (void)state;
    writer_begin(&writer);
    record = writer_fd(&writer, (uint32_t)fd, LEDGER_FD_UNKNOWN, 1);
    record->flags = LEDGER_ADOPTED;
    (void)writer_fd(&writer, 1, LEDGER_FD_FILE, 1); /* not adopted: not asked about */
    ledger = writer_open(&writer);
    assert_int_equal(kernel_sample_names(&view, getpid(), ledger), 1);
    assert_int_equal(kernel_sample_names(&view, getpid(), ledger), 0); /* known by now */
    assert_int_equal(view.name_count, 1);
    record = writer_record(&writer, LEDGER_FDS, (uint32_t)fd);
    assert_string_equal(kernel_find_name(&view, (uint32_t)fd, record), "/memfd:adopted");
    /* The number was handed out again: another record, another thing. */
    other = *record;
    other.since_ns++;
    assert_null(kernel_find_name(&view, (uint32_t)fd, &other));
    other = *record;
    other.stack++;
    assert_null(kernel_find_name(&view, (uint32_t)fd, &other));
    close(ledger);
    /* What is no longer held is forgotten, however long the process lives. */
    record->state = LEDGER_EMPTY;
    ledger = writer_open(&writer);
    assert_int_equal(kernel_sample_names(&view, getpid(), ledger), 0);
    assert_int_equal(view.name_count, 0);
    close(ledger);
    close(fd);
    kernel_view_free(&view);
    writer_end(&writer);
}

/* Its lists then end in the middle, as if that were their end. */
static void a_process_that_dies_while_it_is_looked_at_is_unknown(void **state)
{
    enum { ROUNDS = 24, DESCRIPTORS = 800 };
    unsigned whole = 0, unknown = 0;

    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct kernel_view view = {0};
        int ends[2];
        char byte;
        pid_t child, killer;

        assert_int_equal(pipe(ends), 0);
        child = fork();
        if (child == 0) {
            for (unsigned i = 0; i < DESCRIPTORS; i++)
                (void)dup(ends[0]);
            (void)write(ends[1], "x", 1);
            (void)pause();
            _exit(0);
        }
        assert_int_equal(read(ends[0], &byte, 1), 1);
        killer = fork();
        if (killer == 0) {
            (void)usleep(100 * round);
            _exit(kill(child, SIGKILL) != 0);
        }
        kernel_look(&view, child);
        if (view.fds_known)
            assert_in_range(view.fd_count, DESCRIPTORS, UINT32_MAX);
        if (view.ranges_known)
            assert_in_range(view.range_count, 5, UINT32_MAX);
        whole += view.fds_known && view.ranges_known;
        unknown += !view.fds_known && !view.ranges_known;
        kernel_view_free(&view);
        assert_int_equal(waitpid(killer, NULL, 0), killer);
        assert_int_equal(waitpid(child, NULL, 0), child);
        close(ends[0]);
        close(ends[1]);
    }
    assert_int_equal(whole + unknown, ROUNDS); /* both lists or none */
}

static void a_child_that_is_gone_unreaped_is_noticed(void **state)
{
    enum { LIVES, ZOMBIE, REAPED, OTHERS, NO_CHILD, COUNT };
    struct ledger_writer writer;
    struct kernel_view view = {0};
    pid_t pids[COUNT];
    int ledger;

    (void)state;
    writer_begin(&writer);
    writer_header(&writer)->pid = (uint32_t)getpid();
    for (unsigned i = 0; i < COUNT; i++) {
        uint32_t kind = i == NO_CHILD ? LEDGER_OWNER_KVM : LEDGER_OWNER_CHILD;

        pids[i] = i == OTHERS ? 1 : fork();
        if (pids[i] == 0) {
            if (i == LIVES)
                (void)pause();
            _exit(0);
        }
        if (i == ZOMBIE)
            assert_int_equal(waitid(P_PID, (id_t)pids[i], &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
        if (i == REAPED || i == NO_CHILD)
            assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
        writer_owner_record(&writer, writer_owner(&writer, kind, LEDGER_LIVE))->pid =
            (uint32_t)pids[i];
    }
    ledger = writer_open(&writer);
    kernel_look_at_owners(&view, getpid(), ledger);
    assert_int_equal(view.gone_count, 2);
    assert_true(kernel_owner_is_gone(&view, 1 + REAPED));
    assert_true(kernel_owner_is_gone(&view, 1 + OTHERS)); /* the number is another process's */
    assert_false(kernel_owner_is_gone(&view, 1 + LIVES));
    /* In another pid namespace, the numbers say nothing. */
    close(ledger);
    writer_header(&writer)->pid++;
    ledger = writer_open(&writer);
    kernel_look_at_owners(&view, getpid(), ledger);
    assert_int_equal(view.gone_count, 0);
    assert_int_equal(kill(pids[LIVES], SIGKILL), 0);
    assert_int_equal(waitpid(pids[LIVES], NULL, 0), pids[LIVES]);
    assert_int_equal(waitpid(pids[ZOMBIE], NULL, 0), pids[ZOMBIE]);
    close(ledger);
    kernel_view_free(&view);
    writer_end(&writer);
}

static void a_thread_keeps_the_name_that_it_had(void **state)
{
    struct kernel_view view = {0};
    char before[16];

    (void)state;
    assert_int_equal(prctl(PR_GET_NAME, before), 0);
    assert_int_equal(prctl(PR_SET_NAME, "one of many"), 0);
    kernel_sample_threads(&view, getpid());
    assert_string_equal(kernel_find_thread(&view, (uint32_t)getpid()), "one of many");
    assert_int_equal(prctl(PR_SET_NAME, "another"), 0);
    kernel_sample_threads(&view, getpid());
    assert_string_equal(kernel_find_thread(&view, (uint32_t)getpid()), "another");
    kernel_sample_threads(&view, INT_MAX); /* gone: what was noted stays */
    assert_string_equal(kernel_find_thread(&view, (uint32_t)getpid()), "another");
    assert_null(kernel_find_thread(&view, 1));
    assert_int_equal(prctl(PR_SET_NAME, before), 0);
    kernel_view_free(&view);
}

/* What the ledger knows is not counted; what it does not is, over the epochs. */
static void what_was_never_seen_is_counted_by_its_name(void **state)
{
    int known = memfd_create("known", MFD_CLOEXEC), ledger;
    struct kernel_view view = {0};
    struct ledger_writer writer;
    struct kernel_series *series;
    int unseen[40];

    (void)state;
    writer_begin(&writer);
    (void)writer_fd(&writer, (uint32_t)known, LEDGER_FD_MEMFD, 1);
    for (unsigned i = 0; i < 40; i++) {
        unseen[i] = memfd_create("unseen", MFD_CLOEXEC);
        writer_header(&writer)->epoch++;
        ledger = writer_open(&writer);
        census_take(&view, getpid(), ledger);
        close(ledger);
    }
    assert_null(census_find(&view, "memfd:known"));
    series = census_find(&view, "memfd:unseen");
    assert_non_null(series);
    assert_int_equal(series->count, 40);
    assert_int_equal(series->growth.first, 1);
    assert_int_equal(series->growth.noted, 40);
    assert_int_equal(series->growth.stride, 4);
    for (unsigned i = 0; i < 9; i++)
        assert_int_equal(series->growth.interval[i].low, 4 * i + 1);
    for (unsigned i = 0; i < 40; i++)
        close(unseen[i]);
    ledger = writer_open(&writer);
    census_take(&view, getpid(), ledger);
    assert_int_equal(census_find(&view, "memfd:unseen")->count, 0);
    close(ledger);
    close(known);
    kernel_view_free(&view);
    writer_end(&writer);
}

static void a_ledgers_process_is_known_by_its_mapping(void **state)
{
    struct ledger_writer writer;
    void *mapped;
    int fd;

    (void)state;
    writer_begin(&writer);
    fd = writer_open(&writer);
    assert_false(kernel_maps_file(getpid(), fd));
    mapped = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(mapped, MAP_FAILED);
    assert_true(kernel_maps_file(getpid(), fd));
    assert_false(kernel_maps_file(getppid(), fd));
    (void)munmap(mapped, 4096);
    close(fd);
    writer_end(&writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_own_process_is_seen_as_it_is),
        cmocka_unit_test(a_process_that_is_gone_is_unknown_not_empty),
        cmocka_unit_test(an_annex_says_what_was_packed),
        cmocka_unit_test(a_damaged_annex_is_refused_or_harmless),
        cmocka_unit_test(an_annex_out_of_order_is_refused),
        cmocka_unit_test(names_of_adopted_descriptors_are_noted_while_they_are_theirs),
        cmocka_unit_test(a_process_that_dies_while_it_is_looked_at_is_unknown),
        cmocka_unit_test(a_child_that_is_gone_unreaped_is_noticed),
        cmocka_unit_test(a_thread_keeps_the_name_that_it_had),
        cmocka_unit_test(what_was_never_seen_is_counted_by_its_name),
        cmocka_unit_test(a_ledgers_process_is_known_by_its_mapping),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
