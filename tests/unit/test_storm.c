/*
 * test_storm.c: several threads on one ledger at once, each with an actor of its own, and a small
 * kernel that hands out numbers and pages to all of them. What the ledger says in the end is
 * exactly what that kernel knows.
 *
 * Built with a thread sanitizer it is also the proof that what threads share in src/ledger is
 * shared on purpose. It makes no real descriptor or mapping.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "../../src/ledger/ledger.h"

#define THREADS 4u
#define ROUNDS 60u
#define STEPS 400u /* a round: its events fit the queue even if one thread sleeps with the lock */
#define PAGE 4096u
#define PAGES 6000u
#define BASE UINT64_C(0x7f0000000000)
#define FDS 3000u     /* shared by all; the table has to grow for them */
#define FD_BLOCK 200u /* and as many for each thread alone, behind those */
#define STACKS 3000u
#define HELD 400u

/* --- memory, from any thread --- */

struct heap {
    struct ledger_backing backing; /* first */
    _Atomic(void *) chunk[LEDGER_MAX_CHUNKS];
    _Atomic(void *) arena[4096];
    atomic_uint arenas;
};

static void *give(size_t size)
{
    void *memory = NULL;
    if (posix_memalign(&memory, PAGE, size) == 0) {
        memset(memory, 0, size);
    }
    return memory;
}

