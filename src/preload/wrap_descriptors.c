/*
 * wrap_descriptors.c: calls that take and close descriptors.
 *
 * Each follows its section-2 manual page. Those that do more than take one are in full below the
 * table.
 */
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "calls.h"
#include "police.h"
#include "wrap.h"

#define OPEN_CLOEXEC ((flags & O_CLOEXEC) != 0)

/* memfd_create.2 */
EXPORT int memfd_create(const char *name, unsigned flags)
{
    int fd;
    if (shim_goes_straight()) {
        fd = (int)libc_result(raw_syscall2(SYS_memfd_create, name, flags));
    } else if (shim_limits_fds(HERE, 1)) {
        return -1;
    } else {
        fd = (int)TRY_TWICE(HERE, PERFORM(!real_chained, int, memfd_create, (name, flags),
                                          raw_syscall2(SYS_memfd_create, name, flags)));
    }
    return shim_took(HERE, fd, LEDGER_FD_MEMFD, (flags & MFD_CLOEXEC) != 0);
}

/* eventfd.2, epoll_create.2, timerfd_create.2, inotify_init.2, ... */
TAKES_FD(eventfd, EVENTFD, (unsigned count, int flags), (count, flags), (flags & EFD_CLOEXEC) != 0)
TAKES_FD(epoll_create, EPOLL, (int size), (size), false)
TAKES_FD(epoll_create1, EPOLL, (int flags), (flags), (flags & EPOLL_CLOEXEC) != 0)
TAKES_FD(timerfd_create, TIMERFD, (int clock, int flags), (clock, flags),
         (flags & TFD_CLOEXEC) != 0)
TAKES_FD(inotify_init, INOTIFY, (void), (), false)
TAKES_FD(inotify_init1, INOTIFY, (int flags), (flags), (flags & IN_CLOEXEC) != 0)
TAKES_FD(fanotify_init, FANOTIFY, (unsigned flags, unsigned event_flags), (flags, event_flags),
         (flags & 1) != 0 /* FAN_CLOEXEC, linux/fanotify.h */)
TAKES_FD(fsopen, MOUNT, (const char *type, unsigned flags), (type, flags), (flags & 1) != 0)
TAKES_FD(fspick, MOUNT, (int dir, const char *path, unsigned flags), (dir, path, flags),
         (flags & 1) != 0)
TAKES_FD(fsmount, MOUNT, (int fs, unsigned flags, unsigned attributes), (fs, flags, attributes),
         (flags & 1) != 0)
TAKES_FD(open_tree, MOUNT, (int dir, const char *path, unsigned flags), (dir, path, flags),
         (flags & O_CLOEXEC) != 0)

/* open.2, open_by_handle_at.2, shm_open.3, posix_openpt.3 */
TAKES_FD(creat, FILE, (const char *path, mode_t mode), (path, mode), false)
TAKES_FD(creat64, FILE, (const char *path, mode_t mode), (path, mode), false)
TAKES_FD(open_by_handle_at, FILE, (int mount, struct file_handle *handle, int flags),
         (mount, handle, flags), OPEN_CLOEXEC)
TAKES_FD(shm_open, SHM, (const char *name, int flags, mode_t mode), (name, flags, mode), true)
TAKES_FD(posix_openpt, PTY, (int flags), (flags), OPEN_CLOEXEC)
TAKES_FD(getpt, PTY, (void), (), false)

/* The child whose this descriptor is, reaped just now perhaps; 0: it is none's. */
static uint32_t child_of(const struct ledger_fd *record)
{
    uint32_t owner = __atomic_load_n(&record->owner, __ATOMIC_RELAXED);
    const struct ledger_owner *sandbox = ledger_owner(&shim.ledger, owner);
    bool is_process =
        sandbox && sandbox->pid != 0 &&
        (sandbox->kind == LEDGER_OWNER_CHILD || sandbox->kind == LEDGER_OWNER_SECCOMP);
    return is_process ? owner : 0;
}

/* A descriptor of a child's files in /proc is the child's, and so is what is opened below it. What
 * else of a child's may be a directory (received, or taken in a scope) says nothing of the kind. */
uint32_t shim_below_owner(int dir)
{
    const struct ledger_fd *record = shim_watching() ? ledger_fd_record(&shim.ledger, dir) : NULL;
    if (!record || (record->kind != LEDGER_FD_FILE && record->kind != LEDGER_FD_DIRECTORY) ||
        (record->flags & (LEDGER_SCOPED | LEDGER_GIVEN | LEDGER_TIED))) {
        return 0;
    }
    return child_of(record);
}

