/*
 * sandbox.h: how a sandbox is recognised: what the shim tells, and the kinds that listen.
 *
 * The shim reports what it sees (an ioctl, a child made, a child reaped) and asks whose something
 * new is; each kind, in a file of its own (kvm.c, seccomp.c, child.c, api.c), turns that into the
 * beginning and end of owners and into what becomes theirs. DESIGN 5 has the table.
 *
 * Everything here may be called from any thread and from signal handlers; nothing waits. It makes
 * no system call but one: seccomp.c reads the ancestry of a notification's process, once a
 * listener, where that may be done.
 */
#ifndef BOXLEDGER_SANDBOX_SANDBOX_H
#define BOXLEDGER_SANDBOX_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "ledger/ledger.h"

#define SANDBOX_SCOPES 16u      /* explicit ones nest so deep: boxledger.h says so */
#define SANDBOX_CHILDREN 16384u /* alive at one time; a power of two */
#define SANDBOX_REAPED 1024u    /* reaped by one thread before the other could say it began */
#define SANDBOX_RAN 8192u       /* children alive at one time whose programs are known */
#define SANDBOX_ANSWERING 4096u /* notifications that are being answered at one time */

/* A thread's part. Zeroed when the thread starts and gone with it. */
struct sandbox_thread {
    uint32_t depth; /* of `entered` */
    uint32_t entered[SANDBOX_SCOPES];
    uint32_t entered_serial[SANDBOX_SCOPES]; /* of that owner: its record may be used again */
    const struct ledger *ledger;             /* where to look that up; set by enter */
    uint32_t answers;      /* the owner whose notification this thread received last; 0: none */
    uint32_t thread_owner; /* that a rule makes of this thread; 0: none */
    uint32_t making;       /* which child of the process it makes, where `ran` is there */
    uint32_t last_child;   /* owner of the child that it made last: a pipe's other end may follow */
    uint64_t answers_id;   /* of that notification */
};

struct sandbox_child {
    uint64_t key;   /* pid << 32 | owner; 0: never used; UINT64_MAX: used no more */
    uint32_t since; /* ticket of when it was registered */
    uint32_t flags;
};

/* The process's part. Zeroed memory is an empty one. */
struct sandbox {
    uint32_t children; /* registered and not reaped */
    uint32_t made;     /* children, where `ran` is there */
    /* Where only children that run certain programs are sandboxes: what each runs, written by the
     * child itself, `making` << 32 | whether it is one. NULL: all are. */
    uint64_t *ran;
    struct sandbox_child child[SANDBOX_CHILDREN];
    uint64_t reaped[SANDBOX_REAPED];       /* not known as a child: pid << 32 | ticket */
    uint64_t ended[SANDBOX_REAPED];        /* the last of those that were: pid << 32 | owner */
    uint64_t answering[SANDBOX_ANSWERING]; /* a notification's key; 0: none */
};

/* Where an event happens. The stack is captured only by who needs it. */
struct sandbox_event {
    struct sandbox *sandbox;
    struct ledger *ledger;
    struct ledger_actor *actor;
    struct sandbox_thread *thread;
    uint64_t now_ns;
    uint32_t (*capture)(const void *here); /* the program's stack; `here` is the shim's */
    const void *here;
    int pid;       /* of the watched process */
    bool may_call; /* system calls of our own are allowed in this thread */
};

static inline uint32_t sandbox_stack(const struct sandbox_event *event)
{
    return event->capture ? event->capture(event->here) : 0;
}

/* --- scope.c --- */

/* Whose something is that this thread acquires now. */
struct sandbox_scope {
    uint32_t owner;   /* 0: nobody's */
    bool is_explicit; /* by boxledger_enter or a rule; otherwise only a notification's scope */
};
struct sandbox_scope sandbox_scope_now(const struct sandbox *sandbox,
                                       const struct sandbox_thread *thread);

static inline struct sandbox_scope sandbox_scope(const struct sandbox *sandbox,
                                                 const struct sandbox_thread *thread)
{
    if (__builtin_expect((thread->depth | thread->answers | thread->thread_owner) == 0, 1)) {
        return (struct sandbox_scope){0, false};
    }
    return sandbox_scope_now(sandbox, thread);
}

