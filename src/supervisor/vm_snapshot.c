/*
 * vm_snapshot.c: the state of a VM's guest, kept and brought back.
 *
 * A snapshot shares the mappings of the regions that it has, so that what is unmapped later can
 * come back, and keeps a copy of each page that was written to. What a VM maps after it, it does
 * not have, and restoring releases that, slot and mapping.
 */
#include <string.h>

#include "supervisor/vm_internal.h"

struct vm_snapshot {
    uint64_t vm; /* whose it is */
    struct vm_cpu_state cpu;
    uint8_t own[GUEST_MEMORY_BYTES];
    struct guest_layout layout;
    size_t room; /* as the VM's regions: by slot */
    struct saved_region {
        struct vm_region region;
        struct vm_pages pages;
    } regions[];
};

static int fill(struct vm *vm, struct vm_snapshot *snapshot, struct error *error)
{
    for (size_t i = 0; i < vm->room; i++) {
        struct saved_region *saved = &snapshot->regions[i];

        if (vm->regions[i].memory == NULL)
            continue;
        saved->region = vm->regions[i];
        vm_memory_share(saved->region.memory);
        if (vm_pages_save(&saved->pages, saved->region.memory, error) != 0)
            return -1;
    }
    if (guest_layout_copy(&snapshot->layout, &vm->layout) != 0)
        return error_set(error, ENOMEM, "cannot copy the guest's layout");
    memcpy(snapshot->own, vm->own->start, sizeof(snapshot->own));
    return vm_cpu_save(&vm->cpu, &snapshot->cpu, error);
}

int vm_snapshot_take(struct vm *vm, struct vm_snapshot **snapshot, struct error *error)
{
    struct vm_snapshot *made;

    if (vm_check_usable(vm, error) != 0)
        return -1;
    VM_SCOPE(vm);
    made = calloc(1, sizeof(*made) + vm->room * sizeof(made->regions[0]));
    if (made == NULL)
        return error_set(error, ENOMEM, "cannot make a snapshot");
    made->vm = vm->number;
    made->room = vm->room;
    if (fill(vm, made, error) != 0) {
        vm_snapshot_free(made, NULL);
        return error_prefix(error, "snapshot");
    }
    *snapshot = made;
    return 0;
}

int vm_snapshot_free(struct vm_snapshot *snapshot, struct error *error)
{
    int result = 0;

    if (snapshot == NULL)
        return 0;
    for (size_t i = 0; i < snapshot->room; i++) {
        if (vm_memory_release(snapshot->regions[i].region.memory, error) != 0)
            result = -1;
        vm_pages_clear(&snapshot->regions[i].pages);
    }
    guest_layout_clear(&snapshot->layout);
    free(snapshot);
    return result;
}

static bool has_region(const struct vm_snapshot *snapshot, size_t index,
                       const struct vm_region *region)
{
    return index < snapshot->room && snapshot->regions[index].region.memory == region->memory &&
           snapshot->regions[index].region.address == region->address;
}

/* Everything first that leaves, since what comes back may need its addresses. */
static int release_others(struct vm *vm, const struct vm_snapshot *snapshot, struct error *error)
{
    bool forgets = (vm->defects & VM_RESTORE_LEAK) != 0;

    for (size_t i = 0; i < vm->room; i++)
        if (vm->regions[i].memory != NULL && !has_region(snapshot, i, &vm->regions[i]) &&
            vm_region_drop(vm, i, forgets, error) != 0)
            return -1;
    return 0;
}

static int bring_back(struct vm *vm, size_t index, const struct saved_region *saved,
                      struct error *error)
{
    if (saved->region.memory == NULL)
        return 0;
    if (vm->regions[index].memory == NULL) {
        vm->regions[index] = saved->region;
        vm_memory_share(saved->region.memory);
        if (vm_slot_set(vm, index, error) != 0)
            return -1;
    }
    return vm_pages_restore(&saved->pages, saved->region.memory, error);
}

static int restore(struct vm *vm, const struct vm_snapshot *snapshot, struct error *error)
{
    if (release_others(vm, snapshot, error) != 0)
        return -1;
    for (size_t i = 0; i < snapshot->room; i++)
        if (bring_back(vm, i, &snapshot->regions[i], error) != 0)
            return -1;
    if (guest_layout_copy(&vm->layout, &snapshot->layout) != 0)
        return error_set(error, ENOMEM, "cannot copy the guest's layout");
    memcpy(vm->own->start, snapshot->own, sizeof(snapshot->own));
    return vm_cpu_load(&vm->cpu, &snapshot->cpu, error);
}

int vm_snapshot_restore(struct vm *vm, const struct vm_snapshot *snapshot, struct error *error)
{
    if (vm_check_usable(vm, error) != 0)
        return -1;
    if (snapshot->vm != vm->number)
        return error_set(error, 0, "a snapshot can only be restored to its own VM");
    VM_SCOPE(vm);
    if (restore(vm, snapshot, error) != 0) {
        vm->is_broken = true;
        return error_prefix(error, "restore");
    }
    return 0;
}
