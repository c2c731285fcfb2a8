/*
 * truth.c: a seeded random driver over every call that the shim wraps; at every checkpoint the
 * ledger must say what the kernel says.
 *
 * Each thread works on descriptors and pages of its own, so that the program itself is free of
 * races, but all run at once and the kernel hands numbers and addresses from one to another.
 * What inline system calls took or released is left open (the ledger may be stale there until it
 * asks the kernel); everything else is exact, both ways. Never touches the ledger but to read it.
 *
 * truth [--seed=N] [--ops=N] [--threads=N] [--every=N] [--raw=0] [--forks=0] [--verbose] LEDGER DIR
 * LEDGER "-": no ledger, the driver checks only its own model against the kernel.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <mntent.h>
#include <mqueue.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "kernel_view.h"
#include "ledger_view.h"

#define MAX_FDS 16384
#define MAX_THREADS 16
#define WINDOW_FDS 48
#define HOLD_FDS 96
#define HOLD_STREAMS 8
#define HOLD_RANGES 48
#define ARENA_PAGES 256u
#define ARENA_BASE UINT64_C(0x200000000000) /* far from where the kernel puts things itself */
#define ARENA_STRIDE UINT64_C(0x10000000)
#define PAGE_TABLE (1u << 18)
#define MAX_VMAS 40000

/* Fortified and 64-bit forms that the headers only use by themselves. */
int __open_2(const char *, int);
int __open64_2(const char *, int);
int __openat_2(int, const char *, int);

static uint64_t page_size; /* host fact, set once */

/* --- facts: what the driver did, and through what ---------------------------------------- */

/* FD_OPEN_QUESTION: taken or released by an inline system call, the ledger may say either.
 * FD_KIND_QUESTION: held and known, but what it is may be what the number was before. All
 * process-global: descriptors and pages are. */
enum fd_fact { FD_KNOWN, FD_OPEN_QUESTION, FD_KIND_QUESTION };
static _Atomic uint8_t fd_facts[MAX_FDS];
static struct touch {
    uint32_t when; /* thread and operation */
    const char *operation;
} fd_last[MAX_FDS];

enum page_fact { PAGE_HELD = 1, PAGE_OPEN_QUESTION = 2, PAGE_PROT_QUESTION = 4 };
static struct page_entry {
    _Atomic uint64_t page; /* page number; 0: empty slot */
    _Atomic uint32_t fact;
    struct touch last;
} * pages;

static struct page_entry *page_find(uint64_t page, bool make)
{
    uint64_t at = page * UINT64_C(0x9e3779b97f4a7c15) >> 46;
    for (;; at = (at + 1) & (PAGE_TABLE - 1)) {
        uint64_t seen = atomic_load(&pages[at].page);
        if (seen == page)
            return &pages[at];
        if (seen != 0)
            continue;
        if (!make)
            return NULL;
        if (atomic_compare_exchange_strong(&pages[at].page, &seen, page) || seen == page)
            return &pages[at];
    }
}

static uint32_t page_fact(uint64_t page)
{
    struct page_entry *entry = page_find(page, false);
    return entry ? atomic_load(&entry->fact) : 0;
}

/* Only ever called while every thread waits: forgets the pages that nobody holds. */
static void pages_sweep(void)
{
    static struct page_entry *spare; /* the other half of a pair of process-global tables */
    struct page_entry *old = pages;
    if (spare == NULL)
        spare = kernel_view_memory(PAGE_TABLE * sizeof *pages);
    memset(spare, 0, PAGE_TABLE * sizeof *pages);
    pages = spare;
    spare = old;
    for (unsigned i = 0; i < PAGE_TABLE; i++) {
        if (old[i].page && old[i].fact) {
            struct page_entry *entry = page_find(old[i].page, true);
            entry->fact = old[i].fact;
            entry->last = old[i].last;
        }
    }
}

/* --- a thread and what it holds ----------------------------------------------------------- */

struct range {
    uint64_t start, pages;
    bool shm;
};

struct worker {
    unsigned index;
    uint64_t random;
    uint64_t done; /* operations */
    const char *operation;
    pthread_t thread;
    int fds[HOLD_FDS];
    int fd_count;
    FILE *streams[HOLD_STREAMS];
    bool stream_pipe[HOLD_STREAMS], stream_mount[HOLD_STREAMS];
    DIR *directories[HOLD_STREAMS];
    struct range ranges[HOLD_RANGES];
    int range_count;
    uint64_t arena;
    int window; /* lowest number of its own */
    int listener, sender, receiver, file, memfd;
    struct sockaddr_un name;
    socklen_t name_len;
};

static struct worker workers[MAX_THREADS];
static unsigned thread_count = 1;
static uint64_t operations = 200000, every = 0, seed;
static bool with_raw = true, with_forks = true, verbose;
static const char *ledger_path, *directory;
static pthread_barrier_t arrive, leave;
static uint64_t rounds, checkpoints;
static unsigned unsure, unsure_most; /* records marked so, at one checkpoint */

/* Numbers held by a stream or by the driver itself: not to be closed or replaced under it. */
static _Atomic uint8_t fd_in_stream[MAX_FDS];

