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
#include <time.h>

#include "allocator.h"
#include "evidence.h"
#include "identity.h"
#include "ledger/fault.h"
#include "left.h"
#include "quarantine.h"
#include "raw.h"

#define MS UINT64_C(1000000)
#define LOOKS_PER_SETTLING 4u
#define LOOK_INTERVAL_MS 50u /* at least */
#define SHARE_OF_TIME 20u /* a look that takes nothing may take one part in so many of the time */
#define SHARE_AT_WORK 3u  /* one that does */
#define CANDIDATES 2048u  /* of each kind in one look; the others are the next one's */
#define FIRST_FD 3        /* below it are the process's own, whatever was put there */

/* What was left, and may be reclaimed if all agree. */
struct candidate {
    struct evidence_key key;
    uint64_t serial;     /* of its sandbox */
    uint64_t settled_ns; /* since when it has lain idle */
    uint32_t owner;
    uint32_t tid;
    int32_t fd;                    /* where it is one */
    uint32_t state;                /* and its record's word when it was judged */
    bool promised;                 /* that the sandbox is over and done with */
    bool surely_its;               /* not by a scope alone */
    struct ledger_mapping mapping; /* as it was then */
};

/* VMs of which a descriptor is open, by their owners: one bit may stand for several. */
#define OPEN_VMS 65536u

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
    uint32_t fd_count, range_count;
    struct candidate fds[CANDIDATES];
    struct candidate ranges[CANDIDATES];
    uint16_t by_start[CANDIDATES]; /* the places of the ranges, by their start */
    struct maps_range asked[CANDIDATES];
    uint64_t open_vms[OPEN_VMS / 64];
    uint64_t running_vms[OPEN_VMS / 64]; /* not only something beside them is open */
    char buffer[MAPS_BUFFER];
    uint32_t look; /* the n-th */
    struct allocator allocator;
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
        /* What an image before an exec had kept went with it. */
        ledger->header->quarantined_fds = ledger->header->quarantined_bytes = 0;
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

/* Nobody will ever say that it is lost. */
static bool is_hopeless(const struct candidate *it)
{
    const struct evidence_case *the = evidence_of(&reclaim->evidence, &it->key, false);
    return !it->promised && (it->key.stack == 0 || (the && the->acquitted));
}

/* Who opens a file by its name has the same identity: that is enough for a promise only. */
static bool is_known(enum identity_strength strength, const struct candidate *it)
{
    return strength >= IDENTITY_PROCESS || (strength == IDENTITY_NAMED && it->promised);
}

static void found_fd(const struct ledger *ledger, const struct left_thing *thing,
                     struct candidate *it)
{
    it->key = (struct evidence_key){.stack = thing->fd->stack, .kind = thing->fd->kind};
    it->tid = thing->fd->tid;
    it->state = thing->fd->state;
    it->fd = (int32_t)thing->index;
    it->surely_its = identity_fd_assigned(&reclaim->identity, it->fd);
    if (reclaim->fd_count < CANDIDATES && it->fd >= FIRST_FD &&
        has_ended(ledger, thing->fd->owner) &&
        is_known(identity_claimed(&reclaim->identity, it->fd, it->state), it) && !is_hopeless(it)) {
        reclaim->fds[reclaim->fd_count++] = *it;
    }
}

/* Whether it can be known for what it is at all, and be the sandbox's and nobody else's. */
static bool is_plain(const struct ledger_mapping *mapping)
{
    const uint16_t doubtful = LEDGER_INHERITED | LEDGER_ADOPTED | LEDGER_UNSURE |
                              LEDGER_UNSURE_PROT | LEDGER_SHM_MAP | LEDGER_STACK_MAP |
                              LEDGER_BINDINGS | LEDGER_SHARED | LEDGER_KEPT;
    bool file = (mapping->flags & LEDGER_FILE_MAP) != 0;
    /* What runs in this very process is code that somebody loaded, not a guest's. */
    bool code = file && (mapping->prot & PROT_EXEC) && mapping->bound_owner == 0;
    return mapping->state == LEDGER_LIVE && !(mapping->flags & doubtful) && !code &&
           (file || !(mapping->detail & LEDGER_WATCHED));
}

