/*
 * unwind_oracle.c: the unwinder against libunwind's local mode, at the same point of the same
 * thread, over everything that is known to lead unwinders astray.
 *
 *   unwind_oracle DIRECTORY [CASE...]
 *
 * The directory holds plugin_a.so and plugin_b.so (unwind_oracle_plugin.S, twice), plugin_c.so, a
 * copy of the first, and, where there is a C++ compiler, throw.so (unwind_oracle_throw.cc).
 *
 * Every capture must equal the oracle's stack, frame by frame, flags and all. A case that says so
 * may be truncated: then the frames that are there must be the oracle's first. What the memo says
 * of the same call must equal it as well. Each case also says how many captures it must have
 * compared at least, and how many of the memo's, so that none passes by doing nothing.
 * UNWIND_ORACLE_BREAK=frame spoils one frame of each capture, =stale keeps what dlclose does from
 * the unwinder, BOXLEDGER_FAULT=NAME (faults.txt) breaks the memo: the run must fail then.
 *
 * Where libunwind goes on and we stop (coroutines' entries, code without CFI) it guesses by frame
 * pointers or by what happens to lie on the stack; those cases must be cut.
 */
#ifdef ORACLE_LIBGCC /* where there is no libunwind: other machines, by emulation */
#include <unwind.h>
#else
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#endif

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include "ledger/fault.h"
#include "ledger/format.h"
#include "ledger/ledger.h"
#include "preload/unwind.h"
#include "preload/unwind_modules.h"
#include "unwind_oracle.h"

extern char **environ;

#define NOINLINE __attribute__((noinline, noclone))
#define KEEP_FRAME                                                                                 \
    __asm__ volatile("" ::                                                                         \
                         : "memory") /* what follows a call, so it is none's tail                  \
                                      */

/* ---- Comparing --------------------------------------------------------------------------------
 */

enum demand {
    WHOLE,       /* equal, and whole where the oracle reaches the end */
    MAY_BE_CUT,  /* equal as far as it goes; LEDGER_STACK_TRUNCATED where it stops early */
    MUST_BE_CUT, /* as above, and it must stop early */
};

/* process-global because a case runs alone, whatever threads it makes */
static _Atomic enum demand demand;
static _Atomic long compared, recalled, cut, wrong, signals, full;
static const char *directory;
static bool may_call = true, skipped;
static bool spoil_frames, hide_closes;
/* process-global: fault.h */
char boxledger_fault[32];
unsigned boxledger_fault_count;

struct stack {
    uint64_t frame[LEDGER_FRAMES_MAX];
    unsigned count;
    unsigned flags;
};

static void print_stacks(const struct stack *ours, const struct stack *oracle)
{
    static _Atomic int printed; /* process-global because the output is shared; enough is enough */

    if (atomic_fetch_add(&printed, 1) >= 3)
        return;
    printf("  ours: %u frames, flags %#x; oracle: %u\n", ours->count, ours->flags, oracle->count);
    for (unsigned i = 0; i < ours->count || i < oracle->count; i++) {
        uint64_t pc = i < ours->count ? ours->frame[i] : oracle->frame[i];
        Dl_info info = {0};

        (void)dladdr((void *)(uintptr_t)(pc & ~LEDGER_FRAME_EXACT), &info);
        printf("  #%-2u %016lx %016lx  %s (%s)\n", i, i < ours->count ? ours->frame[i] : 0,
               i < oracle->count ? oracle->frame[i] : 0, info.dli_sname ? info.dli_sname : "?",
               info.dli_fname ? info.dli_fname : "?");
    }
}

static void oracle_add(struct stack *stack, uintptr_t from, uintptr_t ip, bool exact)
{
    if ((stack->count > 0 || ip == from) && ip != 0 && stack->count < LEDGER_FRAMES_MAX)
        stack->frame[stack->count++] = ip | (exact ? LEDGER_FRAME_EXACT : 0);
}

/* The oracle's stack from the frame with this pc outwards. */
#ifdef ORACLE_LIBGCC
struct oracle_walk {
    struct stack *stack;
    uintptr_t from;
};

static _Unwind_Reason_Code oracle_frame(struct _Unwind_Context *context, void *arg)
{
    struct oracle_walk *walk = arg;
    int exact = 0;
    uintptr_t ip = _Unwind_GetIPInfo(context, &exact);

    oracle_add(walk->stack, walk->from, ip, exact != 0);
    return _URC_NO_REASON;
}

