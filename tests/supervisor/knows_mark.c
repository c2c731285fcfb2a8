/*
 * knows_mark.c: finds out the number by which the filter knows boxsup's own calls in its process
 * (src/supervisor/redo.h), and makes calls with it that nobody answers then.
 *
 *     knows_mark DIRECTORY FILE
 *
 * Goes to DIRECTORY, which is one that boxsup has it go to by another path, and opens FILE for
 * reading, for writing, to cut it off, and removes it. Exits with 1 if one of these succeeds, with
 * 2 if it does not find the number.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MEMORY_ADDRESS UINT64_C(0x200000000000)

int main(int argc, char **argv)
{
    static const int ways[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC};
    uint64_t mark = 0;
    struct iovec here = {&mark, sizeof mark}, there = {(void *)MEMORY_ADDRESS, sizeof mark};
    int found = 0;

    if (argc != 3 || chdir(argv[1]) != 0)
        return 2;
    if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != (ssize_t)sizeof mark || mark == 0)
        return 2;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        if (syscall(SYS_openat, AT_FDCWD, argv[2], ways[i], 0, 0, mark) >= 0)
            found += printf("opened by way %zu\n", i) > 0;
    if (syscall(SYS_unlinkat, AT_FDCWD, argv[2], 0, 0, 0, mark) == 0)
        found += puts("removed") >= 0;
    return found > 0;
}
