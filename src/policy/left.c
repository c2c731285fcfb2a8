/*
 * left.c: see left.h. It goes through the tables twice: what needs a second sandbox as a witness,
 * or is a piece of something, can be judged only once all of its like have been seen. Where its own
 * tables are full it counts less, never more.
 */
#include "left.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "raw.h"

#define PARTS_DEEP 32u     /* parts of parts, and no more than a broken ledger could say */
#define OWNERS_SEEN 65536u /* more than can each have left something, at the usual limits */
#define ALIKE_PLACES 4096u /* stacks that need a witness, and calls with several pieces */
#define ALIKE_PROBES 16u

enum verdict {
    HELD,
    LEFT,
    NEEDS_A_WITNESS, /* left, if another sandbox left one from the same stack */
    MAY_RETURN,      /* its sandbox lives: left, if that has taken the like anew since */
};

/* The cases that are judged together. */
struct alike {
    uint64_t key;   /* 0: free */
    uint32_t owner; /* of the first */
    bool several;   /* owners */
    bool left_over; /* of a mapping, a part was never bound */
    bool unbound;
    uint32_t first_unbound, last_taken; /* units of LEDGER_UNBOUND_SHIFT */
};

/* process-global: what a look at the whole process needs, for as long as it lasts */
static struct {
    uint32_t looking; /* the thread that does, + 1; 0: nobody */
    struct alike alike[ALIKE_PLACES];
    uint64_t seen[OWNERS_SEEN / 64];
} tables;

/* One that another look is at: only its own thread, which has left it by a jump, takes it over. */
static bool begin(uint32_t tid)
{
    uint32_t nobody = 0;
    if (!__atomic_compare_exchange_n(&tables.looking, &nobody, tid + 1, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED) &&
        nobody != tid + 1) {
        return false;
    }
    for (unsigned i = 0; i < ALIKE_PLACES; i++) {
        tables.alike[i] = (struct alike){0};
    }
    for (unsigned i = 0; i < OWNERS_SEEN / 64; i++) {
        tables.seen[i] = 0;
    }
    return true;
}

/* A place for the key; NULL: there is no room near it. */
static struct alike *alike_of(uint64_t key)
{
    uint64_t hash = key * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    for (unsigned probe = 0; probe < ALIKE_PROBES; probe++) {
        struct alike *alike = &tables.alike[(hash + probe) % ALIKE_PLACES];
        if (alike->key == 0) {
            alike->key = key;
        }
        if (alike->key == key) {
            return alike;
        }
    }
    return NULL;
}

static void note(uint64_t key, uint32_t owner)
{
    struct alike *alike = alike_of(key);
    if (alike) {
        alike->several |= alike->owner != 0 && alike->owner != owner;
        alike->owner = owner;
    }
}

/* --- whose, and how long ago ------------------------------------------------------------------ */

static const struct ledger_owner *outermost(const struct ledger *ledger, uint32_t *owner)
{
    const struct ledger_owner *record = ledger_owner(ledger, *owner);
    for (unsigned deep = 0; record && record->parent && deep < PARTS_DEEP; deep++) {
        *owner = record->parent;
        record = ledger_owner(ledger, *owner);
    }
    return record;
}

static bool is_over(const struct ledger *ledger, const struct left_terms *terms,
                    const struct ledger_owner *record)
{
    uint32_t ended =
        (uint32_t)__atomic_load_n(&ledger->header->owners_ended[record->kind], __ATOMIC_RELAXED);
    bool later = record->ended_order != 0 && ended - record->ended_order >= LEFT_LATER_ENDS;
    return record->ended_ns + terms->settle_ns <= terms->now_ns || (terms->crowded && later);
}

static bool is_pool(const struct ledger *ledger, uint32_t index)
{
    const struct ledger_stack *stack = index ? ledger_stack(ledger, index) : NULL;
    return stack && (stack->flags & LEDGER_STACK_REBINDS);
}

static bool is_there(const struct left_terms *terms, uint32_t state)
{
    state &= 7;
    return state == LEDGER_LIVE || (terms->at_exit && state == LEDGER_IN_FLIGHT);
}

/* --- descriptors ------------------------------------------------------------------------------ */

