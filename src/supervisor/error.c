/*
 * error.c: see error.h. It keeps errno.
 */
#include "supervisor/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void make_printable(char *text)
{
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
}

int error_set(struct error *error, int number, const char *format, ...)
{
    va_list arguments;
    char reason[ERROR_TEXT_BYTES / 4];
    size_t length;

    if (!error)
        return -1;
    va_start(arguments, format);
    (void)vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    error->number = number;
    length = strlen(error->text);
    if (number != 0)
        (void)snprintf(error->text + length, sizeof error->text - length, ": %s",
                       strerror_r(number, reason, sizeof reason));
    make_printable(error->text);
    return -1;
}

int error_prefix(struct error *error, const char *format, ...)
{
    char told[ERROR_TEXT_BYTES];
    va_list arguments;
    size_t length;

    if (!error)
        return -1;
    memcpy(told, error->text, sizeof told);
    va_start(arguments, format);
    (void)vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    length = strlen(error->text);
    (void)snprintf(error->text + length, sizeof error->text - length, ": %s", told);
    make_printable(error->text);
    return -1;
}
