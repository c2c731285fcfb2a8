/*
 * unwind_memo.h: stacks seen before: from a call straight to its caller's number for that stack.
 *
 * What the stepper does is a function of the code that it walks through and of the words that it
 * reads. The memo keeps, for each walk, where those words were and which return addresses they
 * held; a call whose words are the same has the same stack. Frame pointers are followed as the
 * stepper follows them, not compared: a frame that is addressed by one may be of any size.
 *
 * All places are relative to the stack pointer, so one memo serves all threads, those not yet
 * started too, and nothing of it has to go when a thread does. Readers write nothing. There is one
 * writer at a time; who cannot be it learns nothing this once.
 *
 * It remembers no stack that is not in the calling thread's own or the main one up to its known
 * end, none through a signal's frame, and none over code that may go unnoticed.
 */
#ifndef BOXLEDGER_PRELOAD_UNWIND_MEMO_H
#define BOXLEDGER_PRELOAD_UNWIND_MEMO_H

#include <stdbool.h>
#include <stdint.h>

#include "unwind.h"
#include "unwind_cfi.h"
#include "unwind_machine.h"

/* The number given to unwind_memo_close() for the stack from here on; 0: not known. `top` is the
 * end of the stack that start->sp lies in. Only while what is remembered of code holds. */
uint32_t unwind_memo_recall(const struct unwind_start *start, uintptr_t top);

/* Forgets all: code has gone. */
void unwind_memo_drop(void);

/* In a forked child: whoever was writing is not in this process, and the numbers are another
 * ledger's. */
void unwind_memo_forget_parent(void);

/* A return address and, above it, how many words its place lies above draft->base; or an operation.
 */
#define UNWIND_MEMO_OPERATION ((UINT64_C(1) << (64 - UNWIND_ADDRESS_BITS)) - 1)
#define UNWIND_MEMO_PLACE_MAX (UNWIND_MEMO_OPERATION - 1)

/* Before a walk from here: makes this thread the writer. The draft stays closed where it cannot be;
 * every other function then does nothing. */
void unwind_memo_begin(struct unwind_draft *draft, const struct unwind_start *start);

/* This walk is not to be remembered. */
void unwind_memo_abandon(struct unwind_draft *draft);

/* The walk has stepped out of a frame with this layout: from `sp`, with `bp`, to `cfa`. Only while
 * the draft is open, and no more often than LEDGER_FRAMES_MAX + 1 times. What the frame saved is
 * the caller's to write into draft->bp_at. */
void unwind_memo_step(struct unwind_draft *draft, struct unwind_layout layout, uintptr_t sp,
                      uintptr_t bp, uintptr_t cfa);

/* The end of the walk: its stack has this number from now on (0: it has none). */
void unwind_memo_close(struct unwind_draft *draft, const struct unwind_start *start,
                       uint32_t number);

#endif
