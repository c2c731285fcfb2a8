/*
 * command.h: which file a command's name stands for.
 */
#ifndef SUPERVISOR_COMMAND_H
#define SUPERVISOR_COMMAND_H

struct error;

/* As execvp(3) looks for it, in the PATH of this environment, below `root`, a directory's
 * descriptor; -1: where we are. The caller frees it. NULL with the reason in *error: ENOENT, or
 * EACCES where there is one that cannot be run. */
char *command_find(int root, const char *name, char *const *environment, struct error *error);

#endif