static bool is_anchor(const struct ledger_fd *fd)
{
    return (fd->flags & LEDGER_ANCHOR) || fd->kind == LEDGER_FD_PIDFD ||
           fd->kind == LEDGER_FD_SECCOMP || fd->kind == LEDGER_FD_KVM_VM;
}

static bool is_injected_unseen(const struct ledger_fd *fd)
{
    const unsigned injected = LEDGER_GIVEN | LEDGER_ADOPTED;
    return (fd->flags & injected) == injected;
}

static enum verdict judge_fd(const struct ledger *ledger, const struct left_terms *terms,
                             const struct ledger_fd *fd, uint32_t *owner)
{
    *owner = fd->owner;
    const struct ledger_owner *record = outermost(ledger, owner);
    if (!record || record->state != LEDGER_ENDED ||
        (fd->flags & (LEDGER_TIED | LEDGER_SHARED | LEDGER_INHERITED)) ||
        is_pool(ledger, fd->stack)) {
        return HELD;
    }
    if (!is_over(ledger, terms, record) && (!terms->at_exit || is_anchor(fd))) {
        return HELD;
    }
    return (fd->flags & LEDGER_SCOPED) || is_injected_unseen(fd) ? NEEDS_A_WITNESS : LEFT;
}

static bool is_open(const struct left_terms *terms, uint32_t fd)
{
    return !terms->may_call || !raw_failed(raw_syscall2(SYS_fcntl, fd, F_GETFD));
}

/* --- mappings --------------------------------------------------------------------------------- */

/* What a supervisor says is better than what its slots say, and that than a scope. */
static const struct ledger_owner *owner_of(const struct ledger *ledger,
                                           const struct ledger_mapping *mapping, uint32_t *owner)
{
    uint32_t bound = mapping->bound_owner;
    *owner = mapping->owner;
    const struct ledger_owner *record = outermost(ledger, owner);
    const struct ledger_owner *vm = outermost(ledger, &bound);
    if (vm && !(record && record->kind == LEDGER_OWNER_API)) {
        *owner = bound;
        return vm;
    }
    return record;
}

/* As `flight` has it: modulo 2^32, which is 52 days. */
static uint32_t unbound_units(uint64_t ns)
{
    return (uint32_t)(ns >> LEDGER_UNBOUND_SHIFT);
}

/* Bound once, unbound, and never rebound: the sandbox lives on without it. Of parts, only the
 * command can tell. */
static bool is_unbound_for_good(const struct ledger *ledger, const struct left_terms *terms,
                                const struct ledger_mapping *mapping)
{
    return mapping->unbound_stack != 0 && !(mapping->flags & (LEDGER_BINDINGS | LEDGER_SPLIT)) &&
           mapping->state == LEDGER_LIVE && ledger_owner_lives(ledger, mapping->bound_owner) &&
           (terms->at_exit ||
            unbound_units(terms->now_ns) - mapping->flight >= unbound_units(terms->settle_ns));
}

static enum verdict judge_mapping(const struct ledger *ledger, const struct left_terms *terms,
                                  const struct ledger_mapping *mapping, uint32_t *owner)
{
    const struct ledger_owner *record = owner_of(ledger, mapping, owner);
    if (!record || (mapping->flags & (LEDGER_SHARED | LEDGER_INHERITED)) ||
        is_pool(ledger, mapping->stack)) {
        return HELD;
    }
    if (record->state != LEDGER_ENDED) {
        return is_unbound_for_good(ledger, terms, mapping) ? MAY_RETURN : HELD;
    }
    if (!terms->at_exit && !is_over(ledger, terms, record)) {
        return HELD;
    }
    if (record->kind == LEDGER_OWNER_SECCOMP && mapping->bound_owner == 0) {
        return NEEDS_A_WITNESS;
    }
    return LEFT;
}

/* msync(2): ENOMEM where not all of it is mapped. */
static bool is_mapped(const struct left_terms *terms, const struct ledger_mapping *mapping)
{
    return !terms->may_call || raw_syscall3(SYS_msync, mapping->start,
                                            mapping->end - mapping->start, MS_ASYNC) != -ENOMEM;
}

/* --- both ------------------------------------------------------------------------------------- */

