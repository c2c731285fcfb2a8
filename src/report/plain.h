/*
 * plain.h: the one report that is written inside the watched process.
 */
#ifndef BOXLEDGER_REPORT_PLAIN_H
#define BOXLEDGER_REPORT_PLAIN_H

#include "ledger/ledger.h"

/* Writes what is still held, by stack, to descriptor 2. Raw system calls only; asks the kernel
 * about each descriptor and mapping first. Ends early where a write fails, or could not be made for
 * `wait_ms`. */
void plain_report(const struct ledger *ledger, unsigned wait_ms);

#endif