static NOINLINE void oracle_take(uintptr_t from, struct stack *stack)
{
    struct oracle_walk walk = {stack, from};

    stack->count = 0;
    (void)_Unwind_Backtrace(oracle_frame, &walk);
}
#else
static NOINLINE void oracle_take(uintptr_t from, struct stack *stack)
{
    unw_context_t context;
    unw_cursor_t cursor;
    unw_word_t ip;

    stack->count = 0;
    unw_getcontext(&context);
    unw_init_local(&cursor, &context);
    do {
        unw_get_reg(&cursor, UNW_REG_IP, &ip);
        oracle_add(stack, from, ip, unw_is_signal_frame(&cursor) > 0);
    } while (stack->count < LEDGER_FRAMES_MAX && unw_step(&cursor) > 0);
}
#endif

static void compare(const struct stack *ours, const struct stack *oracle)
{
    bool truncated = ours->flags & LEDGER_STACK_TRUNCATED;
    enum demand wanted = demand;
    bool same = ours->count <= oracle->count &&
                memcmp(ours->frame, oracle->frame, ours->count * sizeof(*ours->frame)) == 0 &&
                (truncated || ours->count == oracle->count);

    if ((truncated && wanted == WHOLE) || (!truncated && wanted == MUST_BE_CUT))
        same = false;
    compared++;
    cut += truncated;
    signals += (ours->flags & LEDGER_STACK_SIGNAL) != 0;
    full += (ours->flags & LEDGER_STACK_FULL) != 0;
    if (!same) {
        wrong++;
        print_stacks(ours, oracle);
    }
}

static void spoil(struct stack *stack)
{
    if (spoil_frames && stack->count > 1)
        stack->frame[stack->count / 2]++;
}

/* The wrapper's part: where it was called from. Inlined, so that the frame is the taker's. */
static inline __attribute__((always_inline)) void start_here(struct unwind_start *start)
{
    start->pc = (uintptr_t)__builtin_return_address(0);
    start->sp = (uintptr_t)__builtin_dwarf_cfa();
    start->bp = *(uintptr_t *)__builtin_frame_address(0);
}

/* What the memo's numbers stand for: a number is where count, flags and frames begin. */
#define KEPT_WORDS (UINT64_C(1) << 25)
static uint64_t *kept; /* process-global because the memo is */
static _Atomic uint64_t kept_used = 1;
static uint64_t kept_before_load; /* process-global: what is kept below is of other code */

/* 0: no room. */
static uint32_t keep(const struct stack *stack)
{
    uint64_t number = atomic_fetch_add(&kept_used, stack->count + 1);

    if (number + stack->count >= KEPT_WORDS)
        return 0;
    kept[number] = (uint64_t)stack->flags << 32 | stack->count;
    memcpy(&kept[number + 1], stack->frame, stack->count * sizeof(*stack->frame));
    return (uint32_t)number;
}

static void kept_read(uint32_t number, struct stack *stack)
{
    stack->count = (unsigned)kept[number];
    stack->flags = (unsigned)(kept[number] >> 32);
    memcpy(stack->frame, &kept[number + 1], stack->count * sizeof(*stack->frame));
}

static void walk(const struct unwind_start *start, struct stack *stack, bool known, bool call)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    struct unwind_draft draft = {.mark = &canary};

    stack->count = unwind_capture(start, &draft, stack->frame, LEDGER_FRAMES_MAX, call);
    stack->flags = draft.flags;
    unwind_remember(&draft, start, known || !draft.next ? 0 : keep(stack));
}

__attribute__((noinline, optimize("no-omit-frame-pointer"))) void take(void)
{
    struct unwind_start start;
    struct stack ours, oracle;
    uint32_t number;

    start_here(&start);
    number = unwind_recall(&start);
    walk(&start, &ours, number != 0, may_call);
    spoil(&ours);
    oracle_take(start.pc, &oracle);
    compare(&ours, &oracle);
    if (number) {
        recalled++;
        wrong += number < kept_before_load;
        kept_read(number, &ours);
        compare(&ours, &oracle);
    }
    KEEP_FRAME;
}

/* ---- Frames of all kinds ----------------------------------------------------------------------
 */

