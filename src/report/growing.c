/*
 * growing.c: puts the low-water marks of a code's stacks together, and has growth.c judge them.
 *
 * The ledger's marks are a claim: a code is reported only if what the kernel confirms of it can
 * have climbed so far.
 */
#include "report/growing.h"

#define FEWEST 7u /* no code with less can grow: growth.c's smallest climb */

struct tally {
    uint32_t held[2]; /* by enum report_resource: loose, and not denied by the kernel */
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

/* The slowest thing that happened at all tells the rate best to a reader: sandboxes, if any. */
static void choose_unit(struct growing *growing, const struct ledger_header *header)
{
    uint64_t ended = 0, each;

    for (unsigned kind = 0; kind < LEDGER_OWNER_KINDS; kind++)
        ended += header->owners_ended[kind];
    growing->unit = ended           ? REPORT_PER_SANDBOX
                    : header->marks ? REPORT_PER_MARK
                                    : REPORT_PER_UNBIND;
    each = ended ? ended : header->marks ? header->marks : header->unbinds;
    growing->epochs_each = each ? (double)header->epoch / (double)each : 0;
}

void growing_begin(struct growing *growing, const struct reader *reader, struct codes *codes,
                   const struct verdicts_case *cases, size_t count)
{
    cleanup_free struct tally *tallies = NULL;

    *growing = (struct growing){.count = codes->count + 1};
    growing->codes = base_alloc(growing->count * sizeof *growing->codes);
    choose_unit(growing, &reader->header);
    if (growing->epochs_each <= 0)
        return;
    tallies = base_alloc(growing->count * sizeof *tallies);
    for (size_t i = 0; i < count; i++)
        if (cases[i].loose && !cases[i].leaked)
            tallies[cases[i].code].held[cases[i].held->resource]++;
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

        if (!growth_judge(&tallies[i].series, &code->growth) ||
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
