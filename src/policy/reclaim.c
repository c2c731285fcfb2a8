/*
 * reclaim.c: what is reclaimed, and when; see reclaim.h.
 *
 * A look goes through the ledger's tables, asks left.c what was left and evidence.c whether it ever
 * comes back, asks the kernel whether it is still what it was, and then replaces it. All signals of
 * the thread are blocked meanwhile, so that no handler finds it half done or jumps out of it; a
 * thread that meets another one looking goes on. It never looks in a thread with a filter, and
 * never touches what is bound, shared or alive.
 */
#include "reclaim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "evidence.h"
#include "identity.h"
#include "ledger/fault.h"
#include "left.h"
#include "quarantine.h"
#include "raw.h"

#define MS UINT64_C(1000000)
#define LOOKS_PER_SETTLING 4u
#define LOOK_INTERVAL_MS 50u /* at least */
#define SHARE_OF_TIME 20u    /* a look may take one part in so many */
#define CANDIDATES 2048u     /* in one look; the others are the next one's */
#define FIRST_FD 3           /* below it are the process's own, whatever was put there */

/* What was left, and may be reclaimed if all agree. */
struct candidate {
    struct evidence_key key;
    uint64_t serial;     /* of its sandbox */
    uint64_t settled_ns; /* since when it has lain idle */
    uint32_t owner;
    uint32_t tid;
    uint32_t state; /* of a descriptor: the record's word when it was judged */
    uint32_t flags; /* enum ledger_record_flags */
    int32_t fd;     /* -1: a mapping */
    uint32_t bound_owner;
    bool promised;
    uint8_t prot;
    uint64_t start, end, ticket;
};

struct reclaim {
    struct ledger *ledger;
    uint64_t settle_ns;
    uint32_t looking; /* somebody is */
    uint32_t epoch;   /* of the ledger, as far as it has been looked at */
    uint64_t due_ns;
    uint64_t changed_ns; /* when the epoch was last seen to change */
    uint64_t looked_ns;
    bool crowded; /* at the last look, above half of a limit */
    uint64_t soft_limit;
    uint32_t pid;
    uint32_t count;
    struct candidate candidates[CANDIDATES];
    struct evidence evidence;
    struct identity identity;
    struct quarantine quarantine;
};

/* process-global because it describes the process's own descriptors and memory; NULL: off */
static struct reclaim *reclaim;

bool reclaim_begin(struct ledger *ledger, const struct reclaim_options *options)
{
    const uint64_t page = 4096;
    uint64_t bytes = (sizeof(struct reclaim) + page - 1) & ~(page - 1);
    struct reclaim *made = ledger->backing->arena(ledger->backing, bytes);
    if (made) {
        made->ledger = ledger;
        made->settle_ns = options->settle_ms * MS;
        made->quarantine.fds_max = options->quarantine_fds;
        made->quarantine.bytes_max = options->quarantine_bytes;
        made->pid = (uint32_t)raw_syscall0(SYS_getpid);
    }
    reclaim = made;
    return made != NULL;
}

/* --- what was left ---------------------------------------------------------------------------- */

static bool is_promised(const struct ledger_owner *owner)
{
    return owner->kind == LEDGER_OWNER_API || owner->kind == LEDGER_OWNER_THREAD;
}

static bool has_ended(const struct ledger *ledger, uint32_t owner)
{
    const struct ledger_owner *record = ledger_owner(ledger, owner);
    return owner == 0 || !record || record->state == LEDGER_ENDED;
}

static void found(void *context, const struct left_thing *thing)
{
    const struct policy_event *event = context;
    const struct ledger_owner *owner = ledger_owner(event->ledger, thing->owner);
    if (reclaim->count == CANDIDATES || !owner) {
        return;
    }
    struct candidate it = {
        .serial = owner->serial,
        .settled_ns = owner->ended_ns + (reclaim->crowded ? 0 : reclaim->settle_ns),
        .owner = thing->owner,
        .promised = is_promised(owner),
        .fd = -1,
    };
    if (thing->fd && thing->index >= FIRST_FD && has_ended(event->ledger, thing->fd->owner)) {
        it.key = (struct evidence_key){.stack = thing->fd->stack, .kind = thing->fd->kind};
        it.tid = thing->fd->tid;
        it.state = thing->fd->state;
        it.flags = thing->fd->flags;
        it.fd = (int32_t)thing->index;
        reclaim->candidates[reclaim->count++] = it;
    }
}

