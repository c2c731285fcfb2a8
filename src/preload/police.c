/*
 * police.c: where wrappers meet the policies; see police.h. It decides nothing itself.
 */
#include "police.h"

#include <sys/mman.h>

#include "calls.h"
#include "policy/limit.h"
#include "policy/placement.h"
#include "policy/reclaim.h"
#include "policy/rescue.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* asm-generic/mman-common.h, Linux 4.17 */
#endif
#ifndef MAP_32BIT
#define MAP_32BIT 0 /* x86 only */
#endif

/* Options that make no sense together: one of them is done without, and that is said. */
static void drop_contradictions(void)
{
    const struct options_host host = {.max_fds = shim.ledger.header->max_fds,
                                      .max_vmas = shim.ledger.header->max_map_count,
                                      .page = ~shim.page_mask + 1};
    enum options_key key;
    const char *why;
    while (options_contradiction(&shim.options, &host, &key, &why)) {
        shim_say((const char *[]){"boxledger: warning: BOXLEDGER_OPTIONS: ",
                                  options_table[key].name, " ", why, "; ignored", NULL});
        options_forget(&shim.options, key);
    }
}

uint32_t police_begin(void)
{
    const struct options *options = &shim.options;
    uint32_t policies = 0;
    drop_contradictions();
    struct reclaim_options reclaim = {.settle_ms = options->settle_ms,
                                      .quarantine_fds = options->quarantine_fds,
                                      .quarantine_bytes = options->quarantine_bytes};
    if (options->reclaim && !FAULT(reclaim_idle) && reclaim_begin(&shim.ledger, &reclaim)) {
        policies |= POLICY_RECLAIM;
    }
    if (options->rescue && !FAULT(rescue_idle)) {
        policies |= POLICY_RESCUE;
    }
    if (options->placement && !FAULT(placement_idle)) {
        policies |= POLICY_PLACEMENT;
        police_placement_begin();
    }
    if (options->limit_vmas || options->limit_bytes || options->limit_fds ||
        options->reserve_vmas || options->reserve_fds) {
        policies |= POLICY_LIMIT;
    }
    limit_begin(&(struct limit_terms){.bytes = options->limit_bytes,
                                      .vmas = options->limit_vmas,
                                      .fds = options->limit_fds,
                                      .reserve_vmas = options->reserve_vmas,
                                      .reserve_fds = options->reserve_fds,
                                      .max_fds = shim.ledger.header->max_fds,
                                      .max_vmas = shim.ledger.header->max_map_count});
    shim.ledger.header->policies = policies;
    shim.ledger.header->rescue_waiting_ranges = 0; /* an exec unmapped them all */
    shim.ledger.header->rescue_waiting_bytes = 0;
    return policies;
}

static uint32_t capture_for_policy(const void *here)
{
    return here ? shim_stack(here) : 0;
}

struct policy_event police_event(const struct unwind_start *here)
{
    struct ledger_actor *actor = shim_actor();
    ledger_enter(&shim.ledger, actor);
    return (struct policy_event){
        .ledger = &shim.ledger,
        .actor = actor,
        .now_ns = shim_now(),
        .page = ~shim.page_mask + 1,
        .owner = sandbox_scope(&shim.sandbox, &shim_thread.sandbox).owner,
        .may_call = actor->may_grow,
        .watching_fds = shim_watching(),
        .capture = capture_for_policy,
        .here = here,
    };
}

static uint64_t round_up(const struct policy_event *event, uint64_t length)
{
    return (length + event->page - 1) & ~(event->page - 1);
}

/* It failed with EEXIST because of what only a policy keeps there. */
static void *once_more(const struct policy_event *event, const struct policy_map *map)
{
    return shim_polices(POLICY_RESCUE) ? rescue_noreplace(event, map) : MAP_FAILED;
}

/* What waits and would do for this mmap; with MAP_FIXED what waits there gives way. False: the call
 * must not be made. */
