/*
 * run.c: `boxledger run`: starts a program under the shim, keeps its ledger while it lives, and
 * has the report written when it has ended, however it ended. `boxledger gate` runs programs
 * through the same functions.
 *
 * The program gets what the user's shell would have given it: the same descriptors, the same
 * signal dispositions and mask. What can be wrong is found before it is started.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

#define TAKES(key) (UINT64_C(1) << OPTIONS_KEY_##key)
#define INTERNAL_KEYS (TAKES(attach) | TAKES(follow_dir) | TAKES(command_pid))
static const uint64_t keys = ((UINT64_C(1) << OPTIONS_KEYS) - 1) & ~(INTERNAL_KEYS | CLI_GATE_KEYS);
/* What the command does itself and the shim under it does not. */
static const uint64_t not_passed_on = INTERNAL_KEYS | TAKES(ledger) | TAKES(live);

/* --- signals
 * --------------------------------------------------------------------------------------- */

static const int handled[] = {SIGCHLD, SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGIO};
#define HANDLED (sizeof handled / sizeof *handled)

/* process-global because a signal handler has nowhere else to write: counts up with each signal,
 * and ends watch_sleep, which waits on it. */
static uint32_t wake;
/* process-global because a signal handler has nowhere else to write: bit n, signal n is to be
 * passed on to the program. */
static uint64_t pending;
/* process-global because a signal handler has nowhere else to write: the first signal that asked
 * for an end, from wherever it came; 0: none. */
static int interrupted;

static void on_signal(int number, siginfo_t *info, void *context)
{
    int none = 0;

    (void)context;
    if (number == SIGINT || number == SIGQUIT || number == SIGTERM || number == SIGHUP)
        (void)__atomic_compare_exchange_n(&interrupted, &none, number, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST);
    /* From a process, not from the terminal: that has sent it to the program, too. */
    if (info->si_code <= 0 && number != SIGCHLD && number != SIGIO)
        __atomic_fetch_or(&pending, UINT64_C(1) << number, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&wake, 1, __ATOMIC_SEQ_CST);
}

int run_interrupted(void)
{
    return __atomic_load_n(&interrupted, __ATOMIC_SEQ_CST);
}

/* Calls `on` for each descriptor that an exec would pass on, but for the standard ones. */
static void each_passed_on(struct run *run, void (*on)(struct run *run, int fd))
{
    DIR *directory = opendir("/proc/self/fd");
    struct dirent *entry;

    while (directory && (entry = readdir(directory))) {
        int fd = atoi(entry->d_name), flags;

        if (fd <= STDERR_FILENO)
            continue;
        flags = fcntl(fd, F_GETFD);
        if (flags >= 0 && !(flags & FD_CLOEXEC))
            on(run, fd);
    }
    if (directory)
        closedir(directory);
}

static void note_inherited(struct run *run, int fd)
{
    run->inherited = base_grow(run->inherited, run->inherited_count, sizeof *run->inherited);
    run->inherited[run->inherited_count++] = fd;
}

/* libdw opens files so that an exec passes them on. */
static void keep_from_program(struct run *run, int fd)
{
    for (size_t i = 0; i < run->inherited_count; i++)
        if (run->inherited[i] == fd)
            return;
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

_Static_assert(HANDLED == RUN_SIGNALS, "struct run keeps what each was before");

/* The n-th of those that the C library keeps to itself. */
static void internal_action(int n, const struct run_action *to, struct run_action *was)
{
    (void)syscall(SYS_rt_sigaction, SIGRTMIN - RUN_INTERNAL_SIGNALS + n, to, was, sizeof was->mask);
}

/* Each followed child takes two. The program has its own limit. */
static void allow_files(struct run *run)
{
    struct rlimit most;

    (void)getrlimit(RLIMIT_NOFILE, &run->files_before);
    most = run->files_before;
    most.rlim_cur = most.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &most);
}

