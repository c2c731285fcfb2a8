/*
 * wrap_mappings.c: calls that map, unmap, move and protect memory.
 *
 * Each follows its section-2 manual page. What releases leaves the ledger as "in flight" before
 * the call and is committed or rolled back after it; where the kernel may have done half of it
 * (a fixed mmap or mremap that failed), the kernel is asked page by page.
 */
#include <sys/mman.h>
#include <sys/shm.h>

#include "calls.h"
#include "police.h"
#include "policy/rescue.h"
#include "wrap.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* asm-generic/mman-common.h, Linux 4.17 */
#endif
/* linux/mman.h: Linux 5.14, 5.18, 6.1 */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4 /* linux/mman.h, Linux 5.7 */
#endif

static uint64_t page_end(uintptr_t address, size_t length)
{
    return ((uint64_t)address + length + ~shim.page_mask) & shim.page_mask;
}

/* The functions that hold an event are not inlined: a wrapper may be called on a small stack, and
 * an event is a hundred bytes of it. */
#define APART __attribute__((noinline))

static void submit(const struct ledger_map_event *event)
{
    struct ledger_actor *actor = shim_actor();
    ledger_enter(&shim.ledger, actor);
    ledger_map_submit(&shim.ledger, actor, event);
}

/* A release that has begun: of [start, end), to be committed, rolled back or moved. */
struct flight {
    uint64_t start, end, ticket;
    uint32_t stack; /* that releases */
    uint32_t flags;
    bool is_done; /* by a policy that gave up just that: the call is not to be made */
};

static APART void submit_part(const struct flight *flight, enum ledger_map_op op, uint64_t start,
                              uint64_t end)
{
    struct ledger_map_event event = {.op = (uint8_t)op,
                                     .start = start,
                                     .end = end,
                                     .ticket = flight->ticket,
                                     .stack = flight->stack,
                                     .flags = (uint16_t)flight->flags};
    submit(&event);
}

static void take_off(struct flight *flight, uint64_t start, uint64_t end, uint32_t stack,
                     unsigned flags)
{
    flight->start = start;
    flight->end = end;
    flight->ticket = ledger_ticket(&shim.ledger);
    flight->stack = stack;
    flight->flags = flags;
    flight->is_done = false;
    struct ledger_actor *actor = shim_actor();
    ledger_enter(&shim.ledger, actor);
    if (!ledger_map_fly_whole(&shim.ledger, actor, start, end, flight->ticket)) {
        submit_part(flight, LEDGER_MAP_FLY, start, end);
    }
    if (shim_polices(POLICY_RECLAIM) && end != UINT64_MAX) {
        flight->is_done = police_range_flies(start, end, stack);
    }
}

static struct flight fly(uint64_t start, uint64_t end, uint32_t stack, unsigned flags)
{
    struct flight flight;
    take_off(&flight, start, end, stack, flags);
    return flight;
}

static void finish(const struct flight *flight, enum ledger_map_op op)
{
    struct ledger_actor *actor = shim_actor();
    ledger_enter(&shim.ledger, actor);
    if (op != LEDGER_MAP_COMMIT ||
        !ledger_map_commit_whole(&shim.ledger, actor, flight->start, flight->end, flight->ticket,
                                 flight->stack)) {
        submit_part(flight, op, flight->start, flight->end);
    }
}

static bool is_mapped(uint64_t start, uint64_t size)
{
    return raw_syscall3(SYS_msync, start, size, MS_ASYNC) != -ENOMEM;
}

/* What of a flight is still mapped after a call that failed? msync(MS_ASYNC) answers ENOMEM for a
 * range with a hole and does nothing else. Not in a thread that may have a filter: then all of it
 * counts as held, and readers ask. */
