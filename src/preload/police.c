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
    if (options->reclaim && !FAULT(reclaim_idle)) {
        policies |= POLICY_RECLAIM;
    }
    if (options->rescue && !FAULT(rescue_idle)) {
        policies |= POLICY_RESCUE;
    }
    if (options->placement) {
        policies |= POLICY_PLACEMENT;
    }
    if (options->limit_vmas || options->limit_bytes || options->limit_fds ||
        options->reserve_vmas || options->reserve_fds) {
        policies |= POLICY_LIMIT;
    }
    shim.ledger.header->policies = policies;
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
    void *result = MAP_FAILED;
    if (shim_polices(POLICY_RECLAIM)) {
        result = reclaim_noreplace(event, map);
    }
    if (result == MAP_FAILED && shim_polices(POLICY_RESCUE)) {
        result = rescue_noreplace(event, map);
    }
    return result;
}

static void replaced(const struct policy_event *event, uint64_t start, uint64_t end)
{
    if (shim_polices(POLICY_RECLAIM)) {
        reclaim_replaced(event, start, end);
    }
    if (shim_polices(POLICY_RESCUE)) {
        rescue_replaced(event, start, end);
    }
}

void *police_mmap(const struct unwind_start *here, bool raw, const struct policy_map *wanted)
{
    struct policy_event event = police_event(here);
    struct policy_map map = *wanted;
    uint64_t size = round_up(&event, map.length);
    bool anywhere =
        map.address == NULL && !(map.flags & (MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_32BIT));
    int error = errno;
    if (shim_polices(POLICY_LIMIT) && limit_map(&event, size) != 0) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    if (shim_polices(POLICY_RESCUE) && anywhere) {
        void *result = rescue_serve(&event, &map);
        if (result != MAP_FAILED) {
            plain_mapped(here, &map, result, true);
            errno = error;
            return result;
        }
    }
    void *hint = shim_polices(POLICY_PLACEMENT) && anywhere ? placement_hint(&event, &map) : NULL;
    void *result = plain_mmap(here, raw, hint ? hint : map.address, map.length, map.prot, map.flags,
                              map.fd, map.offset);
    if (result == MAP_FAILED) {
        if (errno == EEXIST && (map.flags & MAP_FIXED_NOREPLACE)) {
            result = once_more(&event, &map);
            if (result != MAP_FAILED) {
                plain_mapped(here, &map, result, true);
                errno = error;
            }
        }
        return result;
    }
    if ((map.flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) == MAP_FIXED) {
        replaced(&event, (uintptr_t)result, (uintptr_t)result + size);
    }
    if (hint) {
        placement_mapped(&event, &map, (uintptr_t)result);
    }
    if (shim_polices(POLICY_RECLAIM) && event.owner != 0) {
        reclaim_range_owned(&event, (uintptr_t)result, (uintptr_t)result + size);
    }
    return result;
}

int police_munmap(const struct unwind_start *here, bool raw, void *address, size_t length)
{
    struct policy_event event = police_event(here);
    uint64_t start = (uintptr_t)address;
    uint64_t end = start + round_up(&event, length);
    if (shim_polices(POLICY_RECLAIM)) {
        reclaim_late_unmap(&event, start, end);
    }
    int result = plain_munmap(here, raw, address, length);
    if (result == 0) {
        int error = errno;
        if (shim_polices(POLICY_PLACEMENT)) {
            placement_unmapped(&event, start, end);
        }
        if (shim_polices(POLICY_RESCUE)) {
            rescue_replaced(&event, start, end);
            rescue_retry(&event);
        }
        errno = error;
    }
    return result;
}

bool police_late_close(const struct unwind_start *here, int fd)
{
    struct policy_event event = police_event(here);
    return event.watching_fds && fd >= 0 && reclaim_late_close(&event, fd);
}

void police_fds_replaced(const struct unwind_start *here, unsigned first, unsigned last)
{
    struct policy_event event = police_event(here);
    if (event.watching_fds && first <= last) {
        reclaim_fds_replaced(&event, first, last);
    }
}

void police_look(const struct unwind_start *here)
{
    int error = errno;
    struct policy_event event = police_event(here);
    reclaim_look(&event);
    errno = error;
}
