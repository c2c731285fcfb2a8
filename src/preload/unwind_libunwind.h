/*
 * unwind_libunwind.h: one step over a frame that the stepper cannot express.
 *
 * Off until unwind_use_libunwind() (unwind.h), and where libunwind is not for this machine.
 */
#ifndef BOXLEDGER_PRELOAD_UNWIND_LIBUNWIND_H
#define BOXLEDGER_PRELOAD_UNWIND_LIBUNWIND_H

#include <stdbool.h>
#include <stdint.h>

/* What is known of a frame. */
struct unwind_registers {
    uintptr_t pc;
    uintptr_t sp;
    uintptr_t bp;
};

/* A part of a stack: [lo, hi). */
struct unwind_span {
    uintptr_t lo, hi;
};

/* Walks from here to the frame with this pc and sp, with all registers, and over it. False, and
 * `frame` untouched: not to be had, or not for certain. `stack` is what may be read of the stack
 * that the frame is on; that of the caller may be, in any case. Makes system calls (signals are
 * blocked meanwhile); uses a stack of its own; one thread at a time, the others get false. */
bool unwind_libunwind_step(struct unwind_registers *frame, const struct unwind_span *stack);

#endif
