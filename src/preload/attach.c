/*
 * attach.c: how the shim comes into a process: its constructor, and --follow's children.
 *
 * Everything that needs /proc, a descriptor or time happens here, before the program runs: later
 * the process may have no /proc, no free descriptor and a filter. Where anything fails, the
 * program runs on unharmed and one line on stderr says what is missing.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "decimal.h"
#include "police.h"
#include "policy/maps.h"
#include "real.h"
#include "shim.h"

#define OLD_STACK_LOW (UINT64_C(1) << 30) /* of an unlimited main stack, as far as we compare */
#define PATH_TEXT 512u

/* process-global because it describes the process */
static char options_text[4096];
/* process-global: the ledger of this image, for the next one (an exec) to go on with */
static char ledger_path[PATH_TEXT];
#ifdef BOXLEDGER_FAULTS
/* process-global because a test breaks the whole shim, not one thread of it */
char boxledger_fault[32];
/* process-global, like the fault it counts for */
unsigned boxledger_fault_count;
#endif

static size_t text_length(const char *text)
{
    size_t length = 0;
    while (text[length]) {
        length++;
    }
    return length;
}

static void say(const char *const *parts)
{
    char line[1024];
    size_t used = 0;
    for (; *parts; parts++) {
        for (const char *c = *parts; *c && used < sizeof(line) - 1; c++) {
            line[used++] = *c;
        }
    }
    line[used++] = '\n';
    raw_syscall3(SYS_write, 2, line, used);
}

void shim_say(const char *const *parts)
{
    say(parts);
}

static void warn(const char *what, const char *which, const char *why)
{
    say((const char *[]){"boxledger: warning: ", what, which, why, NULL});
}

static void warn_option(void *context, const struct options_complaint *complaint)
{
    char key[64] = "";
    (void)context;
    for (size_t i = 0; i < complaint->key.length && i < sizeof(key) - 1; i++) {
        key[i] = complaint->key.text[i];
        key[i + 1] = 0;
    }
    say((const char *[]){"boxledger: warning: BOXLEDGER_OPTIONS: ", key, " ",
                         options_problem_text(complaint->problem), "; ignored", NULL});
}

static const char *from_environment(char **environment, const char *name)
{
    size_t length = text_length(name);
    for (; *environment; environment++) {
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=') {
            return *environment + length + 1;
        }
    }
    return NULL;
}

static void read_options(char **environment)
{
    const char *text = from_environment(environment, "BOXLEDGER_OPTIONS");
    options_init(&shim.options);
    if (!text) {
        return;
    }
    size_t length = text_length(text);
    if (length >= sizeof(options_text)) {
        warn("BOXLEDGER_OPTIONS is too long; ", "", "ignored");
        return;
    }
    memcpy(options_text, text, length); /* the environment's copy is about to be changed */
    options_parse(&shim.options, options_text, length, OPTIONS_SHIM | OPTIONS_INTERNAL, warn_option,
                  NULL);
}

/* --- the process --- */

