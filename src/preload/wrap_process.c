/*
 * wrap_process.c: calls that make a process, change this one, or end it.
 */
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "calls.h"
#include "wrap.h"

/* --- children --- */

#define INHERITABLE_FDS                                                                            \
    65536u /* numbers looked at when a child is made: so much a fork may cost                      \
            */

uint32_t shim_child_ticket(void)
{
    if (!shim_watching_process()) {
        return 0;
    }
    struct sandbox_event event = shim_sandbox_event(NULL);
    if (unlikely(shim.sandbox.ran != NULL)) {
        event.thread->making = __atomic_add_fetch(&shim.sandbox.made, 1, __ATOMIC_RELAXED);
    }
    return child_ticket(&event);
}

/* Whether the child's next image gets this descriptor, and it is another sandbox's. What was
 * inherited before us, and what is the supervisor's, is meant to be there as far as we know; so is
 * what nothing but a notification's scope calls a sandbox's: it may be kept for many. */
static bool leaks_into(struct ledger_fd *record, uint32_t sandbox)
{
    uint32_t owner = __atomic_load_n(&record->owner, __ATOMIC_RELAXED);
    bool scope_alone = (record->flags & (LEDGER_SCOPED | LEDGER_GIVEN)) == LEDGER_SCOPED;
    const uint16_t spared = LEDGER_CLOEXEC | LEDGER_INHERITED | LEDGER_ADOPTED; /* not known */
    if (owner == 0 || scope_alone || (record->flags & spared) ||
        ledger_owner_outermost(&shim.ledger, owner) == sandbox) {
        return false;
    }
    /* The pipe between two children of a pipeline is the second one's by purpose. What is still
     * open when a third is made was forgotten. */
    return !(record->flags & LEDGER_TIED) ||
           (__atomic_fetch_or(&record->flags, LEDGER_PASSED, __ATOMIC_RELAXED) & LEDGER_PASSED);
}

static void note_inheritable(const struct unwind_start *here, uint32_t child)
{
    uint32_t sandbox = ledger_owner_outermost(&shim.ledger, child);
    uint64_t used = __atomic_load_n(&shim.ledger.header->used[LEDGER_FDS], __ATOMIC_ACQUIRE);
    uint32_t limit = used < INHERITABLE_FDS ? (uint32_t)used : INHERITABLE_FDS;
    uint32_t stack = 0;
    struct ledger_fd *record = NULL;
    for (uint32_t fd = 0; fd < limit; fd++, record++) {
        /* Records lie in a row, but for the step from the base to the first chunk. */
        if (unlikely(fd == 0 || fd == LEDGER_FDS_IN_BASE)) {
            record = ledger_at(&shim.ledger, LEDGER_FDS, fd);
            if (!record) {
                return;
            }
        }
        /* Most are the supervisor's own: one look. What it held before is still written there. */
        if (likely(__atomic_load_n(&record->owner, __ATOMIC_RELAXED) == 0) ||
            !ledger_fd_record(&shim.ledger, (int)fd) || !leaks_into(record, sandbox)) {
            continue;
        }
        stack = stack ? stack : shim_stack(here);
        ledger_note_owners(&shim.ledger, shim_actor(), LEDGER_EVENT_INHERITABLE, record->stack,
                           stack, fd, record->owner, child, shim_now());
    }
}

/* Whether there was ever another sandbox that could have descriptors of its own. */
static bool others_own(void)
{
    return __atomic_load_n(&shim.ledger.header->owner_serial, __ATOMIC_RELAXED) > 1;
}

/* The child's owner; 0: it is none that is known. */
static uint32_t child_made(const struct unwind_start *here, pid_t pid, uint32_t ticket, int signal)
{
    if (pid <= 0 || !shim_watching_process() || FAULT(child_unseen)) {
        return 0;
    }
    struct sandbox_event event = shim_sandbox_event(here);
    uint32_t child =
        child_begins(&event, pid, ticket, signal == SIGCHLD ? 0 : SANDBOX_CHILD_NO_SIGCHLD);
    if (child != 0 && !shim_thread.detached && others_own() && !FAULT(inheritable_unseen)) {
        note_inheritable(here, child);
    }
    return child;
}

void shim_child_made(const struct unwind_start *here, pid_t pid, uint32_t ticket, int signal)
{
    child_made(here, pid, ticket, signal);
}