/* What is judged together has a key; its highest bits say what it is a key of. */
#define OF_FDS (UINT64_C(1) << 62)                   /* and the stack */
#define OF_MAPPINGS (UINT64_C(2) << 62)              /* likewise */
#define OF_CALLS (UINT64_C(3) << 62)                 /* the ticket and the owner */
#define OWNER_BITS 24u                               /* LEDGER_TABLE_CHUNKS of them are fewer */
#define OF_UNBOUND (OF_MAPPINGS | UINT64_C(1) << 61) /* the stack and the owner */
#define OF_SLICES UINT64_C(0)                        /* the ticket */

static bool counts_with_others(uint64_t key)
{
    struct alike *alike = alike_of(key);
    return alike && alike->several;
}

static void count_owner(struct left *left, uint32_t owner)
{
    uint64_t *word = &tables.seen[owner % OWNERS_SEEN / 64];
    uint64_t bit = UINT64_C(1) << owner % 64;
    left->owners += (*word & bit) == 0;
    *word |= bit;
}

static void look_at_fd(const struct ledger *ledger, const struct left_terms *terms, uint32_t fd,
                       struct left *left)
{
    const struct ledger_fd *record = ledger_at(ledger, LEDGER_FDS, fd);
    uint32_t owner;
    uint32_t state = record ? __atomic_load_n(&record->state, __ATOMIC_ACQUIRE) : LEDGER_EMPTY;
    if (!is_there(terms, state) || record->owner == 0) {
        return;
    }
    struct ledger_fd copy = *record;
    copy.state = state;
    enum verdict verdict = judge_fd(ledger, terms, &copy, &owner);
    uint64_t key = OF_FDS | copy.stack;
    if (!left) {
        if (verdict == NEEDS_A_WITNESS && is_open(terms, fd)) {
            note(key, owner);
        }
    } else if ((verdict == LEFT || (verdict == NEEDS_A_WITNESS && counts_with_others(key))) &&
               is_open(terms, fd)) {
        left->fds++;
        count_owner(left, owner);
        if (terms->tell) {
            terms->tell(terms->context, record, NULL);
        }
        if (terms->found) {
            struct left_thing thing = {.fd = &copy, .index = fd, .owner = owner};
            terms->found(terms->context, &thing);
        }
    }
}

/* One mapping that is handed out in slices, to one VM after the other, and has parts that nobody
 * has had, is a pool. */
static void note_slice(const struct ledger_mapping *mapping, uint32_t owner)
{
    struct alike *alike = alike_of(OF_SLICES | mapping->ticket);
    if (alike && mapping->bound_owner == 0) {
        alike->left_over = true;
    } else if (alike) {
        note(OF_SLICES | mapping->ticket, owner);
    }
}

static bool is_slice_of_pool(const struct ledger_mapping *mapping)
{
    const struct alike *alike = (mapping->flags & LEDGER_SPLIT) && mapping->bound_owner
                                    ? alike_of(OF_SLICES | mapping->ticket)
                                    : NULL;
    return alike && alike->several && alike->left_over;
}

/* A machine keeps memory whose slot is gone: a device's ROM, which the next reset maps again. What
 * a sandbox takes anew, though what it took before lies there unbound, it has forgotten. */
static struct alike *of_unbound(const struct ledger_mapping *mapping, uint32_t owner)
{
    return alike_of(OF_UNBOUND | (uint64_t)mapping->stack << OWNER_BITS | owner);
}

static void note_unbound(const struct ledger_mapping *mapping, uint32_t owner, bool unbound)
{
    struct alike *alike = of_unbound(mapping, owner);
    uint32_t taken = unbound_units(mapping->since_ns);
    if (!alike) {
        return;
    }
    if (unbound && (!alike->unbound || (int32_t)(mapping->flight - alike->first_unbound) < 0)) {
        alike->unbound = true;
        alike->first_unbound = mapping->flight;
    }
    if (alike->last_taken == 0 || (int32_t)(taken - alike->last_taken) > 0) {
        alike->last_taken = taken;
    }
}