/* What is not made real faults. */
static void *heap_chunk(struct ledger_backing *self, uint32_t number)
{
    struct heap *heap = (struct heap *)self;
    if (!heap->chunk[number]) { /* asked for by one thread at first */
        heap->chunk[number] =
            mmap(NULL, LEDGER_CHUNK_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    return heap->chunk[number];
}

static bool heap_make_real(struct ledger_backing *self, const void *chunk, size_t bytes)
{
    (void)self;
    return mprotect((void *)chunk, bytes, PROT_READ | PROT_WRITE) == 0;
}

static void *heap_arena(struct ledger_backing *self, size_t bytes)
{
    struct heap *heap = (struct heap *)self;
    return heap->arena[atomic_fetch_add(&heap->arenas, 1)] = give(bytes);
}

/* --- the kernel --- */

enum number { CLOSED, OPEN, CLOSED_UNSEEN };

struct page {
    uint32_t stack; /* 0: not mapped */
    uint8_t prot;
    bool moved;
};

struct world {
    struct heap heap;
    struct ledger *ledger;
    pthread_barrier_t round;
    _Atomic enum number number[FDS];
    uint32_t number_stack[FDS + THREADS * FD_BLOCK]; /* its holder's; 0: held by nobody */
    pthread_mutex_t memory;                          /* as the kernel's own lock */
    struct page page[PAGES];
    atomic_uint failed;
};

struct range {
    unsigned first, pages;
};

struct thread {
    struct world *world;
    struct ledger_actor actor;
    unsigned index;
    unsigned held_fds, held_ranges;
    int fd[HELD];
    struct range range[HELD];
    uint64_t random;
    pthread_t thread;
};

static unsigned below(struct thread *thread, unsigned limit)
{
    thread->random = thread->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(thread->random >> 33) % limit;
}

/* cmocka's assertions end a test by a jump, which no other thread may make. */
static void expect(struct thread *thread, bool good, const char *what)
{
    if (!good && atomic_fetch_add(&thread->world->failed, 1) < 10) {
        fprintf(stderr, "thread %u: %s\n", thread->index, what);
    }
}

/* --- what the threads do --- */

static uint32_t some_stack(struct thread *thread)
{
    struct ledger *ledger = thread->world->ledger;
    uint64_t frames[17];
    unsigned which = below(thread, STACKS);
    unsigned count = 1 + which % 17;
    for (unsigned i = 0; i < count; i++) {
        frames[i] = 0x400000 + (uint64_t)which * 64 + i;
    }
    uint32_t stack = ledger_stack_intern(ledger, &thread->actor, frames, count, 0, 1);
    const struct ledger_stack *record = ledger_stack(ledger, stack);
    expect(thread, stack != 0 && record->frames == count, "a stack of another length");
    const uint64_t *mine = ledger_at(ledger, LEDGER_FRAMES, record->first_frame);
    expect(thread, memcmp(mine, frames, count * sizeof(*mine)) == 0, "another stack's frames");
    return stack;
}

static void open_one(struct thread *thread)
{
    struct world *world = thread->world;
    unsigned fd = below(thread, FDS);
    enum number before = world->number[fd];
    if (thread->held_fds == HELD || before == OPEN ||
        !atomic_compare_exchange_strong(&world->number[fd], &before, OPEN)) {
        return;
    }
    struct ledger_fd_event event = {.kind = LEDGER_FD_MEMFD, .stack = some_stack(thread)};
    thread->fd[thread->held_fds++] = (int)fd;
    if (before == CLOSED && below(thread, 4) == 0) { /* made unseen, and seen as an argument */
        expect(thread, ledger_fd_adopt(world->ledger, &thread->actor, (int)fd, &event),
               "a number that nobody held is not adopted");
        expect(thread, !ledger_fd_adopt(world->ledger, &thread->actor, (int)fd, &event),
               "a number is adopted twice");
    } else {
        ledger_fd_take(world->ledger, &thread->actor, (int)fd, &event);
    }
    world->number_stack[fd] = event.stack;
    ledger_fd_cloexec(world->ledger, (int)fd, true);
    const struct ledger_fd *record = ledger_fd_record(world->ledger, (int)fd);
    expect(thread, record && record->stack == event.stack, "what was taken is not recorded");
}

static void close_one(struct thread *thread)
{
    struct world *world = thread->world;
    if (thread->held_fds == 0) {
        return;
    }
    unsigned at = below(thread, thread->held_fds);
    int fd = thread->fd[at];
    if (below(thread, 8) == 0) { /* refused */
        struct ledger_fd_flight flight =
            ledger_fd_fly(world->ledger, &thread->actor, fd, some_stack(thread));
        ledger_fd_released(world->ledger, &thread->actor, fd, flight, true);
        return;
    }
    thread->fd[at] = thread->fd[--thread->held_fds];
    if (below(thread, 16) == 0) {
        world->number[fd] = CLOSED_UNSEEN;
        return;
    }
    struct ledger_fd_flight flight =
        ledger_fd_fly(world->ledger, &thread->actor, fd, some_stack(thread));
    expect(thread, flight.taken_by == world->number_stack[fd], "another's record is released");
    world->number_stack[fd] = 0;
    world->number[fd] = CLOSED; /* from here on it may be anybody's */
    ledger_fd_released(world->ledger, &thread->actor, fd, flight, false);
}

static void close_block(struct thread *thread)
{
    struct ledger *ledger = thread->world->ledger;
    uint32_t first = FDS + thread->index * FD_BLOCK;
    uint32_t last = first + FD_BLOCK - 1;
    struct ledger_fd_event event = {.kind = LEDGER_FD_FILE, .stack = some_stack(thread)};
    for (uint32_t fd = first; fd <= last; fd++) {
        ledger_fd_take(ledger, &thread->actor, (int)fd, &event);
        thread->world->number_stack[fd] = fd < first + 10 ? event.stack : 0;
    }
    ledger_fd_fly_range(ledger, &thread->actor, first + 10, last, event.stack);
    ledger_fd_released_range(ledger, &thread->actor, first + 10, last, false);
}

static struct ledger_map_event event_of(struct thread *thread, enum ledger_map_op op,
                                        struct range range)
{
    return (struct ledger_map_event){.op = (uint8_t)op,
                                     .start = BASE + (uint64_t)range.first * PAGE,
                                     .end = BASE + (uint64_t)(range.first + range.pages) * PAGE,
                                     .ticket = ledger_ticket(thread->world->ledger)};
}

static void submit(struct thread *thread, const struct ledger_map_event *event)
{
    ledger_enter(thread->world->ledger, &thread->actor);
    ledger_map_submit(thread->world->ledger, &thread->actor, event);
}

/* Under the kernel's lock: a free place for that many pages, first fit from anywhere. */
static bool find_place(struct thread *thread, unsigned pages, unsigned *place)
{
    unsigned run = 0;
    for (unsigned i = below(thread, PAGES); i < PAGES; i++) {
        run = thread->world->page[i].stack ? 0 : run + 1;
        if (run == pages) {
            *place = i + 1 - pages;
            return true;
        }
    }
    return false;
}

static void map_one(struct thread *thread)
{
    struct world *world = thread->world;
    struct range range = {0, 1 + below(thread, 12)};
    uint32_t stack = some_stack(thread);
    uint8_t prot = (uint8_t)below(thread, 8);
    bool found = false;
    if (thread->held_ranges == HELD) {
        return;
    }
    pthread_mutex_lock(&world->memory);
    found = find_place(thread, range.pages, &range.first);
    for (unsigned i = 0; found && i < range.pages; i++) {
        world->page[range.first + i] = (struct page){stack, prot, false};
    }
    pthread_mutex_unlock(&world->memory);
    if (found) {
        struct ledger_map_event event = event_of(thread, LEDGER_MAP_INSERT, range);
        event.stack = stack;
        event.prot = prot;
        submit(thread, &event);
        thread->range[thread->held_ranges++] = range;
    }
}

static void unmap_some(struct thread *thread)
{
    struct world *world = thread->world;
    if (thread->held_ranges == 0) {
        return;
    }
    struct range *whole = &thread->range[below(thread, thread->held_ranges)];
    struct range range = {whole->first, 1 + below(thread, whole->pages)}; /* from its start */
    struct ledger_map_event event = event_of(thread, LEDGER_MAP_FLY, range);
    event.stack = some_stack(thread);
    submit(thread, &event);
    if (below(thread, 8) == 0) {
        event.op = LEDGER_MAP_ROLLBACK;
        submit(thread, &event);
        return;
    }
    whole->first += range.pages;
    whole->pages -= range.pages;
    if (whole->pages == 0) {
        *whole = thread->range[--thread->held_ranges];
    }
    pthread_mutex_lock(&world->memory);
    memset(&world->page[range.first], 0, range.pages * sizeof(struct page));
    pthread_mutex_unlock(&world->memory);
    event.op = LEDGER_MAP_COMMIT; /* the place may be another thread's by now */
    submit(thread, &event);
}

static void protect_some(struct thread *thread)
{
    struct world *world = thread->world;
    if (thread->held_ranges == 0) {
        return;
    }
    const struct range *whole = &thread->range[below(thread, thread->held_ranges)];
    unsigned skip = below(thread, whole->pages);
    struct range range = {whole->first + skip, 1 + below(thread, whole->pages - skip)};
    uint8_t prot = (uint8_t)below(thread, 8);
    pthread_mutex_lock(&world->memory);
    for (unsigned i = 0; i < range.pages; i++) {
        world->page[range.first + i].prot = prot;
    }
    pthread_mutex_unlock(&world->memory);
    struct ledger_map_event event = event_of(thread, LEDGER_MAP_PROTECT, range);
    event.prot = prot;
    submit(thread, &event);
}

/* Moves a whole range, which the kernel does only where one protection has all of it. */
static void move_one(struct thread *thread)
{
    struct world *world = thread->world;
    if (thread->held_ranges == 0) {
        return;
    }
    struct range *range = &thread->range[below(thread, thread->held_ranges)];
    struct range to = {0, 1 + below(thread, 12)};
    struct ledger_map_event event = event_of(thread, LEDGER_MAP_FLY, *range);
    event.stack = some_stack(thread);
    submit(thread, &event);
    pthread_mutex_lock(&world->memory);
    struct page like = world->page[range->first];
    bool moved = find_place(thread, to.pages, &to.first);
    for (unsigned i = 0; i < range->pages; i++) {
        moved = moved && world->page[range->first + i].prot == like.prot;
    }
    if (moved) {
        like.moved = true;
        memset(&world->page[range->first], 0, range->pages * sizeof(struct page));
        for (unsigned i = 0; i < to.pages; i++) {
            world->page[to.first + i] = like;
        }
        *range = to;
    }
    pthread_mutex_unlock(&world->memory);
    event.op = moved ? LEDGER_MAP_MOVE : LEDGER_MAP_ROLLBACK;
    event.new_ticket = ledger_ticket(world->ledger);
    event.to_start = BASE + (uint64_t)to.first * PAGE;
    event.to_end = event.to_start + (uint64_t)to.pages * PAGE;
    submit(thread, &event);
}

static void *storm(void *argument)
{
    struct thread *thread = argument;
    for (unsigned step = 0; step < ROUNDS * STEPS; step++) {
        if (step % STEPS == 0) {
            pthread_barrier_wait(&thread->world->round);
            close_block(thread);
        }
        switch (below(thread, 9)) {
        case 0:
        case 1:
            open_one(thread);
            break;
        case 2:
        case 3:
            close_one(thread);
            break;
        case 4:
        case 5:
            map_one(thread);
            break;
        case 6:
            unmap_some(thread);
            break;
        case 7:
            protect_some(thread);
            break;
        case 8:
            move_one(thread);
            break;
        }
    }
    return NULL;
}

/* --- what must be true in the end --- */

static void check_descriptors(const struct world *world, int32_t *fds_live)
{
    for (uint32_t fd = 0; fd < FDS + THREADS * FD_BLOCK; fd++) {
        const struct ledger_fd *record = ledger_at(world->ledger, LEDGER_FDS, fd);
        uint32_t state = record ? record->state & 7u : LEDGER_EMPTY;
        /* What was closed unseen stays: the ledger is a claim, and the kernel decides. */
        bool held = world->number_stack[fd] != 0;
        assert_int_equal(state, held ? LEDGER_LIVE : LEDGER_EMPTY);
        if (held) {
            assert_int_equal(record->stack, world->number_stack[fd]);
            assert_int_equal(record->flags & LEDGER_UNSURE, 0);
            fds_live[record->stack]++;
        }
    }
}

static void check_mappings(const struct world *world, int32_t *maps_live, int64_t *bytes_live)
{
    static struct page said[PAGES];
    static uint16_t doubt[PAGES];
    memset(said, 0, sizeof(said));
    memset(doubt, 0, sizeof(doubt));
    for (uint64_t i = 1; i < world->ledger->header->used[LEDGER_MAPPINGS]; i++) {
        const struct ledger_mapping *mapping =
            ledger_at(world->ledger, LEDGER_MAPPINGS, (uint32_t)i);
        if (mapping->state == LEDGER_EMPTY) {
            continue;
        }
        assert_int_equal(mapping->state, LEDGER_LIVE);
        maps_live[mapping->stack]++;
        bytes_live[mapping->stack] += (int64_t)(mapping->end - mapping->start);
        for (uint64_t at = mapping->start; at < mapping->end; at += PAGE) {
            unsigned page = (unsigned)((at - BASE) / PAGE);
            assert_int_equal(said[page].stack, 0);
            said[page] = (struct page){mapping->stack, mapping->prot, false};
            doubt[page] = mapping->flags;
        }
    }
    unsigned by_mover = 0;
    for (unsigned i = 0; i < PAGES; i++) {
        const struct page *page = &world->page[i];
        assert_int_equal(said[i].stack != 0, page->stack != 0);
        assert_int_equal(doubt[i] & LEDGER_UNSURE, 0);
        if (page->moved && said[i].stack != page->stack) {
            by_mover++; /* its old place was another's in the ledger before the move came */
        } else {
            assert_int_equal(said[i].stack, page->stack);
        }
        if (!(doubt[i] & LEDGER_UNSURE_PROT)) {
            assert_int_equal(said[i].prot, page->prot);
        }
    }
    assert_true(by_mover < PAGES / 10);
}

static void check_stacks(const struct world *world, const int32_t *fds_live,
                         const int32_t *maps_live, const int64_t *bytes_live)
{
    const struct ledger *ledger = world->ledger;
    static bool seen[STACKS];
    memset(seen, 0, sizeof(seen));
    for (uint64_t i = 1; i < ledger->header->used[LEDGER_STACKS]; i++) {
        const struct ledger_stack *stack = ledger_stack(ledger, (uint32_t)i);
        if (stack->state != LEDGER_LIVE) {
            assert_int_equal(stack->acquired, 0);
            continue;
        }
        const uint64_t *frames = ledger_at(ledger, LEDGER_FRAMES, stack->first_frame);
        unsigned which = (unsigned)(frames[0] - 0x400000) / 64;
        assert_false(seen[which]);
        seen[which] = true;
        assert_int_equal(stack->fds_live, fds_live[i]);
        assert_int_equal(stack->mappings_live, maps_live[i]);
        assert_int_equal(stack->bytes_live, bytes_live[i]);
    }
}

static void many_threads_leave_the_ledger_exact(void **state)
{
    (void)state;
    struct world *world = calloc(1, sizeof(*world));
    struct thread *threads = calloc(THREADS, sizeof(*threads));
    world->heap.backing = (struct ledger_backing){
        .chunk = heap_chunk, .make_real = heap_make_real, .arena = heap_arena};
    world->ledger = calloc(1, sizeof(*world->ledger));
    void *base = give(LEDGER_BASE_SIZE);
    assert_true(ledger_start(world->ledger, base, &world->heap.backing));
    pthread_mutex_init(&world->memory, NULL);
    pthread_barrier_init(&world->round, NULL, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i].world = world;
        threads[i].index = i;
        threads[i].random = i + 1;
        threads[i].actor =
            (struct ledger_actor){.tid = 100 + i, .stack_top = UINTPTR_MAX, .may_grow = true};
        assert_int_equal(pthread_create(&threads[i].thread, NULL, storm, &threads[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
    }
    /* Whoever came last has drained what the others left. */
    assert_int_equal((uint32_t)world->ledger->queued, 0);
    assert_null(world->ledger->lock);
    assert_int_equal(world->failed, 0);
    assert_int_equal(world->ledger->header->incomplete, 0);
    assert_int_equal(world->ledger->header->lost_events, 0);

    size_t stacks = world->ledger->header->used[LEDGER_STACKS];
    int32_t *fds_live = calloc(stacks, sizeof(*fds_live));
    int32_t *maps_live = calloc(stacks, sizeof(*maps_live));
    int64_t *bytes_live = calloc(stacks, sizeof(*bytes_live));
    check_descriptors(world, fds_live);
    check_mappings(world, maps_live, bytes_live);
    check_stacks(world, fds_live, maps_live, bytes_live);

    for (unsigned i = 0; i < LEDGER_MAX_CHUNKS; i++) {
        if (world->heap.chunk[i]) {
            munmap(world->heap.chunk[i], LEDGER_CHUNK_SIZE);
        }
    }
    for (unsigned i = 0; i < world->heap.arenas; i++) {
        free(world->heap.arena[i]);
    }
    free(bytes_live);
    free(maps_live);
    free(fds_live);
    free(base);
    free(world->ledger);
    free(threads);
    free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_threads_leave_the_ledger_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
