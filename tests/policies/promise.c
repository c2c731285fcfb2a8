/*
 * promise.c: what boxledger_end, or a rule of the user's, promises, and what reclaim may make of
 * it: what is surely the sandbox's, and what the kernel confirms to be the same thing, and nothing
 * else.
 *
 *     promise LEDGER all|emfile|threads|off SETTLE_MS
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "policy_test.h"

enum {
    RANGE = 8 * PAGE,
    WAITS = 5,         /* settling times after which what may go is gone */
    BEHIND_MS = 20000, /* the same, on a busy machine */
    LEFT_AT_LIMIT = 48,
    WATCHDOG_S = 200,
};

static unsigned settle_ms;
static bool on; /* reclaim is */

/* --- things ------------------------------------------------------------------------------------
 */

static int make_memfd(void)
{
    int fd = memfd_create("left", MFD_CLOEXEC);
    check(fd >= 0, "memfd_create: %s", strerror(errno));
    return fd;
}

static void *map_anonymous(void)
{
    void *start = mmap(NULL, RANGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(start != MAP_FAILED, "mmap: %s", strerror(errno));
    mark_pages(start, RANGE, (uintptr_t)start);
    return start;
}

static void *map_memfd(int flags)
{
    int fd = make_memfd();
    check(ftruncate(fd, RANGE) == 0, "ftruncate: %s", strerror(errno));
    void *start = mmap(NULL, RANGE, PROT_READ | PROT_WRITE, flags, fd, 0);
    check(start != MAP_FAILED, "mmap: %s", strerror(errno));
    close(fd);
    mark_pages(start, RANGE, (uintptr_t)start);
    return start;
}

static void wait_for_policy(void)
{
    go_on_for(WAITS * settle_ms);
}

/* All of these go, by and by. */
static void fds_go(const int *fds, unsigned count, const char *what)
{
    uint64_t until = now_ms() + BEHIND_MS;
    unsigned left = count;
    while (on && left > 0 && now_ms() < until) {
        go_on_for(settle_ms / 2);
        left = 0;
        for (unsigned i = 0; i < count; i++) {
            left += !is_reclaimed_number(fds[i]);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        if (on) {
            check(is_reclaimed_number(fds[i]), "%s: descriptor %d (%u) was not reclaimed", what,
                  fds[i], i);
            check((raw(SYS_fcntl, fds[i], F_GETFD) & FD_CLOEXEC) != 0,
                  "%s: %d is not close-on-exec", what, fds[i]);
        }
        check(close(fds[i]) == 0, "%s: a late close of %d: %s", what, fds[i], strerror(errno));
    }
}

static void fd_stays(int fd, uint64_t file, const char *what)
{
    check(file_of(fd) == file && !is_reclaimed_number(fd), "%s: descriptor %d was touched", what,
          fd);
}

static void range_goes(void *start, const char *what)
{
    uint64_t until = now_ms() + BEHIND_MS;
    while (on && !is_reserved(start, RANGE) && now_ms() < until) {
        go_on_for(settle_ms / 2);
    }
    check(!on || is_reserved(start, RANGE), "%s: %p was not reclaimed", what, start);
    check(munmap(start, RANGE) == 0, "%s: a late munmap: %s", what, strerror(errno));
    check(!is_mapped(start, PAGE), "%s: %p is still mapped", what, start);
}

static void range_stays(void *start, const char *what)
{
    check(has_marks(start, RANGE, (uintptr_t)start), "%s: %p was touched", what, start);
    munmap(start, RANGE);
}

/* --- what goes ---------------------------------------------------------------------------------
 */

static void strong_descriptors_go(void)
{
    int pair[2], fds[8];
    unsigned count = 0;
    fds[count++] = make_memfd();
    fds[count++] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    fds[count++] = open("/", O_DIRECTORY | O_RDONLY); /* not close-on-exec: what stays there is */
    fds[count++] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(pipe2(pair, O_CLOEXEC) == 0, "pipe2: %s", strerror(errno));
    fds[count++] = pair[0];
    fds[count++] = pair[1];
    for (unsigned i = 0; i < count; i++) {
        end_with_fd(fds[i]);
    }
    fds_go(fds, count, "strong descriptors");
}

static void ranges_go(void)
{
    void *assigned = map_anonymous(), *of_file = map_memfd(MAP_SHARED);
    end_with_range(assigned, RANGE);
    end_with_range(of_file, RANGE);
    range_goes(assigned, "an assigned range");
    range_goes(of_file, "an assigned file's");
}

/* In a scope: descriptors and file mappings, once two sandboxes have left them. Private memory may
 * be an allocator's: it stays. */
static void scoped_things(void)
{
    enum { BOTH = 2 };
    int fds[BOTH];
    void *of_file[BOTH], *anonymous[BOTH];
    for (unsigned i = 0; i < BOTH; i++) {
        boxledger_owner owner = boxledger_begin("scoped");
        boxledger_enter(owner);
        fds[i] = make_memfd();
        of_file[i] = map_memfd(MAP_SHARED);
        anonymous[i] = map_anonymous();
        boxledger_leave(owner);
        boxledger_end(owner);
    }
    fds_go(fds, BOTH, "a scope's descriptor");
    for (unsigned i = 0; i < BOTH; i++) {
        range_goes(of_file[i], "a scope's file mapping");
    }
    wait_for_policy();
    for (unsigned i = 0; i < BOTH; i++) {
        range_stays(anonymous[i], "a scope's private memory");
    }
}

/* The program gave back a half; the other is the sandbox's still. */
static void halves(void)
{
    char *start = map_anonymous();
    end_with_range(start, RANGE);
    check(munmap(start, RANGE / 2) == 0, "munmap: %s", strerror(errno));
    void *others = raw(SYS_mmap, start, RANGE / 2, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1) == (long)start
                       ? start
                       : NULL;
    mark_pages(start, RANGE / 2, 1);
    uint64_t until = now_ms() + BEHIND_MS;
    while (on && !is_reserved(start + RANGE / 2, RANGE / 2) && now_ms() < until) {
        go_on_for(settle_ms / 2);
    }
    check(!on || is_reserved(start + RANGE / 2, RANGE / 2), "the second half was not reclaimed");
    check(others && has_marks(start, RANGE / 2, 1), "the first half is another's, and was touched");
    munmap(start, RANGE);
}

/* --- what stays --------------------------------------------------------------------------------
 */

static void weak_descriptors_stay(void)
{
    sigset_t none;
    sigemptyset(&none);
    const int fds[] = {eventfd(0, EFD_CLOEXEC),
                       epoll_create1(EPOLL_CLOEXEC),
                       timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC),
                       signalfd(-1, &none, SFD_CLOEXEC),
                       inotify_init1(IN_CLOEXEC),
                       open("/dev/null", O_RDONLY | O_CLOEXEC),
                       open("/dev/zero", O_RDWR | O_CLOEXEC)};
    enum { COUNT = sizeof fds / sizeof *fds };
    uint64_t files[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        check(fds[i] >= 0, "descriptor %u: %s", i, strerror(errno));
        files[i] = file_of(fds[i]);
        end_with_fd(fds[i]);
    }
    wait_for_policy();
    for (unsigned i = 0; i < COUNT; i++) {
        fd_stays(fds[i], files[i], "weak identity");
        close(fds[i]);
    }
}

/* Whose it is at the end is what counts, and an owner that lives keeps what it has. */
static void others_things_stay(void)
{
    int own = make_memfd(), back = make_memfd(), moved = make_memfd(), lives = make_memfd();
    int copied = make_memfd(), copy = fcntl(copied, F_DUPFD_CLOEXEC, 0);
    void *own_range = map_anonymous(), *back_range = map_anonymous();
    uint64_t files[] = {file_of(own), file_of(back), file_of(moved), file_of(lives), file_of(copy)};
    boxledger_owner first = boxledger_begin("first"), second = boxledger_begin("second");
    boxledger_assign_fd(first, back);
    boxledger_assign_fd(0, back);
    boxledger_assign_range(first, back_range, RANGE);
    boxledger_assign_range(0, back_range, RANGE);
    boxledger_assign_fd(first, moved);
    boxledger_assign_fd(first, copied);
    boxledger_assign_fd(second, lives);
    boxledger_end(first);
    boxledger_assign_fd(second, moved);
    fds_go(&copied, 1, "an original");
    wait_for_policy();
    fd_stays(own, files[0], "the supervisor's own");
    fd_stays(back, files[1], "given back");
    fd_stays(moved, files[2], "another sandbox's by now");
    fd_stays(lives, files[3], "a live sandbox's");
    fd_stays(copy, files[4], "the copy of what went");
    range_stays(own_range, "the supervisor's own");
    range_stays(back_range, "given back");
    boxledger_end(second);
    int rest[] = {moved, lives};
    fds_go(rest, 2, "when that has ended, too");
    close(own);
    close(back);
    close(copy);
}

/* What no wrapper saw, the kernel knows. */
static void replaced_unseen_stays(void)
{
    int closed = make_memfd(), replaced = make_memfd(), other = make_memfd();
    uint64_t file = file_of(other);
    end_with_fd(closed);
    end_with_fd(replaced);
    raw(SYS_close, closed);
    raw(SYS_dup3, other, replaced, O_CLOEXEC);
    char *gone = map_anonymous(), *mapped = map_anonymous(), *made_ro = map_anonymous();
    char *shrunk = map_anonymous();
    end_with_range(gone, RANGE);
    end_with_range(mapped, RANGE);
    end_with_range(made_ro, RANGE);
    end_with_range(shrunk, RANGE);
    raw(SYS_munmap, gone, RANGE);
    check(ftruncate(other, RANGE) == 0, "ftruncate: %s", strerror(errno));
    check(raw(SYS_mmap, mapped, RANGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, other) ==
              (long)mapped,
          "an inline mmap");
    mark_pages(mapped, RANGE, (uintptr_t)mapped);
    raw(SYS_mprotect, made_ro, RANGE, PROT_READ);
    raw(SYS_munmap, shrunk + RANGE - PAGE, PAGE);
    wait_for_policy();
    check(!is_reclaimed_number(closed), "%d was closed unseen, and is occupied", closed);
    fd_stays(replaced, file, "replaced unseen");
    check(!is_mapped(gone, PAGE), "%p was unmapped unseen, and is occupied", (void *)gone);
    check(has_marks(made_ro, RANGE, (uintptr_t)made_ro), "protected unseen: touched");
    check(!is_mapped(shrunk + RANGE - PAGE, PAGE), "shrunk unseen, and occupied");
    range_stays(mapped, "mapped over unseen");
    raw(SYS_munmap, made_ro, RANGE);
    raw(SYS_munmap, shrunk, RANGE);
    close(replaced);
    close(other);
}

/* The same number or range, seen: a successor is nobody's leftover. */
static void successors_stay(void)
{
    int fd = make_memfd(), again;
    char *start = map_anonymous();
    end_with_fd(fd);
    end_with_range(start, RANGE);
    close(fd);
    munmap(start, RANGE);
    again = make_memfd();
    check(again == fd, "the number is %d, not %d", again, fd);
    void *same = mmap(start, RANGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(same == start, "the range is %p, not %p", same, (void *)start);
    mark_pages(start, RANGE, (uintptr_t)start);
    uint64_t file = file_of(again);
    wait_for_policy();
    fd_stays(again, file, "a successor");
    range_stays(start, "a successor");
    close(again);
}

static void settling_is_waited_for(void)
{
    int fd = make_memfd();
    uint64_t file = file_of(fd), began = now_ms();
    end_with_fd(fd);
    go_on_for(settle_ms / 2);
    if (now_ms() - began < settle_ms) { /* on a busy machine it may be late already */
        bool touched = is_reclaimed_number(fd) && now_ms() - began < settle_ms;
        check(!touched && (touched || file_of(fd) == file || now_ms() - began >= settle_ms),
              "it was reclaimed before it had time to settle");
    }
    fds_go(&fd, 1, "settled");
}

/* A virtual machine within the scope: while a vCPU of it is open it may run, whatever was closed.
 */
static void memory_waits_for_vcpus(void)
{
    boxledger_owner owner = boxledger_begin("machine");
    boxledger_enter(owner);
    int vm = vm_create();
    int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    void *memory = map_anonymous();
    vm_bind(vm, 0, memory, RANGE);
    boxledger_leave(owner);
    boxledger_end(owner);
    wait_for_policy();
    check(has_marks(memory, RANGE, (uintptr_t)memory), "its VM and vCPU are open: touched");
    close(vm);
    wait_for_policy();
    check(has_marks(memory, RANGE, (uintptr_t)memory), "its vCPU is open: touched");
    close(vcpu);
    range_goes(memory, "memory of a VM that is gone");
}

struct guest_memfd { /* linux/kvm.h, Linux 6.8 */
    uint64_t size, flags, reserved[6];
};
#define CREATE_GUEST_MEMFD _IOWR(KVMIO, 0xd4, struct guest_memfd)

/* So does a guest_memfd, which is memory, too. */
static void guest_memfds_wait_for_vcpus(void)
{
    struct guest_memfd create = {.size = RANGE};
    boxledger_owner owner = boxledger_begin("machine");
    boxledger_enter(owner);
    int vm = vm_create();
    int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    int memory = ioctl(vm, CREATE_GUEST_MEMFD, &create);
    boxledger_leave(owner);
    if (memory >= 0) {
        boxledger_assign_fd(owner, memory);
        uint64_t file = file_of(memory);
        boxledger_end(owner);
        close(vm);
        wait_for_policy();
        check(file_of(memory) == file, "a guest_memfd, and its vCPU is open: touched");
        close(vcpu);
        fds_go(&memory, 1, "a guest_memfd of a VM that is gone");
        return;
    }
    printf("without guest_memfds: nothing is known of them\n");
    boxledger_end(owner);
    close(vcpu);
    close(vm);
}

/* In a thread with a filter boxledger makes no calls of its own: what is due there waits. */
static void *end_filtered(void *nothing)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_dup3, 5, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_newfstatat, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "a filter: %s",
          strerror(errno));
    go_on_for(WAITS * settle_ms);
    return nothing;
}

