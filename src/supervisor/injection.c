/*
 * injection.c: see injection.h. The instruction that made the call it is held in is used for the
 * others. Nothing here waits for a thread without looking whether it is still ours to wait for:
 * it can be killed, and another one can take its number by execve(2).
 */
#include "supervisor/injection.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/sandbox.h"

#ifdef __x86_64__
#include <sys/user.h>

#define CALL_INSTRUCTION 0x050f /* syscall, as the low bytes of a word */
#define CALL_BYTES 2

/* PTRACE_O_TRACESYSGOOD: a stop of ours. */
#define CALL_STOP (SIGTRAP | 0x80)

/* How long between two looks at a thread that is about to stop, and after how many of them we ask
 * whether it is still ours. */
#define LOOK_NS 20000
#define LOOKS 500

/* After how long a call that waits for something is interrupted. */
#define PATIENCE_MS 500

/* What a call that was interrupted comes to within the kernel: include/linux/errno.h. */
#define KERNEL_RESTARTS 512
#define KERNEL_RESTARTS_BY_BLOCK 516

static bool is_traced_by_us(pid_t thread)
{
    char path[sizeof "/proc//status" + 3 * sizeof(pid_t)];
    owned_file FILE *file = NULL;
    char line[128];
    int tracer = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/status", thread);
    file = fopen(path, "re");
    if (!file && errno != ENOENT && errno != ESRCH)
        return true; /* it cannot be told now: want of descriptors, say */
    while (file && fgets(line, sizeof line, file) && sscanf(line, "TracerPid: %d", &tracer) != 1)
        ;
    return tracer == gettid(); /* the kernel names the thread */
}