/* Everything that is held of what is looked at, whoever's it is. */
static void count_taken(const struct ledger *ledger)
{
    struct evidence *evidence = &reclaim->evidence;
    uint64_t fds = __atomic_load_n(&ledger->header->used[LEDGER_FDS], __ATOMIC_ACQUIRE);
    evidence_count_begins(evidence);
    for (uint32_t fd = 0; fd < fds; fd++) {
        const struct ledger_fd *record = ledger_fd_record(ledger, (int)fd);
        if (record && record->stack) {
            struct evidence_key key = {.stack = record->stack, .kind = record->kind};
            const struct evidence_case *the = evidence_of(evidence, &key, false);
            if (the) {
                evidence_count(evidence, the, record->tid, record->since_ns);
            }
        }
    }
}

/* Its thread is gone, by the kernel's word. */
static bool has_gone(uint32_t tid)
{
    return tid != 0 && raw_syscall3(SYS_tgkill, reclaim->pid, tid, 0) == -ESRCH;
}

static bool is_lost(const struct policy_event *event, const struct candidate *it,
                    const struct evidence_case *the)
{
    const struct evidence *evidence = &reclaim->evidence;
    if (!the || !evidence_convicts(the, reclaim->crowded ? 0 : reclaim->settle_ns, event->now_ns)) {
        return false;
    }
    return FAULT(reclaim_no_evidence) ||
           (evidence_taken_since(evidence, the, EVIDENCE_ANY_THREAD, it->settled_ns) &&
            (evidence_taken_since(evidence, the, it->tid, it->settled_ns) || has_gone(it->tid)));
}

/* Whether the stack has released something that was not reclaimed from it, or feeds a pool. */
static bool releases(const struct ledger *ledger, uint32_t index)
{
    const struct ledger_stack *stack = ledger_stack(ledger, index);
    return !stack || ledger_stack_is_pool(stack) ||
           __atomic_load_n(&stack->released, __ATOMIC_RELAXED) !=
               evidence_reclaimed(&reclaim->evidence, index);
}

/* --- descriptors ------------------------------------------------------------------------------ */

/* A lock that somebody in this process may have on the file by another descriptor goes with the
 * first close of any (fcntl_locking.2). */