static APART void ask_kernel(const struct flight *flight)
{
    uint64_t page = ~shim.page_mask + 1;
    if (FAULT(kernel_not_asked) || !shim_actor()->may_grow ||
        is_mapped(flight->start, flight->end - flight->start)) {
        finish(flight, LEDGER_MAP_ROLLBACK);
        return;
    }
    for (uint64_t start = flight->start; start < flight->end; start += page) {
        bool mapped = is_mapped(start, page);
        submit_part(flight, LEDGER_MAP_FLY, start, start + page); /* its ends become boundaries */
        submit_part(flight, mapped ? LEDGER_MAP_ROLLBACK : LEDGER_MAP_COMMIT, start, start + page);
    }
}

static void note(enum ledger_event_kind kind, uint32_t stack, uintptr_t start, size_t bytes)
{
    ledger_note(&shim.ledger, shim_actor(), kind, errno, stack, 0, start, bytes, shim_now());
}

/* What a new mapping is, but for where. */
struct mapping {
    uint32_t stack;
    uint32_t owner; /* 0: whose scope it is */
    uint32_t detail;
    uint64_t like; /* another mapping's address, that it is a copy of; 0: none */
    uint16_t flags;
    uint8_t prot;
    bool fixed;
    bool if_unrecorded;
};

static APART void mapped(uint64_t start, uint64_t end, const struct mapping *mapping)
{
    struct sandbox_scope scope = sandbox_scope(&shim.sandbox, &shim_thread.sandbox);
    bool own = mapping->owner && !scope.is_explicit;
    struct ledger_map_event event = {.op = LEDGER_MAP_INSERT,
                                     .start = start,
                                     .end = end,
                                     .to_start = mapping->like,
                                     .ticket = ledger_ticket(&shim.ledger),
                                     .now_ns = shim_now(),
                                     .stack = mapping->stack,
                                     .owner = own ? mapping->owner : scope.owner,
                                     .tid = shim_actor()->tid,
                                     .detail = mapping->detail,
                                     .flags = mapping->flags,
                                     .prot = mapping->prot,
                                     .keep_old = mapping->if_unrecorded,
                                     .fixed = mapping->fixed};
    submit(&event);
    if (unlikely(shim.ledger.header->vmas_estimated >= shim.nearly_full_vmas)) {
        shim_nearly_full_vmas(event.stack);
    }
}

/* [start, end) of a flight is at `to` now, and of another size perhaps. `target`: the ticket of the
 * flight of what was there. */
static APART void moved(const struct flight *flight, uint64_t start, uint64_t end, uint64_t to,
                        uint64_t to_end, uint32_t target, int flags)
{
    struct ledger_map_event event = {.op = LEDGER_MAP_MOVE,
                                     .start = start,
                                     .end = end,
                                     .to_start = to,
                                     .to_end = to_end,
                                     .ticket = flight->ticket,
                                     .new_ticket = ledger_ticket(&shim.ledger),
                                     .now_ns = shim_now(),
                                     .stack = flight->stack,
                                     .tid = shim_actor()->tid,
                                     .detail = target,
                                     .keep_old = (flags & MREMAP_DONTUNMAP) != 0,
                                     .fixed = (flags & MREMAP_FIXED) != 0};
    submit(&event);
}

static APART void protected(uint64_t start, uint64_t end, int prot, unsigned flags)
{
    struct ledger_map_event event = {.op = LEDGER_MAP_PROTECT,
                                     .start = start,
                                     .end = end,
                                     .ticket = ledger_ticket(&shim.ledger),
                                     .flags = (uint16_t)flags,
                                     .prot = (uint8_t)prot};
    if (start < end) {
        submit(&event);
    }
}

static uint8_t prot_bits(int prot)
{
    return (uint8_t)(prot & (PROT_READ | PROT_WRITE | PROT_EXEC)); /* no PROT_GROWSDOWN and kin */
}

