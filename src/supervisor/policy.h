/*
 * policy.h: what all sandboxes of one profile share, made once: the Landlock ruleset, the filter,
 * and what the files are that boxsup answers for. Nothing in it changes afterwards, and any number
 * of threads may use it.
 */
#ifndef SUPERVISOR_POLICY_H
#define SUPERVISOR_POLICY_H

#include <sys/types.h>

#include "supervisor/filter.h"
#include "supervisor/profile.h"

struct error;

struct policy {
    struct profile profile;
    struct filter filter;
    int ruleset; /* of Landlock */
    /* One that the kernel leaves to us to refuse: see access.h. */
    bool refuses_truncation;
    int root;                            /* of --root; -1: none */
    struct shadow_budget *shadow_budget; /* of all its sandboxes together */
    int userfaultfd;                     /* /dev/userfaultfd, for lazy shadows; -1: none */
    dev_t proc;                          /* the file system of /proc */
    dev_t hostname_dev;                  /* /etc/hostname, where it is virtual and there */
    ino_t hostname_ino;
};

/* Why no sandbox of a profile can be run here; NULL: one can. */
const char *policy_why_not(const struct profile *profile);

int policy_make(struct policy *policy, const struct profile *profile, struct error *error);
void policy_clear(struct policy *policy);

#endif
