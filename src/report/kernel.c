/*
 * kernel.c: reads /proc/PID/fd, maps and limits into a view, and views from and to annexes.
 *
 * It asks only, and only about the process it was told of: it never attaches to it, stops it or
 * opens anything of it.
 */
#include "report/kernel.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "report/reader.h"

#define THREADS_MAX 16384u /* names kept, of threads long gone, too */

static const char deleted[] = " (deleted)";

static size_t trimmed(const char *name, size_t length)
{
    size_t tail = sizeof deleted - 1;

    return length > tail && memcmp(name + length - tail, deleted, tail) == 0 ? length - tail
                                                                             : length;
}

void kernel_trim_name(char *name)
{
    name[trimmed(name, strlen(name))] = '\0';
}

static const char *keep_name(struct kernel_view *view, const char *name, size_t length)
{
    return arena_text(&view->arena, name, trimmed(name, length));
}

static const char *look_up_name(struct kernel_view *view, int directory, const char *number)
{
    char name[PATH_MAX];
    ssize_t length = readlinkat(directory, number, name, sizeof name);

    return length > 0 ? keep_name(view, name, (size_t)length) : NULL;
}

static int by_number(const void *a, const void *b)
{
    const struct kernel_fd *x = a, *y = b;

    return (x->fd > y->fd) - (x->fd < y->fd);
}

static void look_at_fds(struct kernel_view *view, pid_t pid)
{
    char path[64];
    struct dirent *entry;
    DIR *directory;

    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    directory = opendir(path);
    if (!directory)
        return;
    errno = 0;
    while ((entry = readdir(directory))) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        view->fds = base_grow(view->fds, view->fd_count, sizeof *view->fds);
        view->fds[view->fd_count++] = (struct kernel_fd){
            .fd = (uint32_t)strtoul(entry->d_name, NULL, 10),
            .name = look_up_name(view, dirfd(directory), entry->d_name),
        };
        errno = 0;
    }
    /* A process has no descriptors left once it is a zombie: that is not an empty answer. */
    view->fds_known = errno == 0;
    closedir(directory);
    if (view->fd_count)
        qsort(view->fds, view->fd_count, sizeof *view->fds, by_number);
}

static uint64_t read_number(const char **at, unsigned base)
{
    uint64_t number = 0;

    for (;; ++*at) {
        unsigned digit;

        if (**at >= '0' && **at <= '9')
            digit = (unsigned)(**at - '0');
        else if (**at >= 'a' && **at <= 'f')
            digit = (unsigned)(**at - 'a') + 10;
        else
            return number;
        if (digit >= base)
            return number;
        number = number * base + digit;
    }
}

/* One line of /proc/PID/maps: start-end perms offset major:minor inode   name */
static bool read_range(const char *line, struct kernel_range *range, uint64_t *device,
                       const char **name)
{
    uint64_t major, minor;

    range->start = read_number(&line, 16);
    if (*line++ != '-')
        return false;
    range->end = read_number(&line, 16);
    for (unsigned spaces = 0; spaces < 2; line++) { /* behind perms; behind offset's start */
        if (!*line)
            return false;
        if (*line == ' ')
            spaces++;
    }
    (void)read_number(&line, 16);
    if (*line++ != ' ')
        return false;
    major = read_number(&line, 16);
    if (*line++ != ':')
        return false;
    minor = read_number(&line, 16);
    if (*line++ != ' ')
        return false;
    *device = makedev((unsigned)major, (unsigned)minor);
    range->inode = read_number(&line, 10);
    while (*line == ' ')
        line++;
    *name = line;
    return range->end > range->start;
}

static void look_at_ranges(struct kernel_view *view, pid_t pid)
{
    cleanup_free char *line = NULL;
    cleanup_file FILE *maps = NULL;
    cleanup_free char *buffer = NULL;
    const char *last = NULL;
    size_t room = 0;
    ssize_t length;
    char path[64];

    (void)snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    maps = fopen(path, "re");
    if (!maps)
        return;
    buffer = base_alloc(1 << 16);
    (void)setvbuf(maps, buffer, _IOFBF, 1 << 16);
    while ((length = getline(&line, &room, maps)) > 0) {
        struct kernel_range range = {0};
        const char *name;
        uint64_t device;

        if (line[length - 1] == '\n')
            line[--length] = '\0';
        if (!read_range(line, &range, &device, &name))
            continue;
        if (strcmp(name, "[vsyscall]") == 0) /* the same for all; no VMA */
            continue;
        if (*name) {
            size_t name_length = (size_t)(line + length - name);

            /* Neighbours mostly share a name: keep it once. */
            range.name = keep_name(view, name, name_length);
            if (last && strcmp(last, range.name) == 0)
                range.name = last;
            last = range.name;
        }
        view->ranges = base_grow(view->ranges, view->range_count, sizeof *view->ranges);
        view->ranges[view->range_count++] = range;
    }
    /* Stdio and the buffer end in the reverse order of their declarations: close here. */
    view->ranges_known = !ferror(maps) && view->range_count != 0;
    fclose(maps);
    maps = NULL;
    view->vmas = view->range_count;
}

