/*
 * mappings_moved.c: ranges change their place (mremap) or their protection (mprotect). Both may
 * have done half of their work, and what cannot be known is marked unsure; it asks nobody.
 */
#include "mappings_events.h"
#include "mappings_records.h"

/* Where a part [start, end) of an old range lies after the move; false: cut off by a shrink. */
static bool moved_range(const struct ledger_map_event *event, uint64_t *start, uint64_t *end)
{
    uint64_t first = *start - event->start + event->to_start;
    uint64_t last = *end - event->start + event->to_start;
    if (first >= event->to_end) {
        return false;
    }
    if (last > event->to_end) {
        last = event->to_end;
    }
    if (*end == event->end) { /* the last part grows with the whole */
        last = event->to_end;
    }
    *start = first;
    *end = last;
    return true;
}

static APART void copy_for_old(struct ledger *ledger, struct ledger_actor *actor,
                               const struct ledger_mapping *old)
{
    uint32_t record = ledger_record_new(ledger, actor);
    if (record) {
        struct ledger_mapping *copy = ledger_record(ledger, record);
        ledger_record_copy(copy, old);
        __atomic_store_n(&copy->state, LEDGER_LIVE, __ATOMIC_RELEASE);
        ledger_record_count(ledger, copy, 1, ledger_record_size(copy));
        ledger_record_add(ledger, actor, record);
    }
}

static APART void move_one(struct ledger *ledger, struct ledger_actor *actor,
                           struct ledger_position position, const struct ledger_map_event *event)
{
    uint32_t record = ledger_index_record(position);
    struct ledger_mapping *mapping = ledger_record(ledger, record);
    const uint64_t old_start = mapping->start;
    const uint64_t old_end = mapping->end;
    uint64_t start = old_start;
    uint64_t end = old_end;
    if (!moved_range(event, &start, &end)) {
        ledger_record_drop(ledger, position, event->stack);
        return;
    }
    ledger_record_estimate(ledger, ledger_record_joins(ledger, position) - 1);
    ledger_index_remove(ledger, old_start);
    __atomic_store_n(&mapping->state, LEDGER_EMPTY, __ATOMIC_RELEASE);
    if (event->keep_old) {
        copy_for_old(ledger, actor, mapping); /* as it is yet, but for its state */
    }
    struct ledger_bindings heir = {0}; /* a range that moves keeps what it was bound to */
    ledger_apply_over(ledger, actor, start, end, event, UINT64_MAX, &heir);
    mapping->start = start;
    mapping->end = end;
    mapping->ticket = event->new_ticket;
    mapping->detail = mapping->flags & LEDGER_SHM_MAP ? 0 : mapping->detail; /* no shmdt finds it */
    ledger_record_count(ledger, mapping, 0,
                        ledger_record_size(mapping) - (int64_t)(old_end - old_start));
    __atomic_store_n(&mapping->state, LEDGER_LIVE, __ATOMIC_RELEASE);
    if (ledger_record_add(ledger, actor, record)) {
        ledger_record_estimate(ledger,
                               1 - ledger_record_joins(ledger, ledger_index_find(ledger, start)));
    }
}

/* What MREMAP_FIXED was aimed at and nothing was moved to: a hole of the old range (Linux 6.17
 * moves several VMAs and what is between them stays as it is), or memory that no wrapper saw. */
static void doubt_target(struct ledger *ledger, const struct ledger_map_event *event)
{
    struct ledger_position position;
    struct ledger_mapping *mapping;
    for (uint64_t from = event->to_start;
         (mapping = ledger_record_next(ledger, &from, event->to_end, &position)) != NULL;) {
        if (ledger_record_flies(mapping, event->detail)) {
            mapping->flags |= LEDGER_UNSURE_PROT; /* mapped it is, this or what came */
            __atomic_store_n(&mapping->state, LEDGER_LIVE, __ATOMIC_RELEASE);
        }
    }
}

/* The new place is the program's all the same where nothing was recorded at the old one: a thread
 * that was given the old place may have come first, or no wrapper saw what was there. */
