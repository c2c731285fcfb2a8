/*
 * main.c: `supervise`, a small correct supervisor of each kind, for judging the ledger.
 *
 *     supervise --kind=kvm|seccomp|child|api --count=N --seed=S [--mutate=SITE] [--order=NAME]
 *               [--keep] [--pace=MS] [--reclaimed=MS] [--pause=MS] [--truth=FILE]
 *     supervise --kind=growth --scenario=NAME [--count=N] ...
 *     supervise --list-sites
 *
 * Each sandbox draws one of the legal orders of release. --mutate leaves out one release, always,
 * and nothing else. The truth file says what a report must then say. Without --mutate it is
 * correct, and fails if it finds that it is not. --pause waits at the end, for so long or until the
 * input ends; --pace waits before each sandbox; with --reclaimed, what a mutant left may be gone at
 * the end, before which one more child ends, so much later than the last sandbox. It never looks at
 * a ledger; of boxledger it uses the public API, which does nothing where there is no shim.
 *
 * Whatever it holds it knows again: a descriptor by its file, a mapping by what was written there.
 * Each is looked at once more right before it is released.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "boxledger.h"
#include "supervise.h"

enum {
    SKIPPED = 77,
    WINDOW_MAX = 6,
    THREADS_MAX = 4,
    EPOCH = 32,
    HELPER_KEEPS = 4,
    EARLY = 4,
    KNOWN_MAX = 4096, /* things held at a time */
};

/* Threads and the C library map on their own: this many VMAs prove nothing. */
enum { VMA_ALLOWANCE = 24 };

struct run run = {.count = 20, .seed = 1};

static const struct {
    const char *name;
    enum kind kind;
    enum resource resource;
    enum verdict verdict;
    bool unseen;
    const char *function;
} sites[SITES] = {
#define SITE(name, kind, resource, verdict, unseen, function)                                      \
    [site_##name] = {#name, kind, resource, verdict, unseen, #function},
#include "sites.def"
#undef SITE
};

static const char *const kind_names[] = {"kvm", "child", "seccomp", "api", "growth"};
static const char *const verdict_names[] = {"leaked", "anchor",  "growing",
                                            "either", "unended", "kept"};
static const char *const resource_names[] = {"fd", "mapping", "fd", "fd", "process"};
static const struct supervisor *const supervisors[] = {&supervise_kvm, &supervise_child,
                                                       &supervise_seccomp, &supervise_api};

/* What the program knows of itself; under the lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, pace_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    unsigned long begun, ended;               /* owners */
    unsigned long skipped, skipped_in, bytes; /* the mutant's releases left out */
    unsigned long kept_fds, kept_mappings;    /* on purpose, at the exit */
    long held_fds, held_mappings;             /* right now */
    unsigned char *skipped_by;                /* a flag for each sandbox */
    const char *owner_kinds;
    bool wrong;
} truth = {.owner_kinds = ""};

/* What is held, to know it again; under the lock. */
struct known {
    bool there;
    int fd; /* -1: a mapping */
    dev_t device;
    ino_t file;
    unsigned char *start;
    size_t bytes;
    uint64_t mark; /* the first page's; the next has the next */
};
static struct known known[KNOWN_MAX];
static unsigned known_used; /* one past the last that is there */

void give_up(const char *what)
{
    fprintf(stderr, "supervise: %s: %s\n", what, strerror(errno));
    _exit(2);
}

void skip(const char *why)
{
    printf("skip: %s\n", why);
    fflush(stdout);
    _exit(SKIPPED);
}

void wrong(const char *what, unsigned long got, unsigned long expected)
{
    fprintf(stderr, "supervise: %s: %lu, expected %lu (seed %llu)\n", what, got, expected,
            (unsigned long long)run.seed);
    truth.wrong = true;
}

/* --- draws ------------------------------------------------------------------------------------ */

