/*
 * mappings.c: which ranges are mapped, under one lock that nobody waits for.
 *
 * An event is applied by whoever gets the lock; who does not get it queues the event, and the
 * holder applies it before or after it lets go. A handler that jumps out of an update leaves the
 * lock behind: the thread's next entry notices, makes the index and the counters anew from the
 * records, and applies the interrupted event again. Hence every event can be applied twice.
 *
 * Here is the lock and the order of things. What an event does: mappings_events.h; what waits:
 * mappings_queue.h; looks under the lock: mappings_looks.c; the records: mappings_records.h.
 */
#include "fault.h"
#include "index.h"
#include "ledger.h"
#include "mappings_events.h"
#include "mappings_lock.h"
#include "mappings_queue.h"
#include "mappings_records.h"

#define SOON_TRIES 20000u
#define SOON_RESTS 1000u /* the last of the tries */
#define FULL_RESTS 190u  /* 2 s in all; see wait_for_room */
#define FULL_LOOKS 128u
#define REST_NS 500000u
#define NODES_AHEAD 256u

static void apply(struct ledger *ledger, struct ledger_actor *actor,
                  const struct ledger_map_event *event)
{
    switch ((enum ledger_map_op)event->op) {
    case LEDGER_MAP_INSERT:
        ledger_apply_insert(ledger, actor, event);
        break;
    case LEDGER_MAP_FLY:
        ledger_apply_fly(ledger, actor, event);
        break;
    case LEDGER_MAP_COMMIT:
        ledger_apply_commit(ledger, event);
        break;
    case LEDGER_MAP_ROLLBACK:
        ledger_apply_rollback(ledger, event);
        break;
    case LEDGER_MAP_MOVE:
        ledger_apply_move(ledger, actor, event);
        break;
    case LEDGER_MAP_PROTECT:
        ledger_apply_protect(ledger, actor, event);
        break;
    case LEDGER_MAP_ASSIGN:
        ledger_apply_assign(ledger, actor, event);
        break;
    case LEDGER_MAP_BIND:
        ledger_apply_bind(ledger, actor, event);
        break;
    case LEDGER_MAP_UNBIND:
        ledger_apply_unbind(ledger, event);
        break;
    case LEDGER_MAP_UNBIND_ALL:
        ledger_apply_unbind_all(ledger, event);
        break;
    case LEDGER_MAP_KEEP:
        ledger_apply_keep(ledger, actor, event);
        break;
    case LEDGER_MAP_MARK:
        ledger_apply_mark(ledger, actor, event);
        break;
    }
}

static void apply_taken(struct ledger *ledger, struct ledger_actor *actor)
{
    const struct ledger_map_event *event;
    while ((event = ledger_queue_first(ledger)) != NULL) {
        apply(ledger, actor, event);
        ledger_queue_done(ledger);
    }
}

/* Applies what has been queued. */
static APART void drain(struct ledger *ledger, struct ledger_actor *actor)
{
    apply_taken(ledger, actor);
    while (ledger_queue_waits(ledger)) {
        ledger_queue_take(ledger);
        apply_taken(ledger, actor);
    }
    ledger_queue_mark_lost(ledger);
}

static inline void drain_waiting(struct ledger *ledger, struct ledger_actor *actor)
{
    if (__builtin_expect(ledger->draining || ledger_queue_waits(ledger) ||
                             __atomic_load_n(&ledger->lost, __ATOMIC_SEQ_CST),
                         0)) {
        drain(ledger, actor);
    }
}

/* For a repair. Field by field: what was just stored in small pieces is slow to be loaded in large
 * ones. */
static void keep_current(struct ledger *ledger, const struct ledger_map_event *event)
{
    volatile struct ledger_map_event *current = &ledger->current;
    current->start = event->start;
    current->end = event->end;
    current->to_start = event->to_start;
    current->to_end = event->to_end;
    current->ticket = event->ticket;
    current->new_ticket = event->new_ticket;
    current->now_ns = event->now_ns;
    current->stack = event->stack;
    current->owner = event->owner;
    current->tid = event->tid;
    current->detail = event->detail;
    current->flags = event->flags;
    current->op = event->op;
    current->prot = event->prot;
    current->keep_old = event->keep_old;
    current->fixed = event->fixed;
}

/* From here on it happens, whoever jumps out of what: see ledger_map_repair. */
static inline void begin_applying(struct ledger *ledger)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    ledger->applying = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void end_applying(struct ledger *ledger)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    ledger->applying = 0;
}

/* --- the lock --- */

