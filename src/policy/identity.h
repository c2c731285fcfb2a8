/*
 * identity.h: what a descriptor was when it became a sandbox's, and which file a range was mapped
 * of, to know them again before they are closed or unmapped.
 *
 * A number says nothing: it may have been closed and handed out again past every wrapper. An inode
 * says who it is where it has one of its own; anonymous inodes (eventfd, epoll, KVM's) are one for
 * all and never an identity, nor is a device. It keeps numbers and opens nothing.
 */
#ifndef BOXLEDGER_POLICY_IDENTITY_H
#define BOXLEDGER_POLICY_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "ledger/ledger.h"

#define IDENTITY_FDS 16384u    /* higher numbers have none, and are never reclaimed */
#define IDENTITY_RANGES 16384u /* mapped at one time, by their start */

enum identity_strength {
    IDENTITY_NONE,
    IDENTITY_NAMED,   /* a file or directory: who opens its name has the same */
    IDENTITY_PROCESS, /* a name in /proc: unique once that process is gone, and its name with it */
    IDENTITY_UNIQUE,  /* a memfd, a socket, a pipe, a process: there is no second way to it */
};

struct identity_fd {
    uint32_t state; /* the record's word at that time; 0: none */
    uint16_t strength;
    uint16_t assigned; /* the supervisor said whose it is */
    uint64_t device, inode;
};

struct identity_range {
    uint64_t start, end;
    uint64_t inode; /* of the file; 0: none */
    uint32_t assigned;
};

struct identity {
    struct identity_fd fds[IDENTITY_FDS];
    struct identity_range ranges[IDENTITY_RANGES];
};

/* Asks the kernel what `fd` is and remembers it for its record as it is now. One statx(2), and a
 * statfs(2) where that does not say it: not in a thread with a filter. */
void identity_take_fd(struct identity *identity, const struct ledger *ledger, int fd,
                      bool assigned);
bool identity_fd_assigned(const struct identity *identity, int fd);

/* Never reclaimed: somebody may hold what is not written yet. */
void identity_forget_fd(struct identity *identity, int fd);

/* How well that can be said at all; asks nobody. */
enum identity_strength identity_claimed(const struct identity *identity, int fd, uint32_t state);

/* What is open there now is what was taken for the record in that state. Never IDENTITY_PROCESS: by
 * now it is the one or the other. */
enum identity_strength identity_of_fd(const struct identity *identity, int fd, uint32_t state);

/* "/proc/self/fd/N" */
#define IDENTITY_PATH 32u
void identity_path(char path[IDENTITY_PATH], int fd);

/* The inode of what is open there; 0: nothing, or it cannot be asked. */
uint64_t identity_inode(int fd);

/* mmap has just put this there, of the file that `fd` is. */
void identity_take_range(struct identity *identity, uint64_t start, uint64_t end, int fd);

/* boxledger_assign_range, of what was mapped as exactly this range. */
void identity_assign_range(struct identity *identity, uint64_t start, uint64_t end);
bool identity_range_assigned(const struct identity *identity, uint64_t start, uint64_t end);

/* The inode of the file that was mapped as exactly this range; 0: not known. */
uint64_t identity_of_range(const struct identity *identity, uint64_t start, uint64_t end);

#endif