/* splitmix64 (Steele, Lea, Flood 2014): any state is a good one. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint32_t draw(struct sandbox *sandbox, uint32_t below)
{
    return (uint32_t)(next_random(&sandbox->random) >> 32) % below;
}

bool draw_for(struct sandbox *sandbox, enum site site, uint32_t one_in)
{
    bool drawn = draw(sandbox, one_in) == 0;
    bool again = draw(sandbox, 2) == 0;
    if (run.mutated != site) {
        return drawn;
    }
    if (sites[site].verdict == ANCHOR && sandbox->number < EARLY) {
        return true;
    }
    return drawn || again || (sites[site].verdict != LEAKED && sites[site].verdict != ANCHOR);
}

uint32_t draw_key(struct sandbox *sandbox)
{
    return FIRST + 1 + draw(sandbox, LAST - 2);
}

uint32_t draw_global(uint32_t below)
{
    static _Thread_local uint64_t state; /* thread-local: nobody else's order depends on it */
    if (state == 0) {
        state = run.seed;
    }
    return (uint32_t)(next_random(&state) >> 32) % below;
}

/* --- knowing again ---------------------------------------------------------------------------- */

static struct known *find_known(int fd, const void *start)
{
    for (unsigned i = 0; i < known_used; i++) {
        if (known[i].there && known[i].fd == fd && known[i].start == start) {
            return &known[i];
        }
    }
    return NULL;
}

static bool is_known_as(const struct held *thing, int *fd, void **start)
{
    enum resource resource = sites[thing->site].resource;
    *fd = resource == MAPPING ? -1 : thing->fd;
    *start = resource == MAPPING ? thing->start : NULL;
    return resource != PROCESS;
}

/* What a vCPU shares with the kernel is not ours to write. */
static bool may_be_written(enum site site)
{
    return site != site_kvm_run_map;
}

static void get_to_know(const struct held *thing)
{
    static uint64_t marks;
    struct known one = {.there = true};
    struct stat status;
    void *start;
    if (!is_known_as(thing, &one.fd, &start)) {
        return;
    }
    one.start = start;
    if (one.fd >= 0 && fstat(one.fd, &status) == 0) {
        one.device = status.st_dev;
        one.file = status.st_ino;
    }
    pthread_mutex_lock(&lock);
    if (one.start != NULL && may_be_written(thing->site)) {
        one.bytes = thing->bytes;
        one.mark = (marks += thing->bytes / PAGE) + run.seed;
        for (size_t at = 0; at < one.bytes; at += PAGE) {
            *(uint64_t *)(void *)(one.start + at) = one.mark + at / PAGE;
        }
    }
    unsigned place = 0;
    struct known *before = find_known(one.fd, one.start); /* that a mutant kept */
    while (before == NULL && place < KNOWN_MAX && known[place].there) {
        place++;
    }
    if (before != NULL || place < KNOWN_MAX) {
        *(before ? before : &known[place]) = one;
        known_used = before == NULL && place >= known_used ? place + 1 : known_used;
    }
    pthread_mutex_unlock(&lock);
}

