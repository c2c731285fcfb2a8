/*
 * verify.c: compares a ledger with the kernel's view. Calls that no wrapper saw must never become
 * a false report (DESIGN 4): what the kernel does not have is dropped, a range is trimmed to what
 * is left of it, a number that is now something else was released unseen. It adds nothing.
 */
#include "report/verify.h"

#include <string.h>

enum ledger_fd_kind verify_kind_of_name(const char *name)
{
    static const struct {
        const char *prefix;
        enum ledger_fd_kind kind;
    } known[] = {
        {"/memfd:", LEDGER_FD_MEMFD},
        {"/secretmem", LEDGER_FD_SECRETMEM},
        {"pipe:[", LEDGER_FD_PIPE},
        {"socket:[", LEDGER_FD_SOCKET},
        {"pidfd:[", LEDGER_FD_PIDFD},
        {"anon_inode:[eventfd]", LEDGER_FD_EVENTFD},
        {"anon_inode:[eventpoll]", LEDGER_FD_EPOLL},
        {"anon_inode:[timerfd]", LEDGER_FD_TIMERFD},
        {"anon_inode:[signalfd]", LEDGER_FD_SIGNALFD},
        {"anon_inode:inotify", LEDGER_FD_INOTIFY},
        {"anon_inode:[fanotify]", LEDGER_FD_FANOTIFY},
        {"anon_inode:[pidfd]", LEDGER_FD_PIDFD},
        {"anon_inode:[io_uring]", LEDGER_FD_IO_URING},
        {"anon_inode:[userfaultfd]", LEDGER_FD_USERFAULTFD},
        {"anon_inode:[perf_event]", LEDGER_FD_PERF},
        {"anon_inode:bpf", LEDGER_FD_BPF},
        {"anon_inode:[landlock-ruleset]", LEDGER_FD_LANDLOCK},
        {"anon_inode:seccomp notify", LEDGER_FD_SECCOMP},
        {"anon_inode:kvm-vm", LEDGER_FD_KVM_VM},
        {"anon_inode:kvm-vcpu", LEDGER_FD_KVM_VCPU},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(name, known[i].prefix, strlen(known[i].prefix)) == 0)
            return known[i].kind;
    return LEDGER_FD_UNKNOWN;
}

bool verify_is_kept(const struct verify_held *held)
{
    if (held->fd)
        return held->fd->kind == LEDGER_FD_RECLAIMED;
    return (held->mapping->flags & LEDGER_KEPT) != 0;
}

/* What stands in the place of what a policy took back. */
static bool is_placeholder(const char *name)
{
    static const char ours[] = "/memfd:boxledger";

    return strncmp(name, ours, sizeof ours - 1) == 0;
}

/* Whether what the ledger took the descriptor for and what the kernel calls it cannot both be
 * true. In doubt they can: opening /proc/self/fd/N gives nearly anything. */
static bool contradicts(const struct ledger_fd *record, const char *name)
{
    enum ledger_fd_kind actual = verify_kind_of_name(name);

    if (record->kind == LEDGER_FD_RECLAIMED)
        return !is_placeholder(name);
    if (actual == LEDGER_FD_UNKNOWN)
        return false;
    switch (record->kind) {
    case LEDGER_FD_UNKNOWN:
    case LEDGER_FD_RECEIVED:
    case LEDGER_FD_IOCTL:
    case LEDGER_FD_DUP:
    case LEDGER_FD_KVM_DEVICE:
        return false;
    case LEDGER_FD_FILE:
    case LEDGER_FD_DIRECTORY:
    case LEDGER_FD_SHM:
        return actual != LEDGER_FD_MEMFD && actual != LEDGER_FD_PIPE;
    default:
        return record->kind != actual;
    }
}

static struct verify_held *add_held(struct verify *verify)
{
    verify->held = base_grow(verify->held, verify->count, sizeof *verify->held);
    verify->held[verify->count] = (struct verify_held){0};
    return &verify->held[verify->count++];
}

