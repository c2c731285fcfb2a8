/*
 * unwind.h: the call stack of a wrapper's caller, without harming the program.
 *
 * Three layers: the *memo* knows whole stacks that were seen before; the *stepper* follows frame
 * layouts that it reads from .eh_frame_hdr and remembers by return address; *libunwind*, through
 * its address-space interface and accessors of ours, serves a frame whose layout the stepper
 * cannot express. None opens a descriptor, allocates, takes a lock of libc or the loader, or
 * waits; memo and stepper make no system call.
 */
#ifndef BOXLEDGER_PRELOAD_UNWIND_H
#define BOXLEDGER_PRELOAD_UNWIND_H

#include <stdbool.h>
#include <stdint.h>

/* Where a wrapper was called from. */
struct unwind_start {
    uintptr_t pc; /* the wrapper's return address */
    uintptr_t sp; /* the caller's stack pointer after the return (the wrapper's CFA) */
    uintptr_t bp; /* the caller's frame pointer register, as the wrapper saved it */
};

/* Once, from the constructor: argv's stack is the main stack; reads the modules loaded so far.
 * `stack_end` is an address at or above the outermost frame of the main thread. */
void unwind_init(uintptr_t stack_end);

/* In the constructor only, after unwind_init(): switches layer 3 on. It loads libunwind's shared
 * object, privately: 16 VMAs and 0.2 ms, hence an option. False: it is not to be had. */
bool unwind_use_libunwind(void);

/* The number that unwind_remember() was given for this stack; 0: not known. Async-signal-safe. */
uint32_t unwind_recall(const struct unwind_start *start);

/* A capture, and what it leaves for unwind_remember(). */
struct unwind_draft {
    /* The caller's, to be set before: a word on its stack that holds LEDGER_CANARY(mark) until
     * unwind_remember() was called, by which it is seen if that never comes. */
    volatile uint64_t *mark;
    uint32_t flags;      /* LEDGER_STACK_* */
    uint32_t generation; /* the module table's, for which the addresses hold */
    uint64_t *next;      /* unwind_memo.c: where its next word goes; NULL: closed */
    uintptr_t base;      /* what the places in its words count from */
    uintptr_t bp_at;     /* where the frame pointer is saved; 0: its reader has it */
};

/* Writes up to `max` frames, innermost first, return addresses with LEDGER_FRAME_EXACT or'ed into
 * those a signal interrupted. Returns how many (at least 1: start->pc). Never faults, never returns
 * a wrong frame: where it cannot know, it stops and says LEDGER_STACK_TRUNCATED. Async-signal-safe.
 * Of the caller's stack it takes 300 bytes, 650 over code not seen before, 800 the first time after
 * a dlclose.
 * `may_call` is false in a thread that has, or may have inherited, a seccomp filter: no system
 * call at all is made then.
 * A call of unwind_remember() with that draft must follow. */
unsigned unwind_capture(const struct unwind_start *start, struct unwind_draft *draft,
                        uint64_t *frames, unsigned max, bool may_call);

/* From here on unwind_recall() answers `number` where the stack is the one just captured, until
 * code goes or there are too many. 0: it has none. */
void unwind_remember(struct unwind_draft *draft, const struct unwind_start *start, uint32_t number);

/* The generation in which the newest of the modules that these frames lie in was loaded. For a
 * capture of this very thread, which keeps them loaded. */
uint32_t unwind_newest_generation(const uint64_t *frames, unsigned count);

/* dlopen, dlmopen, dlclose are about to happen or have happened: look again before trusting.
 * Set to 1 by the assembly jump in the dlopen and dlmopen wrappers. */
extern uint32_t unwind_modules_stale_word;

/* dlclose cares for no caller, so its wrapper calls it, between these two: code goes at some
 * moment in between. A destructor that jumps out of dlclose leaves the count up; captures are
 * slower from then on, and as right as before. */
extern uint32_t unwind_modules_closing;
static inline void unwind_dlclose_begins(void)
{
    __atomic_fetch_add(&unwind_modules_closing, 1, __ATOMIC_SEQ_CST);
}
static inline void unwind_dlclose_ended(void)
{
    __atomic_store_n(&unwind_modules_stale_word, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_sub(&unwind_modules_closing, 1, __ATOMIC_SEQ_CST);
}

/* A thread's alternate signal stack, as sigaltstack(2) was told; 0, 0: none. */
void unwind_note_altstack(uintptr_t start, uintptr_t end);

/* What a module record needs to know. Called by the unwinder once for every module it learns of
 * (generation_last UINT32_MAX), and again when it has gone: then generation_last is set, and path
 * and build_id are NULL. `path` and `build_id` are valid only during the call. The sink gives the
 * module a number in *record, which it finds there again when the module ends; leaving it 0 means
 * that it was dropped, and it is offered again. Never called by two threads at once. */
struct unwind_module {
    uint64_t start, end, bias;
    const char *path;
    const uint8_t *build_id;
    unsigned build_id_len;
    uint32_t generation_first, generation_last;
};
typedef void (*unwind_module_sink)(const struct unwind_module *module, uint32_t *record);
void unwind_set_module_sink(unwind_module_sink sink);

/* In a forked child that has one thread and a ledger of its own: tells the sink of all modules
 * anew. */
void unwind_report_modules_again(void);

#endif
