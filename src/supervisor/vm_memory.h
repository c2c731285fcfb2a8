/*
 * vm_memory.h: the host's memory behind a guest: what is mapped, who needs it, when it goes. It
 * knows no slots, no guest addresses and no ledger.
 *
 * An owner of memory holds a reference; the last release unmaps. Anonymous memory has an unmapped
 * look, PROT_NONE, on both sides: the kernel merges like neighbours into one VMA, and a part of
 * one cannot be unmapped when the process is at vm.max_map_count (F3). So apart, it always can.
 *
 * Results: 0, or -1 with the reason in *error. Sizes are in bytes, whole pages.
 */
#ifndef SUPERVISOR_VM_MEMORY_H
#define SUPERVISOR_VM_MEMORY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "supervisor/owned.h"

struct error;

struct vm_memory {
    uint8_t *start; /* what the guest can have; never read or written by us where is_file */
    size_t bytes;
    struct mapping map; /* that, and the PROT_NONE around it */
    unsigned references;
    bool is_file;
};

/* A private mapping of a whole file that is open for reading: writes go to copies of its pages. */
int vm_memory_map_file(struct vm_memory **memory, int fd, size_t bytes, bool is_writable,
                       struct error *error);

/* Zeros. `apart`: never one VMA with a neighbour; without it, that is the defect merge-trap. */
int vm_memory_map_zeros(struct vm_memory **memory, size_t bytes, bool apart, struct error *error);

struct vm_memory *vm_memory_share(struct vm_memory *memory);

/* NULL is fine. The reference is gone also where the kernel refused to unmap. */
int vm_memory_release(struct vm_memory *memory, struct error *error);

/* The defects of F1: from here on the memory is an address and a size, and nobody will unmap it. */
void vm_memory_forget(struct vm_memory *memory);

/* The pages of a private mapping that differ from what is mapped, and their contents. */
struct vm_pages {
    size_t *numbers; /* from the mapping's start */
    uint8_t *contents;
    size_t count;
    size_t room;
};

int vm_pages_save(struct vm_pages *pages, const struct vm_memory *memory, struct error *error);

/* Takes the mapping back to what it was then. */
int vm_pages_restore(const struct vm_pages *pages, const struct vm_memory *memory,
                     struct error *error);
void vm_pages_clear(struct vm_pages *pages);

/* Blocks of zeroed memory of one size, kept for the next that needs one. Serves all threads. */
#define VM_POOL_KEEPS 64

struct vm_pool {
    pthread_mutex_t lock;
    size_t bytes; /* of each block */
    struct vm_memory *kept[VM_POOL_KEEPS];
    size_t count;
};

void vm_pool_init(struct vm_pool *pool, size_t bytes);
int vm_pool_take(struct vm_pool *pool, struct vm_memory **memory, struct error *error);

/* The block's pages go back to the kernel at once, so that no guest sees what another wrote. */
int vm_pool_give(struct vm_pool *pool, struct vm_memory *memory, struct error *error);
int vm_pool_clear(struct vm_pool *pool, struct error *error);

#endif