static uint64_t random_next(struct worker *w)
{
    uint64_t z = w->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static unsigned pick(struct worker *w, unsigned n)
{
    return (unsigned)(random_next(w) % n);
}

static bool chance(struct worker *w, unsigned percent)
{
    return pick(w, 100) < percent;
}

/* Races between threads that pass a number on are of no consequence: it is only for diagnostics. */
static struct touch stamp(const struct worker *w)
{
    return (struct touch){(uint32_t)(w->index << 28 | (w->done & 0xfffffff)), w->operation};
}

static void fd_is(struct worker *w, int fd, enum fd_fact fact)
{
    if (fd < 0 || fd >= MAX_FDS)
        return;
    fd_last[fd] = stamp(w);
    atomic_store(&fd_facts[fd], (uint8_t)fact);
}

static void hold(struct worker *w, int fd, enum fd_fact fact)
{
    if (fd < 0)
        return;
    if (fd >= MAX_FDS || w->fd_count == HOLD_FDS) {
        fprintf(stderr, "truth: thread %u holds too much (descriptor %d)\n", w->index, fd);
        abort();
    }
    fd_is(w, fd, fact);
    w->fds[w->fd_count++] = fd;
}

/* A wrapper is told of it: it is known from now on, though perhaps as what it was before. */
static enum fd_fact fd_named(struct worker *w, int fd)
{
    enum fd_fact fact = fd_facts[fd] == FD_KNOWN ? FD_KNOWN : FD_KIND_QUESTION;
    fd_is(w, fd, fact);
    return fact;
}

static int let_go_at(struct worker *w, int at)
{
    int fd = w->fds[at];
    w->fds[at] = w->fds[--w->fd_count];
    return fd;
}

static int any_fd(struct worker *w)
{
    return w->fd_count ? w->fds[pick(w, (unsigned)w->fd_count)] : w->memfd;
}

static int any_held(struct worker *w)
{
    return w->fd_count ? let_go_at(w, (int)pick(w, (unsigned)w->fd_count)) : -1;
}

static int find_held(struct worker *w, int fd)
{
    for (int i = 0; i < w->fd_count; i++)
        if (w->fds[i] == fd)
            return i;
    return -1;
}

static void page_is(struct worker *w, uint64_t page, uint32_t fact)
{
    struct page_entry *entry = page_find(page, fact != 0);
    if (entry == NULL)
        return;
    entry->last = stamp(w);
    atomic_store(&entry->fact, fact);
}

static void range_is(struct worker *w, uint64_t start, uint64_t count, uint32_t fact)
{
    for (uint64_t i = 0; i < count; i++)
        page_is(w, start / page_size + i, fact);
}

static void range_add(struct worker *w, uint64_t start, uint64_t count, bool shm)
{
    if (w->range_count == HOLD_RANGES)
        abort();
    w->ranges[w->range_count++] = (struct range){start, count, shm};
}

static bool page_mapped(uint64_t page)
{
    unsigned char in_core;
    return raw(SYS_mincore, page * page_size, page_size, &in_core) == 0;
}

/* After a call that may have had a part of its effect: the kernel says what is left. Only for
 * the thread's own arena, where nobody else maps. */
static void arena_ask(struct worker *w, uint64_t start, uint64_t count)
{
    for (uint64_t page = start / page_size; count-- > 0; page++) {
        uint32_t fact = page_fact(page);
        bool mapped = page_mapped(page);
        if ((fact & PAGE_HELD) && !mapped)
            page_is(w, page, 0);
        else if (fact == 0 && mapped)
            page_is(w, page, PAGE_HELD);
    }
}

/* --- descriptors --------------------------------------------------------------------------- */

/* With --verbose: what an operation does, before it does it. */
static __attribute__((format(printf, 2, 3))) void tell(struct worker *w, const char *format, ...)
{
    va_list arguments;
    if (!verbose)
        return;
    fprintf(stderr, "thread %u operation %lu: ", w->index, (unsigned long)w->done);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

static char *temp_name(struct worker *w, char *name, size_t size, const char *suffix)
{
    snprintf(name, size, "%s/t%u-XXXXXX%s", directory, w->index, suffix);
    return name;
}

static void op_close(struct worker *w)
{
    int fd = any_held(w);
    if (fd < 0)
        return;
    fd_is(w, fd, FD_KNOWN);
    if (chance(w, 85))
        close(fd);
    else
        syscall(SYS_close, fd);
}

static void op_close_nothing(struct worker *w)
{
    /* Never a number that another thread may just have been given. */
    static const int never[] = {-1, MAX_FDS + 5, 1 << 30};
    if (close(never[pick(w, 3)]) != -1)
        abort();
}

static void op_raw_close(struct worker *w)
{
    int fd = any_held(w);
    if (fd < 0)
        return;
    fd_is(w, fd, FD_OPEN_QUESTION);
    raw(SYS_close, fd);
}

static void op_open(struct worker *w)
{
    char name[256];
    int flags = (chance(w, 50) ? O_CLOEXEC : 0) | O_RDONLY, fd = -1;
    struct open_how {
        uint64_t flags, mode, resolve;
    } how = {(uint64_t)flags, 0, 0};

    snprintf(name, sizeof name, "%s/c%u", directory, w->index);
    switch (pick(w, 17)) {
    case 0:
        fd = open("/dev/null", flags);
        break;
    case 1:
        fd = open64("/dev/zero", flags);
        break;
    case 2:
        fd = openat(AT_FDCWD, "/proc/self/status", flags);
        break;
    case 3:
        fd = openat64(AT_FDCWD, "/dev/null", flags);
        break;
    case 4:
        fd = creat(name, 0600);
        break;
    case 5:
        fd = creat64(name, 0600);
        break;
    case 6:
        fd = __open_2("/dev/null", flags);
        break;
    case 7:
        fd = __open64_2("/dev/null", flags);
        break;
    case 8:
        fd = __openat_2(AT_FDCWD, "/dev/null", flags);
        break;
    case 9:
        fd = open(directory, flags | O_DIRECTORY);
        break;
    case 10:
        fd = open(directory, O_TMPFILE | O_RDWR, 0600);
        break;
    case 11:
        fd = open(directory, O_PATH);
        break;
    case 12:
        fd = open("/nonexistent/boxledger", flags);
        break;
    case 13:
        fd = open(name, O_CREAT | O_RDWR | O_TRUNC, 0600);
        break;
    case 14:
        fd = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", flags);
        break;
    case 15:
        fd = (int)syscall(SYS_openat2, AT_FDCWD, "/dev/null", &how, sizeof how);
        break;
    case 16:
        fd = open((const char *)8, flags);
        break;
    }
    hold(w, fd, FD_KNOWN);
}

static void op_raw_open(struct worker *w)
{
    hold(w, (int)raw(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC), FD_OPEN_QUESTION);
}

static void op_temp_file(struct worker *w)
{
    char name[256];
    int fd = -1;
    bool suffix = chance(w, 50);
    temp_name(w, name, sizeof name, suffix ? ".tmp" : "");
    if (suffix)
        switch (pick(w, 4)) {
        case 0:
            fd = mkstemps(name, 4);
            break;
        case 1:
            fd = mkostemps(name, 4, O_CLOEXEC);
            break;
        case 2:
            fd = mkstemps64(name, 4);
            break;
        case 3:
            fd = mkostemps64(name, 4, 0);
            break;
        }
    else
        switch (pick(w, 4)) {
        case 0:
            fd = mkstemp(name);
            break;
        case 1:
            fd = mkostemp(name, O_CLOEXEC);
            break;
        case 2:
            fd = mkstemp64(name);
            break;
        case 3:
            fd = mkostemp64(name, 0);
            break;
        }
    if (fd >= 0)
        unlink(name);
    hold(w, fd, FD_KNOWN);
}

static void op_dup(struct worker *w)
{
    int from = any_fd(w), fd = -1;
    tell(w, "dup %d%s", from, fd_facts[from] ? ", taken by an inline call" : "");
    enum fd_fact fact = fd_named(w, from);
    switch (pick(w, 5)) {
    case 0:
        fd = dup(from);
        break;
    case 1:
        fd = (int)syscall(SYS_dup, from);
        break;
    case 2:
        fd = fcntl(from, F_DUPFD, 0);
        break;
    case 3:
        fd = fcntl(from, F_DUPFD_CLOEXEC, 3);
        break;
    case 4:
        fd = fcntl64(from, F_DUPFD, 3);
        break;
    }
    hold(w, fd, fact);
}

static void op_raw_dup(struct worker *w)
{
    hold(w, (int)raw(SYS_dup, any_fd(w)), FD_OPEN_QUESTION);
}

static void op_dup_window(struct worker *w)
{
    int from = any_fd(w), to = w->window + (int)pick(w, WINDOW_FDS), got = -1;
    unsigned how = pick(w, with_raw ? 7 : 6);
    enum fd_fact fact = FD_OPEN_QUESTION;
    if (fd_in_stream[to] || from == to)
        return;
    tell(w, "dup %d to %d, way %u", from, to, how);
    if (how == 6) {
        got = (int)raw(SYS_dup3, from, to, 0);
        if (got < 0)
            return;
    } else {
        if (how != 4)
            fact = fd_named(w, from);
        switch (how) {
        case 0:
            got = dup2(from, to);
            break;
        case 1:
            got = dup3(from, to, O_CLOEXEC);
            break;
        case 2:
            got = dup3(from, to, 0);
            break;
        case 3:
            got = (int)syscall(SYS_dup3, from, to, 0);
            break;
        case 4:
            got = dup2(MAX_FDS + 9, to);
            break; /* EBADF: `to` stays as it is */
        case 5:
            got = fcntl(from, F_DUPFD, w->window);
            break;
        }
        if (got >= w->window + WINDOW_FDS) { /* the window was full */
            close(got);
            return;
        }
    }
    if (got < 0)
        return;
    if (find_held(w, got) < 0)
        hold(w, got, fact);
    else
        fd_is(w, got, fact);
}

static void op_close_window(struct worker *w)
{
    int low = w->window + (int)pick(w, WINDOW_FDS);
    int high = low + (int)pick(w, WINDOW_FDS), how = (int)pick(w, 6);
    int last = w->window + WINDOW_FDS - 1;
    bool topmost = w->index == thread_count - 1, raw_call = false;

    if (high > last || how == 1 || (how == 3 && topmost))
        high = last;
    if (how == 5 && !with_raw)
        how = 0;
    for (int fd = low; fd <= high; fd++)
        if (fd_in_stream[fd])
            return;
    if (how == 4) { /* close-on-exec only: nothing is released */
        close_range((unsigned)low, (unsigned)high, CLOSE_RANGE_CLOEXEC);
        return;
    }
    raw_call = how == 5;
    for (int i = w->fd_count; i-- > 0;)
        if (w->fds[i] >= low && w->fds[i] <= high)
            fd_is(w, let_go_at(w, i), raw_call ? FD_OPEN_QUESTION : FD_KNOWN);
    switch (how) {
    case 1:
        if (topmost) {
            closefrom(low);
            break;
        }
        /* fallthrough */
    case 0:
        close_range((unsigned)low, (unsigned)high, 0);
        break;
    case 2:
        syscall(SYS_close_range, low, high, 0);
        break;
    case 3:
        if (topmost)
            close_range((unsigned)low, ~0u, 0);
        else
            close_range((unsigned)low, (unsigned)high, 0);
        break;
    case 5:
        raw(SYS_close_range, low, high, 0);
        break;
    }
}

static void op_pair(struct worker *w)
{
    int two[2] = {-1, -1}, bad = 0;
    enum fd_fact fact = FD_KNOWN;
    switch (pick(w, with_raw ? 8 : 7)) {
    case 0:
        bad = pipe(two);
        break;
    case 1:
        bad = pipe2(two, O_CLOEXEC);
        break;
    case 2:
        bad = socketpair(AF_UNIX, SOCK_STREAM, 0, two);
        break;
    case 3:
        bad = socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, two);
        break;
    case 4:
        bad = (int)syscall(SYS_pipe2, two, 0);
        break;
    case 5:
        bad = socketpair(AF_INET, 77, 0, two);
        break; /* refused */
    case 6:
        bad = pipe2(two, 0x12345678);
        break; /* refused */
    case 7:
        bad = (int)raw(SYS_pipe2, two, 0);
        fact = FD_OPEN_QUESTION;
        break;
    }
    if (bad)
        return;
    hold(w, two[0], fact);
    hold(w, two[1], fact);
}

static void op_pty(struct worker *w)
{
    int master = -1, slave = -1;
    switch (pick(w, 4)) {
    case 0:
        if (openpty(&master, &slave, NULL, NULL, NULL) != 0)
            return;
        break;
    case 1:
        master = posix_openpt(O_RDWR | O_NOCTTY);
        break;
    case 2:
        master = getpt();
        break;
    case 3:
        master = posix_openpt(O_RDWR | O_NOCTTY);
        if (master >= 0 && unlockpt(master) == 0)
            slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
        break;
    }
    hold(w, master, FD_KNOWN);
    hold(w, slave, FD_KNOWN);
}

static void op_special(struct worker *w)
{
    int fd = -1;
    sigset_t none;
    char name[64];
    sigemptyset(&none);
    switch (pick(w, 28)) {
    case 0:
        fd = eventfd(0, 0);
        break;
    case 1:
        fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
        break;
    case 2:
        fd = epoll_create(8);
        break;
    case 3:
        fd = epoll_create1(EPOLL_CLOEXEC);
        break;
    case 4:
        fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
        break;
    case 5:
        fd = signalfd(-1, &none, SFD_CLOEXEC);
        break;
    case 6:
        fd = inotify_init();
        break;
    case 7:
        fd = inotify_init1(IN_CLOEXEC);
        break;
    case 8:
        fd = pidfd_open(getpid(), 0);
        break;
    case 9:
        fd = memfd_create("truth", MFD_CLOEXEC);
        break;
    case 10:
        fd = (int)syscall(SYS_memfd_create, "truth-syscall", 0);
        break;
    case 11:
        fd = (int)syscall(SYS_memfd_secret, 0);
        break;
    case 12:
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        break;
    case 13:
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        break;
    case 14:
        fd = socket(AF_UNIX, 4711, 0);
        break;
    case 15:
        fd = epoll_create1(0x777);
        break;
    case 16:
        fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1);
        break;
    case 17:
        fd = (int)syscall(SYS_eventfd2, 0, 0);
        break;
    case 18:
        fd = fanotify_init(FAN_CLOEXEC | FAN_CLASS_NOTIF, O_RDONLY);
        break;
    case 19:
        fd = fsopen("tmpfs", FSOPEN_CLOEXEC);
        break;
    case 20:
        fd = open_tree(AT_FDCWD, directory, OPEN_TREE_CLOEXEC);
        break;
    case 21: {
        uint32_t io_uring[30] = {0};
        fd = (int)syscall(SYS_io_uring_setup, 2, io_uring);
        break;
    }
    case 22: {
        struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
                                       .size = sizeof attr,
                                       .config = PERF_COUNT_SW_DUMMY,
                                       .disabled = 1};
        fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
        break;
    }
    case 23: {
        uint32_t attr[32] = {2 /* ARRAY */, 4, 4, 1};
        fd = (int)syscall(SYS_bpf, 0 /* BPF_MAP_CREATE */, attr, sizeof attr);
        break;
    }
    case 24:
        snprintf(name, sizeof name, "/truth-%d-%u", getpid(), w->index);
        fd = shm_open(name, O_CREAT | O_RDWR, 0600);
        if (fd >= 0)
            shm_unlink(name);
        break;
    case 25: {
        struct mq_attr attr = {.mq_maxmsg = 1, .mq_msgsize = 8};
        snprintf(name, sizeof name, "/truth-%d-%u", getpid(), w->index);
        fd = mq_open(name, O_CREAT | O_RDWR, 0600, &attr);
        if (fd >= 0)
            mq_unlink(name);
        break;
    }
    case 26: {
        int self = pidfd_open(getpid(), 0), from = any_fd(w);
        if (self >= 0) {
            fd = pidfd_getfd(self, from, 0);
            close(self);
        }
        break;
    }
    case 27:
        fd = (int)syscall(SYS_landlock_create_ruleset, &(uint64_t){1}, 8, 0);
        break;
    }
    hold(w, fd, FD_KNOWN);
}

