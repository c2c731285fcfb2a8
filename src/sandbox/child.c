/*
 * child.c: a sandbox that is a child process: fork(2), clone(2), posix_spawn(3), wait(2).
 *
 * It begins when it is made and ends when it is reaped. A table of the live ones by pid, without a
 * lock: a thread that waits for all children may reap one before the thread that made it could
 * register it, so whoever reaps an unknown one leaves a word, and whoever registers looks for it.
 * It asks the kernel nothing.
 */
#include "sandbox.h"

#define NEVER_USED UINT64_C(0)
#define USED_NO_MORE UINT64_MAX
#define BEING_WRITTEN (UINT64_MAX - 1)
#define PROBES 64u

static uint64_t key_of(int pid, uint32_t owner)
{
    return (uint64_t)(uint32_t)pid << 32 | owner;
}

static int pid_of(uint64_t key)
{
    return (int)(key >> 32);
}

static uint32_t place_of(int pid, unsigned probe)
{
    return ((uint32_t)pid * 0x9e3779b1u + probe) % SANDBOX_CHILDREN;
}

static bool is_live(uint64_t key)
{
    return key != NEVER_USED && key != USED_NO_MORE && key != BEING_WRITTEN;
}

static uint64_t load(const struct sandbox_child *child)
{
    return __atomic_load_n(&child->key, __ATOMIC_SEQ_CST);
}

/* NULL: there is none. */
static struct sandbox_child *find(const struct sandbox *sandbox, int pid)
{
    for (unsigned probe = 0; probe < PROBES && pid > 0; probe++) {
        const struct sandbox_child *child = &sandbox->child[place_of(pid, probe)];
        uint64_t key = load(child);
        if (key == NEVER_USED) {
            return NULL;
        }
        if (is_live(key) && pid_of(key) == pid) {
            return (struct sandbox_child *)child;
        }
    }
    return NULL;
}

/* Takes it out; its owner, or 0 if another thread did so first. */
static uint32_t take_out(struct sandbox *sandbox, struct sandbox_child *child, uint64_t key)
{
    if (!is_live(key)) {
        return 0;
    }
    /* Before it is taken out: nobody finds it in neither place. */
    __atomic_store_n(&sandbox->ended[(uint32_t)pid_of(key) % SANDBOX_REAPED], key,
                     __ATOMIC_SEQ_CST);
    if (!__atomic_compare_exchange_n(&child->key, &key, USED_NO_MORE, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_RELAXED)) {
        return 0;
    }
    __atomic_sub_fetch(&sandbox->children, 1, __ATOMIC_RELAXED);
    return (uint32_t)key;
}

static uint64_t *ran_by(const struct sandbox *sandbox, uint32_t child)
{
    return &sandbox->ran[child % SANDBOX_RAN];
}

static bool is_sandbox(const struct sandbox *sandbox, uint32_t child)
{
    return !sandbox->ran ||
           __atomic_load_n(ran_by(sandbox, child), __ATOMIC_ACQUIRE) == ((uint64_t)child << 32 | 1);
}

void child_runs(struct sandbox *sandbox, const struct sandbox_thread *thread, bool is_one)
{
    uint64_t word = (uint64_t)thread->making << 32 | is_one;
    __atomic_store_n(ran_by(sandbox, thread->making), word, __ATOMIC_RELEASE);
}

static void end(const struct sandbox_event *event, uint32_t owner, uint16_t flags)
{
    struct ledger_owner *record = ledger_owner(event->ledger, owner);
    /* What another kind recognised, or the supervisor named, is one whatever it runs. */
    bool known = record && ((record->flags & LEDGER_OWNER_LISTENS) || record->parent);
    if (record && !known && !is_sandbox(event->sandbox, record->slots)) {
        ledger_owner_dismiss(event->ledger, event->actor, owner);
    } else if (record) {
        __atomic_or_fetch(&record->flags, flags, __ATOMIC_RELAXED);
        ledger_owner_unanchor(event->ledger, event->actor, owner, sandbox_stack(event));
    }
}

