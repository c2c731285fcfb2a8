/*
 * descriptors.c: one slot a descriptor number; no lock.
 *
 * A slot's `state` word is everything: bits 0..2 the published state, bits 3 and 4 what happened
 * to the number while its record was being written, bits 5.. a count that makes each publication
 * different. Whoever swaps it to LEDGER_BUSY writes the other fields; whoever meets LEDGER_BUSY
 * (another thread after an unseen close, or a signal handler above the very frame that writes)
 * leaves a word there and goes on. The writer finds it and publishes what is still true.
 *
 * It never asks the kernel: what was lost becomes LEDGER_UNSURE, and readers ask.
 */
#include "fault.h"
#include "ledger.h"

#define STATE(word) ((word)&7u)
#define RETAKEN 8u   /* while busy, the number was handed out again */
#define RELEASED 16u /* while busy, a close of it began */
#define NEXT(word) (((word) | 31u) + 1u)
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* As __atomic_compare_exchange_n. */
#define swap(word, expected, desired) ledger_swap32(ledger, word, expected, desired)

/* Who released a number says so in `detail`, maybe after the next thread was given that number: a
 * close has two ends. What either of them reads there names a stack, no more; hence relaxed. */
static uint32_t detail_of(const struct ledger_fd *record)
{
    return __atomic_load_n(&record->detail, __ATOMIC_RELAXED);
}

static void set_detail(struct ledger_fd *record, uint32_t detail)
{
    __atomic_store_n(&record->detail, detail, __ATOMIC_RELAXED);
}

/* Whether it is one owner's alone, and no business of "growing". */
static bool is_owned(uint32_t owner, uint16_t flags)
{
    return owner != 0 && !(flags & (LEDGER_SHARED | LEDGER_TIED));
}

static void count_owned(struct ledger *ledger, uint32_t index, int amount)
{
    struct ledger_growth *growth = index ? ledger_at(ledger, LEDGER_GROWTH, index) : NULL;
    if (growth && !ledger_stack_is_pool(ledger_stack(ledger, index))) {
        __atomic_add_fetch(&growth->fds_owned, amount, __ATOMIC_RELAXED);
    }
}

static void count_taken(struct ledger *ledger, const struct ledger_fd *record)
{
    struct ledger_stack *stack = record->stack ? ledger_stack(ledger, record->stack) : NULL;
    if (stack) {
        ledger_growth(ledger, record->stack, stack);
        ledger_add32(ledger, &stack->fds_live, 1);
        ledger_add32(ledger, &stack->acquired, 1);
    }
}

/* What a record says of its stack and owner, to be taken back when it goes. */
struct claim {
    uint32_t stack;
    uint32_t owner;
    uint16_t flags;
};

static struct claim claim_of(const struct ledger_fd *record)
{
    return (struct claim){record->stack, record->owner, record->flags};
}

static void drop_owner(struct ledger *ledger, struct ledger_actor *actor, struct claim claim,
                       uint32_t by)
{
    ledger_owner_count(ledger, claim.owner, -1, 0, 0);
    if (is_owned(claim.owner, claim.flags)) {
        count_owned(ledger, claim.stack, -1);
    }
    if (claim.flags & LEDGER_ANCHOR) {
        ledger_owner_unanchor(ledger, actor, claim.owner, by);
    }
}

/* Makes `owner` the owner of a record that is being written. */
static void set_owner(struct ledger *ledger, struct ledger_fd *record, uint32_t owner)
{
    if (unlikely(owner != 0) && !ledger_owner_count(ledger, owner, 1, 0, 0)) {
        owner = 0;
    }
    if (likely(owner == 0)) {
        record->flags &= (uint16_t) ~(LEDGER_ANCHOR | LEDGER_SCOPED | LEDGER_TIED);
    }
    if (record->flags & LEDGER_ANCHOR) {
        ledger_owner_anchor(ledger, owner);
    }
    if (is_owned(owner, record->flags)) {
        count_owned(ledger, record->stack, 1);
    }
    __atomic_store_n(&record->owner, owner, __ATOMIC_RELAXED);
}

