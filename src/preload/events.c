/*
 * events.c: from a wrapper's report to the ledger: the thread, the stack, the clock.
 *
 * Runs in whatever context the program called from: signal handlers, vfork children, threads under
 * a filter, alternate stacks of 8 KiB. It makes no system call but a thread's first gettid, and
 * that only where no filter can object.
 */
#include <time.h>

#include "police.h"
#include "real.h"
#include "shim.h"

/* process-global because no process is attached before its constructor ran: always 0 */
static uint32_t not_attached[2];
/* process-global because it describes the process: there is one shim in it */
struct shim shim = {.attached = not_attached};

/* thread-local */
__thread struct shim_thread shim_thread __attribute__((tls_model("initial-exec")));

bool shim_is_this_process(void)
{
    if (FAULT(vfork_unseen)) {
        return true;
    }
    return (pid_t)raw_syscall0(SYS_getpid) == shim.pid;
}

static void know_thread(void)
{
    struct ledger_actor *actor = &shim_thread.actor;
    uintptr_t thread = (uintptr_t)__builtin_thread_pointer();
    uintptr_t sp = (uintptr_t)__builtin_frame_address(0);
    shim_thread.was_free = !shim.filter_seen || FAULT(grows_anyway);
    actor->may_grow = shim_thread.was_free;
    if (shim.tid_offset != 0) {
        actor->tid = *(uint32_t *)(thread + (uintptr_t)(intptr_t)shim.tid_offset);
    } else if (actor->may_grow) {
        actor->tid = (uint32_t)raw_syscall0(SYS_gettid);
    }
    if (sp >= shim.main_stack_low && sp < shim.main_stack_top) {
        actor->stack_low = shim.main_stack_low;
        actor->stack_top = shim.main_stack_top;
    } else if (sp < thread && thread - sp < (UINT64_C(64) << 20)) {
        /* glibc puts a thread's block at the top of the stack it allocates. How far down the
         * stack goes is not written anywhere one may read: 8 MiB is its default. */
        actor->stack_top = thread;
        actor->stack_low = thread - (UINT64_C(8) << 20);
    }
    shim_thread.known = true;
}

struct ledger_actor *shim_actor_anew(void)
{
    if (unlikely(!shim_thread.known)) {
        know_thread();
    }
    if (unlikely(shim_thread.renamed)) {
        shim_thread_renamed();
    }
    if (FAULT(extra_call)) {
        raw_syscall0(SYS_getpid);
    }
    if (unlikely(shim.filter_all)) {
        shim_thread.actor.may_grow = FAULT(grows_anyway);
    }
    return &shim_thread.actor;
}

uint64_t shim_now(void)
{
    struct timespec now;
    real.clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* the vDSO's: no system call */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline __attribute__((always_inline)) uint32_t capture_into(const struct unwind_start *here,
                                                                   struct ledger_actor *actor,
                                                                   struct unwind_draft *draft,
                                                                   uint64_t *frames, unsigned max)
{
    unsigned count = unwind_capture(here, draft, frames, max, actor->may_grow);
    if (count == max && max < LEDGER_FRAMES_MAX) {
        draft->flags |= LEDGER_STACK_TRUNCATED;
    }
    uint32_t stack = ledger_stack_intern(&shim.ledger, actor, frames, count, draft->flags,
                                         shim.generation_base + draft->generation);
    unwind_remember(draft, here, stack);
    return stack;
}

/* For a handler that interrupted the capture of a handler that interrupted a capture. */
static __attribute__((noinline)) uint32_t capture_few(const struct unwind_start *here,
                                                      struct ledger_actor *actor)
{
    uint64_t frames[16];
    struct unwind_draft draft; /* stays closed: that few are not remembered */
    return capture_into(here, actor, &draft, frames, 16);
}

static bool is_free(ledger_mark mark)
{
    uintptr_t sp = (uintptr_t)__builtin_frame_address(0);
    return mark == NULL || ledger_abandoned(&shim_thread.actor, mark, sp);
}

