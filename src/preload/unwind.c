/*
 * unwind.c: the stepper: from a wrapper's return address to the outermost frame.
 *
 * For each frame it takes the layout of the code at its address, remembered in a table of one
 * word an address or read from the module's CFI, and reads two words of the stack. It makes no
 * system call, takes no lock, allocates nothing, and never follows a chain that no CFI vouches
 * for: where it does not know, the stack ends and says so. unwind_libunwind.c helps it over a
 * frame whose CFI it can read but not express.
 * In front of it is the memo of whole stacks, unwind_memo.c.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "unwind.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <ucontext.h>

#include "ledger/fault.h"
#include "ledger/format.h"
#include "raw.h"
#include "unwind_libunwind.h"
#include "unwind_machine.h"
#include "unwind_memo.h"
#include "unwind_modules.h"

#define LIKELY(x) __builtin_expect(!!(x), 1)

/* ---- Layouts remembered: one word an address -------------------------------------------------
 *
 * A word holds a tag and a packed layout. The address is scrambled by a multiplication that has
 * an inverse, so that bucket number and tag together *are* the address: a hit is never another's.
 * A word is stored and loaded whole, so readers and writers need no order among themselves. */

#define BUCKET_BITS 11
#define BUCKET_WORDS 8 /* a cache line */
#define TAG_BITS (UNWIND_ADDRESS_BITS - BUCKET_BITS)
#define LAYOUT_BITS (64 - TAG_BITS)
#define TAG_MASK ((UINT64_C(1) << TAG_BITS) - 1)

/* process-global because code looks the same to all threads; 0: free */
static _Alignas(64) _Atomic uint64_t layouts[1 << BUCKET_BITS][BUCKET_WORDS];

static uint64_t address_scramble(uintptr_t address)
{
    return (address * UINT64_C(0x9e3779b97f4a7c15)) & UNWIND_ADDRESS_MASK; /* odd: has an inverse */
}

#if defined(__x86_64__)
/* form:3, bp:6, more/8:3, cfa/8:14 signed. bp: 0 same, 1..60 at CFA - 8 * that, 61 at bp, 62 lost
 */
#define BP_AT_BP 61u
#define BP_LOST 62u

static bool layout_pack(struct unwind_layout layout, uint32_t *packed)
{
    uint32_t bp = 0;

    if (layout.cfa % 8 || layout.cfa < -(8 << 13) || layout.cfa >= 8 << 13 || (layout.more & ~7))
        return false;
    switch (layout.bp_saved) {
    case UNWIND_AT_CFA:
        if (layout.bp % 8 || layout.bp > -8 || layout.bp < -480)
            return false;
        bp = (uint32_t)(-layout.bp / 8);
        break;
    case UNWIND_AT_BP:
        if (layout.bp != 0)
            return false;
        bp = BP_AT_BP;
        break;
    case UNWIND_LOST:
        bp = BP_LOST;
        break;
    default:
        break;
    }
    *packed = layout.form | bp << 3 | (uint32_t)layout.more << 9 |
              ((uint32_t)(layout.cfa / 8) & 0x3fff) << 12;
    return true;
}

static inline struct unwind_layout layout_unpack(uint32_t packed)
{
    struct unwind_layout layout;
    uint32_t bp = packed >> 3 & 0x3f;

    layout.form = packed & 7;
    layout.more = (int8_t)(packed >> 9 & 7);
    layout.cfa = ((int32_t)(packed << 6) >> 18) * 8;
    layout.ra_saved = UNWIND_AT_CFA;
    layout.ra = -8;
    layout.bp = 0;
    layout.bp_saved = UNWIND_SAME;
    if (bp == BP_AT_BP) {
        layout.bp_saved = UNWIND_AT_BP;
    } else if (bp == BP_LOST) {
        layout.bp_saved = UNWIND_LOST;
    } else if (bp != 0) {
        layout.bp_saved = UNWIND_AT_CFA;
        layout.bp = -8 * (int32_t)bp;
    }
    return layout;
}
_Static_assert(LAYOUT_BITS >= 26, "a packed layout has 26 bits");
#else
/* form:3, bp:2, ra:10, cfa/16:12. bp: 0 same, 1 just below the return address (as stp leaves
 * them), 2 lost. ra: 0 in the link register, else at CFA - 8 * that. */
