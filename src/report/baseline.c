/*
 * baseline.c: known findings: what identifies them, and the file that lists them. It judges
 * nothing and never changes a file.
 */
#include "report/baseline.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#include "report/escape.h"

#define SIZE_MOST (64u << 20)
#define BETWEEN_PARTS "\x1f" /* ASCII's unit separator: in no name that anybody means */

/* --- what identifies a finding ------------------------------------------------------------------
 */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* libc's and the loader's frames, below main and below a thread's first function, differ between
 * distributions and say nothing. */
static bool is_of_libc(const struct symbols_frame *frame)
{
    static const char *const names[] = {"libc.so.", "libc-2.", "libpthread", "ld-linux"};
    const char *object = last_part(frame->object);

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(object, names[i], strlen(names[i])) == 0)
            return true;
    return strcmp(frame->function, "_start") == 0; /* of its part that is linked in */
}

/* Where what the optimizer appends to a name begins: "take.constprop.0", "take(int) [clone
 * .cold]". */
static size_t length_as_written(const char *function)
{
    static const char *const marks[] = {" [clone ", ".constprop.", ".isra.",    ".part.",
                                        ".cold",    ".llvm.",      ".lto_priv."};
    size_t length = strlen(function);

    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        const char *mark = strstr(function, marks[i]);

        if (mark && mark != function && (size_t)(mark - function) < length)
            length = (size_t)(mark - function);
    }
    return length;
}

static const char *frame_name(struct arena *arena, const struct symbols_frame *frame)
{
    if (!frame->function[0])
        return escape_utf8(arena, arena_format(arena, "(%s)", last_part(frame->object)));
    return escape_utf8(arena,
                       arena_text(arena, frame->function, length_as_written(frame->function)));
}

static void make_key(struct arena *arena, struct baseline_entry *entry)
{
    cleanup_free char *text = NULL;
    size_t length = 0;
    FILE *out = base_open_memory(&text, &length);

    (void)fprintf(out, "%s" BETWEEN_PARTS "%s" BETWEEN_PARTS "%s", entry->verdict, entry->resource,
                  entry->what);
    for (size_t i = 0; i < entry->depth; i++)
        (void)fprintf(out, BETWEEN_PARTS "%s", entry->stack[i]);
    base_close_memory(out);
    entry->key = arena_text(arena, text, length);
}

struct baseline_entry baseline_entry_of(struct arena *arena, const struct report_finding *finding)
{
    /* How much of it a policy took back in time is chance. */
    bool reclaimed = finding->verdict == REPORT_RECLAIMED;
    struct baseline_entry entry = {
        .verdict = report_verdict_name(reclaimed ? REPORT_LEAKED : finding->verdict),
        .resource = report_resource_name(finding->resource),
        .what = escape_utf8(arena, finding->what),
        .count = finding->count,
        .rate = finding->verdict == REPORT_GROWING ? finding->rate : 0,
    };
    size_t depth = finding->stack ? finding->stack->count : 0;

    entry.stack = arena_alloc(arena, (depth + 1) * sizeof *entry.stack);
    for (size_t i = 0; i < depth; i++)
        if (!is_of_libc(&finding->stack->frames[i]))
            entry.stack[entry.depth++] = frame_name(arena, &finding->stack->frames[i]);
    make_key(arena, &entry);
    return entry;
}

static int by_key(const void *a, const void *b)
{
    const struct baseline_entry *x = a, *y = b;

    return strcmp(x->key, y->key);
}

/* --- reading one --------------------------------------------------------------------------------
 */

struct reading {
    struct baseline *baseline;
    const char *path;
    struct failure *failure;
    size_t at; /* of the finding that is read, from 1 */
};

static bool wrong(const struct reading *reading, const char *what)
{
    return failure_set(reading->failure, "%s: not a baseline: finding %zu: %s", reading->path,
                       reading->at, what);
}

static bool read_text(struct reading *reading, const json_t *object, const char *key,
                      const char **text)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_string(value))
        return wrong(reading, "verdict, resource and what are texts");
    *text =
        arena_text(&reading->baseline->arena, json_string_value(value), json_string_length(value));
    return true;
}

static bool read_entry(struct reading *reading, const json_t *object)
{
    struct baseline *baseline = reading->baseline;
    const json_t *count = json_object_get(object, "count");
    const json_t *rate = json_object_get(object, "rate");
    const json_t *stack = json_object_get(object, "stack");
    struct baseline_entry entry = {0};

    if (!json_is_object(object))
        return wrong(reading, "not an object");
    if (!read_text(reading, object, "verdict", &entry.verdict) ||
        !read_text(reading, object, "resource", &entry.resource) ||
        !read_text(reading, object, "what", &entry.what))
        return false;
    if (!json_is_integer(count) || json_integer_value(count) < 0)
        return wrong(reading, "count is no number");
    entry.count = (uint64_t)json_integer_value(count);
    if (rate && (!json_is_number(rate) || json_number_value(rate) < 0))
        return wrong(reading, "rate is no number");
    entry.rate = rate ? json_number_value(rate) : 0;
    if (!json_is_array(stack))
        return wrong(reading, "stack is no list");
    entry.depth = json_array_size(stack);
    entry.stack = arena_alloc(&baseline->arena, (entry.depth + 1) * sizeof *entry.stack);
    for (size_t i = 0; i < entry.depth; i++) {
        const json_t *name = json_array_get(stack, i);

        if (!json_is_string(name))
            return wrong(reading, "stack holds names of functions");
        entry.stack[i] =
            arena_text(&baseline->arena, json_string_value(name), json_string_length(name));
    }
    make_key(&baseline->arena, &entry);
    baseline->entries = base_grow(baseline->entries, baseline->count, sizeof entry);
    baseline->entries[baseline->count++] = entry;
    return true;
}

