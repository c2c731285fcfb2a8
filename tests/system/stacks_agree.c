/*
 * stacks_agree.c: the stacks in the ledger of a running program are those that libunwind sees at
 * the same points: compiled frames of all kinds, threads, handlers, epilogues, coroutines, code
 * without CFI.
 *
 * tests/system/unwind_oracle.c compares the unwinder more thoroughly, on its own; this is about
 * what reaches the ledger through the wrappers.
 */
#define UNW_LOCAL_ONLY
#include <libunwind.h>

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "system.h"

#define NOINLINE __attribute__((noinline, noclone))
#define KEEP_FRAME __asm__ volatile("" ::: "memory")

static _Atomic unsigned taken, cut;
static bool must_be_cut;

/* The oracle's frames from the one with this return address outwards. */
static NOINLINE unsigned oracle_take(uintptr_t from, uint64_t *frames)
{
    unw_context_t context;
    unw_cursor_t cursor;
    unw_word_t ip;
    unsigned count = 0;

    unw_getcontext(&context);
    unw_init_local(&cursor, &context);
    do {
        unw_get_reg(&cursor, UNW_REG_IP, &ip);
        if (ip != 0 && (count > 0 || ip == from))
            frames[count++] = ip | (unw_is_signal_frame(&cursor) > 0 ? LEDGER_FRAME_EXACT : 0);
    } while (count < LEDGER_FRAMES_MAX && unw_step(&cursor) > 0);
    return count;
}

/* Says where a stack ended that should not have. */
static void tell_cut(const struct ledger_view *view, const struct ledger_stack *stack)
{
    uint64_t pc = *(const uint64_t *)ledger_view_record(view, LEDGER_FRAMES,
                                                        stack->first_frame + stack->frames - 1);
    uintptr_t address = (uintptr_t)(pc & ~LEDGER_FRAME_EXACT);
    Dl_info code = {.dli_fname = "no module"};

    (void)dladdr((void *)address, &code);
    check(false, "a stack is truncated after %u frames, at %s+%#lx%s", stack->frames,
          code.dli_fname, address - (uintptr_t)code.dli_fbase,
          pc & LEDGER_FRAME_EXACT ? ", interrupted" : "");
}

static void compare(const struct ledger_view *view, int fd, uintptr_t within,
                    const uint64_t *oracle, unsigned count)
{
    const struct ledger_fd *record = ledger_view_fd(view, (unsigned)fd);
    const struct ledger_stack *stack =
        record ? ledger_view_record(view, LEDGER_STACKS, record->stack) : NULL;
    bool truncated, full;

    if (!check(stack != NULL && record->stack != 0, "descriptor %d has no stack", fd))
        return;
    truncated = stack->flags & LEDGER_STACK_TRUNCATED;
    full = stack->flags & LEDGER_STACK_FULL;
    cut += truncated;
    check(truncated || !must_be_cut, "a stack of %u frames is not truncated", stack->frames);
    if (truncated && !must_be_cut)
        tell_cut(view, stack);
    for (unsigned i = 0; i < stack->frames; i++) {
        const uint64_t *frame = ledger_view_record(view, LEDGER_FRAMES, stack->first_frame + i);

        if (i == 0)
            check(*frame > within && *frame < within + 512, "frame 0 is %#lx", *frame);
        else if (!check(i <= count && *frame == oracle[i - 1], "frame %u is %#lx, not %#lx", i,
                        *frame, i <= count ? oracle[i - 1] : 0))
            return;
    }
    if (!truncated && !full)
        check(stack->frames == count + 1, "%u frames, not %u", stack->frames, count + 1);
}

static NOINLINE void take(void)
{
    uint64_t oracle[LEDGER_FRAMES_MAX];
    struct ledger_view view;
    unsigned count;
    int fd = dup(0);

    taken++;
    if (system_ledger && check(ledger_view_open(&view, system_ledger) == 0, "no ledger")) {
        count = oracle_take((uintptr_t)__builtin_return_address(0), oracle);
        compare(&view, fd, (uintptr_t)take, oracle, count);
        ledger_view_close(&view);
    }
    close(fd);
    KEEP_FRAME;
}

static NOINLINE void recurse(int depth, void (*then)(void))
{
    if (depth > 0)
        recurse(depth - 1, then);
    else
        then();
    KEEP_FRAME;
}

static NOINLINE void on_alloca(size_t bytes)
{
    volatile char *space = __builtin_alloca(bytes);

    space[0] = 1;
    take();
    space[bytes - 1] = 2;
    KEEP_FRAME;
}

typedef double vector __attribute__((vector_size(32)));

static NOINLINE __attribute__((target("avx"))) void on_realigned(size_t bytes)
{
    volatile vector v = {1, 2, 3, 4};
    volatile char *space = __builtin_alloca(bytes);

    space[0] = 1;
    (void)v;
    recurse(2, take);
    KEEP_FRAME;
    (void)v;
}

static void compiled_frames(void)
{
    take();
    for (size_t bytes = 16; bytes < 1000; bytes += 48) {
        on_alloca(bytes);
        on_realigned(bytes);
    }
    for (int depth = 50; depth < 80; depth++)
        recurse(depth, take);
}

static void *thread_main(void *arg)
{
    compiled_frames();
    return arg;
}