static bool put_in(struct sandbox *sandbox, int pid, uint32_t owner, uint32_t ticket,
                   uint32_t flags)
{
    for (unsigned probe = 0; probe < PROBES; probe++) {
        struct sandbox_child *child = &sandbox->child[place_of(pid, probe)];
        uint64_t key = load(child);
        if (key != NEVER_USED && key != USED_NO_MORE) {
            continue;
        }
        if (__atomic_compare_exchange_n(&child->key, &key, BEING_WRITTEN, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED)) {
            __atomic_store_n(&child->since, ticket, __ATOMIC_RELAXED);
            __atomic_store_n(&child->flags, flags, __ATOMIC_RELAXED);
            __atomic_add_fetch(&sandbox->children, 1, __ATOMIC_RELAXED);
            __atomic_store_n(&child->key, key_of(pid, owner), __ATOMIC_SEQ_CST);
            return true;
        }
        probe--; /* look again at the same place */
    }
    return false;
}

/* Where SIGCHLD is ignored nobody says that a child has ended. Of those that lie where `pid` may,
 * the oldest that holds nothing gives way: nothing could ever be told of it. */
static bool make_room(const struct sandbox_event *event, int pid)
{
    struct sandbox_child *oldest = NULL;
    uint64_t oldest_key = NEVER_USED;
    uint32_t oldest_since = 0;
    for (unsigned probe = 0; probe < PROBES; probe++) {
        struct sandbox_child *child = &event->sandbox->child[place_of(pid, probe)];
        uint64_t key = load(child);
        uint32_t since = __atomic_load_n(&child->since, __ATOMIC_RELAXED);
        const struct ledger_owner *record =
            is_live(key) ? ledger_owner(event->ledger, (uint32_t)key) : NULL;
        if (!record || record->kind != LEDGER_OWNER_CHILD || record->fds || record->mappings ||
            record->holds || (oldest && (int32_t)(since - oldest_since) >= 0)) {
            continue;
        }
        oldest = child;
        oldest_key = key;
        oldest_since = since;
    }
    if (oldest) {
        end(event, take_out(event->sandbox, oldest, oldest_key), LEDGER_OWNER_UNSEEN_END);
    }
    return oldest != NULL;
}

uint32_t child_ticket(const struct sandbox_event *event)
{
    return (uint32_t)ledger_ticket(event->ledger);
}

/* Whether somebody reaped that pid after `before`. */
static bool was_reaped(const struct sandbox *sandbox, int pid, uint32_t before)
{
    uint64_t reaped =
        __atomic_load_n(&sandbox->reaped[(uint32_t)pid % SANDBOX_REAPED], __ATOMIC_SEQ_CST);
    return pid_of(reaped) == pid && (int32_t)((uint32_t)reaped - before) > 0;
}

uint32_t child_begins(const struct sandbox_event *event, int pid, uint32_t before, uint32_t flags)
{
    struct sandbox *sandbox = event->sandbox;
    struct sandbox_child *old = find(sandbox, pid);
    if (old) { /* the pid is used again: that one was reaped unseen */
        end(event, take_out(sandbox, old, load(old)), LEDGER_OWNER_UNSEEN_END);
    }
    struct sandbox_scope scope = sandbox_scope(sandbox, event->thread);
    struct ledger_owner_event begin = {.kind = LEDGER_OWNER_CHILD,
                                       .pid = (uint32_t)pid,
                                       .anchors = 1,
                                       .parent = scope.is_explicit ? scope.owner : 0,
                                       .stack = sandbox_stack(event),
                                       .now_ns = event->now_ns};
    uint32_t owner = ledger_owner_begin(event->ledger, event->actor, &begin);
    if (owner == 0) {
        return 0;
    }
    event->thread->last_child = owner;
    if (sandbox->ran) {
        ledger_owner(event->ledger, owner)->slots = event->thread->making;
    }
    uint32_t ticket = (uint32_t)ledger_ticket(event->ledger);
    if (!put_in(sandbox, pid, owner, ticket, flags) &&
        !(make_room(event, pid) && put_in(sandbox, pid, owner, ticket, flags))) {
        /* More children at one time than the table takes: readers see that it has gone. */
        ledger_incomplete(event->ledger, LEDGER_INCOMPLETE_RECORDS);
        return owner;
    }
    if (was_reaped(sandbox, pid, before)) {
        child_reaped(event, pid);
    }
    return owner;
}

