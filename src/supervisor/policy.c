/*
 * policy.c: see policy.h.
 */
#include "supervisor/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "supervisor/access.h"
#include "supervisor/cow.h"
#include "supervisor/error.h"
#include "supervisor/lazy_faults.h"
#include "supervisor/owned.h"
#include "supervisor/shadow.h"

static int note_files(struct policy *policy, struct error *error)
{
    struct stat status;

    if (stat("/proc/self", &status) != 0)
        return error_set(error, errno, "boxsup needs /proc");
    policy->proc = status.st_dev;
    if (stat("/etc/hostname", &status) == 0) {
        policy->hostname_dev = status.st_dev;
        policy->hostname_ino = status.st_ino;
    }
    return 0;
}

const char *policy_why_not(const struct profile *profile)
{
    if (access_version(profile) == 0)
        return "this kernel has no Landlock, or it is switched off: nothing is run without";
    if (!filter_is_supported())
        return "this kernel has no notifications of system calls, or not for us: nothing is run "
               "without";
    return NULL;
}

int policy_make(struct policy *policy, const struct profile *profile, struct error *error)
{
    *policy = (struct policy){.profile = *profile, .ruleset = -1, .root = -1, .userfaultfd = -1};
    if (profile->root[0]) {
        policy->root = open(profile->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (policy->root < 0)
            return error_set(error, errno, "cannot open %s", profile->root);
    }
    if (profile->shadow_lazy)
        policy->userfaultfd = lazy_faults_open_device();
    policy->refuses_truncation = !access_refuses_truncation(profile);
    if (profile->cow[0])
        cow_sweep(profile);
    /* With a copy-on-write directory each sandbox has one of its own (cow.h). */
    if (!profile->cow[0])
        policy->ruleset = access_make_ruleset(profile, NULL, error);
    if ((!profile->cow[0] && policy->ruleset < 0) ||
        filter_make(&policy->filter, profile, error) != 0 || note_files(policy, error) != 0 ||
        shadow_budget_make(&policy->shadow_budget, profile->shadow_budget, error) != 0) {
        policy_clear(policy);
        return -1;
    }
    return 0;
}

void policy_clear(struct policy *policy)
{
    owned_fd_close(&policy->ruleset);
    owned_fd_close(&policy->root);
    owned_fd_close(&policy->userfaultfd);
    filter_clear(&policy->filter);
    owned_memory_free(&policy->shadow_budget);
}
