/*
 * judged.c: holds what the runs of a gate found against the baseline. It writes nothing; what it
 * says of a finding in a sentence is the same in every format.
 */
#include "report/judged.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <uthash.h>

/* A rate is measured, and never twice the same: so much more of it is growth. */
#define GROWN_RATE 1.5

/* --- the same finding, over processes and runs --------------------------------------------------
 */

struct gathered {
    struct judged_item item;
    unsigned run;   /* in which it was seen last, from 1 */
    uint64_t count; /* in that run, over its processes */
    double rate;
    size_t order;
    UT_hash_handle hh; /* by item.entry.key */
};

struct gathering {
    struct judged *judged;
    struct gathered *all;
    size_t count;
};

static void end_of_run(struct gathered *gathered)
{
    struct judged_item *item = &gathered->item;

    if (gathered->run == 0)
        return;
    item->runs++;
    if (item->runs == 1 || gathered->count < item->least)
        item->least = gathered->count;
    if (item->runs == 1 || gathered->rate < item->least_rate)
        item->least_rate = gathered->rate;
    if (gathered->count > item->most)
        item->most = gathered->count;
    if (gathered->rate > item->most_rate)
        item->most_rate = gathered->rate;
    gathered->run = 0;
    gathered->count = 0;
    gathered->rate = 0;
}

static void gather(struct gathering *gathering, const struct report *report,
                   const struct report_finding *finding, unsigned run)
{
    struct arena *arena = &gathering->judged->arena;
    struct baseline_entry entry = baseline_entry_of(arena, finding);
    struct gathered *gathered;

    HASH_FIND_STR(gathering->all, entry.key, gathered);
    if (!gathered) {
        gathered = arena_alloc(arena, sizeof *gathered);
        gathered->item.entry = entry;
        gathered->item.finding = finding;
        gathered->item.report = report;
        gathered->order = gathering->count++;
        HASH_ADD_KEYPTR(hh, gathering->all, entry.key, strlen(entry.key), gathered);
    }
    gathered->run = run;
    gathered->count += entry.count;
    if (entry.rate > gathered->rate)
        gathered->rate = entry.rate;
}

static void gather_runs(struct gathering *gathering, const struct judged_run *runs,
                        size_t run_count)
{
    struct gathered *gathered, *next;

    for (size_t run = 0; run < run_count; run++) {
        for (size_t i = 0; i < runs[run].count; i++) {
            const struct report *report = runs[run].reports[i];

            for (size_t j = 0; j < report->findings.count; j++)
                if (report->findings.items[j].verdict < REPORT_HELD)
                    gather(gathering, report, &report->findings.items[j], (unsigned)run + 1);
        }
        HASH_ITER (hh, gathering->all, gathered, next)
            end_of_run(gathered);
    }
}

/* --- the verdict --------------------------------------------------------------------------------
 */

static bool has_grown(const struct judged_item *item)
{
    if (item->finding->verdict == REPORT_GROWING)
        return item->entry.rate > item->known->rate * GROWN_RATE;
    return item->entry.count > item->known->count;
}

static void judge_item(struct judged_item *item, const struct judged_options *options,
                       size_t run_count)
{
    item->known = options->baseline ? baseline_find(options->baseline, &item->entry) : NULL;
    item->entry.count = options->in_all_runs ? item->least : item->most;
    item->entry.rate = options->in_all_runs ? item->least_rate : item->most_rate;
    if (!report_is_error(item->finding->verdict))
        item->state = JUDGED_TOLD;
    else if (item->known && !has_grown(item))
        item->state = JUDGED_KNOWN;
    else if (options->in_all_runs && item->runs < run_count)
        item->state = JUDGED_RARE;
    else
        item->state = item->known ? JUDGED_GROWN : JUDGED_NEW;
}

static bool exceeds_as_leaked(const struct judged_item *item)
{
    return item->state <= JUDGED_GROWN &&
           (item->finding->verdict == REPORT_LEAKED || item->finding->verdict == REPORT_RECLAIMED);
}

/* What is leaked beyond the baseline: all of it is let pass, or none. */
static void allow_leaked(struct judged *judged, uint64_t max_leaked)
{
    uint64_t leaked = 0;

    for (size_t i = 0; i < judged->count; i++) {
        const struct judged_item *item = &judged->items[i];

        if (exceeds_as_leaked(item))
            leaked += item->entry.count - (item->known ? item->known->count : 0);
    }
    if (leaked > max_leaked)
        return;
    for (size_t i = 0; i < judged->count; i++) {
        struct judged_item *item = &judged->items[i];

        if (exceeds_as_leaked(item))
            item->state = JUDGED_ALLOWED;
    }
}

