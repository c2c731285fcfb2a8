/*
 * plain.c: the report of a bare LD_PRELOAD, at exit: plain text, no symbols, no allocation.
 *
 * Addresses are given as object+offset, as the sanitizers do without a symboliser. Everything else
 * (symbols, JSON, suppressions) is the command's, from the same ledger.
 */
#include "plain.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <time.h>

#include "ledger/kinds.h"
#include "policy/left.h"
#include "policy/policy.h"
#include "raw.h"

#define GROUPS_MAX 100u
#define SPARE_STACKS                                                                               \
    1024u /* where there is no memory: at the limit of VMAs a report is needed most */

struct tally {
    uint32_t fds;
    uint32_t mappings;
    uint64_t bytes;
    uint16_t kind; /* of the last descriptor */
    uint16_t told;
};

/* Two for each stack: what is held, and what of it ended sandboxes have left behind. */
struct tallies {
    struct tally *held;
    struct tally *left;
    uint64_t stacks;
};

struct line {
    char text[1024];
    size_t used;
    unsigned wait_ms; /* for a reader */
    bool given_up;    /* there is none */
};

static void put(struct line *line, const char *text)
{
    for (; *text && line->used < sizeof(line->text) - 1; text++) {
        line->text[line->used++] = *text;
    }
}

static void put_number(struct line *line, uint64_t number, unsigned radix)
{
    char digits[24];
    unsigned at = sizeof(digits) - 1;
    digits[at] = 0;
    do {
        digits[--at] = "0123456789abcdef"[number % radix];
        number /= radix;
    } while (number);
    put(line, digits + at);
}

/* A pipe that nobody empties, say while its owner waits for this very process, is not waited for
 * without end. */
static bool may_write(const struct line *line)
{
    struct pollfd error = {.fd = 2, .events = POLLOUT};
    struct timespec wait = {line->wait_ms / 1000, (long)(line->wait_ms % 1000) * 1000000};
    long result;
    do {
        result = raw_syscall5(SYS_ppoll, &error, 1, &wait, NULL, 8);
    } while (result == -EINTR);
    return result != 0;
}

static void end_line(struct line *line)
{
    line->text[line->used++] = '\n';
    for (size_t done = 0; done < line->used && !line->given_up;) {
        if (!may_write(line)) {
            line->given_up = true;
            break;
        }
        long result = raw_syscall3(SYS_write, 2, line->text + done, line->used - done);
        if (result == -EINTR || result == -EAGAIN) {
            continue;
        }
        if (raw_failed(result)) {
            line->given_up = true;
            break;
        }
        done += (size_t)result;
    }
    line->used = 0;
}

static const char *text_at(const struct ledger *ledger, uint32_t index)
{
    const char *text = index ? ledger_at(ledger, LEDGER_STRINGS, index) : NULL;
    return text ? text : "?";
}

static bool is_held(uint32_t state)
{
    return (state & 7) == LEDGER_LIVE || (state & 7) == LEDGER_IN_FLIGHT;
}

static bool is_mapped(const struct ledger_mapping *mapping)
{
    return raw_syscall3(SYS_msync, mapping->start, mapping->end - mapping->start, MS_ASYNC) !=
           -ENOMEM;
}

static void count_fds(const struct ledger *ledger, struct tally *tallies, uint64_t stacks,
                      struct tally *all)
{
    for (uint64_t i = 0; i < ledger->header->used[LEDGER_FDS]; i++) {
        const struct ledger_fd *fd = ledger_at(ledger, LEDGER_FDS, (uint32_t)i);
        if (!fd || !is_held(fd->state) || (fd->flags & LEDGER_INHERITED) || fd->stack >= stacks ||
            fd->kind == LEDGER_FD_RECLAIMED || raw_failed(raw_syscall2(SYS_fcntl, i, F_GETFD))) {
            continue;
        }
        tallies[fd->stack].fds++;
        tallies[fd->stack].kind = fd->kind < LEDGER_FD_KINDS ? fd->kind : 0;
        all->fds++;
    }
}

