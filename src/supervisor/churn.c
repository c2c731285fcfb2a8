/*
 * churn.c: see churn.h. Each job is a thread that takes the next number until there is none left
 * or one sandbox has failed.
 */
#include "supervisor/churn.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>

#include "supervisor/children.h"
#include "supervisor/defects.h"
#include "supervisor/error.h"
#include "supervisor/options.h"
#include "supervisor/owned.h"
#include "supervisor/policy.h"
#include "supervisor/privileges.h"
#include "supervisor/process.h"
#include "supervisor/say.h"
#include "supervisor/status.h"
#include "supervisor/usage.h"
#include "supervisor/vm.h"

/* After so many the process has what it needs for all others: what it holds then is told, at rest,
 * for the comparison with the end. */
#define WARM_UP 1000

/* A busy supervisor's threads need no more; the default would be 8 MiB of address space each. */
#define STACK_BYTES ((size_t)256 * 1024)

/* What the default command asks for. */
#define DEFAULT_CPUS 2
#define DEFAULT_HOSTNAME "sandbox"

struct churn {
    const struct options *options;
    struct policy policy;
    char *const *command;
    char directory[PATH_MAX]; /* one of ours for of_cow; "": there is none */
    struct vm_churn *vms;
    int null;                /* /dev/null: the sandboxes' stdin and stdout */
    atomic_ulong next, last; /* the number of the next one, and that of the phase's last */
    atomic_ulong done, live;
    atomic_bool failed;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    pthread_t *threads;
    unsigned running;   /* jobs */
    struct error error; /* the first one */
    struct timespec began;
};

/* Every virtual file once: it is what a sandbox costs at most. */
static char *const of_virtual_files[] = {"cat",           "/proc/cpuinfo", "/proc/net/dev",
                                         "/etc/hostname", "/dev/urandom",  NULL};
/* What has to do with the defects of the other places that inject descriptors. */
static char *const of_root[] = {"cat", "/etc/passwd", NULL};
static char *const of_root_directories[] = {"ls", "/", NULL};
static char *const of_cow[] = {"cp", "/etc/passwd", "copy", NULL};

static char *const environment[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};

static int run_process(struct churn *churn, struct error *error)
{
    const struct process_request request = {
        .label = "churn",
        .command = churn->command,
        .environment = environment,
        .directory = churn->directory[0] ? churn->directory : NULL,
        .stdio = {churn->null, churn->null, -1},
        .timeout_ms = churn->options->timeout_ms,
    };
    struct process_result result;

    if (process_run(&churn->policy, &request, &result, error) != 0)
        return -1;
    if (process_exit_status(&result) != 0 && !churn->options->any_status)
        return error_set(error, 0, "%s ended with status %d", request.command[0],
                         process_exit_status(&result));
    return 0;
}

static int run_sandbox(struct churn *churn, unsigned long number, struct error *error)
{
    enum options_kind kind = churn->options->kind;

    if (kind == OPTIONS_VMS || (kind == OPTIONS_MIXED && number % 2 == 0))
        return vm_churn_one(churn->vms, number, error);
    return run_process(churn, error);
}

static void note_failure(struct churn *churn, unsigned long number, struct error *error)
{
    (void)error_prefix(error, "sandbox %lu", number);
    pthread_mutex_lock(&churn->lock);
    if (!atomic_exchange(&churn->failed, true))
        churn->error = *error;
    pthread_mutex_unlock(&churn->lock);
}

static void *run_job(void *argument)
{
    struct churn *churn = argument;

    while (!atomic_load(&churn->failed)) {
        unsigned long number = atomic_fetch_add(&churn->next, 1);
        struct error error = {0};

        if (number > atomic_load(&churn->last))
            break;
        atomic_fetch_add(&churn->live, 1);
        if (run_sandbox(churn, number, &error) != 0)
            note_failure(churn, number, &error);
        else
            atomic_fetch_add(&churn->done, 1);
        atomic_fetch_sub(&churn->live, 1);
    }
    pthread_mutex_lock(&churn->lock);
    churn->running--;
    pthread_cond_signal(&churn->changed);
    pthread_mutex_unlock(&churn->lock);
    return NULL;
}

static void print_progress(const struct churn *churn)
{
    struct usage usage = usage_now();
    unsigned long done = atomic_load(&churn->done);
    struct timespec now;
    double seconds;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    seconds = (double)(now.tv_sec - churn->began.tv_sec) +
              (double)(now.tv_nsec - churn->began.tv_nsec) / 1e9;
    (void)printf("%lu done, %.0f per second, %lu live, %lu descriptors, %lu VMAs, "
                 "%lu KiB resident\n",
                 done, seconds > 0 ? (double)done / seconds : 0.0, atomic_load(&churn->live),
                 usage.descriptors, usage.vmas, usage.resident_kib);
    (void)fflush(stdout);
}

static void watch_jobs(struct churn *churn)
{
    struct timespec until;

    pthread_mutex_lock(&churn->lock);
    while (churn->running > 0) {
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        if (pthread_cond_timedwait(&churn->changed, &churn->lock, &until) != 0)
            print_progress(churn);
    }
    pthread_mutex_unlock(&churn->lock);
}