static void verify_fds(struct verify *verify, const struct reader *reader,
                       const struct kernel_view *view)
{
    const struct reader_table *table = &reader->tables[LEDGER_FDS];
    bool asked = view && view->fds_known;

    for (uint64_t i = 0; i < table->count; i++) {
        const struct ledger_fd *record = reader_record(reader, LEDGER_FDS, i);
        unsigned state = record->state & 7u;
        const struct kernel_fd *kernel = NULL;
        struct verify_held *held;
        bool later;

        if (state != LEDGER_LIVE && state != LEDGER_IN_FLIGHT)
            continue;
        /* Taken after the kernel was asked: it cannot say. */
        later = asked && record->since_ns > view->taken_ns;
        if (asked && !later) {
            kernel = kernel_find_fd(view, (uint32_t)i);
            if (!kernel || (kernel->name && contradicts(record, kernel->name))) {
                verify->gone_fds++;
                continue;
            }
        } else if (state == LEDGER_IN_FLIGHT) {
            /* Its release had begun, and nobody is left to say that it failed. */
            continue;
        }
        held = add_held(verify);
        held->resource = REPORT_FD;
        held->index = (uint32_t)i;
        held->fd = record;
        held->verified = kernel != NULL;
        if (kernel)
            held->name = kernel->name;
        if (!held->name && view)
            held->name = kernel_find_name(view, (uint32_t)i, record);
    }
    for (size_t i = 0; asked && i < view->fd_count; i++) {
        const struct ledger_fd *record = reader_record(reader, LEDGER_FDS, view->fds[i].fd);
        unsigned state = record ? record->state & 7u : LEDGER_EMPTY;

        if (state == LEDGER_EMPTY ||
            (state == LEDGER_LIVE && view->fds[i].name && contradicts(record, view->fds[i].name))) {
            verify->unseen =
                base_grow(verify->unseen, verify->unseen_fds, sizeof(const struct kernel_fd *));
            verify->unseen[verify->unseen_fds++] = &view->fds[i];
        }
    }
}

/* Anonymous memory is no file; a mapped descriptor has an inode. (Shared anonymous memory, SysV
 * segments and huge pages are files to the kernel, so only clear cases count.) */
static bool other_memory(const struct ledger_mapping *mapping, const struct kernel_range *range)
{
    if (mapping->flags & (LEDGER_INHERITED | LEDGER_ADOPTED))
        return false;
    if ((mapping->flags & LEDGER_KEPT) && range->name && is_placeholder(range->name))
        return false;
    if (mapping->flags & LEDGER_FILE_MAP)
        return range->inode == 0;
    if (mapping->flags & (LEDGER_SHARED_MAP | LEDGER_SHM_MAP))
        return false;
    return range->inode != 0 && range->name && range->name[0] == '/' &&
           strncmp(range->name, "/anon_hugepage", 14) != 0 &&
           strncmp(range->name, "/dev/zero", 9) != 0;
}

static void verify_mappings(struct verify *verify, const struct reader *reader,
                            const struct kernel_view *view)
{
    const struct reader_table *table = &reader->tables[LEDGER_MAPPINGS];
    bool asked = view && view->ranges_known;

    for (uint64_t i = 1; i < table->count; i++) {
        const struct ledger_mapping *record = reader_record(reader, LEDGER_MAPPINGS, i);
        uint64_t bytes = record->end - record->start;
        bool confirmed = false;
        const char *name = NULL;
        struct verify_held *held;

        if ((record->state != LEDGER_LIVE && record->state != LEDGER_IN_FLIGHT) ||
            record->end <= record->start)
            continue;
        if (asked && record->since_ns <= view->taken_ns) {
            bytes = 0;
            for (size_t at = kernel_find_range(view, record->start);
                 at < view->range_count && view->ranges[at].start < record->end; at++) {
                const struct kernel_range *range = &view->ranges[at];
                uint64_t start = range->start > record->start ? range->start : record->start;
                uint64_t end = range->end < record->end ? range->end : record->end;

                if (other_memory(record, range))
                    continue;
                bytes += end - start;
                if (!name)
                    name = range->name;
            }
            if (bytes == 0) {
                verify->gone_mappings++;
                continue;
            }
            confirmed = true;
        } else if (record->state == LEDGER_IN_FLIGHT) {
            continue;
        }
        held = add_held(verify);
        held->resource = REPORT_MAPPING;
        held->index = (uint32_t)i;
        held->mapping = record;
        held->bytes = bytes;
        held->name = name;
        held->verified = confirmed;
    }
}

void verify_ledger(struct verify *verify, const struct reader *reader,
                   const struct kernel_view *view)
{
    *verify = (struct verify){0};
    verify_fds(verify, reader, view);
    verify_mappings(verify, reader, view);
}

void verify_free(struct verify *verify)
{
    free(verify->held);
    free(verify->unseen);
    *verify = (struct verify){0};
}
