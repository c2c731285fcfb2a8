/*
 * allocators.c: the names under which memory is allocated. By name alone: an allocator without
 * symbols is not recognised.
 */
#include "report/allocators.h"

#include <string.h>

/* malloc.3, posix_memalign.3 */
static const char *const functions[] = {
    "malloc",   "calloc",         "realloc", "reallocarray", "aligned_alloc",
    "memalign", "posix_memalign", "valloc",  "pvalloc",
};

/* C++'s, Rust's, and those of jemalloc, mimalloc and tcmalloc under names of their own. */
static const char *const prefixes[] = {
    "operator new", "__rust_alloc", "__rdl_alloc", "_rjem_", "je_", "mi_", "tc_",
};

static bool is_allocator(const char *function)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(function, functions[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(function, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

bool allocators_made(const struct symbols_stack *stack)
{
    for (size_t i = 0; stack && i < stack->count; i++)
        if (is_allocator(stack->frames[i].function))
            return true;
    return false;
}
