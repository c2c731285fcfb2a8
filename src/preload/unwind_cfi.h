/*
 * unwind_cfi.h: what .eh_frame says about the frame at one address.
 *
 * A *layout* is as much of a row of the CFI table as the stepper can follow: the CFA from the
 * stack or frame pointer, the return address and the saved frame pointer at constant distances
 * from it. What does not fit is UNWIND_OPAQUE, never approximated.
 */
#ifndef BOXLEDGER_PRELOAD_UNWIND_CFI_H
#define BOXLEDGER_PRELOAD_UNWIND_CFI_H

#include <stdbool.h>
#include <stdint.h>

enum unwind_form {
    UNWIND_NONE = 0,  /* no FDE covers the address, or it is malformed: unknown code */
    UNWIND_CFA_SP,    /* CFA = sp + cfa */
    UNWIND_CFA_BP,    /* CFA = bp + cfa */
    UNWIND_CFA_AT_SP, /* CFA = *(sp + cfa) + more */
    UNWIND_CFA_AT_BP, /* CFA = *(bp + cfa) + more: frames realigned through DRAP */
    UNWIND_SIGNAL,    /* the signal trampoline: all registers are in the ucontext at sp */
    UNWIND_END,       /* the return address is undefined: the outermost frame */
    UNWIND_OPAQUE,    /* the CFI is there, but needs more than the stepper knows */
};

enum unwind_saved {
    UNWIND_SAME = 0, /* the register still holds the caller's value */
    UNWIND_AT_CFA,   /* at CFA + offset */
    UNWIND_AT_BP,    /* at bp + offset, with this frame's own bp */
    UNWIND_LOST,     /* undefined, or where the stepper does not look */
};

struct unwind_layout {
    uint8_t form;     /* enum unwind_form */
    uint8_t bp_saved; /* enum unwind_saved */
    uint8_t ra_saved; /* UNWIND_AT_CFA, or UNWIND_SAME: in the link register (aarch64) */
    int8_t more;      /* in words */
    int32_t cfa;
    int32_t bp;
    int32_t ra;
};
_Static_assert(sizeof(struct unwind_layout) == 16, "returned in registers: stack is scarce");

/* Where a module keeps its tables. Everything is read within [lo, hi) only. */
struct unwind_tables {
    uintptr_t hdr; /* .eh_frame_hdr; 0: none */
    uintptr_t lo;  /* the readable segment that holds it and .eh_frame */
    uintptr_t hi;
};

/* The layout in force at `address`: the interrupted instruction, or a return address less 1.
 * `ip` is what DWARF expressions see as the instruction pointer. Of UNWIND_NONE, UNWIND_END and
 * UNWIND_OPAQUE the rest means nothing. */
struct unwind_layout unwind_cfi_layout(const struct unwind_tables *tables, uintptr_t address,
                                       uintptr_t ip);

#endif
