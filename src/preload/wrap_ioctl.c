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
#include "police.h"
#include "sandbox/kvm.h"
#include "sandbox/seccomp.h"
#include "wrap.h"
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

/* Whether any of the above has this type: a first sieve, of a few compares. A terminal's are
 * frequent, and only one of them matters. */
static inline bool type_matters(uint32_t request)
{
    switch (_IOC_TYPE(request)) {
    case KVMIO:
    case SECCOMP_IOC_MAGIC:
    case _IOC_TYPE(USERFAULTFD_IOC_NEW):
    case NSIO:
    case _IOC_TYPE(UDMABUF_CREATE):
    case VFIO_TYPE:
    case DMA_HEAP_IOC_MAGIC:
    case SYNC_IOC_MAGIC:
    case _IOC_TYPE(DRM_PRIME_HANDLE_TO_FD):
    case VHOST_VIRTIO:
    case _IOC_TYPE(FICLONE):
    case _IOC_TYPE(LOOP_SET_FD):
    case _IOC_TYPE(PERF_EVENT_IOC_SET_OUTPUT):
        return true;
    default:
        return request == TIOCGPTPEER;
    }
}

/* One by one, behind the sieve. */
static __attribute__((noinline)) bool request_matters(uint32_t request)
{
    enum ledger_fd_kind kind;
    return kvm_wants(request) || seccomp_wants(request) || returns_fd(request, &kind) ||
           fills_fd(request, &kind) != 0 || names_fd(request) != 0 || is_fd(request) ||
           request == UFFDIO_REGISTER;
}

static inline bool matters(unsigned long wide)
{
    uint32_t request = (uint32_t)wide; /* the kernel's is an unsigned int: no more counts */
    if (likely(request == KVM_RUN)) {  /* the hottest of all */
        return false;
    }
    return type_matters(request) && request_matters(request);
}

bool shim_ioctl_matters(unsigned long request)
{
    return matters(request);
}

void shim_ioctl_begins(const struct unwind_start *here, unsigned long wide)
{
    if (seccomp_wants((uint32_t)wide)) {
        struct sandbox_event event = shim_sandbox_event(here);
        seccomp_before_ioctl(&event, (uint32_t)wide);
    }
}

bool shim_ioctl_takes(uint32_t request, enum ledger_fd_kind *kind)
{
    return returns_fd(request, kind) || fills_fd(request, kind) != 0;
}

static int fd_at(long argument, unsigned offset)
{
    return *(const int *)(argument + (long)offset - 1);
}

/* A new descriptor's owner: that of the VM that `fd` is or is of. */
static uint32_t owner_of_new(const struct unwind_start *here, int fd, enum ledger_fd_kind kind)
{
    if ((kind != LEDGER_FD_KVM_VCPU && kind != LEDGER_FD_KVM_DEVICE) || FAULT(parts_nobodys)) {
        return 0;
    }
    struct sandbox_event event = shim_sandbox_event(here);
    return kvm_owner(&event, fd);
}

static void vm_taken(const struct unwind_start *here, int fd, uint32_t request)
{
    struct sandbox_event event = shim_sandbox_event(here);
    uint32_t vm = kvm_vm_begins(&event);
    unsigned anchor = vm ? LEDGER_ANCHOR : 0;
    shim_fd_taken_for(here, fd, LEDGER_FD_KVM_VM, LEDGER_CLOEXEC | anchor, request, vm);
    if (vm && kvm_owner(&event, fd) != vm) { /* no room for the descriptor */
        ledger_owner_end(&shim.ledger, event.actor, vm, 0);
    }
}

static void tell_sandboxes(const struct unwind_start *here, int fd, uint32_t request, long argument,
                           int result)
{
    bool lost = result < 0 && errno == ENOENT && seccomp_wants(request);
    if ((result < 0 && !lost) || (!kvm_wants(request) && !seccomp_wants(request))) {
        return;
    }
    if (!lost) {
        shim_fd_named(here, fd);
    }
    struct sandbox_event event = shim_sandbox_event(here);
    if (kvm_wants(request)) {
        kvm_on_ioctl(&event, fd, request, (const void *)argument);
    } else {
        seccomp_on_ioctl(&event, fd, request, (const void *)argument, result);
        if (shim_polices(POLICY_RECLAIM) && result >= 0 && _IOC_NR(request) == SECCOMP_ADDFD) {
            police_fd_owned(here, (int)((const struct seccomp_notif_addfd *)argument)->srcfd,
                            false);
        }
    }
    police_look(here);
}

/* After the call: what succeeded has shown that the argument is there to be read. */
void shim_ioctl_done(const struct unwind_start *here, int fd, unsigned long wide, long argument,
                     int result)
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
    if (result >= 0 && request == UFFDIO_REGISTER && shim_polices(POLICY_RESCUE)) {
        const struct uffdio_range *range = &((const struct uffdio_register *)argument)->range;
        police_spoil(here, range->start, range->start + range->len, LEDGER_ODD | LEDGER_WATCHED);
    }
    tell_sandboxes(here, fd, request, argument, result);
    if (returns_fd(request, &kind)) {
        if (result >= 0 && kind == LEDGER_FD_KVM_VM) {
            vm_taken(here, result, request);
        } else if (result >= 0) {
            shim_fd_taken_for(here, result, kind, LEDGER_CLOEXEC, request,
                              owner_of_new(here, fd, kind));
        } else if (errno == EMFILE || errno == ENFILE) {
            shim_fd_refused(here);
        }
        return;
    }
    offset = fills_fd(request, &kind);
    if (result >= 0 && offset != 0) {
        shim_fd_taken_for(here, fd_at(argument, offset), kind, LEDGER_CLOEXEC, request,
                          owner_of_new(here, fd, kind));
    }
}

static __attribute__((noinline)) int ioctl_that_matters(const struct unwind_start *here, int fd,
                                                        unsigned long request, long argument)
{
    bool watching = shim_watching();
    if (watching && shim_polices(POLICY_LIMIT) &&
        police_refuses_ioctl(here, fd, (uint32_t)request, argument)) {
        return -1;
    }
    if (watching) {
        shim_ioctl_begins(here, request);
    }
    int result = (int)TRY_TWICE(here, PERFORM(false, int, ioctl, (fd, request, argument),
                                              raw_syscall3(SYS_ioctl, fd, request, argument)));
    if (watching) {
        shim_ioctl_done(here, fd, request, argument, result);
    }
    return result;
}

/* ioctl.2. Declared without the dots, which changes nothing in how it is called. */
EXPORT int shim_ioctl_wrapper(int fd, unsigned long request, long argument) __asm__("ioctl");
EXPORT int shim_ioctl_wrapper(int fd, unsigned long request, long argument)
{
    if (likely(!matters(request)) && likely(real.ioctl != NULL)) {
        return ((int (*)(int, unsigned long, long))real.ioctl)(fd, request, argument);
    }
    return ioctl_that_matters(HERE, fd, request, argument);
}
