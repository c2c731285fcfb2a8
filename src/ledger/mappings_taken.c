/*
 * mappings_taken.c: ranges are mapped and released. A release flies first; then it is committed, or
 * rolled back. It knows neither slots nor what a policy keeps, but as flags of a record.
 */
#include "mappings_events.h"
#include "mappings_records.h"

#define STRANGERS_MAX 64u /* between two pieces of one attachment: a search has to end */

/* shmdt(2) names only the first byte and takes away every piece that is left of that attachment,
 * whatever lies between them. Its size, in units of 4 KiB, is what `detail` of a piece holds. */
static APART void fly_segment(struct ledger *ledger, const struct ledger_map_event *event)
{
    struct ledger_position position = ledger_record_from(ledger, event->start);
    uint64_t end = UINT64_MAX;
    uint64_t ticket = 0;
    for (; position.node; position = ledger_index_next(position)) {
        struct ledger_mapping *mapping = ledger_record_at(ledger, position);
        if (mapping->start >= end) {
            break;
        }
        if (!(mapping->flags & LEDGER_SHM_MAP) || (ticket && mapping->ticket != ticket)) {
            continue;
        }
        if (!ticket) {
            uint64_t whole = event->start + (uint64_t)mapping->detail * 4096;
            if (mapping->start >= whole) { /* too far up to be a piece of this attachment */
                continue;
            }
            ticket = mapping->ticket;
            end = whole;
        }
        ledger_record_fly(mapping, event->ticket);
    }
}

/* Where a flight's range ends; that of a segment goes as far as its pieces do. */
static uint64_t end_of(struct ledger *ledger, const struct ledger_map_event *event)
{
    uint64_t end = event->start;
    unsigned strangers = 0;
    if (event->end != UINT64_MAX) {
        return event->end;
    }
    for (struct ledger_position position = ledger_record_from(ledger, event->start);
         position.node && strangers < STRANGERS_MAX; position = ledger_index_next(position)) {
        const struct ledger_mapping *mapping = ledger_record_at(ledger, position);
        bool flying = ledger_record_flies(mapping, event->ticket);
        end = flying ? mapping->end : end;
        strangers = flying ? 0 : strangers + 1;
    }
    return end;
}

void ledger_apply_fly(struct ledger *ledger, struct ledger_actor *actor,
                      const struct ledger_map_event *event)
{
    if (event->end == UINT64_MAX) {
        fly_segment(ledger, event);
        return;
    }
    struct ledger_position position = ledger_index_find(ledger, event->start);
    struct ledger_mapping *mapping;
    if (!position.node ||
        !ledger_record_is(ledger_record_at(ledger, position), event->start, event->end)) {
        ledger_record_split(ledger, actor, event->start);
        ledger_record_split(ledger, actor, event->end);
    }
    for (uint64_t from = event->start;
         (mapping = ledger_record_next(ledger, &from, event->end, &position)) != NULL;) {
        ledger_record_fly(mapping, event->ticket);
    }
}

void ledger_apply_commit(struct ledger *ledger, const struct ledger_map_event *event)
{
    uint64_t end = end_of(ledger, event);
    struct ledger_position position;
    struct ledger_mapping *mapping;
    for (uint64_t from = event->start;
         (mapping = ledger_record_next(ledger, &from, end, &position)) != NULL;) {
        if (ledger_record_flies(mapping, event->ticket)) {
            ledger_record_drop(ledger, position, event->stack);
        }
    }
}

void ledger_apply_rollback(struct ledger *ledger, const struct ledger_map_event *event)
{
    uint64_t end = end_of(ledger, event);
    struct ledger_position position;
    struct ledger_mapping *mapping;
    for (uint64_t from = event->start;
         (mapping = ledger_record_next(ledger, &from, end, &position)) != NULL;) {
        if (ledger_record_flies(mapping, event->ticket)) {
            mapping->flight = 0; /* when its last slot went is not known any more: long ago */
            __atomic_store_n(&mapping->state, LEDGER_LIVE, __ATOMIC_RELEASE);
        }
    }
    ledger_record_rejoin(ledger, event->start);
    ledger_record_rejoin(ledger, end);
}