void run_begin(struct run *run, struct arguments *arguments, struct output *output)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigset_t none;

    *run = (struct run){.arguments = arguments,
                        .output = output,
                        .save.fd = -1,
                        .watch.inotify = -1,
                        .watch.lock = -1};
    (void)getrlimit(RLIMIT_STACK, &run->stack_before);
    allow_files(run);
    each_passed_on(run, note_inherited);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_BLOCK, &none, &run->mask_before);
    (void)sigfillset(&action.sa_mask);
    for (size_t i = 0; i < HANDLED; i++)
        (void)sigaction(handled[i], &action, &run->actions_before[i]);
    for (int i = 0; i < RUN_INTERNAL_SIGNALS; i++)
        internal_action(i, NULL, &run->internal_before[i]);
}

/* What the program would have without us; reports of earlier runs have changed it. */
static void restore_process(const struct run *run)
{
    for (size_t i = 0; i < HANDLED; i++)
        (void)sigaction(handled[i], &run->actions_before[i], NULL);
    for (int i = 0; i < RUN_INTERNAL_SIGNALS; i++)
        internal_action(i, &run->internal_before[i], NULL);
    (void)setrlimit(RLIMIT_STACK, &run->stack_before);
    (void)setrlimit(RLIMIT_NOFILE, &run->files_before);
    (void)sigprocmask(SIG_SETMASK, &run->mask_before, NULL);
}

static void pass_signals_on(pid_t child)
{
    uint64_t numbers = __atomic_exchange_n(&pending, 0, __ATOMIC_SEQ_CST);

    for (size_t i = 0; i < HANDLED; i++)
        if (numbers >> handled[i] & 1)
            (void)kill(child, handled[i]);
}

/* --- the program's environment
 * ----------------------------------------------------------------------- */

/* Says on stderr why there will be no report, and keeps it for those who write it elsewhere. */
static int refuse(struct run *run, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int refuse(struct run *run, int status, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(run->failure.text, sizeof run->failure.text, format, arguments);
    va_end(arguments);
    cli_say("%s", run->failure.text);
    return status;
}

/* key=value with the value in quotes; false if it holds both kinds of them. */
static bool quote(struct arena *arena, char **text, const char *key, struct options_text value)
{
    bool single = memchr(value.text, '\'', value.length) != NULL;

    if (single && memchr(value.text, '"', value.length))
        return false;
    *text = arena_format(arena, "%s:%s=%c%.*s%c", *text, key, single ? '"' : '\'',
                         (int)value.length, value.text, single ? '"' : '\'');
    return true;
}

static bool make_options(struct run *run, int ledger)
{
    struct options *options = &run->arguments->options;
    struct arena *arena = &run->arguments->arena;

    run->options = arena_format(arena, "attach=/proc/%d/fd/%d", (int)getpid(), ledger);
    if (run->directory) {
        (void)quote(arena, &run->options, "follow_dir",
                    (struct options_text){run->directory, strlen(run->directory)});
        run->options = arena_format(arena, "%s:command_pid=%d", run->options, (int)getpid());
    }
    for (unsigned i = 0; i < OPTIONS_KEYS; i++) {
        const struct options_row *row = &options_table[i];
        const void *field = (const char *)options + row->offset;

        if (!options_given(options, i) || !(row->scope & OPTIONS_SHIM) || (not_passed_on >> i & 1))
            continue;
        if (row->type == OPTIONS_TYPE_SWITCH) {
            run->options =
                arena_format(arena, "%s:%s=%d", run->options, row->name, *(const bool *)field);
        } else if (row->type == OPTIONS_TYPE_NUMBER) {
            run->options =
                arena_format(arena, "%s:%s=%u", run->options, row->name, *(const uint32_t *)field);
        } else if (row->type == OPTIONS_TYPE_SIZE) {
            run->options = arena_format(arena, "%s:%s=%llu", run->options, row->name,
                                        *(const unsigned long long *)field);
        } else {
            const struct options_text *text = field;

            if (text->text && !quote(arena, &run->options, row->name, *text)) {
                cli_say("--%s: a value cannot hold both kinds of quotes", row->name);
                return false;
            }
        }
    }
    return true;
}

/* A sanitizer's runtime, the shim, and what was to be preloaded anyway. */
static void make_preload(struct run *run)
{
    struct arena *arena = &run->arguments->arena;
    const char *old = getenv("LD_PRELOAD");

    run->preload = run->target.preload
                       ? arena_format(arena, "%s:%s", run->target.preload, run->shim)
                       : run->shim;
    while (old && *old) {
        size_t length = strcspn(old, ": ");

        if (length && !memmem(old, length, "libboxledger", 12))
            run->preload = arena_format(arena, "%s:%.*s", run->preload, (int)length, old);
        old += length + (old[length] != '\0');
    }
}

/* --- before the start
 * ---------------------------------------------------------------------------------- */

static bool make_directory(struct run *run)
{
    const char *places[] = {"/dev/shm", getenv("TMPDIR"), "/tmp"};
    struct failure failure = {0};

    if (!run->arguments->options.follow.text)
        return true;
    for (size_t i = 0; !run->directory && i < sizeof places / sizeof *places; i++) {
        char *path;

        if (!places[i] || places[i][0] != '/' || strpbrk(places[i], "'\""))
            continue;
        path = arena_format(&run->arguments->arena, "%s/boxledger-XXXXXX", places[i]);
        if (mkdtemp(path))
            run->directory = path;
    }
    if (!run->directory) {
        (void)refuse(run, 0, "--follow: no directory for the children's ledgers: %s",
                     strerror(errno));
        return false;
    }
    if (!watch_follow(&run->watch, run->directory, &failure)) {
        (void)refuse(run, 0, "%s", failure.text);
        return false;
    }
    return true;
}

static void remove_ledgers(const char *path)
{
    DIR *directory = opendir(path);
    struct dirent *entry;

    while (directory && (entry = readdir(directory)))
        if (strlen(entry->d_name) > 7 &&
            strcmp(entry->d_name + strlen(entry->d_name) - 7, ".ledger") == 0)
            (void)unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory)
        closedir(directory);
}

