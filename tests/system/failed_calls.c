/*
 * failed_calls.c: what the ledger says after calls that fail (promise 2). A refused munmap puts
 * its range back; a close refused by a filter its descriptor; after a failed fixed map, a failed
 * MREMAP_FIXED and a half-done mprotect the kernel is asked. A double close is noted with the
 * stack that closed first.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "system.h"
#include "workload.h"

static char *kept_map; /* by the last filtered thread */

static void *filtered(void *error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_munmap, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)(intptr_t)error),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    char *map = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = dup(2);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        return NULL;
    check(close(fd) == -1 && errno == (int)(intptr_t)error, "the filter let a close through");
    check(munmap(map, PAGE) == -1 && errno == (int)(intptr_t)error, "the filter let it through");
    kept_map = map;
    return (void *)(intptr_t)fd;
}

static void filters(void)
{
    static const int errors[] = {EPERM, ENOSYS};
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        void *fd;
        pthread_create(&thread, NULL, filtered, (void *)(intptr_t)errors[i]);
        pthread_join(thread, &fd);
        if (fd == NULL)
            return; /* no filters here; the rest still counts */
        check(is_recorded((int)(intptr_t)fd), "a close refused with errno %d removed the record",
              errors[i]);
        expect_recorded(kept_map, PAGE, true, "after a munmap that a filter refused");
    }
    expect_exact("after refused closes");
}

static void ranges(void)
{
    char *base =
        mmap((void *)0x310000000000, 64 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = open("/proc/self/exe", O_RDONLY), memory = memfd_create("sealed", 0);

    check(munmap(base + 1, PAGE) == -1, "unaligned");
    check(munmap(base, 0) == -1, "empty");
    expect_recorded(base, 64 * PAGE, true, "after refused munmaps");
    check(mmap(base, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, 9999, 0) == MAP_FAILED, "EBADF");
    check(mmap(base + PAGE, PAGE, PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED,
          "EACCES");
    check(mmap(base + 1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
              MAP_FAILED,
          "EINVAL");
    check(mmap(base, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
              MAP_FAILED,
          "EEXIST");
    int pipes[2];
    check(pipe(pipes) == 0, "no pipe");
    check(mmap(base + 2 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, pipes[0], 0) ==
              MAP_FAILED,
          "ENODEV");
    /* A TCP socket may not be mapped writable, and says so when what was there is gone. */
    int tcp = socket(AF_INET, SOCK_STREAM, 0);
    check(mmap(base + 3 * PAGE, PAGE, PROT_WRITE, MAP_SHARED | MAP_FIXED, tcp, 0) == MAP_FAILED,
          "EPERM");
    close(tcp);
    unsigned char in_core;
    expect_recorded(base + 3 * PAGE, PAGE, raw(SYS_mincore, base + 3 * PAGE, PAGE, &in_core) == 0,
                    "after a fixed map that failed late");
    expect_exact("after refused fixed maps");
    struct rlimit space, none;
    getrlimit(RLIMIT_AS, &space);
    none = space;
    none.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_AS, &none);
    check(mmap(base + 4 * PAGE, 64 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
               0) == MAP_FAILED,
          "ENOMEM");
    check(mremap(base + 8 * PAGE, PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
                 base + 16 * PAGE) == MAP_FAILED,
          "a remap over the limit");
    setrlimit(RLIMIT_AS, &space);
    expect_exact("after maps refused by RLIMIT_AS");
    munmap(base + 20 * PAGE, 2 * PAGE);
    check(mprotect(base + 18 * PAGE, 6 * PAGE, PROT_READ | PROT_WRITE) == -1 && errno == ENOMEM,
          "an mprotect over a hole");
    expect_exact("after an mprotect that was half done");
    check(mremap(base + 18 * PAGE, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED,
          "over a hole");
    check(mremap(base + 30 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, base + 30 * PAGE) ==
              MAP_FAILED,
          "onto itself");
    expect_exact("after refused remaps");
    munmap(base, 64 * PAGE);
    expect_recorded(base, 64 * PAGE, false, "after the end");
    close(pipes[0]);
    close(pipes[1]);
    close(memory);
    close(fd);
}

/* A move of two VMAs of which the second is sealed does its first half (Linux 6.17); before, and
 * where there are no seals, it does nothing. A refused unmap keeps what the record knew. */
static void halves(void)
{
    char *base = (char *)0x311000000000, *to = base + 64 * PAGE;
    mmap(base, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    mprotect(base + PAGE, PAGE, PROT_READ);
    mmap(to, 2 * PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    raw(462 /* mseal, Linux 6.10 */, base + PAGE, PAGE, 0);
    (void)!mremap(base, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    expect_exact("after half a move");
    unsigned char in_core[2];
    for (unsigned i = 0; i < 4; i++) {
        char *page = (i & 2 ? to : base) + (i & 1) * PAGE;
        expect_recorded(page, PAGE, raw(SYS_mincore, page, PAGE, in_core) == 0,
                        "a page of half a move");
    }
    munmap(to, 2 * PAGE);

    int id = shmget(IPC_PRIVATE, 5 * PAGE, 0600);
    char *segment = shmat(id, base + 1024 * PAGE, 0); /* with a hole above it */
    shmctl(id, IPC_RMID, NULL);
    check(munmap(segment + 1, PAGE) == -1, "unaligned");
    mprotect(segment, 6 * PAGE, PROT_READ | PROT_WRITE); /* over the hole */
    mprotect(segment + PAGE, 3 * PAGE, PROT_READ);
    check(shmdt(segment) == 0, "shmdt");
    expect_recorded(segment, 5 * PAGE, false, "after shmdt of a segment in pieces");
}

__attribute__((noinline)) static void first_close(int fd)
{
    close(fd);
    __asm__ volatile("");
}

__attribute__((noinline)) static void second_close(int fd)
{
    check(close(fd) == -1 && errno == EBADF, "a second close succeeds");
    __asm__ volatile("");
}

static void double_close(void)
{
    struct ledger_view view;
    bool found = false;
    int fd = dup(2);
    first_close(fd);
    second_close(fd);
    check(close(-1) == -1, "-1");
    if (system_ledger == NULL || ledger_view_open(&view, system_ledger) != 0)
        return;
    for (uint64_t i = 0; i < view.header->used[LEDGER_EVENTS]; i++) {
        const struct ledger_event *e = ledger_view_record(&view, LEDGER_EVENTS, i);
        if (e == NULL || ledger_view_state(e->state) != LEDGER_LIVE ||
            e->kind != LEDGER_EVENT_DOUBLE_CLOSE || e->start != (uint64_t)fd)
            continue;
        uint64_t late = ledger_view_frame(&view, e->stack, 0);
        uint64_t early = ledger_view_frame(&view, e->other_stack, 0);
        found = true;
        check(e->error == EBADF, "a double close with errno %u", e->error);
        check(late - (uint64_t)second_close < 200, "closed again at %#lx", late);
        check(early - (uint64_t)first_close < 100, "closed first at %#lx", early);
    }
    check(found, "a double close is not in the ledger");
    ledger_view_close(&view);
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 30);
    ranges();
    halves();
    double_close();
    expect_exact("after failed calls");
    filters();
    return system_end();
}
