/*
 * census.c: counts what the ledger never saw while its process lives. It changes nothing but the
 * series of the view; what a report says of them is findings.c's.
 */
#include "report/census.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <string.h>

#include "report/growth.h"
#include "report/names.h"
#include "report/reader.h"

#define SERIES_MAX 256u /* names may differ without end: the rest is one series */
static const char other[] = "other descriptors";

struct kernel_series *census_find(const struct kernel_view *view, const char *what)
{
    for (size_t i = 0; i < view->series_count; i++)
        if (strcmp(view->series[i].what, what) == 0)
            return &view->series[i];
    return NULL;
}

static struct kernel_series *series_of(struct kernel_view *view, const char *what, uint32_t epoch)
{
    struct kernel_series *series = census_find(view, what);

    if (series)
        return series;
    if (view->series_count >= SERIES_MAX && what != other)
        return series_of(view, other, epoch);
    view->series = base_grow(view->series, view->series_count, sizeof *view->series);
    series = &view->series[view->series_count++];
    *series = (struct kernel_series){
        .what = strdup(what),
        .growth = {.stride = 1, .first = epoch, .noted = epoch},
    };
    if (!series->what)
        base_no_memory();
    return series;
}

static bool is_seen(const struct reader *reader, uint32_t fd)
{
    const struct ledger_fd *record = reader_record(reader, LEDGER_FDS, fd);

    return record && (record->state & 7u) != LEDGER_EMPTY;
}

static void count_one(struct kernel_view *view, int directory, const char *number, uint32_t epoch)
{
    struct arena arena = {0};
    char name[PATH_MAX];
    ssize_t length = readlinkat(directory, number, name, sizeof name - 1);

    if (length <= 0)
        return;
    name[length] = '\0';
    kernel_trim_name(name);
    series_of(view, names_of_kernel(&arena, name), epoch)->count++;
    arena_free(&arena);
}

void census_take(struct kernel_view *view, pid_t pid, int ledger_fd)
{
    cleanup_reader struct reader *before = NULL, *after = NULL;
    cleanup_free uint32_t *numbers = NULL;
    struct dirent *entry;
    size_t count = 0;
    uint32_t epoch;
    char path[64];
    DIR *directory;

    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    before = reader_open_table(ledger_fd, "ledger", LEDGER_FDS, NULL);
    directory = before ? opendir(path) : NULL;
    if (!directory)
        return;
    while ((entry = readdir(directory))) {
        uint32_t fd = (uint32_t)strtoul(entry->d_name, NULL, 10);

        if (!isdigit((unsigned char)entry->d_name[0]) || is_seen(before, fd))
            continue;
        numbers = base_grow(numbers, count, sizeof *numbers);
        numbers[count++] = fd;
    }
    /* What was opened just now is in the ledger by the time that it is read again. */
    after = reader_open_table(ledger_fd, "ledger", LEDGER_FDS, NULL);
    epoch = after ? after->header.epoch : 0;
    for (size_t i = 0; after && i < view->series_count; i++) {
        struct kernel_series *series = &view->series[i];

        /* Since the last census there were as many as then, or more. */
        growth_note(&series->growth, epoch, series->count, after->header.owners_live);
        series->count = 0;
    }
    for (size_t i = 0; after && i < count; i++) {
        char number[16];

        (void)snprintf(number, sizeof number, "%u", numbers[i]);
        if (!is_seen(after, numbers[i]))
            count_one(view, dirfd(directory), number, epoch);
    }
    closedir(directory);
}
