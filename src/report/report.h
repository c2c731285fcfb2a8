/*
 * report.h: what a report says, before anybody decides how it is written.
 *
 * Built once from a ledger and the kernel's view of its process, then only read: text.c and json.c
 * write the same struct. All its memory lives in `arena`.
 */
#ifndef BOXLEDGER_REPORT_REPORT_H
#define BOXLEDGER_REPORT_REPORT_H

#include "report/kernel.h"
#include "report/reader.h"
#include "report/suppressions.h"
#include "report/symbols.h"

/* DESIGN 6. In the order in which findings are told. */
enum report_verdict {
    REPORT_LEAKED,
    REPORT_GROWING,
    REPORT_DOUBLE_CLOSE,
    REPORT_FOREIGN_CLOSE,
    REPORT_INHERITABLE,
    REPORT_RECLAIMED, /* left behind, and taken back by a policy */
    REPORT_RESCUED,   /* an munmap that the kernel refused, and a policy made up for */
    REPORT_LIMITED,   /* a sandbox's call that a limit refused */
    REPORT_HELD,
    REPORT_REFUSED,
    REPORT_VERDICTS
};

enum report_resource {
    REPORT_MAPPING,
    REPORT_FD,
};

#define REPORT_NAMES 4                        /* examples of kernel names that a finding keeps */
#define REPORT_THREADS 4                      /* examples of threads that acquired them */
#define REPORT_SETTLE_NS UINT64_C(1000000000) /* DESIGN 6, unless settle_ms says otherwise */

struct report_thread {
    uint32_t tid;
    const char *name; /* "": it was gone before it could be looked at */
};

/* What a rate is told in: ends of sandboxes; without any, boxledger_mark; without these, memory
 * slots deleted. */
enum report_rate_unit {
    REPORT_PER_SANDBOX,
    REPORT_PER_MARK,
    REPORT_PER_UNBIND,
};

#define REPORT_LIMIT_UNKNOWN UINT64_MAX

struct report_finding {
    enum report_verdict verdict;
    enum report_resource resource;
    const char *what; /* "memfd:NAME", "file", "private anonymous memory", "munmap" ... */
    uint64_t count;
    uint64_t bytes;
    const char *owner_kind;     /* "" where no sandbox had them */
    uint64_t owners;            /* sandboxes that it spans */
    const uint32_t *owner_ids;  /* their indices in the ledger */
    uint64_t first_ns, last_ns; /* CLOCK_REALTIME; 0: unknown */
    bool verified;
    const struct symbols_stack *stack; /* NULL: unknown */
    const struct symbols_stack *released_by[2];
    unsigned released_count;
    const struct symbols_stack *unbound_by; /* where its slot was deleted, before its VM's end */
    struct report_thread threads[REPORT_THREADS];
    unsigned thread_count;
    const char *names[REPORT_NAMES];
    unsigned name_count;
    int error;        /* errno of what was refused */
    uint64_t vmas;    /* estimated, when it was refused; 0: unknown */
    uint64_t address; /* of the last one: an address, or a descriptor */
    double urgency;   /* the part of its limit that it uses */
    /* Only of REPORT_GROWING: */
    double rate; /* resources more, per unit */
    enum report_rate_unit rate_unit;
    uint64_t limit_in; /* so many units until the limit is reached; or REPORT_LIMIT_UNKNOWN */
    bool kept;         /* a policy has them; only of REPORT_HELD */
    /* Only of what policies did: */
    uint64_t late_releases; /* REPORT_RECLAIMED: what the supervisor itself released after that */
    uint64_t waiting_bytes; /* REPORT_RESCUED: still mapped */
    const char *last_label; /* of the sandbox that it was about, the last time; "": none */
    uint64_t last_id;       /* 0: none */
};