static void filtered_threads_touch_nothing(void)
{
    pthread_t thread;
    int fd = make_memfd();
    uint64_t file = file_of(fd);
    end_with_fd(fd);
    check(pthread_create(&thread, NULL, end_filtered, NULL) == 0, "a thread");
    pthread_join(thread, NULL);
    check(file_of(fd) == file || on, "touched");
    fds_go(&fd, 1, "after a thread with a filter");
}

/* What a child is executed with: no number that only a policy occupies. */
static void children_get_none(const char *self)
{
    int fds[4], status = -1;
    for (unsigned i = 0; i < 4; i++) {
        fds[i] = make_memfd();
        end_with_fd(fds[i]);
    }
    uint64_t until = now_ms() + BEHIND_MS;
    while (on && !is_reclaimed_number(fds[3]) && now_ms() < until) {
        go_on_for(settle_ms / 2);
    }
    pid_t pid = fork();
    if (pid == 0) {
        execl(self, self, "-", "child", "0", (char *)NULL);
        _exit(127);
    }
    check(waitpid(pid, &status, 0) == pid && status == 0, "a child got a reclaimed number: %#x",
          status);
    fds_go(fds, 4, "after an exec");
}

static int be_child(void)
{
    for (int fd = 3; fd < 1024; fd++) {
        check(!is_reclaimed_number(fd), "%d came with the exec", fd);
    }
    return system_end();
}

