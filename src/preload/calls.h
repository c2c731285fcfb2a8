/*
 * calls.h: what a wrapper of libc's function and the wrapper of syscall(2) do alike.
 *
 * `here` is the program's call, `raw` says that it came through syscall(2). Results and errno are
 * libc's: -1 and errno, or the value.
 */
#ifndef BOXLEDGER_PRELOAD_CALLS_H
#define BOXLEDGER_PRELOAD_CALLS_H

#include "shim.h"

struct msghdr;
struct mmsghdr;

int shim_dup(const struct unwind_start *here, bool raw, int fd);
int shim_dup2(const struct unwind_start *here, bool raw, int from, int to);
int shim_dup3(const struct unwind_start *here, bool raw, int from, int to, int flags);
int shim_fcntl(const struct unwind_start *here, int fd, int command, int result, long argument);
int shim_close(const struct unwind_start *here, bool raw, int fd);
int shim_close_range(const struct unwind_start *here, bool raw, unsigned first, unsigned last,
                     unsigned flags);

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
void *shim_shmat(const struct unwind_start *here, bool raw, int id, const void *address, int flags);
int shim_shmdt(const struct unwind_start *here, bool raw, const void *address);

/* An ioctl that returns or names a descriptor (wrap_ioctl.c knows which do). */
bool shim_ioctl_matters(unsigned long request);
void shim_ioctl_begins(const struct unwind_start *here, unsigned long request);
void shim_ioctl_done(const struct unwind_start *here, int fd, unsigned long request, long argument,
                     int result);

/* Before a seccomp filter goes on in this thread, or in all. */
void shim_before_filter(bool all_threads);

int shim_execve(bool raw, const char *path, char *const *arguments, char *const *environment);
int shim_execveat(bool raw, int dir, const char *path, char *const *arguments,
                  char *const *environment, int flags);

#endif