static bool look_at_waiting(const struct policy_event *event, const struct policy_map *map,
                            uint64_t size, struct rescue_taken *taken, void **result)
{
    uint64_t start = (uintptr_t)map->address;
    bool at_address = (map->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
    if (!rescue_any() || (map->flags & MAP_32BIT) || (start != 0 && !at_address) ||
        (start & (event->page - 1)) || start + size < start) {
        return true;
    }
    *result = rescue_serve(event, map);
    return *result != MAP_FAILED || !at_address || (map->flags & MAP_FIXED_NOREPLACE) ||
           rescue_take(event, start, start + size, taken);
}

/* It is there now, by the program's wish, or where the kernel or a policy chose. */
static void mapped(const struct policy_event *event, const struct policy_map *map, bool over,
                   uint64_t start, uint64_t size)
{
    if (!over && shim_polices(POLICY_RESCUE) && rescue_any()) {
        rescue_displaced(event, start, start + size);
    }
    if (shim_polices(POLICY_RECLAIM) && !(map->flags & MAP_ANONYMOUS)) {
        reclaim_range_mapped(event, start, start + size, map->fd);
    }
}

static bool gives_way(const struct policy_event *event, const struct policy_map *map)
{
    uint64_t start = (uintptr_t)map->address;
    return reclaim_gives_way(event, start, start + round_up(event, map->length));
}

/* A wrapper may be called on a small stack, and what most of it goes for is the telling of the
 * ledger, at the end of the plain call. What a policy needs around that is in functions of its own,
 * which have no frame meanwhile. */
#define APART __attribute__((noinline))

/* There may be room yet, or what is there gives way. `error` is what errno was before. */
static APART void *mmap_again(const struct unwind_start *here, bool raw, struct policy_map *map,
                              int error)
{
    struct policy_event event = police_event(here);
    bool anywhere =
        map->address == NULL && !(map->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_32BIT));
    if (errno == ENOMEM && anywhere && reclaim_make_room(&event)) {
        errno = error;
        return plain_mmap(here, raw, map);
    }
    if (errno == EEXIST && (map->flags & MAP_FIXED_NOREPLACE) && gives_way(&event, map)) {
        errno = error;
        map->flags = (map->flags & ~MAP_FIXED_NOREPLACE) | MAP_FIXED;
        return plain_mmap(here, raw, map);
    }
    return MAP_FAILED;
}

/* While ranges wait that rescue keeps: of all mappings that are asked for. */
static APART void *mmap_beside_waiting(const struct unwind_start *here, bool raw,
                                       const struct policy_map *wanted)
{
    struct policy_event event = police_event(here);
    struct policy_map map = *wanted;
    uint64_t size = round_up(&event, map.length);
    bool over = (map.flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) == MAP_FIXED;
    struct rescue_taken taken = {.count = 0};
    void *result = MAP_FAILED;
    int error = errno;
    if (shim_polices(POLICY_RESCUE)) {
        if (!look_at_waiting(&event, &map, size, &taken, &result)) {
            errno = ENOMEM;
            return MAP_FAILED;
        }
        if (result != MAP_FAILED) {
            plain_mapped(here, &map, result, true);
            mapped(&event, &map, over, (uintptr_t)result, size);
            errno = error;
            return result;
        }
    }
    result = plain_mmap(here, raw, &map);
    if (result == MAP_FAILED && shim_polices(POLICY_RECLAIM)) {
        result = mmap_again(here, raw, &map, error);
    }
    if (result == MAP_FAILED) {
        if (errno == EEXIST && (map.flags & MAP_FIXED_NOREPLACE)) {
            result = once_more(&event, &map);
            if (result != MAP_FAILED) {
                plain_mapped(here, &map, result, true);
                errno = error;
            }
        } else if (errno != ENOMEM && (map.flags & MAP_ANONYMOUS)) {
            rescue_put_back(&event, &taken); /* nothing was unmapped; otherwise nobody knows */
        }
        return result;
    }
    mapped(&event, &map, over, (uintptr_t)result, size);
    return result;
}

static APART void *mmap_done(const struct unwind_start *here, const struct policy_map *map,
                             void *result)
{
    struct policy_event event = police_event(here);
    bool over = (map->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) == MAP_FIXED;
    mapped(&event, map, over, (uintptr_t)result, round_up(&event, map->length));
    return result;
}

void *police_mmap(const struct unwind_start *here, bool raw, struct policy_map *map)
{
    if (rescue_any()) {
        return mmap_beside_waiting(here, raw, map);
    }
    int error = errno;
    void *result = plain_mmap(here, raw, map);
    if (!shim_polices(POLICY_RECLAIM)) {
        return result;
    }
    if (result == MAP_FAILED) {
        result = mmap_again(here, raw, map, error);
    }
    return result == MAP_FAILED || (map->flags & MAP_ANONYMOUS) ? result
                                                                : mmap_done(here, map, result);
}

/* ENOMEM: it would have split a VMA, and there may be no more of them. With errno as it was. */
static APART int unmap_refused(const struct unwind_start *here, uint64_t start, size_t length)
{
    int error = errno;
    struct policy_event event = police_event(here);
    if (error == ENOMEM && shim_polices(POLICY_RECLAIM)) {
        reclaim_range_stays(&event, start, start + round_up(&event, length));
    }
    errno = error;
    return -1;
}

