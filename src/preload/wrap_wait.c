/*
 * wrap_wait.c: calls that wait for children, and tell which have ended (wait.2).
 *
 * A child has ended when a wait says that it exited or was killed, and takes it; a wait that finds
 * no child says so of those that it would have found. The result is the kernel's, and nothing of
 * ours spans the wait: it may be cancelled, and a handler may jump out of it.
 */
#include <sys/wait.h>

#include "calls.h"
#include "police.h"
#include "wrap.h"

/* What is known before a wait. */
struct waiting {
    bool watching;
    uint32_t ticket;
};

static struct waiting begin(void)
{
    sandbox_blocks(&shim_thread.sandbox);
    struct waiting waiting = {.watching = shim_watching_process()};
    if (waiting.watching) {
        waiting.ticket = shim_child_ticket();
    }
    return waiting;
}

static void reaped(const struct unwind_start *here, pid_t pid)
{
    struct sandbox_event event = shim_sandbox_event(here);
    child_reaped(&event, pid);
}

/* ECHILD, for one child or (0) for all. A wait for this thread's own children alone, or for those
 * alone that tell their end by another signal than SIGCHLD, knows nothing of the others. */
static void gone(const struct unwind_start *here, const struct waiting *waiting, pid_t pid,
                 int options)
{
    bool of_some = (options & __WNOTHREAD) || (options & (__WCLONE | __WALL)) == __WCLONE;
    if (of_some && !FAULT(echild_ends_all)) {
        return;
    }
    struct sandbox_event event = shim_sandbox_event(here);
    child_gone(&event, pid, waiting->ticket);
}

static pid_t waited(const struct unwind_start *here, const struct waiting *waiting, pid_t asked,
                    int options, pid_t result, int status)
{
    if (!waiting->watching) {
        return result;
    }
    if (result > 0 && (WIFEXITED(status) || WIFSIGNALED(status) || FAULT(stop_ends))) {
        reaped(here, result);
    } else if (result < 0 && errno == ECHILD && (asked > 0 || asked == -1)) {
        gone(here, waiting, asked > 0 ? asked : 0, options);
    }
    police_look(here);
    return result;
}

/* Where the program does not ask for the status, we do. */
#define WAITS(asked, options, call)                                                                \
    int own = 0;                                                                                   \
    int *to = status ? status : &own;                                                              \
    struct waiting waiting = begin();                                                              \
    pid_t result = call;                                                                           \
    return waited(here, &waiting, asked, options, result, result > 0 ? *to : 0)

pid_t shim_wait4(const struct unwind_start *here, bool raw, pid_t pid, int *status, int options,
                 struct rusage *usage)
{
    WAITS(pid, options,
          PERFORM(raw, pid_t, wait4, (pid, to, options, usage),
                  raw_syscall4(SYS_wait4, pid, to, options, usage)));
}

EXPORT pid_t wait4(pid_t pid, int *status, int options, struct rusage *usage)
{
    return shim_wait4(HERE, false, pid, status, options, usage);
}

EXPORT pid_t wait(int *status)
{
    const struct unwind_start *here = HERE;
    WAITS(-1, 0, PERFORM(false, pid_t, wait, (to), raw_syscall4(SYS_wait4, -1, to, 0, 0)));
}

EXPORT pid_t waitpid(pid_t pid, int *status, int options)
{
    const struct unwind_start *here = HERE;
    WAITS(pid, options,
          PERFORM(false, pid_t, waitpid, (pid, to, options),
                  raw_syscall4(SYS_wait4, pid, to, options, 0)));
}

EXPORT pid_t wait3(int *status, int options, struct rusage *usage)
{
    const struct unwind_start *here = HERE;
    WAITS(-1, options,
          PERFORM(false, pid_t, wait3, (to, options, usage),
                  raw_syscall4(SYS_wait4, -1, to, options, usage)));
}

#define BY_PIDFD 3 /* P_PIDFD of linux/wait.h, Linux 5.4; glibc 2.36 */

/* Whose end it tells; -1: not known. A VM's or a scope's owner has no pid. */
static pid_t child_of_pidfd(unsigned fd)
{
    const struct ledger_fd *record = ledger_fd_record(&shim.ledger, (int)fd);
    if (!record || record->kind != LEDGER_FD_PIDFD) {
        return -1;
    }
    uint32_t owner = __atomic_load_n(&record->owner, __ATOMIC_RELAXED);
    const struct ledger_owner *sandbox = ledger_owner(&shim.ledger, owner);
    return sandbox && sandbox->pid ? (pid_t)sandbox->pid : -1;
}

/* The child that a waitid asks for: its pid, 0 for any; -1: a group, or one that is not known. */
static pid_t asked_of(int what, unsigned id)
{
    switch (what) {
    case P_ALL:
        return 0;
    case P_PID:
        return (pid_t)id > 0 ? (pid_t)id : -1;
    case BY_PIDFD:
        return child_of_pidfd(id);
    default:
        return -1;
    }
}

int shim_waitid(const struct unwind_start *here, bool raw, int what, unsigned id, siginfo_t *info,
                int options, struct rusage *usage)
{
    siginfo_t own = {.si_signo = 0};
    siginfo_t *to = info ? info : &own;
    struct waiting waiting = begin();
    int result = PERFORM(raw, int, waitid, ((idtype_t)what, (id_t)id, to, options),
                         raw_syscall5(SYS_waitid, what, id, to, options, usage));
    if (!waiting.watching || !(options & WEXITED)) {
        return result; /* it finds no zombies, and says ECHILD where there are some */
    }
    if (result < 0) {
        pid_t asked = asked_of(what, id);
        if (errno == ECHILD && asked >= 0) {
            gone(here, &waiting, asked, options);
        }
    } else if (!(options & WNOWAIT) && to->si_signo == SIGCHLD &&
               (to->si_code == CLD_EXITED || to->si_code == CLD_KILLED ||
                to->si_code == CLD_DUMPED)) {
        reaped(here, to->si_pid);
    }
    police_look(here);
    return result;
}

EXPORT int waitid(idtype_t what, id_t id, siginfo_t *info, int options)
{
    return shim_waitid(HERE, false, (int)what, id, info, options, NULL);
}
