/*
 * memory.c: where the ledger and its writer's tables live.
 *
 * The shim holds no descriptor, and later may not be able to open one: a ledger grows by mremap(2),
 * which lengthens the mapping of a file as it does any other; where its place is taken, an old size
 * of 0 maps the same file again elsewhere, at the same offset and longer.
 * It lies in a window of addresses of its own: a program that unmaps a range and maps fixed into it
 * later (allocators, emulators) may count on the kernel to leave that hole alone only as long as
 * nobody in its process asks for memory. One growing mapping is also one VMA.
 * Every piece, or of a chunk what is needed, is made real (MADV_POPULATE_WRITE) before it is used,
 * so that a full tmpfs is an error here and not a SIGBUS later. Nothing is reserved ahead, nothing
 * is ever given back.
 */
#include <fcntl.h>
#include <linux/mman.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "shim.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* asm-generic/mman-common.h, Linux 4.17; a hint before */
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* include/uapi/asm-generic/mman-common.h, Linux 5.14 */
#endif

#define PIECES 1024u /* of the arena: 256 KiB each, for several million mappings */
/* Where the kernel cannot make pages of a file real one by one, a file that we create ourselves
 * is written in full at once, and that is all it will hold. */
#define OLD_KERNEL_FILE_CHUNKS 16u

/* Where nobody else maps: between the heap of a position-independent program and the top-down
 * area, in the one part of that which all sanitizers leave to programs (ThreadSanitizer ends a
 * program that has a mapping elsewhere). A wish: where it cannot be had the kernel chooses. */
#if defined(__x86_64__)
#define WINDOW UINT64_C(0x7e8000000000)
#else
#define WINDOW UINT64_C(0x680000000000)
#endif
#define WINDOW_LEDGER_SIZE (UINT64_C(8) << 30) /* room for LEDGER_MAX_CHUNKS; then the arena */

struct memory {
    struct ledger_backing backing; /* first */
    bool shared;
    uint32_t chunk_limit;
    uint64_t window; /* where the arena's next piece may lie */
    uint8_t *base;
    uint8_t *end;                      /* of the base and the chunks that lie right behind it */
    uint8_t *chunk[LEDGER_MAX_CHUNKS]; /* of the file, as mapped: published by one store each */
    uint32_t real[LEDGER_MAX_CHUNKS];  /* bytes of each, from its start */
    uint32_t pieces;
    struct {
        void *start;
        size_t size;
    } piece[PIECES];
};

/* process-global because the process has one ledger */
static struct memory memory;

/* At `wish` if that is free, else where the kernel likes. `fd` -1: private and anonymous. */
static void *map_at(uint64_t wish, size_t size, int fd)
{
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    long result = raw_syscall6(SYS_mmap, (long)wish, (long)size, PROT_READ | PROT_WRITE,
                               flags | MAP_FIXED_NOREPLACE, fd, 0);
    if (raw_failed(result)) {
        result = raw_syscall6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, flags, fd, 0);
    }
    return raw_failed(result) ? NULL : (void *)result;
}

static void *map_private(size_t size)
{
    return map_at(__atomic_fetch_add(&memory.window, size, __ATOMIC_RELAXED), size, -1);
}

/* Keeps a piece out of forks and core files. */
static void set_apart(void *start, size_t size)
{
    raw_syscall3(SYS_madvise, start, size, MADV_DONTFORK);
    raw_syscall3(SYS_madvise, start, size, MADV_DONTDUMP);
}

static bool make_real(uint8_t *start, size_t size)
{
    if (FAULT(grows_blindly)) {
        return true;
    }
    long result = raw_syscall3(SYS_madvise, start, size, MADV_POPULATE_WRITE);
    if (result == -EINVAL) { /* before Linux 5.14 */
        for (size_t at = 0; at < size; at += 4096) {
            __atomic_fetch_add(start + at, 0, __ATOMIC_RELAXED);
        }
        return true;
    }
    return !raw_failed(result);
}

/* Maps the file from the nearest piece before chunk `number` on, and lets go of all but the end
 * of that. */
static void *map_chunk_of_file(uint32_t number)
{
    uint8_t *before = memory.base;
    size_t size = LEDGER_BASE_SIZE + (size_t)number * LEDGER_CHUNK_SIZE;
    for (uint32_t i = number; i-- > 0;) {
        uint8_t *piece = __atomic_load_n(&memory.chunk[i], __ATOMIC_ACQUIRE);
        if (piece) {
            before = piece;
            size = (size_t)(number - i) * LEDGER_CHUNK_SIZE;
            break;
        }
    }
    long all = raw_syscall4(SYS_mremap, before, 0, size + LEDGER_CHUNK_SIZE, MREMAP_MAYMOVE);
    if (raw_failed(all)) {
        return NULL;
    }
    raw_syscall2(SYS_munmap, all, size);
    return (uint8_t *)all + size;
}

