/*
 * slots.h: the memory slots of VMs, for mappings_bound.c. All of it only under the mappings'
 * lock, in the writer's own memory: what readers want to know of it stands in the mappings.
 */
#ifndef BOXLEDGER_LEDGER_SLOTS_H
#define BOXLEDGER_LEDGER_SLOTS_H

#include "ledger.h"

struct ledger_slot {
    uint32_t live;
    uint32_t owner; /* the VM */
    uint32_t id;    /* as given to the kernel: address space << 16 | slot */
    uint32_t next;  /* in its bucket, or in the free list */
    uint32_t next_of_owner;
    uint32_t reserved;
    uint64_t start, end; /* of the supervisor's memory */
    uint64_t ticket;     /* of the binding */
};

static inline struct ledger_slot *ledger_slot_at(const struct ledger *ledger, uint32_t index)
{
    struct ledger_slot *segment = ledger->slots.segment[index / LEDGER_SLOTS_PER_SEGMENT];
    return &segment[index % LEDGER_SLOTS_PER_SEGMENT];
}

/* Slot `id` of VM `owner`, as an index; 0: none. */
uint32_t ledger_slot_find(const struct ledger *ledger, uint32_t owner, uint32_t id);

/* A VM's first slot; the others follow by next_of_owner. 0: none. */
uint32_t ledger_slot_first(const struct ledger *ledger, uint32_t owner);

/* Adds one that is not there yet. 0: no room. */
uint32_t ledger_slot_add(struct ledger *ledger, struct ledger_actor *actor, uint32_t owner,
                         const struct ledger_map_event *event);

void ledger_slot_remove(struct ledger *ledger, uint32_t index);

/* Buckets, lists and the owners' heads anew, from the live entries: after an update that was cut
 * short. */
void ledger_slot_rebuild(struct ledger *ledger);

#endif