static void threads(void)
{
    pthread_t thread[3];

    for (unsigned i = 0; i < 3; i++)
        if (!check(pthread_create(&thread[i], NULL, thread_main, NULL) == 0, "no thread"))
            return;
    for (unsigned i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
}

static void on_signal(int number)
{
    (void)number;
    take();
}

static void signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct itimerval fast = {{0, 500}, {0, 500}}, off = {{0, 0}, {0, 0}};
    unsigned before;
    char text[128];

    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    sigaction(SIGALRM, &action, NULL);
    before = taken;
    setitimer(ITIMER_REAL, &fast, NULL);
    while (taken < before + 1000) {
        void *block = malloc(taken % 3000);

        snprintf(text, sizeof(text), "%f %u", taken * 1.5, taken);
        free(block);
    }
    setitimer(ITIMER_REAL, &off, NULL);
}

/* process-global because a coroutine's entry takes no pointer */
static ucontext_t back, coroutine;

static void coroutine_main(void)
{
    recurse(3, take);
    swapcontext(&coroutine, &back);
    on_realigned(256);
}

/* What makecontext leaves below the entry is no call's: the stack ends there, and says so. */
static void coroutines(void)
{
    size_t size = 256 << 10;

    coroutine.uc_stack.ss_sp = NULL;
    getcontext(&coroutine);
    coroutine.uc_stack.ss_sp =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    coroutine.uc_stack.ss_size = size;
    coroutine.uc_link = &back;
    makecontext(&coroutine, coroutine_main, 0);
    must_be_cut = true;
    swapcontext(&back, &coroutine);
    swapcontext(&back, &coroutine);
    must_be_cut = false;
    munmap(coroutine.uc_stack.ss_sp, size);
}

#if defined(__x86_64__)
/* What compilers make of an epilogue: after the pops, its CFI still says that the registers are
 * where they were saved. Interrupted twice after %rbp was popped from there. */
extern void interrupted_epilogue(void);
__asm__(".pushsection .text\n"
        ".type interrupted_epilogue, @function\n"
        "interrupted_epilogue:\n"
        ".cfi_startproc\n"
        "push %r12\n"
        ".cfi_def_cfa_offset 16\n"
        ".cfi_offset %r12, -16\n"
        "push %rbp\n"
        ".cfi_def_cfa_offset 24\n"
        ".cfi_offset %rbp, -24\n"
        "xor %ebp, %ebp\n"
        "pop %rbp\n"
        ".cfi_def_cfa_offset 16\n"
        "int3\n"
        "pop %r12\n"
        ".cfi_def_cfa_offset 8\n"
        "int3\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size interrupted_epilogue, . - interrupted_epilogue\n"
        ".popsection\n");

/* Its own frame is found by %rbp alone. */
static NOINLINE void on_alloca_epilogue(size_t bytes)
{
    volatile char *space = __builtin_alloca(bytes);

    space[0] = 1;
    interrupted_epilogue();
    space[bytes - 1] = 2;
    KEEP_FRAME;
}

static void epilogues(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    stack_t stack = {.ss_sp = malloc(1 << 18), .ss_size = 1 << 18}, none = {.ss_flags = SS_DISABLE};

    sigaction(SIGTRAP, &action, NULL);
    for (size_t bytes = 16; bytes <= PAGE; bytes += 16) /* over a page's start, too */
        on_alloca_epilogue(bytes);
    /* Of another stack than the handler's only the page of the stack pointer is sure to be there:
     * the frames lie clear of a page's start. */
    if (check(stack.ss_sp != NULL && sigaltstack(&stack, NULL) == 0, "no alternate stack")) {
        action.sa_flags = SA_ONSTACK;
        sigaction(SIGTRAP, &action, NULL);
        on_alloca_epilogue((uintptr_t)__builtin_frame_address(0) % PAGE < PAGE / 2 ? PAGE / 2 : 64);
        sigaltstack(&none, NULL);
    }
    free(stack.ss_sp);
}

/* sub $8, %rsp; mov $take, %rax; call *%rax; add $8, %rsp; ret */
static void code_without_cfi(void)
{
    uint8_t bytes[] = {0x48, 0x83, 0xec, 0x08, 0x48, 0xb8, 0,    0,    0,    0,   0,
                       0,    0,    0,    0xff, 0xd0, 0x48, 0x83, 0xc4, 0x08, 0xc3};
    void (*function)(void) = take;
    void *code =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (!check(code != MAP_FAILED, "no page for code"))
        return;
    memcpy(bytes + 6, &function, sizeof(function));
    memcpy(code, bytes, sizeof(bytes));
    must_be_cut = true;
    ((void (*)(void))code)();
    must_be_cut = false;
    munmap(code, PAGE);
}
#endif

int main(int argc, char **argv)
{
    system_start(argc, argv, 90);
    unw_set_caching_policy(unw_local_addr_space, UNW_CACHE_NONE);
    compiled_frames();
    threads();
    signals();
    coroutines();
#if defined(__x86_64__)
    epilogues();
    code_without_cfi();
#endif
    printf("%u stacks compared, %u of them truncated\n", taken, cut);
    check(!system_ledger || taken > 1200, "too few stacks to mean anything");
    expect_exact("at the end");
    return system_end();
}
