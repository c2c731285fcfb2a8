/*
 * mappings_records.c: the records of mappings: made, counted, indexed, split, joined, dropped. It
 * knows nothing of the events that ask for it.
 */
#include "mappings_records.h"

uint32_t ledger_record_new(struct ledger *ledger, struct ledger_actor *actor)
{
    uint32_t record = ledger->free_mapping;
    if (record) {
        ledger->free_mapping = ledger_record(ledger, record)->stack;
        return record;
    }
    record = ledger_reserve(ledger, actor, LEDGER_MAPPINGS, 1);
    if (!record) {
        __atomic_add_fetch(&ledger->header->missed_records, 1, __ATOMIC_RELAXED);
        ledger_incomplete(ledger, LEDGER_INCOMPLETE_RECORDS);
    }
    return record;
}

void ledger_record_free(struct ledger *ledger, uint32_t record)
{
    struct ledger_mapping *mapping = ledger_record(ledger, record);
    __atomic_store_n(&mapping->state, LEDGER_EMPTY, __ATOMIC_RELEASE);
    mapping->stack = ledger->free_mapping;
    ledger->free_mapping = record;
}

/* Whose it is, when both say: see ledger_mapping in format.h. Two, where they differ. */
static uint32_t second_owner(const struct ledger_mapping *mapping)
{
    return mapping->bound_owner != mapping->owner ? mapping->bound_owner : 0;
}

/* Whether it is one owner's alone, and no business of "growing". */
static bool is_owned(const struct ledger_mapping *mapping, const struct ledger_stack *stack)
{
    return (mapping->owner || mapping->bound_owner) && !(mapping->flags & LEDGER_SHARED) &&
           !(stack && ledger_stack_is_pool(stack));
}

void ledger_record_count(struct ledger *ledger, const struct ledger_mapping *mapping, int mappings,
                         int64_t bytes)
{
    uint32_t index = mapping->stack;
    struct ledger_stack *stack = index ? ledger_stack(ledger, index) : NULL;
    if (__builtin_expect(mapping->flags & LEDGER_KEPT, 0)) {
        return; /* the program has released it */
    }
    if (stack) {
        ledger_growth(ledger, index, stack);
        /* Changed by the lock's holder only, read by others. */
        __atomic_store_n(&stack->mappings_live, stack->mappings_live + mappings, __ATOMIC_RELAXED);
        __atomic_store_n(&stack->bytes_live, stack->bytes_live + bytes, __ATOMIC_RELAXED);
    }
    if (__builtin_expect(mapping->owner == 0 && mapping->bound_owner == 0, 1)) {
        return;
    }
    ledger_owner_count(ledger, mapping->owner, 0, mappings, bytes);
    ledger_owner_count(ledger, second_owner(mapping), 0, mappings, bytes);
    struct ledger_growth *growth = index ? ledger_at(ledger, LEDGER_GROWTH, index) : NULL;
    if (growth && is_owned(mapping, stack)) {
        __atomic_add_fetch(&growth->mappings_owned, mappings, __ATOMIC_RELAXED);
    }
}

bool ledger_record_joined(const struct ledger_mapping *low, const struct ledger_mapping *high)
{
    const uint16_t unlike =
        LEDGER_FILE_MAP | LEDGER_SHARED_MAP | LEDGER_SHM_MAP | LEDGER_STACK_MAP | LEDGER_INHERITED;
    if (low->end != high->start || low->prot != high->prot) {
        return false;
    }
    return low->ticket == high->ticket || ((low->flags | high->flags) & unlike) == 0;
}

int ledger_record_joins(struct ledger *ledger, struct ledger_position position)
{
    const struct ledger_mapping *mapping = ledger_record_at(ledger, position);
    struct ledger_position low = ledger_index_previous(position);
    struct ledger_position high = ledger_index_next(position);
    return (low.node && ledger_record_joined(ledger_record_at(ledger, low), mapping)) +
           (high.node && ledger_record_joined(mapping, ledger_record_at(ledger, high)));
}

bool ledger_record_add(struct ledger *ledger, struct ledger_actor *actor, uint32_t record)
{
    struct ledger_mapping *mapping = ledger_record(ledger, record);
    if (!ledger_index_provide(ledger, actor, LEDGER_INDEX_DEPTH)) {
        __atomic_add_fetch(&ledger->header->missed_records, 1, __ATOMIC_RELAXED);
        ledger_incomplete(ledger, LEDGER_INCOMPLETE_RECORDS);
        ledger_record_count(ledger, mapping, -1, -ledger_record_size(mapping));
        ledger_record_free(ledger, record);
        return false;
    }
    ledger_index_insert(ledger, mapping->start, record);
    return true;
}

