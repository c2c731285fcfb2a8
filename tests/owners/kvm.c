/*
 * kvm.c: a supervisor of virtual machines. None has a guest worth the name: what counts is who
 * holds what, and in which order it goes. Never needs more of KVM than creating a VM.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "supervise.h"

#ifndef KVM_GET_STATS_FD
#define KVM_GET_STATS_FD _IO(KVMIO, 0xce) /* linux/kvm.h, Linux 5.14 */
#endif

/* linux/kvm.h, Linux 6.8; Debian 12's is older. */
struct region2 {
    uint32_t slot, flags;
    uint64_t guest_phys_addr, memory_size, userspace_addr, guest_memfd_offset;
    uint32_t guest_memfd, pad1;
    uint64_t pad2[14];
};
struct guest_memfd {
    uint64_t size, flags, reserved[6];
};
#define SET_REGION2 _IOW(KVMIO, 0x49, struct region2)
#define CREATE_GUEST_MEMFD _IOWR(KVMIO, 0xd4, struct guest_memfd)

enum {
    MEMORY = 16 * PAGE,
    VCPUS_MAX = 3,
    SLOTS_MAX = 16,
    POOL = 8,
    RESTORES_MAX = 3,
    RESTORE_SLOT = 30,
    SLOT_DISTANCE = 1 << 20, /* of guest addresses: no two slots overlap */
    INTERRUPT_LINE = 5,
    IO_PORT = 0x500,
};

struct box {
    int vms[2]; /* the second is the other of a pair, with nothing but the memory they share */
    unsigned vm_count;
    struct {
        int vm;
        void *start;
    } slots[SLOTS_MAX];
    unsigned slot_count;
    bool deletes_slots, region2;
    unsigned restores;
    struct {
        void *start;
        size_t bytes;
    } last_restored;
    int vcpu;
    struct kvm_run *run; /* of that vCPU; or NULL */
    struct pooled *pooled, *pooled_event;
};

/* Process-global: the pool is what outlives the sandboxes. */
struct pooled {
    bool there, used;
    unsigned uses;
    int fd;
    void *start;
};
static struct pooled pool[POOL], pooled_events[POOL];
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static int kvm = -1;
static int run_bytes;
/* One VM that lives as long as the supervisor, and is restored again and again. */
static struct box alive = {.vms = {-1, -1}};
static struct sandbox alive_sandbox;
static char file_path[] = "/proc/self/exe";

/* --- what takes ------------------------------------------------------------------------------- */

