/*
 * real.h: the next definition of every function that the shim wraps (calls.def is the list).
 *
 * Found once, by the constructor. Before that, and where this libc has no such function, a wrapper
 * must not call through the pointer: REAL() makes the system call itself then, or answers ENOSYS.
 */
#ifndef BOXLEDGER_PRELOAD_REAL_H
#define BOXLEDGER_PRELOAD_REAL_H

#include <dirent.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct file_handle;

struct real_calls {
#define CALL(type, name, params) type(*name) params;
#include "calls.def"
#undef CALL
};

/* process-global because the process has one libc */
extern struct real_calls real;

/* Another library stands between us and libc in one of the calls that wrappers make by themselves
 * otherwise: what returns through libc returns once more than it has to, and a return into a frame
 * from before a system call is one that the processor has forgotten where it leads.
 * process-global because the process has one libc */
extern bool real_chained;

void real_find(void);

#endif