void shim_child_cloned(const struct unwind_start *here, pid_t pid, uint32_t ticket, uint64_t flags,
                       int signal, const int *pidfd)
{
    uint32_t child = 0;
    if (!(flags & (CLONE_THREAD | CLONE_PARENT))) { /* else it is not this process's child */
        child = child_made(here, pid, ticket, signal);
    }
    if (pid > 0 && (flags & CLONE_PIDFD)) {
        shim_took_for(here, *pidfd, LEDGER_FD_PIDFD, true, child);
    }
}

/* For wrap_vfork.S, which jumps here in the parent: our caller is vfork's. */
__attribute__((visibility("hidden"))) long shim_vforked(long result, uint32_t ticket);
long shim_vforked(long result, uint32_t ticket)
{
    shim_child_made(HERE, (pid_t)result, ticket, SIGCHLD);
    return libc_result(result);
}

/* fork.2. The child is detached: the page that says otherwise is wiped. It never touches the
 * ledger's memory, which it does not even have, unless a handler forked above an update. */
static pid_t forked(const struct unwind_start *here, pid_t (*fork_it)(void))
{
    uint32_t ticket = shim_child_ticket();
    struct ledger_actor *actor = &shim_thread.actor;
    bool inside = *shim.attached && (actor->locked || actor->busy);
    if (unlikely(inside)) {
        shim_memory_before_fork();
    }
    pid_t result = fork_it();
    if (unlikely(inside)) {
        if (result == 0) {
            shim_memory_after_fork_child();
        } else {
            shim_memory_after_fork_parent();
        }
    }
    if (result == 0) {
        shim_follow_child();
    }
    shim_child_made(here, result, ticket, SIGCHLD);
    return result;
}

EXPORT pid_t fork(void)
{
    return forked(HERE, REAL(fork));
}

EXPORT pid_t _Fork(void)
{
    if (unlikely(REAL(_Fork) == NULL)) {
        errno = ENOSYS;
        return -1;
    }
    return forked(HERE, real._Fork);
}

EXPORT pid_t forkpty(int *master, char *name, const struct termios *termios,
                     const struct winsize *size)
{
    if (shim_limits_fds(HERE, 1)) {
        return -1;
    }
    uint32_t ticket = shim_child_ticket();
    pid_t result = REAL(forkpty)(master, name, termios, size);
    if (result == 0) {
        shim_follow_child();
    } else {
        shim_child_made(HERE, result, ticket, SIGCHLD);
        shim_took(HERE, result > 0 ? *master : -1, LEDGER_FD_PTY, false);
    }
    return result;
}

/* daemon.3: the process that goes on is a child. */
EXPORT int daemon(int keep_directory, int keep_streams)
{
    int result = REAL(daemon)(keep_directory, keep_streams);
    shim_follow_child();
    return result;
}

/* clone.2: the child starts in `start` on a stack of its own, so this returns once. */
EXPORT int clone(int (*start)(void *), void *stack, int flags, void *argument, ...)
{
    va_list list;
    va_start(list, argument);
    pid_t *parent_tid = va_arg(list, pid_t *);
    void *tls = va_arg(list, void *);
    pid_t *child_tid = va_arg(list, pid_t *);
    va_end(list);
    bool shares = (flags & CLONE_VM) && !(flags & CLONE_THREAD) && !FAULT(clone_unseen);
    if ((flags & (CLONE_VM | CLONE_VFORK)) == CLONE_VM) {
        shim.ledger.alone = &ledger_never_alone; /* libc does not know of it */
    }
    if (shares) {
        __atomic_add_fetch(&shim.vm_children, 1, __ATOMIC_RELAXED);
    }
    uint32_t ticket = shim_child_ticket();
    int result = REAL(clone)(start, stack, flags, argument, parent_tid, tls, child_tid);
    if (shares && (result < 0 || (flags & CLONE_VFORK))) {
        __atomic_sub_fetch(&shim.vm_children, 1, __ATOMIC_RELAXED);
    }
    shim_child_cloned(HERE, result, ticket, (uint64_t)(unsigned)flags, flags & CSIGNAL, parent_tid);
    return result;
}

