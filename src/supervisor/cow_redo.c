/*
 * cow_redo.c: see cow_redo.h. All of it in the thread that serves the sandbox, which is the tracer
 * for as long as this takes.
 */
#include "supervisor/cow_redo.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/policy.h"
#include "supervisor/proc.h"
#include "supervisor/sandbox.h"

/* Linux 4.7, include/uapi/linux/ptrace.h: the bit of a stop at a system call. */
#define SYSCALL_BIT 0x80
#define EVENT_SHIFT 8

/* The kernel's own set of signals, for PTRACE_SETSIGMASK. */
typedef uint64_t kernel_sigset;

/* The page: asked for at an address where programs have nothing, so that a process has one for all
 * its calls, and a child on its memory has the same one. */
#define PAGE_ADDRESS UINT64_C(0x200000000000)
struct page {
    uint64_t mark; /* it is ours: the filter's */
    char path[PATH_MAX];
};

#define ARGUMENTS 6
#define MARK_ARGUMENT 5

struct thread {
    pid_t id;
    int memory; /* /proc/PID/mem */
    struct user_regs_struct registers;
    kernel_sigset blocked;
};

/* --- the machine ------------------------------------------------------------------------------ */

#if defined(__x86_64__)

#define CALL_BYTES 2

static void set_call(struct user_regs_struct *registers, long number, const uint64_t *arguments)
{
    registers->rip -= CALL_BYTES;
    registers->rax = (unsigned long long)number;
    registers->orig_rax = (unsigned long long)-1; /* nothing that could be restarted */
    registers->rdi = arguments[0];
    registers->rsi = arguments[1];
    registers->rdx = arguments[2];
    registers->r10 = arguments[3];
    registers->r8 = arguments[4];
    registers->r9 = arguments[5];
}

static int64_t get_result(const struct user_regs_struct *registers)
{
    return (int64_t)registers->rax;
}

static void set_result(struct user_regs_struct *registers, int64_t result)
{
    registers->rax = (unsigned long long)result;
    registers->orig_rax = (unsigned long long)-1;
}

#elif defined(__aarch64__)

#define CALL_BYTES 4
#define NUMBER_REGISTER 8

static void set_call(struct user_regs_struct *registers, long number, const uint64_t *arguments)
{
    registers->pc -= CALL_BYTES;
    registers->regs[NUMBER_REGISTER] = (unsigned long long)number;
    for (unsigned i = 0; i < ARGUMENTS; i++)
        registers->regs[i] = arguments[i];
}

static int64_t get_result(const struct user_regs_struct *registers)
{
    return (int64_t)registers->regs[0];
}

static void set_result(struct user_regs_struct *registers, int64_t result)
{
    registers->regs[0] = (unsigned long long)result;
}

#else
#error "boxsup knows the system calls of x86-64 and aarch64 only"
#endif

/* --- stops ------------------------------------------------------------------------------------ */

/* Waits for the thread's next stop: its signal and event, or -1: it has ended. The end of a main
 * process is left for its supervisor to reap. */
static int wait_stop(const struct thread *thread, pid_t main)
{
    siginfo_t seen;
    int result;

    do {
        seen.si_pid = 0;
        result = waitid(P_PID, (id_t)thread->id, &seen, WSTOPPED | WEXITED | WNOWAIT | __WALL);
    } while (result != 0 && errno == EINTR);
    if (result != 0)
        return -1;
    if (seen.si_code != CLD_TRAPPED && seen.si_code != CLD_STOPPED) {
        if (thread->id != main)
            (void)waitid(P_PID, (id_t)thread->id, &seen, WEXITED | __WALL);
        return -1;
    }
    (void)waitid(P_PID, (id_t)thread->id, &seen, WSTOPPED | __WALL);
    return seen.si_status;
}

static bool get_registers(const struct thread *thread, struct user_regs_struct *registers)
{
    struct iovec all = {registers, sizeof *registers};

    return ptrace(PTRACE_GETREGSET, thread->id, (void *)NT_PRSTATUS, &all) == 0;
}

static bool set_registers(const struct thread *thread, struct user_regs_struct *registers)
{
    struct iovec all = {registers, sizeof *registers};

    return ptrace(PTRACE_SETREGSET, thread->id, (void *)NT_PRSTATUS, &all) == 0;
}

static bool set_blocked(const struct thread *thread, kernel_sigset blocked)
{
    return ptrace(PTRACE_SETSIGMASK, thread->id, sizeof blocked, &blocked) == 0;
}

enum call_end {
    CALL_RETURNED,
    CALL_EXECUTED, /* another program is there */
    CALL_ENDED,    /* the thread has */
};

