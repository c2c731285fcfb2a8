/*
 * privileges.c: see privileges.h. The C library has no functions for capabilities; libcap would be
 * a library more for two calls.
 */
#include "supervisor/privileges.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervisor/error.h"

#define SETS _LINUX_CAPABILITY_U32S_3

static bool set_all(const struct __user_cap_data_struct sets[SETS])
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};

    return syscall(SYS_capset, &header, sets) == 0;
}

/* What no execve(2) can give back, whatever is in the file. It takes a capability of its own, and
 * whoever has not that one gets nothing back either: no_new_privs sees to it. */
static void drop_bounds(void)
{
    unsigned long number = 0;

    while (prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0)
        number++; /* up to the first that the kernel does not know */
}

int privileges_reduce(struct error *error)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[SETS];

    drop_bounds();
    if (syscall(SYS_capget, &header, sets) != 0)
        return error_set(error, errno, "cannot read my capabilities");
    for (unsigned i = 0; i < SETS; i++) {
        uint32_t kept = CAP_TO_INDEX(CAP_SYS_PTRACE) == i ? CAP_TO_MASK(CAP_SYS_PTRACE) : 0;

        sets[i].effective &= kept;
        sets[i].permitted &= kept;
        sets[i].inheritable = 0;
    }
    if (!set_all(sets))
        return error_set(error, errno, "cannot give up my capabilities");
    return 0;
}

bool privileges_drop(void)
{
    static const struct __user_cap_data_struct none[SETS];

    /* What is not permitted is not ambient either. */
    return set_all(none);
}
