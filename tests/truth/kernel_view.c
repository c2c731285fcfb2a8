/*
 * kernel_view.c: /proc/self/fd and /proc/self/maps, read by inline system calls.
 *
 * Never allocates from libc and never calls a function that the shim wraps.
 */
#include "kernel_view.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

struct linux_dirent64 {
    uint64_t d_ino;
    int64_t d_off;
    uint16_t d_reclen;
    uint8_t d_type;
    char d_name[];
};

void *kernel_view_memory(size_t bytes)
{
    long at = raw(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return (unsigned long)at > -4096UL ? NULL : (void *)at;
}

void kernel_view_memory_free(void *memory, size_t bytes)
{
    raw(SYS_munmap, memory, bytes);
}

long kernel_view_fds(uint64_t *bits, unsigned max)
{
    char buffer[4096] __attribute__((aligned(8)));
    long got, count = 0;
    long looking = raw(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (looking < 0)
        return looking;
    memset(bits, 0, max / 8);
    while ((got = raw(SYS_getdents64, looking, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < got;) {
            struct linux_dirent64 *entry = (void *)(buffer + at);
            at += entry->d_reclen;
            if (entry->d_name[0] == '.')
                continue;
            unsigned fd = 0;
            for (const char *c = entry->d_name; *c; c++)
                fd = fd * 10 + (unsigned)(*c - '0');
            if ((long)fd == looking || fd >= max)
                continue;
            bits[fd / 64] |= UINT64_C(1) << (fd % 64);
            count++;
        }
    }
    raw(SYS_close, looking);
    return got < 0 ? got : count;
}

static const char *parse_hex(const char *c, uint64_t *value)
{
    for (*value = 0;; c++) {
        if (*c >= '0' && *c <= '9')
            *value = *value << 4 | (uint64_t)(*c - '0');
        else if (*c >= 'a' && *c <= 'f')
            *value = *value << 4 | (uint64_t)(*c - 'a' + 10);
        else
            return c;
    }
}

static void parse_line(const char *line, struct kernel_range *range)
{
    line = parse_hex(line, &range->start) + 1;
    line = parse_hex(line, &range->end) + 1;
    range->prot = (line[0] == 'r' ? PROT_READ : 0) | (line[1] == 'w' ? PROT_WRITE : 0) |
                  (line[2] == 'x' ? PROT_EXEC : 0);
    range->stack = strstr(line, "[stack]") != NULL;
}

long kernel_view_maps(struct kernel_range *ranges, size_t max)
{
    char buffer[8192];
    size_t kept = 0, count = 0;
    long got;
    long looking = raw(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);

    if (looking < 0)
        return looking;
    while ((got = raw(SYS_read, looking, buffer + kept, sizeof buffer - kept - 1)) > 0) {
        size_t length = kept + (size_t)got;
        char *line = buffer, *newline;
        buffer[length] = '\0';
        while ((newline = memchr(line, '\n', (size_t)(buffer + length - line)))) {
            *newline = '\0';
            if (count == max) {
                raw(SYS_close, looking);
                return -ENOSPC;
            }
            parse_line(line, &ranges[count++]);
            line = newline + 1;
        }
        kept = (size_t)(buffer + length - line);
        memmove(buffer, line, kept);
    }
    raw(SYS_close, looking);
    return got < 0 ? got : (long)count;
}
