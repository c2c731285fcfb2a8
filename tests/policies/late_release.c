/*
 * late_release.c: a supervisor that releases all of it itself, in every way there is, a while after
 * it was reclaimed, and 8 threads that meanwhile open files and map memory as fast as they can.
 * Each of them knows its descriptors by their files and its pages by every byte that it wrote: not
 * one may be another's, or gone.
 *
 *     late_release LEDGER DIRECTORY OPERATIONS WAIT_MS
 *     late_release LEDGER DIRECTORY OPERATIONS race SETTLE_MS
 *
 * In a race, several threads release what their sandboxes left at about the time at which it is
 * reclaimed: before, after, and meanwhile.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "policy_test.h"

enum {
    THREADS = 8,
    HELD = 24,           /* things that a thread holds at a time */
    PAGES_MAX = 16,      /* of one of its mappings */
    HEAP_BYTES = 200000, /* more than malloc takes from its heap */
    THREAD_EVERY = 4000, /* operations from one thread's stack to the next */
    RANGE = 4 * PAGE,    /* of a sandbox */
    SETTLED_MS = 20000,  /* for the policy to come round, on a busy machine */
    WATCHDOG_S = 3600,
    PATTERN = 0x5bd1e995, /* any odd number: a different byte for each place */
};

/* --- the threads ------------------------------------------------------------------------------ */

enum thing { NOTHING, MEMFD, OPENED, STREAM, SOCKETS, MAPPED, FILE_MAPPED, HEAP, THINGS };

struct foreign {
    enum thing thing;
    int fd, other;
    uint64_t file, other_file;
    unsigned char *start;
    size_t bytes;
    unsigned seed;
    FILE *stream;
};

struct churner {
    pthread_t thread;
    unsigned number;
    uint64_t random;
    char path[64];
    uint64_t path_file;
    struct foreign held[HELD];
};

static struct churner churners[THREADS];
static _Atomic uint64_t operations;
static _Atomic bool stops;

static unsigned draw(struct churner *churner, unsigned below)
{
    uint64_t x = churner->random; /* xorshift64 */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    churner->random = x;
    return (unsigned)(x >> 33) % below;
}

static unsigned char byte_at(unsigned seed, size_t at)
{
    return (unsigned char)((seed + at) * PATTERN >> 13);
}

static void write_bytes(struct foreign *held)
{
    for (size_t at = 0; at < held->bytes; at++) {
        held->start[at] = byte_at(held->seed, at);
    }
}

static void check_bytes(const struct foreign *held)
{
    for (size_t at = 0; at < held->bytes; at++) {
        if (held->start[at] != byte_at(held->seed, at)) {
            check(false, "%p+%zu of a thread's own memory (%u) was lost", (void *)held->start, at,
                  held->thing);
            return;
        }
    }
}

static void check_fd(const struct foreign *held, int fd, uint64_t file)
{
    uint64_t is = file_of(fd);
    check(is == file, "a thread's own descriptor %d (%u) is %lu, not %lu", fd, held->thing, is,
          file);
}

static void *be_short(void *bytes)
{
    char here[PAGE];
    memset(here, 1, sizeof here);
    __asm__ volatile("" : : "r"(here) : "memory");
    return bytes;
}