/* --- other runs --------------------------------------------------------------------------------
 */

/* The table is full, of what ended sandboxes left: the call that would fail makes room. */
static void room_is_made(void)
{
    int fds[LEFT_AT_LIMIT], fd, got = 0;
    for (unsigned i = 0; i < LEFT_AT_LIMIT; i++) {
        fds[i] = make_memfd();
        end_with_fd(fds[i]);
    }
    sleep_ms(2 * settle_ms); /* settled, and nothing that would have looked */
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    int room = 0; /* what is open above the limit takes none of it */
    for (int number = 0; number < (int)limit.rlim_cur; number++) {
        room += fcntl(number, F_GETFD) < 0;
    }
    while (got <= (int)limit.rlim_cur && (fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC)) >= 0) {
        got++;
    }
    check(on ? got > room : got == room, "%d descriptors until EMFILE, with room for %d", got,
          room);
    printf("%d descriptors until EMFILE\n", got);
}

struct box {
    int fd;
    void *range, *file_range;
};

static void *be_box(void *argument)
{
    struct box *box = argument;
    prctl(PR_SET_NAME, "box-1");
    box->fd = make_memfd();
    box->range = map_anonymous();
    box->file_range = map_memfd(MAP_SHARED);
    return NULL;
}

static void threads_leave(void)
{
    enum { BOTH = 2 };
    struct box boxes[BOTH];
    pthread_t thread;
    for (unsigned i = 0; i < BOTH; i++) {
        check(pthread_create(&thread, NULL, be_box, &boxes[i]) == 0, "a thread");
        pthread_join(thread, NULL);
    }
    fds_go((int[]){boxes[0].fd, boxes[1].fd}, BOTH, "a thread's descriptor");
    for (unsigned i = 0; i < BOTH; i++) {
        range_goes(boxes[i].file_range, "a thread's file mapping");
    }
    wait_for_policy();
    for (unsigned i = 0; i < BOTH; i++) {
        range_stays(boxes[i].range, "a thread's private memory");
    }
}

