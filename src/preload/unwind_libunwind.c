/*
 * unwind_libunwind.c: libunwind, kept on a short lead.
 *
 * Some frames are described by CFI that needs registers which the stepper does not follow. For
 * these the whole walk is done again from here, with all registers, by libunwind's interface for
 * other address spaces: it knows nothing of this process but what the accessors below hand it,
 * which is this thread's own stack and the tables of modules on it. So it opens nothing,
 * validates nothing and guesses nothing: a step for which our tables gave no answer is thrown
 * away, since libunwind would follow frame pointers then.
 *
 * libunwind is loaded by its soname and privately, never linked: its shared object also defines
 * _Unwind_RaiseException and its kin, which would take the place of the program's own.
 *
 * A step takes tens of microseconds and kilobytes of stack: it runs on a stack of its own, with
 * signals blocked, under a lock that is tried and never waited for. Result and mask are the same
 * afterwards. It is never used in a thread that may have a seccomp filter.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "unwind_libunwind.h"

#if defined(HAVE_LIBUNWIND) && defined(__x86_64__)

#include <dlfcn.h>
#include <fcntl.h>
#include <libunwind-x86_64.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "raw.h"
#include "unwind.h"
#include "unwind_modules.h"

#ifndef LIBUNWIND_SONAME
#define LIBUNWIND_SONAME "libunwind-x86_64.so.8"
#endif

#define PRIVATE_STACK (64u << 10)
#define STEPS_MAX 96 /* a full stack and our own frames below it */
#define KERNEL_SIGSET 8
#define OWN_FRAMES 4096 /* between here and the wrapper's caller lies less */

/* process-global because libunwind is loaded once; set in the constructor only */
static struct {
    unw_addr_space_t space; /* NULL: layer 3 is off */
    __typeof__(&_Ux86_64_init_remote) init_remote;
    __typeof__(&_Ux86_64_step) step;
    __typeof__(&_Ux86_64_get_reg) get_reg;
    __typeof__(&_Ux86_64_is_signal_frame) is_signal_frame;
    int (*search)(unw_addr_space_t, unw_word_t, unw_dyn_info_t *, unw_proc_info_t *, int, void *);
} libunwind;

/* process-global because one thread at a time is on `private_stack` */
static _Atomic uint32_t private_lock;
/* process-global because private_lock guards it */
static _Alignas(64) uint8_t private_stack[PRIVATE_STACK];

/* The registers that functions preserve, at one place in unwind_libunwind_step(). */
struct own_registers {
    uint64_t rbx, rbp, rsp, rip, r12, r13, r14, r15;
};

/* One walk. */
struct walk_again {
    struct own_registers own;
    struct unwind_registers *frame;
    struct unwind_span span[2];  /* what may be read of the stacks */
    struct unwind_tables tables; /* of the module that the last frame looked up lies in */
    bool guessed;                /* a lookup failed: what the step says is no knowledge */
    bool done;
};

static bool span_holds(const struct unwind_span *span, uintptr_t address)
{
    return address >= span->lo && address < span->hi && span->hi - address >= sizeof(unw_word_t);
}

static int access_mem(unw_addr_space_t space, unw_word_t address, unw_word_t *value, int write,
                      void *arg)
{
    struct walk_again *walk = arg;
    struct unwind_span tables = {walk->tables.lo, walk->tables.hi};

    (void)space;
    if (write || !(span_holds(&walk->span[0], address) || span_holds(&walk->span[1], address) ||
                   span_holds(&tables, address))) {
        walk->guessed = true;
        return -UNW_EINVAL;
    }
    memcpy(value, (const void *)address, sizeof(*value));
    return 0;
}

static int access_reg(unw_addr_space_t space, unw_regnum_t reg, unw_word_t *value, int write,
                      void *arg)
{
    const struct own_registers *own = &((struct walk_again *)arg)->own;

    (void)space;
    if (write)
        return -UNW_EREADONLYREG;
    switch (reg) {
    case UNW_X86_64_RBX:
        *value = own->rbx;
        return 0;
    case UNW_X86_64_RBP:
        *value = own->rbp;
        return 0;
    case UNW_X86_64_RSP:
        *value = own->rsp;
        return 0;
    case UNW_X86_64_RIP:
        *value = own->rip;
        return 0;
    case UNW_X86_64_R12:
        *value = own->r12;
        return 0;
    case UNW_X86_64_R13:
        *value = own->r13;
        return 0;
    case UNW_X86_64_R14:
        *value = own->r14;
        return 0;
    case UNW_X86_64_R15:
        *value = own->r15;
        return 0;
    default: /* not preserved: nobody knows */
        ((struct walk_again *)arg)->guessed = true;
        return -UNW_EBADREG;
    }
}

