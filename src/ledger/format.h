/*
 * format.h: the layout of a ledger, the one thing the shim and every reader share.
 *
 * A ledger is a file (or, bare, anonymous memory) that starts with a base of LEDGER_BASE_SIZE
 * bytes: the header, and the first records of every table. A table that outgrows its part of
 * the base goes on in chunks of LEDGER_CHUNK_SIZE bytes that follow the base in the file in the
 * order in which they were needed; the header's directory says which chunk belongs to which
 * table. Records refer to one another by 32-bit index, never by pointer; index 0 of every table
 * but the descriptors' (where the index is the descriptor) is never used and means "none".
 *
 * The shim is the only writer, but for the words of `struct ledger_outside`, which belong to the
 * command. A record is published by the last store into it (its `state`) and withdrawn by the
 * first, so that a reader of a live ledger skips what is not published.
 *
 * This file never includes anything of ours and never declares a function of the ledger.
 * doc/ledger-format.md describes it for readers in other languages.
 */
#ifndef BOXLEDGER_LEDGER_FORMAT_H
#define BOXLEDGER_LEDGER_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#define LEDGER_MAGIC "BOXLEDGR" /* 8 bytes, no terminator */
#define LEDGER_VERSION 2u
#define LEDGER_BASE_SIZE (704u << 10) /* one VMA holds all of a small program's ledger */
#define LEDGER_CHUNK_SIZE (2u << 20)  /* DESIGN 2: grows by at most 2 MiB */
#define LEDGER_MAX_CHUNKS 2048u       /* in the whole file: 4 GiB */
#define LEDGER_TABLE_CHUNKS 512u      /* of one table: 1 GiB, 16 million mappings */
#define LEDGER_FRAMES_MAX 64u

enum ledger_table {
    LEDGER_FDS,      /* struct ledger_fd, indexed by the descriptor itself */
    LEDGER_MAPPINGS, /* struct ledger_mapping */
    LEDGER_STACKS,   /* struct ledger_stack */
    LEDGER_FRAMES,   /* uint64_t, LEDGER_FRAME_EXACT or'ed in */
    LEDGER_MODULES,  /* struct ledger_module */
    LEDGER_STRINGS,  /* bytes; a string is named by the index of its first byte, NUL-terminated */
    LEDGER_OWNERS,   /* struct ledger_owner */
    LEDGER_EVENTS,   /* struct ledger_event: the calls that failed or went wrong */
    LEDGER_GROWTH,   /* struct ledger_growth, of the stack with the same index */
    LEDGER_TABLES
};

/* Where each table starts in the base, and how many of its records lie there. */
#define LEDGER_FDS_BASE 0x8000u
#define LEDGER_FDS_IN_BASE 1024u /* the usual soft RLIMIT_NOFILE; 32 KiB */
#define LEDGER_MAPPINGS_BASE 0x10000u
#define LEDGER_MAPPINGS_IN_BASE 2048u /* 128 KiB */
#define LEDGER_STACKS_BASE 0x30000u
#define LEDGER_STACKS_IN_BASE 1024u /* 64 KiB */
#define LEDGER_FRAMES_BASE 0x40000u
#define LEDGER_FRAMES_IN_BASE 16384u /* 128 KiB: 16 frames a stack */
#define LEDGER_MODULES_BASE 0x60000u
#define LEDGER_MODULES_IN_BASE 256u /* 32 KiB */
#define LEDGER_STRINGS_BASE 0x68000u
#define LEDGER_STRINGS_IN_BASE 0x8000u /* 32 KiB */
#define LEDGER_OWNERS_BASE 0x70000u
#define LEDGER_OWNERS_IN_BASE 768u /* 96 KiB */
#define LEDGER_EVENTS_BASE 0x88000u
#define LEDGER_EVENTS_IN_BASE 512u /* 32 KiB */
#define LEDGER_GROWTH_BASE 0x90000u
#define LEDGER_GROWTH_IN_BASE LEDGER_STACKS_IN_BASE /* 128 KiB */

