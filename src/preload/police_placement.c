/*
 * police_placement.c: mmap where the sandbox's window has room, while placement is on. Where that
 * is placement.c knows.
 *
 * The kernel is asked for that very place and may refuse: it is never asked to map over anything.
 * In a thread with a filter the place is only a hint, so that the call has no flag that the program
 * did not give it.
 */
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/random.h>

#include "police.h"
#include "policy/placement.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* asm-generic/mman-common.h, Linux 4.17; a hint before */
#endif
#ifndef MAP_32BIT
#define MAP_32BIT 0 /* x86 only */
#endif
#ifndef GRND_INSECURE
#define GRND_INSECURE 4 /* linux/random.h, Linux 5.6 */
#endif
#define ASK_PERSONALITY 0xffffffffl /* personality.2 */

/* The runtimes of sanitizers that say where a program may have mappings. */
extern void __tsan_init(void) __attribute__((weak));
extern void __msan_init(void) __attribute__((weak));

/* Where system calls may be filtered already, by what the kernel chose for the stack. */
static uint64_t choose_random(void)
{
    uint64_t random = 0;
    if (shim.filter_all) {
        return shim.main_stack_top >> 12;
    }
    long flags = raw_syscall1(SYS_personality, ASK_PERSONALITY);
    if (!raw_failed(flags) && (flags & ADDR_NO_RANDOMIZE)) {
        return 0;
    }
    if (raw_syscall3(SYS_getrandom, &random, sizeof(random), GRND_NONBLOCK | GRND_INSECURE) !=
        (long)sizeof(random)) {
        return shim.main_stack_top >> 12;
    }
    return random;
}

void police_placement_begin(void)
{
    placement_begin(&shim.ledger, &(struct placement_host){
                                      .stack_top = shim.main_stack_top,
                                      .random = choose_random(),
                                      .shadowed = __tsan_init != NULL || __msan_init != NULL,
                                  });
}

/* After the kernel has answered a try. True: that is the program's answer. */
static bool answers(const struct policy_event *event, const struct policy_map *map, void *result,
                    uint64_t place)
{
    if ((uintptr_t)result == place) {
        return true;
    }
    placement_refused(event, map, place, result != MAP_FAILED || errno == EEXIST);
    return result != MAP_FAILED || (errno == ENOMEM && (map->flags & MAP_ANONYMOUS));
}

static void *mmap_placed(const struct policy_event *event, bool raw, struct policy_map *map)
{
    struct policy_map wish = *map;
    int error = errno;
    wish.flags |= event->may_call ? MAP_FIXED_NOREPLACE : 0;
    for (unsigned tries = 0; tries < PLACEMENT_TRIES; tries++) {
        uint64_t place = placement_hint(event, map, tries);
        if (place == 0) {
            break;
        }
        wish.address = (void *)place;
        void *result = plain_mmap_made(raw, &wish);
        if (answers(event, map, result, place)) {
            map->address = result == MAP_FAILED ? NULL : result;
            errno = result == MAP_FAILED ? errno : error;
            return result;
        }
        if (errno != EEXIST) { /* what it says of the program's own call is what counts */
            break;
        }
    }
    errno = error;
    return plain_mmap_made(raw, map);
}

void *police_placed_mmap(bool raw, struct policy_map *map)
{
    bool file = !(map->flags & MAP_ANONYMOUS);
    bool anywhere =
        map->address == NULL && !(map->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_32BIT));
    uint32_t owner = anywhere ? police_owner(file ? plain_owner_of_map(map->fd) : 0) : 0;
    if (owner == 0 || map->length == 0) {
        return plain_mmap_made(raw, map);
    }
    struct policy_event event = police_event(NULL);
    event.owner = owner;
    return mmap_placed(&event, raw, map);
}

void police_moved(const struct unwind_start *here, const struct policy_move *move)
{
    struct policy_event event = police_event(here);
    placement_moved(&event, move->start, move->end, move->to_start, move->to_end);
}
