/*
 * maps.c: see maps.h.
 */
#include "maps.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "raw.h"

struct cursor {
    const char *at, *end;
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint64_t number(struct cursor *cursor, unsigned base)
{
    uint64_t value = 0;
    for (; cursor->at < cursor->end; cursor->at++) {
        int digit = hex_digit(*cursor->at);
        if (digit < 0 || (unsigned)digit >= base) {
            break;
        }
        value = value * base + (unsigned)digit;
    }
    return value;
}

/* Past what is there, and the blanks behind it. */
static void skip_word(struct cursor *cursor)
{
    while (cursor->at < cursor->end && *cursor->at != ' ') {
        cursor->at++;
    }
    while (cursor->at < cursor->end && *cursor->at == ' ') {
        cursor->at++;
    }
}

static bool begins_with(const struct cursor *cursor, const char *text)
{
    const char *at = cursor->at;
    while (*text && at < cursor->end && *at == *text) {
        at++;
        text++;
    }
    return *text == 0;
}

static enum maps_name name_at(const struct cursor *cursor)
{
    if (cursor->at == cursor->end || begins_with(cursor, "[anon:")) {
        return MAPS_NOTHING;
    }
    if (begins_with(cursor, "/dev/zero (deleted)") || begins_with(cursor, "[anon_shmem:")) {
        return MAPS_ZERO;
    }
    return *cursor->at == '[' ? MAPS_KERNELS : MAPS_FILE;
}

static bool is_alike(const struct maps_range *range, const struct maps_range *line)
{
    return range->inode == line->inode && range->prot == line->prot && range->name == line->name &&
           range->shared == line->shared;
}

static void note(struct maps_range *range, const struct maps_range *line)
{
    if (range->seen == range->start && line->start <= range->start) {
        range->inode = line->inode;
        range->prot = line->prot;
        range->name = line->name;
        range->shared = line->shared;
    }
    if (line->start <= range->seen && line->end > range->seen && is_alike(range, line)) {
        range->seen = line->end < range->end ? line->end : range->end;
    }
    range->whole = range->seen == range->end;
}

uint32_t maps_line(struct maps_range *ranges, uint32_t count, uint32_t first, const char *text,
                   size_t length)
{
    struct cursor cursor = {text, text + length};
    struct maps_range line = {.start = number(&cursor, 16)};
    if (cursor.at < cursor.end && *cursor.at == '-') {
        cursor.at++;
    }
    line.end = number(&cursor, 16);
    skip_word(&cursor);
    if (cursor.end - cursor.at < 4 || line.start >= line.end) {
        return first;
    }
    line.prot =
        (uint8_t)((cursor.at[0] == 'r' ? PROT_READ : 0) | (cursor.at[1] == 'w' ? PROT_WRITE : 0) |
                  (cursor.at[2] == 'x' ? PROT_EXEC : 0));
    line.shared = cursor.at[3] == 's';
    skip_word(&cursor); /* the protection */
    skip_word(&cursor); /* the offset */
    skip_word(&cursor); /* the device */
    line.inode = number(&cursor, 10);
    skip_word(&cursor);
    line.name = (uint8_t)name_at(&cursor);
    while (first < count && ranges[first].end <= line.start) {
        first++;
    }
    for (uint32_t i = first; i < count && ranges[i].start < line.end; i++) {
        note(&ranges[i], &line);
    }
    return first;
}

bool maps_ask(struct maps_range *ranges, uint32_t count, char *buffer)
{
    for (uint32_t i = 0; i < count; i++) {
        ranges[i].seen = ranges[i].start;
        ranges[i].whole = false;
    }
    long fd = raw_syscall4(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    if (raw_failed(fd)) {
        return false;
    }
    size_t filled = 0;
    uint32_t first = 0;
    long got;
    while (first < count &&
           (got = raw_syscall3(SYS_read, fd, buffer + filled, MAPS_BUFFER - filled)) > 0) {
        filled += (size_t)got;
        size_t from = 0;
        for (size_t at = 0; at < filled; at++) {
            if (buffer[at] == '\n') {
                first = maps_line(ranges, count, first, buffer + from, at - from);
                from = at + 1;
            }
        }
        if (from == 0 && filled == MAPS_BUFFER) {
            break; /* no line is that long */
        }
        for (size_t at = from; at < filled; at++) {
            buffer[at - from] = buffer[at];
        }
        filled -= from;
    }
    raw_syscall1(SYS_close, fd);
    return true;
}

uint64_t maps_count(char *buffer, size_t size)
{
    uint64_t lines = 0;
    long fd = raw_syscall4(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    if (raw_failed(fd)) {
        return 0;
    }
    long got;
    while ((got = raw_syscall3(SYS_read, fd, buffer, size)) > 0) {
        for (long i = 0; i < got; i++) {
            lines += buffer[i] == '\n';
        }
    }
    raw_syscall1(SYS_close, fd);
    return lines;
}
