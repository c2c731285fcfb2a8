/*
 * test_reader.c: good ledgers are read whole, and of a bad one the reader says in one line what is
 * wrong. It never runs the shim: ledgers are written by ledger_writer.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ledger_writer.h"
#include "report/reader.h"

static struct reader *read_ledger(const struct ledger_writer *writer, struct failure *failure)
{
    int fd = writer_open(writer);
    struct reader *reader = reader_open_fd(fd, "L", failure);

    close(fd);
    return reader;
}

static void assert_refused(const struct ledger_writer *writer, const char *why)
{
    struct failure failure = {0};
    struct reader *reader = read_ledger(writer, &failure);

    assert_null(reader);
    if (!strstr(failure.text, why))
        fail_msg("\"%s\" does not say \"%s\"", failure.text, why);
    assert_null(strchr(failure.text, '\n'));
    assert_int_equal(strncmp(failure.text, "L: ", 3), 0);
}

static void an_empty_ledger_is_read(void **state)
{
    struct ledger_writer writer;
    struct failure failure = {0};
    struct reader *reader;

    (void)state;
    writer_begin(&writer);
    reader = read_ledger(&writer, &failure);
    assert_non_null(reader);
    assert_string_equal(reader_string(reader, reader->header.exe), "/usr/bin/supervisor");
    assert_null(reader_record(reader, LEDGER_FDS, 0));
    reader_close(reader);
    writer_end(&writer);
}

static void records_beyond_the_base_are_found_in_their_chunks(void **state)
{
    struct ledger_writer writer;
    struct failure failure = {0};
    struct reader *reader;
    const uint32_t fds[] = {0, 1023, 1024, 70000, 200000};

    (void)state;
    writer_begin(&writer);
    for (uint32_t i = 0; i < 40000; i++)
        writer_mapping(&writer, 0x10000 + i * UINT64_C(8192), 4096, 0);
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        writer_fd(&writer, fds[i], LEDGER_FD_FILE, 0);
    reader = read_ledger(&writer, &failure);
    assert_non_null(reader);
    for (uint32_t i = 0; i < 40000; i++) {
        const struct ledger_mapping *mapping = reader_record(reader, LEDGER_MAPPINGS, i + 1);

        assert_non_null(mapping);
        assert_int_equal(mapping->start, 0x10000 + i * UINT64_C(8192));
    }
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        const struct ledger_fd *fd = reader_record(reader, LEDGER_FDS, fds[i]);

        assert_non_null(fd);
        assert_int_equal(fd->state, LEDGER_LIVE);
    }
    /* Chunks that were never needed are holes. */
    assert_int_equal(((const struct ledger_fd *)reader_record(reader, LEDGER_FDS, 150000))->state,
                     LEDGER_EMPTY);
    assert_null(reader_record(reader, LEDGER_FDS, 200001));
    reader_close(reader);
    writer_end(&writer);
}

static void a_string_may_cross_from_the_base_into_a_chunk(void **state)
{
    struct ledger_writer writer;
    struct failure failure = {0};
    struct reader *reader;
    uint32_t string;
    char *end;

    (void)state;
    writer_begin(&writer);
    end = writer_record(&writer, LEDGER_STRINGS, LEDGER_STRINGS_IN_BASE - 4);
    *end = '\0';
    string = writer_string(&writer, "crosses over");
    assert_int_equal(string, LEDGER_STRINGS_IN_BASE - 3);
    reader = read_ledger(&writer, &failure);
    assert_non_null(reader);
    assert_string_equal(reader_string(reader, string), "crosses over");
    reader_close(reader);
    writer_end(&writer);
}

static void indices_that_lead_nowhere_mean_nothing(void **state)
{
    struct ledger_writer writer;
    struct failure failure = {0};
    const uint64_t *frames;
    struct reader *reader;
    unsigned count;
    uint32_t stack, endless;

    (void)state;
    writer_begin(&writer);
    stack = writer_stack(&writer, (const uint64_t[]){0x1000, 0x2000, 0});
    ((struct ledger_stack *)writer_record(&writer, LEDGER_STACKS, stack))->frames = 60;
    endless = writer_stack(&writer, (const uint64_t[]){0x1000, 0});
    ((struct ledger_stack *)writer_record(&writer, LEDGER_STACKS, endless))->first_frame =
        UINT32_MAX;
    *(char *)writer_record(&writer, LEDGER_STRINGS, 500) = 'x'; /* no end */
    reader = read_ledger(&writer, &failure);
    assert_non_null(reader);
    assert_null(reader_stack(reader, stack, &frames, &count));
    assert_null(reader_stack(reader, endless, &frames, &count));
    assert_null(reader_stack(reader, 0, &frames, &count));
    assert_null(reader_stack(reader, UINT32_MAX, &frames, &count));
    assert_string_equal(reader_string(reader, 500), "");
    assert_string_equal(reader_string(reader, UINT32_MAX), "");
    reader_close(reader);
    writer_end(&writer);
}

