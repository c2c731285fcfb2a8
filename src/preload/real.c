/*
 * real.c: finding the real functions.
 *
 * dlsym allocates only to report a failure that somebody then asks about; it runs in the
 * constructor, before the program.
 */
#include <dlfcn.h>
#include <stddef.h>

#include "real.h"

/* process-global because the process has one libc */
struct real_calls real;

void real_find(void)
{
    static const struct {
        char name[20];
        unsigned offset;
    } calls[] = {
#define CALL(type, name, params) {#name, offsetof(struct real_calls, name)},
#include "calls.def"
#undef CALL
    };
    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        *(void **)((char *)&real + calls[i].offset) = dlsym(RTLD_NEXT, calls[i].name);
    }
}
