/*
 * fuzz_reader.c: whatever bytes a ledger holds, reading it and writing all reports from it, and the
 * results of a gate, ends in a report or in one line that says what is wrong.
 *
 * Input: one byte of kind, then, for kind 0, the file itself; for others, patches upon a sound
 * ledger, each an offset (3 bytes), a length (1 byte) and that many bytes. (A ledger is half a
 * megabyte, nearly all of it zero: patches get a fuzzer to what matters.)
 *
 * Built with -DFUZZ_MAIN it needs no libFuzzer: it runs the files that it is given, or without
 * any, patches made from a seed: `fuzz_reader [-n ROUNDS] [-s SEED] [FILE...]`.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../unit/ledger_writer.h"
#include "report/judged_write.h"
#include "report/report.h"
#include "report/write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A ledger with some of everything. */
static void make_sound(struct ledger_writer *writer)
{
    const uint64_t code = UINT64_C(0x550000000000);
    struct kernel_view view = {.fds_known = true, .ranges_known = true, .taken_ns = INT64_MAX};
    struct kernel_fd fds[] = {{3, "/memfd:a"}, {70000, "socket:[1]"}};
    struct kernel_range ranges[] = {{code, code + 65536, 0, NULL}, {2 * code, 3 * code, 5, "/x"}};
    struct kernel_series series = {(char[]){"eventfd"}, 30, {.stride = 4, .noted = 40}};
    struct kernel_thread threads[] = {{4242, "main"}};
    uint64_t gone[] = {2};
    uint32_t stacks[3], owner, growing;
    unsigned char *annex;
    size_t annex_size;

    writer_begin(writer);
    (void)writer_module(writer, "/etc/hostname", code, code + 0x10000);
    (void)writer_module(writer, "/nonexistent.so", 2 * code, 2 * code + 0x10000);
    for (unsigned i = 0; i < 3; i++)
        stacks[i] = writer_stack(
            writer, (const uint64_t[]){code + 0x100 * i + 0x10, 2 * code + 0x20, 0x1234, 0});
    owner = writer_owner(writer, 1, LEDGER_ENDED);
    (void)writer_owner(writer, 2, LEDGER_LIVE);
    writer_fd(writer, 3, LEDGER_FD_MEMFD, stacks[0])->owner = owner;
    writer_fd(writer, 4, LEDGER_FD_UNKNOWN, stacks[1])->flags = LEDGER_ADOPTED;
    writer_fd(writer, 70000, LEDGER_FD_SOCKET, stacks[2])->owner = owner;
    writer_mapping(writer, code, 65536, stacks[0])->bound_owner = owner;
    writer_mapping(writer, 2 * code, 4096, stacks[1])->flags = LEDGER_FILE_MAP;
    (void)writer_event(writer, LEDGER_EVENT_UNMAP_REFUSED, ENOMEM, stacks[2], 7);
    writer_event(writer, LEDGER_EVENT_DOUBLE_CLOSE, EBADF, stacks[2], 7)->other_stack = stacks[0];
    writer_event(writer, LEDGER_EVENT_INHERITABLE, 0, stacks[0], 1)->start = 3;
    (void)writer_event(writer, LEDGER_EVENT_FOREIGN_CLOSE, 0, stacks[1], 1);
    (void)writer_event(writer, LEDGER_EVENT_NEARLY_FULL, EMFILE, 0, 1);
    writer_owner_record(writer, writer_owner(writer, 1, LEDGER_ENDED))->parent = owner;
    writer_ends(writer, 2, 80);
    growing = writer_stack(writer, (const uint64_t[]){code + 0x777, 0});
    writer_growth(writer, growing, 8, (const uint32_t[]){1, 9, 17, 25, 33, 41, 49, 57, 65, 73}, 10);
    ((struct ledger_stack *)writer_record(writer, LEDGER_STACKS, growing))->fds_live = 80;
    for (uint32_t i = 0; i < 80; i++)
        writer_fd(writer, 100 + i, LEDGER_FD_PIPE, growing)->since_ns = INT64_MAX;
    series.growth.first = writer_header(writer)->epoch - 40;
    series.growth.noted = writer_header(writer)->epoch;
    view.gone = gone;
    view.gone_count = 1;
    view.threads = threads;
    view.thread_count = 1;
    view.series = &series;
    view.series_count = 1;
    view.fds = fds;
    view.fd_count = 2;
    view.ranges = ranges;
    view.range_count = 2;
    annex = kernel_view_pack(&view, &annex_size);
    writer_outside(writer)->annex_offset = writer->size;
    writer_outside(writer)->annex_size = annex_size;
    writer->bytes = realloc(writer->bytes, writer->size + annex_size);
    if (!writer->bytes)
        abort();
    memcpy(writer->bytes + writer->size, annex, annex_size);
    writer->size += annex_size;
    free(annex);
}