void child_reaped(const struct sandbox_event *event, int pid)
{
    struct sandbox *sandbox = event->sandbox;
    struct sandbox_child *child = find(sandbox, pid);
    if (!child) {
        uint64_t word = key_of(pid, (uint32_t)ledger_ticket(event->ledger));
        __atomic_store_n(&sandbox->reaped[(uint32_t)pid % SANDBOX_REAPED], word, __ATOMIC_SEQ_CST);
        child = find(sandbox, pid); /* it may have been registered just now */
    }
    if (child) {
        end(event, take_out(sandbox, child, load(child)), LEDGER_OWNER_REAPED);
    }
}

/* One that was made after the wait began is not what the wait did not find. */
static void end_unfound(const struct sandbox_event *event, struct sandbox_child *child,
                        uint32_t before)
{
    uint64_t key = load(child);
    uint32_t since = __atomic_load_n(&child->since, __ATOMIC_RELAXED);
    uint32_t flags = __atomic_load_n(&child->flags, __ATOMIC_RELAXED);
    if (is_live(key) && (int32_t)(before - since) > 0 && !(flags & SANDBOX_CHILD_NO_SIGCHLD)) {
        end(event, take_out(event->sandbox, child, key), LEDGER_OWNER_UNSEEN_END);
    }
}

void child_gone(const struct sandbox_event *event, int pid, uint32_t before)
{
    struct sandbox *sandbox = event->sandbox;
    if (__atomic_load_n(&sandbox->children, __ATOMIC_RELAXED) == 0) {
        return;
    }
    if (pid != 0) {
        struct sandbox_child *child = find(sandbox, pid);
        if (child) {
            end_unfound(event, child, before);
        }
        return;
    }
    for (unsigned i = 0; i < SANDBOX_CHILDREN; i++) {
        end_unfound(event, &sandbox->child[i], before);
    }
}

uint32_t child_owner(const struct sandbox *sandbox, int pid)
{
    const struct sandbox_child *child = find(sandbox, pid);
    uint64_t key = child ? load(child) : NEVER_USED;
    return is_live(key) && pid_of(key) == pid ? (uint32_t)key : 0;
}

/* By a handler, or by another thread. */
uint32_t child_owner_lately(const struct sandbox *sandbox, const struct ledger *ledger, int pid)
{
    uint32_t owner = child_owner(sandbox, pid);
    if (owner) {
        return owner;
    }
    uint64_t key =
        __atomic_load_n(&sandbox->ended[(uint32_t)pid % SANDBOX_REAPED], __ATOMIC_SEQ_CST);
    const struct ledger_owner *record =
        pid > 0 && pid_of(key) == pid ? ledger_owner(ledger, (uint32_t)key) : NULL;
    return record && record->pid == (uint32_t)pid ? (uint32_t)key : 0;
}

uint32_t child_of_path(const struct sandbox *sandbox, const struct ledger *ledger, const char *path)
{
    static const char proc[] = "/proc/";
    int pid = 0;
    for (unsigned i = 0; proc[i]; i++) {
        if (*path++ != proc[i]) {
            return 0;
        }
    }
    for (; *path >= '0' && *path <= '9' && pid < 100000000; path++) {
        pid = pid * 10 + (*path - '0');
    }
    if (*path != '/' && *path != 0) {
        return 0;
    }
    return child_owner_lately(sandbox, ledger, pid);
}

/* Only for "growing" and "inheritable": the child's end says nothing about what is left of it. */
void child_pipe_closed(const struct sandbox_event *event, int other)
{
    const struct ledger_fd *record = ledger_fd_record(event->ledger, other);
    uint32_t child = event->thread->last_child;
    if (record && record->owner == 0 && record->kind == LEDGER_FD_PIPE &&
        ledger_owner_lives(event->ledger, child)) {
        ledger_fd_assign(event->ledger, event->actor, other, child, LEDGER_TIED, 0,
                         LEDGER_FD_UNKNOWN);
    }
}

void child_resume(struct sandbox *sandbox, struct ledger *ledger)
{
    for (uint64_t i = 1; i < ledger->header->used[LEDGER_OWNERS]; i++) {
        const struct ledger_owner *record = ledger_owner(ledger, (uint32_t)i);
        if (record && record->state == LEDGER_LIVE && record->anchors && record->pid &&
            (record->kind == LEDGER_OWNER_CHILD || record->kind == LEDGER_OWNER_SECCOMP)) {
            put_in(sandbox, (int)record->pid, (uint32_t)i, 0, 0);
        }
    }
}
