/*
 * vm_internal.h: what a VM is made of, for vm.c and vm_snapshot.c alone.
 */
#ifndef SUPERVISOR_VM_INTERNAL_H
#define SUPERVISOR_VM_INTERNAL_H

#include <errno.h>
#include <stdatomic.h>

#include "boxledger.h"
#include "supervisor/error.h"
#include "supervisor/guest_abi.h"
#include "supervisor/owned.h"
#include "supervisor/vm.h"
#include "supervisor/vm_cpu.h"
#include "supervisor/vm_memory.h"

struct vm_host {
    int kvm;
    size_t run_bytes; /* of a virtual CPU's shared mapping */
    size_t slots;     /* that a VM may have */
    struct vm_pool pool;
    atomic_uint_fast64_t made; /* VMs, ever: a VM's number is never used again */
};

struct vm_region {
    struct vm_memory *memory; /* NULL: no region has this slot */
    uint64_t address;
    enum guest_region kind;
};

/* The slot of the guest's own memory; region i has the slot behind it. */
#define VM_OWN_SLOT 0
#define VM_SLOT_OF(index) ((unsigned)(index) + 1)

struct vm {
    struct vm_host *host;
    uint64_t number;
    boxledger_owner owner; /* 0: there is no ledger */
    unsigned defects;
    int fd;
    struct vm_cpu cpu;
    struct vm_memory *own; /* the guest's own memory, of the pool */
    struct guest_layout layout;
    struct vm_region *regions;
    size_t room;
    bool is_broken; /* a step failed that leaves nothing but the end */
    char console[VM_CONSOLE_BYTES];
};

/* What the thread acquires until the end of the scope is the sandbox's. */
static inline boxledger_owner vm_scope_enter(const struct vm *vm)
{
    return vm->owner != 0 && boxledger_enter(vm->owner) == 0 ? vm->owner : 0;
}

static inline void vm_scope_leave(const boxledger_owner *owner)
{
    int saved = errno;

    if (*owner != 0)
        boxledger_leave(*owner);
    errno = saved;
}

#define VM_SCOPE(vm)                                                                               \
    __attribute__((cleanup(vm_scope_leave), unused)) boxledger_owner scope = vm_scope_enter(vm)

/* Binds a region's memory to its slot. */
int vm_slot_set(struct vm *vm, size_t index, struct error *error);

/* Takes a region out of its slot, and lets go of its memory. Its addresses stay taken. `forgets`:
 * with the defect, the memory stays mapped. */
int vm_region_drop(struct vm *vm, size_t index, bool forgets, struct error *error);

int vm_check_usable(const struct vm *vm, struct error *error);

#endif
