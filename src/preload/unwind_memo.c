/*
 * unwind_memo.c: a trie of walks, see unwind_memo.h.
 *
 * A *run* is a walk, or the rest of one, as a row of words: "so far above the base lies a return
 * address, and is this", "from here on the frame pointer is the base", and at the end "that was
 * stack N". Where a return address is another, an *edge* leads from that word and the address
 * that is there to the run that goes on. An edge from nowhere leads from the call site to the
 * first run. The same words always have the same next step, for the stepper has no other source.
 *
 * It is emptied when it is full and when code goes: the epoch tells readers, who look at it again
 * before they believe what they found. The writer empties the tables later, with its lock.
 * What it does can stop half-way for good, because a signal handler jumped out of it: a run is
 * whole before an edge leads to it, and its room is taken before that.
 *
 * It makes no system call, takes no memory and never waits.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "unwind_memo.h"

#include <stdatomic.h>
#include <stddef.h>

#include "ledger/fault.h"
#include "ledger/format.h"
#include "ledger/ledger.h"
#include "unwind_machine.h"
#include "unwind_modules.h"

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define WORD ((uintptr_t)8)

/* ---- Words ------------------------------------------------------------------------------------
 */

#define VALUE_BITS UNWIND_ADDRESS_BITS
#define VALUE_MASK UNWIND_ADDRESS_MASK

enum operation {
    OP_NONE = 0, /* the rows end in one */
    OP_LEAF,     /* the stack's number from bit LEAF_SHIFT on */
    OP_BP,       /* the places that follow count from the frame pointer */
    OP_SAVED_BP, /* the same after that was loaded from where it was saved */
    OP_LOAD_BP,  /* only loads it */
    OP_AT,       /* the places that follow count from what is saved there */
    OP_SP,       /* the places that follow count from the stack pointer */
};

/* From its low end: 3 bits operation, 8 bits `adjust`, 17 bits `room`, 19 bits `place`; then, where
 * a return address has its place, UNWIND_MEMO_OPERATION: no place reaches so far, so that a reader
 * tells all that is not the next return address by one comparison. */
#define ADJUST_SHIFT 3
#define ROOM_SHIFT 11
#define PLACE_SHIFT 28
#define LEAF_SHIFT 8
#define ADJUST_MAX 127
#define ROOM_BITS 17
#define ROOM_MAX ((1u << ROOM_BITS) - 1)
#define PLACE_BITS 19
#define PLACE_MAX ((1 << (PLACE_BITS - 1)) - 1)
_Static_assert(PLACE_SHIFT + PLACE_BITS <= VALUE_BITS, "an operation has room below its mark");

#define OPERATION_WORD (UNWIND_MEMO_OPERATION << VALUE_BITS)

static inline enum operation operation_of(uint64_t word)
{
    return (enum operation)(word & 7);
}

/* Added to what the new base is taken from, in words, to get the lowest word that is read there. */
static inline intptr_t adjust_of(uint64_t word)
{
    return (int8_t)(word >> ADJUST_SHIFT);
}

/* How far above the base the stack pointer is, in words: the new base is not below that. */
static inline uintptr_t room_of(uint64_t word)
{
    return word >> ROOM_SHIFT & ROOM_MAX;
}

/* Where to load from, in words from the base. */
static inline intptr_t place_of(uint64_t word)
{
    const unsigned above = 64 - PLACE_SHIFT - PLACE_BITS;

    return (int64_t)(word << above) >> (64 - PLACE_BITS);
}

/* ---- The tables -------------------------------------------------------------------------------
 */

#define WORDS (1u << 16)
#define EDGE_BITS 13
#define EDGES (1u << EDGE_BITS)
#define EDGES_MAX (EDGES / 2) /* in use; more, and searches get long */
#define PROBES 8u
/* A walk: return addresses, each with three operations at most, and a leaf. */
#define LONGEST ((LEDGER_FRAMES_MAX + 1) * 4 + 1)

/* `run` is published last, and withdrawn first: what a reader found it with is its own only if it
 * is there before and after. */