TAKES static int open_kvm(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static int open_kvm_each(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static int create_vm(int device)
{
    int fd = ioctl(device, KVM_CREATE_VM, 0);
    NOT_LAST();
    return fd;
}

TAKES static int duplicate_vm(int vm)
{
    int fd = fcntl(vm, F_DUPFD_CLOEXEC, 0);
    NOT_LAST();
    return fd;
}

TAKES static int create_vcpu(int vm, unsigned number)
{
    int fd = ioctl(vm, KVM_CREATE_VCPU, (unsigned long)number);
    NOT_LAST();
    return fd;
}

TAKES static void *map_kvm_run(int vcpu)
{
    void *start = mmap(NULL, (size_t)run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    NOT_LAST();
    return start;
}

/* Each its own function: a report must tell them apart. */
#define MAPS_ANONYMOUS(name, flags, bytes)                                                         \
    TAKES static void *name(void)                                                                  \
    {                                                                                              \
        void *start = mmap(NULL, (bytes), PROT_READ | PROT_WRITE, (flags) | MAP_ANONYMOUS, -1, 0); \
        NOT_LAST();                                                                                \
        return start;                                                                              \
    }
MAPS_ANONYMOUS(map_memory, MAP_PRIVATE, MEMORY)
MAPS_ANONYMOUS(map_memory_early, MAP_PRIVATE, MEMORY)
MAPS_ANONYMOUS(map_shared_memory, MAP_SHARED, MEMORY)
MAPS_ANONYMOUS(map_arena, MAP_PRIVATE | MAP_NORESERVE, 4 * MEMORY)
MAPS_ANONYMOUS(map_halves, MAP_PRIVATE, MEMORY)
MAPS_ANONYMOUS(map_restored, MAP_PRIVATE, MEMORY)
MAPS_ANONYMOUS(map_restored_alive, MAP_PRIVATE, MEMORY)
MAPS_ANONYMOUS(map_pooled, MAP_PRIVATE, MEMORY)
MAPS_ANONYMOUS(map_for_two, MAP_SHARED, MEMORY)

TAKES static int make_memory_memfd(void)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static void *map_memory_of_memfd(int fd)
{
    void *start = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    NOT_LAST();
    return start;
}

TAKES static int open_file_to_map(void)
{
    int fd = open(file_path, O_RDONLY | O_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static void *map_file_cow(int fd)
{
    void *start = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    NOT_LAST();
    return start;
}

TAKES static int make_irqfd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    NOT_LAST();
    return fd;
}

TAKES static int make_ioeventfd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static int make_pooled_ioeventfd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static int create_device(int vm)
{
    struct kvm_create_device device = {.type = KVM_DEV_TYPE_VFIO};
    int result = ioctl(vm, KVM_CREATE_DEVICE, &device);
    NOT_LAST();
    return result == 0 ? (int)device.fd : -1;
}

TAKES static int open_stats(int vm)
{
    int fd = ioctl(vm, KVM_GET_STATS_FD, NULL);
    NOT_LAST();
    return fd;
}

TAKES static int open_vcpu_stats(int vcpu)
{
    int fd = ioctl(vcpu, KVM_GET_STATS_FD, NULL);
    NOT_LAST();
    return fd;
}

TAKES static int create_guest_memfd(int vm)
{
    struct guest_memfd create = {.size = MEMORY};
    int fd = ioctl(vm, CREATE_GUEST_MEMFD, &create);
    NOT_LAST();
    return fd;
}

/* --- slots ------------------------------------------------------------------------------------ */

static void set_slot(struct box *box, int vm, unsigned slot, void *start, size_t bytes)
{
    int result;
    if (box->region2) {
        struct region2 region = {.slot = slot,
                                 .guest_phys_addr = (uint64_t)slot * SLOT_DISTANCE,
                                 .memory_size = bytes,
                                 .userspace_addr = (uintptr_t)start};
        result = ioctl(vm, SET_REGION2, &region);
        if (result != 0 && (errno == ENOTTY || errno == EINVAL)) {
            box->region2 = false; /* an older kernel */
        }
    }
    if (!box->region2) {
        struct kvm_userspace_memory_region region = {.slot = slot,
                                                     .guest_phys_addr =
                                                         (uint64_t)slot * SLOT_DISTANCE,
                                                     .memory_size = bytes,
                                                     .userspace_addr = (uintptr_t)start};
        result = ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
    }
    if (result != 0) {
        give_up("a memory slot");
    }
}

static void bind_memory(struct box *box, int vm, void *start, size_t bytes)
{
    set_slot(box, vm, box->slot_count, start, bytes);
    box->slots[box->slot_count].vm = vm;
    box->slots[box->slot_count].start = start;
    box->slot_count++;
}

static void delete_slots(struct sandbox *sandbox, struct box *box)
{
    for (unsigned i = 0; i < box->slot_count; i++) {
        if (draw(sandbox, 4) != 0) { /* one or another is forgotten, and goes with the VM */
            set_slot(box, box->slots[i].vm, i, box->slots[i].start, 0);
        }
    }
}

/* --- pools ------------------------------------------------------------------------------------ */

static struct pooled *from_pool(struct pooled *items, enum site site)
{
    pthread_mutex_lock(&pool_lock);
    struct pooled *item = NULL;
    for (unsigned i = 0; i < POOL && item == NULL; i++) {
        item = items[i].used ? NULL : &items[i];
    }
    if (item != NULL) {
        item->used = true;
        item->uses++;
    }
    bool fresh = item != NULL && !item->there;
    pthread_mutex_unlock(&pool_lock);
    if (fresh) {
        item->there = true;
        if (site == site_kvm_pooled) {
            item->start = map_pooled();
            hold_mapping(NULL, site, item->start, MEMORY);
        } else {
            item->fd = make_pooled_ioeventfd();
            hold_fd(NULL, site, item->fd);
        }
    } else if (item != NULL) {
        still_there(&(struct held){.site = site, .fd = item->fd, .start = item->start});
    }
    return item;
}

static void to_pool(struct pooled *item)
{
    pthread_mutex_lock(&pool_lock);
    item->used = false;
    pthread_mutex_unlock(&pool_lock);
}

/* --- a sandbox -------------------------------------------------------------------------------- */

static void take_memory(struct sandbox *sandbox, struct box *box, void *early)
{
    int vm = box->vms[0];
    if (early != NULL) {
        bind_memory(box, vm, early, MEMORY);
    }
    if (draw_for(sandbox, site_kvm_memory, 2)) {
        void *start = map_memory();
        hold_mapping(sandbox, site_kvm_memory, start, MEMORY);
        bind_memory(box, vm, start, MEMORY);
    }
    if (draw_for(sandbox, site_kvm_memory_shared, 4)) {
        void *start = map_shared_memory();
        hold_mapping(sandbox, site_kvm_memory_shared, start, MEMORY);
        bind_memory(box, vm, start, MEMORY);
    }
    if (draw_for(sandbox, site_kvm_memory_memfd, 4) || run.mutated == site_kvm_memory_memfd_fd) {
        int fd = make_memory_memfd();
        bool early_close = draw(sandbox, 2) == 0;
        if (fd < 0 || ftruncate(fd, MEMORY) != 0) {
            give_up("a memfd");
        }
        hold_fd(sandbox, site_kvm_memory_memfd_fd, fd);
        void *start = map_memory_of_memfd(fd);
        if (early_close) {
            release(sandbox, &sandbox->held[--sandbox->held_count]);
        }
        hold_mapping(sandbox, site_kvm_memory_memfd, start, MEMORY);
        bind_memory(box, vm, start, MEMORY);
    }
    if (draw_for(sandbox, site_kvm_arena, 4)) {
        /* Slots inside one mapping, with holes between and two side by side. */
        char *start = map_arena();
        struct held *arena = hold_mapping(sandbox, site_kvm_arena, start, 4 * MEMORY);
        arena->unbound = 4 * MEMORY - 2 * MEMORY - PAGE;
        bind_memory(box, vm, start + PAGE, MEMORY);
        bind_memory(box, vm, start + PAGE + MEMORY, PAGE);
        bind_memory(box, vm, start + 3 * MEMORY, MEMORY);
    }
    if (draw_for(sandbox, site_kvm_second_half, 6)) {
        char *start = map_halves();
        bind_memory(box, vm, start, MEMORY);
        /* Given back in two pieces, of which a mutant forgets the second. */
        if (munmap(start, MEMORY / 2) != 0) {
            give_up("the first half");
        }
        hold_mapping(sandbox, site_kvm_second_half, start + MEMORY / 2, MEMORY / 2);
    }
    if (draw_for(sandbox, site_kvm_file_map, 4) || run.mutated == site_kvm_file) {
        int fd = open_file_to_map();
        hold_fd(sandbox, site_kvm_file, fd);
        void *start = map_file_cow(fd);
        release(sandbox, &sandbox->held[--sandbox->held_count]);
        hold_mapping(sandbox, site_kvm_file_map, start, PAGE);
        bind_memory(box, vm, start, PAGE);
    }
    if (draw_for(sandbox, site_kvm_pooled, 3)) {
        box->pooled = from_pool(pool, site_kvm_pooled);
        if (box->pooled != NULL) {
            bind_memory(box, vm, box->pooled->start, MEMORY);
        }
    }
    if (box->vm_count == 2) {
        void *start = map_for_two();
        hold_mapping(sandbox, site_kvm_pair, start, MEMORY);
        bind_memory(box, vm, start, MEMORY);
        bind_memory(box, box->vms[1], start, MEMORY);
    }
}

static void take_vcpus(struct sandbox *sandbox, struct box *box)
{
    unsigned vcpus = 1 + draw(sandbox, VCPUS_MAX);
    for (unsigned i = 0; i < vcpus; i++) {
        int vcpu = create_vcpu(box->vms[0], i);
        hold_fd(sandbox, site_kvm_vcpu, vcpu);
        box->vcpu = vcpu;
        box->run = NULL;
        if (draw_for(sandbox, site_kvm_run_map, 2)) {
            box->run = map_kvm_run(vcpu);
            hold_mapping(sandbox, site_kvm_run_map, box->run, (size_t)run_bytes);
        }
    }
    if (draw_for(sandbox, site_kvm_vcpu_stats, 6)) {
        int fd = open_vcpu_stats(box->vcpu);
        if (fd >= 0) {
            hold_fd(sandbox, site_kvm_vcpu_stats, fd);
        }
    }
}

static void take_events(struct sandbox *sandbox, struct box *box)
{
    int vm = box->vms[0];
    /* Ending a VM with interrupts takes the kernel 15 ms. */
    if (draw_for(sandbox, site_kvm_irqfd, 16) && ioctl(vm, KVM_CREATE_IRQCHIP, 0) == 0) {
        struct kvm_irqfd irq = {.fd = (uint32_t)make_irqfd(), .gsi = INTERRUPT_LINE};
        hold_fd(sandbox, site_kvm_irqfd, (int)irq.fd);
        if (ioctl(vm, KVM_IRQFD, &irq) != 0) {
            give_up("KVM_IRQFD");
        }
        if (draw(sandbox, 2) == 0) {
            irq.flags = KVM_IRQFD_FLAG_DEASSIGN;
            ioctl(vm, KVM_IRQFD, &irq);
        }
    }
    if (draw_for(sandbox, site_kvm_ioeventfd, 4)) {
        struct kvm_ioeventfd event = {
            .addr = IO_PORT, .len = 2, .fd = make_ioeventfd(), .flags = KVM_IOEVENTFD_FLAG_PIO};
        hold_fd(sandbox, site_kvm_ioeventfd, event.fd);
        if (ioctl(vm, KVM_IOEVENTFD, &event) != 0) {
            give_up("KVM_IOEVENTFD");
        }
        if (draw(sandbox, 2) == 0) {
            event.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
            ioctl(vm, KVM_IOEVENTFD, &event);
        }
    }
    if (draw_for(sandbox, site_kvm_ioeventfd_pooled, 4)) {
        box->pooled_event = from_pool(pooled_events, site_kvm_ioeventfd_pooled);
        if (box->pooled_event != NULL) {
            struct kvm_ioeventfd event = {.addr = IO_PORT + 16,
                                          .len = 2,
                                          .fd = box->pooled_event->fd,
                                          .flags = KVM_IOEVENTFD_FLAG_PIO};
            if (ioctl(vm, KVM_IOEVENTFD, &event) != 0) {
                give_up("KVM_IOEVENTFD");
            }
        }
    }
}

static void take_descriptors(struct sandbox *sandbox, struct box *box)
{
    int vm = box->vms[0], fd;
    if (draw_for(sandbox, site_kvm_device, 6) && (fd = create_device(vm)) >= 0) {
        hold_fd(sandbox, site_kvm_device, fd);
    }
    if (draw_for(sandbox, site_kvm_stats, 6) && (fd = open_stats(vm)) >= 0) {
        hold_fd(sandbox, site_kvm_stats, fd);
    }
    if (draw_for(sandbox, site_kvm_guest_memfd, 6) && (fd = create_guest_memfd(vm)) >= 0) {
        hold_fd(sandbox, site_kvm_guest_memfd, fd);
    }
    if (draw_for(sandbox, site_kvm_vm_dup, 6)) {
        hold_fd(sandbox, site_kvm_vm_dup, duplicate_vm(vm));
    }
    if (draw(sandbox, 8) == 0) {
        helper_keep(vm); /* the VM lives on elsewhere; here it ends with its last descriptor */
    } else if (draw(sandbox, 8) == 0 && (fd = helper_echo(vm)) >= 0) {
        close(fd);
    }
}

static void begin(struct sandbox *sandbox)
{
    struct box *box = sandbox->own;
    int device = kvm;
    box->deletes_slots = draw(sandbox, 2) == 0;
    box->region2 = draw(sandbox, 3) == 0;
    void *early = NULL;
    if (draw_for(sandbox, site_kvm_memory_early, 4)) {
        early = map_memory_early();
        hold_mapping(sandbox, site_kvm_memory_early, early, MEMORY);
    }
    if (draw_for(sandbox, site_kvm_device_each, 8)) {
        device = open_kvm_each();
        hold_fd(sandbox, site_kvm_device_each, device);
    }
    box->vm_count = draw_for(sandbox, site_kvm_pair, 6) ? 2 : 1;
    for (unsigned i = 0; i < box->vm_count; i++) {
        box->vms[i] = create_vm(device);
        hold_fd(sandbox, site_kvm_vm, box->vms[i]);
        owners_begun(1);
        /* A mutant keeps a descriptor of this one, or of all: that one never ends. */
        bool stays = run.mutated == site_kvm_vm;
        owners_ended(stays ? 0 : 1);
    }
    take_events(sandbox, box); /* interrupts come before vCPUs */
    unsigned held = sandbox->held_count;
    take_descriptors(sandbox, box);
    for (; held < sandbox->held_count; held++) {
        if (sandbox->held[held].site == run.mutated && run.mutated == site_kvm_vm_dup) {
            owners_ended(-1);
        }
    }
    bool vcpus_first = draw(sandbox, 2) == 0;
    for (int i = 0; i < 2; i++) { /* either way by the same two calls, so by the same stacks */
        if ((i == 0) == vcpus_first) {
            take_vcpus(sandbox, box);
        } else {
            take_memory(sandbox, box, early);
        }
    }
    box->restores = draw_for(sandbox, site_kvm_restored, 4) ? 1 + draw(sandbox, RESTORES_MAX) : 0;
}

/* The orders of release that the sandbox may draw, by the keys of what it holds. */
static void draw_order(struct sandbox *sandbox)
{
    static const char *const orders[] = {"shuffled", "vm-first", "memory-first", "vcpu-last",
                                         "reversed"};
    const char *order =
        run.order ? run.order : orders[draw(sandbox, sizeof orders / sizeof *orders)];
    for (unsigned i = 0; i < sandbox->held_count; i++) {
        struct held *held = &sandbox->held[i];
        bool vm = held->site == site_kvm_vm || held->site == site_kvm_vm_dup;
        if (strcmp(order, "vm-first") == 0 && vm) {
            held->key = FIRST;
        } else if (strcmp(order, "memory-first") == 0 && held->fd < 0) {
            held->key = FIRST;
        } else if (strcmp(order, "vcpu-last") == 0 && held->site == site_kvm_vcpu) {
            held->key = LAST;
        } else if (strcmp(order, "reversed") == 0) {
            held->key = LAST - i;
        }
    }
}

/* One more snapshot for the VM that never ends. What it had before must go without that end. */
static void restore_alive(void)
{
    pthread_mutex_lock(&pool_lock);
    void *start = map_restored_alive();
    hold_mapping(NULL, site_kvm_restored_alive, start, MEMORY);
    set_slot(&alive, alive.vms[0], RESTORE_SLOT, start, MEMORY);
    set_slot(&alive, alive.vms[0], RESTORE_SLOT, start, 0);
    release_mapping(&alive_sandbox, site_kvm_restored_alive, start, MEMORY);
    pthread_mutex_unlock(&pool_lock);
}

static bool work(struct sandbox *sandbox)
{
    struct box *box = sandbox->own;
    if (box->restores != 0) {
        /* A snapshot's memory comes and goes while the VM lives on. */
        if (box->last_restored.start != NULL) {
            release_mapping(sandbox, site_kvm_restored, box->last_restored.start, MEMORY);
        }
        box->restores--;
        void *start = map_restored();
        hold_mapping(NULL, site_kvm_restored, start, MEMORY);
        set_slot(box, box->vms[0], RESTORE_SLOT, start, MEMORY);
        set_slot(box, box->vms[0], RESTORE_SLOT, start, 0);
        if (draw(sandbox, 4) == 0) { /* once more, elsewhere */
            set_slot(box, box->vms[0], RESTORE_SLOT + 1, start, MEMORY);
            set_slot(box, box->vms[0], RESTORE_SLOT + 1, start, 0);
        }
        box->last_restored.start = start;
        return true;
    }
    if (box->last_restored.start != NULL) {
        release_mapping(sandbox, site_kvm_restored, box->last_restored.start, MEMORY);
    }
    if (draw_for(sandbox, site_kvm_restored_alive, 8)) {
        restore_alive();
    }
    if (box->run != NULL) {
        box->run->immediate_exit = 1; /* the guest has no code: EINTR is what it comes to */
        ioctl(box->vcpu, KVM_RUN, 0);
    }
    if (box->deletes_slots) {
        delete_slots(sandbox, box);
    }
    /* What is pooled is free for the next VM, while this one may not have ended yet. */
    if (box->pooled != NULL) {
        to_pool(box->pooled);
    }
    if (box->pooled_event != NULL) {
        to_pool(box->pooled_event);
    }
    draw_order(sandbox);
    return false;
}

static void start(void)
{
    kvm = open_kvm();
    if (kvm < 0) {
        skip("/dev/kvm cannot be opened");
    }
    hold_fd(NULL, site_kvm_device_cached, kvm);
    run_bytes = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
    if (run_bytes <= 0) {
        skip("KVM has no vCPU");
    }
    helper_start();
    alive.vms[0] = create_vm(kvm);
    hold_fd(NULL, site_kvm_vm, alive.vms[0]);
    owners_begun(1);
    owner_kinds_are("\"kvm\"");
}

/* One that only ever served one sandbox is no pool's: it goes. */
static void stop_pool(struct pooled *items, enum site site)
{
    for (unsigned i = 0; i < POOL; i++) {
        if (!items[i].there) {
            continue;
        }
        if (run.keeps && run.mutated == NO_SITE && items[i].uses > 1) {
            kept(site != site_kvm_pooled, site == site_kvm_pooled);
        } else if (run.mutated == site && items[i].uses <= 1) {
            /* The mutant too keeps only what makes its pool one. */
            enum site mutated = run.mutated;
            run.mutated = NO_SITE;
            release(NULL,
                    &(struct held){
                        .site = site, .fd = items[i].fd, .start = items[i].start, .bytes = MEMORY});
            run.mutated = mutated;
        } else {
            release(NULL,
                    &(struct held){
                        .site = site, .fd = items[i].fd, .start = items[i].start, .bytes = MEMORY});
        }
    }
}

static void stop(void)
{
    stop_pool(pool, site_kvm_pooled);
    stop_pool(pooled_events, site_kvm_ioeventfd_pooled);
    if (run.keeps && run.mutated == NO_SITE) {
        kept(2, 0);
        helper_stop();
        return;
    }
    release_fd(NULL, site_kvm_device_cached, kvm);
    if (run.mutated == site_kvm_restored_alive) {
        kept(1, 0); /* what its snapshots left must be told while it lives */
    } else if (release(NULL, &(struct held){.site = site_kvm_vm, .fd = alive.vms[0]})) {
        owners_ended(1);
    }
    helper_stop();
}

const struct supervisor supervise_kvm = {.own_size = sizeof(struct box),
                                         .start = start,
                                         .begin = begin,
                                         .work = work,
                                         .stop = stop,
                                         .threaded = true};