/* Where libc keeps a thread's id, from the thread pointer. Never guessed: found by its value. */
static int find_tid_offset(void)
{
    uintptr_t thread = (uintptr_t)__builtin_thread_pointer();
    int tid = (int)raw_syscall0(SYS_gettid);
#if defined(__x86_64__)
    const int first = 0x2d0, last = 0x2d0; /* glibc 2.31 to 2.41, nptl/descr.h */
#else
    const int first = -0x740, last = -0x600;
#endif
    int found = 0;
    for (int offset = first; offset <= last; offset += 4) {
        if (*(int *)(thread + (uintptr_t)(intptr_t)offset) == tid) {
            if (found) {
                return 0; /* two places: neither is certain */
            }
            found = offset;
        }
    }
    return found;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    real.clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Reads a small file of /proc; the length, 0 where it cannot be had. */
static size_t read_file(const char *path, char *buffer, size_t size)
{
    long fd = raw_syscall4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (raw_failed(fd)) {
        return 0;
    }
    long length = raw_syscall3(SYS_read, fd, buffer, size - 1);
    raw_syscall1(SYS_close, fd);
    length = raw_failed(length) ? 0 : length;
    buffer[length] = 0;
    return (size_t)length;
}

static uint32_t read_number(const char *path)
{
    char text[32];
    uint32_t number = 0;
    read_file(path, text, sizeof(text));
    for (const char *c = text; *c >= '0' && *c <= '9'; c++) {
        number = number * 10 + (uint32_t)(*c - '0');
    }
    return number;
}

static uint32_t count_vmas(void)
{
    static char buffer[4096]; /* process-global: used once, by the constructor */
    return (uint32_t)maps_count(buffer, sizeof(buffer));
}

/* A filter that was there before us: no thread may make a call of its own. */
static bool filtered_already(void)
{
    static char status[8192]; /* process-global: used once, by the constructor */
    read_file("/proc/self/status", status, sizeof(status));
    const char *line = strstr(status, "\nSeccomp:\t");
    return line && line[10] != '0';
}

struct directory_entry { /* getdents64.2 */
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
};

static int number_of(const char *name)
{
    int number = 0;
    for (; *name; name++) {
        if (*name < '0' || *name > '9') {
            return -1;
        }
        number = number * 10 + (*name - '0');
    }
    return number;
}

/* Calls `found` for every descriptor that is open. Without /proc, the first 1,024 are tried. */
static void for_every_fd(void (*found)(int fd))
{
    static char buffer[4096]; /* process-global: used before the program has threads */
    long directory =
        raw_syscall4(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (raw_failed(directory)) {
        for (int fd = 0; fd < 1024; fd++) {
            if (!raw_failed(raw_syscall2(SYS_fcntl, fd, F_GETFD))) {
                found(fd);
            }
        }
        return;
    }
    for (;;) {
        long length = raw_syscall3(SYS_getdents64, directory, buffer, sizeof(buffer));
        if (raw_failed(length) || length == 0) {
            break;
        }
        for (long at = 0; at < length;) {
            struct directory_entry *entry = (struct directory_entry *)(buffer + at);
            int fd = number_of(entry->name);
            if (fd >= 0 && fd != directory) {
                found(fd);
            }
            at += entry->length;
        }
    }
    raw_syscall1(SYS_close, directory);
}

static void inherited(int fd)
{
    struct ledger_fd_event event = {.flags = LEDGER_INHERITED, .now_ns = shim_now()};
    ledger_fd_survived(&shim.ledger, fd);
    if (!FAULT(inherited_unknown)) {
        ledger_fd_adopt(&shim.ledger, shim_actor(), fd, &event);
    }
}

/* --- the ledger --- */

static uint32_t string(const char *text)
{
    return ledger_string(&shim.ledger, shim_actor(), text, text_length(text));
}

static void module_seen(const struct unwind_module *module, uint32_t *record)
{
    struct ledger_module *entry;
    if (!shim.ledger.header) {
        return;
    }
    if (*record != 0) {
        entry = ledger_at(&shim.ledger, LEDGER_MODULES, *record);
        entry->generation_last = shim.generation_base + module->generation_last;
        __atomic_store_n(&entry->state, LEDGER_ENDED, __ATOMIC_RELEASE);
        shim.ledger.header->generation = entry->generation_last + 1;
        return;
    }
    struct ledger_actor *actor = shim_actor();
    uint32_t index = ledger_reserve(&shim.ledger, actor, LEDGER_MODULES, 1);
    if (index == 0) {
        ledger_incomplete(&shim.ledger, LEDGER_INCOMPLETE_MODULES);
        return;
    }
    entry = ledger_at(&shim.ledger, LEDGER_MODULES, index);
    entry->path = string(module->path);
    entry->start = module->start;
    entry->end = module->end;
    entry->bias = module->bias;
    entry->generation_first = shim.generation_base + module->generation_first;
    entry->generation_last = UINT32_MAX;
    entry->build_id_len =
        (uint8_t)(module->build_id_len < sizeof(entry->build_id) ? module->build_id_len
                                                                 : sizeof(entry->build_id));
    for (unsigned i = 0; i < entry->build_id_len; i++) {
        entry->build_id[i] = module->build_id[i];
    }
    __atomic_store_n(&entry->state, LEDGER_LIVE, __ATOMIC_RELEASE);
    *record = index;
}

static void describe_process(int argc, char **argv)
{
    struct ledger_header *header = shim.ledger.header;
    static char path[4096]; /* process-global: used once, by the constructor */
    long length = raw_syscall4(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, sizeof(path) - 1);
    path[raw_failed(length) ? 0 : length] = 0;
    header->exe = string(path[0] ? path : argc > 0 ? argv[0] : "?");
    header->argc = 0;
    header->argv = 0;
    for (int i = 0; i < argc && i < 64; i++) { /* nobody else takes strings yet: one row */
        uint32_t at = string(argv[i]);
        if (at == 0) {
            break;
        }
        header->argv = i == 0 ? at : header->argv;
        header->argc++;
    }
    header->pid = (uint32_t)shim.pid;
    header->page_size = (uint32_t)(~shim.page_mask + 1);
    if (header->start_ns == 0) {
        header->start_ns = clock_ns(CLOCK_REALTIME);
        header->start_monotonic_ns = clock_ns(CLOCK_MONOTONIC);
    }
    /* Last: a command that follows may look from here on. */
    __atomic_add_fetch(&header->images, 1, __ATOMIC_RELEASE);
    header->max_map_count = read_number("/proc/sys/vm/max_map_count");
    header->vmas_estimated = count_vmas();
    struct rlimit64 limit;
    if (raw_syscall4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &limit) == 0) {
        header->max_fds = limit.rlim_cur;
    }
}

static uint32_t code_since(const uint64_t *frames, unsigned count)
{
    return shim.generation_base + unwind_newest_generation(frames, count);
}

/* nanosleep.2. A signal cuts it short, and it was a rest all the same. */
static bool yield(const struct ledger_actor *actor, uint32_t ns)
{
    struct timespec moment = {.tv_nsec = ns};
    if (!actor->may_grow) {
        return false;
    }
    long result = raw_syscall2(SYS_nanosleep, &moment, NULL);
    return !raw_failed(result) || result == -EINTR;
}

/* sys/single_threaded.h, glibc 2.32 and later. */
extern char __libc_single_threaded __attribute__((weak));

static bool follows(void)
{
    return options_given(&shim.options, OPTIONS_KEY_follow) && shim.options.follow_dir.length > 0;
}

/* Opens the ledger that the options name, or an anonymous one. */
static bool open_ledger(const char *path, enum shim_ledger_place place)
{
    const char *problem = NULL;
    void *base = shim_memory_open(path, place, &problem);
    if (!base) {
        /* Of a process that is only followed nobody expects a report on its own stderr. */
        bool instead = place == SHIM_LEDGER_CREATED && !follows();
        say((const char *[]){"boxledger: warning: the ledger ", path ? path : "", " ", problem,
                             instead ? "; it is kept in memory instead" : "; nothing is recorded",
                             NULL});
        return instead && open_ledger(NULL, SHIM_LEDGER_ANONYMOUS);
    }
    struct ledger_header *header = base;
    shim_memory_backing()->code_since = code_since;
    shim_memory_backing()->now = shim_now;
    shim_memory_backing()->yield = yield;
    shim.ledger.alone = &__libc_single_threaded;
    bool resumes = place == SHIM_LEDGER_ATTACHED && header->process_state != LEDGER_PROCESS_NONE;
    if (resumes && header->pid != (uint32_t)shim.pid) {
        /* A child of a process that went on as a static program, which hides nothing of us. */
        raw_syscall2(SYS_munmap, base, LEDGER_BASE_SIZE);
        return false;
    }
    bool started = resumes ? ledger_resume(&shim.ledger, base, shim_memory_backing())
                           : ledger_start(&shim.ledger, base, shim_memory_backing());
    shim.generation_base = header->generation - 1;
    if (place == SHIM_LEDGER_CREATED && shim.options.command_pid) {
        struct ledger_outside *outside = (void *)((char *)base + LEDGER_OUTSIDE_OFFSET);
        outside->command_pid = shim.options.command_pid;
        outside->command_alive = 1;
    }
    if (!started) {
        warn("no memory", "", "; nothing is recorded");
    }
    return started;
}

/* A page that any fork finds wiped. */
static volatile uint32_t *make_guard(void)
{
    long page =
        raw_syscall6(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw_failed(page)) {
        return NULL;
    }
    if (!FAULT(fork_unseen) && raw_failed(raw_syscall3(SYS_madvise, page, 4096, MADV_WIPEONFORK))) {
        warn("the kernel has no MADV_WIPEONFORK (Linux 4.14)", "", "; nothing is recorded");
        return NULL;
    }
    return (volatile uint32_t *)page;
}

static void begin(int argc, char **argv)
{
    struct ledger_header *header = shim.ledger.header;
    if (shim.filter_all) {
        shim_actor()->may_grow = false;
    }
    describe_process(argc, argv);
    shim_warning_begin();
    child_resume(&shim.sandbox, &shim.ledger);
    for_every_fd(inherited);
    if (!FAULT(cloexec_kept)) {
        ledger_fd_end_others(&shim.ledger, shim_actor());
    }
    shim_remember_stderr();
    __atomic_store_n(&header->process_state, LEDGER_PROCESS_RUNNING, __ATOMIC_RELEASE);
    *shim.attached = SHIM_ATTACHED | police_begin();
#ifdef BOXLEDGER_FAULTS
    if (FAULT(holds_descriptor)) {
        raw_syscall4(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY, 0);
    }
    if (FAULT(reserves_much)) {
        long size = 1L << 30; /* or, under RLIMIT_AS, what is left */
        while (raw_failed(raw_syscall6(SYS_mmap, 0, size, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
            size /= 2;
        }
    }
#endif
}

static void add_text(char *path, const char *text, size_t length)
{
    size_t used = text_length(path);
    if (used + length < PATH_TEXT) {
        memcpy(path + used, text, length);
        path[used + length] = 0;
    }
}

static void add_number(char *path, unsigned long number)
{
    char digits[DECIMAL_MAX];
    add_text(path, digits, (size_t)(decimal_put(digits, number) - digits));
}

/* DIR/PID-TIME.ledger. The number alone would not do: another process has it again, later or in
 * another pid namespace. */
static void name_followed(void)
{
    ledger_path[0] = 0;
    add_text(ledger_path, shim.options.follow_dir.text, shim.options.follow_dir.length);
    add_text(ledger_path, "/", 1);
    add_number(ledger_path, (unsigned long)shim.pid);
    add_text(ledger_path, "-", 1);
    add_number(ledger_path, clock_ns(CLOCK_REALTIME));
    add_text(ledger_path, ".ledger", 7);
}

static bool followed_by_name(const char *name)
{
    size_t length = text_length(name);
    const char *base = name;
    for (size_t i = 0; i < length; i++) {
        if (name[i] == '/') {
            base = name + i + 1;
        }
    }
    return options_match(shim.options.follow, base, text_length(base));
}

/* Whether the command that follows has ended, and with it whoever would read and remove the ledgers
 * of processes to come: it holds a lock on their directory as long as it lives. (Its number says
 * nothing in another pid namespace.) */
static bool command_is_gone(void)
{
    if (!shim.options.command_pid) {
        return false;
    }
    ledger_path[0] = 0;
    add_text(ledger_path, shim.options.follow_dir.text, shim.options.follow_dir.length);
    long fd =
        raw_syscall4(SYS_openat, AT_FDCWD, ledger_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    ledger_path[0] = 0;
    if (raw_failed(fd)) {
        return fd == -ENOENT;
    }
    bool gone = raw_syscall2(SYS_flock, fd, LOCK_SH | LOCK_NB) == 0;
    raw_syscall1(SYS_close, fd);
    return gone;
}

/* Which ledger: the command's, a file of our own, or none that anybody sees. */
static enum shim_ledger_place choose_ledger(char **argv)
{
    const struct options_text *text = NULL;
    if (follows() && command_is_gone()) {
        return SHIM_LEDGER_CREATED; /* but none */
    }
    if (options_given(&shim.options, OPTIONS_KEY_attach)) {
        text = &shim.options.attach;
    } else if (follows()) {
        if (argv[0] && followed_by_name(argv[0])) {
            name_followed();
        }
        return SHIM_LEDGER_CREATED;
    } else if (options_given(&shim.options, OPTIONS_KEY_ledger)) {
        text = &shim.options.ledger;
        if (text->length > 0 && text->text[0] != '/') { /* an exec may follow a chdir */
            long length = raw_syscall2(SYS_getcwd, ledger_path, PATH_TEXT - 1);
            if (raw_failed(length)) {
                ledger_path[0] = 0;
            } else {
                add_text(ledger_path, "/", 1);
            }
        }
    }
    if (!text) {
        return SHIM_LEDGER_ANONYMOUS;
    }
    add_text(ledger_path, text->text, text->length);
    return text == &shim.options.attach ? SHIM_LEDGER_ATTACHED : SHIM_LEDGER_CREATED;
}

static void know_process(char **argv)
{
    struct rlimit64 limit;
    uint64_t stack_size = OLD_STACK_LOW;
    shim.pid = (pid_t)raw_syscall0(SYS_getpid);
    shim.tid_offset = find_tid_offset();
    shim.page_mask = ~((uintptr_t)getauxval(AT_PAGESZ) - 1);
    if (raw_syscall4(SYS_prlimit64, 0, RLIMIT_STACK, 0, &limit) == 0 &&
        limit.rlim_cur < stack_size) {
        stack_size = limit.rlim_cur;
    }
    shim.main_stack_top = (uintptr_t)argv;
    shim.main_stack_low = shim.main_stack_top - stack_size;
}

static void exited(int status, void *unused);
static void exited_quickly(void);

/* libc hands these to every constructor. With -z initfirst this one runs before all others. */
static __attribute__((constructor)) void attach(int argc, char **argv, char **environment)
{
#ifdef BOXLEDGER_FAULTS
    const char *fault = from_environment(environment, "BOXLEDGER_FAULT");
    if (fault) {
        strncpy(boxledger_fault, fault, sizeof(boxledger_fault) - 1);
    }
#endif
    real_find();
    read_options(environment);
    know_process(argv);
    enum shim_ledger_place place = choose_ledger(argv);
    bool wanted = (place == SHIM_LEDGER_ANONYMOUS || ledger_path[0]) &&
                  (follows() || !shim_environment_is_of_another(environment));
    shim_environment_hide(environment,
                          place == SHIM_LEDGER_ANONYMOUS || !wanted ? NULL : ledger_path);
    if (filtered_already()) {
        shim.filter_seen = shim.filter_all = 1;
    }
    volatile uint32_t *guard = make_guard();
    if (!wanted || !guard || !open_ledger(wanted && ledger_path[0] ? ledger_path : NULL, place)) {
        return;
    }
    shim.attached = guard;
    unwind_init(shim.main_stack_top);
    if (shim.options.libunwind && !shim.filter_all) {
        /* This runs before libc's own constructor, which the loader will now run first, with what
         * it finds here as the environment. */
        environ = environment;
        unwind_use_libunwind();
    }
    unwind_set_module_sink(module_seen);
    shim_rules_begin();
    begin(argc, argv);
    if (real.on_exit) { /* libc has room for 32 without allocating */
        real.on_exit(exited, NULL);
    }
    (void)at_quick_exit(exited_quickly);
}

static __attribute__((destructor)) void detach(void)
{
    if (shim_watching_process()) {
        shim_finish(0);
    }
}

/* on_exit.3: after all destructors. */
static void exited(int status, void *unused)
{
    (void)unused;
    if (shim_watching_process()) {
        shim_finish(status);
    }
    shim_ends_with(status);
}

static void exited_quickly(void)
{
    if (shim_watching_process()) {
        shim_finish(shim.quick_status);
    }
}

void shim_follow_child(void)
{
    if (!follows() || *shim.attached || !shim.ledger.header) {
        return;
    }
    if (shim.filter_seen) { /* the child may have the filter: nothing here is sure to be allowed */
        return;
    }
    if (command_is_gone()) {
        return;
    }
    /* The parent's ledger did not come along: nothing of it may be read. */
    memset(&shim.ledger, 0, sizeof(shim.ledger));
    memset(&shim.sandbox, 0, sizeof(shim.sandbox));
    memset(&shim_thread, 0, sizeof(shim_thread));
    shim.pid = (pid_t)raw_syscall0(SYS_getpid);
    shim.vm_children = 0;
    name_followed();
    shim_environment_attach(ledger_path);
    if (open_ledger(ledger_path, SHIM_LEDGER_CREATED)) {
        unwind_report_modules_again();
        begin(0, (char *[]){NULL});
    }
}