int main(int argc, char **argv)
{
    system_start(argc, argv, WATCHDOG_S);
    if (system_argc != 2) {
        return 2;
    }
    const char *mode = system_argv[0];
    settle_ms = (unsigned)strtoul(system_argv[1], NULL, 10);
    on = system_ledger != NULL && strcmp(mode, "off") != 0 && strcmp(mode, "vcpus-off") != 0;
    if (strcmp(mode, "child") == 0) {
        return be_child();
    }
    if (strcmp(mode, "emfile") == 0) {
        room_is_made();
        return system_end();
    }
    if (strcmp(mode, "threads") == 0) {
        threads_leave();
        return system_end();
    }
    if (strcmp(mode, "vcpus") == 0 || strcmp(mode, "vcpus-off") == 0) {
        if (access("/dev/kvm", R_OK | W_OK) != 0) {
            system_skip("memory and vCPUs: /dev/kvm cannot be opened");
        }
        memory_waits_for_vcpus();
        guest_memfds_wait_for_vcpus();
        return system_end();
    }
    strong_descriptors_go();
    ranges_go();
    scoped_things();
    halves();
    weak_descriptors_stay();
    others_things_stay();
    replaced_unseen_stays();
    successors_stay();
    settling_is_waited_for();
    filtered_threads_touch_nothing();
    children_get_none(argv[0]);
    struct policy_counts counts = policy_counts();
    check(on == (counts.reclaimed_fds > 0 && counts.reclaimed_mappings > 0) &&
              (on || counts.reclaimed_fds + counts.reclaimed_mappings == 0),
          "reclaimed %lu descriptors, %lu mappings", (unsigned long)counts.reclaimed_fds,
          (unsigned long)counts.reclaimed_mappings);
    return system_end();
}