static void look_at_limits(struct kernel_view *view, pid_t pid)
{
    static const char row[] = "Max open files";
    cleanup_file FILE *limits = NULL;
    cleanup_file FILE *sysctl = NULL;
    char line[256];

    (void)snprintf(line, sizeof line, "/proc/%d/limits", (int)pid);
    limits = fopen(line, "re");
    while (limits && fgets(line, sizeof line, limits))
        if (strncmp(line, row, sizeof row - 1) == 0)
            view->max_fds = strtoull(line + sizeof row - 1, NULL, 10);
    sysctl = fopen("/proc/sys/vm/max_map_count", "re");
    if (sysctl && fgets(line, sizeof line, sysctl))
        view->max_map_count = strtoull(line, NULL, 10);
}

static uint64_t monotonic_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* While a process is taken apart its lists end early, and nothing says so. Its memory goes first,
 * and its program with it, before any of its descriptors: do_exit() in kernel/exit.c. */
static bool is_taken_apart(pid_t pid)
{
    char path[64], target;

    (void)snprintf(path, sizeof path, "/proc/%lld/exe", (long long)pid);
    return readlink(path, &target, sizeof target) < 0 && (errno == ENOENT || errno == ESRCH);
}

void kernel_look(struct kernel_view *view, pid_t pid)
{
    free(view->fds);
    free(view->ranges);
    view->fds = NULL;
    view->ranges = NULL;
    view->fd_count = view->range_count = 0;
    view->fds_known = view->ranges_known = false;
    view->taken_ns = monotonic_ns();
    look_at_fds(view, pid);
    look_at_ranges(view, pid);
    look_at_limits(view, pid);
    if (is_taken_apart(pid))
        view->fds_known = view->ranges_known = false;
}

/* --- owners that nobody reaped ------------------------------------------------------------------
 */

static bool is_there(uint32_t pid)
{
    return kill((pid_t)pid, 0) == 0 || errno != ESRCH;
}