static void write_reports(const struct report *report)
{
    struct write_options options = {.live = true};
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    json_t *document = json_of_report(report, &options);

    if (!out || !document)
        abort();
    text_write_report(out, report, &options, true);
    if (!json_write(out, document))
        abort();
    json_decref(document);
    (void)fclose(out);
    free(text);
}

/* What a gate writes as JSON is JSON. */
static void write_as_json(struct judged *judged, void (*write)(FILE *out, struct judged *judged))
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = base_open_memory(&text, &length);
    json_t *document;

    write(out, judged);
    base_close_memory(out);
    document = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
    if (!document)
        abort();
    json_decref(document);
    free(text);
}

static void write_result(FILE *out, struct judged *judged)
{
    judged_write_json(out, judged, json_array(), NULL);
}

/* Its findings are new first, and all known by the baseline that is made of them. */
static void judge(const struct report *report)
{
    struct judged judged = {.program = "p", .command = "p q", .root = "/", .runs = 2};
    const struct report *reports[] = {report, report};
    struct judged_run runs[] = {{reports, 1}, {reports + 1, 1}};
    struct judged_options options = {0};
    struct baseline baseline = {0};
    struct failure failure = {0};
    struct baseline_entry *entries;
    char *text = NULL;
    size_t length = 0, count;
    FILE *out = base_open_memory(&text, &length);

    judged_build(&judged, runs, 2, &options);
    judged_write_text(out, &judged);
    judged_write_junit(out, &judged);
    judged_write_annotations(out, &judged);
    base_close_memory(out);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < ' ' && text[i] != '\n')
            abort();
    free(text);
    write_as_json(&judged, write_result);
    write_as_json(&judged, judged_write_sarif);
    entries = judged_baseline(&judged, &count);
    out = base_open_memory(&text, &length);
    if (!baseline_write(out, "p", entries, count))
        abort();
    base_close_memory(out);
    if (!baseline_parse(&baseline, "B", text, length, "p", &failure))
        abort();
    options.baseline = &baseline;
    judged_build(&judged, runs, 2, &options);
    if (judged_fails(&judged) || judged.tally[JUDGED_GONE])
        abort();
    baseline_free(&baseline);
    judged_free(&judged);
    free(text);
}

static void read_ledger(int fd)
{
    struct failure failure = {0};
    struct reader *reader = reader_open_fd(fd, "L", &failure);
    struct symbols *symbols;
    struct report report;

    if (!reader) {
        /* It says why, in one line. */
        if (!failure.text[0] || strchr(failure.text, '\n'))
            abort();
        return;
    }
    symbols = symbols_new();
    if (report_build(&report, reader, NULL, symbols, NULL, &failure)) {
        write_reports(&report);
        judge(&report);
        report_free(&report);
    } else if (!failure.text[0]) {
        abort();
    }
    symbols_free(symbols);
    reader_close(reader);
}

static void write_all(int fd, const void *bytes, size_t size, size_t offset)
{
    if (size && pwrite(fd, bytes, size, (off_t)offset) != (ssize_t)size)
        abort();
}

