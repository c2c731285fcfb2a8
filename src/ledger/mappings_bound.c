/*
 * mappings_bound.c: which records the memory slots of VMs map. The slots themselves are slots.c's;
 * a record says how many slots map it, and whose the last one was.
 */
#include "mappings_events.h"
#include "mappings_records.h"
#include "slots.h"

static bool is_saturated(const struct ledger_mapping *mapping)
{
    return (mapping->flags & LEDGER_BINDINGS) == LEDGER_BINDINGS;
}

static void add_binding(struct ledger_mapping *mapping)
{
    if (!is_saturated(mapping)) {
        mapping->flags = (uint16_t)(mapping->flags + LEDGER_BINDING);
    }
}

/* The order of events, which the clock of records is too coarse for: did a VM lose a slot of what
 * this stack had mapped, and was more mapped for it after that? */
static void note_unbound(struct ledger *ledger, const struct ledger_mapping *mapping,
                         const struct ledger_map_event *event)
{
    struct ledger_growth *growth =
        mapping->stack ? ledger_at(ledger, LEDGER_GROWTH, mapping->stack) : NULL;
    if (growth && growth->unbound_owner != event->owner) {
        growth->unbound_owner = event->owner;
        growth->unbound_ticket = (uint32_t)event->ticket;
    }
}

static void note_anew(struct ledger *ledger, const struct ledger_mapping *mapping, uint32_t owner)
{
    const struct ledger_growth *growth =
        mapping->stack ? ledger_at(ledger, LEDGER_GROWTH, mapping->stack) : NULL;
    if (growth && growth->unbound_owner == owner &&
        (int32_t)((uint32_t)mapping->ticket - growth->unbound_ticket) > 0) {
        struct ledger_stack *stack = ledger_stack(ledger, mapping->stack);
        __atomic_or_fetch(&stack->flags, LEDGER_STACK_ANEW, __ATOMIC_RELAXED);
    }
}

static void bind_record(struct ledger *ledger, struct ledger_mapping *mapping, uint32_t owner)
{
    note_anew(ledger, mapping, owner);
    uint32_t before = ledger_owner_outermost(ledger, mapping->bound_owner);
    bool another = before != 0 && before != ledger_owner_outermost(ledger, owner);
    if (another && !(mapping->flags & LEDGER_BINDINGS)) {
        ledger_stack_feeds_pool(ledger, mapping->stack);
    }
    ledger_record_count(ledger, mapping, -1, -ledger_record_size(mapping));
    mapping->flags |= another ? LEDGER_SHARED : 0;
    add_binding(mapping);
    mapping->bound_owner = owner;
    mapping->unbound_stack = 0;
    if (mapping->state == LEDGER_LIVE) {
        mapping->flight = 0;
    }
    ledger_record_count(ledger, mapping, 1, ledger_record_size(mapping));
}

/* What a slot maps though no wrapper saw it mapped. It goes with the slot: the program's allocator
 * may have it, and keep it for good. */
static void adopt_gaps(struct ledger *ledger, struct ledger_actor *actor,
                       const struct ledger_map_event *event)
{
    uint64_t from = event->start;
    while (from < event->end) {
        struct ledger_position position = ledger_index_find(ledger, from);
        const struct ledger_mapping *mapping =
            position.node ? ledger_record_at(ledger, position) : NULL;
        if (mapping && mapping->start <= from && mapping->end > from) {
            from = mapping->end;
            continue;
        }
        position = ledger_record_from(ledger, from);
        uint64_t end = position.node ? ledger_record_at(ledger, position)->start : event->end;
        struct ledger_map_event gap = *event;
        gap.op = LEDGER_MAP_INSERT;
        gap.start = from;
        gap.end = end < event->end ? end : event->end;
        gap.owner = 0;
        gap.detail = 0;
        gap.flags = LEDGER_ADOPTED | LEDGER_UNSURE_PROT;
        gap.ticket = event->ticket;
        ledger_apply_insert(ledger, actor, &gap);
        if (!ledger_record_any(ledger, gap.start, gap.end)) {
            return; /* no room */
        }
        from = gap.end;
    }
}

/* Whether a slot of that ticket maps this record, and not what was there before it. */
static bool maps(const struct ledger_mapping *mapping, uint64_t ticket)
{
    return mapping->ticket <= ticket || (mapping->flags & LEDGER_BOUND_OVER);
}