static bool layout_pack(struct unwind_layout layout, uint32_t *packed)
{
    uint32_t bp = 0, ra = 0;

    if (layout.cfa % 16 || layout.cfa < 0 || layout.cfa >= 16 << 12 || layout.more != 0 ||
        layout.bp_saved == UNWIND_AT_BP)
        return false;
    if (layout.ra_saved == UNWIND_AT_CFA) {
        if (layout.ra % 8 || layout.ra > -8 || layout.ra < -8 * 1023)
            return false;
        ra = (uint32_t)(-layout.ra / 8);
    }
    if (layout.bp_saved == UNWIND_AT_CFA) {
        if (ra == 0 || layout.bp != layout.ra - 8)
            return false;
        bp = 1;
    } else if (layout.bp_saved == UNWIND_LOST) {
        bp = 2;
    }
    *packed = layout.form | bp << 3 | ra << 5 | (uint32_t)(layout.cfa / 16) << 15;
    return true;
}

static inline struct unwind_layout layout_unpack(uint32_t packed)
{
    struct unwind_layout layout;
    uint32_t bp = packed >> 3 & 3, ra = packed >> 5 & 0x3ff;

    layout.form = packed & 7;
    layout.more = 0;
    layout.cfa = (int32_t)(packed >> 15) * 16;
    layout.ra_saved = ra ? UNWIND_AT_CFA : UNWIND_SAME;
    layout.ra = -8 * (int32_t)ra;
    layout.bp_saved = bp == 1 ? UNWIND_AT_CFA : bp == 2 ? UNWIND_LOST : UNWIND_SAME;
    layout.bp = layout.ra - 8;
    return layout;
}
_Static_assert(LAYOUT_BITS >= 27, "a packed layout has 27 bits");
#endif
_Static_assert(UNWIND_OPAQUE <= 7, "forms have 3 bits");

/* Where in its bucket a word lies if it can. */
static inline unsigned layout_place(uint64_t scrambled)
{
    return (unsigned)(scrambled >> 3) % BUCKET_WORDS;
}

/* The packed layout; 0: not remembered. */
static inline uint32_t layout_recall(uintptr_t address)
{
    uint64_t scrambled = address_scramble(address), first;
    _Atomic uint64_t *bucket = layouts[scrambled >> TAG_BITS];

    if (address & ~UNWIND_ADDRESS_MASK)
        return 0;
    first = atomic_load_explicit(&bucket[layout_place(scrambled)], memory_order_relaxed);
    if (LIKELY(((first ^ scrambled) & TAG_MASK) == 0))
        return (uint32_t)(first >> TAG_BITS);
    for (unsigned i = 0; i < BUCKET_WORDS; i++) {
        uint64_t word = atomic_load_explicit(&bucket[i], memory_order_relaxed);

        if (((word ^ scrambled) & TAG_MASK) == 0)
            return (uint32_t)(word >> TAG_BITS); /* 0 if the word is free */
    }
    return 0;
}

/* What is inserted while another thread drops all layouts may stay: it is of code that is on this
 * thread's stack, hence not of the code that went. */
static void layout_remember(uintptr_t address, struct unwind_layout layout)
{
    uint64_t scrambled = address_scramble(address), word;
    _Atomic uint64_t *bucket = layouts[scrambled >> TAG_BITS];
    uint32_t packed;
    unsigned first = layout_place(scrambled), i;

    if ((address & ~UNWIND_ADDRESS_MASK) || !layout_pack(layout, &packed))
        return;
    word = (uint64_t)packed << TAG_BITS | (scrambled & TAG_MASK);
    for (i = 0; i < BUCKET_WORDS; i++) /* full: any victim will do */
        if (atomic_load_explicit(&bucket[(first + i) % BUCKET_WORDS], memory_order_relaxed) == 0)
            break;
    atomic_store_explicit(&bucket[(first + i) % BUCKET_WORDS], word, memory_order_relaxed);
}

