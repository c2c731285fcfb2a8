/*
 * shim.h: what all files of the shim share: its state, the guards, and the events that wrappers
 * report.
 *
 * A wrapper looks at nothing but what is declared here: it asks shim_watching(), makes the real
 * call, and reports one event. No function here touches errno, allocates, waits or opens anything.
 */
#ifndef BOXLEDGER_PRELOAD_SHIM_H
#define BOXLEDGER_PRELOAD_SHIM_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ledger/fault.h"
#include "ledger/ledger.h"
#include "options.h"
#include "raw.h"
#include "sandbox/rules.h"
#include "sandbox/sandbox.h"
#include "unwind.h"

#define EXPORT __attribute__((visibility("default")))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* --- state --- */

struct shim {
    /* The first two are known to wrap_vfork.S by their offsets. Non-zero: this process is the one
     * the ledger is about. Points into a MADV_WIPEONFORK page once attached, so that any fork,
     * however made, finds zero. */
    volatile uint32_t *attached;
    uint32_t vm_children; /* processes that may run on our memory: only then getpid is asked */
    uint32_t
        filter_seen;     /* a seccomp filter went on somewhere: new threads may have inherited it */
    uint32_t filter_all; /* on all threads at once (SECCOMP_FILTER_FLAG_TSYNC), or before us */
    pid_t pid;
    int tid_offset; /* of the thread id, from the thread pointer; 0: not found */
    uintptr_t main_stack_top;
    uintptr_t main_stack_low;
    uintptr_t page_mask;
    int quick_status;         /* that quick_exit was given */
    uint32_t generation_base; /* what earlier images of the process used up (execs) */
    /* At these, 80% of a limit may be in use: warning.c. Never once that was told. */
    uint32_t nearly_full_fd;
    int64_t nearly_full_vmas;
    struct options options;
    struct ledger ledger;
    struct sandbox sandbox;
    struct rules rules;
};

_Static_assert(offsetof(struct shim, vm_children) == 8, "wrap_vfork.S counts there");

/* In the word that `attached` points to; beside it, which policies are on (policy/policy.h). */
#define SHIM_ATTACHED 1u

/* process-global because it describes the process: there is one shim in it */
extern struct shim shim;

/* What a thread is to the shim. Zeroed when the thread starts and gone with it. */
#define SHIM_CAPTURES 2 /* one interrupted by a handler that captures another */
struct shim_thread {
    struct ledger_actor actor;
    struct sandbox_thread sandbox;
    /* Where a stack is captured: it would be half a KiB of the program's own. */
    ledger_mark capturing[SHIM_CAPTURES];
    uint64_t frames[SHIM_CAPTURES][LEDGER_FRAMES_MAX];
    struct unwind_draft draft[SHIM_CAPTURES];
    uint32_t filters; /* that it has put on itself */
    bool known;
    bool was_free; /* when it began, no thread that it could have inherited from had a filter */
    bool detached; /* it has a descriptor table of its own: unshare(CLONE_FILES) */
    /* The name that another thread gave it, and where, which it has not looked at yet. */
    uint32_t renamed;
    uint32_t renamed_stack;
    char name[16]; /* prctl.2: with its NUL */
};

/* thread-local: initial-exec, so that a signal handler's first touch allocates nothing */
extern __thread struct shim_thread shim_thread __attribute__((tls_model("initial-exec")));

/* --- guards --- */

bool shim_is_this_process(void);

/* Whether mappings made here are this process's. */
static inline bool shim_watching_memory(void)
{
    return *shim.attached != 0;
}

/* Whether descriptors made here are. */
static inline bool shim_watching(void)
{
    if (unlikely(*shim.attached == 0) || unlikely(shim_thread.detached)) {
        return false;
    }
    return likely(shim.vm_children == 0) || shim_is_this_process();
}

/* Whether this is the watched process, whatever table of descriptors the thread has: its end and
 * its execs are the process's. */
static inline bool shim_watching_process(void)
{
    return *shim.attached != 0 && (likely(shim.vm_children == 0) || shim_is_this_process());
}

/* The calling thread, made known to the shim. */
struct ledger_actor *shim_actor_anew(void);
static inline struct ledger_actor *shim_actor(void)
{
    bool usual = shim_thread.known && !shim_thread.renamed && !shim.filter_all;
    return likely(usual) && !FAULT(extra_call) ? &shim_thread.actor : shim_actor_anew();
}

/* Of the wrapper that says it: where the program called it from. */
#define HERE                                                                                       \
    (&(struct unwind_start){(uintptr_t)__builtin_return_address(0),                                \
                            (uintptr_t)__builtin_dwarf_cfa(),                                      \
                            *(uintptr_t *)__builtin_frame_address(0)})

/* --- events.c: what wrappers report --- */

uint64_t shim_now(void);

/* The ledger's number for the caller's stack; 0: could not be kept. */
uint32_t shim_stack(const struct unwind_start *here);

/* After a call that hands out descriptors. A negative one was refused (errno says why). */
void shim_fd_taken(const struct unwind_start *here, int fd, enum ledger_fd_kind kind,
                   unsigned flags, uint32_t detail);
void shim_fd_refused(const struct unwind_start *here);

