/*
 * quarantine.c: numbers and ranges that reclaim keeps occupied, for a while and within bounds; and
 * what it gives up must still be its own: releases that no wrapper saw may have come in between.
 *
 *     quarantine LEDGER fds|bytes|neighbours|refused|exec SETTLE_MS MOST
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "policy_test.h"

enum {
    MANY = 24,
    NEIGHBOURS = 1500, /* pages next to one another */
    NUMBERS_MAX = 1024,
    FILLERS = 1 << 18,
    BEHIND_MS = 20000,
    WATCHDOG_S = 120,
};

static unsigned settle_ms, most;

static int leave_fd(void)
{
    int fd = memfd_create("left", MFD_CLOEXEC);
    check(fd >= 0, "memfd_create: %s", strerror(errno));
    end_with_fd(fd);
    return fd;
}

static char *leave_page(void)
{
    /* Alone: neighbours would be one range. */
    char *start = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(start != MAP_FAILED, "mmap: %s", strerror(errno));
    munmap(start, PAGE);
    munmap(start + 2 * PAGE, PAGE);
    end_with_range(start + PAGE, PAGE);
    return start + PAGE;
}

static void reclaimed(uint64_t fds, uint64_t mappings)
{
    check(until_reclaimed(fds, mappings, BEHIND_MS),
          "not reclaimed: %lu descriptors, %lu mappings are",
          (unsigned long)policy_counts().reclaimed_fds,
          (unsigned long)policy_counts().reclaimed_mappings);
}

static unsigned occupied(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < NUMBERS_MAX; fd++) {
        count += is_reclaimed_number(fd);
    }
    return count;
}

static void fds(void)
{
    int first[MANY], others[MANY];
    uint64_t files[MANY], so_far = 0;
    check(most < MANY, "more than %u", MANY);
    for (unsigned i = 0; i < most; i++) {
        first[i] = leave_fd();
    }
    reclaimed(so_far += most, 0);
    check(occupied() == most, "%u numbers are occupied, not %u", occupied(), most);
    /* Their supervisor closes them where nobody sees, and others open files there. */
    for (unsigned i = 0; i < most; i++) {
        raw(SYS_close, first[i]);
        int fd = (int)raw(SYS_memfd_create, "others", MFD_CLOEXEC);
        others[i] = first[i];
        if (fd != first[i]) {
            raw(SYS_dup3, fd, first[i], O_CLOEXEC);
            raw(SYS_close, fd);
        }
        files[i] = file_of(first[i]);
    }
    int last[MANY];
    for (unsigned round = 0; round < MANY / most; round++) {
        for (unsigned i = 0; i < most; i++) {
            last[i] = leave_fd();
        }
        reclaimed(so_far += most, 0);
        check(occupied() <= most, "%u numbers are occupied, of at most %u", occupied(), most);
        check(policy_counts().quarantined_fds <= most, "%lu by the ledger",
              (unsigned long)policy_counts().quarantined_fds);
    }
    for (unsigned i = 0; i < most; i++) {
        check(is_reclaimed_number(last[i]), "%d went before older ones", last[i]);
        check(close(last[i]) == 0, "a late close: %s", strerror(errno));
        check(raw(SYS_fcntl, last[i], F_GETFD) < 0, "%d is still open", last[i]);
        check(file_of(others[i]) == files[i], "%d was another's, and was closed", others[i]);
        raw(SYS_close, others[i]);
    }
    check(occupied() == 0, "%u numbers are still occupied", occupied());
    check(policy_counts().quarantined_fds == 0, "%lu by the ledger",
          (unsigned long)policy_counts().quarantined_fds);
    /* What is closed for good closes once, as ever. */
    check(close(last[0]) < 0 && errno == EBADF, "a second late close");
}

/* `most` pages. Some are unmapped unseen, and mapped again by somebody: to be written to, or to be
 * reserved without any access, which looks as a reclaimed range does. */
static void bytes(void)
{
    char *first[MANY], *last[MANY];
    uint64_t so_far = 0;
    check(most < MANY, "more than %u", MANY);
    for (unsigned i = 0; i < most; i++) {
        first[i] = leave_page();
    }
    reclaimed(0, so_far += most);
    for (unsigned i = 0; i < most; i++) {
        check(is_reserved(first[i], PAGE), "%p is not kept", (void *)first[i]);
        raw(SYS_munmap, first[i], PAGE);
        check(raw(SYS_mmap, first[i], PAGE, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1) == (long)first[i],
              "an inline mmap");
        mark_pages(first[i], PAGE, i);
        if (i % 2) {
            raw(SYS_mprotect, first[i], PAGE, PROT_NONE);
        }
    }
    for (unsigned round = 0; round < MANY / most; round++) {
        for (unsigned i = 0; i < most; i++) {
            last[i] = leave_page();
        }
        reclaimed(0, so_far += most);
        check(policy_counts().quarantined_bytes <= (uint64_t)most * PAGE, "%lu bytes",
              (unsigned long)policy_counts().quarantined_bytes);
    }
    for (unsigned i = 0; i < most; i++) {
        raw(SYS_mprotect, first[i], PAGE, PROT_READ | PROT_WRITE);
        check(has_marks(first[i], PAGE, i), "%p (%u) was another's, and was unmapped",
              (void *)first[i], i);
        check(is_reserved(last[i], PAGE), "%p went before older ones", (void *)last[i]);
        check(munmap(last[i], PAGE) == 0, "a late munmap: %s", strerror(errno));
        check(!is_mapped(last[i], PAGE), "%p is still mapped", (void *)last[i]);
    }
    check(policy_counts().quarantined_bytes == 0, "%lu bytes",
          (unsigned long)policy_counts().quarantined_bytes);
}

