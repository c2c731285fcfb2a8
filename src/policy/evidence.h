/*
 * evidence.h: whether what a stack takes for sandboxes is never released.
 *
 * A stack is looked at for one kind of thing at a time: mappings of one size, descriptors of one
 * kind. It is convicted once eight different sandboxes have ended and each has left one. A thing of
 * its own is then lost if, since it lay idle, eight more of the like were taken rather than that
 * one used again: who keeps a pool looks there first. A pool may be a thread's own, so they are to
 * be taken by the thread that took it; by any, once that is gone. One release that was not
 * reclaim's acquits the stack for good.
 *
 * Only numbers go in here: who asks has made sure that the things are really there. Nothing here
 * calls, waits or allocates; one thread at a time, but for evidence_late.
 */
#ifndef BOXLEDGER_POLICY_EVIDENCE_H
#define BOXLEDGER_POLICY_EVIDENCE_H

#include <stdbool.h>
#include <stdint.h>

#define EVIDENCE_SANDBOXES 8u /* DESIGN 7 */
#define EVIDENCE_TAKEN 8u     /* of the like, since */
/* The first of the eight has lain for so many settling times: who tidies up now and then, and all
 * at once, has done so by then. */
#define EVIDENCE_PATIENCE 8u

#define EVIDENCE_MAPPING UINT32_MAX /* a kind beside enum ledger_fd_kind */

/* What is like what. */
struct evidence_key {
    uint32_t stack;
    uint32_t kind; /* enum ledger_fd_kind, or EVIDENCE_MAPPING */
    uint64_t size; /* of mappings */
};

#define EVIDENCE_KEYS 1024u
#define EVIDENCE_THREADS 4096u

struct evidence_case {
    struct evidence_key key;             /* stack 0: free */
    uint32_t owners;                     /* of `serial` */
    bool acquitted;                      /* it does release */
    uint64_t serial[EVIDENCE_SANDBOXES]; /* of sandboxes that ended and left one */
    uint64_t first_ns;                   /* when the first of them had settled */
    /* Of the present look: the first sandbox that left one, and whether there are others. */
    uint32_t look;
    bool several;
    uint64_t one;
};

/* What one thread took of one case: when, the last ones. */
struct evidence_thread {
    uint32_t of; /* the case's place + 1; 0: free */
    uint32_t tid;
    uint64_t seen_ns; /* what is older has been counted */
    uint64_t newest_ns;
    uint64_t taken_ns[EVIDENCE_TAKEN]; /* in no order */
    uint32_t taken;
};

/* How much was reclaimed of what a stack took. */
#define EVIDENCE_STACKS 4096u
struct evidence_stack {
    uint32_t stack; /* 0: free */
    uint32_t reclaimed;
};

struct evidence {
    struct evidence_stack stacks[EVIDENCE_STACKS];
    struct evidence_case cases[EVIDENCE_KEYS];
    struct evidence_thread threads[EVIDENCE_THREADS];
};

/* Zeroed memory is an empty one. */

/* The case of a key; NULL: there is none. `make`: then one is opened, unless there is no room. */
struct evidence_case *evidence_of(struct evidence *evidence, const struct evidence_key *key,
                                  bool make);

/* A sandbox that ended and settled has left one of these, and the kernel still has it. */
void evidence_left(struct evidence_case *the, uint64_t owner_serial, uint64_t now_ns);
bool evidence_knows(const struct evidence_case *the, uint64_t owner_serial);

/* A sandbox that ended has one still, in this look; two of them have. */
void evidence_witness(struct evidence_case *the, uint64_t owner_serial, uint32_t look);
bool evidence_has_witnesses(const struct evidence_case *the, uint32_t look);

/* Once a look, first the one and then the other for everything that is held, whoever owns it: by
 * the thread that took it, and when (ns). What no case is open for is not counted. */
void evidence_count_begins(struct evidence *evidence);
void evidence_count(struct evidence *evidence, const struct evidence_key *key, uint32_t tid,
                    uint64_t taken_ns);

/* It does release: by other signs, or, from any thread and once only, of what was reclaimed. */
void evidence_acquit(struct evidence *evidence, uint32_t stack);
void evidence_late(struct evidence *evidence, uint32_t stack);

/* One thing of the stack was reclaimed, which the ledger counts as released; how many were. */
void evidence_reclaims(struct evidence *evidence, uint32_t stack);
uint32_t evidence_reclaimed(const struct evidence *evidence, uint32_t stack);

/* Eight sandboxes, and long enough ago. */
bool evidence_convicts(const struct evidence_case *the, uint64_t settle_ns, uint64_t now_ns);

#define EVIDENCE_ANY_THREAD UINT32_MAX

/* The thread has taken so many of the like since `since_ns`. */
bool evidence_taken_since(const struct evidence *evidence, const struct evidence_case *the,
                          uint32_t tid, uint64_t since_ns);

#endif
