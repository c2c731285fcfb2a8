/*
 * loops.c: the loops that the bench times, in a program that knows nothing of boxledger.
 *
 *     loops [--live=N] [--fds=N] [--owners=N] [--stacks=N] [--sleepers=N] [--threads=N]
 *           [--rounds=N] [--ms=N] [--depth=N] [--turns=N] ROW...
 *
 * prints a line a row and round: the row's name and the nanoseconds of one turn. Each loop runs
 * at a call depth of 14, in code without frame pointers, as most programs are built. --live has
 * so many mappings held before the first loop starts, and so many descriptors unless --fds says
 * otherwise; --owners so many sandboxes; --stacks makes a call from so many different stacks, and
 * --sleepers has so many threads that did as much and sleep; with --scope=1 what the loops take is
 * a sandbox's; with `report` as the row, so many unlike mappings are held and the program exits,
 * saying when.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "boxledger.h"

enum {
    PAGE = 4096,
    TEN = 10,
    BATCH = 256,           /* descriptors of as many stacks, closed in one place */
    BRANCHES = 4,          /* call sites of a frame: 4 to the power of LEVELS different stacks */
    LEVELS = 10,           /* with the two below and the two above them, a depth of 14 */
    SLEEPER_STACK = 65536, /* bytes: many threads, and no address space to speak of */
};

/* What a loop works on; one a thread. */
struct work {
    uint8_t *hole;   /* a page whose neighbours never merge with what is mapped there */
    uint8_t **pages; /* the live mappings, for random access */
    uint64_t random;
    size_t live;
    int fd;      /* to duplicate */
    int pipe[2]; /* to ask */
    int vcpu;    /* 0: not made yet */
    int ten[TEN];
};

typedef void loop_fn(struct work *work, uint64_t turns);

static __attribute__((noreturn)) void die(const char *what)
{
    fprintf(stderr, "loops: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void loop_mmap(struct work *work, uint64_t turns)
{
    for (uint64_t i = 0; i < turns; i++) {
        void *p =
            mmap(work->hole, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p != work->hole || munmap(p, PAGE) != 0) {
            die("mmap, munmap");
        }
    }
}

/* Where the kernel likes, or a policy. */
static void loop_anywhere(struct work *work, uint64_t turns)
{
    (void)work;
    for (uint64_t i = 0; i < turns; i++) {
        void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || munmap(p, PAGE) != 0) {
            die("mmap, munmap");
        }
    }
}

static void loop_memfd(struct work *work, uint64_t turns)
{
    (void)work;
    for (uint64_t i = 0; i < turns; i++) {
        int fd = memfd_create("bench", MFD_CLOEXEC);
        if (fd < 0 || close(fd) != 0) {
            die("memfd_create, close");
        }
    }
}

static void loop_dup(struct work *work, uint64_t turns)
{
    for (uint64_t i = 0; i < turns; i++) {
        int fd = dup(work->fd);
        if (fd < 0 || close(fd) != 0) {
            die("dup, close");
        }
    }
}

static void loop_ioctl(struct work *work, uint64_t turns)
{
    for (uint64_t i = 0; i < turns; i++) {
        int bytes;
        if (ioctl(work->pipe[0], FIONREAD, &bytes) != 0) {
            die("ioctl");
        }
    }
}

static uint64_t next_random(struct work *work)
{
    uint64_t x = work->random; /* xorshift64 */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return work->random = x;
}

/* One of the live mappings goes and comes back. */
static void loop_random(struct work *work, uint64_t turns)
{
    for (uint64_t i = 0; i < turns; i++) {
        uint8_t **page = &work->pages[next_random(work) % work->live];
        if (munmap(*page, PAGE) != 0 ||
            (*page = mmap(*page, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                          0)) == MAP_FAILED) {
            die("munmap, mmap");
        }
    }
}

/* A guest that halts and, entered again, halts again: KVM_RUN at its shortest. */
static void make_vcpu(struct work *work)
{
    static const uint8_t code[] = {0xf4, 0xeb, 0xfd}; /* hlt; jmp to it */
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rflags = 2};
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
    void *memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (vm < 0 || memory == MAP_FAILED) {
        die("/dev/kvm");
    }
    memcpy(memory, code, sizeof code);
    struct kvm_userspace_memory_region region = {.memory_size = PAGE,
                                                 .userspace_addr = (uintptr_t)memory};
    work->vcpu =
        ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0 ? ioctl(vm, KVM_CREATE_VCPU, 0) : -1;
    if (work->vcpu < 0 || ioctl(work->vcpu, KVM_GET_SREGS, &sregs) != 0) {
        die("the vCPU");
    }
    sregs.cs.base = sregs.cs.selector = 0;
    if (ioctl(work->vcpu, KVM_SET_SREGS, &sregs) != 0 ||
        ioctl(work->vcpu, KVM_SET_REGS, &regs) != 0) {
        die("the vCPU's registers");
    }
}

