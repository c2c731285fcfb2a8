/*
 * innocent.c: supervisors that leak nothing, though for a while it looks as if they did: pools that
 * lie idle, memory that is kept to be looked at, releases that no wrapper sees while others are
 * given the same numbers and addresses. None may lose anything to reclaim. Two that do leak show
 * that it is awake.
 *
 *     innocent LEDGER SCENARIO SETTLE_MS [anonymous|memfd|file]     what guests' memory is
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "policy_test.h"

enum {
    VMS = 30,  /* at a time: far more than evidence asks for */
    MORE = 15, /* by which a pool grows at its second use */
    ROUNDS = 3,
    LEAKS = 60,  /* sandboxes of a supervisor that does */
    STEADY = 40, /* sandboxes, one after the other */
    THREADS = 3,
    IDLE = 4,  /* settling times that a pool lies idle */
    KEPT = 5,  /* settling times that something is kept after its sandbox's end */
    CHUNK = 4, /* sandboxes' memory in one chunk of an arena */
    BEHIND_MS = 30000,
    WATCHDOG_S = 200,
};
static const size_t memory_bytes = 64 * PAGE;
static const size_t heap_bytes = 256 * PAGE; /* by its size always libc's own mmap */

/* thread-local: nobody else's sandboxes are in this thread's pool, nor its marks */
struct memory {
    unsigned char *start;
    size_t bytes;
    uint64_t mark;
};
struct pool {
    struct memory idle[VMS + MORE];
    unsigned count;
};

static unsigned settle_ms;
static const char *memory_kind = "anonymous";

/* --- memory of virtual machines ----------------------------------------------------------------
 */

/* A file of its own for each, or a part of the one file that all map. */
static __attribute__((noinline)) void *map_file(size_t bytes)
{
    static int file = -1;
    bool same = strcmp(memory_kind, "file") == 0;
    int fd = same ? file : memfd_create("guest", MFD_CLOEXEC);
    if (same && file < 0) {
        fd = file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    }
    if (fd != file || file < 0 || lseek(file, 0, SEEK_END) < (off_t)bytes) {
        check(ftruncate(fd, (off_t)bytes) == 0, "a file: %s", strerror(errno));
    }
    void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, same ? MAP_PRIVATE : MAP_SHARED, fd, 0);
    if (!same) {
        close(fd);
    }
    return start;
}

static __attribute__((noinline)) void *map_memory(size_t bytes)
{
    void *start = strcmp(memory_kind, "anonymous") != 0 ? map_file(bytes)
                                                        : mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(start != MAP_FAILED, "mmap: %s", strerror(errno));
    return start;
}

static uint64_t new_mark(void)
{
    static _Atomic uint64_t last;
    return (last += 1) << 32;
}

static struct memory take_memory(struct pool *pool, size_t bytes)
{
    for (unsigned i = 0; i < pool->count; i++) {
        struct memory memory = pool->idle[i];
        if (memory.bytes == bytes) {
            pool->idle[i] = pool->idle[--pool->count];
            check(has_marks(memory.start, bytes, memory.mark), "%p of the pool is not as it was",
                  (void *)memory.start);
            return memory;
        }
    }
    struct memory memory = {.start = map_memory(bytes), .bytes = bytes, .mark = new_mark()};
    mark_pages(memory.start, bytes, memory.mark);
    return memory;
}

static void to_pool(struct pool *pool, struct memory memory)
{
    pool->idle[pool->count++] = memory;
}

static void empty(struct pool *pool)
{
    while (pool->count > 0) {
        struct memory memory = pool->idle[--pool->count];
        check(has_marks(memory.start, memory.bytes, memory.mark), "%p of the pool is gone",
              (void *)memory.start);
        check(munmap(memory.start, memory.bytes) == 0, "munmap: %s", strerror(errno));
    }
}

/* So many virtual machines that live at the same time, and end. */
static void run_vms(struct pool *pool, unsigned count, size_t bytes)
{
    struct memory memory[VMS + MORE];
    int vms[VMS + MORE];
    for (unsigned i = 0; i < count; i++) {
        vms[i] = vm_create();
        memory[i] = take_memory(pool, bytes);
        vm_bind(vms[i], 0, memory[i].start, bytes);
    }
    for (unsigned i = 0; i < count; i++) {
        check(close(vms[i]) == 0, "close: %s", strerror(errno));
        to_pool(pool, memory[i]);
    }
}

