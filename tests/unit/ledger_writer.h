/*
 * ledger_writer.h: writes synthetic ledgers, for tests of what reads them. It knows the format and
 * nothing of the shim, makes ledgers that are wrong on request, and uses no code of ours.
 */
#ifndef BOXLEDGER_TESTS_LEDGER_WRITER_H
#define BOXLEDGER_TESTS_LEDGER_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ledger/format.h"

/* When the synthetic process started, on the clock of the records' times. */
#define WRITER_START_NS UINT64_C(5000000000)

struct ledger_writer {
    unsigned char *bytes;
    size_t size;
};

/* A ledger of a process that was attached and ended by exit(0). */
void writer_begin(struct ledger_writer *writer);
void writer_end(struct ledger_writer *writer);

struct ledger_header *writer_header(struct ledger_writer *writer);
struct ledger_outside *writer_outside(struct ledger_writer *writer);
/* The record of an index, with chunks added as needed; counts it as used. */
void *writer_record(struct ledger_writer *writer, enum ledger_table table, uint64_t index);

uint32_t writer_string(struct ledger_writer *writer, const char *text);
uint32_t writer_module(struct ledger_writer *writer, const char *path, uint64_t start,
                       uint64_t end);
/* Frames, innermost first, up to a 0. */
uint32_t writer_stack(struct ledger_writer *writer, const uint64_t *frames);
struct ledger_fd *writer_fd(struct ledger_writer *writer, uint32_t fd, enum ledger_fd_kind kind,
                            uint32_t stack);
struct ledger_mapping *writer_mapping(struct ledger_writer *writer, uint64_t start, uint64_t bytes,
                                      uint32_t stack);
/* A sandbox, in its order: ended ones ended in the order in which they are written. */
uint32_t writer_owner(struct ledger_writer *writer, uint32_t kind, enum ledger_state state);
struct ledger_owner *writer_owner_record(struct ledger_writer *writer, uint32_t owner);
/* More ends of a kind than there are records of. */
void writer_ends(struct ledger_writer *writer, uint32_t kind, unsigned count);
struct ledger_event *writer_event(struct ledger_writer *writer, enum ledger_event_kind kind,
                                  int error, uint32_t stack, uint32_t count);

/* The stack's low-water marks: `count` intervals of `stride` epochs, up to the header's epoch. What
 * it holds now, of which so many are one owner's, is in its record. */
void writer_growth(struct ledger_writer *writer, uint32_t stack, uint32_t stride,
                   const uint32_t *lows, unsigned count);

/* The ledger as an open memfd. */
int writer_open(const struct ledger_writer *writer);

#endif
