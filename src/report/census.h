/*
 * census.h: descriptors that the kernel has and the ledger never saw, by what they are.
 *
 * What was made and is kept by system calls that no wrapper sees has no stack and no owner. All
 * that can be said of it is how many there are, and whether they become more.
 */
#ifndef BOXLEDGER_REPORT_CENSUS_H
#define BOXLEDGER_REPORT_CENSUS_H

#include "report/kernel.h"

/* Counts them in a living process, and notes the counts in view->series. */
void census_take(struct kernel_view *view, pid_t pid, int ledger_fd);

/* The series of a name, or NULL. */
struct kernel_series *census_find(const struct kernel_view *view, const char *what);

#endif