void unwind_layouts_drop(void)
{
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
        for (size_t j = 0; j < BUCKET_WORDS; j++)
            if (atomic_load_explicit(&layouts[i][j], memory_order_relaxed) != 0)
                atomic_store_explicit(&layouts[i][j], 0, memory_order_relaxed);
    unwind_memo_drop();
}

/* ---- Where a thread's stacks are --------------------------------------------------------------
 */

/* process-global because the kernel makes one main stack; written once, before threads */
static uintptr_t main_lo, main_hi;
/* process-global because it is the kernel's; written once, before threads */
static uintptr_t page_mask;
/* process-global because it names the one thread whose stack glibc did not make */
static uintptr_t main_thread_pointer;

#define PER_THREAD static __thread __attribute__((tls_model("initial-exec")))

/* thread-local because a stack is; hi is written before lo */
PER_THREAD struct unwind_span thread_stack;
/* thread-local because sigaltstack(2) sets it for its thread */
PER_THREAD struct unwind_span thread_altstack;
/* thread-local because it says that thread_stack is as good as it gets */
PER_THREAD bool thread_looked;

void unwind_note_altstack(uintptr_t start, uintptr_t end)
{
    thread_altstack.lo = UINTPTR_MAX; /* a handler in between finds none */
    atomic_signal_fence(memory_order_seq_cst);
    thread_altstack.hi = end;
    atomic_signal_fence(memory_order_seq_cst);
    thread_altstack.lo = start < end ? start : UINTPTR_MAX;
}

/* glibc keeps {start, size, guard} of the stack it gave a thread in the thread's control block,
 * at an offset that moved over the years. It is told from all other words by its arithmetic: the
 * block itself lies at the top of that stack. Nothing found: the stack counts as unknown. */
#define CONTROL_BLOCK_SIZE 0x700u   /* smaller than that of any glibc since 2.31 */
#define CONTROL_BLOCK_ABOVE 0x4000u /* at most that much lies between it and the stack's end */
#define STACK_SIZE_LEAST 16384u     /* PTHREAD_STACK_MIN */

static __attribute__((noinline)) UNWIND_READS_STACKS void thread_stack_find(void)
{
    uintptr_t tp = (uintptr_t)__builtin_thread_pointer();
#if defined(__x86_64__)
    const uintptr_t *word = (const uintptr_t *)tp; /* the block starts here */
#else
    const uintptr_t *word = (const uintptr_t *)(tp - CONTROL_BLOCK_SIZE); /* it ends here */
#endif

    thread_looked = true;
    if (tp == main_thread_pointer)
        return;
    for (size_t i = 0; i + 2 < CONTROL_BLOCK_SIZE / sizeof(*word); i++) {
        uintptr_t start = word[i], size = word[i + 1], guard = word[i + 2];

        if (start >= tp || size < STACK_SIZE_LEAST || size > tp || start + size <= tp ||
            start + size - tp > CONTROL_BLOCK_ABOVE || guard >= size)
            continue;
        thread_stack.hi = tp;
        atomic_signal_fence(memory_order_seq_cst);
        thread_stack.lo = start + guard;
        return;
    }
}

static __attribute__((noinline)) uintptr_t thread_stack_top(uintptr_t sp)
{
    if (!thread_looked)
        thread_stack_find();
    if (sp >= thread_stack.lo && sp < thread_stack.hi)
        return thread_stack.hi;
    if (sp >= thread_altstack.lo && sp < thread_altstack.hi)
        return thread_altstack.hi;
    return 0;
}

static inline uintptr_t stack_top(uintptr_t sp)
{
    return sp - main_lo < main_hi - main_lo ? main_hi : thread_stack_top(sp);
}

