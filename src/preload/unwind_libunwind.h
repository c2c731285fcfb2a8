/*
 * unwind_libunwind.h: one step over a frame that the stepper cannot express.
 */
#ifndef BOXLEDGER_PRELOAD_UNWIND_LIBUNWIND_H
#define BOXLEDGER_PRELOAD_UNWIND_LIBUNWIND_H

#include <stdbool.h>
#include <stdint.h>

/* What the caller of a frame looks like. */
struct unwind_registers {
    uintptr_t pc;
    uintptr_t sp;
    uintptr_t bp;
};

#ifdef HAVE_LIBUNWIND
void unwind_libunwind_init(void);

/* Walks from here to the frame with this pc and sp, with all registers, and over it. False, and
 * `frame` untouched: not to be had, or not for certain. Makes system calls (signals are blocked
 * meanwhile); uses a stack of its own; one thread at a time, the others get false. */
bool unwind_libunwind_step(struct unwind_registers *frame, uintptr_t top);
#else
static inline void unwind_libunwind_init(void)
{
}
static inline bool unwind_libunwind_step(struct unwind_registers *frame, uintptr_t top)
{
    (void)frame;
    (void)top;
    return false;
}
#endif

#endif
