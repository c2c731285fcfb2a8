/*
 * wrap_mappings.c: calls that map, unmap, move and protect memory.
 *
 * Each follows its section-2 manual page. What releases leaves the ledger as "in flight" before
 * the call and is committed or rolled back after it; where the kernel may have done half of it
 * (a fixed mmap or mremap that failed), the kernel is asked page by page.
 */
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include "calls.h"
#include "wrap.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* asm-generic/mman-common.h, Linux 4.17 */
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4 /* linux/mman.h, Linux 5.7 */
#endif

static uint64_t page_end(uintptr_t address, size_t length)
{
    return ((uint64_t)address + length + ~shim.page_mask) & shim.page_mask;
}

static struct ledger_map_event event_of(enum ledger_map_op op, uint64_t start, uint64_t end)
{
    return (struct ledger_map_event){.op = (uint8_t)op, .start = start, .end = end};
}

static void submit(const struct ledger_map_event *event)
{
    struct ledger_actor *actor = shim_actor();
    ledger_enter(&shim.ledger, actor);
    ledger_map_submit(&shim.ledger, actor, event);
}

/* Puts [start, end) in flight; the event is the one to commit or roll back. */
static struct ledger_map_event fly(uint64_t start, uint64_t end, uint32_t stack)
{
    struct ledger_map_event event = event_of(LEDGER_MAP_FLY, start, end);
    event.ticket = ledger_ticket(&shim.ledger);
    event.stack = stack;
    submit(&event);
    return event;
}

static void finish(struct ledger_map_event *flight, enum ledger_map_op op)
{
    flight->op = (uint8_t)op;
    submit(flight);
}

/* What of a flight is still mapped after a call that failed? msync(MS_ASYNC) answers ENOMEM for a
 * range with a hole and does nothing else. Not in a thread that may have a filter: then all of it
 * counts as held, and readers ask. */
static void ask_kernel(struct ledger_map_event *flight)
{
    uint64_t page = ~shim.page_mask + 1;
    uint64_t size = flight->end - flight->start;
    if (FAULT(kernel_not_asked)) {
        finish(flight, LEDGER_MAP_ROLLBACK);
        return;
    }
    if (!shim_actor()->may_grow ||
        raw_syscall3(SYS_msync, flight->start, size, MS_ASYNC) != -ENOMEM) {
        finish(flight, LEDGER_MAP_ROLLBACK);
        return;
    }
    for (uint64_t start = flight->start; start < flight->end; start += page) {
        struct ledger_map_event part = *flight;
        part.start = start;
        part.end = start + page;
        bool mapped = raw_syscall3(SYS_msync, start, page, MS_ASYNC) != -ENOMEM;
        part.op = LEDGER_MAP_FLY; /* again, to make its ends boundaries */
        submit(&part);
        finish(&part, mapped ? LEDGER_MAP_ROLLBACK : LEDGER_MAP_COMMIT);
    }
}

static void note(enum ledger_event_kind kind, uint32_t stack, uintptr_t start, size_t bytes)
{
    ledger_note(&shim.ledger, shim_actor(), kind, errno, stack, 0, start, bytes, shim_now());
}

static struct ledger_map_event insertion(uint64_t start, uint64_t end, uint32_t stack)
{
    struct ledger_map_event event = event_of(LEDGER_MAP_INSERT, start, end);
    event.stack = stack;
    event.tid = shim_actor()->tid;
    event.now_ns = shim_now();
    event.ticket = ledger_ticket(&shim.ledger);
    return event;
}

static void mapped(uint64_t start, uint64_t end, int prot, unsigned flags, uint32_t detail,
                   uint32_t stack, bool fixed)
{
    struct ledger_map_event event = insertion(start, end, stack);
    event.prot = (uint8_t)prot;
    event.flags = (uint16_t)flags;
    event.detail = detail;
    event.fixed = fixed;
    submit(&event);
}

static unsigned flags_of_map(int flags)
{
    unsigned result = 0;
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

/* mmap.2 */
void *shim_mmap(const struct unwind_start *here, bool raw, void *address, size_t length, int prot,
                int flags, int fd, int64_t offset)
{
    bool watching = shim_watching_memory();
    bool over = watching && (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) == MAP_FIXED &&
                ((uintptr_t)address & ~shim.page_mask) == 0 && length != 0;
    struct ledger_map_event flight;
    if (unlikely(over)) {
        flight = fly((uintptr_t)address, page_end((uintptr_t)address, length), 0);
    }
    void *result =
        PERFORM(raw, void *, mmap, (address, length, prot, flags, fd, offset),
                raw_syscall6(SYS_mmap, RAW_ARG(address), RAW_ARG(length), prot, flags, fd, offset));
    if (!watching) {
        return result;
    }
    if (likely(result != MAP_FAILED)) {
        uint32_t stack = shim_stack(here);
        bool file = !(flags & MAP_ANONYMOUS);
        if (file && shim_watching()) {
            shim_fd_named(here, fd);
        }
        mapped((uintptr_t)result, page_end((uintptr_t)result, length),
               prot & (PROT_READ | PROT_WRITE | PROT_EXEC), flags_of_map(flags),
               file ? (uint32_t)fd + 1 : 0, stack, over);
        return result;
    }
    if (over) {
        ask_kernel(&flight);
    }
    if (errno == ENOMEM) {
        note(LEDGER_EVENT_MAP_REFUSED, shim_stack(here), 0, length);
    }
    return result;
}

EXPORT void *mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset)
{
    return shim_mmap(HERE, false, address, length, prot, flags, fd, offset);
}

