/*
 * mappings.c: which ranges are mapped, under one lock that nobody waits for.
 *
 * An event is applied by whoever gets the lock; who does not get it queues the event, and the
 * holder applies it before or after it lets go. A handler that jumps out of an update leaves the
 * lock behind: the thread's next entry notices, makes the index and the counters anew from the
 * records, and applies the interrupted event again. Hence every event can be applied twice.
 *
 * Ranges of published records never overlap, but for a moment while one is split (the upper part
 * is published before the lower one shrinks).
 */
#include <errno.h>

#include "fault.h"
#include "index.h"
#include "ledger.h"
#include "slots.h"

/* Kept apart, so that an update takes no more of a small stack than its own kind needs. */
#define APART __attribute__((noinline))

#define SOON_TRIES 20000u
#define FULL_TRIES 1000u /* 0.5 s, once */

static struct ledger_mapping *mapping_at(const struct ledger *ledger, uint32_t record)
{
    return ledger_at(ledger, LEDGER_MAPPINGS, record);
}

static struct ledger_mapping *at(const struct ledger *ledger, struct ledger_position position)
{
    return mapping_at(ledger, ledger_index_record(position));
}

/* --- records --- */

static uint32_t new_record(struct ledger *ledger, struct ledger_actor *actor)
{
    uint32_t record = ledger->free_mapping;
    if (record) {
        ledger->free_mapping = mapping_at(ledger, record)->stack;
        return record;
    }
    record = ledger_reserve(ledger, actor, LEDGER_MAPPINGS, 1);
    if (!record) {
        __atomic_add_fetch(&ledger->header->missed_records, 1, __ATOMIC_RELAXED);
        ledger_incomplete(ledger, LEDGER_INCOMPLETE_RECORDS);
    }
    return record;
}

static void free_record(struct ledger *ledger, uint32_t record)
{
    struct ledger_mapping *mapping = mapping_at(ledger, record);
    __atomic_store_n(&mapping->state, LEDGER_EMPTY, __ATOMIC_RELEASE);
    mapping->stack = ledger->free_mapping;
    ledger->free_mapping = record;
}