/* The state of a record. A reader looks at nothing else of one that is LEDGER_EMPTY. */
enum ledger_state {
    LEDGER_EMPTY = 0,     /* not published, or withdrawn */
    LEDGER_BUSY = 1,      /* being written; only descriptors: their slot exists before its record */
    LEDGER_LIVE = 2,      /* held */
    LEDGER_IN_FLIGHT = 3, /* a release has begun and has not said how it ended: ask the kernel */
    LEDGER_ENDED = 4,     /* owners and modules only */
};

/* What a descriptor is, from the call that made it. */
enum ledger_fd_kind {
    LEDGER_FD_UNKNOWN = 0, /* adopted or inherited: the kernel knows */
    LEDGER_FD_FILE,
    LEDGER_FD_DIRECTORY,
    LEDGER_FD_MEMFD,
    LEDGER_FD_SECRETMEM,
    LEDGER_FD_PIPE,
    LEDGER_FD_SOCKET,
    LEDGER_FD_EVENTFD,
    LEDGER_FD_EPOLL,
    LEDGER_FD_TIMERFD,
    LEDGER_FD_SIGNALFD,
    LEDGER_FD_INOTIFY,
    LEDGER_FD_FANOTIFY,
    LEDGER_FD_PIDFD,
    LEDGER_FD_RECEIVED, /* over a socket, or by pidfd_getfd */
    LEDGER_FD_SHM,
    LEDGER_FD_MQUEUE,
    LEDGER_FD_PTY,
    LEDGER_FD_MOUNT, /* fsopen, fsmount, open_tree */
    LEDGER_FD_IO_URING,
    LEDGER_FD_USERFAULTFD,
    LEDGER_FD_PERF,
    LEDGER_FD_BPF,
    LEDGER_FD_SECCOMP, /* a listener */
    LEDGER_FD_IOCTL,   /* returned by an ioctl; `detail` holds the request */
    LEDGER_FD_KVM_VM,
    LEDGER_FD_KVM_VCPU,
    LEDGER_FD_KVM_DEVICE,
    LEDGER_FD_LANDLOCK,
    LEDGER_FD_DUP,       /* a duplicate of a descriptor that the ledger did not know */
    LEDGER_FD_RECLAIMED, /* a policy closed what was there, and keeps the number for a while */
    LEDGER_FD_KINDS
};

/* enum ledger_record_flags: of descriptors and mappings alike. */
#define LEDGER_INHERITED 0x01u /* held before the shim was loaded */
#define LEDGER_ADOPTED 0x02u   /* never seen made: first seen as an argument */
#define LEDGER_CLOEXEC 0x04u   /* at creation; F_SETFD may have changed it since */
#define LEDGER_UNSURE 0x08u    /* an update was lost: the kernel knows whether it is still held */
#define LEDGER_FILE_MAP 0x10u  /* a mapping of a descriptor */
#define LEDGER_SHARED_MAP 0x20u
#define LEDGER_SHM_MAP 0x40u      /* shmat: ends by shmdt of its first byte */
#define LEDGER_SPLIT 0x80u        /* a part of what its call had mapped */
#define LEDGER_STACK_MAP 0x100u   /* MAP_GROWSDOWN: its range moves without a call */
#define LEDGER_UNSURE_PROT 0x200u /* an mprotect of it failed, perhaps half-way */
/* Only mappings, in the place of close-on-exec: released as far as the program goes, and kept by a
 * policy: a reclaimed range, or one whose munmap the kernel refused. */
#define LEDGER_KEPT 0x04u
/* Only mappings that are neither a file's nor attached: `detail` holds what tells them from plain
 * memory, so that a policy does not take one for the other. */
