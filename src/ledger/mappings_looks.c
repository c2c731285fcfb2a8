/*
 * mappings_looks.c: looks at what is recorded, and changes that depend on what they see. They are
 * answered now or not at all; nothing of theirs is ever queued.
 */
#include <errno.h>

#include "mappings_lock.h"
#include "mappings_records.h"

int ledger_map_assign(struct ledger *ledger, struct ledger_actor *actor,
                      const struct ledger_map_event *event)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    if (!ledger_map_open(ledger, actor, &canary, LEDGER_LOCK_SOON)) {
        return EAGAIN;
    }
    int result = ledger_record_all(ledger, event->start, event->end) ? 0 : ENOMEM;
    if (result == 0) {
        ledger_map_apply(ledger, actor, event);
    }
    ledger_map_close(ledger, actor, &canary);
    return result;
}

static bool is_still(const struct ledger_mapping *mapping, const struct ledger_mapping *as)
{
    return mapping->start == as->start && mapping->end == as->end &&
           mapping->ticket == as->ticket && mapping->state == LEDGER_LIVE &&
           mapping->flags == as->flags && mapping->owner == as->owner &&
           mapping->bound_owner == as->bound_owner;
}

bool ledger_map_reclaim(struct ledger *ledger, struct ledger_actor *actor,
                        const struct ledger_mapping *as, const struct ledger_map_event *event)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    if (!ledger_map_open(ledger, actor, &canary, LEDGER_LOCK_SOON)) {
        return false;
    }
    struct ledger_position position = ledger_index_find(ledger, as->start);
    bool result = position.node && is_still(ledger_record_at(ledger, position), as);
    if (result) {
        ledger_map_apply(ledger, actor, event);
    }
    ledger_map_close(ledger, actor, &canary);
    return result;
}

static void examine(struct ledger *ledger, uint64_t start, uint64_t end, struct ledger_range *range)
{
    struct ledger_position position = ledger_index_find(ledger, start);
    *range = (struct ledger_range){.one_prot = true, .kept = true};
    range->prot = position.node ? ledger_record_at(ledger, position)->prot : 0;
    for (; position.node && ledger_record_at(ledger, position)->start < end;
         position = ledger_index_next(position)) {
        const struct ledger_mapping *mapping = ledger_record_at(ledger, position);
        range->flags |= mapping->flags;
        range->detail |= mapping->detail;
        range->one_prot = range->one_prot && mapping->prot == range->prot;
        range->kept = range->kept && (mapping->flags & LEDGER_KEPT);
        range->reclaimed = range->reclaimed ||
                           ((mapping->flags & LEDGER_KEPT) && !(mapping->detail & LEDGER_WAITS));
    }
}

int ledger_map_examine(struct ledger *ledger, struct ledger_actor *actor, uint64_t start,
                       uint64_t end, struct ledger_range *range)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    if (!ledger_map_open(ledger, actor, &canary, LEDGER_LOCK_SOON)) {
        return EAGAIN;
    }
    int result = start < end && ledger_record_all(ledger, start, end) ? 0 : ENOMEM;
    if (result == 0) {
        examine(ledger, start, end, range);
    }
    ledger_map_close(ledger, actor, &canary);
    return result;
}

bool ledger_map_look(struct ledger *ledger, struct ledger_actor *actor, uint64_t address,
                     struct ledger_mapping *copy)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    if (!ledger_map_open(ledger, actor, &canary, LEDGER_LOCK_ONCE)) {
        return false;
    }
    struct ledger_position position = ledger_index_find(ledger, address);
    if (position.node && ledger_record_at(ledger, position)->end <= address) {
        position = ledger_index_next(position);
    }
    bool found = position.node != NULL;
    if (found) {
        *copy = *ledger_record_at(ledger, position);
    }
    ledger_map_close(ledger, actor, &canary);
    return found;
}
