/*
 * decimal.h: a number as text, without libc: for what runs in the watched process. It never writes
 * more than DECIMAL_MAX characters, and no zero behind them.
 */
#ifndef BOXLEDGER_DECIMAL_H
#define BOXLEDGER_DECIMAL_H

#include <stdint.h>

#define DECIMAL_MAX 20u /* digits of the highest */

/* Returns where the text ends. */
static inline char *decimal_put(char *to, uint64_t number)
{
    char digits[DECIMAL_MAX];
    unsigned count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    while (count) {
        *to++ = digits[--count];
    }
    return to;
}

#endif