static void unbind_slot(struct ledger *ledger, uint32_t index, const struct ledger_map_event *event)
{
    struct ledger_slot slot = *ledger_slot_at(ledger, index);
    bool lives = ledger_owner_lives(ledger, event->owner);
    struct ledger_position position;
    struct ledger_mapping *mapping;
    for (uint64_t from = slot.start;
         (mapping = ledger_record_next(ledger, &from, slot.end, &position)) != NULL;) {
        mapping->unbound_stack = maps(mapping, slot.ticket) ? event->stack : mapping->unbound_stack;
    }
    ledger_slot_remove(ledger, index); /* from here on a rebuild counts without it */
    for (uint64_t from = slot.start;
         (mapping = ledger_record_next(ledger, &from, slot.end, &position)) != NULL;) {
        if (!maps(mapping, slot.ticket) || is_saturated(mapping) ||
            !(mapping->flags & LEDGER_BINDINGS)) {
            continue;
        }
        mapping->flags = (uint16_t)(mapping->flags - LEDGER_BINDING);
        if (mapping->flags & LEDGER_BINDINGS) {
            continue;
        }
        if (lives) {
            note_unbound(ledger, mapping, event);
        }
        if (mapping->flags & LEDGER_ADOPTED) {
            ledger_record_drop(ledger, position, 0);
        } else if (mapping->state == LEDGER_LIVE) {
            mapping->flight = (uint32_t)(event->now_ns >> LEDGER_UNBOUND_SHIFT);
        }
    }
}

void ledger_apply_unbind(struct ledger *ledger, const struct ledger_map_event *event)
{
    uint32_t index = ledger_slot_find(ledger, event->owner, event->detail);
    if (!index || ledger_slot_at(ledger, index)->ticket > event->ticket) {
        return;
    }
    unbind_slot(ledger, index, event);
    if (ledger_owner_lives(ledger, event->owner)) {
        __atomic_add_fetch(&ledger->header->unbinds, 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&ledger->header->epoch, 1, __ATOMIC_RELAXED);
    }
}

void ledger_apply_unbind_all(struct ledger *ledger, const struct ledger_map_event *event)
{
    uint32_t index;
    while ((index = ledger_slot_first(ledger, event->owner)) != 0) {
        unbind_slot(ledger, index, event);
    }
}

void ledger_apply_bind(struct ledger *ledger, struct ledger_actor *actor,
                       const struct ledger_map_event *event)
{
    uint32_t index = ledger_slot_find(ledger, event->owner, event->detail);
    if (index && ledger_slot_at(ledger, index)->ticket >= event->ticket) {
        return; /* done before it was cut short, or a younger one came first */
    }
    if (index) {
        unbind_slot(ledger, index, event);
    }
    adopt_gaps(ledger, actor, event);
    if (!ledger_owner(ledger, event->owner) ||
        !ledger_slot_add(ledger, actor, event->owner, event)) {
        return;
    }
    struct ledger_position position;
    struct ledger_mapping *mapping;
    ledger_record_split(ledger, actor, event->start);
    ledger_record_split(ledger, actor, event->end);
    for (uint64_t from = event->start;
         (mapping = ledger_record_next(ledger, &from, event->end, &position)) != NULL;) {
        if (maps(mapping, event->ticket)) {
            bind_record(ledger, mapping, event->owner);
        }
    }
    if (!ledger_owner_lives(ledger, event->owner)) { /* ended meanwhile, and so has its slot */
        ledger_apply_unbind_all(ledger, event);
    }
}

void ledger_bindings_rebuild(struct ledger *ledger)
{
    ledger_slot_rebuild(ledger);
    for (uint32_t i = 1; i < ledger->slots.used; i++) {
        const struct ledger_slot *slot = ledger_slot_at(ledger, i);
        struct ledger_position position;
        struct ledger_mapping *mapping;
        if (!slot->live) {
            continue;
        }
        for (uint64_t from = slot->start;
             (mapping = ledger_record_next(ledger, &from, slot->end, &position)) != NULL;) {
            if (!maps(mapping, slot->ticket)) {
                continue;
            }
            add_binding(mapping);
            if (mapping->bound_owner == 0) { /* that was as far as the update had come */
                ledger_record_count(ledger, mapping, -1, -ledger_record_size(mapping));
                mapping->bound_owner = slot->owner;
                ledger_record_count(ledger, mapping, 1, ledger_record_size(mapping));
            }
        }
    }
}