static NOINLINE void on_alloca(size_t bytes)
{
    volatile char *space = __builtin_alloca(bytes);

    space[0] = 1;
    take();
    space[bytes - 1] = 2;
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

static void take_deeper(void)
{
    recurse(2, take);
    KEEP_FRAME;
}

#if defined(__x86_64__)
#define AVX __attribute__((target("avx")))
#else
#define AVX
#endif
typedef double vector __attribute__((vector_size(32)));

static NOINLINE AVX void on_realigned(size_t bytes)
{
    volatile vector v = {1, 2, 3, 4};
    volatile char *space = __builtin_alloca(bytes);

    space[0] = 1;
    (void)v;
    recurse(2, take);
    KEEP_FRAME;
    (void)v;
}

static NOINLINE void on_big_frame(void)
{
    volatile char space[200000]; /* more than a remembered layout holds */

    space[0] = space[sizeof(space) - 1] = 1;
    recurse(1, take);
    KEEP_FRAME;
}

static void case_plain(void)
{
    take();
    recurse(5, take);
    for (size_t bytes = 16; bytes < 4096; bytes += 48)
        on_alloca(bytes);
    for (size_t bytes = 16; bytes < 1024; bytes += 40)
        on_realigned(bytes);
    on_big_frame();
}

static void case_deep(void)
{
    for (int depth = 40; depth < 140; depth += 3)
        recurse(depth, take);
}

static const char *in_directory(const char *name)
{
    static char path[4096]; /* process-global because one path is in use at a time */

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static void case_exceptions(void)
{
    void *library = dlopen(in_directory("throw.so"), RTLD_NOW);
    void (*throwing)(int) = NULL;

    if (library)
        *(void **)&throwing = dlsym(library, "throw_and_catch");
    if (!throwing) {
        printf("skip exceptions: %s\n", dlerror());
        skipped = true;
        return;
    }
    for (int depth = 0; depth < 8; depth++)
        throwing(depth);
    dlclose(library);
}

#if defined(__x86_64__)
static void case_hand_made(void)
{
    frame_tail_call(take);
    frame_on_stack_slot(take);
    recurse(0, take);
}

static void on_rbx(void)
{
    frame_on_rbx(take);
    KEEP_FRAME;
}

static void case_other_registers(void)
{
    for (int i = 0; i < 3; i++) {
        frame_on_rbx(take);
        frame_on_r12(take);
        frame_on_r12(on_rbx);
        recurse(3, on_rbx);
    }
}

static void case_other_registers_filtered(void)
{
    may_call = false;
    case_other_registers();
    may_call = true;
}

static void case_wrong_cfi(void)
{
    frame_mistold(take);
    frame_mistold(take);
}
#endif

static int compare_ints(const void *a, const void *b)
{
    static _Atomic unsigned calls; /* process-global because qsort hands nothing through */

    if (atomic_fetch_add(&calls, 1) % 32 == 0)
        take();
    return *(const int *)a - *(const int *)b;
}

static void case_callbacks(void)
{
    int numbers[512];

    for (unsigned i = 0; i < 512; i++)
        numbers[i] = (int)(i * 7919 % 512);
    qsort(numbers, 512, sizeof(*numbers), compare_ints);
}

static void *threads_main(void *arg)
{
    for (int i = 0; i < 50; i++) {
        on_realigned(64 + (size_t)i * 8);
        on_alloca(100 + (size_t)i * 100);
        case_callbacks();
    }
    return arg;
}

static void case_threads(void)
{
    pthread_t thread[4];
    pthread_attr_t attr;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 256 << 10);
    for (unsigned i = 0; i < 4; i++)
        if (pthread_create(&thread[i], i & 1 ? &attr : NULL, threads_main, NULL) != 0)
            abort();
    for (unsigned i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    pthread_attr_destroy(&attr);
}

/* ---- Coroutines -------------------------------------------------------------------------------
 */

/* process-global because a coroutine's entry takes no pointer */
static ucontext_t back, coroutine;

static void coroutine_main(void)
{
    recurse(3, take);
    swapcontext(&coroutine, &back);
    on_realigned(256);
    swapcontext(&coroutine, &back);
    recurse(30, take);
}

/* A stack that ends where nothing is mapped, in between pages where nothing is mapped. */
static char *bare_stack(size_t bytes)
{
    char *all = mmap(NULL, bytes + 2 * 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (all == MAP_FAILED || mprotect(all + 65536, bytes, PROT_READ | PROT_WRITE) != 0)
        abort();
    return all + 65536;
}

static void run_coroutine(void)
{
    size_t bytes = 256 << 10;
    char *stack = bare_stack(bytes);

    getcontext(&coroutine);
    coroutine.uc_stack.ss_sp = stack;
    coroutine.uc_stack.ss_size = bytes;
    coroutine.uc_link = &back;
    makecontext(&coroutine, coroutine_main, 0);
    for (int i = 0; i < 3; i++)
        swapcontext(&back, &coroutine);
    munmap(stack - 65536, bytes + 2 * 65536);
}

static void *coroutine_thread(void *arg)
{
    run_coroutine();
    return arg;
}

static void in_thread(void *(*start)(void *))
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, start, NULL) != 0)
        abort();
    pthread_join(thread, NULL);
}

