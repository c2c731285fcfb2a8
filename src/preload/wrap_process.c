/*
 * wrap_process.c: calls that make a process, change this one, or end it.
 */
#include <fcntl.h>
#include <linux/sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "calls.h"
#include "wrap.h"

/* For wrap_vfork.S: an error, as libc tells it. */
__attribute__((visibility("hidden"))) long shim_failed(long result);
long shim_failed(long result)
{
    return libc_result(result);
}

/* fork.2. The child is detached: the page that says otherwise is wiped. It never touches the
 * ledger's memory, which it does not even have, unless a handler forked above an update. */
static pid_t forked(pid_t (*fork_it)(void))
{
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
    return result;
}

EXPORT pid_t fork(void)
{
    return forked(REAL(fork));
}

EXPORT pid_t _Fork(void)
{
    if (unlikely(REAL(_Fork) == NULL)) {
        errno = ENOSYS;
        return -1;
    }
    return forked(real._Fork);
}

EXPORT pid_t forkpty(int *master, char *name, const struct termios *termios,
                     const struct winsize *size)
{
    pid_t result = REAL(forkpty)(master, name, termios, size);
    if (result == 0) {
        shim_follow_child();
    } else {
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
    if (shares) {
        __atomic_add_fetch(&shim.vm_children, 1, __ATOMIC_RELAXED);
    }
    int result = REAL(clone)(start, stack, flags, argument, parent_tid, tls, child_tid);
    if (shares && (result < 0 || (flags & CLONE_VFORK))) {
        __atomic_sub_fetch(&shim.vm_children, 1, __ATOMIC_RELAXED);
    }
    if (result > 0 && (flags & CLONE_PIDFD)) {
        shim_took(HERE, *parent_tid, LEDGER_FD_PIDFD, true);
    }
    return result;
}

/* unshare.2: from here on the thread's numbers are its own. */
EXPORT int unshare(int flags)
{
    int result = PERFORM(false, int, unshare, (flags), raw_syscall1(SYS_unshare, flags));
    if (result == 0 && (flags & CLONE_FILES) && !FAULT(unshare_unseen)) {
        shim_thread.detached = true;
    }
    return result;
}

void shim_before_filter(bool all_threads)
{
    if (!shim_watching_memory() || FAULT(grows_anyway)) {
        return;
    }
    struct ledger_actor *actor = shim_actor();
    ledger_make_ahead(&shim.ledger, actor);
    shim.filter_seen = 1;
    actor->may_grow = false;
    if (all_threads) {
        shim.filter_all = 1;
    }
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
    return PERFORM(false, int, prctl, (option, a, b, c, d),
                   raw_syscall5(SYS_prctl, option, a, b, c, d));
}

/* sigaltstack.2: two stack pointers can only be compared on one stack. */
EXPORT int sigaltstack(const stack_t *stack, stack_t *old)
{
    int result =
        PERFORM(false, int, sigaltstack, (stack, old), raw_syscall2(SYS_sigaltstack, stack, old));
    if (result == 0 && stack && shim_watching_memory()) {
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
