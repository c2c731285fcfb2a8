/*
 * cow_redo.h: a system call that only the process itself can do, chdir(2) or execve(2) say, done
 * with another path than it gave.
 *
 * The notification is answered, the thread is stopped by ptrace(2) before it is back in its
 * program, and makes the call again with the other path, in a page that is mapped for it. The
 * filter lets this one through by a number that nobody in the sandbox knows. That another thread
 * may change the path meanwhile gives nothing away: the kernel and Landlock decide on the call, as
 * they do on every other.
 */
#ifndef SUPERVISOR_COW_REDO_H
#define SUPERVISOR_COW_REDO_H

struct notification;

/* Answers it: the call's result with `path` in place of the argument of that number. ENOTSUP: the
 * thread cannot be stopped, because it is traced already; or it is not its process's first and
 * executes a program. The path must not be one that opening waits for. */
void cow_redo(const struct notification *notification, unsigned argument, const char *path);

#endif
