/*
 * environment.c: LD_PRELOAD and BOXLEDGER_OPTIONS: hidden from the program, put back for its exec.
 *
 * A sandbox must not inherit the shim, so the constructor takes both out of the environment. When
 * the supervised process itself execs (a wrapper script that ends in the real supervisor), the new
 * image gets them back and goes on with the ledger. Under --follow they stay where they are: every
 * child is to find them.
 *
 * With them goes the number of the process that the exec is in: a static image can take nothing
 * out, and its children are not to take themselves for it.
 */
#include <dlfcn.h>
#include <elf.h>
#include <string.h>
#include <sys/mman.h>

#include "shim.h"

#define PRELOAD "LD_PRELOAD="
#define OPTIONS "BOXLEDGER_OPTIONS="
#define EXEC_PID "BOXLEDGER_EXEC_PID="
#define EXEC_PID_MAX (sizeof(EXEC_PID) + 10)
#define TEXT_MAX 4096u

/* process-global because the process has one environment: what to put back, and where we are */
static struct {
    char options[TEXT_MAX]; /* "BOXLEDGER_OPTIONS=..." for the next image */
    char preload[TEXT_MAX]; /* "LD_PRELOAD=..." as it was */
    char hidden[TEXT_MAX];  /* the same as the program sees it: "" where it sees none */
    char path[TEXT_MAX];    /* of the shim */
#ifdef BOXLEDGER_FAULTS
    char fault[64];
#endif
} kept;

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static void append(char *to, const char *text, size_t length)
{
    size_t used = strlen(to);
    if (used + length < TEXT_MAX) {
        memcpy(to + used, text, length);
        to[used + length] = 0;
    }
}

static void append_text(char *to, const char *text)
{
    append(to, text, strlen(text));
}

static void find_ourselves(void)
{
    Dl_info info;
    if (!dladdr(&kept, &info) || !info.dli_fname) {
        return;
    }
    kept.path[0] = 0;
    if (info.dli_fname[0] != '/' && strchr(info.dli_fname, '/')) {
        long length = raw_syscall2(SYS_getcwd, kept.path, TEXT_MAX - 1);
        if (raw_failed(length)) {
            kept.path[0] = 0;
        } else {
            append_text(kept.path, "/");
        }
    }
    append_text(kept.path, info.dli_fname);
}

static const char *base_name(const char *path, size_t length)
{
    const char *base = path;
    for (size_t i = 0; i < length; i++) {
        if (path[i] == '/') {
            base = path + i + 1;
        }
    }
    return base;
}

static bool is_ours(const char *part, size_t length)
{
    const char *base = base_name(part, length);
    const char *mine = base_name(kept.path, strlen(kept.path));
    size_t rest = length - (size_t)(base - part);
    return rest == strlen(mine) && memcmp(base, mine, rest) == 0;
}

static bool names_us(const char *value)
{
    while (*value) {
        size_t length = strcspn(value, ": ");
        if (length && is_ours(value, length)) {
            return true;
        }
        value += length;
        value += strspn(value, ": ");
    }
    return false;
}

/* LD_PRELOAD without us, in place. */
static void strip(char *value)
{
    char *to = value;
    for (const char *from = value; *from;) {
        size_t length = strcspn(from, ": ");
        if (length && !is_ours(from, length)) {
            if (to != value) {
                *to++ = ':';
            }
            memmove(to, from, length);
            to += length;
        }
        from += length;
        from += strspn(from, ": ");
    }
    *to = 0;
}

/* The options without those that name a ledger, in place: for children, and for the next image. */
static void strip_ledger(char *value)
{
    static const char *const keys[] = {"attach=", "ledger="};
    for (unsigned k = 0; k < 2; k++) {
        char *at = strstr(value, keys[k]);
        if (at && (at == value || strchr(":, ", at[-1]))) {
            char *text = at + strlen(keys[k]);
            size_t length = *text == '"' || *text == '\''
                                ? strcspn(text + 1, *text == '"' ? "\"" : "'") + 2
                                : strcspn(text, ":, ");
            char *rest = text + length;
            rest += *rest == ':' || *rest == ',' || *rest == ' ';
            memmove(at, rest, strlen(rest) + 1);
        }
    }
}

