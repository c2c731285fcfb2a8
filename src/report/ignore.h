/*
 * ignore.h: findings that a rule of the user's leaves out of a report: `ignore` in rules.h. Pure.
 */
#ifndef BOXLEDGER_REPORT_IGNORE_H
#define BOXLEDGER_REPORT_IGNORE_H

#include "sandbox/rules.h"

struct report_finding;

bool ignore_finding(const struct rules *rules, const struct report_finding *finding);

#endif
