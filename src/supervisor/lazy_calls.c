/*
 * lazy_calls.c: see lazy_calls.h.
 */
#include "supervisor/lazy_calls.h"

#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "supervisor/lazy_copy.h"
#include "supervisor/lazy_faults.h"
#include "supervisor/notify.h"
#include "supervisor/sandbox.h"
#include "supervisor/shadow.h"

/* What a call reads of the file that it is given. */
enum reach {
    THE_RANGE, /* it says */
    ALL,       /* from an offset that others may move meanwhile, or from one that it does not say */
    MAPPED,    /* whatever is touched later */
    ANY_FILE,  /* it does not say of which */
};

static const struct {
    int call;
    enum reach reach;
    unsigned fd; /* the number of the argument */
} readers[] = {
    {SYS_read, ALL, 0},     {SYS_readv, ALL, 0},           {SYS_preadv, ALL, 0},
    {SYS_preadv2, ALL, 0},  {SYS_pread64, THE_RANGE, 0},   {SYS_lseek, ALL, 0},
    {SYS_sendfile, ALL, 1}, {SYS_copy_file_range, ALL, 0}, {SYS_splice, ALL, 0},
    {SYS_mmap, MAPPED, 4},  {SYS_io_submit, ANY_FILE, 0},  {SYS_remap_file_pages, ANY_FILE, 0},
};

/* The copy that a descriptor of the process leads to, if some of it is missing. */
static struct lazy_copy *find_copy(const struct notification *notification, int fd)
{
    char link[sizeof "/proc//fd/" + 3 * (sizeof(pid_t) + sizeof(int))];
    struct stat status;

    if (!shadow_is_any_missing(notification->sandbox))
        return NULL;
    (void)snprintf(link, sizeof link, "/proc/%d/fd/%d", notify_thread(notification), fd);
    return stat(link, &status) == 0 ? shadow_find_missing(notification->sandbox, &status) : NULL;
}

/* 0, or an errno value. */
static int fill(const struct notification *notification, enum reach reach, unsigned fd)
{
    const __u64 *args = notification->request.data.args;
    struct lazy_copy *copy;

    if (reach == ANY_FILE)
        return shadow_fill_all(notification->sandbox);
    copy = find_copy(notification, (int)args[fd]);
    if (!copy)
        return 0;
    if (reach == THE_RANGE) /* pread(2)'s */
        return lazy_copy_fill(copy, args[3], args[2]);
    if (reach == MAPPED) /* from its offset on: a mapping can be made longer */
        return lazy_copy_fill(copy, args[5], UINT64_MAX);
    return lazy_copy_fill_whole(copy);
}

static bool is_fork(int call)
{
#ifdef SYS_fork
    return call == SYS_fork || call == SYS_clone;
#else
    return call == SYS_clone;
#endif
}

void lazy_calls_answer(const struct notification *notification)
{
    const struct seccomp_data *data = &notification->request.data;
    struct lazy_copy *copy =
        data->nr == SYS_mmap ? find_copy(notification, (int)data->args[4]) : NULL;
    int failed = 0;

    if (copy && lazy_faults_answer_map(notification, copy))
        return;
    if (is_fork(data->nr))
        failed = lazy_faults_before_fork(notification);
    for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++)
        if (data->nr == readers[i].call)
            failed = fill(notification, readers[i].reach, readers[i].fd);
    if (failed != 0)
        notify_fail(notification, failed);
    else
        notify_continue(notification);
}
