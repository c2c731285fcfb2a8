/*
 * children.h: which of this process's children are the main process of a sandbox, and the end of
 * those that are not.
 *
 * boxsup is a subreaper, and so is the main process of each sandbox, which cannot stop being one.
 * A process of a sandbox whose parent dies therefore becomes a child of its main process, and once
 * that has died, of boxsup. Hence: a child of boxsup that it did not fork belongs to a sandbox that
 * has ended, and is killed. That needs no namespace and no root, and no sandbox escapes it by
 * setsid(2) or a second fork.
 */
#ifndef SUPERVISOR_CHILDREN_H
#define SUPERVISOR_CHILDREN_H

#include <sys/types.h>

struct error;

/* Once, before the first fork, while there is one thread. Children that the process has already
 * are left alone. */
int children_begin(struct error *error);

/* fork(2) of a main process. */
pid_t children_fork(void);

/* Between these two no main process is forked, by whatever thread: for a descriptor that is open
 * for writing, which a child would have until it becomes its command, so that the file could not be
 * executed meanwhile. Not twice by one thread. */
void children_hold_forks(void);
void children_permit_forks(void);

/* Waits for a main process that is about to end or has ended; its wait status. */
int children_reap(pid_t pid);

/* Kills and reaps what ended sandboxes left. Cheap where there is nothing. */
void children_kill_orphans(void);

#endif
