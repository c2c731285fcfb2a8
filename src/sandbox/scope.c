/*
 * scope.c: whose something is that a thread acquires now.
 *
 * Explicit scopes are a stack of the thread's own. A notification's scope is the thread's for as
 * long as nobody has answered that notification: supervisors answer on another thread, late, or
 * never, so whoever answers strikes it off a table that all threads look at. Two notifications
 * that meet in one place of the table end the older one's scope early, which costs an attribution
 * and accuses nobody.
 */
#include "ledger/fault.h"
#include "sandbox.h"

static uint64_t key_of(uint32_t owner, uint64_t id)
{
    uint64_t key = id * UINT64_C(0x9e3779b97f4a7c15) ^ owner;
    return key ? key : 1;
}

static uint64_t *place_of(struct sandbox *sandbox, uint64_t key)
{
    return &sandbox->answering[(key ^ key >> 32) % SANDBOX_ANSWERING];
}

/* The owner of the innermost explicit scope; 0: it ended so long ago that it is forgotten. A thread
 * that never leaves must not take things for the one that has its record now. */
static uint32_t entered_owner(const struct sandbox_thread *thread)
{
    uint32_t owner = thread->entered[thread->depth - 1];
    const struct ledger_owner *record = ledger_owner(thread->ledger, owner);
    bool same = record && (uint32_t)record->serial == thread->entered_serial[thread->depth - 1];
    return same ? owner : 0;
}

struct sandbox_scope sandbox_scope_now(const struct sandbox *sandbox,
                                       const struct sandbox_thread *thread)
{
    if (thread->depth && !FAULT(scopes_unsaid)) {
        uint32_t owner = entered_owner(thread);
        return (struct sandbox_scope){owner, owner != 0};
    }
    if (thread->thread_owner) {
        return (struct sandbox_scope){thread->thread_owner, true};
    }
    uint64_t key = key_of(thread->answers, thread->answers_id);
    const uint64_t *place = &sandbox->answering[(key ^ key >> 32) % SANDBOX_ANSWERING];
    bool open = thread->answers && __atomic_load_n(place, __ATOMIC_RELAXED) == key;
    return (struct sandbox_scope){open ? thread->answers : 0, false};
}

void sandbox_answer_begins(struct sandbox *sandbox, struct sandbox_thread *thread, uint32_t owner,
                           uint64_t id)
{
    uint64_t key = key_of(owner, id);
    __atomic_store_n(place_of(sandbox, key), key, __ATOMIC_RELAXED);
    thread->answers = owner;
    thread->answers_id = id;
}

void sandbox_answered(struct sandbox *sandbox, uint32_t owner, uint64_t id)
{
    uint64_t key = key_of(owner, id);
    __atomic_compare_exchange_n(place_of(sandbox, key), &key, 0, false, __ATOMIC_RELAXED,
                                __ATOMIC_RELAXED);
}