static void op_accept(struct worker *w)
{
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), fd;
    if (client < 0)
        return;
    if (connect(client, (struct sockaddr *)&w->name, w->name_len) == 0) {
        switch (pick(w, 3)) {
        case 0:
            fd = accept(w->listener, NULL, NULL);
            break;
        case 1:
            fd = accept4(w->listener, NULL, NULL, SOCK_CLOEXEC);
            break;
        default:
            fd = (int)syscall(SYS_accept4, w->listener, NULL, NULL, 0);
            break;
        }
        hold(w, fd, FD_KNOWN);
    }
    hold(w, client, FD_KNOWN);
}

static void take_rights(struct worker *w, struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        int got[8];
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(got, CMSG_DATA(c), n * sizeof(int));
        for (size_t i = 0; i < n; i++)
            hold(w, got[i], FD_KNOWN);
    }
}

static void op_rights(struct worker *w)
{
    union {
        char bytes[CMSG_SPACE(4 * sizeof(int))];
        struct cmsghdr align;
    } out = {0}, in = {0};
    char byte = 'x';
    struct iovec io = {&byte, 1};
    unsigned sent = 1 + pick(w, 4), room = pick(w, 5);
    struct msghdr message = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = out.bytes};
    int fds[4];

    message.msg_controllen = CMSG_SPACE(sent * sizeof(int));
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sent * sizeof(int));
    for (unsigned i = 0; i < sent; i++)
        fds[i] = chance(w, 50) ? any_fd(w) : w->memfd;
    memcpy(CMSG_DATA(c), fds, sent * sizeof(int));
    if (sendmsg(w->sender, &message, MSG_DONTWAIT) != 1)
        return;
    struct mmsghdr many = {.msg_hdr = {.msg_iov = &io, .msg_iovlen = 1}};
    struct msghdr *incoming = &many.msg_hdr;
    if (room > 0) { /* less room than was sent: the kernel drops the rest */
        incoming->msg_control = in.bytes;
        incoming->msg_controllen = CMSG_SPACE(room * sizeof(int));
    }
    int flags = MSG_DONTWAIT | (chance(w, 50) ? MSG_CMSG_CLOEXEC : 0);
    long got;
    switch (pick(w, 3)) {
    case 0:
        got = recvmsg(w->receiver, incoming, flags);
        break;
    case 1:
        got = recvmmsg(w->receiver, &many, 1, flags, NULL);
        break;
    default:
        got = syscall(SYS_recvmsg, w->receiver, incoming, flags);
        break;
    }
    if (got >= 0)
        take_rights(w, incoming);
}