static void case_coroutines(void)
{
    run_coroutine();
    in_thread(coroutine_thread);
}

#if defined(__x86_64__)
static void bare_entry(void)
{
    recurse(2, take);
}

static void *bare_thread(void *arg)
{
    size_t bytes = 65536;
    char *stack = bare_stack(bytes);

    enter_on_bare_stack(stack + bytes, bare_entry);
    munmap(stack - 65536, bytes + 2 * 65536);
    return arg;
}

static void case_bare_stacks(void)
{
    bare_thread(NULL);
    in_thread(bare_thread);
}

/* ---- Code without CFI -------------------------------------------------------------------------
 */

/* sub $8, %rsp; mov $function, %rax; call *%rax; add $8, %rsp; ret */
static void run_jit(void (*function)(void))
{
    uint8_t *code =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    static const uint8_t before[] = {0x48, 0x83, 0xec, 0x08, 0x48, 0xb8};
    static const uint8_t after[] = {0xff, 0xd0, 0x48, 0x83, 0xc4, 0x08, 0xc3};
    uintptr_t target = (uintptr_t)function;

    if (code == MAP_FAILED)
        abort();
    memcpy(code, before, sizeof(before));
    memcpy(code + sizeof(before), &target, sizeof(target));
    memcpy(code + sizeof(before) + sizeof(target), after, sizeof(after));
    __builtin___clear_cache((char *)code, (char *)code + 4096);
    ((void (*)(void))code)();
    munmap(code, 4096);
}

static void case_jit(void)
{
    run_jit(take);
    run_jit(take_deeper);
}
#endif

/* ---- Captures where the oracle cannot follow ---------------------------------------------------
 *
 * process-global because a handler leaves it here */
static struct {
    struct stack stack;
    size_t used; /* bytes of the stack that the capture used */
} on_small;

#define PAINT UINT64_C(0xa5a5a5a5a5a5a5a5)
#define PAINTED 256 /* words */

static inline __attribute__((always_inline)) volatile uint64_t *stack_pointer(void)
{
    volatile uint64_t *sp;

#if defined(__x86_64__)
    __asm__ volatile("mov %%rsp, %0" : "=r"(sp));
#else
    __asm__ volatile("mov %0, sp" : "=r"(sp));
#endif
    return sp;
}

static __attribute__((noinline, optimize("no-omit-frame-pointer"))) void take_small(void)
{
    struct unwind_start start;
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    struct unwind_draft draft = {.mark = &canary};
    volatile uint64_t *sp = stack_pointer();
    ptrdiff_t word;

    start_here(&start);
    for (word = 1; word <= PAINTED; word++)
        sp[-word] = PAINT;
    on_small.stack.count =
        unwind_capture(&start, &draft, on_small.stack.frame, LEDGER_FRAMES_MAX, false);
    on_small.stack.flags = draft.flags;
    unwind_remember(&draft, &start, 0);
    for (word = PAINTED; word > 0 && sp[-word] == PAINT; word--) {
    }
    on_small.used = (size_t)word * sizeof(*sp);
}

/* ---- Code that goes ---------------------------------------------------------------------------
 */

static const char *const plugin_name[2] = {"plugin_a.so", "plugin_b.so"};

static void close_plugin(void *handle)
{
    if (!hide_closes)
        unwind_dlclose_begins();
    dlclose(handle);
    if (!hide_closes)
        unwind_dlclose_ended();
}

static void *open_plugin(const char *name, void (**call)(void (*)(void)))
{
    void *handle;

    if (!hide_closes)
        __atomic_store_n(&unwind_modules_stale_word, 1, __ATOMIC_SEQ_CST);
    handle = dlopen(in_directory(name), RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        printf("FAIL: %s\n", dlerror());
        exit(1);
    }
    *(void **)call = dlsym(handle, "plugin_call");
    return handle;
}

static void case_unloaded(void)
{
    uintptr_t at[2];
    unsigned same = 0;

    for (unsigned i = 0; i < 20; i++) {
        void (*call)(void (*)(void));
        void *handle = open_plugin(plugin_name[i % 2], &call);

        at[i % 2] = (uintptr_t)call;
        same += i > 0 && at[0] == at[1];
        call(take);
        call(take_deeper);
        close_plugin(handle);
    }
    if (same == 0) {
        printf("FAIL: the plugins never took each other's place\n");
        wrong++;
    }
}

/* process-global because threads look at it */
static _Atomic bool opened_enough;