#ifdef BOXLEDGER_FAULTS
/* Apart, so that only who breaks this promise needs the room. */
static __attribute__((noinline)) void waste_stack(void)
{
    volatile char waste[6144];
    waste[0] = waste[6143] = 0;
    (void)waste[0];
}
#endif

/* Never inlined: what it takes of the stack must be gone while the ledger is changed. */
static __attribute__((noinline)) uint32_t capture_anew(const struct unwind_start *here,
                                                       struct ledger_actor *actor)
{
    volatile uint64_t canary = LEDGER_CANARY(&canary);
    unsigned level = 0;
#ifdef BOXLEDGER_FAULTS
    if (FAULT(deep_stack)) {
        waste_stack();
    }
#endif
    while (level < SHIM_CAPTURES && !is_free(shim_thread.capturing[level])) {
        level++;
    }
    if (unlikely(level == SHIM_CAPTURES)) {
        return capture_few(here, actor);
    }
    ledger_set_mark(&shim_thread.capturing[level], &canary);
    shim_thread.draft[level].mark = &canary;
    uint32_t stack = capture_into(here, actor, &shim_thread.draft[level], shim_thread.frames[level],
                                  LEDGER_FRAMES_MAX);
    ledger_set_mark(&shim_thread.capturing[level], NULL);
    return stack;
}

static uint32_t capture(const struct unwind_start *here, struct ledger_actor *actor)
{
    if (unlikely(shim.vm_children) && !shim_is_this_process()) {
        return 0; /* it may run at the same time as us, on this thread's storage */
    }
    uint32_t known = FAULT(deep_stack) ? 0 : unwind_recall(here);
    return likely(known) ? known : capture_anew(here, actor);
}

uint32_t shim_stack(const struct unwind_start *here)
{
    return capture(here, shim_actor());
}

static struct ledger_actor *enter(void)
{
    struct ledger_actor *actor = shim_actor();
    ledger_enter(&shim.ledger, actor);
    return actor;
}

static uint32_t capture_for_sandbox(const void *here)
{
    return here ? capture(here, shim_actor()) : 0;
}

struct sandbox_event shim_sandbox_event(const struct unwind_start *here)
{
    struct ledger_actor *actor = enter();
    return (struct sandbox_event){.sandbox = &shim.sandbox,
                                  .ledger = &shim.ledger,
                                  .actor = actor,
                                  .thread = &shim_thread.sandbox,
                                  .now_ns = shim_now(),
                                  .capture = capture_for_sandbox,
                                  .here = here,
                                  .pid = shim.pid,
                                  .may_call = actor->may_grow};
}

/* Apart: while the stack is captured, what this needs of it is not there yet. */
static __attribute__((noinline)) void taken(int fd, enum ledger_fd_kind kind, unsigned flags,
                                            uint32_t detail, uint32_t owner, uint32_t stack)
{
    struct ledger_actor *actor = &shim_thread.actor;
    struct ledger_fd_event event = {.kind = (uint16_t)kind,
                                    .flags = (uint16_t)flags,
                                    .detail = detail,
                                    .owner = owner,
                                    .stack = stack,
                                    .now_ns = shim_now()};
    if (!FAULT_EVERY(event_dropped, 1000)) {
        ledger_fd_take(&shim.ledger, actor, fd, &event);
    }
    if (unlikely(owner != 0) && shim_polices(POLICY_RECLAIM)) {
        police_fd_owned(NULL, fd, false);
    }
    if (unlikely((uint32_t)fd >= shim.nearly_full_fd)) {
        shim_nearly_full_fds(stack);
    }
    if (FAULT(errno_lost)) {
        errno = EDOM;
    }
}