static bool is_child_of(uint32_t pid, pid_t parent)
{
    char text[512], path[64], *name_end;
    cleanup_close int fd = -1;
    ssize_t got;
    long of;

    (void)snprintf(path, sizeof path, "/proc/%" PRIu32 "/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (got <= 0) /* gone, or hidden from us: then it is there */
        return is_there(pid);
    text[got] = '\0';
    name_end = strrchr(text, ')'); /* the name may hold anything */
    if (!name_end || sscanf(name_end + 1, " %*c %ld", &of) != 1)
        return is_there(pid);
    return of == (long)parent;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

void kernel_look_at_owners(struct kernel_view *view, pid_t pid, int ledger_fd)
{
    cleanup_reader struct reader *reader =
        reader_open_table(ledger_fd, "ledger", LEDGER_OWNERS, NULL);

    free(view->gone);
    view->gone = NULL;
    view->gone_count = 0;
    /* In another pid namespace, its numbers are not ours. */
    if (!reader || reader->header.pid != (uint32_t)pid)
        return;
    for (uint64_t i = 1; i < reader->tables[LEDGER_OWNERS].count; i++) {
        const struct ledger_owner *owner = reader_record(reader, LEDGER_OWNERS, i);

        if (owner->state != LEDGER_LIVE || owner->kind != LEDGER_OWNER_CHILD || owner->pid == 0 ||
            owner->pid > INT_MAX || is_child_of(owner->pid, pid))
            continue;
        view->gone = base_grow(view->gone, view->gone_count, sizeof *view->gone);
        view->gone[view->gone_count++] = owner->serial;
    }
    if (is_taken_apart(pid)) /* its children have been given to another */
        view->gone_count = 0;
    if (view->gone_count)
        qsort(view->gone, view->gone_count, sizeof *view->gone, by_value);
}

bool kernel_owner_is_gone(const struct kernel_view *view, uint64_t serial)
{
    return view->gone_count &&
           bsearch(&serial, view->gone, view->gone_count, sizeof serial, by_value) != NULL;
}

size_t kernel_owners_gone_after(const struct kernel_view *view, uint64_t serial)
{
    size_t low = 0, high = view->gone_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (view->gone[middle] > serial)
            high = middle;
        else
            low = middle + 1;
    }
    return view->gone_count - low;
}

/* --- threads ------------------------------------------------------------------------------------
 */

static int by_tid(const void *a, const void *b)
{
    const struct kernel_thread *x = a, *y = b;

    return (x->tid > y->tid) - (x->tid < y->tid);
}

const char *kernel_find_thread(const struct kernel_view *view, uint32_t tid)
{
    struct kernel_thread key = {.tid = tid};
    const struct kernel_thread *thread = NULL;

    if (view->thread_count)
        thread = bsearch(&key, view->threads, view->thread_count, sizeof key, by_tid);
    return thread ? thread->name : NULL;
}

static bool read_comm(int directory, const char *tid, char *name, size_t size)
{
    cleanup_close int fd = -1;
    char path[32];
    ssize_t got;

    (void)snprintf(path, sizeof path, "%.10s/comm", tid);
    fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
    got = fd >= 0 ? read(fd, name, size - 1) : -1;
    if (got <= 0)
        return false;
    name[got] = '\0';
    name[strcspn(name, "\n")] = '\0';
    return true;
}

void kernel_sample_threads(struct kernel_view *view, pid_t pid)
{
    size_t known = view->thread_count;
    struct dirent *entry;
    DIR *directory;
    char path[64];

    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    directory = opendir(path);
    while (directory && (entry = readdir(directory))) {
        struct kernel_thread thread = {.tid = (uint32_t)strtoul(entry->d_name, NULL, 10)};
        struct kernel_thread *before = NULL;

        if (thread.tid == 0 ||
            !read_comm(dirfd(directory), entry->d_name, thread.name, sizeof thread.name))
            continue;
        if (known)
            before = bsearch(&thread, view->threads, known, sizeof thread, by_tid);
        if (before) {
            *before = thread;
        } else if (view->thread_count < THREADS_MAX) {
            view->threads = base_grow(view->threads, view->thread_count, sizeof *view->threads);
            view->threads[view->thread_count++] = thread;
        }
    }
    if (directory)
        closedir(directory);
    if (view->thread_count > known)
        qsort(view->threads, view->thread_count, sizeof *view->threads, by_tid);
}

/* --- names --------------------------------------------------------------------------------------
 */

static int by_fd_and_time(const void *a, const void *b)
{
    const struct kernel_name *x = a, *y = b;

    if (x->fd != y->fd)
        return x->fd < y->fd ? -1 : 1;
    return (x->since_ns > y->since_ns) - (x->since_ns < y->since_ns);
}

static struct kernel_name *find_name(const struct kernel_view *view, uint32_t fd,
                                     const struct ledger_fd *record)
{
    struct kernel_name key = {.fd = fd, .since_ns = record->since_ns};
    struct kernel_name *name = NULL;

    if (view->name_count)
        name = bsearch(&key, view->names, view->name_count, sizeof key, by_fd_and_time);
    return name && name->stack == record->stack ? name : NULL;
}

const char *kernel_find_name(const struct kernel_view *view, uint32_t fd,
                             const struct ledger_fd *record)
{
    const struct kernel_name *name = find_name(view, fd, record);

    return name ? name->name : NULL;
}

static void free_names(struct kernel_name *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i].name);
    free(names);
}

static char *look_up_sample(int directory, uint32_t fd)
{
    struct kernel_view scratch = {0};
    const char *name;
    char number[16], *copy = NULL;

    (void)snprintf(number, sizeof number, "%" PRIu32, fd);
    name = look_up_name(&scratch, directory, number);
    if (name && !(copy = strdup(name)))
        base_no_memory();
    arena_free(&scratch.arena);
    return copy;
}