struct edge {
    _Atomic uint64_t value; /* above it, the lower bits of the epoch: one of another is none */
    _Atomic uint32_t from;  /* a word; 0: the start */
    _Atomic uint32_t run;
};

/* process-global because a stack is the same in all threads: see unwind_memo.h */
static struct {
    _Alignas(64) struct edge edge[EDGES];
    uint64_t word[WORDS + 1]; /* atomic; the last is OP_NONE, once one was learnt */
    _Atomic uintptr_t writer; /* its mark; 0: none */
    _Atomic uint32_t epoch;
    _Atomic uint32_t filled; /* the epoch that the tables are of */
    /* The writer's. */
    uint32_t used;      /* words, after word 0, which is no run */
    uint32_t edges;     /* in use */
    uint32_t overflows; /* how often it was emptied because it was full */
    uint32_t pause;     /* walks not to be learnt */
} memo;

static inline uint64_t word_at(uint32_t index)
{
    return __atomic_load_n(&memo.word[index], __ATOMIC_RELAXED);
}

#define TAG_BITS (64 - VALUE_BITS)

static inline uint64_t tagged(uint64_t value, uint32_t epoch)
{
    return value | (uint64_t)epoch << VALUE_BITS;
}

static inline uint32_t edge_place(uint32_t from, uint64_t value)
{
    uint64_t key = (value ^ (uint64_t)from << 40 ^ (uint64_t)from << 20) *
                   UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / golden ratio */

    return (uint32_t)(key >> (64 - EDGE_BITS));
}

/* Whether it is the one from there with this value; *run: where to (0: nowhere). */
static inline bool edge_is(const struct edge *edge, uint32_t from, uint64_t wanted, uint32_t *run)
{
    *run = atomic_load_explicit(&edge->run, memory_order_acquire);
    if (atomic_load_explicit(&edge->value, memory_order_relaxed) != wanted ||
        atomic_load_explicit(&edge->from, memory_order_relaxed) != from)
        return false;
    atomic_thread_fence(memory_order_acquire);
    if (*run != atomic_load_explicit(&edge->run, memory_order_relaxed) || *run >= WORDS)
        *run = 0;
    return true;
}

/* The run that goes on; 0: none. */
static uint32_t edge_follow(uint32_t from, uint64_t value, uint32_t epoch)
{
    uint32_t place = edge_place(from, value);
    uint64_t wanted = tagged(value, epoch);

    if (value & ~VALUE_MASK) /* no address */
        return 0;
    for (unsigned i = 0; i < PROBES; i++) {
        const struct edge *edge = &memo.edge[(place + i) % EDGES];
        uint32_t run;

        if (edge_is(edge, from, wanted, &run))
            return run;
        if (run == 0 ||
            (atomic_load_explicit(&edge->value, memory_order_relaxed) ^ wanted) >> VALUE_BITS)
            return 0;
    }
    return 0;
}

