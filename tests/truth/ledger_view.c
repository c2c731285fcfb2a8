/*
 * ledger_view.c: a test's own reader of a ledger. See ledger_view.h.
 *
 * Deliberately not the reader of the command: two readers of one format check each other.
 */
#include "ledger_view.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "kernel_view.h"

int ledger_view_open(struct ledger_view *view, const char *path)
{
    long fd = raw(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return (int)fd;
    /* The file may be longer than what is used of it, by far. */
    union {
        struct ledger_header header;
        char bytes[sizeof(struct ledger_header)];
    } head;
    long size = -1, at = -EINVAL;
    if (raw(SYS_pread64, fd, head.bytes, sizeof head, 0) == sizeof head)
        size = LEDGER_BASE_SIZE + (long)head.header.chunks * LEDGER_CHUNK_SIZE;
    if (size >= LEDGER_BASE_SIZE && raw(SYS_lseek, fd, 0, SEEK_END) >= size)
        at = raw(SYS_mmap, 0, size, PROT_READ, MAP_SHARED, fd, 0);
    raw(SYS_close, fd);
    if ((unsigned long)at > -4096UL)
        return (int)at;
    view->bytes = (const unsigned char *)at;
    view->size = (size_t)size;
    view->header = (const void *)view->bytes;
    if (memcmp(view->header->magic, LEDGER_MAGIC, 8) != 0 ||
        view->header->version != LEDGER_VERSION) {
        ledger_view_close(view);
        return -EINVAL;
    }
    return 0;
}

void ledger_view_close(struct ledger_view *view)
{
    raw(SYS_munmap, view->bytes, view->size);
    *view = (struct ledger_view){0};
}

const void *ledger_view_record(const struct ledger_view *view, enum ledger_table table,
                               uint64_t index)
{
    const struct ledger_table_layout *layout = &ledger_layout[table];
    if (index < layout->in_base)
        return view->bytes + layout->base_offset + index * layout->record_size;
    uint64_t beyond = index - layout->in_base;
    uint64_t in_chunk = LEDGER_CHUNK_SIZE / layout->record_size;
    if (beyond / in_chunk >= LEDGER_TABLE_CHUNKS)
        return NULL;
    unsigned chunk = view->header->directory[table][beyond / in_chunk];
    if (chunk == 0)
        return NULL;
    uint64_t offset = LEDGER_BASE_SIZE + (uint64_t)(chunk - 1) * LEDGER_CHUNK_SIZE +
                      beyond % in_chunk * layout->record_size;
    return offset + layout->record_size <= view->size ? view->bytes + offset : NULL;
}

const struct ledger_fd *ledger_view_fd(const struct ledger_view *view, unsigned fd)
{
    if (fd >= view->header->used[LEDGER_FDS])
        return NULL;
    const struct ledger_fd *record = ledger_view_record(view, LEDGER_FDS, fd);
    return record && ledger_view_held(record->state) ? record : NULL;
}

/* Heap sort: in place, no allocation, no recursion. */
static void sift(const struct ledger_mapping **m, size_t at, size_t n)
{
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && m[child + 1]->start > m[child]->start)
            child++;
        if (m[at]->start >= m[child]->start)
            return;
        const struct ledger_mapping *swap = m[at];
        m[at] = m[child];
        m[child] = swap;
    }
}

size_t ledger_view_mappings(const struct ledger_view *view, const struct ledger_mapping **mappings,
                            size_t max)
{
    size_t n = 0;
    for (uint64_t i = 1; i < view->header->used[LEDGER_MAPPINGS]; i++) {
        const struct ledger_mapping *m = ledger_view_record(view, LEDGER_MAPPINGS, i);
        if (m == NULL || !ledger_view_held(m->state))
            continue;
        if (n < max)
            mappings[n] = m;
        n++;
    }
    size_t kept = n < max ? n : max;
    for (size_t i = kept / 2; i-- > 0;)
        sift(mappings, i, kept);
    for (size_t i = kept; i-- > 1;) {
        const struct ledger_mapping *swap = mappings[0];
        mappings[0] = mappings[i];
        mappings[i] = swap;
        sift(mappings, 0, i);
    }
    return n;
}

const char *ledger_view_string(const struct ledger_view *view, uint32_t string)
{
    const char *s = string ? ledger_view_record(view, LEDGER_STRINGS, string) : NULL;
    return s ? s : "";
}

uint64_t ledger_view_frame(const struct ledger_view *view, uint32_t stack, unsigned n)
{
    if (stack == 0 || stack >= view->header->used[LEDGER_STACKS])
        return 0;
    const struct ledger_stack *s = ledger_view_record(view, LEDGER_STACKS, stack);
    if (s == NULL || n >= s->frames)
        return 0;
    const uint64_t *frame = ledger_view_record(view, LEDGER_FRAMES, s->first_frame + n);
    return frame ? *frame & ~LEDGER_FRAME_EXACT : 0;
}
