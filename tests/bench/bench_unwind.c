/*
 * bench_unwind.c: what a capture costs, beside nothing else: the unwinder is linked in.
 *
 * Prints, as medians over rounds: ns for a stack of 14 frames of known code, ns an address for
 * code not seen before, ns for the first capture after a dlclose anywhere.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ledger/format.h"
#include "preload/unwind.h"
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

/* process-global because there is one measurement at a time */
static double results[3][ROUNDS];
static unsigned depth_seen;

static unsigned capture(const struct unwind_start *start)
{
    uint64_t frames[LEDGER_FRAMES_MAX];
    unsigned flags, n;
    uint32_t generation;

    n = unwind_capture(start, frames, LEDGER_FRAMES_MAX, &flags, &generation, false);
    __asm__ volatile("" ::"r"(frames) : "memory");
    if (flags & LEDGER_STACK_TRUNCATED)
        abort();
    return n;
}

static __attribute__((noinline, noclone, optimize("no-omit-frame-pointer"))) void measure(void)
{
    struct unwind_start start = {(uintptr_t)__builtin_return_address(0),
                                 (uintptr_t)__builtin_dwarf_cfa(),
                                 *(uintptr_t *)__builtin_frame_address(0)};
    uint64_t begun;

    depth_seen = capture(&start);
    for (unsigned round = 0; round < ROUNDS; round++) {
        begun = now_ns();
        for (unsigned i = 0; i < CAPTURES; i++)
            (void)capture(&start);
        results[0][round] = (double)(now_ns() - begun) / CAPTURES;
        unwind_layouts_drop();
        begun = now_ns();
        (void)capture(&start);
        results[1][round] = (double)(now_ns() - begun) / depth_seen;
        __atomic_store_n(&unwind_modules_stale_word, 1, __ATOMIC_SEQ_CST);
        begun = now_ns();
        (void)capture(&start);
        results[2][round] = (double)(now_ns() - begun);
    }
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
    printf("a stack of %u frames of known code: %.0f ns\n", depth_seen, median(results[0], ROUNDS));
    printf("new code: %.0f ns an address\n", median(results[1], ROUNDS));
    printf("the first capture after a dlclose: %.1f us\n", median(results[2], ROUNDS) / 1000);
    return 0;
}