static inline void count_gone(struct ledger *ledger, uint32_t index, uint32_t by)
{
    struct ledger_stack *stack = index ? ledger_stack(ledger, index) : NULL;
    if (stack) {
        ledger_growth(ledger, index, stack);
        ledger_add32(ledger, &stack->fds_live, UINT32_MAX); /* one less */
        ledger_stack_released(ledger, stack, by);
    }
}

static void count_released(struct ledger *ledger, struct ledger_actor *actor, struct claim claim,
                           uint32_t by)
{
    count_gone(ledger, claim.stack, by);
    if (unlikely(claim.owner != 0)) {
        drop_owner(ledger, actor, claim, by);
    }
}

static bool holds(uint32_t word)
{
    return STATE(word) == LEDGER_LIVE || STATE(word) == LEDGER_IN_FLIGHT;
}

/* Something happened to its number meanwhile: `word` says what. */
static __attribute__((noinline)) void publish_other(struct ledger *ledger,
                                                    struct ledger_actor *actor,
                                                    struct ledger_fd *record, uint32_t word)
{
    count_released(ledger, actor, claim_of(record), 0);
    record->stack = 0;
    record->owner = 0;
    record->kind = LEDGER_FD_UNKNOWN;
    record->flags = LEDGER_UNSURE;
    for (;;) {
        uint32_t final = word & RETAKEN ? (word & ~31u) | LEDGER_LIVE : NEXT(word) | LEDGER_EMPTY;
        if (swap(&record->state, &word, final)) {
            return;
        }
    }
}

/* Publishes the record that `busy` claims, or what other events made of it meanwhile. */
static inline void publish(struct ledger *ledger, struct ledger_actor *actor,
                           struct ledger_fd *record, uint32_t busy)
{
    uint32_t word = busy;
    if (unlikely(!swap(&record->state, &word, (busy & ~31u) | LEDGER_LIVE))) {
        publish_other(ledger, actor, record, word);
    }
}

static inline bool take(struct ledger *ledger, struct ledger_actor *actor, int fd,
                        const struct ledger_fd_event *event, bool adopt)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    bool done = false;
    struct ledger_fd *record = ledger_made(ledger, actor, LEDGER_FDS, (uint32_t)fd);
    if (!record) {
        __atomic_add_fetch(&ledger->header->missed_records, 1, __ATOMIC_RELAXED);
        ledger_incomplete(ledger, LEDGER_INCOMPLETE_RECORDS);
        return false;
    }
    /* A handler that takes a descriptor above this very function hides its mark for a while. */
    ledger_mark outer = actor->busy;
    uint32_t outer_fd = actor->busy_fd;
    ledger_set_mark(&actor->busy, NULL);
    actor->busy_fd = (uint32_t)fd;
    ledger_set_mark(&actor->busy, &canary);

    uint32_t word = __atomic_load_n(&record->state, __ATOMIC_ACQUIRE);
    uint32_t busy;
    for (;;) {
        if (adopt && (STATE(word) == LEDGER_LIVE || STATE(word) == LEDGER_BUSY)) {
            goto out;
        }
        if (STATE(word) == LEDGER_BUSY) {
            if (swap(&record->state, &word, (word & ~RELEASED) | RETAKEN)) {
                goto out;
            }
            continue;
        }
        busy = NEXT(word) | LEDGER_BUSY;
        if (swap(&record->state, &word, busy)) {
            break;
        }
    }
    if (holds(word)) {
        if (STATE(word) == LEDGER_LIVE) {
            __atomic_add_fetch(&ledger->header->fd_closes_unseen, 1, __ATOMIC_RELAXED);
        }
        count_released(ledger, actor, claim_of(record), 0);
    }
    record->kind = event->kind;
    record->flags = event->flags;
    record->stack = event->stack;
    record->tid = actor->tid;
    set_detail(record, event->detail);
    record->since_ns = event->now_ns;
    count_taken(ledger, record);
    set_owner(ledger, record, event->owner);
    publish(ledger, actor, record, busy);
    done = true;
