/*
 * maps.h: what the kernel has mapped at some ranges: /proc/self/maps, proc_pid_maps(5), read once
 * for all of them, without libc, in a buffer that is the caller's.
 */
#ifndef BOXLEDGER_POLICY_MAPS_H
#define BOXLEDGER_POLICY_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum maps_name {
    MAPS_NOTHING, /* anonymous memory without a name, or with one that a program gave it */
    MAPS_ZERO,    /* shared anonymous memory */
    MAPS_FILE,    /* a path */
    MAPS_KERNELS, /* [heap], [stack], [vdso] and their kin */
};

/* What is asked, and the answer. Alike: of one protection, one sharing, one inode, one name. */
struct maps_range {
    uint64_t start, end; /* asked */
    uint64_t inode;      /* 0: none */
    uint8_t prot;        /* PROT_* */
    uint8_t name;        /* enum maps_name */
    bool shared;
    bool whole;    /* all of it is mapped, and alike */
    uint64_t seen; /* the reader's own: how far it has been found mapped */
};

#define MAPS_BUFFER 16384u /* more than a line may have, PATH_MAX included */

/* Fills in the answers of `count` ranges, sorted by their start and not overlapping. False: the
 * kernel could not be asked. It opens a descriptor, and closes it. */
bool maps_ask(struct maps_range *ranges, uint32_t count, char *buffer);

/* How many VMAs there are; 0: the kernel could not be asked. It opens a descriptor, and closes
 * it. */
uint64_t maps_count(char *buffer, size_t size);

/* One line, for maps_ask and its tests: what it says of the ranges from `first` on. The first range
 * that later lines may still say something of. */
uint32_t maps_line(struct maps_range *ranges, uint32_t count, uint32_t first, const char *line,
                   size_t length);

#endif
