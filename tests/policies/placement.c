/*
 * placement.c: where a sandbox's mappings go, and what may not change by that.
 *
 *   placement LEDGER places          where: windows, rooms, holes, what is left behind
 *   placement LEDGER asked           what the caller asks for is what it gets
 *   placement LEDGER plain           the same without placement
 *   placement LEDGER storm           threads of one sandbox, and of many, all at once
 *   placement LEDGER filter          in a thread with a filter
 *   placement LEDGER memory          under RLIMIT_AS: prints how much could be mapped
 *   placement LEDGER first           prints where the first mapping is
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../system/system.h"
#include "boxledger.h"

enum {
    VMAS_MAX = 70000,
    ANON = MAP_PRIVATE | MAP_ANONYMOUS,
    LAZY = ANON | MAP_NORESERVE,
    MANY = 9000, /* owners: more than the ledger remembers, so that records are used again */
    STORM_THREADS = 8,
    STORM_HOLDS = 64,
    STORM_TURNS = 20000,
    KEPT_APART = 1 << 20, /* two sandboxes' nearest mappings */
};
#define HUGE_SIZE (2ul << 20)
#define MIB (1ul << 20)

static struct kernel_range *ranges;
static bool plain; /* without placement */

static boxledger_owner begin(void)
{
    boxledger_owner owner = boxledger_begin("placed");
    check(owner != 0, "boxledger_begin");
    return owner;
}

static char *map(size_t bytes, int prot, int flags)
{
    errno = EDOM;
    char *result = mmap(NULL, bytes, prot, flags, -1, 0);
    check(result != MAP_FAILED, "mmap of %zu bytes: %s", bytes, strerror(errno));
    check(errno == EDOM, "mmap of %zu bytes succeeds and sets errno to %d", bytes, errno);
    return result;
}

static char *map_for(boxledger_owner owner, size_t bytes, int prot)
{
    boxledger_enter(owner);
    char *result = map(bytes, prot, LAZY);
    boxledger_leave(owner);
    return result;
}

static size_t between(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;
    return x < y ? y - x : x - y;
}

/* The VMA that an address lies in. */
static struct kernel_range vma_of(const void *address)
{
    long count = kernel_view_maps(ranges, VMAS_MAX);
    for (long i = 0; i < count; i++) {
        if (ranges[i].start <= (uintptr_t)address && (uintptr_t)address < ranges[i].end) {
            return ranges[i];
        }
    }
    return (struct kernel_range){0};
}

static bool alone(const void *start, size_t bytes)
{
    struct kernel_range vma = vma_of(start);
    return vma.start == (uintptr_t)start && vma.end == (uintptr_t)start + bytes;
}

/* --- places --- */

static void windows(void)
{
    const int data = PROT_READ | PROT_WRITE, code = PROT_READ | PROT_EXEC;
    boxledger_owner a = begin(), b = begin();
    char *own = map(PAGE, data, ANON);
    char *a1 = map_for(a, PAGE, data), *b1 = map_for(b, PAGE, data);
    char *a2 = map_for(a, PAGE, data), *b2 = map_for(b, PAGE, data);
    char *ac = map_for(a, PAGE, code), *bc = map_for(b, PAGE, code);
    char *a3 = map_for(a, 3 * PAGE, data);
    check(a2 == a1 + PAGE && a3 == a2 + PAGE && b2 == b1 + PAGE, "one's own are not neighbours");
    check(vma_of(a1).end == (uintptr_t)a3 + 3 * PAGE, "one's own are not merged");
    const char *all[] = {own, a1, b1, ac, bc};
    for (unsigned i = 0; i < 5; i++) {
        for (unsigned j = 0; j < i; j++) {
            check(between(all[i], all[j]) > KEPT_APART, "mappings %u and %u are neighbours", i, j);
        }
    }
    /* The lowest that is free comes first, and what is joined again is had again. */
    munmap(a1, PAGE);
    munmap(a3, PAGE);
    check(map_for(a, PAGE, data) == a1, "the lowest free page is not used");
    check(map_for(a, PAGE, data) == a3, "the next free page is not used");
    munmap(a3, 3 * PAGE);
    munmap(a2, PAGE);
    check(map_for(a, 4 * PAGE, data) == a2, "what was freed is not joined");
    munmap(a1, 5 * PAGE);
    check(map_for(a, PAGE, data) == a1, "an empty window does not start anew");
    munmap(a1, PAGE);
    munmap(ac, PAGE);
    munmap(b1, PAGE);
    munmap(b2, PAGE);
    munmap(bc, PAGE);
    munmap(own, PAGE);
    boxledger_end(a);
    boxledger_end(b);
}