static void remove_directory(struct run *run)
{
    for (unsigned tries = 0; run->directory && tries < 10; tries++) {
        remove_ledgers(run->directory);
        if (rmdir(run->directory) == 0 || errno != ENOTEMPTY)
            break;
        /* A child that outlives its parent was just starting. */
        watch_finish(&run->watch);
    }
}

/* Everything that can go wrong before the program is started. Returns 0 or the exit status. */
static int prepare(struct run *run)
{
    struct failure failure = {0};
    int ledger = -1;

    if (!arguments_agree(run->arguments) || !rules_make_absolute(run->arguments))
        return CLI_USAGE;
    target_inspect(&run->target, run->arguments->operands[0]);
    if (run->target.status)
        return refuse(run, run->target.status, "%s", run->target.failure.text);
    run->shim = shim_find(&run->arguments->arena, &failure);
    if (!run->shim || !watch_create_ledger(&ledger, &failure))
        return refuse(run, CLI_FAILED, "%s", failure.text);
    run->root = watch_add(&run->watch, ledger, NULL, 0);
    run->ahead.symbols = run->output->symbols;
    if (!run->arguments->options.follow.text) /* a child's warning is written by a fork */
        run->root->ahead = &run->ahead;
    if (run->save.path && !save_begin(&run->save, run->save.path, ledger, &failure))
        return refuse(run, CLI_USAGE, "%s", failure.text);
    if (!make_directory(run))
        return CLI_FAILED;
    if (!make_options(run, ledger))
        return CLI_USAGE;
    make_preload(run);
    return 0;
}

/* --- the program
 * --------------------------------------------------------------------------------------- */

static _Noreturn void become_program(struct run *run, int error_pipe)
{
    int error;

    restore_process(run);
    if (setenv("LD_PRELOAD", run->preload, 1) == 0 &&
        setenv("BOXLEDGER_OPTIONS", run->options, 1) == 0)
        (void)execvp(run->arguments->operands[0], run->arguments->operands);
    error = errno;
    if (write(error_pipe, &error, sizeof error) != (ssize_t)sizeof error)
        _exit(CLI_FAILED);
    _exit(CLI_NOT_EXECUTABLE);
}

