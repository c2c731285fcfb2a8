/*
 * growth.c: supervisors whose sandboxes leave nothing that could be tied to one. Some leak all the
 * same, from a thread that serves them all; others only seem to, and must not be accused. They exit
 * as they are, with everything that they hold.
 *
 *     --scenario=NAME --count=N [--order=child|api|mark]     what a sandbox is; mark: there is none
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "boxledger.h"
#include "supervise.h"

enum {
    CACHE = 500,
    SWEPT_EVERY = 100,
    DAY = 200,
    POOL = 8,
    LIVE_MAX = 40,
    RAMP = 4, /* ends for each further sandbox at a time */
    THREADS = 24,
    STACK = 256 * 1024,
    LEAKS_OFTEN = 7,
    LEAKS_SELDOM = 5,
};

/* --- what takes ------------------------------------------------------------------------------- */

TAKES static int take_maintenance_eventfd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static void *take_maintenance_mapping(void)
{
    void *start = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NOT_LAST();
    return start;
}

TAKES static int take_cache_entry(void)
{
    int fd = memfd_create("cache", MFD_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static int take_pooled(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static void *take_heap(void)
{
    void *start = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NOT_LAST();
    return start;
}

TAKES static int open_log(void)
{
    int fd = open("/dev/null", O_WRONLY | O_APPEND | O_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static void *take_stack(void)
{
    void *start =
        mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    NOT_LAST();
    return start;
}

TAKES static void take_live_pipe(int pair[2])
{
    if (pipe2(pair, O_CLOEXEC) != 0) {
        give_up("a pipe");
    }
    NOT_LAST();
}

TAKES static int take_live_pidfd(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    NOT_LAST();
    return fd;
}

TAKES static int take_live_eventfd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    NOT_LAST();
    return fd;
}

static int must_have(int fd)
{
    if (fd < 0) {
        give_up("a descriptor");
    }
    return fd;
}

/* --- sandboxes -------------------------------------------------------------------------------- */

static void one_sandbox(void)
{
    if (run.order != NULL && strcmp(run.order, "api") == 0) {
        boxledger_end(boxledger_begin(NULL));
    } else if (run.order != NULL && strcmp(run.order, "mark") == 0) {
        boxledger_mark();
    } else {
        pid_t pid = fork();
        if (pid == 0) {
            _exit(0);
        }
        if (pid < 0 || waitpid(pid, NULL, 0) != pid) {
            give_up("a child");
        }
    }
}

/* --- what the thread beside them does after each ------------------------------------------------
 */

static void leak(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        must_have(take_maintenance_eventfd());
    }
}

static void leak_seldom(void *number)
{
    leak(*(unsigned *)number % LEAKS_SELDOM == 0);
}

static void leak_once(void *number)
{
    (void)number;
    leak(1);
}

static void leak_often(void *number)
{
    (void)number;
    leak(LEAKS_OFTEN);
}

static void leak_by_chance(void *number)
{
    (void)number;
    leak(draw_global(LEAKS_SELDOM) == 0);
}

static void leak_mapping(void *number)
{
    (void)number;
    if (take_maintenance_mapping() == MAP_FAILED) {
        give_up("a mapping");
    }
}

static void fill_cache(void *number)
{
    if (*(unsigned *)number < CACHE) {
        must_have(take_cache_entry());
    }
}

static void use_pool(void *number)
{
    static int there[POOL]; /* process-global: the pool, as large as it was ever needed */
    (void)number;
    unsigned needed = 1 + draw_global(POOL);
    for (unsigned i = 0; i < needed; i++) {
        if (there[i] == 0) {
            there[i] = must_have(take_pooled());
        }
    }
}

static void use_heap(void *number)
{
    static void *garbage[SWEPT_EVERY]; /* process-global: until it is swept */
    unsigned i = *(unsigned *)number % SWEPT_EVERY;
    if (i == 0) {
        for (unsigned k = 0; k < SWEPT_EVERY; k++) {
            if (garbage[k] != NULL) {
                munmap(garbage[k], PAGE);
            }
        }
    }
    garbage[i] = take_heap();
}

static void rotate_log(void *number)
{
    static int log = -1; /* process-global: today's */
    if (*(unsigned *)number % DAY == 0) {
        int tomorrow = must_have(open_log());
        if (log >= 0) {
            close(log);
        }
        log = tomorrow;
    }
}

static void keep_logs(void *number)
{
    if (*(unsigned *)number % DAY == 0) {
        must_have(open_log());
    }
}

/* --- a thread pool on stacks of its own ---------------------------------------------------------
 */

static void *idle(void *unused)
{
    (void)unused;
    pause();
    return NULL;
}

/* It grows while the first sandboxes ask for more, and then stays. */
static void grow_threads(void *number)
{
    pthread_attr_t attributes;
    pthread_t thread;
    if (*(unsigned *)number >= THREADS) {
        return;
    }
    void *stack = take_stack();
    pthread_attr_init(&attributes);
    if (stack == MAP_FAILED || pthread_attr_setstack(&attributes, stack, STACK) != 0 ||
        pthread_create(&thread, &attributes, idle, NULL) != 0) {
        give_up("a thread");
    }
    pthread_attr_destroy(&attributes);
}

/* --- more and more sandboxes at a time ----------------------------------------------------------
 */

struct live {
    pid_t pid;
    int pipe, pidfd, event;
};

static void take_live_on_worker(void *live)
{
    ((struct live *)live)->event = must_have(take_live_eventfd());
}

static void start_live(struct live *live)
{
    int pair[2];
    char byte;
    take_live_pipe(pair);
    live->pid = fork();
    if (live->pid == 0) {
        close(pair[1]);
        _exit(read(pair[0], &byte, 1) != 1);
    }
    close(pair[0]);
    live->pipe = pair[1];
    live->pidfd = must_have(take_live_pidfd(live->pid));
    run_on_worker(take_live_on_worker, live);
}

static void end_live(const struct live *live)
{
    if (write(live->pipe, "e", 1) != 1 || waitpid(live->pid, NULL, 0) != live->pid) {
        give_up("a child's end");
    }
    close(live->pipe);
    close(live->pidfd);
    close(live->event);
}

static int ramp_up(unsigned count, bool stays)
{
    struct live live[LIVE_MAX];
    unsigned first = 0, next = 0;
    for (unsigned ended = 0; ended < count; ended++) {
        unsigned target = 2 + ended / RAMP < LIVE_MAX ? 2 + ended / RAMP : LIVE_MAX;
        while (next - first < target) {
            start_live(&live[next++ % LIVE_MAX]);
        }
        end_live(&live[first++ % LIVE_MAX]);
    }
    while (!stays && first < next) {
        end_live(&live[first++ % LIVE_MAX]);
    }
    return 0; /* those that stay read an end of file, and go */
}

int supervise_growth(const char *scenario, unsigned count)
{
    static const struct {
        const char *name;
        void (*after_each)(void *number);
    } scenarios[] = {
        {"leak-seldom", leak_seldom},
        {"leak-once", leak_once},
        {"leak-often", leak_often},
        {"leak-by-chance", leak_by_chance},
        {"leak-mapping", leak_mapping},
        {"cache", fill_cache},
        {"pool", use_pool},
        {"heap", use_heap},
        {"daily-log", rotate_log},
        {"daily-log-kept", keep_logs},
        {"thread-pool", grow_threads},
    };
    if (strcmp(scenario, "ramp-up") == 0 || strcmp(scenario, "ramp-up-and-down") == 0) {
        return ramp_up(count, strcmp(scenario, "ramp-up") == 0);
    }
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(scenarios[i].name, scenario) == 0) {
            for (unsigned number = 0; number < count; number++) {
                one_sandbox();
                run_on_worker(scenarios[i].after_each, &number);
            }
            return 0;
        }
    }
    fprintf(stderr, "supervise: no such scenario: %s\n", scenario);
    return 2;
}