static bool edge_add(uint32_t from, uint64_t value, uint32_t run, uint32_t epoch)
{
    uint32_t place = edge_place(from, value);
    uint64_t wanted = tagged(value, epoch);

    for (unsigned i = 0; i < PROBES; i++) {
        struct edge *edge = &memo.edge[(place + i) % EDGES];
        uint64_t found = atomic_load_explicit(&edge->value, memory_order_relaxed);

        if (atomic_load_explicit(&edge->run, memory_order_relaxed) != 0 &&
            (found ^ wanted) >> VALUE_BITS == 0)
            continue;
        memo.edges++;
        atomic_store_explicit(&edge->run, 0, memory_order_relaxed);
        atomic_thread_fence(memory_order_release);
        atomic_store_explicit(&edge->value, wanted, memory_order_relaxed);
        atomic_store_explicit(&edge->from, from, memory_order_relaxed);
        atomic_store_explicit(&edge->run, run, memory_order_release);
        return true;
    }
    return false;
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

/* The stack that a reader follows. */
struct trace {
    uintptr_t lowest, last; /* its words that may be read */
    uintptr_t base;         /* what places count from: a word below the lowest that they reach */
    uintptr_t bp;
};

/* An operation. False: this is another stack, or none that can be followed. */
static __attribute__((noinline)) UNWIND_READS_STACKS bool trace_operate(struct trace *t,
                                                                        uint64_t word)
{
    enum operation operation = operation_of(word);
    uintptr_t place = t->base + (uintptr_t)place_of(word) * WORD, base = t->bp;

    if (operation == OP_SP) {
        t->base += room_of(word) * WORD - WORD;
        return t->base <= t->last;
    }
    if (operation != OP_BP) {
        if (place < t->lowest || place > t->last)
            return false;
        base = *(const uintptr_t *)place;
    }
    if (operation == OP_SAVED_BP || operation == OP_LOAD_BP)
        t->bp = base;
    if (operation == OP_LOAD_BP)
        return true;
    if (operation != OP_BP && operation != OP_SAVED_BP && operation != OP_AT)
        return false;
    /* What a frame pointer may be is what the stepper lets it be, or a little less. */
    if (base % WORD || base < t->lowest || base > t->last)
        return false;
    base += (uintptr_t)adjust_of(word) * WORD;
    if (base < t->base + room_of(word) * WORD || base > t->last)
        return false;
    t->base = base - WORD;
    return true;
}

/* The highest place that may be read, in words above the base. */
static inline uintptr_t reach_of(uintptr_t base, uintptr_t last)
{
    uintptr_t reach = (last - base) / WORD;

    return reach < UNWIND_MEMO_PLACE_MAX ? reach : UNWIND_MEMO_PLACE_MAX;
}

/* Follows a run while the return addresses on the stack are its own: up to the word that is none of
 * these, whose place is beyond `reach`, or whose address is not the *value there. */
static inline UNWIND_READS_STACKS const uint64_t *
run_follow(const uint64_t *next, uintptr_t base, uintptr_t reach, uint64_t *word, uintptr_t *value)
{
    for (;; next++) {
        *word = __atomic_load_n(next, __ATOMIC_RELAXED);
        if (*word >> VALUE_BITS > reach)
            return next;
        *value = unwind_strip_signature(((const uintptr_t *)base)[*word >> VALUE_BITS]);
        if (*value != (*word & VALUE_MASK))
            return next;
    }
}

/* The number in a leaf. Emptied meanwhile, what led there may have been pieces of two walks. */
static inline uint32_t leaf_of(uint64_t word, uint32_t epoch)
{
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&memo.epoch, memory_order_relaxed) == epoch
               ? (uint32_t)(word >> LEAF_SHIFT)
               : 0;
}

#define LEAF_MARK (OPERATION_WORD | OP_LEAF)
#define IS_LEAF(word) (((word) & (OPERATION_WORD | 7)) == LEAF_MARK)

/* From `next`, where a first run left the stack's return addresses or has an operation; NULL: from
 * the call site. */
static __attribute__((noinline)) UNWIND_READS_STACKS uint32_t
trace_follow(const struct unwind_start *start, uintptr_t last, const uint64_t *next, uint32_t epoch)
{
    uint32_t at = next ? 0 : edge_follow(0, start->pc, epoch);
    struct trace t = {.lowest = start->sp, .last = last, .base = start->sp - WORD, .bp = start->bp};
    uintptr_t value = 0;
    uint64_t word;

    if (!next && at == 0)
        return 0;
    for (next = next ? next : &memo.word[at];;) {
        uintptr_t reach = reach_of(t.base, last);

        next = run_follow(next, t.base, reach, &word, &value);
        if (word >> VALUE_BITS <= reach) {
            at = edge_follow((uint32_t)(next - memo.word), value, epoch);
            if (at == 0)
                return 0;
            next = &memo.word[at];
        } else if (LIKELY(IS_LEAF(word))) {
            return leaf_of(word, epoch);
        } else {
            if (word >> VALUE_BITS != UNWIND_MEMO_OPERATION || !trace_operate(&t, word))
                return 0;
            next++;
        }
    }
}