void still_there(const struct held *thing)
{
    int fd;
    void *start;
    struct stat status;
    if (!is_known_as(thing, &fd, &start)) {
        return;
    }
    pthread_mutex_lock(&lock);
    const struct known *one = find_known(fd, start);
    if (one != NULL && fd >= 0 &&
        (fstat(fd, &status) != 0 || status.st_dev != one->device || status.st_ino != one->file)) {
        wrong(sites[thing->site].name, (unsigned long)fd, one->file);
    }
    /* By a system call of its own: what is not there any more is no reason to crash. */
    for (size_t at = 0; one != NULL && fd < 0 && at < one->bytes; at += PAGE) {
        uint64_t mark = 0;
        struct iovec here = {&mark, sizeof mark}, there = {one->start + at, sizeof mark};
        if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != sizeof mark ||
            mark != one->mark + at / PAGE) {
            wrong(sites[thing->site].name, mark, one->mark + at / PAGE);
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}

static void forget(const struct held *thing)
{
    int fd;
    void *start;
    if (!is_known_as(thing, &fd, &start)) {
        return;
    }
    pthread_mutex_lock(&lock);
    struct known *one = find_known(fd, start);
    if (one != NULL) {
        one->there = false;
    }
    pthread_mutex_unlock(&lock);
}

/* --- holding and releasing -------------------------------------------------------------------- */

static bool is_mapping(enum site site)
{
    return sites[site].resource == MAPPING;
}

static void count_held(enum site site, long change)
{
    if (sites[site].resource == PROCESS) {
        return;
    }
    pthread_mutex_lock(&lock);
    *(is_mapping(site) ? &truth.held_mappings : &truth.held_fds) += change;
    pthread_mutex_unlock(&lock);
}

struct held *hold(struct sandbox *sandbox, struct held thing)
{
    count_held(thing.site, 1);
    get_to_know(&thing);
    if (sandbox == NULL) {
        return NULL;
    }
    if (sandbox->held_count == HELD_MAX) {
        errno = ENOSPC;
        give_up("a sandbox's list");
    }
    struct held *held = &sandbox->held[sandbox->held_count++];
    *held = thing;
    if (held->key == FIRST) {
        held->key = draw_key(sandbox);
    }
    return held;
}

struct held *hold_fd(struct sandbox *sandbox, enum site site, int fd)
{
    if (fd < 0) {
        give_up(sites[site].name);
    }
    return hold(sandbox, (struct held){.site = site, .fd = fd});
}

struct held *hold_mapping(struct sandbox *sandbox, enum site site, void *start, size_t bytes)
{
    if (start == MAP_FAILED) {
        give_up(sites[site].name);
    }
    return hold(sandbox, (struct held){.site = site, .fd = -1, .start = start, .bytes = bytes});
}

bool mutant_skips(struct sandbox *sandbox, enum site site, size_t bytes)
{
    if (site != run.mutated) {
        return false;
    }
    pthread_mutex_lock(&lock);
    truth.skipped++;
    truth.bytes += bytes;
    if (sandbox != NULL && sandbox->number < run.count && !truth.skipped_by[sandbox->number]) {
        truth.skipped_by[sandbox->number] = 1;
        truth.skipped_in++;
    }
    pthread_mutex_unlock(&lock);
    return true;
}

long inline_syscall(long number, long a, long b, long c)
{
#if defined __x86_64__
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
#elif defined __aarch64__
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#else
#error "no inline system call for this machine"
#endif
}

/* A descriptor goes by any of the ways that supervisors use. */
static int close_somehow(uint32_t way, int fd, bool unseen)
{
    switch (way) {
    case 0:
        return (int)syscall(SYS_close, fd);
    case 1:
        return (int)syscall(SYS_close_range, fd, fd, 0);
    case 2:
        return unseen ? (int)inline_syscall(SYS_close, fd, 0, 0) : close(fd);
    default:
        return close(fd);
    }
}

bool release(struct sandbox *sandbox, const struct held *thing)
{
    enum { WAYS = 8 };
    struct sandbox nobody = {.random = run.seed + (uint64_t)thing->fd};
    uint32_t way = draw(sandbox ? sandbox : &nobody, WAYS);
    if (mutant_skips(sandbox, thing->site, thing->bytes - thing->unbound)) {
        forget(thing);
        return false;
    }
    still_there(thing);
    forget(thing);
    int result = 0;
    switch (sites[thing->site].resource) {
    case FD:
        result = close_somehow(way, thing->fd, sites[thing->site].unseen);
        break;
    case MAPPING:
        result = way == 0 ? (int)syscall(SYS_munmap, thing->start, thing->bytes)
                          : munmap(thing->start, thing->bytes);
        break;
    case STREAM:
        result = fclose(thing->start);
        break;
    case LISTING:
        result = closedir(thing->start);
        break;
    case PROCESS:
        return true;
    }
    if (result != 0) {
        give_up(sites[thing->site].name);
    }
    count_held(thing->site, -1);
    return true;
}

void release_fd(struct sandbox *sandbox, enum site site, int fd)
{
    release(sandbox, &(struct held){.site = site, .fd = fd});
}

void release_mapping(struct sandbox *sandbox, enum site site, void *start, size_t bytes)
{
    release(sandbox, &(struct held){.site = site, .fd = -1, .start = start, .bytes = bytes});
}

void kept(unsigned fds, unsigned mappings)
{
    pthread_mutex_lock(&lock);
    truth.kept_fds += fds;
    truth.kept_mappings += mappings;
    pthread_mutex_unlock(&lock);
}

void owners_begun(int count)
{
    pthread_mutex_lock(&lock);
    truth.begun += (unsigned long)count;
    pthread_mutex_unlock(&lock);
}

void owners_ended(int count)
{
    pthread_mutex_lock(&lock);
    truth.ended += (unsigned long)count;
    pthread_mutex_unlock(&lock);
}

void owner_kinds_are(const char *json)
{
    truth.owner_kinds = json;
}

/* --- the worker ------------------------------------------------------------------------------- */

static struct {
    pthread_t thread;
    pthread_mutex_t turn, lock;
    pthread_cond_t changed;
    void (*job)(void *);
    void *argument;
    bool stops;
} worker = {.turn = PTHREAD_MUTEX_INITIALIZER,
            .lock = PTHREAD_MUTEX_INITIALIZER,
            .changed = PTHREAD_COND_INITIALIZER};

static void *work(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&worker.lock);
    while (!worker.stops) {
        if (worker.job != NULL) {
            worker.job(worker.argument);
            worker.job = NULL;
            pthread_cond_broadcast(&worker.changed);
        } else {
            pthread_cond_wait(&worker.changed, &worker.lock);
        }
    }
    pthread_mutex_unlock(&worker.lock);
    return NULL;
}