/* Other sandboxes come and go, and time passes. */
static void idle(void)
{
    go_on_for(IDLE * settle_ms);
    for (unsigned i = 0; i < STEADY; i++) {
        close(vm_create());
    }
    go_on_for(settle_ms);
}

static void idle_pool(void)
{
    struct pool pool = {.count = 0};
    for (unsigned round = 0; round < ROUNDS; round++) {
        run_vms(&pool, round == 0 ? VMS : VMS + MORE, memory_bytes);
        idle();
    }
    empty(&pool);
}

static void sized_pool(void)
{
    struct pool pool = {.count = 0};
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned size = 1; size <= ROUNDS; size++) {
            run_vms(&pool, VMS / ROUNDS, size * memory_bytes);
            idle();
        }
    }
    empty(&pool);
}

/* Each thread with a pool of its own, filled by the same code: one is idle while another's fills.
 */
static pthread_barrier_t turn;

static void *be_pooling(void *argument)
{
    unsigned number = (unsigned)(uintptr_t)argument;
    struct pool pool = {.count = 0};
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < THREADS; i++) {
            if (i == number) {
                run_vms(&pool, VMS, memory_bytes);
                idle();
            }
            pthread_barrier_wait(&turn);
        }
    }
    empty(&pool);
    return NULL;
}

