/*
 * real.c: finding the real functions.
 *
 * dlsym allocates only to report a failure that somebody then asks about; it runs in the
 * constructor, before the program.
 */
#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <stddef.h>

#include "real.h"

/* process-global because the process has one libc */
struct real_calls real;
/* process-global because the process has one libc */
bool real_chained;

static bool is_of_libc(const void *function)
{
    Dl_info libc, its;
    return dladdr((const void *)gnu_get_libc_version, &libc) != 0 && dladdr(function, &its) != 0 &&
           its.dli_fbase == libc.dli_fbase;
}

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
    real_chained = !is_of_libc((const void *)real.mmap) || !is_of_libc((const void *)real.munmap) ||
                   !is_of_libc((const void *)real.mmap64) || !is_of_libc((const void *)real.dup) ||
                   !is_of_libc((const void *)real.memfd_create);
}
