/*
 * unwind_modules.h: which code is loaded where, told without asking the loader for its lock.
 */
#ifndef BOXLEDGER_PRELOAD_UNWIND_MODULES_H
#define BOXLEDGER_PRELOAD_UNWIND_MODULES_H

#include <stdbool.h>
#include <stdint.h>

#include "unwind.h"
#include "unwind_cfi.h"

#define UNWIND_CODE_RANGES 3 /* most files have one executable segment, some three */

/* All that the stepper wants of a module. */
struct unwind_code {
    struct unwind_tables tables;
    struct {
        uintptr_t lo, hi; /* executable and readable */
    } range[UNWIND_CODE_RANGES];
};

/* Once, before the program has threads. */
void unwind_modules_init(void);

/* Call before a capture: true if remembered layouts may be used and added to. Drops them when
 * code may have gone since the last time. */
bool unwind_modules_settle(void);

/* The same, false also where that takes more than a look. */
static inline bool unwind_modules_are_settled(void)
{
    /* Between a dlclose's start and its end code goes at some moment that nobody tells. Its end
     * writes STALE before it counts down, hence this order. */
    return __atomic_load_n(&unwind_modules_closing, __ATOMIC_ACQUIRE) == 0 &&
           __atomic_load_n(&unwind_modules_stale_word, __ATOMIC_ACQUIRE) == 0;
}

/* The module whose code `address` lies in; NULL: unknown code, or another thread is just writing
 * down which module that is. `address` has to be a frame of the calling thread's own stack: that
 * keeps the module loaded, and what is returned true, for as long as the frame is there. *keep:
 * what is learnt of this code may be remembered. */
const struct unwind_code *unwind_modules_find(uintptr_t address, bool *keep);

/* The same from the module's own headers, each time anew. False: unknown code. */
bool unwind_modules_read(uintptr_t address, struct unwind_code *code);

/* The loader's own entry: nothing called it, and it has no CFI to say so. */
bool unwind_modules_is_entry(uintptr_t pc);

uint32_t unwind_modules_generation(void);

/* unwind.c: the end of the calling thread's stack that `sp` lies in; 0: unknown. */
uintptr_t unwind_stack_top(uintptr_t sp);

/* unwind.c: forget every remembered layout. */
void unwind_layouts_drop(void);

#endif
