/*
 * notify.c: see notify.h.
 */
#include "supervisor/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "supervisor/answers.h"
#include "supervisor/error.h"
#include "supervisor/owned.h"
#include "supervisor/sandbox.h"

/* Linux 6.6, include/uapi/linux/seccomp.h. */
#define NOTIFY_SET_FLAGS SECCOMP_IOW(4, uint64_t)
#define NOTIFY_SYNC_WAKE_UP UINT64_C(1)

void notify_prepare(int listener)
{
    (void)ioctl(listener, NOTIFY_SET_FLAGS, NOTIFY_SYNC_WAKE_UP);
}

int notify_serve(struct sandbox *sandbox, struct error *error)
{
    struct notification notification;

    /* The kernel wants it zeroed. Newer kernels have not made it longer. */
    memset(&notification, 0, sizeof notification);
    notification.sandbox = sandbox;
    if (ioctl(sandbox->listener, SECCOMP_IOCTL_NOTIF_RECV, &notification.request) != 0) {
        if (errno == ENOENT || errno == EINTR)
            return 0;
        return error_set(error, errno, "cannot receive a notification");
    }
    sandbox->notifications++;
    answers_give(&notification);
    return 0;
}

bool notify_is_valid(const struct notification *notification)
{
    return ioctl(notification->sandbox->listener, SECCOMP_IOCTL_NOTIF_ID_VALID,
                 &notification->request.id) == 0;
}

/* What the process may be told of why its memory could not be had. */
static int memory_error(int number)
{
    return number == EFAULT ? EFAULT : EPERM;
}

int notify_read_text(const struct notification *notification, uint64_t address, char *text,
                     size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t have = 0;
    bool ended = false;

    if (!notify_is_valid(notification))
        return EPERM;
    /* Page by page: what follows the string need not be mapped. */
    while (!ended && have < bytes) {
        size_t in_page = page - (size_t)((address + have) % page);
        size_t wanted = bytes - have < in_page ? bytes - have : in_page;
        struct iovec here = {text + have, wanted};
        struct iovec there = {(void *)(uintptr_t)(address + have), wanted};
        ssize_t got = process_vm_readv(notify_thread(notification), &here, 1, &there, 1, 0);

        if (got <= 0)
            return memory_error(got < 0 ? errno : EFAULT);
        ended = memchr(here.iov_base, 0, (size_t)got) != NULL;
        have += (size_t)got;
    }
    if (!notify_is_valid(notification))
        return EPERM;
    return ended ? 0 : ENAMETOOLONG;
}

int notify_read(const struct notification *notification, uint64_t address, void *to, size_t bytes)
{
    struct iovec here = {to, bytes};
    struct iovec there = {(void *)(uintptr_t)address, bytes};
    ssize_t got;

    if (!notify_is_valid(notification))
        return EPERM;
    got = process_vm_readv(notify_thread(notification), &here, 1, &there, 1, 0);
    if (got != (ssize_t)bytes)
        return memory_error(got < 0 ? errno : EFAULT);
    return notify_is_valid(notification) ? 0 : EPERM;
}

bool notify_touch(const struct notification *notification, uint64_t address, size_t bytes)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t end = address + bytes;

    for (uint64_t at = address; at < end; at = (at / page + 1) * page) {
        char byte;
        struct iovec here = {&byte, 1};
        struct iovec there = {(void *)(uintptr_t)at, 1};

        if (process_vm_readv(notify_thread(notification), &here, 1, &there, 1, 0) != 1)
            return false;
    }
    return notify_is_valid(notification);
}

int notify_write(const struct notification *notification, uint64_t address, const void *from,
                 size_t bytes)
{
    char path[sizeof "/proc//mem" + 3 * sizeof(pid_t)];
    owned_fd int memory = -1;
    ssize_t written;

    (void)snprintf(path, sizeof path, "/proc/%d/mem", notify_thread(notification));
    memory = open(path, O_WRONLY | O_CLOEXEC);
    if (memory < 0)
        return EPERM;
    /* From here on `memory` is that of the process that waits, whoever has its number later. */
    if (!notify_is_valid(notification))
        return EPERM;
    written = pwrite(memory, from, bytes, (off_t)address);
    if (written != (ssize_t)bytes && notify_touch(notification, address, bytes))
        written = pwrite(memory, from, bytes, (off_t)address);
    return written == (ssize_t)bytes ? 0 : EFAULT;
}

static void answer(const struct notification *notification, int64_t value, int number,
                   uint32_t flags)
{
    struct seccomp_notif_resp response = {
        .id = notification->request.id,
        .val = value,
        .error = -number,
        .flags = flags,
    };

    /* ENOENT: it is gone. */
    (void)ioctl(notification->sandbox->listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

void notify_return(const struct notification *notification, int64_t value)
{
    answer(notification, value, 0, 0);
}

void notify_fail(const struct notification *notification, int number)
{
    answer(notification, 0, number, 0);
}

void notify_continue(const struct notification *notification)
{
    answer(notification, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

void notify_inject(const struct notification *notification, int fd, bool close_on_exec)
{
    struct seccomp_notif_addfd injection = {
        .id = notification->request.id,
        .flags = SECCOMP_ADDFD_FLAG_SEND,
        .srcfd = (uint32_t)fd,
        .newfd_flags = close_on_exec ? O_CLOEXEC : 0,
    };

    if (ioctl(notification->sandbox->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &injection) >= 0)
        return;
    /* Most often the process has as many as it may have. */
    notify_fail(notification, errno);
}
