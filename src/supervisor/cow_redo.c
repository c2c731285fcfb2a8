/*
 * cow_redo.c: see cow_redo.h.
 */
#include "supervisor/cow_redo.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "supervisor/injection.h"
#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/policy.h"
#include "supervisor/proc.h"
#include "supervisor/sandbox.h"

/* What the path is written to: asked for at an address where programs have nothing, so that a
 * process has one for all its calls, and a child on its memory has the same one. */
#define PAGE_ADDRESS UINT64_C(0x200000000000)
struct page {
    uint64_t mark; /* it is ours: the filter's */
    char path[PATH_MAX];
};

#define ARGUMENTS 6
#define MARK_ARGUMENT 5

static bool executes(const struct notification *notification)
{
    int call = notification->request.data.nr;

    return call == SYS_execve || call == SYS_execveat;
}

static bool has_page(int memory, uint64_t mark)
{
    uint64_t found;

    return pread(memory, &found, sizeof found, (off_t)PAGE_ADDRESS) == (ssize_t)sizeof found &&
           found == mark;
}

/* The path's address in the process; 0: there was no room, or it has ended. */
static uint64_t put_path(struct injection *injection, int memory, uint64_t mark, const char *path)
{
    const uint64_t arguments[ARGUMENTS] = {
        PAGE_ADDRESS,           sizeof(struct page),
        PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
        (uint64_t)-1,           0,
    };
    size_t bytes = offsetof(struct page, path) + strlen(path) + 1;
    int64_t address = (int64_t)PAGE_ADDRESS;
    struct page page = {.mark = mark};

    memcpy(page.path, path, strlen(path) + 1);
    if (!has_page(memory, mark))
        address = injection_call(injection, SYS_mmap, arguments);
    if (address < 0 || pwrite(memory, &page, bytes, (off_t)address) != (ssize_t)bytes)
        return 0;
    return (uint64_t)address + offsetof(struct page, path);
}

/* The thread is held. */
static int64_t redo(const struct notification *notification, struct injection *injection,
                    int memory, unsigned argument, const char *path)
{
    const struct seccomp_data *data = &notification->request.data;
    const uint64_t mark = notification->sandbox->policy->filter.mark;
    uint64_t arguments[ARGUMENTS];

    memcpy(arguments, data->args, sizeof arguments);
    arguments[MARK_ARGUMENT] = mark;
    arguments[argument] = put_path(injection, memory, mark, path);
    return arguments[argument] == 0 ? -ENOTSUP : injection_call(injection, data->nr, arguments);
}

void cow_redo(const struct notification *notification, unsigned argument, const char *path)
{
    char name[sizeof "/proc//mem" + 3 * sizeof(pid_t)];
    pid_t thread = notify_thread(notification);
    struct injection injection = INJECTION_EMPTY;
    int64_t result = -ENOTSUP;
    owned_fd int memory = -1;
    bool valid;

    /* Where another thread executes a program, its number becomes the first one's. */
    if ((executes(notification) && proc_process_of(thread) != thread) ||
        !injection_begin(&injection, notification)) {
        notify_fail(notification, ENOTSUP);
        return;
    }
    (void)snprintf(name, sizeof name, "/proc/%d/mem", thread);
    memory = open(name, O_RDWR | O_CLOEXEC);
    /* Asked after it is traced and open: from here on its number is its own. */
    valid = notify_is_valid(notification) && memory >= 0;
    notify_fail(notification, ENOTSUP);
    if (injection_wait(&injection) && valid)
        result = redo(notification, &injection, memory, argument, path);
    if (!valid || (executes(notification) && result == 0))
        injection_let_go(&injection);
    else
        injection_end(&injection, result);
}