uintptr_t unwind_stack_top(uintptr_t sp)
{
    return stack_top(sp);
}

/* ---- A walk -----------------------------------------------------------------------------------
 */

struct walk {
    uintptr_t pc;
    uintptr_t sp;
    uintptr_t bp;
    uintptr_t top;     /* of the stack that sp is in; 0: unknown */
    uintptr_t entered; /* where the walk came onto that stack */
    uintptr_t popped;  /* of an interrupted frame: what lies from here to sp may be read as well */
#if defined(__aarch64__)
    uintptr_t lr; /* of an interrupted frame; else 0 */
#endif
    bool bp_known;
    bool exact;   /* pc is an instruction that a signal interrupted, not a return address */
    bool settled; /* remembered layouts may be used */
    bool may_call;
    struct unwind_draft *draft; /* for the memo */
};

#define UNKNOWN_STACK_REACH                                                                        \
    (64u << 10) /* frames beyond that, on stacks unknown, are not believed */

static void walk_enter_stack(struct walk *w)
{
    w->top = stack_top(w->sp);
    w->entered = w->sp;
}

/* Reads a word of the live stack. On a stack whose bounds are not known, CFI alone says that a
 * word is there: what lies between sp and the word belongs to the frame, so its page is mapped,
 * unless it is the first word of the page. (Entry functions of coroutines have no return address;
 * where theirs would be, the stack may end.) */
static inline UNWIND_READS_STACKS bool walk_read(const struct walk *w, uintptr_t at,
                                                 uintptr_t *value)
{
    if (at < w->sp || at % sizeof(*value))
        return false;
    if (LIKELY(w->top != 0)) {
        if (at > w->top - sizeof(*value))
            return false;
    } else if (at - w->sp > UNKNOWN_STACK_REACH || (at & page_mask) == 0) {
        return false;
    }
    *value = *(const uintptr_t *)at;
    return true;
}

/* What lies below sp and is still the function's own: psABI. A signal's frame goes below it. */
#if defined(__x86_64__)
#define RED_ZONE 128u
#else
#define RED_ZONE 0u
#endif

/* How far below sp an interrupted frame may be read. The handler's stack reaches down to `frame`:
 * if it is the same stack, all between is mapped. Else only the page of sp surely is. */
static uintptr_t walk_popped(const struct walk *w, uintptr_t frame, uintptr_t frame_top)
{
    uintptr_t lowest = w->sp & ~page_mask;

    if (w->top != 0 && w->top == frame_top && frame < lowest)
        lowest = frame;
    return w->sp - lowest > RED_ZONE ? w->sp - RED_ZONE : lowest;
}

/* Reads a saved register. Between a function's pop and its return, CFI still names the place on
 * the stack that it was popped from, which holds it until a signal's frame is put there. */
static inline UNWIND_READS_STACKS bool walk_read_saved(const struct walk *w, uintptr_t at,
                                                       uintptr_t *value)
{
    if (LIKELY(walk_read(w, at, value)))
        return true;
    if (!w->exact || at >= w->sp || at < w->popped || at % sizeof(*value))
        return false;
    *value = *(const uintptr_t *)at;
    return true;
}

/* Where the layout of a frame is looked up: a return address belongs to the call before it, which
 * may be the last instruction of its function. */
static inline uintptr_t walk_address(const struct walk *w)
{
    return w->exact ? w->pc : w->pc - 1;
}

static bool code_holds(const struct unwind_code *code, uintptr_t address, size_t size)
{
    for (unsigned i = 0; i < UNWIND_CODE_RANGES; i++)
        if (address >= code->range[i].lo && address < code->range[i].hi &&
            code->range[i].hi - address >= size)
            return true;
    return false;
}

/* The signal trampoline: what a handler returns to. Its instructions, not its CFI, are what the
 * kernel, gdb and others know it by. */
