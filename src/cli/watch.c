/*
 * watch.c: keeps ledgers while their processes live: checks them from outside when a process
 * stands at its exit and waits, notes the names of adopted descriptors for the case that it is
 * killed, and finds the ledgers of followed children.
 *
 * One thread, no polling: it sleeps in futex_waitv(2) on all ledgers' process_state at once. The
 * words are read with pread, never through the mapping: that is only an address for the kernel, so
 * that nobody can crash the command by cutting a file short.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "cli/cli.h"
#include "report/census.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449 /* Linux 5.16; the same on all architectures */
#endif
#ifndef FUTEX_32
#define FUTEX_32 2
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

#define MAPPED (LEDGER_OUTSIDE_OFFSET + 0x1000) /* the header and the command's own words */
#define WAITV_MAX 128
/* How often the names of adopted descriptors are looked at: soon again after new ones came, ever
 * more rarely while none do. A process that is killed loses the names of so short a time. */
#define SAMPLE_SOON_NS 5000000u
#define SAMPLE_LATE_NS 100000000u
/* A census of what the ledger never saw: after so many ends, and not more often. */
#define CENSUS_EPOCHS 16u
#define CENSUS_NS 100000000u
/* How often the ledger is asked, by a read of 8 bytes, whether a limit is nearly reached. */
#define LIMITS_NS 50000000u
#define NS 1000000000u

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS + (uint64_t)now.tv_nsec;
}

static uint32_t read_word(int fd, uint64_t offset)
{
    uint32_t word = 0;

    return pread(fd, &word, sizeof word, (off_t)offset) == (ssize_t)sizeof word ? word : 0;
}

#define read_field(fd, field) read_word((fd), offsetof(struct ledger_header, field))

static bool write_outside(int fd, const void *bytes, size_t size, size_t offset)
{
    return pwrite(fd, bytes, size, (off_t)(LEDGER_OUTSIDE_OFFSET + offset)) == (ssize_t)size;
}

static void write_outside_word(int fd, size_t offset, uint32_t word)
{
    /* A word that cannot be written is a process that waits a moment longer. */
    (void)write_outside(fd, &word, sizeof word, offset);
}

/* --- ledgers -------------------------------------------------------------------------------------
 */

static bool write_header(int fd)
{
    struct ledger_header header = {
        .magic = LEDGER_MAGIC,
        .version = LEDGER_VERSION,
        .header_size = sizeof header,
        .base_size = LEDGER_BASE_SIZE,
        .chunk_size = LEDGER_CHUNK_SIZE,
        .page_size = (uint32_t)sysconf(_SC_PAGESIZE),
    };
    struct ledger_outside outside = {.command_pid = (uint32_t)getpid(), .command_alive = 1};

    /* The magic makes it a ledger: last. */
    return pwrite(fd, &outside, sizeof outside, LEDGER_OUTSIDE_OFFSET) == sizeof outside &&
           pwrite(fd, &header, offsetof(struct ledger_header, directory), 0) ==
               (ssize_t)offsetof(struct ledger_header, directory);
}

bool watch_create_ledger(int *fd, struct failure *failure)
{
    uint64_t size = LEDGER_BASE_SIZE + (uint64_t)LEDGER_MAX_CHUNKS * LEDGER_CHUNK_SIZE;
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    cleanup_close int created = -1;
    struct rlimit limit;
    bool good;
    int error;

    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < size)
        size = limit.rlim_cur & ~(uint64_t)4095;
    if (size < LEDGER_BASE_SIZE)
        return failure_set(failure, "no space for the ledger: RLIMIT_FSIZE is below %u bytes",
                           LEDGER_BASE_SIZE);
    created = memfd_create("boxledger", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (created < 0)
        return failure_set(failure, "no space for the ledger: memfd_create: %s", strerror(errno));
    (void)sigaction(SIGXFSZ, &ignore, &before);
    good = ftruncate(created, (off_t)size) == 0 && write_header(created);
    error = errno;
    (void)sigaction(SIGXFSZ, &before, NULL);
    if (!good)
        return failure_set(failure, "no space for the ledger: %s", strerror(error));
    /* Nobody cuts off what others have mapped. */
    (void)fcntl(created, F_ADD_SEALS, F_SEAL_SHRINK);
    *fd = base_take_fd(&created);
    return true;
}

/* The process that a followed ledger names, if that is really the one that writes it: it may be
 * of another pid namespace. */
static void find_process(struct watched *watched)
{
    pid_t pid = (pid_t)read_field(watched->fd, pid);

    if (watched->pid || pid <= 0 || !kernel_maps_file(pid, watched->fd))
        return;
    watched->pid = pid;
    watched->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
}

