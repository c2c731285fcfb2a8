/*
 * filtered_thread.c: a thread that may do nothing but close, mmap, munmap, write and exit_group,
 * on pain of death, does 100,000 maps, so that the ledger would like to grow (promise 1: no
 * system call that the program did not ask for). What found no room must be counted.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system.h"

#define MAPS 100000

static char *maps[MAPS];
static int fds[100], report[2];
static atomic_int phase; /* of the two threads' conversation */

static void await(int value)
{
    while (phase != value) /* no futex: the filter forbids it */
        ;
}

static void *filtered(void *unused)
{
    (void)unused;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close, 5, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_munmap, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        phase = -1;
        return NULL;
    }
    for (int i = 0; i < MAPS; i++)
        maps[i] = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 100; i += 2)
        close(fds[i]);
    phase = 1;
    await(2);
    for (int i = 0; i < MAPS; i++)
        munmap(maps[i], PAGE);
    (void)!write(report[1], "x", 1);
    phase = 3;
    for (;;) /* it may not even exit by itself */
        ;
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 60);
    pthread_t thread;
    struct ledger_view view;
    char byte;

    (void)!pipe(report);
    for (int i = 0; i < 100; i++)
        fds[i] = dup(2);
    pthread_create(&thread, NULL, filtered, NULL);
    while (phase == 0)
        usleep(1000);
    if (phase == -1)
        system_skip("seccomp filters cannot be installed here");
    if (system_ledger && check(ledger_view_open(&view, system_ledger) == 0, "no ledger")) {
        static const struct ledger_mapping *records[200000];
        size_t n = ledger_view_mappings(&view, records, 200000), mine = 0;
        for (size_t i = 0; i < n && i < 200000; i++)
            if (!(records[i]->flags & LEDGER_INHERITED) &&
                records[i]->end - records[i]->start == PAGE)
                mine++;
        printf("%zu of %d mappings recorded, %lu missed, incomplete %#x\n", mine, MAPS,
               (unsigned long)view.header->missed_records, view.header->incomplete);
        check(mine + view.header->missed_records + view.header->lost_events >= MAPS,
              "mappings are missing and nobody says so");
        if (mine < MAPS)
            check(view.header->incomplete != 0, "an incomplete ledger does not say so");
        ledger_view_close(&view);
    }
    struct system_difference d = system_compare("held", true, true);
    check(d.fds_stale == 0 && d.fds_missing == 0 && d.maps_stale == 0,
          "%u descriptors missing, %u stale, %u mappings stale", d.fds_missing, d.fds_stale,
          d.maps_stale);
    phase = 2;
    check(read(report[0], &byte, 1) == 1, "the filtered thread says nothing");
    while (phase != 3)
        usleep(1000);
    d = system_compare("released", true, true);
    check(d.fds_stale == 0 && d.fds_missing == 0 && d.maps_stale == 0,
          "%u descriptors missing, %u stale, %u mappings stale after all was released",
          d.fds_missing, d.fds_stale, d.maps_stale);
    int status = system_end();
    fflush(stdout);
    _exit(status);
}