UNWIND_READS_STACKS uint32_t unwind_memo_recall(const struct unwind_start *start, uintptr_t top)
{
    uint32_t epoch = atomic_load_explicit(&memo.epoch, memory_order_acquire), at;
    uintptr_t last = top - WORD, base = start->sp - WORD, value;
    const struct edge *edge = &memo.edge[edge_place(0, start->pc)];
    const uint64_t *next;
    uint64_t word;

    if (atomic_load_explicit(&memo.filled, memory_order_acquire) != epoch || start->sp % WORD)
        return 0;
    /* Most calls come by one way only, and through code without frame pointers. What others need
     * is apart: it takes registers that would have to be saved here. */
    if (!LIKELY(edge_is(edge, 0, tagged(start->pc, epoch), &at) && at != 0))
        return trace_follow(start, last, NULL, epoch);
    next = run_follow(&memo.word[at], base, reach_of(base, last), &word, &value);
    return LIKELY(IS_LEAF(word)) ? leaf_of(word, epoch) : trace_follow(start, last, next, epoch);
}

/* ---- Forgetting -------------------------------------------------------------------------------
 */

void unwind_memo_drop(void)
{
    if (!FAULT(memo_outlives_code))
        atomic_fetch_add_explicit(&memo.epoch, 1, memory_order_acq_rel);
}

void unwind_memo_forget_parent(void)
{
    atomic_store(&memo.writer, 0);
    unwind_memo_drop();
}

/* ---- Writing ----------------------------------------------------------------------------------
 */

/* A mark of this very stack that lies where we are, or further down, or that something was written
 * over, is of a frame that was jumped over and will not go on. */
static bool mark_abandoned(uintptr_t mark)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), top = unwind_stack_top(here);

    return top != 0 && unwind_stack_top(mark) == top &&
           (mark <= here || *(const volatile uint64_t *)mark != LEDGER_CANARY(mark));
}

static bool writer_become(uintptr_t mark)
{
    uintptr_t writer = 0;

    if (LIKELY(atomic_compare_exchange_strong_explicit(&memo.writer, &writer, mark,
                                                       memory_order_acquire, memory_order_relaxed)))
        return true;
    return mark_abandoned(writer) &&
           atomic_compare_exchange_strong_explicit(&memo.writer, &writer, mark,
                                                   memory_order_acquire, memory_order_relaxed);
}

static void writer_cease(struct unwind_draft *draft)
{
    draft->next = NULL;
    atomic_store_explicit(&memo.writer, 0, memory_order_release);
}

/* Empties the tables for this epoch. Readers of another do not believe them. */
static void memo_empty(uint32_t epoch)
{
    uint32_t before = atomic_load_explicit(&memo.filled, memory_order_relaxed);

    for (unsigned i = 0; i < EDGES && (before ^ epoch) >> TAG_BITS != 0; i++) /* tags come again */
        atomic_store_explicit(&memo.edge[i].run, 0, memory_order_relaxed);
    memo.used = 0;
    memo.edges = 0;
    atomic_store_explicit(&memo.filled, epoch, memory_order_release);
}

/* A program with more stacks than there is room for would pay for learning each time, and gain
 * little: the more often it is full, the fewer it learns, and those that come often come first. */
#define PAUSE_MAX 64u

static void memo_overflow(void)
{
    uint32_t epoch = atomic_fetch_add_explicit(&memo.epoch, 1, memory_order_acq_rel) + 1;

    memo.overflows++;
    memo_empty(epoch);
}

static bool memo_is_full(void)
{
    return memo.used + 1 + LONGEST > WORDS || memo.edges >= EDGES_MAX;
}

