/*
 * sandbox.h: one process sandbox while it runs. It belongs to the thread that serves it.
 */
#ifndef SUPERVISOR_SANDBOX_H
#define SUPERVISOR_SANDBOX_H

#include <stdint.h>
#include <sys/types.h>

#include "supervisor/random.h"
#include "supervisor/shadow.h"

struct cow;
struct lazy_faults;
struct policy;

struct sandbox {
    const struct policy *policy;
    pid_t main;   /* its first process; the others are below it */
    int listener; /* its notifications */
    struct random random;
    struct shadows shadows;
    struct lazy_faults *faults;         /* NULL: none are caught */
    struct cow *cow;                    /* NULL: no directory is copy-on-write */
    void (*tell)(const char *sentence); /* what its user should know; NULL: nobody listens */
    uint64_t notifications;
};

#endif