/* Up to sandbox number `last`. */
static int run_phase(struct churn *churn, unsigned long last, struct error *error)
{
    pthread_t *threads = churn->threads;
    pthread_attr_t attributes;
    unsigned started = 0;
    int failed = 0;

    atomic_store(&churn->next, atomic_load(&churn->done) + 1);
    atomic_store(&churn->last, last);
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_mutex_lock(&churn->lock);
    for (; started < churn->options->jobs && failed == 0; started += failed == 0) {
        failed = pthread_create(&threads[started], &attributes, run_job, churn);
        churn->running += failed == 0;
    }
    if (failed != 0)
        atomic_store(&churn->failed, true);
    pthread_mutex_unlock(&churn->lock);
    (void)pthread_attr_destroy(&attributes);
    watch_jobs(churn);
    while (started > 0)
        (void)pthread_join(threads[--started], NULL);
    return failed == 0 ? 0 : error_set(error, failed, "cannot start a job");
}

static int run_phases(struct churn *churn, struct error *error)
{
    unsigned long count = churn->options->count;

    (void)clock_gettime(CLOCK_MONOTONIC, &churn->began);
    if (run_phase(churn, count < WARM_UP ? count : WARM_UP, error) != 0)
        return -1;
    if (!atomic_load(&churn->failed) && count > WARM_UP) {
        print_progress(churn);
        if (run_phase(churn, count, error) != 0)
            return -1;
    }
    print_progress(churn);
    if (atomic_load(&churn->failed)) {
        *error = churn->error;
        return -1;
    }
    return 0;
}

/* A command, and a profile, that meet each place that --defect names. */
static int choose_default(struct churn *churn, struct profile *profile, struct error *error)
{
    const uint32_t roots = DEFECT_ADDFD_LEAK_ROOT | DEFECT_ADDFD_LEAK_ROOT_DIRECTORY;
    bool is_plain = !profile->root[0] && !profile->cow[0] && !profile->shadow[0];
    uint32_t asked = profile->defects & (roots | DEFECT_ADDFD_LEAK_COW);

    churn->command = of_virtual_files;
    profile->cpus = profile->cpus > 0 ? profile->cpus : DEFAULT_CPUS;
    profile->hostname = profile->hostname ? profile->hostname : DEFAULT_HOSTNAME;
    profile->has_seed = true;
    /* With all of them, those of the virtual files are enough. */
    if (!is_plain || (asked & DEFECT_ADDFD_LEAK_COW && asked & roots))
        return 0;
    if (asked & roots) {
        churn->command = asked & DEFECT_ADDFD_LEAK_ROOT ? of_root : of_root_directories;
        (void)snprintf(profile->root, sizeof profile->root, "/");
    } else if (asked) {
        churn->command = of_cow;
        (void)snprintf(churn->directory, sizeof churn->directory, "/tmp/boxsup-churn-XXXXXX");
        if (!mkdtemp(churn->directory)) {
            churn->directory[0] = 0;
            return error_set(error, errno, "cannot make a directory");
        }
        if (!realpath(churn->directory, profile->cow))
            return error_set(error, errno, "cannot find %s", churn->directory);
    }
    return 0;
}

static int open_shared(struct churn *churn, struct error *error)
{
    const struct options *options = churn->options;
    const struct vm_churn_options vms = {.defects = defects_of_vm(options->profile.defects)};

    churn->threads = calloc(options->jobs, sizeof *churn->threads);
    if (!churn->threads)
        return error_set(error, ENOMEM, "no room for the jobs");
    churn->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (churn->null < 0)
        return error_set(error, errno, "cannot open /dev/null");
    if (options->kind != OPTIONS_VMS &&
        (children_begin(error) != 0 || policy_make(&churn->policy, &options->profile, error) != 0))
        return -1;
    if (options->kind != OPTIONS_PROCESSES && vm_churn_open(&churn->vms, &vms, error) != 0)
        return -1;
    return privileges_reduce(error);
}

static int close_shared(struct churn *churn, struct error *error)
{
    int failed = vm_churn_close(churn->vms, error);

    policy_clear(&churn->policy);
    owned_memory_free(&churn->threads);
    owned_fd_close(&churn->null);
    if (churn->directory[0])
        (void)rmdir(churn->directory);
    return failed;
}

static int run_all(struct options *options)
{
    struct churn churn = {
        .options = options,
        .command = options->operands,
        .policy = {.ruleset = -1, .root = -1, .userfaultfd = -1},
        .null = -1,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
    };
    struct error error = {0}, at_close = {0};
    int failed = options->operands[0] ? 0 : choose_default(&churn, &options->profile, &error);

    if (failed == 0)
        failed = open_shared(&churn, &error);
    if (failed == 0)
        failed = run_phases(&churn, &error);
    if (close_shared(&churn, &at_close) != 0 && failed == 0) {
        error = at_close;
        failed = -1;
    }
    if (failed != 0)
        say("%s", error.text);
    return failed == 0 ? 0 : STATUS_FAILED;
}

int churn_command(int argc, char **argv)
{
    struct error error = {0};
    struct options options;
    const char *why_not;

    if (options_read(&options, OPTIONS_CHURN, argc, argv, &error) != 0) {
        say("%s", error.text);
        return STATUS_USAGE;
    }
    if (options.help) {
        (void)puts("usage: boxsup churn [--OPTION...] [--] [COMMAND [ARGUMENT...]]");
        options_print(OPTIONS_CHURN);
        return 0;
    }
    why_not = options.kind != OPTIONS_VMS ? policy_why_not(&options.profile) : NULL;
    if (why_not) {
        say("%s", why_not);
        return STATUS_UNSUPPORTED;
    }
    return run_all(&options);
}
