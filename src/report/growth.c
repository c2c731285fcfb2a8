/*
 * growth.c: tells what climbs from what fluctuates, fills up, is swept, or follows the number of
 * sandboxes that live. It never looks at what the resources are.
 *
 * A low-water mark is the fewest that were held at any end within an interval, so what comes and
 * goes with each sandbox is not in it. Of these marks only what is never given back counts: each
 * is lowered to the lowest that follows. That climbs for a leak; it is flat for a pool, and flat up
 * to the last sweep for a heap.
 */
#include "report/growth.h"

#include "ledger/ledger.h"

#include <stddef.h>

/* DESIGN 5 asks for 8 epochs. The first of 8 resources is where the climb begins. */
#define EPOCHS_MIN 8u
#define CLIMB_MIN 7.0
/* Slower than one in 16 epochs is a log file a day rather than a leak, unless it comes to much. */
#define RATE_MIN 0.0625
#define RATE_MIN_OF_MUCH 0.01
#define MUCH 64.0
/* What was given back in between, at the most, as a part of the climb; the second where there are
 * so few intervals that chance puts them in order. */
#define DROP_MAX 0.12
#define DROP_MAX_OF_FEW 0.03
#define FEW 9u
/* A quarter of the time must have this part of a quarter of the climb ... */
#define QUARTER_MIN 0.25
/* ... and, where there is so much that chance cannot explain less, this part less that many
 * standard deviations (of a leak that strikes at random: the square root of its number). */
#define QUARTER_MIN_SURE 0.7
#define DEVIATIONS 2.0
/* What fills up slows down: the second half of the time has this part of the climb, less what the
 * sandboxes of the beginning, that all began at once, may have taken then. */
#define HALF_MIN 0.3
/* How far apart the marks are that show a climb with no more sandboxes than before, as a part of
 * the whole time, and how much of the climb of that time they must show. */
#define SPAN_MIN 0.25
#define OWN_CLIMB_MIN 0.5
/* How long it may have stopped at the end, in times that it mostly takes to the next resource; and
 * as many ends longer as sandboxes lived: what each takes when it begins, the last ones have taken.
 */
#define PAUSE_MAX 5.0

/* Whether the epochs of a record follow one another, and fit into its intervals. */
static bool makes_sense(const struct ledger_growth *growth, uint32_t epoch)
{
    uint32_t noted = growth->noted - growth->first, until = epoch - growth->first;

    return growth->stride != 0 && until <= INT32_MAX && noted <= until &&
           noted <= (uint64_t)growth->stride * LEDGER_GROWTH_INTERVALS;
}

void growth_note(struct ledger_growth *growth, uint32_t epoch, uint32_t held, uint32_t owners)
{
    if (makes_sense(growth, epoch) && growth->noted != epoch)
        ledger_growth_extend(growth, epoch, held, owners);
}

void growth_series(struct growth_series *series, const struct ledger_growth *growth, uint32_t epoch,
                   uint32_t held)
{
    *series = (struct growth_series){.now = held};
    if (!makes_sense(growth, epoch))
        return;
    for (unsigned i = 0; i < LEDGER_GROWTH_INTERVALS; i++) {
        uint64_t from = (uint64_t)i * growth->stride, to = from + growth->stride;
        uint32_t noted = growth->noted - growth->first;

        if (from >= noted)
            return;
        series->points[series->count++] = (struct growth_point){
            .from = growth->first + (uint32_t)from,
            .to = growth->first + (uint32_t)(to < noted ? to : noted),
            .low = growth->interval[i].low,
            .owners = growth->interval[i].owners,
        };
    }
}

/* What a series says of the epochs [from, to): nothing before it began. */
static struct growth_point look_up(const struct growth_series *series, uint32_t from, uint32_t to)
{
    struct growth_point found = {.from = from, .to = to};
    bool any = false;

    if (series->count == 0 || (int32_t)(from - series->points[0].from) < 0)
        return found;
    for (unsigned i = 0; i < series->count; i++) {
        const struct growth_point *point = &series->points[i];

        if ((int32_t)(point->to - from) <= 0 || (int32_t)(to - point->from) <= 0)
            continue;
        if (!any || point->low < found.low)
            found.low = point->low;
        if (point->owners > found.owners)
            found.owners = point->owners;
        any = true;
    }
    return found;
}

void growth_series_add(struct growth_series *sum, const struct growth_series *series)
{
    const struct growth_series before = *sum;
    uint32_t first, until, span;
    unsigned count;

    if (series->count == 0)
        return;
    if (before.count == 0) {
        *sum = *series;
        return;
    }
    sum->now += series->now;
    first = before.points[0].from;
    until = before.points[before.count - 1].to;
    if ((int32_t)(series->points[0].from - first) < 0)
        first = series->points[0].from;
    if ((int32_t)(series->points[series->count - 1].to - until) > 0)
        until = series->points[series->count - 1].to;
    span = until - first;
    count = span < LEDGER_GROWTH_INTERVALS ? span : LEDGER_GROWTH_INTERVALS;
    sum->count = 0;
    for (unsigned i = 0; i < count; i++) {
        uint32_t from = first + (uint32_t)((uint64_t)span * i / count);
        uint32_t to = first + (uint32_t)((uint64_t)span * (i + 1) / count);
        struct growth_point one = look_up(&before, from, to), two = look_up(series, from, to);

        one.low += two.low;
        if (two.owners > one.owners)
            one.owners = two.owners;
        sum->points[sum->count++] = one;
    }
}