bool ledger_apply_over(struct ledger *ledger, struct ledger_actor *actor, uint64_t start,
                       uint64_t end, const struct ledger_map_event *event, uint64_t own,
                       struct ledger_bindings *heir)
{
    struct ledger_position position;
    if (!ledger_record_any(ledger, start, end)) {
        return true; /* the usual case */
    }
    ledger_record_split(ledger, actor, start);
    ledger_record_split(ledger, actor, end);
    struct ledger_mapping *mapping;
    for (uint64_t from = start;
         (mapping = ledger_record_next(ledger, &from, end, &position)) != NULL;) {
        if (mapping->ticket > own) {
            return false;
        }
        if (event->new_ticket && mapping->ticket == event->new_ticket) {
            continue; /* moved there by this very event, before it was cut short */
        }
        if (mapping->state == LEDGER_LIVE && !event->fixed && !(mapping->flags & LEDGER_KEPT)) {
            __atomic_add_fetch(&ledger->header->map_releases_unseen, 1, __ATOMIC_RELAXED);
        }
        if (event->fixed && (mapping->flags & LEDGER_BINDINGS)) {
            heir->owner = mapping->bound_owner;
            heir->flags = mapping->flags & (LEDGER_BINDINGS | LEDGER_SHARED);
            heir->flags |= LEDGER_BOUND_OVER;
        }
        ledger_record_drop(ledger, position, event->fixed ? event->stack : 0);
    }
    return true;
}

void ledger_apply_insert(struct ledger *ledger, struct ledger_actor *actor,
                         const struct ledger_map_event *event)
{
    struct ledger_bindings heir = {0};
    /* What was just released is what is mapped next, most often. */
    bool again = event->to_start == 0 && ledger_index_is_vacant(ledger, event->start, event->end);
    if (!again && (event->keep_old ? ledger_record_any(ledger, event->start, event->end)
                                   : !ledger_apply_over(ledger, actor, event->start, event->end,
                                                        event, event->ticket, &heir))) {
        return;
    }
    uint32_t record = ledger_record_new(ledger, actor);
    if (!record) {
        return;
    }
    const struct ledger_mapping *old = NULL;
    if (event->to_start) {
        struct ledger_position like = ledger_index_find(ledger, event->to_start);
        old = like.node ? ledger_record_at(ledger, like) : NULL;
    }
    struct ledger_mapping *mapping = ledger_record(ledger, record);
    mapping->flags = event->flags;
    if (old) {
        mapping->flags |= old->flags & (uint16_t) ~(LEDGER_SPLIT | LEDGER_BOUND_FLAGS);
    }
    mapping->prot = old ? old->prot : event->prot;
    mapping->start = event->start;
    mapping->end = event->end;
    mapping->since_ns = event->now_ns;
    mapping->ticket = event->ticket;
    mapping->stack = event->stack;
    mapping->flags |= heir.flags;
    mapping->owner = ledger_record_owner(ledger, event->owner);
    mapping->tid = event->tid;
    mapping->bound_owner = ledger_record_owner(ledger, heir.owner);
    mapping->unbound_stack = 0;
    mapping->flight = 0;
    mapping->detail = event->detail;
    __atomic_store_n(&mapping->state, LEDGER_LIVE, __ATOMIC_RELEASE);
    ledger_record_count(ledger, mapping, 1, ledger_record_size(mapping));
    struct ledger_stack *stack = event->stack ? ledger_stack(ledger, event->stack) : NULL;
    if (stack) {
        ledger_add32(ledger, &stack->acquired, 1);
    }
    if (again) {
        ledger_record_estimate(
            ledger, 1 - ledger_record_joins(ledger, ledger_index_reoccupy(ledger, record)));
    } else if (ledger_record_add(ledger, actor, record)) {
        ledger_record_estimate(
            ledger, 1 - ledger_record_joins(ledger, ledger_index_find(ledger, event->start)));
    }
}
