/*
 * owners.h: the sandboxes of a ledger, as a report sees them: outermost ones only, and ended where
 * the kernel says so although nobody told the ledger.
 */
#ifndef BOXLEDGER_REPORT_OWNERS_H
#define BOXLEDGER_REPORT_OWNERS_H

#include "report/kernel.h"
#include "report/reader.h"

struct owners_item {
    const struct ledger_owner *record; /* NULL: there is none of this index */
    uint32_t outermost;                /* what it is a part of; itself, where it is no part */
    bool ended;
    uint64_t ended_ns;
    uint32_t later_ends; /* of its kind; where only the kernel knows of its end, of such */
};

struct owners {
    struct owners_item *items; /* by index */
    size_t count;
    uint64_t begun, ended; /* in all: more than there are items */
};

void owners_begin(struct owners *owners, const struct reader *reader,
                  const struct kernel_view *view);
void owners_end(struct owners *owners);

/* The sandbox that an index names, or NULL: the supervisor's, or one that is not there. */
const struct owners_item *owners_outermost(const struct owners *owners, uint32_t index);

static inline uint32_t owners_index(const struct owners *owners, const struct owners_item *item)
{
    return item ? (uint32_t)(item - owners->items) : 0;
}

#endif
