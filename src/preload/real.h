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

void real_find(void);

#endif
