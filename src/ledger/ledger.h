/*
 * ledger.h: the writer's side of a ledger: what is held, by whom, since when, from which stack.
 *
 * Pure bookkeeping. It makes no decision, makes no system call, calls no libc function and uses
 * no thread-local storage: memory comes from `struct ledger_backing`, the thread it runs in is
 * described by a `struct ledger_actor`, and its state is a function of the events it is given.
 * Unit tests, the fuzzer and the shim drive it alike.
 *
 * Everything here may be called from any thread and from a signal handler that interrupted this
 * very code; nothing waits (DESIGN 3.3) and a call that never returns, because a handler jumped
 * out of it, is repaired by the thread's next one (DESIGN 3.4). How, for each table:
 *   descriptors: one atomic slot a number, no lock (descriptors.c);
 *   stacks:      insert-only hash, no lock (stacks.c);
 *   mappings:    one lock that is tried, a queue for whoever fails to get it (mappings.c).
 */
#ifndef BOXLEDGER_LEDGER_LEDGER_H
#define BOXLEDGER_LEDGER_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format.h"

struct ledger_actor;

/* Where a ledger's memory comes from: zeroed, and it cannot fault; or NULL. */
struct ledger_backing {
    /* File chunk `number`, LEDGER_CHUNK_SIZE bytes; asked for again, the same. Numbers come in no
     * strict order, each at first by one thread. */
    void *(*chunk)(struct ledger_backing *self, uint32_t number);
    /* Before their first use, the first `bytes` of a chunk; asked again, for more. False: there is
     * no memory for them. NULL: chunks come whole. */
    bool (*make_real)(struct ledger_backing *self, const void *chunk, size_t bytes);
    /* Private to the writer, a multiple of the page size. */
    void *(*arena)(struct ledger_backing *self, size_t bytes);
    /* The generation of the module table in which the newest of the code at these addresses was
     * loaded. NULL: nobody knows, so a stack of another generation is another stack. */
    uint32_t (*code_since)(const uint64_t *frames, unsigned count);
    /* CLOCK_MONOTONIC_COARSE in ns, for what ends by a release. NULL: always 0. */
    uint64_t (*now)(void);
    /* Lets other threads run for so many nanoseconds, less than a second: the one that is needed
     * was put aside. False: not allowed here. NULL: never is. */
    bool (*yield)(const struct ledger_actor *actor, uint32_t ns);
};

/* Where an update is under way: a word in the updating frame, so that a later entry of the thread
 * can tell whether that update was interrupted (and will go on) or abandoned (a handler jumped out
 * of it). NULL: no update. One store sets it, so that no handler sees half of it. */
typedef volatile uint64_t *ledger_mark;
#define LEDGER_CANARY(mark) ((uint64_t)(uintptr_t)(mark) ^ UINT64_C(0x5eb0c4a710cced00))

/* The thread that an event happens in; lives as long as the thread. */
struct ledger_actor {
    ledger_mark locked; /* holds the mappings' lock */
    ledger_mark busy;   /* writes slot busy_fd */
    uint32_t busy_fd;
    uint32_t tid;
    /* The thread's own stack as far as it is known, and its alternate signal stack: two stack
     * pointers can only be compared on one stack. */
    uintptr_t stack_low, stack_top;
    uintptr_t alt_low, alt_top;
    bool may_grow; /* system calls that the program did not ask for are allowed in this thread */
};

/* index.c: mapping records by their start. All of it only under the mappings' lock. */
struct ledger_index_node;
struct ledger_index {
    struct ledger_index_node *root; /* NULL: empty */
    struct ledger_index_node *cursor;
    struct ledger_index_node *free;  /* list through `next` */
    struct ledger_index_node *pages; /* all that the arena gave, for a rebuild */
    uint32_t free_count;             /* nodes that can be had without the arena */
    /* An entry that is to be removed, unless the next thing is one in its place. NULL: none. */
    struct ledger_index_node *vacant;
    uint32_t vacant_at;
    uint64_t vacant_end; /* of the range that it was of */
};

