/*
 * sandboxes.c: one sandbox after another in one process, which must leave the ledger no larger,
 * and the process no fatter, than the first of them did.
 *
 *     sandboxes LEDGER api|left|thread|child|kvm FIRST ALL
 *
 * The ledger's counters, its file and the process's resident pages after FIRST sandboxes are
 * compared with those after ALL. `left`: some leave what a policy takes back. It asks the kernel
 * for the sizes; it knows nothing of how the ledger finds room.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../system/system.h"
#include "boxledger.h"

enum {
    LEAVES_EVERY = 64, /* of `left`: so many settle at a time that no limit is near */
    /* Ended owners are remembered until so many came after them (LEDGER_OWNERS_KEPT): whatever the
     * kind, the table is filled by the cheapest first. */
    FILLERS = 9000,
    /* Of the process's own: what a first use of one more page of libc's or of ours is. */
    SLACK_KIB = 128,
    /* Of `left`: how many wait to be taken is a matter of time, and what a policy keeps track of
     * them with has a bound that takes many to reach. */
    SLACK_RECORDS = 64,
    SLACK_LEFT_KIB = 512,
    TEXT_BYTES = 4096,
    BLOCK_BYTES = 512, /* stat(2): of st_blocks */
};

static const char *const table_names[LEDGER_TABLES] = {"descriptors", "mappings", "stacks",
                                                       "frames",      "modules",  "strings",
                                                       "owners",      "events",   "growth"};

struct size {
    uint64_t used[LEDGER_TABLES];
    uint64_t file_bytes, file_blocks;
    uint64_t resident_kib, private_kib;
    uint64_t begun, ended, incomplete, held;
};

static int null = -1;

/* --- what is asked -------------------------------------------------------------------------- */

static uint64_t kib_of(const char *text, const char *name)
{
    const char *line = strstr(text, name);
    return line == NULL ? 0 : strtoull(line + strlen(name), NULL, 10);
}

static void ask_resident(struct size *size)
{
    static char text[TEXT_BYTES]; /* not of the stack, whose pages would be counted */
    int fd = (int)raw(SYS_openat, AT_FDCWD, "/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC, 0);
    long length = fd < 0 ? -1 : raw(SYS_read, fd, text, sizeof text - 1);
    if (fd >= 0) {
        raw(SYS_close, fd);
    }
    if (length <= 0) {
        system_skip("/proc/self/smaps_rollup cannot be read");
    }
    text[length] = '\0';
    size->resident_kib = kib_of(text, "\nRss:");
    size->private_kib = kib_of(text, "\nAnonymous:");
}

static struct size ask(void)
{
    struct size size = {0};
    struct ledger_view view;
    struct stat status;
    ask_resident(&size);
    if (system_ledger == NULL) {
        return size;
    }
    int result = ledger_view_open(&view, system_ledger);
    if (!check(result == 0, "the ledger: %s", strerror(-result))) {
        return size;
    }
    memcpy(size.used, view.header->used, sizeof size.used);
    for (unsigned kind = 0; kind < LEDGER_OWNER_KINDS; kind++) {
        size.begun += view.header->owners_begun[kind];
        size.ended += view.header->owners_ended[kind];
    }
    size.incomplete = view.header->incomplete;
    size.held = view.header->quarantined_fds;
    size.file_bytes = view.size;
    if (raw(SYS_newfstatat, AT_FDCWD, system_ledger, &status, 0) == 0) {
        size.file_blocks = (uint64_t)status.st_blocks * BLOCK_BYTES;
    }
    ledger_view_close(&view);
    return size;
}

static void tell(uint64_t sandboxes, const struct size *size)
{
    printf("%llu sandboxes: %llu begun, %llu ended; file %llu bytes, on disk %llu; resident %llu "
           "KiB, of it private %llu; records:",
           (unsigned long long)sandboxes, (unsigned long long)size->begun,
           (unsigned long long)size->ended, (unsigned long long)size->file_bytes,
           (unsigned long long)size->file_blocks, (unsigned long long)size->resident_kib,
           (unsigned long long)size->private_kib);
    for (unsigned table = 0; table < LEDGER_TABLES; table++) {
        printf(" %s %llu", table_names[table], (unsigned long long)size->used[table]);
    }
    printf("\n");
    fflush(stdout);
}

/* --- one sandbox ---------------------------------------------------------------------------- */

static boxledger_owner begin(uint64_t n)
{
    char label[32];
    snprintf(label, sizeof label, "box-%llu", (unsigned long long)n);
    boxledger_owner owner = boxledger_begin(label);
    check(owner != 0 || !boxledger_present(), "sandbox %llu does not begin", (unsigned long long)n);
    return owner;
}

static void end(boxledger_owner owner)
{
    int result = boxledger_end(owner);
    check(result == 0 || !boxledger_present(), "a sandbox does not end: %s", strerror(errno));
}

static void map_left(boxledger_owner owner)
{
    void *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(map != MAP_FAILED &&
              (boxledger_assign_range(owner, map, PAGE) == 0 || !boxledger_present()),
          "mmap: %s", strerror(errno));
}

/* Every second one ends before its own are released, as a supervisor may that tidies up late. */
static void with_api(uint64_t n, bool leaves)
{
    boxledger_owner owner = begin(n);
    boxledger_enter(owner);
    int fd = dup(null);
    boxledger_leave(owner);
    void *map = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(fd >= 0 && map != MAP_FAILED, "dup, mmap: %s", strerror(errno));
    boxledger_assign_range(owner, map, 2 * PAGE);
    if (leaves) {
        int left = memfd_create("left", MFD_CLOEXEC);
        check(left >= 0 && (boxledger_assign_fd(owner, left) == 0 || !boxledger_present()),
              "memfd_create: %s", strerror(errno));
        map_left(owner);
    }
    if (n % 2) {
        end(owner);
    }
    close(fd);
    munmap(map, 2 * PAGE);
    if (n % 2 == 0) {
        end(owner);
    }
}

static void api(uint64_t n)
{
    with_api(n, false);
}

static void left(uint64_t n)
{
    with_api(n, n % LEAVES_EVERY == 0);
}

static void *thread_main(void *n)
{
    with_api((uintptr_t)n, false);
    return NULL;
}

/* What the shim keeps for a thread goes with it. */
static void thread(uint64_t n)
{
    pthread_t id;
    int error = pthread_create(&id, NULL, thread_main, (void *)(uintptr_t)n);
    if (check(error == 0, "pthread_create: %s", strerror(error))) {
        pthread_join(id, NULL);
    }
}

static void child(uint64_t n)
{
    int ends[2] = {-1, -1};
    char path[64];
    check(pipe2(ends, O_CLOEXEC) == 0, "pipe2: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        char byte;
        close(ends[1]);
        _exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
    }
    check(pid > 0, "fork: %s", strerror(errno));
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int of_child = open(path, O_RDONLY | O_CLOEXEC);
    close(ends[0]);
    close(ends[1]);
    int status = 0;
    check(waitpid(pid, &status, 0) == pid && status == 0, "child %llu: status %d",
          (unsigned long long)n, status);
    close(of_child);
}

static void kvm(uint64_t n)
{
    static int device = -1;
    if (device < 0 && (device = open("/dev/kvm", O_RDWR | O_CLOEXEC)) < 0) {
        system_skip("/dev/kvm cannot be opened");
    }
    void *memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int vm = ioctl(device, KVM_CREATE_VM, 0);
    struct kvm_userspace_memory_region slot = {.memory_size = PAGE,
                                               .userspace_addr = (uintptr_t)memory};
    check(vm >= 0 && ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) == 0, "VM %llu: %s",
          (unsigned long long)n, strerror(errno));
    int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    check(vcpu >= 0, "KVM_CREATE_VCPU: %s", strerror(errno));
    close(vcpu);
    close(vm);
    munmap(memory, PAGE);
}