static void *take_meanwhile(void *arg)
{
    while (!atomic_load(&opened_enough)) {
        on_alloca(128);
        case_callbacks();
    }
    return arg;
}

/* Code comes and goes under other threads' captures, which have none of it on their stacks. */
static void case_unloaded_meanwhile(void)
{
    pthread_t thread[2];

    opened_enough = false;
    for (unsigned i = 0; i < 2; i++)
        if (pthread_create(&thread[i], NULL, take_meanwhile, NULL) != 0)
            abort();
    for (unsigned i = 0; i < 300; i++) {
        void (*call)(void (*)(void));
        void *handle = open_plugin(plugin_name[i % 2], &call);

        call(take);
        close_plugin(handle);
    }
    opened_enough = true;
    for (unsigned i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
}

/* The oracle does not see other namespaces, but the stack must be the one that the same plugin
 * has in ours, from the same call; only the plugin lies elsewhere. */
static void case_namespaces(void)
{
    struct stack stack[2];
    volatile unsigned i; /* one call site for both */

    for (i = 0; i < 2; i++) {
        void *handle = i == 0 ? dlopen(in_directory(plugin_name[0]), RTLD_NOW)
                              : dlmopen(LM_ID_NEWLM, in_directory(plugin_name[0]), RTLD_NOW);
        void (*call)(void (*)(void));

        if (!handle) {
            printf("FAIL: %s\n", dlerror());
            exit(1);
        }
        *(void **)&call = dlsym(handle, "plugin_call");
        call(take_small);
        stack[i] = on_small.stack;
        stack[i].frame[0] -= (uintptr_t)call;
        close_plugin(handle);
    }
    spoil(&stack[0]);
    compare(&stack[1], &stack[0]);
}

/* ---- Signals ----------------------------------------------------------------------------------
 */

static void on_signal(int number)
{
    (void)number;
    take();
}

static void handle(int number, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

    sigaction(number, &action, NULL);
}

static void take_by_signal(void)
{
    raise(SIGUSR1);
    KEEP_FRAME;
}

static void case_signals(void)
{
    handle(SIGUSR1, on_signal, 0);
    recurse(3, take_by_signal);
    on_alloca(64);
}

static void work_a_little(void)
{
    char text[256];
    void *block[32];

    for (unsigned i = 0; i < 32; i++)
        block[i] = malloc(i * 100 + 1);
    snprintf(text, sizeof(text), "%s %f %d", "text", 1.5, (int)strtol("1234", NULL, 10));
    for (unsigned i = 0; i < 32; i++)
        free(block[i]);
    recurse(4, case_callbacks);
}

static void *storm_thread(void *arg)
{
    while (!atomic_load((_Atomic bool *)arg))
        work_a_little();
    return NULL;
}

static void case_timer(void)
{
    struct itimerval fast = {{0, 150}, {0, 150}}, off = {{0, 0}, {0, 0}};
    static _Atomic bool stop; /* process-global because a thread sees it after its maker's frame */
    pthread_t thread;
    long seconds = getenv("BOXLEDGER_LONG") ? 60 : 3;
    struct timespec now, end;

    handle(SIGALRM, on_signal, SA_RESTART);
    stop = false;
    if (pthread_create(&thread, NULL, storm_thread, (void *)&stop) != 0)
        abort();
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += seconds;
    setitimer(ITIMER_REAL, &fast, NULL);
    do {
        work_a_little();
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec < end.tv_sec);
    stop = true;
    pthread_join(thread, NULL);
    setitimer(ITIMER_REAL, &off, NULL);
}

#if defined(__x86_64__)
#define TRAP_FLAG 0x100

static void step_begin(void)
{
    __asm__ volatile("pushfq; orq %0, (%%rsp); popfq" ::"i"(TRAP_FLAG) : "cc", "memory");
}

static void step_end(void)
{
    __asm__ volatile("pushfq; andq %0, (%%rsp); popfq" ::"i"(~TRAP_FLAG) : "cc", "memory");
}

static NOINLINE void nothing(void)
{
    KEEP_FRAME;
}

static NOINLINE AVX void realigned_nothing(size_t bytes)
{
    volatile vector v = {1, 2, 3, 4};
    volatile char *space = __builtin_alloca(bytes);

    space[0] = 1;
    (void)v;
    recurse(1, nothing);
    KEEP_FRAME;
    (void)v;
}

/* Every instruction of compiled code, its prologues and epilogues, of PLT stubs and of the lazy
 * resolver behind them. */
static void case_every_instruction(void)
{
    char text[64];
    void *block;
    void (*call)(void (*)(void)) = NULL;
    void *plugin = open_plugin(plugin_name[0], &call);

    handle(SIGTRAP, on_signal, 0);
    step_begin();
    recurse(3, nothing);
    realigned_nothing(100);
    block = malloc(1000);
    free(block);
    snprintf(text, sizeof(text), "%d %s", 42, "text");
    (void)getppid(); /* called nowhere else: resolved here */
    frame_on_rbx(nothing);
    frame_on_stack_slot(nothing);
    call(nothing);
    step_end();
    close_plugin(plugin);
}
#endif

/* On 8 KiB the oracle has no room, so the unwinder alone runs there; what it took must be what it
 * took from the same place on a stack of the usual size. */
static void on_signal_small(int number)
{
    (void)number;
    take_small();
    KEEP_FRAME;
}

static NOINLINE void raise_here(void)
{
    raise(SIGUSR2);
    KEEP_FRAME;
}

static void case_alternate_stack(void)
{
    static char space[8192]; /* process-global because it is a stack */
    stack_t small = {.ss_sp = space, .ss_size = sizeof(space)}, none = {.ss_flags = SS_DISABLE};
    struct stack usual;
    volatile unsigned on; /* one call site for both */

    for (on = 0; on < 2; on++) {
        if (on) {
            sigaltstack(&small, NULL);
            unwind_note_altstack((uintptr_t)space, (uintptr_t)space + sizeof(space));
        }
        handle(SIGUSR2, on_signal_small, on ? SA_ONSTACK : 0);
        raise_here();
        if (!on)
            usual = on_small.stack;
    }
    spoil(&on_small.stack);
    compare(&on_small.stack, &usual);
    sigaltstack(&none, NULL);
    unwind_note_altstack(0, 0);
    handle(SIGUSR1, on_signal, SA_ONSTACK);
    raise(SIGUSR1); /* and here with the oracle */
}

/* The room that a capture takes on the program's stack: of code known, of code new, and the first
 * time after a dlclose, when modules are looked at again. */
static void case_room(void)
{
    static const size_t most[] = {816, 664, 320};
    size_t used[3];
    volatile int i; /* one call site for all */

    for (i = 0; i < 3; i++) {
        if (i == 0)
            __atomic_store_n(&unwind_modules_stale_word, 1, __ATOMIC_SEQ_CST);
        if (i == 1)
            unwind_layouts_drop();
        recurse(3, take_small);
        used[i] = on_small.used;
        wrong += used[i] > most[i] || (on_small.stack.flags & LEDGER_STACK_TRUNCATED);
        compared++;
    }
    printf("a capture takes %zu bytes of the stack, %zu over new code, %zu after a dlclose\n",
           used[2], used[1], used[0]);
}

/* ---- The memo ---------------------------------------------------------------------------------
 *
 * Calls that look alike: the same call site, the same return addresses in other places, other code
 * at the same addresses. What is remembered of one must not be found at the other. */

static long repetitions(long usual, long at_length)
{
    return getenv("BOXLEDGER_LONG") ? at_length : usual;
}

/* Ten levels of two functions each: a thousand stacks behind one call site. */
typedef void way_fn(unsigned way, unsigned levels);
static way_fn way_left, way_right;
/* process-global: keeps the compiler from seeing through the recursion */
static way_fn *volatile ways[2] = {way_left, way_right};

static NOINLINE void way_end(void)
{
    take();
    KEEP_FRAME;
}

static NOINLINE void way_left(unsigned way, unsigned levels)
{
    if (levels == 0)
        way_end();
    else
        ways[way >> (levels - 1) & 1](way, levels - 1);
    KEEP_FRAME;
}

/* With the frame pointer to find its frame by, and of another size each time. */
static NOINLINE void way_right(unsigned way, unsigned levels)
{
    volatile char *space = __builtin_alloca(16 + (way * 7919 % 64) * 16);

    space[0] = 1;
    if (levels == 0)
        way_end();
    else
        ways[way >> (levels - 1) & 1](way, levels - 1);
    KEEP_FRAME;
}

#define WAY_LEVELS 10

static void take_ways(unsigned levels, long times)
{
    for (long i = 0; i < times; i++)
        for (unsigned way = 0; way < 1u << levels; way++)
            way_left(way, levels);
}

static void case_one_call_site(void)
{
    take_ways(WAY_LEVELS, repetitions(4, 500));
}

/* More of them than there is room for. */
static void case_more_than_fit(void)
{
    take_ways(WAY_LEVELS + 3, 2);
}

/* What one caller left is the image of a stack: every word of it, as far as main. In the next
 * caller's frame it lies where that stack was, seen from the stack pointer. */
#define IMAGE_BYTES 4096
static char image[IMAGE_BYTES]; /* process-global because two callers share it */
static size_t image_used, image_place;
static uintptr_t image_end; /* process-global: beyond main's frame */
#define ABOVE_MAIN 1024     /* of libc's two frames above it, and more */

static __attribute__((noinline, noclone, optimize("no-omit-frame-pointer"))) void
on_image(size_t bytes, bool paste)
{
    volatile char *space = __builtin_alloca(bytes);
    uintptr_t caller = (uintptr_t)__builtin_frame_address(0) + sizeof(caller); /* return address */
    uintptr_t sp = (uintptr_t)stack_pointer();

    space[0] = 1;
    if (paste) {
        memcpy((char *)sp + image_place, image, image_used);
    } else {
        image_place = caller - sp;
        image_used = image_end - caller < IMAGE_BYTES ? image_end - caller : IMAGE_BYTES;
        memcpy(image, (const char *)caller, image_used);
    }
    take();
    KEEP_FRAME;
}

static NOINLINE void first_caller(void)
{
    on_image(64, false);
    KEEP_FRAME;
}

static NOINLINE void second_caller(void)
{
    on_image(IMAGE_BYTES + 256, true);
    KEEP_FRAME;
}

static void case_images(void)
{
    unwind_layouts_drop();
    for (long i = 0; i < 50; i++) {
        recurse((int)i % 5, first_caller);
        recurse((int)i % 5, second_caller);
    }
}

/* Two files that differ in nothing but their names: their stacks are other stacks. */
static void case_same_code(void)
{
    uintptr_t at[2];
    unsigned same = 0;

    for (unsigned i = 0; i < 10; i++) {
        void (*call)(void (*)(void));
        void *handle = open_plugin(i % 2 ? "plugin_c.so" : "plugin_a.so", &call);

        kept_before_load = kept_used;
        at[i % 2] = (uintptr_t)call;
        same += i > 0 && at[0] == at[1];
        for (volatile unsigned again = 0; again < 3; again++)
            call(take);
        close_plugin(handle);
    }
    kept_before_load = 0;
    if (same == 0) {
        printf("FAIL: the plugins never took each other's place\n");
        wrong++;
    }
}

/* A coroutine whose stack lies within the thread's own: its words, then the thread's. */
static void case_coroutine_inside(void)
{
    static const size_t bytes = 65536;
    char *stack = __builtin_alloca(bytes);

    for (unsigned i = 0; i < 3; i++) {
        memset(stack, 0, bytes);
        getcontext(&coroutine);
        coroutine.uc_stack.ss_sp = stack;
        coroutine.uc_stack.ss_size = bytes;
        coroutine.uc_link = &back;
        makecontext(&coroutine, coroutine_main, 0);
        for (int j = 0; j < 3; j++)
            swapcontext(&back, &coroutine);
    }
}

/* A signal handler's jump leaves a walk half remembered. */
static NOINLINE void leave_draft(void)
{
    struct unwind_start start;
    struct stack stack;
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    struct unwind_draft draft = {.mark = &canary};

    start_here(&start);
    stack.count = unwind_capture(&start, &draft, stack.frame, LEDGER_FRAMES_MAX, may_call);
    KEEP_FRAME;
}

static NOINLINE void leave_draft_deeper(void)
{
    recurse(3, leave_draft);
    KEEP_FRAME;
}

/* What the program does next lies over what was left. */
static NOINLINE void write_over(void)
{
    volatile char space[8192];

    for (size_t i = 0; i < sizeof(space); i++)
        space[i] = (char)i;
    (void)space[0];
}

static void case_jumped_over(void)
{
    unwind_layouts_drop();
    for (unsigned i = 0; i < 5; i++) {
        long before = recalled;

        leave_draft_deeper();
        write_over();
        for (volatile unsigned again = 0; again < 2; again++)
            recurse((int)i, way_end);
        wrong += recalled != before + 1; /* what came after it was learnt */
    }
}

static void *ways_thread(void *arg)
{
    take_ways(4, repetitions(100, 5000));
    return arg;
}

/* Threads that learn, others that recall, and code that goes meanwhile. */
static void case_emptied_meanwhile(void)
{
    pthread_t thread[3];

    for (unsigned i = 0; i < 3; i++)
        if (pthread_create(&thread[i], NULL, ways_thread, NULL) != 0)
            abort();
    for (long i = 0; i < repetitions(200, 4000); i++) {
        unwind_layouts_drop();
        take_ways(4, 3);
    }
    for (unsigned i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
}

/* ---- All --------------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    void (*run)(void);
    enum demand demand;
    long compared; /* at least */
    long signals;
    long recalled;
} cases[] = {
    {"plain", case_plain, WHOLE, 100, 0, 100},
    {"deep", case_deep, WHOLE, 30, 0, 20},
    {"exceptions", case_exceptions, WHOLE, 40, 0, 0},
    {"callbacks", case_callbacks, WHOLE, 100, 0, 20},
    {"threads", case_threads, WHOLE, 10000, 0, 5000},
    {"coroutines", case_coroutines, MUST_BE_CUT, 6, 0, 0},
    {"unloaded", case_unloaded, WHOLE, 40, 0, 0},
    {"unloaded-meanwhile", case_unloaded_meanwhile, WHOLE, 300, 0, 50},
    {"namespaces", case_namespaces, WHOLE, 1, 0, 0},
    {"signals", case_signals, WHOLE, 2, 1, 0},
    {"timer", case_timer, MAY_BE_CUT, 1000, 1000, 0},
    {"alternate-stack", case_alternate_stack, WHOLE, 2, 2, 0},
    {"room", case_room, WHOLE, 3, 0, 0},
    {"one-call-site", case_one_call_site, WHOLE, 4000, 0, 3000},
    {"more-than-fit", case_more_than_fit, WHOLE, 16000, 0, 0},
    {"images", case_images, WHOLE, 100, 0, 40},
    {"same-code", case_same_code, WHOLE, 30, 0, 8},
    {"jumped-over", case_jumped_over, WHOLE, 10, 0, 5},
    {"emptied-meanwhile", case_emptied_meanwhile, WHOLE, 6000, 0, 500},
    {"coroutine-inside", case_coroutine_inside, MUST_BE_CUT, 6, 0, 0},
#if defined(__x86_64__)
    {"hand-made", case_hand_made, WHOLE, 3, 0, 0},
    {"other-registers", case_other_registers, WHOLE, 12, 0, 0},
    {"other-registers-filtered", case_other_registers_filtered, MUST_BE_CUT, 12, 0, 0},
    {"wrong-cfi", case_wrong_cfi, MUST_BE_CUT, 2, 0, 0},
    {"bare-stacks", case_bare_stacks, MUST_BE_CUT, 2, 0, 0},
    {"jit", case_jit, MUST_BE_CUT, 2, 0, 0},
    {"every-instruction", case_every_instruction, MAY_BE_CUT, 1000, 1000, 0},
#endif
};

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = 2; i < argc; i++)
        if (strcmp(name, argv[i]) == 0)
            return true;
    return argc <= 2;
}