/* One change to the mappings. Applying one twice is the same as applying it once. */
enum ledger_map_op {
    LEDGER_MAP_INSERT,   /* [start, end) was mapped; to_start: like the mapping there */
    LEDGER_MAP_FLY,      /* a release of [start, end) begins */
    LEDGER_MAP_COMMIT,   /* the release with this ticket succeeded */
    LEDGER_MAP_ROLLBACK, /* it failed: what it had in flight is held again */
    LEDGER_MAP_MOVE,     /* mremap: what it had in flight is now at [to_start, to_end); detail: the
                            ticket under which that place was put in flight, 0: it was not */
    LEDGER_MAP_PROTECT,  /* [start, end) has protection `prot` now; flags
                            LEDGER_UNSURE_PROT: perhaps, in part */
    LEDGER_MAP_ASSIGN,   /* [start, end) is `owner`'s now */
    LEDGER_MAP_BIND,     /* memory slot `detail` of VM `owner` maps [start, end) now */
    LEDGER_MAP_UNBIND,   /* slot `detail` of VM `owner` was deleted; its range is known */
    LEDGER_MAP_UNBIND_ALL, /* VM `owner` has ended, and its slots with it */
    LEDGER_MAP_KEEP,       /* `stack` released [start, end), but a policy keeps it: it is nobody's
                              from now on and counts for nobody; `detail`: LEDGER_WAITS or 0 */
    LEDGER_MAP_MARK,       /* LEDGER_ODD and its kin, in `detail`, are true of [start, end) */
};

struct ledger_map_event {
    uint64_t start, end;
    uint64_t to_start, to_end;
    uint64_t ticket;     /* of FLY for COMMIT, ROLLBACK and MOVE; otherwise the event's own */
    uint64_t new_ticket; /* MOVE: taken after the call, for the range's new place */
    uint64_t now_ns;
    uint32_t stack; /* that maps, or releases */
    uint32_t owner;
    uint32_t tid;
    uint32_t detail;
    uint16_t flags;
    uint8_t op; /* enum ledger_map_op */
    uint8_t prot;
    bool keep_old; /* MOVE: MREMAP_DONTUNMAP; INSERT: only where nothing is recorded */
    bool fixed;    /* INSERT: over whatever was there, by the program's wish */
};

/* slots.c: memory slots of VMs, KVM_SET_USER_MEMORY_REGION. Only under the mappings' lock. */
struct ledger_slot;
#define LEDGER_SLOT_SEGMENTS 256u
#define LEDGER_SLOTS_PER_SEGMENT 4096u
struct ledger_slots {
    uint32_t *bucket;
    struct ledger_slot *segment[LEDGER_SLOT_SEGMENTS];
    uint32_t used; /* entries ever used, + 1 */
    uint32_t free; /* list */
};

/* A place in the queue. A thread that takes places from a list may still look at `next` of one
 * that another has just taken, and drops what it saw: only that word is shared, and only by
 * atomic accesses. */
struct ledger_queue_slot {
    struct ledger_map_event event;
    uint32_t next;
};

/* What may happen while one update is interrupted or its thread is off the processor. Touched only
 * as far as it is needed. */
#define LEDGER_QUEUE_EVENTS 16384u
#define LEDGER_STACK_BUCKETS (1u << 16)
#define LEDGER_SPARES 8u

/* A chunk of descriptors is made real in steps of so many: most programs need a small part of one.
 * 8 KiB, the base pages of all machines but those of 16 KiB and more, whose step is a page. */
#define LEDGER_FDS_STEP 256u

/* A writer. Zeroed memory is a closed one. */
struct ledger {
    struct ledger_header *header; /* also the base */
    struct ledger_backing *backing;
    /* Not zero there: the process has one thread, and nobody else runs on its memory. The driver's;
     * ledger_never_alone where it does not know. See step.h. */
    const volatile char *alone;
    uint8_t *chunk[LEDGER_TABLES][LEDGER_TABLE_CHUNKS];
    uint32_t spare[LEDGER_SPARES];  /* chunks + 1 that nobody needs yet */
    uint64_t making[LEDGER_TABLES]; /* thread and chunk + 1 that it makes for a table; 0: none */
    /* Of each chunk of descriptors, how many from its first on are real: there are no others. */
    uint32_t fds_real[LEDGER_TABLE_CHUNKS];
    uint32_t fds_whole; /* a filter may go on: chunks of descriptors are made real at once */
    /* stacks.c */
    uint32_t *stack_bucket;
    /* mappings.c; all but `lock`, `queued` and `unused` only under the lock */
    struct ledger_actor *lock;
    uint64_t queued; /* events that wait: tagged index of the newest + 1 */
    uint64_t unused; /* free events: tagged index + 1 */
    struct ledger_queue_slot *queue;
    uint32_t fresh; /* slots of it ever used */
    /* Where lost events may have changed something; the low bound is kept inverted. */
    uint32_t lost;
    uint64_t lost_low, lost_high;
    uint32_t draining; /* of those taken from the queue, the next to apply, + 1 */
    uint32_t sorting;  /* a list taken from the queue is not in `draining` yet */
    uint32_t applying; /* `current` is being applied */
    struct ledger_map_event current;
    uint32_t free_mapping; /* list through `stack` */
    struct ledger_index index;
    struct ledger_slots slots;
    /* owners.c */
    uint32_t owner_hand; /* goes round the table, looking for a record to use again */
    uint32_t rebuilding; /* the owners' mappings are being counted anew */
    uint32_t stuck;      /* the lock's holder was given time and did not take it */
};