/* The main process is reaped where the sandbox ends; nobody waits for others but its tracer. */
static void release_dead(struct injection *injection)
{
    injection->gone = true;
    if (injection->thread != injection->main)
        (void)waitpid(injection->thread, NULL, __WALL | WNOHANG);
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The next stop of the thread: a signal, with an event above it; -1: it is gone. */
static int wait_for_stop(struct injection *injection)
{
    const struct timespec pause = {0, LOOK_NS};
    int64_t began_ms = now_ms();

    for (unsigned looks = 1; !injection->gone; looks++) {
        siginfo_t seen = {0};

        /* Its end must not be taken from who waits for it. */
        if (waitid(P_PID, (id_t)injection->thread, &seen,
                   WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL) != 0) {
            injection->gone = true;
        } else if (seen.si_pid == 0) {
            injection->gone = looks % LOOKS == 0 && !is_traced_by_us(injection->thread);
            if (now_ms() - began_ms > PATIENCE_MS) {
                (void)ptrace(PTRACE_INTERRUPT, injection->thread, NULL, NULL);
                began_ms = now_ms();
            }
            (void)nanosleep(&pause, NULL);
        } else if (seen.si_code == CLD_TRAPPED || seen.si_code == CLD_STOPPED) {
            (void)waitid(P_PID, (id_t)injection->thread, &seen, WSTOPPED | WNOHANG | __WALL);
            return seen.si_status;
        } else {
            release_dead(injection);
        }
    }
    return -1;
}

bool injection_begin(struct injection *injection, const struct notification *notification)
{
    struct user_regs_struct *registers = calloc(1, sizeof *registers);
    pid_t thread = notify_thread(notification);

    if (!registers || ptrace(PTRACE_SEIZE, thread, NULL, PTRACE_O_TRACESYSGOOD) != 0) {
        free(registers);
        return false;
    }
    *injection = (struct injection){
        .thread = thread, .main = notification->sandbox->main, .registers = registers};
    /* It may have ended already; injection_wait finds out. */
    (void)ptrace(PTRACE_INTERRUPT, thread, NULL, NULL);
    if (notify_is_valid(notification))
        return true;
    /* The number was another's by the time that it was held. */
    (void)injection_wait(injection);
    injection_let_go(injection);
    return false;
}

bool injection_wait(struct injection *injection)
{
    const uint64_t all = ~UINT64_C(0);

    if (wait_for_stop(injection) < 0)
        return false;
    /* No handler runs in between. */
    if (ptrace(PTRACE_GETSIGMASK, injection->thread, sizeof injection->signals,
               &injection->signals) != 0 ||
        ptrace(PTRACE_SETSIGMASK, injection->thread, sizeof all, &all) != 0 ||
        ptrace(PTRACE_GETREGS, injection->thread, NULL, injection->registers) != 0)
        injection->gone = true;
    return !injection->gone;
}

/* Lets it run until its next stop at a call's begin or end. A signal that cannot be blocked is
 * passed on. */
static bool run_to_call_stop(struct injection *injection)
{
    int signal = 0;

    for (;;) {
        int stop;

        if (ptrace(PTRACE_SYSCALL, injection->thread, NULL, (long)signal) != 0)
            injection->gone = true;
        stop = wait_for_stop(injection);
        if (stop < 0 || stop == CALL_STOP)
            return stop >= 0;
        signal = stop >> 8 == 0 ? stop : 0;
    }
}

static int64_t result_of(const struct user_regs_struct *registers)
{
    int64_t value = (int64_t)registers->rax;

    return value <= -KERNEL_RESTARTS && value >= -KERNEL_RESTARTS_BY_BLOCK ? -EINTR : value;
}

int64_t injection_call(struct injection *injection, long call, const uint64_t arguments[6])
{
    const struct user_regs_struct *kept = injection->registers;
    struct user_regs_struct registers = *kept;
    long word;

    errno = 0;
    word = injection->gone
               ? -1
               : ptrace(PTRACE_PEEKTEXT, injection->thread, kept->rip - CALL_BYTES, NULL);
    if (injection->gone || errno != 0 || (word & 0xffff) != CALL_INSTRUCTION)
        return injection->gone ? -ESRCH : -ENOSYS;
    registers.rip -= CALL_BYTES;
    registers.rax = (unsigned long long)call;
    registers.orig_rax = (unsigned long long)-1; /* there is no call to begin anew */
    registers.rdi = arguments[0];
    registers.rsi = arguments[1];
    registers.rdx = arguments[2];
    registers.r10 = arguments[3];
    registers.r8 = arguments[4];
    registers.r9 = arguments[5];
    if (ptrace(PTRACE_SETREGS, injection->thread, NULL, &registers) != 0 ||
        !run_to_call_stop(injection) || !run_to_call_stop(injection) ||
        ptrace(PTRACE_GETREGS, injection->thread, NULL, &registers) != 0)
        return -ESRCH;
    return result_of(&registers);
}

void injection_let_go(struct injection *injection)
{
    if (!injection->gone) {
        (void)ptrace(PTRACE_SETSIGMASK, injection->thread, sizeof injection->signals,
                     &injection->signals);
        (void)ptrace(PTRACE_DETACH, injection->thread, NULL, NULL);
    }
    free(injection->registers);
    *injection = INJECTION_EMPTY;
}

void injection_end(struct injection *injection, int64_t value)
{
    struct user_regs_struct *registers = injection->registers;

    if (!injection->gone) {
        registers->rax = (unsigned long long)value;
        registers->orig_rax = (unsigned long long)-1;
        (void)ptrace(PTRACE_SETREGS, injection->thread, NULL, registers);
    }
    injection_let_go(injection);
}

#else

bool injection_begin(struct injection *injection, const struct notification *notification)
{
    (void)injection, (void)notification;
    return false;
}

bool injection_wait(struct injection *injection)
{
    (void)injection;
    return false;
}

int64_t injection_call(struct injection *injection, long call, const uint64_t arguments[6])
{
    (void)injection, (void)call, (void)arguments;
    return -ENOSYS;
}

void injection_end(struct injection *injection, int64_t value)
{
    (void)value;
    *injection = INJECTION_EMPTY;
}

void injection_let_go(struct injection *injection)
{
    *injection = INJECTION_EMPTY;
}

#endif