#define LEDGER_ODD 0x1u /* flags of its mmap, or advice, that what comes next must not inherit */
#define LEDGER_WATCHED 0x2u   /* huge pages, or registered with userfaultfd: no policy's business */
#define LEDGER_WAITS 0x4u     /* LEDGER_KEPT because the kernel refused its munmap */
#define LEDGER_ASSIGNED 0x10u /* boxledger_assign_range said whose it is */
#define LEDGER_PLACED 0x8u    /* not where the kernel chose */
/* Only mappings: how many memory slots map it now. At the most it stays there for good. */
#define LEDGER_BINDINGS 0x3c00u
#define LEDGER_BINDING 0x0400u /* one of them */
#define LEDGER_SHARED 0x4000u  /* two or more owners had it: only "growing" may accuse it */
#define LEDGER_BOUND_OVER                                                                          \
    0x8000u /* mapped over a bound range: slots older than it count as well                        \
             */
/* Only descriptors, in the place of what only mappings have. */
#define LEDGER_ANCHOR 0x10u /* its owner lives as long as it, or another anchor, is open */
#define LEDGER_GIVEN 0x20u  /* injected into its owner's process by SECCOMP_IOCTL_NOTIF_ADDFD */
#define LEDGER_PASSED                                                                              \
    0x100u                  /* tied, and a later child was made with it: once may be its purpose   \
                             */
#define LEDGER_TIED 0x40u   /* its owner may have to do with it: for "growing" and "inheritable" */
#define LEDGER_SCOPED 0x80u /* its owner's because it was taken while answering it, no more */

struct ledger_fd {
    uint32_t state; /* enum ledger_state in bits 0..2; the rest is the writer's own */
    uint16_t kind;  /* enum ledger_fd_kind */
    uint16_t flags;
    uint32_t stack;    /* that acquired it; 0: unknown */
    uint32_t owner;    /* 0: the supervisor */
    uint32_t tid;      /* the acquiring thread */
    uint32_t detail;   /* by kind: an ioctl's request, the other end of a pipe; while in flight, and
                          after, the stack that released it */
    uint64_t since_ns; /* CLOCK_MONOTONIC_COARSE */
};

struct ledger_mapping {
    uint8_t state; /* enum ledger_state */
    uint8_t prot;  /* PROT_*; an mprotect of a part of it splits it */
    uint16_t flags;
    uint32_t flight; /* while in flight, the low half of the release's ticket; while live, when its
                        last slot was deleted, CLOCK_MONOTONIC's ns >> LEDGER_UNBOUND_SHIFT */
    uint64_t start;  /* page-aligned */
    uint64_t end;    /* exclusive, page-aligned */
    uint64_t since_ns;
    uint64_t ticket; /* of the event that made it: an older release never removes it */
    uint32_t stack;
    uint32_t owner;
    uint32_t tid;
    uint32_t bound_owner; /* sandbox whose slot maps it, or the last that did */
    uint32_t
        unbound_stack; /* where that slot was deleted; 0: never. LEDGER_KEPT: who released it */
    uint32_t detail;   /* a file's: descriptor + 1 it was mapped from at the time; attached: the
                          4 KiB pages of its segment; otherwise LEDGER_ODD and its kin */
};

#define LEDGER_UNBOUND_SHIFT 20u /* 1 ms a unit */

struct ledger_stack {
    uint32_t state; /* LEDGER_LIVE once complete */
    uint32_t hash;
    uint32_t next; /* of the same hash bucket; the writer's own */
    uint32_t first_frame;
    uint16_t frames;     /* 1..LEDGER_FRAMES_MAX, innermost first */
    uint16_t flags;      /* LEDGER_STACK_* */
    uint32_t generation; /* of the module table: resolves `pc`s to the code loaded at that time */
    uint32_t released_by[2]; /* the last two different stacks that released something of this one */
    uint32_t acquired;       /* how many, ever (wraps) */
    uint32_t released;
    int32_t fds_live;
    int32_t mappings_live; /* records, not VMAs */
    int64_t bytes_live;
    uint32_t checked; /* the writer's own: the last generation in which it was found unchanged */
    uint32_t epoch;   /* header.epoch when its counts last changed; see struct ledger_growth */
};