/* What of the flags tells anonymous memory from plain memory. */
static uint32_t oddness(const struct policy_map *map)
{
    const int plain = MAP_TYPE | MAP_ANONYMOUS | MAP_FIXED | MAP_FIXED_NOREPLACE;
    return (map->address ? LEDGER_PLACED : 0) | (map->flags & ~plain ? LEDGER_ODD : 0) |
           (map->flags & MAP_HUGETLB ? LEDGER_WATCHED : 0);
}

static uint16_t flags_of_map(int flags)
{
    uint16_t result = 0;
    if (!(flags & MAP_ANONYMOUS)) {
        result |= LEDGER_FILE_MAP;
    }
    if ((flags & MAP_TYPE) != MAP_PRIVATE) {
        result |= LEDGER_SHARED_MAP;
    }
    if (flags & MAP_GROWSDOWN) {
        result |= LEDGER_STACK_MAP;
    }
    return result;
}

/* The kvm_run of a vCPU, a device's registers: the VM's own. */
uint32_t plain_owner_of_map(int fd)
{
    const struct ledger_fd *record = ledger_fd_record(&shim.ledger, fd);
    bool of_vm =
        record && (record->kind == LEDGER_FD_KVM_VCPU || record->kind == LEDGER_FD_KVM_DEVICE ||
                   record->kind == LEDGER_FD_KVM_VM);
    return of_vm ? __atomic_load_n(&record->owner, __ATOMIC_RELAXED) : 0;
}

void *plain_mapped(const struct unwind_start *here, const struct policy_map *map, void *result,
                   bool fixed)
{
    uint32_t stack = shim_stack(here);
    bool file = !(map->flags & MAP_ANONYMOUS);
    if (file && shim_watching()) {
        shim_fd_named(here, map->fd);
    }
    mapped((uintptr_t)result, page_end((uintptr_t)result, map->length),
           &(struct mapping){.stack = stack,
                             .owner = file ? plain_owner_of_map(map->fd) : 0,
                             .detail = file ? (uint32_t)map->fd + 1 : oddness(map),
                             .flags = flags_of_map(map->flags),
                             .prot = prot_bits(map->prot),
                             .fixed = fixed});
    return result;
}

void *plain_mmap_made(bool raw, const struct policy_map *map)
{
    return PERFORM(raw, void *, mmap,
                   (map->address, map->length, map->prot, map->flags, map->fd, map->offset),
                   raw_syscall6(SYS_mmap, RAW_ARG(map->address), RAW_ARG(map->length), map->prot,
                                map->flags, map->fd, map->offset));
}

static APART void mmap_refused(const struct unwind_start *here, const struct policy_map *map)
{
    if (errno == ENOMEM) {
        note(LEDGER_EVENT_MAP_REFUSED, shim_stack(here), 0, map->length);
    }
}

/* With MAP_FIXED, over whatever is there. */
static APART void *mmap_over(const struct unwind_start *here, bool raw,
                             const struct policy_map *map)
{
    uint64_t start = (uintptr_t)map->address;
    struct flight flight = fly(start, page_end(start, map->length), 0, 0);
    void *result = plain_mmap_made(raw, map);
    if (likely(result != MAP_FAILED)) {
        plain_mapped(here, map, result, true);
        return result;
    }
    ask_kernel(&flight);
    mmap_refused(here, map);
    return result;
}

/* mmap.2. What comes last is jumped to: a wrapper may be called on a small stack. */
void *plain_mmap(const struct unwind_start *here, bool raw, struct policy_map *map)
{
    if (!shim_watching_memory()) {
        return plain_mmap_made(raw, map);
    }
    if (unlikely((map->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) == MAP_FIXED) &&
        ((uintptr_t)map->address & ~shim.page_mask) == 0 && map->length != 0) {
        return mmap_over(here, raw, map);
    }
    void *result =
        shim_polices(POLICY_PLACEMENT) ? police_placed_mmap(raw, map) : plain_mmap_made(raw, map);
    if (likely(result != MAP_FAILED)) {
        return plain_mapped(here, map, result, false);
    }
    mmap_refused(here, map);
    return result;
}

