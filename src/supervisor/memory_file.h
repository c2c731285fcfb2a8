/*
 * memory_file.h: memfds for what a sandbox is given to read.
 */
#ifndef SUPERVISOR_MEMORY_FILE_H
#define SUPERVISOR_MEMORY_FILE_H

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

/* Linux 6.3, include/uapi/linux/memfd.h: execve(2) of it is refused, for good. */
#define MEMORY_FILE_NOEXEC_SEAL 0x0008U

/* One that can be sealed, and cannot be executed where the kernel knows how to say so; or -1 with
 * errno. */
static inline int memory_file_make(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MEMORY_FILE_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

#endif
