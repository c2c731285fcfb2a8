/*
 * findings.c: from single records to a report: what is alike becomes one finding, and findings are
 * sorted by what kills the process first.
 *
 * Alike is what has the same verdict, resource, kind of owner, name and stack, where a stack is
 * its places in the code: an object that was loaded twice, at two addresses, is one code. It
 * writes nothing and asks nobody; text.c and json.c do the one, kernel.c the other.
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <uthash.h>

#include "ledger/kinds.h"
#include "report/report.h"
#include "report/verify.h"

#define SETTLE_NS 1000000000u /* DESIGN 6: what a sandbox may take to tidy up after its end */

static const char *const verdict_names[REPORT_VERDICTS] = {
    [REPORT_LEAKED] = "leaked",
    [REPORT_GROWING] = "growing",
    [REPORT_DOUBLE_CLOSE] = "double-close",
    [REPORT_FOREIGN_CLOSE] = "foreign-close",
    [REPORT_INHERITABLE] = "inheritable",
    [REPORT_HELD] = "held",
    [REPORT_REFUSED] = "refused",
};

const char *report_verdict_name(enum report_verdict verdict)
{
    return verdict_names[verdict];
}

const char *report_resource_name(enum report_resource resource)
{
    return resource == REPORT_FD ? "fd" : "mapping";
}

/* --- what things are called ---------------------------------------------------------------------
 */

/* The kernel's name less what differs between things that are alike: inode numbers, process ids.
 * Of plain files only that they are: each has a path of its own. */
static const char *name_what(struct arena *arena, const char *name)
{
    enum ledger_fd_kind kind = verify_kind_of_name(name);
    size_t length;

    if (kind == LEDGER_FD_MEMFD)
        return name + 1;
    if (kind != LEDGER_FD_UNKNOWN)
        return ledger_fd_kind_names[kind];
    if (strncmp(name, "anon_inode:", 11) == 0) {
        name += 11;
        name += name[0] == '[';
        length = strcspn(name, "]:");
        return arena_text(arena, name, length);
    }
    if (name[0] != '/') { /* net:[4026531840] */
        length = strcspn(name, ":");
        return arena_text(arena, name, length);
    }
    if (strncmp(name, "/dev/", 5) == 0)
        return name;
    if (strncmp(name, "/proc/", 6) == 0 || strncmp(name, "/sys/", 5) == 0) {
        char *what = arena_alloc(arena, 4 * strlen(name) + 1), *to = what;

        for (const char *from = name; *from;) {
            size_t digits = from > name && from[-1] == '/' ? strspn(from, "0123456789") : 0;

            if (digits && (from[digits] == '/' || from[digits] == '\0')) {
                *to++ = 'N';
                from += digits;
            } else {
                *to++ = *from++;
            }
        }
        return what;
    }
    return ledger_fd_kind_names[LEDGER_FD_FILE];
}

static const char *fd_what(struct arena *arena, const struct verify_held *held)
{
    unsigned kind = held->fd->kind < LEDGER_FD_KINDS ? held->fd->kind : LEDGER_FD_UNKNOWN;

    if (held->name &&
        (kind == LEDGER_FD_UNKNOWN || kind == LEDGER_FD_RECEIVED || kind == LEDGER_FD_IOCTL ||
         kind == LEDGER_FD_DUP || (held->fd->flags & LEDGER_ADOPTED)))
        return name_what(arena, held->name);
    return ledger_fd_kind_names[kind];
}

static const char *mapping_what(struct arena *arena, const struct verify_held *held)
{
    unsigned flags = held->mapping->flags;

    if ((flags & LEDGER_ADOPTED) && held->name && held->name[0] == '/')
        return name_what(arena, held->name);
    if (flags & LEDGER_SHM_MAP)
        return "shared memory segment";
    if (flags & LEDGER_FILE_MAP)
        return flags & LEDGER_SHARED_MAP ? "shared file mapping" : "private file mapping";
    if (flags & LEDGER_STACK_MAP)
        return "stack";
    return flags & LEDGER_SHARED_MAP ? "shared anonymous memory" : "private anonymous memory";
}

static const char *owner_kind(uint32_t kind)
{
    static const char *const names[] = {"supervisor", "kvm", "child", "seccomp", "api", "rule"};

    return kind < sizeof names / sizeof *names ? names[kind] : "other";
}

/* --- stacks that are the same code
 * ---------------------------------------------------------------- */