/* Lets the stopped thread make a call, up to its end. */
static enum call_end make_call(const struct thread *thread, pid_t main, long number,
                               const uint64_t *arguments, int64_t *result)
{
    struct user_regs_struct registers = thread->registers;
    unsigned stops = 0;

    set_call(&registers, number, arguments);
    if (!set_registers(thread, &registers))
        return CALL_ENDED;
    /* Its entry and its return. No signal is delivered meanwhile: all are blocked. */
    while (stops < 2) {
        int stop;

        if (ptrace(PTRACE_SYSCALL, thread->id, NULL, NULL) != 0)
            return CALL_ENDED;
        stop = wait_stop(thread, main);
        if (stop < 0)
            return CALL_ENDED;
        if (stop == (SIGTRAP | PTRACE_EVENT_EXEC << EVENT_SHIFT))
            return CALL_EXECUTED;
        stops += stop == (SIGTRAP | SYSCALL_BIT);
    }
    if (!get_registers(thread, &registers))
        return CALL_ENDED;
    *result = get_result(&registers);
    return CALL_RETURNED;
}

/* --- the page --------------------------------------------------------------------------------- */

static bool has_page(const struct thread *thread, uint64_t mark)
{
    uint64_t found;

    return pread(thread->memory, &found, sizeof found, (off_t)PAGE_ADDRESS) ==
               (ssize_t)sizeof found &&
           found == mark;
}

/* The path's address in the process; 0 where there was no room, or it has ended. */
static uint64_t put_path(const struct thread *thread, pid_t main, uint64_t mark, const char *path)
{
    const uint64_t arguments[ARGUMENTS] = {
        PAGE_ADDRESS,           sizeof(struct page),
        PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
        (uint64_t)-1,           0,
    };
    int64_t address = (int64_t)PAGE_ADDRESS;
    struct page page = {.mark = mark};
    size_t bytes = offsetof(struct page, path) + strlen(path) + 1;

    memcpy(page.path, path, strlen(path) + 1);
    if (!has_page(thread, mark) &&
        make_call(thread, main, SYS_mmap, arguments, &address) != CALL_RETURNED)
        return 0;
    if (address < 0 || pwrite(thread->memory, &page, bytes, (off_t)address) != (ssize_t)bytes)
        return 0;
    return (uint64_t)address + offsetof(struct page, path);
}

/* --- the whole -------------------------------------------------------------------------------- */

static bool executes(const struct notification *notification)
{
    int call = notification->request.data.nr;

    return call == SYS_execve || call == SYS_execveat;
}

/* Answers the notification and stops the thread on its way back. False: the notification is gone,
 * or was not answered by this, with *failed, which the process is to be told. */
static bool stop_thread(const struct notification *notification, struct thread *thread, int *failed)
{
    char path[sizeof "/proc//mem" + 3 * sizeof(pid_t)];
    bool valid;

    *failed = ENOTSUP;
    if (ptrace(PTRACE_SEIZE, thread->id, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC) != 0)
        return false;
    (void)snprintf(path, sizeof path, "/proc/%d/mem", thread->id);
    thread->memory = open(path, O_RDWR | O_CLOEXEC);
    /* Asked after it is traced and open: from here on its number is its own. */
    valid = notify_is_valid(notification) && thread->memory >= 0;
    (void)ptrace(PTRACE_INTERRUPT, thread->id, NULL, NULL);
    notify_fail(notification, ENOTSUP);
    *failed = 0;
    if (wait_stop(thread, notification->sandbox->main) < 0)
        return false;
    if (!valid)
        (void)ptrace(PTRACE_DETACH, thread->id, NULL, NULL);
    return valid;
}

/* The thread is stopped, and is as it was when it goes on, but for the result. */
static void redo(const struct notification *notification, struct thread *thread, unsigned argument,
                 const char *path)
{
    const struct seccomp_data *data = &notification->request.data;
    const uint64_t mark = notification->sandbox->policy->filter.mark;
    pid_t main = notification->sandbox->main;
    uint64_t arguments[ARGUMENTS];
    enum call_end end = CALL_RETURNED;
    int64_t result = -ENOTSUP;

    if (!get_registers(thread, &thread->registers) ||
        ptrace(PTRACE_GETSIGMASK, thread->id, sizeof thread->blocked, &thread->blocked) != 0 ||
        !set_blocked(thread, UINT64_MAX))
        return;
    memcpy(arguments, data->args, sizeof arguments);
    arguments[MARK_ARGUMENT] = mark;
    arguments[argument] = put_path(thread, main, mark, path);
    if (arguments[argument] != 0)
        end = make_call(thread, main, data->nr, arguments, &result);
    if (end == CALL_RETURNED) {
        set_result(&thread->registers, result);
        (void)set_registers(thread, &thread->registers);
    }
    (void)set_blocked(thread, thread->blocked);
}

void cow_redo(const struct notification *notification, unsigned argument, const char *path)
{
    struct thread thread = {.id = notify_thread(notification), .memory = -1};
    int failed = ENOTSUP;

    /* Where another thread executes a program, its number becomes the first one's. */
    if (executes(notification) && proc_process_of(thread.id) != thread.id) {
        notify_fail(notification, failed);
        return;
    }
    if (stop_thread(notification, &thread, &failed)) {
        redo(notification, &thread, argument, path);
        (void)ptrace(PTRACE_DETACH, thread.id, NULL, NULL);
    } else if (failed != 0) {
        notify_fail(notification, failed);
    }
    owned_fd_close(&thread.memory);
}
