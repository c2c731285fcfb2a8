/*
 * command.h: which file a command's name stands for.
 */
#ifndef SUPERVISOR_COMMAND_H
#define SUPERVISOR_COMMAND_H

struct error;

/* As execvp(3) looks for it in `directory`, where the command is to start (NULL: where we are), in
 * the PATH of this environment, below `root`, a directory's descriptor; -1: none. The caller frees
 * it. NULL with the reason in *error: ENOENT, or EACCES where there is one that cannot be run. */
char *command_find(int root, const char *directory, const char *name, char *const *environment,
                   struct error *error);

#endif