void unwind_memo_begin(struct unwind_draft *draft, const struct unwind_start *start)
{
    uint32_t epoch = atomic_load_explicit(&memo.epoch, memory_order_acquire);

    draft->next = NULL;
    if (start->sp % WORD || !writer_become((uintptr_t)draft->mark))
        return;
    if (atomic_load_explicit(&memo.filled, memory_order_relaxed) != epoch) {
        atomic_thread_fence(memory_order_release);
        memo.overflows = memo.pause = 0;
        memo_empty(epoch);
    } else if (memo.pause > 0) {
        memo.pause--;
        writer_cease(draft);
        return;
    } else if (memo_is_full()) {
        memo_overflow();
    }
    memo.pause = memo.overflows < PAUSE_MAX ? memo.overflows : PAUSE_MAX;
    __atomic_store_n(&memo.word[WORDS], OPERATION_WORD | OP_NONE, __ATOMIC_RELAXED);
    draft->base = start->sp - WORD;
    draft->bp_at = 0;
    draft->next = &memo.word[memo.used + 1];
}

void unwind_memo_abandon(struct unwind_draft *draft)
{
    if (draft->next)
        writer_cease(draft);
}

static void draft_write(struct unwind_draft *draft, uint64_t word)
{
    __atomic_store_n(draft->next++, word, __ATOMIC_RELAXED);
}

static bool operation_write(struct unwind_draft *draft, enum operation operation, uintptr_t from,
                            intptr_t adjust, uintptr_t room)
{
    intptr_t place = from == 0 ? 0 : (intptr_t)(from - draft->base) / (intptr_t)WORD;

    if (place > PLACE_MAX || place < -PLACE_MAX || adjust > ADJUST_MAX || adjust < -ADJUST_MAX ||
        room > ROOM_MAX)
        return false;
    draft_write(draft, OPERATION_WORD | (uint64_t)operation |
                           (uint64_t)(uint8_t)adjust << ADJUST_SHIFT |
                           (uint64_t)room << ROOM_SHIFT |
                           ((uint64_t)place & ((UINT64_C(1) << PLACE_BITS) - 1)) << PLACE_SHIFT);
    return true;
}

/* From here on places count from `base`, of which the lowest that is read is `low`; none below
 * `sp` is. `from`: where the base is saved; 0: the reader has it. */
static bool draft_rebase(struct unwind_draft *draft, enum operation operation, uintptr_t from,
                         uintptr_t base, uintptr_t low, uintptr_t sp)
{
    if (FAULT(memo_by_returns)) /* what the test build does wrong: the frame's size is taken for
                                   granted */
        return true;
    if (base % WORD || low % WORD || low < sp || base < sp ||
        !operation_write(draft, operation, from, (intptr_t)(low - base) / (intptr_t)WORD,
                         (sp - draft->base) / WORD))
        return false;
    draft->base = low - WORD;
    return true;
}

/* The same from the frame pointer, wherever that is by now. */
static bool draft_rebase_bp(struct unwind_draft *draft, uintptr_t bp, uintptr_t low, uintptr_t sp)
{
    uintptr_t from = draft->bp_at;

    draft->bp_at = 0;
    return draft_rebase(draft, from ? OP_SAVED_BP : OP_BP, from, bp, low, sp);
}

/* Its place is lost when the base changes, its value is not. */
static bool draft_hold_bp(struct unwind_draft *draft)
{
    uintptr_t from = draft->bp_at;

    draft->bp_at = 0;
    return from == 0 || operation_write(draft, OP_LOAD_BP, from, 0, 0);
}

static uintptr_t lower(uintptr_t a, uintptr_t b)
{
    return a < b ? a : b;
}