void shim_environment_attach(const char *attach_to)
{
    strip_ledger(kept.options + strlen(OPTIONS));
    append_text(kept.options, kept.options[strlen(OPTIONS)] ? ":attach='" : "attach='");
    append_text(kept.options, attach_to);
    append_text(kept.options, "'");
}

/* "BOXLEDGER_EXEC_PID=0000000123" */
static void put_exec_pid(char to[EXEC_PID_MAX])
{
    char *digit = to + EXEC_PID_MAX - 1;
    memcpy(to, EXEC_PID, sizeof(EXEC_PID));
    *digit = 0;
    for (pid_t rest = shim.pid; digit > to + strlen(EXEC_PID); rest /= 10) {
        *--digit = (char)('0' + rest % 10);
    }
}

bool shim_environment_is_of_another(char *const *environment)
{
    char ours[EXEC_PID_MAX];
    put_exec_pid(ours);
    for (; *environment; environment++) {
        if (starts_with(*environment, EXEC_PID)) {
            return strcmp(*environment, ours) != 0;
        }
    }
    return false;
}

/* Behind the environment lies the auxiliary vector, and some look for it there (Go's runtime does):
 * what they find up to `end`, where the environment ended before, is pairs that say nothing, or the
 * end of an empty vector, which sends them to /proc. */
static void fill_gap(char **null, char **end)
{
    bool pairs = (end - null) % 2 == 0;
    for (char **at = null + 1; at <= end; at++) {
        bool type = pairs && (at - null) % 2 == 1;
        *at = type ? (char *)AT_IGNORE : NULL;
    }
}

void shim_environment_hide(char **environment, const char *attach_to)
{
    bool follow = options_given(&shim.options, OPTIONS_KEY_follow);
    find_ourselves();
    char **to = environment;
    char **from = environment;
    for (; *from; from++) {
        char *entry = *from;
        bool keep = true;
        if (starts_with(entry, PRELOAD)) {
            append_text(kept.preload, entry);
            if (!follow && !FAULT(environment_kept)) {
                strip(entry + strlen(PRELOAD));
                append_text(kept.hidden, entry);
                keep = entry[strlen(PRELOAD)] != 0;
            }
        } else if (starts_with(entry, OPTIONS)) {
            append_text(kept.options, entry);
            strip_ledger(entry + strlen(OPTIONS));
            keep = follow || FAULT(environment_kept);
        } else if (starts_with(entry, EXEC_PID)) {
            keep = false;
        }
#ifdef BOXLEDGER_FAULTS
        if (starts_with(entry, "BOXLEDGER_FAULT=") && strlen(entry) < sizeof(kept.fault)) {
            strcpy(kept.fault, entry);
            keep = follow;
        }
#endif
        if (keep) {
            *to++ = entry;
        }
    }
    *to = NULL;
    fill_gap(to, from);
    if (kept.options[0] == 0) {
        append_text(kept.options, OPTIONS);
    }
    if (attach_to) {
        shim_environment_attach(attach_to);
    } else {
        strip_ledger(kept.options + strlen(OPTIONS));
    }
}

/* Adds `text` behind the *used bytes of `to`, as far as it goes. */
static void put(char *to, size_t size, size_t *used, const char *text)
{
    while (*text && *used + 1 < size) {
        to[(*used)++] = *text++;
    }
    to[*used] = 0;
}

/* Where the next image is told about us: its LD_PRELOAD, ours first, or as it was if the program
 * left it alone (an ASan runtime may have to come before us). */
static void put_preload(char *to, size_t size, const char *theirs)
{
    size_t used = 0;
    to[0] = 0;
    if (kept.preload[0] && strcmp(theirs ? theirs : "", kept.hidden) == 0) {
        put(to, size, &used, kept.preload);
        return;
    }
    if (theirs && names_us(theirs + strlen(PRELOAD))) { /* under --follow the program sees it */
        put(to, size, &used, theirs);
        return;
    }
    put(to, size, &used, PRELOAD);
    put(to, size, &used, kept.path);
    if (theirs && theirs[strlen(PRELOAD)]) {
        put(to, size, &used, ":");
        put(to, size, &used, theirs + strlen(PRELOAD));
    }
}