#if defined(__x86_64__)
static const uint8_t trampoline[] = {0x48, 0xc7, 0xc0, 0x0f, 0,
                                     0,    0,    0x0f, 0x05}; /* mov $15, %rax;
                                                               syscall */
#define TRAMPOLINE_SECOND 7
#else
static const uint8_t trampoline[] = {0x68, 0x11, 0x80, 0xd2, 0x01,
                                     0,    0,    0xd4}; /* mov x8, #139;
                                                         svc #0 */
#define TRAMPOLINE_SECOND 4
#endif

static bool trampoline_at(uintptr_t address)
{
    const uint8_t *code = (const uint8_t *)address;
    size_t same = 0;

    while (same < sizeof(trampoline) && code[same] == trampoline[same])
        same++;
    return same == sizeof(trampoline);
}

static bool code_is_trampoline(const struct unwind_code *code, const struct walk *w)
{
    uintptr_t second = w->pc - TRAMPOLINE_SECOND;

#ifdef UNWIND_EMULATED /* tests: qemu's user mode has it on a page of its own, in no module */
    if (!code)
        return trampoline_at(w->pc);
#endif
    if (!code)
        return false;
    if (code_holds(code, w->pc, sizeof(trampoline)) && trampoline_at(w->pc))
        return true;
    return w->exact && code_holds(code, second, sizeof(trampoline)) && trampoline_at(second);
}

/* Whether a call could have left this return address. CFI that is wrong (hand-written code, or
 * an interrupted instruction in code compiled without asynchronous tables) nearly always yields a
 * word that is none: better a short stack than an invented frame. */
static bool code_called_before(const struct unwind_code *code, uintptr_t pc)
{
    const uint8_t *p = (const uint8_t *)pc;
#if defined(__x86_64__)
    /* call rel32; else call r/m64 (FF /2) with 0, 1 or 4 bytes of displacement, maybe a SIB */
    static const uint8_t length[] = {2, 3, 4, 6, 7};

    if (!code_holds(code, pc - 7, 7))
        return code_holds(code, pc - 5, 5) && p[-5] == 0xe8;
    if (p[-5] == 0xe8)
        return true;
    for (unsigned i = 0; i < sizeof(length); i++) {
        unsigned n = length[i], mod = p[1 - (int)n] >> 6, rm = p[1 - (int)n] & 7, want;

        if (p[-(int)n] != 0xff || (p[1 - (int)n] >> 3 & 7) != 2)
            continue;
        want = mod != 3 && rm == 4 ? 3 : 2;
        want += mod == 1 ? 1 : (mod == 2 || (mod == 0 && rm == 5)) ? 4 : 0;
        if (want == n || (mod == 0 && rm == 4 && n == 7)) /* SIB without a base has 4 bytes */
            return true;
    }
    return false;
#else
    uint32_t instruction;

    if (!code_holds(code, pc - 4, 4))
        return false;
    memcpy(&instruction, p - 4, sizeof(instruction));
    return (instruction & 0xfc000000) == 0x94000000 || /* bl */
           (instruction & 0xfffffc1f) == 0xd63f0000 || /* blr */
           (instruction & 0xfefff800) == 0xd63f0800;   /* blraa, blrab and their zero forms */
#endif
}

#define FORM_IMPLAUSIBLE 8 /* beside enum unwind_form: no return address */
#define FORM_BY_TABLES 9   /* beside it: what the CFI says */

/* What the code tells without its CFI. */
static inline uint8_t code_form(const struct unwind_code *code, const struct walk *w)
{
    if (code_is_trampoline(code, w))
        return UNWIND_SIGNAL;
    if (!code)
        return UNWIND_NONE;
    return w->exact || code_called_before(code, w->pc) ? FORM_BY_TABLES : FORM_IMPLAUSIBLE;
}

/* The same of code that is not listed. Not inlined: it takes more of the program's stack. */
static __attribute__((noinline)) uint8_t code_form_unlisted(const struct walk *w,
                                                            struct unwind_tables *tables)
{
    struct unwind_code code;
    bool known = unwind_modules_read(walk_address(w), &code);

