/*
 * verify.h: what a ledger says is held, less what the kernel says is not.
 *
 * Pure comparison: it asks nobody itself (kernel.c does), so tests drive it with views they made.
 */
#ifndef BOXLEDGER_REPORT_VERIFY_H
#define BOXLEDGER_REPORT_VERIFY_H

#include "report/kernel.h"
#include "report/reader.h"
#include "report/report.h"

/* One record that holds something. */
struct verify_held {
    enum report_resource resource;
    uint32_t index; /* the descriptor, or the mapping's index */
    const struct ledger_fd *fd;
    const struct ledger_mapping *mapping;
    uint64_t bytes;   /* of a mapping, what is still there of it */
    const char *name; /* the kernel's; NULL: not known */
    bool verified;    /* the kernel confirms it */
};

struct verify {
    struct verify_held *held; /* descriptors first, each by index */
    size_t count;
    uint64_t gone_fds, gone_mappings; /* in the ledger, not in the kernel */
    const struct kernel_fd **unseen;  /* the other way round */
    uint64_t unseen_fds;
};

void verify_ledger(struct verify *verify, const struct reader *reader,
                   const struct kernel_view *view);
void verify_free(struct verify *verify);

/* A policy has it, and nobody else: a reclaimed number or range, memory that waits to be unmapped.
 */
bool verify_is_kept(const struct verify_held *held);

/* What a descriptor is, by its kernel name, where that is certain; LEDGER_FD_UNKNOWN elsewhere. */
enum ledger_fd_kind verify_kind_of_name(const char *name);

#endif
