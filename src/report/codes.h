/*
 * codes.h: which stacks are the same places in the code. An object that was loaded twice, at two
 * addresses, is one code.
 */
#ifndef BOXLEDGER_REPORT_CODES_H
#define BOXLEDGER_REPORT_CODES_H

#include "report/reader.h"

struct codes {
    const struct reader *reader;
    uint32_t *of_stack; /* by stack; 0: not looked at yet */
    struct code *all;
    uint32_t count; /* codes are 1..count */
    struct arena arena;
};

void codes_begin(struct codes *codes, const struct reader *reader);
void codes_end(struct codes *codes);

/* The code of a stack; 0 where the ledger has no such stack. */
uint32_t codes_of_stack(struct codes *codes, uint32_t stack);

#endif