static void a_foreign_file_is_refused(void **state)
{
    struct ledger_writer writer;

    (void)state;
    writer_begin(&writer);
    writer_header(&writer)->magic[7] = 'X';
    assert_refused(&writer, "not a ledger");
    writer.size = 0;
    assert_refused(&writer, "not a ledger");
    writer.size = 5;
    assert_refused(&writer, "not a ledger");
    writer_end(&writer);
}

static void a_newer_ledger_is_refused_by_its_version(void **state)
{
    struct ledger_writer writer;

    (void)state;
    writer_begin(&writer);
    writer_header(&writer)->version = LEDGER_VERSION + 1;
    assert_refused(&writer, "version 3; this boxledger reads version 2");
    writer_end(&writer);
}

static void every_truncation_is_refused(void **state)
{
    struct ledger_writer writer;
    size_t whole;

    (void)state;
    writer_begin(&writer);
    writer_fd(&writer, 70000, LEDGER_FD_FILE, 0);
    whole = writer.size;
    for (size_t size = 16; size < whole; size += 33333) {
        writer.size = size;
        assert_refused(&writer, size < 24 ? "" : "truncated");
    }
    writer.size = whole - 1;
    assert_refused(&writer, "truncated");
    writer.size = whole;
    writer_end(&writer);
}

static void other_sizes_are_refused(void **state)
{
    struct ledger_writer writer;

    (void)state;
    writer_begin(&writer);
    writer_header(&writer)->base_size = 4096;
    assert_refused(&writer, "corrupted");
    writer_end(&writer);
    writer_begin(&writer);
    writer_header(&writer)->chunk_size = 0;
    assert_refused(&writer, "corrupted");
    writer_end(&writer);
    writer_begin(&writer);
    writer_header(&writer)->chunks = UINT32_MAX;
    assert_refused(&writer, "corrupted");
    writer_end(&writer);
}

static void a_directory_that_lies_is_refused(void **state)
{
    struct ledger_writer writer;

    (void)state;
    writer_begin(&writer);
    writer_header(&writer)->directory[LEDGER_MAPPINGS][0] = 7; /* there is no chunk 7 */
    assert_refused(&writer, "mappings");
    writer_end(&writer);

    writer_begin(&writer);
    writer_fd(&writer, 70000, LEDGER_FD_FILE, 0);
    writer_header(&writer)->directory[LEDGER_MAPPINGS][0] =
        writer_header(&writer)->directory[LEDGER_FDS][1]; /* two tables, one chunk */
    assert_refused(&writer, "not its own");
    writer_end(&writer);

    writer_begin(&writer);
    writer_header(&writer)->used[LEDGER_STACKS] = LEDGER_STACKS_IN_BASE + 1;
    assert_refused(&writer, "stacks");
    writer_end(&writer);

    writer_begin(&writer);
    writer_header(&writer)->used[LEDGER_FDS] = UINT64_MAX;
    assert_refused(&writer, "descriptors");
    writer_end(&writer);
}

static void an_annex_beyond_the_end_is_refused(void **state)
{
    struct ledger_writer writer;

    (void)state;
    writer_begin(&writer);
    writer_outside(&writer)->annex_offset = LEDGER_BASE_SIZE;
    writer_outside(&writer)->annex_size = 1;
    assert_refused(&writer, "annex");
    writer_outside(&writer)->annex_offset = UINT64_MAX;
    writer_outside(&writer)->annex_size = UINT64_MAX;
    assert_refused(&writer, "annex");
    writer_end(&writer);
}

static void what_is_no_file_is_refused(void **state)
{
    static const char *const paths[] = {"/dev/null", "/", "/nonexistent/ledger", "/dev/zero"};

    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct failure failure = {0};

        assert_null(reader_open(paths[i], &failure));
        assert_int_equal(strncmp(failure.text, paths[i], strlen(paths[i])), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_ledger_is_read),
        cmocka_unit_test(records_beyond_the_base_are_found_in_their_chunks),
        cmocka_unit_test(a_string_may_cross_from_the_base_into_a_chunk),
        cmocka_unit_test(indices_that_lead_nowhere_mean_nothing),
        cmocka_unit_test(a_foreign_file_is_refused),
        cmocka_unit_test(a_newer_ledger_is_refused_by_its_version),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(other_sizes_are_refused),
        cmocka_unit_test(a_directory_that_lies_is_refused),
        cmocka_unit_test(an_annex_beyond_the_end_is_refused),
        cmocka_unit_test(what_is_no_file_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
