/*
 * redirect_program.h: programs under another root (redirect.h).
 *
 * The kernel would take a program's interpreter, its dynamic linker or what a #! line names, from
 * the real root. So boxsup reads which one it is, finds it under the other root, and has the
 * process execute that with the program as its argument: what the kernel would do itself. A dynamic
 * linker is told the name of the program by --argv0 (glibc 2.33, musl).
 *
 * What the file says is read once and may be changed before the kernel reads it; then another
 * program runs, by Landlock's leave, with no more than this sandbox has.
 */
#ifndef SUPERVISOR_REDIRECT_PROGRAM_H
#define SUPERVISOR_REDIRECT_PROGRAM_H

struct notification;

/* Answers an execve of `path`, which `target` was found by, an O_PATH descriptor. */
void redirect_program_execute(const struct notification *notification, int directory,
                              const char *path, int target);

#endif
