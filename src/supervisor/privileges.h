/*
 * privileges.h: capabilities(7), which boxsup and its sandboxes do without. Started by root, a
 * sandbox keeps its user, and has what the files of that user grant: no more.
 */
#ifndef SUPERVISOR_PRIVILEGES_H
#define SUPERVISOR_PRIVILEGES_H

#include <stdbool.h>

struct error;

/* The supervisor gives up all but CAP_SYS_PTRACE: reading a sandbox's memory can need it, where
 * Yama is strict. What it opens and changes for sandboxes is then no more than they could. Once,
 * before there are threads, since each thread has its own. */
int privileges_reduce(struct error *error);

/* The calling thread's last ones. Safe after fork. */
bool privileges_drop(void);

#endif