void shim_fd_taken(const struct unwind_start *here, int fd, enum ledger_fd_kind kind,
                   unsigned flags, uint32_t detail)
{
    struct ledger_actor *actor = enter(); /* which may have become a sandbox */
    struct sandbox_scope scope = sandbox_scope(&shim.sandbox, &shim_thread.sandbox);
    if (scope.owner && !scope.is_explicit) {
        flags |= LEDGER_SCOPED;
    }
    taken(fd, kind, flags, detail, scope.owner, capture(here, actor));
}

/* An explicit scope beats what the descriptor says of itself, unless that is a part of the scope's
 * owner, or keeps its owner alive. */
void shim_fd_taken_for(const struct unwind_start *here, int fd, enum ledger_fd_kind kind,
                       unsigned flags, uint32_t detail, uint32_t owner)
{
    struct sandbox_scope scope = sandbox_scope(&shim.sandbox, &shim_thread.sandbox);
    if (owner == 0 || (scope.is_explicit && !(flags & LEDGER_ANCHOR) &&
                       ledger_owner_outermost(&shim.ledger, owner) != scope.owner)) {
        shim_fd_taken(here, fd, kind, flags, detail);
        return;
    }
    taken(fd, kind, flags, detail, owner, capture(here, enter()));
}

void shim_fd_refused(const struct unwind_start *here)
{
    int error = errno;
    struct ledger_actor *actor = enter();
    ledger_note(&shim.ledger, actor, LEDGER_EVENT_FD_REFUSED, error, capture(here, actor), 0, 0, 0,
                shim_now());
}

void shim_fd_named(const struct unwind_start *here, int fd)
{
    const struct ledger_fd *record = ledger_fd_record(&shim.ledger, fd);
    /* One in flight is another thread's that closes its number; the caller's came after it. */
    if (fd < 0 || (record && (record->state & 7) == LEDGER_LIVE)) {
        return;
    }
    struct ledger_actor *actor = enter();
    struct ledger_fd_event event = {.kind = LEDGER_FD_UNKNOWN,
                                    .flags = LEDGER_ADOPTED,
                                    .stack = capture(here, actor),
                                    .now_ns = shim_now()};
    if (!FAULT(adoption)) {
        ledger_fd_adopt(&shim.ledger, actor, fd, &event);
    }
}

/* What stays its sandbox's however often it is duplicated. */
static bool is_of_sandbox(const struct ledger_fd *record)
{
    switch (record->kind) {
    case LEDGER_FD_KVM_VM:
    case LEDGER_FD_KVM_VCPU:
    case LEDGER_FD_KVM_DEVICE:
    case LEDGER_FD_PIDFD:
    case LEDGER_FD_SECCOMP:
        return record->owner != 0;
    default:
        return false;
    }
}

void shim_fd_copied(const struct unwind_start *here, int from, int to, bool cloexec)
{
    const struct ledger_fd *record = ledger_fd_record(&shim.ledger, from);
    if (unlikely(!record || (record->state & 7) != LEDGER_LIVE)) {
        shim_fd_named(here, from);
        record = ledger_fd_record(&shim.ledger, from);
    }
    enum ledger_fd_kind kind = record ? (enum ledger_fd_kind)record->kind : LEDGER_FD_DUP;
    unsigned flags = cloexec ? LEDGER_CLOEXEC : 0;
    if (kind == LEDGER_FD_UNKNOWN) {
        kind = LEDGER_FD_DUP;
    }
    if (record && is_of_sandbox(record)) {
        shim_fd_taken_for(here, to, kind, flags | (record->flags & LEDGER_ANCHOR), 0,
                          record->owner);
        return;
    }
    shim_fd_taken(here, to, kind, flags, 0);
}

/* Not where a filter may answer for the kernel, nor where a child may be given the other end. */
bool shim_fd_closing(int fd, uintptr_t pc, uintptr_t sp, uintptr_t bp)
{
    if (unlikely(shim.filter_seen || shim_thread.sandbox.last_child || !shim_watching()) ||
        FAULT(released_late)) {
        return false;
    }
    if (FAULT(release_dropped)) {
        return false;
    }
    struct ledger_actor *actor = enter();
    uint32_t state;
    struct ledger_fd *record = ledger_fd_closable(&shim.ledger, fd, &state);
    return likely(record) && ledger_fd_close(&shim.ledger, record, state,
                                             capture(&(struct unwind_start){pc, sp, bp}, actor));
}