struct place {
    uint64_t object; /* a string of the path's hash, or 0 */
    uint64_t offset;
};

struct code { /* one for all stacks of the same places */
    uint32_t id;
    uint32_t stack; /* the first of them */
    size_t size;
    struct place *places;
    UT_hash_handle hh;
};

struct groups {
    struct report *report;
    const struct reader *reader;
    uint32_t *code_of; /* by stack; 0: not looked at yet */
    struct code *codes;
    uint32_t code_count;
    struct group *all;
    struct arena arena;
};

struct group_key {
    uint32_t verdict, resource, code, owner_kind;
    uint32_t what; /* id of the text */
    uint32_t error;
};

struct group {
    struct group_key key;
    struct report_finding finding;
    uint32_t stack;
    uint32_t released_by[2];
    uint32_t *owners; /* distinct; the last one first looked at */
    size_t owner_count;
    uint64_t order; /* of appearance */
    UT_hash_handle hh;
};

static uint64_t hash_text(const char *text)
{
    uint64_t hash = 14695981039346656037u;

    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    return hash | 1;
}

static uint32_t code_of_stack(struct groups *groups, uint32_t stack)
{
    const struct reader *reader = groups->reader;
    struct place places[LEDGER_FRAMES_MAX];
    const struct ledger_stack *record;
    const uint64_t *frames;
    struct code *code;
    unsigned depth;

    record = reader_stack(reader, stack, &frames, &depth);
    if (!record)
        return 0;
    if (groups->code_of[stack])
        return groups->code_of[stack];
    for (unsigned i = 0; i < depth; i++) {
        uint64_t pc = frames[i] & ~LEDGER_FRAME_EXACT;
        const struct ledger_module *module = symbols_module(
            reader, record->generation, frames[i] & LEDGER_FRAME_EXACT ? pc : pc - 1);

        places[i] = (struct place){
            module ? hash_text(reader_string(reader, module->path)) : 0,
            module ? frames[i] - module->bias : frames[i],
        };
    }
    HASH_FIND(hh, groups->codes, places, depth * sizeof *places, code);
    if (!code) {
        code = arena_alloc(&groups->arena, sizeof *code);
        code->id = ++groups->code_count;
        code->stack = stack;
        code->places = arena_alloc(&groups->arena, depth * sizeof *places);
        memcpy(code->places, places, depth * sizeof *places);
        HASH_ADD_KEYPTR(hh, groups->codes, code->places, depth * sizeof *places, code);
    }
    groups->code_of[stack] = code->id;
    return code->id;
}

/* --- grouping ------------------------------------------------------------------------------------
 */

struct text_id {
    uint32_t id;
    UT_hash_handle hh;
    char text[];
};

static uint32_t id_of_text(struct groups *groups, struct text_id **texts, const char *text)
{
    size_t length = strlen(text);
    struct text_id *entry;

    HASH_FIND(hh, *texts, text, length, entry);
    if (!entry) {
        entry = arena_alloc(&groups->arena, sizeof *entry + length + 1);
        memcpy(entry->text, text, length);
        entry->id = HASH_COUNT(*texts) + 1;
        HASH_ADD_KEYPTR(hh, *texts, entry->text, length, entry);
    }
    return entry->id;
}

static struct group *find_group(struct groups *groups, const struct group_key *key)
{
    struct group *group;

    HASH_FIND(hh, groups->all, key, sizeof *key, group);
    if (group)
        return group;
    group = arena_alloc(&groups->arena, sizeof *group);
    group->key = *key;
    group->order = HASH_COUNT(groups->all);
    group->finding.verified = true;
    group->finding.verdict = (enum report_verdict)key->verdict;
    group->finding.resource = (enum report_resource)key->resource;
    HASH_ADD(hh, groups->all, key, sizeof *key, group);
    return group;
}

static void note_time(struct report_finding *finding, const struct reader *reader, uint64_t first,
                      uint64_t last)
{
    const struct ledger_header *header = &reader->header;

    if (first == 0)
        return;
    /* since_ns is monotonic; a reader of reports wants the time of day. */
    /* The coarse clock is up to a tick behind: nothing was taken before the start. */
    first = first < header->start_monotonic_ns ? 0 : first - header->start_monotonic_ns;
    last = last < header->start_monotonic_ns ? 0 : last - header->start_monotonic_ns;
    first += header->start_ns;
    last += header->start_ns;
    if (finding->first_ns == 0 || first < finding->first_ns)
        finding->first_ns = first;
    if (last > finding->last_ns)
        finding->last_ns = last;
}