static int opened(const struct unwind_start *here, int dir, const char *path, int fd, bool cloexec)
{
    return shim_took_for(here, fd, LEDGER_FD_FILE, cloexec,
                         likely(fd >= 0) ? shim_path_owner_at(dir, path) : 0);
}

#define MODE(last)                                                                                 \
    mode_t mode = 0;                                                                               \
    if (__OPEN_NEEDS_MODE(flags)) {                                                                \
        va_list list;                                                                              \
        va_start(list, last);                                                                      \
        mode = va_arg(list, mode_t);                                                               \
        va_end(list);                                                                              \
    }

#define OPENS(name)                                                                                \
    EXPORT int name(const char *path, int flags, ...)                                              \
    {                                                                                              \
        MODE(flags)                                                                                \
        if (shim_limits_fds(HERE, 1)) {                                                            \
            return -1;                                                                             \
        }                                                                                          \
        return opened(                                                                             \
            HERE, AT_FDCWD, path,                                                                  \
            (int)TRY_TWICE(HERE, PERFORM(FAULT(not_cancelled), int, name, (path, flags, mode),     \
                                         raw_syscall4(SYS_openat, AT_FDCWD, path, flags, mode))),  \
            OPEN_CLOEXEC);                                                                         \
    }
#define OPENS_AT(name)                                                                             \
    EXPORT int name(int dir, const char *path, int flags, ...)                                     \
    {                                                                                              \
        MODE(flags)                                                                                \
        if (shim_limits_fds(HERE, 1)) {                                                            \
            return -1;                                                                             \
        }                                                                                          \
        return opened(HERE, dir, path,                                                             \
                      (int)TRY_TWICE(                                                              \
                          HERE, PERFORM(FAULT(not_cancelled), int, name, (dir, path, flags, mode), \
                                        raw_syscall4(SYS_openat, dir, path, flags, mode))),        \
                      OPEN_CLOEXEC);                                                               \
    }
OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)

/* Their fortified forms. */
#define OPENS_CHECKED(name, dir, params, args)                                                     \
    EXPORT int name params                                                                         \
    {                                                                                              \
        if (shim_limits_fds(HERE, 1)) {                                                            \
            return -1;                                                                             \
        }                                                                                          \
        return opened(HERE, dir, path, (int)TRY_TWICE(HERE, REAL(name) args), OPEN_CLOEXEC);       \
    }
OPENS_CHECKED(__open_2, AT_FDCWD, (const char *path, int flags), (path, flags))
OPENS_CHECKED(__open64_2, AT_FDCWD, (const char *path, int flags), (path, flags))
OPENS_CHECKED(__openat_2, dir, (int dir, const char *path, int flags), (dir, path, flags))
OPENS_CHECKED(__openat64_2, dir, (int dir, const char *path, int flags), (dir, path, flags))

/* pidfd_open.2, pidfd_getfd.2: a child's pidfd is the child's, and so is what comes through it. */
uint32_t shim_pid_owner(int pid)
{
    return shim_had_owners() && !FAULT(pidfds_nobodys)
               ? child_owner_lately(&shim.sandbox, &shim.ledger, pid)
               : 0;
}

uint32_t shim_pidfd_owner(int pidfd)
{
    const struct ledger_fd *record =
        shim_had_owners() && shim_watching() ? ledger_fd_record(&shim.ledger, pidfd) : NULL;
    return record && !FAULT(fetched_nobodys) ? child_of(record) : 0;
}

EXPORT int pidfd_open(pid_t pid, unsigned flags)
{
    if (unlikely(REAL(pidfd_open) == NULL)) {
        errno = ENOSYS;
        return -1;
    }
    if (shim_polices(POLICY_LIMIT) && police_refuses_fds(HERE, 1, shim_pid_owner(pid))) {
        return -1;
    }
    int fd = real.pidfd_open(pid, flags);
    return shim_took_for(HERE, fd, LEDGER_FD_PIDFD, true, fd >= 0 ? shim_pid_owner(pid) : 0);
}

EXPORT int pidfd_getfd(int pidfd, int target, unsigned flags)
{
    if (unlikely(REAL(pidfd_getfd) == NULL)) {
        errno = ENOSYS;
        return -1;
    }
    if (shim_polices(POLICY_LIMIT) && police_refuses_fds(HERE, 1, shim_pidfd_owner(pidfd))) {
        return -1;
    }
    int fd = real.pidfd_getfd(pidfd, target, flags);
    return shim_took_for(HERE, fd, LEDGER_FD_RECEIVED, true, fd >= 0 ? shim_pidfd_owner(pidfd) : 0);
}

