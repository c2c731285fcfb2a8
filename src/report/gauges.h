/*
 * gauges.h: a live ledger in figures: what is held now, by how many sandboxes, and what policies
 * did.
 *
 * No stack is read and no symbol resolved, so that it may be asked every second. Nobody asks the
 * kernel either: these are the ledger's claims (DESIGN 4).
 */
#ifndef BOXLEDGER_REPORT_GAUGES_H
#define BOXLEDGER_REPORT_GAUGES_H

#include <stdio.h>

#include "report/base.h"
#include "report/reader.h"

#define GAUGES_TOP 64u /* owners that are told of by name */

struct gauges_owner {
    uint64_t serial;
    const char *kind;
    char label[LEDGER_LABEL_SIZE];
    bool live;
    uint64_t fds, mappings, bytes, age_ns;
};

struct gauges {
    uint32_t pid;
    bool running;
    uint64_t fds, max_fds;
    uint64_t mappings, mapped_bytes, max_map_count;
    int64_t vmas_estimated;
    uint64_t owners_begun[LEDGER_OWNER_KINDS], owners_ended[LEDGER_OWNER_KINDS];
    uint64_t ended_fds, ended_mappings, ended_bytes; /* that ended sandboxes still have */
    uint64_t incomplete;
    uint64_t policies, reclaimed_fds, reclaimed_mappings, reclaimed_bytes, late_releases;
    uint64_t rescued, waiting_ranges, waiting_bytes, limited, quarantined_fds, quarantined_bytes;
    struct gauges_owner top[GAUGES_TOP]; /* those that hold most, first */
    unsigned top_count;
};

/* Takes them from the ledger open at `fd`. False with one sentence in *failure. */
bool gauges_take(struct gauges *gauges, int fd, const char *name, struct failure *failure);

/* As OpenMetrics has it, to the end mark. */
void gauges_write_openmetrics(FILE *out, const struct gauges *gauges);

/* For people: one screen, the `rows` owners that hold most. */
void gauges_write_screen(FILE *out, const struct gauges *gauges, unsigned rows);

#endif
