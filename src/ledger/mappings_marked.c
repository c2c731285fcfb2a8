/*
 * mappings_marked.c: what is said of a range that stays where and what it is: whose it is, that a
 * policy keeps it, marks. What is said of a part of a record is said of a record of its own.
 */
#include "mappings_events.h"
#include "mappings_records.h"

void ledger_apply_assign(struct ledger *ledger, struct ledger_actor *actor,
                         const struct ledger_map_event *event)
{
    struct ledger_position position;
    struct ledger_mapping *mapping;
    ledger_record_split(ledger, actor, event->start);
    ledger_record_split(ledger, actor, event->end);
    for (uint64_t from = event->start;
         (mapping = ledger_record_next(ledger, &from, event->end, &position)) != NULL;) {
        ledger_record_count(ledger, mapping, -1, -ledger_record_size(mapping));
        mapping->owner = ledger_record_owner(ledger, event->owner);
        if (!(mapping->flags & (LEDGER_FILE_MAP | LEDGER_SHM_MAP))) {
            mapping->detail = (mapping->detail & ~LEDGER_ASSIGNED) | event->detail;
        }
        ledger_record_count(ledger, mapping, 1, ledger_record_size(mapping));
    }
}

void ledger_apply_keep(struct ledger *ledger, struct ledger_actor *actor,
                       const struct ledger_map_event *event)
{
    struct ledger_position position;
    struct ledger_mapping *mapping;
    ledger_record_split(ledger, actor, event->start);
    ledger_record_split(ledger, actor, event->end);
    for (uint64_t from = event->start;
         (mapping = ledger_record_next(ledger, &from, event->end, &position)) != NULL;) {
        if (mapping->ticket > event->ticket || (mapping->flags & LEDGER_KEPT)) {
            continue;
        }
        if (mapping->stack) {
            ledger_stack_released(ledger, ledger_stack(ledger, mapping->stack), event->stack);
        }
        ledger_record_count(ledger, mapping, -1, -ledger_record_size(mapping));
        mapping->flags |= LEDGER_KEPT;
        mapping->owner = 0;
        mapping->bound_owner = 0;
        mapping->unbound_stack = event->stack;
        if (!(mapping->flags & (LEDGER_FILE_MAP | LEDGER_SHM_MAP))) {
            mapping->detail |= event->detail;
        }
    }
}

void ledger_apply_mark(struct ledger *ledger, struct ledger_actor *actor,
                       const struct ledger_map_event *event)
{
    struct ledger_position position;
    struct ledger_mapping *mapping;
    ledger_record_split(ledger, actor, event->start);
    ledger_record_split(ledger, actor, event->end);
    for (uint64_t from = event->start;
         (mapping = ledger_record_next(ledger, &from, event->end, &position)) != NULL;) {
        if (!(mapping->flags & (LEDGER_FILE_MAP | LEDGER_SHM_MAP))) {
            mapping->detail |= event->detail;
        }
    }
    ledger_record_rejoin(ledger, event->start);
    ledger_record_rejoin(ledger, event->end);
}