size_t kernel_sample_names(struct kernel_view *view, pid_t pid, int ledger_fd)
{
    cleanup_reader struct reader *before = reader_open_table(ledger_fd, "ledger", LEDGER_FDS, NULL);
    cleanup_reader struct reader *after = NULL;
    struct kernel_name *names = NULL; /* all of the table's, so that old ones do not pile up */
    size_t looked_up = 0, count = 0, sure = 0;
    cleanup_close int directory = -1;
    char path[64];

    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!before || directory < 0)
        return 0;
    for (uint32_t fd = 0; fd < before->tables[LEDGER_FDS].count; fd++) {
        const struct ledger_fd *record = reader_record(before, LEDGER_FDS, fd);
        struct kernel_name name = {.fd = fd, .stack = record->stack, .since_ns = record->since_ns};
        struct kernel_name *known;

        if ((record->state & 7u) != LEDGER_LIVE || !(record->flags & LEDGER_ADOPTED))
            continue;
        known = find_name(view, fd, record);
        if (known) {
            name.name = known->name;
            known->name = NULL;
        } else {
            name.name = look_up_sample(directory, fd);
            name.is_new = true;
            looked_up++;
        }
        if (!name.name)
            continue;
        names = base_grow(names, count, sizeof name);
        names[count++] = name;
    }
    /* A number may have changed hands between the ledger and readlink: keep a new name only if
     * the record is still the same one. */
    if (looked_up)
        after = reader_open_table(ledger_fd, "ledger", LEDGER_FDS, NULL);
    for (size_t i = 0; i < count; i++) {
        const struct ledger_fd *record =
            names[i].is_new && after ? reader_record(after, LEDGER_FDS, names[i].fd) : NULL;

        if (!names[i].is_new ||
            (record && (record->state & 7u) == LEDGER_LIVE && record->stack == names[i].stack &&
             record->since_ns == names[i].since_ns)) {
            names[sure] = names[i];
            names[sure++].is_new = false;
        } else {
            free(names[i].name);
        }
    }
    free_names(view->names, view->name_count);
    view->names = names;
    view->name_count = sure;
    return looked_up;
}

const struct kernel_fd *kernel_find_fd(const struct kernel_view *view, uint32_t fd)
{
    struct kernel_fd key = {.fd = fd};

    if (view->fd_count == 0)
        return NULL;
    return bsearch(&key, view->fds, view->fd_count, sizeof key, by_number);
}