void growth_series_cut(struct growth_series *series)
{
    unsigned count = 0;

    while (count < series->count && series->points[count].low < series->now)
        count++;
    if (count == series->count)
        return;
    series->now = series->points[count].low;
    series->count = count;
}

/* Whether there is more of it though no more sandboxes live: what goes up and down with their
 * number is no leak. Two marks far apart, the later with no more sandboxes than the earlier, and
 * between them as much of the climb as that time should have. What was the fewest of an interval
 * mostly was so at its beginning, when as many sandboxes may have lived as ever in the interval
 * before, or in it. */
static bool climbs_by_itself(const struct growth_series *series, double rate)
{
    const struct growth_point *points = series->points;
    unsigned last = series->count; /* what is held now, after the last interval */
    double span = points[last - 1].to - points[0].from;

    for (unsigned i = 0; i < last; i++) {
        for (unsigned j = i + 1; j <= last; j++) {
            double epochs = (j < last ? points[j].from : points[last - 1].to) - points[i].from;
            double more = (j < last ? points[j].low : series->now) - points[i].low;
            double before = points[i ? i - 1 : 0].owners, after = points[j - 1].owners;

            if (j < last && points[j].owners > after)
                after = points[j].owners;
            if (epochs >= SPAN_MIN * span && after <= before &&
                more >= OWN_CLIMB_MIN * rate * epochs)
                return true;
        }
    }
    return false;
}

/* What was there for good at the beginning of each interval, and at the end of the last: the
 * low-water mark of what climbs is where its interval begins. */
struct line {
    unsigned count;
    double epochs[LEDGER_GROWTH_INTERVALS + 1];
    double kept[LEDGER_GROWTH_INTERVALS + 1];
    double drop; /* the most that was given back in between */
    double owners_first;
};

static void draw(struct line *line, const struct growth_series *series)
{
    const struct growth_point *points = series->points;
    double highest = 0;

    *line = (struct line){.count = series->count + 1, .owners_first = points[0].owners};
    for (unsigned i = 0; i < line->count; i++) {
        bool now = i == series->count;

        line->epochs[i] = (double)((now ? points[i - 1].to : points[i].from) - points[0].from);
        line->kept[i] = now ? series->now : points[i].low;
        if (i == 0 || line->kept[i] > highest)
            highest = line->kept[i];
        if (highest - line->kept[i] > line->drop)
            line->drop = highest - line->kept[i];
    }
    for (unsigned i = series->count; i-- > 0;)
        if (line->kept[i + 1] < line->kept[i])
            line->kept[i] = line->kept[i + 1];
}

static double at(const struct line *line, double epochs)
{
    for (unsigned i = 1; i < line->count; i++) {
        double before = line->epochs[i - 1], after = line->epochs[i];

        if (epochs <= after)
            return line->kept[i - 1] +
                   (line->kept[i] - line->kept[i - 1]) * (epochs - before) / (after - before);
    }
    return line->kept[line->count - 1];
}

/* The most sandboxes that lived when it stopped, or since: what it stopped in is noted by the last
 * change, which is when most of them lived; the ends after it are noted as the last one found it.
 */
static double owners_since(const struct growth_series *series, unsigned stopped)
{
    double owners = 0;

    for (unsigned i = stopped ? stopped - 1 : 0; i < series->count; i++)
        if (series->points[i].owners > owners)
            owners = series->points[i].owners;
    return owners;
}

static bool is_steady(const struct line *line, const struct growth_series *series, double climb)
{
    unsigned last = line->count - 1, stopped = last;
    double span = line->epochs[last], expected = climb / 4;

    while (stopped > 0 && line->kept[stopped - 1] >= line->kept[last])
        stopped--;
    if (span - line->epochs[stopped] >
            1 + owners_since(series, stopped) + PAUSE_MAX * span / climb ||
        line->kept[last] - at(line, span / 2) < HALF_MIN * (climb - line->owners_first))
        return false;
    for (unsigned quarter = 0; quarter < 4; quarter++) {
        double part = at(line, span * (quarter + 1) / 4) - at(line, span * quarter / 4);
        double missing = QUARTER_MIN_SURE * expected - part;

        if (part < QUARTER_MIN * expected ||
            (missing > 0 && missing * missing > DEVIATIONS * DEVIATIONS * expected))
            return false;
    }
    return true;
}

static bool climbs(const struct growth_series *series, struct growth *growth)
{
    struct line line;

    draw(&line, series);
    growth->climb = line.kept[line.count - 1] - line.kept[0];
    /* The first mark is of the end of its epoch. */
    growth->rate = growth->climb / (line.epochs[line.count - 1] - 1);
    return growth->climb >= CLIMB_MIN &&
           line.drop <= (series->count < FEW ? DROP_MAX_OF_FEW : DROP_MAX) * growth->climb &&
           growth->rate >= (growth->climb < MUCH ? RATE_MIN : RATE_MIN_OF_MUCH) &&
           is_steady(&line, series, growth->climb);
}

bool growth_judge(const struct growth_series *series, struct growth *growth)
{
    unsigned count = series->count;

    *growth = (struct growth){0};
    return count >= 2 && series->points[count - 1].to - series->points[0].from >= EPOCHS_MIN &&
           climbs(series, growth) && climbs_by_itself(series, growth->rate);
}