static long vmas(void)
{
    enum { MAX = 70000 };
    static struct kernel_range ranges[MAX]; /* a look's own room */
    return kernel_view_maps(ranges, MAX);
}

/* Thousands of small ranges next to one another are not thousands of VMAs. */
static void neighbours(void)
{
    enum { FEW = 8 };
    char *start =
        mmap(NULL, NEIGHBOURS * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long before = vmas();
    for (unsigned i = 0; i < NEIGHBOURS; i++) { /* ... as they are before, with two protections */
        if (i % 2) {
            mprotect(start + i * PAGE, PAGE, PROT_READ);
        }
        end_with_range(start + i * PAGE, PAGE);
    }
    check(vmas() >= before + NEIGHBOURS - FEW, "%ld VMAs to begin with", vmas());
    reclaimed(0, NEIGHBOURS);
    check(vmas() <= before + FEW, "%ld VMAs, of %ld before", vmas(), before);
    check(munmap(start, NEIGHBOURS * PAGE) == 0, "a late munmap: %s", strerror(errno));
    check(!is_mapped(start + PAGE, PAGE) && !is_mapped(start, PAGE), "still mapped");
    check(policy_counts().quarantined_bytes == 0, "%lu bytes",
          (unsigned long)policy_counts().quarantined_bytes);
}

/* At the limit of VMAs the kernel does not unmap from the middle of one: what it would not is kept
 * on, and goes with others. */
static void refused(void)
{
    static void *fillers[FILLERS];
    unsigned filled = 0;
    char *start =
        mmap(NULL, most * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *middle = start + most / 2 * PAGE;
    char *other =
        mmap(NULL, most * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (unsigned i = 0; i < most; i++) {
        end_with_range(start + i * PAGE, PAGE);
    }
    reclaimed(0, most);
    long at;
    while (filled < FILLERS &&
           (at = raw(SYS_mmap, 0, PAGE, filled % 2 ? PROT_READ : PROT_READ | PROT_EXEC,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1)) > 0) {
        fillers[filled++] = (void *)at;
    }
    if (filled == FILLERS) {
        system_skip("the limit of VMAs is too high to be met");
    }
    errno = 0;
    int result = munmap(middle, PAGE);
    int error = errno;
    while (filled > 0) {
        raw(SYS_munmap, fillers[--filled], PAGE);
    }
    check(result == -1 && error == ENOMEM, "a late munmap at the limit: %d, %s", result,
          strerror(error));
    check(is_reserved(middle, PAGE), "what was not unmapped is not reserved");
    check(policy_counts().quarantined_bytes == (uint64_t)most * PAGE, "%lu bytes are kept",
          (unsigned long)policy_counts().quarantined_bytes);
    for (unsigned i = 0; i < most; i++) {
        end_with_range(other + i * PAGE, PAGE);
    }
    reclaimed(0, 2 * most);
    check(!is_mapped(middle, PAGE), "what was not unmapped stays for good");
    check(!is_mapped(start, PAGE), "others stay as well");
}

/* The process execs: the numbers are free, and what is opened there is the new program's. */
static void before_exec(char **argv)
{
    int fd = -1;
    for (unsigned i = 0; i < most; i++) {
        fd = leave_fd();
    }
    char *page = leave_page();
    reclaimed(most, 1);
    check(page != NULL && fd >= 0, "nothing left");
    if (system_end() == 0) {
        argv[2] = (char *)(uintptr_t) "after_exec";
        execv(argv[0], argv);
        check(false, "exec: %s", strerror(errno));
    }
}

static void after_exec(void)
{
    struct policy_counts before = policy_counts();
    int fds_now[MANY];
    check(system_ledger == NULL || before.reclaimed_fds >= most, "the ledger did not go on");
    check(occupied() == 0, "%u numbers are occupied", occupied());
    check(before.quarantined_fds == 0 && before.quarantined_bytes == 0,
          "%lu numbers and %lu bytes are said to be", (unsigned long)before.quarantined_fds,
          (unsigned long)before.quarantined_bytes);
    for (unsigned i = 0; i < MANY; i++) {
        fds_now[i] = memfd_create("own", MFD_CLOEXEC);
    }
    for (unsigned i = 0; i < MANY; i++) {
        check(close(fds_now[i]) == 0, "close: %s", strerror(errno));
        check(raw(SYS_fcntl, fds_now[i], F_GETFD) < 0, "%d is still open", fds_now[i]);
    }
    check(policy_counts().late_releases == before.late_releases, "these were no late releases");
    expect_exact("after the exec");
}

int main(int argc, char **argv)
{
    system_start(argc, argv, WATCHDOG_S);
    if (system_argc != 3) {
        return 2;
    }
    settle_ms = (unsigned)strtoul(system_argv[1], NULL, 10);
    most = (unsigned)strtoul(system_argv[2], NULL, 10);
    const char *what = system_argv[0];
    if (strcmp(what, "fds") == 0) {
        fds();
    } else if (strcmp(what, "bytes") == 0) {
        bytes();
    } else if (strcmp(what, "neighbours") == 0) {
        neighbours();
    } else if (strcmp(what, "refused") == 0) {
        refused();
    } else if (strcmp(what, "exec") == 0) {
        before_exec(argv);
    } else if (strcmp(what, "after_exec") == 0) {
        after_exec();
    } else {
        return 2;
    }
    return system_end();
}
