/*
 * seccomp.c: a sandbox whose system calls a supervisor answers. seccomp_unotify(2).
 *
 * Its owner is found at the first notification: where the process that made it, or an ancestor, is
 * a child we know, the listener joins that child's owner; otherwise the listener is a sandbox of
 * its own and lives as long as its descriptor. What is injected is its own, unless it was the
 * supervisor's before. It never reads the sandboxed process.
 */
#include "seccomp.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "decimal.h"
#include "ledger/fault.h"
#include "raw.h"
#include "sandbox.h"

#define ANCESTORS 16u /* how far up a child of ours is looked for */

/* --- the ancestry of a notification's process --- */

static char *put_text(char *to, const char *text)
{
    while (*text) {
        *to++ = *text++;
    }
    *to = 0;
    return to;
}

/* The number behind "PPid:\t" in /proc/PID/status, proc(5); 0: could not be had. Its first lines
 * are short, so that what fits is enough. */
static int parent_of(int pid)
{
    static const char wanted[] = "\nPPid:\t";
    char path[32];
    char text[512];
    put_text(decimal_put(put_text(path, "/proc/"), (unsigned)pid), "/status");
    long fd = raw_syscall4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (raw_failed(fd)) {
        return 0;
    }
    long length = raw_syscall3(SYS_read, fd, text, sizeof(text));
    raw_syscall1(SYS_close, fd);
    for (long at = 0; at + (long)sizeof(wanted) < length; at++) {
        unsigned same = 0;
        while (wanted[same] && text[at + same] == wanted[same]) {
            same++;
        }
        if (wanted[same]) {
            continue;
        }
        int parent = 0;
        for (at += same; at < length && text[at] >= '0' && text[at] <= '9'; at++) {
            parent = parent * 10 + (text[at] - '0');
        }
        return parent;
    }
    return 0;
}

/* The child of ours that `pid` is, or descends from; 0: none that is known. */
static uint32_t known_child(const struct sandbox_event *event, int pid)
{
    if (FAULT(listener_alone)) {
        return 0;
    }
    uint32_t owner = child_owner_lately(event->sandbox, event->ledger, pid);
    if (owner || !event->may_call ||
        __atomic_load_n(&event->sandbox->children, __ATOMIC_RELAXED) == 0) {
        return owner;
    }
    int at = pid;
    for (unsigned i = 0; i < ANCESTORS && at > 1 && owner == 0; i++) {
        at = parent_of(at);
        if (at == event->pid) {
            return 0; /* a child that was made unseen */
        }
        if (at == 0) {
            at = pid; /* one of them has died, and its children have another parent now */
        } else if (at > 1) {
            owner = child_owner_lately(event->sandbox, event->ledger, at);
        }
    }
    return owner;
}

/* --- the listener's owner --- */

/* The first listener of a known child joins it. A second one is another sandbox: the child is one
 * that makes them. */
static bool join(const struct sandbox_event *event, uint32_t owner, int pid)
{
    struct ledger_owner *record = ledger_owner(event->ledger, owner);
    if (!record || (__atomic_fetch_or(&record->flags, LEDGER_OWNER_LISTENS, __ATOMIC_RELAXED) &
                    LEDGER_OWNER_LISTENS)) {
        return false;
    }
    if (record->parent == 0 && record->kind == LEDGER_OWNER_CHILD) {
        __atomic_sub_fetch(&event->ledger->header->owners_begun[LEDGER_OWNER_CHILD], 1,
                           __ATOMIC_RELAXED);
        __atomic_add_fetch(&event->ledger->header->owners_begun[LEDGER_OWNER_SECCOMP], 1,
                           __ATOMIC_RELAXED);
        record->kind = LEDGER_OWNER_SECCOMP;
    }
    if (record->pid == 0) {
        record->pid = (uint32_t)pid;
    }
    return true;
}