static void count_mappings(const struct ledger *ledger, struct tally *tallies, uint64_t stacks,
                           struct tally *all)
{
    for (uint64_t i = 1; i < ledger->header->used[LEDGER_MAPPINGS]; i++) {
        const struct ledger_mapping *mapping = ledger_at(ledger, LEDGER_MAPPINGS, (uint32_t)i);
        if (!mapping || !is_held(mapping->state) || mapping->stack >= stacks ||
            (mapping->flags & LEDGER_KEPT) || !is_mapped(mapping)) {
            continue;
        }
        tallies[mapping->stack].mappings++;
        tallies[mapping->stack].bytes += mapping->end - mapping->start;
        all->mappings++;
        all->bytes += mapping->end - mapping->start;
    }
}

static void tally_left(void *context, const struct ledger_fd *fd,
                       const struct ledger_mapping *mapping)
{
    const struct tallies *tallies = context;
    uint32_t stack = fd ? fd->stack : mapping->stack;
    if (stack >= tallies->stacks) {
        return;
    }
    struct tally *held = &tallies->held[stack];
    struct tally *left = &tallies->left[stack];
    uint64_t bytes = mapping ? mapping->end - mapping->start : 0;
    if (fd) {
        left->fds++;
        left->kind = fd->kind < LEDGER_FD_KINDS ? fd->kind : 0;
        held->fds -= held->fds != 0;
    } else {
        left->mappings++;
        held->mappings -= held->mappings != 0;
    }
    left->bytes += bytes;
    held->bytes -= bytes < held->bytes ? bytes : held->bytes;
}

static const struct ledger_module *module_of(const struct ledger *ledger, uint64_t pc,
                                             uint32_t generation)
{
    for (uint64_t i = 1; i < ledger->header->used[LEDGER_MODULES]; i++) {
        const struct ledger_module *module = ledger_at(ledger, LEDGER_MODULES, (uint32_t)i);
        if (module && module->state != LEDGER_EMPTY && pc >= module->start && pc < module->end &&
            module->generation_first <= generation && generation <= module->generation_last) {
            return module;
        }
    }
    return NULL;
}

static void tell_stack(const struct ledger *ledger, uint32_t index, struct line *line)
{
    const struct ledger_stack *stack = index ? ledger_stack(ledger, index) : NULL;
    if (!stack) {
        put(line, "    (no stack: see \"incomplete\")");
        end_line(line);
        return;
    }
    for (unsigned i = 0; i < stack->frames; i++) {
        uint64_t pc = *(const uint64_t *)ledger_at(ledger, LEDGER_FRAMES, stack->first_frame + i) &
                      ~LEDGER_FRAME_EXACT;
        const struct ledger_module *module = module_of(ledger, pc, stack->generation);
        put(line, "    #");
        put_number(line, i, 10);
        put(line, " 0x");
        put_number(line, pc, 16);
        if (module) {
            put(line, " (");
            put(line, text_at(ledger, module->path));
            put(line, "+0x");
            put_number(line, pc - module->bias, 16);
            put(line, ")");
        }
        end_line(line);
    }
    if (stack->flags & LEDGER_STACK_TRUNCATED) {
        put(line, "    (the outer frames could not be followed)");
        end_line(line);
    }
}

static void put_size(struct line *line, uint64_t bytes)
{
    static const char units[][6] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    unsigned unit = 0;
    uint64_t part = 1;
    while (unit < 4 && bytes / part >= 1024) {
        part *= 1024;
        unit++;
    }
    uint64_t tenths = (bytes / part * 10) + (bytes % part * 10 + part / 2) / part;
    put_number(line, tenths / 10, 10);
    if (bytes % part) {
        put(line, ".");
        put_number(line, tenths % 10, 10);
    }
    put(line, " ");
    put(line, units[unit]);
}

static void put_counts(struct line *line, uint64_t fds, const char *kind, uint64_t mappings,
                       uint64_t bytes)
{
    if (fds) {
        put_number(line, fds, 10);
        put(line, fds == 1 ? " descriptor" : " descriptors");
        if (kind) {
            put(line, " (");
            put(line, kind);
            put(line, ")");
        }
    }
    if (mappings) {
        put(line, fds ? ", " : "");
        put_number(line, mappings, 10);
        put(line, mappings == 1 ? " mapping (" : " mappings (");
        put_size(line, bytes);
        put(line, ")");
    }
}

