/*
 * ledger_view.h: a ledger file as a test reads it, over src/ledger/format.h and nothing else.
 *
 * Maps a snapshot of the whole file, privately; finds records through the directory. It never
 * writes to the file, and looks with inline system calls only, so that it changes nothing of
 * what it reads about.
 */
#ifndef TESTS_TRUTH_LEDGER_VIEW_H
#define TESTS_TRUTH_LEDGER_VIEW_H

#include <stdbool.h>
#include <stddef.h>

#include "ledger/format.h"

struct ledger_view {
    const unsigned char *bytes;
    size_t size;
    const struct ledger_header *header;
};

/* 0 or -errno; -EINVAL: not a ledger. */
int ledger_view_open(struct ledger_view *view, const char *path);
void ledger_view_close(struct ledger_view *view);

/* Bits 0..2 of a record's state hold it. */
static inline unsigned ledger_view_state(uint32_t state)
{
    return state & 7u;
}

static inline bool ledger_view_held(uint32_t state)
{
    unsigned is = ledger_view_state(state);
    return is == LEDGER_LIVE || is == LEDGER_IN_FLIGHT;
}

/* A record, or NULL where the table has none of that index (yet). */
const void *ledger_view_record(const struct ledger_view *view, enum ledger_table table,
                               uint64_t index);

/* The record of a descriptor that the ledger holds, else NULL. */
const struct ledger_fd *ledger_view_fd(const struct ledger_view *view, unsigned fd);

/* All mappings held, ascending by start. `max` is room; returns how many there are. */
size_t ledger_view_mappings(const struct ledger_view *view, const struct ledger_mapping **mappings,
                            size_t max);

const char *ledger_view_string(const struct ledger_view *view, uint32_t string);

/* Frame n of a stack, without LEDGER_FRAME_EXACT; 0: none. */
uint64_t ledger_view_frame(const struct ledger_view *view, uint32_t stack, unsigned n);

#endif
