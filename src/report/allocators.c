/*
 * allocators.c: see allocators.h. By name alone: an allocator without symbols is not recognised.
 */
#include "report/allocators.h"

#include <string.h>

static const char *const functions[] = {
#define ALLOCATOR_FUNCTION(name) name,
#define ALLOCATOR_PREFIX(name)
#define ALLOCATOR_MANGLED(name)
#include "allocators.def"
#undef ALLOCATOR_FUNCTION
#undef ALLOCATOR_PREFIX
#undef ALLOCATOR_MANGLED
};

static const char *const prefixes[] = {
#define ALLOCATOR_FUNCTION(name)
#define ALLOCATOR_PREFIX(name) name,
#define ALLOCATOR_MANGLED(name)
#include "allocators.def"
#undef ALLOCATOR_FUNCTION
#undef ALLOCATOR_PREFIX
#undef ALLOCATOR_MANGLED
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