static int find_proc_info(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t *info, int full,
                          void *arg)
{
    struct walk_again *walk = arg;
    const struct unwind_code *code;
    struct unwind_code room;
    unw_dyn_info_t table;
    uint32_t count;
    bool keep;
    int result;

    walk->guessed = true;
    code = unwind_modules_find(ip, &keep);
    if (!code && unwind_modules_read(ip, &room))
        code = &room;
    if (!code || code->tables.hdr == 0 || code->tables.hi - code->tables.hdr < 3 * sizeof(count))
        return -UNW_ENOINFO;
    walk->tables = code->tables;
    /* As unwind_cfi.c reads it: version and encodings, .eh_frame, count, then the table. */
    memcpy(&count, (const void *)(walk->tables.hdr + 2 * sizeof(count)), sizeof(count));
    memset(&table, 0, sizeof(table));
    table.format = UNW_INFO_FORMAT_REMOTE_TABLE;
    table.start_ip = code->range[0].lo;
    table.end_ip = UINTPTR_MAX;
    table.u.rti.segbase = walk->tables.hdr;
    table.u.rti.table_data = walk->tables.hdr + 3 * sizeof(count);
    table.u.rti.table_len = count; /* in words of 8 bytes: an entry is one */
    result = libunwind.search(space, ip, &table, info, full, arg);
    walk->guessed = result < 0;
    return result;
}

static void put_unwind_info(unw_addr_space_t space, unw_proc_info_t *info, void *arg)
{
    (void)space;
    (void)info;
    (void)arg;
}

static int no_dyn_info(unw_addr_space_t space, unw_word_t *address, void *arg)
{
    (void)space;
    (void)address;
    (void)arg;
    return -UNW_ENOINFO;
}

static int no_fpreg(unw_addr_space_t space, unw_regnum_t reg, unw_fpreg_t *value, int write,
                    void *arg)
{
    (void)space;
    (void)reg;
    (void)value;
    (void)write;
    (void)arg;
    return -UNW_EBADREG;
}

static int no_resume(unw_addr_space_t space, unw_cursor_t *cursor, void *arg)
{
    (void)space;
    (void)cursor;
    (void)arg;
    return -UNW_EINVAL;
}

static int no_proc_name(unw_addr_space_t space, unw_word_t address, char *name, size_t size,
                        unw_word_t *offset, void *arg)
{
    (void)space;
    (void)address;
    (void)name;
    (void)size;
    (void)offset;
    (void)arg;
    return -UNW_ENOINFO;
}

static bool cursor_at(unw_cursor_t *cursor, struct unwind_registers *registers)
{
    unw_word_t pc, sp;

    if (libunwind.get_reg(cursor, UNW_X86_64_RIP, &pc) < 0 ||
        libunwind.get_reg(cursor, UNW_X86_64_RSP, &sp) < 0)
        return false;
    registers->pc = pc;
    registers->sp = sp;
    return true;
}

/* On the private stack. */
static void walk_run(void *arg)
{
    struct walk_again *walk = arg;
    struct unwind_registers now, *frame = walk->frame;
    unw_cursor_t cursor;
    unw_word_t bp;

    if (libunwind.init_remote(&cursor, libunwind.space, walk) < 0)
        return;
    for (unsigned i = 0; i < STEPS_MAX; i++) {
        bool there;

        if (!cursor_at(&cursor, &now))
            return;
        there = now.pc == frame->pc && now.sp == frame->sp;
        if (there && libunwind.is_signal_frame(&cursor) > 0)
            return; /* what comes after it is an instruction, not a return address */
        walk->guessed = false;
        if (libunwind.step(&cursor) <= 0 || walk->guessed)
            return;
        if (there)
            break;
    }
    if (!cursor_at(&cursor, &now) || libunwind.get_reg(&cursor, UNW_X86_64_RBP, &bp) < 0 ||
        walk->guessed || now.sp <= frame->sp)
        return;
    *frame = (struct unwind_registers){now.pc, now.sp, bp};
    walk->done = true;
}

/* void unwind_on_stack(void *arg, void (*run)(void *), void *top) */
__asm__(".pushsection .text\n"
        ".type unwind_on_stack, @function\n"
        "unwind_on_stack:\n"
        ".cfi_startproc\n"
        "push %rbp\n"
        ".cfi_def_cfa_offset 16\n"
        ".cfi_offset %rbp, -16\n"
        "mov %rsp, %rbp\n"
        ".cfi_def_cfa_register %rbp\n"
        "mov %rdx, %rsp\n"
        "call *%rsi\n"
        "leave\n"
        ".cfi_def_cfa %rsp, 8\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size unwind_on_stack, . - unwind_on_stack\n"
        ".popsection\n");
extern void unwind_on_stack(void *arg, void (*run)(void *), void *top)
    __attribute__((visibility("hidden")));