static bool try_lock(struct ledger *ledger, struct ledger_actor *actor)
{
    struct ledger_actor *nobody = NULL;
    if (ledger_alone(ledger)) { /* who comes in between has come to an end, or we never go on */
        bool free = __atomic_load_n(&ledger->lock, __ATOMIC_RELAXED) == NULL;
        if (free) {
            __atomic_store_n(&ledger->lock, actor, __ATOMIC_RELAXED);
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
        }
        return free;
    }
    return __atomic_compare_exchange_n(&ledger->lock, &nobody, actor, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_RELAXED);
}

static void unlock(struct ledger *ledger)
{
    if (__builtin_expect(__atomic_load_n(&ledger->stuck, __ATOMIC_RELAXED), 0)) {
        __atomic_store_n(&ledger->stuck, 0, __ATOMIC_RELAXED);
    }
    if (ledger_alone(ledger)) {
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        __atomic_store_n(&ledger->lock, NULL, __ATOMIC_RELAXED);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
    } else {
        __atomic_store_n(&ledger->lock, NULL, __ATOMIC_SEQ_CST);
    }
}

/* Lets the holder of the lock run, which may have been put aside with more threads than cores.
 * False: not allowed here, or there has been enough waiting for one that was stopped for good. */
static bool rest(const struct ledger *ledger, const struct ledger_actor *actor, uint32_t ns)
{
    return !FAULT(ring_not_drained) && ledger->backing->yield &&
           !__atomic_load_n(&ledger->stuck, __ATOMIC_RELAXED) && ledger->backing->yield(actor, ns);
}

/* The queue is full, and the lock is another's. True: there is room, or the lock is free. Many
 * looks between two rests: the places that a running holder frees go one by one, to whoever looks
 * at that moment. Rests of 0.5 ms at first, of 16 ms at last: many that wake every moment would
 * themselves keep the holder from its core. Only a holder that frees nothing at all is given up,
 * and by all others, too. */
static APART bool wait_for_room(struct ledger *ledger, const struct ledger_actor *actor)
{
    uint64_t freed = ledger_queue_freed(ledger);
    for (unsigned rests = 0; rests < FULL_RESTS; rests++) {
        for (unsigned looks = 0; looks < FULL_LOOKS && !FAULT(ring_not_drained); looks++) {
            if (ledger_queue_has_room(ledger) ||
                __atomic_load_n(&ledger->lock, __ATOMIC_RELAXED) == NULL) {
                return true;
            }
        }
        if (ledger_queue_freed(ledger) != freed) {
            freed = ledger_queue_freed(ledger);
            rests = 0;
        }
        unsigned doublings = rests / 16;
        if (!rest(ledger, actor, REST_NS << (doublings < 5 ? doublings : 5))) {
            return false;
        }
    }
    __atomic_store_n(&ledger->stuck, 1, __ATOMIC_RELAXED);
    return false;
}

/* Another thread's update takes less than a microsecond, unless that thread is put aside in the
 * middle of it: then it is given some time. One that was stopped for good is not waited for. */
static bool lock_soon(struct ledger *ledger, struct ledger_actor *actor)
{
    for (unsigned tries = 0; tries < SOON_TRIES; tries++) {
        if (try_lock(ledger, actor)) {
            return true;
        }
        if (tries > SOON_TRIES - SOON_RESTS && !rest(ledger, actor, REST_NS)) {
            return false;
        }
    }
    return false;
}

/* Whoever queued while the lock was taken relies on its holder, and the holder on this look after
 * it let go: one of the two always sees the other. A handler that comes between the look and the
 * end of the mark is seen by the second look. */
static inline void drain_rest(struct ledger *ledger, struct ledger_actor *actor, ledger_mark frame)
{
    while (ledger_queue_waits(ledger)) {
        ledger_set_mark(&actor->locked, frame);
        bool ours = try_lock(ledger, actor);
        if (ours) {
            drain(ledger, actor);
            unlock(ledger);
        }
        ledger_set_mark(&actor->locked, NULL);
        if (!ours) {
            break;
        }
    }
}

static inline bool open_map(struct ledger *ledger, struct ledger_actor *actor, ledger_mark frame,
                            enum ledger_patience patience)
{
    if (actor->locked) {
        return false;
    }
    ledger_set_mark(&actor->locked, frame);
    if (patience == LEDGER_LOCK_SOON ? lock_soon(ledger, actor) : try_lock(ledger, actor)) {
        drain_waiting(ledger, actor);
        return true;
    }
    ledger_set_mark(&actor->locked, NULL);
    drain_rest(ledger, actor, frame);
    return false;
}

static inline void close_map(struct ledger *ledger, struct ledger_actor *actor, ledger_mark frame)
{
    unlock(ledger);
    ledger_set_mark(&actor->locked, NULL);
    drain_rest(ledger, actor, frame);
}

bool ledger_map_open(struct ledger *ledger, struct ledger_actor *actor, ledger_mark frame,
                     enum ledger_patience patience)
{
    return open_map(ledger, actor, frame, patience);
}