/* What policies did, ever; `waiting` and `quarantined`: now. */
struct report_policies {
    uint64_t on; /* enum policy */
    uint64_t reclaimed_fds, reclaimed_mappings, reclaimed_bytes, late_releases;
    uint64_t quarantined_fds, quarantined_bytes;
    uint64_t rescued, rescue_unmapped, rescue_reused, waiting_ranges, waiting_bytes;
    uint64_t limited;
};

/* Descriptors of one name that the ledger never saw. */
struct report_unseen {
    const char *what;
    uint64_t count;
};

/* A limit that was nearly reached. */
struct report_warning {
    enum report_resource resource;
    uint64_t limit;
    uint64_t first_ns, last_ns; /* CLOCK_REALTIME; 0: unknown */
    const char *text;
};

struct report_owner {
    uint64_t id;
    const char *kind;
    const char *label;
    bool live;
    uint64_t mappings, bytes, fds;
};

struct report_findings {
    struct report_finding *items;
    size_t count;
};

enum report_end { REPORT_RUNNING, REPORT_EXIT, REPORT_SIGNAL };

struct report {
    struct arena arena;
    /* the process */
    int64_t pid;
    const char *exe;
    const char **argv;
    size_t argc;
    uint64_t start_ns, end_ns; /* CLOCK_REALTIME; end_ns 0: runs, or nobody knows */
    enum report_end ended;
    int status;         /* exit status or signal; 0 with REPORT_SIGNAL: which is not known */
    bool attached;      /* false: no image ever was */
    const char *execed; /* what it went on as, where the ledger could not go; NULL */
    bool verified;      /* the kernel was asked */
    bool at_exit;       /* ... when the process had come to its end */
    /* totals */
    uint64_t mappings, mapped_bytes, vmas, max_map_count, fds, max_fds;
    uint64_t inherited_mappings, inherited_fds;
    bool vmas_estimated; /* the kernel could not be asked */
    uint64_t unseen_fds; /* the kernel has them, the ledger never saw them */
    uint64_t owners_begun, owners_ended, owners_leaking;
    uint64_t owners_leaking_live; /* of these, those that have not ended */
    uint64_t leaked_mappings, leaked_bytes, leaked_fds;
    uint32_t incomplete; /* LEDGER_INCOMPLETE_* */
    uint64_t missed_stacks, missed_records, lost_events;
    struct report_policies policies;
    struct report_owner *owners;
    size_t owner_count;
    struct report_findings findings, live, refused;
    struct report_unseen *unseen; /* unseen_fds in all, most first */
    size_t unseen_count;
    struct report_warning *warnings;
    size_t warning_count;
    uint64_t suppressed; /* findings that suppressions left out */
    uint64_t suppressed_count;
    struct kernel_view annex; /* of a saved ledger: names come from it */
};

struct rules;

struct report_options {
    struct suppressions *suppressions; /* NULL: none */
    const struct rules *rules;         /* NULL: none */
    uint64_t settle_ns;                /* what a sandbox may take to tidy up after its end */
};

/* Builds the report of a ledger. `view` may be NULL: then the ledger's annex serves, or nothing
 * could be verified. `options` may be NULL: no suppressions, REPORT_SETTLE_NS. Everything in
 * *report but names borrowed from `view`, `reader` and `symbols` is its own: keep those until
 * report_free. */
bool report_build(struct report *report, const struct reader *reader,
                  const struct kernel_view *view, struct symbols *symbols,
                  const struct report_options *options, struct failure *failure);
void report_free(struct report *report);

/* Whether something remains that --error-exitcode counts. */
bool report_has_errors(const struct report *report);

/* Whether a verdict is one of those. */
bool report_is_error(enum report_verdict verdict);

/* The n-th policy by name, if it is one of `on`; NULL if not. n from 0 to REPORT_POLICIES - 1. */
#define REPORT_POLICIES 4u
const char *report_policy_name(uint64_t on, unsigned n);

const char *report_verdict_name(enum report_verdict verdict);
const char *report_resource_name(enum report_resource resource);

#endif
