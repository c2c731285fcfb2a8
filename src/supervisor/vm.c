/*
 * vm.c: VM sandboxes: their descriptors, slots and regions, and their end. See vm.h.
 *
 * A half-made VM is a VM: whatever fails in between, vm_destroy knows from the object what there
 * is to give back.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "supervisor/vm_internal.h"

/* Regions that the first allocation has room for; it doubles from there. */
#define FIRST_ROOM 8

/* Well away from the guest's own memory, and from each other. */
const struct guest_range vm_default_windows[GUEST_REGIONS] = {
    [GUEST_WRITABLE] = {0x400000, 0x40000000},
    [GUEST_EXECUTABLE] = {0x40000000, GUEST_ADDRESS_END},
};

/* --- the host -------------------------------------------------------------------------------- */

static int host_fill(struct vm_host *host, struct error *error)
{
    int version;
    int run_bytes;
    int slots;

    host->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (host->kvm < 0)
        return error_set(error, errno, "VM sandboxes need /dev/kvm");
    version = ioctl(host->kvm, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION)
        return error_set(error, version < 0 ? errno : 0, "/dev/kvm: no KVM of version %d",
                         KVM_API_VERSION);
    run_bytes = ioctl(host->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    slots = ioctl(host->kvm, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
    if (run_bytes < (int)sizeof(struct kvm_run) || slots <= 0)
        return error_set(error, 0, "/dev/kvm: no KVM that can run a guest");
    host->run_bytes = (size_t)run_bytes;
    host->slots = (size_t)slots;
    return 0;
}

int vm_host_open(struct vm_host **host, struct error *error)
{
    struct vm_host *made;

    if (vm_cpu_supported(error) != 0)
        return -1;
    made = calloc(1, sizeof(*made));
    if (made == NULL)
        return error_set(error, ENOMEM, "cannot open /dev/kvm");
    vm_pool_init(&made->pool, GUEST_MEMORY_BYTES);
    if (host_fill(made, error) != 0) {
        vm_host_close(made, NULL);
        return -1;
    }
    *host = made;
    return 0;
}

int vm_host_close(struct vm_host *host, struct error *error)
{
    int result;

    if (host == NULL)
        return 0;
    result = vm_pool_clear(&host->pool, error);
    owned_fd_close(&host->kvm);
    free(host);
    return result;
}

/* --- slots ----------------------------------------------------------------------------------- */

static int set_slot(struct vm *vm, unsigned slot, uint64_t address, uint64_t bytes,
                    const uint8_t *start, bool is_writable, struct error *error)
{
    const struct kvm_userspace_memory_region region = {
        .slot = slot,
        .flags = is_writable ? 0 : KVM_MEM_READONLY,
        .guest_phys_addr = address,
        .memory_size = bytes,
        .userspace_addr = (uintptr_t)start,
    };

    if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) != 0)
        return error_set(error, errno, "KVM_SET_USER_MEMORY_REGION of slot %u", slot);
    return 0;
}

int vm_slot_set(struct vm *vm, size_t index, struct error *error)
{
    const struct vm_region *region = &vm->regions[index];

    return set_slot(vm, VM_SLOT_OF(index), region->address, region->memory->bytes,
                    region->memory->start, region->kind == GUEST_WRITABLE, error);
}

/* A slot of size 0 is deleted. */
static int slot_delete(struct vm *vm, size_t index, struct error *error)
{
    return set_slot(vm, VM_SLOT_OF(index), vm->regions[index].address, 0,
                    vm->regions[index].memory->start, true, error);
}

/* --- from create to destroy ------------------------------------------------------------------ */

int vm_check_usable(const struct vm *vm, struct error *error)
{
    return vm->is_broken ? error_set(error, 0, "the VM can only be destroyed") : 0;
}

static int create_descriptor(struct vm *vm, struct error *error)
{
    /* KVM registers with the memory of the process, and a signal interrupts that. */
    do
        vm->fd = ioctl(vm->host->kvm, KVM_CREATE_VM, 0);
    while (vm->fd < 0 && errno == EINTR);
    return vm->fd < 0 ? error_set(error, errno, "KVM_CREATE_VM") : 0;
}