static const struct kind {
    const char *name;
    void (*one)(uint64_t n);
} kinds[] = {{"api", api}, {"left", left}, {"thread", thread}, {"child", child}, {"kvm", kvm}};

/* --- all of them ---------------------------------------------------------------------------- */

static void compare(const struct size *first, const struct size *last, bool timed)
{
    for (unsigned table = 0; system_ledger && table < LEDGER_TABLES; table++) {
        uint64_t room = timed ? SLACK_RECORDS : 0;
        check(last->used[table] <= first->used[table] + room, "%s: %llu records, later %llu",
              table_names[table], (unsigned long long)first->used[table],
              (unsigned long long)last->used[table]);
    }
    check(last->file_bytes <= first->file_bytes && last->file_blocks <= first->file_blocks,
          "the file: %llu bytes, later %llu", (unsigned long long)first->file_blocks,
          (unsigned long long)last->file_blocks);
    uint64_t kib = timed ? SLACK_LEFT_KIB : SLACK_KIB;
    check(last->resident_kib <= first->resident_kib + kib, "resident: %llu KiB, later %llu",
          (unsigned long long)first->resident_kib, (unsigned long long)last->resident_kib);
    check(last->private_kib <= first->private_kib + kib, "private: %llu KiB, later %llu",
          (unsigned long long)first->private_kib, (unsigned long long)last->private_kib);
    check(last->incomplete == 0, "incomplete: %llu", (unsigned long long)last->incomplete);
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 0);
    const struct kind *kind = NULL;
    for (size_t i = 0; system_argc == 3 && i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(system_argv[0], kinds[i].name) == 0) {
            kind = &kinds[i];
        }
    }
    if (kind == NULL) {
        fprintf(stderr, "usage: sandboxes LEDGER api|left|thread|child|kvm FIRST ALL\n");
        return 2;
    }
    uint64_t first = strtoull(system_argv[1], NULL, 10);
    uint64_t all = strtoull(system_argv[2], NULL, 10);
    bool with_ledger = system_ledger != NULL;
    null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (uint64_t n = 0; kind->one != api && n < FILLERS; n++) {
        api(n);
    }
    struct size after_first = {0};
    for (uint64_t n = 1; n <= all; n++) {
        kind->one(n);
        if (n == first) {
            ask(); /* once before it counts: it touches pages of its own */
            after_first = ask();
            tell(n, &after_first);
        }
    }
    struct size after_all = ask();
    tell(all, &after_all);
    compare(&after_first, &after_all, kind->one == left);
    check(!with_ledger || after_all.ended >= all, "%llu sandboxes ended of %llu",
          (unsigned long long)after_all.ended, (unsigned long long)all);
    return system_end();
}