static APART void *policed_mmap(const struct unwind_start *here, bool raw, struct policy_map *map)
{
    if (shim_polices(POLICY_LIMIT) && map->length != 0 && police_refuses_mmap(here, map)) {
        return MAP_FAILED;
    }
    if (shim_polices(POLICY_RECLAIM | POLICY_RESCUE) && map->length != 0) {
        return police_mmap(here, raw, map);
    }
    return plain_mmap(here, raw, map);
}

void *shim_mmap(const struct unwind_start *here, bool raw, void *address, size_t length, int prot,
                int flags, int fd, int64_t offset)
{
    struct policy_map map = {address, length, prot, flags, fd, offset};
    return policed_mmap(here, raw, &map);
}

EXPORT void *mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset)
{
    struct policy_map map = {address, length, prot, flags, fd, offset};
    if (unlikely(!shim_goes_straight() || (flags & MAP_FIXED))) {
        return policed_mmap(HERE, false, &map);
    }
    void *result = (void *)libc_result(
        raw_syscall6(SYS_mmap, RAW_ARG(address), RAW_ARG(length), prot, flags, fd, offset));
    if (likely(result != MAP_FAILED)) {
        plain_mapped(HERE, &map, result, false);
    } else {
        mmap_refused(HERE, &map);
    }
    return result;
}

_Static_assert(sizeof(off_t) == sizeof(off64_t), "two names of one function");
EXPORT void *mmap64(void *address, size_t length, int prot, int flags, int fd, off64_t offset)
    __attribute__((alias("mmap")));

/* What the kernel refused to unmap: the policy has it now, and for the program it is gone. */
static APART bool rescued(const struct unwind_start *here, const struct flight *flight)
{
    if (!shim_polices(POLICY_RESCUE)) {
        return false;
    }
    struct policy_event event = police_event(here);
    finish(flight, LEDGER_MAP_ROLLBACK);
    return rescue_unmap(&event, flight->start, flight->end, flight->stack);
}

/* With errno as it was left. */
static APART int unmap_failed(const struct unwind_start *here, const struct flight *flight,
                              size_t length)
{
    if (errno == ENOMEM && rescued(here, flight)) {
        return 0;
    }
    finish(flight, FAULT(unmap_not_put_back) ? LEDGER_MAP_COMMIT : LEDGER_MAP_ROLLBACK);
    if (!FAULT(refusal_unsaid)) {
        note(LEDGER_EVENT_UNMAP_REFUSED, flight->stack, flight->start, length);
    }
    return -1;
}

/* munmap.2: "Linux may ... ENOMEM ... when unmapping a region in the middle of an existing
 * mapping": then nothing was unmapped. */
int plain_munmap(const struct unwind_start *here, bool raw, void *address, size_t length)
{
    bool watching = shim_watching_memory() && ((uintptr_t)address & ~shim.page_mask) == 0 &&
                    length != 0 && (uintptr_t)address + length > (uintptr_t)address;
    struct flight flight;
    if (likely(watching)) {
        flight = fly((uintptr_t)address, page_end((uintptr_t)address, length), shim_stack(here), 0);
        if (unlikely(flight.is_done)) {
            finish(&flight, LEDGER_MAP_COMMIT);
            return 0;
        }
    }
    int result =
        PERFORM(raw, int, munmap, (address, length), raw_syscall2(SYS_munmap, address, length));
    if (likely(watching)) {
        if (unlikely(result != 0)) {
            return unmap_failed(here, &flight, length);
        }
        finish(&flight, LEDGER_MAP_COMMIT);
    }
    return result;
}

int shim_munmap(const struct unwind_start *here, bool raw, void *address, size_t length)
{
    if (shim_polices(POLICY_RECLAIM | POLICY_RESCUE | POLICY_PLACEMENT) && length != 0) {
        return police_munmap(here, raw, address, length);
    }
    return plain_munmap(here, raw, address, length);
}