/* What changes the base before this frame's return address is read. */
static bool draft_base(struct unwind_draft *draft, const struct unwind_layout *layout, uintptr_t sp,
                       uintptr_t bp, uintptr_t cfa, uintptr_t slot)
{
    uintptr_t from =
        (layout->form == UNWIND_CFA_AT_BP ? bp : sp) + (uintptr_t)(intptr_t)layout->cfa;
    uintptr_t low = slot, low_bp = from;

    if (layout->bp_saved == UNWIND_AT_CFA)
        low = lower(low, cfa + (uintptr_t)(intptr_t)layout->bp);
    switch (layout->form) {
    case UNWIND_CFA_SP:
        return layout->bp_saved != UNWIND_AT_BP;
    case UNWIND_CFA_BP:
        return layout->bp_saved != UNWIND_AT_BP && draft_rebase_bp(draft, bp, low, sp);
    case UNWIND_CFA_AT_BP:
        if (layout->bp_saved == UNWIND_AT_BP)
            low_bp = lower(low_bp, bp + (uintptr_t)(intptr_t)layout->bp);
        if (!draft_rebase_bp(draft, bp, low_bp, sp))
            return false;
        if (layout->bp_saved == UNWIND_AT_BP)
            draft->bp_at = bp + (uintptr_t)(intptr_t)layout->bp;
        sp = low_bp;
        break;
    case UNWIND_CFA_AT_SP:
        if (layout->bp_saved == UNWIND_AT_BP)
            return false;
        break;
    default:
        return false;
    }
    return draft_hold_bp(draft) &&
           draft_rebase(draft, OP_AT, from, cfa - (uintptr_t)(intptr_t)layout->more * WORD, low,
                        sp);
}

UNWIND_READS_STACKS void unwind_memo_step(struct unwind_draft *draft, struct unwind_layout layout,
                                          uintptr_t sp, uintptr_t bp, uintptr_t cfa)
{
#if defined(__x86_64__)
    uintptr_t slot = cfa - WORD; /* which was read just now */
#else
    uintptr_t slot = cfa + (uintptr_t)(intptr_t)layout.ra;
#endif
    uintptr_t ra = unwind_strip_signature(*(const uintptr_t *)slot);
    uintptr_t place;

    if (!draft_base(draft, &layout, sp, bp, cfa, slot)) {
        writer_cease(draft);
        return;
    }
    place = (slot - draft->base) / WORD;
    /* Too far up for a word: from here on places count from further up. */
    if (place > UNWIND_MEMO_PLACE_MAX && draft->base < sp - WORD &&
        operation_write(draft, OP_SP, 0, 0, (sp - draft->base) / WORD)) {
        draft->base = sp - WORD;
        place = (slot - draft->base) / WORD;
    }
    if (slot <= draft->base || place > UNWIND_MEMO_PLACE_MAX || (ra & ~VALUE_MASK)) {
        writer_cease(draft);
        return;
    }
    draft_write(draft, (uint64_t)place << VALUE_BITS | ra);
}

/* Whether two words ask for the return address at one place. */
static bool same_place(uint64_t a, uint64_t b)
{
    return a >> VALUE_BITS != UNWIND_MEMO_OPERATION && a >> VALUE_BITS == b >> VALUE_BITS;
}

/* Hangs the draft, words [first, end), into the trie: what of it is new becomes a run. */
static void memo_learn(uint32_t first, uint32_t end, uintptr_t pc, uint32_t epoch)
{
    uint32_t from = 0, next = first, run = first, at;
    uint64_t value = pc;

    while ((at = edge_follow(from, value, epoch)) != 0) {
        while (next < end && word_at(at) == word_at(next)) { /* a leaf ends both */
            at++;
            next++;
        }
        if (next >= end || !same_place(word_at(at), word_at(next)))
            return; /* known already */
        from = at;
        value = word_at(next++) & VALUE_MASK;
    }
    while (next < end)
        __atomic_store_n(&memo.word[run++], word_at(next++), __ATOMIC_RELAXED);
    memo.used = run - 1;
    if (!edge_add(from, value, first, epoch))
        memo.edges = EDGES_MAX; /* full */
}

void unwind_memo_close(struct unwind_draft *draft, const struct unwind_start *start,
                       uint32_t number)
{
    uint32_t epoch = atomic_load_explicit(&memo.epoch, memory_order_relaxed);

    if (!draft->next)
        return;
    draft_write(draft, OPERATION_WORD | OP_LEAF | (uint64_t)number << LEAF_SHIFT);
    if (number != 0 && atomic_load_explicit(&memo.filled, memory_order_relaxed) == epoch)
        memo_learn(memo.used + 1, (uint32_t)(draft->next - memo.word), start->pc, epoch);
    writer_cease(draft);
}