EXPORT mqd_t mq_open(const char *name, int flags, ...)
{
    mode_t mode = 0;
    struct mq_attr *attributes = NULL;
    if (flags & O_CREAT) {
        va_list list;
        va_start(list, flags);
        mode = va_arg(list, mode_t);
        attributes = va_arg(list, struct mq_attr *);
        va_end(list);
    }
    if (shim_limits_fds(HERE, 1)) {
        return -1;
    }
    return shim_took(HERE, REAL(mq_open)(name, flags, mode, attributes), LEDGER_FD_MQUEUE, true);
}

EXPORT mqd_t __mq_open_2(const char *name, int flags)
{
    if (shim_limits_fds(HERE, 1)) {
        return -1;
    }
    return shim_took(HERE, REAL(__mq_open_2)(name, flags), LEDGER_FD_MQUEUE, true);
}

/* signalfd.2: with a descriptor given, that one is changed and nothing is taken. */
EXPORT int signalfd(int fd, const sigset_t *mask, int flags)
{
    if (fd == -1 && shim_limits_fds(HERE, 1)) {
        return -1;
    }
    int result = REAL(signalfd)(fd, mask, flags);
    if (fd == -1) {
        return shim_took(HERE, result, LEDGER_FD_SIGNALFD, (flags & SFD_CLOEXEC) != 0);
    }
    if (shim_watching()) {
        shim_fd_named(HERE, result);
    }
    return result;
}

static void took_two(const struct unwind_start *here, const int *fds, int result,
                     enum ledger_fd_kind kind, bool cloexec)
{
    if (result == 0) {
        shim_took(here, fds[0], kind, cloexec);
        shim_took(here, fds[1], kind, cloexec);
    } else {
        shim_took(here, -1, kind, cloexec);
    }
}

/* Each end's record says which the other is. */
void shim_took_pipe(const struct unwind_start *here, const int *fds, int result, bool cloexec)
{
    if (unlikely(result != 0)) {
        shim_took(here, -1, LEDGER_FD_PIPE, cloexec);
    } else if (likely(shim_watching())) {
        unsigned flags = cloexec ? LEDGER_CLOEXEC : 0;
        shim_fd_taken(here, fds[0], LEDGER_FD_PIPE, flags, (uint32_t)fds[1] + 1);
        shim_fd_taken(here, fds[1], LEDGER_FD_PIPE, flags, (uint32_t)fds[0] + 1);
    }
}

EXPORT int pipe(int fds[2])
{
    if (shim_limits_fds(HERE, 2)) {
        return -1;
    }
    int result =
        (int)TRY_TWICE(HERE, PERFORM(false, int, pipe, (fds), raw_syscall2(SYS_pipe2, fds, 0)));
    shim_took_pipe(HERE, fds, result, false);
    return result;
}

EXPORT int pipe2(int fds[2], int flags)
{
    if (shim_limits_fds(HERE, 2)) {
        return -1;
    }
    int result = (int)TRY_TWICE(
        HERE, PERFORM(false, int, pipe2, (fds, flags), raw_syscall2(SYS_pipe2, fds, flags)));
    shim_took_pipe(HERE, fds, result, OPEN_CLOEXEC);
    return result;
}

EXPORT int openpty(int *master, int *slave, char *name, const struct termios *termios,
                   const struct winsize *size)
{
    if (shim_limits_fds(HERE, 2)) {
        return -1;
    }
    int result = REAL(openpty)(master, slave, name, termios, size);
    took_two(HERE, (int[]){result == 0 ? *master : -1, result == 0 ? *slave : -1}, result,
             LEDGER_FD_PTY, false);
    return result;
}

/* dup.2 */
static int copied(const struct unwind_start *here, int from, int to, bool cloexec)
{
    if (likely(to >= 0)) {
        if (likely(shim_watching())) {
            shim_fd_copied(here, from, to, cloexec);
        }
        return to;
    }
    return shim_took(here, to, LEDGER_FD_DUP, cloexec);
}

int shim_dup(const struct unwind_start *here, bool raw, int fd)
{
    if (FAULT(result_lost) && fd < 0) {
        return 0;
    }
    if (shim_limits_fds(here, 1)) {
        return -1;
    }
    int result = (int)TRY_TWICE(here, PERFORM(raw, int, dup, (fd), raw_syscall1(SYS_dup, fd)));
    return copied(here, fd, result, false);
}