    if (known) {
        *tables = code.tables;
        unwind_memo_abandon(w->draft);
    }
    return code_form(known ? &code : NULL, w);
}

/* The layout of code not seen before. */
static __attribute__((noinline)) struct unwind_layout layout_learn(const struct walk *w)
{
    struct unwind_layout layout = {.form = UNWIND_NONE};
    struct unwind_tables unlisted = {0};
    bool keep;
    const struct unwind_code *code = unwind_modules_find(walk_address(w), &keep);
    const struct unwind_tables *tables = code ? &code->tables : &unlisted;

    layout.form = code ? code_form(code, w) : code_form_unlisted(w, &unlisted);
    if (layout.form == FORM_BY_TABLES)
        layout = unwind_cfi_layout(tables, walk_address(w), w->pc);
    if (layout.form == UNWIND_NONE && unwind_modules_is_entry(w->pc))
        layout.form = UNWIND_END;
    if (code && !keep)
        unwind_memo_abandon(w->draft);
    if (w->settled && keep && layout.form != UNWIND_NONE && layout.form != FORM_IMPLAUSIBLE)
        layout_remember(walk_address(w), layout);
    return layout;
}

static inline struct unwind_layout walk_layout(const struct walk *w)
{
    uint32_t packed = w->settled ? layout_recall(walk_address(w)) : 0;

#if defined(__x86_64__)
    if (FAULT(follows_frame_pointers)) /* what the test build does wrong: guesses */
        return (struct unwind_layout){UNWIND_CFA_BP, UNWIND_AT_CFA, UNWIND_AT_CFA, 0, 16, -16, -8};
#endif
    if (LIKELY(packed != 0))
        return layout_unpack(packed);
    return layout_learn(w);
}

static inline bool walk_cfa(const struct walk *w, struct unwind_layout layout, uintptr_t *cfa)
{
    uintptr_t base = w->sp;

    if (layout.form == UNWIND_CFA_BP || layout.form == UNWIND_CFA_AT_BP) {
        if (!w->bp_known)
            return false;
        base = w->bp;
    }
    base += (uintptr_t)(intptr_t)layout.cfa;
    if (layout.form >= UNWIND_CFA_AT_SP) {
        if (!walk_read(w, base, &base))
            return false;
        base += (uintptr_t)(intptr_t)layout.more * 8;
    }
    *cfa = base;
#if defined(__aarch64__)
    if (layout.ra_saved == UNWIND_SAME) /* a leaf need not have a frame */
        return base >= w->sp;
#endif
    return base > w->sp;
}

/* What unwind_memo_step() does where a frame is like most, in fewer registers. */
static inline bool walk_note_usual(const struct walk *w, struct unwind_layout layout, uintptr_t cfa,
                                   uintptr_t ra)
{
#if defined(__x86_64__)
    uint64_t place = (cfa - w->draft->base) / sizeof(uintptr_t) - 1; /* right below the CFA */

    if (LIKELY(layout.form == UNWIND_CFA_SP && layout.bp_saved != UNWIND_AT_BP &&
               place <= UNWIND_MEMO_PLACE_MAX && (ra & ~UNWIND_ADDRESS_MASK) == 0)) {
        __atomic_store_n(w->draft->next++, place << UNWIND_ADDRESS_BITS | ra, __ATOMIC_RELAXED);
        return true;
    }
#else
    (void)w, (void)layout, (void)cfa, (void)ra;
#endif
    return false;
}

