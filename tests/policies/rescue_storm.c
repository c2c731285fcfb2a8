/*
 * rescue_storm.c: 8 threads map, write, check and unmap at the limit of VMAs, each in its own way,
 * and check every byte that they wrote: what waits to be unmapped is never anybody's, and what is
 * somebody's is never unmapped.
 *
 * Arguments: how many seconds. Each thread has blocks that the kernel placed, next to everybody's,
 * and a stretch of addresses of its own, where it maps with MAP_FIXED, MAP_FIXED_NOREPLACE and
 * mremap over what it has just unmapped. One thread makes room and takes it away again; signal
 * handlers map and unmap, too.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "raw.h"
#include "tests/system/system.h"

#define LIMIT 65530
#define THREADS 8u
#define BLOCKS 300u    /* of a thread */
#define BLOCK_PAGES 9u /* at most */
#define WINDOW_PAGES 64u
#define FILLERS 66000u
#define ROOM 40u /* VMAs, more or less */
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define NOREPLACE 0x100000   /* MAP_FIXED_NOREPLACE */
#define FAR 0x3a0000000000ul /* from where the kernel maps unasked */
#define EVERY_NS 700000      /* a signal */

struct block {
    char *at;
    unsigned pages;
    uint64_t mark; /* of its words, with their number */
};

struct worker {
    pthread_t thread;
    uint64_t random, serial;
    struct block blocks[BLOCKS];
    char *window;
    uint64_t marks[WINDOW_PAGES]; /* 0: not mapped */
    bool unsure[WINDOW_PAGES];    /* a call that maps over it has failed: it may be there */
    uint64_t operations, refused;
};

static struct worker workers[THREADS];
static char *fillers[FILLERS];
static size_t filled;
static volatile bool over;
static pthread_barrier_t all_there; /* before any of them takes what the next one needs */
static volatile uint64_t in_handlers;

static uint64_t next_random(struct worker *worker)
{
    worker->random = worker->random * 6364136223846793005u + 1442695040888963407u;
    return worker->random >> 33;
}

static uint64_t new_mark(struct worker *worker)
{
    return (uint64_t)(worker - workers + 1) << 56 | ++worker->serial << 16;
}

static void write_all(char *at, unsigned pages, uint64_t mark)
{
    uint64_t *words = (uint64_t *)at;
    for (unsigned i = 0; i < pages * PAGE / 8; i++)
        words[i] = mark + i;
}

static void check_all(const char *at, unsigned pages, uint64_t mark, const char *when)
{
    const uint64_t *words = (const uint64_t *)at;
    for (unsigned i = 0; i < pages * PAGE / 8; i++)
        if (words[i] != (mark ? mark + i : 0)) {
            printf("%s: %p + %u is %#lx, not %#lx\n", when, (const void *)at, i * 8, words[i],
                   mark ? mark + i : 0);
            (void)fflush(stdout);
            _exit(1);
        }
}

static void fail_at(const char *what, const void *at)
{
    printf("%s at %p: %s\n", what, at, strerror(errno));
    (void)fflush(stdout);
    _exit(1);
}

/* --- where the kernel likes --- */

static void take_block(struct worker *worker, struct block *block)
{
    block->pages = 1 + (unsigned)(next_random(worker) % BLOCK_PAGES);
    block->at = mmap(NULL, block->pages * PAGE, RW, ANON, -1, 0);
    if (block->at == MAP_FAILED) {
        block->at = NULL;
        if (errno != ENOMEM)
            fail_at("mmap", NULL);
        return;
    }
    check_all(block->at, block->pages, 0, "a new block");
    block->mark = new_mark(worker);
    write_all(block->at, block->pages, block->mark);
}

/* All of it, or its end, or what leaves its two ends as two blocks. */
static void drop_block(struct worker *worker, struct block *block, struct block *other)
{
    uint64_t how = next_random(worker) % 4;
    unsigned first = 0, count = block->pages;
    if (how == 1 && block->pages > 1) {
        first = (unsigned)(next_random(worker) % block->pages);
        count = block->pages - first;
    } else if (how == 2 && block->pages > 2 && !other->at) {
        first = 1;
        count = block->pages - 2;
    }
    check_all(block->at, block->pages, block->mark, "before an unmap");
    errno = EDOM;
    if (munmap(block->at + (size_t)first * PAGE, count * PAGE) != 0) {
        worker->refused++;
        check_all(block->at, block->pages, block->mark, "after a refused unmap");
        return;
    }
    if (errno != EDOM)
        fail_at("munmap changed errno", block->at);
    if (first + count < block->pages) {
        other->at = block->at + (size_t)(first + count) * PAGE;
        other->pages = 1;
        other->mark = block->mark + (first + count) * PAGE / 8;
    }
    block->pages = first;
    if (first == 0)
        block->at = NULL;
}