static void op_flags(struct worker *w)
{
    int fd = any_fd(w);
    fcntl(fd, F_SETFD, (int)pick(w, 2));
    fcntl(fd, F_GETFL);
    int waiting;
    ioctl(fd, FIONREAD, &waiting);
}

/* --- stdio --------------------------------------------------------------------------------- */

static int free_stream(struct worker *w)
{
    for (int i = 0; i < HOLD_STREAMS; i++)
        if (w->streams[i] == NULL)
            return i;
    return -1;
}

static void stream_close(struct worker *w, int i)
{
    FILE *stream = w->streams[i];
    int fd = fileno(stream);
    fd_in_stream[fd] = 0;
    w->streams[i] = NULL;
    fd_is(w, fd, w->stream_mount[i] ? FD_OPEN_QUESTION : FD_KNOWN);
    if (w->stream_mount[i])
        endmntent(stream);
    else if (w->stream_pipe[i])
        pclose(stream);
    else
        fclose(stream);
}

static void op_stream(struct worker *w)
{
    char name[256];
    int i = free_stream(w);
    FILE *stream = NULL;
    bool pipe_stream = false, mount = false, adopted = false;

    if (i < 0) {
        stream_close(w, (int)pick(w, HOLD_STREAMS));
        return;
    }
    snprintf(name, sizeof name, "%s/s%u", directory, w->index);
    switch (pick(w, 10)) {
    case 0:
        stream = fopen("/proc/self/status", "re");
        break;
    case 1:
        stream = fopen64(name, "w");
        break;
    case 2:
        stream = tmpfile();
        break;
    case 3:
        stream = tmpfile64();
        break;
    case 4:
        stream = fopen("/nonexistent/boxledger", "r");
        break;
    case 5:
    case 6: {
        int fd = any_held(w);
        if (fd < 0)
            return;
        int mode = fcntl(fd, F_GETFL) & O_ACCMODE;
        stream = fdopen(fd, mode == O_RDONLY ? "r" : mode == O_WRONLY ? "w" : "r+");
        if (stream == NULL) { /* O_PATH has no streams */
            w->fds[w->fd_count++] = fd;
            return;
        }
        adopted = true;
        break;
    }
    case 7:
        if (with_forks && chance(w, 3)) {
            stream = popen(":", chance(w, 50) ? "r" : "we");
            pipe_stream = true;
        }
        break;
    case 8:
        if (with_raw) { /* libc opens this one behind everybody's back */
            stream = setmntent("/proc/self/mounts", "re");
            mount = true;
        }
        break;
    case 9:
        stream = fopen64("/dev/null", "r+e");
        break;
    }
    if (stream == NULL)
        return;
    int fd = fileno(stream);
    fd_in_stream[fd] = 1;
    if (!adopted) /* what an inline call took and fdopen was given may be known or not */
        fd_is(w, fd, mount ? FD_OPEN_QUESTION : FD_KNOWN);
    w->streams[i] = stream;
    w->stream_pipe[i] = pipe_stream;
    w->stream_mount[i] = mount;
}

static void op_stream_use(struct worker *w)
{
    int i = (int)pick(w, HOLD_STREAMS);
    FILE *stream = w->streams[i];
    char line[64];
    if (stream == NULL)
        return;
    if (w->stream_pipe[i] || w->stream_mount[i] || chance(w, 40)) {
        stream_close(w, i);
        return;
    }
    if (chance(w, 50)) {
        int fd = fileno(stream);
        fd_in_stream[fd] = 0;
        fd_is(w, fd, FD_KNOWN);
        FILE *again = chance(w, 50) ? freopen("/dev/null", "r", stream)
                                    : freopen64("/nonexistent/boxledger", "r", stream);
        w->streams[i] = again; /* NULL: the old one is closed all the same */
        if (again) {
            fd_in_stream[fileno(again)] = 1;
            fd_is(w, fileno(again), FD_KNOWN);
        }
        return;
    }
    int flags = fcntl(fileno(stream), F_GETFL);
    struct stat st;
    if (fstat(fileno(stream), &st) == 0 && S_ISREG(st.st_mode)) {
        if ((flags & O_ACCMODE) == O_RDONLY)
            (void)!fgets(line, sizeof line, stream);
        else
            fputs("some text\n", stream);
    }
}

static void op_directory(struct worker *w)
{
    int i = (int)pick(w, HOLD_STREAMS);
    if (w->directories[i]) {
        int fd = dirfd(w->directories[i]);
        (void)!readdir(w->directories[i]);
        if (chance(w, 50))
            return;
        fd_in_stream[fd] = 0;
        fd_is(w, fd, FD_KNOWN);
        closedir(w->directories[i]);
        w->directories[i] = NULL;
        return;
    }
    DIR *made = NULL;
    switch (pick(w, 3)) {
    case 0:
        made = opendir(directory);
        break;
    case 1: {
        int fd = open(directory, O_RDONLY | O_DIRECTORY);
        made = fd >= 0 ? fdopendir(fd) : NULL;
        break;
    }
    case 2:
        made = opendir("/nonexistent/boxledger");
        break;
    }
    if (made) {
        fd_in_stream[dirfd(made)] = 1;
        fd_is(w, dirfd(made), FD_KNOWN);
        w->directories[i] = made;
    }
}

/* --- mappings ------------------------------------------------------------------------------ */

static int random_prot(struct worker *w)
{
    static const int prot[] = {PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE,
                               PROT_READ | PROT_EXEC};
    return prot[pick(w, 5)];
}

static void arena_part(struct worker *w, uint64_t *start, uint64_t *count)
{
    uint64_t first = pick(w, ARENA_PAGES);
    *count = 1 + pick(w, chance(w, 10) ? 64 : 8);
    if (first + *count > ARENA_PAGES)
        *count = ARENA_PAGES - first;
    *start = w->arena + first * page_size;
}

/* What to map, at random: -1 or a descriptor, and the flags that go with it. */
static int random_object(struct worker *w, int *flags)
{
    switch (pick(w, 5)) {
    case 0:
        *flags = MAP_SHARED;
        return w->memfd;
    case 1:
        *flags = MAP_PRIVATE;
        return w->file;
    case 2:
        *flags = MAP_SHARED | MAP_ANONYMOUS;
        return -1;
    case 3:
        *flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        return -1;
    default:
        *flags = MAP_PRIVATE | MAP_ANONYMOUS;
        return -1;
    }
}

static void *map_somehow(struct worker *w, void *at, size_t bytes, int prot, int flags, int fd)
{
    switch (pick(w, 3)) {
    case 0:
        return mmap64(at, bytes, prot, flags, fd, 0);
    case 1:
        return (void *)syscall(SYS_mmap, at, bytes, prot, flags, fd, 0L);
    default:
        return mmap(at, bytes, prot, flags, fd, 0);
    }
}

static void op_map_arena(struct worker *w)
{
    uint64_t start, count;
    int flags, fd = random_object(w, &flags), prot = random_prot(w);
    bool noreplace = chance(w, 15), fail = chance(w, 5), raw_call = with_raw && chance(w, 8);

    arena_part(w, &start, &count);
    if (fail && fd >= 0)
        fd = MAX_FDS + 7; /* EBADF: whatever was there stays */
    flags |= noreplace ? MAP_FIXED_NOREPLACE : MAP_FIXED;
    if (raw_call) {
        long got = raw(SYS_mmap, start, count * page_size, prot, flags, fd, 0);
        if ((uint64_t)got == start)
            range_is(w, start, count, PAGE_OPEN_QUESTION);
        return;
    }
    tell(w, "mmap(%#lx, %lu pages, prot %d, flags %#x, %d)", start, count, prot, (unsigned)flags,
         fd);
    void *got = map_somehow(w, (void *)start, count * page_size, prot, flags, fd);
    if ((uint64_t)got == start)
        range_is(w, start, count, PAGE_HELD);
    else
        arena_ask(w, start, count);
}