/* Starts a ledger in `base`, LEDGER_BASE_SIZE zeroed bytes that may already carry the command's
 * header. False: no memory for the writer's own tables. */
bool ledger_start(struct ledger *ledger, void *base, struct ledger_backing *backing);

/* Goes on with the ledger of an image that has exec'ed. Its mappings are gone with it; its
 * descriptors stay IN_FLIGHT until ledger_fd_survived says otherwise. */
bool ledger_resume(struct ledger *ledger, void *base, struct ledger_backing *backing);

extern const char ledger_never_alone; /* 0 */

#include "step.h"

/* The record, or NULL where that part of the table does not exist. */
static inline void *ledger_at(const struct ledger *ledger, enum ledger_table table, uint32_t index)
{
    const struct ledger_table_layout *layout = &ledger_layout[table];
    if (__builtin_expect(index < layout->in_base, 1)) {
        return (uint8_t *)ledger->header + layout->base_offset +
               (size_t)index * layout->record_size;
    }
    index -= layout->in_base;
    uint32_t per_chunk = LEDGER_CHUNK_SIZE / layout->record_size;
    uint32_t number = index / per_chunk;
    if (number >= LEDGER_TABLE_CHUNKS) {
        return NULL;
    }
    uint8_t *chunk = __atomic_load_n(&ledger->chunk[table][number], __ATOMIC_ACQUIRE);
    index %= per_chunk;
    if (table == LEDGER_FDS &&
        index >= __atomic_load_n(&ledger->fds_real[number], __ATOMIC_ACQUIRE)) {
        return NULL;
    }
    return chunk ? chunk + (size_t)index * layout->record_size : NULL;
}

static inline struct ledger_stack *ledger_stack(const struct ledger *ledger, uint32_t index)
{
    return ledger_at(ledger, LEDGER_STACKS, index);
}

/* As ledger_at, but makes that part of the table. NULL: no room (counted by the caller). */
void *ledger_make(struct ledger *ledger, struct ledger_actor *actor, enum ledger_table table,
                  uint32_t index);

/* The same, at once where there is nothing to make. */
static inline void *ledger_made(struct ledger *ledger, struct ledger_actor *actor,
                                enum ledger_table table, uint32_t index)
{
    void *record = ledger_at(ledger, table, index);
    uint64_t used = __atomic_load_n(&ledger->header->used[table], __ATOMIC_RELAXED);
    return __builtin_expect(record && index < used, 1) ? record
                                                       : ledger_make(ledger, actor, table, index);
}

/* Reserves `count` consecutive records within one chunk, makes room ahead. 0: no room. */
uint32_t ledger_reserve(struct ledger *ledger, struct ledger_actor *actor, enum ledger_table table,
                        uint32_t count);

/* Makes sure that the tables can take some more without a system call: before a filter goes on. */
void ledger_make_ahead(struct ledger *ledger, struct ledger_actor *actor);

void ledger_incomplete(struct ledger *ledger, uint32_t why);

/* Finishes what abandoned entries of this thread left half done. */
void ledger_repair(struct ledger *ledger, struct ledger_actor *actor, uintptr_t sp);

/* At every entry into the ledger. `sp` is any address in the entry's own frame. */
static inline void ledger_enter(struct ledger *ledger, struct ledger_actor *actor)
{
    if (__builtin_expect(actor->locked || actor->busy, 0)) {
        ledger_repair(ledger, actor, (uintptr_t)__builtin_frame_address(0));
    }
}

static inline void ledger_set_mark(ledger_mark *mark, ledger_mark frame)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    *mark = frame;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline uint64_t ledger_ticket(struct ledger *ledger)
{
    return ledger_add64(ledger, &ledger->header->ticket, 1);
}

