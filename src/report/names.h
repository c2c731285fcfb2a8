/*
 * names.h: what things are called in a report.
 */
#ifndef BOXLEDGER_REPORT_NAMES_H
#define BOXLEDGER_REPORT_NAMES_H

#include "report/verify.h"

/* The kernel's name less what differs between things that are alike: inode numbers, process ids.
 * Of plain files only that they are: each has a path of its own. */
const char *names_of_kernel(struct arena *arena, const char *name);

const char *names_of_fd(struct arena *arena, const struct verify_held *held);
const char *names_of_mapping(struct arena *arena, const struct verify_held *held);

/* enum ledger_owner_kind as reports spell it. */
const char *names_of_owner(uint32_t kind);

#endif
