/*
 * mappings_rebuild.c: after an update that never returned: everything that can be told from the
 * records and the slots is made anew from them. What the update had not come to is not its
 * business.
 */
#include "mappings_events.h"
#include "mappings_records.h"

/* What owners hold of mappings is about to be counted anew; no record of theirs is used again
 * meanwhile. */
static void forget_owners(struct ledger *ledger)
{
    __atomic_store_n(&ledger->rebuilding, 1, __ATOMIC_SEQ_CST);
    for (uint64_t i = 1; i < ledger->header->used[LEDGER_OWNERS]; i++) {
        struct ledger_owner *owner = ledger_at(ledger, LEDGER_OWNERS, (uint32_t)i);
        if (owner) {
            __atomic_store_n(&owner->mappings, 0, __ATOMIC_SEQ_CST);
            __atomic_store_n(&owner->bytes, 0, __ATOMIC_RELAXED);
        }
    }
}

void ledger_record_rebuild(struct ledger *ledger, struct ledger_actor *actor)
{
    struct ledger_header *header = ledger->header;
    header->rebuilds++;
    ledger_index_reset(ledger);
    ledger->free_mapping = 0;
    for (uint64_t i = 1; i < header->used[LEDGER_STACKS]; i++) {
        struct ledger_stack *stack = ledger_stack(ledger, (uint32_t)i);
        if (stack) {
            stack->mappings_live = 0;
            stack->bytes_live = 0;
            struct ledger_growth *growth = ledger_at(ledger, LEDGER_GROWTH, (uint32_t)i);
            if (growth) {
                growth->mappings_owned = 0;
            }
        }
    }
    forget_owners(ledger);
    for (uint64_t i = header->used[LEDGER_MAPPINGS]; i-- > 1;) {
        struct ledger_mapping *mapping = ledger_record(ledger, (uint32_t)i);
        if (mapping->state == LEDGER_EMPTY) {
            ledger_record_free(ledger, (uint32_t)i);
            continue;
        }
        mapping->flags &= (uint16_t)~LEDGER_BINDINGS;
        struct ledger_position position = ledger_index_find(ledger, mapping->start);
        struct ledger_mapping *other = position.node ? ledger_record_at(ledger, position) : NULL;
        if (other && other->start == mapping->start) { /* a split or a move in the middle */
            ledger_record_free(ledger, (uint32_t)i);
            continue;
        }
        ledger_record_count(ledger, mapping, 1, ledger_record_size(mapping));
        ledger_record_add(ledger, actor, (uint32_t)i);
    }
    /* A split publishes the upper part first. */
    struct ledger_position position = ledger_index_find(ledger, 0);
    while (position.node) {
        struct ledger_position next = ledger_index_next(position);
        struct ledger_mapping *mapping = ledger_record_at(ledger, position);
        if (next.node && ledger_record_at(ledger, next)->start < mapping->end) {
            uint64_t boundary = ledger_record_at(ledger, next)->start;
            ledger_record_count(ledger, mapping, 0, -(int64_t)(mapping->end - boundary));
            mapping->end = boundary;
        }
        position = next;
    }
    ledger_bindings_rebuild(ledger);
    __atomic_store_n(&ledger->rebuilding, 0, __ATOMIC_SEQ_CST);
}