int main(int argc, char **argv)
{
    const char *how = getenv("UNWIND_ORACLE_BREAK");
    bool good = true, layer_3;

    const char *fault = getenv("BOXLEDGER_FAULT");

    if (argc < 2)
        return 2;
    directory = argv[1];
    image_end = (uintptr_t)__builtin_frame_address(0) + ABOVE_MAIN;
    if (fault)
        snprintf(boxledger_fault, sizeof(boxledger_fault), "%s", fault);
    spoil_frames = how && strcmp(how, "frame") == 0;
    hide_closes = how && strcmp(how, "stale") == 0;
#ifndef ORACLE_LIBGCC
    unw_set_caching_policy(unw_local_addr_space, UNW_CACHE_NONE); /* it would not see a dlclose */
#endif
    unwind_init((uintptr_t)environ);
    layer_3 = unwind_use_libunwind();
    kept = mmap(NULL, KEPT_WORDS * sizeof(*kept), PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (kept == MAP_FAILED)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        if (!wanted(cases[i].name, argc, argv))
            continue;
        if (!layer_3 && strcmp(cases[i].name, "other-registers") == 0) {
            printf("skip %s: no libunwind for layer 3\n", cases[i].name);
            continue;
        }
        compared = recalled = cut = wrong = signals = full = 0;
        demand = cases[i].demand;
        skipped = false;
        cases[i].run();
        if (skipped)
            continue;
        if (wrong == 0 && (compared < cases[i].compared || signals < cases[i].signals ||
                           recalled < cases[i].recalled)) {
            printf("FAIL %s: too few captures to mean anything\n", cases[i].name);
            good = false;
        }
        printf("%s %s: %ld compared, %ld of them recalled, %ld wrong, %ld cut, %ld full, "
               "%ld through signals\n",
               wrong ? "FAIL" : "ok", cases[i].name, compared, recalled, wrong, cut, full, signals);
        good = good && wrong == 0;
    }
    return good ? 0 : 1;
}