/* Returns 0 once the program runs, else the exit status. */
static int start(struct run *run)
{
    cleanup_close int read_end = -1;
    int ends[2], error = 0;
    sigset_t all;
    ssize_t got;
    pid_t child;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return refuse(run, CLI_FAILED, "%s", strerror(errno));
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    (void)fflush(NULL);
    child = fork();
    if (child == 0)
        become_program(run, ends[1]);
    error = errno;
    (void)sigprocmask(SIG_SETMASK, &run->mask_before, NULL);
    read_end = ends[0];
    close(ends[1]);
    if (child < 0)
        return refuse(run, CLI_FAILED, "%s", strerror(error));
    run->root->pid = child;
    do
        got = read(read_end, &error, sizeof error);
    while (got < 0 && errno == EINTR);
    if (got == (ssize_t)sizeof error) {
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            continue;
        return refuse(run, error == ENOENT ? CLI_NOT_FOUND : CLI_NOT_EXECUTABLE, "%s: %s",
                      run->arguments->operands[0], strerror(error));
    }
    return 0;
}

static int attend(struct run *run)
{
    int status;

    for (;;) {
        uint32_t seen = __atomic_load_n(&wake, __ATOMIC_SEQ_CST);

        pass_signals_on(run->root->pid);
        watch_serve(&run->watch);
        if (waitpid(run->root->pid, &status, WNOHANG) == run->root->pid)
            return status;
        watch_sleep(&run->watch, &wake, seen);
    }
}

/* --- after its end
 * --------------------------------------------------------------------------------------- */

/* Adds a ledger to the output and saves it. Returns false after saying what went wrong. */
static bool conclude(struct run *run, struct watched *watched, int fd, struct save *save)
{
    const char *path = save->path;
    struct failure failure = {0};
    struct reader *reader;
    bool good = save_finish(save, fd, &watched->view, &failure);

    if (!good)
        cli_say("--ledger: %s: %s", path, failure.text);
    reader = reader_open_fd(fd, watched->path ? watched->path : "the ledger", &failure);
    if (!reader || !output_add(run->output, reader, &watched->view, &failure)) {
        cli_say("%s", failure.text);
        return false;
    }
    return good;
}

static int by_start(const void *a, const void *b)
{
    const struct watched *x = *(struct watched *const *)a, *y = *(struct watched *const *)b;

    return (x->start_ns > y->start_ns) - (x->start_ns < y->start_ns);
}

/* A name of its own for a child's ledger: it has ended. */
static bool name_followed(struct run *run, struct save *save, uint32_t pid)
{
    struct arena *arena = &run->arguments->arena;

    for (unsigned n = 1; save->fd < 0 && n < 1000; n++) {
        char *path = n == 1 ? arena_format(arena, "%s.%u", run->save_as, pid)
                            : arena_format(arena, "%s.%u.%u", run->save_as, pid, n);

        save->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (save->fd < 0 && errno != EEXIST) {
            cli_say("--ledger: %s: %s", path, strerror(errno));
            return false;
        }
        save->path = save->fd < 0 ? NULL : path;
    }
    return true;
}

static bool conclude_followed(struct run *run)
{
    bool good = true;

    qsort(run->watch.items, run->watch.count, sizeof(struct watched *), by_start);
    for (size_t i = 0; i < run->watch.count; i++) {
        struct watched *watched = run->watch.items[i];
        cleanup_close int fd = -1;
        struct save save = {.fd = -1};
        uint32_t images = 0, pid = 0;

        if (!watched->path)
            continue;
        fd = open(watched->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0 ||
            pread(fd, &images, sizeof images, offsetof(struct ledger_header, images)) !=
                (ssize_t)sizeof images ||
            pread(fd, &pid, sizeof pid, offsetof(struct ledger_header, pid)) !=
                (ssize_t)sizeof pid ||
            images == 0)
            continue;
        if (run->save_as)
            good = name_followed(run, &save, pid) && good;
        good = conclude(run, watched, fd, &save) && good;
        save_forget(&save);
    }
    return good;
}