/* posix_spawn.3: libc makes the child by a call of its own, and has reaped it where this fails. */
#define SPAWNS(name)                                                                               \
    EXPORT int name(pid_t *pid, const char *program, const posix_spawn_file_actions_t *actions,    \
                    const posix_spawnattr_t *attributes, char *const arguments[],                  \
                    char *const environment[])                                                     \
    {                                                                                              \
        pid_t child = 0;                                                                           \
        pid_t *made = pid ? pid : &child;                                                          \
        uint32_t ticket = shim_child_ticket();                                                     \
        int result = REAL(name)(made, program, actions, attributes, arguments, environment);       \
        if (result == 0) {                                                                         \
            shim_child_runs(program);                                                              \
            shim_child_made(HERE, *made, ticket, SIGCHLD);                                         \
        }                                                                                          \
        return result;                                                                             \
    }
SPAWNS(posix_spawn)
SPAWNS(posix_spawnp)

/* unshare.2: from here on the thread's numbers are its own. */
EXPORT int unshare(int flags)
{
    int result = PERFORM(false, int, unshare, (flags), raw_syscall1(SYS_unshare, flags));
    if (result == 0 && (flags & CLONE_FILES) && shim_watching_process() && !FAULT(unshare_unseen)) {
        shim_thread.detached = true;
    }
    return result;
}

void shim_before_filter(bool all_threads)
{
    if (!shim_watching_process() || FAULT(grows_anyway)) { /* a vfork child has our storage */
        return;
    }
    struct ledger_actor *actor = shim_actor();
    ledger_make_ahead(&shim.ledger, actor);
    __atomic_add_fetch(&shim.filter_seen, 1, __ATOMIC_RELAXED);
    if (all_threads) {
        __atomic_add_fetch(&shim.filter_all, 1, __ATOMIC_RELAXED);
    }
    shim_thread.filters++;
    actor->may_grow = false;
}

/* A program that looks what the kernel can do asks for a filter at a bad address. */
void shim_after_filter(bool all_threads, bool is_on)
{
    if (is_on || !shim_watching_process() || FAULT(grows_anyway)) {
        return;
    }
    struct ledger_actor *actor = shim_actor();
    if (all_threads) {
        __atomic_sub_fetch(&shim.filter_all, 1, __ATOMIC_RELAXED);
    }
    shim_thread.filters--;
    bool none_elsewhere = __atomic_sub_fetch(&shim.filter_seen, 1, __ATOMIC_RELAXED) == 0;
    actor->may_grow = shim_thread.filters == 0 && (shim_thread.was_free || none_elsewhere);
}

/* prctl.2 */
EXPORT int prctl(int option, ...)
{
    va_list list;
    va_start(list, option);
    unsigned long a = va_arg(list, unsigned long);
    unsigned long b = va_arg(list, unsigned long);
    unsigned long c = va_arg(list, unsigned long);
    unsigned long d = va_arg(list, unsigned long);
    va_end(list);
    if (option == PR_SET_SECCOMP) {
        shim_before_filter(false);
    }
    int result = PERFORM(false, int, prctl, (option, a, b, c, d),
                         raw_syscall5(SYS_prctl, option, a, b, c, d));
    if (option == PR_SET_SECCOMP) {
        shim_after_filter(false, result == 0);
    } else if (option == PR_SET_NAME && result == 0) {
        shim_thread_named(HERE, (const char *)a);
    }
    return result;
}

/* sigaltstack.2: two stack pointers can only be compared on one stack. */
EXPORT int sigaltstack(const stack_t *stack, stack_t *old)
{
    int result =
        PERFORM(false, int, sigaltstack, (stack, old), raw_syscall2(SYS_sigaltstack, stack, old));
    if (result == 0 && stack && shim_watching_process()) {
        struct ledger_actor *actor = shim_actor();
        bool off = (stack->ss_flags & SS_DISABLE) != 0;
        actor->alt_low = off ? 0 : (uintptr_t)stack->ss_sp;
        actor->alt_top = off ? 0 : (uintptr_t)stack->ss_sp + stack->ss_size;
        unwind_note_altstack(actor->alt_low, actor->alt_top);
    }
    return result;
}

/* _exit.2 */
static _Noreturn void ended(int status)
{
    if (shim_watching_process()) {
        shim_finish(status);
    }
    for (;;) {
        raw_syscall1(SYS_exit_group, status);
    }
}

EXPORT _Noreturn void _exit(int status)
{
    ended(status);
}