static void thread_pools(void)
{
    pthread_t threads[THREADS];
    pthread_barrier_init(&turn, NULL, THREADS);
    for (uintptr_t i = 0; i < THREADS; i++) {
        check(pthread_create(&threads[i], NULL, be_pooling, (void *)i) == 0, "a thread");
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

/* All sandboxes of a burst are kept as they were, and go in one go. */
static void post_mortem(void)
{
    struct pool morgue = {.count = 0};
    for (unsigned round = 0; round < ROUNDS; round++) {
        run_vms(&morgue, VMS, memory_bytes);
        go_on_for(KEPT * settle_ms);
        idle();
        empty(&morgue);
    }
}

/* Each is kept for a while, not as long as it may take to settle, while others come all the time.
 * Nothing of the first is released before the last has begun. */
static void post_mortem_steady(void)
{
    struct pool morgue = {.count = 0};
    uint64_t began = now_ms();
    for (unsigned i = 0; i < STEADY && now_ms() < began + settle_ms * 3 / 4; i++) {
        struct pool none = {.count = 0};
        run_vms(&none, 1, memory_bytes);
        morgue.idle[morgue.count++] = none.idle[0];
        go_on_for(settle_ms / STEADY / 2);
    }
    empty(&morgue);
}

/* An arena gives the kernel nothing back: each chunk serves several sandboxes, one after the other
 * and side by side. */
static void arena(void)
{
    unsigned char *chunks[VMS / CHUNK + 1];
    int vms[VMS];
    for (unsigned i = 0; i < VMS / CHUNK + 1; i++) {
        chunks[i] = map_memory(CHUNK * memory_bytes + PAGE);
        mark_pages(chunks[i], CHUNK * memory_bytes + PAGE, i);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < VMS; i++) {
            vms[i] = vm_create();
            vm_bind(vms[i], 0, chunks[i / CHUNK] + PAGE + i % CHUNK * memory_bytes, memory_bytes);
        }
        for (unsigned i = 0; i < VMS; i++) {
            close(vms[i]);
        }
        idle();
        for (unsigned i = 0; i < VMS / CHUNK + 1; i++) {
            check(has_marks(chunks[i], CHUNK * memory_bytes + PAGE, i), "chunk %u is damaged", i);
        }
    }
    for (unsigned i = 0; i < VMS / CHUNK + 1; i++) {
        munmap(chunks[i], CHUNK * memory_bytes + PAGE);
    }
}

/* Guest memory from whatever malloc there is. */
static void allocator(void)
{
    static unsigned char *blocks[VMS], *others[VMS];
    for (unsigned round = 0; round < ROUNDS * 2; round++) {
        int vms[VMS];
        for (unsigned i = 0; i < VMS; i++) {
            size_t bytes = (1 + i % 3) * heap_bytes;
            vms[i] = vm_create();
            check(posix_memalign((void **)&blocks[i], PAGE, bytes) == 0, "posix_memalign");
            vm_bind(vms[i], 0, blocks[i], bytes);
            mark_pages(blocks[i], bytes, i);
        }
        for (unsigned i = 0; i < VMS; i++) {
            close(vms[i]);
            free(blocks[i]);
        }
        for (unsigned i = 0; i < VMS; i++) { /* the same memory, now the supervisor's own */
            others[i] = malloc(2 * heap_bytes);
            memset(others[i], (int)i, 2 * heap_bytes);
        }
        idle();
        for (unsigned i = 0; i < VMS; i++) {
            for (size_t at = 0; at < 2 * heap_bytes; at++) {
                if (others[i][at] != (unsigned char)i) {
                    check(false, "block %u is damaged at %zu", i, at);
                    break;
                }
            }
            free(others[i]);
        }
    }
}

/* The same, and each block is a sandbox's of the API meanwhile; it is given back before the end
 * that is promised, or after it. */
static void assigned_heap(void)
{
    static unsigned char *blocks[VMS], *others[VMS];
    boxledger_owner owners[VMS];
    for (unsigned i = 0; i < VMS; i++) {
        size_t bytes = (1 + i % 3) * heap_bytes;
        owners[i] = boxledger_begin("heap");
        boxledger_enter(owners[i]);
        int vm = vm_create();
        check(posix_memalign((void **)&blocks[i], PAGE, bytes) == 0, "posix_memalign");
        if (i % 2) {
            vm_bind(vm, 0, blocks[i], bytes);
        } else {
            boxledger_assign_range(owners[i], blocks[i], bytes);
        }
        close(vm);
        boxledger_leave(owners[i]);
    }
    for (unsigned i = 0; i < VMS; i++) {
        if (i % 4 < 2) {
            free(blocks[i]);
        }
        boxledger_end(owners[i]);
        if (i % 4 >= 2) {
            free(blocks[i]);
        }
    }
    for (unsigned i = 0; i < VMS; i++) { /* the same memory, now the supervisor's own */
        others[i] = malloc(2 * heap_bytes);
        memset(others[i], 0, 2 * heap_bytes);
        mark_pages(others[i], 2 * heap_bytes - PAGE, i);
    }
    idle();
    for (unsigned i = 0; i < VMS; i++) {
        check(has_marks(others[i], 2 * heap_bytes - PAGE, i), "block %u is damaged", i);
    }
}

/* A library connects when it is first asked to, which is in a sandbox's scope, and stays so. */
static void lazily_in_scope(void)
{
    static int connection[2] = {-1, -1};
    uint64_t file = 0;
    for (unsigned i = 0; i < STEADY; i++) {
        boxledger_owner owner = boxledger_begin("box");
        boxledger_enter(owner);
        if (connection[0] < 0) {
            check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, connection) == 0, "a socket");
            file = file_of(connection[0]);
        }
        check(send(connection[0], "x", 1, MSG_NOSIGNAL) == 1, "send: %s", strerror(errno));
        boxledger_leave(owner);
        boxledger_end(owner);
        go_on_for(settle_ms / 4);
    }
    idle();
    check(file_of(connection[0]) == file && !is_reclaimed_number(connection[0]),
          "descriptor %d is not the connection any more", connection[0]);
}

/* --- releases that no wrapper sees -------------------------------------------------------------
 */

/* Whoever is first gets the range again: here malloc, by a call of libc's own. */
static void unseen_unmap(void)
{
    static unsigned char *blocks[STEADY];
    const size_t block_bytes = heap_bytes - PAGE / 2; /* with its header, as long as a guest's */
    mallopt(M_MMAP_THRESHOLD, (int)heap_bytes / 2);
    unsigned same = 0;
    for (unsigned i = 0; i < STEADY; i++) {
        int vm = vm_create();
        unsigned char *start = map_memory(heap_bytes);
        vm_bind(vm, 0, start, heap_bytes);
        close(vm);
        check(raw(SYS_munmap, start, heap_bytes) == 0, "munmap");
        blocks[i] = malloc(block_bytes);
        same += blocks[i] >= start && blocks[i] < start + heap_bytes;
        mark_pages(blocks[i], block_bytes, i);
        go_on_for(settle_ms / 4);
    }
    idle();
    for (unsigned i = 0; i < STEADY; i++) {
        if (check(has_marks(blocks[i], block_bytes, i), "block %u is damaged", i)) {
            free(blocks[i]);
        }
    }
    printf("%u of %u blocks lie where a guest's memory was\n", same, STEADY);
}