/* For mappings.c and descriptors.c: was the update under `mark` abandoned, seen from `sp`? */
bool ledger_abandoned(const struct ledger_actor *actor, ledger_mark mark, uintptr_t sp);
void ledger_fd_repair(struct ledger *ledger, struct ledger_actor *actor);
void ledger_map_repair(struct ledger *ledger, struct ledger_actor *actor);

/* Interns bytes; not deduplicated. 0: no room. */
uint32_t ledger_string(struct ledger *ledger, struct ledger_actor *actor, const char *text,
                       size_t length);

/* --- owners.c --- */

/* Ended owners that leave nothing are remembered this long: so many begin after them. */
#define LEDGER_OWNERS_KEPT 8192u

struct ledger_owner_event {
    enum ledger_owner_kind kind;
    const char *label; /* `label_length` bytes, cut at LEDGER_LABEL_SIZE - 1; NULL: none */
    size_t label_length;
    uint32_t pid;
    uint32_t anchors; /* that it begins with; without any it lives until ledger_owner_end */
    uint32_t parent;  /* 0: a sandbox of its own */
    uint32_t stack;
    uint64_t now_ns;
};

/* Begins an owner. 0: no room (counted). */
uint32_t ledger_owner_begin(struct ledger *ledger, struct ledger_actor *actor,
                            const struct ledger_owner_event *event);

/* The record of an owner that lives or has ended; NULL: there is none. */
struct ledger_owner *ledger_owner(const struct ledger *ledger, uint32_t owner);

/* The sandbox that `owner` is, or is a part of; 0 for 0. */
uint32_t ledger_owner_outermost(const struct ledger *ledger, uint32_t owner);

bool ledger_owner_lives(const struct ledger *ledger, uint32_t owner);

/* Nothing that it holds is forgotten, nor its record used again, between these two. False: there
 * is no such owner. */
bool ledger_owner_hold(struct ledger *ledger, uint32_t owner);
void ledger_owner_unhold(struct ledger *ledger, uint32_t owner);

/* One more thing that it lives by, and one less, released by `stack`: after the last it has ended.
 */
void ledger_owner_anchor(struct ledger *ledger, uint32_t owner);
void ledger_owner_unanchor(struct ledger *ledger, struct ledger_actor *actor, uint32_t owner,
                           uint32_t stack);

/* Ends it whatever its anchors. False: it does not live. */
bool ledger_owner_end(struct ledger *ledger, struct ledger_actor *actor, uint32_t owner,
                      uint32_t stack);

/* It was no sandbox: what it has becomes the supervisor's, it counts as never begun, and its record
 * is of kind LEDGER_OWNER_NONE until it is used again. */
void ledger_owner_dismiss(struct ledger *ledger, struct ledger_actor *actor, uint32_t owner);

/* An ended one lives after all: its listener still delivers. */
void ledger_owner_revive(struct ledger *ledger, uint32_t owner);

/* From now on `owner` is a part of `parent`, and no sandbox of its own. False: it is a part
 * already, or one of the two does not live. */
bool ledger_owner_join(struct ledger *ledger, uint32_t owner, uint32_t parent);

/* It holds so many more (less, if negative); so does what it is a part of. False, and nothing
 * changed, if there is no such owner. */
bool ledger_owner_count(struct ledger *ledger, uint32_t owner, int fds, int mappings,
                        int64_t bytes);

/* boxledger_mark. */
void ledger_mark_epoch(struct ledger *ledger);

/* --- growth.c --- */

/* The epochs from growth->noted up to, but without, `until` had `held`, with at most so many
 * sandboxes alive. Readers use it for the time since a stack's counts last changed. */
void ledger_growth_extend(struct ledger_growth *growth, uint32_t until, uint32_t held,
                          uint32_t owners);

/* Before a stack's counts change: what they were at the ends of sandboxes since they last did. */
void ledger_growth_note(struct ledger *ledger, uint32_t index, struct ledger_stack *stack);

static inline void ledger_growth(struct ledger *ledger, uint32_t index, struct ledger_stack *stack)
{
    uint32_t epoch = __atomic_load_n(&ledger->header->epoch, __ATOMIC_RELAXED);
    if (__builtin_expect(__atomic_load_n(&stack->epoch, __ATOMIC_RELAXED) != epoch, 0)) {
        ledger_growth_note(ledger, index, stack);
    }
}

/* --- stacks.c --- */

/* Interns a stack. 0: no room (counted). */
uint32_t ledger_stack_intern(struct ledger *ledger, struct ledger_actor *actor,
                             const uint64_t *frames, unsigned count, unsigned flags,
                             uint32_t generation);