/* Lengthens the mapping that starts with the base, up to `end`. */
static bool extend(uint8_t *end)
{
    uint8_t *now = __atomic_load_n(&memory.end, __ATOMIC_ACQUIRE);
    size_t page = ~shim.page_mask + 1;
    if (now < end) {
        long result = raw_syscall4(SYS_mremap, now - page, page, (size_t)(end - now) + page, 0);
        if (raw_failed(result)) { /* no room there, or another thread was first */
            return __atomic_load_n(&memory.end, __ATOMIC_ACQUIRE) >= end;
        }
    }
    while (now < end && !__atomic_compare_exchange_n(&memory.end, &now, end, true, __ATOMIC_ACQ_REL,
                                                     __ATOMIC_ACQUIRE)) {
    }
    return true;
}

static void *chunk(struct ledger_backing *self, uint32_t number)
{
    (void)self;
    if (number >= memory.chunk_limit) {
        return NULL;
    }
    if (memory.chunk[number]) {
        return memory.chunk[number];
    }
    uint8_t *start = memory.base + LEDGER_BASE_SIZE + (size_t)number * LEDGER_CHUNK_SIZE;
    if (!extend(start + LEDGER_CHUNK_SIZE)) {
        start = memory.shared ? map_chunk_of_file(number) : map_private(LEDGER_CHUNK_SIZE);
        if (start) {
            set_apart(start, LEDGER_CHUNK_SIZE);
        }
    }
    if (start) {
        __atomic_store_n(&memory.chunk[number], start, __ATOMIC_RELEASE);
    }
    return start;
}

static bool make_chunk_real(struct ledger_backing *self, const void *chunk_start, size_t bytes)
{
    (void)self;
    uint32_t number = 0;
    while (memory.chunk[number] != chunk_start) {
        number++;
    }
    uint32_t *real = &memory.real[number];
    uint32_t wanted = (uint32_t)((bytes + ~shim.page_mask) & shim.page_mask);
    uint32_t old = __atomic_load_n(real, __ATOMIC_ACQUIRE);
    if (old < wanted && !make_real(memory.chunk[number] + old, wanted - old)) {
        return false;
    }
    while (old < wanted && !__atomic_compare_exchange_n(real, &old, wanted, true, __ATOMIC_RELEASE,
                                                        __ATOMIC_ACQUIRE)) {
    }
    return true;
}

static void *arena(struct ledger_backing *self, size_t bytes)
{
    (void)self;
    if (memory.pieces == PIECES) {
        return NULL;
    }
    void *start = map_private(bytes);
    if (start) {
        set_apart(start, bytes);
        memory.piece[memory.pieces].start = start;
        memory.piece[memory.pieces].size = bytes;
        memory.pieces++;
    }
    return start;
}

/* How many chunks a file may grow to under RLIMIT_FSIZE, and the file so long (but empty). */
static uint32_t lengthen(int fd)
{
    struct rlimit64 limit;
    uint64_t size = LEDGER_BASE_SIZE + (uint64_t)LEDGER_MAX_CHUNKS * LEDGER_CHUNK_SIZE;
    if (raw_syscall4(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, &limit) == 0 && limit.rlim_cur < size) {
        size = limit.rlim_cur; /* past it, ftruncate is a SIGXFSZ */
    }
    if (size < LEDGER_BASE_SIZE || raw_failed(raw_syscall2(SYS_ftruncate, fd, size))) {
        return UINT32_MAX;
    }
    return (uint32_t)((size - LEDGER_BASE_SIZE) / LEDGER_CHUNK_SIZE);
}

/* Another file may have come to the place of a ledger that is gone: nothing of it is ours to write
 * to. (Where the command ended and its number is somebody else's, say, and the program execs.) */
static bool is_ledger(int fd)
{
    char magic[sizeof(((struct ledger_header *)NULL)->magic)];
    return raw_syscall4(SYS_pread64, fd, magic, sizeof(magic), 0) == (long)sizeof(magic) &&
           memcmp(magic, LEDGER_MAGIC, sizeof(magic)) == 0;
}

static bool kernel_populates(void *base)
{
    return raw_syscall3(SYS_madvise, base, 4096, MADV_POPULATE_WRITE) != -EINVAL;
}