EXPORT void *mmap64(void *address, size_t length, int prot, int flags, int fd, off64_t offset)
{
    return shim_mmap(HERE, false, address, length, prot, flags, fd, offset);
}

/* munmap.2: "Linux may ... ENOMEM ... when unmapping a region in the middle of an existing
 * mapping": then nothing was unmapped. */
int shim_munmap(const struct unwind_start *here, bool raw, void *address, size_t length)
{
    bool watching = shim_watching_memory() && ((uintptr_t)address & ~shim.page_mask) == 0 &&
                    length != 0 && (uintptr_t)address + length > (uintptr_t)address;
    struct ledger_map_event flight;
    if (likely(watching)) {
        flight = fly((uintptr_t)address, page_end((uintptr_t)address, length), shim_stack(here));
    }
    int result =
        PERFORM(raw, int, munmap, (address, length), raw_syscall2(SYS_munmap, address, length));
    if (likely(watching)) {
        bool gone = likely(result == 0) || FAULT(unmap_not_put_back);
        finish(&flight, gone ? LEDGER_MAP_COMMIT : LEDGER_MAP_ROLLBACK);
        if (unlikely(result != 0)) {
            note(LEDGER_EVENT_UNMAP_REFUSED, flight.stack, (uintptr_t)address, length);
        }
    }
    return result;
}

EXPORT int munmap(void *address, size_t length)
{
    return shim_munmap(HERE, false, address, length);
}

static bool is_mapped(uint64_t page)
{
    return raw_syscall3(SYS_msync, page, ~shim.page_mask + 1, MS_ASYNC) != -ENOMEM;
}

/* Since Linux 6.17 mremap moves several VMAs at once, and stops at the first that it cannot: what
 * is gone at the old place and there at the new one was moved all the same. */
static void moved_in_part(const struct ledger_map_event *flight, uint64_t to, bool keep_old)
{
    uint64_t page = ~shim.page_mask + 1;
    if (!shim_actor()->may_grow ||
        (!keep_old &&
         raw_syscall3(SYS_msync, flight->start, flight->end - flight->start, MS_ASYNC) == 0)) {
        return;
    }
    for (uint64_t start = flight->start; start < flight->end; start += page) {
        uint64_t place = to + (start - flight->start);
        if (!is_mapped(place)) {
            continue;
        }
        if (keep_old) { /* what is there and was not recorded is a copy */
            struct ledger_map_event copy = insertion(place, place + page, flight->stack);
            copy.to_start = start;
            copy.keep_old = true;
            copy.flags = LEDGER_UNSURE;
            submit(&copy);
            continue;
        }
        if (is_mapped(start)) {
            continue;
        }
        struct ledger_map_event part = *flight;
        part.start = start;
        part.end = start + page;
        submit(&part); /* a flight once more, to make its ends boundaries */
        part.to_start = place;
        part.to_end = place + page;
        part.fixed = true;
        part.new_ticket = ledger_ticket(&shim.ledger);
        finish(&part, LEDGER_MAP_MOVE);
    }
}

/* mremap.2 */
static void remapped(struct ledger_map_event *flight, uint32_t target, void *result,
                     size_t old_size, size_t new_size, int flags, uint32_t stack)
{
    uint64_t start = (uintptr_t)result;
    uint64_t end = page_end((uintptr_t)result, new_size);
    if (old_size == 0) { /* a shared mapping, mapped once more */
        struct ledger_map_event event = insertion(start, end, stack);
        event.to_start = flight->start;
        event.fixed = (flags & MREMAP_FIXED) != 0;
        event.flags = LEDGER_SHARED_MAP;
        submit(&event);
        return;
    }
    flight->to_start = start;
    flight->to_end = end;
    flight->fixed = (flags & MREMAP_FIXED) != 0;
    flight->keep_old = (flags & MREMAP_DONTUNMAP) != 0;
    flight->detail = target;
    flight->now_ns = shim_now();
    flight->new_ticket = ledger_ticket(&shim.ledger);
    finish(flight, LEDGER_MAP_MOVE);
}