/* What this stack takes goes from one owner to another: from here on nothing of it is one owner's
 * alone. */
void ledger_stack_feeds_pool(struct ledger *ledger, uint32_t index);

static inline bool ledger_stack_is_pool(const struct ledger_stack *stack)
{
    return (__atomic_load_n(&stack->flags, __ATOMIC_RELAXED) & LEDGER_STACK_REBINDS) != 0;
}

/* Something that this stack took was released, by stack `by` (0: unseen). */
void ledger_stack_released_anew(struct ledger_stack *stack, uint32_t by);
static inline void ledger_stack_released(const struct ledger *ledger, struct ledger_stack *stack,
                                         uint32_t by)
{
    ledger_add32(ledger, &stack->released, 1);
    if (by && __atomic_load_n(&stack->released_by[0], __ATOMIC_RELAXED) != by) {
        ledger_stack_released_anew(stack, by);
    }
}

/* --- descriptors.c --- */

struct ledger_fd_event {
    uint16_t kind;
    uint16_t flags;
    uint32_t stack;
    uint32_t owner;
    uint32_t detail;
    uint64_t now_ns;
};

/* After the kernel handed out `fd`. A record that was still there was released unseen. */
void ledger_fd_take(struct ledger *ledger, struct ledger_actor *actor, int fd,
                    const struct ledger_fd_event *event);

/* Only if nothing is recorded under that number: adoption and inheritance. True if it was not. */
bool ledger_fd_adopt(struct ledger *ledger, struct ledger_actor *actor, int fd,
                     const struct ledger_fd_event *event);

/* What a release found: hand it back to ledger_fd_released. */
struct ledger_fd_flight {
    uint32_t state;    /* the slot's word in flight; 0: nothing was recorded */
    uint32_t taken_by; /* stack */
    uint32_t owner;    /* whose it was, with its flags */
    uint16_t flags;
    uint8_t kind; /* enum ledger_fd_kind */
    bool twice;   /* another release of it is under way */
    /* Nothing recorded: the stack that closed that number before, if one did. LEDGER_FD_RECLAIMED:
     * the one that had taken what was there. */
    uint32_t released_by;
};

/* Before a call that will close `fd`. */
struct ledger_fd_flight ledger_fd_fly(struct ledger *ledger, struct ledger_actor *actor, int fd,
                                      uint32_t stack);

/* Both at once, for a call that will close `fd` whatever it answers. Only in a process of one
 * thread, where nobody else can be handed that number in between, and of what is nobody's. First
 * the record, and its state; NULL: not that one. Then, if that has not changed since, it goes.
 * False: nothing has changed. */
struct ledger_fd *ledger_fd_closable(const struct ledger *ledger, int fd, uint32_t *state);
bool ledger_fd_close(struct ledger *ledger, struct ledger_fd *record, uint32_t state,
                     uint32_t stack);

/* After it: `held` says that the call cannot have closed it, so the record stays. */
void ledger_fd_released(struct ledger *ledger, struct ledger_actor *actor, int fd,
                        struct ledger_fd_flight flight, bool held);

/* The same for every recorded number in [first, last] (close_range). */
void ledger_fd_fly_range(struct ledger *ledger, struct ledger_actor *actor, uint32_t first,
                         uint32_t last, uint32_t stack);
void ledger_fd_released_range(struct ledger *ledger, struct ledger_actor *actor, uint32_t first,
                              uint32_t last, bool held);

/* Gives a recorded descriptor to `owner` (0: the supervisor), sets and clears flags (LEDGER_*), and
 * where `kind` is not LEDGER_FD_UNKNOWN says what it is. False, and nothing changed: it is not
 * recorded as held, or there is no such owner. */
bool ledger_fd_assign(struct ledger *ledger, struct ledger_actor *actor, int fd, uint32_t owner,
                      uint16_t set, uint16_t clear, enum ledger_fd_kind kind);

/* What is recorded there, if its state is still `state`, is gone, and the number is a policy's:
 * LEDGER_FD_RECLAIMED, nobody's, since `now_ns`. False, and nothing changed: it is another's. */
bool ledger_fd_reclaim(struct ledger *ledger, struct ledger_actor *actor, int fd, uint32_t state,
                       uint64_t now_ns);

/* As ledger_fd_fly, for a number that was reclaimed at `since_ns` and still is. */
struct ledger_fd_flight ledger_fd_fly_reclaimed(struct ledger *ledger, int fd, uint64_t since_ns);

