/*
 * wrap_ioctl.c: the ioctls that return a descriptor or name one.
 *
 * All others, KVM_RUN first of them, are jumped past: one look at the request. Requests are named
 * by the kernel's headers where Debian 12 has them.
 */
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <linux/loop.h>
#include <linux/nsfs.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <linux/sync_file.h>
#include <linux/udmabuf.h>
#include <linux/userfaultfd.h>
#include <linux/vfio.h>
#include <linux/vhost.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/ioctl.h>

#include "calls.h"
#include "wrap.h"

#ifndef KVM_GET_STATS_FD
#define KVM_GET_STATS_FD _IO(KVMIO, 0xce) /* linux/kvm.h, Linux 5.14 */
#endif
#ifndef KVM_CREATE_GUEST_MEMFD
#define KVM_CREATE_GUEST_MEMFD _IOWR(KVMIO, 0xd4, char[64]) /* linux/kvm.h, Linux 6.8 */
#endif
#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif
#define DRM_PRIME_HANDLE_TO_FD _IOWR('d', 0x2d, char[12]) /* drm/drm.h: handle, flags, fd */

/* Whether the call answers with a new descriptor. */
static bool returns_fd(uint32_t request, enum ledger_fd_kind *kind)
{
    switch (request) {
    case KVM_CREATE_VM:
        *kind = LEDGER_FD_KVM_VM;
        return true;
    case KVM_CREATE_VCPU:
        *kind = LEDGER_FD_KVM_VCPU;
        return true;
    case KVM_GET_STATS_FD:
    case KVM_CREATE_GUEST_MEMFD:
        *kind = LEDGER_FD_KVM_DEVICE;
        return true;
    case TIOCGPTPEER:
        *kind = LEDGER_FD_PTY;
        return true;
    case USERFAULTFD_IOC_NEW:
        *kind = LEDGER_FD_USERFAULTFD;
        return true;
    case NS_GET_USERNS:
    case NS_GET_PARENT:
    case UDMABUF_CREATE:
    case UDMABUF_CREATE_LIST:
    case VFIO_GROUP_GET_DEVICE_FD:
        *kind = LEDGER_FD_IOCTL;
        return true;
    default:
        return false;
    }
}

/* Where the argument holds a new descriptor after the call; 0: nowhere. Offsets are + 1. */
static unsigned fills_fd(uint32_t request, enum ledger_fd_kind *kind)
{
    *kind = LEDGER_FD_IOCTL;
    switch (request) {
    case KVM_CREATE_DEVICE:
        *kind = LEDGER_FD_KVM_DEVICE;
        return offsetof(struct kvm_create_device, fd) + 1;
    case DMA_HEAP_IOCTL_ALLOC:
        return offsetof(struct dma_heap_allocation_data, fd) + 1;
    case SYNC_IOC_MERGE:
        return offsetof(struct sync_merge_data, fence) + 1;
    case DRM_PRIME_HANDLE_TO_FD:
        return 8 + 1;
    default:
        return 0;
    }
}

/* Where the argument names a descriptor of the caller; 0: nowhere. Offsets are + 1. */
static unsigned names_fd(uint32_t request)
{
    /* The kernel looks at neither the size nor the direction of this one (kernel/seccomp.c,
     * EA_IOCTL): sandlock 0.4.6 says both ways. */
    if (_IOC_TYPE(request) == SECCOMP_IOC_MAGIC &&
        _IOC_NR(request) == _IOC_NR(SECCOMP_IOCTL_NOTIF_ADDFD)) {
        return offsetof(struct seccomp_notif_addfd, srcfd) + 1;
    }
    switch (request) {
    case KVM_IRQFD:
        return offsetof(struct kvm_irqfd, fd) + 1;
    case KVM_IOEVENTFD:
        return offsetof(struct kvm_ioeventfd, fd) + 1;
    case VHOST_SET_VRING_KICK:
    case VHOST_SET_VRING_CALL:
    case VHOST_SET_VRING_ERR:
        return offsetof(struct vhost_vring_file, fd) + 1;
    case UDMABUF_CREATE:
        return offsetof(struct udmabuf_create, memfd) + 1;
    default:
        return 0;
    }
}

/* Whether the argument itself is a descriptor. */
static bool is_fd(uint32_t request)
{
    return request == FICLONE || request == LOOP_SET_FD || request == LOOP_CHANGE_FD ||
           request == PERF_EVENT_IOC_SET_OUTPUT;
}

/* The types that any of the above have; KVM_RUN shares one and is the hottest of all. */
bool shim_ioctl_matters(unsigned long wide)
{
    uint32_t request = (uint32_t)wide; /* the kernel's is an unsigned int: no more counts */
    enum ledger_fd_kind kind;
    if (likely(request == KVM_RUN)) {
        return false;
    }
    return returns_fd(request, &kind) || fills_fd(request, &kind) != 0 || names_fd(request) != 0 ||
           is_fd(request);
}

static int fd_at(long argument, unsigned offset)
{
    return *(const int *)(argument + (long)offset - 1);
}

/* After the call: what succeeded has shown that the argument is there to be read. */
void shim_ioctl_done(const struct unwind_start *here, unsigned long wide, long argument, int result)
{
    uint32_t request = (uint32_t)wide;
    enum ledger_fd_kind kind;
    unsigned offset = names_fd(request);
    if (result >= 0 && offset != 0) {
        shim_fd_named(here, fd_at(argument, offset));
    }
    if (result >= 0 && is_fd(request)) {
        shim_fd_named(here, (int)argument);
    }
    if (returns_fd(request, &kind)) {
        if (result >= 0) {
            shim_fd_taken(here, result, kind, LEDGER_CLOEXEC, request);
        } else if (errno == EMFILE || errno == ENFILE) {
            shim_fd_refused(here);
        }
        return;
    }
    offset = fills_fd(request, &kind);
    if (result >= 0 && offset != 0) {
        shim_fd_taken(here, fd_at(argument, offset), kind, LEDGER_CLOEXEC, request);
    }
}

static __attribute__((noinline)) int ioctl_that_matters(const struct unwind_start *here, int fd,
                                                        unsigned long request, long argument)
{
    int result = PERFORM(false, int, ioctl, (fd, request, argument),
                         raw_syscall3(SYS_ioctl, fd, request, argument));
    if (shim_watching()) {
        shim_ioctl_done(here, request, argument, result);
    }
    return result;
}

/* ioctl.2. Declared without the dots, which changes nothing in how it is called. */
EXPORT int shim_ioctl_wrapper(int fd, unsigned long request, long argument) __asm__("ioctl");
EXPORT int shim_ioctl_wrapper(int fd, unsigned long request, long argument)
{
    if (likely(!shim_ioctl_matters(request)) && likely(real.ioctl != NULL)) {
        return ((int (*)(int, unsigned long, long))real.ioctl)(fd, request, argument);
    }
    return ioctl_that_matters(HERE, fd, request, argument);
}