struct watched *watch_add(struct watch *watch, int fd, const char *path, pid_t pid)
{
    struct watched *watched = base_alloc(sizeof *watched);
    void *mapped = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    watched->fd = fd;
    watched->pid = pid;
    watched->pidfd = -1;
    if (path && !(watched->path = strdup(path)))
        base_no_memory();
    if (mapped != MAP_FAILED)
        watched->futex = mapped;
    watch->items = base_grow(watch->items, watch->count, sizeof(struct watched *));
    watch->items[watch->count++] = watched;
    return watched;
}

static uint32_t *futex_word(const struct watched *watched, size_t offset)
{
    return (uint32_t *)(void *)((char *)watched->futex + offset);
}

/* What is needed no more once a process has ended: thousands may have been followed. */
static void let_go(struct watched *watched)
{
    if (watched->futex)
        (void)munmap(watched->futex, MAPPED);
    watched->futex = NULL;
    if (watched->pidfd >= 0)
        close(watched->pidfd);
    watched->pidfd = -1;
    if (watched->path && watched->fd >= 0) {
        close(watched->fd);
        watched->fd = -1;
    }
}

/* --- exits ---------------------------------------------------------------------------------------
 */

static void look(struct watched *watched)
{
    kernel_look(&watched->view, watched->pid);
    kernel_look_at_owners(&watched->view, watched->pid, watched->fd);
    kernel_sample_threads(&watched->view, watched->pid);
}

/* The process stands at its exit and waits, for a bounded moment: ask the kernel what it holds,
 * then let it go. */
static void serve_exit(struct watched *watched, uint32_t serial)
{
    find_process(watched);
    watched->view.running = false;
    if (watched->ahead)
        ahead_begin(watched->ahead, watched->fd);
    if (watched->pid)
        look(watched);
    write_outside_word(watched->fd, offsetof(struct ledger_outside, checked), serial);
    if (watched->futex)
        (void)syscall(
            SYS_futex,
            futex_word(watched, LEDGER_OUTSIDE_OFFSET + offsetof(struct ledger_outside, checked)),
            FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    watched->serial = serial;
}

static void serve_one(struct watched *watched)
{
    uint32_t serial;

    if (watched->ended)
        return;
    watched->state = read_field(watched->fd, process_state);
    serial = read_field(watched->fd, exit_serial);
    if (watched->state == LEDGER_PROCESS_EXITING && serial != watched->serial)
        serve_exit(watched, serial);
}

/* What was checked at an exit holds only if that was the end. */
static void forget_early_views(struct watched *watched, uint32_t state)
{
    if (state == LEDGER_PROCESS_EXITING || state == LEDGER_PROCESS_DETACHED)
        return;
    watched->view.fds_known = watched->view.ranges_known = false;
}

void watch_end(struct watched *watched, int wait_status)
{
    struct ledger_outside outside = {0};

    watched->ended = true;
    forget_early_views(watched, read_field(watched->fd, process_state));
    if (WIFSIGNALED(wait_status)) {
        outside.ended = LEDGER_ENDED_SIGNAL;
        outside.status = (uint32_t)WTERMSIG(wait_status);
    } else {
        outside.ended = LEDGER_ENDED_EXIT;
        outside.status = (uint32_t)WEXITSTATUS(wait_status);
    }
    outside.end_ns = now_ns(CLOCK_REALTIME);
    write_outside_word(watched->fd, offsetof(struct ledger_outside, ended), outside.ended);
    write_outside_word(watched->fd, offsetof(struct ledger_outside, status), outside.status);
    (void)write_outside(watched->fd, &outside.end_ns, sizeof outside.end_ns,
                        offsetof(struct ledger_outside, end_ns));
}

/* A followed process that is gone: how it ended, only its ledger knows. */
static void end_followed(struct watched *watched)
{
    watched->ended = true;
    forget_early_views(watched, read_field(watched->fd, process_state));
    save_compact(watched->fd);
    let_go(watched);
}

static bool is_gone(const struct watched *watched)
{
    struct pollfd poll_fd = {.fd = watched->pidfd, .events = POLLIN};

    if (watched->pidfd >= 0)
        return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLIN);
    return watched->pid && kill(watched->pid, 0) != 0 && errno == ESRCH;
}

/* --- followed children
 * ----------------------------------------------------------------------------- */

static bool is_known(const struct watch *watch, const char *path)
{
    /* From the end: events are about the newest. */
    for (size_t i = watch->count; i-- > 0;)
        if (watch->items[i]->path && strcmp(watch->items[i]->path, path) == 0)
            return true;
    return false;
}

/* Adds a file of the directory. Returns false if it is not a ledger yet, but may become one, or
 * cannot be had yet. */
