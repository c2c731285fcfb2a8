/*
 * growth.h: does what a stack holds grow with the number of sandboxes that have ended?
 *
 * Much of what leaks can be tied to no sandbox. What tells it from a pool, a cache or a heap is
 * that its low-water marks climb, steadily, and are still climbing. Pure arithmetic, on
 * struct ledger_growth and nothing else.
 */
#ifndef BOXLEDGER_REPORT_GROWTH_H
#define BOXLEDGER_REPORT_GROWTH_H

#include <stdbool.h>
#include <stdint.h>

#include "ledger/format.h"

/* Low-water marks in the order of time. Of one stack, or the sum of several that are one code. */
struct growth_series {
    unsigned count; /* 0: nothing is known */
    struct growth_point {
        uint32_t from, to; /* epochs, `to` excluded */
        double low;        /* the fewest that were held at an end in it */
        double owners;     /* the most sandboxes that lived then */
    } points[LEDGER_GROWTH_INTERVALS];
    double now; /* what is held after them */
};

struct growth {
    double climb; /* resources, over the whole series */
    double rate;  /* a resource, per epoch */
};

/* Epochs [growth->noted, epoch) had `held`, while `owners` sandboxes lived: as the shim notes it,
 * for the last stretch of a record and for series that the command keeps itself. */
void growth_note(struct ledger_growth *growth, uint32_t epoch, uint32_t held, uint32_t owners);

/* The series of a record up to `epoch`, with `held` now. A record that makes no sense gives an
 * empty one. */
void growth_series(struct growth_series *series, const struct ledger_growth *growth, uint32_t epoch,
                   uint32_t held);

/* The sum of two, over the epochs of both. */
void growth_series_add(struct growth_series *sum, const struct growth_series *series);

/* The series without its end, if that is flat: what came to a limit can climb no more. */
void growth_series_cut(struct growth_series *series);

/* Whether it grows, and how fast. */
bool growth_judge(const struct growth_series *series, struct growth *growth);

#endif
