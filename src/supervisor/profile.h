/*
 * profile.h: what a process sandbox may do and what it sees. Only data: options.c and serve.c fill
 * it in, everything else reads it.
 */
#ifndef SUPERVISOR_PROFILE_H
#define SUPERVISOR_PROFILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More --write options than this are a mistake. */
#define PROFILE_WRITABLE_MAX 64

struct profile {
    /* Read-only is everything; these, absolute and without links, and what is below them, may be
     * written as well. */
    const char *writable[PROFILE_WRITABLE_MAX];
    size_t writable_count;
    bool network; /* sockets; without it there are socket pairs only */
    /* The newest version of Landlock to use; 0: what the kernel has. For tests of older ones. */
    int landlock_abi;

    unsigned cpus;        /* what /proc/cpuinfo and /proc/stat show; 0: as it is */
    uint64_t memory;      /* bytes: what /proc/meminfo shows and what is enforced; 0: as it is */
    const char *hostname; /* NULL: as it is */
    bool has_seed;        /* random bytes come from `seed` */
    uint64_t seed;

    /* Files below this directory, absolute and without links, are opened as copies (shadow.h); "":
     * none are. */
    char shadow[PATH_MAX];
    uint64_t shadow_cap;    /* bytes of one file */
    uint64_t shadow_budget; /* bytes of all of them together */
    bool shadow_lazy;       /* large ones are filled when they are read */

    /* Opens are resolved in this directory, absolute and without links, as if it were the root
     * (redirect.h); "": they are not. */
    char root[PATH_MAX];

    /* What is changed below this directory, absolute and without links, is changed in a layer above
     * it (cow.h); "": there is none. */
    char cow[PATH_MAX];
    const char *upper; /* the layer's directory; NULL: a temporary one */
    bool commits;      /* what changed is written back where the command was successful */

    uint32_t defects;
};

#endif
