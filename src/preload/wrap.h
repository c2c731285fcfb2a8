/*
 * wrap.h: the shapes that wrappers come in. One line makes one, see wrap_descriptors.c.
 */
#ifndef BOXLEDGER_PRELOAD_WRAP_H
#define BOXLEDGER_PRELOAD_WRAP_H

#include "police.h"
#include "real.h"
#include "shim.h"

static inline long libc_result(long result)
{
    if (raw_failed(result)) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

/* The next definition; for functions that are more than a system call. */
#define REAL(name) (likely(real.name != NULL) ? real.name : (real_find(), real.name))

/* The next definition, or before there is one the system call itself. `raw`: the program came
 * through syscall(2), whose result it wants, not libc's idea of it. */
#define PERFORM(raw, type, name, args, kernel)                                                     \
    ((type)(likely(!(raw) && real.name != NULL) ? (long)(intptr_t)real.name args                   \
                                                : libc_result(kernel)))

/* `call` answers with a descriptor; once more, if a policy made room after it found none. */
#define TRY_TWICE(here, call)                                                                      \
    ({                                                                                             \
        long result_ = (long)(intptr_t)(call);                                                     \
        if (unlikely(result_ < 0) && police_retries(here)) {                                       \
            result_ = (long)(intptr_t)(call);                                                      \
        }                                                                                          \
        result_;                                                                                   \
    })

/* Whether a wrapper may make the system call itself, by the shortest way: this is the watched
 * process, no policy is on, and the next definition is libc's, which would do no more. */
static inline bool shim_goes_straight(void)
{
    return likely(*shim.attached == SHIM_ATTACHED) && likely(!real_chained);
}

/* A function that returns a new descriptor, and nothing else of interest. */
#define TAKES_FD(name, kind, params, args, cloexec)                                                \
    EXPORT int name params                                                                         \
    {                                                                                              \
        if (unlikely(real.name == NULL)) {                                                         \
            real_find();                                                                           \
        }                                                                                          \
        if (unlikely(real.name == NULL)) {                                                         \
            errno = ENOSYS;                                                                        \
            return -1;                                                                             \
        }                                                                                          \
        if (shim_limits_fds(HERE, 1)) {                                                            \
            return -1;                                                                             \
        }                                                                                          \
        return shim_took(HERE, (int)TRY_TWICE(HERE, real.name args), LEDGER_FD_##kind, cloexec);   \
    }

#endif