/* Memory that serves one guest after another is this one's while it has it. */
static int take_own_memory(struct vm *vm, struct error *error)
{
    if (vm_pool_take(&vm->host->pool, &vm->own, error) != 0)
        return -1;
    if (vm->owner != 0)
        boxledger_assign_range(vm->owner, vm->own->map.start, vm->own->map.bytes);
    vm_cpu_load_guest(vm->own->start);
    return set_slot(vm, VM_OWN_SLOT, 0, vm->own->bytes, vm->own->start, true, error);
}

static int init_layout(struct vm *vm, const struct vm_options *options, struct error *error)
{
    const struct guest_range *windows = options->windows ? options->windows : vm_default_windows;
    int result = guest_layout_init(&vm->layout, windows);

    for (unsigned kind = 0; kind < GUEST_REGIONS && result == 0; kind++)
        if (windows[kind].end > GUEST_ADDRESS_END)
            result = -EINVAL;
    if (result == 0)
        result = guest_layout_reserve(&vm->layout, 0, GUEST_MEMORY_BYTES);
    vm->layout.shares_hints = (options->defects & VM_SHARED_GAP_HINTS) != 0;
    return result != 0 ? error_set(error, -result, "the guest's address space") : 0;
}

static int start(struct vm *vm, const struct vm_options *options, struct error *error)
{
    vm->owner = boxledger_begin(options->label ? options->label : "vm");
    VM_SCOPE(vm);
    if (init_layout(vm, options, error) != 0 || create_descriptor(vm, error) != 0 ||
        take_own_memory(vm, error) != 0 ||
        vm_cpu_open(&vm->cpu, vm->fd, vm->host->run_bytes, error) != 0)
        return -1;
    return vm_cpu_reset(&vm->cpu, error);
}

int vm_create(struct vm_host *host, const struct vm_options *options, struct vm **vm,
              struct error *error)
{
    struct vm *made = calloc(1, sizeof(*made));

    if (made == NULL)
        return error_set(error, ENOMEM, "cannot make a VM");
    made->host = host;
    made->number = atomic_fetch_add(&host->made, 1) + 1;
    made->defects = options->defects;
    made->fd = -1;
    made->cpu = VM_CPU_NONE;
    if (start(made, options, error) != 0) {
        vm_destroy(made, NULL);
        return -1;
    }
    *vm = made;
    return 0;
}

/* The supervisor's again, for the next guest or for a snapshot. */
static void give_back_in_ledger(const struct vm *vm, const struct vm_memory *memory)
{
    if (vm->owner != 0 && memory->map.bytes > 0)
        boxledger_assign_range(0, memory->map.start, memory->map.bytes);
}

int vm_destroy(struct vm *vm, struct error *error)
{
    int result = 0;

    if (vm == NULL)
        return 0;
    /* The slots go with the VM, so they are not deleted one by one. */
    vm_cpu_close(&vm->cpu);
    owned_fd_close(&vm->fd);
    for (size_t i = 0; i < vm->room; i++) {
        struct vm_memory *memory = vm->regions[i].memory;

        if (memory == NULL)
            continue;
        if (memory->references > 1)
            give_back_in_ledger(vm, memory);
        if (vm_memory_release(memory, error) != 0)
            result = -1;
    }
    if (vm->own != NULL) {
        give_back_in_ledger(vm, vm->own);
        if (vm_pool_give(&vm->host->pool, vm->own, error) != 0)
            result = -1;
    }
    guest_layout_clear(&vm->layout);
    free(vm->regions);
    if (vm->owner != 0)
        boxledger_end(vm->owner);
    free(vm);
    return result;
}

/* --- regions --------------------------------------------------------------------------------- */

static const struct vm_region *find_region(const struct vm *vm, uint64_t address, size_t *index)
{
    for (size_t i = 0; i < vm->room; i++) {
        if (vm->regions[i].memory != NULL && vm->regions[i].address == address) {
            *index = i;
            return &vm->regions[i];
        }
    }
    return NULL;
}

static const struct vm_region *need_region(const struct vm *vm, uint64_t address, size_t *index,
                                           struct error *error)
{
    const struct vm_region *region = find_region(vm, address, index);

    if (region == NULL)
        error_set(error, 0, "no region starts at guest address %#" PRIx64, address);
    return region;
}

uint64_t vm_region_bytes(const struct vm *vm, uint64_t address)
{
    size_t index = 0;
    const struct vm_region *region = find_region(vm, address, &index);

    return region != NULL ? region->memory->bytes : 0;
}

