/*
 * events.c: calls that the kernel refused, or that released what was not held.
 *
 * One record a (kind, error, stack). Two threads that note the same thing for the first time at
 * once may leave two records of it; readers add them up. It keeps no list of single calls.
 */
#include "ledger.h"

static bool same(const struct ledger_event *event, enum ledger_event_kind kind, int error,
                 uint32_t stack)
{
    return event && __atomic_load_n(&event->state, __ATOMIC_ACQUIRE) == LEDGER_LIVE &&
           event->kind == kind && event->error == error && event->stack == stack;
}

/* The record of that kind of event; LEDGER_EMPTY until its first is complete. NULL: no room. */
static struct ledger_event *note(struct ledger *ledger, struct ledger_actor *actor,
                                 enum ledger_event_kind kind, int error, uint32_t stack,
                                 uint32_t other_stack, uint64_t start, uint64_t bytes,
                                 uint64_t now_ns)
{
    uint64_t used = __atomic_load_n(&ledger->header->used[LEDGER_EVENTS], __ATOMIC_ACQUIRE);
    struct ledger_event *event = NULL;
    for (uint64_t i = 1; i < used && !same(event, kind, error, stack); i++) {
        event = ledger_at(ledger, LEDGER_EVENTS, (uint32_t)i);
    }
    bool known = same(event, kind, error, stack);
    if (!known) {
        uint32_t record =
            used < LEDGER_EVENTS_IN_BASE ? ledger_reserve(ledger, actor, LEDGER_EVENTS, 1) : 0;
        if (record == 0) {
            __atomic_add_fetch(&ledger->header->missed_records, 1, __ATOMIC_RELAXED);
            ledger_incomplete(ledger, LEDGER_INCOMPLETE_RECORDS);
            return NULL;
        }
        event = ledger_at(ledger, LEDGER_EVENTS, record);
        event->kind = (uint16_t)kind;
        event->error = (uint16_t)error;
        event->stack = stack;
        event->other_stack = other_stack;
        event->first_ns = now_ns;
    }
    int64_t vmas = __atomic_load_n(&ledger->header->vmas_estimated, __ATOMIC_RELAXED);
    event->vmas = vmas > 0 ? (uint32_t)vmas : 0;
    event->last_ns = now_ns;
    event->start = start;
    __atomic_add_fetch(&event->bytes, bytes, __ATOMIC_RELAXED);
    __atomic_add_fetch(&event->count, 1, __ATOMIC_RELAXED);
    return event;
}

static void publish(struct ledger_event *event)
{
    if (event) {
        __atomic_store_n(&event->state, LEDGER_LIVE, __ATOMIC_RELEASE);
    }
}

void ledger_note(struct ledger *ledger, struct ledger_actor *actor, enum ledger_event_kind kind,
                 int error, uint32_t stack, uint32_t other_stack, uint64_t start, uint64_t bytes,
                 uint64_t now_ns)
{
    publish(note(ledger, actor, kind, error, stack, other_stack, start, bytes, now_ns));
}

void ledger_note_owners(struct ledger *ledger, struct ledger_actor *actor,
                        enum ledger_event_kind kind, uint32_t stack, uint32_t other_stack,
                        uint64_t start, uint32_t owner, uint32_t other_owner, uint64_t now_ns)
{
    struct ledger_event *event = note(ledger, actor, kind, 0, stack, other_stack, start, 0, now_ns);
    if (event) {
        event->owner = owner;
        event->other_owner = other_owner;
        publish(event);
    }
}

void ledger_note_limited(struct ledger *ledger, struct ledger_actor *actor,
                         enum ledger_event_kind kind, int error, uint32_t stack, uint64_t start,
                         uint64_t bytes, uint32_t owner, uint64_t now_ns)
{
    struct ledger_event *event = note(ledger, actor, kind, error, stack, 0, start, bytes, now_ns);
    if (event) {
        event->owner = owner;
        publish(event);
    }
}