/* The thread is about to block, or did: what it was answering, it answers no more. */
static inline void sandbox_blocks(struct sandbox_thread *thread)
{
    thread->answers = 0;
}

/* A notification is being answered by this thread from now on; was answered, by whichever. */
void sandbox_answer_begins(struct sandbox *sandbox, struct sandbox_thread *thread, uint32_t owner,
                           uint64_t id);
void sandbox_answered(struct sandbox *sandbox, uint32_t owner, uint64_t id);

/* --- kvm.c; kvm_wants in kvm.h --- */

/* KVM_CREATE_VM has succeeded: the owner that its descriptor is to be an anchor of; 0: no room. */
uint32_t kvm_vm_begins(const struct sandbox_event *event);

/* The VM whose descriptor `fd` is, or which a vCPU or device is of; 0: none that is known. */
uint32_t kvm_owner(const struct sandbox_event *event, int fd);

/* After an ioctl that kvm_wants, and that succeeded. */
void kvm_on_ioctl(const struct sandbox_event *event, int fd, uint32_t request,
                  const void *argument);

/* --- seccomp.c --- */

/* Before an ioctl that seccomp_wants (seccomp.h), and after it, if it succeeded or (negative) said
 * ENOENT. */
void seccomp_before_ioctl(const struct sandbox_event *event, uint32_t request);
void seccomp_on_ioctl(const struct sandbox_event *event, int fd, uint32_t request,
                      const void *argument, int result);

/* --- child.c --- */

#define SANDBOX_CHILD_NO_SIGCHLD 1u /* its end is told by another signal: ECHILD says nothing */

/* Before a child is made: what child_begins wants to know. */
uint32_t child_ticket(const struct sandbox_event *event);

/* A child was made: `pid`; `before` is the ticket from before. Its owner; 0: no room. */
uint32_t child_begins(const struct sandbox_event *event, int pid, uint32_t before, uint32_t flags);

/* Where `ran` is there: this thread's child runs another program now, or is about to. */
void child_runs(struct sandbox *sandbox, const struct sandbox_thread *thread, bool is_sandbox);

/* A wait said that `pid` exited or was killed. */
void child_reaped(const struct sandbox_event *event, int pid);

/* A wait said ECHILD: for one child, or (0) for all that `before` the wait had been made. */
void child_gone(const struct sandbox_event *event, int pid, uint32_t before);

/* The owner of a live child with that pid; 0: it is none that is known. */
uint32_t child_owner(const struct sandbox *sandbox, int pid);

/* The same where that process was there just now, and may have been reaped meanwhile. */
uint32_t child_owner_lately(const struct sandbox *sandbox, const struct ledger *ledger, int pid);

/* /proc/PID/..., just opened: the owner of that child, which may have been reaped meanwhile; 0: the
 * path is none of these. */
uint32_t child_of_path(const struct sandbox *sandbox, const struct ledger *ledger,
                       const char *path);

/* One of a pipe's ends was closed, and `other` is left: by the thread that just made a child. */
void child_pipe_closed(const struct sandbox_event *event, int other);

/* Children of the image that exec'ed, from the ledger that it left. */
void child_resume(struct sandbox *sandbox, struct ledger *ledger);

/* --- api.c: boxledger.h. 0, or an errno; ids are boxledger.h's. --- */

uint64_t api_begin(const struct sandbox_event *event, const char *label);
int api_enter(const struct sandbox_event *event, uint64_t id);
int api_leave(const struct sandbox_event *event, uint64_t id);
int api_end(const struct sandbox_event *event, uint64_t id);
int api_assign_fd(const struct sandbox_event *event, uint64_t id, int fd);
int api_assign_range(const struct sandbox_event *event, uint64_t id, uint64_t start, uint64_t end);
/* The owner's record; NULL: ESRCH. */
const struct ledger_owner *api_owner(const struct ledger *ledger, uint64_t id);

#endif
