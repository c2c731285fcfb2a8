/*
 * memory_limits.c: programs under mlockall, RLIMIT_AS and RLIMIT_FSIZE, and beside a full file
 * system (DESIGN 2). The shim may have to stop recording; the program's calls may not suffer, and
 * the ledger must say that it is incomplete.
 *
 * lock | space | files | full DIRECTORY
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "system.h"
#include "workload.h"

#define MANY 30000

static void *maps[MANY]; /* what the program holds */

static long status_kib(const char *key)
{
    char text[4096], *at;
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    at = strstr(text, key);
    return at ? atol(at + strlen(key)) : -1;
}

/* Takes and releases as many records as make a ledger of base size grow several times. */
static void take_many(const char *when)
{
    unsigned refused = 0;
    for (int i = 0; i < MANY; i++) {
        maps[i] =
            mmap(NULL, PAGE, i & 1 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        refused += maps[i] == MAP_FAILED;
    }
    check(refused == 0, "%s: %u mmaps were refused", when, refused);
    for (int i = 0; i < 100; i++)
        workload_descriptors();
}

/* Either everything found room, or the ledger says that something did not. */
static void all_or_incomplete(unsigned held)
{
    struct system_difference d = system_compare("limited", false, true);
    check(d.maps_stale == 0 && d.fds_stale == 0, "the ledger has what is not there");
    check(system_ledger == NULL || d.maps >= held || d.incomplete != 0,
          "%u of %u mappings are in the ledger, which does not say that it is incomplete", d.maps,
          held);
}

static void release_many(void)
{
    unsigned refused = 0;
    for (int i = 0; i < MANY; i++)
        if (maps[i] != MAP_FAILED)
            refused += munmap(maps[i], PAGE) != 0;
    check(refused == 0, "%u munmaps were refused", refused);
    struct system_difference d = system_compare("all released", false, true);
    check(d.maps_stale == 0 && d.fds_stale == 0, "after the release the ledger is wrong");
}

static void lock(void)
{
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
        system_skip("mlockall is refused here");
    long before = status_kib("VmLck:");
    take_many("mlockall");
    long after = status_kib("VmLck:");
    /* Half of the pages are readable and so made resident; the rest are the ledger's own. */
    printf("%ld KiB locked before, %ld after\n", before, after);
    check(after - before < MANY * 4 + 24 * 1024, "%ld KiB more are locked", after - before);
    check(before < 64 * 1024, "%ld KiB are locked by a program that does nothing", before);
    release_many();
}

static void space(void)
{
    /* RLIMIT_AS was set before this program began, so that the shim's own start counts. */
    size_t got = 0;
    void *map;
    int n = 0;
    while (n < MANY && (map = mmap(NULL, 16 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                                   0)) != MAP_FAILED) {
        maps[n++] = map;
        got += 16 * PAGE;
    }
    check(errno == ENOMEM, "mmap ended with errno %d", errno);
    for (int i = 0; i < 100; i++)
        workload();
    for (int i = 0; i < n; i++)
        check(munmap(maps[i], 16 * PAGE) == 0, "munmap refused");
    all_or_incomplete(0);
    printf("%zu\n", got / 1024);
}

static void files(const char *directory)
{
    char path[300];
    snprintf(path, sizeof path, "%s/big", directory);
    struct rlimit small = {600 << 10, 600 << 10};
    setrlimit(RLIMIT_FSIZE, &small);
    take_many("RLIMIT_FSIZE"); /* a shim that grows its file dies here, of SIGXFSZ */
    signal(SIGXFSZ, SIG_IGN);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    check(lseek(fd, 600 << 10, SEEK_SET) > 0 && write(fd, "x", 1) == -1 && errno == EFBIG,
          "the program's own limit is gone");
    close(fd);
    all_or_incomplete(MANY);
    release_many();
}

static void full(const char *directory)
{
    /* The ledger lies in a file system that this fills before the ledger must grow. */
    char path[300], block[4096] = {1};
    snprintf(path, sizeof path, "%s/filler", directory);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    check(fd >= 0, "no file in %s", directory);
    while (write(fd, block, sizeof block) > 0)
        ;
    check(errno == ENOSPC, "writing ended with errno %d", errno);
    take_many("a full file system"); /* a shim that stores into a hole dies here, of SIGBUS */
    close(fd);
    all_or_incomplete(MANY);
    release_many();
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 60);
    const char *what = system_argc > 0 ? system_argv[0] : "";
    if (strcmp(what, "lock") == 0)
        lock();
    else if (strcmp(what, "space") == 0)
        space();
    else if (strcmp(what, "files") == 0)
        files(system_argv[1]);
    else if (strcmp(what, "full") == 0)
        full(system_argv[1]);
    else
        check(false, "lock, space, files or full?");
    return system_end();
}
