/*
 * test_verify.c: what the kernel denies is not reported, whatever the ledger claims; what it could
 * not be asked about says so. Views are made up here: no process is looked at.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ledger_writer.h"
#include "report/verify.h"

#define BASE UINT64_C(0x7f0000000000)
#define LATER UINT64_C(1000000000000)

struct scene {
    struct ledger_writer writer;
    struct kernel_fd fds[16];
    struct kernel_range ranges[16];
    struct kernel_view view;
    struct reader *reader;
    struct verify verify;
};

static void scene_begin(struct scene *scene)
{
    memset(scene, 0, sizeof *scene);
    writer_begin(&scene->writer);
    scene->view = (struct kernel_view){.fds_known = true,
                                       .ranges_known = true,
                                       .taken_ns = LATER,
                                       .fds = scene->fds,
                                       .ranges = scene->ranges};
}

static void scene_fd(struct scene *scene, uint32_t fd, const char *name)
{
    scene->fds[scene->view.fd_count++] = (struct kernel_fd){fd, name};
}

static void scene_range(struct scene *scene, uint64_t start, uint64_t end, uint64_t inode,
                        const char *name)
{
    scene->ranges[scene->view.range_count++] = (struct kernel_range){start, end, inode, name};
}

static void scene_verify(struct scene *scene, bool with_view)
{
    struct failure failure = {0};
    int fd = writer_open(&scene->writer);

    scene->reader = reader_open_fd(fd, "L", &failure);
    close(fd);
    assert_non_null(scene->reader);
    verify_ledger(&scene->verify, scene->reader, with_view ? &scene->view : NULL);
}

static void scene_end(struct scene *scene)
{
    verify_free(&scene->verify);
    reader_close(scene->reader);
    writer_end(&scene->writer);
}

static void a_descriptor_that_the_kernel_does_not_have_is_gone(void **state)
{
    struct scene scene;

    (void)state;
    scene_begin(&scene);
    writer_fd(&scene.writer, 5, LEDGER_FD_FILE, 0);
    writer_fd(&scene.writer, 6, LEDGER_FD_FILE, 0);
    scene_fd(&scene, 6, "/etc/passwd");
    scene_verify(&scene, true);
    assert_int_equal(scene.verify.count, 1);
    assert_int_equal(scene.verify.held[0].index, 6);
    assert_true(scene.verify.held[0].verified);
    assert_int_equal(scene.verify.gone_fds, 1);
    scene_end(&scene);
}

static void a_number_that_is_now_something_else_was_released_unseen(void **state)
{
    struct scene scene;

    (void)state;
    scene_begin(&scene);
    writer_fd(&scene.writer, 5, LEDGER_FD_MEMFD, 0);
    writer_fd(&scene.writer, 6, LEDGER_FD_EVENTFD, 0);
    writer_fd(&scene.writer, 7, LEDGER_FD_FILE, 0);
    scene_fd(&scene, 5, "socket:[77]");
    scene_fd(&scene, 6, "anon_inode:[eventfd]");
    scene_fd(&scene, 7, "/memfd:x"); /* by way of /proc/self/fd: can be */
    scene_verify(&scene, true);
    assert_int_equal(scene.verify.count, 2);
    assert_int_equal(scene.verify.gone_fds, 1);
    assert_int_equal(scene.verify.unseen_fds, 1); /* that socket */
    scene_end(&scene);
}

static void what_the_ledger_never_saw_is_counted(void **state)
{
    struct scene scene;

    (void)state;
    scene_begin(&scene);
    writer_fd(&scene.writer, 5, LEDGER_FD_FILE, 0);
    scene_fd(&scene, 5, "/x");
    scene_fd(&scene, 9, "/y");
    scene_fd(&scene, 100000, "/z");
    scene_verify(&scene, true);
    assert_int_equal(scene.verify.count, 1);
    assert_int_equal(scene.verify.unseen_fds, 2);
    scene_end(&scene);
}

