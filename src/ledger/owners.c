/*
 * owners.c: sandboxes: when each began, what it lives by, when it ended, how much names it.
 *
 * No lock. A record goes LEDGER_EMPTY -> BUSY -> LIVE -> ENDED, and from ENDED to BUSY again once
 * nothing names it: whoever wants to name one counts first and looks at its state then, whoever
 * wants to use it again sets its state first and looks at its counts then, so that one of the two
 * sees the other. Counts may be too high after a handler jumped out of an update, never too low:
 * then a record is not used again. It decides nothing: what begins and ends a sandbox is
 * src/sandbox's business.
 */
#include "fault.h"
#include "ledger.h"

#define TRIES 32u /* records to look at for one to use again, before the table grows */

static struct ledger_owner *record_at(const struct ledger *ledger, uint32_t owner)
{
    return owner ? ledger_at(ledger, LEDGER_OWNERS, owner) : NULL;
}

static uint32_t state_of(const struct ledger_owner *record)
{
    return __atomic_load_n(&record->state, __ATOMIC_SEQ_CST);
}

static bool exists(const struct ledger_owner *record)
{
    uint32_t state = state_of(record);
    return state == LEDGER_LIVE || state == LEDGER_ENDED;
}

static uint32_t count_of(const uint32_t *count)
{
    return __atomic_load_n(count, __ATOMIC_SEQ_CST);
}

static void add(uint32_t *count, int amount)
{
    __atomic_add_fetch(count, (uint32_t)amount, __ATOMIC_SEQ_CST);
}

static bool set_state(struct ledger_owner *record, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(&record->state, &from, to, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_RELAXED);
}

struct ledger_owner *ledger_owner(const struct ledger *ledger, uint32_t owner)
{
    struct ledger_owner *record = record_at(ledger, owner);
    return record && exists(record) ? record : NULL;
}

uint32_t ledger_owner_outermost(const struct ledger *ledger, uint32_t owner)
{
    const struct ledger_owner *record = record_at(ledger, owner);
    uint32_t parent = record ? __atomic_load_n(&record->parent, __ATOMIC_RELAXED) : 0;
    return parent ? parent : owner;
}

bool ledger_owner_lives(const struct ledger *ledger, uint32_t owner)
{
    const struct ledger_owner *record = record_at(ledger, owner);
    return record && state_of(record) == LEDGER_LIVE;
}

bool ledger_owner_hold(struct ledger *ledger, uint32_t owner)
{
    struct ledger_owner *record = record_at(ledger, owner);
    if (!record) {
        return false;
    }
    add(&record->holds, 1);
    if (!exists(record)) {
        add(&record->holds, -1);
        return false;
    }
    return true;
}

void ledger_owner_unhold(struct ledger *ledger, uint32_t owner)
{
    struct ledger_owner *record = record_at(ledger, owner);
    if (record) {
        add(&record->holds, -1);
    }
}

/* --- records --- */

static bool is_named(const struct ledger_owner *record)
{
    return count_of(&record->holds) != 0 || count_of(&record->fds) != 0 ||
           count_of(&record->mappings) != 0 || count_of(&record->anchors) != 0;
}

/* An ended record that nothing names, now BUSY; 0: none near the hand, or no more than `kept`. */
static uint32_t use_again(struct ledger *ledger, uint32_t kept)
{
    uint64_t used = __atomic_load_n(&ledger->header->used[LEDGER_OWNERS], __ATOMIC_ACQUIRE);
    if (used <= kept || FAULT(owners_kept) ||
        __atomic_load_n(&ledger->rebuilding, __ATOMIC_SEQ_CST)) {
        return 0;
    }
    for (unsigned i = 0; i < TRIES; i++) {
        uint32_t hand = __atomic_fetch_add(&ledger->owner_hand, 1, __ATOMIC_RELAXED);
        uint32_t owner = 1 + hand % (uint32_t)(used - 1);
        struct ledger_owner *record = record_at(ledger, owner);
        if (!record || state_of(record) != LEDGER_ENDED || is_named(record) ||
            !set_state(record, LEDGER_ENDED, LEDGER_BUSY)) {
            continue;
        }
        if (!is_named(record) && !__atomic_load_n(&ledger->rebuilding, __ATOMIC_SEQ_CST)) {
            ledger_owner_unhold(ledger, record->parent);
            return owner;
        }
        __atomic_store_n(&record->state, LEDGER_ENDED, __ATOMIC_SEQ_CST);
    }
    return 0;
}