#define LEDGER_STACK_TRUNCATED 0x1u /* the outer frames could not be had; see doc/limits.md */
#define LEDGER_STACK_FULL 0x2u      /* deeper than LEDGER_FRAMES_MAX */
#define LEDGER_STACK_SIGNAL 0x4u    /* passes through a signal frame */
#define LEDGER_STACK_SWEEPS 0x8u   /* closes numbers that nobody opened: a sweep, no double close */
#define LEDGER_STACK_REBINDS 0x10u /* what it mapped went from one owner to another: a pool */
#define LEDGER_STACK_ANEW 0x20u /* mapped more for a VM after a slot of what it had mapped went */

/* A frame is a return address (look up pc - 1), or with this bit the very instruction that a
 * signal interrupted (look up pc). */
#define LEDGER_FRAME_EXACT (UINT64_C(1) << 63)

struct ledger_module {
    uint32_t state; /* LEDGER_LIVE, or LEDGER_ENDED once unloaded */
    uint32_t path;  /* string; "[vdso]" for the kernel's own */
    uint64_t start; /* of its mapped segments */
    uint64_t end;
    uint64_t bias;             /* pc - bias is the address in the file's own terms */
    uint32_t generation_first; /* loaded in this generation ... */
    uint32_t generation_last;  /* ... unloaded at the end of this one; UINT32_MAX: still there */
    uint8_t build_id_len;      /* 0: none */
    uint8_t build_id[31];
    uint8_t reserved[56];
};

/* What kind of sandbox an owner is; DESIGN 5. */
enum ledger_owner_kind {
    LEDGER_OWNER_NONE = 0,
    LEDGER_OWNER_KVM,
    LEDGER_OWNER_CHILD,
    LEDGER_OWNER_SECCOMP,
    LEDGER_OWNER_API,
    LEDGER_OWNER_THREAD, /* a rule of the user's */
    LEDGER_OWNER_KINDS = 8
};

#define LEDGER_LABEL_SIZE 48u

/* One sandbox. An ended one whose record nothing refers to any more is used again, the oldest
 * first, so that the table stays as long as the sandboxes that live or left something. */
struct ledger_owner {
    uint32_t state;              /* LEDGER_EMPTY, LEDGER_BUSY, LEDGER_LIVE or LEDGER_ENDED */
    uint16_t kind;               /* enum ledger_owner_kind */
    uint16_t flags;              /* LEDGER_OWNER_* */
    uint32_t pid;                /* the sandboxed process, where there is one; 0: unknown */
    uint32_t holds;              /* parts of it, slots of it, and calls that look at it just now */
    uint64_t serial;             /* the n-th owner that began in this process, from 1 */
    uint64_t begun_ns, ended_ns; /* CLOCK_MONOTONIC_COARSE; ended_ns only once ended */
    uint32_t ended_order;        /* how many of its kind had ended then, itself included (wraps) */
    uint32_t anchors;            /* what it lives by; ended when none is left */
    uint32_t fds;                /* that name it; mappings alike */
    uint32_t mappings;
    uint64_t bytes;
    uint32_t begun_stack, ended_stack; /* 0: unknown */
    uint32_t parent; /* the owner that this is a part of (a VM within an explicit scope); 0: none.
                        Only the outermost is a sandbox, and counted; records may name a part, and
                        count for both */
    uint32_t slots;  /* the writer's own: its memory slots, where it is a VM; where it is a child
                        and a rule asks what it runs, which one it is */
    char label[LEDGER_LABEL_SIZE]; /* NUL-terminated */
};

#define LEDGER_OWNER_LISTENS 0x1u /* a seccomp listener has joined it */
#define LEDGER_OWNER_REAPED 0x2u  /* its process has been reaped */
#define LEDGER_OWNER_UNSEEN_END                                                                    \
    0x4u /* its end was not seen but inferred: the pid was used again                              \
          */

/* How many of a stack's resources were held each time that a sandbox ended: its low-water marks
 * over the whole run. An epoch is the end of a sandbox, the deletion of a memory slot of one that
 * lives on, or a boxledger_mark. Interval i spans the epochs from first + i * stride on; when all
 * are in use, each two become one and the stride doubles. What is one owner's alone is not in it:
 * that has verdicts of its own. */