static void a_release_in_flight_is_for_the_kernel_to_say(void **state)
{
    struct scene scene;

    (void)state;
    scene_begin(&scene);
    writer_fd(&scene.writer, 5, LEDGER_FD_FILE, 0)->state = LEDGER_IN_FLIGHT;
    writer_mapping(&scene.writer, BASE, 4096, 0)->state = LEDGER_IN_FLIGHT;
    scene_fd(&scene, 5, "/x");
    scene_range(&scene, BASE, BASE + 4096, 0, NULL);
    scene_verify(&scene, true);
    assert_int_equal(scene.verify.count, 2);
    verify_free(&scene.verify);
    /* Nobody to ask: its release had begun, so it is not reported. */
    verify_ledger(&scene.verify, scene.reader, NULL);
    assert_int_equal(scene.verify.count, 0);
    scene_end(&scene);
}

static void without_the_kernel_nothing_is_verified(void **state)
{
    struct scene scene;

    (void)state;
    scene_begin(&scene);
    writer_fd(&scene.writer, 5, LEDGER_FD_FILE, 0);
    writer_mapping(&scene.writer, BASE, 4096, 0);
    scene_verify(&scene, false);
    assert_int_equal(scene.verify.count, 2);
    assert_false(scene.verify.held[0].verified);
    assert_false(scene.verify.held[1].verified);
    assert_int_equal(scene.verify.unseen_fds, 0);
    scene_end(&scene);
}

static void what_came_after_the_look_is_held_but_not_verified(void **state)
{
    struct scene scene;

    (void)state;
    scene_begin(&scene);
    writer_fd(&scene.writer, 5, LEDGER_FD_FILE, 0)->since_ns = LATER + 1;
    writer_mapping(&scene.writer, BASE, 4096, 0)->since_ns = LATER + 1;
    scene_verify(&scene, true);
    assert_int_equal(scene.verify.count, 2);
    assert_false(scene.verify.held[0].verified);
    assert_false(scene.verify.held[1].verified);
    scene_end(&scene);
}

static void a_range_is_trimmed_to_what_is_left_of_it(void **state)
{
    struct scene scene;

    (void)state;
    scene_begin(&scene);
    writer_mapping(&scene.writer, BASE, 10 * 4096, 0);             /* whole, over two VMAs */
    writer_mapping(&scene.writer, BASE + 20 * 4096, 10 * 4096, 0); /* a hole, and an end */
    writer_mapping(&scene.writer, BASE + 40 * 4096, 4096, 0);      /* gone */
    scene_range(&scene, BASE - 4096, BASE + 4 * 4096, 0, NULL);
    scene_range(&scene, BASE + 4 * 4096, BASE + 11 * 4096, 0, NULL);
    scene_range(&scene, BASE + 20 * 4096, BASE + 22 * 4096, 0, NULL);
    scene_range(&scene, BASE + 25 * 4096, BASE + 28 * 4096, 0, NULL);
    scene_verify(&scene, true);
    assert_int_equal(scene.verify.count, 2);
    assert_int_equal(scene.verify.held[0].bytes, 10 * 4096);
    assert_int_equal(scene.verify.held[1].bytes, 5 * 4096);
    assert_int_equal(scene.verify.gone_mappings, 1);
    scene_end(&scene);
}

static void memory_that_is_now_a_file_was_released_unseen(void **state)
{
    struct scene scene;

    (void)state;
    scene_begin(&scene);
    writer_mapping(&scene.writer, BASE, 4096, 0);
    writer_mapping(&scene.writer, BASE + 8192, 4096, 0)->flags = LEDGER_FILE_MAP;
    writer_mapping(&scene.writer, BASE + 16384, 4096, 0)->flags = LEDGER_SHARED_MAP;
    writer_mapping(&scene.writer, BASE + 32768, 4096, 0)->flags = LEDGER_FILE_MAP;
    scene_range(&scene, BASE, BASE + 4096, 99, "/lib/x.so");         /* dlopen's, by now */
    scene_range(&scene, BASE + 8192, BASE + 12288, 0, NULL);         /* no file any more */
    scene_range(&scene, BASE + 16384, BASE + 20480, 7, "/dev/zero"); /* shared memory is a file */
    scene_range(&scene, BASE + 32768, BASE + 36864, 5, "/data");
    scene_verify(&scene, true);
    assert_int_equal(scene.verify.gone_mappings, 2);
    assert_int_equal(scene.verify.count, 2);
    assert_int_equal(scene.verify.held[0].mapping->start, BASE + 16384);
    assert_int_equal(scene.verify.held[1].mapping->start, BASE + 32768);
    scene_end(&scene);
}