static uint32_t new_record(struct ledger *ledger, struct ledger_actor *actor)
{
    uint32_t owner = use_again(ledger, LEDGER_OWNERS_KEPT);
    if (owner == 0) {
        owner = ledger_reserve(ledger, actor, LEDGER_OWNERS, 1);
    }
    if (owner == 0) { /* no room: rather one of the last than none */
        owner = use_again(ledger, 1);
    }
    if (owner == 0) {
        __atomic_add_fetch(&ledger->header->owners_missed, 1, __ATOMIC_RELAXED);
        ledger_incomplete(ledger, LEDGER_INCOMPLETE_RECORDS);
    }
    return owner;
}

static void set_label(struct ledger_owner *record, const char *label, size_t length)
{
    size_t used = 0;
    for (; label && used < length && used < LEDGER_LABEL_SIZE - 1 && label[used]; used++) {
        record->label[used] = label[used];
    }
    for (; used < LEDGER_LABEL_SIZE; used++) {
        record->label[used] = 0;
    }
}

uint32_t ledger_owner_begin(struct ledger *ledger, struct ledger_actor *actor,
                            const struct ledger_owner_event *event)
{
    struct ledger_header *header = ledger->header;
    uint32_t owner = new_record(ledger, actor);
    if (owner == 0) {
        return 0;
    }
    struct ledger_owner *record = record_at(ledger, owner);
    bool part = event->parent != 0 && ledger_owner_hold(ledger, event->parent);
    record->kind = (uint16_t)event->kind;
    record->flags = 0;
    record->pid = event->pid;
    record->serial = __atomic_add_fetch(&header->owner_serial, 1, __ATOMIC_RELAXED);
    record->begun_ns = event->now_ns;
    record->ended_ns = 0;
    record->ended_order = 0;
    __atomic_store_n(&record->anchors, event->anchors, __ATOMIC_SEQ_CST);
    record->begun_stack = event->stack;
    record->ended_stack = 0;
    __atomic_store_n(&record->parent, part ? event->parent : 0, __ATOMIC_RELAXED);
    record->slots = 0;
    set_label(record, event->label, event->label_length);
    if (!part) {
        __atomic_add_fetch(&header->owners_begun[event->kind], 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&header->owners_live, 1, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&record->state, LEDGER_LIVE, __ATOMIC_SEQ_CST);
    return owner;
}

/* --- its end --- */

static uint64_t now(const struct ledger *ledger)
{
    return ledger->backing->now ? ledger->backing->now() : 0;
}

static void end_slots(struct ledger *ledger, struct ledger_actor *actor, uint32_t owner,
                      uint32_t stack, uint64_t now_ns)
{
    struct ledger_map_event event = {.op = LEDGER_MAP_UNBIND_ALL,
                                     .owner = owner,
                                     .ticket = ledger_ticket(ledger),
                                     .stack = stack,
                                     .now_ns = now_ns};
    ledger_map_submit(ledger, actor, &event);
}

bool ledger_owner_end(struct ledger *ledger, struct ledger_actor *actor, uint32_t owner,
                      uint32_t stack)
{
    struct ledger_owner *record = record_at(ledger, owner);
    if (!record || state_of(record) != LEDGER_LIVE) {
        return false;
    }
    /* Written before it is published; who comes second writes as much. */
    struct ledger_header *header = ledger->header;
    uint32_t kind = record->kind;
    uint64_t now_ns = now(ledger);
    __atomic_store_n(&record->ended_ns, now_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&record->ended_stack, stack, __ATOMIC_RELAXED);
    bool sandbox = record->parent == 0;
    if (!set_state(record, LEDGER_LIVE, LEDGER_ENDED)) {
        return false;
    }
    if (sandbox) {
        record->ended_order =
            (uint32_t)__atomic_add_fetch(&header->owners_ended[kind], 1, __ATOMIC_RELAXED);
        __atomic_sub_fetch(&header->owners_live, 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&header->epoch, 1, __ATOMIC_RELAXED);
    }
    if (kind == LEDGER_OWNER_KVM) {
        end_slots(ledger, actor, owner, stack, now_ns);
    }
    return true;
}

void ledger_owner_anchor(struct ledger *ledger, uint32_t owner)
{
    struct ledger_owner *record = record_at(ledger, owner);
    if (record) {
        add(&record->anchors, 1);
    }
}

void ledger_owner_unanchor(struct ledger *ledger, struct ledger_actor *actor, uint32_t owner,
                           uint32_t stack)
{
    struct ledger_owner *record = record_at(ledger, owner);
    if (record && __atomic_sub_fetch(&record->anchors, 1, __ATOMIC_SEQ_CST) == 0) {
        ledger_owner_end(ledger, actor, owner, stack);
    }
}

void ledger_owner_dismiss(struct ledger *ledger, struct ledger_actor *actor, uint32_t owner)
{
    struct ledger_owner *record = record_at(ledger, owner);
    if (!record || state_of(record) != LEDGER_LIVE) {
        return;
    }
    uint32_t fds =
        count_of(&record->fds)
            ? (uint32_t)__atomic_load_n(&ledger->header->used[LEDGER_FDS], __ATOMIC_ACQUIRE)
            : 0;
    for (uint32_t fd = 0; fd < fds; fd++) {
        const struct ledger_fd *held = ledger_fd_record(ledger, (int)fd);
        if (held && held->owner == owner) {
            ledger_fd_assign(ledger, actor, (int)fd, 0, 0, LEDGER_TIED | LEDGER_SCOPED,
                             LEDGER_FD_UNKNOWN);
        }
    }
    uint32_t kind = record->kind;
    bool sandbox = record->parent == 0;
    if (set_state(record, LEDGER_LIVE, LEDGER_ENDED)) {
        __atomic_store_n(&record->kind, LEDGER_OWNER_NONE, __ATOMIC_RELAXED);
        __atomic_store_n(&record->anchors, 0, __ATOMIC_RELAXED);
        if (sandbox) {
            __atomic_sub_fetch(&ledger->header->owners_begun[kind], 1, __ATOMIC_RELAXED);
            __atomic_sub_fetch(&ledger->header->owners_live, 1, __ATOMIC_RELAXED);
        }
    }
}

void ledger_owner_revive(struct ledger *ledger, uint32_t owner)
{
    struct ledger_owner *record = record_at(ledger, owner);
    if (!record || !set_state(record, LEDGER_ENDED, LEDGER_LIVE)) {
        return;
    }
    if (record->parent == 0) {
        __atomic_sub_fetch(&ledger->header->owners_ended[record->kind], 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&ledger->header->owners_live, 1, __ATOMIC_RELAXED);
    }
}

static void count(struct ledger_owner *record, int fds, int mappings, int64_t bytes)
{
    add(&record->fds, fds);
    add(&record->mappings, mappings);
    __atomic_add_fetch(&record->bytes, (uint64_t)bytes, __ATOMIC_RELAXED);
}

bool ledger_owner_join(struct ledger *ledger, uint32_t owner, uint32_t parent)
{
    struct ledger_owner *record = record_at(ledger, owner);
    uint32_t none = 0;
    if (!ledger_owner_lives(ledger, owner) || !ledger_owner_lives(ledger, parent) ||
        !ledger_owner_hold(ledger, parent)) {
        return false;
    }
    if (!__atomic_compare_exchange_n(&record->parent, &none, parent, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_RELAXED)) {
        ledger_owner_unhold(ledger, parent);
        return false;
    }
    __atomic_sub_fetch(&ledger->header->owners_begun[record->kind], 1, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&ledger->header->owners_live, 1, __ATOMIC_RELAXED);
    count(record_at(ledger, parent), (int)count_of(&record->fds), (int)count_of(&record->mappings),
          (int64_t)__atomic_load_n(&record->bytes, __ATOMIC_RELAXED));
    return true;
}

/* --- what it holds --- */

bool ledger_owner_count(struct ledger *ledger, uint32_t owner, int fds, int mappings, int64_t bytes)
{
    struct ledger_owner *record = record_at(ledger, owner);
    if (!record) {
        return false;
    }
    count(record, fds, mappings, bytes);
    uint32_t state = state_of(record);
    if ((fds > 0 || mappings > 0) && state != LEDGER_LIVE && state != LEDGER_ENDED) {
        count(record, -fds, -mappings, -bytes);
        return false;
    }
    record = record_at(ledger, __atomic_load_n(&record->parent, __ATOMIC_RELAXED));
    if (record) {
        count(record, fds, mappings, bytes);
    }
    return true;
}

void ledger_mark_epoch(struct ledger *ledger)
{
    __atomic_add_fetch(&ledger->header->marks, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&ledger->header->epoch, 1, __ATOMIC_RELAXED);
}