static void large_ones(void)
{
    const size_t sizes[] = {HUGE_SIZE, 3 * MIB, 31 * MIB, 32 * MIB, 600 * MIB, 40 * MIB};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    boxledger_owner a = begin(), b = begin();
    char *of_a[COUNT], *of_b[COUNT], *first[COUNT];
    char *small = map_for(a, PAGE, PROT_READ);
    for (unsigned turn = 0; turn < 2; turn++) {
        for (unsigned i = 0; i < COUNT; i++) {
            of_a[i] = map_for(a, sizes[i], PROT_NONE);
            of_b[i] = map_for(b, sizes[i], PROT_NONE);
            check((uintptr_t)of_a[i] % HUGE_SIZE == 0 && (uintptr_t)of_b[i] % HUGE_SIZE == 0,
                  "%zu MiB are not aligned", sizes[i] / MIB);
            check(turn == 0 || of_a[i] == first[i], "%zu MiB do not find their place again",
                  sizes[i] / MIB);
            first[i] = of_a[i];
        }
        for (unsigned i = 3; i < COUNT; i++) {
            check(alone(of_a[i], sizes[i]) && alone(of_b[i], sizes[i]),
                  "%zu MiB are not a VMA of their own", sizes[i] / MIB);
        }
        for (unsigned i = 0; i < COUNT; i++) {
            check(munmap(of_a[i], sizes[i]) == 0 && munmap(of_b[i], sizes[i]) == 0, "munmap");
        }
    }
    /* More than one window's worth, in pieces. */
    enum { PIECES = 40 };
    char *piece[PIECES];
    char *other = map_for(b, PAGE, PROT_READ);
    for (unsigned i = 0; i < PIECES; i++) {
        piece[i] = map_for(a, 16 * MIB, PROT_READ);
        check(between(piece[i], other) > KEPT_APART, "piece %u is a stranger's neighbour", i);
    }
    for (unsigned i = 0; i < PIECES; i++) {
        munmap(piece[i], 16 * MIB);
    }
    munmap(other, PAGE);
    munmap(small, PAGE);
    boxledger_end(a);
    boxledger_end(b);
}

/* Whatever is in the way stays, and what comes goes around it. */
static void obstacles(void)
{
    boxledger_owner owner = begin();
    char *first = map_for(owner, PAGE, PROT_READ | PROT_WRITE);
    char *obstacle = (char *)raw(SYS_mmap, first + PAGE, 5 * PAGE, PROT_READ | PROT_WRITE,
                                 ANON | MAP_FIXED, -1, 0);
    memset(obstacle, 'o', 5 * PAGE);
    for (unsigned i = 0; i < 10; i++) {
        char *next = map_for(owner, PAGE, PROT_READ | PROT_WRITE);
        check(next + PAGE <= obstacle || next >= obstacle + 5 * PAGE, "mapped over something");
        memset(next, 'n', PAGE);
    }
    for (unsigned i = 0; i < 5 * PAGE; i++) {
        if (!check(obstacle[i] == 'o', "the obstacle has lost byte %u", i)) {
            break;
        }
    }
    /* The same before a large one. */
    char *large = map_for(owner, 40 * MIB, PROT_NONE);
    munmap(large, 40 * MIB);
    raw(SYS_mmap, large + MIB, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0);
    char *other = map_for(owner, 40 * MIB, PROT_NONE);
    check(other != large && between(other, large) > 40 * MIB, "a large one over an obstacle");
    raw(SYS_munmap, large + MIB, PAGE);
    munmap(other, 40 * MIB);
    /* A window that is unmapped twice, and what was never mapped, is no harm. */
    munmap(first, 64 * MIB);
    munmap(first, 64 * MIB);
    check(map_for(owner, PAGE, PROT_READ) != MAP_FAILED, "after all of that");
    boxledger_end(owner);
}