static void loop_kvm_run(struct work *work, uint64_t turns)
{
    if (work->vcpu == 0) {
        make_vcpu(work);
    }
    for (uint64_t i = 0; i < turns; i++) {
        if (ioctl(work->vcpu, KVM_RUN, 0) != 0) {
            die("KVM_RUN");
        }
    }
}

/* A sandbox from its begin to its end, with ten descriptors. No system call. */
static void loop_owner(struct work *work, uint64_t turns)
{
    for (int i = 0; work->ten[0] == 0 && i < TEN; i++) {
        work->ten[TEN - 1 - i] = dup(work->fd);
    }
    for (uint64_t i = 0; i < turns; i++) {
        boxledger_owner owner = boxledger_begin("bench");
        for (int j = 0; j < TEN; j++) {
            boxledger_assign_fd(owner, work->ten[j]);
        }
        if (boxledger_end(owner) != 0 && boxledger_present()) {
            die("boxledger_end");
        }
    }
}

static int branch(uint64_t way, int levels, int fd);
/* process-global: keeps the compiler from seeing through the recursion */
static int (*volatile branch_pointer)(uint64_t, int, int) = branch;

/* Calls on from one of four places, by `way`: no two ways lead through the same return addresses.
 * What stands behind each call keeps it from being a jump, and the four from becoming one. */
static __attribute__((noinline)) int branch(uint64_t way, int levels, int fd)
{
    int result;
    if (levels == 0) {
        result = dup(fd);
        __asm__ volatile("# leaf");
        return result;
    }
    switch (way % BRANCHES) {
    case 0:
        result = branch_pointer(way / BRANCHES, levels - 1, fd);
        __asm__ volatile("# first");
        break;
    case 1:
        result = branch_pointer(way / BRANCHES, levels - 1, fd);
        __asm__ volatile("# second");
        break;
    case 2:
        result = branch_pointer(way / BRANCHES, levels - 1, fd);
        __asm__ volatile("# third");
        break;
    default:
        result = branch_pointer(way / BRANCHES, levels - 1, fd);
        __asm__ volatile("# fourth");
        break;
    }
    return result;
}

static void many_stacks(uint64_t stacks, int fd)
{
    for (uint64_t done = 0; done < stacks;) {
        int fds[BATCH];
        int count = 0;
        for (; count < BATCH && done < stacks; count++, done++) {
            fds[count] = branch_pointer(done, LEVELS, fd);
            if (fds[count] < 0) {
                die("dup");
            }
        }
        while (count > 0) {
            close(fds[--count]);
        }
    }
}

struct sleepers {
    sem_t ready;
    uint64_t stacks;
    int fd;
};

static void *sleeper(void *argument)
{
    struct sleepers *sleepers = argument;
    many_stacks(sleepers->stacks, sleepers->fd);
    sem_post(&sleepers->ready);
    for (;;) {
        pause();
    }
    return NULL;
}

/* So many threads, one after the other, that have called from `stacks` stacks each, at least one.
 */
static void start_sleepers(uint64_t count, uint64_t stacks, int fd)
{
    static struct sleepers sleepers; /* process-global: the threads outlive every frame */
    pthread_attr_t attributes;
    if (count == 0) {
        return;
    }
    sleepers.stacks = stacks ? stacks : 1;
    sleepers.fd = fd;
    sem_init(&sleepers.ready, 0, 0);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, SLEEPER_STACK);
    for (uint64_t i = 0; i < count; i++) {
        pthread_t id;
        if (pthread_create(&id, &attributes, sleeper, &sleepers) != 0) {
            die("pthread_create");
        }
        sem_wait(&sleepers.ready);
    }
    pthread_attr_destroy(&attributes);
}

