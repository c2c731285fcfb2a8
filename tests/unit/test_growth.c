/*
 * test_growth.c: what grows with the number of ended sandboxes is found, and what only fills up,
 * fluctuates, is swept, or follows the number of living sandboxes is not.
 *
 * Supervisors are played here, one end of a sandbox after the other, and noted as the shim notes
 * them. Seeds are fixed; BOXLEDGER_SEED=N plays others. The shapes that must not be reported have
 * shown that they are none: a pool that has just been filled looks like any leak.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "report/growth.h"

#define QUIET_SERIES 10000u /* of all shapes together */
#define LEAKS_EACH 100u

/* One stack, over the ends of sandboxes. */
struct play {
    uint64_t random;
    struct ledger_growth growth;
    uint32_t epoch, first_epoch;
    uint32_t held, owners;
    bool seen;
};

static uint32_t random_word(struct play *play)
{
    play->random ^= play->random << 13;
    play->random ^= play->random >> 7;
    play->random ^= play->random << 17;
    return (uint32_t)(play->random >> 32);
}

/* 0 to below 1. */
static double part(struct play *play)
{
    return random_word(play) / 4294967296.0;
}

static uint32_t below(struct play *play, uint32_t limit)
{
    return limit ? random_word(play) % limit : 0;
}

/* Small numbers are as frequent as large ones. */
static uint32_t between(struct play *play, double low, double high)
{
    return (uint32_t)(low * pow(high / low, part(play)));
}

static void play_begin(struct play *play, uint64_t seed)
{
    *play = (struct play){.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1};
    for (unsigned i = 0; i < 8; i++)
        (void)random_word(play);
    play->epoch = play->first_epoch = random_word(play); /* it may wrap */
}

/* A sandbox ends while so many are held, and so many sandboxes live. As in the shim, a stack is
 * looked at when its count changes: until then it was what it had been. */
static void ends(struct play *play, double held, uint32_t owners)
{
    uint32_t count = held > 0 ? (uint32_t)held : 0;

    if (play->seen && (count != play->held || owners > play->owners))
        growth_note(&play->growth, play->epoch, play->held, play->owners);
    if (!play->seen && count) {
        play->seen = true;
        play->growth.stride = 1;
        play->growth.first = play->growth.noted = play->epoch;
    }
    play->held = count;
    play->owners = owners;
    play->epoch++;
}

static void play_series(const struct play *play, struct growth_series *series)
{
    struct ledger_growth growth = play->growth;

    growth_note(&growth, play->epoch, play->held, play->owners);
    growth_series(series, &growth, play->epoch, play->held);
}

static bool judge(const struct play *play, struct growth *growth)
{
    struct growth_series series;

    play_series(play, &series);
    return growth_judge(&series, growth);
}

static void describe(const struct play *play, char *text, size_t size)
{
    struct growth_series series;
    int used;

    play_series(play, &series);
    used = snprintf(text, size, "%u ends:", play->epoch - play->first_epoch);
    for (unsigned i = 0; i < series.count && used > 0 && (size_t)used < size; i++)
        used += snprintf(text + used, size - (size_t)used, " %.0f/%.0f", series.points[i].low,
                         series.points[i].owners);
}

/* --- shapes that must not be reported ----------------------------------------------------------
 */

/* Fills at a steady rate, by chance or not, and stays full for half as long as that took. */
static void a_cache_that_fills_and_stays(struct play *play)
{
    uint32_t size = between(play, 1, 2000), owners = 1 + below(play, 4), full = 0;
    double rate = 0.2 + 5 * part(play), held = 0;
    bool by_chance = below(play, 2);

    for (uint32_t i = 0; full == 0 || i < full + full / 2 + 8; i++) {
        if (by_chance)
            for (double tries = rate; tries > 0 && held < size; tries -= 1)
                held += part(play) < tries;
        else
            held = fmin(size, (i + 1) * rate);
        if (held >= size && full == 0)
            full = i + 1;
        ends(play, held, owners);
    }
}

/* Each sandbox looks some keys up; what is not there yet is kept. */
static void a_cache_of_keys(struct play *play)
{
    uint32_t size = between(play, 2, 2000), each = 1 + below(play, 4), held = 0;
    uint32_t count = (uint32_t)(size * (4 + 5 * part(play)) / each) + 8;
    char *kept = calloc(size, 1);

    assert_non_null(kept);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < each; j++) {
            uint32_t key = below(play, size);

            held += !kept[key];
            kept[key] = 1;
        }
        ends(play, held, 1);
    }
    free(kept);
}

