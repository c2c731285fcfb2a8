/*
 * finish.c: the end of a process, as far as it comes through the shim.
 *
 * Under the command the process waits here, for a bounded moment, so that the command can compare
 * the ledger with /proc while there still is something to compare. Bare, the shim reports itself.
 */
#include <linux/futex.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#include "real.h"
#include "report/plain.h"
#include "shim.h"

/* process-global: what descriptor 2 was when the process started */
static struct {
    dev_t device;
    ino_t inode;
    bool known;
} standard_error;

/* process-global: a process ends once */
static uint32_t finished;

static bool look_at_stderr(dev_t *device, ino_t *inode)
{
    struct stat status;
    if (raw_failed(raw_syscall2(SYS_fstat, 2, &status))) {
        return false;
    }
    *device = status.st_dev;
    *inode = status.st_ino;
    return true;
}

void shim_remember_stderr(void)
{
    finished = 0;
    standard_error.known = look_at_stderr(&standard_error.device, &standard_error.inode);
}

static bool still_stderr(void)
{
    dev_t device;
    ino_t inode;
    if (FAULT(report_anywhere)) {
        return true;
    }
    return standard_error.known && look_at_stderr(&device, &inode) &&
           device == standard_error.device && inode == standard_error.inode;
}

static struct ledger_outside *outside(void)
{
    return (struct ledger_outside *)((char *)shim.ledger.header + LEDGER_OUTSIDE_OFFSET);
}

static bool command_watches(void)
{
    const struct ledger_outside *command = outside();
    return command->command_pid != 0 &&
           __atomic_load_n(&command->command_alive, __ATOMIC_ACQUIRE) &&
           raw_syscall2(SYS_kill, command->command_pid, 0) != -ESRCH;
}

static void wait_for_command(void)
{
    struct ledger_header *header = shim.ledger.header;
    uint32_t serial = __atomic_add_fetch(&header->exit_serial, 1, __ATOMIC_ACQ_REL);
    uint32_t *checked = &outside()->checked;
    uint64_t until = shim_now() + (uint64_t)shim.options.exit_wait_ms * 1000000u;
    __atomic_store_n(&header->process_state, LEDGER_PROCESS_EXITING, __ATOMIC_RELEASE);
    raw_syscall3(SYS_futex, &header->process_state, FUTEX_WAKE, INT32_MAX);
    for (;;) {
        uint32_t seen = __atomic_load_n(checked, __ATOMIC_ACQUIRE);
        uint64_t now = shim_now();
        if (seen == serial || now >= until || !command_watches()) {
            return;
        }
        uint64_t rest = until - now < 100000000u ? until - now : 100000000u;
        struct timespec wait = {.tv_sec = 0, .tv_nsec = (long)rest};
        raw_syscall4(SYS_futex, checked, FUTEX_WAIT, seen, &wait);
    }
}

#define BROKEN_PIPE (UINT64_C(1) << (SIGPIPE - 1))

/* A reader that went away is no reason for the program to end otherwise than it would. */
struct silence {
    uint64_t before;
    uint64_t pending;
};

static struct silence begin_to_speak(void)
{
    const uint64_t broken_pipe = BROKEN_PIPE;
    struct silence silence = {0, 0};
    raw_syscall2(SYS_rt_sigpending, &silence.pending, sizeof(silence.pending));
    raw_syscall4(SYS_rt_sigprocmask, SIG_BLOCK, &broken_pipe, &silence.before,
                 sizeof(silence.before));
    return silence;
}

static void end_speaking(const struct silence *silence)
{
    const uint64_t broken_pipe = BROKEN_PIPE;
    const struct timespec at_once = {0, 0};
    if (!(silence->pending & broken_pipe)) {
        raw_syscall4(SYS_rt_sigtimedwait, &broken_pipe, NULL, &at_once, sizeof(broken_pipe));
    }
    raw_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &silence->before, NULL, sizeof(silence->before));
}

void shim_warn(const struct plain_warning *warning)
{
    if (outside()->command_pid == 0 && still_stderr()) {
        struct silence silence = begin_to_speak();
        plain_warn(&shim.ledger, warning);
        end_speaking(&silence);
    }
}

static void report(void)
{
    struct silence silence = begin_to_speak();
    const struct plain_terms terms = {.wait_ms = shim.options.exit_wait_ms,
                                      .now_ns = shim_now(),
                                      .settle_ns = (uint64_t)shim.options.settle_ms * 1000000u,
                                      .tid = shim_actor()->tid};
    plain_report(&shim.ledger, &terms);
    end_speaking(&silence);
}

void shim_finish(int status)
{
    struct ledger_header *header = shim.ledger.header;
    struct timespec now;
    if (__atomic_exchange_n(&finished, 1, __ATOMIC_ACQ_REL)) {
        return;
    }
    real.clock_gettime(CLOCK_REALTIME, &now);
    header->end_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    header->exit_status = (uint32_t)status;
    if (shim_actor()->may_grow) { /* else nothing but the last call is sure to be allowed */
        if (outside()->command_pid != 0) {
            wait_for_command();
        } else if (still_stderr()) {
            report();
        }
    }
    __atomic_store_n(&header->process_state, LEDGER_PROCESS_DETACHED, __ATOMIC_RELEASE);
    shim.attached[1] = 1; /* on the page that a fork wipes: there the ledger is not ours */
    *shim.attached = 0;
}

void shim_ends_with(int status)
{
    if (shim.attached[1]) {
        shim.ledger.header->exit_status = (uint32_t)status;
    }
}