void run_on_worker(void (*job)(void *), void *argument)
{
    pthread_mutex_lock(&worker.turn);
    pthread_mutex_lock(&worker.lock);
    worker.argument = argument;
    worker.job = job;
    pthread_cond_broadcast(&worker.changed);
    while (worker.job != NULL) {
        pthread_cond_wait(&worker.changed, &worker.lock);
    }
    pthread_mutex_unlock(&worker.lock);
    pthread_mutex_unlock(&worker.turn);
}

static void worker_start(void)
{
    sigset_t all, before;
    worker.stops = false;
    sigfillset(&all); /* SIGCHLD is the main thread's, from the worker's first instruction on */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    if (pthread_create(&worker.thread, NULL, work, NULL) != 0) {
        give_up("a thread");
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void worker_stop(void)
{
    pthread_mutex_lock(&worker.lock);
    worker.stops = true;
    pthread_cond_broadcast(&worker.changed);
    pthread_mutex_unlock(&worker.lock);
    pthread_join(worker.thread, NULL);
}

/* --- descriptors by socket, and the helper process ---------------------------------------------
 */

bool send_fd(int socket, int fd)
{
    char byte = 'f';
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    return sendmsg(socket, &message, MSG_NOSIGNAL) == 1;
}

/* Inlined, so that each caller is the function that a report names. */
static inline __attribute__((always_inline)) int receive_fd_here(int socket)
{
    char byte;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t got;
    do {
        got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    struct cmsghdr *header = got == 1 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header == NULL || header->cmsg_type != SCM_RIGHTS) {
        return -1;
    }
    int fd;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

int receive_fd(int socket)
{
    return receive_fd_here(socket);
}

static struct {
    int socket;
    pid_t pid;
    pthread_mutex_t turn;
} helper = {.turn = PTHREAD_MUTEX_INITIALIZER};

static __attribute__((noreturn)) void help(int socket)
{
    int keeps[HELPER_KEEPS] = {-1, -1, -1, -1};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (unsigned i = 0;; i = (i + 1) % HELPER_KEEPS) {
        char how;
        int fd;
        if (read(socket, &how, 1) != 1 || (fd = receive_fd(socket)) < 0) {
            _exit(0);
        }
        if (how == 'e') {
            send_fd(socket, fd);
            close(fd);
            continue;
        }
        if (keeps[i] >= 0) {
            close(keeps[i]);
        }
        keeps[i] = fd;
    }
}

void helper_start(void)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0 ||
        (helper.pid = fork()) < 0) {
        give_up("a helper");
    }
    if (helper.pid == 0) {
        close(pair[0]);
        help(pair[1]);
    }
    close(pair[1]);
    helper.socket = pair[0];
    truth.held_fds++;
    owners_begun(1);
}

static void ask_helper(char how, int fd)
{
    if (write(helper.socket, &how, 1) != 1 || !send_fd(helper.socket, fd)) {
        give_up("the helper");
    }
}

void helper_keep(int fd)
{
    pthread_mutex_lock(&helper.turn);
    ask_helper('k', fd);
    pthread_mutex_unlock(&helper.turn);
}

int helper_echo(int fd)
{
    pthread_mutex_lock(&helper.turn);
    ask_helper('e', fd);
    int received = receive_fd(helper.socket);
    pthread_mutex_unlock(&helper.turn);
    return received;
}

void helper_stop(void)
{
    if (run.keeps) {
        kept(1, 0); /* it goes when this process does */
        return;
    }
    close(helper.socket);
    truth.held_fds--;
    if (waitpid(helper.pid, NULL, 0) != helper.pid) {
        give_up("the helper's end");
    }
    owners_ended(1);
}

/* --- the engine ------------------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
    const struct held *one = a, *other = b;
    return one->key < other->key ? -1 : one->key > other->key;
}

/* One sandbox a little further: its work, then some of its releases. False: it is done. */
static bool advance(const struct supervisor *kind, struct sandbox *sandbox)
{
    enum { WORKING, RELEASING };
    if (sandbox->step == WORKING) {
        if (!kind->work(sandbox)) {
            qsort(sandbox->held, sandbox->held_count, sizeof sandbox->held[0], by_key);
            sandbox->step = RELEASING;
        }
        return true;
    }
    /* Mostly at once; sometimes others begin and end in between. */
    unsigned some = draw(sandbox, 4) != 0 ? HELD_MAX : 1 + draw(sandbox, 4);
    unsigned done = 0;
    while (done < some && done < sandbox->held_count) {
        if (kind->before != NULL) {
            kind->before(sandbox, &sandbox->held[done]);
        }
        release(sandbox, &sandbox->held[done++]);
    }
    sandbox->held_count -= done;
    memmove(sandbox->held, sandbox->held + done, sandbox->held_count * sizeof sandbox->held[0]);
    return sandbox->held_count != 0;
}

/* Sandboxes begin one after the other, whatever thread's. Unseen: it ends no scope. */
static void keep_pace(void)
{
    struct timespec pace = {run.pace_ms / 1000, run.pace_ms % 1000 * 1000000};
    if (run.pace_ms != 0) {
        pthread_mutex_lock(&pace_lock);
        inline_syscall(SYS_nanosleep, (long)&pace, 0, 0);
        pthread_mutex_unlock(&pace_lock);
    }
}

struct share {
    pthread_t thread;
    const struct supervisor *kind;
    unsigned first, step, window;
};

static void *run_share(void *argument)
{
    const struct share *share = argument;
    struct sandbox live[WINDOW_MAX];
    unsigned count = 0, next = share->first, epoch = 0;
    while (count != 0 || next < run.count) {
        bool may_begin = next < run.count && count < share->window && epoch < EPOCH;
        if (count == 0 && epoch >= EPOCH) {
            epoch = 0;
            if (share->kind->drained != NULL) {
                share->kind->drained();
            }
            continue;
        }
        if (may_begin && (count == 0 || draw_global(3) == 0)) {
            struct sandbox *sandbox = &live[count++];
            memset(sandbox, 0, sizeof *sandbox);
            sandbox->number = next;
            sandbox->random = run.seed * UINT64_C(0x100000001b3) + next;
            keep_pace();
            sandbox->own = calloc(1, share->kind->own_size);
            share->kind->begin(sandbox);
            next += share->step;
            epoch++;
            continue;
        }
        unsigned i = draw_global(count);
        if (!advance(share->kind, &live[i])) {
            free(live[i].own);
            live[i] = live[--count];
        }
    }
    return NULL;
}

static void run_sandboxes(const struct supervisor *kind)
{
    struct share shares[THREADS_MAX];
    unsigned threads = kind->threaded ? 1 + draw_global(THREADS_MAX) : 1;
    unsigned window = 1 + draw_global(WINDOW_MAX);
    for (unsigned i = 0; i < threads; i++) {
        shares[i] = (struct share){.kind = kind, .first = i, .step = threads, .window = window};
        if (!kind->threaded) {
            run_share(&shares[i]);
        } else if (pthread_create(&shares[i].thread, NULL, run_share, &shares[i]) != 0) {
            give_up("a thread");
        }
    }
    for (unsigned i = 0; kind->threaded && i < threads; i++) {
        pthread_join(shares[i].thread, NULL);
    }
}

/* An end at which what the last sandboxes left has settled, too. */
static void end_one_more(long after_ms)
{
    struct timespec pause = {after_ms / 1000, after_ms % 1000 * 1000000};
    while (nanosleep(&pause, &pause) != 0) {
    }
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    owners_begun(1);
    if (pid < 0 || waitpid(pid, NULL, 0) != pid) {
        give_up("one more child");
    }
    owners_ended(1);
}

/* --- its own books ---------------------------------------------------------------------------- */

static unsigned long count_open(void)
{
    DIR *listing = opendir("/proc/self/fd");
    unsigned long count = 0;
    if (listing == NULL) {
        give_up("/proc/self/fd");
    }
    while (readdir(listing) != NULL) {
        count++;
    }
    closedir(listing);
    return count - 3; /* ., .. and the listing's own */
}

static unsigned long count_mapped(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned long count = 0;
    int c;
    if (maps == NULL) {
        give_up("/proc/self/maps");
    }
    while ((c = getc(maps)) != EOF) {
        count += c == '\n';
    }
    fclose(maps);
    return count;
}

/* Whatever the ledger says of this program: what it holds at its end is what it means to hold. */
static void check_books(unsigned long open_before, unsigned long mapped_before)
{
    bool mapping = run.mutated != NO_SITE && is_mapping(run.mutated);
    bool process = run.mutated != NO_SITE && sites[run.mutated].resource == PROCESS;
    unsigned long fds = truth.kept_fds + (mapping || process ? 0 : truth.skipped);
    unsigned long mappings = truth.kept_mappings + (mapping ? truth.skipped : 0);
    if (truth.held_fds != (long)fds) {
        wrong("descriptors by its own books", (unsigned long)truth.held_fds, fds);
    }
    if (truth.held_mappings != (long)mappings) {
        wrong("mappings by its own books", (unsigned long)truth.held_mappings, mappings);
    }
    unsigned long open_now = count_open();
    unsigned long least = open_before + (run.reclaimed ? truth.kept_fds : fds);
    if (open_now > open_before + fds || open_now < least) {
        wrong("descriptors by the kernel's", open_now, open_before + fds);
    }
    unsigned long mapped_now = count_mapped();
    if (!boxledger_present() && mapped_now > mapped_before + mappings + VMA_ALLOWANCE) {
        wrong("mappings by the kernel's", mapped_now, mapped_before + mappings);
    }
}

static void write_truth(const char *path, const struct boxledger_usage *left, int checked)
{
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        give_up(path);
    }
    fprintf(file,
            "{\"kind\": \"%s\", \"seed\": %llu, \"sandboxes\": %u, \"owners_begun\": %lu, "
            "\"owners_ended\": %lu",
            kind_names[run.kind], (unsigned long long)run.seed, run.count, truth.begun,
            truth.ended);
    if (run.mutated != NO_SITE) {
        fprintf(file,
                ", \"site\": \"%s\", \"resource\": \"%s\", \"verdict\": \"%s\", "
                "\"function\": \"%s\", \"count\": %lu, \"owners\": %lu, \"bytes\": %lu, "
                "\"owner_kinds\": [%s]",
                sites[run.mutated].name, resource_names[sites[run.mutated].resource],
                verdict_names[sites[run.mutated].verdict], sites[run.mutated].function,
                truth.skipped, truth.skipped_in, truth.bytes, truth.owner_kinds);
    }
    if (checked >= 0) {
        fprintf(file,
                ", \"check\": {\"result\": %d, \"fds\": %llu, \"mappings\": %llu, \"bytes\": %llu, "
                "\"owners\": %llu}",
                checked, (unsigned long long)left->fds, (unsigned long long)left->mappings,
                (unsigned long long)left->bytes, (unsigned long long)left->owners);
    }
    fprintf(file, "}\n");
    fclose(file);
}

