/*
 * proc.h: files of /proc, as a sandbox may see them: the virtual ones, its own processes', and the
 * few of the machine's that tell nothing about anybody else. Landlock grants none of them, so what
 * is not answered for here stays closed.
 */
#ifndef SUPERVISOR_PROC_H
#define SUPERVISOR_PROC_H

#include <stddef.h>
#include <sys/types.h>

struct notification;

/* The path with its leading /proc/self or /proc/thread-self put as the number of the process that
 * asks. Either `path` itself or in `space`. */
const char *proc_own_path(const struct notification *notification, const char *path, char *space,
                          size_t bytes);

/* The process of a thread; 0: it is gone. */
pid_t proc_process_of(pid_t thread);

/* Answers the open of a regular file of /proc, which `target` is an O_PATH descriptor of. */
void proc_answer_open(const struct notification *notification, int target, int flags);

#endif