static void add_gone(struct judged *judged, struct gathering *gathering,
                     const struct baseline *baseline)
{
    for (size_t i = 0; i < baseline->count; i++) {
        const struct baseline_entry *known = &baseline->entries[i];
        struct gathered *gathered;

        HASH_FIND_STR(gathering->all, known->key, gathered);
        if (gathered)
            continue;
        judged->items = base_grow(judged->items, judged->count, sizeof *judged->items);
        judged->items[judged->count++] =
            (struct judged_item){.state = JUDGED_GONE, .entry = *known, .known = known};
    }
}

/* Stable: by state, else as they came. */
static void sort_by_state(struct judged *judged)
{
    struct judged_item *sorted = base_alloc(judged->count * sizeof *sorted);
    size_t at = 0;

    for (enum judged_state state = 0; state < JUDGED_STATES; state++)
        for (size_t i = 0; i < judged->count; i++)
            if (judged->items[i].state == state)
                sorted[at++] = judged->items[i];
    free(judged->items);
    judged->items = sorted;
}

void judged_build(struct judged *judged, const struct judged_run *runs, size_t run_count,
                  const struct judged_options *options)
{
    struct gathering gathering = {.judged = judged};
    struct gathered *gathered, *next;

    free(judged->items);
    judged->items = NULL;
    memset(judged->tally, 0, sizeof judged->tally);
    gather_runs(&gathering, runs, run_count);
    judged->count = gathering.count;
    for (size_t room = 0; room < gathering.count; room++)
        judged->items = base_grow(judged->items, room, sizeof *judged->items);
    HASH_ITER (hh, gathering.all, gathered, next) {
        judge_item(&gathered->item, options, run_count);
        judged->items[gathered->order] = gathered->item;
    }
    allow_leaked(judged, options->max_leaked);
    /* Of no run at all nothing can be said to be gone. */
    if (options->baseline && run_count)
        add_gone(judged, &gathering, options->baseline);
    HASH_CLEAR(hh, gathering.all);
    sort_by_state(judged);
    for (size_t i = 0; i < judged->count; i++)
        judged->tally[judged->items[i].state]++;
}

void judged_free(struct judged *judged)
{
    free(judged->items);
    arena_free(&judged->arena);
    *judged = (struct judged){0};
}

const char *judged_state_name(enum judged_state state)
{
    static const char *const names[] = {
        [JUDGED_NEW] = "new",   [JUDGED_GROWN] = "grown", [JUDGED_ALLOWED] = "allowed",
        [JUDGED_RARE] = "rare", [JUDGED_TOLD] = "told",   [JUDGED_KNOWN] = "known",
        [JUDGED_GONE] = "gone",
    };

    return names[state];
}

struct baseline_entry *judged_baseline(struct judged *judged, size_t *count)
{
    struct baseline_entry *entries =
        arena_alloc(&judged->arena, (judged->count + 1) * sizeof *entries);

    *count = 0;
    for (size_t i = 0; i < judged->count; i++) {
        const struct judged_item *item = &judged->items[i];

        if (!item->finding || !report_is_error(item->finding->verdict))
            continue;
        entries[*count] = item->entry;
        entries[*count].count = item->most;
        entries[*count].rate = item->most_rate;
        ++*count;
    }
    return entries;
}

/* --- in words -----------------------------------------------------------------------------------
 */

/* A file that is there, by its path below the root; NULL: it is not there, or not below it. */
static const char *below_root(struct judged *judged, const char *path)
{
    size_t length = strlen(judged->root);
    char real[PATH_MAX];

    if (!realpath(path, real) || strncmp(real, judged->root, length) != 0 || real[length] != '/')
        return NULL;
    return arena_text(&judged->arena, real + length + 1, strlen(real + length + 1));
}

const char *judged_source(struct judged *judged, const struct symbols_frame *frame)
{
    struct arena *arena = &judged->arena;
    const char *found;
    char *directory, *slash;

    if (!frame->file[0] || !frame->line)
        return NULL;
    if (frame->file[0] == '/')
        return below_root(judged, frame->file);
    found = below_root(judged, arena_format(arena, "%s/%s", judged->root, frame->file));
    directory = arena_text(arena, frame->object, strlen(frame->object));
    while (!found && (slash = strrchr(directory, '/')) && slash != directory) {
        *slash = '\0';
        found = below_root(judged, arena_format(arena, "%s/%s", directory, frame->file));
    }
    return found;
}

