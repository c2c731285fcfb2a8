/*
 * slots.c: which memory slots each VM has, and what they map.
 *
 * An entry is published by `live`, its last store, so that a rebuild after a cut-short update finds
 * whole ones only. It knows nothing of mappings.
 */
#include "slots.h"

#define BUCKETS 8192u

static uint32_t *bucket_of(const struct ledger *ledger, uint32_t owner, uint32_t id)
{
    uint32_t hash = (owner * 0x9e3779b1u) ^ (id * 0x85ebca77u);
    return &ledger->slots.bucket[(hash ^ hash >> 15) % BUCKETS];
}

uint32_t ledger_slot_find(const struct ledger *ledger, uint32_t owner, uint32_t id)
{
    if (!ledger->slots.bucket) {
        return 0;
    }
    uint32_t index = *bucket_of(ledger, owner, id);
    while (index) {
        const struct ledger_slot *slot = ledger_slot_at(ledger, index);
        if (slot->owner == owner && slot->id == id) {
            return index;
        }
        index = slot->next;
    }
    return 0;
}

uint32_t ledger_slot_first(const struct ledger *ledger, uint32_t owner)
{
    const struct ledger_owner *record = ledger_at(ledger, LEDGER_OWNERS, owner);
    return record ? record->slots : 0;
}

static void *memory(struct ledger *ledger, struct ledger_actor *actor, size_t bytes)
{
    if (!actor->may_grow) {
        ledger_incomplete(ledger, LEDGER_INCOMPLETE_FILTERED);
        return NULL;
    }
    return ledger->backing->arena(ledger->backing, bytes);
}

/* An entry that nobody uses; 0: no room. */
static uint32_t new_entry(struct ledger *ledger, struct ledger_actor *actor)
{
    struct ledger_slots *slots = &ledger->slots;
    if (!slots->bucket) {
        slots->bucket = memory(ledger, actor, BUCKETS * sizeof(uint32_t));
    }
    if (!slots->bucket) {
        return 0;
    }
    if (slots->free) {
        uint32_t index = slots->free;
        slots->free = ledger_slot_at(ledger, index)->next;
        return index;
    }
    uint32_t index = slots->used ? slots->used : 1;
    uint32_t segment = index / LEDGER_SLOTS_PER_SEGMENT;
    if (segment >= LEDGER_SLOT_SEGMENTS) {
        return 0;
    }
    if (!slots->segment[segment]) {
        slots->segment[segment] =
            memory(ledger, actor, LEDGER_SLOTS_PER_SEGMENT * sizeof(struct ledger_slot));
    }
    if (!slots->segment[segment]) {
        return 0;
    }
    slots->used = index + 1;
    return index;
}

/* Into its bucket and its owner's list. */
static void link_entry(struct ledger *ledger, uint32_t index)
{
    struct ledger_slot *slot = ledger_slot_at(ledger, index);
    struct ledger_owner *record = ledger_at(ledger, LEDGER_OWNERS, slot->owner);
    uint32_t *bucket = bucket_of(ledger, slot->owner, slot->id);
    slot->next = *bucket;
    slot->next_of_owner = record->slots;
    *bucket = index;
    record->slots = index;
}

uint32_t ledger_slot_add(struct ledger *ledger, struct ledger_actor *actor, uint32_t owner,
                         const struct ledger_map_event *event)
{
    uint32_t index = new_entry(ledger, actor);
    if (index == 0 || !ledger_owner_hold(ledger, owner)) {
        ledger_incomplete(ledger, LEDGER_INCOMPLETE_RECORDS);
        return 0; /* the entry, if there was one, is found by the next rebuild */
    }
    struct ledger_slot *slot = ledger_slot_at(ledger, index);
    slot->owner = owner;
    slot->id = event->detail;
    slot->start = event->start;
    slot->end = event->end;
    slot->ticket = event->ticket;
    link_entry(ledger, index);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    slot->live = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return index;
}

static void unlink_from(const struct ledger *ledger, uint32_t *place, uint32_t index, bool of_owner)
{
    while (*place && *place != index) {
        struct ledger_slot *slot = ledger_slot_at(ledger, *place);
        place = of_owner ? &slot->next_of_owner : &slot->next;
    }
    if (*place) {
        struct ledger_slot *slot = ledger_slot_at(ledger, index);
        *place = of_owner ? slot->next_of_owner : slot->next;
    }
}

void ledger_slot_remove(struct ledger *ledger, uint32_t index)
{
    struct ledger_slot *slot = ledger_slot_at(ledger, index);
    struct ledger_owner *record = ledger_at(ledger, LEDGER_OWNERS, slot->owner);
    slot->live = 0;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    unlink_from(ledger, bucket_of(ledger, slot->owner, slot->id), index, false);
    unlink_from(ledger, &record->slots, index, true);
    ledger_owner_unhold(ledger, slot->owner);
    slot->next = ledger->slots.free;
    ledger->slots.free = index;
}

void ledger_slot_rebuild(struct ledger *ledger)
{
    struct ledger_slots *slots = &ledger->slots;
    if (!slots->bucket) {
        return;
    }
    for (uint32_t i = 0; i < BUCKETS; i++) {
        slots->bucket[i] = 0;
    }
    for (uint64_t i = 1; i < ledger->header->used[LEDGER_OWNERS]; i++) {
        struct ledger_owner *record = ledger_at(ledger, LEDGER_OWNERS, (uint32_t)i);
        if (record) {
            record->slots = 0;
        }
    }
    slots->free = 0;
    for (uint32_t i = 1; i < slots->used; i++) {
        struct ledger_slot *slot = ledger_slot_at(ledger, i);
        if (slot->live) {
            link_entry(ledger, i);
        } else {
            slot->next = slots->free;
            slots->free = i;
        }
    }
}
