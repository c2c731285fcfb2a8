/*
 * ledger.c: starting a ledger, its memory, and what all its tables share.
 *
 * It never frees or moves a chunk: a reader in another process may be looking at it.
 */
#include "ledger.h"

#include "fault.h"

static void copy_bytes(char *to, const char *from, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        to[i] = from[i];
    }
}

const char ledger_never_alone = 0;

static bool start_writer(struct ledger *ledger, void *base, struct ledger_backing *backing)
{
    ledger->header = base;
    ledger->backing = backing;
    ledger->alone = ledger->alone ? ledger->alone : &ledger_never_alone;
    ledger->stack_bucket = backing->arena(backing, LEDGER_STACK_BUCKETS * sizeof(uint32_t));
    ledger->queue = backing->arena(backing, LEDGER_QUEUE_EVENTS * sizeof(struct ledger_queue_slot));
    if (!ledger->stack_bucket || !ledger->queue) {
        ledger->header = NULL;
        return false;
    }
    return true;
}

static uint32_t per_chunk(enum ledger_table table)
{
    return LEDGER_CHUNK_SIZE / ledger_layout[table].record_size;
}

static bool make_real(struct ledger *ledger, const uint8_t *chunk, size_t bytes)
{
    struct ledger_backing *backing = ledger->backing;
    return !backing->make_real || backing->make_real(backing, chunk, bytes);
}

bool ledger_start(struct ledger *ledger, void *base, struct ledger_backing *backing)
{
    struct ledger_header *header = base;
    copy_bytes(header->magic, LEDGER_MAGIC, sizeof(header->magic));
    header->version = LEDGER_VERSION;
    header->header_size = sizeof(*header);
    header->base_size = LEDGER_BASE_SIZE;
    header->chunk_size = LEDGER_CHUNK_SIZE;
    for (int table = 0; table < LEDGER_TABLES; table++) {
        header->used[table] = table == LEDGER_FDS ? 0 : 1;
    }
    header->generation = 1;
    return start_writer(ledger, base, backing);
}

bool ledger_resume(struct ledger *ledger, void *base, struct ledger_backing *backing)
{
    struct ledger_header *header = base;
    uint32_t chunks = header->chunks;
    if (!start_writer(ledger, base, backing)) {
        return false;
    }
    for (uint32_t n = 0; n < LEDGER_TABLE_CHUNKS; n++) { /* nobody knows how much of each was */
        ledger->fds_real[n] = header->directory[LEDGER_FDS][n] ? per_chunk(LEDGER_FDS) : 0;
    }
    for (uint32_t number = 0; number < chunks; number++) {
        uint8_t *chunk = backing->chunk(backing, number);
        if (!chunk || !make_real(ledger, chunk, LEDGER_CHUNK_SIZE)) {
            ledger->header = NULL;
            return false;
        }
        for (int table = 0; table < LEDGER_TABLES; table++) {
            for (uint32_t n = 0; n < LEDGER_TABLE_CHUNKS; n++) {
                if (header->directory[table][n] == number + 1) {
                    ledger->chunk[table][n] = chunk;
                }
            }
        }
    }
    /* Mappings ended with the image; their records go to the free list. */
    for (uint64_t i = header->used[LEDGER_MAPPINGS]; i-- > 1;) {
        struct ledger_mapping *mapping = ledger_at(ledger, LEDGER_MAPPINGS, (uint32_t)i);
        if (!mapping) {
            continue;
        }
        mapping->state = LEDGER_EMPTY;
        mapping->stack = ledger->free_mapping;
        ledger->free_mapping = (uint32_t)i;
    }
    for (uint64_t i = 1; i < header->used[LEDGER_STACKS]; i++) {
        struct ledger_stack *stack = ledger_stack(ledger, (uint32_t)i);
        if (stack) {
            stack->mappings_live = 0;
            stack->bytes_live = 0;
        }
        struct ledger_growth *growth = ledger_at(ledger, LEDGER_GROWTH, (uint32_t)i);
        if (growth) {
            growth->mappings_owned = 0;
        }
    }
    for (uint64_t i = 1; i < header->used[LEDGER_OWNERS]; i++) {
        struct ledger_owner *owner = ledger_at(ledger, LEDGER_OWNERS, (uint32_t)i);
        if (owner) { /* slots are the writer's own, and went with it */
            owner->holds = owner->slots != 0 ? 0 : owner->holds;
            owner->mappings = 0;
            owner->bytes = 0;
            owner->slots = 0;
        }
    }
    for (uint64_t i = 1; i < header->used[LEDGER_MODULES]; i++) {
        struct ledger_module *module = ledger_at(ledger, LEDGER_MODULES, (uint32_t)i);
        if (module && module->state == LEDGER_LIVE) {
            module->generation_last = header->generation;
            module->state = LEDGER_ENDED;
        }
    }
    header->generation++;
    for (uint64_t i = 0; i < header->used[LEDGER_FDS]; i++) {
        struct ledger_fd *fd = ledger_at(ledger, LEDGER_FDS, (uint32_t)i);
        if (fd && (fd->state & 7) != LEDGER_EMPTY) {
            fd->state = (fd->state & ~7u) | LEDGER_IN_FLIGHT;
        }
    }
    return true;
}