/* Here and now. The label is an address in the caller whose CFI holds for these values. */
static inline __attribute__((always_inline)) void own_registers_read(struct own_registers *own)
{
    __asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
                     "movq %%rax, 24(%0)\n\t"
                     "movq %%rbx, 0(%0)\n\t"
                     "movq %%rbp, 8(%0)\n\t"
                     "movq %%rsp, 16(%0)\n\t"
                     "movq %%r12, 32(%0)\n\t"
                     "movq %%r13, 40(%0)\n\t"
                     "movq %%r14, 48(%0)\n\t"
                     "movq %%r15, 56(%0)\n"
                     "1:\n\t"
                     "nop"
                     :
                     : "r"(own)
                     : "rax", "memory");
}

bool unwind_libunwind_step(struct unwind_registers *frame, const struct unwind_span *stack)
{
    /* At the private stack's far end, since the program's has no room for it. */
    struct walk_again *walk = (struct walk_again *)private_stack;
    uint64_t all = ~UINT64_C(0), before;
    bool done;

    if (!libunwind.space || atomic_load_explicit(&private_lock, memory_order_relaxed) != 0)
        return false;
    if (raw_failed(raw_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, KERNEL_SIGSET)))
        return false;
    done = atomic_exchange_explicit(&private_lock, 1, memory_order_acquire) == 0;
    if (done) {
        memset(walk, 0, sizeof(*walk));
        own_registers_read(&walk->own);
        walk->frame = frame;
        walk->span[0] = *stack;
        if (stack->lo - walk->own.rsp < OWN_FRAMES) /* the stack that we are on ourselves */
            walk->span[0].lo = walk->own.rsp;
        walk->span[1] = (struct unwind_span){walk->own.rsp, unwind_stack_top(walk->own.rsp)};
        unwind_on_stack(walk, walk_run, private_stack + PRIVATE_STACK);
        done = walk->done;
        atomic_store_explicit(&private_lock, 0, memory_order_release);
    }
    (void)raw_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &before, 0, KERNEL_SIGSET);
    return done;
}

static void *symbol(void *library, const char *name, bool *complete)
{
    void *address = dlsym(library, name);

    if (!address)
        *complete = false;
    return address;
}

static bool load_libunwind(void)
{
    unw_accessors_t accessors = {.find_proc_info = find_proc_info,
                                 .put_unwind_info = put_unwind_info,
                                 .get_dyn_info_list_addr = no_dyn_info,
                                 .access_mem = access_mem,
                                 .access_reg = access_reg,
                                 .access_fpreg = no_fpreg,
                                 .resume = no_resume,
                                 .get_proc_name = no_proc_name};
    unw_addr_space_t (*create)(unw_accessors_t *, int);
    int (*set_caching)(unw_addr_space_t, unw_caching_policy_t);
    unw_cursor_t first;
    bool complete = true;
    void *library = dlopen(LIBUNWIND_SONAME, RTLD_NOW | RTLD_LOCAL);

    if (!library)
        return false;
    create = symbol(library, "_Ux86_64_create_addr_space", &complete);
    set_caching = symbol(library, "_Ux86_64_set_caching_policy", &complete);
    libunwind.init_remote = symbol(library, "_Ux86_64_init_remote", &complete);
    libunwind.step = symbol(library, "_Ux86_64_step", &complete);
    libunwind.get_reg = symbol(library, "_Ux86_64_get_reg", &complete);
    libunwind.is_signal_frame = symbol(library, "_Ux86_64_is_signal_frame", &complete);
    libunwind.search = symbol(library, "_Ux86_64_dwarf_search_unwind_table", &complete);
    if (!complete)
        return false;
    libunwind.space = create(&accessors, 0);
    if (!libunwind.space)
        return false;
    (void)set_caching(libunwind.space, UNW_CACHE_NONE);
    libunwind.init_remote(&first, libunwind.space, private_stack); /* its own start-up, now */
    return true;
}

/* The two numbers that the next pipe would get. */
static bool next_pipe(int fds[2])
{
    if (raw_failed(raw_syscall2(SYS_pipe2, fds, O_CLOEXEC)))
        return false;
    raw_syscall1(SYS_close, fds[0]);
    raw_syscall1(SYS_close, fds[1]);
    return true;
}

/* When it is loaded libunwind opens a pipe, to find out by writing to it which memory is readable.
 * It does so in its local mode only, which we never use: and a shim holds no descriptor. */
static void close_pipe(const int fds[2])
{
    struct stat status;

    for (int i = 0; i < 2; i++)
        if (!raw_failed(raw_syscall2(SYS_fstat, fds[i], &status)) && S_ISFIFO(status.st_mode))
            raw_syscall1(SYS_close, fds[i]);
}

bool unwind_use_libunwind(void)
{
    int fds[2] = {-1, -1};
    bool may_open = next_pipe(fds);
    bool loaded = load_libunwind();

    if (may_open)
        close_pipe(fds);
    return loaded;
}

#endif
