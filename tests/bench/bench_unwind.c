/*
 * bench_unwind.c: what a capture costs, beside nothing else: the unwinder is linked in.
 *
 * Prints, as medians over rounds: ns for a stack of 14 frames that was seen before, also as one of
 * a thousand behind one call site; for a new one over known code; ns an address for code not seen
 * before; ns for the first capture after a dlclose anywhere.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ledger/format.h"
#include "ledger/ledger.h"
#include "preload/unwind.h"
#include "preload/unwind_memo.h"
#include "preload/unwind_modules.h"

#define NOINLINE __attribute__((noinline, noclone))
#define DEPTH 14
#define ROUNDS 201
#define CAPTURES 2000

extern char **environ;

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare_doubles);
    return values[count / 2];
}

enum { RECALL, RECALL_BEHIND_OTHERS, WALK, LEARN, NEW_CODE, AFTER_DLCLOSE, RESULTS };
/* process-global because there is one measurement at a time */
static double results[RESULTS][ROUNDS];
static unsigned depth_seen;
static uint32_t stacks; /* numbers given */

static unsigned capture(const struct unwind_start *start, uint32_t number)
{
    uint64_t frames[LEDGER_FRAMES_MAX];
    unsigned n;
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    struct unwind_draft draft = {.mark = &canary};

    n = unwind_capture(start, &draft, frames, LEDGER_FRAMES_MAX, false);
    __asm__ volatile("" ::"r"(frames) : "memory");
    unwind_remember(&draft, start, number);
    if (draft.flags & LEDGER_STACK_TRUNCATED)
        abort();
    return n;
}

/* One turn of the clock for all captures: what is around them is the same. */
#define TIMED(result, round, turns, what)                                                          \
    do {                                                                                           \
        uint64_t begun = now_ns();                                                                 \
                                                                                                   \
        for (unsigned turn = 0; turn < (turns); turn++)                                            \
            what;                                                                                  \
        results[result][round] = (double)(now_ns() - begun) / (turns);                             \
    } while (0)

static __attribute__((noinline, noclone, optimize("no-omit-frame-pointer"))) void measure(void)
{
    struct unwind_start start = {(uintptr_t)__builtin_return_address(0),
                                 (uintptr_t)__builtin_dwarf_cfa(),
                                 *(uintptr_t *)__builtin_frame_address(0)};

    depth_seen = capture(&start, 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        TIMED(WALK, round, CAPTURES, (void)capture(&start, 0));
        (void)capture(&start, ++stacks);
        TIMED(RECALL, round, CAPTURES, {
            if (unwind_recall(&start) != stacks)
                abort();
        });
        unwind_layouts_drop();
        TIMED(NEW_CODE, round, 1, (void)capture(&start, 0));
        results[NEW_CODE][round] /= depth_seen;
        __atomic_store_n(&unwind_modules_stale_word, 1, __ATOMIC_SEQ_CST);
        TIMED(AFTER_DLCLOSE, round, 1, (void)capture(&start, 0));
    }
}

/* A thousand ways to one call site: ten levels of two functions each. */
#define WAYS 1024
static NOINLINE __attribute__((optimize("no-omit-frame-pointer"))) void one_of_many(unsigned way)
{
    struct unwind_start start = {(uintptr_t)__builtin_return_address(0),
                                 (uintptr_t)__builtin_dwarf_cfa(),
                                 *(uintptr_t *)__builtin_frame_address(0)};
    /* process-global because there is one measurement at a time */
    static uint32_t known[WAYS];
    static uint64_t spent;

    uint64_t begun = now_ns();

    if (known[way] == 0) {
        (void)capture(&start, known[way] = ++stacks);
        results[LEARN][way % ROUNDS] = (double)(now_ns() - begun);
        return;
    }

    if (unwind_recall(&start) != known[way])
        abort();
    spent += now_ns() - begun;
    if (way == WAYS - 1) {
        /* process-global because there is one measurement at a time */
        static unsigned round;

        results[RECALL_BEHIND_OTHERS][round++ % ROUNDS] = (double)spent / WAYS;
        spent = 0;
    }
}

typedef void way_fn(unsigned way, unsigned levels);
static way_fn way_left, way_right;
/* process-global: keeps the compiler from seeing through the recursion */
static way_fn *volatile ways[2] = {way_left, way_right};

static NOINLINE void way_left(unsigned way, unsigned levels)
{
    if (levels == 0)
        one_of_many(way);
    else
        ways[way >> (levels - 1) & 1](way, levels - 1);
    __asm__ volatile("" ::: "memory");
}

static NOINLINE void way_right(unsigned way, unsigned levels)
{
    if (levels == 0)
        way_left(way, 0);
    else
        ways[way >> (levels - 1) & 1](way, levels - 1);
    __asm__ volatile("nop" ::: "memory");
}

static NOINLINE void on_alloca(volatile int depth)
{
    volatile char *space = __builtin_alloca((size_t)depth * 16 + 16);

    space[0] = 1;
    measure();
    __asm__ volatile("" ::: "memory");
}

#define LEVEL(n, next)                                                                             \
    static NOINLINE void level_##n(volatile int depth)                                             \
    {                                                                                              \
        volatile char space[n * 8];                                                                \
                                                                                                   \
        space[0] = (char)depth;                                                                    \
        next(depth);                                                                               \
        (void)space[0];                                                                            \
        __asm__ volatile("" ::: "memory");                                                         \
    }
LEVEL(1, on_alloca)
LEVEL(2, level_1)
LEVEL(3, level_2)
LEVEL(4, level_3)
LEVEL(5, level_4)
LEVEL(6, level_5)
LEVEL(7, level_6)
LEVEL(8, level_7)
LEVEL(9, level_8)

int main(void)
{
    unwind_init((uintptr_t)environ);
    level_9(DEPTH);
    unwind_memo_drop();
    for (unsigned round = 0; round <= ROUNDS; round++)
        for (unsigned way = 0; way < WAYS; way++)
            way_left(way, 10);
    uint64_t begun = now_ns();
    for (unsigned i = 0; i < CAPTURES; i++)
        (void)now_ns();
    double clock = (double)(now_ns() - begun) / CAPTURES;

    printf("a stack of %u frames seen before: %.1f ns\n", depth_seen,
           median(results[RECALL], ROUNDS));
    printf("the same, one of %u behind one call site: %.1f ns\n", WAYS,
           median(results[RECALL_BEHIND_OTHERS], ROUNDS) - clock);
    printf("a walk over known code: %.0f ns\n", median(results[WALK], ROUNDS));
    printf("a new stack over known code: %.0f ns\n", median(results[LEARN], ROUNDS) - clock);
    printf("new code: %.0f ns an address\n", median(results[NEW_CODE], ROUNDS));
    printf("the first capture after a dlclose: %.1f us\n",
           median(results[AFTER_DLCLOSE], ROUNDS) / 1000);
    return 0;
}