static APART void fill_target(struct ledger *ledger, struct ledger_actor *actor,
                              const struct ledger_map_event *event)
{
    uint16_t flags = LEDGER_UNSURE_PROT;
    if (event->detail) { /* several VMAs, perhaps, and what lay between them */
        flags |= LEDGER_UNSURE;
    }
    /* In place, what was not mapped before is not mapped now: a shrink looks at nothing but the
     * end. */
    uint64_t from = event->to_start == event->start ? event->end : event->to_start;
    while (from < event->to_end) {
        struct ledger_position position = ledger_record_from(ledger, from);
        struct ledger_position below = ledger_index_find(ledger, from);
        const struct ledger_mapping *low = below.node ? ledger_record_at(ledger, below) : NULL;
        uint64_t end = event->to_end;
        if (low && low->start <= from && low->end > from) {
            from = low->end;
            continue;
        }
        if (position.node && ledger_record_at(ledger, position)->start < end) {
            end = ledger_record_at(ledger, position)->start;
        }
        struct ledger_map_event rest = {.start = from,
                                        .end = end,
                                        .ticket = event->new_ticket,
                                        .now_ns = event->now_ns,
                                        .stack = event->stack,
                                        .tid = event->tid,
                                        .flags = flags};
        ledger_apply_insert(ledger, actor, &rest);
        from = end;
    }
}

void ledger_apply_move(struct ledger *ledger, struct ledger_actor *actor,
                       const struct ledger_map_event *event)
{
    if (event->to_start != event->start && !event->detail) {
        /* The kernel chose the place, so what is recorded there was released unseen. */
        struct ledger_bindings heir = {0};
        ledger_apply_over(ledger, actor, event->to_start, event->to_end, event, UINT64_MAX, &heir);
    }
    struct ledger_position position;
    struct ledger_mapping *mapping;
    for (uint64_t from = event->start;
         (mapping = ledger_record_next(ledger, &from, event->end, &position)) != NULL;) {
        if (ledger_record_flies(mapping, event->ticket)) {
            move_one(ledger, actor, position, event);
        }
    }
    if (event->detail) {
        doubt_target(ledger, event);
    }
    fill_target(ledger, actor, event);
}

/* Whether what lies below and above an address would be one VMA. */
static int joined_across(struct ledger *ledger, uint64_t address)
{
    struct ledger_position position = ledger_index_find(ledger, address);
    const struct ledger_mapping *high = position.node ? ledger_record_at(ledger, position) : NULL;
    if (!high || high->start > address || high->end <= address) {
        return 0;
    }
    if (high->start < address) {
        return 1;
    }
    position = ledger_index_previous(position);
    return position.node && ledger_record_joined(ledger_record_at(ledger, position), high);
}

/* An mprotect that failed has changed a part that nobody can name. */
static void doubt_protection(struct ledger *ledger, const struct ledger_map_event *event)
{
    struct ledger_position position = ledger_index_find(ledger, event->start);
    while (position.node && ledger_record_at(ledger, position)->start < event->end) {
        if (ledger_record_at(ledger, position)->end > event->start) {
            ledger_record_at(ledger, position)->flags |= LEDGER_UNSURE_PROT;
        }
        position = ledger_index_next(position);
    }
}

void ledger_apply_protect(struct ledger *ledger, struct ledger_actor *actor,
                          const struct ledger_map_event *event)
{
    struct ledger_position position;
    struct ledger_mapping *mapping;
    if (event->flags & LEDGER_UNSURE_PROT) {
        doubt_protection(ledger, event);
        return;
    }
    int before = joined_across(ledger, event->start) + joined_across(ledger, event->end);
    ledger_record_split(ledger, actor, event->start);
    ledger_record_split(ledger, actor, event->end);
    for (uint64_t from = event->start;
         (mapping = ledger_record_next(ledger, &from, event->end, &position)) != NULL;) {
        /* While a release is under way, the range may be somebody else's by now, of which no
         * wrapper knows: what is on its way to another place keeps its protection. */
        if (mapping->state == LEDGER_IN_FLIGHT) {
            mapping->flags |= LEDGER_UNSURE_PROT;
            continue;
        }
        mapping->prot = event->prot;
        /* mprotect succeeds where all of it is mapped, and only there. */
        mapping->flags &= (uint16_t) ~(LEDGER_UNSURE | LEDGER_UNSURE_PROT);
    }
    ledger_record_estimate(ledger, before - joined_across(ledger, event->start) -
                                       joined_across(ledger, event->end));
    /* Parts of one call that are alike again are one record again. */
    for (uint64_t boundary = event->start; boundary <= event->end;) {
        ledger_record_rejoin(ledger, boundary);
        position = ledger_record_from(ledger, boundary + 1);
        if (!position.node) {
            break;
        }
        boundary = ledger_record_at(ledger, position)->start;
    }
}
