/*
 * kinds.h: what the kinds of descriptors are called, in every report alike.
 */
#ifndef BOXLEDGER_LEDGER_KINDS_H
#define BOXLEDGER_LEDGER_KINDS_H

#include "format.h"

static const char *const ledger_fd_kind_names[LEDGER_FD_KINDS] = {
    [LEDGER_FD_UNKNOWN] = "descriptor",
    [LEDGER_FD_FILE] = "file",
    [LEDGER_FD_DIRECTORY] = "directory",
    [LEDGER_FD_MEMFD] = "memfd",
    [LEDGER_FD_SECRETMEM] = "secretmem",
    [LEDGER_FD_PIPE] = "pipe",
    [LEDGER_FD_SOCKET] = "socket",
    [LEDGER_FD_EVENTFD] = "eventfd",
    [LEDGER_FD_EPOLL] = "epoll",
    [LEDGER_FD_TIMERFD] = "timerfd",
    [LEDGER_FD_SIGNALFD] = "signalfd",
    [LEDGER_FD_INOTIFY] = "inotify",
    [LEDGER_FD_FANOTIFY] = "fanotify",
    [LEDGER_FD_PIDFD] = "pidfd",
    [LEDGER_FD_RECEIVED] = "received descriptor",
    [LEDGER_FD_SHM] = "shared memory object",
    [LEDGER_FD_MQUEUE] = "message queue",
    [LEDGER_FD_PTY] = "terminal",
    [LEDGER_FD_MOUNT] = "mount",
    [LEDGER_FD_IO_URING] = "io_uring",
    [LEDGER_FD_USERFAULTFD] = "userfaultfd",
    [LEDGER_FD_PERF] = "perf event",
    [LEDGER_FD_BPF] = "bpf",
    [LEDGER_FD_SECCOMP] = "seccomp listener",
    [LEDGER_FD_IOCTL] = "descriptor from an ioctl",
    [LEDGER_FD_KVM_VM] = "kvm-vm",
    [LEDGER_FD_KVM_VCPU] = "kvm-vcpu",
    [LEDGER_FD_KVM_DEVICE] = "kvm-device",
    [LEDGER_FD_LANDLOCK] = "landlock ruleset",
    [LEDGER_FD_DUP] = "duplicate",
    [LEDGER_FD_RECLAIMED] = "reclaimed number",
};

#endif
