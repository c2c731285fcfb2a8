/*
 * kvm.h: requests of KVM that this libc's kernel headers may be too old for, and which of them
 * matter. All are from linux/kvm.h.
 */
#ifndef BOXLEDGER_SANDBOX_KVM_H
#define BOXLEDGER_SANDBOX_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#ifndef KVM_GET_STATS_FD
#define KVM_GET_STATS_FD _IO(KVMIO, 0xce) /* Linux 5.14 */
#endif
#ifndef KVM_CREATE_GUEST_MEMFD
#define KVM_CREATE_GUEST_MEMFD _IOWR(KVMIO, 0xd4, char[64]) /* Linux 6.8 */
#endif
#define KVM_SET_USER_MEMORY_REGION_2 _IOW(KVMIO, 0x49, char[160]) /* ..._REGION2, Linux 6.8 */

/* Whether kvm_on_ioctl wants to hear of it. */
static inline bool kvm_wants(uint32_t request)
{
    switch (request) {
    case KVM_SET_USER_MEMORY_REGION:
    case KVM_SET_USER_MEMORY_REGION_2:
    case KVM_IRQFD:
    case KVM_IOEVENTFD:
    case KVM_CREATE_VCPU:
        return true;
    default:
        return false;
    }
}

#endif