void *shim_mremap(const struct unwind_start *here, bool raw, void *old, size_t old_size,
                  size_t new_size, int flags, void *new_address)
{
    bool watching = shim_watching_memory() && ((uintptr_t)old & ~shim.page_mask) == 0 &&
                    new_size != 0 && (uintptr_t)old + old_size >= (uintptr_t)old;
    bool over =
        watching && (flags & MREMAP_FIXED) != 0 && ((uintptr_t)new_address & ~shim.page_mask) == 0;
    struct ledger_map_event flight = {0};
    struct ledger_map_event target = {0};
    uint32_t stack = 0;
    if (watching) {
        stack = shim_stack(here);
        flight = fly((uintptr_t)old, page_end((uintptr_t)old, old_size), stack);
    }
    if (over) {
        target = fly((uintptr_t)new_address, page_end((uintptr_t)new_address, new_size), stack);
    }
    void *result = PERFORM(raw, void *, mremap, (old, old_size, new_size, flags, new_address),
                           raw_syscall5(SYS_mremap, old, old_size, new_size, flags, new_address));
    if (!watching) {
        return result;
    }
    if (result != MAP_FAILED) {
        remapped(&flight, over ? (uint32_t)target.ticket : 0, result, old_size, new_size, flags,
                 stack);
        return result;
    }
    int error = errno;
    if (over) {
        moved_in_part(&flight, (uintptr_t)new_address, (flags & MREMAP_DONTUNMAP) != 0);
        ask_kernel(&target);
    }
    if (over || error == EFAULT) {
        ask_kernel(&flight);
    } else {
        finish(&flight, LEDGER_MAP_ROLLBACK);
    }
    if (error == ENOMEM) {
        note(LEDGER_EVENT_REMAP_REFUSED, stack, (uintptr_t)old, new_size);
    }
    return result;
}

EXPORT void *mremap(void *old, size_t old_size, size_t new_size, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    void *new_address = va_arg(list, void *); /* whatever is there, where no flag asks for it */
    va_end(list);
    return shim_mremap(HERE, false, old, old_size, new_size, flags, new_address);
}

static void protected(uint64_t start, uint64_t end, int prot, unsigned flags)
{
    struct ledger_map_event event = event_of(LEDGER_MAP_PROTECT, start, end);
    event.prot = (uint8_t)prot;
    event.flags = (uint16_t)flags;
    event.ticket = ledger_ticket(&shim.ledger);
    if (start < end) {
        submit(&event);
    }
}

/* The kernel goes from VMA to VMA until one refuses. ENOMEM because of a hole: everything below it
 * has the new protection. Otherwise (too many VMAs, a file that may not be written) nobody can tell
 * how far it came. */
static void protected_in_part(uint64_t start, uint64_t end, int prot)
{
    uint64_t page = ~shim.page_mask + 1;
    uint64_t hole = start;
    if (errno != ENOMEM || !shim_actor()->may_grow ||
        raw_syscall3(SYS_msync, start, end - start, MS_ASYNC) == 0) {
        protected(start, end, prot, LEDGER_UNSURE);
        return;
    }
    while (hole < end && raw_syscall3(SYS_msync, hole, page, MS_ASYNC) == 0) {
        hole += page;
    }
    protected(start, hole, prot, 0);
    struct ledger_map_event flight = fly(hole, end, 0);
    ask_kernel(&flight);
}

/* mprotect.2, pkey_mprotect.2. `key` -2: mprotect. */
int shim_mprotect(const struct unwind_start *here, bool raw, void *address, size_t length, int prot,
                  int key)
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
    prot &= PROT_READ | PROT_WRITE | PROT_EXEC; /* without PROT_GROWSDOWN and its kin */
    if (result == 0) {
        protected(start, end, prot, 0);
        return result;
    }
    if ((start & ~shim.page_mask) == 0 && (errno == ENOMEM || errno == EACCES)) {
        protected_in_part(start, end, prot);
    }
    if (errno == ENOMEM) {
        note(LEDGER_EVENT_PROTECT_REFUSED, shim_stack(here), start, length);
    }
    return result;
}

EXPORT int mprotect(void *address, size_t length, int prot)
{
    return shim_mprotect(HERE, false, address, length, prot, -2);
}

EXPORT int pkey_mprotect(void *address, size_t length, int prot, int key)
{
    return shim_mprotect(HERE, false, address, length, prot, key);
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
    void *result = PERFORM(raw, void *, shmat, (id, address, flags),
                           raw_syscall3(SYS_shmat, id, address, flags));
    if (!shim_watching_memory()) {
        return result;
    }
    if (result != (void *)-1) {
        uint64_t start = (uintptr_t)result;
        uint64_t end = page_end(start, segment_size(id));
        mapped(start, end, flags & SHM_RDONLY ? PROT_READ : PROT_READ | PROT_WRITE,
               LEDGER_SHM_MAP | LEDGER_SHARED_MAP, (uint32_t)((end - start) / 4096),
               shim_stack(here), (flags & SHM_REMAP) != 0);
    } else if (errno == ENOMEM) {
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
    struct ledger_map_event flight;
    if (watching) {
        flight = event_of(LEDGER_MAP_FLY, (uintptr_t)address, UINT64_MAX);
        flight.flags = LEDGER_SHM_MAP;
        flight.ticket = ledger_ticket(&shim.ledger);
        flight.stack = shim_stack(here);
        submit(&flight);
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
