/*
 * policy_test.c: see policy_test.h.
 */
#include "policy_test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    VMAS_MAX = 70000,
    FDS_MAX = 4096,
    LINK_BYTES = 64,
    TICK_MS = 20, /* from one sandbox of no consequence to the next */
    SLOT_DISTANCE = 1 << 30,
    ASKED = SYS_getppid,
};

static const char reclaimed_name[] = "/memfd:boxledger:reclaimed";

struct policy_counts policy_counts(void)
{
    struct policy_counts counts = {0};
    struct ledger_view view;
    if (system_ledger == NULL || ledger_view_open(&view, system_ledger) != 0) {
        return counts;
    }
    const struct ledger_header *header = view.header;
    counts = (struct policy_counts){.reclaimed_fds = header->reclaimed_fds,
                                    .reclaimed_mappings = header->reclaimed_mappings,
                                    .reclaimed_bytes = header->reclaimed_bytes,
                                    .late_releases = header->late_releases,
                                    .quarantined_fds = header->quarantined_fds,
                                    .quarantined_bytes = header->quarantined_bytes,
                                    .closes_unseen = header->fd_closes_unseen};
    ledger_view_close(&view);
    return counts;
}

bool is_reclaimed_number(int fd)
{
    char path[LINK_BYTES], target[LINK_BYTES];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    long got = raw(SYS_readlinkat, AT_FDCWD, path, target, sizeof target);
    return got >= (long)sizeof reclaimed_name - 1 &&
           memcmp(target, reclaimed_name, sizeof reclaimed_name - 1) == 0;
}

uint64_t open_fds(void)
{
    static uint64_t bits[FDS_MAX / 64];
    long count = kernel_view_fds(bits, FDS_MAX);
    check(count > 0, "/proc/self/fd: %s", strerror(errno));
    return (uint64_t)count;
}

/* All of it is in VMAs with this protection; prot -1: with any. */
static bool covered(const void *start, size_t bytes, int prot)
{
    static struct kernel_range vmas[VMAS_MAX]; /* a look's own room */
    long count = kernel_view_maps(vmas, VMAS_MAX);
    uint64_t at = (uintptr_t)start, end = at + bytes;
    for (long i = 0; i < count && at < end; i++) {
        if (vmas[i].end <= at) {
            continue;
        }
        if (vmas[i].start > at || (prot >= 0 && vmas[i].prot != (unsigned)prot)) {
            return false;
        }
        at = vmas[i].end;
    }
    return at >= end;
}

bool is_reserved(const void *start, size_t bytes)
{
    return covered(start, bytes, PROT_NONE);
}

bool is_mapped(const void *start, size_t bytes)
{
    return covered(start, bytes, -1);
}

uint64_t file_of(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

void sleep_ms(unsigned ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    while (raw(SYS_nanosleep, &time, &time) == -EINTR) {
    }
}

uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void tick(void)
{
    sleep_ms(TICK_MS);
    boxledger_end(boxledger_begin("tick"));
}

void go_on_for(unsigned ms)
{
    uint64_t until = now_ms() + ms;
    do {
        tick();
    } while (now_ms() < until);
}

bool until_reclaimed(uint64_t fds, uint64_t mappings, unsigned ms)
{
    uint64_t until = now_ms() + ms;
    for (;;) {
        struct policy_counts counts = policy_counts();
        if (system_ledger == NULL ||
            (counts.reclaimed_fds >= fds && counts.reclaimed_mappings >= mappings)) {
            return true;
        }
        if (now_ms() > until) {
            return false;
        }
        tick();
    }
}

void mark_pages(void *start, size_t bytes, uint64_t mark)
{
    for (size_t at = 0; at < bytes; at += PAGE) {
        *(uint64_t *)(void *)((char *)start + at) = mark + at;
    }
}

bool has_marks(const void *start, size_t bytes, uint64_t mark)
{
    for (size_t at = 0; at < bytes; at += PAGE) {
        uint64_t is = 0;
        struct iovec here = {&is, sizeof is};
        struct iovec there = {(char *)(uintptr_t)start + at, sizeof is};
        if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != sizeof is || is != mark + at) {
            return false;
        }
    }
    return true;
}