struct judged_site judged_site_of(struct judged *judged, const struct judged_item *item)
{
    const struct symbols_stack *stack = item->finding ? item->finding->stack : NULL;
    struct judged_site site = {.function = "", .file = ""};

    for (size_t i = 0; stack && i < stack->count; i++) {
        const struct symbols_frame *frame = &stack->frames[i];
        const char *file = judged_source(judged, frame);

        if (file)
            return (struct judged_site){frame->function, file, frame->line, true};
        if (!site.function[0] && frame->function[0])
            site = (struct judged_site){frame->function, frame->file, frame->line, false};
    }
    if (!item->finding && item->entry.depth)
        site.function = item->entry.stack[0];
    return site;
}

static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

/* "40 descriptors (memfd)" */
static char *things(struct judged *judged, const struct judged_item *item)
{
    const struct baseline_entry *entry = &item->entry;

    return arena_format(&judged->arena, "%" PRIu64 " %s%s (%s)", entry->count,
                        strcmp(entry->resource, "fd") == 0 ? "descriptor" : "mapping",
                        plural(entry->count), entry->what);
}

static char *what_happened(struct judged *judged, const struct judged_item *item)
{
    const struct report_finding *finding = item->finding;
    struct arena *arena = &judged->arena;
    uint64_t count = item->entry.count;

    if (!finding)
        return arena_format(arena, "%s: %s", item->entry.verdict, things(judged, item));
    switch (finding->verdict) {
    case REPORT_LEAKED:
        if (finding->owners)
            return arena_format(arena, "%s left behind by %" PRIu64 " %s sandbox%s",
                                things(judged, item), finding->owners, finding->owner_kind,
                                finding->owners == 1 ? "" : "es");
        return arena_format(arena, "%s left behind", things(judged, item));
    case REPORT_GROWING:
        return arena_format(arena, "%s and growing, %.2g more per %s", things(judged, item),
                            item->entry.rate,
                            finding->rate_unit == REPORT_PER_SANDBOX ? "sandbox"
                            : finding->rate_unit == REPORT_PER_MARK  ? "mark"
                                                                     : "deleted slot");
    case REPORT_DOUBLE_CLOSE:
        return arena_format(arena, "a descriptor closed twice, %" PRIu64 " time%s", count,
                            plural(count));
    case REPORT_FOREIGN_CLOSE:
        return arena_format(arena, "another sandbox's descriptor closed, %" PRIu64 " time%s", count,
                            plural(count));
    case REPORT_RECLAIMED:
        return arena_format(arena, "%s left behind and reclaimed", things(judged, item));
    case REPORT_RESCUED:
        return arena_format(arena, "an munmap refused and rescued, %" PRIu64 " time%s", count,
                            plural(count));
    case REPORT_LIMITED:
        return arena_format(arena, "a sandbox's limit reached, %" PRIu64 " time%s", count,
                            plural(count));
    default:
        return arena_format(arena, "%s that a sandbox's child may have got", things(judged, item));
    }
}

const char *judged_sentence(struct judged *judged, const struct judged_item *item)
{
    struct judged_site site = judged_site_of(judged, item);
    struct arena *arena = &judged->arena;
    char *sentence = what_happened(judged, item);

    if (site.function[0])
        sentence = arena_format(arena, "%s, in %s", sentence, site.function);
    if (site.file[0] && site.line)
        sentence = arena_format(arena, "%s (%s:%u)", sentence, site.file, site.line);
    if (item->finding && item->known && item->state != JUDGED_KNOWN)
        sentence =
            item->finding->verdict == REPORT_GROWING
                ? arena_format(arena, "%s; the baseline has %.2g more", sentence, item->known->rate)
                : arena_format(arena, "%s; the baseline has %" PRIu64, sentence,
                               item->known->count);
    if (item->finding && judged->runs > 1)
        sentence = arena_format(arena, "%s; in %u of %u runs", sentence, item->runs, judged->runs);
    if (item->finding && !item->finding->verified)
        sentence = arena_format(arena, "%s; not verified", sentence);
    return sentence;
}

const char *judged_summary(struct judged *judged)
{
    struct arena *arena = &judged->arena;
    const char *text = judged->trouble        ? "without verdict"
                       : judged_fails(judged) ? "failed"
                                              : "clean";
    const char *separator = ": ";

    for (enum judged_state state = 0; state < JUDGED_STATES; state++) {
        if (judged->tally[state] == 0)
            continue;
        text = arena_format(arena, "%s%s%" PRIu64 " %s", text, separator, judged->tally[state],
                            judged_state_name(state));
        separator = ", ";
    }
    return text;
}
