/*
 * redirect_calls.h: calls with a path, but opens, under another root (redirect.h): boxsup answers
 * those that only look, and the process itself does the others, by the path outside of what was
 * found (redo.h). What would change something stays the kernel's, by the path as it is: Landlock
 * refuses it.
 */
#ifndef SUPERVISOR_REDIRECT_CALLS_H
#define SUPERVISOR_REDIRECT_CALLS_H

struct notification;

void redirect_answer(const struct notification *notification);

/* How many calls that is for, and which, for the filter. */
unsigned redirect_call_count(void);
int redirect_call(unsigned index);

#endif