#define LEDGER_GROWTH_INTERVALS 12u
struct ledger_growth {
    uint32_t writing;  /* the writer's own: epoch + 1 in which somebody is at it; 0: nobody */
    uint32_t stride;   /* 0: nothing noted yet */
    uint32_t first;    /* the epoch in which the stack was first seen */
    uint32_t noted;    /* epochs [first, noted) are in the intervals */
    int32_t fds_owned; /* of the stack's fds_live and mappings_live, those that are one owner's */
    int32_t mappings_owned;
    uint32_t unbound_owner;  /* the writer's own: the living VM that last lost a slot of it, and */
    uint32_t unbound_ticket; /* the low half of that event's ticket */
    struct {
        uint32_t low;    /* the fewest that were held at an end in it */
        uint32_t owners; /* the most sandboxes that lived then */
    } interval[LEDGER_GROWTH_INTERVALS];
};

/* A call that the kernel refused, or that released what was not held. Repeats of one kind from
 * one stack count up in one record. */
enum ledger_event_kind {
    LEDGER_EVENT_UNMAP_REFUSED = 1, /* munmap, shmdt: `error`, usually ENOMEM (F3) */
    LEDGER_EVENT_PROTECT_REFUSED,   /* mprotect with ENOMEM */
    LEDGER_EVENT_REMAP_REFUSED,     /* mremap with ENOMEM */
    LEDGER_EVENT_MAP_REFUSED,       /* mmap with ENOMEM */
    LEDGER_EVENT_FD_REFUSED,        /* EMFILE or ENFILE */
    LEDGER_EVENT_DOUBLE_CLOSE,      /* close with EBADF of a number that the ledger saw closed */
    LEDGER_EVENT_FOREIGN_CLOSE,     /* one owner's scope closed another's; `owner`, `other_owner` */
    LEDGER_EVENT_INHERITABLE,       /* without close-on-exec when a sandbox's child was made */
    LEDGER_EVENT_NEARLY_FULL,       /* 80% of the descriptors (error EMFILE) or VMAs (ENOMEM) */
    /* What a policy did; `owner`: for whom, the last time. */
    LEDGER_EVENT_RECLAIMED_FD,      /* closed; `stack` had taken it */
    LEDGER_EVENT_RECLAIMED_MAPPING, /* unmapped, `bytes`; `stack` had mapped it */
    LEDGER_EVENT_LATE_CLOSE,      /* of a reclaimed number: swallowed; `other_stack` had taken it */
    LEDGER_EVENT_LATE_UNMAP,      /* of a reclaimed range */
    LEDGER_EVENT_RESCUED,         /* a refused munmap that was answered with 0; `stack` called it */
    LEDGER_EVENT_LIMITED_FD,      /* refused with EMFILE (error) */
    LEDGER_EVENT_LIMITED_MAPPING, /* refused with ENOMEM */
    LEDGER_EVENT_ADVICE_REFUSED,  /* madvise with EAGAIN (or ENOMEM), for want of VMAs */
};

struct ledger_event {
    uint32_t state;
    uint16_t kind;  /* enum ledger_event_kind */
    uint16_t error; /* errno */
    uint32_t stack;
    uint32_t other_stack; /* DOUBLE_CLOSE: the stack that closed it first; FOREIGN_CLOSE and
                             INHERITABLE: `stack` took it, this one closed it or made the child */
    uint32_t count;
    uint32_t vmas; /* estimated, at the last one */
    uint64_t first_ns;
    uint64_t last_ns;
    uint64_t start;              /* of the last one: an address, or a descriptor */
    uint64_t bytes;              /* in all */
    uint32_t owner, other_owner; /* of the last one: whose it was, who closed or got it */
};

