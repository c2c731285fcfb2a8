/*
 * reader.c: takes a sound copy of a ledger, or says in one sentence why there is none.
 *
 * It trusts nothing in the file: sizes, indices and the directory are checked against the file's
 * real length first. It never writes to a ledger and never waits for its writer.
 */
#include "report/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

static const char *const table_names[LEDGER_TABLES] = {
    [LEDGER_FDS] = "descriptors", [LEDGER_MAPPINGS] = "mappings", [LEDGER_STACKS] = "stacks",
    [LEDGER_FRAMES] = "frames",   [LEDGER_MODULES] = "modules",   [LEDGER_STRINGS] = "strings",
    [LEDGER_OWNERS] = "owners",   [LEDGER_EVENTS] = "events",     [LEDGER_GROWTH] = "growths",
};

/* Reads all of it or up to the end of the file; what lies beyond reads as zero. */
static bool read_at(int fd, void *buffer, uint64_t size, uint64_t offset)
{
    unsigned char *bytes = buffer;

    while (size) {
        ssize_t got = pread(fd, bytes, size > 1u << 30 ? 1u << 30 : size, (off_t)offset);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return false;
        if (got == 0) {
            memset(bytes, 0, size);
            return true;
        }
        bytes += got;
        size -= (uint64_t)got;
        offset += (uint64_t)got;
    }
    return true;
}

static uint64_t table_room(enum ledger_table table, unsigned chunks)
{
    uint64_t in_chunk = LEDGER_CHUNK_SIZE / ledger_layout[table].record_size;

    return ledger_layout[table].in_base + chunks * in_chunk;
}

uint64_t reader_file_size(const struct ledger_header *header)
{
    return LEDGER_BASE_SIZE + (uint64_t)header->chunks * LEDGER_CHUNK_SIZE;
}

/* How many chunks of the directory lead up to and include a table's last one. */
static unsigned table_chunks(const struct ledger_header *header, enum ledger_table table)
{
    unsigned chunks = LEDGER_TABLE_CHUNKS;

    while (chunks && header->directory[table][chunks - 1] == 0)
        chunks--;
    return chunks;
}

static bool check_directory(const struct reader *reader, struct failure *failure)
{
    const struct ledger_header *header = &reader->header;
    uint8_t taken[LEDGER_MAX_CHUNKS] = {0};

    for (unsigned table = 0; table < LEDGER_TABLES; table++) {
        unsigned chunks = table_chunks(header, table);

        for (unsigned i = 0; i < chunks; i++) {
            unsigned chunk = header->directory[table][i];

            if (chunk == 0) {
                if (table != LEDGER_FDS)
                    return failure_set(failure, "%s: corrupted: chunk %u of the %s is missing",
                                       reader->name, i, table_names[table]);
                continue;
            }
            /* Not compared with header->chunks: a live ledger may have grown since that was read.
             */
            if (chunk > LEDGER_MAX_CHUNKS || taken[chunk - 1] ||
                LEDGER_BASE_SIZE + (uint64_t)chunk * LEDGER_CHUNK_SIZE >
                    (uint64_t)reader->file.st_size)
                return failure_set(failure, "%s: corrupted: chunk %u of the %s is not its own",
                                   reader->name, i, table_names[table]);
            taken[chunk - 1] = 1;
        }
        if (header->used[table] > table_room(table, chunks) &&
            (table != LEDGER_FDS || header->used[table] > table_room(table, LEDGER_TABLE_CHUNKS)))
            return failure_set(
                failure, "%s: corrupted: %" PRIu64 " %s where there is room for %" PRIu64,
                reader->name, header->used[table], table_names[table], table_room(table, chunks));
    }
    return true;
}

static bool read_header(struct reader *reader, int fd, struct failure *failure)
{
    struct ledger_header *header = &reader->header;
    uint64_t size;

    if (fstat(fd, &reader->file) < 0)
        return failure_set(failure, "%s: %s", reader->name, strerror(errno));
    if (!S_ISREG(reader->file.st_mode))
        return failure_set(failure, "%s: is not a ledger: it is not a regular file", reader->name);
    size = (uint64_t)reader->file.st_size;
    /* `used` lies before the directory and is copied first: a live writer may have grown a table
     * in between, never shrunk one. */
    if (!read_at(fd, header, sizeof *header, 0) ||
        !read_at(fd, &reader->outside, sizeof reader->outside, LEDGER_OUTSIDE_OFFSET))
        return failure_set(failure, "%s: cannot be read: %s", reader->name, strerror(errno));
    if (size < sizeof header->magic || memcmp(header->magic, LEDGER_MAGIC, 8) != 0)
        return failure_set(failure, "%s: is not a ledger of boxledger", reader->name);
    if (header->version != LEDGER_VERSION)
        return failure_set(
            failure, "%s: is a ledger of version %" PRIu32 "; this boxledger reads version %u",
            reader->name, header->version, LEDGER_VERSION);
    if (header->header_size != sizeof *header || header->base_size != LEDGER_BASE_SIZE ||
        header->chunk_size != LEDGER_CHUNK_SIZE)
        return failure_set(failure, "%s: corrupted: its sizes are not those of version %u",
                           reader->name, LEDGER_VERSION);
    if (header->chunks > LEDGER_MAX_CHUNKS)
        return failure_set(failure, "%s: corrupted: %" PRIu32 " chunks", reader->name,
                           header->chunks);
    if (size < reader_file_size(header))
        return failure_set(failure, "%s: is truncated: %" PRIu64 " of %" PRIu64 " bytes are there",
                           reader->name, size, reader_file_size(header));
    return check_directory(reader, failure);
}

