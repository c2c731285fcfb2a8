/*
 * verdicts.c: left behind, or merely held?
 *
 * What an ended sandbox still holds was left behind once the sandbox had time to tidy up. Three
 * kinds of things need more than that: anchors, whose close may be what the supervisor does last;
 * what is attributed by circumstance alone, which needs a second sandbox as a witness; and what
 * two sandboxes shared, of which this file says nothing at all (growth.c may).
 */
#include "report/verdicts.h"

#include <uthash.h>

#include "ledger/fault.h"

#define LATER_ENDS 8u /* DESIGN 6: so many later ends of its kind settle an end, too */

enum reason {
    REASON_NONE,
    REASON_ANCHOR,          /* ended, but perhaps about to be closed */
    REASON_ANCHOR_SETTLED,  /* ... and not closed for long */
    REASON_NEEDS_A_WITNESS, /* counts if another sandbox left the like */
};

struct judge {
    const struct reader *reader;
    const struct owners *owners;
    const struct verdicts_terms *terms;
};

static bool by_time(const struct judge *judge, uint64_t since_ns)
{
    return since_ns + judge->terms->settle_ns <= judge->terms->now_ns;
}

static bool by_later_ends(const struct owners_item *owner)
{
    return owner->later_ends >= LATER_ENDS;
}

#define CLOCK_STEP_NS 10000000u /* the ledger's clock is a coarse one */

/* A running process goes on while its ledger is read: what was open when the kernel was asked may
 * have been closed, and its sandbox have ended by that, before its owner's record was copied. */
static bool ended_since_asked(const struct judge *judge, const struct owners_item *owner)
{
    return judge->terms->running && owner->record->state == LEDGER_ENDED &&
           owner->ended_ns + CLOCK_STEP_NS > judge->terms->now_ns;
}

static bool has_settled(const struct judge *judge, const struct owners_item *owner)
{
    if (ended_since_asked(judge, owner))
        return false;
    return judge->terms->at_exit || by_time(judge, owner->ended_ns) ||
           (judge->terms->half_full && by_later_ends(owner));
}

/* What a pool's stack takes goes from sandbox to sandbox. */
static bool is_pool(const struct ledger_stack *stack)
{
    return stack && (stack->flags & LEDGER_STACK_REBINDS);
}

/* --- descriptors ------------------------------------------------------------------------------ */

static bool is_anchor(const struct ledger_fd *fd)
{
    return (fd->flags & LEDGER_ANCHOR) || fd->kind == LEDGER_FD_PIDFD ||
           fd->kind == LEDGER_FD_SECCOMP || fd->kind == LEDGER_FD_KVM_VM;
}

static bool fd_needs_a_witness(const struct ledger_fd *fd)
{
    const unsigned injected = LEDGER_GIVEN | LEDGER_ADOPTED;

    return (fd->flags & LEDGER_SCOPED) || (fd->flags & injected) == injected;
}

static void judge_fd(const struct judge *judge, struct verdicts_case *the)
{
    const struct ledger_fd *fd = the->held->fd;
    const struct ledger_stack *stack = reader_record(judge->reader, LEDGER_STACKS, fd->stack);
    const struct owners_item *owner = owners_outermost(judge->owners, fd->owner);

    the->owner = owners_index(judge->owners, owner);
    if (verify_is_kept(the->held)) /* by a policy: nobody's, and no growth of anybody's */
        return;
    the->loose = !owner || (fd->flags & (LEDGER_TIED | LEDGER_SHARED)) || is_pool(stack);
    if (the->loose || !owner->ended || ended_since_asked(judge, owner))
        return;
    if (is_anchor(fd))
        the->reason =
            !FAULT(anchors_unsaid) && (by_time(judge, owner->ended_ns) || by_later_ends(owner))
                ? REASON_ANCHOR_SETTLED
                : REASON_ANCHOR;
    else if (!has_settled(judge, owner))
        return;
    else if (fd_needs_a_witness(fd))
        the->reason = FAULT(injected_unsaid) ? REASON_NONE : REASON_NEEDS_A_WITNESS;
    else
        the->leaked = !FAULT(leaked_fds_unsaid);
}

/* --- mappings --------------------------------------------------------------------------------- */

static const struct owners_item *owner_of_mapping(const struct judge *judge,
                                                  const struct ledger_mapping *mapping)
{
    const struct owners_item *owner = owners_outermost(judge->owners, mapping->owner);
    const struct owners_item *bound = owners_outermost(judge->owners, mapping->bound_owner);

    /* What a supervisor says is better than what its slots say, and that than a scope. */
    if (owner && owner->record->kind == LEDGER_OWNER_API)
        return owner;
    return bound ? bound : owner;
}

/* As `flight` has it: modulo 2^32, which is 52 days. */
static uint32_t unbound_units(uint64_t ns)
{
    return (uint32_t)(ns >> LEDGER_UNBOUND_SHIFT);
}