/* A slot that no region has: one that was given back before a new one. */
static int find_slot(struct vm *vm, size_t *index, struct error *error)
{
    for (size_t i = 0; i < vm->room; i++) {
        if (vm->regions[i].memory == NULL) {
            *index = i;
            return 0;
        }
    }

    size_t most = vm->host->slots - VM_SLOT_OF(0);
    size_t room = vm->room != 0 ? vm->room * 2 : FIRST_ROOM;

    if (vm->room >= most)
        return error_set(error, 0, "a guest has at most %zu regions", most);
    if (room > most)
        room = most;

    struct vm_region *regions = realloc(vm->regions, room * sizeof(*regions));

    if (regions == NULL)
        return error_set(error, ENOMEM, "cannot add a region");
    memset(regions + vm->room, 0, (room - vm->room) * sizeof(*regions));
    *index = vm->room;
    vm->regions = regions;
    vm->room = room;
    return 0;
}

static int take_addresses(struct vm *vm, enum guest_region kind, uint64_t bytes, uint64_t *address,
                          struct error *error)
{
    if (*address == VM_ANYWHERE) {
        int result = guest_layout_place(&vm->layout, kind, bytes, GUEST_PAGE, address);

        return result == 0
                   ? 0
                   : error_set(error, 0, "the guest has no room for %" PRIu64 " bytes", bytes);
    }
    if (*address % GUEST_PAGE != 0)
        return error_set(error, 0,
                         "guest address %#" PRIx64 " is not a multiple of %" PRIu64 " bytes",
                         *address, GUEST_PAGE);
    if (*address >= GUEST_ADDRESS_END || bytes > GUEST_ADDRESS_END - *address)
        return error_set(error, 0,
                         "%" PRIu64 " bytes at guest address %#" PRIx64
                         " are more than the guest's addresses, which end at %#x",
                         bytes, *address, GUEST_ADDRESS_END);
    if (*address < GUEST_MEMORY_BYTES)
        return error_set(error, 0,
                         "guest address %#" PRIx64 " is in the guest's own memory, up to %#x",
                         *address, GUEST_MEMORY_BYTES);

    int result = guest_layout_reserve(&vm->layout, *address, bytes);

    if (result == -EEXIST)
        return error_set(error, 0,
                         "%" PRIu64 " bytes at guest address %#" PRIx64 " overlap another region",
                         bytes, *address);
    return result == 0 ? 0 : error_set(error, -result, "guest address %#" PRIx64, *address);
}

/* Makes a region of memory that it takes over, also when it fails. */
static int add_region(struct vm *vm, struct vm_memory *memory, enum guest_region kind,
                      uint64_t *address, struct error *error)
{
    uint64_t place = *address;
    size_t index = 0;

    if (find_slot(vm, &index, error) != 0 ||
        take_addresses(vm, kind, memory->bytes, &place, error) != 0) {
        vm_memory_release(memory, NULL);
        return -1;
    }
    vm->regions[index] = (struct vm_region){memory, place, kind};
    if (vm_slot_set(vm, index, error) != 0) {
        guest_layout_release(&vm->layout, place);
        vm->regions[index].memory = NULL;
        vm_memory_release(memory, NULL);
        return -1;
    }
    *address = place;
    return 0;
}

int vm_map_descriptor_cow(struct vm *vm, int fd, const char *name, enum guest_region kind,
                          uint64_t *address, struct error *error)
{
    struct vm_memory *memory = NULL;
    struct stat status;

    if (vm_check_usable(vm, error) != 0)
        return -1;
    if (fstat(fd, &status) != 0)
        return error_set(error, errno, "%s", name);
    if (!S_ISREG(status.st_mode))
        return error_set(error, 0, "%s: not a regular file", name);
    if (status.st_size == 0 || (uint64_t)status.st_size % GUEST_PAGE != 0)
        return error_set(error, 0, "%s: %jd bytes are not a whole number of pages of %" PRIu64,
                         name, (intmax_t)status.st_size, GUEST_PAGE);
    if (status.st_size > GUEST_ADDRESS_END)
        return error_set(error, 0, "%s: more than a guest can address", name);
    VM_SCOPE(vm);
    if (vm_memory_map_file(&memory, fd, (size_t)status.st_size, kind == GUEST_WRITABLE, error) !=
            0 ||
        add_region(vm, memory, kind, address, error) != 0)
        return error_prefix(error, "%s", name);
    if (vm->defects & VM_COW_MAP_LEAK)
        vm_memory_forget(memory);
    return 0;
}