/* Steps out of a frame. False: a value needed is not known, or cannot be true. */
static inline bool walk_step(struct walk *w, struct unwind_layout layout)
{
    uintptr_t cfa, slot, ra, bp = w->bp;
    bool bp_known = w->bp_known;

    if (!walk_cfa(w, layout, &cfa))
        return false;
#if defined(__aarch64__)
    slot = cfa + (uintptr_t)(intptr_t)layout.ra;
    ra = w->lr;
    if (layout.ra_saved == UNWIND_AT_CFA) {
        if (!walk_read(w, slot, &ra))
            return false;
    } else if (!w->exact) {
        return false; /* the link register of a frame that called on holds something else */
    }
    w->lr = 0;
#else
    slot = cfa - 8;
    if (!walk_read(w, slot, &ra))
        return false;
#endif
    ra = unwind_strip_signature(ra);
    if (w->draft->next && !walk_note_usual(w, layout, cfa, ra))
        unwind_memo_step(w->draft, layout, w->sp, w->bp, cfa);
    switch (layout.bp_saved) {
    case UNWIND_AT_CFA:
        w->draft->bp_at = cfa + (uintptr_t)(intptr_t)layout.bp;
        bp_known = walk_read_saved(w, w->draft->bp_at, &bp);
        break;
    case UNWIND_AT_BP:
        bp_known = bp_known && walk_read(w, w->bp + (uintptr_t)(intptr_t)layout.bp, &bp);
        break;
    case UNWIND_LOST:
        bp_known = false;
        break;
    default:
        break;
    }
    w->pc = ra;
    w->sp = cfa;
    w->bp = bp;
    w->bp_known = bp_known;
    w->exact = false;
    return true;
}

/* Steps out of a signal handler: the kernel saved every register. */
static __attribute__((noinline)) UNWIND_READS_STACKS bool walk_step_signal(struct walk *w)
{
    uintptr_t frame = w->sp, top = w->top;
#if defined(__x86_64__)
    const ucontext_t *uc = (const ucontext_t *)w->sp; /* struct rt_sigframe, less the return
                                                         address that the handler popped */
    const greg_t *regs = uc->uc_mcontext.gregs;
    uintptr_t last = (uintptr_t)&regs[REG_RIP], unused;
#else
    const ucontext_t *uc = (const ucontext_t *)(w->sp + 128); /* after the siginfo_t */
    uintptr_t last = (uintptr_t)&uc->uc_mcontext.pc, unused;
#endif

    /* On an unknown stack the first word of a page is refused; the kernel wrote all of these. */
    if (!walk_read(w, last, &unused) && (w->top != 0 || (last & page_mask) != 0))
        return false;
#if defined(__x86_64__)
    w->pc = (uintptr_t)regs[REG_RIP];
    w->sp = (uintptr_t)regs[REG_RSP];
    w->bp = (uintptr_t)regs[REG_RBP];
#else
    w->pc = (uintptr_t)uc->uc_mcontext.pc;
    w->lr = unwind_strip_signature((uintptr_t)uc->uc_mcontext.regs[30]);
    w->sp = (uintptr_t)uc->uc_mcontext.sp;
    w->bp = (uintptr_t)uc->uc_mcontext.regs[29];
#endif
    w->bp_known = true;
    w->exact = true;
    walk_enter_stack(w);
    w->popped = walk_popped(w, frame, top);
    return true;
}

/* Steps out of a frame that takes all registers to follow. */
static __attribute__((noinline)) bool walk_step_opaque(struct walk *w)
{
#if defined(HAVE_LIBUNWIND) && defined(__x86_64__)
    struct unwind_registers frame = {w->pc, w->sp, w->bp};
    /* Of an unknown stack, what is live and the rest of its last page. */
    struct unwind_span stack = {w->entered, w->top ? w->top : ((w->sp - 8) | page_mask) + 1};

    if (!w->may_call || !unwind_libunwind_step(&frame, &stack))
        return false;
    w->pc = frame.pc;
    w->sp = frame.sp;
    w->bp = frame.bp;
    w->bp_known = true;
    w->exact = false;
    return true;
#else
    (void)w;
    return false;
#endif
}

