/*
 * raw.h: system calls without libc: no errno, no cancellation, no wrapper in between.
 *
 * Results are the kernel's: -errno (-4095..-1) or the value. Everything of ours that needs the
 * kernel goes through here, so that it neither touches the program's errno nor meets its hooks.
 */
#ifndef BOXLEDGER_RAW_H
#define BOXLEDGER_RAW_H

#include <stdint.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
static inline __attribute__((always_inline)) long raw_syscall6(long n, long a, long b, long c,
                                                               long d, long e, long f)
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
static inline __attribute__((always_inline)) long raw_syscall6(long n, long a, long b, long c,
                                                               long d, long e, long f)
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
#error "boxledger knows the system calls of x86-64 and aarch64 only"
#endif

#define RAW_ARG(x) ((long)(x))
#define raw_syscall0(n) raw_syscall6((n), 0, 0, 0, 0, 0, 0)
#define raw_syscall1(n, a) raw_syscall6((n), RAW_ARG(a), 0, 0, 0, 0, 0)
#define raw_syscall2(n, a, b) raw_syscall6((n), RAW_ARG(a), RAW_ARG(b), 0, 0, 0, 0)
#define raw_syscall3(n, a, b, c) raw_syscall6((n), RAW_ARG(a), RAW_ARG(b), RAW_ARG(c), 0, 0, 0)
#define raw_syscall4(n, a, b, c, d)                                                                \
    raw_syscall6((n), RAW_ARG(a), RAW_ARG(b), RAW_ARG(c), RAW_ARG(d), 0, 0)
#define raw_syscall5(n, a, b, c, d, e)                                                             \
    raw_syscall6((n), RAW_ARG(a), RAW_ARG(b), RAW_ARG(c), RAW_ARG(d), RAW_ARG(e), 0)

static inline int raw_failed(long result)
{
    return (unsigned long)result > -4096UL;
}

#endif
