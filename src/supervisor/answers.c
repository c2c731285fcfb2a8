/*
 * answers.c: see answers.h.
 */
#include "supervisor/answers.h"

#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "supervisor/attributes.h"
#include "supervisor/cow_calls.h"
#include "supervisor/lazy_calls.h"
#include "supervisor/notify.h"
#include "supervisor/opens.h"
#include "supervisor/policy.h"
#include "supervisor/redirect_calls.h"
#include "supervisor/sandbox.h"
#include "supervisor/stats.h"
#include "supervisor/virtual.h"

static const struct {
    int call;
    void (*give)(const struct notification *notification);
} answers[] = {
    {SYS_openat, opens_answer},
#ifdef SYS_open
    {SYS_open, opens_answer},
    {SYS_creat, opens_answer},
#endif
    {SYS_fchmod, attributes_answer},
    {SYS_fchmodat, attributes_answer},
    {SYS_fchown, attributes_answer},
    {SYS_fchownat, attributes_answer},
    {SYS_utimensat, attributes_answer},
#ifdef SYS_chmod
    {SYS_chmod, attributes_answer},
    {SYS_chown, attributes_answer},
    {SYS_lchown, attributes_answer},
#endif
    {SYS_fstat, stats_answer},
    {SYS_newfstatat, stats_answer},
    {SYS_statx, stats_answer},
#ifdef SYS_stat
    {SYS_stat, stats_answer},
    {SYS_lstat, stats_answer},
#endif
    {SYS_mmap, lazy_calls_answer},
    {SYS_read, lazy_calls_answer},
    {SYS_readv, lazy_calls_answer},
    {SYS_pread64, lazy_calls_answer},
    {SYS_preadv, lazy_calls_answer},
    {SYS_preadv2, lazy_calls_answer},
    {SYS_lseek, lazy_calls_answer},
    {SYS_sendfile, lazy_calls_answer},
    {SYS_splice, lazy_calls_answer},
    {SYS_copy_file_range, lazy_calls_answer},
    {SYS_io_submit, lazy_calls_answer},
    {SYS_remap_file_pages, lazy_calls_answer},
    {SYS_clone, lazy_calls_answer},
#ifdef SYS_fork
    {SYS_fork, lazy_calls_answer},
#endif
    {SYS_getrandom, virtual_answer_getrandom},
    {SYS_uname, virtual_answer_uname},
};

void answers_give(const struct notification *notification)
{
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
        if (notification->request.data.nr == answers[i].call) {
            answers[i].give(notification);
            return;
        }
    if (notification->sandbox->cow)
        cow_answer(notification);
    else if (notification->sandbox->policy->root >= 0)
        redirect_answer(notification);
    else
        notify_fail(notification, ENOSYS);
}
