/*
 * stacks.c: call stacks, each stored once.
 *
 * Insert-only and lock-free: a stack is written in full, then hung before its bucket's chain by
 * one compare-and-swap. It never changes or removes a stack; their number is bounded by the code
 * paths of the program.
 */
#include "ledger.h"

static uint32_t hash_frames(const uint64_t *frames, unsigned count)
{
    uint64_t hash = 0x9e3779b97f4a7c15u;
    for (unsigned i = 0; i < count; i++) {
        hash = (hash ^ frames[i]) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    return (uint32_t)hash;
}

/* A library that comes and goes makes a generation each time. A stack that it has no part in must
 * not become another one by that, or such a program would fill the ledger. */
static bool same_code(const struct ledger *ledger, struct ledger_stack *stack,
                      const uint64_t *frames, unsigned count, uint32_t generation)
{
    if (stack->generation == generation ||
        __atomic_load_n(&stack->checked, __ATOMIC_RELAXED) == generation) {
        return true;
    }
    if (!ledger->backing->code_since ||
        ledger->backing->code_since(frames, count) > stack->generation) {
        return false;
    }
    __atomic_store_n(&stack->checked, generation, __ATOMIC_RELAXED);
    return true;
}

static bool same_stack(const struct ledger *ledger, struct ledger_stack *stack,
                       const uint64_t *frames, unsigned count, uint32_t generation)
{
    if (stack->frames != count) {
        return false;
    }
    const uint64_t *mine = ledger_at(ledger, LEDGER_FRAMES, stack->first_frame);
    for (unsigned i = 0; i < count; i++) {
        if (mine[i] != frames[i]) {
            return false;
        }
    }
    return same_code(ledger, stack, frames, count, generation);
}

/* Looks from `index` on, up to but without `until`. */
static uint32_t find(const struct ledger *ledger, uint32_t index, uint32_t until, uint32_t hash,
                     const uint64_t *frames, unsigned count, uint32_t generation)
{
    while (index != until) {
        struct ledger_stack *stack = ledger_stack(ledger, index);
        if (stack->hash == hash && same_stack(ledger, stack, frames, count, generation)) {
            return index;
        }
        index = stack->next;
    }
    return 0;
}

static uint32_t no_room(struct ledger *ledger)
{
    __atomic_add_fetch(&ledger->header->missed_stacks, 1, __ATOMIC_RELAXED);
    ledger_incomplete(ledger, LEDGER_INCOMPLETE_STACKS);
    return 0;
}

uint32_t ledger_stack_intern(struct ledger *ledger, struct ledger_actor *actor,
                             const uint64_t *frames, unsigned count, unsigned flags,
                             uint32_t generation)
{
    if (count == 0) {
        return 0;
    }
    uint32_t hash = hash_frames(frames, count);
    uint32_t *bucket = &ledger->stack_bucket[hash % LEDGER_STACK_BUCKETS];
    uint32_t head = __atomic_load_n(bucket, __ATOMIC_ACQUIRE);
    uint32_t known = find(ledger, head, 0, hash, frames, count, generation);
    if (__builtin_expect(known != 0, 1)) {
        return known;
    }
    uint32_t index = ledger_reserve(ledger, actor, LEDGER_STACKS, 1);
    uint32_t first = index ? ledger_reserve(ledger, actor, LEDGER_FRAMES, count) : 0;
    if (first == 0) {
        return no_room(ledger);
    }
    uint64_t *mine = ledger_at(ledger, LEDGER_FRAMES, first);
    for (unsigned i = 0; i < count; i++) {
        mine[i] = frames[i];
    }
    struct ledger_stack *stack = ledger_stack(ledger, index);
    stack->hash = hash;
    stack->first_frame = first;
    stack->frames = (uint16_t)count;
    stack->flags = (uint16_t)flags;
    stack->generation = generation;
    stack->epoch = __atomic_load_n(&ledger->header->epoch, __ATOMIC_RELAXED);
    (void)ledger_make(ledger, actor, LEDGER_GROWTH, index); /* without room it never grows */
    for (;;) {
        uint32_t seen = head;
        stack->next = seen;
        __atomic_store_n(&stack->state, LEDGER_LIVE, __ATOMIC_RELEASE);
        if (__atomic_compare_exchange_n(bucket, &head, index, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
            return index;
        }
        known = find(ledger, head, seen, hash, frames, count, generation);
        if (known != 0) { /* another thread came first; ours is never referred to */
            __atomic_store_n(&stack->state, LEDGER_EMPTY, __ATOMIC_RELEASE);
            return known;
        }
    }
}

void ledger_stack_feeds_pool(struct ledger *ledger, uint32_t index)
{
    struct ledger_stack *stack = index ? ledger_stack(ledger, index) : NULL;
    struct ledger_growth *growth = index ? ledger_at(ledger, LEDGER_GROWTH, index) : NULL;
    if (!stack || ledger_stack_is_pool(stack)) {
        return;
    }
    ledger_growth(ledger, index, stack);
    __atomic_or_fetch(&stack->flags, LEDGER_STACK_REBINDS, __ATOMIC_SEQ_CST);
    if (growth) {
        __atomic_store_n(&growth->mappings_owned, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&growth->fds_owned, 0, __ATOMIC_RELAXED);
    }
}

/* The last two that differ: threads may mix them up, but each was one. */
void ledger_stack_released_anew(struct ledger_stack *stack, uint32_t by)
{
    uint32_t last = __atomic_exchange_n(&stack->released_by[0], by, __ATOMIC_RELAXED);
    __atomic_store_n(&stack->released_by[1], last, __ATOMIC_RELAXED);
}
