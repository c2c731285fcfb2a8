/*
 * attributes.h: modes, owners and times of files, which the kernel lets a file's owner change and
 * Landlock does not restrict. boxsup changes those of files that the sandbox may write, itself, so
 * that no path can change after the check; all others it refuses.
 */
#ifndef SUPERVISOR_ATTRIBUTES_H
#define SUPERVISOR_ATTRIBUTES_H

struct notification;

void attributes_answer(const struct notification *notification);

#endif