static uint64_t weight(const struct tally *tally)
{
    return tally->told ? 0 : (uint64_t)tally->fds + tally->mappings;
}

static void tell_groups(const struct ledger *ledger, struct tally *tallies, uint64_t stacks,
                        const char *what, struct line *line)
{
    for (unsigned told = 0; told < GROUPS_MAX; told++) {
        uint64_t most = 0;
        for (uint64_t i = 1; i < stacks; i++) {
            most = weight(&tallies[i]) > weight(&tallies[most]) ? i : most;
        }
        struct tally *tally = &tallies[most];
        if (weight(tally) == 0) {
            return;
        }
        put_counts(line, tally->fds, tally->kind ? ledger_fd_kind_names[tally->kind] : NULL,
                   tally->mappings, tally->bytes);
        put(line, what);
        end_line(line);
        tell_stack(ledger, (uint32_t)most, line);
        tally->told = 1;
    }
    put(line, "(more stacks hold less; `boxledger run` shows all)");
    end_line(line);
}

/* --- what policies did --- */

static void put_count(struct line *line, uint64_t count, const char *one, const char *more)
{
    put_number(line, count, 10);
    put(line, count == 1 ? one : more);
}

static void tell_event(const struct ledger *ledger, const struct ledger_event *event,
                       struct line *line)
{
    switch (event->kind) {
    case LEDGER_EVENT_RECLAIMED_FD:
        put_count(line, event->count, " descriptor reclaimed", " descriptors reclaimed");
        put(line, " from ended sandboxes, taken at:");
        break;
    case LEDGER_EVENT_RECLAIMED_MAPPING:
        put_count(line, event->count, " mapping (", " mappings (");
        put_size(line, event->bytes);
        put(line, ") reclaimed from ended sandboxes, taken at:");
        break;
    case LEDGER_EVENT_LATE_CLOSE:
    case LEDGER_EVENT_LATE_UNMAP:
        put_count(line, event->count, " release", " releases");
        put(line, " of what had been reclaimed, at:");
        break;
    case LEDGER_EVENT_RESCUED:
        put_count(line, event->count, " refused munmap rescued (", " refused munmaps rescued (");
        put_size(line, event->bytes);
        put(line, "), called at:");
        break;
    case LEDGER_EVENT_LIMITED_FD:
    case LEDGER_EVENT_LIMITED_MAPPING:
        put(line, event->kind == LEDGER_EVENT_LIMITED_FD ? "a descriptor" : "a mapping");
        put(line, " refused to sandboxes, ");
        put_count(line, event->count, " time", " times");
        put(line, ", which asked for it at:");
        break;
    default:
        return;
    }
    end_line(line);
    tell_stack(ledger, event->stack, line);
}

static void tell_policies(const struct ledger *ledger, struct line *line)
{
    const struct ledger_header *header = ledger->header;
    if (header->policies == 0) {
        return;
    }
    for (uint64_t i = 1; i < header->used[LEDGER_EVENTS]; i++) {
        const struct ledger_event *event = ledger_at(ledger, LEDGER_EVENTS, (uint32_t)i);
        if (event && event->state == LEDGER_LIVE) {
            tell_event(ledger, event, line);
        }
    }
    put(line, "boxledger: policies: ");
    put_counts(line, header->reclaimed_fds, NULL, header->reclaimed_mappings,
               header->reclaimed_bytes);
    put(line, header->reclaimed_fds + header->reclaimed_mappings ? " reclaimed, "
                                                                 : "nothing reclaimed, ");
    put_count(line, header->rescued, " munmap rescued", " munmaps rescued");
    if (header->rescue_waiting_bytes) {
        put(line, " (");
        put_size(line, header->rescue_waiting_bytes);
        put(line, " still wait)");
    }
    put(line, ", ");
    put_count(line, header->limited, " call refused to a sandbox", " calls refused to sandboxes");
    end_line(line);
}

