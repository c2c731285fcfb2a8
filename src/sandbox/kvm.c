/*
 * kvm.c: a sandbox that is a virtual machine of KVM. Documentation/virt/kvm/api.rst has the ioctls.
 *
 * It begins with KVM_CREATE_VM and lives by the descriptors of that VM. What its memory slots map,
 * its vCPUs, devices and eventfds are its own. It never looks into the guest.
 */
#include "kvm.h"

#include <linux/kvm.h>

#include "ledger/fault.h"
#include "sandbox.h"

/* What both forms of the ioctl begin with: struct kvm_userspace_memory_region. */
static void on_memory_region(const struct sandbox_event *event, uint32_t vm,
                             const struct kvm_userspace_memory_region *region)
{
    struct ledger_map_event change = {
        .op = region->memory_size ? LEDGER_MAP_BIND : LEDGER_MAP_UNBIND,
        .owner = vm,
        .detail = region->slot,
        .start = region->userspace_addr,
        .end = region->userspace_addr + region->memory_size,
        .ticket = ledger_ticket(event->ledger),
        .now_ns = event->now_ns,
        .stack = sandbox_stack(event),
        .tid = event->actor->tid,
    };
    if ((FAULT(slots_unseen) && change.op == LEDGER_MAP_BIND) ||
        (FAULT(unbind_unseen) && change.op == LEDGER_MAP_UNBIND)) {
        return;
    }
    ledger_map_submit(event->ledger, event->actor, &change);
}

/* An eventfd that the VM signals or waits for becomes its own, unless it is another's: then it is
 * nobody's alone. */
static void on_eventfd(const struct sandbox_event *event, uint32_t vm, int fd)
{
    const struct ledger_fd *record = ledger_fd_record(event->ledger, fd);
    uint32_t owner = record ? __atomic_load_n(&record->owner, __ATOMIC_RELAXED) : 0;
    if (!record || owner == vm || (record->flags & LEDGER_INHERITED) || FAULT(eventfds_nobodys)) {
        return;
    }
    bool weak = owner == 0 || (record->flags & (LEDGER_SCOPED | LEDGER_TIED));
    bool same =
        ledger_owner_outermost(event->ledger, owner) == ledger_owner_outermost(event->ledger, vm);
    if (weak) {
        ledger_fd_assign(event->ledger, event->actor, fd, vm, 0, LEDGER_SCOPED | LEDGER_TIED,
                         LEDGER_FD_UNKNOWN);
    } else if (!same) {
        ledger_fd_assign(event->ledger, event->actor, fd, vm, LEDGER_SHARED, 0, LEDGER_FD_UNKNOWN);
    }
}

/* Within an explicit scope the VM is a part of that sandbox. */
uint32_t kvm_vm_begins(const struct sandbox_event *event)
{
    struct sandbox_scope scope = sandbox_scope(event->sandbox, event->thread);
    struct ledger_owner_event begin = {.kind = LEDGER_OWNER_KVM,
                                       .parent = scope.is_explicit ? scope.owner : 0,
                                       .stack = sandbox_stack(event),
                                       .now_ns = event->now_ns};
    return FAULT(kvm_unseen) ? 0 : ledger_owner_begin(event->ledger, event->actor, &begin);
}

static bool is_kvm(const struct ledger *ledger, uint32_t owner)
{
    const struct ledger_owner *record = ledger_owner(ledger, owner);
    return record && record->kind == LEDGER_OWNER_KVM;
}

uint32_t kvm_owner(const struct sandbox_event *event, int fd)
{
    const struct ledger_fd *record = ledger_fd_record(event->ledger, fd);
    uint32_t owner = record ? __atomic_load_n(&record->owner, __ATOMIC_RELAXED) : 0;
    return is_kvm(event->ledger, owner) ? owner : 0;
}

/* A VM that was made unseen begins when its descriptor is first used as one. */
static uint32_t vm_of(const struct sandbox_event *event, int fd)
{
    uint32_t vm = kvm_owner(event, fd);
    if (vm == 0 && ledger_fd_record(event->ledger, fd)) {
        vm = kvm_vm_begins(event);
        if (vm && !ledger_fd_assign(event->ledger, event->actor, fd, vm, LEDGER_ANCHOR,
                                    LEDGER_SCOPED | LEDGER_TIED, LEDGER_FD_KVM_VM)) {
            ledger_owner_end(event->ledger, event->actor, vm, 0);
            vm = 0;
        }
    }
    return vm;
}

void kvm_on_ioctl(const struct sandbox_event *event, int fd, uint32_t request, const void *argument)
{
    uint32_t vm = vm_of(event, fd);
    if (vm == 0) {
        return;
    }
    switch (request) {
    case KVM_SET_USER_MEMORY_REGION:
    case KVM_SET_USER_MEMORY_REGION_2:
        on_memory_region(event, vm, argument);
        break;
    case KVM_IRQFD: {
        const struct kvm_irqfd *irqfd = argument;
        on_eventfd(event, vm, (int)irqfd->fd);
        if (irqfd->flags & KVM_IRQFD_FLAG_RESAMPLE) {
            on_eventfd(event, vm, (int)irqfd->resamplefd);
        }
        break;
    }
    case KVM_IOEVENTFD:
        on_eventfd(event, vm, ((const struct kvm_ioeventfd *)argument)->fd);
        break;
    default: /* it was the descriptor's first use */
        break;
    }
}