/* What the supervisor said, or its VM had as a whole. */
static bool is_surely_its(const struct ledger_mapping *mapping)
{
    bool assigned = mapping->flags & LEDGER_FILE_MAP
                        ? identity_range_assigned(&reclaim->identity, mapping->start, mapping->end)
                        : (mapping->detail & LEDGER_ASSIGNED) != 0;
    return assigned || (mapping->bound_owner && !(mapping->flags & LEDGER_SPLIT));
}

/* Memory without a file has no identity: it goes on a promise only, and neither what was merely
 * taken in a scope nor what malloc or its like mapped. */
static bool can_be_known(const struct candidate *it)
{
    const struct ledger_mapping *mapping = &it->mapping;
    if (mapping->flags & LEDGER_FILE_MAP) {
        return identity_of_range(&reclaim->identity, mapping->start, mapping->end) != 0;
    }
    return it->promised && it->surely_its &&
           !allocator_made(&reclaim->allocator, reclaim->ledger, mapping->stack);
}

static void found_range(const struct ledger *ledger, const struct left_thing *thing,
                        struct candidate *it)
{
    const struct ledger_mapping *mapping = thing->mapping;
    it->key = (struct evidence_key){
        .stack = mapping->stack, .kind = EVIDENCE_MAPPING, .size = mapping->end - mapping->start};
    it->tid = mapping->tid;
    it->mapping = *mapping;
    it->surely_its = is_surely_its(mapping);
    if (reclaim->range_count == CANDIDATES || !is_plain(mapping) || !can_be_known(it) ||
        !has_ended(ledger, mapping->owner) || !has_ended(ledger, mapping->bound_owner) ||
        is_hopeless(it)) {
        return;
    }
    uint32_t place = reclaim->range_count++;
    uint16_t *by_start = reclaim->by_start;
    uint32_t at = place;
    for (; at > 0 && reclaim->ranges[by_start[at - 1]].mapping.start > mapping->start; at--) {
        by_start[at] = by_start[at - 1];
    }
    by_start[at] = (uint16_t)place;
    reclaim->ranges[place] = *it;
}

static void found(void *context, const struct left_thing *thing)
{
    const struct ledger *ledger = ((const struct policy_event *)context)->ledger;
    const struct ledger_owner *owner = ledger_owner(ledger, thing->owner);
    if (!owner) {
        return;
    }
    struct candidate it = {
        .serial = owner->serial,
        .settled_ns = owner->ended_ns + (reclaim->crowded ? 0 : reclaim->settle_ns),
        .owner = thing->owner,
        .promised = is_promised(owner),
    };
    if (thing->fd) {
        found_fd(ledger, thing, &it);
    } else {
        found_range(ledger, thing, &it);
    }
}

/* Everything that is held of what is looked at, whoever's it is. */
static void count_taken(const struct ledger *ledger)
{
    struct evidence *evidence = &reclaim->evidence;
    uint64_t fds = __atomic_load_n(&ledger->header->used[LEDGER_FDS], __ATOMIC_ACQUIRE);
    uint64_t mappings = __atomic_load_n(&ledger->header->used[LEDGER_MAPPINGS], __ATOMIC_ACQUIRE);
    evidence_count_begins(evidence);
    for (uint32_t fd = 0; fd < fds; fd++) {
        const struct ledger_fd *record = ledger_fd_record(ledger, (int)fd);
        if (record && record->stack) {
            struct evidence_key key = {.stack = record->stack, .kind = record->kind};
            evidence_count(evidence, &key, record->tid, record->since_ns);
        }
    }
    for (uint32_t i = 1; i < mappings; i++) {
        const struct ledger_mapping *record = ledger_at(ledger, LEDGER_MAPPINGS, i);
        if (record && __atomic_load_n(&record->state, __ATOMIC_ACQUIRE) == LEDGER_LIVE &&
            record->stack && !(record->flags & LEDGER_KEPT)) {
            struct evidence_key key = {.stack = record->stack,
                                       .kind = EVIDENCE_MAPPING,
                                       .size = record->end - record->start};
            evidence_count(evidence, &key, record->tid, record->since_ns);
        }
    }
}