static inline int shim_took(const struct unwind_start *here, int fd, enum ledger_fd_kind kind,
                            bool cloexec)
{
    if (likely(fd >= 0)) {
        if (likely(shim_watching())) {
            shim_fd_taken(here, fd, kind, cloexec ? LEDGER_CLOEXEC : 0, 0);
        }
    } else if (unlikely(errno == EMFILE || errno == ENFILE) && shim_watching()) {
        shim_fd_refused(here);
    }
    return fd;
}

/* A descriptor that a call names: the first that the ledger hears of it, perhaps. */
void shim_fd_named(const struct unwind_start *here, int fd);

/* After dup and its kin: the copy is of the same kind. */
void shim_fd_copied(const struct unwind_start *here, int from, int to, bool cloexec);

/* Around a call that closes `fd`. */
struct shim_release {
    struct ledger_fd_flight flight;
    uint32_t stack;
    bool watching;
    bool is_done; /* by another, of a reclaimed number: the call is not to be made */
};
struct shim_release shim_fd_releasing(const struct unwind_start *here, int fd);

/* Before a call that closes `fd` for certain. False: it has to be told as above. `here` is in
 * pieces, so that the wrapper has nothing on the stack that keeps it from jumping to the call. */
bool shim_fd_closing(int fd, uintptr_t pc, uintptr_t sp, uintptr_t bp);

/* `result` of the call, and errno where that is negative. */
void shim_fd_released(int fd, const struct shim_release *release, int result);

/* A release that succeeds whatever the call answers (fclose), or that the kernel undid. */
void shim_fd_gone(int fd, const struct shim_release *release);
void shim_fd_kept(int fd, const struct shim_release *release);

/* The same for one that is an owner's, whoever's scope it is taken in. */
void shim_fd_taken_for(const struct unwind_start *here, int fd, enum ledger_fd_kind kind,
                       unsigned flags, uint32_t detail, uint32_t owner);

/* What the kinds of sandboxes want to know of an event in this thread. */
struct sandbox_event shim_sandbox_event(const struct unwind_start *here);

/* --- wrap_process.c: around every call that makes a child --- */

/* Before; then with its result in the parent (pid, or what failed), `signal` the one that tells the
 * child's end. Both do nothing where this process is not watched. */
uint32_t shim_child_ticket(void);
void shim_child_made(const struct unwind_start *here, pid_t pid, uint32_t ticket, int signal);

/* --- wrap_names.c: threads and children that a rule makes sandboxes --- */

/* Of the child that this thread has just made, or in the child: it runs this program; NULL: it does
 * not after all. */
void shim_child_runs(const char *program);

/* Reads the rules that the options name, in the constructor. */
void shim_rules_begin(void);

/* The calling thread has this name now. */
void shim_thread_named(const struct unwind_start *here, const char *name);

/* Another thread gave this one a name. */
void shim_thread_renamed(void);

/* --- attach.c --- */

/* The parts, up to a NULL, as one line on stderr. */
void shim_say(const char *const *parts);

/* In a forked child that --follow wants: a ledger of its own. */
void shim_follow_child(void);

/* --- warning.c: before a limit is reached --- */

void shim_warning_begin(void);

/* A descriptor as high as this was taken; so many VMAs are there; by that stack. */
void shim_nearly_full_fds(uint32_t stack);
void shim_nearly_full_vmas(uint32_t stack);

/* --- finish.c --- */

/* Before the process ends, with everything still in place: lets the command look, or reports.
 * Once; later calls do nothing. */
void shim_finish(int status);

/* One line on stderr, unless there is a command to say it. Not where no call may be made. */
struct plain_warning;
void shim_warn(const struct plain_warning *warning);

/* With which status it ends, where that comes to be known after shim_finish. */
void shim_ends_with(int status);

/* What descriptor 2 was at start: the report goes there only if it still is that. */
void shim_remember_stderr(void);

/* --- environment.c: what the program and its children see of us, which is nothing --- */

/* Whether an exec of another process put us there: a static image between it and us, its parent,
 * could not take us out. */
bool shim_environment_is_of_another(char *const *environment);

/* Takes us out of the environment that the program was started with. */
void shim_environment_hide(char **environment, const char *attach_to);

/* Which ledger the next image of this process goes on with. */
void shim_environment_attach(const char *attach_to);

/* What an exec of this very process runs with: a copy of `environment` with us put back. On
 * success the copy goes with the image; after a failure shim_exec_failed undoes all. */
struct shim_exec {
    char *const *environment;
    void *copy;
    size_t size;
    bool begun;
};
struct shim_exec shim_exec_begin(const char *path, char *const *environment);
void shim_exec_failed(const struct shim_exec *exec);

/* --- memory.c: where the ledger lives --- */

enum shim_ledger_place { SHIM_LEDGER_ANONYMOUS, SHIM_LEDGER_CREATED, SHIM_LEDGER_ATTACHED };

/* Opens the base at `path` (NULL: anonymous), or creates it there. NULL: `*problem` says why. */
void *shim_memory_open(const char *path, enum shim_ledger_place place, const char **problem);
struct ledger_backing *shim_memory_backing(void);

/* fork(2) from a handler above an update of this very thread: the child returns into that update,
 * so for once it gets the memory, as a copy of its own. */
void shim_memory_before_fork(void);
void shim_memory_after_fork_parent(void);
void shim_memory_after_fork_child(void);

#endif