static void moved(void)
{
    boxledger_owner owner = begin();
    char *block = map_for(owner, 4 * PAGE, PROT_READ | PROT_WRITE);
    char *grown = mremap(block, 4 * PAGE, 16 * PAGE, 0);
    check(grown == block, "growth in place: %s", strerror(errno));
    char *next = map_for(owner, PAGE, PROT_READ | PROT_WRITE);
    check(next == block + 16 * PAGE, "what grew has no neighbour");
    check(mremap(block, 16 * PAGE, 2 * PAGE, 0) == block, "shrink");
    check(map_for(owner, PAGE, PROT_READ | PROT_WRITE) == block + 2 * PAGE, "what shrank left");
    block[0] = 'b';
    char *away = mremap(block, 2 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
    check(away != MAP_FAILED && away[0] == 'b', "a move: %s", strerror(errno));
    check(map_for(owner, 2 * PAGE, PROT_READ | PROT_WRITE) == block, "what was moved away left");
    boxledger_end(owner);
}

/* What an ended sandbox left is nobody's neighbour, however many come after it. */
static void left_behind(void)
{
    boxledger_owner gone = begin();
    char *kept = map_for(gone, PAGE, PROT_READ | PROT_WRITE);
    memset(kept, 'k', PAGE);
    boxledger_end(gone);
    for (unsigned i = 0; i < MANY; i++) {
        boxledger_owner owner = begin();
        char *page = map_for(owner, PAGE, PROT_READ | PROT_WRITE);
        if (!check(between(page, kept) > KEPT_APART, "sandbox %u is beside what was left", i)) {
            break;
        }
        check(munmap(page, PAGE) == 0 && boxledger_end(owner) == 0, "an end");
    }
    check(alone(kept, PAGE) && kept[0] == 'k' && kept[PAGE - 1] == 'k', "what was left changed");
}

static void places(void)
{
    windows();
    large_ones();
    obstacles();
    moved();
    left_behind();
    expect_exact("after all places");
}

/* --- what was asked for --- */

static void asked(void)
{
    boxledger_owner owner = begin();
    char *window = map_for(owner, PAGE, PROT_READ | PROT_WRITE);
    char *elsewhere = map(64 * PAGE, PROT_NONE, ANON);
    boxledger_enter(owner);
    munmap(elsewhere, 64 * PAGE);
    check(mmap(elsewhere, PAGE, PROT_READ, ANON, -1, 0) == elsewhere, "a hint is not taken");
    check(mmap(elsewhere + PAGE, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0) == elsewhere + PAGE,
          "MAP_FIXED");
    check(mmap(elsewhere + 2 * PAGE, PAGE, PROT_READ, ANON | MAP_FIXED_NOREPLACE, -1, 0) ==
              elsewhere + 2 * PAGE,
          "MAP_FIXED_NOREPLACE");
    check(mmap(elsewhere, PAGE, PROT_READ, ANON | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED &&
              errno == EEXIST,
          "MAP_FIXED_NOREPLACE over something: %s", strerror(errno));
    check(mmap(elsewhere, PAGE, PROT_READ, ANON, -1, 0) != elsewhere, "a hint over something");
#ifdef MAP_32BIT
    check((uintptr_t)map(PAGE, PROT_READ, ANON | MAP_32BIT) < 1ul << 32, "MAP_32BIT");
#endif
    char *stack = map(16 * PAGE, PROT_READ | PROT_WRITE, ANON | MAP_GROWSDOWN);
    check(between(stack, window) > KEPT_APART, "MAP_GROWSDOWN is in the window");
    munmap(stack, 16 * PAGE);

    /* Files, shared memory, and flags that know no others beside them. */
    int file = memfd_create("file", MFD_CLOEXEC);
    check(ftruncate(file, 4 * PAGE) == 0, "ftruncate");
    for (unsigned i = 0; i < 3; i++) {
        const int types[] = {MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE};
        char *mapped = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, types[i], file, 0);
        check(mapped != MAP_FAILED, "a file: %s", strerror(errno));
        check(plain || types[i] == MAP_SHARED_VALIDATE || mapped == window + PAGE,
              "a file is not in the window");
        mapped[0] = 'f';
        munmap(mapped, 4 * PAGE);
    }
    check(mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, file, 0) == MAP_FAILED &&
              errno == EOPNOTSUPP,
          "MAP_SYNC of no such file: %s", strerror(errno));

    /* Errors are the kernel's. */
    check(mmap(NULL, 0, PROT_READ, ANON, -1, 0) == MAP_FAILED && errno == EINVAL, "no length");
    check(mmap(NULL, PAGE, PROT_READ, 0, -1, 0) == MAP_FAILED && errno != EEXIST, "no type");
    check(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, -1, 0) == MAP_FAILED && errno == EBADF, "EBADF");
    check(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 1) == MAP_FAILED && errno == EINVAL,
          "an offset of 1");
    check(mmap(NULL, SIZE_MAX, PROT_READ, ANON, -1, 0) == MAP_FAILED && errno == ENOMEM,
          "all there is");
    check(mmap(NULL, 1ul << 47, PROT_NONE, LAZY, -1, 0) == MAP_FAILED && errno == ENOMEM,
          "128 TiB");
    errno = 0;
    char *huge = mmap(NULL, PAGE, PROT_READ, ANON | MAP_HUGETLB, -1, 0);
    check(huge != MAP_FAILED || errno == ENOMEM || errno == EINVAL || errno == EPERM,
          "MAP_HUGETLB: %s", strerror(errno));
    if (huge != MAP_FAILED) {
        check(munmap(huge, HUGE_SIZE) == 0, "munmap of a huge page");
    }
    boxledger_leave(owner);
    boxledger_end(owner);
    close(file);
    expect_exact("after all that was asked for");
}

