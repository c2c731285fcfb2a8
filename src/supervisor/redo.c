/*
 * redo.c: see redo.h.
 */
#include "supervisor/redo.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
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

/* Where the memory is asked for: programs have nothing there, so that a process has one piece for
 * all its calls, and a child on its memory has the same one. It begins with the filter's mark. */
#define MEMORY_ADDRESS UINT64_C(0x200000000000)
#define MEMORY_BYTES ((size_t)2048 * 1024)

/* What of it the texts may take; the rest is for pointers to a program's arguments, of which there
 * are never more. */
#define TEXT_BYTES ((size_t)32 * 1024)

/* As many pointers are read at once. */
#define POINTERS 512

#define ARGUMENTS 6
#define MARK_ARGUMENT 5

/* A call that is done again. */
struct redo {
    const struct notification *notification;
    struct injection injection;
    int memory; /* /proc/PID/mem */
    uint64_t mark;
    uint64_t start; /* of the memory, in the process */
    size_t used;
};

/* Makes the call, in the thread that is held. */
typedef int64_t make_call(struct redo *redo, const void *how);

/* --- its memory ------------------------------------------------------------------------------- */

static bool has_memory(const struct redo *redo)
{
    uint64_t found;

    return pread(redo->memory, &found, sizeof found, (off_t)MEMORY_ADDRESS) ==
               (ssize_t)sizeof found &&
           found == redo->mark;
}

/* The address of a copy; 0: there is no room. */
static uint64_t put(struct redo *redo, const void *bytes, size_t count)
{
    uint64_t address = redo->start + redo->used;

    if (redo->used + count > MEMORY_BYTES ||
        pwrite(redo->memory, bytes, count, (off_t)address) != (ssize_t)count)
        return 0;
    redo->used += (count + sizeof(uint64_t) - 1) / sizeof(uint64_t) * sizeof(uint64_t);
    return address;
}

static uint64_t put_text(struct redo *redo, const char *text)
{
    return redo->used + strlen(text) + 1 <= TEXT_BYTES ? put(redo, text, strlen(text) + 1) : 0;
}

static bool begin_memory(struct redo *redo)
{
    const uint64_t arguments[ARGUMENTS] = {MEMORY_ADDRESS,         MEMORY_BYTES,
                                           PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                                           (uint64_t)-1,           0};
    int64_t start = (int64_t)MEMORY_ADDRESS;

    if (!has_memory(redo))
        start = injection_call(&redo->injection, SYS_mmap, arguments);
    if (start < 0)
        return false;
    redo->start = (uint64_t)start;
    return put(redo, &redo->mark, sizeof redo->mark) != 0;
}

/* --- the whole -------------------------------------------------------------------------------- */

static bool executes(const struct notification *notification)
{
    int call = notification->request.data.nr;

    return call == SYS_execve || call == SYS_execveat;
}

static void redo_with(const struct notification *notification, make_call *make, const void *how)
{
    struct redo redo = {
        .notification = notification,
        .injection = INJECTION_EMPTY,
        .mark = notification->sandbox->policy->filter.mark,
    };
    char name[sizeof "/proc//mem" + 3 * sizeof(pid_t)];
    pid_t thread = notify_thread(notification);
    int64_t result = -ENOTSUP;
    owned_fd int memory = -1;

    /* Where another thread executes a program, its number becomes the first one's. */
    if ((executes(notification) && proc_process_of(thread) != thread) ||
        !injection_begin(&redo.injection, notification)) {
        notify_fail(notification, ENOTSUP);
        return;
    }
    (void)snprintf(name, sizeof name, "/proc/%d/mem", thread);
    redo.memory = memory = open(name, O_RDWR | O_CLOEXEC);
    notify_fail(notification, ENOTSUP);
    if (injection_wait(&redo.injection) && memory >= 0 && begin_memory(&redo))
        result = make(&redo, how);
    if (memory < 0 || (executes(notification) && result == 0))
        injection_let_go(&redo.injection);
    else
        injection_end(&redo.injection, result);
}