static void op_unmap_arena(struct worker *w)
{
    uint64_t start, count;
    unsigned way = pick(w, with_raw ? 6 : 5);
    arena_part(w, &start, &count);
    tell(w, "munmap(%#lx, %lu pages), way %u", start, count, way);
    switch (way) {
    case 5:
        for (uint64_t i = 0; i < count; i++)
            if (page_fact(start / page_size + i))
                page_is(w, start / page_size + i, PAGE_OPEN_QUESTION);
        raw(SYS_munmap, start, count * page_size);
        return;
    case 4: /* refused: unaligned, empty */
        munmap((void *)(start + 1), count * page_size);
        munmap((void *)start, 0);
        return;
    case 3:
        range_is(w, start, count, 0);
        syscall(SYS_munmap, start, count * page_size);
        return;
    case 2: /* a length that is not whole pages */
        range_is(w, start, count, 0);
        munmap((void *)start, count * page_size - 100);
        return;
    default:
        range_is(w, start, count, 0);
        munmap((void *)start, count * page_size);
    }
}

static void op_protect_arena(struct worker *w)
{
    uint64_t start, count;
    int prot = random_prot(w);
    unsigned how = pick(w, with_raw ? 5 : 4);
    arena_part(w, &start, &count);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t page = start / page_size + i;
        uint32_t fact = page_fact(page);
        if (fact & PAGE_HELD)
            page_is(w, page, how == 4 ? PAGE_HELD | PAGE_PROT_QUESTION : fact);
    }
    int bad = 0;
    tell(w, "mprotect(%#lx, %lu pages, %d), way %u", start, count, prot, how);
    switch (how) {
    case 0:
    case 1:
        bad = mprotect((void *)start, count * page_size, prot);
        break;
    case 2:
        bad = (int)syscall(SYS_mprotect, start, count * page_size, prot);
        break;
    case 3:
        bad = pkey_mprotect((void *)start, count * page_size, prot, -1);
        break;
    case 4:
        raw(SYS_mprotect, start, count * page_size, prot);
        return;
    }
    if (bad == 0)
        for (uint64_t i = 0; i < count; i++)
            if (page_fact(start / page_size + i) & PAGE_HELD)
                page_is(w, start / page_size + i, PAGE_HELD);
}

static void op_remap_arena(struct worker *w)
{
    uint64_t from, from_count, to, to_count;
    bool question = false;

    arena_part(w, &from, &from_count);
    arena_part(w, &to, &to_count);
    if (chance(w, 60)) /* whole ones succeed more often */
        from_count = 1 + pick(w, 3);
    if (from + from_count * page_size > w->arena + ARENA_PAGES * page_size)
        from_count = 1;
    for (uint64_t i = 0; i < from_count; i++)
        if (page_fact(from / page_size + i) & (PAGE_OPEN_QUESTION | PAGE_PROT_QUESTION))
            question = true;
    if (question) /* what an inline call left there is nobody's to move */
        return;
    if (chance(w, 50)) /* the first page of something, at least */
        while (from_count > 1 && page_fact(from / page_size) == 0) {
            from += page_size;
            from_count--;
        }
    if (chance(w, 40)) { /* in place: grows only into what is free; shrinks always */
        uint64_t count = 1 + pick(w, 8);
        if (from + count * page_size > w->arena + ARENA_PAGES * page_size)
            count = 1;
        for (uint64_t i = from_count; i < count; i++)
            if (page_fact(from / page_size + i) & PAGE_OPEN_QUESTION)
                return;
        tell(w, "mremap(%#lx, %lu pages, %lu pages)", from, from_count, count);
        if (count < from_count)
            range_is(w, from + count * page_size, from_count - count, 0);
        void *got = mremap((void *)from, from_count * page_size, count * page_size, 0);
        if ((uint64_t)got == from && count > from_count)
            range_is(w, from + from_count * page_size, count - from_count, PAGE_HELD);
        else
            arena_ask(w, from, count > from_count ? count : from_count);
        return;
    }
    if (chance(w, 50))
        to_count = from_count;
    if (to + to_count * page_size > w->arena + ARENA_PAGES * page_size)
        to_count = 1;
    for (uint64_t i = 0; i < to_count; i++)
        if (page_fact(to / page_size + i) & PAGE_OPEN_QUESTION)
            return;
    int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    if (to_count == from_count && chance(w, 20))
        flags |= MREMAP_DONTUNMAP;
    tell(w, "mremap(%#lx, %lu pages, %lu pages, flags %#x, %#lx)", from, from_count, to_count,
         (unsigned)flags, to);
    if (chance(w, 50))
        (void)!mremap((void *)from, from_count * page_size, to_count * page_size, flags,
                      (void *)to);
    else
        syscall(SYS_mremap, from, from_count * page_size, to_count * page_size, flags, to);
    arena_ask(w, from, from_count);
    arena_ask(w, to, to_count);
}

static void op_map(struct worker *w)
{
    int flags, fd = random_object(w, &flags), prot = random_prot(w);
    uint64_t count = 1 + pick(w, 12);
    bool raw_call = with_raw && chance(w, 8);
    void *hint = chance(w, 10) ? (void *)(w->arena - ARENA_STRIDE / 2) : NULL;

    if (w->range_count >= HOLD_RANGES - 4)
        return;
    if (chance(w, 3)) { /* refused */
        map_somehow(w, hint, 0, prot, flags, fd);
        map_somehow(w, hint, count * page_size, prot, MAP_PRIVATE, MAX_FDS + 3);
        return;
    }
    if (raw_call) {
        long got = raw(SYS_mmap, hint, count * page_size, prot, flags, fd, 0);
        if ((unsigned long)got > -4096UL)
            return;
        range_is(w, (uint64_t)got, count, PAGE_OPEN_QUESTION);
        range_add(w, (uint64_t)got, count, false);
        return;
    }
    void *got = map_somehow(w, hint, count * page_size, prot, flags, fd);
    if (got == MAP_FAILED)
        return;
    range_is(w, (uint64_t)got, count, PAGE_HELD);
    range_add(w, (uint64_t)got, count, false);
}

static void op_unmap(struct worker *w)
{
    if (w->range_count == 0)
        return;
    int at = (int)pick(w, (unsigned)w->range_count);
    struct range *r = &w->ranges[at];
    if (r->shm) {
        struct range all = *r;
        *r = w->ranges[--w->range_count];
        range_is(w, all.start, all.pages, 0);
        if (chance(w, 80))
            tell(w, "shmdt(%#lx), %lu pages: %d", all.start, all.pages, shmdt((void *)all.start));
        else
            munmap((void *)all.start, all.pages * page_size);
        return;
    }
    uint64_t first = chance(w, 60) ? 0 : pick(w, (unsigned)r->pages);
    uint64_t count =
        first == 0 && chance(w, 70) ? r->pages : 1 + pick(w, (unsigned)(r->pages - first));
    uint64_t start = r->start + first * page_size, after = r->pages - first - count;
    bool raw_call = with_raw && chance(w, 10);

    if (first && after && w->range_count == HOLD_RANGES)
        return;
    if (after) {
        struct range tail = {start + count * page_size, after, false};
        if (first) {
            r->pages = first;
            w->ranges[w->range_count++] = tail;
        } else {
            *r = tail;
        }
    } else if (first) {
        r->pages = first;
    } else {
        *r = w->ranges[--w->range_count];
    }
    range_is(w, start, count, raw_call ? PAGE_OPEN_QUESTION : 0);
    if (raw_call)
        raw(SYS_munmap, start, count * page_size);
    else if (chance(w, 80))
        munmap((void *)start, count * page_size);
    else
        syscall(SYS_munmap, start, count * page_size);
}

static void op_protect(struct worker *w)
{
    if (w->range_count == 0)
        return;
    struct range *r = &w->ranges[pick(w, (unsigned)w->range_count)];
    uint64_t first = pick(w, (unsigned)r->pages), count = 1 + pick(w, (unsigned)(r->pages - first));
    if (chance(w, 30)) {
        first = 0;
        count = r->pages;
    }
    int prot = random_prot(w);
    tell(w, "mprotect(%#lx, %lu pages, %d)", r->start + first * page_size, count, prot);
    mprotect((void *)(r->start + first * page_size), count * page_size, prot);
}