static uint32_t begin(const struct sandbox_event *event, int pid)
{
    struct sandbox_scope scope = sandbox_scope(event->sandbox, event->thread);
    struct ledger_owner_event owner = {.kind = LEDGER_OWNER_SECCOMP,
                                       .pid = (uint32_t)pid,
                                       .parent = scope.is_explicit ? scope.owner : 0,
                                       .stack = sandbox_stack(event),
                                       .now_ns = event->now_ns};
    return ledger_owner_begin(event->ledger, event->actor, &owner);
}

static uint32_t recorded_owner(const struct sandbox_event *event, int listener)
{
    const struct ledger_fd *record = ledger_fd_record(event->ledger, listener);
    if (!record || record->kind != LEDGER_FD_SECCOMP) {
        return 0;
    }
    return __atomic_load_n(&record->owner, __ATOMIC_RELAXED);
}

/* Whose listener it is. `pid`: of a notification; 0: not known, then only what is recorded or a
 * sandbox of its own. */
static uint32_t listener_owner(const struct sandbox_event *event, int listener, int pid)
{
    uint32_t owner = recorded_owner(event, listener);
    const struct ledger_fd *record = ledger_fd_record(event->ledger, listener);
    if (owner || !record || FAULT(listener_unseen)) {
        return owner;
    }
    /* It may be the child's already: it came through its pidfd. */
    uint32_t child = pid ? known_child(event, pid) : 0;
    if (child == 0 && !(record->flags & (LEDGER_SCOPED | LEDGER_TIED))) {
        child = __atomic_load_n(&record->owner, __ATOMIC_RELAXED);
    }
    bool joins = child && join(event, child, pid);
    owner = joins ? child : begin(event, pid);
    if (owner &&
        !ledger_fd_assign(event->ledger, event->actor, listener, owner, joins ? 0 : LEDGER_ANCHOR,
                          LEDGER_SCOPED | LEDGER_TIED, LEDGER_FD_SECCOMP)) {
        if (!joins) {
            ledger_owner_end(event->ledger, event->actor, owner, 0);
        }
        return 0;
    }
    return owner;
}

/* --- what is injected --- */

/* What this stack takes is kept and given to many. What was first seen when it was given has only
 * the stack that gave it, which says nothing. */
static void note_cache(struct ledger *ledger, const struct ledger_fd *record)
{
    if (!(record->flags & LEDGER_ADOPTED)) {
        ledger_stack_feeds_pool(ledger, record->stack);
    }
}

/* seccomp_unotify(2): the kernel gives the sandboxed process a duplicate of `srcfd` and leaves the
 * supervisor's as it is. */
static void on_injected(const struct sandbox_event *event, uint32_t owner, int fd)
{
    struct ledger *ledger = event->ledger;
    const struct ledger_fd *record = ledger_fd_record(ledger, fd);
    if (!record) {
        struct ledger_fd_event adopt = {.kind = LEDGER_FD_UNKNOWN,
                                        .flags = LEDGER_ADOPTED | LEDGER_GIVEN,
                                        .owner = owner,
                                        .stack = sandbox_stack(event),
                                        .now_ns = event->now_ns};
        ledger_fd_adopt(ledger, event->actor, fd, &adopt);
        return;
    }
    if (record->flags & LEDGER_INHERITED) {
        return;
    }
    uint32_t before = __atomic_load_n(&record->owner, __ATOMIC_RELAXED);
    bool given = (record->flags & LEDGER_GIVEN) != 0;
    bool same =
        before && ledger_owner_outermost(ledger, before) == ledger_owner_outermost(ledger, owner);
    if (same && given) {
        return;
    }
    if (same) { /* taken while answering this one */
        ledger_fd_assign(ledger, event->actor, fd, owner, LEDGER_GIVEN, LEDGER_SCOPED | LEDGER_TIED,
                         LEDGER_FD_UNKNOWN);
    } else if (before) {
        /* Another's before: one that the supervisor keeps and gives to many; or a number that was
         * closed and taken again, both unseen. */
        note_cache(ledger, record);
        ledger_fd_assign(ledger, event->actor, fd, 0, LEDGER_GIVEN, LEDGER_SCOPED | LEDGER_TIED,
                         LEDGER_FD_UNKNOWN);
    } else if (!given) {
        /* From outside of any scope: the supervisor's own, or taken by another thread than the one
         * that received the notification. Then it is no older than the sandbox, and what its stack
         * takes is never given to a second one. */
        const struct ledger_owner *sandbox =
            ledger_owner(ledger, ledger_owner_outermost(ledger, owner));
        bool younger = sandbox && record->since_ns >= sandbox->begun_ns;
        ledger_fd_assign(ledger, event->actor, fd, younger ? owner : 0,
                         younger ? LEDGER_GIVEN | LEDGER_SCOPED : LEDGER_GIVEN, 0,
                         LEDGER_FD_UNKNOWN);
    }
}