int vm_map_file_cow(struct vm *vm, const char *path, enum guest_region kind, uint64_t *address,
                    struct error *error)
{
    VM_SCOPE(vm);
    /* Not blocking, so that a pipe without a writer is refused instead of waited for. */
    owned_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0)
        return error_set(error, errno, "cannot open %s", path);
    return vm_map_descriptor_cow(vm, fd, path, kind, address, error);
}

int vm_map_scratch(struct vm *vm, enum guest_region kind, uint64_t bytes, uint64_t *address,
                   void **memory, struct error *error)
{
    struct vm_memory *made = NULL;

    if (vm_check_usable(vm, error) != 0)
        return -1;
    if (bytes == 0 || bytes % GUEST_PAGE != 0 || bytes > GUEST_ADDRESS_END)
        return error_set(error, 0, "%" PRIu64 " bytes of scratch memory: not whole pages", bytes);
    VM_SCOPE(vm);
    if (vm_memory_map_zeros(&made, bytes, !(vm->defects & VM_MERGE_TRAP), error) != 0 ||
        add_region(vm, made, kind, address, error) != 0)
        return error_prefix(error, "scratch memory");
    if (memory != NULL)
        *memory = made->start;
    return 0;
}

int vm_region_drop(struct vm *vm, size_t index, bool forgets, struct error *error)
{
    struct vm_memory *memory = vm->regions[index].memory;

    if (slot_delete(vm, index, error) != 0) {
        vm->is_broken = true;
        return -1;
    }
    vm->regions[index].memory = NULL;
    if (forgets)
        vm_memory_forget(memory);
    return vm_memory_release(memory, error);
}

int vm_unmap(struct vm *vm, uint64_t address, struct error *error)
{
    size_t index = 0;

    if (vm_check_usable(vm, error) != 0 || need_region(vm, address, &index, error) == NULL)
        return -1;
    VM_SCOPE(vm);

    int result = vm_region_drop(vm, index, (vm->defects & VM_SLOT_ONLY_UNMAP) != 0, error);

    if (vm->regions[index].memory == NULL)
        guest_layout_release(&vm->layout, address);
    return result;
}

int vm_resize_scratch(struct vm *vm, uint64_t bytes, uint64_t *address, struct error *error)
{
    struct vm_memory *grown = NULL;
    size_t index = 0;
    const struct vm_region *region;

    if (vm_check_usable(vm, error) != 0)
        return -1;
    region = need_region(vm, *address, &index, error);
    if (region == NULL)
        return -1;
    if (region->memory->is_file)
        return error_set(error, 0, "the region at guest address %#" PRIx64 " is a file's",
                         *address);
    if (bytes == 0 || bytes % GUEST_PAGE != 0 || bytes > GUEST_ADDRESS_END)
        return error_set(error, 0, "%" PRIu64 " bytes of scratch memory: not whole pages", bytes);
    VM_SCOPE(vm);
    if (vm_memory_map_zeros(&grown, bytes, !(vm->defects & VM_MERGE_TRAP), error) != 0)
        return -1;
    memcpy(grown->start, region->memory->start,
           bytes < region->memory->bytes ? bytes : region->memory->bytes);

    uint64_t place = *address;
    enum guest_region kind = region->kind;
    int result = guest_layout_resize(&vm->layout, kind, bytes, GUEST_PAGE, &place);

    if (result != 0) {
        vm_memory_release(grown, NULL);
        return error_set(error, 0, "the guest has no room for %" PRIu64 " bytes", bytes);
    }
    /* A slot cannot change its size. Between the two the guest has neither, but it does not run. */
    result = vm_region_drop(vm, index, false, error);
    if (vm->is_broken) {
        vm_memory_release(grown, NULL);
        return -1;
    }
    vm->regions[index] = (struct vm_region){grown, place, kind};
    *address = place;
    if (vm_slot_set(vm, index, error) != 0) {
        vm->is_broken = true;
        return -1;
    }
    return result;
}

/* --- the guest at work ----------------------------------------------------------------------- */

int vm_ask(struct vm *vm, const struct vm_request *request, uint64_t *answer, struct error *error)
{
    if (vm_check_usable(vm, error) != 0)
        return -1;
    VM_SCOPE(vm);
    return vm_cpu_ask(&vm->cpu, request, answer, vm->console, error);
}

const char *vm_console(const struct vm *vm)
{
    return vm->console;
}