static void op_remap(struct worker *w)
{
    if (w->range_count == 0)
        return;
    struct range *r = &w->ranges[pick(w, (unsigned)w->range_count)];
    uint64_t count = 1 + pick(w, 16);
    if (r->shm || w->range_count == HOLD_RANGES)
        return;
    for (uint64_t i = 0; i < r->pages; i++)
        if (page_fact(r->start / page_size + i) & PAGE_OPEN_QUESTION)
            return;
    struct range old = *r;
    if (chance(w, 10)) { /* a second view of shared pages; private ones are refused */
        void *got = mremap((void *)old.start, 0, old.pages * page_size, MREMAP_MAYMOVE);
        if (got != MAP_FAILED) {
            range_is(w, (uint64_t)got, old.pages, PAGE_HELD);
            range_add(w, (uint64_t)got, old.pages, false);
        }
        return;
    }
    if (chance(w, 10)) { /* moved, the old place stays mapped */
        void *got = mremap((void *)old.start, old.pages * page_size, old.pages * page_size,
                           MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
        if (got != MAP_FAILED) {
            range_is(w, (uint64_t)got, old.pages, PAGE_HELD);
            range_add(w, (uint64_t)got, old.pages, false);
        }
        return;
    }
    /* The old place may be another thread's the moment it is left: its facts go first. */
    range_is(w, old.start, old.pages, 0);
    void *got = mremap((void *)old.start, old.pages * page_size, count * page_size,
                       chance(w, 70) ? MREMAP_MAYMOVE : 0);
    if (got == MAP_FAILED) { /* refused before anything moved */
        range_is(w, old.start, old.pages, PAGE_HELD);
        return;
    }
    range_is(w, (uint64_t)got, count, PAGE_HELD);
    *r = (struct range){(uint64_t)got, count, false};
}

#define SEGMENT_PAGES 6u

static void op_shm(struct worker *w)
{
    uint64_t count = 1 + pick(w, SEGMENT_PAGES), start = 0, ignore;
    int id = shmget(IPC_PRIVATE, count * page_size, IPC_CREAT | 0600);
    bool fixed = chance(w, 40);
    if (id < 0)
        return;
    if (fixed) {
        arena_part(w, &start, &ignore);
        if (start + count * page_size > w->arena + ARENA_PAGES * page_size)
            start -= count * page_size;
    }
    if (!fixed && w->range_count >= HOLD_RANGES - 4) {
        shmctl(id, IPC_RMID, NULL);
        return;
    }
    void *got =
        shmat(id, (void *)start, (chance(w, 30) ? SHM_RDONLY : 0) | (fixed ? SHM_REMAP : 0));
    shmctl(id, IPC_RMID, NULL);
    tell(w, "shmat at %p, %lu pages", got, count);
    if (got == (void *)-1) { /* what was there may be gone all the same */
        if (fixed)
            arena_ask(w, start, count);
        return;
    }
    range_is(w, (uint64_t)got, count, PAGE_HELD);
    if (!fixed) {
        range_add(w, (uint64_t)got, count, true);
        return;
    }
    if (chance(w, 50)) { /* a hole, or a stranger, in the middle */
        uint64_t middle = start + pick(w, (unsigned)count) * page_size;
        if (chance(w, 50)) {
            range_is(w, middle, 1, 0);
            munmap((void *)middle, page_size);
        } else {
            mmap((void *)middle, page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                 0);
        }
    }
    if (chance(w, 50)) {
        /* Where nothing is left of this segment, what is left behind it of a larger one that was
         * attached at the same address goes instead: shmdt looks at offsets, not at who attached.
         */
        uint64_t end = w->arena + ARENA_PAGES * page_size;
        uint64_t behind = (end - start) / page_size;
        shmdt((void *)start);
        arena_ask(w, start, behind < SEGMENT_PAGES ? behind : SEGMENT_PAGES);
    }
}

/* --- processes and threads ------------------------------------------------------------------ */

/* What a child does to its own copies: none of it may show in our ledger. */
static void child_work(struct worker *w, unsigned what, bool own_memory)
{
    for (int i = 0; i < w->fd_count; i += 2)
        close(w->fds[i]);
    if (what & 1)
        close_range(3, ~0u, 0);
    if (what & 2)
        for (int fd = 3; fd < 200; fd++)
            close(fd);
    (void)!open("/dev/null", O_RDONLY);
    (void)!dup(2);
    if (own_memory) {
        munmap((void *)w->arena, ARENA_PAGES * page_size);
        mmap((void *)w->arena, 4 * page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
             -1, 0);
        if (w->range_count)
            munmap((void *)w->ranges[0].start, w->ranges[0].pages * page_size);
    }
}

struct clone_work {
    struct worker *worker;
    unsigned what;
};

static int clone_child(void *argument)
{
    struct clone_work *work = argument;
    child_work(work->worker, work->what, false);
    return 0;
}

static void reap(struct worker *w, pid_t pid)
{
    int status;
    if (pid < 0)
        return;
    while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "truth: a child (%s) ended with status 0x%x\n", w->operation, status);
        abort();
    }
}

static __attribute__((noinline)) pid_t vfork_once(struct worker *w, unsigned what)
{
    pid_t pid = vfork();
    if (pid == 0) {
        child_work(w, what, false);
        _exit(0);
    }
    return pid;
}