/* Bound once, unbound, and never rebound: the sandbox lives on without it. */
static bool is_unbound_for_good(const struct judge *judge, const struct ledger_mapping *mapping)
{
    const struct owners_item *bound;

    if (mapping->bound_owner == 0 || mapping->bound_owner >= judge->owners->count ||
        mapping->unbound_stack == 0 || (mapping->flags & LEDGER_BINDINGS) ||
        mapping->state != LEDGER_LIVE || FAULT(unbound_unsaid))
        return false;
    bound = &judge->owners->items[mapping->bound_owner];
    if (!bound->record || bound->ended)
        return false;
    return judge->terms->at_exit || unbound_units(judge->terms->now_ns) - mapping->flight >=
                                        unbound_units(judge->terms->settle_ns);
}

static void judge_mapping(const struct judge *judge, struct verdicts_case *the)
{
    const struct ledger_mapping *mapping = the->held->mapping;
    const struct ledger_stack *stack = reader_record(judge->reader, LEDGER_STACKS, mapping->stack);
    const struct owners_item *owner = owner_of_mapping(judge, mapping);

    the->owner = owners_index(judge->owners, owner);
    if (verify_is_kept(the->held))
        return;
    the->loose = !owner || (mapping->flags & LEDGER_SHARED) || is_pool(stack);
    if (the->loose)
        return;
    the->unbound_by = mapping->unbound_stack;
    if (!owner->ended)
        the->leaked = is_unbound_for_good(judge, mapping); /* if that repeats: see below */
    else if (!has_settled(judge, owner))
        return;
    else if (owner->record->kind == LEDGER_OWNER_SECCOMP && mapping->bound_owner == 0)
        the->reason = REASON_NEEDS_A_WITNESS;
    else
        the->leaked = !FAULT(leaked_maps_unsaid);
}

/* --- what needs others ------------------------------------------------------------------------ */

/* The cases of one stack; those that need a witness, also of one name. */
struct alike {
    struct alike_key {
        uint32_t reason, resource, code, what;
    } key;
    uint32_t owner; /* of the first */
    bool counts;    /* an anchor of it settled, or there was a second owner */
    UT_hash_handle hh;
};

/* What was left behind in any case is as good a witness. */
static struct alike_key key_of(const struct verdicts_case *the)
{
    if (the->reason == REASON_NEEDS_A_WITNESS || the->reason == REASON_NONE)
        return (struct alike_key){REASON_NEEDS_A_WITNESS, the->held->resource, the->code,
                                  the->what};
    return (struct alike_key){REASON_ANCHOR, the->held->resource, the->code, 0};
}

static void judge_together(struct verdicts_case *cases, size_t count)
{
    struct alike *all = NULL, *alike, *next;
    struct arena arena = {0};

    for (size_t i = 0; i < count; i++) {
        struct alike_key key = key_of(&cases[i]);

        if (cases[i].reason == REASON_NONE && !cases[i].leaked)
            continue;
        HASH_FIND(hh, all, &key, sizeof key, alike);
        if (!alike) {
            alike = arena_alloc(&arena, sizeof *alike);
            alike->key = key;
            alike->owner = cases[i].owner;
            HASH_ADD(hh, all, key, sizeof key, alike);
        }
        if (cases[i].reason == REASON_ANCHOR_SETTLED ||
            (key.reason == REASON_NEEDS_A_WITNESS && alike->owner != cases[i].owner))
            alike->counts = true;
    }
    for (size_t i = 0; i < count; i++) {
        struct alike_key key = key_of(&cases[i]);

        if (cases[i].reason == REASON_NONE)
            continue;
        HASH_FIND(hh, all, &key, sizeof key, alike);
        cases[i].leaked = alike && alike->counts;
    }
    HASH_ITER (hh, all, alike, next)
        HASH_DEL(all, alike);
    arena_free(&arena);
}

/* --- slots that come and go --------------------------------------------------------------------
 *
 * A machine keeps memory whose slot is gone: a device's ROM, which the next reset maps again. What
 * a sandbox takes anew, though what it took at the same place before lies there unbound, it has
 * forgotten. */

struct unbound_key {
    uint32_t code, owner;
};

struct unbound {
    struct unbound_key key;
    uint32_t first_unbound, last_taken; /* in units, from the first unbinding on */
    bool any_unbound;
    UT_hash_handle hh;
};

static struct unbound *find_unbound(struct unbound **all, struct arena *memory,
                                    const struct verdicts_case *the)
{
    struct unbound_key key = {the->code, the->owner};
    struct unbound *found;

    HASH_FIND(hh, *all, &key, sizeof key, found);
    if (!found && memory) {
        found = arena_alloc(memory, sizeof *found);
        found->key = key;
        HASH_ADD(hh, *all, key, sizeof key, found);
    }
    return found;
}