EXPORT int munmap(void *address, size_t length)
{
    if (unlikely(!shim_goes_straight() || ((uintptr_t)address & ~shim.page_mask) != 0 ||
                 length - 1 >= UINTPTR_MAX - (uintptr_t)address)) {
        return shim_munmap(HERE, false, address, length);
    }
    struct flight flight =
        fly((uintptr_t)address, page_end((uintptr_t)address, length), shim_stack(HERE), 0);
    long result = raw_syscall2(SYS_munmap, address, length);
    if (unlikely(raw_failed(result))) {
        (void)libc_result(result);
        return unmap_failed(HERE, &flight, length);
    }
    finish(&flight, LEDGER_MAP_COMMIT);
    return 0;
}

/* Since Linux 6.17 mremap moves several VMAs at once, and stops at the first that it cannot: what
 * is gone at the old place and there at the new one was moved all the same. */
static APART void moved_in_part(const struct flight *flight, uint64_t to, int flags)
{
    uint64_t page = ~shim.page_mask + 1;
    bool keeps_old = (flags & MREMAP_DONTUNMAP) != 0;
    if (!shim_actor()->may_grow ||
        (!keeps_old && is_mapped(flight->start, flight->end - flight->start))) {
        return;
    }
    for (uint64_t start = flight->start; start < flight->end; start += page, to += page) {
        if (!is_mapped(to, page)) {
            continue;
        }
        if (keeps_old) { /* what is there and was not recorded is a copy */
            mapped(to, to + page,
                   &(struct mapping){.stack = flight->stack,
                                     .like = start,
                                     .flags = LEDGER_UNSURE_PROT,
                                     .if_unrecorded = true});
        } else if (!is_mapped(start, page)) {
            submit_part(flight, LEDGER_MAP_FLY, start, start + page);
            moved(flight, start, start + page, to, to + page, 0, flags);
        }
    }
}

/* mremap.2: an old size of 0: a shared mapping, mapped once more. */
static APART void mapped_once_more(const struct flight *flight, void *result, size_t new_size,
                                   int flags)
{
    mapped((uintptr_t)result, page_end((uintptr_t)result, new_size),
           &(struct mapping){.stack = flight->stack,
                             .like = flight->start,
                             .flags = LEDGER_SHARED_MAP,
                             .fixed = (flags & MREMAP_FIXED) != 0});
}

/* True: what is to be moved is not mapped, as far as the program goes, or what waits where it is to
 * go does not give way; errno says so. */
static APART bool waits_there(const struct unwind_start *here, void *old, size_t old_size,
                              void *new_address, size_t new_size)
{
    struct policy_move move = {.start = (uintptr_t)old, .end = page_end((uintptr_t)old, old_size)};
    int answer;
    if (new_address) {
        move.to_start = (uintptr_t)new_address;
        move.to_end = page_end((uintptr_t)new_address, new_size);
    }
    if (police_mremap(here, &move, &answer)) {
        return false;
    }
    errno = answer;
    return true;
}

static APART void tell_moved(const struct unwind_start *here, const struct flight *flight,
                             void *result, size_t new_size)
{
    uint64_t to = (uintptr_t)result;
    struct policy_move move = {flight->start, flight->end, to, page_end(to, new_size)};
    police_moved(here, &move);
}

/* `target`: of what MREMAP_FIXED was aimed at; NULL: it was not. */
static APART void remap_failed(const struct flight *flight, const struct flight *target,
                               size_t new_size, int flags)
{
    int error = errno;
    if (target) {
        moved_in_part(flight, target->start, flags);
        ask_kernel(target);
        protected(target->start, target->end, 0,
                  LEDGER_UNSURE_PROT); /* what came is not ours to know */
    }
    if (target || error == EFAULT) {
        ask_kernel(flight);
    } else {
        finish(flight, LEDGER_MAP_ROLLBACK);
    }
    if (error == ENOMEM) {
        note(LEDGER_EVENT_REMAP_REFUSED, flight->stack, flight->start, new_size);
    }
}

