/*
 * save.c: from the ledger in memory to a file that `boxledger report` reads later: only what is
 * used, with the kernel's last word behind it. It never touches the ledger that it copies, and
 * never leaves half a file.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "cli/cli.h"

static bool write_at(int fd, const void *bytes, size_t size, uint64_t offset)
{
    const char *at = bytes;

    while (size) {
        ssize_t put = pwrite(fd, at, size, (off_t)offset);

        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        at += put;
        size -= (size_t)put;
        offset += (uint64_t)put;
    }
    return true;
}

static bool is_zero(const unsigned char *page)
{
    return page[0] == 0 && memcmp(page, page + 1, 4095) == 0;
}

/* Copies a piece, leaving holes where there is nothing but zeroes. */
static bool copy_piece(int from, int to, uint64_t offset, unsigned char *buffer, size_t size)
{
    enum { PAGE = 4096 };
    size_t done = 0;

    while (done < size) {
        ssize_t got = pread(from, buffer + done, size - done, (off_t)(offset + done));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return false;
        if (got == 0) {
            memset(buffer + done, 0, size - done);
            break;
        }
        done += (size_t)got;
    }
    for (size_t at = 0; at < size;) {
        size_t end = at;

        while (end < size && !is_zero(buffer + end))
            end += PAGE;
        if (end > at && !write_at(to, buffer + at, end - at, offset + at))
            return false;
        at = end + PAGE;
    }
    return true;
}

/* What is copied at a time. */
enum { PIECE = 64 << 10 };
_Static_assert(LEDGER_CHUNK_SIZE % PIECE == 0 && LEDGER_BASE_SIZE % PIECE == 0,
               "a ledger is copied in whole pieces");

void save_compact(int fd)
{
    enum { PAGE = 4096 };
    cleanup_free unsigned char *buffer = base_alloc(PIECE);
    struct ledger_header header;
    uint64_t size;

    if (pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header ||
        header.chunks > LEDGER_MAX_CHUNKS)
        return;
    size = reader_file_size(&header);
    for (uint64_t offset = 0; offset < size; offset += PIECE) {
        ssize_t got = pread(fd, buffer, PIECE, (off_t)offset);

        for (size_t at = 0, end; got > 0 && at + PAGE <= (size_t)got; at = end + PAGE) {
            for (end = at; end + PAGE <= (size_t)got && is_zero(buffer + end); end += PAGE)
                continue;
            if (end > at && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                      (off_t)(offset + at), (off_t)(end - at)) != 0)
                return;
        }
    }
}

bool save_ledger(int from, int to, const struct kernel_view *view, struct failure *failure)
{
    cleanup_free unsigned char *buffer = base_alloc(PIECE), *annex = NULL;
    struct ledger_outside outside;
    struct ledger_header header;
    size_t annex_size = 0;
    uint64_t size;

    if (pread(from, &header, sizeof header, 0) != (ssize_t)sizeof header ||
        pread(from, &outside, sizeof outside, LEDGER_OUTSIDE_OFFSET) != (ssize_t)sizeof outside)
        return failure_set(failure, "the ledger cannot be read back");
    if (header.chunks > LEDGER_MAX_CHUNKS)
        return failure_set(failure, "the ledger is corrupted: %u chunks", header.chunks);
    size = reader_file_size(&header);
    if (view)
        annex = kernel_view_pack(view, &annex_size);
    outside.annex_offset = annex_size ? size : 0;
    outside.annex_size = annex_size;
    outside.command_alive = 0;
    outside.command_pid = 0;
    for (uint64_t offset = 0; offset < size; offset += PIECE)
        if (!copy_piece(from, to, offset, buffer, PIECE))
            return failure_set(failure, "%s", strerror(errno));
    if (!write_at(to, &outside, sizeof outside, LEDGER_OUTSIDE_OFFSET) ||
        (annex_size && !write_at(to, annex, annex_size, size)) ||
        ftruncate(to, (off_t)(size + annex_size)) != 0)
        return failure_set(failure, "%s", strerror(errno));
    return true;
}

/* --- its name --- */

static bool is_ours(const struct save *save)
{
    char link[sizeof save->link];
    ssize_t length = readlink(save->path, link, sizeof link);

    return length == (ssize_t)strlen(save->link) && memcmp(link, save->link, (size_t)length) == 0;
}

bool save_begin(struct save *save, char *path, int ledger, struct failure *failure)
{
    *save = (struct save){.path = path, .fd = -1};
    (void)snprintf(save->link, sizeof save->link, "/proc/%d/fd/%d", (int)getpid(), ledger);
    if (symlink(save->link, path) == 0)
        return true;
    if (errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS) { /* no links on this one */
        save->link[0] = '\0';
        save->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
    }
    if (save->fd >= 0)
        return true;
    save->path = NULL; /* not ours to remove */
    return failure_set(failure, "--ledger: %s: %s", path, strerror(errno));
}

/* Beside it, and then in its place. */
static bool replace_link(const struct save *save, int ledger, const struct kernel_view *view,
                         struct failure *failure)
{
    cleanup_free char *beside = NULL;
    cleanup_close int fd = -1;
    bool good;

    if (asprintf(&beside, "%s.XXXXXX", save->path) < 0)
        base_no_memory();
    fd = mkostemp(beside, O_CLOEXEC); /* 0600 */
    if (fd < 0)
        return failure_set(failure, "%s", strerror(errno));
    good = save_ledger(ledger, fd, view, failure);
    if (good && !is_ours(save))
        good = failure_set(failure, "something else has its name by now");
    if (good && rename(beside, save->path) != 0)
        good = failure_set(failure, "%s", strerror(errno));
    if (!good)
        (void)unlink(beside);
    return good;
}

bool save_finish(struct save *save, int ledger, const struct kernel_view *view,
                 struct failure *failure)
{
    struct failure why = {0};
    bool good;

    if (!save->path)
        return true;
    good = save->link[0] ? replace_link(save, ledger, view, &why)
                         : save_ledger(ledger, save->fd, view, &why);
    if (good)
        save_forget(save);
    else
        save_undo(save);
    return good || failure_set(failure, "%s", why.text);
}

void save_undo(struct save *save)
{
    if (save->path && (save->link[0] ? is_ours(save) : save->fd >= 0))
        (void)unlink(save->path);
    save_forget(save);
}

void save_forget(struct save *save)
{
    if (save->fd >= 0)
        close(save->fd);
    *save = (struct save){.fd = -1};
}

const char *save_says_lost(const char *path)
{
    char link[PATH_MAX];
    ssize_t length = readlink(path, link, sizeof link - 1);

    link[length > 0 ? length : 0] = '\0';
    return strncmp(link, "/proc/", 6) == 0 ? " (the command that kept this ledger was killed)" : "";
}