/* What the process is doing about its ledger. */
enum ledger_process_state {
    LEDGER_PROCESS_NONE = 0, /* no image has attached yet */
    LEDGER_PROCESS_RUNNING,  /* attached */
    LEDGER_PROCESS_EXECING,  /* an exec began; the next image, or the failed exec, takes it back */
    LEDGER_PROCESS_EXITING,  /* waits, for a bounded moment, for `outside.checked` */
    LEDGER_PROCESS_DETACHED, /* the shim's destructor ran; later calls were not seen */
};

/* Why a ledger does not say everything: header.incomplete, or'ed. */
#define LEDGER_INCOMPLETE_STACKS 0x1u   /* a stack found no room; its records say 0 */
#define LEDGER_INCOMPLETE_RECORDS 0x2u  /* a record found no room; see missed_records */
#define LEDGER_INCOMPLETE_EVENTS 0x4u   /* an event was lost; what it touched is LEDGER_UNSURE */
#define LEDGER_INCOMPLETE_FILTERED 0x8u /* no room could be made in a thread with a filter */
#define LEDGER_INCOMPLETE_MODULES 0x10u

/* The command's own words; the shim only reads them. Alone in their page. */
struct ledger_outside {
    uint32_t checked;       /* futex: header.exit_serial once the exit has been looked at */
    uint32_t command_pid;   /* 0: nobody keeps this ledger; do not wait */
    uint32_t command_alive; /* cleared when the command gives up; do not wait then either */
    uint32_t ended;         /* enum ledger_ended, as wait(2) told the command */
    uint32_t status;        /* exit status or signal number */
    uint32_t reserved0;
    uint64_t end_ns;       /* CLOCK_REALTIME of that */
    uint64_t annex_offset; /* saved ledgers: what the kernel had said (src/report/kernel.h) */
    uint64_t annex_size;   /* 0: none */
    uint32_t reserved[4];
};

enum ledger_ended {
    LEDGER_ENDED_UNKNOWN = 0, /* runs, or nobody waited for it */
    LEDGER_ENDED_EXIT,
    LEDGER_ENDED_SIGNAL,
};

struct ledger_header {
    char magic[8];
    uint32_t version;
    uint32_t header_size;
    uint32_t base_size;
    uint32_t chunk_size;
    uint32_t page_size;
    uint32_t process_state; /* enum ledger_process_state; a futex on the command's side */
    uint32_t pid;
    uint32_t images;             /* how many images of the process have attached (execs) */
    uint32_t exit_status;        /* as given to _exit, where it went through the shim */
    uint32_t exit_serial;        /* counts the times that the shim waited at an exit */
    uint64_t start_ns;           /* CLOCK_REALTIME, of the first attach */
    uint64_t start_monotonic_ns; /* the same moment: what since_ns counts from */
    uint64_t end_ns;             /* CLOCK_REALTIME; 0: has not ended, or not through the shim */
    uint32_t exe;                /* string */
    uint32_t argv;               /* strings, one after the other */
    uint32_t argc;
    uint32_t incomplete;
    uint64_t missed_stacks;
    uint64_t missed_records;
    uint64_t lost_events;
    uint64_t ticket;              /* the last one given out */
    uint32_t generation;          /* of the module table */
    uint32_t chunks;              /* in use, in the whole file */
    uint64_t used[LEDGER_TABLES]; /* one past the highest index ever used */
    int64_t vmas_estimated;
    uint32_t max_map_count;
    uint32_t exec_path;        /* string: what the last exec ran */
    uint64_t max_fds;          /* soft RLIMIT_NOFILE at start */
    uint64_t fd_closes_unseen; /* numbers handed out again though the ledger had them held */
    uint64_t map_releases_unseen;
    uint64_t rebuilds; /* of the index, after a signal handler jumped out of an update */
    /* Owners, by kind: how many ever. Parts of others are not counted. */
    uint64_t owners_begun[LEDGER_OWNER_KINDS];
    uint64_t owners_ended[LEDGER_OWNER_KINDS];
    uint64_t owner_serial;  /* the last one given out */
    uint64_t owners_missed; /* found no room: what they held counts as the supervisor's */
    uint64_t marks;         /* boxledger_mark */
    uint64_t unbinds;       /* slots deleted while their sandbox lived on */
    uint32_t epoch;         /* ended owners, marks and unbinds; see struct ledger_growth */
    uint32_t owners_live;
    /* What policies did, ever; `rescue_waiting` and `quarantined`: now. */
    uint64_t reclaimed_fds, reclaimed_mappings, reclaimed_bytes;
    uint64_t late_releases;
    uint64_t rescued, rescue_waiting_ranges, rescue_waiting_bytes;
    uint64_t rescue_unmapped, rescue_reused; /* what waited: unmapped after all; an mmap's again */
    uint64_t limited;
    uint64_t quarantined_fds, quarantined_bytes;
    uint64_t policies; /* enum policy: which are on */
    /* File chunk + 1 that holds a table's n-th chunk beyond the base; 0: none. Descriptors may
     * leave holes. */
    uint16_t directory[LEDGER_TABLES][LEDGER_TABLE_CHUNKS];
};