void *shim_mremap(const struct unwind_start *here, bool raw, void *old, size_t old_size,
                  size_t new_size, int flags, void *new_address)
{
    bool watching = shim_watching_memory() && ((uintptr_t)old & ~shim.page_mask) == 0 &&
                    new_size != 0 && (uintptr_t)old + old_size >= (uintptr_t)old;
    bool over =
        watching && (flags & MREMAP_FIXED) != 0 && ((uintptr_t)new_address & ~shim.page_mask) == 0;
    struct flight flight = {0};
    struct flight target = {0};
    if (shim_polices(POLICY_LIMIT) && watching &&
        police_refuses_growth(here, (uintptr_t)old, page_end((uintptr_t)old, old_size), new_size,
                              old_size == 0 || (flags & MREMAP_DONTUNMAP))) {
        return MAP_FAILED;
    }
    if (shim_polices(POLICY_RESCUE) && watching && rescue_any() &&
        waits_there(here, old, old_size, over ? new_address : NULL, new_size)) {
        return MAP_FAILED;
    }
    if (watching) {
        take_off(&flight, (uintptr_t)old, page_end((uintptr_t)old, old_size), shim_stack(here), 0);
    }
    if (over) {
        take_off(&target, (uintptr_t)new_address, page_end((uintptr_t)new_address, new_size),
                 flight.stack, 0);
    }
    void *result = PERFORM(raw, void *, mremap, (old, old_size, new_size, flags, new_address),
                           raw_syscall5(SYS_mremap, old, old_size, new_size, flags, new_address));
    if (!watching) {
        return result;
    }
    if (result != MAP_FAILED) {
        if (flight.start == flight.end) {
            mapped_once_more(&flight, result, new_size, flags);
        } else {
            moved(&flight, flight.start, flight.end, (uintptr_t)result,
                  page_end((uintptr_t)result, new_size), over ? (uint32_t)target.ticket : 0, flags);
        }
        if (over && shim_polices(POLICY_RESCUE)) {
            police_spoil(here, target.start, target.end, LEDGER_PLACED);
        }
        if (shim_polices(POLICY_PLACEMENT) && old_size != 0 && !(flags & MREMAP_DONTUNMAP)) {
            tell_moved(here, &flight, result, new_size);
        }
        return result;
    }
    remap_failed(&flight, over ? &target : NULL, new_size, flags);
    return result;
}

/* The last argument is whatever is there, where no flag asks for it. Not by <stdarg.h>, which takes
 * room on the stack: a variable argument is passed like any other. */
EXPORT void *mremap_with(void *old, size_t old_size, size_t new_size, int flags,
                         void *new_address) __asm__("mremap");
EXPORT void *mremap_with(void *old, size_t old_size, size_t new_size, int flags, void *new_address)
{
    return shim_mremap(HERE, false, old, old_size, new_size, flags, new_address);
}

/* The kernel goes from VMA to VMA until one refuses. ENOMEM because of a hole: everything below it
 * has the new protection. Otherwise (too many VMAs, a file that may not be written) nobody can tell
 * how far it came. */
static APART void protected_in_part(uint64_t start, uint64_t end, int prot)
{
    uint64_t page = ~shim.page_mask + 1;
    uint64_t hole = start;
    if (errno != ENOMEM || !shim_actor()->may_grow || is_mapped(start, end - start)) {
        protected(start, end, prot, LEDGER_UNSURE_PROT);
        return;
    }
    while (hole < end && is_mapped(hole, page)) {
        hole += page;
    }
    protected(start, hole, prot, 0);
    struct flight flight = fly(hole, end, 0, 0);
    ask_kernel(&flight);
}