static uint32_t exec_path_slot(void)
{
    struct ledger_header *header = shim.ledger.header;
    if (header->exec_path == 0) {
        static const char blank[256] = " ";
        header->exec_path = ledger_string(&shim.ledger, shim_actor(), blank, sizeof(blank) - 1);
    }
    return header->exec_path;
}

static void remember_exec(const char *path)
{
    uint32_t slot = exec_path_slot();
    char *text = slot ? ledger_at(&shim.ledger, LEDGER_STRINGS, slot) : NULL;
    for (size_t i = 0; text && path && i < 255; i++) {
        text[i] = path[i];
        if (!path[i]) {
            break;
        }
    }
    __atomic_store_n(&shim.ledger.header->process_state, LEDGER_PROCESS_EXECING, __ATOMIC_RELEASE);
}

struct shim_exec shim_exec_begin(const char *path, char *const *environment)
{
    struct shim_exec exec = {.environment = environment};
    if (!shim_watching_process() || FAULT(exec_forgets)) {
        shim_child_runs(path);
        return exec;
    }
    size_t count = 0;
    const char *theirs = NULL;
    bool taken = false; /* by a command that is followed itself, for a ledger of its own */
    for (; environment && environment[count]; count++) {
        if (starts_with(environment[count], PRELOAD)) {
            theirs = environment[count];
        }
        taken = taken || (starts_with(environment[count], OPTIONS) &&
                          strstr(environment[count], "attach=") != NULL);
    }
    if (taken) {
        exec.begun = true;
        remember_exec(path);
        return exec;
    }
    size_t pointers = (count + 6) * sizeof(char *);
    size_t text_max = (size_t)2 * TEXT_MAX + (theirs ? strlen(theirs) : 0);
    exec.size = (pointers + text_max + EXEC_PID_MAX + ~shim.page_mask) & shim.page_mask;
    long copy = raw_syscall6(SYS_mmap, 0, (long)exec.size, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    exec.begun = true;
    if (raw_failed(copy)) {
        exec.size = 0;
        remember_exec(path);
        return exec;
    }
    exec.copy = (void *)copy;
    char **to = exec.copy;
    char *text = (char *)exec.copy + pointers;
    put_preload(text, text_max, theirs);
    exec.environment = to;
    for (size_t i = 0; i < count; i++) {
        if (!starts_with(environment[i], PRELOAD) && !starts_with(environment[i], OPTIONS) &&
            !starts_with(environment[i], EXEC_PID)) {
            *to++ = environment[i];
        }
    }
    *to++ = text;
    *to++ = kept.options;
    put_exec_pid(text + text_max);
    *to++ = text + text_max;
#ifdef BOXLEDGER_FAULTS
    if (kept.fault[0]) {
        *to++ = kept.fault;
    }
#endif
    *to = NULL;
    remember_exec(path);
    return exec;
}

void shim_exec_failed(const struct shim_exec *exec)
{
    if (!exec->begun) {
        shim_child_runs(NULL);
    }
    if (exec->copy && FAULT(failed_exec_ends)) {
        for (uint32_t fd = 0; fd < shim.ledger.header->used[LEDGER_FDS]; fd++) {
            const struct ledger_fd *record = ledger_fd_record(&shim.ledger, (int)fd);
            if (record && (record->flags & LEDGER_CLOEXEC)) {
                ledger_fd_released(&shim.ledger, shim_actor(), (int)fd,
                                   (struct ledger_fd_flight){.state = record->state}, false);
            }
        }
    }
    if (exec->copy) {
        raw_syscall2(SYS_munmap, exec->copy, exec->size);
    }
    if (exec->begun) {
        __atomic_store_n(&shim.ledger.header->process_state, LEDGER_PROCESS_RUNNING,
                         __ATOMIC_RELEASE);
    }
}
