/*
 * injection.h: a thread of a sandbox that waits for the answer to a notification is held before it
 * goes on, and does system calls for us: what nobody else can do in its address space.
 *
 * By ptrace(2), from the answer until injection_end and no longer: a sandbox is not traced. On
 * x86-64; elsewhere, and where the kernel does not permit it, injection_begin says so.
 */
#ifndef SUPERVISOR_INJECTION_H
#define SUPERVISOR_INJECTION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct notification;

struct injection {
    pid_t thread;
    pid_t main;       /* the sandbox's main process, which is reaped elsewhere */
    bool gone;        /* the thread has ended */
    uint64_t signals; /* its mask; while we hold it all are blocked */
    void *registers;  /* what it goes on with */
};

#define INJECTION_EMPTY ((struct injection){.thread = -1})

/* Holds the thread as soon as the notification is answered, which is left to the caller. From here
 * on the thread's number is its own: it was asked for the notification after it was traced. Returns
 * false if it cannot be held, or its notification has gone; then no thread is. */
bool injection_begin(struct injection *injection, const struct notification *notification);

/* Waits until the thread, whose notification is answered now, is held. False: it is gone. */
bool injection_wait(struct injection *injection);

/* Does a call in the thread. Its result, a negative errno value where it failed; -ESRCH: the thread
 * is gone; -EINTR: the call waited for something, and was interrupted after a while. */
int64_t injection_call(struct injection *injection, long call, const uint64_t arguments[6]);

/* Lets the thread go on, as if the call that it was held in had returned `value`. From any state
 * but an empty one. */
void injection_end(struct injection *injection, int64_t value);

/* The same, and it goes on as it is: after an execve(2) that returned 0, or because it is not the
 * thread that was meant. */
void injection_let_go(struct injection *injection);

#endif