static bool add_file(struct watch *watch, const char *path)
{
    struct watched *watched;
    char magic[8];
    struct stat file;
    int fd;

    if (is_known(watch, path))
        return true;
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) /* ours are used up: there will be some again */
        return errno != EMFILE && errno != ENFILE && errno != ENOMEM;
    if (fstat(fd, &file) < 0 || !S_ISREG(file.st_mode)) {
        close(fd);
        return true;
    }
    if (file.st_size < (off_t)LEDGER_BASE_SIZE ||
        pread(fd, magic, sizeof magic, 0) != (ssize_t)sizeof magic ||
        memcmp(magic, LEDGER_MAGIC, sizeof magic) != 0 || read_field(fd, images) == 0) {
        close(fd);
        return false;
    }
    watched = watch_add(watch, fd, path, 0);
    find_process(watched);
    (void)pread(fd, &watched->start_ns, sizeof watched->start_ns,
                offsetof(struct ledger_header, start_ns));
    write_outside_word(fd, offsetof(struct ledger_outside, command_pid), (uint32_t)getpid());
    write_outside_word(fd, offsetof(struct ledger_outside, command_alive), 1);
    return true;
}

static void try_file(struct watch *watch, const char *name)
{
    size_t length = strlen(name);
    char path[PATH_MAX], *copy;

    if (length < 8 || strcmp(name + length - 7, ".ledger") != 0 ||
        (size_t)snprintf(path, sizeof path, "%s/%s", watch->directory, name) >= sizeof path ||
        add_file(watch, path))
        return;
    for (size_t i = 0; i < watch->pending_count; i++)
        if (strcmp(watch->pending[i], path) == 0)
            return;
    copy = strdup(path);
    if (!copy)
        base_no_memory();
    watch->pending = base_grow(watch->pending, watch->pending_count, sizeof copy);
    watch->pending[watch->pending_count++] = copy;
    watch->pending_since_ns = now_ns(CLOCK_MONOTONIC);
}

static void try_pending(struct watch *watch)
{
    size_t kept = 0;

    for (size_t i = 0; i < watch->pending_count; i++) {
        if (add_file(watch, watch->pending[i]))
            free(watch->pending[i]);
        else
            watch->pending[kept++] = watch->pending[i];
    }
    watch->pending_count = kept;
}

static void scan_directory(struct watch *watch)
{
    DIR *directory = opendir(watch->directory);
    struct dirent *entry;

    if (!directory)
        return;
    while ((entry = readdir(directory)))
        try_file(watch, entry->d_name);
    closedir(directory);
}

bool watch_follow(struct watch *watch, const char *directory, struct failure *failure)
{
    watch->directory = directory;
    watch->lock = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (watch->lock < 0 || flock(watch->lock, LOCK_EX | LOCK_NB) != 0)
        return failure_set(failure, "--follow: %s: %s", directory, strerror(errno));
    watch->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch->inotify < 0 ||
        inotify_add_watch(watch->inotify, directory, IN_CREATE | IN_MODIFY | IN_MOVED_TO) < 0)
        return failure_set(failure, "--follow: inotify: %s", strerror(errno));
    /* Events come as SIGIO, whose handler ends watch_sleep: one thing to sleep on, not two. */
    if (fcntl(watch->inotify, F_SETOWN, getpid()) < 0 ||
        fcntl(watch->inotify, F_SETFL, O_NONBLOCK | O_ASYNC) < 0)
        return failure_set(failure, "--follow: inotify: %s", strerror(errno));
    return true;
}

static void serve_directory(struct watch *watch)
{
    _Alignas(struct inotify_event) char buffer[16384];
    ssize_t got;

    while ((got = read(watch->inotify, buffer, sizeof buffer)) > 0) {
        for (char *at = buffer; at < buffer + got;) {
            const struct inotify_event *event = (const struct inotify_event *)(void *)at;

            if (event->mask & IN_Q_OVERFLOW)
                scan_directory(watch);
            else if (event->len)
                try_file(watch, event->name);
            at += sizeof *event + event->len;
        }
    }
}

/* --- censuses
 * -------------------------------------------------------------------------------------- */

static void take_census(struct watched *watched, uint64_t now)
{
    uint32_t epoch;

    if (now < watched->next_census_ns)
        return;
    epoch = read_field(watched->fd, epoch);
    if (epoch - watched->census_epoch < CENSUS_EPOCHS)
        return;
    census_take(&watched->view, watched->pid, watched->fd);
    watched->census_epoch = epoch;
    watched->next_census_ns = now + CENSUS_NS;
}

/* --- the loop
 * -------------------------------------------------------------------------------------- */

