/*
 * neighbours.c: many sandboxes map one-page regions in turn, then every second one ends.
 *
 *   neighbours LEDGER OWNERS ROUNDS THREADS MODE
 *
 * Each region is a stranger's neighbour unless something keeps them apart. MODE "apart" demands
 * that something does: at most two VMAs a sandbox at every moment (one for code, one for all
 * else), no unmap that makes VMAs more, and nothing left in the end. MODE "merged" says, in one
 * line, what happens without, and fails unless strangers do get merged. VMAs are counted by the
 * kernel.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../system/system.h"
#include "boxledger.h"

enum {
    VMAS_MAX = 70000,
    OWNERS_MAX = 4000,
    ROUNDS_MAX = 64,
    THREADS_MAX = 16,
    CODE_EVERY = 4,   /* rounds */
    LOOKS = 16,       /* within a round: one look reads all of /proc/self/maps */
    CLOSE_LOOKS = 40, /* sandboxes that are looked at after each unmap */
    SLACK = 8,        /* VMAs that are the ledger's own, or libc's */
};

struct box {
    boxledger_owner owner;
    char *page[ROUNDS_MAX];
};

static struct box boxes[OWNERS_MAX];
static unsigned owners, rounds, threads, round_now;
static bool apart, fresh; /* no sandbox has anything yet but those that had their turn */
static struct kernel_range *ranges;
static long base, most;

static long vmas(void)
{
    long count = kernel_view_maps(ranges, VMAS_MAX);
    check(count > 0, "/proc/self/maps cannot be read: %ld", count);
    return count;
}

/* With so many sandboxes begun. */
static void look(unsigned begun, const char *when)
{
    long count = vmas() - base;
    most = count > most ? count : most;
    if (apart) {
        check(count <= 2 * (long)begun + SLACK, "%s: %ld VMAs of %u sandboxes", when, count, begun);
    }
}

static void map_page(struct box *box, unsigned round)
{
    int prot = round % CODE_EVERY == 0 ? PROT_READ | PROT_EXEC : PROT_READ | PROT_WRITE;
    boxledger_enter(box->owner);
    box->page[round] = mmap(NULL, PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    boxledger_leave(box->owner);
    check(box->page[round] != MAP_FAILED, "mmap");
    if (prot & PROT_WRITE) {
        memset(box->page[round], (int)round + 1, PAGE);
    }
}

/* All that it has, in the order in which it was mapped; the number of unmaps that made VMAs more,
 * if they are to be counted. */
static unsigned end_box(struct box *box, bool counted)
{
    unsigned splits = 0;
    for (unsigned round = 0; round < rounds; round++) {
        long before = counted ? vmas() : 0;
        check(munmap(box->page[round], PAGE) == 0, "munmap");
        splits += counted && vmas() > before;
    }
    check(boxledger_end(box->owner) == 0, "boxledger_end");
    box->owner = 0;
    return splits;
}

static void begin_box(unsigned number)
{
    char label[32];
    snprintf(label, sizeof label, "box %u", number);
    boxes[number].owner = boxledger_begin(label);
    check(boxes[number].owner != 0, "boxledger_begin");
}

/* In turn, by as many threads as there are, each with sandboxes of its own. */
static void *map_turns(void *argument)
{
    unsigned self = (unsigned)(uintptr_t)argument;
    for (unsigned number = self; rounds && number < owners; number += threads) {
        if (boxes[number].page[round_now] == NULL) {
            map_page(&boxes[number], round_now);
        }
        if (threads == 1 && number % (owners / LOOKS + 1) == 0) {
            look(fresh ? number + 1 : owners, "while mapping");
        }
    }
    return NULL;
}

static void map_round(unsigned round)
{
    pthread_t thread[THREADS_MAX];
    round_now = round;
    for (unsigned i = 1; i < threads; i++) {
        check(pthread_create(&thread[i], NULL, map_turns, (void *)(uintptr_t)i) == 0, "a thread");
    }
    map_turns(NULL);
    for (unsigned i = 1; i < threads; i++) {
        pthread_join(thread[i], NULL);
    }
}

static void map_all(void)
{
    for (unsigned round = 0; round < rounds; round++) {
        map_round(round);
        fresh = false;
        look(owners, "after a round");
    }
}

static unsigned end_every(unsigned first, unsigned step)
{
    unsigned splits = 0;
    for (unsigned number = first; number < owners; number += step) {
        splits += end_box(&boxes[number], (number - first) / step < CLOSE_LOOKS);
        memset(boxes[number].page, 0, sizeof boxes[number].page);
        if ((number - first) / step % (owners / LOOKS + 1) == 0) {
            look(owners, "while sandboxes end");
        }
    }
    look(owners, "after sandboxes ended");
    return splits;
}

static void check_bytes(void)
{
    for (unsigned number = 0; number < owners; number++) {
        for (unsigned round = 0; round < rounds; round++) {
            char *page = boxes[number].page[round];
            if (page && round % CODE_EVERY) {
                check(page[0] == (char)(round + 1) && page[PAGE - 1] == (char)(round + 1),
                      "page %u of sandbox %u is not what it was", round, number);
            }
        }
    }
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 100);
    if (system_argc != 4) {
        fprintf(stderr, "usage: neighbours LEDGER OWNERS ROUNDS THREADS apart|merged\n");
        return 2;
    }
    owners = (unsigned)atoi(system_argv[0]);
    rounds = (unsigned)atoi(system_argv[1]);
    threads = (unsigned)atoi(system_argv[2]);
    apart = strcmp(system_argv[3], "apart") == 0;
    if (owners > OWNERS_MAX || rounds > ROUNDS_MAX || threads > THREADS_MAX) {
        return 2;
    }
    ranges = kernel_view_memory(VMAS_MAX * sizeof *ranges);
    if (threads > 1) { /* libc keeps the stacks of threads that ended: now, before the count */
        unsigned all = rounds;
        rounds = 0;
        map_round(0);
        rounds = all;
    }
    base = vmas();

    for (unsigned number = 0; number < owners; number++) {
        begin_box(number);
    }
    fresh = true;
    map_all();
    long mapped = vmas() - base;
    unsigned splits = end_every(1, 2);
    long ended = vmas() - base;
    check_bytes();

    /* Those that come now get the windows of those that went, and are strangers all the same. */
    for (unsigned number = 1; number < owners; number += 2) {
        begin_box(number);
    }
    map_all();
    check_bytes();
    splits += end_every(0, 2);
    splits += end_every(1, 2);
    long left = vmas() - base;

    if (apart) {
        check(splits == 0, "%u unmaps split a VMA", splits);
        check(left <= SLACK, "%ld VMAs are left", left);
    } else {
        printf("merged: %u sandboxes of %u pages are %ld VMAs; after every second has ended %ld; "
               "%u of %u unmaps looked at split one\n",
               owners, rounds, mapped, ended, splits, 3 * CLOSE_LOOKS * rounds);
        check(splits > 0 && ended > mapped, "strangers were not merged: this shows nothing");
    }
    return system_end();
}
