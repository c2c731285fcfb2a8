/*
 * error.h: why something did not work: a sentence and an errno value, handed upward to whoever can
 * say it. Nothing below the command prints.
 */
#ifndef SUPERVISOR_ERROR_H
#define SUPERVISOR_ERROR_H

/* More is cut off. */
#define ERROR_TEXT_BYTES 512

/* Nothing happened yet: {0}. */
struct error {
    int number; /* an errno value; 0 where the sentence says it all */
    char text[ERROR_TEXT_BYTES];
};

/* Sets the sentence (no full stop, no newline) and the number. What the number means is appended:
 * "cannot open x: Permission denied". Control characters become '?'. Returns -1, so that
 * `return error_set(...)` reads well. `error` may be NULL: nobody wants to know. */
int error_set(struct error *error, int number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts what was being done before what went wrong: "sandbox 7: cannot ...". Returns -1. */
int error_prefix(struct error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