void ledger_map_apply(struct ledger *ledger, struct ledger_actor *actor,
                      const struct ledger_map_event *event)
{
    keep_current(ledger, event);
    begin_applying(ledger);
    apply(ledger, actor, event);
    end_applying(ledger);
}

void ledger_map_close(struct ledger *ledger, struct ledger_actor *actor, ledger_mark frame)
{
    close_map(ledger, actor, frame);
}

/* --- events --- */

void ledger_map_submit(struct ledger *ledger, struct ledger_actor *actor,
                       const struct ledger_map_event *event)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    if (actor->locked && !FAULT(waits_for_lock)) { /* a handler above our own update */
        if (!ledger_queue_add(ledger, event)) {
            ledger_queue_lose(ledger, event);
        }
        return;
    }
    ledger_set_mark(&actor->locked, &canary);
    while (FAULT(waits_for_lock) && __atomic_load_n(&ledger->lock, __ATOMIC_RELAXED)) {
    }
    for (;;) {
        if (try_lock(ledger, actor)) {
            keep_current(ledger, event);
            begin_applying(ledger);
            drain_waiting(ledger, actor);
            apply(ledger, actor, event);
            end_applying(ledger);
            unlock(ledger);
            break;
        }
        if (ledger_queue_add(ledger, event)) {
            break;
        }
        if (!wait_for_room(ledger, actor)) {
            ledger_queue_lose(ledger, event);
            break;
        }
    }
    ledger_set_mark(&actor->locked, NULL);
    drain_rest(ledger, actor, &canary);
}

bool ledger_map_fly_whole(struct ledger *ledger, struct ledger_actor *actor, uint64_t start,
                          uint64_t end, uint64_t ticket)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    if (FAULT(waits_for_lock) || !open_map(ledger, actor, &canary, LEDGER_LOCK_ONCE)) {
        return false;
    }
    struct ledger_position position = ledger_index_find(ledger, start);
    bool whole = position.node && ledger_record_is(ledger_record_at(ledger, position), start, end);
    if (whole) {
        ledger_record_fly(ledger_record_at(ledger, position), ticket);
    }
    close_map(ledger, actor, &canary);
    return whole;
}

bool ledger_map_commit_whole(struct ledger *ledger, struct ledger_actor *actor, uint64_t start,
                             uint64_t end, uint64_t ticket, uint32_t stack)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    if (FAULT(waits_for_lock) || !open_map(ledger, actor, &canary, LEDGER_LOCK_ONCE)) {
        return false;
    }
    struct ledger_position position = ledger_index_find(ledger, start);
    bool whole = position.node &&
                 ledger_record_is(ledger_record_at(ledger, position), start, end) &&
                 ledger_record_flies(ledger_record_at(ledger, position), ticket);
    if (whole) {
        ledger->current.op = LEDGER_MAP_COMMIT; /* and what a commit looks at, for a repair */
        ledger->current.start = start;
        ledger->current.end = end;
        ledger->current.ticket = ticket;
        ledger->current.stack = stack;
        begin_applying(ledger);
        ledger_record_drop(ledger, position, stack);
        end_applying(ledger);
    }
    close_map(ledger, actor, &canary);
    return whole;
}

bool ledger_map_catch_up(struct ledger *ledger, struct ledger_actor *actor)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    bool ours = open_map(ledger, actor, &canary, LEDGER_LOCK_SOON);
    if (ours) {
        close_map(ledger, actor, &canary);
    }
    return ours;
}

bool ledger_map_is_settled(const struct ledger *ledger)
{
    return !ledger_queue_waits(ledger) && __atomic_load_n(&ledger->lock, __ATOMIC_SEQ_CST) == NULL;
}

void ledger_map_make_ahead(struct ledger *ledger, struct ledger_actor *actor)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    if (open_map(ledger, actor, &canary, LEDGER_LOCK_ONCE)) {
        ledger_index_provide(ledger, actor, LEDGER_INDEX_DEPTH + NODES_AHEAD);
        close_map(ledger, actor, &canary);
    }
}

void ledger_map_repair(struct ledger *ledger, struct ledger_actor *actor)
{
    if (ledger->lock == actor) {
        volatile uint64_t canary = LEDGER_CANARY(&canary);
        ledger_set_mark(&actor->locked, &canary);
        ledger_queue_repair(ledger);
        ledger_record_rebuild(ledger, actor);
        apply_taken(ledger, actor);
        if (ledger->applying) { /* once more: the first time was cut short */
            apply(ledger, actor, &ledger->current);
            end_applying(ledger);
        }
        drain(ledger, actor);
        unlock(ledger);
    }
    ledger_set_mark(&actor->locked, NULL);
}