static void spare_slots_that_return(struct verdicts_case *cases, size_t count,
                                    const struct reader *reader, const struct owners *owners)
{
    struct unbound *all = NULL, *unbound, *next;
    const struct ledger_stack *stack;
    int32_t later;
    struct arena memory = {0};

    for (size_t i = 0; i < count; i++) {
        const struct ledger_mapping *mapping = cases[i].held->mapping;

        if (!mapping || cases[i].owner == 0 || owners->items[cases[i].owner].ended)
            continue;
        unbound = find_unbound(&all, &memory, &cases[i]);
        if (cases[i].leaked &&
            (!unbound->any_unbound || (int32_t)(mapping->flight - unbound->first_unbound) < 0)) {
            unbound->first_unbound = mapping->flight;
            unbound->any_unbound = true;
        }
        if (unbound->last_taken == 0 ||
            (int32_t)(unbound_units(mapping->since_ns) - unbound->last_taken) > 0)
            unbound->last_taken = unbound_units(mapping->since_ns);
    }
    for (size_t i = 0; i < count; i++) {
        if (!cases[i].held->mapping || !cases[i].leaked || cases[i].owner == 0 ||
            owners->items[cases[i].owner].ended)
            continue;
        unbound = find_unbound(&all, NULL, &cases[i]);
        stack = reader_record(reader, LEDGER_STACKS, cases[i].held->mapping->stack);
        later = (int32_t)(unbound->last_taken - unbound->first_unbound);
        /* Within one tick of the clock the order of events has to say. */
        cases[i].leaked = later > 0 || (later == 0 && stack && (stack->flags & LEDGER_STACK_ANEW));
    }
    HASH_ITER (hh, all, unbound, next)
        HASH_DEL(all, unbound);
    arena_free(&memory);
}

/* --- slices of an arena -----------------------------------------------------------------------
 *
 * One mapping that is handed out in slices to one sandbox after the other is a pool, also before
 * the first slice went to a second sandbox: two owners have had parts of it, and parts are left
 * that nobody has had. (Guard pages around one sandbox's memory are left over, too: one owner.)
 * And a part whose slot went is no loss while another slot maps another part: a machine's firmware
 * rearranges its memory, and the hole below 1 MiB comes and goes. */

struct arena_of_slices {
    uint64_t ticket; /* of the call that mapped it */
    uint32_t owner;  /* of its first slice */
    bool shared, left_over, bound, leaked;
    UT_hash_handle hh;
};

static struct arena_of_slices *find_arena(struct arena_of_slices **all, struct arena *memory,
                                          uint64_t ticket)
{
    struct arena_of_slices *found;

    HASH_FIND(hh, *all, &ticket, sizeof ticket, found);
    if (!found && memory) {
        found = arena_alloc(memory, sizeof *found);
        found->ticket = ticket;
        HASH_ADD(hh, *all, ticket, sizeof ticket, found);
    }
    return found;
}

static bool is_slice(const struct verdicts_case *the)
{
    return the->held->mapping && (the->held->mapping->flags & LEDGER_SPLIT);
}

static void spare_pools(struct verdicts_case *cases, size_t count)
{
    struct arena_of_slices *all = NULL, *arena, *next;
    struct arena memory = {0};

    for (size_t i = 0; i < count; i++) {
        if (!is_slice(&cases[i]))
            continue;
        arena = find_arena(&all, &memory, cases[i].held->mapping->ticket);
        arena->bound = arena->bound || (cases[i].held->mapping->flags & LEDGER_BINDINGS);
        arena->leaked = arena->leaked || cases[i].leaked;
        if (cases[i].held->mapping->bound_owner == 0)
            arena->left_over = true;
        else if (arena->owner == 0)
            arena->owner = cases[i].owner;
        else if (arena->owner != cases[i].owner)
            arena->shared = true;
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_slice(&cases[i]))
            continue;
        arena = find_arena(&all, NULL, cases[i].held->mapping->ticket);
        if (cases[i].held->mapping->bound_owner == 0) {
            /* What lies around a leaked slice is that leak's: it is told once. */
            if (arena->leaked && !arena->bound && !arena->shared)
                cases[i].loose = false;
        } else if ((arena->shared && arena->left_over) || arena->bound) {
            cases[i].leaked = false;
            cases[i].loose = arena->shared;
        }
    }
    HASH_ITER (hh, all, arena, next)
        HASH_DEL(all, arena);
    arena_free(&memory);
}

void verdicts_judge(struct verdicts_case *cases, size_t count, const struct reader *reader,
                    const struct owners *owners, const struct verdicts_terms *terms)
{
    const struct judge judge = {reader, owners, terms};

    for (size_t i = 0; i < count; i++) {
        cases[i].owner = cases[i].unbound_by = 0;
        cases[i].leaked = cases[i].loose = false;
        cases[i].reason = REASON_NONE;
        if (cases[i].held->fd)
            judge_fd(&judge, &cases[i]);
        else
            judge_mapping(&judge, &cases[i]);
    }
    judge_together(cases, count);
    spare_pools(cases, count);
    spare_slots_that_return(cases, count, reader, owners);
}
