/*
 * kernel.h: what the kernel says a process holds, asked from outside, at one moment.
 *
 * A ledger is a claim (DESIGN 4); this is what it is checked against. A saved ledger carries the
 * last view in its annex, so that a report made from it days later is as sure as one made at once.
 * Nothing here touches the process: it reads /proc/PID, as proc(5) describes it.
 */
#ifndef BOXLEDGER_REPORT_KERNEL_H
#define BOXLEDGER_REPORT_KERNEL_H

#include <sys/types.h>

#include "ledger/format.h"
#include "report/base.h"

struct kernel_fd {
    uint32_t fd;
    const char *name; /* what readlink says, without " (deleted)"; NULL: could not be read */
};

struct kernel_range {
    uint64_t start, end;
    uint64_t inode;   /* 0: not a file */
    const char *name; /* NULL: none */
};

/* The name of a descriptor that was looked up while its process lived. */
struct kernel_name {
    uint32_t fd;
    uint32_t stack; /* of its record then, with since_ns: is it still the same? */
    uint64_t since_ns;
    char *name;  /* malloc'ed: samples come and go for as long as the process lives */
    bool is_new; /* within kernel_sample_names only */
};

/* A thread of the process, by what it was called when last looked at. */
struct kernel_thread {
    uint32_t tid;
    char name[16]; /* NUL-terminated */
};

/* How many descriptors of one name the ledger never saw, over the ends of sandboxes. */
struct kernel_series {
    char *what; /* malloc'ed */
    uint32_t count;
    struct ledger_growth growth;
};

struct kernel_view {
    bool fds_known, ranges_known; /* whether the two lists are complete */
    bool running;      /* the process was running: not at its exit, which shows everything */
    uint64_t taken_ns; /* CLOCK_MONOTONIC; 0: the kernel was never asked */
    uint64_t vmas;     /* what vm.max_map_count counts */
    uint64_t max_fds;
    uint64_t max_map_count;
    struct kernel_fd *fds; /* by number */
    size_t fd_count;
    struct kernel_range *ranges; /* by address */
    size_t range_count;
    struct kernel_name *names; /* by descriptor and time */
    size_t name_count;
    uint64_t *gone; /* serials of owners that live in the ledger only, ascending */
    size_t gone_count;
    struct kernel_thread *threads; /* by tid */
    size_t thread_count;
    struct kernel_series *series; /* in no order */
    size_t series_count;
    struct arena arena;
};

/* Asks about a process. What it may not see (another user's, a zombie's) is left unknown. */
void kernel_look(struct kernel_view *view, pid_t pid);

/* Remembers the names of adopted descriptors that are live in the ledger open at `ledger_fd`;
 * returns how many it had to look up. Cheap when there is nothing new. */
size_t kernel_sample_names(struct kernel_view *view, pid_t pid, int ledger_fd);

/* Notes which of the ledger's live owners are children that nobody reaped, and that are gone all
 * the same: with SIGCHLD ignored, none is ever waited for. A zombie is still there. */
void kernel_look_at_owners(struct kernel_view *view, pid_t pid, int ledger_fd);
bool kernel_owner_is_gone(const struct kernel_view *view, uint64_t serial);
/* How many of those that are gone began after this one. */
size_t kernel_owners_gone_after(const struct kernel_view *view, uint64_t serial);

/* Notes what the threads that live now are called; of those that do not, what was noted stays. */
void kernel_sample_threads(struct kernel_view *view, pid_t pid);
const char *kernel_find_thread(const struct kernel_view *view, uint32_t tid); /* or NULL */

const struct kernel_fd *kernel_find_fd(const struct kernel_view *view, uint32_t fd);
/* The first range that ends above `address`, as an index; range_count if none does. */
size_t kernel_find_range(const struct kernel_view *view, uint64_t address);
const char *kernel_find_name(const struct kernel_view *view, uint32_t fd,
                             const struct ledger_fd *record);

/* Cuts off what readlink says of a file that has no name any more. */
void kernel_trim_name(char *name);

/* The annex: a view as bytes, and back. A bad annex is a failure, never a crash. */
unsigned char *kernel_view_pack(const struct kernel_view *view, size_t *size);
bool kernel_view_unpack(struct kernel_view *view, const unsigned char *bytes, size_t size,
                        struct failure *failure);
void kernel_view_free(struct kernel_view *view);

/* Whether process `pid` has the file of this identity and path mapped: is it still that ledger's
 * process, or another with its number? */
bool kernel_maps_file(pid_t pid, int fd);

#endif
