/*
 * allocators.h: whether a mapping is an allocator's, by the functions in its stack.
 */
#ifndef BOXLEDGER_REPORT_ALLOCATORS_H
#define BOXLEDGER_REPORT_ALLOCATORS_H

#include "report/symbols.h"

/* True if the stack passes through malloc or its like. An allocator (jemalloc, mimalloc, tcmalloc)
 * keeps what the program has freed: that a sandbox had it is no sign that it was left behind. */
bool allocators_made(const struct symbols_stack *stack);

#endif