/* Its use goes up and down around a mean, over a time that is short against the whole. */
static void a_pool(struct play *play)
{
    uint32_t size = between(play, 1, 500), count = between(play, 16, 5000);
    double mean = size * part(play), now = mean, memory = 1 - 1 / (1 + count / 40.0 * part(play));
    double spread = size * 0.3 * part(play);

    for (uint32_t i = 0; i < count; i++) {
        now = mean + memory * (now - mean) +
              spread * sqrt(1 - memory * memory) * 2 * (part(play) + part(play) + part(play) - 1.5);
        ends(play, fmin(size, now), 1 + below(play, 8));
    }
}

/* One more or one less at each end, for long enough to have been everywhere. */
static void a_pool_that_wanders(struct play *play)
{
    int size = (int)between(play, 1, 60), held = size / 2;
    uint32_t count = 16 + 2 * (uint32_t)(size * size) + between(play, 1, 1000);

    for (uint32_t i = 0; i < count; i++) {
        held += (int)below(play, 3) - 1;
        held = held < 0 ? 0 : held > size ? size : held;
        ends(play, held, 1);
    }
}

static void a_heap_that_is_swept(struct play *play)
{
    uint32_t period = between(play, 2, 400), next = period;
    uint32_t count = period * (2 + below(play, 20)) + below(play, period) + 8;
    double rate = 0.2 + 7 * part(play), held = 0;

    for (uint32_t i = 0; i < count; i++) {
        held += rate;
        if (i >= next) {
            held = below(play, 4);
            next = i + period / 2 + below(play, period) + 1;
        }
        ends(play, held, 1);
    }
}

/* Ever more sandboxes live, and each has its own. */
static void a_fleet_that_is_made_larger(struct play *play)
{
    uint32_t count = between(play, 16, 5000), top = between(play, 4, 300), others = below(play, 50);
    double each = 0.5 + 3 * part(play);

    for (uint32_t i = 0; i < count; i++) {
        uint32_t owners = 1 + (uint32_t)((double)top * i / count);

        ends(play, each * owners + others, owners);
    }
}

static void a_log_file_a_day(struct play *play)
{
    uint32_t day = between(play, 50, 5000), days = 2 + below(play, 40);

    for (uint32_t i = 0; i < day * days; i++)
        ends(play, 1 + i / day, 1 + below(play, 3));
}

static void a_thread_pools_stacks(struct play *play)
{
    uint32_t size = 1 + below(play, 128), count = size * 3 + between(play, 8, 2000), held = 0;

    for (uint32_t i = 0; i < count; i++) {
        held += 1 + below(play, 2);
        held = held > size ? size : held;
        ends(play, held, 1 + below(play, 16));
    }
}

static void bursts(struct play *play)
{
    uint32_t count = between(play, 16, 3000), held = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (part(play) < 0.02)
            held += below(play, 30);
        else if (held && below(play, 2))
            held -= below(play, held + 1);
        ends(play, held, 1 + below(play, 4));
    }
}

/* The last so many results are kept. */
static void a_window_of_results(struct play *play)
{
    uint32_t size = between(play, 2, 500);
    uint32_t count = (uint32_t)(size * (1.6 + 3 * part(play))) + 8;

    for (uint32_t i = 0; i < count; i++)
        ends(play, i < size ? i + 1 : size - below(play, 2), 1);
}

static void what_becomes_less(struct play *play)
{
    uint32_t count = between(play, 16, 2000), begin = between(play, 1, 500);

    for (uint32_t i = 0; i < count; i++)
        ends(play, begin * (1 - (double)i / count) + 1, 1);
}

/* A load with its days and nights. */
static void sessions(struct play *play)
{
    uint32_t count = between(play, 16, 3000), held = 0;
    double load = 1 + 20 * part(play);

    for (uint32_t i = 0; i < count; i++) {
        double now = load * (1 + 0.8 * sin(6.28 * i / (count / 3.0 + 8)));
        uint32_t left = 0;

        for (uint32_t j = 0; j < held; j++)
            left += below(play, 2);
        for (unsigned j = 0; j < 40; j++)
            left += part(play) < now / 40;
        held = left;
        ends(play, held, held / 2 + 1);
    }
}