out:
    ledger_set_mark(&actor->busy, NULL);
    actor->busy_fd = outer_fd;
    ledger_set_mark(&actor->busy, outer);
    return done;
}

void ledger_fd_take(struct ledger *ledger, struct ledger_actor *actor, int fd,
                    const struct ledger_fd_event *event)
{
    take(ledger, actor, fd, event, false);
}

bool ledger_fd_adopt(struct ledger *ledger, struct ledger_actor *actor, int fd,
                     const struct ledger_fd_event *event)
{
    return take(ledger, actor, fd, event, true);
}

bool ledger_fd_assign(struct ledger *ledger, struct ledger_actor *actor, int fd, uint32_t owner,
                      uint16_t set, uint16_t clear, enum ledger_fd_kind kind)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    struct ledger_fd *record = ledger_fd_record(ledger, fd);
    uint32_t word = record ? __atomic_load_n(&record->state, __ATOMIC_ACQUIRE) : 0;
    if (STATE(word) != LEDGER_LIVE || (owner != 0 && !ledger_owner_hold(ledger, owner))) {
        return false;
    }
    ledger_mark outer = actor->busy;
    uint32_t outer_fd = actor->busy_fd;
    ledger_set_mark(&actor->busy, NULL);
    actor->busy_fd = (uint32_t)fd;
    ledger_set_mark(&actor->busy, &canary);

    uint32_t busy = NEXT(word) | LEDGER_BUSY;
    bool ours = swap(&record->state, &word, busy); /* else it is another's by now */
    if (ours) {
        struct ledger_stack *stack = record->stack ? ledger_stack(ledger, record->stack) : NULL;
        if (stack) {
            ledger_growth(ledger, record->stack, stack);
        }
        struct claim old = claim_of(record);
        record->flags = (uint16_t)((record->flags & ~clear) | set);
        record->kind = kind == LEDGER_FD_UNKNOWN ? record->kind : (uint16_t)kind;
        set_owner(ledger, record, owner);
        drop_owner(ledger, actor, old, 0); /* after: an anchor that stays is never the last */
        publish(ledger, actor, record, busy);
    }
    ledger_set_mark(&actor->busy, NULL);
    actor->busy_fd = outer_fd;
    ledger_set_mark(&actor->busy, outer);
    if (owner != 0) {
        ledger_owner_unhold(ledger, owner);
    }
    return ours;
}

bool ledger_fd_reclaim(struct ledger *ledger, struct ledger_actor *actor, int fd, uint32_t state,
                       uint64_t now_ns)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    struct ledger_fd *record = ledger_fd_record(ledger, fd);
    if (!record || STATE(state) != LEDGER_LIVE) {
        return false;
    }
    ledger_mark outer = actor->busy;
    uint32_t outer_fd = actor->busy_fd;
    ledger_set_mark(&actor->busy, NULL);
    actor->busy_fd = (uint32_t)fd;
    ledger_set_mark(&actor->busy, &canary);

    uint32_t busy = NEXT(state) | LEDGER_BUSY;
    bool ours = swap(&record->state, &state, busy);
    if (ours) {
        struct claim old = claim_of(record);
        record->kind = LEDGER_FD_RECLAIMED;
        record->flags = LEDGER_CLOEXEC;
        record->stack = 0;
        record->since_ns = now_ns;
        __atomic_store_n(&record->owner, 0, __ATOMIC_RELAXED);
        set_detail(record, old.stack);
        publish(ledger, actor, record, busy);
        count_released(ledger, actor, old, 0);
        /* A close that came meanwhile has made it something else again. */
        ours = __atomic_load_n(&record->state, __ATOMIC_ACQUIRE) == ((busy & ~31u) | LEDGER_LIVE);
    }
    ledger_set_mark(&actor->busy, NULL);
    actor->busy_fd = outer_fd;
    ledger_set_mark(&actor->busy, outer);
    return ours;
}

