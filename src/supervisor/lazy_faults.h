/*
 * lazy_faults.h: a sandbox's page faults in mappings of lazy copies (lazy_copy.h), by a userfaultfd
 * that is the sandbox process's own: one of ours does not see another process's faults.
 *
 * A process gets its userfaultfd when it first maps such a copy: it is held for that moment
 * (injection.h). It takes /dev/userfaultfd (Linux 6.1): a userfaultfd that everybody may have fails
 * system calls that touch what is missing. A thread of boxsup's answers the faults, and nothing
 * else, since whoever reads a sandbox's memory may wait for it.
 *
 * A fork's child has its parent's mappings without the userfaultfd, so that all of them is filled
 * before.
 */
#ifndef SUPERVISOR_LAZY_FAULTS_H
#define SUPERVISOR_LAZY_FAULTS_H

#include <stdbool.h>

struct lazy_copy;
struct lazy_faults;
struct notification;
struct sandbox;

/* A bit of mmap(2)'s flags that the kernel ignores: the filter lets a call with it pass, so ours
 * are not notified. A sandbox that sets it reads zeros from what is not there yet. */
#define LAZY_FAULTS_OWN_CALL 0x1000 /* MAP_EXECUTABLE */

/* /dev/userfaultfd, or -1: faults cannot be caught, and what is mapped has to be filled before. */
int lazy_faults_open_device(void);

/* Answers an mmap(2) of a copy so that its faults are caught. False: it is not answered, and cannot
 * be in this way. */
bool lazy_faults_answer_map(const struct notification *notification, struct lazy_copy *copy);

/* A process is about to fork. Returns 0, or an errno value: what it maps cannot be filled. */
int lazy_faults_before_fork(const struct notification *notification);

/* The sandbox has ended. */
void lazy_faults_end(struct sandbox *sandbox);

#endif