/* --- another path ----------------------------------------------------------------------------- */

struct other_path {
    unsigned argument;
    const char *path;
};

static int64_t make_with_path(struct redo *redo, const void *how)
{
    const struct seccomp_data *data = &redo->notification->request.data;
    const struct other_path *other = how;
    uint64_t arguments[ARGUMENTS];

    memcpy(arguments, data->args, sizeof arguments);
    arguments[MARK_ARGUMENT] = redo->mark;
    arguments[other->argument] = put_text(redo, other->path);
    return arguments[other->argument] == 0 ? -ENOTSUP
                                           : injection_call(&redo->injection, data->nr, arguments);
}

void redo_call(const struct notification *notification, unsigned argument, const char *path)
{
    const struct other_path other = {argument, path};

    redo_with(notification, make_with_path, &other);
}

/* --- another program -------------------------------------------------------------------------- */

/* As many pointers to the program's own arguments, from one on, as can be read at once: up to the
 * first that is NULL. Their number, with that one. */
static size_t read_pointers(const struct redo *redo, uint64_t own, size_t index,
                            uint64_t pointers[POINTERS])
{
    size_t count = 0;
    uint64_t address = own + index * sizeof *pointers;
    ssize_t got = pread(redo->memory, pointers, POINTERS * sizeof *pointers, (off_t)address);

    if (got <= 0 && notify_touch(redo->notification, address, sizeof *pointers))
        got = pread(redo->memory, pointers, POINTERS * sizeof *pointers, (off_t)address);

    while (count < (size_t)(got > 0 ? got : 0) / sizeof *pointers)
        if (pointers[count++] == 0)
            break;
    return count;
}

/* The pointers to the words. 0, or a negative errno value. */
static int64_t put_words(struct redo *redo, const struct redo_program *program, uint64_t first,
                         uint64_t *pointers)
{
    for (size_t i = 0; i < program->count; i++) {
        const char *word = program->words[i];

        pointers[i] = word || first == 0 ? put_text(redo, word ? word : "") : first;
        if (pointers[i] == 0)
            return -E2BIG;
    }
    return 0;
}

/* The arguments' address in the process, or a negative errno value. */
static int64_t put_arguments(struct redo *redo, const struct redo_program *program, uint64_t own)
{
    uint64_t words[REDO_WORDS_MAX] = {0};
    uint64_t pointers[POINTERS] = {0};
    size_t count = own != 0 ? read_pointers(redo, own, 0, pointers) : 1;
    size_t index = pointers[0] != 0 ? program->skipped : 0;
    uint64_t start;
    int64_t failed;

    if (count == 0)
        return -EFAULT;
    failed = put_words(redo, program, pointers[0], words);
    if (failed != 0)
        return failed;
    start = redo->start + redo->used;
    if (program->count > 0 && put(redo, words, program->count * sizeof words[0]) == 0)
        return -E2BIG;
    for (bool more = true; more; index += count) {
        if (own != 0)
            count = read_pointers(redo, own, index, pointers);
        if (count == 0)
            return -EFAULT;
        if (put(redo, pointers, count * sizeof pointers[0]) == 0)
            return -E2BIG;
        more = pointers[count - 1] != 0;
    }
    return (int64_t)start;
}

static int64_t make_program(struct redo *redo, const void *how)
{
    const struct seccomp_data *data = &redo->notification->request.data;
    const struct redo_program *program = how;
    unsigned own = data->nr == SYS_execveat ? 2 : 1;
    uint64_t path = put_text(redo, program->path); /* among the other texts, before the pointers */
    int64_t vector = path != 0 ? put_arguments(redo, program, data->args[own]) : -E2BIG;
    const uint64_t arguments[ARGUMENTS] = {path, (uint64_t)vector, data->args[own + 1], 0,
                                           0,    redo->mark};

    return vector < 0 ? vector : injection_call(&redo->injection, SYS_execve, arguments);
}

void redo_execve(const struct notification *notification, const struct redo_program *program)
{
    redo_with(notification, make_program, program);
}
