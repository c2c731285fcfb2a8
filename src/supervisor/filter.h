/*
 * filter.h: which system calls of a sandbox the kernel refuses, and of which it asks boxsup.
 *
 * The kernel's filter sees numbers, never memory: paths are Landlock's business (access.h).
 */
#ifndef SUPERVISOR_FILTER_H
#define SUPERVISOR_FILTER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>

#include "supervisor/owned.h"

struct error;
struct profile;

struct filter {
    struct sock_fprog program;
    /* A call with this as its sixth argument is boxsup's own, in a process of the sandbox
     * (redo.h). Random, so that no other has it by chance. */
    uint64_t mark;
};

/* Makes the program that each sandbox of a profile installs. Returns 0, or -1 with the reason. */
/* Whether the kernel has notifications (Linux 5.0) and lets us have them. */
bool filter_is_supported(void);

int filter_make(struct filter *filter, const struct profile *profile, struct error *error);
void filter_clear(struct filter *filter);

/* In the sandbox's process, before its command: installs it. Returns the listener, or -1 with
 * errno. May be called after fork(2) in a process with threads. */
int filter_install(const struct filter *filter);

#endif
