/*
 * policy_world.c: see policy_world.h.
 */
#include "policy_world.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define ARENAS 256u

struct world {
    struct ledger_backing backing; /* first */
    struct ledger ledger;
    _Atomic(void *) chunk[LEDGER_MAX_CHUNKS];
    void *arena[ARENAS];
    atomic_uint arenas;
    atomic_ullong clock;
};

/* process-global because cmocka's tests share nothing else */
static struct world *world;
/* thread-local, like a thread's part in the shim */
static __thread struct ledger_actor actor = {.tid = 1, .may_grow = true};

static void *give(size_t size)
{
    void *memory = NULL;
    if (posix_memalign(&memory, WORLD_PAGE, size) == 0) {
        memset(memory, 0, size);
    }
    return memory;
}

static void *give_chunk(struct ledger_backing *self, uint32_t number)
{
    (void)self;
    if (!world->chunk[number]) {
        world->chunk[number] = give(LEDGER_CHUNK_SIZE);
    }
    return world->chunk[number];
}

static void *give_arena(struct ledger_backing *self, size_t bytes)
{
    (void)self;
    return world->arena[atomic_fetch_add(&world->arenas, 1)] = give(bytes);
}

static uint64_t tick(void)
{
    return atomic_fetch_add(&world->clock, 1) + 1;
}

int world_begin(void **state)
{
    (void)state;
    world = give(sizeof *world);
    world->backing = (struct ledger_backing){.chunk = give_chunk, .arena = give_arena, .now = tick};
    actor = (struct ledger_actor){.tid = 1, .may_grow = true};
    return ledger_start(&world->ledger, give(LEDGER_BASE_SIZE), &world->backing) ? 0 : -1;
}

int world_end(void **state)
{
    (void)state;
    free(world->ledger.header);
    for (unsigned i = 0; i < LEDGER_MAX_CHUNKS; i++) {
        free(world->chunk[i]);
    }
    for (unsigned i = 0; i < world->arenas; i++) {
        free(world->arena[i]);
    }
    free(world);
    return 0;
}

struct ledger *world_ledger(void)
{
    return &world->ledger;
}

struct ledger_actor *world_actor(void)
{
    return &actor;
}

static uint32_t capture(const void *here)
{
    const uint64_t frame = WORLD_STACK_FRAME;
    (void)here;
    return ledger_stack_intern(&world->ledger, &actor, &frame, 1, 0, 1);
}

struct policy_event world_event(uint32_t owner)
{
    return (struct policy_event){.ledger = &world->ledger,
                                 .actor = &actor,
                                 .now_ns = tick(),
                                 .page = WORLD_PAGE,
                                 .owner = owner,
                                 .watching_fds = true,
                                 .capture = capture};
}

uint32_t world_owner(uint32_t parent)
{
    struct ledger_owner_event event = {
        .kind = LEDGER_OWNER_API, .parent = parent, .now_ns = tick()};
    return ledger_owner_begin(&world->ledger, &actor, &event);
}

void world_owner_ends(uint32_t owner)
{
    ledger_owner_end(&world->ledger, &actor, owner, 0);
}

void world_take_fd(int fd, uint32_t owner)
{
    struct ledger_fd_event event = {.kind = LEDGER_FD_FILE, .owner = owner, .now_ns = tick()};
    ledger_fd_take(&world->ledger, &actor, fd, &event);
}

void world_close_fd(int fd)
{
    struct ledger_fd_flight flight = ledger_fd_fly(&world->ledger, &actor, fd, 0);
    ledger_fd_released(&world->ledger, &actor, fd, flight, false);
}

static void submit(struct ledger_map_event event)
{
    event.now_ns = tick();
    ledger_map_submit(&world->ledger, &actor, &event);
}

void world_map(uint64_t start, uint64_t bytes, int prot, uint32_t owner)
{
    submit((struct ledger_map_event){.op = LEDGER_MAP_INSERT,
                                     .start = start,
                                     .end = start + bytes,
                                     .ticket = ledger_ticket(&world->ledger),
                                     .owner = owner,
                                     .prot = (uint8_t)prot});
}

void world_unmap(uint64_t start, uint64_t bytes)
{
    struct ledger_map_event event = {.op = LEDGER_MAP_FLY,
                                     .start = start,
                                     .end = start + bytes,
                                     .ticket = ledger_ticket(&world->ledger)};
    submit(event);
    event.op = LEDGER_MAP_COMMIT;
    submit(event);
}

void world_bind(uint32_t vm, unsigned slot, uint64_t start, uint64_t bytes)
{
    submit((struct ledger_map_event){.op = LEDGER_MAP_BIND,
                                     .start = start,
                                     .end = start + bytes,
                                     .ticket = ledger_ticket(&world->ledger),
                                     .owner = vm,
                                     .detail = slot});
}