/* mprotect.2, pkey_mprotect.2. `key` -2: mprotect. */
static int plain_mprotect(const struct unwind_start *here, bool raw, void *address, size_t length,
                          int prot, int key)
{
    int result = key == -2 ? PERFORM(raw, int, mprotect, (address, length, prot),
                                     raw_syscall3(SYS_mprotect, address, length, prot))
                           : PERFORM(raw, int, pkey_mprotect, (address, length, prot, key),
                                     raw_syscall4(SYS_pkey_mprotect, address, length, prot, key));
    uint64_t start = (uintptr_t)address;
    uint64_t end = page_end(start, length);
    if (!shim_watching_memory() || end <= start) {
        return result;
    }
    prot = prot_bits(prot);
    if (result == 0) {
        protected(start, end, prot, 0);
        if (key >= 0 && shim_polices(POLICY_RESCUE)) {
            police_spoil(here, start, end, LEDGER_ODD);
        }
        return result;
    }
    if ((start & ~shim.page_mask) == 0 && errno != EINVAL) {
        protected_in_part(start, end, prot);
    }
    if (errno == ENOMEM) {
        note(LEDGER_EVENT_PROTECT_REFUSED, shim_stack(here), start, length);
    }
    return result;
}

/* What a policy keeps is not mapped, as far as the program goes: "the kernel sets the protection of
 * the pages up to there", and answers ENOMEM. */
static APART int protect_below(const struct unwind_start *here, bool raw, void *address,
                               size_t length, int prot, int key)
{
    int result = length == 0 ? 0 : plain_mprotect(here, raw, address, length, prot, key);
    if (result == 0) {
        errno = ENOMEM;
    }
    return -1;
}

int shim_mprotect(const struct unwind_start *here, bool raw, void *address, size_t length, int prot,
                  int key)
{
    if (shim_polices(POLICY_LIMIT) &&
        police_refuses_split(here, (uintptr_t)address, page_end((uintptr_t)address, length),
                             prot_bits(prot))) {
        return -1;
    }
    if (shim_polices(POLICY_RESCUE) && rescue_any()) {
        uint64_t start = (uintptr_t)address;
        uint64_t end = page_end(start, length);
        bool valid = (start & ~shim.page_mask) == 0 && start < end;
        uint64_t first = valid ? rescue_first(start, end) : end;
        if (first < end) {
            return protect_below(here, raw, address, first - start, prot, key);
        }
    }
    return plain_mprotect(here, raw, address, length, prot, key);
}

EXPORT int mprotect(void *address, size_t length, int prot)
{
    return shim_mprotect(HERE, false, address, length, prot, -2);
}

EXPORT int pkey_mprotect(void *address, size_t length, int prot, int key)
{
    return shim_mprotect(HERE, false, address, length, prot, key);
}

/* Advice that leaves the VMA as it is; any other may split it, and stays with it. */
static bool is_passing(int advice)
{
    switch (advice) {
    case MADV_WILLNEED:
    case MADV_DONTNEED:
    case MADV_FREE:
    case MADV_REMOVE:
    case MADV_COLD:
    case MADV_PAGEOUT:
    case MADV_POPULATE_READ:
    case MADV_POPULATE_WRITE:
    case MADV_DONTNEED_LOCKED:
    case MADV_COLLAPSE:
        return true;
    default:
        return false;
    }
}

/* madvise.2: EAGAIN, "a kernel resource was temporarily unavailable", is what a VMA too many comes
 * to. ENOMEM is a hole, unless there is none. */
static APART void advice_refused(const struct unwind_start *here, void *address, size_t length)
{
    int error = errno;
    uint64_t start = (uintptr_t)address;
    uint64_t end = page_end(start, length);
    if (error == EAGAIN || (error == ENOMEM && start < end && shim_actor()->may_grow &&
                            is_mapped(start, end - start))) {
        note(LEDGER_EVENT_ADVICE_REFUSED, shim_stack(here), start, length);
    }
}