EXPORT _Noreturn void _Exit(int status)
{
    ended(status);
}

/* quick_exit.3: its handlers come first, ours, the oldest, last of them. */
EXPORT _Noreturn void quick_exit(int status)
{
    shim.quick_status = status;
    REAL(quick_exit)(status);
    ended(status);
}

/* execve.2 and its kin (exec.3). What was too much with our two strings may do without: then the
 * new image goes unwatched. */
static bool too_much(const struct shim_exec *exec)
{
    return exec->copy && errno == E2BIG;
}

int shim_execve(bool raw, const char *path, char *const *arguments, char *const *environment)
{
    struct shim_exec exec = shim_exec_begin(path, environment);
    int result = PERFORM(raw, int, execve, (path, arguments, exec.environment),
                         raw_syscall3(SYS_execve, path, arguments, exec.environment));
    if (too_much(&exec)) {
        result = PERFORM(raw, int, execve, (path, arguments, environment),
                         raw_syscall3(SYS_execve, path, arguments, environment));
    }
    shim_exec_failed(&exec);
    return result;
}

int shim_execveat(bool raw, int dir, const char *path, char *const *arguments,
                  char *const *environment, int flags)
{
    struct shim_exec exec = shim_exec_begin(path, environment);
    int result = PERFORM(raw, int, execveat, (dir, path, arguments, exec.environment, flags),
                         raw_syscall5(SYS_execveat, dir, path, arguments, exec.environment, flags));
    if (too_much(&exec)) {
        result = PERFORM(raw, int, execveat, (dir, path, arguments, environment, flags),
                         raw_syscall5(SYS_execveat, dir, path, arguments, environment, flags));
    }
    shim_exec_failed(&exec);
    return result;
}

EXPORT int execve(const char *path, char *const arguments[], char *const environment[])
{
    return shim_execve(false, path, arguments, environment);
}

EXPORT int execveat(int dir, const char *path, char *const arguments[], char *const environment[],
                    int flags)
{
    return shim_execveat(false, dir, path, arguments, environment, flags);
}

EXPORT int fexecve(int fd, char *const arguments[], char *const environment[])
{
    struct shim_exec exec = shim_exec_begin("", environment);
    int result = REAL(fexecve)(fd, arguments, exec.environment);
    if (too_much(&exec)) {
        result = real.fexecve(fd, arguments, environment);
    }
    shim_exec_failed(&exec);
    return result;
}

EXPORT int execv(const char *path, char *const arguments[])
{
    return shim_execve(false, path, arguments, environ);
}

EXPORT int execvpe(const char *file, char *const arguments[], char *const environment[])
{
    struct shim_exec exec = shim_exec_begin(file, environment);
    int result = REAL(execvpe)(file, arguments, exec.environment);
    if (too_much(&exec)) {
        result = real.execvpe(file, arguments, environment);
    }
    shim_exec_failed(&exec);
    return result;
}

EXPORT int execvp(const char *file, char *const arguments[])
{
    return execvpe(file, arguments, environ);
}

/* execl and its kin: the arguments, and execle's environment behind their NULL, on the stack, as
 * libc has them. */
#define LISTED(first, call)                                                                        \
    size_t count = 1;                                                                              \
    va_list list;                                                                                  \
    va_start(list, first);                                                                         \
    while (va_arg(list, char *)) {                                                                 \
        count++;                                                                                   \
    }                                                                                              \
    va_end(list);                                                                                  \
    char **arguments = __builtin_alloca((count + 1) * sizeof(char *));                             \
    char *const *environment = environ;                                                            \
    va_start(list, first);                                                                         \
    arguments[0] = (char *)(uintptr_t)first;                                                       \
    for (size_t i = 1; i <= count; i++) {                                                          \
        arguments[i] = va_arg(list, char *);                                                       \
    }                                                                                              \
    call

EXPORT int execl(const char *path, const char *first, ...)
{
    LISTED(first, va_end(list));
    return shim_execve(false, path, arguments, environment);
}

EXPORT int execlp(const char *file, const char *first, ...)
{
    LISTED(first, va_end(list));
    return execvpe(file, arguments, environment);
}

EXPORT int execle(const char *path, const char *first, ...)
{
    LISTED(first, environment = va_arg(list, char *const *));
    va_end(list);
    return shim_execve(false, path, arguments, environment);
}
