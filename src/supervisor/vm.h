/*
 * vm.h: VM sandboxes on /dev/kvm, each with the small guest of guest.S inside.
 *
 * Whatever a VM was given goes when the VM goes, in whatever state it is: slots, mappings, its
 * descriptors, its place in the ledger. The files that it maps never change. No function reads or
 * writes the memory of a mapped file directly: somebody else can shorten the file, and the
 * supervisor would die of SIGBUS.
 *
 * Results: 0, or -1 with the reason in *error. A host serves several threads at once; a VM and its
 * snapshots belong to one thread at a time. Guest addresses and sizes are in bytes, and multiples
 * of GUEST_PAGE.
 */
#ifndef SUPERVISOR_VM_H
#define SUPERVISOR_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "supervisor/guest_layout.h"

struct error;

/* What the VMs of a process share: /dev/kvm and the pool of guest memory. */
struct vm_host;
struct vm;
struct vm_snapshot;

/* The defects of FIELD that a VM sandbox can have: bits. */
enum {
    VM_COW_MAP_LEAK = 1 << 0,     /* F1: a mapped file is never unmapped, whatever happens */
    VM_SLOT_ONLY_UNMAP = 1 << 1,  /* F1: vm_unmap removes the slot and keeps the mapping */
    VM_RESTORE_LEAK = 1 << 2,     /* F1: so does vm_restore, of what the snapshot has not */
    VM_SHARED_GAP_HINTS = 1 << 3, /* F2: all guests of the process share their gap hints */
    VM_MERGE_TRAP = 1 << 4,       /* F3: memory of different sandboxes merges into one VMA */
};

struct vm_options {
    const char *label; /* in the ledger; NULL: "vm" */
    unsigned defects;
    /* Where the guest's regions are placed; NULL: vm_default_windows. */
    const struct guest_range *windows;
};

/* An address that asks for any that is free. */
#define VM_ANYWHERE UINT64_MAX

extern const struct guest_range vm_default_windows[GUEST_REGIONS];

/* Why there are no VMs here is in *error: no /dev/kvm, no permission, another machine. */
int vm_host_open(struct vm_host **host, struct error *error);

/* After the last of its VMs. NULL is fine. */
int vm_host_close(struct vm_host *host, struct error *error);

int vm_create(struct vm_host *host, const struct vm_options *options, struct vm **vm,
              struct error *error);

/* From any state. The VM is gone also where this says that the kernel refused to unmap something.
 * NULL is fine. */
int vm_destroy(struct vm *vm, struct error *error);

/* Maps a file copy on write: the guest writes to copies of its pages, and the file never changes.
 * *address is where; VM_ANYWHERE is replaced by the place. An executable region is read-only
 * for the guest. The file: regular, and whole pages. */
int vm_map_file_cow(struct vm *vm, const char *path, enum guest_region kind, uint64_t *address,
                    struct error *error);

/* The same of an open file, which stays the caller's; `name` is for messages. */
int vm_map_descriptor_cow(struct vm *vm, int fd, const char *name, enum guest_region kind,
                          uint64_t *address, struct error *error);

/* Memory that is zero at first, placed in the same way. Its host address goes to *memory unless
 * that is NULL. */
int vm_map_scratch(struct vm *vm, enum guest_region kind, uint64_t bytes, uint64_t *address,
                   void **memory, struct error *error);

/* Gives scratch memory another size and, where it has no room to grow, another address. What fits
 * of its contents is kept. Its host address is another one. */
int vm_resize_scratch(struct vm *vm, uint64_t bytes, uint64_t *address, struct error *error);

/* Takes the region that starts there from the guest, slot and mapping, but for a mapping that a
 * snapshot still needs. */
int vm_unmap(struct vm *vm, uint64_t address, struct error *error);

/* The bytes of the region that starts there; 0: none does. */
uint64_t vm_region_bytes(const struct vm *vm, uint64_t address);

enum vm_work {
    VM_STOP,  /* the guest halts for good, but for a restore */
    VM_SUM,   /* answers the sum of the range's 64-bit words */
    VM_WRITE, /* puts the value at the start of each page of the range; answers how many pages */
    VM_CALL,  /* calls the address as a function; answers what that returns */
};

struct vm_request {
    enum vm_work work;
    uint64_t address;
    uint64_t bytes;
    uint64_t value;
};

/* Lets the guest run until it has answered. Anything else that it does is an error. */
int vm_ask(struct vm *vm, const struct vm_request *request, uint64_t *answer, struct error *error);

/* What the guest has printed so far, or the first part of it. */
const char *vm_console(const struct vm *vm);

/* The state of the guest: its registers, memory, regions and their contents. It keeps what it
 * needs for as long as it exists, which may be longer than its VM does. */
int vm_snapshot_take(struct vm *vm, struct vm_snapshot **snapshot, struct error *error);

/* Makes the VM what it was. Regions that the snapshot does not have are released, those that were
 * unmapped since are back. After a failure the VM can only be destroyed. */
int vm_snapshot_restore(struct vm *vm, const struct vm_snapshot *snapshot, struct error *error);

/* NULL is fine. */
int vm_snapshot_free(struct vm_snapshot *snapshot, struct error *error);

/* --- churn: one VM sandbox after another ------------------------------------------------------ */

struct vm_churn;

struct vm_churn_options {
    unsigned defects; /* VM_... */
};

/* What the sandboxes of a run share: the host, and the file that they map. */
int vm_churn_open(struct vm_churn **churn, const struct vm_churn_options *options,
                  struct error *error);

/* One VM sandbox from begin to end: it maps, sums, writes, unmaps, is snapshot and restored, and
 * every answer is compared with the right one. Several threads may be in it. `number`, from 1, is
 * for its label. An error is the run's end, and a defect's. */
int vm_churn_one(struct vm_churn *churn, unsigned long number, struct error *error);

/* NULL is fine. */
int vm_churn_close(struct vm_churn *churn, struct error *error);

/* --- the command ------------------------------------------------------------------------------ */

/* `boxsup vm`; argv[0] is "vm". Returns an exit status of status.h, after one line on
 * stderr if that is not 0: STATUS_UNSUPPORTED where there are no VMs, STATUS_FAILED where a file
 * cannot be mapped or the guest did not do its work. */
int vm_command(int argc, char **argv);

#endif
