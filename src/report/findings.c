/*
 * findings.c: from single records to a report: what is alike becomes one finding, and findings are
 * sorted by what kills the process first.
 *
 * Alike is what has the same verdict, resource, kind of owner, name and stack, where a stack is
 * its places in the code (codes.c). It judges nothing: verdicts.c does. It writes nothing and asks
 * nobody: text.c and json.c do the one, kernel.c the other.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <uthash.h>

#include "ledger/fault.h"
#include "ledger/kinds.h"
#include "policy/policy.h"
#include "report/allocators.h"
#include "report/codes.h"
#include "report/growing.h"
#include "report/ignore.h"
#include "report/names.h"
#include "report/report.h"
#include "report/verdicts.h"

static const char *const verdict_names[REPORT_VERDICTS] = {
    [REPORT_LEAKED] = "leaked",
    [REPORT_GROWING] = "growing",
    [REPORT_DOUBLE_CLOSE] = "double-close",
    [REPORT_FOREIGN_CLOSE] = "foreign-close",
    [REPORT_INHERITABLE] = "inheritable",
    [REPORT_RECLAIMED] = "reclaimed",
    [REPORT_RESCUED] = "rescued",
    [REPORT_LIMITED] = "limited",
    [REPORT_HELD] = "held",
    [REPORT_REFUSED] = "refused",
};

const char *report_verdict_name(enum report_verdict verdict)
{
    return verdict_names[verdict];
}

const char *report_policy_name(uint64_t on, unsigned n)
{
    static const struct {
        const char *name;
        enum policy bit;
    } policies[REPORT_POLICIES] = {{"reclaim", POLICY_RECLAIM},
                                   {"rescue", POLICY_RESCUE},
                                   {"limit", POLICY_LIMIT},
                                   {"placement", POLICY_PLACEMENT}};

    return on & policies[n].bit ? policies[n].name : NULL;
}

const char *report_resource_name(enum report_resource resource)
{
    return resource == REPORT_FD ? "fd" : "mapping";
}

#define OWNERS_FEW 32u /* sandboxes of a group that are looked for one by one */

struct groups {
    struct report *report;
    const struct reader *reader;
    const struct kernel_view *view; /* NULL: the kernel was never asked */
    struct codes codes;
    struct owners owners;
    struct text_id *texts;
    struct group *all;
    struct part *parts; /* of what one call mapped: the first that was counted */
    struct arena arena;
};

struct part_key {
    const struct group *group;
    uint64_t ticket; /* of the call */
    uint64_t owner;
};

struct part {
    struct part_key key;
    UT_hash_handle hh;
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
    uint32_t unbound_by;
    uint32_t *owners; /* distinct */
    size_t owner_count;
    uint8_t *owner_bits;   /* by index, once there are OWNERS_FEW */
    uint64_t most_of_what; /* of what grows: how many are called as all of it is */
    uint64_t order;        /* of appearance */
    UT_hash_handle hh;
};

/* --- grouping ------------------------------------------------------------------------------------
 */

struct text_id {
    uint32_t id;
    UT_hash_handle hh;
    char text[];
};

