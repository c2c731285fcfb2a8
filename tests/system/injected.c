/*
 * injected.c: a supervisor that makes its memfds by inline syscalls and injects them through
 * libc's ioctl, in every spelling of SECCOMP_IOCTL_NOTIF_ADDFD that the kernel takes.
 *
 *     injected NAME...       one memfd, one notification and one injection a name; keeps them all
 *
 * The kernel looks at the low 32 bits of a request and, for this one, at neither its direction nor
 * its size; real supervisors write _IOWR where the header has _IOW. Prints the descriptors it
 * keeps.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "raw.h"

#define SKIPPED 77

static __attribute__((noreturn)) void die(const char *what)
{
    printf("injected: %s: %s\n", what, strerror(errno));
    exit(errno == EPERM || errno == EACCES || errno == ENOSYS ? SKIPPED : 1);
}

/* Raises a notification for each getppid, and hands the listener to the supervisor. */
static __attribute__((noreturn)) void sandboxed(int control, int calls)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    long listener = raw_syscall3(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                                 SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    int number = (int)listener;
    if (write(control, &number, sizeof number) != sizeof number || listener < 0 ||
        read(control, &number, sizeof number) != sizeof number) {
        _exit(1);
    }
    for (int i = 0; i < calls; i++) {
        char byte;
        long fd = raw_syscall0(SYS_getppid); /* answered with a descriptor */
        if (fd < 0 || pread((int)fd, &byte, 1, 0) != 1) {
            _exit(2);
        }
    }
    _exit(0);
}

static __attribute__((noinline)) int inject(int listener, unsigned long request, uint64_t id,
                                            int fd)
{
    struct seccomp_notif_addfd add = {
        .id = id, .flags = SECCOMP_ADDFD_FLAG_SEND, .srcfd = (uint32_t)fd};
    int result = ioctl(listener, request, &add);
    __asm__ volatile(""); /* no tail call: this frame is what the report must name */
    return result;
}

int main(int argc, char **argv)
{
    const unsigned long spellings[] = {
        SECCOMP_IOCTL_NOTIF_ADDFD,
        _IOWR('!', 3, struct seccomp_notif_addfd),
        (unsigned long)(long)(int)_IOWR('!', 3, struct seccomp_notif_addfd), /* an int, widened */
        SECCOMP_IOCTL_NOTIF_ADDFD | 0x5555555500000000ul,
    };
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        die("socketpair");
    }
    pid_t child = fork();
    if (child < 0) {
        die("fork");
    }
    if (child == 0) {
        sandboxed(pair[1], argc - 1);
    }
    int theirs;
    if (read(pair[0], &theirs, sizeof theirs) != sizeof theirs) {
        die("no listener");
    }
    if (theirs < 0) {
        errno = -theirs;
        die("seccomp");
    }
    long pidfd = raw_syscall2(SYS_pidfd_open, child, 0);
    long listener = raw_syscall3(SYS_pidfd_getfd, pidfd, theirs, 0);
    if (listener < 0) {
        errno = (int)-listener;
        die("pidfd_getfd");
    }
    if (write(pair[0], "goon", sizeof theirs) != sizeof theirs) {
        die("write");
    }
    for (int i = 1; i < argc; i++) {
        struct seccomp_notif notification;
        memset(&notification, 0, sizeof notification);
        if (ioctl((int)listener, SECCOMP_IOCTL_NOTIF_RECV, &notification) != 0) {
            die("no notification");
        }
        long fd = raw_syscall2(SYS_memfd_create, argv[i], 1 /* MFD_CLOEXEC */);
        raw_syscall3(SYS_write, fd, "x", 1);
        unsigned long request = spellings[(size_t)(i - 1) % (sizeof spellings / sizeof *spellings)];
        if (inject((int)listener, request, notification.id, (int)fd) < 0) {
            die(argv[i]);
        }
        printf("%s %ld\n", argv[i], fd);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) {
        printf("injected: the sandbox ended with %#x\n", (unsigned)status);
        return 1;
    }
    return 0;
}