/* --- in a stretch of its own --- */

static bool window_is(const struct worker *worker, unsigned first, unsigned count, bool mapped)
{
    for (unsigned i = first; i < first + count; i++)
        if ((worker->marks[i] != 0) != mapped)
            return false;
    return true;
}

static void window_check(const struct worker *worker, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++)
        if (worker->marks[i])
            check_all(worker->window + i * PAGE, 1, worker->marks[i], "in a window");
}

static void window_write(struct worker *worker, unsigned first, unsigned count, bool fresh)
{
    for (unsigned i = first; i < first + count; i++) {
        if (fresh)
            check_all(worker->window + i * PAGE, 1, 0, "new in a window");
        worker->marks[i] = new_mark(worker);
        write_all(worker->window + i * PAGE, 1, worker->marks[i]);
    }
}

static void window_doubt(struct worker *worker, unsigned first, unsigned count, bool doubt)
{
    memset(worker->unsure + first, doubt, count);
    for (unsigned i = first; doubt && i < first + count; i++) /* mremap unmaps first, then fails */
        if (raw_syscall3(SYS_msync, worker->window + i * PAGE, PAGE, MS_ASYNC) == -ENOMEM)
            worker->marks[i] = 0;
}

static void use_window(struct worker *worker)
{
    unsigned first = (unsigned)(next_random(worker) % (WINDOW_PAGES - 8));
    unsigned count = 1 + (unsigned)(next_random(worker) % 8);
    char *at = worker->window + first * PAGE, *got;
    window_check(worker, first, count);
    switch (next_random(worker) % 6) {
    case 0: /* over whatever there is */
        got = mmap(at, count * PAGE, RW, ANON | MAP_FIXED, -1, 0);
        if (got == at)
            window_write(worker, first, count, true);
        else if (errno != ENOMEM)
            fail_at("mmap(MAP_FIXED)", at);
        window_doubt(worker, first, count, got != at);
        break;
    case 1:
        got = mmap(at, count * PAGE, RW, ANON | NOREPLACE, -1, 0);
        if (got == at && !window_is(worker, first, count, false))
            fail_at("mmap(MAP_FIXED_NOREPLACE) replaced something", at);
        if (got == at)
            window_write(worker, first, count, true);
        else if (got != MAP_FAILED || (errno != ENOMEM && errno != EEXIST))
            fail_at("mmap(MAP_FIXED_NOREPLACE)", at);
        break;
    case 2: { /* a block moves there */
        char *source = mmap(NULL, count * PAGE, RW, ANON, -1, 0);
        if (source == MAP_FAILED)
            break;
        memset(source, 7, count * PAGE);
        got = mremap(source, count * PAGE, count * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at);
        if (got == at)
            window_write(worker, first, count, false);
        window_doubt(worker, first, count, got != at);
        if (got != at && munmap(source, count * PAGE) != 0)
            worker->refused++;
        break;
    }
    case 3: /* as if it were not mapped */
        if (window_is(worker, first, count, false) &&
            !memchr(worker->unsure + first, true, count) && mprotect(at, count * PAGE, RW) == 0)
            fail_at("mprotect of what is unmapped succeeds", at);
        break;
    default:
        if (munmap(at, count * PAGE) == 0) {
            memset(worker->marks + first, 0, count * sizeof *worker->marks);
            window_doubt(worker, first, count, false);
        } else {
            worker->refused++;
        }
        break;
    }
    window_check(worker, first, count);
}

/* --- what goes on beside it --- */

static void on_signal(int number)
{
    int error = errno;
    (void)number;
    char *at = mmap(NULL, 3 * PAGE, RW, ANON, -1, 0);
    if (at != MAP_FAILED) {
        check_all(at, 3, 0, "new in a handler");
        write_all(at, 3, 42);
        (void)munmap(at + PAGE, PAGE);
        check_all(at, 1, 42, "in a handler");
        (void)munmap(at, PAGE); /* what is between is somebody else's by now */
        (void)munmap(at + 2 * PAGE, PAGE);
        __atomic_add_fetch(&in_handlers, 1, __ATOMIC_RELAXED);
    }
    errno = error;
}