static void asked_plain(void)
{
    plain = true;
    asked();
}

/* --- all at once --- */

struct held {
    unsigned *start;
    size_t bytes;
    unsigned mark;
};

static boxledger_owner shared_owner;

static bool is_marked(const struct held *held)
{
    for (size_t at = 0; at < held->bytes; at += PAGE) {
        if (held->start[at / sizeof *held->start] != held->mark) {
            return false;
        }
    }
    return true;
}

/* Maps and unmaps at random, and finds in every page what it has written there. */
static void *storm_thread(void *argument)
{
    unsigned self = (unsigned)(uintptr_t)argument, random = self * 7919u + 1;
    struct held held[STORM_HOLDS] = {0};
    bool own = self % 2;
    boxledger_owner owner = own ? begin() : shared_owner;
    boxledger_enter(owner);
    for (unsigned turn = 0; turn < STORM_TURNS; turn++) {
        random = random * 1664525u + 1013904223u;
        struct held *one = &held[random >> 16 & (STORM_HOLDS - 1)];
        if (one->start) {
            if (!check(is_marked(one), "another has written to a page of thread %u", self) ||
                !check(munmap(one->start, one->bytes) == 0, "munmap")) {
                break;
            }
            one->start = NULL;
            continue;
        }
        one->bytes = (1 + (random >> 24) % 8) * PAGE;
        one->mark = self << 24 | turn;
        void *start = mmap(NULL, one->bytes, PROT_READ | PROT_WRITE, ANON, -1, 0);
        if (!check(start != MAP_FAILED, "mmap: %s", strerror(errno))) {
            break;
        }
        one->start = start;
        for (size_t at = 0; at < one->bytes; at += PAGE) {
            one->start[at / sizeof *one->start] = one->mark;
        }
        if (own && turn % 1000 == 999) { /* another takes its windows over, bit by bit */
            boxledger_leave(owner);
            boxledger_end(owner);
            owner = begin();
            boxledger_enter(owner);
        }
    }
    for (unsigned i = 0; i < STORM_HOLDS; i++) {
        if (held[i].start) {
            munmap(held[i].start, held[i].bytes);
        }
    }
    boxledger_leave(owner);
    if (own) {
        boxledger_end(owner);
    }
    return NULL;
}

static void storm(void)
{
    pthread_t thread[STORM_THREADS];
    shared_owner = begin();
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        check(pthread_create(&thread[i], NULL, storm_thread, (void *)(uintptr_t)(i + 1)) == 0,
              "a thread");
    }
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        pthread_join(thread[i], NULL);
    }
    boxledger_end(shared_owner);
    expect_exact("after the storm");
}

/* --- elsewhere --- */

/* No call of ours that the program did not make, and none with other flags: both are killed. */
static void filter(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 16 + 3 * 8), /* seccomp_data.args[3] */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ANON, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof rules / sizeof *rules, rules};
    boxledger_owner owner = begin();
    boxledger_enter(owner);
    char *before = map(PAGE, PROT_READ | PROT_WRITE, ANON);
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        system_skip("no filter may be put on here");
    }
    char *after = map(PAGE, PROT_READ | PROT_WRITE, ANON);
    check(after == before + PAGE, "a thread with a filter has no window");
    munmap(before, 2 * PAGE);
    boxledger_leave(owner);
    boxledger_end(owner);
}

static void memory(void)
{
    struct rlimit limit = {1ul << 30, 1ul << 30};
    unsigned mib = 0;
    boxledger_owner owner = boxledger_begin("memory");
    check(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit");
    boxledger_enter(owner);
    while (mmap(NULL, MIB, PROT_NONE, LAZY, -1, 0) != MAP_FAILED) {
        mib++;
    }
    check(errno == ENOMEM, "%s", strerror(errno));
    boxledger_leave(owner);
    printf("%u\n", mib);
}

static void first(void)
{
    boxledger_owner owner = begin();
    printf("%p\n", (void *)map_for(owner, PAGE, PROT_READ));
    boxledger_end(owner);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } modes[] = {
        {"places", places}, {"asked", asked},   {"plain", asked_plain}, {"storm", storm},
        {"filter", filter}, {"memory", memory}, {"first", first},
    };
    system_start(argc, argv, 100);
    ranges = kernel_view_memory(VMAS_MAX * sizeof *ranges);
    for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (system_argc == 1 && strcmp(system_argv[0], modes[i].name) == 0) {
            modes[i].run();
            return system_end();
        }
    }
    fprintf(stderr, "placement: which test?\n");
    return 2;
}
