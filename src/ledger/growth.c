/*
 * growth.c: how many of a stack's resources were held each time that a sandbox ended.
 *
 * Nobody goes through the stacks when a sandbox ends. A stack's counts are looked at when they are
 * about to change: what they are then is what they were at every end since they last changed. It
 * draws no conclusion; readers look for what climbs.
 */
#include "ledger.h"

#define STUCK_EPOCHS 65536u /* who has been at a record for so long was jumped out of it */

/* What of the stack's resources is not one owner's alone. */
static uint32_t loose(const struct ledger_stack *stack, const struct ledger_growth *growth)
{
    int64_t held = (int64_t)__atomic_load_n(&stack->fds_live, __ATOMIC_RELAXED) +
                   __atomic_load_n(&stack->mappings_live, __ATOMIC_RELAXED) -
                   __atomic_load_n(&growth->fds_owned, __ATOMIC_RELAXED) -
                   __atomic_load_n(&growth->mappings_owned, __ATOMIC_RELAXED);
    return held > 0 ? (uint32_t)held : 0;
}

/* Each two intervals become one. The last may have nothing noted yet in its upper half. */
static void join_pairs(struct ledger_growth *growth)
{
    uint32_t noted = growth->noted - growth->first;
    for (uint32_t i = 0; i < LEDGER_GROWTH_INTERVALS / 2; i++) {
        uint32_t low = growth->interval[(size_t)2 * i].low;
        uint32_t owners = growth->interval[(size_t)2 * i].owners;
        if ((2 * i + 1) * growth->stride < noted) {
            uint32_t low2 = growth->interval[(size_t)2 * i + 1].low;
            uint32_t owners2 = growth->interval[(size_t)2 * i + 1].owners;
            low = low2 < low ? low2 : low;
            owners = owners2 > owners ? owners2 : owners;
        }
        growth->interval[i].low = low;
        growth->interval[i].owners = owners;
    }
    growth->stride *= 2;
}

void ledger_growth_extend(struct ledger_growth *growth, uint32_t until, uint32_t held,
                          uint32_t owners)
{
    while ((until - 1 - growth->first) / growth->stride >= LEDGER_GROWTH_INTERVALS) {
        join_pairs(growth);
    }
    uint32_t from = (growth->noted - growth->first) / growth->stride;
    uint32_t to = (until - 1 - growth->first) / growth->stride;
    for (uint32_t i = from; i <= to; i++) {
        bool begun = growth->first + i * growth->stride < growth->noted;
        if (!begun || held < growth->interval[i].low) {
            growth->interval[i].low = held;
        }
        if (!begun || owners > growth->interval[i].owners) {
            growth->interval[i].owners = owners;
        }
    }
    growth->noted = until;
}

void ledger_growth_note(struct ledger *ledger, uint32_t index, struct ledger_stack *stack)
{
    struct ledger_growth *growth = ledger_at(ledger, LEDGER_GROWTH, index);
    uint32_t epoch = __atomic_load_n(&ledger->header->epoch, __ATOMIC_RELAXED);
    uint32_t owners = __atomic_load_n(&ledger->header->owners_live, __ATOMIC_RELAXED);
    if (growth) {
        uint32_t writing = __atomic_load_n(&growth->writing, __ATOMIC_ACQUIRE);
        if (writing != 0 && epoch - (writing - 1) < STUCK_EPOCHS) {
            return; /* that one sees what we see */
        }
        if (!__atomic_compare_exchange_n(&growth->writing, &writing, epoch + 1, false,
                                         __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
            return;
        }
        if (growth->stride == 0) {
            growth->stride = 1;
            growth->first = growth->noted = __atomic_load_n(&stack->epoch, __ATOMIC_RELAXED);
        }
        if ((int32_t)(epoch - growth->noted) > 0) {
            ledger_growth_extend(growth, epoch, loose(stack, growth), owners);
        }
        __atomic_store_n(&growth->writing, 0, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&stack->epoch, epoch, __ATOMIC_RELAXED);
}