/* Everything into the output. Returns 0, or the exit status if there is no report. */
static int finish(struct run *run)
{
    int fd = run->root->fd, status = run->wait_status;
    struct ledger_header header;

    watch_end(run->root, status);
    watch_finish(&run->watch);
    if (pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header)
        header.images = 0;
    if (header.images == 0 && WIFSIGNALED(status))
        return refuse(run, CLI_NOT_WATCHED,
                      "%s was ended by signal %d before boxledger was loaded into it",
                      run->arguments->operands[0], WTERMSIG(status));
    if (header.images == 0)
        return refuse(run, CLI_NOT_WATCHED,
                      "%s was not watched: it ended with status %d, and boxledger was never loaded "
                      "into it (is it, or what it runs, static, set-user-ID, or for another C "
                      "library?)",
                      run->arguments->operands[0], WEXITSTATUS(status));
    run->complete = conclude(run, run->root, fd, &run->save);
    run->complete = conclude_followed(run) && run->complete;
    return 0;
}

static void free_run(struct run *run, bool undo)
{
    remove_directory(run);
    if (undo)
        save_undo(&run->save);
    save_forget(&run->save);
    watch_free(&run->watch);
    target_free(&run->target);
    run->watch = (struct watch){.inotify = -1, .lock = -1};
    run->target = (struct target){0};
    run->root = NULL;
    run->save_as = run->directory = NULL;
}

int run_once(struct run *run, const char *ledger)
{
    size_t reports_before = run->output->count;
    int status;

    each_passed_on(run, keep_from_program);
    run->complete = false;
    run->failure = (struct failure){0};
    if (ledger)
        run->save_as = run->save.path = arena_text(&run->arguments->arena, ledger, strlen(ledger));
    status = prepare(run);
    if (status == 0)
        status = start(run);
    if (status == 0) {
        run->wait_status = attend(run);
        ahead_finish(&run->ahead);
        status = finish(run);
    }
    run->reports = run->output->count - reports_before;
    free_run(run, run->reports == 0);
    return status;
}

void run_end(struct run *run)
{
    free(run->inherited);
    run->inherited = NULL;
    run->inherited_count = 0;
}

bool run_went_on(struct run *run, const struct output *output)
{
    const char *execed =
        run->reports ? output->reports[output->count - run->reports].report.execed : NULL;

    if (execed)
        (void)refuse(run, 0,
                     "%s: the process went on as %s, into which boxledger could not be "
                     "loaded",
                     run->arguments->operands[0], execed);
    return execed != NULL;
}

/* The report, and the exit status. */
static int report_run(struct run *run)
{
    int status = run->wait_status;
    bool good = run->complete;

    if (run->output->count)
        good = output_end(run->output, run->arguments->options.follow.text != NULL) && good;
    if (run_went_on(run, run->output))
        return CLI_NOT_WATCHED;
    if (!good)
        return CLI_FAILED;
    if (run->arguments->options.error_exitcode && output_has_errors(run->output))
        return (int)run->arguments->options.error_exitcode;
    return WIFSIGNALED(status) ? CLI_SIGNAL_BASE + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run_command(struct arguments *arguments)
{
    struct output output = {.fd = -1};
    struct run run;
    int status;

    /* First, since preparing already makes signals: the directory's are SIGIO. */
    run_begin(&run, arguments, &output);
    if (output_begin(&output, arguments, stderr))
        status = run_once(&run, arguments_text(arguments, arguments->options.ledger));
    else
        status = CLI_USAGE;
    /* A reader of the report that went away is an error to tell, not a signal to die of. */
    (void)signal(SIGPIPE, SIG_IGN);
    if (status == 0)
        status = report_run(&run);
    output_free(&output, output.count == 0);
    run_end(&run);
    return status;
}

int run_main(int argc, char **argv)
{
    struct arguments arguments;
    int status = CLI_USAGE;

    if (!arguments_read(&arguments, "run", keys, argc, argv)) {
        status = CLI_USAGE;
    } else if (arguments.help) {
        (void)puts("usage: boxledger run [--OPTION...] [--] COMMAND [ARGUMENT...]\n");
        arguments_help(stdout, keys);
        status = 0;
    } else if (arguments.operand_count == 0) {
        cli_say("run: which program? boxledger run [--OPTION...] [--] COMMAND [ARGUMENT...]");
    } else {
        status = run_command(&arguments);
    }
    arguments_free(&arguments);
    return status;
}