static bool read_document(struct reading *reading, const json_t *document, const char *program)
{
    const json_t *version = json_object_get(document, "boxledger_baseline");
    const json_t *name = json_object_get(document, "program");
    const json_t *findings = json_object_get(document, "findings");

    if (!json_is_object(document) || !json_is_integer(version) || json_integer_value(version) < 1)
        return failure_set(reading->failure, "%s: not a baseline: it has no boxledger_baseline",
                           reading->path);
    if (json_integer_value(version) > BASELINE_VERSION)
        return failure_set(reading->failure,
                           "%s: a baseline of version %" JSON_INTEGER_FORMAT
                           "; this boxledger knows version %d",
                           reading->path, json_integer_value(version), BASELINE_VERSION);
    if (!json_is_string(name) || !json_is_array(findings))
        return failure_set(reading->failure, "%s: not a baseline: it has no %s", reading->path,
                           json_is_string(name) ? "findings" : "program");
    if (strcmp(json_string_value(name), program) != 0)
        return failure_set(reading->failure,
                           "%s: the baseline of another program: of %s, not of %s", reading->path,
                           json_string_value(name), program);
    reading->baseline->program =
        arena_text(&reading->baseline->arena, json_string_value(name), json_string_length(name));
    for (size_t i = 0; i < json_array_size(findings); i++) {
        reading->at = i + 1;
        if (!read_entry(reading, json_array_get(findings, i)))
            return false;
    }
    if (reading->baseline->count)
        qsort(reading->baseline->entries, reading->baseline->count,
              sizeof *reading->baseline->entries, by_key);
    for (size_t i = 1; i < reading->baseline->count; i++)
        if (by_key(&reading->baseline->entries[i - 1], &reading->baseline->entries[i]) == 0)
            return failure_set(reading->failure,
                               "%s: not a baseline: a finding is listed twice: %s", reading->path,
                               reading->baseline->entries[i].what);
    return true;
}

bool baseline_parse(struct baseline *baseline, const char *path, const char *text, size_t length,
                    const char *program, struct failure *failure)
{
    struct reading reading = {.baseline = baseline, .path = path, .failure = failure};
    json_error_t error;
    json_t *document = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    bool good;

    if (!document)
        return failure_set(failure, "%s:%d: not a baseline: %s", path, error.line, error.text);
    good = read_document(&reading, document, program);
    json_decref(document);
    return good;
}

bool baseline_load(struct baseline *baseline, const char *path, const char *program,
                   struct failure *failure)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    cleanup_free char *text = NULL;
    struct stat file;
    size_t length = 0;
    ssize_t got = 1;

    *baseline = (struct baseline){0};
    if (fd < 0 || fstat(fd, &file) != 0)
        return failure_set(failure, "%s: %s", path, strerror(errno));
    if (!S_ISREG(file.st_mode))
        return failure_set(failure, "%s: not a regular file", path);
    if (file.st_size > SIZE_MOST)
        return failure_set(failure, "%s: more than %u bytes: not a baseline", path, SIZE_MOST);
    text = base_alloc((size_t)file.st_size);
    while (length < (size_t)file.st_size && got != 0) {
        got = read(fd, text + length, (size_t)file.st_size - length);
        if (got < 0 && errno != EINTR)
            return failure_set(failure, "%s: %s", path, strerror(errno));
        length += got > 0 ? (size_t)got : 0;
    }
    return baseline_parse(baseline, path, text, length, program, failure);
}

const struct baseline_entry *baseline_find(const struct baseline *baseline,
                                           const struct baseline_entry *entry)
{
    return baseline->count
               ? bsearch(entry, baseline->entries, baseline->count, sizeof *entry, by_key)
               : NULL;
}

void baseline_free(struct baseline *baseline)
{
    free(baseline->entries);
    arena_free(&baseline->arena);
    *baseline = (struct baseline){0};
}

/* --- writing one --------------------------------------------------------------------------------
 */

/* Takes the reference; without memory there is no baseline. */
static void put(json_t *object, const char *key, json_t *value)
{
    if (!value || json_object_set_new(object, key, value) != 0)
        base_no_memory();
}

bool baseline_write(FILE *out, const char *program, struct baseline_entry *entries, size_t count)
{
    json_t *document = json_object(), *findings = json_array();
    bool written;

    qsort(entries, count, sizeof *entries, by_key);
    put(document, "boxledger_baseline", json_integer(BASELINE_VERSION));
    put(document, "program", json_string(program));
    for (size_t i = 0; i < count; i++) {
        json_t *entry = json_object(), *stack = json_array();

        put(entry, "verdict", json_string(entries[i].verdict));
        put(entry, "resource", json_string(entries[i].resource));
        put(entry, "what", json_string(entries[i].what));
        put(entry, "count", json_integer((json_int_t)entries[i].count));
        if (entries[i].rate > 0)
            put(entry, "rate", json_real(entries[i].rate));
        for (size_t frame = 0; frame < entries[i].depth; frame++)
            if (json_array_append_new(stack, json_string(entries[i].stack[frame])) != 0)
                base_no_memory();
        put(entry, "stack", stack);
        if (json_array_append_new(findings, entry) != 0)
            base_no_memory();
    }
    put(document, "findings", findings);
    written = json_dumpf(document, out, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) == 0 &&
              fputc('\n', out) != EOF;
    json_decref(document);
    return written;
}