void ledger_fd_repair(struct ledger *ledger, struct ledger_actor *actor)
{
    struct ledger_fd *record = ledger_at(ledger, LEDGER_FDS, actor->busy_fd);
    uint32_t word = record ? __atomic_load_n(&record->state, __ATOMIC_ACQUIRE) : 0;
    if (STATE(word) == LEDGER_BUSY) {
        /* The fields may be half written: held, and only the kernel knows what. */
        record->stack = 0;
        record->owner = 0; /* one that it was counted for is never used again: no harm */
        record->kind = LEDGER_FD_UNKNOWN;
        record->flags = LEDGER_UNSURE;
        swap(&record->state, &word, (word & ~31u) | LEDGER_LIVE);
    }
    ledger_set_mark(&actor->busy, NULL);
}

struct ledger_fd_flight ledger_fd_fly(struct ledger *ledger, struct ledger_actor *actor, int fd,
                                      uint32_t stack)
{
    struct ledger_fd_flight flight = {0};
    (void)actor;
    struct ledger_fd *record = fd < 0 ? NULL : ledger_at(ledger, LEDGER_FDS, (uint32_t)fd);
    if (!record) {
        return flight;
    }
    uint32_t word = __atomic_load_n(&record->state, __ATOMIC_ACQUIRE);
    for (;;) {
        uint32_t next;
        if (STATE(word) == LEDGER_EMPTY) {
            flight.released_by = detail_of(record);
            return flight;
        }
        if (STATE(word) == LEDGER_BUSY) {
            next = (word & ~RETAKEN) | RELEASED;
        } else {
            next = NEXT(word) | LEDGER_IN_FLIGHT;
        }
        if (swap(&record->state, &word, next)) {
            if (STATE(word) != LEDGER_BUSY) {
                flight.state = next;
                flight.taken_by = record->stack;
                flight.owner = record->owner;
                flight.flags = record->flags;
                flight.kind = (uint8_t)record->kind;
                flight.twice = STATE(word) == LEDGER_IN_FLIGHT;
                flight.released_by = record->kind == LEDGER_FD_RECLAIMED ? detail_of(record) : 0;
                set_detail(record, stack);
            }
            return flight;
        }
    }
}

struct ledger_fd_flight ledger_fd_fly_reclaimed(struct ledger *ledger, int fd, uint64_t since_ns)
{
    struct ledger_fd_flight flight = {0};
    struct ledger_fd *record = ledger_fd_record(ledger, fd);
    uint32_t word = record ? __atomic_load_n(&record->state, __ATOMIC_ACQUIRE) : 0;
    if (STATE(word) != LEDGER_LIVE || record->kind != LEDGER_FD_RECLAIMED ||
        record->since_ns != since_ns) {
        return flight;
    }
    uint32_t next = NEXT(word) | LEDGER_IN_FLIGHT;
    if (swap(&record->state, &word, next)) {
        flight.state = next;
        flight.kind = LEDGER_FD_RECLAIMED;
    }
    return flight;
}

struct ledger_fd *ledger_fd_closable(const struct ledger *ledger, int fd, uint32_t *state)
{
    struct ledger_fd *record =
        fd < 0 || !ledger_alone(ledger) ? NULL : ledger_at(ledger, LEDGER_FDS, (uint32_t)fd);
    *state = record ? __atomic_load_n(&record->state, __ATOMIC_ACQUIRE) : 0;
    return STATE(*state) == LEDGER_LIVE && record->owner == 0 && record->kind != LEDGER_FD_RECLAIMED
               ? record
               : NULL;
}

bool ledger_fd_close(struct ledger *ledger, struct ledger_fd *record, uint32_t state,
                     uint32_t stack)
{
    uint32_t taken_by = record->stack;
    if (!swap(&record->state, &state, NEXT(state) | LEDGER_EMPTY)) {
        return false;
    }
    set_detail(record, stack);
    count_gone(ledger, taken_by, stack);
    return true;
}