static void op_child(struct worker *w)
{
    static char stacks[MAX_THREADS][64 << 10] __attribute__((aligned(16))); /* a thread's own */
    unsigned what = pick(w, 4);
    struct clone_work work = {w, what};
    pid_t pid = -1;

    if (!with_forks || !chance(w, 30))
        return;
    switch (pick(w, 8)) {
    case 0:
        pid = fork();
        if (pid == 0) {
            child_work(w, what, true);
            _exit(0);
        }
        break;
    case 1:
        pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (pid == 0) {
            child_work(w, what, true);
            _Exit(0);
        }
        break;
    case 2:
        pid = (pid_t)raw(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (pid == 0) {
            child_work(w, what, true);
            raw(SYS_exit_group, 0);
        }
        break;
    case 3:
        pid = clone(clone_child, stacks[w->index] + sizeof stacks[0],
                    CLONE_VM | CLONE_VFORK | SIGCHLD, &work);
        break;
    case 4:
        pid = clone(clone_child, stacks[w->index] + sizeof stacks[0], SIGCHLD, &work);
        break;
    case 5: {
        posix_spawn_file_actions_t actions;
        char *argv[] = {(char *)"true", NULL}, *env[] = {NULL};
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addclose(&actions, any_fd(w));
        posix_spawn_file_actions_addopen(&actions, 100, "/dev/null", O_RDONLY, 0);
        if (posix_spawn(&pid, "/bin/true", &actions, NULL, argv, env) != 0)
            pid = -1;
        posix_spawn_file_actions_destroy(&actions);
        break;
    }
    case 6: {
        int master = -1;
        pid = forkpty(&master, NULL, NULL, NULL);
        if (pid == 0) {
            child_work(w, what & 2, true);
            _exit(0);
        }
        hold(w, master, FD_KNOWN);
        break;
    }
    case 7:
        pid = vfork_once(w, what);
        break;
    }
    reap(w, pid);
}

static void *short_thread(void *argument)
{
    struct worker *w = argument;
    int fd = memfd_create("short", 0), other = dup(fd);
    fd_is(w, other, FD_KNOWN);
    close(other);
    void *map = mmap(NULL, page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map != MAP_FAILED)
        munmap(map, page_size);
    if (w->done & 1)
        pthread_exit((void *)(intptr_t)fd);
    return (void *)(intptr_t)fd;
}

static void op_thread(struct worker *w)
{
    pthread_t thread;
    void *fd;
    if (!chance(w, 20) || pthread_create(&thread, NULL, short_thread, w) != 0)
        return;
    pthread_join(thread, &fd);
    hold(w, (int)(intptr_t)fd, FD_KNOWN);
}

/* --- the mix ------------------------------------------------------------------------------- */

static const struct operation {
    const char *name;
    void (*run)(struct worker *);
    unsigned weight;
    bool raw;
} mix[] = {
    {"close", op_close, 160, false},
    {"close of nothing", op_close_nothing, 4, false},
    {"inline close", op_raw_close, 8, true},
    {"open", op_open, 40, false},
    {"inline open", op_raw_open, 8, true},
    {"temporary file", op_temp_file, 8, false},
    {"dup", op_dup, 60, false},
    {"inline dup", op_raw_dup, 8, true},
    {"dup to a number", op_dup_window, 60, false},
    {"close_range", op_close_window, 6, false},
    {"pipe or socketpair", op_pair, 20, false},
    {"pty", op_pty, 4, false},
    {"special descriptor", op_special, 40, false},
    {"accept", op_accept, 10, false},
    {"SCM_RIGHTS", op_rights, 14, false},
    {"fcntl and ioctl", op_flags, 10, false},
    {"stream", op_stream, 20, false},
    {"stream use", op_stream_use, 20, false},
    {"directory", op_directory, 10, false},
    {"mmap fixed", op_map_arena, 90, false},
    {"munmap fixed", op_unmap_arena, 50, false},
    {"mprotect fixed", op_protect_arena, 40, false},
    {"mremap fixed", op_remap_arena, 50, false},
    {"mmap", op_map, 80, false},
    {"munmap", op_unmap, 90, false},
    {"mprotect", op_protect, 30, false},
    {"mremap", op_remap, 40, false},
    {"shmat", op_shm, 6, false},
    {"child", op_child, 6, false},
    {"thread", op_thread, 4, false},
};
#define MIX (sizeof mix / sizeof *mix)

static void step(struct worker *w)
{
    unsigned total = 0, at;
    for (unsigned i = 0; i < MIX; i++)
        total += mix[i].weight;
    for (at = pick(w, total);;) {
        unsigned i = 0;
        while (at >= mix[i].weight)
            at -= mix[i++].weight;
        if (mix[i].raw && !with_raw)
            return;
        w->done++;
        w->operation = mix[i].name;
        tell(w, "%s", mix[i].name);
        while (w->fd_count > HOLD_FDS - 8)
            op_close(w);
        mix[i].run(w);
        return;
    }
}

/* --- the checkpoint ------------------------------------------------------------------------ */

static unsigned faults;

static __attribute__((format(printf, 1, 2))) void wrong(const char *format, ...)
{
    va_list arguments;
    if (faults++ >= 12)
        return;
    fprintf(stderr, "truth: ");
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

static const char *by(struct touch last)
{
    static char text[100]; /* only ever used while every thread waits */
    snprintf(text, sizeof text, "last touched by thread %u, operation %u (%s)", last.when >> 28,
             last.when & 0xfffffff, last.operation ? last.operation : "at the start");
    return text;
}

static const char *fd_target(int fd, char *target, size_t size)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    long n = raw(SYS_readlinkat, AT_FDCWD, path, target, size - 1);
    target[n > 0 ? n : 0] = '\0';
    return target;
}

/* Does the name that the kernel gives a descriptor fit the kind in its record? */
static bool kind_fits(unsigned kind, const char *target)
{
    static const struct {
        unsigned kind;
        const char *name;
    } known[] = {
        {LEDGER_FD_PIPE, "pipe:"},
        {LEDGER_FD_SOCKET, "socket:"},
        {LEDGER_FD_EVENTFD, "anon_inode:[eventfd]"},
        {LEDGER_FD_EPOLL, "anon_inode:[eventpoll]"},
        {LEDGER_FD_TIMERFD, "anon_inode:[timerfd]"},
        {LEDGER_FD_SIGNALFD, "anon_inode:[signalfd]"},
        {LEDGER_FD_INOTIFY, "anon_inode:inotify"},
        {LEDGER_FD_FANOTIFY, "anon_inode:[fanotify]"},
        {LEDGER_FD_MEMFD, "/memfd:"},
        {LEDGER_FD_USERFAULTFD, "anon_inode:[userfaultfd]"},
        {LEDGER_FD_IO_URING, "anon_inode:[io_uring]"},
        {LEDGER_FD_PERF, "anon_inode:[perf_event]"},
        {LEDGER_FD_BPF, "anon_inode:bpf-map"},
    };
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++) {
        bool named = strncmp(target, known[i].name, strlen(known[i].name)) == 0;
        if (kind == known[i].kind)
            return named;
        if (named && (kind == LEDGER_FD_FILE || kind == LEDGER_FD_DIRECTORY))
            return false;
    }
    return true;
}

static void check_fds(const struct ledger_view *view)
{
    static uint64_t open_fds[MAX_FDS / 64]; /* only the checking thread's */
    long count = kernel_view_fds(open_fds, MAX_FDS);
    if (count < 0) {
        wrong("/proc/self/fd: %s", strerror((int)-count));
        return;
    }
    for (unsigned i = 0; i < thread_count; i++) /* the driver's own model */
        for (int k = 0; k < workers[i].fd_count; k++)
            if (!kernel_view_has(open_fds, (unsigned)workers[i].fds[k]))
                wrong("descriptor %d is closed though thread %u holds it, %s", workers[i].fds[k], i,
                      by(fd_last[workers[i].fds[k]]));
    if (view == NULL)
        return;
    for (int fd = 0; fd < MAX_FDS; fd++) {
        const struct ledger_fd *record = ledger_view_fd(view, (unsigned)fd);
        bool held = kernel_view_has(open_fds, (unsigned)fd);
        char target[256];
        if (fd_facts[fd] == FD_OPEN_QUESTION)
            continue;
        if (record && (record->flags & LEDGER_UNSURE)) {
            unsure++;
            continue;
        }
        if (held && record == NULL)
            wrong("descriptor %d (%s) is held but not in the ledger, %s", fd,
                  fd_target(fd, target, sizeof target), by(fd_last[fd]));
        else if (!held && record)
            wrong("descriptor %d is in the ledger (state %u kind %u) but closed, %s", fd,
                  record->state & 7, record->kind, by(fd_last[fd]));
        else if (held && checkpoints % 8 == 0) {
            if (fd_facts[fd] == FD_KNOWN &&
                !kind_fits(record->kind, fd_target(fd, target, sizeof target)))
                wrong("descriptor %d is %s, the ledger says kind %u, %s", fd, target, record->kind,
                      by(fd_last[fd]));
            if (record->stack == 0 && !(record->flags & LEDGER_INHERITED) &&
                !(view->header->incomplete & LEDGER_INCOMPLETE_STACKS))
                wrong("descriptor %d has no stack, %s", fd, by(fd_last[fd]));
        }
    }
}

static const struct kernel_range *kernel_at(const struct kernel_range *ranges, size_t n,
                                            uint64_t address)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ranges[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && ranges[low].start <= address ? &ranges[low] : NULL;
}

static const struct ledger_mapping *ledger_at(const struct ledger_mapping **ranges, size_t n,
                                              uint64_t address)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ranges[middle]->end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && ranges[low]->start <= address ? ranges[low] : NULL;
}

