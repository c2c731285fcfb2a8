/*
 * calls.h: what a wrapper of libc's function and the wrapper of syscall(2) do alike.
 *
 * `here` is the program's call, `raw` says that it came through syscall(2). Results and errno are
 * libc's: -1 and errno, or the value.
 */
#ifndef BOXLEDGER_PRELOAD_CALLS_H
#define BOXLEDGER_PRELOAD_CALLS_H

#include <signal.h>

#include "shim.h"

struct msghdr;
struct mmsghdr;
struct rusage;

/* shim_took, of a descriptor that is an owner's if there is one (0: none). */
static inline int shim_took_for(const struct unwind_start *here, int fd, enum ledger_fd_kind kind,
                                bool cloexec, uint32_t owner)
{
    if (likely(owner == 0) || fd < 0) {
        return shim_took(here, fd, kind, cloexec);
    }
    if (shim_watching()) {
        shim_fd_taken_for(here, fd, kind, cloexec ? LEDGER_CLOEXEC : 0, 0, owner);
    }
    return fd;
}

/* Whether there ever was a sandbox: one that was reaped just now counts. A forked child does not
 * even have the ledger's memory. */
static inline bool shim_had_owners(void)
{
    return shim_watching_memory() && shim.ledger.header->owner_serial != 0;
}

/* Whose a path under /proc is; 0: no live child's. After a call that has read the path. */
static inline uint32_t shim_path_owner(const char *path)
{
    if (!shim_had_owners() || FAULT(proc_nobodys) || path[0] != '/' || path[1] != 'p') {
        return 0;
    }
    return child_of_path(&shim.sandbox, &shim.ledger, path);
}

/* The same for a path that starts at `dir`, where it does not start at the root. */
uint32_t shim_below_owner(int dir);
static inline uint32_t shim_path_owner_at(int dir, const char *path)
{
    if (!shim_had_owners()) {
        return 0;
    }
    bool leaves = path[0] == '.' && path[1] == '.';
    return path[0] == '/' ? shim_path_owner(path) : leaves ? 0 : shim_below_owner(dir);
}

/* Whose a process is, or what comes through its pidfd; 0: no live child's. */
uint32_t shim_pid_owner(int pid);
uint32_t shim_pidfd_owner(int pidfd);

/* After pipe and pipe2. */
void shim_took_pipe(const struct unwind_start *here, const int *fds, int result, bool cloexec);

int shim_dup(const struct unwind_start *here, bool raw, int fd);
int shim_dup2(const struct unwind_start *here, bool raw, int from, int to);
int shim_dup3(const struct unwind_start *here, bool raw, int from, int to, int flags);
int shim_fcntl(const struct unwind_start *here, int fd, int command, int result, long argument);
/* Before it: a sandbox's limit refuses it. */
bool shim_fcntl_limited(const struct unwind_start *here, int command);
int shim_close(const struct unwind_start *here, bool raw, int fd);
int shim_close_range(const struct unwind_start *here, bool raw, unsigned first, unsigned last,
                     unsigned flags);

/* Before the next, where limits are on: those that a sandbox has no room for go. */
void shim_trim_received(const struct unwind_start *here, struct msghdr *message);
/* The descriptors that came with a received message. */
void shim_received(const struct unwind_start *here, const struct msghdr *message, int flags);
void shim_received_many(const struct unwind_start *here, const struct mmsghdr *messages, int count,
                        int flags);

void *shim_mmap(const struct unwind_start *here, bool raw, void *address, size_t length, int prot,
                int flags, int fd, int64_t offset);
int shim_munmap(const struct unwind_start *here, bool raw, void *address, size_t length);
void *shim_mremap(const struct unwind_start *here, bool raw, void *old, size_t old_size,
                  size_t new_size, int flags, void *new_address);
int shim_mprotect(const struct unwind_start *here, bool raw, void *address, size_t length, int prot,
                  int key);
int shim_madvise(const struct unwind_start *here, bool raw, void *address, size_t length,
                 int advice);
void *shim_shmat(const struct unwind_start *here, bool raw, int id, const void *address, int flags);
int shim_shmdt(const struct unwind_start *here, bool raw, const void *address);

/* An ioctl that returns or names a descriptor (wrap_ioctl.c knows which do). */
bool shim_ioctl_matters(unsigned long request);
/* Whether it makes a descriptor, and of which kind. */
bool shim_ioctl_takes(uint32_t request, enum ledger_fd_kind *kind);
void shim_ioctl_begins(const struct unwind_start *here, unsigned long request);
void shim_ioctl_done(const struct unwind_start *here, int fd, unsigned long request, long argument,
                     int result);

/* Before a seccomp filter goes on in this thread, or in all. */
void shim_before_filter(bool all_threads);
/* After that: whether it is on. */
void shim_after_filter(bool all_threads, bool is_on);

/* After clone and clone3, in the parent: `pid`, or what failed. `pidfd` counts with CLONE_PIDFD. */
void shim_child_cloned(const struct unwind_start *here, pid_t pid, uint32_t ticket, uint64_t flags,
                       int signal, const int *pidfd);

pid_t shim_wait4(const struct unwind_start *here, bool raw, pid_t pid, int *status, int options,
                 struct rusage *usage);
int shim_waitid(const struct unwind_start *here, bool raw, int what, unsigned id, siginfo_t *info,
                int options, struct rusage *usage);

int shim_execve(bool raw, const char *path, char *const *arguments, char *const *environment);
int shim_execveat(bool raw, int dir, const char *path, char *const *arguments,
                  char *const *environment, int flags);

#endif