void ledger_incomplete(struct ledger *ledger, uint32_t why)
{
    __atomic_or_fetch(&ledger->header->incomplete, why, __ATOMIC_RELAXED);
}

#define GROW_TRIES 200u
#define GROW_NS 500000u /* whoever was put aside on a busy machine is back after all tries */

static uint32_t take_spare(struct ledger *ledger)
{
    for (unsigned i = 0; i < LEDGER_SPARES; i++) {
        uint32_t spare = __atomic_exchange_n(&ledger->spare[i], 0, __ATOMIC_ACQ_REL);
        if (spare) {
            return spare;
        }
    }
    return 0;
}

static void put_spare(struct ledger *ledger, uint32_t chunk)
{
    for (unsigned i = 0; i < LEDGER_SPARES && chunk; i++) {
        chunk = __atomic_exchange_n(&ledger->spare[i], chunk, __ATOMIC_ACQ_REL);
    } /* one that finds no place is lost: 2 MiB, and it took as many threads at one moment */
}

/* A thread that makes a chunk may be put aside in the middle of it, with more threads than cores:
 * those that need the same one give it time, or each would make 2 MiB that nobody needs. Bounded:
 * it may have been stopped for good, or have jumped out. True: the chunk is there. */
static bool made_by_another(struct ledger *ledger, const struct ledger_actor *actor,
                            enum ledger_table table, uint32_t number, uint64_t claim)
{
    uint64_t maker = 0;
    bool ours = __atomic_compare_exchange_n(&ledger->making[table], &maker, claim, false,
                                            __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    /* A handler of the maker's own would wait for nobody. */
    bool waits = !ours && (uint32_t)maker == (uint32_t)claim && maker != claim;
    for (unsigned i = 0; waits && i < GROW_TRIES; i++) {
        waits = ledger->backing->yield && ledger->backing->yield(actor, GROW_NS) &&
                __atomic_load_n(&ledger->making[table], __ATOMIC_RELAXED) == maker;
    }
    return __atomic_load_n(&ledger->chunk[table][number], __ATOMIC_ACQUIRE) != NULL;
}

static bool make_chunk(struct ledger *ledger, struct ledger_actor *actor, enum ledger_table table,
                       uint32_t number)
{
    struct ledger_header *header = ledger->header;
    uint8_t **place = &ledger->chunk[table][number];
    uint32_t chunk = take_spare(ledger);
    if (!chunk) {
        if (!actor->may_grow) {
            ledger_incomplete(ledger, LEDGER_INCOMPLETE_FILTERED);
            return __atomic_load_n(place, __ATOMIC_ACQUIRE) != NULL;
        }
        chunk = __atomic_add_fetch(&header->chunks, 1, __ATOMIC_RELAXED);
    }
    uint8_t *memory =
        chunk > LEDGER_MAX_CHUNKS ? NULL : ledger->backing->chunk(ledger->backing, chunk - 1);
    if (memory && table != LEDGER_FDS && !make_real(ledger, memory, LEDGER_CHUNK_SIZE)) {
        memory = NULL;
    }
    if (!memory) {
        if (chunk == __atomic_load_n(&header->chunks, __ATOMIC_RELAXED)) { /* so it stays small */
            __atomic_compare_exchange_n(&header->chunks, &chunk, chunk - 1, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED);
        }
        return __atomic_load_n(place, __ATOMIC_ACQUIRE) != NULL;
    }
    uint8_t *nothing = NULL;
    if (__atomic_compare_exchange_n(place, &nothing, memory, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&header->directory[table][number], (uint16_t)chunk, __ATOMIC_RELEASE);
    } else {
        put_spare(ledger, chunk);
    }
    return true;
}

/* Makes sure of chunk `number` of a table. No lock: threads that need the same one give its first
 * maker some time; then each makes one, the first to publish it wins, and what the others made
 * serves the next need. One that is never published, because a handler jumped out of here, is lost.
 */
static bool grow(struct ledger *ledger, struct ledger_actor *actor, enum ledger_table table,
                 uint32_t number)
{
    uint64_t claim = (uint64_t)actor->tid << 32 | (number + 1);
    bool made = made_by_another(ledger, actor, table, number, claim) ||
                make_chunk(ledger, actor, table, number);
    uint64_t maker = __atomic_load_n(&ledger->making[table], __ATOMIC_RELAXED);
    if ((uint32_t)maker == (uint32_t)claim && (made || maker == claim)) {
        __atomic_compare_exchange_n(&ledger->making[table], &maker, 0, false, __ATOMIC_RELEASE,
                                    __ATOMIC_RELAXED);
    }
    return made;
}

/* Makes sure of the first `count` descriptors of chunk `number`, and of some more. */
static bool grow_fds(struct ledger *ledger, struct ledger_actor *actor, uint32_t number,
                     uint32_t count)
{
    uint8_t **place = &ledger->chunk[LEDGER_FDS][number];
    uint32_t *real = &ledger->fds_real[number];
    if (!__atomic_load_n(place, __ATOMIC_ACQUIRE) && !grow(ledger, actor, LEDGER_FDS, number)) {
        return false;
    }
    uint8_t *chunk = __atomic_load_n(place, __ATOMIC_ACQUIRE);
    count = (count + LEDGER_FDS_STEP - 1) & ~(LEDGER_FDS_STEP - 1);
    if (__atomic_load_n(&ledger->fds_whole, __ATOMIC_RELAXED) || !ledger->backing->make_real) {
        count = per_chunk(LEDGER_FDS);
    }
    uint32_t old = __atomic_load_n(real, __ATOMIC_RELAXED);
    if (old < count && !actor->may_grow && ledger->backing->make_real) {
        ledger_incomplete(ledger, LEDGER_INCOMPLETE_FILTERED);
        return false;
    }
    if (old < count && !make_real(ledger, chunk, count * sizeof(struct ledger_fd))) {
        return false;
    }
    while (old < count && !__atomic_compare_exchange_n(real, &old, count, true, __ATOMIC_RELEASE,
                                                       __ATOMIC_RELAXED)) {
    }
    return true;
}

/* Makes sure of the record, in a chunk that is not there, or not so far. */
static bool grow_for(struct ledger *ledger, struct ledger_actor *actor, enum ledger_table table,
                     uint32_t index)
{
    index -= ledger_layout[table].in_base;
    uint32_t number = index / per_chunk(table);
    if (number >= LEDGER_TABLE_CHUNKS) {
        return false;
    }
    return table == LEDGER_FDS ? grow_fds(ledger, actor, number, index % per_chunk(table) + 1)
                               : grow(ledger, actor, table, number);
}

static void raise_used(struct ledger *ledger, enum ledger_table table, uint64_t used)
{
    uint64_t old = __atomic_load_n(&ledger->header->used[table], __ATOMIC_RELAXED);
    while (old < used && !__atomic_compare_exchange_n(&ledger->header->used[table], &old, used,
                                                      true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
}

void *ledger_make(struct ledger *ledger, struct ledger_actor *actor, enum ledger_table table,
                  uint32_t index)
{
    void *record = ledger_at(ledger, table, index);
    if (__builtin_expect(record == NULL, 0)) {
        if (!grow_for(ledger, actor, table, index)) {
            return NULL;
        }
        record = ledger_at(ledger, table, index);
    }
    uint64_t used = __atomic_load_n(&ledger->header->used[table], __ATOMIC_RELAXED);
    if (__builtin_expect(index >= used, 0)) {
        raise_used(ledger, table, (uint64_t)index + 1);
    }
    return record;
}

/* The first index at or after `first` from which `count` records lie in one chunk. */
static uint64_t within_chunk(enum ledger_table table, uint64_t first, uint32_t count)
{
    uint64_t in_base = ledger_layout[table].in_base;
    if (first + count <= in_base) {
        return first;
    }
    if (first < in_base) {
        return in_base;
    }
    uint64_t size = per_chunk(table);
    uint64_t left = size - (first - in_base) % size;
    return left >= count ? first : first + left;
}

uint32_t ledger_reserve(struct ledger *ledger, struct ledger_actor *actor, enum ledger_table table,
                        uint32_t count)
{
    uint64_t *used = &ledger->header->used[table];
    uint64_t old = __atomic_load_n(used, __ATOMIC_RELAXED);
    for (;;) {
        uint64_t first = within_chunk(table, old, count);
        if (first + count > UINT32_MAX) {
            return 0;
        }
        if (!ledger_at(ledger, table, (uint32_t)first)) {
            uint32_t number = (uint32_t)(first - ledger_layout[table].in_base) / per_chunk(table);
            if (number >= LEDGER_TABLE_CHUNKS || !grow(ledger, actor, table, number)) {
                return 0;
            }
        }
        if (__atomic_compare_exchange_n(used, &old, first + count, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED)) {
            return (uint32_t)first;
        }
    }
}

void ledger_make_ahead(struct ledger *ledger, struct ledger_actor *actor)
{
    static const enum ledger_table growing[] = {LEDGER_MAPPINGS, LEDGER_STACKS, LEDGER_FRAMES,
                                                LEDGER_OWNERS, LEDGER_GROWTH};
    for (unsigned i = 0; i < sizeof(growing) / sizeof(growing[0]); i++) {
        enum ledger_table table = growing[i];
        uint64_t in_base = ledger_layout[table].in_base;
        uint64_t used = ledger->header->used[table];
        uint64_t next = used < in_base ? 0 : (used - in_base) / per_chunk(table) + 1;
        for (uint64_t n = used < in_base ? 0 : next - 1; n <= next; n++) {
            if (n < LEDGER_TABLE_CHUNKS && !ledger->chunk[table][n]) {
                grow(ledger, actor, table, (uint32_t)n);
            }
        }
    }
    ledger_map_make_ahead(ledger, actor);
    __atomic_store_n(&ledger->fds_whole, 1, __ATOMIC_RELAXED);
    grow_fds(ledger, actor, 0, per_chunk(LEDGER_FDS));
}

uint32_t ledger_string(struct ledger *ledger, struct ledger_actor *actor, const char *text,
                       size_t length)
{
    if (length >= LEDGER_STRINGS_IN_BASE) {
        return 0;
    }
    uint32_t index = ledger_reserve(ledger, actor, LEDGER_STRINGS, (uint32_t)length + 1);
    if (index == 0) {
        ledger_incomplete(ledger, LEDGER_INCOMPLETE_RECORDS);
        return 0;
    }
    copy_bytes(ledger_at(ledger, LEDGER_STRINGS, index), text, length);
    return index; /* the byte behind it is zero: chunks come zeroed and are used once */
}

static bool within(uintptr_t address, uintptr_t low, uintptr_t top)
{
    return address >= low && address < top;
}

bool ledger_abandoned(const struct ledger_actor *actor, ledger_mark mark, uintptr_t sp)
{
    uintptr_t at = (uintptr_t)mark;
    bool sp_alternate = within(sp, actor->alt_low, actor->alt_top);
    bool at_alternate = within(at, actor->alt_low, actor->alt_top);
    if (FAULT(mark_stays)) {
        return false;
    }
    if (sp_alternate != at_alternate) {
        return at_alternate; /* a handler left its stack: only a jump does that */
    }
    if (!sp_alternate && (!within(sp, actor->stack_low, actor->stack_top) ||
                          !within(at, actor->stack_low, actor->stack_top))) {
        return false; /* a coroutine's stack: nothing can be compared */
    }
    /* A live frame is never at or below a later entry's; one that is above may be dead all the
     * same, when the program went deeper since: then its canary has probably been overwritten. */
    return sp >= at || *mark != LEDGER_CANARY(mark);
}

void ledger_repair(struct ledger *ledger, struct ledger_actor *actor, uintptr_t sp)
{
    if (actor->busy && ledger_abandoned(actor, actor->busy, sp)) {
        ledger_fd_repair(ledger, actor);
    }
    if (actor->locked && ledger_abandoned(actor, actor->locked, sp)) {
        ledger_map_repair(ledger, actor);
    }
}