static void *be_a_stack(void *barrier)
{
    pthread_barrier_wait(barrier);
    return NULL;
}

/* The same with threads' stacks, which libc maps as well. */
static void unseen_unmap_for_stacks(void)
{
    static pthread_t threads[VMS];
    pthread_barrier_t barrier;
    pthread_attr_t attributes;
    const size_t stack_bytes = heap_bytes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack_bytes);
    pthread_attr_setguardsize(&attributes, 0);
    pthread_barrier_init(&barrier, NULL, VMS + 1);
    for (unsigned i = 0; i < VMS; i++) {
        int vm = vm_create();
        unsigned char *start = map_memory(stack_bytes);
        vm_bind(vm, 0, start, stack_bytes);
        close(vm);
        check(raw(SYS_munmap, start, stack_bytes) == 0, "munmap");
        check(pthread_create(&threads[i], &attributes, be_a_stack, &barrier) == 0, "a thread");
        go_on_for(settle_ms / 4);
    }
    idle();
    pthread_barrier_wait(&barrier);
    for (unsigned i = 0; i < VMS; i++) {
        pthread_join(threads[i], NULL);
    }
}

static __attribute__((noinline)) int open_answer(void)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    check(fd >= 0, "open: %s", strerror(errno));
    return fd;
}

/* The number goes by an inline close, and to somebody who opens the same file by an inline open. */
static void unseen_close(void)
{
    int others[STEADY];
    for (unsigned i = 0; i < STEADY; i++) {
        struct asking asking;
        asking_begin(&asking, 1);
        asking_receive(&asking);
        int fd = open_answer();
        asking_answer(&asking, fd);
        raw(SYS_close, fd);
        others[i] = (int)raw(SYS_openat, AT_FDCWD, "/proc/self/exe", O_RDONLY | O_CLOEXEC, 0);
        asking_end(&asking);
        go_on_for(settle_ms / 4);
    }
    idle();
    uint64_t file = file_of(others[0]);
    for (unsigned i = 0; i < STEADY; i++) {
        check(file_of(others[i]) == file && file != 0, "descriptor %d is not what was opened",
              others[i]);
        check(!is_reclaimed_number(others[i]), "descriptor %d was reclaimed", others[i]);
        raw(SYS_close, others[i]);
    }
}

/* --- descriptors -------------------------------------------------------------------------------
 */

static __attribute__((noinline)) int make_answer(void)
{
    int fd = memfd_create("answer", MFD_CLOEXEC);
    check(fd >= 0 && write(fd, "x", 1) == 1, "memfd_create: %s", strerror(errno));
    return fd;
}

struct fd_pool {
    int idle[VMS];
    uint64_t files[VMS];
    unsigned count;
};