#define LEDGER_OUTSIDE_OFFSET 0x7000u /* the last page before the first table */

_Static_assert(sizeof(struct ledger_fd) == 32, "32 bytes a descriptor, DESIGN 9");
_Static_assert(sizeof(struct ledger_mapping) == 64, "half of the 128 bytes a mapping may cost");
_Static_assert(sizeof(struct ledger_stack) == 64, "a cache line: its counters are hot");
_Static_assert(sizeof(struct ledger_module) == 128, "a power of two, so that chunks fill");
_Static_assert(sizeof(struct ledger_owner) == 128, "a power of two, so that chunks fill");
_Static_assert(sizeof(struct ledger_growth) == 128, "a power of two, so that chunks fill");
_Static_assert(sizeof(struct ledger_event) == 64, "a power of two, so that chunks fill");
_Static_assert(offsetof(struct ledger_header, directory) % 8 == 0, "readers may map it");
_Static_assert(sizeof(struct ledger_header) <= LEDGER_OUTSIDE_OFFSET, "the header has its pages");
_Static_assert(LEDGER_GROWTH_BASE + LEDGER_GROWTH_IN_BASE * sizeof(struct ledger_growth) ==
                   LEDGER_BASE_SIZE,
               "the base is full");

/* Bytes of a record, offset of the table in the base, records there. */
struct ledger_table_layout {
    uint32_t record_size;
    uint32_t base_offset;
    uint32_t in_base;
};

static const struct ledger_table_layout ledger_layout[LEDGER_TABLES] = {
    [LEDGER_FDS] = {sizeof(struct ledger_fd), LEDGER_FDS_BASE, LEDGER_FDS_IN_BASE},
    [LEDGER_MAPPINGS] = {sizeof(struct ledger_mapping), LEDGER_MAPPINGS_BASE,
                         LEDGER_MAPPINGS_IN_BASE},
    [LEDGER_STACKS] = {sizeof(struct ledger_stack), LEDGER_STACKS_BASE, LEDGER_STACKS_IN_BASE},
    [LEDGER_FRAMES] = {sizeof(uint64_t), LEDGER_FRAMES_BASE, LEDGER_FRAMES_IN_BASE},
    [LEDGER_MODULES] = {sizeof(struct ledger_module), LEDGER_MODULES_BASE, LEDGER_MODULES_IN_BASE},
    [LEDGER_STRINGS] = {1, LEDGER_STRINGS_BASE, LEDGER_STRINGS_IN_BASE},
    [LEDGER_OWNERS] = {sizeof(struct ledger_owner), LEDGER_OWNERS_BASE, LEDGER_OWNERS_IN_BASE},
    [LEDGER_EVENTS] = {sizeof(struct ledger_event), LEDGER_EVENTS_BASE, LEDGER_EVENTS_IN_BASE},
    [LEDGER_GROWTH] = {sizeof(struct ledger_growth), LEDGER_GROWTH_BASE, LEDGER_GROWTH_IN_BASE},
};

#endif