EXPORT int dup(int fd)
{
    int result;
    if (FAULT(result_lost)) {
        return shim_dup(HERE, false, fd);
    }
    if (shim_goes_straight()) {
        result = (int)libc_result(raw_syscall1(SYS_dup, fd));
    } else if (shim_limits_fds(HERE, 1)) {
        return -1;
    } else {
        result =
            (int)TRY_TWICE(HERE, PERFORM(!real_chained, int, dup, (fd), raw_syscall1(SYS_dup, fd)));
    }
    return copied(HERE, fd, result, false);
}

/* dup2 and dup3 close what was at `to`, and only if they succeed. */
static int copied_over(const struct unwind_start *here, int from, int to, int result,
                       const struct shim_release *release, bool cloexec)
{
    if (release->watching) {
        if (result == to) {
            shim_fd_copied(here, from, to, cloexec);
        } else {
            shim_fd_kept(to, release);
        }
        police_look(here);
    }
    return result;
}

int shim_dup3(const struct unwind_start *here, bool raw, int from, int to, int flags)
{
    if (shim_polices(POLICY_LIMIT) && police_refuses_fd_at(here, to)) {
        return -1;
    }
    struct shim_release release = shim_fd_releasing(here, to);
    int result =
        PERFORM(raw, int, dup3, (from, to, flags), raw_syscall3(SYS_dup3, from, to, flags));
    return copied_over(here, from, to, result, &release, OPEN_CLOEXEC);
}

EXPORT int dup3(int from, int to, int flags)
{
    return shim_dup3(HERE, false, from, to, flags);
}

static long kernel_dup2(int from, int to)
{
#ifdef SYS_dup2
    return raw_syscall2(SYS_dup2, from, to);
#else
    return from == to ? raw_syscall2(SYS_fcntl, from, F_GETFD)
                      : raw_syscall3(SYS_dup3, from, to, 0);
#endif
}

int shim_dup2(const struct unwind_start *here, bool raw, int from, int to)
{
    if (from == to) { /* nothing is closed, nothing is taken */
        return PERFORM(raw, int, dup2, (from, to), kernel_dup2(from, to));
    }
    if (shim_polices(POLICY_LIMIT) && police_refuses_fd_at(here, to)) {
        return -1;
    }
    struct shim_release release = shim_fd_releasing(here, to);
    int result = PERFORM(raw, int, dup2, (from, to), kernel_dup2(from, to));
    return copied_over(here, from, to, result, &release, false);
}

EXPORT int dup2(int from, int to)
{
    return shim_dup2(HERE, false, from, to);
}

bool shim_fcntl_limited(const struct unwind_start *here, int command)
{
    return (command == F_DUPFD || command == F_DUPFD_CLOEXEC) && shim_limits_fds(here, 1);
}

/* fcntl.2. Other commands may block (F_SETLKW is a cancellation point): they go straight on. */
int shim_fcntl(const struct unwind_start *here, int fd, int command, int result, long argument)
{
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) {
        return copied(here, fd, result, command == F_DUPFD_CLOEXEC);
    }
    if (command == F_SETFD && result == 0 && shim_watching()) {
        ledger_fd_cloexec(&shim.ledger, fd, (argument & FD_CLOEXEC) != 0);
    }
    return result;
}

#define CONTROLS_FD(name)                                                                          \
    EXPORT int name(int fd, int command, ...)                                                      \
    {                                                                                              \
        va_list list;                                                                              \
        va_start(list, command);                                                                   \
        long argument = va_arg(list, long);                                                        \
        va_end(list);                                                                              \
        if (shim_fcntl_limited(HERE, command)) {                                                   \
            return -1;                                                                             \
        }                                                                                          \
        int result =                                                                               \
            (int)TRY_TWICE(HERE, PERFORM(false, int, name, (fd, command, argument),                \
                                         raw_syscall3(SYS_fcntl, fd, command, argument)));         \
        return shim_fcntl(HERE, fd, command, result, argument);                                    \
    }
CONTROLS_FD(fcntl)
CONTROLS_FD(fcntl64)

/* The other end of the pipe whose end `fd` is, as far as both are known; -1: none. */
static int pipe_partner(int fd)
{
    const struct ledger_fd *end = ledger_fd_record(&shim.ledger, fd);
    int other = end && end->kind == LEDGER_FD_PIPE
                    ? (int)__atomic_load_n(&end->detail, __ATOMIC_RELAXED) - 1
                    : -1;
    const struct ledger_fd *partner = ledger_fd_record(&shim.ledger, other);
    bool agree = partner && partner->kind == LEDGER_FD_PIPE &&
                 __atomic_load_n(&partner->detail, __ATOMIC_RELAXED) == (uint32_t)fd + 1;
    return agree ? other : -1;
}