static const struct row {
    const char *name;
    loop_fn *loop;
} rows[] = {
    {"mmap+munmap", loop_mmap}, {"memfd_create+close", loop_memfd}, {"dup+close", loop_dup},
    {"ioctl", loop_ioctl},      {"random-remap", loop_random},      {"kvm-run", loop_kvm_run},
    {"owner", loop_owner},      {"mmap-anywhere", loop_anywhere},
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void deeper(struct work *work, uint64_t turns, loop_fn *loop, int depth);
/* process-global: keeps the compiler from seeing through the recursion */
static void (*volatile deeper_pointer)(struct work *, uint64_t, loop_fn *, int) = deeper;

static __attribute__((noinline)) void deeper(struct work *work, uint64_t turns, loop_fn *loop,
                                             int depth)
{
    if (depth <= 1) {
        loop(work, turns);
    } else {
        deeper_pointer(work, turns, loop, depth - 1);
    }
    __asm__ volatile(""); /* no tail call: the frame stays */
}

static void work_begin(struct work *work)
{
    /* A shared mapping on both sides: a private one never merges with it. */
    uint8_t *p = mmap(NULL, 3 * PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || munmap(p + PAGE, PAGE) != 0) {
        die("the hole");
    }
    work->hole = p + PAGE;
    work->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (work->fd < 0 || pipe2(work->pipe, O_CLOEXEC) != 0) {
        die("open, pipe");
    }
    work->random = 88172645463325252u ^ (uintptr_t)p;
}

static void hold_mappings(struct work *work, uint64_t live)
{
    if (live == 0) {
        return;
    }
    /* The kernel lays them side by side, and merges them: so many calls, few VMAs. */
    work->pages = calloc((size_t)live, sizeof *work->pages);
    if (work->pages == NULL) {
        die("calloc");
    }
    for (uint64_t i = 0; i < live; i++) {
        work->pages[i] =
            mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (work->pages[i] == MAP_FAILED) {
            die("the live mappings");
        }
    }
    work->live = (size_t)live;
}

/* As many as asked for or as may be had; returns how many. */
static uint64_t hold_fds(const struct work *work, uint64_t fds)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < fds + 64 && geteuid() == 0) {
        limit.rlim_max = fds + 64; /* root may, up to fs.nr_open */
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            getrlimit(RLIMIT_NOFILE, &limit);
        }
    }
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    fds = fds + 64 <= limit.rlim_cur ? fds : limit.rlim_cur - 64;
    for (uint64_t i = 0; i < fds; i++) {
        if (dup(work->fd) < 0) {
            die("dup");
        }
    }
    return fds;
}

struct thread {
    pthread_t id;
    pthread_barrier_t *start;
    const struct row *row;
    struct work work;
    uint64_t turns;
    uint64_t began_ns, ended_ns;
    int depth;
};

static void *thread_main(void *argument)
{
    struct thread *thread = argument;
    pthread_barrier_wait(thread->start);
    thread->began_ns = now_ns();
    deeper(&thread->work, thread->turns, thread->row->loop, thread->depth);
    thread->ended_ns = now_ns();
    return NULL;
}

/* Nanoseconds that `turns` turns take in each of `count` threads at once. */
static uint64_t timed(struct thread *threads, int count, const struct row *row, uint64_t turns)
{
    if (count == 1) {
        uint64_t begin = now_ns();
        deeper(&threads[0].work, turns, row->loop, threads[0].depth);
        return now_ns() - begin;
    }
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, (unsigned)count);
    for (int i = 0; i < count; i++) {
        threads[i].row = row;
        threads[i].turns = turns;
        threads[i].start = &start;
        if (pthread_create(&threads[i].id, NULL, thread_main, &threads[i]) != 0) {
            die("pthread_create");
        }
    }
    uint64_t began = UINT64_MAX;
    uint64_t ended = 0;
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i].id, NULL);
        began = threads[i].began_ns < began ? threads[i].began_ns : began;
        ended = threads[i].ended_ns > ended ? threads[i].ended_ns : ended;
    }
    pthread_barrier_destroy(&start);
    return ended - began;
}