static void take(struct churner *churner, struct foreign *held)
{
    int pair[2];
    *held = (struct foreign){.thing = 1 + draw(churner, THINGS - 1),
                             .fd = -1,
                             .other = -1,
                             .seed = draw(churner, 1u << 30)};
    switch (held->thing) {
    case MEMFD:
        held->fd = memfd_create("theirs", MFD_CLOEXEC);
        break;
    case OPENED:
        held->fd = open(churner->path, O_RDONLY | O_CLOEXEC);
        break;
    case STREAM:
        held->stream = fopen(churner->path, "re");
        held->fd = held->stream ? fileno(held->stream) : -1;
        break;
    case SOCKETS:
        check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "socketpair: %s",
              strerror(errno));
        held->fd = pair[0];
        held->other = pair[1];
        held->other_file = file_of(held->other);
        break;
    case FILE_MAPPED:
    case MAPPED:
        held->bytes = (1 + draw(churner, PAGES_MAX)) * PAGE;
        if (held->thing == FILE_MAPPED) {
            held->bytes = PAGE;
            held->fd = memfd_create("theirs", MFD_CLOEXEC);
            check(ftruncate(held->fd, PAGE) == 0, "ftruncate: %s", strerror(errno));
        }
        held->start = mmap(NULL, held->bytes, PROT_READ | PROT_WRITE,
                           held->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, held->fd, 0);
        if (!check(held->start != MAP_FAILED, "mmap: %s", strerror(errno))) {
            held->thing = NOTHING;
            return;
        }
        write_bytes(held);
        break;
    default: /* libc's own mmap, which no wrapper sees */
        held->bytes = HEAP_BYTES;
        held->start = malloc(held->bytes);
        write_bytes(held);
        break;
    }
    held->file = file_of(held->fd);
    check(held->file != 0 || held->fd < 0, "descriptor %d is not open: %s", held->fd,
          strerror(errno));
    if (held->thing == OPENED || held->thing == STREAM) {
        check(held->file == churner->path_file, "descriptor %d is not what was opened", held->fd);
    }
}

static void look_at(const struct foreign *held)
{
    if (held->fd >= 0) {
        check_fd(held, held->fd, held->file);
    }
    if (held->other >= 0) {
        check_fd(held, held->other, held->other_file);
    }
    check_bytes(held);
}

static void give_back(struct foreign *held)
{
    look_at(held);
    if (held->thing == MAPPED || held->thing == FILE_MAPPED) {
        check(munmap(held->start, held->bytes) == 0, "munmap: %s", strerror(errno));
    } else if (held->thing == HEAP) {
        free(held->start);
    }
    if (held->stream != NULL) {
        check(fclose(held->stream) == 0, "fclose: %s", strerror(errno));
    } else if (held->fd >= 0) {
        check(close(held->fd) == 0, "close(%d): %s", held->fd, strerror(errno));
    }
    if (held->other >= 0) {
        check(close(held->other) == 0, "close(%d): %s", held->other, strerror(errno));
    }
    held->thing = NOTHING;
}

static void *churn(void *argument)
{
    struct churner *churner = argument;
    for (unsigned turn = 1; !stops; turn++) {
        struct foreign *held = &churner->held[draw(churner, HELD)];
        if (held->thing == NOTHING) {
            take(churner, held);
        } else if (draw(churner, 3) == 0) {
            look_at(held);
        } else {
            give_back(held);
        }
        if (turn % THREAD_EVERY == 0) {
            pthread_t thread;
            check(pthread_create(&thread, NULL, be_short, churner) == 0, "a thread");
            pthread_join(thread, NULL);
        }
        operations++;
    }
    for (unsigned i = 0; i < HELD; i++) {
        if (churner->held[i].thing != NOTHING) {
            give_back(&churner->held[i]);
        }
    }
    return NULL;
}

