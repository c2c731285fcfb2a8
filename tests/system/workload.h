/*
 * workload.h: a handful of wrapped calls in a row, for the tests that only need some.
 *
 * Leaves nothing held. Safe in a signal handler, after vfork and without libc's locks.
 */
#ifndef TESTS_SYSTEM_WORKLOAD_H
#define TESTS_SYSTEM_WORKLOAD_H

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

static inline void workload_descriptors(void)
{
    int a = eventfd(0, EFD_CLOEXEC), b = dup(a), c = dup2(b, a + 200);
    close(c);
    close(a);
    a = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(b);
    close(a);
}

static inline void workload_mappings(void)
{
    char *map = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return;
    mprotect(map + 4096, 4096, PROT_READ);
    munmap(map + 2 * 4096, 4096);
    munmap(map, 4 * 4096);
}

static inline void workload(void)
{
    int error = errno;
    workload_descriptors();
    workload_mappings();
    errno = error;
}

#endif