static void a_killed_processes_descriptors_keep_their_sampled_names(void **state)
{
    struct scene scene;
    struct ledger_fd *record;
    struct kernel_name name = {.fd = 5, .stack = 3, .since_ns = 11, .name = (char[]){"/memfd:cpu"}};

    (void)state;
    scene_begin(&scene);
    record = writer_fd(&scene.writer, 5, LEDGER_FD_UNKNOWN, 3);
    record->flags = LEDGER_ADOPTED;
    record->since_ns = 11;
    scene.view.fds_known = scene.view.ranges_known = false;
    scene.view.names = &name;
    scene.view.name_count = 1;
    scene_verify(&scene, true);
    assert_int_equal(scene.verify.count, 1);
    assert_false(scene.verify.held[0].verified);
    assert_string_equal(scene.verify.held[0].name, "/memfd:cpu");
    scene_end(&scene);
}

static void what_stands_for_a_reclaimed_number_is_neither_gone_nor_unseen(void **state)
{
    struct scene scene;
    struct ledger_mapping *mapping;

    (void)state;
    scene_begin(&scene);
    writer_fd(&scene.writer, 5, LEDGER_FD_RECLAIMED, 0);
    writer_fd(&scene.writer, 6, LEDGER_FD_RECLAIMED, 0);
    scene_fd(&scene, 5, "/memfd:boxledger:reclaimed");
    scene_fd(&scene, 6, "/etc/passwd"); /* somebody has replaced it unseen */
    mapping = writer_mapping(&scene.writer, BASE, 4096, 0);
    mapping->flags |= LEDGER_KEPT;
    mapping = writer_mapping(&scene.writer, BASE + 8192, 4096, 0);
    mapping->flags |= LEDGER_KEPT;
    scene_range(&scene, BASE, BASE + 4096, 17, "/memfd:boxledger:reclaimed");
    scene_range(&scene, BASE + 8192, BASE + 12288, 18, "/etc/passwd");
    scene_verify(&scene, true);
    assert_int_equal(scene.verify.count, 2);
    assert_int_equal(scene.verify.held[0].index, 5);
    assert_true(verify_is_kept(&scene.verify.held[0]));
    assert_int_equal(scene.verify.held[1].mapping->start, BASE);
    assert_true(verify_is_kept(&scene.verify.held[1]));
    assert_int_equal(scene.verify.unseen_fds, 1);
    assert_int_equal(scene.verify.unseen[0]->fd, 6);
    scene_end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_descriptor_that_the_kernel_does_not_have_is_gone),
        cmocka_unit_test(a_number_that_is_now_something_else_was_released_unseen),
        cmocka_unit_test(what_the_ledger_never_saw_is_counted),
        cmocka_unit_test(a_release_in_flight_is_for_the_kernel_to_say),
        cmocka_unit_test(without_the_kernel_nothing_is_verified),
        cmocka_unit_test(what_came_after_the_look_is_held_but_not_verified),
        cmocka_unit_test(a_range_is_trimmed_to_what_is_left_of_it),
        cmocka_unit_test(memory_that_is_now_a_file_was_released_unseen),
        cmocka_unit_test(a_killed_processes_descriptors_keep_their_sampled_names),
        cmocka_unit_test(what_stands_for_a_reclaimed_number_is_neither_gone_nor_unseen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