static const struct {
    const char *name;
    void (*play)(struct play *play);
} quiet[] = {
    {"a cache that fills and stays", a_cache_that_fills_and_stays},
    {"a cache of keys", a_cache_of_keys},
    {"a pool", a_pool},
    {"a pool that wanders", a_pool_that_wanders},
    {"a heap that is swept", a_heap_that_is_swept},
    {"a fleet that is made larger", a_fleet_that_is_made_larger},
    {"a log file a day", a_log_file_a_day},
    {"a thread pool's stacks", a_thread_pools_stacks},
    {"bursts", bursts},
    {"a window of results", a_window_of_results},
    {"what becomes less", what_becomes_less},
    {"sessions", sessions},
};
#define SHAPES (sizeof quiet / sizeof *quiet)

static uint64_t first_seed(void)
{
    const char *seed = getenv("BOXLEDGER_SEED");

    return seed ? strtoull(seed, NULL, 10) : 1;
}

static void what_does_not_grow_is_never_reported(void **state)
{
    unsigned false_ones = 0;

    (void)state;
    for (uint64_t i = 0; i < QUIET_SERIES; i++) {
        uint64_t seed = first_seed() * QUIET_SERIES + i;
        struct growth growth;
        struct play play;
        char text[256];

        play_begin(&play, seed);
        quiet[i % SHAPES].play(&play);
        if (!judge(&play, &growth))
            continue;
        describe(&play, text, sizeof text);
        print_message("seed %llu: %s: %s\n", (unsigned long long)seed, quiet[i % SHAPES].name,
                      text);
        false_ones++;
    }
    assert_int_equal(false_ones, 0);
}

/* --- leaks --------------------------------------------------------------------------------------
 */

struct leak {
    double rate;
    uint32_t ends;
    bool by_chance; /* each end leaks or not, with that rate in the mean */
    uint32_t base;  /* others that are held all the time */
    uint32_t noise; /* up to so many more, now and then */
    uint32_t lives; /* so many sandboxes at a time, the half of them at least; 1: always one */
};

static void leaks(struct play *play, const struct leak *leak)
{
    double held = leak->base, due = part(play);

    for (uint32_t i = 0; i < leak->ends; i++) {
        if (leak->by_chance)
            for (double tries = leak->rate; tries > 0; tries -= 1)
                held += part(play) < tries;
        else
            for (due += leak->rate; due >= 1; due -= 1)
                held++;
        ends(play, held + below(play, leak->noise + 1),
             leak->lives - below(play, leak->lives / 2 + 1));
    }
}

static void every_leak_is_found(void **state)
{
    static const struct leak kinds[] = {
        /* As soon as DESIGN says, where nothing blurs it. */
        {1, 9, false, 0, 0, 1},
        {1, 9, false, 100, 0, 1},
        {7, 9, false, 0, 0, 1},
        {0.2, 45, false, 0, 0, 1},
        {30, 9, false, 0, 0, 1},
        /* A little later with others beside it, and with many sandboxes at a time. */
        {0.2, 500, false, 40, 3, 16},
        {0.2, 500, true, 40, 3, 16},
        {1, 250, false, 60, 3, 16},
        {1, 250, true, 60, 3, 16},
        {7, 250, false, 60, 3, 16},
        {7, 250, true, 0, 3, 16},
        {0.1, 1000, true, 10, 2, 4},
        {0.02, 10000, true, 0, 0, 1},
        /* For long. */
        {0.2, 100000, true, 500, 20, 32},
        {1, 100000, false, 0, 10, 32},
    };

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (uint64_t j = 0; j < LEAKS_EACH; j++) {
            struct growth growth;
            struct play play;
            char text[256];

            play_begin(&play, first_seed() * QUIET_SERIES + j);
            leaks(&play, &kinds[i]);
            if (!judge(&play, &growth)) {
                describe(&play, text, sizeof text);
                fail_msg("not found: %g per sandbox, seed %llu: %s", kinds[i].rate,
                         (unsigned long long)j, text);
            }
            /* What is told of it is about right. */
            if (growth.rate < 0.6 * kinds[i].rate || growth.rate > 1.4 * kinds[i].rate)
                fail_msg("%g per sandbox is told as %g", kinds[i].rate, growth.rate);
        }
}