/* The base of an open file, mapped and real. */
static void *map_file(int fd, bool created, const char **problem)
{
    struct stat status;
    memory.chunk_limit = created ? lengthen(fd) : 0;
    if (memory.chunk_limit == UINT32_MAX) {
        *problem = "cannot be made large enough (no space, or RLIMIT_FSIZE)";
        return NULL;
    }
    if (raw_failed(raw_syscall2(SYS_fstat, fd, &status)) || !S_ISREG(status.st_mode) ||
        status.st_size < (off_t)LEDGER_BASE_SIZE || (!created && !is_ledger(fd))) {
        *problem = "is not a ledger";
        return NULL;
    }
    if (!created) {
        memory.chunk_limit =
            (uint32_t)((uint64_t)(status.st_size - (off_t)LEDGER_BASE_SIZE) / LEDGER_CHUNK_SIZE);
    }
    void *base = map_at(memory.window - WINDOW_LEDGER_SIZE, LEDGER_BASE_SIZE, fd);
    if (!base) {
        *problem = "cannot be mapped";
        return NULL;
    }
    if (created && !kernel_populates(base)) {
        uint64_t all = LEDGER_BASE_SIZE + (uint64_t)OLD_KERNEL_FILE_CHUNKS * LEDGER_CHUNK_SIZE;
        memory.chunk_limit =
            raw_failed(raw_syscall4(SYS_fallocate, fd, 0, 0, all)) ? 0 : OLD_KERNEL_FILE_CHUNKS;
    }
    if (!make_real(base, LEDGER_BASE_SIZE)) {
        raw_syscall2(SYS_munmap, base, LEDGER_BASE_SIZE);
        *problem = "has no space";
        return NULL;
    }
    return base;
}

static void *open_file(const char *path, enum shim_ledger_place place, const char **problem)
{
    bool create = place == SHIM_LEDGER_CREATED;
    int flags = create ? O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC : O_RDWR | O_CLOEXEC;
    long fd = raw_syscall4(SYS_openat, AT_FDCWD, path, flags, 0600);
    if (raw_failed(fd)) {
        *problem = fd == -EEXIST || fd == -ELOOP ? "exists already"
                   : create                      ? "cannot be created"
                                                 : "cannot be opened";
        return NULL;
    }
    void *base = map_file((int)fd, create, problem);
    raw_syscall1(SYS_close, fd);
    if (!base && create) {
        raw_syscall3(SYS_unlinkat, AT_FDCWD, path, 0);
    }
    return base;
}

void *shim_memory_open(const char *path, enum shim_ledger_place place, const char **problem)
{
    memory.backing.chunk = chunk;
    memory.backing.make_real = make_chunk_real;
    memory.backing.arena = arena;
    memory.shared = place != SHIM_LEDGER_ANONYMOUS;
    memory.pieces = 0;
    memory.window = WINDOW + ((shim.main_stack_top >> 12 & 0x3fff) << 24) + WINDOW_LEDGER_SIZE;
    void *base;
    if (memory.shared) {
        base = open_file(path, place, problem);
    } else {
        memory.chunk_limit = LEDGER_MAX_CHUNKS;
        base = map_at(memory.window - WINDOW_LEDGER_SIZE, LEDGER_BASE_SIZE, -1);
        *problem = base ? NULL : "no memory for it";
    }
    if (base) {
        set_apart(base, LEDGER_BASE_SIZE);
        memory.base = base;
        memory.end = (uint8_t *)base + LEDGER_BASE_SIZE;
        for (uint32_t i = 0; i < LEDGER_MAX_CHUNKS; i++) {
            memory.chunk[i] = NULL; /* the parent's, in a child that --follow wants */
            memory.real[i] = 0;
        }
    }
    return base;
}

struct ledger_backing *shim_memory_backing(void)
{
    return &memory.backing;
}

static void for_every_piece(void (*do_it)(void *start, size_t size, size_t real))
{
    do_it(memory.base, LEDGER_BASE_SIZE, LEDGER_BASE_SIZE);
    for (uint32_t i = 0; i < LEDGER_MAX_CHUNKS; i++) {
        if (memory.chunk[i]) {
            do_it(memory.chunk[i], LEDGER_CHUNK_SIZE, memory.real[i]);
        }
    }
    for (uint32_t i = 0; i < memory.pieces; i++) {
        do_it(memory.piece[i].start, memory.piece[i].size, memory.piece[i].size);
    }
}

static void let_fork(void *start, size_t size, size_t real)
{
    (void)real;
    raw_syscall3(SYS_madvise, start, size, MADV_DOFORK);
}

static void keep_from_fork(void *start, size_t size, size_t real)
{
    (void)real;
    raw_syscall3(SYS_madvise, start, size, MADV_DONTFORK);
}

static void make_private(void *start, size_t size, size_t real)
{
    uint8_t *copy = map_private(size);
    if (!copy) {
        return;
    }
    for (size_t i = 0; i < real; i += sizeof(uint64_t)) { /* no page is there beyond */
        *(uint64_t *)(copy + i) = *(volatile uint64_t *)((uint8_t *)start + i);
    }
    raw_syscall5(SYS_mremap, copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, start);
}

void shim_memory_before_fork(void)
{
    for_every_piece(let_fork);
}

void shim_memory_after_fork_parent(void)
{
    for_every_piece(keep_from_fork);
}

void shim_memory_after_fork_child(void)
{
    if (memory.shared) {
        for_every_piece(make_private);
    }
}