static void tell_incomplete(const struct ledger_header *header, struct line *line)
{
    if (!header->incomplete) {
        return;
    }
    put(line, "boxledger: incomplete: not everything could be recorded (");
    put_number(line, header->missed_records + header->owners_missed, 10);
    put(line, " records, ");
    put_number(line, header->missed_stacks, 10);
    put(line, " stacks, ");
    put_number(line, header->lost_events, 10);
    put(line, " events missed)");
    end_line(line);
}

/* The same line as the command's. */
static void tell_summary(const struct ledger_header *header, const struct left *left,
                         struct line *line)
{
    uint64_t ended = 0;
    for (unsigned kind = 0; kind < LEDGER_OWNER_KINDS; kind++) {
        ended += header->owners_ended[kind];
    }
    put(line, "SUMMARY: boxledger: ");
    if (left->fds + left->mappings) {
        /* One that lives on, and forgets what it had bound, is one of them, too. */
        ended = left->owners > ended ? left->owners : ended;
        put_counts(line, left->fds, NULL, left->mappings, left->bytes);
        put(line, " left behind by ");
        put_number(line, left->owners, 10);
        put(line, " of ");
    } else {
        put(line, "nothing left behind by ");
    }
    put_number(line, ended, 10);
    put(line, ended == 1 ? " sandbox" : " sandboxes");
    if (header->reclaimed_fds + header->reclaimed_mappings) {
        put(line, "; ");
        put_number(line, header->reclaimed_fds + header->reclaimed_mappings, 10);
        put(line, " reclaimed");
    }
    end_line(line);
}

/* Room for two tallies a stack; less than all stacks where the kernel gives none. */
static size_t make_tallies(struct tallies *tallies)
{
    static struct tally spare[2 * SPARE_STACKS]; /* process-global: there is one report */
    size_t size = (2 * tallies->stacks * sizeof(struct tally) + 4095) & ~(size_t)4095;
    long memory = raw_syscall6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw_failed(memory)) {
        tallies->stacks = tallies->stacks < SPARE_STACKS ? tallies->stacks : SPARE_STACKS;
        tallies->held = spare;
        size = 0;
    } else {
        tallies->held = (struct tally *)memory;
    }
    tallies->left = tallies->held + tallies->stacks;
    return size;
}

void plain_report(const struct ledger *ledger, const struct plain_terms *terms)
{
    struct line line = {.wait_ms = terms->wait_ms};
    struct tallies tallies = {.stacks = ledger->header->used[LEDGER_STACKS]};
    struct tally all = {0};
    struct left left = {0};
    size_t size = make_tallies(&tallies);
    count_fds(ledger, tallies.held, tallies.stacks, &all);
    count_mappings(ledger, tallies.held, tallies.stacks, &all);
    const struct left_terms left_terms = {.now_ns = terms->now_ns,
                                          .settle_ns = terms->settle_ns,
                                          .at_exit = true,
                                          .may_call = true,
                                          .tell = tally_left,
                                          .context = &tallies};
    (void)left_count(ledger, &left_terms, terms->tid, &left);
    put(&line, "==boxledger== process ");
    put_number(&line, ledger->header->pid, 10);
    put(&line, " (");
    put(&line, text_at(ledger, ledger->header->exe));
    put(&line, ") exits holding ");
    put_counts(&line, all.fds, NULL, all.mappings, all.bytes);
    put(&line, all.fds + all.mappings ? "" : "nothing that it took");
    end_line(&line);
    tell_groups(ledger, tallies.left, tallies.stacks,
                " left behind by sandboxes, taken at:", &line);
    tell_groups(ledger, tallies.held, tallies.stacks, " still held, taken at:", &line);
    tell_policies(ledger, &line);
    tell_incomplete(ledger->header, &line);
    tell_summary(ledger->header, &left, &line);
    if (size) {
        raw_syscall2(SYS_munmap, tallies.held, size);
    }
}

/* --- a warning -------------------------------------------------------------------------------- */