static void check_maps(const struct ledger_view *view)
{
    static struct kernel_range *vmas;             /* the checking thread's own room */
    static const struct ledger_mapping **records; /* likewise */
    size_t record_count = 0;

    if (vmas == NULL) {
        vmas = kernel_view_memory(MAX_VMAS * sizeof *vmas);
        records = kernel_view_memory(MAX_VMAS * sizeof *records);
    }
    long vma_count = kernel_view_maps(vmas, MAX_VMAS);
    if (vma_count < 0) {
        wrong("/proc/self/maps: %s", strerror((int)-vma_count));
        return;
    }
    if (view)
        record_count = ledger_view_mappings(view, records, MAX_VMAS);
    for (size_t i = 0; i < record_count; i++) {
        const struct ledger_mapping *m = records[i];
        if (m->flags & LEDGER_UNSURE) {
            unsure++;
            continue;
        }
        if (m->start >= m->end || m->start % page_size || m->end % page_size)
            wrong("a record says %#lx-%#lx", m->start, m->end);
        if (i > 0 && records[i - 1]->end > m->start)
            wrong("records overlap: %#lx-%#lx and %#lx-%#lx", records[i - 1]->start,
                  records[i - 1]->end, m->start, m->end);
        if (m->flags & (LEDGER_INHERITED | LEDGER_ADOPTED))
            continue;
        for (uint64_t at = m->start; at < m->end; at += page_size)
            if (page_fact(at / page_size) == 0) {
                struct page_entry *entry = page_find(at / page_size, false);
                wrong("%#lx is in the ledger (record %#lx-%#lx, state %u, flags %#x, ticket %lu, "
                      "detail %u) but was released, %s",
                      at, m->start, m->end, m->state & 7, m->flags, m->ticket, m->detail,
                      entry ? by(entry->last) : "never ours");
                break;
            }
    }
    for (unsigned i = 0; i < PAGE_TABLE; i++) {
        uint64_t at = pages[i].page * page_size;
        uint32_t fact = pages[i].fact;
        if (at == 0 || !(fact & PAGE_HELD))
            continue;
        const struct kernel_range *vma = kernel_at(vmas, (size_t)vma_count, at);
        if (vma == NULL) {
            wrong("%#lx is not mapped though it is held, %s", at, by(pages[i].last));
            continue;
        }
        if (view == NULL)
            continue;
        const struct ledger_mapping *m = ledger_at(records, record_count, at);
        if (m == NULL)
            wrong("%#lx is mapped but not in the ledger, %s", at, by(pages[i].last));
        else if (!(fact & PAGE_PROT_QUESTION) &&
                 !(m->flags & (LEDGER_UNSURE | LEDGER_UNSURE_PROT)) && (m->prot & 7u) != vma->prot)
            wrong("%#lx has protection %u, the ledger says %u, %s", at, vma->prot, m->prot,
                  by(pages[i].last));
    }
}

static void checkpoint(void)
{
    struct ledger_view view;
    bool have = strcmp(ledger_path, "-") != 0;
    if (have) {
        int bad = ledger_view_open(&view, ledger_path);
        if (bad) {
            wrong("ledger %s: %s", ledger_path, strerror(-bad));
            return;
        }
    }
    unsure = 0;
    check_fds(have ? &view : NULL);
    check_maps(have ? &view : NULL);
    if (have && checkpoints % 64 == 0 && view.header->incomplete & ~LEDGER_INCOMPLETE_EVENTS)
        wrong("the ledger calls itself incomplete (%#x)", view.header->incomplete);
    if (have && faults)
        fprintf(stderr, "truth: the ledger: incomplete %#x, %lu events lost, %lu records missed\n",
                view.header->incomplete, (unsigned long)view.header->lost_events,
                (unsigned long)view.header->missed_records);
    if (have)
        ledger_view_close(&view);
    unsure_most = unsure > unsure_most ? unsure : unsure_most;
    if (unsure > 4 + 8 * thread_count)
        wrong("%u records are unsure", unsure);
    pages_sweep();
    checkpoints++;
}

/* --- running ------------------------------------------------------------------------------- */

static void prepare(struct worker *w)
{
    int pair[2];
    w->random = seed * 1000003 + w->index;
    w->arena = ARENA_BASE + w->index * ARENA_STRIDE;
    w->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    w->name.sun_family = AF_UNIX;
    bind(w->listener, (struct sockaddr *)&w->name, sizeof(sa_family_t)); /* the kernel names it */
    w->name_len = sizeof w->name;
    getsockname(w->listener, (struct sockaddr *)&w->name, &w->name_len);
    listen(w->listener, 8);
    (void)!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    w->sender = pair[0];
    w->receiver = pair[1];
    w->memfd = memfd_create("truth-map", MFD_CLOEXEC);
    (void)!ftruncate(w->memfd, ARENA_PAGES * (off_t)page_size);
    w->file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int own[] = {w->listener, w->sender, w->receiver, w->memfd, w->file};
    for (unsigned i = 0; i < sizeof own / sizeof *own; i++)
        fd_in_stream[own[i]] = 1;
}

static void *work(void *argument)
{
    struct worker *w = argument;
    for (uint64_t round = 0; round < rounds; round++) {
        for (uint64_t i = 0; i < every; i++)
            step(w);
        pthread_barrier_wait(&arrive);
        pthread_barrier_wait(&leave);
    }
    return NULL;
}

static int usage(void)
{
    fprintf(stderr, "usage: truth [--seed=N] [--ops=N] [--threads=N] [--every=N] [--raw=0] "
                    "[--forks=0] [--verbose] LEDGER|- DIRECTORY\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct rlimit files;
    struct timespec now;
    int at = 1;

    clock_gettime(CLOCK_REALTIME, &now);
    seed = (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 20 ^ (uint64_t)getpid();
    for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
        const char *value = strchr(argv[at], '=');
        uint64_t number = value ? strtoull(value + 1, NULL, 0) : 1;
        if (strncmp(argv[at], "--seed=", 7) == 0)
            seed = number;
        else if (strncmp(argv[at], "--ops=", 6) == 0)
            operations = number;
        else if (strncmp(argv[at], "--threads=", 10) == 0)
            thread_count = (unsigned)number;
        else if (strncmp(argv[at], "--every=", 8) == 0)
            every = number;
        else if (strncmp(argv[at], "--raw=", 6) == 0)
            with_raw = number != 0;
        else if (strncmp(argv[at], "--forks=", 8) == 0)
            with_forks = number != 0;
        else if (strcmp(argv[at], "--verbose") == 0)
            verbose = true;
        else
            return usage();
    }
    if (argc - at != 2 || thread_count < 1 || thread_count > MAX_THREADS)
        return usage();
    ledger_path = argv[at];
    directory = argv[at + 1];
    page_size = (uint64_t)sysconf(_SC_PAGESIZE);
    if (every == 0)
        every = operations >= 5000000 ? 5000 : 500;
    rounds = operations / thread_count / every;
    if (rounds == 0)
        rounds = 1;
    pages = kernel_view_memory(PAGE_TABLE * sizeof *pages);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stderr, NULL, _IOLBF, 0);
    for (unsigned i = 0; i < thread_count; i++) {
        workers[i].index = i;
        workers[i].window = (int)files.rlim_cur - WINDOW_FDS * (int)(thread_count - i);
        prepare(&workers[i]);
    }
    pthread_barrier_init(&arrive, NULL, thread_count + 1);
    pthread_barrier_init(&leave, NULL, thread_count + 1);
    for (unsigned i = 0; i < thread_count; i++)
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    for (uint64_t round = 0; round < rounds; round++) {
        pthread_barrier_wait(&arrive);
        checkpoint();
        if (faults)
            break;
        pthread_barrier_wait(&leave);
    }
    if (faults == 0) {
        for (unsigned i = 0; i < thread_count; i++)
            pthread_join(workers[i].thread, NULL);
        checkpoint();
    }
    uint64_t done = 0;
    for (unsigned i = 0; i < thread_count; i++)
        done += workers[i].done;
    if (faults) {
        for (unsigned i = 0; i < thread_count; i++)
            fprintf(stderr, "truth: thread %u did %lu operations, the last was %s\n", i,
                    (unsigned long)workers[i].done, workers[i].operation);
        fprintf(stderr,
                "truth: FAILED at checkpoint %lu with %u differences; again: --seed=%lu --ops=%lu "
                "--threads=%u --every=%lu --raw=%d --forks=%d\n",
                (unsigned long)checkpoints, faults, (unsigned long)seed, (unsigned long)operations,
                thread_count, (unsigned long)every, with_raw, with_forks);
        _exit(1);
    }
    printf("truth: %lu operations on %u threads, %lu checkpoints, seed %lu, at most %u unsure: all "
           "true\n",
           (unsigned long)done, thread_count, (unsigned long)checkpoints, (unsigned long)seed,
           unsure_most);
    return 0;
}