static bool was_taken_anew(const struct ledger *ledger, const struct ledger_mapping *mapping,
                           uint32_t owner)
{
    const struct ledger_stack *stack = mapping->stack ? ledger_stack(ledger, mapping->stack) : NULL;
    const struct alike *alike = of_unbound(mapping, owner);
    int32_t later = alike ? (int32_t)(alike->last_taken - alike->first_unbound) : -1;
    /* Within one tick of the clock the order of events has to say. */
    return later > 0 || (later == 0 && stack && (stack->flags & LEDGER_STACK_ANEW));
}

/* The pieces of what one call mapped are counted once for each owner. */
static bool was_counted(const struct ledger_mapping *mapping, uint32_t owner)
{
    struct alike *alike = mapping->flags & LEDGER_SPLIT
                              ? alike_of(OF_CALLS | mapping->ticket << OWNER_BITS | owner)
                              : NULL;
    bool was = alike && alike->owner != 0;
    if (alike) {
        alike->owner = owner;
    }
    return was;
}

static void note_mapping(const struct ledger *ledger, const struct left_terms *terms,
                         const struct ledger_mapping *mapping, enum verdict verdict, uint32_t owner)
{
    if (mapping->flags & LEDGER_SPLIT) {
        note_slice(mapping, owner);
    }
    if (verdict == NEEDS_A_WITNESS && is_mapped(terms, mapping)) {
        note(OF_MAPPINGS | mapping->stack, owner);
    }
    if (mapping->bound_owner && ledger_owner_lives(ledger, owner)) {
        note_unbound(mapping, owner, verdict == MAY_RETURN);
    }
}

static bool mapping_is_left(const struct ledger *ledger, const struct ledger_mapping *mapping,
                            enum verdict verdict, uint32_t owner)
{
    if (is_slice_of_pool(mapping)) {
        return false;
    }
    switch (verdict) {
    case LEFT:
        return true;
    case NEEDS_A_WITNESS:
        return counts_with_others(OF_MAPPINGS | mapping->stack);
    case MAY_RETURN:
        return was_taken_anew(ledger, mapping, owner);
    case HELD:
        break;
    }
    return false;
}

static void look_at_mapping(const struct ledger *ledger, const struct left_terms *terms,
                            uint32_t index, struct left *left)
{
    const struct ledger_mapping *record = ledger_at(ledger, LEDGER_MAPPINGS, index);
    uint32_t owner;
    if (!record || !is_there(terms, __atomic_load_n(&record->state, __ATOMIC_ACQUIRE))) {
        return;
    }
    struct ledger_mapping mapping = *record;
    enum verdict verdict = judge_mapping(ledger, terms, &mapping, &owner);
    if (!left) {
        note_mapping(ledger, terms, &mapping, verdict, owner);
    } else if (mapping_is_left(ledger, &mapping, verdict, owner) && is_mapped(terms, &mapping)) {
        left->mappings += !was_counted(&mapping, owner);
        left->bytes += mapping.end - mapping.start;
        count_owner(left, owner);
        if (terms->tell) {
            terms->tell(terms->context, NULL, &mapping);
        }
        if (terms->found && verdict != MAY_RETURN) {
            struct left_thing thing = {.mapping = &mapping, .index = index, .owner = owner};
            terms->found(terms->context, &thing);
        }
    }
}

/* `left` NULL: only notes what is judged together. */
static void look(const struct ledger *ledger, const struct left_terms *terms, struct left *left)
{
    const struct ledger_header *header = ledger->header;
    uint64_t fds = __atomic_load_n(&header->used[LEDGER_FDS], __ATOMIC_ACQUIRE);
    uint64_t mappings = __atomic_load_n(&header->used[LEDGER_MAPPINGS], __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < fds; i++) {
        look_at_fd(ledger, terms, i, left);
    }
    for (uint32_t i = 1; i < mappings; i++) {
        look_at_mapping(ledger, terms, i, left);
    }
}

bool left_count(const struct ledger *ledger, const struct left_terms *terms, uint32_t tid,
                struct left *left)
{
    *left = (struct left){0};
    if (!begin(tid)) {
        return false;
    }
    look(ledger, terms, NULL);
    look(ledger, terms, left);
    __atomic_store_n(&tables.looking, 0, __ATOMIC_RELEASE);
    return true;
}
