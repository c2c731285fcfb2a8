/*
 * kernel_view.h: what the kernel says this process holds, asked without disturbing it.
 *
 * Every call here is an inline system call, so that looking is seen by no wrapper, allocates
 * nothing and leaves no descriptor and no mapping behind. It never judges: see ledger_view.h.
 */
#ifndef TESTS_TRUTH_KERNEL_VIEW_H
#define TESTS_TRUTH_KERNEL_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

/* An inline system call: -errno or the result. Not shared with the shim: this one judges it. */
#if defined(__x86_64__)
static inline long inline_syscall(long n, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
static inline long inline_syscall(long n, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}
#else
#error "the tests know the system calls of x86-64 and aarch64 only"
#endif

#define INLINE_PICK(a, b, c, d, e, f, g, name, ...) name
#define inline1(n) inline_syscall((n), 0, 0, 0, 0, 0, 0)
#define inline2(n, a) inline_syscall((n), (long)(a), 0, 0, 0, 0, 0)
#define inline3(n, a, b) inline_syscall((n), (long)(a), (long)(b), 0, 0, 0, 0)
#define inline4(n, a, b, c) inline_syscall((n), (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define inline5(n, a, b, c, d) inline_syscall((n), (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define inline6(n, a, b, c, d, e)                                                                  \
    inline_syscall((n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define inline7(n, a, b, c, d, e, f)                                                               \
    inline_syscall((n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
/* raw(SYS_close, fd): up to six arguments. */
#define raw(...)                                                                                   \
    INLINE_PICK(__VA_ARGS__, inline7, inline6, inline5, inline4, inline3, inline2, inline1)        \
    (__VA_ARGS__)

struct kernel_range {
    uint64_t start, end;
    unsigned prot; /* PROT_* */
    bool stack;    /* "[stack]" */
};

/* Sets bit n of `bits` (room for `max` descriptors) for every open descriptor but the one used
 * for looking. Returns how many, or -errno. */
long kernel_view_fds(uint64_t *bits, unsigned max);

/* Fills `ranges` in ascending order, one for every line of /proc/self/maps; returns how many,
 * or -errno; more than `max` is -ENOSPC. */
long kernel_view_maps(struct kernel_range *ranges, size_t max);

/* Anonymous memory that no wrapper saw. */
void *kernel_view_memory(size_t bytes);
void kernel_view_memory_free(void *memory, size_t bytes);

static inline bool kernel_view_has(const uint64_t *bits, unsigned fd)
{
    return bits[fd / 64] >> (fd % 64) & 1;
}

#endif
