/*
 * wrap_loader.c: dlopen(3) and its kin, which make the unwinder look at its modules again.
 *
 * dlopen and dlmopen are jumped to, with no frame of ours left: the loader takes RUNPATH, RPATH
 * and the namespace from whoever its return address belongs to.
 */
#include "wrap.h"

static void modules_change(void)
{
    if (!FAULT(modules_kept)) {
        __atomic_store_n(&unwind_modules_stale_word, 1, __ATOMIC_RELEASE);
    }
}

/* What the test build does wrong: the loader then takes us for the caller. */
#ifdef BOXLEDGER_FAULTS
#define IF_CALLED(call)                                                                            \
    if (FAULT(calls_dlopen)) {                                                                     \
        void *volatile result = call;                                                              \
        return result;                                                                             \
    }
#else
#define IF_CALLED(call)
#endif

EXPORT void *dlopen(const char *path, int mode)
{
    modules_change();
    IF_CALLED(REAL(dlopen)(path, mode))
    return REAL(dlopen)(path, mode);
}

EXPORT void *dlmopen(long space, const char *path, int mode)
{
    modules_change();
    return REAL(dlmopen)(space, path, mode);
}

EXPORT int dlclose(void *handle)
{
    if (FAULT(modules_kept)) {
        return REAL(dlclose)(handle);
    }
    unwind_dlclose_begins();
    int result = REAL(dlclose)(handle);
    unwind_dlclose_ended();
    return result;
}
