/*
 * suppressions.c: reads suppression files and applies them to findings. It never removes anything
 * itself, and never keeps quiet about a suppression that matched nothing: that is the writers'.
 */
#include "report/suppressions.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "report/report.h"

bool suppressions_match(const char *pattern, const char *text)
{
    bool tied = pattern[0] == '^';
    const char *star = NULL, *star_text = NULL;

    pattern += tied;
    if (!tied) {
        /* As if it began with a star. */
        star = pattern;
        star_text = text;
    }
    for (;;) {
        if (*pattern == '*') {
            star = ++pattern;
            star_text = text;
        } else if (*pattern == '\0' || (pattern[0] == '$' && pattern[1] == '\0' && *text == '\0')) {
            return true;
        } else if (*text && *pattern == *text && !(pattern[0] == '$' && pattern[1] == '\0')) {
            pattern++;
            text++;
        } else if (star && *star_text) {
            pattern = star;
            text = ++star_text;
        } else {
            return false;
        }
    }
}

/* Cuts " max:N" off the end of a pattern. Returns false if what follows max: is no number. */
static bool cut_max(struct suppression *suppression, char *pattern)
{
    char *space = strrchr(pattern, ' '), *tab = strrchr(pattern, '\t'), *end;

    if (!space || (tab && tab > space))
        space = tab;
    if (!space || strncmp(space + 1, "max:", 4) != 0)
        return true;
    if (!isdigit((unsigned char)space[5]))
        return false;
    errno = 0;
    suppression->max = strtoull(space + 5, &end, 10);
    if (*end || errno)
        return false;
    suppression->limited = true;
    while (space > pattern && isspace((unsigned char)space[-1]))
        space--;
    *space = '\0';
    return true;
}

static bool parse_line(struct suppressions *suppressions, char *line, unsigned number,
                       struct failure *failure)
{
    struct suppression suppression = {.line = number};

    if (strncmp(line, "only:", 5) == 0)
        suppression.only = true;
    else if (strncmp(line, "leak:", 5) != 0)
        return failure_set(failure, "%s:%u: neither leak:PATTERN nor only:PATTERN: %s",
                           suppressions->name, number, line);
    line += 5;
    if (!cut_max(&suppression, line))
        return failure_set(failure, "%s:%u: max: needs a number", suppressions->name, number);
    if (suppression.only && suppression.limited)
        return failure_set(
            failure, "%s:%u: max: belongs to leak:, not to only:", suppressions->name, number);
    if (!*line)
        return failure_set(failure, "%s:%u: the pattern is empty", suppressions->name, number);
    suppression.pattern = line;
    suppressions->has_only |= suppression.only;
    suppressions->items =
        base_grow(suppressions->items, suppressions->count, sizeof *suppressions->items);
    suppressions->items[suppressions->count++] = suppression;
    return true;
}

bool suppressions_parse(struct suppressions *suppressions, const char *name, const char *text,
                        size_t length, struct failure *failure)
{
    const char *end = text + length;

    suppressions->name = arena_text(&suppressions->arena, name, strlen(name));
    for (unsigned number = 1; text < end; number++) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *stop = newline ? newline : end;
        const char *first = text;

        while (first < stop && isspace((unsigned char)*first))
            first++;
        while (stop > first && isspace((unsigned char)stop[-1]))
            stop--;
        if (memchr(first, '\0', (size_t)(stop - first)))
            return failure_set(failure, "%s:%u: not a text file", suppressions->name, number);
        if (first < stop && *first != '#' &&
            !parse_line(suppressions,
                        arena_text(&suppressions->arena, first, (size_t)(stop - first)), number,
                        failure))
            return false;
        text = newline ? newline + 1 : end;
    }
    return true;
}

bool suppressions_load(struct suppressions *suppressions, const char *path, struct failure *failure)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    cleanup_free char *text = NULL;
    size_t length = 0, room = 0;
    ssize_t got;

    if (fd < 0)
        return failure_set(failure, "%s: %s", path, strerror(errno));
    for (;;) {
        if (room - length < 4096) {
            room = room ? 2 * room : 8192;
            text = base_resize(text, room);
        }
        got = read(fd, text + length, room - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return failure_set(failure, "%s: %s", path, strerror(errno));
        if (got == 0)
            return suppressions_parse(suppressions, path, text, length, failure);
        length += (size_t)got;
        if (length > 64u << 20)
            return failure_set(failure, "%s: more than 64 MiB of suppressions", path);
    }
}

void suppressions_free(struct suppressions *suppressions)
{
    free(suppressions->items);
    arena_free(&suppressions->arena);
    *suppressions = (struct suppressions){0};
}

static bool matches(const struct suppression *suppression, const struct report_finding *finding)
{
    if (suppressions_match(suppression->pattern, finding->what))
        return true;
    for (unsigned i = 0; i < finding->name_count; i++)
        if (suppressions_match(suppression->pattern, finding->names[i]))
            return true;
    for (size_t i = 0; finding->stack && i < finding->stack->count; i++) {
        const struct symbols_frame *frame = &finding->stack->frames[i];

        if (suppressions_match(suppression->pattern, frame->function) ||
            suppressions_match(suppression->pattern, frame->file) ||
            suppressions_match(suppression->pattern, frame->object))
            return true;
    }
    return false;
}

void suppressions_begin(struct suppressions *suppressions)
{
    for (size_t i = 0; i < suppressions->count; i++)
        memset(suppressions->items[i].uses, 0, sizeof suppressions->items[i].uses);
}

static void count_use(struct suppression_use *use, const struct report_finding *finding)
{
    use->findings++;
    use->count += finding->count;
    use->bytes += finding->bytes;
}

void suppressions_count(struct suppressions *suppressions, const struct report_finding *finding,
                        bool live)
{
    for (size_t i = 0; i < suppressions->count; i++) {
        struct suppression *suppression = &suppressions->items[i];

        if (!matches(suppression, finding))
            continue;
        count_use(&suppression->uses[live], finding);
        count_use(&suppression->totals[live], finding);
    }
}

bool suppressions_hide(struct suppressions *suppressions, const struct report_finding *finding,
                       bool live)
{
    bool wanted = !suppressions->has_only;

    for (size_t i = 0; i < suppressions->count; i++) {
        struct suppression *suppression = &suppressions->items[i];

        if (!matches(suppression, finding))
            continue;
        if (suppression->only)
            wanted = true;
        else if (!suppression->limited || suppression->uses[live].count <= suppression->max)
            return true;
        else
            suppression->exceeded = true;
    }
    return !wanted;
}