/* A machine may be a part of a sandbox: both. */
static void note_running(uint32_t owner)
{
    uint32_t bit = owner % OPEN_VMS;
    reclaim->running_vms[bit / 64] |= UINT64_C(1) << bit % 64;
}

/* As long as one is open, its VM lives in the kernel, and so does what that maps. */
static void note_open_vms(const struct ledger *ledger)
{
    uint64_t fds = __atomic_load_n(&ledger->header->used[LEDGER_FDS], __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < OPEN_VMS / 64; i++) {
        reclaim->open_vms[i] = reclaim->running_vms[i] = 0;
    }
    for (uint32_t fd = 0; fd < fds; fd++) {
        const struct ledger_fd *record = ledger_fd_record(ledger, (int)fd);
        bool runs =
            record && (record->kind == LEDGER_FD_KVM_VM || record->kind == LEDGER_FD_KVM_VCPU);
        bool of_vm = runs || (record && record->kind == LEDGER_FD_KVM_DEVICE);
        if (of_vm && !FAULT(reclaim_with_vcpu)) {
            uint32_t bit = record->owner % OPEN_VMS;
            reclaim->open_vms[bit / 64] |= UINT64_C(1) << bit % 64;
            if (runs) {
                note_running(record->owner);
                note_running(ledger_owner_outermost(ledger, record->owner));
            }
        }
    }
}

static bool is_among(const uint64_t *vms, uint32_t owner)
{
    uint32_t bit = owner % OPEN_VMS;
    return owner != 0 && (vms[bit / 64] >> bit % 64 & 1);
}

static bool is_open_vm(uint32_t owner)
{
    return is_among(reclaim->open_vms, owner);
}