/* FD_CLOEXEC as last set through a wrapper. */
void ledger_fd_cloexec(struct ledger *ledger, int fd, bool on);
void ledger_fd_cloexec_range(struct ledger *ledger, uint32_t first, uint32_t last);

/* The record of `fd` if one is published, else NULL. */
struct ledger_fd *ledger_fd_record(const struct ledger *ledger, int fd);

/* After ledger_resume: the kernel says that `fd` is open / the scan is over. */
void ledger_fd_survived(struct ledger *ledger, int fd);
void ledger_fd_end_others(struct ledger *ledger, struct ledger_actor *actor);

/* --- mappings.c --- */

/* Applies an event, now or, where another update is under way, as soon as that is over. */
void ledger_map_submit(struct ledger *ledger, struct ledger_actor *actor,
                       const struct ledger_map_event *event);

/* LEDGER_MAP_FLY and LEDGER_MAP_COMMIT, at once, where they concern one record as a whole and no
 * other update is under way. False: nothing has changed. */
bool ledger_map_fly_whole(struct ledger *ledger, struct ledger_actor *actor, uint64_t start,
                          uint64_t end, uint64_t ticket);
bool ledger_map_commit_whole(struct ledger *ledger, struct ledger_actor *actor, uint64_t start,
                             uint64_t end, uint64_t ticket, uint32_t stack);

/* LEDGER_MAP_ASSIGN, at once. 0; ENOMEM: a part of it is not recorded as mapped; EAGAIN: another
 * update is under way. Only after 0 anything has changed. */
int ledger_map_assign(struct ledger *ledger, struct ledger_actor *actor,
                      const struct ledger_map_event *event);

/* What is recorded of a range, all of which is held. */
struct ledger_range {
    uint16_t flags;  /* of any part of it */
    uint8_t prot;    /* of its first part */
    bool one_prot;   /* and of all others */
    bool kept;       /* all of it is LEDGER_KEPT */
    bool reclaimed;  /* some of it is, and does not wait (LEDGER_WAITS) */
    uint32_t detail; /* of any part of it */
};

/* 0; ENOMEM: a part of it is not recorded as mapped; EAGAIN: another update is under way. */
int ledger_map_examine(struct ledger *ledger, struct ledger_actor *actor, uint64_t start,
                       uint64_t end, struct ledger_range *range);

/* LEDGER_MAP_KEEP, at once, of what one record says if that is still as it was: neither released
 * nor bound nor assigned since. False: it is not, or another update is under way; nothing changed.
 */
bool ledger_map_reclaim(struct ledger *ledger, struct ledger_actor *actor,
                        const struct ledger_mapping *as, const struct ledger_map_event *event);

/* What was queued is applied when this returns, unless another update is under way that does not
 * end soon: false. */
bool ledger_map_catch_up(struct ledger *ledger, struct ledger_actor *actor);

/* Whether nothing is queued and no update is under way. */
bool ledger_map_is_settled(const struct ledger *ledger);

/* What is recorded at `address`, or else first above it, as it is now. False: nothing, or another
 * update is under way. */
bool ledger_map_look(struct ledger *ledger, struct ledger_actor *actor, uint64_t address,
                     struct ledger_mapping *copy);

/* Nodes for some more records, if the lock is free: see ledger_make_ahead. */
void ledger_map_make_ahead(struct ledger *ledger, struct ledger_actor *actor);

/* --- events.c --- */

/* Counts a refused or wrong call; of one kind, error and stack there is one record. */
void ledger_note(struct ledger *ledger, struct ledger_actor *actor, enum ledger_event_kind kind,
                 int error, uint32_t stack, uint32_t other_stack, uint64_t start, uint64_t bytes,
                 uint64_t now_ns);

/* The same, with whose it was and who closed it or got it. */
void ledger_note_owners(struct ledger *ledger, struct ledger_actor *actor,
                        enum ledger_event_kind kind, uint32_t stack, uint32_t other_stack,
                        uint64_t start, uint32_t owner, uint32_t other_owner, uint64_t now_ns);

/* A call of `owner`'s that a limit refused: `bytes` of it, or what it would have been the n-th of.
 */
void ledger_note_limited(struct ledger *ledger, struct ledger_actor *actor,
                         enum ledger_event_kind kind, int error, uint32_t stack, uint64_t start,
                         uint64_t bytes, uint32_t owner, uint64_t now_ns);

#endif