static void note_name(struct report_finding *finding, const char *name)
{
    if (!name || finding->name_count == REPORT_NAMES)
        return;
    for (unsigned i = 0; i < finding->name_count; i++)
        if (strcmp(finding->names[i], name) == 0)
            return;
    finding->names[finding->name_count++] = name;
}

static void note_owner(struct group *group, uint32_t owner)
{
    if (owner == 0)
        return;
    for (size_t i = group->owner_count; i-- > 0;)
        if (group->owners[i] == owner)
            return;
    group->owners = base_grow(group->owners, group->owner_count, sizeof *group->owners);
    group->owners[group->owner_count++] = owner;
}

static void note_released_by(struct group *group, const struct reader *reader, uint32_t stack)
{
    const struct ledger_stack *record = reader_record(reader, LEDGER_STACKS, stack);

    for (unsigned i = 0; stack && record && i < 2; i++) {
        uint32_t by = record->released_by[i];
        unsigned count = group->finding.released_count;

        if (by == 0 || count == 2 || (count && group->released_by[0] == by))
            continue;
        group->released_by[count] = by;
        group->finding.released_count++;
    }
}

static const struct ledger_owner *owner_of(const struct reader *reader,
                                           const struct verify_held *held, uint32_t *index)
{
    const struct ledger_owner *owner;

    *index = held->fd ? held->fd->owner : held->mapping->owner;
    if (held->mapping && held->mapping->bound_owner)
        *index = held->mapping->bound_owner;
    owner = *index ? reader_record(reader, LEDGER_OWNERS, *index) : NULL;
    if (!owner || owner->state == LEDGER_EMPTY)
        *index = 0;
    return *index ? owner : NULL;
}

static void group_held(struct groups *groups, struct text_id **texts,
                       const struct verify_held *held, enum report_verdict verdict)
{
    struct arena *arena = &groups->report->arena;
    uint32_t stack = held->fd ? held->fd->stack : held->mapping->stack;
    const char *what = held->fd ? fd_what(arena, held) : mapping_what(arena, held);
    const struct ledger_owner *owner;
    struct report_finding *finding;
    struct group_key key = {0};
    struct group *group;
    uint32_t index;

    owner = owner_of(groups->reader, held, &index);
    key.verdict = verdict;
    key.resource = held->resource;
    key.code = code_of_stack(groups, stack);
    key.owner_kind = owner ? owner->kind : 0;
    key.what = id_of_text(groups, texts, what);
    group = find_group(groups, &key);
    finding = &group->finding;
    if (finding->count == 0) {
        group->stack = stack;
        finding->what = what;
        finding->owner_kind = owner ? owner_kind(owner->kind) : "";
    }
    finding->count++;
    finding->bytes += held->bytes;
    finding->verified = finding->verified && held->verified;
    note_owner(group, index);
    note_name(finding, held->name);
    note_released_by(group, groups->reader, stack);
    note_time(finding, groups->reader, held->fd ? held->fd->since_ns : held->mapping->since_ns,
              held->fd ? held->fd->since_ns : held->mapping->since_ns);
}

static void group_event(struct groups *groups, struct text_id **texts,
                        const struct ledger_event *event)
{
    static const char *const calls[] = {
        [LEDGER_EVENT_UNMAP_REFUSED] = "munmap",  [LEDGER_EVENT_PROTECT_REFUSED] = "mprotect",
        [LEDGER_EVENT_REMAP_REFUSED] = "mremap",  [LEDGER_EVENT_MAP_REFUSED] = "mmap",
        [LEDGER_EVENT_FD_REFUSED] = "descriptor", [LEDGER_EVENT_DOUBLE_CLOSE] = "close",
    };
    bool close_twice = event->kind == LEDGER_EVENT_DOUBLE_CLOSE;
    struct report_finding *finding;
    struct group_key key = {0};
    struct group *group;
    const char *what;

    if (event->state != LEDGER_LIVE || event->kind == 0 ||
        event->kind >= sizeof calls / sizeof *calls)
        return;
    what = calls[event->kind];
    key.verdict = close_twice ? REPORT_DOUBLE_CLOSE : REPORT_REFUSED;
    key.resource =
        close_twice || event->kind == LEDGER_EVENT_FD_REFUSED ? REPORT_FD : REPORT_MAPPING;
    key.code = code_of_stack(groups, event->stack);
    key.what = id_of_text(groups, texts, what);
    key.error = event->error;
    group = find_group(groups, &key);
    finding = &group->finding;
    if (finding->count == 0) {
        group->stack = event->stack;
        finding->what = what;
        finding->owner_kind = "";
        finding->error = event->error;
    }
    finding->count += event->count;
    finding->bytes += event->bytes;
    finding->address = event->start;
    if (event->vmas)
        finding->vmas = event->vmas;
    if (close_twice && event->other_stack && finding->released_count < 2 &&
        !(finding->released_count && group->released_by[0] == event->other_stack))
        group->released_by[finding->released_count++] = event->other_stack;
    note_time(finding, groups->reader, event->first_ns, event->last_ns);
}

