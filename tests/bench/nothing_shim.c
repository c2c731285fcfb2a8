/*
 * nothing_shim.c: a preload that wraps what the bench's loops call and does nothing else.
 *
 * What it costs is the price of being called at all; boxledger's own is what it costs beyond that.
 * It never records, never looks at its arguments.
 */
#include <dlfcn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/types.h>

#define EXPORT __attribute__((visibility("default")))

/* process-global: the program has one next definition of each */
static struct {
    void *(*mmap)(void *, size_t, int, int, int, off_t);
    int (*munmap)(void *, size_t);
    int (*memfd_create)(const char *, unsigned);
    int (*close)(int);
    int (*dup)(int);
    int (*ioctl)(int, unsigned long, void *);
} next;

static __attribute__((constructor)) void find_next(void)
{
    *(void **)&next.mmap = dlsym(RTLD_NEXT, "mmap");
    *(void **)&next.munmap = dlsym(RTLD_NEXT, "munmap");
    *(void **)&next.memfd_create = dlsym(RTLD_NEXT, "memfd_create");
    *(void **)&next.close = dlsym(RTLD_NEXT, "close");
    *(void **)&next.dup = dlsym(RTLD_NEXT, "dup");
    *(void **)&next.ioctl = dlsym(RTLD_NEXT, "ioctl");
}

EXPORT void *mmap(void *address, size_t size, int prot, int flags, int fd, off_t offset)
{
    if (next.mmap == NULL) {
        find_next();
    }
    return next.mmap(address, size, prot, flags, fd, offset);
}

EXPORT int munmap(void *address, size_t size)
{
    if (next.munmap == NULL) {
        find_next();
    }
    return next.munmap(address, size);
}

EXPORT int memfd_create(const char *name, unsigned flags)
{
    return next.memfd_create(name, flags);
}

EXPORT int close(int fd)
{
    if (next.close == NULL) {
        find_next();
    }
    return next.close(fd);
}

EXPORT int dup(int fd)
{
    return next.dup(fd);
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (next.ioctl == NULL) {
        find_next();
    }
    return next.ioctl(fd, request, argument);
}