static APART int munmap_beside_waiting(const struct unwind_start *here, bool raw, void *address,
                                       size_t length)
{
    int error = errno;
    struct policy_event event = police_event(here);
    uint64_t start = (uintptr_t)address;
    uint64_t end = start + round_up(&event, length);
    struct rescue_taken taken = {.count = 0};
    if (shim_polices(POLICY_RESCUE) && rescue_any() && !(start & (event.page - 1)) &&
        !rescue_take(&event, start, end, &taken)) {
        errno = ENOMEM;
        return -1;
    }
    int result = plain_munmap(here, raw, address, length);
    if (result != 0) {
        rescue_put_back(&event, &taken); /* munmap does all or nothing */
        return unmap_refused(here, start, length);
    }
    if (shim_polices(POLICY_PLACEMENT)) {
        placement_unmapped(&event, start, end);
    }
    if (shim_polices(POLICY_RESCUE)) {
        rescue_retry(&event, start, end);
    }
    errno = error;
    return result;
}

static APART int unmapped(const struct unwind_start *here, uint64_t start, size_t length)
{
    struct policy_event event = police_event(here);
    placement_unmapped(&event, start, start + round_up(&event, length));
    return 0;
}

int police_munmap(const struct unwind_start *here, bool raw, void *address, size_t length)
{
    if (rescue_any()) {
        return munmap_beside_waiting(here, raw, address, length);
    }
    int error = errno;
    int result = plain_munmap(here, raw, address, length);
    if (result != 0) {
        return unmap_refused(here, (uintptr_t)address, length);
    }
    errno = error; /* the kernel may have refused it */
    return shim_polices(POLICY_PLACEMENT) ? unmapped(here, (uintptr_t)address, length) : 0;
}

bool police_mremap(const struct unwind_start *here, const struct policy_move *move, int *error)
{
    struct policy_event event = police_event(here);
    struct rescue_taken taken;
    if (rescue_first(move->start, move->end) < move->end) {
        *error = EFAULT; /* mremap.2: not mapped, as far as the program goes */
        return false;
    }
    if (move->to_start < move->to_end &&
        !rescue_take(&event, move->to_start, move->to_end, &taken)) {
        *error = ENOMEM;
        return false;
    }
    return true;
}

bool police_shmat(const struct unwind_start *here, uint64_t start, uint64_t end)
{
    struct policy_event event = police_event(here);
    struct rescue_taken taken;
    return rescue_take(&event, start, end, &taken);
}

void police_spoil(const struct unwind_start *here, uint64_t start, uint64_t end, uint32_t detail)
{
    struct policy_event event = police_event(here);
    end = start + round_up(&event, end - start);
    struct ledger_map_event change = {.op = LEDGER_MAP_MARK,
                                      .start = start,
                                      .end = end,
                                      .ticket = ledger_ticket(event.ledger),
                                      .detail = detail};
    rescue_spoil(&event, start, end);
    ledger_map_submit(event.ledger, event.actor, &change);
}

bool police_fd_flies(const struct unwind_start *here, int fd, const struct shim_release *release)
{
    if (likely(!reclaim_fd_is_late(fd, &release->flight, shim_thread.actor.may_grow))) {
        return false;
    }
    struct policy_event event = police_event(here);
    return reclaim_fd_flies(&event, fd, &release->flight, release->stack);
}

void police_fds_late(const struct unwind_start *here, unsigned first, unsigned last, uint32_t stack)
{
    struct policy_event event = police_event(here);
    reclaim_fds_late(&event, first, last, stack);
}

void police_fds_fly(const struct unwind_start *here, unsigned first, unsigned last)
{
    struct policy_event event = police_event(here);
    reclaim_fds_fly(&event, first, last);
}

bool police_range_flies(uint64_t start, uint64_t end, uint32_t stack)
{
    struct policy_event event = police_event(NULL);
    return reclaim_range_flies(&event, start, end, stack != 0, stack);
}

void police_fd_owned(const struct unwind_start *here, int fd, bool assigned)
{
    int error = errno;
    struct policy_event event = police_event(here);
    reclaim_fd_owned(&event, fd, assigned);
    errno = error;
}

bool police_is_idle(void)
{
    return (*shim.attached & SHIM_ATTACHED) &&
           !(shim_polices(POLICY_RECLAIM) && reclaim_may_be_due(&shim.ledger)) &&
           !(shim_polices(POLICY_RESCUE) && rescue_any());
}

void police_look_now(const struct unwind_start *here)
{
    int error = errno;
    if (police_is_idle()) {
        return;
    }
    if (shim_polices(POLICY_RECLAIM) && shim_watching() &&
        reclaim_is_due(&shim.ledger, shim_now())) {
        struct policy_event event = police_event(here);
        reclaim_look(&event);
    }
    if (shim_polices(POLICY_RESCUE) && rescue_is_due(&shim.ledger)) {
        struct policy_event event = police_event(here);
        rescue_retry(&event, 0, 0);
    }
    errno = error;
}

bool police_makes_room(const struct unwind_start *here)
{
    if (!shim_watching()) {
        return false;
    }
    int error = errno;
    struct policy_event event = police_event(here);
    bool made = reclaim_make_room(&event);
    errno = error;
    return made;
}