/* Pages of zeroes stay holes: nearly all of a ledger is. */
static void write_sparsely(int fd, const struct ledger_writer *writer)
{
    static const unsigned char zeroes[4096];

    if (ftruncate(fd, (off_t)writer->size) != 0)
        abort();
    for (size_t at = 0; at < writer->size; at += sizeof zeroes) {
        size_t size = writer->size - at < sizeof zeroes ? writer->size - at : sizeof zeroes;

        if (memcmp(writer->bytes + at, zeroes, size) != 0)
            write_all(fd, writer->bytes + at, size, at);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ledger_writer sound; /* process-global because making it anew is the slow part */
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    if (fd < 0)
        abort();
    if (!sound.bytes)
        make_sound(&sound);
    if (size && data[0] == 0) {
        write_all(fd, data + 1, size - 1, 0);
    } else {
        const uint8_t *end = data + size;

        write_sparsely(fd, &sound);
        for (const uint8_t *at = data + (size != 0); end - at > 4;) {
            size_t offset = (size_t)at[0] | (size_t)at[1] << 8 | (size_t)at[2] << 16;
            size_t length = at[3];

            at += 4;
            if (length > (size_t)(end - at))
                length = (size_t)(end - at);
            if (offset < sound.size)
                write_all(fd, at, offset + length > sound.size ? sound.size - offset : length,
                          offset);
            at += length;
        }
    }
    read_ledger(fd);
    close(fd);
    return 0;
}

#ifdef FUZZ_MAIN

static uint64_t random_state;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % below;
}

/* Where something lies in a sound ledger, and a value that is likely to hurt. */
static size_t make_patches(uint8_t *data)
{
    static const uint32_t places[] = {0,
                                      0,
                                      0,
                                      LEDGER_OUTSIDE_OFFSET,
                                      LEDGER_FDS_BASE,
                                      LEDGER_MAPPINGS_BASE,
                                      LEDGER_STACKS_BASE,
                                      LEDGER_FRAMES_BASE,
                                      LEDGER_MODULES_BASE,
                                      LEDGER_STRINGS_BASE,
                                      LEDGER_OWNERS_BASE,
                                      LEDGER_EVENTS_BASE,
                                      LEDGER_BASE_SIZE + LEDGER_CHUNK_SIZE};
    static const uint8_t values[] = {0, 1, 2, 0x7f, 0x80, 0xfe, 0xff};
    size_t size = 0;

    data[size++] = 1;
    for (uint32_t i = 0, patches = 1 + draw(6); i < patches; i++) {
        uint32_t offset = places[draw(sizeof places / sizeof *places)] + draw(256);
        uint32_t length = 1 + draw(8);

        if (draw(4) == 0) /* the directory */
            offset = (uint32_t)offsetof(struct ledger_header, directory) + draw(8192);
        data[size++] = (uint8_t)offset;
        data[size++] = (uint8_t)(offset >> 8);
        data[size++] = (uint8_t)(offset >> 16);
        data[size++] = (uint8_t)length;
        for (uint32_t j = 0; j < length; j++)
            data[size++] = draw(2) ? values[draw(sizeof values)] : (uint8_t)draw(256);
    }
    return size;
}

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(8u << 20);
    size_t size;

    if (!file || !data) {
        perror(path);
        return 1;
    }
    size = fread(data, 1, 8u << 20, file);
    (void)fclose(file);
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    long rounds = 3000;
    int option;

    while ((option = getopt(argc, argv, "n:s:")) != -1) {
        if (option == 'n')
            rounds = strtol(optarg, NULL, 10);
        else if (option == 's')
            seed = strtoull(optarg, NULL, 10);
        else
            return 2;
    }
    if (optind < argc) {
        int status = 0;

        for (; optind < argc; optind++)
            status |= run_file(argv[optind]);
        return status;
    }
    for (long round = 0; round < rounds; round++) {
        uint8_t data[512];
        size_t size;

        random_state = seed * 1000003 + (uint64_t)round;
        (void)draw(2);
        size = make_patches(data);
        (void)LLVMFuzzerTestOneInput(data, size);
    }
    printf("%ld ledgers, seed %llu: all were read or refused\n", rounds, (unsigned long long)seed);
    return 0;
}

#endif