static bool is_locked(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return raw_syscall3(SYS_fcntl, fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Who opens a file by its name has the same identity: of what was never seen opened, it is none. */
static bool is_confirmed(const struct candidate *it)
{
    if (FAULT(reclaim_unconfirmed)) {
        return true;
    }
    enum identity_strength strength = identity_of_fd(&reclaim->identity, it->fd, it->state);
    bool known = strength == IDENTITY_UNIQUE ||
                 (strength == IDENTITY_NAMED && (it->promised || !(it->flags & LEDGER_ADOPTED)));
    return known && !is_locked(it->fd);
}

/* The number is occupied from one moment to the next: it is never free in between. */
static bool reclaim_fd(const struct policy_event *event, const struct candidate *it, int placeholder,
                       uint64_t inode)
{
    struct ledger *ledger = event->ledger;
    struct quarantine *quarantine = &reclaim->quarantine;
    bool done = false;
    quarantine_hand_on_fd(quarantine, it->fd);
    if (!FAULT(reclaim_unconfirmed) &&
        identity_of_fd(&reclaim->identity, it->fd, it->state) == IDENTITY_NONE) {
        /* It is no longer what it was just now. */
    } else if (ledger_fd_reclaim(ledger, event->actor, it->fd, it->state, event->now_ns)) {
        done = true;
        evidence_reclaims(&reclaim->evidence, it->key.stack);
        if (FAULT(reclaim_frees)) {
            raw_syscall1(SYS_close, it->fd);
        } else {
            raw_syscall3(SYS_dup3, placeholder, it->fd, FAULT(reclaim_inheritable) ? 0 : O_CLOEXEC);
        }
        quarantine_put_fd(quarantine, it->fd, event->now_ns, inode);
    }
    quarantine_hand_off_fd(quarantine);
    if (done) {
        __atomic_add_fetch(&ledger->header->reclaimed_fds, 1, __ATOMIC_RELAXED);
        ledger_note_owners(ledger, event->actor, LEDGER_EVENT_RECLAIMED_FD, it->key.stack, 0,
                           (uint64_t)it->fd, it->owner, 0, event->now_ns);
    }
    return done;
}

static bool may_reclaim(const struct policy_event *event, const struct candidate *it,
                        struct evidence_case *the)
{
    return it->promised || is_lost(event, it, the);
}

static uint32_t reclaim_fds(const struct policy_event *event)
{
    struct ledger *ledger = event->ledger;
    uint64_t inode = 0;
    int own = -1;
    int placeholder = -1;
    uint32_t done = 0;
    for (uint32_t i = 0; i < reclaim->count; i++) {
        const struct candidate *it = &reclaim->candidates[i];
        if (it->fd < 0 || !is_confirmed(it)) {
            continue;
        }
        struct evidence_case *the = evidence_of(&reclaim->evidence, &it->key, true);
        if (releases(ledger, it->key.stack)) {
            evidence_acquit(&reclaim->evidence, it->key.stack);
        } else if (the) {
            evidence_left(the, it->serial, it->settled_ns);
        }
        if (!may_reclaim(event, it, the)) {
            continue;
        }
        if (placeholder < 0) {
            own = quarantine_placeholder(&inode);
            placeholder =
                own >= 0 ? own : quarantine_youngest(&reclaim->quarantine, ledger, &inode);
        }
        if (placeholder >= 0) {
            done += reclaim_fd(event, it, placeholder, inode);
        }
    }
    if (own >= 0) {
        raw_syscall1(SYS_close, own);
    }
    return done;
}

/* --- a look ----------------------------------------------------------------------------------- */

bool reclaim_is_due(const struct ledger *ledger, uint64_t now_ns)
{
    if (!reclaim) {
        return false;
    }
    uint32_t epoch = __atomic_load_n(&ledger->header->epoch, __ATOMIC_RELAXED);
    bool news = epoch != __atomic_load_n(&reclaim->epoch, __ATOMIC_RELAXED);
    bool settles = reclaim->looked_ns < reclaim->changed_ns + reclaim->settle_ns;
    return (news && reclaim->crowded) || ((news || settles) && now_ns >= reclaim->due_ns);
}

static uint64_t now_ns(const struct ledger *ledger)
{
    return ledger->backing->now ? ledger->backing->now() : 0;
}

static bool is_crowded(const struct ledger *ledger)
{
    const struct ledger_header *header = ledger->header;
    struct rlimit64 limit;
    uint64_t open = 0;
    if (raw_failed(raw_syscall4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &limit))) {
        limit.rlim_cur = header->max_fds;
    }
    reclaim->soft_limit = limit.rlim_cur;
    uint64_t fds = __atomic_load_n(&header->used[LEDGER_FDS], __ATOMIC_ACQUIRE);
    for (uint32_t fd = 0; fd < fds; fd++) {
        open += ledger_fd_record(ledger, (int)fd) != NULL;
    }
    int64_t vmas = __atomic_load_n(&header->vmas_estimated, __ATOMIC_RELAXED);
    return open > limit.rlim_cur / 2 || (header->max_map_count && vmas > header->max_map_count / 2);
}

static uint32_t look(const struct policy_event *event)
{
    struct ledger *ledger = event->ledger;
    uint32_t epoch = __atomic_load_n(&ledger->header->epoch, __ATOMIC_RELAXED);
    if (epoch != reclaim->epoch) {
        reclaim->changed_ns = event->now_ns;
    }
    reclaim->crowded = is_crowded(ledger);
    reclaim->count = 0;
    struct left_terms terms = {
        .now_ns = event->now_ns,
        .settle_ns = reclaim->settle_ns,
        .crowded = reclaim->crowded,
        .found = found,
        .context = (void *)event,
    };
    struct left left;
    ledger_map_catch_up(ledger, event->actor);
    if (!left_count(ledger, &terms, event->actor->tid, &left)) {
        return 0; /* another thread is counting: soon again */
    }
    count_taken(ledger);
    uint32_t done = reclaim_fds(event);
    quarantine_trim_fds(&reclaim->quarantine, event, reclaim->soft_limit);

    uint64_t interval = reclaim->settle_ns / LOOKS_PER_SETTLING;
    uint64_t took = now_ns(ledger) - event->now_ns;
    interval = interval < LOOK_INTERVAL_MS * MS ? LOOK_INTERVAL_MS * MS : interval;
    interval = interval < took * SHARE_OF_TIME ? took * SHARE_OF_TIME : interval;
    reclaim->due_ns = event->now_ns + interval;
    reclaim->looked_ns = event->now_ns;
    __atomic_store_n(&reclaim->epoch, epoch, __ATOMIC_RELAXED);
    return done;
}

/* With every signal blocked, libc's own among them: nothing interrupts it, cancels it or jumps out
 * of it. */
static uint32_t look_undisturbed(const struct policy_event *event)
{
    const uint64_t all = UINT64_MAX;
    uint64_t mask = 0;
    uint32_t nobody = 0;
    uint32_t done = 0;
    if (!event->may_call || !event->watching_fds ||
        raw_failed(raw_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, sizeof(mask)))) {
        return 0;
    }
    if (__atomic_compare_exchange_n(&reclaim->looking, &nobody, 1, false, __ATOMIC_ACQUIRE,
                                    __ATOMIC_RELAXED)) {
        done = look(event);
        __atomic_store_n(&reclaim->looking, 0, __ATOMIC_RELEASE);
    }
    raw_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
    return done;
}