static int64_t size_of(const struct ledger_mapping *mapping)
{
    return (int64_t)(mapping->end - mapping->start);
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

/* So many more of that record's kind, with so many bytes more: for its stack and its owners. */
static void count(struct ledger *ledger, const struct ledger_mapping *mapping, int mappings,
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

/* Would the kernel keep these neighbours in one VMA? What a call mapped, it does; strangers only
 * where nothing tells them apart. An estimate: see header.vmas_estimated. */
static bool joined(const struct ledger_mapping *low, const struct ledger_mapping *high)
{
    const uint16_t unlike =
        LEDGER_FILE_MAP | LEDGER_SHARED_MAP | LEDGER_SHM_MAP | LEDGER_STACK_MAP | LEDGER_INHERITED;
    if (low->end != high->start || low->prot != high->prot) {
        return false;
    }
    return low->ticket == high->ticket || ((low->flags | high->flags) & unlike) == 0;
}

/* How many of the neighbours of an indexed record would share its VMA. */
static int joins(struct ledger *ledger, struct ledger_position position)
{
    const struct ledger_mapping *mapping = at(ledger, position);
    struct ledger_position low = ledger_index_previous(position);
    struct ledger_position high = ledger_index_next(position);
    return (low.node && joined(at(ledger, low), mapping)) +
           (high.node && joined(mapping, at(ledger, high)));
}

static void estimate(struct ledger *ledger, int vmas)
{
    /* Who counts what the kernel has corrects it without the lock. */
    ledger_add64(ledger, (uint64_t *)&ledger->header->vmas_estimated, (uint64_t)(int64_t)vmas);
}

static bool add(struct ledger *ledger, struct ledger_actor *actor, uint32_t record)
{
    struct ledger_mapping *mapping = mapping_at(ledger, record);
    if (!ledger_index_provide(ledger, actor, LEDGER_INDEX_DEPTH)) {
        __atomic_add_fetch(&ledger->header->missed_records, 1, __ATOMIC_RELAXED);
        ledger_incomplete(ledger, LEDGER_INCOMPLETE_RECORDS);
        count(ledger, mapping, -1, -size_of(mapping));
        free_record(ledger, record);
        return false;
    }
    ledger_index_insert(ledger, mapping->start, record);
    return true;
}

/* Takes an indexed record out; `position` and all others are stale then. */
static void drop(struct ledger *ledger, struct ledger_position position, uint32_t by)
{
    uint32_t record = ledger_index_record(position);
    struct ledger_mapping *mapping = mapping_at(ledger, record);
    estimate(ledger, joins(ledger, position) - 1);
    count(ledger, mapping, -1, -size_of(mapping));
    if (mapping->stack && !(mapping->flags & LEDGER_KEPT)) {
        ledger_stack_released(ledger, ledger_stack(ledger, mapping->stack), by);
    }
    ledger_index_vacate(ledger, position, mapping->end);
    free_record(ledger, record);
}

/* The state stays LEDGER_EMPTY throughout: an assignment of the record itself would publish it on
 * the way, half copied, and a handler may jump out there. */
static void copy_unpublished(struct ledger_mapping *to, const struct ledger_mapping *from)
{
    struct ledger_mapping copy = *from;
    copy.state = LEDGER_EMPTY;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    *to = copy;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Makes `address` a boundary: a record that it lies within becomes two. */
static void split_at(struct ledger *ledger, struct ledger_actor *actor, uint64_t address)
{
    struct ledger_position position = ledger_index_find(ledger, address);
    struct ledger_mapping *lower = position.node ? at(ledger, position) : NULL;
    if (!lower || lower->start >= address || lower->end <= address) {
        return;
    }
    uint32_t record = new_record(ledger, actor);
    lower->flags |= LEDGER_SPLIT;
    if (record) {
        struct ledger_mapping *upper = mapping_at(ledger, record);
        uint32_t state = lower->state;
        copy_unpublished(upper, lower);
        upper->start = address;
        __atomic_store_n(&upper->state, state, __ATOMIC_RELEASE);
        count(ledger, upper, 1, size_of(upper));
    }
    count(ledger, lower, 0, -(int64_t)(lower->end - address));
    __atomic_store_n(&lower->end, address, __ATOMIC_RELEASE);
    if (record) {
        add(ledger, actor, record);
    }
}

static struct ledger_position first_from(struct ledger *ledger, uint64_t start)
{
    struct ledger_position position = ledger_index_find(ledger, start);
    if (position.node && at(ledger, position)->start < start) {
        position = ledger_index_next(position);
    }
    return position;
}

/* The next record at or after *from that lies within [*from, end), which must be boundaries. */
static struct ledger_mapping *next_within(struct ledger *ledger, uint64_t *from, uint64_t end,
                                          struct ledger_position *position)
{
    if (*from >= end) {
        return NULL;
    }
    *position = first_from(ledger, *from);
    struct ledger_mapping *mapping = position->node ? at(ledger, *position) : NULL;
    if (!mapping || mapping->start >= end) {
        return NULL;
    }
    *from = mapping->end;
    return mapping;
}

/* The usual case: what one call mapped is unmapped by one. */
static bool is_all_of(const struct ledger_mapping *mapping, uint64_t start, uint64_t end)
{
    return mapping->start == start && mapping->end == end;
}

static bool flies(const struct ledger_mapping *mapping, uint64_t ticket)
{
    return mapping->state == LEDGER_IN_FLIGHT && mapping->flight == (uint32_t)ticket;
}

/* shmdt(2) names only the first byte and takes away every piece that is left of that attachment,
 * whatever lies between them. Its size, in units of 4 KiB, is what `detail` of a piece holds. */
static APART void fly_segment(struct ledger *ledger, const struct ledger_map_event *event)
{
    struct ledger_position position = first_from(ledger, event->start);
    uint64_t end = UINT64_MAX;
    uint64_t ticket = 0;
    for (; position.node; position = ledger_index_next(position)) {
        struct ledger_mapping *mapping = at(ledger, position);
        if (mapping->start >= end) {
            break;
        }
        if (!(mapping->flags & LEDGER_SHM_MAP) || (ticket && mapping->ticket != ticket)) {
            continue;
        }
        if (!ticket) {
            uint64_t whole = event->start + (uint64_t)mapping->detail * 4096;
            if (mapping->start >= whole) { /* too far up to be a piece of this attachment */
                continue;
            }
            ticket = mapping->ticket;
            end = whole;
        }
        if (mapping->ticket < event->ticket) {
            mapping->flight = (uint32_t)event->ticket;
            __atomic_store_n(&mapping->state, LEDGER_IN_FLIGHT, __ATOMIC_RELEASE);
        }
    }
}

#define STRANGERS_MAX 64u /* between two pieces of one attachment: a search has to end */

/* Where a flight's range ends; that of a segment goes as far as its pieces do. */
static uint64_t end_of(struct ledger *ledger, const struct ledger_map_event *event)
{
    uint64_t end = event->start;
    unsigned strangers = 0;
    if (event->end != UINT64_MAX) {
        return event->end;
    }
    for (struct ledger_position position = first_from(ledger, event->start);
         position.node && strangers < STRANGERS_MAX; position = ledger_index_next(position)) {
        const struct ledger_mapping *mapping = at(ledger, position);
        bool flying = flies(mapping, event->ticket);
        end = flying ? mapping->end : end;
        strangers = flying ? 0 : strangers + 1;
    }
    return end;
}

/* --- events --- */

static void fly_record(struct ledger_mapping *mapping, uint64_t ticket)
{
    if (mapping->ticket < ticket) { /* never a younger record */
        mapping->flight = (uint32_t)ticket;
        __atomic_store_n(&mapping->state, LEDGER_IN_FLIGHT, __ATOMIC_RELEASE);
    }
}

static APART void fly(struct ledger *ledger, struct ledger_actor *actor,
                      const struct ledger_map_event *event)
{
    if (event->end == UINT64_MAX) {
        fly_segment(ledger, event);
        return;
    }
    struct ledger_position position = ledger_index_find(ledger, event->start);
    struct ledger_mapping *mapping;
    if (!position.node || !is_all_of(at(ledger, position), event->start, event->end)) {
        split_at(ledger, actor, event->start);
        split_at(ledger, actor, event->end);
    }
    for (uint64_t from = event->start;
         (mapping = next_within(ledger, &from, event->end, &position)) != NULL;) {
        fly_record(mapping, event->ticket);
    }
}

static APART void commit(struct ledger *ledger, const struct ledger_map_event *event)
{
    uint64_t end = end_of(ledger, event);
    struct ledger_position position;
    struct ledger_mapping *mapping;
    for (uint64_t from = event->start;
         (mapping = next_within(ledger, &from, end, &position)) != NULL;) {
        if (flies(mapping, event->ticket)) {
            drop(ledger, position, event->stack);
        }
    }
}

/* Undoes a split that turned out to be for nothing. */
static void rejoin(struct ledger *ledger, uint64_t boundary)
{
    struct ledger_position high = first_from(ledger, boundary);
    struct ledger_position low = high.node ? ledger_index_previous(high) : high;
    if (!low.node) {
        return;
    }
    struct ledger_mapping *lower = at(ledger, low);
    struct ledger_mapping *upper = at(ledger, high);
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
    count(ledger, upper, -1, 0);
    ledger_index_remove(ledger, upper->start);
    __atomic_store_n(&lower->end, end, __ATOMIC_RELEASE);
    free_record(ledger, record);
}

static APART void rollback(struct ledger *ledger, const struct ledger_map_event *event)
{
    uint64_t end = end_of(ledger, event);
    struct ledger_position position;
    struct ledger_mapping *mapping;
    for (uint64_t from = event->start;
         (mapping = next_within(ledger, &from, end, &position)) != NULL;) {
        if (flies(mapping, event->ticket)) {
            mapping->flight = 0; /* when its last slot went is not known any more: long ago */
            __atomic_store_n(&mapping->state, LEDGER_LIVE, __ATOMIC_RELEASE);
        }
    }
    rejoin(ledger, event->start);
    rejoin(ledger, end);
}

static bool recorded(struct ledger *ledger, uint64_t start, uint64_t end)
{
    struct ledger_position position = ledger_index_find(ledger, start);
    while (position.node && at(ledger, position)->end <= start) {
        position = ledger_index_next(position);
    }
    return position.node && at(ledger, position)->start < end;
}

/* What a fixed mapping takes over from what was there: the slots, which go by the address. */
struct bindings {
    uint32_t owner;
    uint16_t flags;
};

/* Empties [start, end) for something that the kernel put there. False: a younger record has it. */
static bool displace(struct ledger *ledger, struct ledger_actor *actor, uint64_t start,
                     uint64_t end, const struct ledger_map_event *event, uint64_t own,
                     struct bindings *heir)
{
    struct ledger_position position;
    if (!recorded(ledger, start, end)) {
        return true; /* the usual case */
    }
    split_at(ledger, actor, start);
    split_at(ledger, actor, end);
    struct ledger_mapping *mapping;
    for (uint64_t from = start; (mapping = next_within(ledger, &from, end, &position)) != NULL;) {
        if (mapping->ticket > own) {
            return false;
        }
        if (event->new_ticket && mapping->ticket == event->new_ticket) {
            continue; /* moved there by this very event, before it was cut short */
        }
        if (mapping->state == LEDGER_LIVE && !event->fixed && !(mapping->flags & LEDGER_KEPT)) {
            __atomic_add_fetch(&ledger->header->map_releases_unseen, 1, __ATOMIC_RELAXED);
        }
        if (event->fixed && (mapping->flags & LEDGER_BINDINGS)) {
            heir->owner = mapping->bound_owner;
            heir->flags = mapping->flags & (LEDGER_BINDINGS | LEDGER_SHARED);
            heir->flags |= LEDGER_BOUND_OVER;
        }
        drop(ledger, position, event->fixed ? event->stack : 0);
    }
    return true;
}

#define BOUND_FLAGS (LEDGER_BINDINGS | LEDGER_SHARED | LEDGER_BOUND_OVER)

static uint32_t existing(const struct ledger *ledger, uint32_t owner)
{
    return ledger_owner(ledger, owner) ? owner : 0;
}

static APART void insert(struct ledger *ledger, struct ledger_actor *actor,
                         const struct ledger_map_event *event)
{
    struct bindings heir = {0};
    /* What was just released is what is mapped next, most often. */
    bool again = event->to_start == 0 && ledger_index_is_vacant(ledger, event->start, event->end);
    if (!again && (event->keep_old ? recorded(ledger, event->start, event->end)
                                   : !displace(ledger, actor, event->start, event->end, event,
                                               event->ticket, &heir))) {
        return;
    }
    uint32_t record = new_record(ledger, actor);
    if (!record) {
        return;
    }
    const struct ledger_mapping *old = NULL;
    if (event->to_start) {
        struct ledger_position like = ledger_index_find(ledger, event->to_start);
        old = like.node ? at(ledger, like) : NULL;
    }
    struct ledger_mapping *mapping = mapping_at(ledger, record);
    mapping->flags = event->flags;
    if (old) {
        mapping->flags |= old->flags & (uint16_t) ~(LEDGER_SPLIT | BOUND_FLAGS);
    }
    mapping->prot = old ? old->prot : event->prot;
    mapping->start = event->start;
    mapping->end = event->end;
    mapping->since_ns = event->now_ns;
    mapping->ticket = event->ticket;
    mapping->stack = event->stack;
    mapping->flags |= heir.flags;
    mapping->owner = existing(ledger, event->owner);
    mapping->tid = event->tid;
    mapping->bound_owner = existing(ledger, heir.owner);
    mapping->unbound_stack = 0;
    mapping->flight = 0;
    mapping->detail = event->detail;
    __atomic_store_n(&mapping->state, LEDGER_LIVE, __ATOMIC_RELEASE);
    count(ledger, mapping, 1, size_of(mapping));
    struct ledger_stack *stack = event->stack ? ledger_stack(ledger, event->stack) : NULL;
    if (stack) {
        ledger_add32(ledger, &stack->acquired, 1);
    }
    if (again) {
        estimate(ledger, 1 - joins(ledger, ledger_index_reoccupy(ledger, record)));
    } else if (add(ledger, actor, record)) {
        estimate(ledger, 1 - joins(ledger, ledger_index_find(ledger, event->start)));
    }
}

/* Where a part [start, end) of an old range lies after the move; false: cut off by a shrink. */
static bool moved_range(const struct ledger_map_event *event, uint64_t *start, uint64_t *end)
{
    uint64_t first = *start - event->start + event->to_start;
    uint64_t last = *end - event->start + event->to_start;
    if (first >= event->to_end) {
        return false;
    }
    if (last > event->to_end) {
        last = event->to_end;
    }
    if (*end == event->end) { /* the last part grows with the whole */
        last = event->to_end;
    }
    *start = first;
    *end = last;
    return true;
}

static APART void copy_for_old(struct ledger *ledger, struct ledger_actor *actor,
                               const struct ledger_mapping *old)
{
    uint32_t record = new_record(ledger, actor);
    if (record) {
        struct ledger_mapping *copy = mapping_at(ledger, record);
        copy_unpublished(copy, old);
        __atomic_store_n(&copy->state, LEDGER_LIVE, __ATOMIC_RELEASE);
        count(ledger, copy, 1, size_of(copy));
        add(ledger, actor, record);
    }
}

static APART void move_one(struct ledger *ledger, struct ledger_actor *actor,
                           struct ledger_position position, const struct ledger_map_event *event)
{
    uint32_t record = ledger_index_record(position);
    struct ledger_mapping *mapping = mapping_at(ledger, record);
    const uint64_t old_start = mapping->start;
    const uint64_t old_end = mapping->end;
    uint64_t start = old_start;
    uint64_t end = old_end;
    if (!moved_range(event, &start, &end)) {
        drop(ledger, position, event->stack);
        return;
    }
    estimate(ledger, joins(ledger, position) - 1);
    ledger_index_remove(ledger, old_start);
    __atomic_store_n(&mapping->state, LEDGER_EMPTY, __ATOMIC_RELEASE);
    if (event->keep_old) {
        copy_for_old(ledger, actor, mapping); /* as it is yet, but for its state */
    }
    struct bindings heir = {0}; /* a range that moves keeps what it was bound to */
    displace(ledger, actor, start, end, event, UINT64_MAX, &heir);
    mapping->start = start;
    mapping->end = end;
    mapping->ticket = event->new_ticket;
    mapping->detail = mapping->flags & LEDGER_SHM_MAP ? 0 : mapping->detail; /* no shmdt finds it */
    count(ledger, mapping, 0, size_of(mapping) - (int64_t)(old_end - old_start));
    __atomic_store_n(&mapping->state, LEDGER_LIVE, __ATOMIC_RELEASE);
    if (add(ledger, actor, record)) {
        estimate(ledger, 1 - joins(ledger, ledger_index_find(ledger, start)));
    }
}

/* What MREMAP_FIXED was aimed at and nothing was moved to: a hole of the old range (Linux 6.17
 * moves several VMAs and what is between them stays as it is), or memory that no wrapper saw. */
static void doubt_target(struct ledger *ledger, const struct ledger_map_event *event)
{
    struct ledger_position position;
    struct ledger_mapping *mapping;
    for (uint64_t from = event->to_start;
         (mapping = next_within(ledger, &from, event->to_end, &position)) != NULL;) {
        if (flies(mapping, event->detail)) {
            mapping->flags |= LEDGER_UNSURE_PROT; /* mapped it is, this or what came */
            __atomic_store_n(&mapping->state, LEDGER_LIVE, __ATOMIC_RELEASE);
        }
    }
}

/* The new place is the program's all the same where nothing was recorded at the old one: a thread
 * that was given the old place may have come first, or no wrapper saw what was there. */
static APART void fill_target(struct ledger *ledger, struct ledger_actor *actor,
                              const struct ledger_map_event *event)
{
    uint16_t flags = LEDGER_UNSURE_PROT;
    if (event->detail) { /* several VMAs, perhaps, and what lay between them */
        flags |= LEDGER_UNSURE;
    }
    /* In place, what was not mapped before is not mapped now: a shrink looks at nothing but the
     * end. */
    uint64_t from = event->to_start == event->start ? event->end : event->to_start;
    while (from < event->to_end) {
        struct ledger_position position = first_from(ledger, from);
        struct ledger_position below = ledger_index_find(ledger, from);
        const struct ledger_mapping *low = below.node ? at(ledger, below) : NULL;
        uint64_t end = event->to_end;
        if (low && low->start <= from && low->end > from) {
            from = low->end;
            continue;
        }
        if (position.node && at(ledger, position)->start < end) {
            end = at(ledger, position)->start;
        }
        struct ledger_map_event rest = {.start = from,
                                        .end = end,
                                        .ticket = event->new_ticket,
                                        .now_ns = event->now_ns,
                                        .stack = event->stack,
                                        .tid = event->tid,
                                        .flags = flags};
        insert(ledger, actor, &rest);
        from = end;
    }
}

static APART void move(struct ledger *ledger, struct ledger_actor *actor,
                       const struct ledger_map_event *event)
{
    if (event->to_start != event->start && !event->detail) {
        /* The kernel chose the place, so what is recorded there was released unseen. */
        struct bindings heir = {0};
        displace(ledger, actor, event->to_start, event->to_end, event, UINT64_MAX, &heir);
    }
    struct ledger_position position;
    struct ledger_mapping *mapping;
    for (uint64_t from = event->start;
         (mapping = next_within(ledger, &from, event->end, &position)) != NULL;) {
        if (flies(mapping, event->ticket)) {
            move_one(ledger, actor, position, event);
        }
    }
    if (event->detail) {
        doubt_target(ledger, event);
    }
    fill_target(ledger, actor, event);
}

/* Whether what lies below and above an address would be one VMA. */
static int joined_across(struct ledger *ledger, uint64_t address)
{
    struct ledger_position position = ledger_index_find(ledger, address);
    const struct ledger_mapping *high = position.node ? at(ledger, position) : NULL;
    if (!high || high->start > address || high->end <= address) {
        return 0;
    }
    if (high->start < address) {
        return 1;
    }
    position = ledger_index_previous(position);
    return position.node && joined(at(ledger, position), high);
}

/* An mprotect that failed has changed a part that nobody can name. */
static void doubt_protection(struct ledger *ledger, const struct ledger_map_event *event)
{
    struct ledger_position position = ledger_index_find(ledger, event->start);
    while (position.node && at(ledger, position)->start < event->end) {
        if (at(ledger, position)->end > event->start) {
            at(ledger, position)->flags |= LEDGER_UNSURE_PROT;
        }
        position = ledger_index_next(position);
    }
}

static APART void protect(struct ledger *ledger, struct ledger_actor *actor,
                          const struct ledger_map_event *event)
{
    struct ledger_position position;
    struct ledger_mapping *mapping;
    if (event->flags & LEDGER_UNSURE_PROT) {
        doubt_protection(ledger, event);
        return;
    }
    int before = joined_across(ledger, event->start) + joined_across(ledger, event->end);
    split_at(ledger, actor, event->start);
    split_at(ledger, actor, event->end);
    for (uint64_t from = event->start;
         (mapping = next_within(ledger, &from, event->end, &position)) != NULL;) {
        /* While a release is under way, the range may be somebody else's by now, of which no
         * wrapper knows: what is on its way to another place keeps its protection. */
        if (mapping->state == LEDGER_IN_FLIGHT) {
            mapping->flags |= LEDGER_UNSURE_PROT;
            continue;
        }
        mapping->prot = event->prot;
        /* mprotect succeeds where all of it is mapped, and only there. */
        mapping->flags &= (uint16_t) ~(LEDGER_UNSURE | LEDGER_UNSURE_PROT);
    }
    estimate(ledger,
             before - joined_across(ledger, event->start) - joined_across(ledger, event->end));
    /* Parts of one call that are alike again are one record again. */
    for (uint64_t boundary = event->start; boundary <= event->end;) {
        rejoin(ledger, boundary);
        position = first_from(ledger, boundary + 1);
        if (!position.node) {
            break;
        }
        boundary = at(ledger, position)->start;
    }
}

/* --- owners --- */

static APART void assign(struct ledger *ledger, struct ledger_actor *actor,
                         const struct ledger_map_event *event)
{
    struct ledger_position position;
    struct ledger_mapping *mapping;
    split_at(ledger, actor, event->start);
    split_at(ledger, actor, event->end);
    for (uint64_t from = event->start;
         (mapping = next_within(ledger, &from, event->end, &position)) != NULL;) {
        count(ledger, mapping, -1, -size_of(mapping));
        mapping->owner = existing(ledger, event->owner);
        if (!(mapping->flags & (LEDGER_FILE_MAP | LEDGER_SHM_MAP))) {
            mapping->detail = (mapping->detail & ~LEDGER_ASSIGNED) | event->detail;
        }
        count(ledger, mapping, 1, size_of(mapping));
    }
}

/* --- what policies keep --- */

static APART void keep(struct ledger *ledger, struct ledger_actor *actor,
                       const struct ledger_map_event *event)
{
    struct ledger_position position;
    struct ledger_mapping *mapping;
    split_at(ledger, actor, event->start);
    split_at(ledger, actor, event->end);
    for (uint64_t from = event->start;
         (mapping = next_within(ledger, &from, event->end, &position)) != NULL;) {
        if (mapping->ticket > event->ticket || (mapping->flags & LEDGER_KEPT)) {
            continue;
        }
        if (mapping->stack) {
            ledger_stack_released(ledger, ledger_stack(ledger, mapping->stack), event->stack);
        }
        count(ledger, mapping, -1, -size_of(mapping));
        mapping->flags |= LEDGER_KEPT;
        mapping->owner = 0;
        mapping->bound_owner = 0;
        mapping->unbound_stack = event->stack;
        if (!(mapping->flags & (LEDGER_FILE_MAP | LEDGER_SHM_MAP))) {
            mapping->detail |= event->detail;
        }
    }
}

static APART void mark(struct ledger *ledger, struct ledger_actor *actor,
                       const struct ledger_map_event *event)
{
    struct ledger_position position;
    struct ledger_mapping *mapping;
    split_at(ledger, actor, event->start);
    split_at(ledger, actor, event->end);
    for (uint64_t from = event->start;
         (mapping = next_within(ledger, &from, event->end, &position)) != NULL;) {
        if (!(mapping->flags & (LEDGER_FILE_MAP | LEDGER_SHM_MAP))) {
            mapping->detail |= event->detail;
        }
    }
    rejoin(ledger, event->start);
    rejoin(ledger, event->end);
}

/* --- slots --- */

static bool is_saturated(const struct ledger_mapping *mapping)
{
    return (mapping->flags & LEDGER_BINDINGS) == LEDGER_BINDINGS;
}

static void add_binding(struct ledger_mapping *mapping)
{
    if (!is_saturated(mapping)) {
        mapping->flags = (uint16_t)(mapping->flags + LEDGER_BINDING);
    }
}

/* The order of events, which the clock of records is too coarse for: did a VM lose a slot of what
 * this stack had mapped, and was more mapped for it after that? */
static void note_unbound(struct ledger *ledger, const struct ledger_mapping *mapping,
                         const struct ledger_map_event *event)
{
    struct ledger_growth *growth =
        mapping->stack ? ledger_at(ledger, LEDGER_GROWTH, mapping->stack) : NULL;
    if (growth && growth->unbound_owner != event->owner) {
        growth->unbound_owner = event->owner;
        growth->unbound_ticket = (uint32_t)event->ticket;
    }
}

static void note_anew(struct ledger *ledger, const struct ledger_mapping *mapping, uint32_t owner)
{
    const struct ledger_growth *growth =
        mapping->stack ? ledger_at(ledger, LEDGER_GROWTH, mapping->stack) : NULL;
    if (growth && growth->unbound_owner == owner &&
        (int32_t)((uint32_t)mapping->ticket - growth->unbound_ticket) > 0) {
        struct ledger_stack *stack = ledger_stack(ledger, mapping->stack);
        __atomic_or_fetch(&stack->flags, LEDGER_STACK_ANEW, __ATOMIC_RELAXED);
    }
}

static void bind_record(struct ledger *ledger, struct ledger_mapping *mapping, uint32_t owner)
{
    note_anew(ledger, mapping, owner);
    uint32_t before = ledger_owner_outermost(ledger, mapping->bound_owner);
    bool another = before != 0 && before != ledger_owner_outermost(ledger, owner);
    if (another && !(mapping->flags & LEDGER_BINDINGS)) {
        ledger_stack_feeds_pool(ledger, mapping->stack);
    }
    count(ledger, mapping, -1, -size_of(mapping));
    mapping->flags |= another ? LEDGER_SHARED : 0;
    add_binding(mapping);
    mapping->bound_owner = owner;
    mapping->unbound_stack = 0;
    if (mapping->state == LEDGER_LIVE) {
        mapping->flight = 0;
    }
    count(ledger, mapping, 1, size_of(mapping));
}

/* What a slot maps though no wrapper saw it mapped. It goes with the slot: the program's allocator
 * may have it, and keep it for good. */
static void adopt_gaps(struct ledger *ledger, struct ledger_actor *actor,
                       const struct ledger_map_event *event)
{
    uint64_t from = event->start;
    while (from < event->end) {
        struct ledger_position position = ledger_index_find(ledger, from);
        const struct ledger_mapping *mapping = position.node ? at(ledger, position) : NULL;
        if (mapping && mapping->start <= from && mapping->end > from) {
            from = mapping->end;
            continue;
        }
        position = first_from(ledger, from);
        uint64_t end = position.node ? at(ledger, position)->start : event->end;
        struct ledger_map_event gap = *event;
        gap.op = LEDGER_MAP_INSERT;
        gap.start = from;
        gap.end = end < event->end ? end : event->end;
        gap.owner = 0;
        gap.detail = 0;
        gap.flags = LEDGER_ADOPTED | LEDGER_UNSURE_PROT;
        gap.ticket = event->ticket;
        insert(ledger, actor, &gap);
        if (!recorded(ledger, gap.start, gap.end)) {
            return; /* no room */
        }
        from = gap.end;
    }
}

/* Whether a slot of that ticket maps this record, and not what was there before it. */
static bool maps(const struct ledger_mapping *mapping, uint64_t ticket)
{
    return mapping->ticket <= ticket || (mapping->flags & LEDGER_BOUND_OVER);
}

static void unbind_slot(struct ledger *ledger, uint32_t index, const struct ledger_map_event *event)
{
    struct ledger_slot slot = *ledger_slot_at(ledger, index);
    bool lives = ledger_owner_lives(ledger, event->owner);
    struct ledger_position position;
    struct ledger_mapping *mapping;
    for (uint64_t from = slot.start;
         (mapping = next_within(ledger, &from, slot.end, &position)) != NULL;) {
        mapping->unbound_stack = maps(mapping, slot.ticket) ? event->stack : mapping->unbound_stack;
    }
    ledger_slot_remove(ledger, index); /* from here on a rebuild counts without it */
    for (uint64_t from = slot.start;
         (mapping = next_within(ledger, &from, slot.end, &position)) != NULL;) {
        if (!maps(mapping, slot.ticket) || is_saturated(mapping) ||
            !(mapping->flags & LEDGER_BINDINGS)) {
            continue;
        }
        mapping->flags = (uint16_t)(mapping->flags - LEDGER_BINDING);
        if (mapping->flags & LEDGER_BINDINGS) {
            continue;
        }
        if (lives) {
            note_unbound(ledger, mapping, event);
        }
        if (mapping->flags & LEDGER_ADOPTED) {
            drop(ledger, position, 0);
        } else if (mapping->state == LEDGER_LIVE) {
            mapping->flight = (uint32_t)(event->now_ns >> LEDGER_UNBOUND_SHIFT);
        }
    }
}

static APART void unbind(struct ledger *ledger, const struct ledger_map_event *event)
{
    uint32_t index = ledger_slot_find(ledger, event->owner, event->detail);
    if (!index || ledger_slot_at(ledger, index)->ticket > event->ticket) {
        return;
    }
    unbind_slot(ledger, index, event);
    if (ledger_owner_lives(ledger, event->owner)) {
        __atomic_add_fetch(&ledger->header->unbinds, 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&ledger->header->epoch, 1, __ATOMIC_RELAXED);
    }
}

static APART void unbind_all(struct ledger *ledger, const struct ledger_map_event *event)
{
    uint32_t index;
    while ((index = ledger_slot_first(ledger, event->owner)) != 0) {
        unbind_slot(ledger, index, event);
    }
}

/* A slot of an owner that has ended meanwhile has ended, too. */
static APART void bind(struct ledger *ledger, struct ledger_actor *actor,
                       const struct ledger_map_event *event)
{
    uint32_t index = ledger_slot_find(ledger, event->owner, event->detail);
    if (index && ledger_slot_at(ledger, index)->ticket >= event->ticket) {
        return; /* done before it was cut short, or a younger one came first */
    }
    if (index) {
        unbind_slot(ledger, index, event);
    }
    adopt_gaps(ledger, actor, event);
    if (!ledger_owner(ledger, event->owner) ||
        !ledger_slot_add(ledger, actor, event->owner, event)) {
        return;
    }
    struct ledger_position position;
    struct ledger_mapping *mapping;
    split_at(ledger, actor, event->start);
    split_at(ledger, actor, event->end);
    for (uint64_t from = event->start;
         (mapping = next_within(ledger, &from, event->end, &position)) != NULL;) {
        if (maps(mapping, event->ticket)) {
            bind_record(ledger, mapping, event->owner);
        }
    }
    if (!ledger_owner_lives(ledger, event->owner)) {
        unbind_all(ledger, event);
    }
}

static void apply(struct ledger *ledger, struct ledger_actor *actor,
                  const struct ledger_map_event *event)
{
    switch ((enum ledger_map_op)event->op) {
    case LEDGER_MAP_INSERT:
        insert(ledger, actor, event);
        break;
    case LEDGER_MAP_FLY:
        fly(ledger, actor, event);
        break;
    case LEDGER_MAP_COMMIT:
        commit(ledger, event);
        break;
    case LEDGER_MAP_ROLLBACK:
        rollback(ledger, event);
        break;
    case LEDGER_MAP_MOVE:
        move(ledger, actor, event);
        break;
    case LEDGER_MAP_PROTECT:
        protect(ledger, actor, event);
        break;
    case LEDGER_MAP_ASSIGN:
        assign(ledger, actor, event);
        break;
    case LEDGER_MAP_BIND:
        bind(ledger, actor, event);
        break;
    case LEDGER_MAP_UNBIND:
        unbind(ledger, event);
        break;
    case LEDGER_MAP_UNBIND_ALL:
        unbind_all(ledger, event);
        break;
    case LEDGER_MAP_KEEP:
        keep(ledger, actor, event);
        break;
    case LEDGER_MAP_MARK:
        mark(ledger, actor, event);
        break;
    }
}

/* --- the queue: tagged indices + 1, so that a head that came back is told apart --- */

#define HEAD_INDEX(head) ((uint32_t)(head))
#define HEAD_NEXT(head, index) ((((head) >> 32) + 1) << 32 | (index))

static uint32_t next_of(const struct ledger *ledger, uint32_t index)
{
    return __atomic_load_n(&ledger->queue[index - 1].next, __ATOMIC_RELAXED);
}

static void set_next(struct ledger *ledger, uint32_t index, uint32_t next)
{
    __atomic_store_n(&ledger->queue[index - 1].next, next, __ATOMIC_RELAXED);
}

static void push(struct ledger *ledger, uint64_t *list, uint32_t index)
{
    uint64_t head = __atomic_load_n(list, __ATOMIC_RELAXED);
    do {
        set_next(ledger, index, HEAD_INDEX(head));
    } while (!__atomic_compare_exchange_n(list, &head, HEAD_NEXT(head, index), false,
                                          __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
}

static uint32_t pop(struct ledger *ledger, uint64_t *list)
{
    uint64_t head = __atomic_load_n(list, __ATOMIC_ACQUIRE);
    uint32_t index;
    do {
        index = HEAD_INDEX(head);
        if (index == 0) {
            return 0;
        }
    } while (!__atomic_compare_exchange_n(list, &head, HEAD_NEXT(head, next_of(ledger, index)),
                                          false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    return index;
}

static void widen(uint64_t *bound, uint64_t value)
{
    uint64_t old = __atomic_load_n(bound, __ATOMIC_RELAXED);
    while (value > old && !__atomic_compare_exchange_n(bound, &old, value, true, __ATOMIC_SEQ_CST,
                                                       __ATOMIC_RELAXED)) {
    }
}

/* What an event that is not applied would have changed is unsure from now on. The range only ever
 * grows: it is rare, and being unsure costs a reader no more than a look at the kernel. */
static void lose_range(struct ledger *ledger, uint64_t start, uint64_t end)
{
    widen(&ledger->lost_low, ~start); /* kept inverted, so that it starts at zero */
    widen(&ledger->lost_high, end);
    __atomic_store_n(&ledger->lost, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&ledger->header->lost_events, 1, __ATOMIC_RELAXED);
    ledger_incomplete(ledger, LEDGER_INCOMPLETE_EVENTS);
}

static uint32_t free_slot(struct ledger *ledger)
{
    uint32_t index = pop(ledger, &ledger->unused);
    if (index == 0 && __atomic_load_n(&ledger->fresh, __ATOMIC_RELAXED) < LEDGER_QUEUE_EVENTS) {
        index = __atomic_add_fetch(&ledger->fresh, 1, __ATOMIC_RELAXED);
    }
    return index <= LEDGER_QUEUE_EVENTS ? index : 0;
}

/* False: no room. */
static bool queue_event(struct ledger *ledger, const struct ledger_map_event *event)
{
    uint32_t index = FAULT(ring_not_drained) ? 0 : free_slot(ledger);
    if (index == 0) {
        return false;
    }
    ledger->queue[index - 1].event = *event;
    push(ledger, &ledger->queued, index);
    return true;
}

static void lose_event(struct ledger *ledger, const struct ledger_map_event *event)
{
    lose_range(ledger, event->start, event->end);
    if (event->op == LEDGER_MAP_MOVE) {
        lose_range(ledger, event->to_start, event->to_end);
    }
}

/* The queue is full because the holder of the lock does not run, with more threads than cores.
 * Bounded: it may have been stopped for good. */
static bool may_try_again(struct ledger *ledger, const struct ledger_actor *actor, unsigned tries)
{
    if (FAULT(ring_not_drained) || !ledger->backing->yield ||
        __atomic_load_n(&ledger->stuck, __ATOMIC_RELAXED)) {
        return false;
    }
    if (tries == FULL_TRIES) {
        __atomic_store_n(&ledger->stuck, 1, __ATOMIC_RELAXED); /* enough for all others, too */
        return false;
    }
    return ledger->backing->yield(actor);
}

/* Marks what lost events may have changed. */
static void mark_lost(struct ledger *ledger)
{
    if (__builtin_expect(__atomic_load_n(&ledger->lost, __ATOMIC_SEQ_CST) == 0, 1)) {
        return;
    }
    __atomic_store_n(&ledger->lost, 0, __ATOMIC_SEQ_CST);
    uint64_t low = ~__atomic_load_n(&ledger->lost_low, __ATOMIC_SEQ_CST);
    uint64_t high = __atomic_load_n(&ledger->lost_high, __ATOMIC_SEQ_CST);
    struct ledger_position position = ledger_index_find(ledger, low);
    for (; position.node && at(ledger, position)->start < high;
         position = ledger_index_next(position)) {
        at(ledger, position)->flags |= LEDGER_UNSURE;
    }
}

static bool queued(struct ledger *ledger)
{
    return HEAD_INDEX(__atomic_load_n(&ledger->queued, __ATOMIC_SEQ_CST)) != 0;
}

/* Takes the queue and turns it round: the oldest first. */
static void take_queue(struct ledger *ledger)
{
    ledger->sorting = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    uint64_t head = __atomic_load_n(&ledger->queued, __ATOMIC_ACQUIRE);
    while (!__atomic_compare_exchange_n(&ledger->queued, &head, HEAD_NEXT(head, 0), false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE)) {
    }
    uint32_t oldest = 0;
    for (uint32_t index = HEAD_INDEX(head); index;) {
        uint32_t next = next_of(ledger, index);
        set_next(ledger, index, oldest);
        oldest = index;
        index = next;
    }
    ledger->draining = oldest;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    ledger->sorting = 0;
}

static void apply_taken(struct ledger *ledger, struct ledger_actor *actor)
{
    while (ledger->draining) {
        uint32_t index = ledger->draining;
        apply(ledger, actor, &ledger->queue[index - 1].event);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        ledger->draining = next_of(ledger, index);
        push(ledger, &ledger->unused, index);
    }
}

/* Applies what has been queued. */
static void drain(struct ledger *ledger, struct ledger_actor *actor)
{
    apply_taken(ledger, actor);
    while (queued(ledger)) {
        take_queue(ledger);
        apply_taken(ledger, actor);
    }
    mark_lost(ledger);
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

static void apply_own(struct ledger *ledger, struct ledger_actor *actor,
                      const struct ledger_map_event *event)
{
    apply(ledger, actor, event);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    ledger->applying = 0;
}

/* The caller's own event, once more if the first time was cut short. */
static void apply_current(struct ledger *ledger, struct ledger_actor *actor)
{
    apply_own(ledger, actor, &ledger->current);
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

/* Whoever queued while the lock was taken relies on its holder, and the holder on this look after
 * it let go: one of the two always sees the other. A handler that comes between the look and the
 * end of the mark is seen by the second look. */
static inline void drain_rest(struct ledger *ledger, struct ledger_actor *actor, ledger_mark frame)
{
    while (queued(ledger)) {
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

void ledger_map_submit(struct ledger *ledger, struct ledger_actor *actor,
                       const struct ledger_map_event *event)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    if (actor->locked && !FAULT(waits_for_lock)) { /* a handler above our own update */
        if (!queue_event(ledger, event)) {
            lose_event(ledger, event);
        }
        return;
    }
    ledger_set_mark(&actor->locked, &canary);
    while (FAULT(waits_for_lock) && __atomic_load_n(&ledger->lock, __ATOMIC_RELAXED)) {
    }
    for (unsigned tries = 0;; tries++) {
        if (try_lock(ledger, actor)) {
            keep_current(ledger, event);
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
            ledger->applying = 1; /* from here on it happens, whoever jumps out of what */
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
            drain(ledger, actor);
            apply_own(ledger, actor, event);
            unlock(ledger);
            break;
        }
        if (queue_event(ledger, event)) {
            break;
        }
        if (!may_try_again(ledger, actor, tries)) {
            lose_event(ledger, event);
            break;
        }
    }
    ledger_set_mark(&actor->locked, NULL);
    drain_rest(ledger, actor, &canary);
}

/* The lock for what only concerns one record as a whole, with all that waited applied. */
static inline bool lock_at_once(struct ledger *ledger, struct ledger_actor *actor)
{
    if (!try_lock(ledger, actor)) {
        return false;
    }
    if (__builtin_expect(ledger->draining != 0 || queued(ledger) || ledger->lost != 0, 0)) {
        drain(ledger, actor);
    }
    return true;
}

bool ledger_map_fly_whole(struct ledger *ledger, struct ledger_actor *actor, uint64_t start,
                          uint64_t end, uint64_t ticket)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    bool whole = false;
    if (actor->locked || FAULT(waits_for_lock)) {
        return false;
    }
    ledger_set_mark(&actor->locked, &canary);
    if (lock_at_once(ledger, actor)) {
        struct ledger_position position = ledger_index_find(ledger, start);
        whole = position.node && is_all_of(at(ledger, position), start, end);
        if (whole) {
            fly_record(at(ledger, position), ticket);
        }
        unlock(ledger);
    }
    ledger_set_mark(&actor->locked, NULL);
    drain_rest(ledger, actor, &canary);
    return whole;
}

bool ledger_map_commit_whole(struct ledger *ledger, struct ledger_actor *actor, uint64_t start,
                             uint64_t end, uint64_t ticket, uint32_t stack)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    bool whole = false;
    if (actor->locked || FAULT(waits_for_lock)) {
        return false;
    }
    ledger_set_mark(&actor->locked, &canary);
    if (lock_at_once(ledger, actor)) {
        struct ledger_position position = ledger_index_find(ledger, start);
        whole = position.node && is_all_of(at(ledger, position), start, end) &&
                flies(at(ledger, position), ticket);
        if (whole) {
            ledger->current.op = LEDGER_MAP_COMMIT; /* and what commit() looks at, for a repair */
            ledger->current.start = start;
            ledger->current.end = end;
            ledger->current.ticket = ticket;
            ledger->current.stack = stack;
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
            ledger->applying = 1;
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
            drop(ledger, position, stack);
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
            ledger->applying = 0;
        }
        unlock(ledger);
    }
    ledger_set_mark(&actor->locked, NULL);
    drain_rest(ledger, actor, &canary);
    return whole;
}

static bool all_recorded(struct ledger *ledger, uint64_t start, uint64_t end)
{
    while (start < end) {
        struct ledger_position position = ledger_index_find(ledger, start);
        const struct ledger_mapping *mapping = position.node ? at(ledger, position) : NULL;
        if (!mapping || mapping->start > start || mapping->end <= start ||
            mapping->state != LEDGER_LIVE) {
            return false;
        }
        start = mapping->end;
    }
    return true;
}

static bool is_still(const struct ledger_mapping *mapping, const struct ledger_mapping *as)
{
    return mapping->start == as->start && mapping->end == as->end &&
           mapping->ticket == as->ticket && mapping->state == LEDGER_LIVE &&
           mapping->flags == as->flags && mapping->owner == as->owner &&
           mapping->bound_owner == as->bound_owner;
}

/* Another thread's update takes less than a microsecond, unless that thread is put aside in the
 * middle of it: then it is given some time. One that was stopped for good is not waited for. */
static bool lock_soon(struct ledger *ledger, struct ledger_actor *actor)
{
    for (unsigned tries = 0; tries < SOON_TRIES; tries++) {
        if (try_lock(ledger, actor)) {
            return true;
        }
        if (tries > SOON_TRIES - FULL_TRIES && !may_try_again(ledger, actor, 0)) {
            return false;
        }
    }
    return false;
}

bool ledger_map_catch_up(struct ledger *ledger, struct ledger_actor *actor)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    if (actor->locked) {
        return false;
    }
    ledger_set_mark(&actor->locked, &canary);
    bool ours = lock_soon(ledger, actor);
    if (ours) {
        drain(ledger, actor);
        unlock(ledger);
    }
    ledger_set_mark(&actor->locked, NULL);
    drain_rest(ledger, actor, &canary);
    return ours;
}

bool ledger_map_is_settled(const struct ledger *ledger)
{
    return HEAD_INDEX(__atomic_load_n(&ledger->queued, __ATOMIC_SEQ_CST)) == 0 &&
           __atomic_load_n(&ledger->lock, __ATOMIC_SEQ_CST) == NULL;
}

int ledger_map_assign(struct ledger *ledger, struct ledger_actor *actor,
                      const struct ledger_map_event *event)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    int result = EAGAIN;
    if (actor->locked) {
        return result;
    }
    ledger_set_mark(&actor->locked, &canary);
    if (lock_soon(ledger, actor)) {
        drain(ledger, actor);
        result = all_recorded(ledger, event->start, event->end) ? 0 : ENOMEM;
        if (result == 0) {
            keep_current(ledger, event);
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
            ledger->applying = 1;
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
            apply_current(ledger, actor);
        }
        unlock(ledger);
    }
    ledger_set_mark(&actor->locked, NULL);
    drain_rest(ledger, actor, &canary);
    return result;
}

bool ledger_map_reclaim(struct ledger *ledger, struct ledger_actor *actor,
                        const struct ledger_mapping *as, const struct ledger_map_event *event)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    bool result = false;
    if (actor->locked) {
        return result;
    }
    ledger_set_mark(&actor->locked, &canary);
    if (lock_soon(ledger, actor)) {
        drain(ledger, actor);
        struct ledger_position position = ledger_index_find(ledger, as->start);
        result = position.node && is_still(at(ledger, position), as);
        if (result) {
            ledger->current = *event;
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
            ledger->applying = 1;
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
            apply_current(ledger, actor);
        }
        unlock(ledger);
    }
    ledger_set_mark(&actor->locked, NULL);
    drain_rest(ledger, actor, &canary);
    return result;
}

static void examine(struct ledger *ledger, uint64_t start, uint64_t end, struct ledger_range *range)
{
    struct ledger_position position = ledger_index_find(ledger, start);
    *range = (struct ledger_range){.one_prot = true, .kept = true};
    range->prot = position.node ? at(ledger, position)->prot : 0;
    for (; position.node && at(ledger, position)->start < end;
         position = ledger_index_next(position)) {
        const struct ledger_mapping *mapping = at(ledger, position);
        range->flags |= mapping->flags;
        range->detail |= mapping->detail;
        range->one_prot = range->one_prot && mapping->prot == range->prot;
        range->kept = range->kept && (mapping->flags & LEDGER_KEPT);
        range->reclaimed = range->reclaimed ||
                           ((mapping->flags & LEDGER_KEPT) && !(mapping->detail & LEDGER_WAITS));
    }
}

int ledger_map_examine(struct ledger *ledger, struct ledger_actor *actor, uint64_t start,
                       uint64_t end, struct ledger_range *range)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    int result = EAGAIN;
    if (actor->locked) {
        return result;
    }
    ledger_set_mark(&actor->locked, &canary);
    if (lock_soon(ledger, actor)) {
        drain(ledger, actor);
        result = start < end && all_recorded(ledger, start, end) ? 0 : ENOMEM;
        if (result == 0) {
            examine(ledger, start, end, range);
        }
        unlock(ledger);
    }
    ledger_set_mark(&actor->locked, NULL);
    drain_rest(ledger, actor, &canary);
    return result;
}

bool ledger_map_look(struct ledger *ledger, struct ledger_actor *actor, uint64_t address,
                     struct ledger_mapping *copy)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    bool found = false;
    if (actor->locked) {
        return false;
    }
    ledger_set_mark(&actor->locked, &canary);
    if (try_lock(ledger, actor)) {
        drain(ledger, actor);
        struct ledger_position position = ledger_index_find(ledger, address);
        if (position.node && at(ledger, position)->end <= address) {
            position = ledger_index_next(position);
        }
        found = position.node != NULL;
        if (found) {
            *copy = *at(ledger, position);
        }
        unlock(ledger);
    }
    ledger_set_mark(&actor->locked, NULL);
    drain_rest(ledger, actor, &canary);
    return found;
}

void ledger_map_make_ahead(struct ledger *ledger, struct ledger_actor *actor)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    if (actor->locked) {
        return;
    }
    ledger_set_mark(&actor->locked, &canary);
    if (try_lock(ledger, actor)) {
        ledger_index_provide(ledger, actor, LEDGER_INDEX_DEPTH + 256);
        unlock(ledger);
    }
    ledger_set_mark(&actor->locked, NULL);
    drain_rest(ledger, actor, &canary);
}

/* --- after an update that never returned --- */

/* What owners hold of mappings is about to be counted anew; no record of theirs is used again
 * meanwhile. */
static void forget_owners(struct ledger *ledger)
{
    __atomic_store_n(&ledger->rebuilding, 1, __ATOMIC_SEQ_CST);
    for (uint64_t i = 1; i < ledger->header->used[LEDGER_OWNERS]; i++) {
        struct ledger_owner *owner = ledger_at(ledger, LEDGER_OWNERS, (uint32_t)i);
        if (owner) {
            __atomic_store_n(&owner->mappings, 0, __ATOMIC_SEQ_CST);
            __atomic_store_n(&owner->bytes, 0, __ATOMIC_RELAXED);
        }
    }
}

static void count_bindings(struct ledger *ledger)
{
    ledger_slot_rebuild(ledger);
    for (uint32_t i = 1; i < ledger->slots.used; i++) {
        const struct ledger_slot *slot = ledger_slot_at(ledger, i);
        struct ledger_position position;
        struct ledger_mapping *mapping;
        if (!slot->live) {
            continue;
        }
        for (uint64_t from = slot->start;
             (mapping = next_within(ledger, &from, slot->end, &position)) != NULL;) {
            if (!maps(mapping, slot->ticket)) {
                continue;
            }
            add_binding(mapping);
            if (mapping->bound_owner == 0) { /* that was as far as the update had come */
                count(ledger, mapping, -1, -size_of(mapping));
                mapping->bound_owner = slot->owner;
                count(ledger, mapping, 1, size_of(mapping));
            }
        }
    }
}

/* The index, the free list and all counters, from nothing but the records. */
static void rebuild(struct ledger *ledger, struct ledger_actor *actor)
{
    struct ledger_header *header = ledger->header;
    header->rebuilds++;
    ledger_index_reset(ledger);
    ledger->free_mapping = 0;
    for (uint64_t i = 1; i < header->used[LEDGER_STACKS]; i++) {
        struct ledger_stack *stack = ledger_stack(ledger, (uint32_t)i);
        if (stack) {
            stack->mappings_live = 0;
            stack->bytes_live = 0;
            struct ledger_growth *growth = ledger_at(ledger, LEDGER_GROWTH, (uint32_t)i);
            if (growth) {
                growth->mappings_owned = 0;
            }
        }
    }
    forget_owners(ledger);
    for (uint64_t i = header->used[LEDGER_MAPPINGS]; i-- > 1;) {
        struct ledger_mapping *mapping = mapping_at(ledger, (uint32_t)i);
        if (mapping->state == LEDGER_EMPTY) {
            free_record(ledger, (uint32_t)i);
            continue;
        }
        mapping->flags &= (uint16_t)~LEDGER_BINDINGS;
        struct ledger_position position = ledger_index_find(ledger, mapping->start);
        struct ledger_mapping *other = position.node ? at(ledger, position) : NULL;
        if (other && other->start == mapping->start) { /* a split or a move in the middle */
            free_record(ledger, (uint32_t)i);
            continue;
        }
        count(ledger, mapping, 1, size_of(mapping));
        add(ledger, actor, (uint32_t)i);
    }
    /* A split publishes the upper part first. */
    struct ledger_position position = ledger_index_find(ledger, 0);
    while (position.node) {
        struct ledger_position next = ledger_index_next(position);
        struct ledger_mapping *mapping = at(ledger, position);
        if (next.node && at(ledger, next)->start < mapping->end) {
            uint64_t boundary = at(ledger, next)->start;
            count(ledger, mapping, 0, -(int64_t)(mapping->end - boundary));
            mapping->end = boundary;
        }
        position = next;
    }
    count_bindings(ledger);
    __atomic_store_n(&ledger->rebuilding, 0, __ATOMIC_SEQ_CST);
}

void ledger_map_repair(struct ledger *ledger, struct ledger_actor *actor)
{
    if (ledger->lock == actor) {
        volatile uint64_t canary = LEDGER_CANARY(&canary);
        ledger_set_mark(&actor->locked, &canary);
        if (ledger->sorting) { /* the list that was being turned round is lost */
            ledger->sorting = 0;
            lose_range(ledger, 0, UINT64_MAX);
        }
        rebuild(ledger, actor);
        apply_taken(ledger, actor);
        if (ledger->applying) {
            apply_current(ledger, actor);
        }
        drain(ledger, actor);
        unlock(ledger);
    }
    ledger_set_mark(&actor->locked, NULL);
}