static void start_churning(const char *directory)
{
    for (unsigned i = 0; i < THREADS; i++) {
        struct churner *churner = &churners[i];
        churner->number = i;
        churner->random = 88172645463325252u + i;
        snprintf(churner->path, sizeof churner->path, "%s/of-%u", directory, i);
        int fd = open(churner->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        churner->path_file = file_of(fd);
        check(fd >= 0 && close(fd) == 0, "%s: %s", churner->path, strerror(errno));
        check(pthread_create(&churner->thread, NULL, churn, churner) == 0, "a thread");
    }
}

/* --- what the sandboxes leave, and the supervisor releases late --------------------------------
 */

enum way {
    BY_CLOSE,
    BY_SYSCALL,
    BY_CLOSE_RANGE,
    BY_DUP2_OVER,
    BY_DUP3_OVER,
    BY_FCLOSE,
    BY_CLOSEDIR,
    AFTER_A_FORK, /* its copy in a child was closed first; likewise */
    AFTER_A_VFORK,
    IN_A_HANDLER,
    BY_INLINE,
    WAYS
};

enum unmapping {
    WHOLE,
    WHOLE_BY_SYSCALL,
    FRONT_FIRST,
    MIDDLE_FIRST,
    SPANNING, /* this one and the next, which lies above it */
    SPANNED,
    SHRUNK,
    MAPPED_OVER,
    REMAPPED_OVER,
    INLINE_UNMAPPED,
    UNMAPPINGS
};

enum { SANDBOXES = 6 }; /* of a round, each with one of every way */

struct left {
    int fd[WAYS];
    FILE *stream;
    DIR *listing;
    unsigned char *range[UNMAPPINGS];
};
static struct left left[SANDBOXES];
static _Thread_local int handlers_fd; /* thread-local: raise() stays in its thread */

static const char *directory;

static int make_fd(enum way way, struct left *one)
{
    int pair[2], fd;
    switch (way) {
    case BY_FCLOSE:
        one->stream = fopen(churners[0].path, "re");
        return one->stream ? fileno(one->stream) : -1;
    case BY_CLOSEDIR:
        one->listing = opendir(directory);
        return one->listing ? dirfd(one->listing) : -1;
    case BY_SYSCALL:
    case AFTER_A_FORK:
        return open(churners[0].path, O_RDONLY | O_CLOEXEC);
    case BY_DUP2_OVER:
    case IN_A_HANDLER:
        return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    case BY_CLOSE_RANGE:
        if (pipe2(pair, O_CLOEXEC) != 0) {
            return -1;
        }
        close(pair[1]);
        return pair[0];
    default:
        fd = memfd_create("left", MFD_CLOEXEC);
        return fd;
    }
}

static void leave_fd(enum way way, struct left *one)
{
    one->fd[way] = make_fd(way, one);
    check(one->fd[way] >= 0, "way %u: %s", way, strerror(errno));
    end_with_fd(one->fd[way]);
}

static void leave_range(enum unmapping way, struct left *one)
{
    unsigned char *start;
    if (way == SPANNED) {
        one->range[way] = one->range[SPANNING] + RANGE;
        end_with_range(one->range[way], RANGE);
        return;
    }
    start = mmap(NULL, way == SPANNING ? 2 * RANGE : RANGE, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(start != MAP_FAILED, "mmap: %s", strerror(errno));
    memset(start, 1, RANGE);
    one->range[way] = start;
    end_with_range(start, RANGE);
}

static void on_signal(int signal)
{
    (void)signal;
    check(close(handlers_fd) == 0, "a late close in a handler: %s", strerror(errno));
}

/* What a number is once its supervisor has put a file of its own there. */
static void close_what_is_mine(int fd, uint64_t file)
{
    check(file_of(fd) == file, "descriptor %d is not what was duplicated there", fd);
    check(close(fd) == 0, "close(%d): %s", fd, strerror(errno));
}

static void release_fd(enum way way, struct left *one)
{
    int fd = one->fd[way], own, status = -1;
    pid_t pid;
    int result = 0;
    switch (way) {
    case BY_SYSCALL:
        result = (int)syscall(SYS_close, fd);
        break;
    case BY_CLOSE_RANGE:
        result = (int)syscall(SYS_close_range, fd, fd, 0);
        break;
    case BY_DUP2_OVER:
    case BY_DUP3_OVER:
        own = memfd_create("own", MFD_CLOEXEC);
        result = way == BY_DUP2_OVER ? dup2(own, fd) : dup3(own, fd, O_CLOEXEC);
        check(result == fd, "dup over %d: %d, %s", fd, result, strerror(errno));
        result = 0;
        close_what_is_mine(fd, file_of(own));
        close(own);
        break;
    case BY_FCLOSE:
        result = fclose(one->stream);
        break;
    case BY_CLOSEDIR:
        result = closedir(one->listing);
        break;
    case AFTER_A_FORK:
        pid = fork();
        if (pid == 0) {
            _exit(close(fd) != 0);
        }
        check(waitpid(pid, &status, 0) == pid && status == 0, "close in a child: %#x", status);
        result = close(fd);
        break;
    case AFTER_A_VFORK:
        pid = vfork();
        if (pid == 0) {
            _exit(close(fd) != 0);
        }
        check(waitpid(pid, &status, 0) == pid && status == 0, "close in a vfork: %#x", status);
        result = close(fd);
        break;
    case IN_A_HANDLER:
        handlers_fd = fd;
        raise(SIGUSR1);
        break;
    case BY_INLINE:
        result = (int)raw(SYS_close, fd);
        break;
    default:
        result = close(fd);
        break;
    }
    check(result == 0, "late release %u of descriptor %d: %s", way, fd, strerror(errno));
}

/* The program's own memory is there now: nobody may take it for what was reclaimed. */
static void use_and_unmap(unsigned char *start, const char *how)
{
    mark_pages(start, RANGE, (uintptr_t)start);
    sleep_ms(1);
    check(has_marks(start, RANGE, (uintptr_t)start), "what came over %p by %s is gone: %s there",
          (void *)start, how,
          is_reserved(start, RANGE) ? "no access"
          : is_mapped(start, RANGE) ? "something else is"
                                    : "nothing is");
    check(munmap(start, RANGE) == 0, "munmap: %s", strerror(errno));
}

static void release_range(enum unmapping way, struct left *one)
{
    unsigned char *start = one->range[way], *over;
    int result = 0;
    switch (way) {
    case WHOLE_BY_SYSCALL:
        result = (int)syscall(SYS_munmap, start, RANGE);
        break;
    case FRONT_FIRST:
        result = munmap(start, PAGE) | munmap(start + PAGE, RANGE - PAGE);
        break;
    case MIDDLE_FIRST:
        result = munmap(start + PAGE, PAGE) | munmap(start, PAGE) |
                 munmap(start + 2 * PAGE, RANGE - 2 * PAGE);
        break;
    case SPANNING:
        result = munmap(start, 2 * RANGE);
        break;
    case SPANNED:
        return;
    case SHRUNK:
        check(mremap(start, RANGE, PAGE, 0) == start, "mremap: %s", strerror(errno));
        result = munmap(start, PAGE);
        break;
    case MAPPED_OVER:
        over = mmap(start, RANGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                    -1, 0);
        check(over == start, "MAP_FIXED: %s", strerror(errno));
        use_and_unmap(start, "mmap");
        break;
    case REMAPPED_OVER:
        over = mmap(NULL, RANGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        check(mremap(over, RANGE, RANGE, MREMAP_MAYMOVE | MREMAP_FIXED, start) == start,
              "mremap over %p: %s", (void *)start, strerror(errno));
        use_and_unmap(start, "mremap");
        break;
    case INLINE_UNMAPPED:
        result = (int)raw(SYS_munmap, start, RANGE);
        break;
    default:
        result = munmap(start, RANGE);
        break;
    }
    check(result == 0, "late unmap %u of %p: %s", way, (void *)start, strerror(errno));
}

static void round_of_sandboxes(unsigned wait_ms)
{
    struct policy_counts before = policy_counts();
    for (unsigned i = 0; i < SANDBOXES; i++) {
        for (enum way way = 0; way < WAYS; way++) {
            leave_fd(way, &left[i]);
        }
        for (enum unmapping way = 0; way < UNMAPPINGS; way++) {
            leave_range(way, &left[i]);
        }
    }
    uint64_t fds = before.reclaimed_fds + (uint64_t)SANDBOXES * WAYS;
    uint64_t mappings = before.reclaimed_mappings + (uint64_t)SANDBOXES * UNMAPPINGS;
    if (!until_reclaimed(fds, mappings, SETTLED_MS)) {
        struct policy_counts now = policy_counts();
        check(false, "reclaimed: %lu of %lu descriptors, %lu of %lu mappings", now.reclaimed_fds,
              fds, now.reclaimed_mappings, mappings);
    }
    sleep_ms(wait_ms);
    for (unsigned i = 0; i < SANDBOXES; i++) {
        for (enum way way = 0; way < WAYS; way++) {
            release_fd(way, &left[i]);
        }
        for (enum unmapping way = 0; way < UNMAPPINGS; way++) {
            release_range(way, &left[i]);
        }
    }
    struct policy_counts after = policy_counts();
    check(system_ledger == NULL || after.late_releases > before.late_releases,
          "no release was late: %lu", after.late_releases);
}

/* --- at the very moment ------------------------------------------------------------------------
 */

enum { RACERS = 3, TIMES = 3 }; /* settling times within which all is released */

static uint64_t race_settle_ms;

/* Nobody can tell what is closed unseen at that moment from what is not: those ways are left out.
 */
static void *race(void *argument)
{
    struct left mine;
    uint64_t random = (uintptr_t)argument + 1;
    while (!stops) {
        for (enum way way = 0; way < BY_INLINE; way++) {
            leave_fd(way, &mine);
        }
        for (enum unmapping way = 0; way < INLINE_UNMAPPED; way++) {
            leave_range(way, &mine);
        }
        random = random * 6364136223846793005u + 1442695040888963407u; /* Knuth, MMIX */
        sleep_ms((unsigned)((random >> 33) % (TIMES * race_settle_ms)));
        for (enum way way = 0; way < BY_INLINE; way++) {
            release_fd(way, &mine);
        }
        for (enum unmapping way = 0; way < INLINE_UNMAPPED; way++) {
            release_range(way, &mine);
        }
    }
    return NULL;
}

static void run_race(uint64_t enough)
{
    pthread_t racers[RACERS];
    for (uintptr_t i = 0; i < RACERS; i++) {
        check(pthread_create(&racers[i], NULL, race, (void *)i) == 0, "a thread");
    }
    while (operations < enough) {
        go_on_for(1); /* so that there is somebody who looks */
    }
    stops = true;
    for (unsigned i = 0; i < RACERS; i++) {
        pthread_join(racers[i], NULL);
    }
    struct policy_counts counts = policy_counts();
    check(system_ledger == NULL || (counts.reclaimed_fds > 0 && counts.late_releases > 0),
          "%lu were reclaimed, %lu released late: no race", (unsigned long)counts.reclaimed_fds,
          (unsigned long)counts.late_releases);
}

int main(int argc, char **argv)
{
    system_start(argc, argv, WATCHDOG_S);
    bool races = system_argc == 4 && strcmp(system_argv[2], "race") == 0;
    if (system_argc != 3 && !races) {
        return 2;
    }
    directory = system_argv[0];
    uint64_t enough = strtoull(system_argv[1], NULL, 10);
    unsigned wait_ms = (unsigned)strtoul(system_argv[2], NULL, 10);
    race_settle_ms = races ? strtoull(system_argv[3], NULL, 10) : 0;
    mallopt(M_MMAP_THRESHOLD, HEAP_BYTES / 2);
    signal(SIGUSR1, on_signal);
    start_churning(directory);
    unsigned rounds = 0;
    if (races) {
        run_race(enough);
    }
    while (operations < enough) {
        round_of_sandboxes(wait_ms);
        rounds++;
    }
    stops = true;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(churners[i].thread, NULL);
    }
    go_on_for(200);
    struct system_difference d = system_compare("at the end", true, false);
    unsigned unseen = SANDBOXES * rounds; /* inline calls: at the most so many are still recorded */
    check(d.fds_missing == 0 && d.protections == 0, "%u descriptors not recorded, %u protections",
          d.fds_missing, d.protections);
    check(d.fds_stale <= unseen && d.maps_stale <= unseen, "%u descriptors, %u mappings are gone",
          d.fds_stale, d.maps_stale);
    struct policy_counts counts = policy_counts();
    printf(
        "%lu operations, %u rounds; reclaimed %lu descriptors, %lu mappings; %lu late releases\n",
        (unsigned long)operations, rounds, (unsigned long)counts.reclaimed_fds,
        (unsigned long)counts.reclaimed_mappings, (unsigned long)counts.late_releases);
    return system_end();
}