static uint32_t id_of_text(struct groups *groups, const char *text)
{
    size_t length = strlen(text);
    struct text_id *entry;

    HASH_FIND(hh, groups->texts, text, length, entry);
    if (!entry) {
        entry = arena_alloc(&groups->arena, sizeof *entry + length + 1);
        memcpy(entry->text, text, length);
        entry->id = HASH_COUNT(groups->texts) + 1;
        HASH_ADD_KEYPTR(hh, groups->texts, entry->text, length, entry);
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

/* since_ns is monotonic; a reader of reports wants the time of day. */
static uint64_t real_time(const struct reader *reader, uint64_t monotonic_ns)
{
    const struct ledger_header *header = &reader->header;

    if (monotonic_ns == 0)
        return 0;
    /* The coarse clock is up to a tick behind: nothing was taken before the start. */
    if (monotonic_ns < header->start_monotonic_ns)
        return header->start_ns;
    return header->start_ns + (monotonic_ns - header->start_monotonic_ns);
}

static void note_time(struct report_finding *finding, const struct reader *reader, uint64_t first,
                      uint64_t last)
{
    first = real_time(reader, first);
    last = real_time(reader, last);
    if (first == 0)
        return;
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

static void note_thread(struct report_finding *finding, const struct kernel_view *view,
                        uint32_t tid)
{
    const char *name = view ? kernel_find_thread(view, tid) : NULL;
    unsigned count = finding->thread_count;

    if (tid == 0 || count == REPORT_THREADS)
        return;
    for (unsigned i = 0; i < count; i++)
        if (finding->threads[i].tid == tid)
            return;
    finding->threads[count] = (struct report_thread){tid, name ? name : ""};
    finding->thread_count++;
}

static bool has_owner(struct groups *groups, struct group *group, uint32_t owner)
{
    if (group->owner_count < OWNERS_FEW) {
        for (size_t i = group->owner_count; i-- > 0;)
            if (group->owners[i] == owner)
                return true;
        return false;
    }
    if (!group->owner_bits) {
        group->owner_bits = arena_alloc(&groups->arena, groups->owners.count / 8 + 1);
        for (size_t i = 0; i < group->owner_count; i++)
            group->owner_bits[group->owners[i] / 8] |= (uint8_t)(1 << group->owners[i] % 8);
    }
    return group->owner_bits[owner / 8] >> owner % 8 & 1;
}

static void note_owner(struct groups *groups, struct group *group, uint32_t owner)
{
    if (owner == 0 || has_owner(groups, group, owner))
        return;
    if (group->owner_bits)
        group->owner_bits[owner / 8] |= (uint8_t)(1 << owner % 8);
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

/* A child whose system calls nobody had to answer is one kind with those who did ask: it is the
 * same supervisor's sandbox, and the same leak. */
static uint32_t kind_in_groups(const struct owners_item *owner)
{
    if (!owner)
        return 0;
    return owner->record->kind == LEDGER_OWNER_SECCOMP ? LEDGER_OWNER_CHILD : owner->record->kind;
}

/* What one call mapped is one thing that one sandbox left behind, in however many parts its slots
 * or a partial unmap have cut it. */
static bool is_first_part(struct groups *groups, const struct group *group,
                          const struct verdicts_case *the)
{
    struct part_key key = {group, the->held->mapping->ticket, the->owner};
    struct part *part;

    HASH_FIND(hh, groups->parts, &key, sizeof key, part);
    if (part)
        return false;
    part = arena_alloc(&groups->arena, sizeof *part);
    part->key = key;
    HASH_ADD(hh, groups->parts, key, sizeof key, part);
    return true;
}

static struct group *group_case(struct groups *groups, const struct verdicts_case *the,
                                const char *what, enum report_verdict verdict)
{
    const struct verify_held *held = the->held;
    const struct owners_item *owner = owners_outermost(&groups->owners, the->owner);
    uint64_t since_ns = held->fd ? held->fd->since_ns : held->mapping->since_ns;
    uint32_t stack = held->fd ? held->fd->stack : held->mapping->stack;
    struct report_finding *finding;
    struct group_key key = {0};
    struct group *group;

    key.verdict = verdict;
    key.resource = held->resource;
    key.code = the->code;
    key.owner_kind = kind_in_groups(owner);
    key.what = the->what;
    group = find_group(groups, &key);
    finding = &group->finding;
    if (finding->count == 0) {
        group->stack = stack;
        finding->what = what;
        finding->owner_kind = owner ? names_of_owner(owner->record->kind) : "";
    }
    if (owner && owner->record->kind == LEDGER_OWNER_SECCOMP)
        finding->owner_kind = names_of_owner(LEDGER_OWNER_SECCOMP);
    if (verdict != REPORT_LEAKED || !held->mapping || is_first_part(groups, group, the))
        finding->count++;
    finding->bytes += held->bytes;
    finding->kept = verify_is_kept(held);
    finding->verified = finding->verified && held->verified;
    if (group->unbound_by == 0 && verdict == REPORT_LEAKED)
        group->unbound_by = the->unbound_by;
    note_owner(groups, group, the->owner);
    note_name(finding, held->name);
    note_thread(finding, groups->view, held->fd ? held->fd->tid : held->mapping->tid);
    note_released_by(group, groups->reader, stack);
    note_time(finding, groups->reader, since_ns, since_ns);
    return group;
}

/* What a policy took back, as its event has it. */
static const char *what_was_reclaimed(struct groups *groups, const struct ledger_event *event)
{
    struct ledger_mapping mapping = {.flags = event->error};
    struct verify_held held = {.resource = REPORT_MAPPING, .mapping = &mapping};

    if (event->kind == LEDGER_EVENT_RECLAIMED_FD)
        return ledger_fd_kind_names[event->error < LEDGER_FD_KINDS ? event->error : 0];
    return names_of_mapping(&groups->report->arena, &held);
}

/* Of a descriptor that is still the one that an event was about. */
static const char *what_of_event(struct groups *groups, const struct ledger_event *event)
{
    const struct ledger_fd *fd = reader_record(groups->reader, LEDGER_FDS, event->start);
    struct verify_held held = {.resource = REPORT_FD, .fd = fd};

    if (event->kind == LEDGER_EVENT_RECLAIMED_FD || event->kind == LEDGER_EVENT_RECLAIMED_MAPPING)
        return what_was_reclaimed(groups, event);
    if (event->kind == LEDGER_EVENT_LATE_UNMAP)
        return "mapping";
    if (!fd || fd->state == LEDGER_EMPTY || fd->stack != event->stack)
        return "descriptor";
    return names_of_fd(&groups->report->arena, &held);
}

static void warn(struct groups *groups, const struct ledger_event *event)
{
    struct report *report = groups->report;
    bool fds = event->error != ENOMEM;
    struct report_warning warning = {
        .resource = fds ? REPORT_FD : REPORT_MAPPING,
        .limit = fds ? report->max_fds : report->max_map_count,
        .first_ns = real_time(groups->reader, event->first_ns),
        .last_ns = real_time(groups->reader, event->last_ns),
    };
    uint64_t most = groups->reader->tables[LEDGER_EVENTS].count;

    warning.text = arena_format(&report->arena, "80%% of %" PRIu64 " %s were in use", warning.limit,
                                fds ? "descriptors" : "VMAs");
    if (!report->warnings)
        report->warnings = arena_alloc(&report->arena, most * sizeof warning);
    report->warnings[report->warning_count++] = warning;
}

/* One record tells of many sandboxes, and names the last. */
static bool is_policys(uint32_t verdict)
{
    return verdict == REPORT_RECLAIMED || verdict == REPORT_RESCUED || verdict == REPORT_LIMITED;
}

static void note_last(struct groups *groups, struct report_finding *finding,
                      const struct owners_item *owner)
{
    const char *label = owner->record->label;

    finding->last_id = owner->record->serial;
    finding->last_label =
        arena_text(&groups->report->arena, label, strnlen(label, sizeof owner->record->label));
}

static void group_event(struct groups *groups, const struct ledger_event *event)
{
    static const struct {
        const char *what; /* NULL: what the descriptor is */
        enum report_verdict verdict;
        enum report_resource resource;
    } kinds[] = {
        [LEDGER_EVENT_UNMAP_REFUSED] = {"munmap", REPORT_REFUSED, REPORT_MAPPING},
        [LEDGER_EVENT_PROTECT_REFUSED] = {"mprotect", REPORT_REFUSED, REPORT_MAPPING},
        [LEDGER_EVENT_REMAP_REFUSED] = {"mremap", REPORT_REFUSED, REPORT_MAPPING},
        [LEDGER_EVENT_MAP_REFUSED] = {"mmap", REPORT_REFUSED, REPORT_MAPPING},
        [LEDGER_EVENT_FD_REFUSED] = {"descriptor", REPORT_REFUSED, REPORT_FD},
        [LEDGER_EVENT_DOUBLE_CLOSE] = {"close", REPORT_DOUBLE_CLOSE, REPORT_FD},
        [LEDGER_EVENT_FOREIGN_CLOSE] = {"close", REPORT_FOREIGN_CLOSE, REPORT_FD},
        [LEDGER_EVENT_INHERITABLE] = {NULL, REPORT_INHERITABLE, REPORT_FD},
        [LEDGER_EVENT_RECLAIMED_FD] = {NULL, REPORT_RECLAIMED, REPORT_FD},
        [LEDGER_EVENT_RECLAIMED_MAPPING] = {NULL, REPORT_RECLAIMED, REPORT_MAPPING},
        [LEDGER_EVENT_LATE_CLOSE] = {NULL, REPORT_RECLAIMED, REPORT_FD},
        [LEDGER_EVENT_LATE_UNMAP] = {NULL, REPORT_RECLAIMED, REPORT_MAPPING},
        [LEDGER_EVENT_RESCUED] = {"munmap", REPORT_RESCUED, REPORT_MAPPING},
        [LEDGER_EVENT_LIMITED_FD] = {"descriptor", REPORT_LIMITED, REPORT_FD},
        [LEDGER_EVENT_LIMITED_MAPPING] = {"mapping", REPORT_LIMITED, REPORT_MAPPING},
        [LEDGER_EVENT_ADVICE_REFUSED] = {"madvise", REPORT_REFUSED, REPORT_MAPPING},
    };
    /* Told with what had been reclaimed. */
    bool late = event->kind == LEDGER_EVENT_LATE_CLOSE || event->kind == LEDGER_EVENT_LATE_UNMAP;
    uint32_t stack = late ? event->other_stack : event->stack;
    uint32_t by = late ? event->stack : event->other_stack;
    const struct owners_item *owner;
    struct report_finding *finding;
    struct group_key key = {0};
    struct group *group;
    const char *what;

    if (event->state != LEDGER_LIVE || event->kind == 0)
        return;
    if (event->kind == LEDGER_EVENT_NEARLY_FULL)
        warn(groups, event);
    if (event->kind >= sizeof kinds / sizeof *kinds || event->kind == LEDGER_EVENT_NEARLY_FULL)
        return;
    if (FAULT(double_close_unsaid) && event->kind == LEDGER_EVENT_DOUBLE_CLOSE)
        return;
    what = kinds[event->kind].what ? kinds[event->kind].what : what_of_event(groups, event);
    /* Whose it was; of what can be inherited, who may have got it. */
    owner = owners_outermost(&groups->owners, event->kind == LEDGER_EVENT_INHERITABLE
                                                  ? event->other_owner
                                                  : event->owner);
    key.verdict = kinds[event->kind].verdict;
    key.resource = kinds[event->kind].resource;
    key.code = codes_of_stack(&groups->codes, stack);
    key.owner_kind = is_policys(key.verdict) ? 0 : kind_in_groups(owner);
    key.what = is_policys(key.verdict) ? 0 : id_of_text(groups, what);
    key.error = key.verdict == REPORT_RECLAIMED ? 0 : event->error;
    group = find_group(groups, &key);
    finding = &group->finding;
    if (!finding->what || (!late && finding->count == 0)) {
        group->stack = stack;
        finding->what = what;
        finding->owner_kind = owner ? names_of_owner(owner->record->kind) : "";
        finding->error = (int)key.error;
    }
    if (!is_policys(key.verdict))
        note_owner(groups, group, owners_index(&groups->owners, owner));
    else if (owner)
        note_last(groups, finding, owner);
    if (late) {
        finding->late_releases += event->count;
    } else {
        finding->count += event->count;
        finding->bytes += event->bytes;
        finding->address = event->start;
    }
    if (event->vmas)
        finding->vmas = event->vmas;
    if (finding->verdict != REPORT_REFUSED && by && finding->released_count < 2 &&
        !(finding->released_count && group->released_by[0] == by))
        group->released_by[finding->released_count++] = by;
    note_time(finding, groups->reader, event->first_ns, event->last_ns);
}

/* What of the refused unmaps still waits, by who called them. */
static void group_waiting(struct groups *groups, const struct verify *verify)
{
    for (size_t i = 0; i < verify->count; i++) {
        const struct ledger_mapping *mapping = verify->held[i].mapping;
        struct group_key key = {REPORT_RESCUED, REPORT_MAPPING, 0, 0, 0, ENOMEM};
        struct group *group;

        if (!mapping || !verify_is_kept(&verify->held[i]) || !(mapping->detail & LEDGER_WAITS))
            continue;
        key.code = codes_of_stack(&groups->codes, mapping->unbound_stack);
        HASH_FIND(hh, groups->all, &key, sizeof key, group);
        if (group)
            group->finding.waiting_bytes += verify->held[i].bytes;
    }
}

/* --- growing ------------------------------------------------------------------------------------
 */

static void set_rate(const struct groups *groups, struct report_finding *finding, double rate)
{
    const struct report *report = groups->report;
    bool fds = finding->resource == REPORT_FD;
    uint64_t limit = fds ? report->max_fds : report->max_map_count;
    uint64_t used = fds ? report->fds : report->vmas;

    finding->rate = rate * growing_unit(&groups->reader->header, &finding->rate_unit);
    finding->limit_in = REPORT_LIMIT_UNKNOWN;
    if (limit)
        finding->limit_in = used < limit ? (uint64_t)((double)(limit - used) / finding->rate) : 0;
}

/* All that one code holds is one finding, called by what most of it is. */
static void group_growing(struct groups *groups, const struct verdicts_case *cases,
                          const char *const *whats, size_t count)
{
    struct growing growing;

    growing_begin(&growing, groups->reader, &groups->codes, cases, count);
    for (size_t i = 0; i < count; i++) {
        struct group_key key = {REPORT_HELD, cases[i].held->resource, cases[i].code,
                                0,           cases[i].what,           0};
        struct verdicts_case one = cases[i];
        struct group *of_what, *all;

        if (!growing_has(&growing, &cases[i]))
            continue;
        one.what = one.owner = 0;
        all = group_case(groups, &one, whats[i], REPORT_GROWING);
        HASH_FIND(hh, groups->all, &key, sizeof key, of_what);
        if (of_what && of_what->finding.count > all->most_of_what) {
            all->most_of_what = of_what->finding.count;
            all->finding.what = whats[i];
        }
        set_rate(groups, &all->finding, growing.codes[one.code].growth.rate);
    }
    growing_end(&growing);
}

/* --- what the ledger never saw ------------------------------------------------------------------
 */

static int by_count(const void *a, const void *b)
{
    const struct report_unseen *x = a, *y = b;

    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return strcmp(x->what, y->what);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void count_unseen(struct groups *groups, const struct verify *verify)
{
    struct report *report = groups->report;
    struct arena *arena = &report->arena;
    cleanup_free const char **whats = base_alloc(verify->unseen_fds * sizeof *whats);

    if (verify->unseen_fds == 0)
        return;
    for (uint64_t i = 0; i < verify->unseen_fds; i++) {
        const char *name = verify->unseen[i]->name;

        whats[i] = name ? names_of_kernel(arena, name) : "descriptor";
    }
    qsort(whats, verify->unseen_fds, sizeof *whats, by_text);
    report->unseen = arena_alloc(arena, verify->unseen_fds * sizeof *report->unseen);
    for (uint64_t i = 0; i < verify->unseen_fds; i++) {
        if (i == 0 || strcmp(whats[i], whats[i - 1]) != 0)
            report->unseen[report->unseen_count++].what = whats[i];
        report->unseen[report->unseen_count - 1].count++;
    }
    qsort(report->unseen, report->unseen_count, sizeof *report->unseen, by_count);
}

static uint64_t count_now(const struct groups *groups, const struct kernel_series *series)
{
    for (size_t i = 0; i < groups->report->unseen_count; i++)
        if (strcmp(groups->report->unseen[i].what, series->what) == 0)
            return groups->report->unseen[i].count;
    return groups->view->fds_known ? 0 : series->count;
}

/* What becomes more, of the kinds that censuses have counted. It has no stack. */
static void group_censuses(struct groups *groups)
{
    const struct ledger_header *header = &groups->reader->header;
    const struct kernel_view *view = groups->view;

    for (size_t i = 0; view && i < view->series_count; i++) {
        struct kernel_series *series = &view->series[i];
        struct ledger_growth record = series->growth;
        uint64_t now = count_now(groups, series);
        struct group_key key = {
            REPORT_GROWING, REPORT_FD, 0, 0, id_of_text(groups, series->what), 0};
        struct growth_series marks;
        struct growth growth;
        struct group *group;

        growth_note(&record, header->epoch, series->count, header->owners_live);
        growth_series(&marks, &record, header->epoch, (uint32_t)now);
        if (growing_limit_met(groups->reader, REPORT_FD))
            growth_series_cut(&marks);
        if (FAULT(census_unsaid) || !growth_judge(&marks, &growth) || (double)now < growth.climb)
            continue;
        group = find_group(groups, &key);
        group->finding.what =
            arena_text(&groups->report->arena, series->what, strlen(series->what));
        group->finding.owner_kind = "";
        group->finding.count = now;
        group->finding.verified = view->fds_known;
        set_rate(groups, &group->finding, growth.rate);
    }
}

/* --- sorting -------------------------------------------------------------------------------------
 */

/* What uses a limit up comes first, whether it has a sandbox to its name or not. */
static unsigned rank_of(const struct group *group)
{
    return group->key.verdict == REPORT_GROWING ? REPORT_LEAKED : group->key.verdict;
}

static int by_urgency(const void *a, const void *b)
{
    const struct group *x = *(struct group *const *)a, *y = *(struct group *const *)b;

    if (rank_of(x) != rank_of(y))
        return rank_of(x) < rank_of(y) ? -1 : 1;
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
        struct report_findings *list;

        finding->stack = symbols_resolve(symbols, groups->reader, sorted[i]->stack);
        if (finding->verdict == REPORT_LEAKED && finding->resource == REPORT_MAPPING &&
            allocators_made(finding->stack)) {
            free(sorted[i]->owners);
            continue; /* among what is held it is told anyway */
        }
        list = finding->verdict == REPORT_REFUSED ? &report->refused
               : finding->verdict == REPORT_HELD  ? &report->live
                                                  : &report->findings;
        for (unsigned j = 0; j < finding->released_count; j++)
            finding->released_by[j] =
                symbols_resolve(symbols, groups->reader, sorted[i]->released_by[j]);
        if (sorted[i]->unbound_by)
            finding->unbound_by = symbols_resolve(symbols, groups->reader, sorted[i]->unbound_by);
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

static void count_owners(struct report *report, const struct owners *owners)
{
    report->owners = arena_alloc(&report->arena, (owners->count + 1) * sizeof *report->owners);
    report->owners_begun = owners->begun;
    report->owners_ended = owners->ended;
    for (size_t i = 1; i < owners->count; i++) {
        const struct ledger_owner *record = owners->items[i].record;

        if (!record || owners->items[i].outermost != i)
            continue;
        report->owners[report->owner_count++] = (struct report_owner){
            .id = record->serial,
            .kind = names_of_owner(record->kind),
            .label = arena_text(&report->arena, record->label,
                                strnlen(record->label, sizeof record->label)),
            .live = !owners->items[i].ended,
            .mappings = record->mappings,
            .bytes = record->bytes,
            .fds = record->fds,
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
    report->missed_records = header->missed_records + header->owners_missed;
    report->lost_events = header->lost_events;
    report->policies = (struct report_policies){
        .on = header->policies,
        .reclaimed_fds = header->reclaimed_fds,
        .reclaimed_mappings = header->reclaimed_mappings,
        .reclaimed_bytes = header->reclaimed_bytes,
        .late_releases = header->late_releases,
        .quarantined_fds = header->quarantined_fds,
        .quarantined_bytes = header->quarantined_bytes,
        .rescued = header->rescued,
        .rescue_unmapped = header->rescue_unmapped,
        .rescue_reused = header->rescue_reused,
        .waiting_ranges = header->rescue_waiting_ranges,
        .waiting_bytes = header->rescue_waiting_bytes,
        .limited = header->limited,
    };
}

/* The last moment that the ledger knows of: when a killed process was still there. */
static uint64_t last_moment(const struct groups *groups, const struct verify *verify)
{
    const struct ledger_header *header = &groups->reader->header;
    uint64_t last = header->start_monotonic_ns;

    if (groups->report->end_ns > header->start_ns)
        return last + groups->report->end_ns - header->start_ns;
    for (size_t i = 1; i < groups->owners.count; i++)
        if (groups->owners.items[i].ended_ns > last)
            last = groups->owners.items[i].ended_ns;
    for (size_t i = 0; i < verify->count; i++) {
        const struct verify_held *held = &verify->held[i];
        uint64_t since_ns = held->fd ? held->fd->since_ns : held->mapping->since_ns;

        if (since_ns > last)
            last = since_ns;
    }
    return last;
}

static struct verdicts_terms terms_of(const struct groups *groups, const struct verify *verify,
                                      uint64_t settle_ns)
{
    const struct report *report = groups->report;
    const struct kernel_view *view = groups->view;
    bool asked = view && (view->fds_known || view->ranges_known);

    return (struct verdicts_terms){
        .at_exit = report->ended == REPORT_EXIT || report->at_exit,
        .running = asked && view->running,
        .half_full = 2 * report->fds > report->max_fds || 2 * report->vmas > report->max_map_count,
        .now_ns = asked ? view->taken_ns : last_moment(groups, verify),
        .settle_ns = settle_ns,
    };
}

static void group_all(struct groups *groups, const struct verify *verify, uint64_t settle_ns)
{
    struct verdicts_terms terms = terms_of(groups, verify, settle_ns);
    cleanup_free struct verdicts_case *cases = base_alloc(verify->count * sizeof *cases);
    cleanup_free const char **whats = base_alloc(verify->count * sizeof *whats);
    struct arena *arena = &groups->report->arena;
    const struct reader *reader = groups->reader;
    size_t count = 0;

    for (size_t i = 0; i < verify->count; i++) {
        const struct verify_held *held = &verify->held[i];

        if ((held->fd ? held->fd->flags : held->mapping->flags) & LEDGER_INHERITED)
            continue;
        whats[count] = held->fd ? names_of_fd(arena, held) : names_of_mapping(arena, held);
        cases[count].held = held;
        cases[count].code =
            codes_of_stack(&groups->codes, held->fd ? held->fd->stack : held->mapping->stack);
        cases[count].what = id_of_text(groups, whats[count]);
        count++;
    }
    verdicts_judge(cases, count, reader, &groups->owners, &terms);
    for (size_t i = 0; i < count; i++) {
        (void)group_case(groups, &cases[i], whats[i], REPORT_HELD);
        if (cases[i].leaked)
            (void)group_case(groups, &cases[i], whats[i], REPORT_LEAKED);
    }
    group_growing(groups, cases, whats, count);
    count_unseen(groups, verify);
    group_censuses(groups);
    for (uint64_t i = 1; i < reader->tables[LEDGER_EVENTS].count; i++)
        group_event(groups, reader_record(reader, LEDGER_EVENTS, i));
    group_waiting(groups, verify);
}

/* After suppressions: what they left out was not left behind, as far as the totals go. */
static void count_leaked(struct report *report, const struct owners *owners)
{
    uint8_t *leaking = base_alloc(owners->count);

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
            uint32_t owner = finding->owner_ids[j];

            if (leaking[owner])
                continue;
            leaking[owner] = 1;
            report->owners_leaking++;
            report->owners_leaking_live += !owners->items[owner].ended;
        }
    }
    free(leaking);
}

static void groups_end(struct groups *groups)
{
    struct text_id *text, *next_text;
    struct part *part, *next_part;
    struct group *group, *next;

    HASH_ITER (hh, groups->texts, text, next_text)
        HASH_DEL(groups->texts, text);
    HASH_ITER (hh, groups->parts, part, next_part)
        HASH_DEL(groups->parts, part);
    HASH_ITER (hh, groups->all, group, next)
        HASH_DEL(groups->all, group);
    codes_end(&groups->codes);
    owners_end(&groups->owners);
    arena_free(&groups->arena);
}

static void apply_suppressions(struct report *report, struct suppressions *suppressions)
{
    suppressions_begin(suppressions);
    count_for(&report->findings, suppressions, false);
    count_for(&report->refused, suppressions, false);
    count_for(&report->live, suppressions, true);
    suppress(report, &report->findings, suppressions, false);
    suppress(report, &report->refused, suppressions, false);
    suppress(report, &report->live, suppressions, true);
}

static void ignore(struct report *report, struct report_findings *findings,
                   const struct rules *rules, bool live)
{
    size_t kept = 0;

    for (size_t i = 0; i < findings->count; i++) {
        if (!ignore_finding(rules, &findings->items[i])) {
            findings->items[kept++] = findings->items[i];
        } else if (!live) {
            report->suppressed++;
            report->suppressed_count += findings->items[i].count;
        }
    }
    findings->count = kept;
}

static void apply_rules(struct report *report, const struct rules *rules)
{
    ignore(report, &report->findings, rules, false);
    ignore(report, &report->refused, rules, false);
    ignore(report, &report->live, rules, true);
}

bool report_build(struct report *report, const struct reader *reader,
                  const struct kernel_view *view, struct symbols *symbols,
                  const struct report_options *options, struct failure *failure)
{
    static const struct report_options defaults = {.settle_ns = REPORT_SETTLE_NS};
    struct kernel_view annex = {0};
    struct groups groups = {.report = report, .reader = reader};
    struct verify verify;

    if (!options)
        options = &defaults;

    *report = (struct report){0};
    if (!view && reader->annex) {
        struct failure why = {0};

        if (!kernel_view_unpack(&annex, reader->annex, reader->outside.annex_size, &why)) {
            kernel_view_free(&annex);
            return failure_set(failure, "%s: %s", reader->name, why.text);
        }
        view = &annex;
    }
    groups.view = view;
    describe_process(report, reader, view);
    owners_begin(&groups.owners, reader, view);
    count_owners(report, &groups.owners);
    verify_ledger(&verify, reader, view);
    count_totals(report, reader, view, &verify);
    codes_begin(&groups.codes, reader);
    group_all(&groups, &verify, options->settle_ns);
    tell_groups(&groups, symbols);
    verify_free(&verify);
    if (options->rules)
        apply_rules(report, options->rules);
    if (options->suppressions)
        apply_suppressions(report, options->suppressions);
    count_leaked(report, &groups.owners);
    groups_end(&groups);
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

/* What was reclaimed is a bug that goes on, however well it is made up for. */
bool report_is_error(enum report_verdict verdict)
{
    return verdict == REPORT_LEAKED || verdict == REPORT_GROWING ||
           verdict == REPORT_DOUBLE_CLOSE || verdict == REPORT_RECLAIMED;
}

bool report_has_errors(const struct report *report)
{
    for (size_t i = 0; i < report->findings.count; i++)
        if (report_is_error(report->findings.items[i].verdict))
            return true;
    return false;
}