/* --- sorting -------------------------------------------------------------------------------------
 */

static int by_urgency(const void *a, const void *b)
{
    const struct group *x = *(struct group *const *)a, *y = *(struct group *const *)b;

    if (x->key.verdict != y->key.verdict)
        return x->key.verdict < y->key.verdict ? -1 : 1;
    if (x->finding.urgency > y->finding.urgency || x->finding.urgency < y->finding.urgency)
        return x->finding.urgency > y->finding.urgency ? -1 : 1;
    if (x->finding.bytes != y->finding.bytes)
        return x->finding.bytes > y->finding.bytes ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static void set_urgency(const struct report *report, struct report_finding *finding)
{
    uint64_t limit = finding->resource == REPORT_FD ? report->max_fds : report->max_map_count;

    if (limit == 0)
        limit = finding->resource == REPORT_FD ? 1024 : 65530;
    finding->urgency = (double)finding->count / (double)limit;
}

static void add_finding(struct report_findings *findings, struct arena *arena,
                        const struct report_finding *finding, size_t room)
{
    if (!findings->items)
        findings->items = arena_alloc(arena, room * sizeof *findings->items);
    findings->items[findings->count++] = *finding;
}

/* Groups, resolved, sorted, and put where they belong. */
static void tell_groups(struct groups *groups, struct symbols *symbols)
{
    struct report *report = groups->report;
    size_t count = HASH_COUNT(groups->all), i = 0;
    struct group **sorted = base_alloc(count * sizeof(struct group *));
    struct group *group, *next;

    HASH_ITER (hh, groups->all, group, next) {
        group->finding.owners = group->owner_count;
        set_urgency(report, &group->finding);
        sorted[i++] = group;
    }
    if (count)
        qsort(sorted, count, sizeof(struct group *), by_urgency);
    for (i = 0; i < count; i++) {
        struct report_finding *finding = &sorted[i]->finding;
        struct report_findings *list = finding->verdict == REPORT_REFUSED ? &report->refused
                                       : finding->verdict == REPORT_HELD  ? &report->live
                                                                          : &report->findings;

        finding->stack = symbols_resolve(symbols, groups->reader, sorted[i]->stack);
        for (unsigned j = 0; j < finding->released_count; j++)
            finding->released_by[j] =
                symbols_resolve(symbols, groups->reader, sorted[i]->released_by[j]);
        if (sorted[i]->owner_count) {
            size_t size = sorted[i]->owner_count * sizeof *sorted[i]->owners;
            uint32_t *ids = arena_alloc(&report->arena, size);

            memcpy(ids, sorted[i]->owners, size);
            finding->owner_ids = ids;
        }
        add_finding(list, &report->arena, finding, count);
        free(sorted[i]->owners);
    }
    free(sorted);
}

static void suppress(struct report *report, struct report_findings *findings,
                     struct suppressions *suppressions, bool live)
{
    size_t kept = 0;

    for (size_t i = 0; i < findings->count; i++) {
        if (!suppressions_hide(suppressions, &findings->items[i], live)) {
            findings->items[kept++] = findings->items[i];
        } else if (!live) {
            report->suppressed++;
            report->suppressed_count += findings->items[i].count;
        }
    }
    findings->count = kept;
}

static void count_for(const struct report_findings *findings, struct suppressions *suppressions,
                      bool live)
{
    for (size_t i = 0; i < findings->count; i++)
        suppressions_count(suppressions, &findings->items[i], live);
}

/* --- the process and its totals
 * -------------------------------------------------------------------- */

static void describe_process(struct report *report, const struct reader *reader,
                             const struct kernel_view *view)
{
    const struct ledger_header *header = &reader->header;
    const struct ledger_outside *outside = &reader->outside;
    uint32_t string = header->argv;

    report->pid = header->pid;
    report->exe = reader_string(reader, header->exe);
    report->argc = header->argc < 4096 ? header->argc : 4096;
    report->argv = arena_alloc(&report->arena, (report->argc + 1) * sizeof *report->argv);
    for (size_t i = 0; i < report->argc; i++) {
        if (!string || string >= reader->tables[LEDGER_STRINGS].count) {
            report->argc = i;
            break;
        }
        report->argv[i] = reader_string(reader, string);
        string += (uint32_t)strlen(report->argv[i]) + 1;
    }
    report->attached = header->images != 0;
    report->start_ns = header->start_ns;
    report->end_ns = outside->end_ns ? outside->end_ns : header->end_ns;
    if (outside->ended == LEDGER_ENDED_EXIT) {
        report->ended = REPORT_EXIT;
        report->status = (int)outside->status;
    } else if (outside->ended == LEDGER_ENDED_SIGNAL) {
        report->ended = REPORT_SIGNAL;
        report->status = (int)outside->status;
    } else if (view && view->running) {
        report->ended = REPORT_RUNNING;
        report->end_ns = 0;
    } else if (header->process_state == LEDGER_PROCESS_DETACHED ||
               header->process_state == LEDGER_PROCESS_EXITING) {
        report->ended = REPORT_EXIT;
        report->status = (int)(header->exit_status & 0xff);
    } else {
        /* Nobody waited for it, and it did not pass by its exit: it was killed. */
        report->ended = REPORT_SIGNAL;
        report->status = 0;
    }
    if (header->process_state == LEDGER_PROCESS_EXECING && report->ended != REPORT_RUNNING)
        report->execed = header->exec_path ? reader_string(reader, header->exec_path) : "?";
    report->verified = view && view->fds_known && view->ranges_known;
    report->at_exit = report->verified && !view->running;
}

static void count_owners(struct report *report, const struct reader *reader)
{
    uint64_t count = reader->tables[LEDGER_OWNERS].count;

    report->owners = arena_alloc(&report->arena, (count ? count : 1) * sizeof *report->owners);
    for (uint64_t i = 1; i < count; i++) {
        const struct ledger_owner *owner = reader_record(reader, LEDGER_OWNERS, i);

        if (owner->state != LEDGER_LIVE && owner->state != LEDGER_ENDED)
            continue;
        report->owners_begun++;
        report->owners_ended += owner->state == LEDGER_ENDED;
        report->owners[report->owner_count++] = (struct report_owner){
            .id = (uint32_t)i,
            .kind = owner_kind(owner->kind),
            .label = arena_text(&report->arena, owner->label,
                                strnlen(owner->label, sizeof owner->label)),
            .live = owner->state == LEDGER_LIVE,
            .mappings = owner->mappings,
            .bytes = owner->bytes,
            .fds = owner->fds,
        };
    }
}

static void count_totals(struct report *report, const struct reader *reader,
                         const struct kernel_view *view, const struct verify *verify)
{
    const struct ledger_header *header = &reader->header;

    for (size_t i = 0; i < verify->count; i++) {
        const struct verify_held *held = &verify->held[i];

        if (held->fd) {
            report->fds++;
            report->inherited_fds += (held->fd->flags & LEDGER_INHERITED) != 0;
        } else {
            report->mappings++;
            report->mapped_bytes += held->bytes;
            report->inherited_mappings += (held->mapping->flags & LEDGER_INHERITED) != 0;
        }
    }
    report->unseen_fds = verify->unseen_fds;
    report->max_fds = view && view->max_fds ? view->max_fds : header->max_fds;
    report->max_map_count =
        view && view->max_map_count ? view->max_map_count : header->max_map_count;
    report->vmas_estimated = !view || !view->ranges_known;
    report->vmas = report->vmas_estimated
                       ? (header->vmas_estimated > 0 ? (uint64_t)header->vmas_estimated : 0)
                       : view->vmas;
    if (view && view->fds_known)
        report->fds = view->fd_count;
    report->incomplete = header->incomplete;
    report->missed_stacks = header->missed_stacks;
    report->missed_records = header->missed_records;
    report->lost_events = header->lost_events;
}

/* An owner that ended a while ago, or any at the end, when nothing more can come. */
static bool has_settled(const struct report *report, const struct ledger_owner *owner)
{
    struct timespec now;

    if (owner->state != LEDGER_ENDED)
        return false;
    if (report->ended != REPORT_RUNNING)
        return true;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec >=
           owner->ended_ns + SETTLE_NS;
}

static void group_all(struct groups *groups, const struct verify *verify)
{
    struct report *report = groups->report;
    const struct reader *reader = groups->reader;
    struct text_id *texts = NULL, *text, *next;

    for (size_t i = 0; i < verify->count; i++) {
        const struct verify_held *held = &verify->held[i];
        unsigned flags = held->fd ? held->fd->flags : held->mapping->flags;
        const struct ledger_owner *owner;
        uint32_t index;

        if (flags & LEDGER_INHERITED)
            continue;
        group_held(groups, &texts, held, REPORT_HELD);
        owner = owner_of(reader, held, &index);
        if (owner && has_settled(report, owner))
            group_held(groups, &texts, held, REPORT_LEAKED);
    }
    for (uint64_t i = 1; i < reader->tables[LEDGER_EVENTS].count; i++)
        group_event(groups, &texts, reader_record(reader, LEDGER_EVENTS, i));
    HASH_ITER (hh, texts, text, next)
        HASH_DEL(texts, text);
}

/* After suppressions: what they left out was not left behind, as far as the totals go. */
static void count_leaked(struct report *report, const struct reader *reader)
{
    uint8_t *leaking = base_alloc(reader->tables[LEDGER_OWNERS].count);

    for (size_t i = 0; i < report->findings.count; i++) {
        const struct report_finding *finding = &report->findings.items[i];

        if (finding->verdict != REPORT_LEAKED)
            continue;
        if (finding->resource == REPORT_FD) {
            report->leaked_fds += finding->count;
        } else {
            report->leaked_mappings += finding->count;
            report->leaked_bytes += finding->bytes;
        }
        for (uint64_t j = 0; j < finding->owners; j++) {
            report->owners_leaking += !leaking[finding->owner_ids[j]];
            leaking[finding->owner_ids[j]] = 1;
        }
    }
    free(leaking);
}

bool report_build(struct report *report, const struct reader *reader,
                  const struct kernel_view *view, struct symbols *symbols,
                  struct suppressions *suppressions, struct failure *failure)
{
    struct kernel_view annex = {0};
    struct groups groups = {.report = report, .reader = reader};
    struct code *code, *next_code;
    struct group *group, *next;
    struct verify verify;

    *report = (struct report){0};
    if (!view && reader->annex) {
        struct failure why = {0};

        if (!kernel_view_unpack(&annex, reader->annex, reader->outside.annex_size, &why)) {
            kernel_view_free(&annex);
            return failure_set(failure, "%s: %s", reader->name, why.text);
        }
        view = &annex;
    }
    describe_process(report, reader, view);
    count_owners(report, reader);
    verify_ledger(&verify, reader, view);
    count_totals(report, reader, view, &verify);
    groups.code_of = base_alloc(reader->tables[LEDGER_STACKS].count * sizeof *groups.code_of);
    group_all(&groups, &verify);
    tell_groups(&groups, symbols);
    HASH_ITER (hh, groups.codes, code, next_code)
        HASH_DEL(groups.codes, code);
    HASH_ITER (hh, groups.all, group, next)
        HASH_DEL(groups.all, group);
    free(groups.code_of);
    arena_free(&groups.arena);
    verify_free(&verify);
    if (suppressions) {
        suppressions_begin(suppressions);
        count_for(&report->findings, suppressions, false);
        count_for(&report->refused, suppressions, false);
        count_for(&report->live, suppressions, true);
        suppress(report, &report->findings, suppressions, false);
        suppress(report, &report->refused, suppressions, false);
        suppress(report, &report->live, suppressions, true);
    }
    count_leaked(report, reader);
    if (view == &annex) {
        /* Names were borrowed from it. */
        report->annex = annex;
    }
    return true;
}

void report_free(struct report *report)
{
    kernel_view_free(&report->annex);
    arena_free(&report->arena);
    *report = (struct report){0};
}

bool report_has_errors(const struct report *report)
{
    for (size_t i = 0; i < report->findings.count; i++) {
        enum report_verdict verdict = report->findings.items[i].verdict;

        if (verdict == REPORT_LEAKED || verdict == REPORT_GROWING || verdict == REPORT_DOUBLE_CLOSE)
            return true;
    }
    return false;
}
