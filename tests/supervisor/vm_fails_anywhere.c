/*
 * vm_fails_anywhere.c: whichever call of a VM sandbox's life fails, the sandbox says so, and
 * nothing of it is left: no descriptor, no VMA, no allocation.
 *
 * The linker gives us the calls of vm*.c (--wrap); the n-th one of a run fails, for every n. Calls
 * that give something back are not among those.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vm_test.h"

/* Fewer than this many calls, and the program does not test what it says. */
#define LEAST_CALLS 100

/* process-global: the test is one thread */
static unsigned long calls;
static unsigned long failing; /* process-global: which of them fails; 0: none */
static long live;             /* process-global: allocations */

static bool fails(int number)
{
    if (++calls != failing)
        return false;
    errno = number;
    return true;
}

void *__real_calloc(size_t count, size_t size);
void *__real_malloc(size_t size);
void *__real_realloc(void *memory, size_t size);
void __real_free(void *memory);
int __real_open(const char *path, int flags, ...);
int __real_memfd_create(const char *name, unsigned flags);
int __real_fstat(int fd, struct stat *status);
int __real_ioctl(int fd, unsigned long request, void *argument);
void *__real_mmap(void *start, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_mprotect(void *start, size_t bytes, int protection);
int __real_madvise(void *start, size_t bytes, int advice);
ssize_t __real_pread(int fd, void *buffer, size_t bytes, off_t offset);
ssize_t __real_pwrite(int fd, const void *buffer, size_t bytes, off_t offset);
ssize_t __real_process_vm_readv(pid_t pid, const struct iovec *mine, unsigned long mine_count,
                                const struct iovec *other, unsigned long other_count,
                                unsigned long flags);
ssize_t __real_process_vm_writev(pid_t pid, const struct iovec *mine, unsigned long mine_count,
                                 const struct iovec *other, unsigned long other_count,
                                 unsigned long flags);

#define WRAP(result, name, parameters, arguments, failure)                                         \
    result __wrap_##name parameters;                                                               \
    result __wrap_##name parameters                                                                \
    {                                                                                              \
        return fails(ENOMEM) ? (failure) : __real_##name arguments;                                \
    }

void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
    void *memory = fails(ENOMEM) ? NULL : __real_calloc(count, size);

    live += memory != NULL;
    return memory;
}

void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    void *memory = fails(ENOMEM) ? NULL : __real_malloc(size);

    live += memory != NULL;
    return memory;
}

void *__wrap_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size)
{
    void *moved = fails(ENOMEM) ? NULL : __real_realloc(memory, size);

    live += moved != NULL && memory == NULL;
    return moved;
}

void __wrap_free(void *memory);
void __wrap_free(void *memory)
{
    live -= memory != NULL;
    __real_free(memory);
}

int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    return fails(ENOMEM) ? -1 : __real_open(path, flags);
}

WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1)
WRAP(int, fstat, (int fd, struct stat *status), (fd, status), -1)
WRAP(int, ioctl, (int fd, unsigned long request, void *argument), (fd, request, argument), -1)
WRAP(void *, mmap, (void *start, size_t bytes, int protection, int flags, int fd, off_t offset),
     (start, bytes, protection, flags, fd, offset), MAP_FAILED)
WRAP(int, mprotect, (void *start, size_t bytes, int protection), (start, bytes, protection), -1)
WRAP(int, madvise, (void *start, size_t bytes, int advice), (start, bytes, advice), -1)
WRAP(ssize_t, pread, (int fd, void *buffer, size_t bytes, off_t offset),
     (fd, buffer, bytes, offset), -1)
WRAP(ssize_t, pwrite, (int fd, const void *buffer, size_t bytes, off_t offset),
     (fd, buffer, bytes, offset), -1)
WRAP(ssize_t, process_vm_readv,
     (pid_t pid, const struct iovec *mine, unsigned long mine_count, const struct iovec *other,
      unsigned long other_count, unsigned long flags),
     (pid, mine, mine_count, other, other_count, flags), -1)
WRAP(ssize_t, process_vm_writev,
     (pid_t pid, const struct iovec *mine, unsigned long mine_count, const struct iovec *other,
      unsigned long other_count, unsigned long flags),
     (pid, mine, mine_count, other, other_count, flags), -1)

/* A churn of one sandbox. Returns whether the failing call was reached. */
static bool run(unsigned long number, bool *has_succeeded)
{
    const struct vm_churn_options options = {0};
    struct vm_churn *churn = NULL;
    struct error error = {0};

    calls = 0;
    failing = number;
    *has_succeeded =
        vm_churn_open(&churn, &options, &error) == 0 && vm_churn_one(churn, 1, &error) == 0;

    bool was_reached = calls >= number;

    failing = 0;
    check(*has_succeeded || error.text[0] != '\0', "call %lu fails, and nothing is said", number);
    works(vm_churn_close(churn, &error), &error);
    return was_reached;
}

/* A map that fails in the middle leaves no address taken: the next is where it would have been. */
static void a_map_that_fails_takes_no_address(void)
{
    const struct vm_options options = {0};
    struct vm_host *host = need_host();
    struct error error = {0};
    struct vm *vm = NULL;
    bool has_failed = true;

    works(vm_create(host, &options, &vm, &error), &error);
    for (unsigned long number = 1; has_failed; number++) {
        uint64_t address = VM_ANYWHERE;

        calls = 0;
        failing = number;
        has_failed = vm_map_scratch(vm, GUEST_WRITABLE, GUEST_PAGE, &address, NULL, &error) != 0;
        failing = 0;
        if (has_failed)
            works(vm_map_scratch(vm, GUEST_WRITABLE, GUEST_PAGE, &address, NULL, &error), &error);
        check(address == vm_default_windows[GUEST_WRITABLE].start, "after call %lu: %#lx", number,
              address);
        works(vm_unmap(vm, address, &error), &error);
    }
    works(vm_destroy(vm, &error), &error);
    works(vm_host_close(host, &error), &error);
}

int main(void)
{
    struct error error = {0};
    bool has_succeeded = false;
    unsigned long number = 1;
    unsigned long tolerated = 0;

    works(vm_host_close(need_host(), &error), &error);

    struct holds before = count_holds();

    live = 0;
    while (run(number, &has_succeeded)) {
        struct holds after = count_holds();

        tolerated += has_succeeded;
        if (!check(after.descriptors == before.descriptors && after.vmas == before.vmas &&
                       live == 0,
                   "after call %lu failed: %lu descriptors, were %lu; %lu VMAs, were %lu; %ld "
                   "allocations",
                   number, after.descriptors, before.descriptors, after.vmas, before.vmas, live))
            break;
        number++;
    }
    check(has_succeeded, "the run in which nothing fails failed");
    check(number > LEAST_CALLS, "only %lu calls", number);
    a_map_that_fails_takes_no_address();
    printf("%lu calls, each failed once; %lu of them made no difference\n", number - 1, tolerated);
    return verdict();
}