void ledger_fd_released(struct ledger *ledger, struct ledger_actor *actor, int fd,
                        struct ledger_fd_flight flight, bool held)
{
    struct ledger_fd *record = flight.state ? ledger_at(ledger, LEDGER_FDS, (uint32_t)fd) : NULL;
    if (!record) {
        return;
    }
    uint32_t by = detail_of(record);
    uint32_t word = flight.state;
    uint32_t next = held ? (flight.state & ~7u) | LEDGER_LIVE : (flight.state & ~7u) | LEDGER_EMPTY;
    if (swap(&record->state, &word, next) && !held) {
        struct claim claim = {flight.taken_by, flight.owner, flight.flags};
        count_released(ledger, actor, claim, by);
    }
}

void ledger_fd_fly_range(struct ledger *ledger, struct ledger_actor *actor, uint32_t first,
                         uint32_t last, uint32_t stack)
{
    uint64_t used = __atomic_load_n(&ledger->header->used[LEDGER_FDS], __ATOMIC_ACQUIRE);
    for (uint64_t fd = first; fd <= last && fd < used; fd++) {
        ledger_fd_fly(ledger, actor, (int)fd, stack);
    }
}

void ledger_fd_released_range(struct ledger *ledger, struct ledger_actor *actor, uint32_t first,
                              uint32_t last, bool held)
{
    uint64_t used = __atomic_load_n(&ledger->header->used[LEDGER_FDS], __ATOMIC_ACQUIRE);
    for (uint64_t fd = first; fd <= last && fd < used; fd++) {
        struct ledger_fd *record = ledger_at(ledger, LEDGER_FDS, (uint32_t)fd);
        uint32_t word = record ? __atomic_load_n(&record->state, __ATOMIC_ACQUIRE) : 0;
        if (STATE(word) == LEDGER_IN_FLIGHT) {
            struct ledger_fd_flight flight = {.state = word,
                                              .taken_by = record->stack,
                                              .owner = record->owner,
                                              .flags = record->flags};
            ledger_fd_released(ledger, actor, (int)fd, flight, held);
        }
    }
}

static void set_flag(struct ledger_fd *record, bool on)
{
    if (on) {
        __atomic_or_fetch(&record->flags, LEDGER_CLOEXEC, __ATOMIC_RELAXED);
    } else {
        __atomic_and_fetch(&record->flags, (uint16_t)~LEDGER_CLOEXEC, __ATOMIC_RELAXED);
    }
}

void ledger_fd_cloexec(struct ledger *ledger, int fd, bool on)
{
    struct ledger_fd *record = ledger_fd_record(ledger, fd);
    if (record) {
        set_flag(record, on);
    }
}

void ledger_fd_cloexec_range(struct ledger *ledger, uint32_t first, uint32_t last)
{
    uint64_t used = __atomic_load_n(&ledger->header->used[LEDGER_FDS], __ATOMIC_ACQUIRE);
    for (uint64_t fd = first; fd <= last && fd < used; fd++) {
        ledger_fd_cloexec(ledger, (int)fd, true);
    }
}

struct ledger_fd *ledger_fd_record(const struct ledger *ledger, int fd)
{
    struct ledger_fd *record = fd < 0 ? NULL : ledger_at(ledger, LEDGER_FDS, (uint32_t)fd);
    return record && holds(__atomic_load_n(&record->state, __ATOMIC_ACQUIRE)) ? record : NULL;
}

void ledger_fd_survived(struct ledger *ledger, int fd)
{
    struct ledger_fd *record = ledger_at(ledger, LEDGER_FDS, (uint32_t)fd);
    uint32_t word = record ? record->state : 0;
    if (STATE(word) == LEDGER_IN_FLIGHT) {
        set_detail(record, 0);
        swap(&record->state, &word, NEXT(word) | LEDGER_LIVE);
    }
}

void ledger_fd_end_others(struct ledger *ledger, struct ledger_actor *actor)
{
    ledger_fd_released_range(ledger, actor, 0, UINT32_MAX, false);
}