/* Steps on by whatever form the layout has. */
static inline bool walk_on(struct walk *w, struct unwind_layout layout)
{
    if (LIKELY(layout.form >= UNWIND_CFA_SP && layout.form <= UNWIND_CFA_AT_BP)) {
        if (LIKELY(walk_step(w, layout)))
            return true;
        unwind_memo_abandon(w->draft);
        return !w->bp_known && walk_step_opaque(w);
    }
    unwind_memo_abandon(w->draft);
    if (layout.form == UNWIND_SIGNAL) {
        w->draft->flags |= LEDGER_STACK_SIGNAL;
        return walk_step_signal(w);
    }
    return walk_step_opaque(w);
}

static UNWIND_READS_STACKS unsigned stack_walk(struct walk *w, uint64_t *frames, unsigned max)
{
    struct unwind_layout layout;
    unsigned n = 0;
    bool vouched = true; /* the CFI that led here holds at a call, not just anywhere */

    for (;;) {
        layout = walk_layout(w);
        if (n > 0 && (layout.form == FORM_IMPLAUSIBLE || (layout.form == UNWIND_NONE && !vouched) ||
                      w->pc <= page_mask || (w->pc & ~UNWIND_ADDRESS_MASK))) {
            w->draft->flags |= LEDGER_STACK_TRUNCATED;
            return n;
        }
        if (n == max) {
            w->draft->flags |= LEDGER_STACK_FULL;
            return n;
        }
        frames[n++] = w->pc | (w->exact ? LEDGER_FRAME_EXACT : 0);
        if (layout.form == UNWIND_END)
            return n;
        vouched = !w->exact;
        if (layout.form == UNWIND_NONE || layout.form == FORM_IMPLAUSIBLE || !walk_on(w, layout)) {
            w->draft->flags |= LEDGER_STACK_TRUNCATED;
            return n;
        }
        if (w->pc == 0 && !w->exact)
            return n; /* the outermost frame by its return address */
        vouched |= w->exact;
    }
}

unsigned unwind_capture(const struct unwind_start *start, struct unwind_draft *draft,
                        uint64_t *frames, unsigned max, bool may_call)
{
    struct walk w = {.pc = start->pc,
                     .sp = start->sp,
                     .bp = start->bp,
                     .bp_known = true,
                     .may_call = may_call,
                     .draft = draft};
    unsigned n;

    draft->flags = 0;
    draft->next = NULL;
    if (max == 0)
        return 0;
    w.settled = unwind_modules_settle();
    walk_enter_stack(&w);
    if (w.settled && w.top != 0 && max == LEDGER_FRAMES_MAX)
        unwind_memo_begin(draft, start);
    n = stack_walk(&w, frames, max);
    draft->generation = unwind_modules_generation();
    return n;
}

void unwind_remember(struct unwind_draft *draft, const struct unwind_start *start, uint32_t number)
{
    unwind_memo_close(draft, start, number);
}

uint32_t unwind_recall(const struct unwind_start *start)
{
    uintptr_t top;

    if (!LIKELY(unwind_modules_are_settled()) || (top = stack_top(start->sp)) == 0)
        return 0;
    return unwind_memo_recall(start, top);
}

void unwind_init(uintptr_t stack_end)
{
    struct rlimit limit = {0, 0};
    uintptr_t reach = 8u << 20;

    page_mask = getauxval(AT_PAGESZ) - 1;
    main_thread_pointer = (uintptr_t)__builtin_thread_pointer();
    /* The kernel maps nothing within 128 MiB of the main stack's end, or the limit's if more:
     * arch/x86/mm/mmap.c, mmap_base. */
    if (!raw_failed(raw_syscall4(SYS_prlimit64, 0, RLIMIT_STACK, 0, &limit)) &&
        limit.rlim_cur > reach)
        reach = limit.rlim_cur < (64u << 20) ? limit.rlim_cur : 64u << 20;
    main_hi = (stack_end + sizeof(uintptr_t)) & ~(sizeof(uintptr_t) - 1);
    main_lo = main_hi - reach;
    unwind_modules_init();
}

#if !defined(HAVE_LIBUNWIND) || !defined(__x86_64__)
bool unwind_use_libunwind(void)
{
    return false;
}
#endif
