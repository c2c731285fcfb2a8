/*
 * access.h: what the kernel itself lets a sandbox open, by Landlock (landlock(7)).
 *
 * This is the security decision on every file. What boxsup virtualises is not granted here at all,
 * so that letting a call continue after a look at the child's memory gives nothing away: whatever
 * path another thread puts there meanwhile, the kernel checks it again.
 */
#ifndef SUPERVISOR_ACCESS_H
#define SUPERVISOR_ACCESS_H

#include <stdbool.h>

struct error;
struct profile;

/* The version of Landlock that a profile gets here. 0: there is none. */
int access_version(const struct profile *profile);

/* Whether Landlock refuses to cut off what may only be read; otherwise the filter and open.c do. */
bool access_refuses_truncation(const struct profile *profile);

/* What a sandbox is not kept from with this version and would be with the newest that boxsup
 * knows; NULL: nothing. */
const char *access_missing(int version);

/* A ruleset of the profile's grants, as many sandboxes may use it: a descriptor for
 * landlock_restrict_self, or -1 with the reason in *error. `upper` is what stands for the
 * copy-on-write directory; NULL: there is none. */
int access_make_ruleset(const struct profile *profile, const char *upper, struct error *error);

#endif