/* Apart: while the stack is captured, what this needs of it is not there yet. */
static __attribute__((noinline)) void flies(int fd, struct shim_release *release)
{
    if (!FAULT_EVERY(release_dropped, 1000)) {
        release->flight = ledger_fd_fly(&shim.ledger, &shim_thread.actor, fd, release->stack);
    }
}

struct shim_release shim_fd_releasing(const struct unwind_start *here, int fd)
{
    struct shim_release release = {.watching = shim_watching()};
    if (release.watching && fd >= 0) {
        release.stack = capture(here, enter());
        flies(fd, &release);
        if (shim_polices(POLICY_RECLAIM)) {
            release.is_done = police_fd_flies(here, fd, &release);
        }
    }
    return release;
}

void shim_fd_gone(int fd, const struct shim_release *release)
{
    ledger_fd_released(&shim.ledger, shim_actor(), fd, release->flight, false);
}

void shim_fd_kept(int fd, const struct shim_release *release)
{
    ledger_fd_released(&shim.ledger, shim_actor(), fd, release->flight, true);
}

/* EBADF: there was nothing to close. Twice closed, if the ledger saw the first one; a loop over
 * all numbers, if this very stack also closes numbers that nobody ever opened. */
static void refused_close(int fd, const struct shim_release *release)
{
    struct ledger_stack *stack = release->stack ? ledger_stack(&shim.ledger, release->stack) : NULL;
    if (release->flight.state == 0 && release->flight.released_by == 0) {
        if (stack) {
            __atomic_or_fetch(&stack->flags, LEDGER_STACK_SWEEPS, __ATOMIC_RELAXED);
        }
        return;
    }
    if (release->flight.state == 0 && fd >= 0) {
        ledger_note(&shim.ledger, shim_actor(), LEDGER_EVENT_DOUBLE_CLOSE, EBADF, release->stack,
                    release->flight.released_by, (uint64_t)fd, 0, shim_now());
    }
}

/* One sandbox's scope closed what is another's that lives on. Only where the supervisor says whose
 * scope it is: a notification may be answered late, and the thread that received it does other
 * things meanwhile. What is another's by its scope alone may as well be anybody's. */
static void foreign_close(int fd, const struct shim_release *release)
{
    struct sandbox_scope scope = sandbox_scope(&shim.sandbox, &shim_thread.sandbox);
    uint32_t owner = ledger_owner_outermost(&shim.ledger, release->flight.owner);
    const uint16_t weak = LEDGER_SCOPED | LEDGER_TIED | LEDGER_SHARED;
    if (FAULT(foreign_unsaid) || !scope.is_explicit || (release->flight.flags & weak) ||
        ledger_owner_outermost(&shim.ledger, scope.owner) == owner ||
        !ledger_owner_lives(&shim.ledger, owner)) {
        return;
    }
    ledger_note_owners(&shim.ledger, shim_actor(), LEDGER_EVENT_FOREIGN_CLOSE,
                       release->flight.taken_by, release->stack, (uint64_t)fd, owner, scope.owner,
                       shim_now());
}

void shim_fd_released(int fd, const struct shim_release *release, int result)
{
    if (!release->watching) {
        return;
    }
    /* close(2): the descriptor is gone whatever the error, but for a filter's answer. */
    if (result < 0 && (errno == EPERM || errno == ENOSYS) && !FAULT(close_not_put_back)) {
        shim_fd_kept(fd, release);
        return;
    }
    if (unlikely(result < 0 && errno == EBADF)) {
        refused_close(fd, release);
    } else if (unlikely(release->flight.owner != 0)) {
        foreign_close(fd, release);
    }
    shim_fd_gone(fd, release);
}
