/*
 * reader.h: a copy of a ledger, taken at one moment and known to be sound.
 *
 * The ledger may belong to a process that is writing it right now, be half a file, or be no
 * ledger at all: what leaves this header is bounds-checked and no longer changes. It is read with
 * pread, not mapped, so that neither a truncation (SIGBUS) nor a hole of a memfd (which a mapped
 * read would fill) can hurt anybody.
 */
#ifndef BOXLEDGER_REPORT_READER_H
#define BOXLEDGER_REPORT_READER_H

#include <sys/stat.h>

#include "ledger/format.h"
#include "report/base.h"

struct reader_table {
    unsigned char *records; /* `count` of them, in one piece */
    uint64_t count;
};

struct reader {
    char *name;
    struct stat file; /* identity: which mappings of a process are this ledger */
    struct ledger_header header;
    struct ledger_outside outside;
    struct reader_table tables[LEDGER_TABLES];
    unsigned char *annex; /* outside.annex_size bytes, or NULL */
};

/* Opens a ledger by name: a file, /proc/PID/fd/N. Returns NULL with one sentence in *failure. */
struct reader *reader_open(const char *path, struct failure *failure);
/* The same of an open file, which stays the caller's; `name` is for messages. */
struct reader *reader_open_fd(int fd, const char *name, struct failure *failure);
/* One table and the header alone, for a quick look at a live ledger. */
struct reader *reader_open_table(int fd, const char *name, enum ledger_table table,
                                 struct failure *failure);
void reader_close(struct reader *reader);

/* A record, or NULL if the table has none of that index. Its state may be LEDGER_EMPTY. */
static inline const void *reader_record(const struct reader *reader, enum ledger_table table,
                                        uint64_t index)
{
    if (index >= reader->tables[table].count)
        return NULL;
    return reader->tables[table].records + index * ledger_layout[table].record_size;
}

/* A string of the ledger: "" for none, or where it has no end. */
const char *reader_string(const struct reader *reader, uint32_t index);

/* A published stack, or NULL; its frames are `frames` 64-bit words at *frames. */
const struct ledger_stack *reader_stack(const struct reader *reader, uint32_t index,
                                        const uint64_t **frames, unsigned *count);

/* The bytes of a finished ledger that matter: the base and the chunks in use. */
uint64_t reader_file_size(const struct ledger_header *header);

static inline void reader_cleanup(struct reader **reader)
{
    reader_close(*reader);
}
#define cleanup_reader __attribute__((cleanup(reader_cleanup)))

#endif
