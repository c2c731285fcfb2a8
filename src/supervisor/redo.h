/*
 * redo.h: a system call that only the process itself can do, chdir(2) or execve(2) say, done with
 * another path, or other arguments for a program, than it gave.
 *
 * The notification is answered, the thread is held before it is back in its program (injection.h),
 * and makes the call again with what boxsup has put into a piece of memory that is mapped for it.
 * The filter lets this one through by a number that no other call has by chance. It gives nothing
 * away that a process of the sandbox may find that number out, or another thread change the path
 * meanwhile: the kernel and Landlock decide on the call, as they do on every other.
 *
 * ENOTSUP is answered where the thread cannot be held, because it is traced already, or where it is
 * not its process's first and executes a program; and E2BIG for too many arguments of a program.
 */
#ifndef SUPERVISOR_REDO_H
#define SUPERVISOR_REDO_H

#include <stddef.h>

struct notification;

/* Answers it: the call's result with `path` in place of the argument of that number. EINTR: it is
 * one that opening waits for, a pipe say, for longer than the sandbox's other calls can wait. */
void redo_call(const struct notification *notification, unsigned argument, const char *path);

/* What is put before the arguments of a program in place of the first `skipped` of them. */
#define REDO_WORDS_MAX 24
struct redo_program {
    const char *path;
    const char *words[REDO_WORDS_MAX]; /* NULL: what was the first argument */
    size_t count;
    size_t skipped;
};

/* The same for execve(2) and execveat(2). */
void redo_execve(const struct notification *notification, const struct redo_program *program);

#endif
