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
#include "raw.h"

#define GROUPS_MAX 100u

struct tally {
    uint32_t fds;
    uint32_t mappings;
    uint64_t bytes;
    uint16_t kind; /* of the last descriptor */
    uint16_t told;
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
            raw_failed(raw_syscall2(SYS_fcntl, i, F_GETFD))) {
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
            !is_mapped(mapping)) {
            continue;
        }
        tallies[mapping->stack].mappings++;
        tallies[mapping->stack].bytes += mapping->end - mapping->start;
        all->mappings++;
        all->bytes += mapping->end - mapping->start;
    }
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

static void put_amount(struct line *line, const struct tally *tally, bool kind)
{
    if (tally->fds) {
        put_number(line, tally->fds, 10);
        put(line, tally->fds == 1 ? " descriptor" : " descriptors");
        if (kind && tally->kind) {
            put(line, " (");
            put(line, ledger_fd_kind_names[tally->kind]);
            put(line, ")");
        }
    }
    if (tally->mappings) {
        put(line, tally->fds ? ", " : "");
        put_number(line, tally->mappings, 10);
        put(line, tally->mappings == 1 ? " mapping (" : " mappings (");
        put_number(line, tally->bytes / 1024, 10);
        put(line, " KiB)");
    }
}

static uint64_t weight(const struct tally *tally)
{
    return tally->told ? 0 : (uint64_t)tally->fds + tally->mappings;
}

static void tell_groups(const struct ledger *ledger, struct tally *tallies, uint64_t stacks,
                        struct line *line)
{
    for (unsigned told = 0; told < GROUPS_MAX; told++) {
        uint64_t most = 0;
        for (uint64_t i = 1; i < stacks; i++) {
            most = weight(&tallies[i]) > weight(&tallies[most]) ? i : most;
        }
        if (weight(&tallies[most]) == 0) {
            return;
        }
        put_amount(line, &tallies[most], true);
        put(line, " still held, taken at:");
        end_line(line);
        tell_stack(ledger, (uint32_t)most, line);
        tallies[most].told = 1;
    }
    put(line, "(more stacks hold less; `boxledger run` shows all)");
    end_line(line);
}

void plain_report(const struct ledger *ledger, unsigned wait_ms)
{
    struct line line = {.wait_ms = wait_ms};
    struct tally all = {0};
    uint64_t stacks = ledger->header->used[LEDGER_STACKS];
    size_t size = (stacks * sizeof(struct tally) + 4095) & ~(size_t)4095;
    long memory = raw_syscall6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw_failed(memory)) {
        put(&line, "boxledger: no memory for a report");
        end_line(&line);
        return;
    }
    struct tally *tallies = (struct tally *)memory;
    count_fds(ledger, tallies, stacks, &all);
    count_mappings(ledger, tallies, stacks, &all);
    put(&line, "==boxledger== process ");
    put_number(&line, ledger->header->pid, 10);
    put(&line, " (");
    put(&line, text_at(ledger, ledger->header->exe));
    put(&line, ") exits holding ");
    put_amount(&line, &all, false);
    put(&line, all.fds + all.mappings ? "" : "nothing that it took");
    end_line(&line);
    tell_groups(ledger, tallies, stacks, &line);
    if (ledger->header->incomplete) {
        put(&line, "boxledger: incomplete: not everything could be recorded (");
        put_number(&line, ledger->header->missed_records, 10);
        put(&line, " records, ");
        put_number(&line, ledger->header->missed_stacks, 10);
        put(&line, " stacks, ");
        put_number(&line, ledger->header->lost_events, 10);
        put(&line, " events missed)");
        end_line(&line);
    }
    put(&line, "SUMMARY: boxledger: nothing left behind by 0 sandboxes");
    end_line(&line);
    raw_syscall2(SYS_munmap, memory, size);
}
