/*
 * evidence.c: see evidence.h. Where its tables are full it convicts less, never more.
 */
#include "evidence.h"

#include <stddef.h>

#include "ledger/fault.h"

#define PROBES 16u

static uint64_t mix(uint64_t value)
{
    return value * UINT64_C(0x9e3779b97f4a7c15) >> 32;
}

static bool is_same(const struct evidence_key *a, const struct evidence_key *b)
{
    return a->stack == b->stack && a->kind == b->kind && a->size == b->size;
}

struct evidence_case *evidence_of(struct evidence *evidence, const struct evidence_key *key,
                                  bool make)
{
    uint64_t hash = mix(key->stack ^ key->size << 20 ^ (uint64_t)key->kind << 40);
    if (key->stack == 0) {
        return NULL;
    }
    for (unsigned probe = 0; probe < PROBES; probe++) {
        struct evidence_case *the = &evidence->cases[(hash + probe) % EVIDENCE_KEYS];
        if (the->key.stack == 0 && make) {
            the->key = *key;
        }
        if (is_same(&the->key, key)) {
            return the;
        }
    }
    return NULL;
}

bool evidence_knows(const struct evidence_case *the, uint64_t owner_serial)
{
    for (unsigned i = 0; i < the->owners; i++) {
        if (the->serial[i] == owner_serial) {
            return true;
        }
    }
    return the->owners == EVIDENCE_SANDBOXES;
}

void evidence_left(struct evidence_case *the, uint64_t owner_serial, uint64_t now_ns)
{
    if (evidence_knows(the, owner_serial)) {
        return;
    }
    if (the->owners == 0) {
        the->first_ns = now_ns;
    }
    the->serial[the->owners++] = owner_serial;
}

void evidence_witness(struct evidence_case *the, uint64_t owner_serial, uint32_t look)
{
    if (the->look != look) {
        the->look = look;
        the->one = owner_serial;
        the->several = false;
    }
    the->several |= the->one != owner_serial;
}

bool evidence_has_witnesses(const struct evidence_case *the, uint32_t look)
{
    return the->look == look && the->several;
}

void evidence_acquit(struct evidence *evidence, uint32_t stack)
{
    for (unsigned i = 0; i < EVIDENCE_KEYS; i++) {
        if (evidence->cases[i].key.stack == stack) {
            evidence->cases[i].acquitted = true;
        }
    }
}

/* The stack's place, or a free one; NULL: no room near it. */
static struct evidence_stack *stack_of(const struct evidence *evidence, uint32_t stack)
{
    uint64_t hash = mix(stack);
    for (unsigned probe = 0; probe < PROBES; probe++) {
        const struct evidence_stack *place = &evidence->stacks[(hash + probe) % EVIDENCE_STACKS];
        uint32_t there = __atomic_load_n(&place->stack, __ATOMIC_ACQUIRE);
        if (there == stack || there == 0) {
            return (struct evidence_stack *)place;
        }
    }
    return NULL;
}

/* One that finds no room seems to release by itself from then on. */
void evidence_reclaims(struct evidence *evidence, uint32_t stack)
{
    struct evidence_stack *place = stack ? stack_of(evidence, stack) : NULL;
    if (place) {
        __atomic_add_fetch(&place->reclaimed, 1, __ATOMIC_RELAXED);
        __atomic_store_n(&place->stack, stack, __ATOMIC_RELEASE);
    }
}

uint32_t evidence_reclaimed(const struct evidence *evidence, uint32_t stack)
{
    const struct evidence_stack *place = stack_of(evidence, stack);
    return place ? __atomic_load_n(&place->reclaimed, __ATOMIC_RELAXED) : 0;
}

/* From now on it has released one more than was reclaimed of it. */
void evidence_late(struct evidence *evidence, uint32_t stack)
{
    struct evidence_stack *place = stack ? stack_of(evidence, stack) : NULL;
    if (place) {
        __atomic_sub_fetch(&place->reclaimed, 1, __ATOMIC_RELAXED);
    }
}

bool evidence_convicts(const struct evidence_case *the, uint64_t settle_ns, uint64_t now_ns)
{
    if (FAULT(reclaim_no_evidence)) {
        return the->owners >= 1;
    }
    return !the->acquitted && the->owners == EVIDENCE_SANDBOXES &&
           the->first_ns + EVIDENCE_PATIENCE * settle_ns <= now_ns;
}

/* --- what threads take ------------------------------------------------------------------------ */

/* The thread's place; where there is none, and `make`, that of whoever took something longest ago.
 */
static struct evidence_thread *thread_of(struct evidence *evidence, const struct evidence_case *the,
                                         uint32_t tid, bool make)
{
    uint32_t of = (uint32_t)(the - evidence->cases) + 1;
    uint64_t hash = mix((uint64_t)tid << 16 ^ of);
    struct evidence_thread *oldest = NULL;
    for (unsigned probe = 0; probe < PROBES; probe++) {
        struct evidence_thread *thread = &evidence->threads[(hash + probe) % EVIDENCE_THREADS];
        if (thread->of == of && thread->tid == tid) {
            return thread;
        }
        if (!oldest || thread->of == 0 || thread->newest_ns < oldest->newest_ns) {
            oldest = oldest && oldest->of == 0 ? oldest : thread;
        }
    }
    if (!make) {
        return NULL;
    }
    *oldest = (struct evidence_thread){.of = of, .tid = tid};
    return oldest;
}

void evidence_count_begins(struct evidence *evidence)
{
    for (unsigned i = 0; i < EVIDENCE_THREADS; i++) {
        evidence->threads[i].seen_ns = evidence->threads[i].newest_ns;
    }
}

/* What was taken in the very tick of the clock in which the last look counted is not counted: it
 * may have been. */
static void count(struct evidence *evidence, const struct evidence_case *the, uint32_t tid,
                  uint64_t taken_ns)
{
    struct evidence_thread *thread = thread_of(evidence, the, tid, true);
    if (taken_ns <= thread->seen_ns) {
        return;
    }
    if (taken_ns > thread->newest_ns) {
        thread->newest_ns = taken_ns;
    }
    /* They come in the order of their numbers or addresses: the eight youngest are kept. */
    unsigned place = thread->taken;
    if (thread->taken < EVIDENCE_TAKEN) {
        thread->taken++;
    } else {
        place = 0;
        for (unsigned i = 1; i < EVIDENCE_TAKEN; i++) {
            place = thread->taken_ns[i] < thread->taken_ns[place] ? i : place;
        }
        if (thread->taken_ns[place] >= taken_ns) {
            return;
        }
    }
    thread->taken_ns[place] = taken_ns;
}

void evidence_count(struct evidence *evidence, const struct evidence_key *key, uint32_t tid,
                    uint64_t taken_ns)
{
    const struct evidence_case *the = evidence_of(evidence, key, false);
    if (the && !the->acquitted) {
        count(evidence, the, tid, taken_ns);
        count(evidence, the, EVIDENCE_ANY_THREAD, taken_ns);
    }
}

bool evidence_taken_since(const struct evidence *evidence, const struct evidence_case *the,
                          uint32_t tid, uint64_t since_ns)
{
    const struct evidence_thread *thread = thread_of((struct evidence *)evidence, the, tid, false);
    if (!thread || thread->taken < EVIDENCE_TAKEN) {
        return false;
    }
    for (unsigned i = 0; i < EVIDENCE_TAKEN; i++) {
        if (thread->taken_ns[i] <= since_ns) {
            return false;
        }
    }
    return true;
}