/* Each sandbox is two owners and leaks one thing when it begins; at the end of the process those
 * that live end without any more to begin. The last note that the shim makes of it says that none
 * lives. */
static void a_leak_is_found_though_the_last_sandboxes_all_end(void **state)
{
    (void)state;
    for (uint32_t lives = 1; lives <= 16; lives++)
        for (uint32_t sandboxes = 192; sandboxes < 192 + 64; sandboxes++) {
            struct growth growth;
            struct play play;
            char text[256];

            play_begin(&play, first_seed());
            for (uint32_t i = 1; i <= sandboxes; i++) {
                ends(&play, lives + i, 2 * lives);
                ends(&play, lives + i, 2 * lives - 1);
            }
            for (uint32_t i = 2 * lives; i > 0; i--)
                ends(&play, lives + sandboxes, i - 1);
            if (!judge(&play, &growth)) {
                describe(&play, text, sizeof text);
                fail_msg("not found: %u sandboxes at a time, %u in all: %s", lives, sandboxes,
                         text);
            }
        }
}

static void before_eight_ends_nothing_is_said(void **state)
{
    (void)state;
    for (uint32_t count = 0; count < 8; count++) {
        struct growth growth;
        struct play play;

        play_begin(&play, count);
        leaks(&play, &(struct leak){7, count, false, 0, 0, 1});
        assert_false(judge(&play, &growth));
    }
}

/* One more at every fourth end, from each of four stacks. */
static void stacks_of_one_code_are_added_up(void **state)
{
    struct growth_series sum = {0}, one;
    struct growth growth;
    struct play plays[4];

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        play_begin(&plays[i], 1);
        for (uint32_t j = 0; j < 24; j++)
            ends(&plays[i], (j + 4 - i) / 4, 1);
        play_series(&plays[i], &one);
        assert_false(growth_judge(&one, &growth));
        growth_series_add(&sum, &one);
    }
    assert_true(growth_judge(&sum, &growth));
    assert_true(growth.rate > 0.8 && growth.rate < 1.2);
    assert_int_equal(sum.now, 24);
}

/* At the limit, nothing climbs any more. */
static void what_has_come_to_a_limit_is_judged_up_to_it(void **state)
{
    struct growth_series series;
    struct growth growth;
    struct play play;

    (void)state;
    play_begin(&play, 1);
    for (uint32_t i = 0; i < 1000; i++)
        ends(&play, i < 500 ? i + 1 : 500, 1);
    play_series(&play, &series);
    assert_false(growth_judge(&series, &growth));
    growth_series_cut(&series);
    assert_true(growth_judge(&series, &growth));
    assert_true(growth.rate > 0.9 && growth.rate < 1.1);
}

/* What no shim wrote must neither crash nor hang, nor grow. */
static void nonsense_is_no_growth(void **state)
{
    struct growth_series series = {0}, sum = {0};
    struct growth growth;
    struct play play;

    (void)state;
    play_begin(&play, 1);
    for (unsigned i = 0; i < 100000; i++) {
        struct ledger_growth record;
        uint32_t *words = (uint32_t *)(void *)&record;

        for (size_t j = 0; j < sizeof record / sizeof *words; j++)
            words[j] = random_word(&play) >> below(&play, 33) % 32;
        growth_note(&record, random_word(&play), random_word(&play), 1);
        growth_series(&series, &record, random_word(&play), random_word(&play));
        (void)growth_judge(&series, &growth);
        if (i % 8 == 0)
            sum = (struct growth_series){0};
        growth_series_add(&sum, &series);
        (void)growth_judge(&sum, &growth);
        growth_series_cut(&sum);
        (void)growth_judge(&sum, &growth);
    }
    growth_series(&series, &(struct ledger_growth){0}, 100, 5);
    assert_int_equal(series.count, 0);
    assert_false(growth_judge(&series, &growth));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_grow_is_never_reported),
        cmocka_unit_test(every_leak_is_found),
        cmocka_unit_test(a_leak_is_found_though_the_last_sandboxes_all_end),
        cmocka_unit_test(before_eight_ends_nothing_is_said),
        cmocka_unit_test(stacks_of_one_code_are_added_up),
        cmocka_unit_test(what_has_come_to_a_limit_is_judged_up_to_it),
        cmocka_unit_test(nonsense_is_no_growth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