size_t kernel_find_range(const struct kernel_view *view, uint64_t address)
{
    size_t low = 0, high = view->range_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (view->ranges[middle].end > address)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The annex: this, then the descriptors, the ranges, the sampled names, the owners that are gone,
 * the threads, the series, then the bytes of the names, each NUL-terminated and named by
 * offset + 1 (0: none). */
#define ANNEX_MAGIC "BOXKERNL"
struct annex_header {
    char magic[8];
    uint32_t fds_known, ranges_known;
    uint32_t running, reserved;
    uint64_t taken_ns, vmas, max_fds, max_map_count;
    uint64_t fds, ranges, names, gone, threads, series, bytes;
};
struct annex_fd {
    uint32_t fd, name;
};
struct annex_range {
    uint64_t start, end, inode;
    uint32_t name, reserved;
};
struct annex_name {
    uint32_t fd, stack, name, reserved;
    uint64_t since_ns;
};

struct annex_series {
    uint32_t name, count;
    struct ledger_growth growth;
};

struct name_bytes {
    char *bytes;
    size_t length, room;
    const char *last;
    uint32_t last_name;
};

static uint32_t put_name(struct name_bytes *names, const char *name)
{
    size_t length;

    if (!name)
        return 0;
    if (name == names->last)
        return names->last_name;
    length = strlen(name) + 1;
    while (names->room - names->length < length) {
        names->room = names->room ? 2 * names->room : 4096;
        names->bytes = base_resize(names->bytes, names->room);
    }
    names->last = name;
    names->last_name = (uint32_t)names->length + 1;
    memcpy(names->bytes + names->length, name, length);
    names->length += length;
    return names->last_name;
}

unsigned char *kernel_view_pack(const struct kernel_view *view, size_t *size)
{
    struct annex_header header = {
        .magic = ANNEX_MAGIC,
        .fds_known = view->fds_known,
        .ranges_known = view->ranges_known,
        .running = view->running,
        .taken_ns = view->taken_ns,
        .vmas = view->vmas,
        .max_fds = view->max_fds,
        .max_map_count = view->max_map_count,
        .fds = view->fd_count,
        .ranges = view->range_count,
        .names = view->name_count,
        .gone = view->gone_count,
        .threads = view->thread_count,
        .series = view->series_count,
    };
    size_t records =
        view->fd_count * sizeof(struct annex_fd) + view->range_count * sizeof(struct annex_range) +
        view->name_count * sizeof(struct annex_name) + view->gone_count * sizeof *view->gone +
        view->thread_count * sizeof *view->threads +
        view->series_count * sizeof(struct annex_series);
    unsigned char *bytes = base_alloc(sizeof header + records);
    unsigned char *at = bytes + sizeof header;
    struct name_bytes names = {0};

    for (size_t i = 0; i < view->fd_count; i++) {
        struct annex_fd out = {view->fds[i].fd, put_name(&names, view->fds[i].name)};

        memcpy(at, &out, sizeof out);
        at += sizeof out;
    }
    for (size_t i = 0; i < view->range_count; i++) {
        const struct kernel_range *range = &view->ranges[i];
        struct annex_range out = {range->start, range->end, range->inode,
                                  put_name(&names, range->name), 0};

        memcpy(at, &out, sizeof out);
        at += sizeof out;
    }
    for (size_t i = 0; i < view->name_count; i++) {
        const struct kernel_name *name = &view->names[i];
        struct annex_name out = {name->fd, name->stack, put_name(&names, name->name), 0,
                                 name->since_ns};

        memcpy(at, &out, sizeof out);
        at += sizeof out;
    }
    for (size_t i = 0; i < view->gone_count; i++, at += sizeof *view->gone)
        memcpy(at, &view->gone[i], sizeof *view->gone);
    for (size_t i = 0; i < view->thread_count; i++, at += sizeof *view->threads)
        memcpy(at, &view->threads[i], sizeof *view->threads);
    for (size_t i = 0; i < view->series_count; i++) {
        const struct kernel_series *series = &view->series[i];
        struct annex_series out = {put_name(&names, series->what), series->count, series->growth};

        memcpy(at, &out, sizeof out);
        at += sizeof out;
    }
    header.bytes = names.length;
    memcpy(bytes, &header, sizeof header);
    *size = sizeof header + records + names.length;
    bytes = base_resize(bytes, *size);
    if (names.length)
        memcpy(bytes + sizeof header + records, names.bytes, names.length);
    free(names.bytes);
    return bytes;
}

static bool unpack_name(const char **name, uint32_t offset, const char *bytes, uint64_t length)
{
    if (offset > length)
        return false;
    *name = offset ? bytes + offset - 1 : NULL;
    return true;
}

bool kernel_view_unpack(struct kernel_view *view, const unsigned char *bytes, size_t size,
                        struct failure *failure)
{
    const unsigned char *at = bytes + sizeof(struct annex_header);
    struct annex_header header;
    const char *names;
    size_t left;

    *view = (struct kernel_view){0};
    if (size < sizeof header)
        return failure_set(failure, "corrupted: its annex is too short");
    memcpy(&header, bytes, sizeof header);
    left = size - sizeof header;
    if (memcmp(header.magic, ANNEX_MAGIC, sizeof header.magic) != 0)
        return failure_set(failure, "corrupted: its annex is none");
    if (header.fds > left / sizeof(struct annex_fd) ||
        header.ranges > left / sizeof(struct annex_range) ||
        header.names > left / sizeof(struct annex_name) ||
        header.gone > left / sizeof *view->gone || header.threads > left / sizeof *view->threads ||
        header.series > left / sizeof(struct annex_series) || header.bytes > left ||
        header.fds * sizeof(struct annex_fd) + header.ranges * sizeof(struct annex_range) +
                header.names * sizeof(struct annex_name) + header.gone * sizeof *view->gone +
                header.threads * sizeof *view->threads +
                header.series * sizeof(struct annex_series) + header.bytes !=
            left)
        return failure_set(failure, "corrupted: its annex has the wrong length");
    names = (const char *)bytes + size - header.bytes;
    if (header.bytes && names[header.bytes - 1] != '\0')
        return failure_set(failure, "corrupted: a name in its annex has no end");
    view->fds_known = header.fds_known != 0;
    view->ranges_known = header.ranges_known != 0;
    view->running = header.running != 0;
    view->taken_ns = header.taken_ns;
    view->vmas = header.vmas;
    view->max_fds = header.max_fds;
    view->max_map_count = header.max_map_count;
    names = arena_text(&view->arena, names, header.bytes);
    view->fds = base_alloc(header.fds * sizeof *view->fds);
    for (uint64_t i = 0; i < header.fds; i++, at += sizeof(struct annex_fd)) {
        struct annex_fd in;

        memcpy(&in, at, sizeof in);
        view->fds[i].fd = in.fd;
        if (!unpack_name(&view->fds[i].name, in.name, names, header.bytes) ||
            (i && view->fds[i].fd <= view->fds[i - 1].fd))
            return failure_set(failure, "corrupted: a descriptor in its annex");
        view->fd_count++;
    }
    view->ranges = base_alloc(header.ranges * sizeof *view->ranges);
    for (uint64_t i = 0; i < header.ranges; i++, at += sizeof(struct annex_range)) {
        struct annex_range in;

        memcpy(&in, at, sizeof in);
        view->ranges[i] =
            (struct kernel_range){.start = in.start, .end = in.end, .inode = in.inode};
        if (!unpack_name(&view->ranges[i].name, in.name, names, header.bytes) ||
            in.end <= in.start || (i && in.start < view->ranges[i - 1].end))
            return failure_set(failure, "corrupted: a range in its annex");
        view->range_count++;
    }
    view->names = base_alloc(header.names * sizeof *view->names);
    for (uint64_t i = 0; i < header.names; i++, at += sizeof(struct annex_name)) {
        struct annex_name in;
        const char *name;

        memcpy(&in, at, sizeof in);
        view->names[i] =
            (struct kernel_name){.fd = in.fd, .stack = in.stack, .since_ns = in.since_ns};
        if (!unpack_name(&name, in.name, names, header.bytes) || !name)
            return failure_set(failure, "corrupted: a name in its annex");
        view->names[i].name = strdup(name);
        if (!view->names[i].name)
            base_no_memory();
        view->name_count++;
    }
    view->gone = base_alloc(header.gone * sizeof *view->gone);
    view->gone_count = header.gone;
    for (uint64_t i = 0; i < header.gone; i++, at += sizeof *view->gone)
        memcpy(&view->gone[i], at, sizeof *view->gone);
    view->threads = base_alloc(header.threads * sizeof *view->threads);
    view->thread_count = header.threads;
    for (uint64_t i = 0; i < header.threads; i++, at += sizeof *view->threads) {
        memcpy(&view->threads[i], at, sizeof *view->threads);
        view->threads[i].name[sizeof view->threads[i].name - 1] = '\0';
    }
    view->series = base_alloc(header.series * sizeof *view->series);
    for (uint64_t i = 0; i < header.series; i++, at += sizeof(struct annex_series)) {
        struct annex_series in;
        const char *name;

        memcpy(&in, at, sizeof in);
        if (!unpack_name(&name, in.name, names, header.bytes) || !name)
            return failure_set(failure, "corrupted: a name in its annex");
        view->series[i] =
            (struct kernel_series){.what = strdup(name), .count = in.count, .growth = in.growth};
        if (!view->series[i].what)
            base_no_memory();
        view->series_count++;
    }
    /* The order is ours, not the file's word. */
    if (view->name_count)
        qsort(view->names, view->name_count, sizeof *view->names, by_fd_and_time);
    if (view->gone_count)
        qsort(view->gone, view->gone_count, sizeof *view->gone, by_value);
    if (view->thread_count)
        qsort(view->threads, view->thread_count, sizeof *view->threads, by_tid);
    return true;
}

void kernel_view_free(struct kernel_view *view)
{
    free(view->fds);
    free(view->ranges);
    free_names(view->names, view->name_count);
    free(view->gone);
    free(view->threads);
    for (size_t i = 0; i < view->series_count; i++)
        free(view->series[i].what);
    free(view->series);
    arena_free(&view->arena);
    *view = (struct kernel_view){0};
}

bool kernel_maps_file(pid_t pid, int fd)
{
    cleanup_free char *line = NULL;
    cleanup_file FILE *maps = NULL;
    char path[64], own[PATH_MAX + 1];
    bool found = false;
    struct stat file;
    ssize_t length;
    size_t room = 0;

    if (fstat(fd, &file) < 0)
        return false;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    length = readlink(path, own, sizeof own - 1);
    own[length > 0 ? length : 0] = '\0';
    (void)snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    maps = fopen(path, "re");
    while (maps && !found && (length = getline(&line, &room, maps)) > 0) {
        struct kernel_range range = {0};
        const char *name;
        uint64_t device;

        if (line[length - 1] == '\n')
            line[--length] = '\0';
        /* On overlay file systems maps shows another device than fstat: the path decides then. */
        if (read_range(line, &range, &device, &name) && range.inode == file.st_ino)
            found = device == file.st_dev || strcmp(name, own) == 0;
    }
    return found;
}