void reclaim_look(const struct policy_event *event)
{
    if (reclaim_is_due(event->ledger, event->now_ns)) {
        look_undisturbed(event);
    }
}

bool reclaim_make_room(const struct policy_event *event)
{
    return reclaim && !FAULT(reclaim_no_retry) && look_undisturbed(event) > 0;
}

/* --- what the program does about it ----------------------------------------------------------- */

bool reclaim_fd_flies(const struct policy_event *event, int fd,
                      const struct ledger_fd_flight *flight, uint32_t stack)
{
    struct ledger_header *header = event->ledger->header;
    if (!reclaim) {
        return false;
    }
    quarantine_wait_fds(&reclaim->quarantine, (uint32_t)fd, (uint32_t)fd, event->may_call);
    if (flight->state == 0 || flight->kind != LEDGER_FD_RECLAIMED) {
        return false;
    }
    if (flight->twice) {
        return true;
    }
    evidence_late(&reclaim->evidence, flight->reclaimed_of);
    __atomic_add_fetch(&header->late_releases, 1, __ATOMIC_RELAXED);
    ledger_note_owners(event->ledger, event->actor, LEDGER_EVENT_LATE_CLOSE, stack,
                       flight->reclaimed_of, (uint64_t)fd, 0, 0, event->now_ns);
    return false;
}

void reclaim_fds_fly(const struct policy_event *event, uint32_t first, uint32_t last)
{
    if (reclaim) {
        quarantine_wait_fds(&reclaim->quarantine, first, last, event->may_call);
    }
}

bool reclaim_range_flies(const struct policy_event *event, uint64_t start, uint64_t end, bool late,
                         uint32_t stack)
{
    (void)event;
    (void)start;
    (void)end;
    (void)late;
    (void)stack;
    return false;
}

void *reclaim_noreplace(const struct policy_event *event, const struct policy_map *map)
{
    (void)event;
    (void)map;
    return MAP_FAILED;
}

void reclaim_fd_owned(const struct policy_event *event, int fd)
{
    if (reclaim && event->may_call && event->watching_fds) {
        identity_take_fd(&reclaim->identity, event->ledger, fd);
    }
}

void reclaim_fd_buffered(int fd)
{
    if (reclaim) {
        identity_forget_fd(&reclaim->identity, fd);
    }
}

void reclaim_range_mapped(uint64_t start, uint64_t end, int fd)
{
    if (reclaim) {
        identity_take_range(&reclaim->identity, start, end, fd);
    }
}

void reclaim_range_assigned(uint64_t start, uint64_t end)
{
    if (reclaim) {
        identity_assign_range(&reclaim->identity, start, end);
    }
}