static void change_room(struct worker *worker)
{
    char *at;
    if (next_random(worker) % 2) {
        at = filled < FILLERS
                 ? mmap(NULL, PAGE, filled % 2 ? PROT_READ : PROT_READ | PROT_EXEC, ANON, -1, 0)
                 : MAP_FAILED;
        if (at != MAP_FAILED)
            fillers[filled++] = at;
    } else if (filled && munmap(fillers[filled - 1], PAGE) == 0) {
        filled--;
    }
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    pthread_barrier_wait(&all_there);
    while (!over) {
        struct block *block = &worker->blocks[next_random(worker) % BLOCKS];
        if (next_random(worker) % 4 == 0)
            use_window(worker);
        else if (!block->at)
            take_block(worker, block);
        else
            drop_block(worker, block, &worker->blocks[next_random(worker) % BLOCKS]);
        if (worker == workers)
            change_room(worker);
        worker->operations++;
    }
    for (unsigned i = 0; i < BLOCKS; i++)
        if (worker->blocks[i].at)
            check_all(worker->blocks[i].at, worker->blocks[i].pages, worker->blocks[i].mark,
                      "at the end");
    window_check(worker, 0, WINDOW_PAGES);
    return NULL;
}

static void fill_up(void)
{
    for (;;) {
        char *at = mmap(NULL, PAGE, filled % 2 ? PROT_READ : PROT_READ | PROT_EXEC, ANON, -1, 0);
        if (at == MAP_FAILED || filled == FILLERS)
            break;
        fillers[filled++] = at;
    }
    for (unsigned i = 0; i < ROOM; i++)
        (void)munmap(fillers[--filled], PAGE);
}

static void disturb(unsigned seconds)
{
    struct timespec nap = {0, EVERY_NS};
    uint64_t naps = (uint64_t)seconds * 1000000000u / EVERY_NS;
    struct timespec end, now;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += seconds;
    for (uint64_t i = 0; i < naps; i++) {
        nanosleep(&nap, NULL);
        pthread_kill(workers[i % THREADS].thread, SIGUSR1);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > end.tv_sec)
            break;
    }
    over = true;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    int limit = 0;
    uint64_t operations = 0, refused = 0;
    FILE *stream = fopen("/proc/sys/vm/max_map_count", "r");

    system_start(argc, argv, 0);
    unsigned seconds = system_argc ? (unsigned)strtoul(system_argv[0], NULL, 10) : 5;
    if (!stream || fscanf(stream, "%d", &limit) != 1 || limit != LIMIT)
        system_skip("vm.max_map_count is not 65,530 here");
    fclose(stream);
    alarm(seconds + 60);
    sigaction(SIGUSR1, &action, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i].random = i * 7919 + 12345;
        workers[i].window = (char *)(FAR + i * 0x100000000ul);
    }
    (void)printf("%s", ""); /* its buffer */
    fill_up();
    pthread_barrier_init(&all_there, NULL, THREADS + 1);
    for (unsigned i = 0; i < THREADS; i++)
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            fail_at("pthread_create", NULL);
    pthread_barrier_wait(&all_there);
    disturb(seconds);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        operations += workers[i].operations;
        refused += workers[i].refused;
    }
    while (filled)
        (void)munmap(fillers[--filled], PAGE);
    for (unsigned i = 0; i < 200; i++) /* unmaps, with all the room there is */
        (void)munmap(mmap(NULL, PAGE, PROT_READ, ANON, -1, 0), PAGE);
    printf("%lu operations, %lu in handlers, %lu unmaps refused\n", operations, in_handlers,
           refused);
    (void)fflush(stdout);
    if (system_ledger) {
        struct ledger_view view;
        if (check(ledger_view_open(&view, system_ledger) == 0, "the ledger cannot be read")) {
            printf("rescued %lu, unmapped later %lu, reused %lu, waiting %lu\n",
                   view.header->rescued, view.header->rescue_unmapped, view.header->rescue_reused,
                   view.header->rescue_waiting_ranges);
            check(view.header->rescued > 100 && view.header->rescue_reused > 10,
                  "too little was rescued to show anything");
            check(view.header->rescue_waiting_ranges == 0, "%lu ranges wait, with room",
                  view.header->rescue_waiting_ranges);
            ledger_view_close(&view);
        }
        struct system_difference d = system_compare("at the end", false, true);
        check(d.maps_stale == 0 && d.protections == 0, "%u records are stale", d.maps_stale);
    }
    return system_end();
}