void ledger_record_drop(struct ledger *ledger, struct ledger_position position, uint32_t by)
{
    uint32_t record = ledger_index_record(position);
    struct ledger_mapping *mapping = ledger_record(ledger, record);
    ledger_record_estimate(ledger, ledger_record_joins(ledger, position) - 1);
    ledger_record_count(ledger, mapping, -1, -ledger_record_size(mapping));
    if (mapping->stack && !(mapping->flags & LEDGER_KEPT)) {
        ledger_stack_released(ledger, ledger_stack(ledger, mapping->stack), by);
    }
    ledger_index_vacate(ledger, position, mapping->end);
    ledger_record_free(ledger, record);
}

/* The state stays LEDGER_EMPTY throughout: an assignment of the record itself would publish it on
 * the way, half copied, and a handler may jump out there. */
void ledger_record_copy(struct ledger_mapping *to, const struct ledger_mapping *from)
{
    struct ledger_mapping copy = *from;
    copy.state = LEDGER_EMPTY;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    *to = copy;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

struct ledger_position ledger_record_from(struct ledger *ledger, uint64_t start)
{
    struct ledger_position position = ledger_index_find(ledger, start);
    if (position.node && ledger_record_at(ledger, position)->start < start) {
        position = ledger_index_next(position);
    }
    return position;
}

struct ledger_mapping *ledger_record_next(struct ledger *ledger, uint64_t *from, uint64_t end,
                                          struct ledger_position *position)
{
    if (*from >= end) {
        return NULL;
    }
    *position = ledger_record_from(ledger, *from);
    struct ledger_mapping *mapping = position->node ? ledger_record_at(ledger, *position) : NULL;
    if (!mapping || mapping->start >= end) {
        return NULL;
    }
    *from = mapping->end;
    return mapping;
}

void ledger_record_split(struct ledger *ledger, struct ledger_actor *actor, uint64_t address)
{
    struct ledger_position position = ledger_index_find(ledger, address);
    struct ledger_mapping *lower = position.node ? ledger_record_at(ledger, position) : NULL;
    if (!lower || lower->start >= address || lower->end <= address) {
        return;
    }
    uint32_t record = ledger_record_new(ledger, actor);
    lower->flags |= LEDGER_SPLIT;
    if (record) {
        struct ledger_mapping *upper = ledger_record(ledger, record);
        uint32_t state = lower->state;
        ledger_record_copy(upper, lower);
        upper->start = address;
        __atomic_store_n(&upper->state, state, __ATOMIC_RELEASE);
        ledger_record_count(ledger, upper, 1, ledger_record_size(upper));
    }
    ledger_record_count(ledger, lower, 0, -(int64_t)(lower->end - address));
    __atomic_store_n(&lower->end, address, __ATOMIC_RELEASE);
    if (record) {
        ledger_record_add(ledger, actor, record);
    }
}

void ledger_record_rejoin(struct ledger *ledger, uint64_t boundary)
{
    struct ledger_position high = ledger_record_from(ledger, boundary);
    struct ledger_position low = high.node ? ledger_index_previous(high) : high;
    if (!low.node) {
        return;
    }
    struct ledger_mapping *lower = ledger_record_at(ledger, low);
    struct ledger_mapping *upper = ledger_record_at(ledger, high);
    if (lower->end != upper->start || lower->ticket != upper->ticket ||
        lower->stack != upper->stack || lower->state != upper->state ||
        lower->prot != upper->prot || lower->detail != upper->detail ||
        lower->owner != upper->owner || lower->bound_owner != upper->bound_owner ||
        lower->unbound_stack != upper->unbound_stack || !(lower->flags & LEDGER_SPLIT) ||
        (lower->flags | LEDGER_SPLIT) != (upper->flags | LEDGER_SPLIT)) {
        return;
    }
    uint32_t record = ledger_index_record(high);
    uint64_t end = upper->end;
    ledger_record_count(ledger, upper, -1, 0);
    ledger_index_remove(ledger, upper->start);
    __atomic_store_n(&lower->end, end, __ATOMIC_RELEASE);
    ledger_record_free(ledger, record);
}

bool ledger_record_any(struct ledger *ledger, uint64_t start, uint64_t end)
{
    struct ledger_position position = ledger_index_find(ledger, start);
    while (position.node && ledger_record_at(ledger, position)->end <= start) {
        position = ledger_index_next(position);
    }
    return position.node && ledger_record_at(ledger, position)->start < end;
}

bool ledger_record_all(struct ledger *ledger, uint64_t start, uint64_t end)
{
    while (start < end) {
        struct ledger_position position = ledger_index_find(ledger, start);
        const struct ledger_mapping *mapping =
            position.node ? ledger_record_at(ledger, position) : NULL;
        if (!mapping || mapping->start > start || mapping->end <= start ||
            mapping->state != LEDGER_LIVE) {
            return false;
        }
        start = mapping->end;
    }
    return true;
}
