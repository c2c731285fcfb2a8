/*
 * growing.c: puts the low-water marks of a code's stacks together, and has growth.c judge them.
 *
 * The ledger's marks are a claim: a code is reported only if what the kernel confirms of it can
 * have climbed so far.
 */
#include "report/growing.h"

#include "ledger/fault.h"

#define FEWEST 7u /* no code with less can grow: growth.c's smallest climb */

/* What still climbed when a limit was met had acquired something in the last eighth of the time. */
#define RECENT 8u

struct tally {
    uint32_t held[2]; /* by enum report_resource: loose, and not denied by the kernel */
    uint64_t last_ns; /* when the last of them was acquired */
    struct growth_series series;
};

static int32_t loose_count(const struct ledger_stack *stack, const struct ledger_growth *growth)
{
    int64_t loose = (int64_t)stack->fds_live + stack->mappings_live - growth->fds_owned -
                    growth->mappings_owned;

    return loose < 0 ? 0 : loose > INT32_MAX ? INT32_MAX : (int32_t)loose;
}

static void add_stack(struct tally *tally, const struct reader *reader, uint32_t index,
                      const struct ledger_stack *stack)
{
    const struct ledger_growth *record = reader_record(reader, LEDGER_GROWTH, index);
    uint32_t epoch = reader->header.epoch, held;
    struct growth_series series;
    struct ledger_growth growth;

    if (!record)
        return;
    growth = *record;
    held = (uint32_t)loose_count(stack, &growth);
    if (growth.stride == 0) { /* its counts have not changed since its first epoch */
        growth.stride = 1;
        growth.first = growth.noted = stack->epoch;
    }
    if ((int32_t)(growth.noted - epoch) > 0) /* a live ledger: noted after we read the header */
        epoch = growth.noted;
    growth_note(&growth, epoch, held, reader->header.owners_live);
    growth_series(&series, &growth, epoch, held);
    growth_series_add(&tally->series, &series);
}

static void count_case(struct tally *tally, const struct verify_held *held)
{
    uint64_t since_ns = held->fd ? held->fd->since_ns : held->mapping->since_ns;

    tally->held[held->resource]++;
    if (since_ns > tally->last_ns)
        tally->last_ns = since_ns;
}

uint64_t growing_limit_met(const struct reader *reader, enum report_resource resource)
{
    uint64_t first_ns = 0;

    for (uint64_t i = 1; i < reader->tables[LEDGER_EVENTS].count; i++) {
        const struct ledger_event *event = reader_record(reader, LEDGER_EVENTS, i);
        bool met = resource == REPORT_FD ? event->kind == LEDGER_EVENT_FD_REFUSED
                                         : event->kind == LEDGER_EVENT_MAP_REFUSED;

        if (event->state == LEDGER_LIVE && met && (first_ns == 0 || event->first_ns < first_ns))
            first_ns = event->first_ns;
    }
    return first_ns;
}

/* A cache that had been full for long before is not what met the limit. */
static bool stopped_at_limit(const struct tally *tally, const struct reader *reader,
                             enum report_resource resource)
{
    uint64_t start_ns = reader->header.start_monotonic_ns;
    uint64_t met_ns = growing_limit_met(reader, resource);

    return met_ns > start_ns && tally->last_ns >= met_ns - (met_ns - start_ns) / RECENT;
}

double growing_unit(const struct ledger_header *header, enum report_rate_unit *unit)
{
    uint64_t ended = 0, each;

    for (unsigned kind = 0; kind < LEDGER_OWNER_KINDS; kind++)
        ended += header->owners_ended[kind];
    *unit = ended ? REPORT_PER_SANDBOX : header->marks ? REPORT_PER_MARK : REPORT_PER_UNBIND;
    each = ended ? ended : header->marks ? header->marks : header->unbinds;
    return each ? (double)header->epoch / (double)each : 0;
}

void growing_begin(struct growing *growing, const struct reader *reader, struct codes *codes,
                   const struct verdicts_case *cases, size_t count)
{
    cleanup_free struct tally *tallies = NULL;
    enum report_rate_unit unit;

    *growing = (struct growing){.count = codes->count + 1};
    growing->codes = base_alloc(growing->count * sizeof *growing->codes);
    if (growing_unit(&reader->header, &unit) <= 0)
        return;
    tallies = base_alloc(growing->count * sizeof *tallies);
    for (size_t i = 0; i < count; i++)
        if (cases[i].loose && !cases[i].leaked)
            count_case(&tallies[cases[i].code], cases[i].held);
    for (uint64_t i = 1; i < reader->tables[LEDGER_STACKS].count; i++) {
        const struct ledger_stack *stack = reader_record(reader, LEDGER_STACKS, i);
        uint32_t code = codes->of_stack[i]; /* 0: nothing that is held came from it */

        if (code && tallies[code].held[0] + tallies[code].held[1] >= FEWEST)
            add_stack(&tallies[code], reader, (uint32_t)i, stack);
    }
    for (uint32_t i = 1; i < growing->count; i++) {
        struct growing_code *code = &growing->codes[i];
        enum report_resource resource = tallies[i].held[REPORT_FD] > tallies[i].held[REPORT_MAPPING]
                                            ? REPORT_FD
                                            : REPORT_MAPPING;

        if (stopped_at_limit(&tallies[i], reader, resource))
            growth_series_cut(&tallies[i].series);
        if (FAULT(growing_unsaid) || !growth_judge(&tallies[i].series, &code->growth) ||
            2.0 * tallies[i].held[resource] < code->growth.climb)
            continue;
        code->resource = resource;
        code->grows = true;
    }
}

void growing_end(struct growing *growing)
{
    free(growing->codes);
    *growing = (struct growing){0};
}

bool growing_has(const struct growing *growing, const struct verdicts_case *the)
{
    return the->loose && !the->leaked && growing->codes[the->code].grows &&
           growing->codes[the->code].resource == the->held->resource;
}
