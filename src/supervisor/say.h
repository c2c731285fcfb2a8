/*
 * say.h: how the commands speak to their user: one line on stderr.
 */
#ifndef SUPERVISOR_SAY_H
#define SUPERVISOR_SAY_H

/* "boxsup: ..." and a newline, also where stdout has lines that are not written yet. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
