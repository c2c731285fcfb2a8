/*
 * ledger_writer.c: writes synthetic ledgers. It never checks what it is asked to write: tests of
 * bad ledgers ask for nonsense.
 */
#include "ledger_writer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define START_NS UINT64_C(1700000000000000000)
#define START_MONOTONIC_NS WRITER_START_NS

static void *must(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

struct ledger_header *writer_header(struct ledger_writer *writer)
{
    return (struct ledger_header *)(void *)writer->bytes;
}

struct ledger_outside *writer_outside(struct ledger_writer *writer)
{
    return (struct ledger_outside *)(void *)(writer->bytes + LEDGER_OUTSIDE_OFFSET);
}

void writer_begin(struct ledger_writer *writer)
{
    struct ledger_header *header;

    writer->size = LEDGER_BASE_SIZE;
    writer->bytes = must(calloc(1, writer->size));
    header = writer_header(writer);
    memcpy(header->magic, LEDGER_MAGIC, sizeof header->magic);
    header->version = LEDGER_VERSION;
    header->header_size = sizeof *header;
    header->base_size = LEDGER_BASE_SIZE;
    header->chunk_size = LEDGER_CHUNK_SIZE;
    header->page_size = 4096;
    header->process_state = LEDGER_PROCESS_DETACHED;
    header->pid = 4242;
    header->images = 1;
    header->start_ns = START_NS;
    header->start_monotonic_ns = START_MONOTONIC_NS;
    header->end_ns = START_NS + 2000000000;
    header->max_fds = 1024;
    header->max_map_count = 65530;
    header->vmas_estimated = 30;
    header->generation = 1;
    header->exe = writer_string(writer, "/usr/bin/supervisor");
    header = writer_header(writer);
    header->argv = writer_string(writer, "supervisor");
    (void)writer_string(writer, "--workers=4");
    header = writer_header(writer);
    header->argc = 2;
    writer_outside(writer)->ended = LEDGER_ENDED_EXIT;
}

void writer_end(struct ledger_writer *writer)
{
    free(writer->bytes);
    *writer = (struct ledger_writer){0};
}

static size_t add_chunk(struct ledger_writer *writer)
{
    size_t offset = writer->size;

    writer->bytes = must(realloc(writer->bytes, writer->size + LEDGER_CHUNK_SIZE));
    memset(writer->bytes + writer->size, 0, LEDGER_CHUNK_SIZE);
    writer->size += LEDGER_CHUNK_SIZE;
    writer_header(writer)->chunks++;
    return offset;
}

void *writer_record(struct ledger_writer *writer, enum ledger_table table, uint64_t index)
{
    const struct ledger_table_layout *layout = &ledger_layout[table];
    uint64_t in_chunk = LEDGER_CHUNK_SIZE / layout->record_size;
    uint16_t *entry;
    uint64_t beyond;

    if (index >= writer_header(writer)->used[table])
        writer_header(writer)->used[table] = index + 1;
    if (index < layout->in_base)
        return writer->bytes + layout->base_offset + index * layout->record_size;
    beyond = index - layout->in_base;
    entry = &writer_header(writer)->directory[table][beyond / in_chunk];
    if (*entry == 0) {
        (void)add_chunk(writer);
        entry = &writer_header(writer)->directory[table][beyond / in_chunk];
        *entry = (uint16_t)writer_header(writer)->chunks;
    }
    return writer->bytes + LEDGER_BASE_SIZE + (*entry - 1u) * (size_t)LEDGER_CHUNK_SIZE +
           beyond % in_chunk * layout->record_size;
}

static uint32_t next_index(struct ledger_writer *writer, enum ledger_table table)
{
    uint64_t used = writer_header(writer)->used[table];

    return used ? (uint32_t)used : 1; /* 0 means "none" */
}

uint32_t writer_string(struct ledger_writer *writer, const char *text)
{
    uint32_t first = next_index(writer, LEDGER_STRINGS);

    for (uint32_t i = 0; i <= strlen(text); i++)
        *(char *)writer_record(writer, LEDGER_STRINGS, first + i) = text[i];
    return first;
}

uint32_t writer_module(struct ledger_writer *writer, const char *path, uint64_t start, uint64_t end)
{
    uint32_t index = next_index(writer, LEDGER_MODULES), string = writer_string(writer, path);
    struct ledger_module *module = writer_record(writer, LEDGER_MODULES, index);

    module->state = LEDGER_LIVE;
    module->path = string;
    module->start = start;
    module->end = end;
    module->bias = start;
    module->generation_last = UINT32_MAX;
    return index;
}

uint32_t writer_stack(struct ledger_writer *writer, const uint64_t *frames)
{
    uint32_t index = next_index(writer, LEDGER_STACKS);
    uint32_t first = next_index(writer, LEDGER_FRAMES);
    struct ledger_stack *stack;
    uint16_t count = 0;

    for (; frames[count]; count++)
        *(uint64_t *)writer_record(writer, LEDGER_FRAMES, first + count) = frames[count];
    stack = writer_record(writer, LEDGER_STACKS, index);
    stack->state = LEDGER_LIVE;
    stack->first_frame = first;
    stack->frames = count;
    stack->generation = writer_header(writer)->generation;
    return index;
}

struct ledger_fd *writer_fd(struct ledger_writer *writer, uint32_t fd, enum ledger_fd_kind kind,
                            uint32_t stack)
{
    struct ledger_fd *record = writer_record(writer, LEDGER_FDS, fd);

    record->state = LEDGER_LIVE;
    record->kind = (uint16_t)kind;
    record->stack = stack;
    record->tid = 4242;
    record->since_ns = START_MONOTONIC_NS + fd;
    return record;
}

struct ledger_mapping *writer_mapping(struct ledger_writer *writer, uint64_t start, uint64_t bytes,
                                      uint32_t stack)
{
    struct ledger_mapping *record =
        writer_record(writer, LEDGER_MAPPINGS, next_index(writer, LEDGER_MAPPINGS));

    record->state = LEDGER_LIVE;
    record->start = start;
    record->end = start + bytes;
    record->stack = stack;
    record->ticket = ++writer_header(writer)->ticket;
    record->since_ns = START_MONOTONIC_NS + 1;
    return record;
}

uint32_t writer_owner(struct ledger_writer *writer, uint32_t kind, enum ledger_state state)
{
    uint32_t index = next_index(writer, LEDGER_OWNERS);
    struct ledger_owner *owner = writer_record(writer, LEDGER_OWNERS, index);
    struct ledger_header *header = writer_header(writer);

    owner->state = state;
    owner->kind = (uint16_t)kind;
    owner->serial = ++header->owner_serial;
    owner->begun_ns = START_MONOTONIC_NS;
    header->owners_begun[kind]++;
    if (state == LEDGER_ENDED) {
        owner->ended_order = (uint32_t)++header->owners_ended[kind];
        owner->ended_ns = START_MONOTONIC_NS + 1000 * owner->serial;
        header->epoch++;
    }
    return index;
}

struct ledger_owner *writer_owner_record(struct ledger_writer *writer, uint32_t owner)
{
    return writer_record(writer, LEDGER_OWNERS, owner);
}

void writer_ends(struct ledger_writer *writer, uint32_t kind, unsigned count)
{
    struct ledger_header *header = writer_header(writer);

    header->owners_begun[kind] += count;
    header->owners_ended[kind] += count;
    header->owner_serial += count;
    header->epoch += count;
}

struct ledger_event *writer_event(struct ledger_writer *writer, enum ledger_event_kind kind,
                                  int error, uint32_t stack, uint32_t count)
{
    struct ledger_event *event =
        writer_record(writer, LEDGER_EVENTS, next_index(writer, LEDGER_EVENTS));

    event->state = LEDGER_LIVE;
    event->kind = (uint16_t)kind;
    event->error = (uint16_t)error;
    event->stack = stack;
    event->count = count;
    event->first_ns = event->last_ns = START_MONOTONIC_NS + 7;
    return event;
}

void writer_growth(struct ledger_writer *writer, uint32_t stack, uint32_t stride,
                   const uint32_t *lows, unsigned count)
{
    uint32_t epoch = writer_header(writer)->epoch;
    struct ledger_growth *growth = writer_record(writer, LEDGER_GROWTH, stack);

    growth->stride = stride;
    growth->first = epoch - count * stride;
    growth->noted = epoch;
    for (unsigned i = 0; i < count; i++) {
        growth->interval[i].low = lows[i];
        growth->interval[i].owners = 1;
    }
}

int writer_open(const struct ledger_writer *writer)
{
    int fd = memfd_create("synthetic ledger", MFD_CLOEXEC);

    if (fd < 0 || write(fd, writer->bytes, writer->size) != (ssize_t)writer->size)
        abort();
    return fd;
}