/* As many mappings as there are, no two of which merge; then the end, which is timed outside. */
static __attribute__((noreturn)) void leave_behind(uint64_t live)
{
    uint64_t held = 0;
    while (held < live && mmap(NULL, PAGE, held % 2 ? PROT_READ : PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) {
        held++;
    }
    printf("left %llu\nend %llu\n", (unsigned long long)held, (unsigned long long)now_ns());
    fflush(stdout);
    exit(0);
}

static long resident_kib(void)
{
    char text[4096];
    /* Exact, where the sum in /proc/self/status is one of counters that lag behind. Only what this
     * process wrote: of a file's pages the kernel maps more than were asked for. */
    int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) {
        close(fd);
    }
    text[length < 0 ? 0 : length] = '\0';
    static const char name[] = "\nPrivate_Dirty:";
    const char *line = strstr(text, name);
    if (line == NULL) {
        die("/proc/self/smaps_rollup");
    }
    return strtol(line + sizeof name - 1, NULL, 10);
}

static bool option(const char *argument, const char *name, uint64_t *value)
{
    size_t length = strlen(name);
    if (strncmp(argument, name, length) != 0 || argument[length] != '=') {
        return false;
    }
    *value = strtoull(argument + length + 1, NULL, 10);
    return true;
}

int main(int argc, char **argv)
{
    uint64_t live = 0;
    uint64_t fds = UINT64_MAX;
    uint64_t owners = 0;
    uint64_t count = 1;
    uint64_t rounds = 3;
    uint64_t ms = 20;
    uint64_t exactly = 0; /* so many turns, however long they take */
    uint64_t depth = 14;
    uint64_t scope = 0;
    uint64_t stacks = 0;
    uint64_t sleepers = 0;
    int first = 1;
    while (first < argc &&
           (option(argv[first], "--live", &live) || option(argv[first], "--fds", &fds) ||
            option(argv[first], "--owners", &owners) || option(argv[first], "--threads", &count) ||
            option(argv[first], "--rounds", &rounds) || option(argv[first], "--ms", &ms) ||
            option(argv[first], "--depth", &depth) || option(argv[first], "--scope", &scope) ||
            option(argv[first], "--turns", &exactly) || option(argv[first], "--stacks", &stacks) ||
            option(argv[first], "--sleepers", &sleepers))) {
        first++;
    }
    if (first == argc || count < 1 || count > 64) {
        fprintf(stderr, "usage: loops [--live=N] [--threads=N] [--rounds=N] [--ms=N] ROW...\n");
        return 2;
    }
    if (strcmp(argv[first], "report") == 0) {
        leave_behind(live);
    }

    struct thread *threads = calloc((size_t)count, sizeof *threads);
    if (threads == NULL) {
        die("calloc");
    }
    hold_mappings(&threads[0].work, live); /* first: it would fill the loops' holes */
    for (uint64_t i = 0; i < count; i++) {
        work_begin(&threads[i].work);
        /* Of 14 frames, main's two callers and the loop are there already; a thread has as many. */
        threads[i].depth = depth > 4 ? (int)depth - 4 : 1;
    }
    fds = hold_fds(&threads[0].work, fds == UINT64_MAX ? live : fds);
    for (uint64_t i = 0; i < owners; i++) {
        boxledger_begin("others");
    }
    if (sleepers != 0) {
        start_sleepers(sleepers, stacks, threads[0].work.fd);
    } else {
        many_stacks(stacks, threads[0].work.fd);
    }
    if (scope != 0) {
        boxledger_enter(boxledger_begin("scope"));
    }
    printf("held_fds %llu\n", (unsigned long long)fds);
    printf("resident_kib %ld\n", resident_kib());
    for (int a = first; a < argc; a++) {
        const struct row *row = NULL;
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            if (strcmp(rows[i].name, argv[a]) == 0) {
                row = &rows[i];
            }
        }
        if (row == NULL) {
            if (strcmp(argv[a], "memory") == 0) {
                continue;
            }
            fprintf(stderr, "loops: no row %s\n", argv[a]);
            return 2;
        }
        uint64_t turns = exactly ? exactly : 1;
        uint64_t took;
        while (!exactly && (took = timed(threads, (int)count, row, turns)) < ms * 1000000 / 4) {
            turns *= 2;
        }
        turns = exactly ? exactly : turns * ms * 1000000 / took + 1;
        for (uint64_t round = 0; round < rounds; round++) {
            took = timed(threads, (int)count, row, turns);
            printf("%s %.2f\n", row->name, (double)took / (double)turns);
        }
    }
    return 0;
}