/* Each process is answered with a descriptor of the pool, or a new one. */
static void run_asking(struct fd_pool *pool, unsigned count)
{
    struct asking asking[VMS];
    int fds[VMS];
    for (unsigned i = 0; i < count; i++) {
        asking_begin(&asking[i], 1);
        asking_receive(&asking[i]);
        if (pool->count > 0) {
            fds[i] = pool->idle[--pool->count];
            check(file_of(fds[i]) == pool->files[pool->count], "descriptor %d is another", fds[i]);
        } else {
            fds[i] = make_answer();
        }
        asking_answer(&asking[i], fds[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        asking_end(&asking[i]);
        pool->files[pool->count] = file_of(fds[i]);
        pool->idle[pool->count++] = fds[i];
    }
}

static void idle_fds(void)
{
    go_on_for(IDLE * settle_ms);
    for (unsigned i = 0; i < STEADY / 2; i++) {
        struct asking asking;
        asking_begin(&asking, 0);
        asking_end(&asking);
    }
    go_on_for(settle_ms);
}

static void close_all(struct fd_pool *pool)
{
    while (pool->count > 0) {
        int fd = pool->idle[--pool->count];
        check(file_of(fd) == pool->files[pool->count], "descriptor %d is another", fd);
        check(close(fd) == 0, "close: %s", strerror(errno));
    }
}

static void fd_pool(void)
{
    struct fd_pool pool = {.count = 0};
    for (unsigned round = 0; round < ROUNDS; round++) {
        run_asking(&pool, round == 0 ? VMS / 2 : VMS);
        idle_fds();
    }
    close_all(&pool);
}

static void fd_post_mortem(void)
{
    struct fd_pool morgue = {.count = 0};
    for (unsigned round = 0; round < ROUNDS; round++) {
        run_asking(&morgue, VMS);
        go_on_for(KEPT * settle_ms);
        idle_fds();
        close_all(&morgue);
    }
}

/* What a child did is read long after it has ended, all of it at once. */
static void child_accounts(void)
{
    int fds[VMS];
    char path[64];
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < VMS; i++) {
            int hold[2];
            check(pipe2(hold, O_CLOEXEC) == 0, "pipe2");
            pid_t pid = fork();
            if (pid == 0) {
                char byte;
                raw(SYS_close, hold[1]);
                raw(SYS_read, hold[0], &byte, 1);
                raw(SYS_exit_group, 0);
            }
            snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
            fds[i] = open(path, O_RDONLY | O_CLOEXEC);
            check(fds[i] >= 0, "%s: %s", path, strerror(errno));
            close(hold[0]);
            close(hold[1]);
            waitpid(pid, NULL, 0);
        }
        idle_fds();
        for (unsigned i = 0; i < VMS; i++) {
            check(!is_reclaimed_number(fds[i]) && close(fds[i]) == 0, "descriptor %d", fds[i]);
        }
    }
}

/* --- those that do leak ------------------------------------------------------------------------
 */

static void leak_memory(void)
{
    for (unsigned i = 0; i < LEAKS; i++) {
        struct pool lost = {.count = 0};
        run_vms(&lost, 1, memory_bytes);
        go_on_for(settle_ms / 4);
    }
    check(until_reclaimed(0, 1, BEHIND_MS), "nothing of a leak was reclaimed");
}

static void leak_fds(void)
{
    for (unsigned i = 0; i < LEAKS; i++) {
        struct fd_pool lost = {.count = 0};
        run_asking(&lost, 1);
        go_on_for(settle_ms / 4);
    }
    check(until_reclaimed(1, 0, BEHIND_MS), "nothing of a leak was reclaimed");
}

static const struct scenario {
    const char *name;
    void (*run)(void);
    bool leaks;
} scenarios[] = {
    {"idle_pool", idle_pool, false},
    {"sized_pool", sized_pool, false},
    {"thread_pools", thread_pools, false},
    {"post_mortem", post_mortem, false},
    {"post_mortem_steady", post_mortem_steady, false},
    {"arena", arena, false},
    {"allocator", allocator, false},
    {"assigned_heap", assigned_heap, false},
    {"lazily_in_scope", lazily_in_scope, false},
    {"unseen_unmap", unseen_unmap, false},
    {"unseen_unmap_for_stacks", unseen_unmap_for_stacks, false},
    {"unseen_close", unseen_close, false},
    {"fd_pool", fd_pool, false},
    {"fd_post_mortem", fd_post_mortem, false},
    {"child_accounts", child_accounts, false},
    {"leak_memory", leak_memory, true},
    {"leak_fds", leak_fds, true},
};

int main(int argc, char **argv)
{
    system_start(argc, argv, WATCHDOG_S);
    if (system_argc != 2 && system_argc != 3) {
        return 2;
    }
    memory_kind = system_argc == 3 ? system_argv[2] : memory_kind;
    settle_ms = (unsigned)strtoul(system_argv[1], NULL, 10);
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(scenarios[i].name, system_argv[0]) != 0) {
            continue;
        }
        scenarios[i].run();
        struct policy_counts counts = policy_counts();
        check(scenarios[i].leaks || counts.reclaimed_fds + counts.reclaimed_mappings == 0,
              "%s: %lu descriptors and %lu mappings were reclaimed", scenarios[i].name,
              (unsigned long)counts.reclaimed_fds, (unsigned long)counts.reclaimed_mappings);
        return system_end();
    }
    return 2;
}
