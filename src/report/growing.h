/*
 * growing.h: which places in the code hold more and more, the longer sandboxes come and go.
 */
#ifndef BOXLEDGER_REPORT_GROWING_H
#define BOXLEDGER_REPORT_GROWING_H

#include "report/codes.h"
#include "report/growth.h"
#include "report/report.h"
#include "report/verdicts.h"

struct growing_code {
    struct growth growth;
    enum report_resource resource;
    bool grows;
};

struct growing {
    struct growing_code *codes; /* by code */
    uint32_t count;             /* one past the last */
};

/* What rates are told in, and how many epochs there are to one of it; 0: there was none. */
double growing_unit(const struct ledger_header *header, enum report_rate_unit *unit);

/* Looks at what no sandbox owns alone: what one does has a verdict of its own already. */
void growing_begin(struct growing *growing, const struct reader *reader, struct codes *codes,
                   const struct verdicts_case *cases, size_t count);
void growing_end(struct growing *growing);

/* When the process was first refused a resource for want of room (CLOCK_MONOTONIC); 0: never. */
uint64_t growing_limit_met(const struct reader *reader, enum report_resource resource);

/* Whether this case is one of those that grow. */
bool growing_has(const struct growing *growing, const struct verdicts_case *the);

#endif
