/*
 * unwind_machine.h: what the parts of the unwinder know of the machine alike.
 */
#ifndef BOXLEDGER_PRELOAD_UNWIND_MACHINE_H
#define BOXLEDGER_PRELOAD_UNWIND_MACHINE_H

#include <stdint.h>

/* Stacks hold what sanitizers call poisoned and what other threads' signal handlers wrote. */
#define UNWIND_READS_STACKS __attribute__((no_sanitize("address", "thread")))

#if defined(__x86_64__)
#define UNWIND_ADDRESS_BITS 47 /* of user space: psABI and Documentation/arch/x86/x86_64/mm.rst */
#else
#define UNWIND_ADDRESS_BITS                                                                        \
    48 /* larger ones only on request, Documentation/arch/arm64/memory.rst */
#endif
#define UNWIND_ADDRESS_MASK ((UINT64_C(1) << UNWIND_ADDRESS_BITS) - 1)

/* A return address without what processors that sign it put into its upper bits. */
static inline uintptr_t unwind_strip_signature(uintptr_t address)
{
#if defined(__aarch64__)
    register uintptr_t x30 __asm__("x30") = address;

    __asm__("hint #7" : "+r"(x30)); /* xpaclri; nothing on processors that do not sign */
    return x30;
#else
    return address;
#endif
}

#endif
