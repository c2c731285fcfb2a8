/*
 * police_limits.c: what wrappers ask before a sandbox takes something, while limits are on: whose
 * it will be, and whether there is room. What there is room for limit.c knows.
 */
#include <linux/kvm.h>
#include <sys/mman.h>

#include "calls.h"
#include "police.h"
#include "policy/limit.h"
#include "sandbox/kvm.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* asm-generic/mman-common.h, Linux 4.17 */
#endif
#define FIRST_ADDRESS 4096l /* below it nothing is mapped: the kernel shall say EFAULT */

uint32_t police_owner(uint32_t own)
{
    struct sandbox_scope scope = sandbox_scope(&shim.sandbox, &shim_thread.sandbox);
    return own && !scope.is_explicit ? own : scope.owner;
}

/* Sets errno where there is no room. */
static bool refuses(int error)
{
    if (error != 0) {
        errno = error;
    }
    return error != 0;
}

static struct policy_event event_for(const struct unwind_start *here, uint32_t own)
{
    struct policy_event event = police_event(here);
    event.owner = police_owner(own);
    return event;
}

bool police_refuses_fds(const struct unwind_start *here, unsigned count, uint32_t owner)
{
    owner = police_owner(owner);
    if (limit_is_far(&shim.ledger, owner, count)) {
        return false;
    }
    struct policy_event event = police_event(here);
    event.owner = owner;
    return refuses(limit_fds(&event, count));
}

bool police_refuses_fd_at(const struct unwind_start *here, int fd)
{
    struct policy_event event = event_for(here, 0);
    const struct ledger_fd *record = ledger_fd_record(&shim.ledger, fd);
    uint32_t owner = record ? __atomic_load_n(&record->owner, __ATOMIC_RELAXED) : 0;
    bool takes_none = record && ledger_owner_outermost(&shim.ledger, owner) ==
                                    ledger_owner_outermost(&shim.ledger, event.owner);
    return !takes_none && refuses(limit_fds(&event, 1));
}

unsigned police_admits_fds(const struct unwind_start *here, const int *fds, unsigned count)
{
    struct policy_event event = event_for(here, 0);
    return event.may_call ? limit_received(&event, fds, count) : count;
}

/* The VM that `fd` is, or is a part of; 0: none that is known. */
static uint32_t vm_of(const struct unwind_start *here, int fd)
{
    struct sandbox_event event = shim_sandbox_event(here);
    return kvm_owner(&event, fd);
}

static bool refuses_region(const struct unwind_start *here, int fd, long argument)
{
    const struct kvm_userspace_memory_region *region = (const void *)argument;
    struct policy_event event = police_event(here);
    event.owner = vm_of(here, fd);
    uint64_t end = region->userspace_addr + region->memory_size;
    return event.owner && refuses(limit_bind(&event, region->userspace_addr, end));
}

bool police_refuses_ioctl(const struct unwind_start *here, int fd, uint32_t request, long argument)
{
    enum ledger_fd_kind kind;
    if (request == KVM_SET_USER_MEMORY_REGION || request == KVM_SET_USER_MEMORY_REGION_2) {
        return argument >= FIRST_ADDRESS && refuses_region(here, fd, argument);
    }
    if (!shim_ioctl_takes(request, &kind)) {
        return false;
    }
    bool of_vm = kind == LEDGER_FD_KVM_VCPU || kind == LEDGER_FD_KVM_DEVICE;
    bool is_vm = kind == LEDGER_FD_KVM_VM;
    return police_refuses_fds(here, 1, of_vm ? vm_of(here, fd) : is_vm ? LIMIT_NEW_OWNER : 0);
}

bool police_refuses_mmap(const struct unwind_start *here, const struct policy_map *map)
{
    uint32_t owner = police_owner(map->flags & MAP_ANONYMOUS ? 0 : plain_owner_of_map(map->fd));
    if (owner == 0) {
        return false;
    }
    struct policy_event event = police_event(here);
    uint64_t start = (uintptr_t)map->address;
    uint64_t size = (map->length + event.page - 1) & ~(event.page - 1);
    bool over = (map->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) == MAP_FIXED;
    event.owner = owner;
    return refuses(over && start + size > start ? limit_map_over(&event, start, start + size)
                                                : limit_map(&event, 1, size));
}

bool police_refuses_bytes(const struct unwind_start *here, uint64_t bytes)
{
    struct policy_event event = event_for(here, 0);
    return refuses(limit_map(&event, 1, bytes));
}

bool police_refuses_growth(const struct unwind_start *here, uint64_t start, uint64_t end,
                           uint64_t new_size, bool once_more)
{
    if (!shim_had_owners()) {
        return false;
    }
    struct policy_event event = police_event(here);
    uint64_t size = (new_size + event.page - 1) & ~(event.page - 1);
    return refuses(limit_grow(&event, start, end, size, once_more));
}

bool police_refuses_split(const struct unwind_start *here, uint64_t start, uint64_t end, int prot)
{
    if (!shim_had_owners()) {
        return false;
    }
    struct policy_event event = police_event(here);
    return start < end && refuses(limit_split(&event, start, end, prot));
}