/* A guest_memfd is the memory of a machine. */
static bool is_memory_in_use(const struct ledger *ledger, const struct candidate *it)
{
    const struct ledger_fd *record = ledger_fd_record(ledger, it->fd);
    return it->key.kind == LEDGER_FD_KVM_DEVICE && record &&
           (is_among(reclaim->running_vms, record->owner) ||
            is_among(reclaim->running_vms, it->owner));
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

static bool is_confirmed(const struct candidate *it)
{
    if (FAULT(reclaim_unconfirmed)) {
        return true;
    }
    return is_known(identity_of_fd(&reclaim->identity, it->fd, it->state), it) &&
           !is_locked(it->fd);
}

/* In the test build: so long that whoever releases at this moment does meet the hand. */
static void dawdle(void)
{
    if (FAULT(reclaim_slow) || FAULT(reclaim_unwaited)) {
        const struct timespec pause = {.tv_nsec = 5 * MS};
        raw_syscall2(SYS_nanosleep, &pause, NULL);
    }
}

/* The number is occupied from one moment to the next: it is never free in between. */
static bool reclaim_fd(const struct policy_event *event, const struct candidate *it,
                       int placeholder, uint64_t inode)
{
    struct ledger *ledger = event->ledger;
    struct quarantine *quarantine = &reclaim->quarantine;
    bool done = false;
    quarantine_hand_on_fd(quarantine, it->fd);
    if (is_confirmed(it) &&
        ledger_fd_reclaim(ledger, event->actor, it->fd, it->state, event->now_ns)) {
        done = true;
        evidence_reclaims(&reclaim->evidence, it->key.stack);
        dawdle();
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
        ledger_note_limited(ledger, event->actor, LEDGER_EVENT_RECLAIMED_FD, (int)it->key.kind,
                            it->key.stack, (uint64_t)it->fd, 0, it->owner, event->now_ns);
    }
    return done;
}

/* The kernel has it still: another sandbox may need that as a witness. */
static void witness(const struct candidate *it)
{
    struct evidence_case *the = evidence_of(&reclaim->evidence, &it->key, true);
    if (the) {
        evidence_witness(the, it->serial, reclaim->look);
    }
}

/* Once all have been witnesses: what does it say of its stack, and may it go? What is a sandbox's
 * by its scope alone may be anybody's that was made then, a library's connection: two have left the
 * like. */
static bool weigh(const struct policy_event *event, const struct candidate *it)
{
    struct evidence_case *the = evidence_of(&reclaim->evidence, &it->key, true);
    if (releases(event->ledger, it->key.stack)) {
        evidence_acquit(&reclaim->evidence, it->key.stack);
    } else if (the) {
        evidence_left(the, it->serial, it->settled_ns);
    }
    if (it->promised) {
        return it->surely_its || (the && evidence_has_witnesses(the, reclaim->look));
    }
    return is_lost(event, it, the);
}

/* Where no number is free for a placeholder, one that is occupied already does as well, or what the
 * first of the candidates holds: until there is room. Its inode then in *borrowed. */
static uint32_t reclaim_fds(const struct policy_event *event,
                            const struct quarantine_placeholder *placeholder, uint64_t *borrowed)
{
    const struct ledger *ledger = event->ledger;
    uint64_t inode = placeholder->inode;
    int number = placeholder->number >= 0 ? placeholder->number : placeholder->memory;
    uint32_t done = 0;
    *borrowed = 0;
    if (number < 0) {
        number = quarantine_youngest(&reclaim->quarantine, ledger, &inode);
    }
    for (uint32_t i = 0; i < reclaim->fd_count; i++) {
        if (is_confirmed(&reclaim->fds[i])) {
            witness(&reclaim->fds[i]);
        }
    }
    for (uint32_t i = 0; i < reclaim->fd_count; i++) {
        const struct candidate *it = &reclaim->fds[i];
        if (!is_confirmed(it) || !weigh(event, it) || is_memory_in_use(ledger, it)) {
            continue;
        }
        if (number < 0) {
            number = it->fd;
            inode = *borrowed = identity_inode(number);
        } else {
            done += reclaim_fd(event, it, number, inode);
        }
    }
    return done;
}

/* --- ranges ----------------------------------------------------------------------------------- */

/* What the kernel says is mapped there is what was mapped for the sandbox. */
static bool is_same_range(const struct candidate *it, const struct maps_range *asked)
{
    const struct ledger_mapping *mapping = &it->mapping;
    bool shared = (mapping->flags & LEDGER_SHARED_MAP) != 0;
    if (FAULT(reclaim_unconfirmed)) {
        return true;
    }
    if (!asked->whole || asked->prot != mapping->prot || asked->shared != shared) {
        return false;
    }
    if (mapping->flags & LEDGER_FILE_MAP) {
        return asked->name == MAPS_FILE && asked->inode != 0 &&
               asked->inode == identity_of_range(&reclaim->identity, mapping->start, mapping->end);
    }
    return shared ? asked->name == MAPS_ZERO : asked->name == MAPS_NOTHING && asked->inode == 0;
}

static struct ledger_map_event change_of(const struct policy_event *event,
                                         const struct ledger_mapping *mapping,
                                         enum ledger_map_op op)
{
    return (struct ledger_map_event){.op = (uint8_t)op,
                                     .start = mapping->start,
                                     .end = mapping->end,
                                     .ticket = ledger_ticket(event->ledger),
                                     .now_ns = event->now_ns};
}

/* The kernel would not: what is there is the sandbox's as before. */
static void restore(const struct policy_event *event, const struct ledger_mapping *mapping)
{
    struct ledger_map_event again = change_of(event, mapping, LEDGER_MAP_INSERT);
    again.stack = mapping->stack;
    again.owner = mapping->owner ? mapping->owner : mapping->bound_owner;
    again.tid = mapping->tid;
    again.detail = mapping->detail;
    again.flags = (uint16_t)(mapping->flags | LEDGER_UNSURE);
    again.prot = mapping->prot;
    again.fixed = true;
    ledger_map_submit(event->ledger, event->actor, &again);
}

static long occupy(const struct ledger_mapping *mapping, int placeholder)
{
    return FAULT(reclaim_frees)
               ? raw_syscall2(SYS_munmap, mapping->start, mapping->end - mapping->start)
               : quarantine_map(mapping->start, mapping->end, placeholder);
}

static bool reclaim_range(const struct policy_event *event, const struct candidate *it,
                          const struct quarantine_placeholder *placeholder)
{
    const struct ledger_mapping *mapping = &it->mapping;
    struct ledger *ledger = event->ledger;
    struct quarantine *quarantine = &reclaim->quarantine;
    struct ledger_map_event keep = change_of(event, mapping, LEDGER_MAP_KEEP);
    bool done = false;
    quarantine_hand_on_range(quarantine, mapping->start, mapping->end);
    if (ledger_map_reclaim(ledger, event->actor, mapping, &keep)) {
        evidence_reclaims(&reclaim->evidence, it->key.stack);
        dawdle();
        done = !raw_failed(occupy(mapping, placeholder->memory));
        if (done) {
            struct ledger_map_event none = change_of(event, mapping, LEDGER_MAP_PROTECT);
            quarantine_put_range(quarantine, mapping->start, mapping->end, it->key.stack,
                                 placeholder->inode);
            ledger_map_submit(ledger, event->actor, &none);
        } else {
            restore(event, mapping);
        }
    }
    quarantine_hand_off_range(quarantine);
    if (done) {
        uint64_t bytes = mapping->end - mapping->start;
        __atomic_add_fetch(&ledger->header->reclaimed_mappings, 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&ledger->header->reclaimed_bytes, bytes, __ATOMIC_RELAXED);
        ledger_note_limited(ledger, event->actor, LEDGER_EVENT_RECLAIMED_MAPPING, mapping->flags,
                            it->key.stack, mapping->start, bytes, it->owner, event->now_ns);
    }
    return done;
}

static uint32_t reclaim_ranges(const struct policy_event *event,
                               const struct quarantine_placeholder *placeholder)
{
    uint32_t done = 0;
    uint32_t count = reclaim->range_count;
    for (uint32_t i = 0; i < count; i++) {
        const struct ledger_mapping *mapping = &reclaim->ranges[reclaim->by_start[i]].mapping;
        reclaim->asked[i] = (struct maps_range){.start = mapping->start, .end = mapping->end};
    }
    if (count == 0 || placeholder->memory < 0 ||
        !maps_ask(reclaim->asked, count, reclaim->buffer)) {
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (is_same_range(&reclaim->ranges[reclaim->by_start[i]], &reclaim->asked[i])) {
            witness(&reclaim->ranges[reclaim->by_start[i]]);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct candidate *it = &reclaim->ranges[reclaim->by_start[i]];
        if (is_same_range(it, &reclaim->asked[i]) && weigh(event, it) &&
            !is_open_vm(it->mapping.bound_owner) && !is_open_vm(it->mapping.owner) &&
            quarantine_has_room(&reclaim->quarantine)) {
            done += reclaim_range(event, it, placeholder);
        }
    }
    if (done > 0) {
        quarantine_join_ranges(&reclaim->quarantine, placeholder, reclaim->buffer);
    }
    return done;
}

/* --- a look ----------------------------------------------------------------------------------- */

/* A sandbox has ended since the last look. */
static bool is_news(const struct ledger *ledger)
{
    uint32_t epoch = __atomic_load_n(&ledger->header->epoch, __ATOMIC_RELAXED);
    return epoch != __atomic_load_n(&reclaim->epoch, __ATOMIC_RELAXED);
}

bool reclaim_may_be_due(const struct ledger *ledger)
{
    return reclaim &&
           (is_news(ledger) || reclaim->looked_ns < reclaim->changed_ns + reclaim->settle_ns);
}

bool reclaim_is_due(const struct ledger *ledger, uint64_t now_ns)
{
    return reclaim_may_be_due(ledger) &&
           (now_ns >= reclaim->due_ns || (reclaim->crowded && is_news(ledger)));
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
    reclaim->fd_count = reclaim->range_count = 0;
    reclaim->look++;
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
    uint32_t done = 0;
    if (reclaim->fd_count + reclaim->range_count > 0) {
        struct quarantine_placeholder placeholder;
        uint64_t borrowed;
        quarantine_open(&placeholder);
        note_open_vms(ledger);
        done = reclaim_fds(event, &placeholder, &borrowed);
        if (placeholder.memory < 0 && done > 0) {
            quarantine_trim_fds(&reclaim->quarantine, event, reclaim->soft_limit);
            quarantine_open(&placeholder);
            quarantine_replace(&reclaim->quarantine, event, borrowed, &placeholder);
        }
        done += reclaim_ranges(event, &placeholder);
        quarantine_close(&placeholder);
    }
    quarantine_trim_fds(&reclaim->quarantine, event, reclaim->soft_limit);
    quarantine_trim_ranges(&reclaim->quarantine, event, reclaim->buffer);

    uint64_t interval = reclaim->settle_ns / LOOKS_PER_SETTLING;
    uint64_t took = (now_ns(ledger) - event->now_ns) * (done > 0 ? SHARE_AT_WORK : SHARE_OF_TIME);
    interval = interval < LOOK_INTERVAL_MS * MS ? LOOK_INTERVAL_MS * MS : interval;
    interval = interval < took ? took : interval;
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

/* The supervisor's own release of what stack `of` had taken. */
static void note_late_close(const struct policy_event *event, int fd, uint32_t of, uint32_t stack)
{
    struct ledger_header *header = event->ledger->header;
    evidence_late(&reclaim->evidence, of);
    __atomic_sub_fetch(&header->quarantined_fds, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&header->late_releases, 1, __ATOMIC_RELAXED);
    ledger_note_owners(event->ledger, event->actor, LEDGER_EVENT_LATE_CLOSE, stack, of,
                       (uint64_t)fd, 0, 0, event->now_ns);
}

bool reclaim_fd_is_late(int fd, const struct ledger_fd_flight *flight, bool may_call)
{
    if (!reclaim) {
        return false;
    }
    quarantine_wait_fds(&reclaim->quarantine, (uint32_t)fd, (uint32_t)fd, may_call);
    return flight->state != 0 && flight->kind == LEDGER_FD_RECLAIMED;
}

bool reclaim_fd_flies(const struct policy_event *event, int fd,
                      const struct ledger_fd_flight *flight, uint32_t stack)
{
    if (!flight->twice) {
        note_late_close(event, fd, flight->released_by, stack);
    }
    return flight->twice;
}

void reclaim_fds_late(const struct policy_event *event, uint32_t first, uint32_t last,
                      uint32_t stack)
{
    const struct ledger *ledger = event->ledger;
    uint64_t used = __atomic_load_n(&ledger->header->used[LEDGER_FDS], __ATOMIC_ACQUIRE);
    for (uint64_t fd = first; reclaim && fd <= last && fd < used; fd++) {
        const struct ledger_fd *record = ledger_fd_record(ledger, (int)fd);
        if (record && record->kind == LEDGER_FD_RECLAIMED && (record->state & 7) == LEDGER_LIVE) {
            uint32_t of = __atomic_load_n(&record->detail, __ATOMIC_RELAXED);
            note_late_close(event, (int)fd, of, stack);
        }
    }
}

void reclaim_fds_fly(const struct policy_event *event, uint32_t first, uint32_t last)
{
    if (reclaim) {
        quarantine_wait_fds(&reclaim->quarantine, first, last, event->may_call);
    }
}

static uint64_t block_signals(void)
{
    const uint64_t all = UINT64_MAX;
    uint64_t mask = 0;
    raw_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, sizeof(mask));
    return mask;
}

static void unblock_signals(uint64_t mask)
{
    raw_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
}

/* A handler must not find a range half taken. */
static uint64_t take_range(const struct policy_event *event, uint64_t start, uint64_t end,
                           uint32_t *stack)
{
    uint64_t mask = event->may_call ? block_signals() : 0;
    uint64_t bytes =
        quarantine_take_range(&reclaim->quarantine, start, end, event->may_call, stack);
    if (event->may_call) {
        unblock_signals(mask);
    }
    quarantine_tell_bytes(&reclaim->quarantine, event->ledger);
    return bytes;
}

bool reclaim_range_flies(const struct policy_event *event, uint64_t start, uint64_t end, bool late,
                         uint32_t stack)
{
    uint32_t of = 0;
    if (!reclaim) {
        return false;
    }
    bool is_gone = quarantine_wait_range(&reclaim->quarantine, start, end, event->may_call);
    if (!quarantine_touches(&reclaim->quarantine, start, end)) {
        return is_gone;
    }
    uint64_t bytes = take_range(event, start, end, &of);
    if (bytes != 0 && late) {
        evidence_late(&reclaim->evidence, of);
        __atomic_add_fetch(&event->ledger->header->late_releases, 1, __ATOMIC_RELAXED);
        ledger_note(event->ledger, event->actor, LEDGER_EVENT_LATE_UNMAP, 0, stack, of, start,
                    bytes, event->now_ns);
    }
    return false;
}

/* The parts of [start, end) that are kept, as far as there is room for them. */
static uint32_t list_kept(const struct policy_event *event, uint64_t start, uint64_t end)
{
    struct ledger_mapping mapping;
    uint32_t count = 0;
    for (uint64_t at = start; at < end && count < CANDIDATES &&
                              ledger_map_look(event->ledger, event->actor, at, &mapping);
         at = mapping.end) {
        if ((mapping.flags & LEDGER_KEPT) && !(mapping.detail & LEDGER_WAITS) &&
            mapping.start < end) {
            reclaim->asked[count++] =
                (struct maps_range){.start = mapping.start > at ? mapping.start : at,
                                    .end = mapping.end < end ? mapping.end : end};
        }
    }
    return count;
}

/* What is still a placeholder, which file it is known by, and who had taken what was there. */
static void keep_on(const struct policy_event *event, uint64_t start, uint64_t end)
{
    uint32_t count = list_kept(event, start, end);
    if (count == 0 || !maps_ask(reclaim->asked, count, reclaim->buffer)) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct maps_range *asked = &reclaim->asked[i];
        struct ledger_mapping mapping;
        if (asked->whole && asked->name == MAPS_FILE && asked->prot == PROT_NONE &&
            ledger_map_look(event->ledger, event->actor, asked->start, &mapping)) {
            quarantine_put_range(&reclaim->quarantine, asked->start, asked->end, mapping.stack,
                                 asked->inode);
        }
    }
    quarantine_tell_bytes(&reclaim->quarantine, event->ledger);
}

void reclaim_range_stays(const struct policy_event *event, uint64_t start, uint64_t end)
{
    uint32_t nobody = 0;
    if (!reclaim || !event->may_call || FAULT(quarantine_forgets)) {
        return;
    }
    uint64_t mask = block_signals();
    /* Should somebody be looking, these few are kept for good: better than to wait for a look. */
    if (__atomic_compare_exchange_n(&reclaim->looking, &nobody, 1, false, __ATOMIC_ACQUIRE,
                                    __ATOMIC_RELAXED)) {
        keep_on(event, start, end);
        __atomic_store_n(&reclaim->looking, 0, __ATOMIC_RELEASE);
    }
    unblock_signals(mask);
}

bool reclaim_gives_way(const struct policy_event *event, uint64_t start, uint64_t end)
{
    uint32_t of = 0;
    return reclaim && quarantine_keeps(&reclaim->quarantine, start, end) &&
           take_range(event, start, end, &of) == end - start;
}

void reclaim_fd_owned(const struct policy_event *event, int fd, bool assigned)
{
    if (reclaim && event->may_call && event->watching_fds) {
        identity_take_fd(&reclaim->identity, event->ledger, fd, assigned);
    }
}

void reclaim_fd_buffered(int fd)
{
    if (reclaim) {
        identity_forget_fd(&reclaim->identity, fd);
    }
}

void reclaim_range_mapped(const struct policy_event *event, uint64_t start, uint64_t end, int fd)
{
    if (reclaim && event->may_call) {
        identity_take_range(&reclaim->identity, start, end, fd);
    }
}

void reclaim_range_assigned(uint64_t start, uint64_t end)
{
    if (reclaim) {
        identity_assign_range(&reclaim->identity, start, end);
    }
}