/* --- the ioctls --- */

void seccomp_before_ioctl(const struct sandbox_event *event, uint32_t request)
{
    if (_IOC_NR(request) == SECCOMP_RECV) { /* it blocks, and ends what went before */
        sandbox_blocks(event->thread);
    }
}

static void on_received(const struct sandbox_event *event, int listener,
                        const struct seccomp_notif *notification)
{
    uint32_t owner = listener_owner(event, listener, (int)notification->pid);
    if (owner == 0) {
        return;
    }
    if (!ledger_owner_lives(event->ledger, owner)) {
        /* Its process was reaped, and a descendant lives on: so does the sandbox, by its listener.
         */
        ledger_owner_anchor(event->ledger, owner);
        ledger_owner_revive(event->ledger, owner);
        ledger_fd_assign(event->ledger, event->actor, listener, owner, LEDGER_ANCHOR, 0,
                         LEDGER_FD_SECCOMP);
        ledger_owner_unanchor(event->ledger, event->actor, owner, 0);
    }
    if (!FAULT(answers_unscoped)) {
        sandbox_answer_begins(event->sandbox, event->thread, owner, notification->id);
    }
}

/* ENOENT: whose call it was died, or was interrupted; there is nothing to answer any more. The
 * kernel has read the argument before it says so. */
static void on_lost(const struct sandbox_event *event, int fd, uint32_t request,
                    const void *argument)
{
    uint32_t owner = recorded_owner(event, fd);
    if (owner == 0) {
        return;
    }
    switch (_IOC_NR(request)) {
    case SECCOMP_SEND:
        sandbox_answered(event->sandbox, owner, ((const struct seccomp_notif_resp *)argument)->id);
        break;
    case SECCOMP_ID_VALID:
        sandbox_answered(event->sandbox, owner, *(const uint64_t *)argument);
        break;
    case SECCOMP_ADDFD:
        sandbox_answered(event->sandbox, owner, ((const struct seccomp_notif_addfd *)argument)->id);
        break;
    default:
        break;
    }
}

void seccomp_on_ioctl(const struct sandbox_event *event, int fd, uint32_t request,
                      const void *argument, int result)
{
    if (result < 0) {
        on_lost(event, fd, request, argument);
        return;
    }
    switch (_IOC_NR(request)) {
    case SECCOMP_RECV:
        on_received(event, fd, argument);
        break;
    case SECCOMP_SEND: {
        uint32_t owner = listener_owner(event, fd, 0);
        sandbox_answered(event->sandbox, owner, ((const struct seccomp_notif_resp *)argument)->id);
        break;
    }
    case SECCOMP_ADDFD: {
        const struct seccomp_notif_addfd *added = argument;
        uint32_t owner = listener_owner(event, fd, 0);
        if (owner && !FAULT(injected_unseen)) {
            on_injected(event, owner, (int)added->srcfd);
        }
        if (added->flags & SECCOMP_ADDFD_FLAG_SEND) {
            sandbox_answered(event->sandbox, owner, added->id);
        }
        break;
    }
    default:
        break;
    }
}