static bool read_table(struct reader *reader, int fd, enum ledger_table table,
                       struct failure *failure)
{
    const struct ledger_header *header = &reader->header;
    const struct ledger_table_layout *layout = &ledger_layout[table];
    struct reader_table *copy = &reader->tables[table];
    unsigned chunks = table_chunks(header, table);
    uint64_t count = header->used[table], in_chunk = LEDGER_CHUNK_SIZE / layout->record_size;
    uint64_t done;

    if (count > table_room(table, chunks)) /* descriptors far above the last one there is */
        count = table_room(table, chunks);
    copy->records = base_alloc(count * layout->record_size);
    copy->count = count;
    done = count < layout->in_base ? count : layout->in_base;
    if (!read_at(fd, copy->records, done * layout->record_size, layout->base_offset))
        return failure_set(failure, "%s: cannot be read: %s", reader->name, strerror(errno));
    for (unsigned i = 0; done < count; i++) {
        uint64_t now = count - done < in_chunk ? count - done : in_chunk;
        uint64_t chunk = header->directory[table][i];

        if (chunk &&
            !read_at(fd, copy->records + done * layout->record_size, now * layout->record_size,
                     LEDGER_BASE_SIZE + (chunk - 1) * LEDGER_CHUNK_SIZE))
            return failure_set(failure, "%s: cannot be read: %s", reader->name, strerror(errno));
        done += now;
    }
    return true;
}

static bool read_annex(struct reader *reader, int fd, struct failure *failure)
{
    uint64_t size = (uint64_t)reader->file.st_size;
    uint64_t offset = reader->outside.annex_offset, length = reader->outside.annex_size;

    if (length == 0)
        return true;
    if (offset < LEDGER_BASE_SIZE || offset > size || length > size - offset)
        return failure_set(failure, "%s: is truncated: its annex lies beyond its end",
                           reader->name);
    reader->annex = base_alloc(length);
    if (!read_at(fd, reader->annex, length, offset))
        return failure_set(failure, "%s: cannot be read: %s", reader->name, strerror(errno));
    return true;
}

static struct reader *reader_begin(int fd, const char *name, struct failure *failure)
{
    cleanup_reader struct reader *reader = base_alloc(sizeof *reader);
    struct reader *result;

    reader->name = strdup(name);
    if (!reader->name)
        base_no_memory();
    if (!read_header(reader, fd, failure))
        return NULL;
    result = reader;
    reader = NULL;
    return result;
}

struct reader *reader_open_table(int fd, const char *name, enum ledger_table table,
                                 struct failure *failure)
{
    cleanup_reader struct reader *reader = reader_begin(fd, name, failure);
    struct reader *result;

    if (!reader || !read_table(reader, fd, table, failure))
        return NULL;
    result = reader;
    reader = NULL;
    return result;
}

struct reader *reader_open_fd(int fd, const char *name, struct failure *failure)
{
    /* What refers to others first, then, by a header read anew, what they refer to: a record is
     * published after everything that it names. */
    static const enum ledger_table first[] = {LEDGER_FDS, LEDGER_MAPPINGS, LEDGER_EVENTS};
    static const enum ledger_table then[] = {LEDGER_OWNERS, LEDGER_GROWTH,  LEDGER_STACKS,
                                             LEDGER_FRAMES, LEDGER_MODULES, LEDGER_STRINGS};
    cleanup_reader struct reader *reader = reader_begin(fd, name, failure);
    struct reader *result;

    if (!reader)
        return NULL;
    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        if (!read_table(reader, fd, first[i], failure))
            return NULL;
    if (!read_header(reader, fd, failure))
        return NULL;
    for (size_t i = 0; i < sizeof then / sizeof *then; i++)
        if (!read_table(reader, fd, then[i], failure))
            return NULL;
    if (!read_annex(reader, fd, failure))
        return NULL;
    result = reader;
    reader = NULL;
    return result;
}

struct reader *reader_open(const char *path, struct failure *failure)
{
    /* O_NONBLOCK: a FIFO must give an error, not a wait. */
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0) {
        failure_set(failure, "%s: %s", path, strerror(errno));
        return NULL;
    }
    return reader_open_fd(fd, path, failure);
}

void reader_close(struct reader *reader)
{
    if (!reader)
        return;
    for (unsigned table = 0; table < LEDGER_TABLES; table++)
        free(reader->tables[table].records);
    free(reader->annex);
    free(reader->name);
    free(reader);
}

const char *reader_string(const struct reader *reader, uint32_t index)
{
    const struct reader_table *strings = &reader->tables[LEDGER_STRINGS];

    if (index == 0 || index >= strings->count ||
        !memchr(strings->records + index, 0, strings->count - index))
        return "";
    return (const char *)strings->records + index;
}

const struct ledger_stack *reader_stack(const struct reader *reader, uint32_t index,
                                        const uint64_t **frames, unsigned *count)
{
    const struct ledger_stack *stack = index ? reader_record(reader, LEDGER_STACKS, index) : NULL;
    uint64_t there = reader->tables[LEDGER_FRAMES].count;

    if (!stack || stack->state != LEDGER_LIVE || stack->frames == 0 ||
        stack->frames > LEDGER_FRAMES_MAX || stack->first_frame > there ||
        stack->frames > there - stack->first_frame)
        return NULL;
    *frames =
        (const uint64_t *)(const void *)reader->tables[LEDGER_FRAMES].records + stack->first_frame;
    *count = stack->frames;
    return stack;
}