void end_with_fd(int fd)
{
    boxledger_owner owner = boxledger_begin("left");
    int result = boxledger_assign_fd(owner, fd);
    check(result == 0 || !boxledger_present(), "descriptor %d is not assigned: %s", fd,
          strerror(errno));
    boxledger_end(owner);
}

void end_with_range(const void *start, size_t bytes)
{
    boxledger_owner owner = boxledger_begin("left");
    int result;
    do {
        result = boxledger_assign_range(owner, start, bytes);
    } while (result != 0 && errno == EAGAIN);
    check(result == 0 || !boxledger_present(), "%p is not assigned: %s", start, strerror(errno));
    boxledger_end(owner);
}

int kvm_device(void)
{
    static int device = -1;
    if (device < 0) {
        device = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    }
    if (device < 0) {
        system_skip("/dev/kvm cannot be opened");
    }
    return device;
}

int vm_create(void)
{
    int vm = ioctl(kvm_device(), KVM_CREATE_VM, 0);
    check(vm >= 0, "KVM_CREATE_VM: %s", strerror(errno));
    return vm;
}

void vm_bind(int vm, unsigned slot, const void *start, size_t bytes)
{
    struct kvm_userspace_memory_region region = {.slot = slot,
                                                 .guest_phys_addr = (uint64_t)slot * SLOT_DISTANCE,
                                                 .memory_size = bytes,
                                                 .userspace_addr = (uintptr_t)start};
    check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0, "a memory slot: %s",
          strerror(errno));
}

/* --- a process that asks ---------------------------------------------------------------------- */

static __attribute__((noreturn)) void ask(int control, unsigned calls)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ASKED, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    char byte;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    int listener =
        (int)raw(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (raw(SYS_write, control, &listener, sizeof listener) != sizeof listener ||
        raw(SYS_read, control, &byte, 1) != 1) {
        raw(SYS_exit_group, 1);
    }
    for (unsigned i = 0; i < calls; i++) {
        raw(ASKED);
    }
    raw(SYS_exit_group, 0);
    __builtin_unreachable();
}

void asking_begin(struct asking *asking, unsigned calls)
{
    int control[2], theirs = -1;
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) == 0, "a socket");
    asking->pid = fork();
    check(asking->pid >= 0, "fork: %s", strerror(errno));
    if (asking->pid == 0) {
        ask(control[1], calls);
    }
    close(control[1]);
    check(read(control[0], &theirs, sizeof theirs) == sizeof theirs && theirs >= 0, "no listener");
    asking->pidfd = (int)syscall(SYS_pidfd_open, asking->pid, 0);
    asking->listener = (int)syscall(SYS_pidfd_getfd, asking->pidfd, theirs, 0);
    check(asking->listener >= 0, "the listener: %s", strerror(errno));
    check(write(control[0], "g", 1) == 1, "a control socket");
    close(control[0]);
}

void asking_receive(struct asking *asking)
{
    struct seccomp_notif notification;
    memset(&notification, 0, sizeof notification);
    check(ioctl(asking->listener, SECCOMP_IOCTL_NOTIF_RECV, &notification) == 0, "RECV: %s",
          strerror(errno));
    asking->id = notification.id;
}

void asking_answer(struct asking *asking, int fd)
{
    struct seccomp_notif_addfd add = {.id = asking->id,
                                      .flags = SECCOMP_ADDFD_FLAG_SEND,
                                      .srcfd = (uint32_t)fd,
                                      .newfd_flags = O_CLOEXEC};
    check(ioctl(asking->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) >= 0, "ADDFD: %s",
          strerror(errno));
}

void asking_end(struct asking *asking)
{
    int status = -1;
    close(asking->listener);
    check(waitpid(asking->pid, &status, 0) == asking->pid && WIFEXITED(status) &&
              WEXITSTATUS(status) == 0,
          "the asking process ended with %#x", status);
    close(asking->pidfd);
}
