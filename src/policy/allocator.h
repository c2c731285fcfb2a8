/*
 * allocator.h: whether a stack passes through an allocator, told from within: what malloc and its
 * like have mapped they hand out again, whatever became of the sandbox that had it.
 */
#ifndef BOXLEDGER_POLICY_ALLOCATOR_H
#define BOXLEDGER_POLICY_ALLOCATOR_H

#include <stdbool.h>
#include <stdint.h>

#include "ledger/ledger.h"

#define ALLOCATOR_STACKS 1024u /* whose answer is remembered */
#define ALLOCATOR_BUFFER 16384u

struct allocator_stack {
    uint32_t stack; /* 0: free */
    uint32_t made;
};

struct allocator {
    struct allocator_stack stacks[ALLOCATOR_STACKS];
    char buffer[ALLOCATOR_BUFFER];
};

/* Whether what this stack mapped may be an allocator's: a function of it is called as one, has no
 * name in an object that defines such a function, or cannot be looked up. Once a stack it opens and
 * reads the object files: not in a thread with a filter, and one thread at a time. */
bool allocator_made(struct allocator *allocator, const struct ledger *ledger, uint32_t stack);

/* By the name that an object file has. */
bool allocator_is_named(const char *function);

#endif