static __attribute__((noinline)) void pipe_closed(const struct unwind_start *here, int other)
{
    struct sandbox_event event = shim_sandbox_event(here);
    child_pipe_closed(&event, other);
}

/* close.2: leaves the ledger before the call, since from within it on the number may be another
 * thread's. A cancellation point: the thread may end inside. */
int shim_close(const struct unwind_start *here, bool raw, int fd)
{
    int other = -1; /* the close that follows a fork may leave a pipe to the child */
    if (unlikely(shim_thread.sandbox.last_child != 0) && shim_watching() && !FAULT(pipe_untied)) {
        other = pipe_partner(fd);
    }
    struct shim_release release;
    if (FAULT(released_late)) {
        release = (struct shim_release){.watching = false};
    } else {
        release = shim_fd_releasing(here, fd);
    }
    if (unlikely(release.is_done)) {
        return 0;
    }
    int result = PERFORM(raw, int, close, (fd), raw_syscall1(SYS_close, fd));
    if (FAULT(released_late)) {
        release = shim_fd_releasing(here, fd);
    }
    shim_fd_released(fd, &release, result);
    if (unlikely(other >= 0) && result == 0) {
        pipe_closed(here, other);
    }
    police_look(here);
    return result;
}

static __attribute__((noinline)) int close_slowly(int fd, uintptr_t pc, uintptr_t sp, uintptr_t bp)
{
    return shim_close(&(struct unwind_start){pc, sp, bp}, false, fd);
}

EXPORT int close(int fd)
{
    uintptr_t pc = HERE->pc;
    uintptr_t sp = HERE->sp;
    uintptr_t bp = HERE->bp;
    /* Nor while a policy looks at what is closed: what is a sandbox's, or was reclaimed, goes the
     * other way in any case. */
    bool straight = shim_goes_straight() || (!real_chained && police_is_idle());
    if (straight && likely(shim_fd_closing(fd, pc, sp, bp))) {
        return real.close(fd); /* jumped to */
    }
    return close_slowly(fd, pc, sp, bp);
}

EXPORT int mq_close(mqd_t queue)
{
    struct shim_release release = shim_fd_releasing(HERE, queue);
    int result = REAL(mq_close)(queue);
    shim_fd_released(queue, &release, result);
    return result;
}

/* Of what is recorded. */
static void fly_range(const struct unwind_start *here, unsigned first, unsigned last)
{
    uint32_t stack = shim_stack(here);
    if (shim_polices(POLICY_RECLAIM)) {
        police_fds_late(here, first, last, stack);
    }
    ledger_fd_fly_range(&shim.ledger, shim_actor(), first, last, stack);
    if (shim_polices(POLICY_RECLAIM)) {
        police_fds_fly(here, first, last);
    }
}

/* close_range.2. It fails before it does anything, or not at all. */
int shim_close_range(const struct unwind_start *here, bool raw, unsigned first, unsigned last,
                     unsigned flags)
{
    bool watching = shim_watching();
    bool closes = !(flags & (CLOSE_RANGE_CLOEXEC | CLOSE_RANGE_UNSHARE)) && first <= last;
    if (watching && closes) {
        fly_range(here, first, last);
    }
    int result = PERFORM(raw, int, close_range, (first, last, (int)flags),
                         raw_syscall3(SYS_close_range, first, last, flags));
    if (!watching) {
        return result;
    }
    if (closes) {
        ledger_fd_released_range(&shim.ledger, shim_actor(), first, last, result < 0);
    } else if (result == 0 && (flags & CLOSE_RANGE_UNSHARE)) {
        shim_thread.detached = true;
    } else if (result == 0) {
        ledger_fd_cloexec_range(&shim.ledger, first, last);
    }
    police_look(here);
    return result;
}

EXPORT int close_range(unsigned first, unsigned last, int flags)
{
    return shim_close_range(HERE, false, first, last, (unsigned)flags);
}

EXPORT void closefrom(int first)
{
    bool watching = shim_watching();
    unsigned from = first < 0 ? 0 : (unsigned)first;
    if (watching) {
        fly_range(HERE, from, UINT32_MAX);
    }
    REAL(closefrom)(first);
    if (watching) {
        ledger_fd_released_range(&shim.ledger, shim_actor(), from, UINT32_MAX, false);
    }
}