void watch_serve(struct watch *watch)
{
    size_t looked_up = 0;
    uint64_t now;

    if (watch->directory) {
        serve_directory(watch);
        try_pending(watch);
    }
    for (size_t i = 0; i < watch->count; i++) {
        struct watched *watched = watch->items[i];

        serve_one(watched);
        /* Written by a fork, which there must be none of while names are read: see ahead.c. */
        if (!watched->ended && watched->pid && watched->state == LEDGER_PROCESS_RUNNING &&
            !(watched->ahead && watched->ahead->begun))
            warn_about_limits(watched);
    }
    now = now_ns(CLOCK_MONOTONIC);
    if (now < watch->next_sample_ns)
        return;
    for (size_t i = 0; i < watch->count; i++) {
        struct watched *watched = watch->items[i];

        if (watched->ended)
            continue;
        if (watched->path)
            find_process(watched);
        if (watched->pid && watched->state == LEDGER_PROCESS_RUNNING) {
            looked_up += kernel_sample_names(&watched->view, watched->pid, watched->fd);
            kernel_sample_threads(&watched->view, watched->pid);
            take_census(watched, now);
        }
        if (watched->path && is_gone(watched))
            end_followed(watched);
    }
    /* Never more than a fiftieth of the time. */
    watch->next_sample_ns = now + 50 * (now_ns(CLOCK_MONOTONIC) - now);
    if (looked_up || watch->sample_interval_ns == 0)
        watch->sample_interval_ns = SAMPLE_SOON_NS;
    else if (watch->sample_interval_ns < SAMPLE_LATE_NS)
        watch->sample_interval_ns *= 2;
    if (watch->next_sample_ns < now + watch->sample_interval_ns)
        watch->next_sample_ns = now + watch->sample_interval_ns;
}

void watch_sleep(struct watch *watch, const uint32_t *wake, uint32_t seen)
{
    struct futex_waitv words[WAITV_MAX];
    uint64_t now = now_ns(CLOCK_MONOTONIC), until = watch->next_sample_ns;
    struct timespec when;
    unsigned count = 0;
    long result;

    words[count++] = (struct futex_waitv){
        .uaddr = (uintptr_t)wake, .val = seen, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG};
    for (size_t i = watch->count; i-- > 0 && count < WAITV_MAX;) {
        const struct watched *watched = watch->items[i];

        if (!watched->ended && watched->futex)
            words[count++] =
                (struct futex_waitv){.uaddr = (uintptr_t)futex_word(
                                         watched, offsetof(struct ledger_header, process_state)),
                                     .val = watched->state,
                                     .flags = FUTEX_32};
    }
    if (until > now + LIMITS_NS) /* a limit that is nearly reached can wait no longer */
        until = now + LIMITS_NS;
    if (count == WAITV_MAX) /* there are more: look at those every other millisecond */
        until = now + 2000000;
    if (watch->pending_count) {
        /* A child is just writing its header, which takes it microseconds and tells nobody. One
         * that dies doing so is not waited for like that. */
        until = now + (now - watch->pending_since_ns < 20000000 ? 200000 : 20000000);
    }
    when.tv_sec = (time_t)(until / NS);
    when.tv_nsec = (long)(until % NS);
    result = syscall(SYS_futex_waitv, words, count, 0, &when, CLOCK_MONOTONIC);
    if (result < 0 && errno != EAGAIN && errno != EINTR && errno != ETIMEDOUT) {
        /* Before Linux 5.16, or a ledger cut short (EFAULT): look every millisecond. */
        struct timespec moment = {.tv_nsec = 1000000};

        (void)nanosleep(&moment, NULL);
    }
}

void watch_finish(struct watch *watch)
{
    if (watch->directory) {
        scan_directory(watch);
        for (size_t i = 0; i < watch->count; i++)
            serve_one(watch->items[i]);
    }
    for (size_t i = 0; i < watch->count; i++) {
        struct watched *watched = watch->items[i];

        warn_finish(watched);
        if (watched->ended)
            continue;
        find_process(watched);
        if (watched->pid && !is_gone(watched)) {
            /* A daemon, say: it goes on, without us. */
            if (watched->state != LEDGER_PROCESS_EXITING) {
                watched->view.running = true;
                look(watched);
            }
            write_outside_word(watched->fd, offsetof(struct ledger_outside, command_alive), 0);
            let_go(watched);
        } else {
            end_followed(watched);
        }
    }
}

void watch_free(struct watch *watch)
{
    for (size_t i = 0; i < watch->count; i++) {
        struct watched *watched = watch->items[i];

        let_go(watched);
        if (watched->fd >= 0)
            close(watched->fd);
        kernel_view_free(&watched->view);
        free(watched->path);
        free(watched);
    }
    free(watch->items);
    for (size_t i = 0; i < watch->pending_count; i++)
        free(watch->pending[i]);
    free(watch->pending);
    if (watch->directory && watch->inotify >= 0)
        close(watch->inotify);
    if (watch->directory && watch->lock >= 0)
        close(watch->lock);
    *watch = (struct watch){0};
}