#define TOLD 3u /* stacks */

static bool begins_with(const char *text, const char *beginning)
{
    while (*beginning && *text == *beginning) {
        text++;
        beginning++;
    }
    return *beginning == 0;
}

/* Whether code is the C library's own: the open within fopen. */
static bool is_libc(const char *path)
{
    const char *name = path;
    for (; *path; path++) {
        name = *path == '/' ? path + 1 : name;
    }
    return begins_with(name, "libc.so") || begins_with(name, "libc-") ||
           begins_with(name, "libpthread") || begins_with(name, "ld-linux");
}

/* The innermost frame that is not libc's. */
static void put_place(const struct ledger *ledger, const struct ledger_stack *stack,
                      struct line *line)
{
    for (unsigned i = 0; i < stack->frames; i++) {
        uint64_t pc = *(const uint64_t *)ledger_at(ledger, LEDGER_FRAMES, stack->first_frame + i) &
                      ~LEDGER_FRAME_EXACT;
        const struct ledger_module *module = module_of(ledger, pc, stack->generation);
        const char *path = module ? text_at(ledger, module->path) : "?";
        if (!is_libc(path)) {
            put(line, path);
            put(line, "+0x");
            put_number(line, module ? pc - module->bias : pc, 16);
            return;
        }
    }
    put(line, "an unknown place");
}

static uint64_t held_by(const struct ledger_stack *stack, bool fds)
{
    int32_t live =
        __atomic_load_n(fds ? &stack->fds_live : &stack->mappings_live, __ATOMIC_RELAXED);
    return live > 0 ? (uint64_t)live : 0;
}

/* The stacks that hold most, most first; what all hold. */
static uint64_t find_most(const struct ledger *ledger, bool fds, const struct ledger_stack **most)
{
    uint64_t all = 0;
    for (uint64_t i = 1; i < ledger->header->used[LEDGER_STACKS]; i++) {
        const struct ledger_stack *stack = ledger_stack(ledger, (uint32_t)i);
        if (!stack || stack->state != LEDGER_LIVE) {
            continue;
        }
        all += held_by(stack, fds);
        for (unsigned place = 0; place < TOLD && held_by(stack, fds) > 0; place++) {
            if (!most[place] || held_by(stack, fds) > held_by(most[place], fds)) {
                const struct ledger_stack *next = most[place];
                most[place] = stack;
                stack = next;
            }
            if (!stack) {
                break;
            }
        }
    }
    return all;
}

void plain_warn(const struct ledger *ledger, const struct plain_warning *warning)
{
    static struct line lines[2]; /* process-global: one for each limit, which is told once */
    struct line *line = &lines[warning->fds];
    const struct ledger_stack *most[TOLD] = {NULL};
    uint64_t all = find_most(ledger, warning->fds, most);
    uint64_t ended = 0;
    for (unsigned kind = 0; kind < LEDGER_OWNER_KINDS; kind++) {
        ended += ledger->header->owners_ended[kind];
    }
    put(line, "boxledger: process ");
    put_number(line, ledger->header->pid, 10);
    put(line, " uses ");
    put_number(line, warning->used, 10);
    put(line, " of ");
    put_number(line, warning->limit, 10);
    put(line, warning->fds ? " descriptors" : " VMAs");
    for (unsigned i = 0; i < TOLD && most[i]; i++) {
        put(line, i ? ", " : ": ");
        put_number(line, held_by(most[i], warning->fds), 10);
        put(line, " taken in ");
        put_place(ledger, most[i], line);
    }
    if (warning->fds && ledger->header->quarantined_fds) {
        put(line, ", ");
        put_number(line, ledger->header->quarantined_fds, 10);
        put(line, " kept by reclaim");
    }
    if (ended && all && warning->limit > warning->used &&
        !(ledger->header->policies & POLICY_RECLAIM)) {
        uint64_t left = (warning->limit - warning->used) * ended / all;
        put(line, "; at this rate the limit is reached in ");
        put_number(line, left, 10);
        put(line, left == 1 ? " sandbox" : " sandboxes");
    }
    end_line(line);
}