static void list_sites(void)
{
    for (unsigned i = 1; i < SITES; i++) {
        printf("%s %s %s %s %s\n", sites[i].name, kind_names[sites[i].kind],
               resource_names[sites[i].resource], verdict_names[sites[i].verdict],
               sites[i].function);
    }
}

static unsigned named(const char *const *names, size_t count, const char *name)
{
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    fprintf(stderr, "supervise: no such thing: %s\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"kind", required_argument, NULL, 'k'},
        {"count", required_argument, NULL, 'n'},
        {"seed", required_argument, NULL, 's'},
        {"mutate", required_argument, NULL, 'm'},
        {"order", required_argument, NULL, 'o'},
        {"truth", required_argument, NULL, 't'},
        {"pause", required_argument, NULL, 'p'},
        {"scenario", required_argument, NULL, 'c'},
        {"keep", no_argument, NULL, 'e'},
        {"list-sites", no_argument, NULL, 'l'},
        {"child", required_argument, NULL, 'x'},
        {"pace", required_argument, NULL, 'w'},
        {"reclaimed", required_argument, NULL, 'r'},
        {NULL, 0, NULL, 0},
    };
    const char *truth_path = NULL, *scenario = NULL;
    long pause_ms = -1, linger_ms = 0;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        switch (option) {
        case 'k':
            run.kind = named(kind_names, sizeof kind_names / sizeof *kind_names, optarg);
            break;
        case 'n':
            run.count = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            run.seed = strtoull(optarg, NULL, 10);
            break;
        case 'm':
            for (unsigned i = 1; i < SITES; i++) {
                if (strcmp(sites[i].name, optarg) == 0) {
                    run.mutated = i;
                    run.kind = sites[i].kind;
                }
            }
            if (run.mutated == NO_SITE) {
                fprintf(stderr, "supervise: no such site: %s\n", optarg);
                return 2;
            }
            break;
        case 'o':
            run.order = optarg;
            break;
        case 't':
            truth_path = optarg;
            break;
        case 'p':
            pause_ms = strtol(optarg, NULL, 10);
            break;
        case 'c':
            scenario = optarg;
            break;
        case 'e':
            run.keeps = true;
            break;
        case 'w':
            run.pace_ms = strtol(optarg, NULL, 10);
            break;
        case 'r':
            run.reclaimed = true;
            linger_ms = strtol(optarg, NULL, 10);
            break;
        case 'l':
            list_sites();
            return 0;
        case 'x': /* the sandbox of child.c that is executed */
            return write(STDOUT_FILENO, optarg, strlen(optarg)) < 0;
        default:
            return 2;
        }
    }
    if (run.kind == GROWTH) {
        worker_start();
        return supervise_growth(scenario ? scenario : "", run.count);
    }
    truth.skipped_by = calloc(run.count + 1, 1);
    worker_start(); /* once for nothing, so that what a thread leaves behind is there before */
    worker_stop();
    unsigned long open_before = count_open(), mapped_before = count_mapped();
    worker_start();
    const struct supervisor *kind = supervisors[run.kind];
    kind->start();
    run_sandboxes(kind);
    kind->stop();
    worker_stop();
    if (run.reclaimed) {
        end_one_more(linger_ms);
    }
    struct boxledger_usage left;
    int checked = -1;
    if (pause_ms >= 0) {
        puts("ready");
        fflush(stdout);
        poll(&(struct pollfd){.fd = STDIN_FILENO, .events = POLLIN}, 1, (int)pause_ms);
        checked = boxledger_check(&left);
    }
    check_books(open_before, mapped_before);
    if (truth_path != NULL) {
        write_truth(truth_path, &left, checked);
    }
    return truth.wrong ? 3 : 0;
}
