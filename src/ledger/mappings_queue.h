/*
 * mappings_queue.h: events on mappings that met a taken lock, until its holder applies them.
 *
 * For the files mappings*.c alone. Adding and losing may happen at any time, in any thread and any
 * handler, without a lock; everything else is the holder's. What the events mean is none of its
 * business.
 */
#ifndef BOXLEDGER_LEDGER_MAPPINGS_QUEUE_H
#define BOXLEDGER_LEDGER_MAPPINGS_QUEUE_H

#include "ledger.h"

/* Leaves an event for the holder. False: no room. */
bool ledger_queue_add(struct ledger *ledger, const struct ledger_map_event *event);

/* What an event that is not applied would have changed is unsure from now on. */
void ledger_queue_lose(struct ledger *ledger, const struct ledger_map_event *event);

/* Whether there are events that nobody has taken yet. The queue's head is a tagged index + 1. */
static inline bool ledger_queue_waits(const struct ledger *ledger)
{
    return (uint32_t)__atomic_load_n(&ledger->queued, __ATOMIC_SEQ_CST) != 0;
}

/* Takes all that wait, the oldest first, when those taken before are done. */
void ledger_queue_take(struct ledger *ledger);

/* The oldest of those taken; NULL: all are done. */
static inline const struct ledger_map_event *ledger_queue_first(const struct ledger *ledger)
{
    return ledger->draining ? &ledger->queue[ledger->draining - 1].event : NULL;
}

/* It has been applied; its place can be used again. */
void ledger_queue_done(struct ledger *ledger);

/* Whether a place is free, at this moment. */
static inline bool ledger_queue_has_room(const struct ledger *ledger)
{
    return (uint32_t)__atomic_load_n(&ledger->unused, __ATOMIC_RELAXED) != 0 ||
           __atomic_load_n(&ledger->fresh, __ATOMIC_RELAXED) < LEDGER_QUEUE_EVENTS;
}

/* Another value whenever a place has been freed or taken since. */
static inline uint64_t ledger_queue_freed(const struct ledger *ledger)
{
    return __atomic_load_n(&ledger->unused, __ATOMIC_RELAXED);
}

/* Marks what lost events may have changed. */
void ledger_queue_mark_lost(struct ledger *ledger);

/* After an update that never returned: what it was just taking is lost, and all is unsure. */
void ledger_queue_repair(struct ledger *ledger);

#endif
