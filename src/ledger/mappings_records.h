/*
 * mappings_records.h: the records of mappings, their index, and what is counted of them.
 *
 * For the files mappings*.c alone, and only under the mappings' lock. Nothing here knows of the
 * lock, of events or of slots.
 *
 * Ranges of published records never overlap, but for a moment while one is split (the upper part
 * is published before the lower one shrinks).
 */
#ifndef BOXLEDGER_LEDGER_MAPPINGS_RECORDS_H
#define BOXLEDGER_LEDGER_MAPPINGS_RECORDS_H

#include "index.h"
#include "ledger.h"

static inline struct ledger_mapping *ledger_record(const struct ledger *ledger, uint32_t record)
{
    return ledger_at(ledger, LEDGER_MAPPINGS, record);
}

static inline struct ledger_mapping *ledger_record_at(const struct ledger *ledger,
                                                      struct ledger_position position)
{
    return ledger_record(ledger, ledger_index_record(position));
}

static inline int64_t ledger_record_size(const struct ledger_mapping *mapping)
{
    return (int64_t)(mapping->end - mapping->start);
}

/* Is it exactly [start, end)? The usual case: what one call mapped is unmapped by one. */
static inline bool ledger_record_is(const struct ledger_mapping *mapping, uint64_t start,
                                    uint64_t end)
{
    return mapping->start == start && mapping->end == end;
}

/* Is it in flight, by the release with that ticket? */
static inline bool ledger_record_flies(const struct ledger_mapping *mapping, uint64_t ticket)
{
    return mapping->state == LEDGER_IN_FLIGHT && mapping->flight == (uint32_t)ticket;
}

/* Puts it in flight, by the release with that ticket, if it is older than that. */
static inline void ledger_record_fly(struct ledger_mapping *mapping, uint64_t ticket)
{
    if (mapping->ticket < ticket) { /* never a younger record */
        mapping->flight = (uint32_t)ticket;
        __atomic_store_n(&mapping->state, LEDGER_IN_FLIGHT, __ATOMIC_RELEASE);
    }
}

/* `owner`, if there still is such a record, or else 0. */
static inline uint32_t ledger_record_owner(const struct ledger *ledger, uint32_t owner)
{
    return owner && ledger_owner(ledger, owner) ? owner : 0;
}

/* So many more VMAs (less, if negative), by our estimate. */
static inline void ledger_record_estimate(struct ledger *ledger, int vmas)
{
    /* Who counts what the kernel has corrects it without the lock. */
    ledger_add64(ledger, (uint64_t *)&ledger->header->vmas_estimated, (uint64_t)(int64_t)vmas);
}

/* An empty record, in no list and not published. 0: no room (counted). */
uint32_t ledger_record_new(struct ledger *ledger, struct ledger_actor *actor);

/* Withdraws one that is not in the index, and keeps it for the next. */
void ledger_record_free(struct ledger *ledger, uint32_t record);

/* Copies all but the state, and never publishes on the way what is half copied. */
void ledger_record_copy(struct ledger_mapping *to, const struct ledger_mapping *from);

/* So many more of that record's kind, with so many bytes more: for its stack and its owners. */
void ledger_record_count(struct ledger *ledger, const struct ledger_mapping *mapping, int mappings,
                         int64_t bytes);

/* Would the kernel keep these neighbours in one VMA? What a call mapped, it does; strangers only
 * where nothing tells them apart. An estimate: see header.vmas_estimated. */
bool ledger_record_joined(const struct ledger_mapping *low, const struct ledger_mapping *high);

/* How many of the neighbours of an indexed record would share its VMA: 0, 1 or 2. */
int ledger_record_joins(struct ledger *ledger, struct ledger_position position);

/* Puts a published and counted record into the index. False: no room (counted), and it is gone. */
bool ledger_record_add(struct ledger *ledger, struct ledger_actor *actor, uint32_t record);

/* Takes an indexed record out, released by stack `by` (0: unseen); `position` and all others are
 * stale then. */
void ledger_record_drop(struct ledger *ledger, struct ledger_position position, uint32_t by);

/* Makes `address` a boundary: a record that it lies within becomes two. */
void ledger_record_split(struct ledger *ledger, struct ledger_actor *actor, uint64_t address);

/* Undoes a split at `boundary` that turned out to be for nothing. */
void ledger_record_rejoin(struct ledger *ledger, uint64_t boundary);

/* The first record that starts at or above `start`; node is NULL: there is none. */
struct ledger_position ledger_record_from(struct ledger *ledger, uint64_t start);

/* The next record at or after *from that lies within [*from, end), which must be boundaries; *from
 * is its end then. NULL: no more. */
struct ledger_mapping *ledger_record_next(struct ledger *ledger, uint64_t *from, uint64_t end,
                                          struct ledger_position *position);

/* Is anything recorded of [start, end)? */
bool ledger_record_any(struct ledger *ledger, uint64_t start, uint64_t end);

/* Is all of [start, end) recorded as held, none of it in flight? */
bool ledger_record_all(struct ledger *ledger, uint64_t start, uint64_t end);

/* mappings_rebuild.c: the index, the free list and all counters, from nothing but the records:
 * after an update that was cut short. */
void ledger_record_rebuild(struct ledger *ledger, struct ledger_actor *actor);

#endif