int shim_madvise(const struct unwind_start *here, bool raw, void *address, size_t length,
                 int advice)
{
    int result = PERFORM(raw, int, madvise, (address, length, advice),
                         raw_syscall3(SYS_madvise, address, length, advice));
    if (is_passing(advice) || !shim_watching_memory()) {
        return result;
    }
    if (result != 0) {
        advice_refused(here, address, length);
    } else if (shim_polices(POLICY_RESCUE) && length != 0) {
        police_spoil(here, (uintptr_t)address, page_end((uintptr_t)address, length), LEDGER_ODD);
    }
    return result;
}

EXPORT int madvise(void *address, size_t length, int advice)
{
    return shim_madvise(HERE, false, address, length, advice);
}

/* shmat.2. How large the segment is only the kernel knows: the one call that the program did not
 * ask for, and none in a thread that may have a filter. */
static size_t segment_size(int id)
{
    struct shmid_ds segment;
    if (!shim_actor()->may_grow || raw_failed(raw_syscall3(SYS_shmctl, id, IPC_STAT, &segment))) {
        return 1;
    }
    return segment.shm_segsz;
}

void *shim_shmat(const struct unwind_start *here, bool raw, int id, const void *address, int flags)
{
    if (shim_polices(POLICY_LIMIT) && shim_watching_memory() &&
        police_refuses_bytes(here, page_end(0, segment_size(id)))) {
        return (void *)-1;
    }
    if (shim_polices(POLICY_RESCUE) && rescue_any() && (flags & SHM_REMAP) &&
        !police_shmat(here, (uintptr_t)address, page_end((uintptr_t)address, segment_size(id)))) {
        errno = ENOMEM;
        return (void *)-1;
    }
    void *result = PERFORM(raw, void *, shmat, (id, address, flags),
                           raw_syscall3(SYS_shmat, id, address, flags));
    if (!shim_watching_memory()) {
        return result;
    }
    if (result != (void *)-1) {
        uint64_t start = (uintptr_t)result;
        uint64_t end = page_end(start, segment_size(id));
        mapped(start, end,
               &(struct mapping){.stack = shim_stack(here),
                                 .detail = (uint32_t)((end - start) / 4096),
                                 .flags = LEDGER_SHM_MAP | LEDGER_SHARED_MAP,
                                 .prot = flags & SHM_RDONLY ? PROT_READ : PROT_READ | PROT_WRITE,
                                 .fixed = (flags & SHM_REMAP) != 0});
        return result;
    }
    if ((flags & SHM_REMAP) && ((uintptr_t)address & ~shim.page_mask) == 0) {
        struct flight flight =
            fly((uintptr_t)address, page_end((uintptr_t)address, segment_size(id)), 0, 0);
        ask_kernel(&flight); /* what was there may be gone all the same */
    }
    if (errno == ENOMEM) {
        note(LEDGER_EVENT_MAP_REFUSED, shim_stack(here), (uintptr_t)address, 0);
    }
    return result;
}

EXPORT void *shmat(int id, const void *address, int flags)
{
    return shim_shmat(HERE, false, id, address, flags);
}

/* shmdt.2: names the first byte; the ledger knows how far the segment goes. */
int shim_shmdt(const struct unwind_start *here, bool raw, const void *address)
{
    bool watching = shim_watching_memory();
    struct flight flight;
    if (watching) {
        flight = fly((uintptr_t)address, UINT64_MAX, shim_stack(here), LEDGER_SHM_MAP);
    }
    int result = PERFORM(raw, int, shmdt, (address), raw_syscall1(SYS_shmdt, address));
    if (watching) {
        finish(&flight, result == 0 ? LEDGER_MAP_COMMIT : LEDGER_MAP_ROLLBACK);
    }
    return result;
}

EXPORT int shmdt(const void *address)
{
    return shim_shmdt(HERE, false, address);
}
