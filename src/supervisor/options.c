/*
 * options.c: see options.h. The table is all there is: a row an option.
 */
#include "supervisor/options.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "supervisor/defects.h"
#include "supervisor/error.h"
#include "supervisor/lookup.h"
#include "supervisor/owned.h"
#include "supervisor/shadow.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define CPUS_MAX 4096
#define JOBS_MAX 1024
#define SECONDS_MAX 86400
#define MILLISECONDS 1000
/* The newest that boxsup knows something about. */
#define LANDLOCK_MAX 6
#define DEFAULT_CHURN_COUNT 1000
#define DEFAULT_SERVE_JOBS 32

#define PROFILE_BYTES 65536

/* A whole number from `low` to `high`. */
static int read_number(const char *text, uint64_t low, uint64_t high, uint64_t *number,
                       struct error *error)
{
    char *end = NULL;

    errno = 0;
    *number = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end != 0 || errno != 0 || *number < low ||
        *number > high)
        return error_set(error, 0, "%s is not a number from %llu to %llu", text,
                         (unsigned long long)low, (unsigned long long)high);
    return 0;
}

/* Bytes: a number with K, M or G. */
static int read_size(const char *text, uint64_t *bytes, struct error *error)
{
    static const char units[] = "KMG";
    const char *unit = NULL;
    unsigned shift = 0;
    char *end = NULL;

    errno = 0;
    *bytes = strtoull(text, &end, 10);
    if (isdigit((unsigned char)text[0]) && errno == 0 && *end && end[1] == 0 &&
        (unit = strchr(units, toupper((unsigned char)*end))) != NULL)
        shift = 10 * (unsigned)(unit - units + 1);
    if (!isdigit((unsigned char)text[0]) || errno != 0 || (*end && !unit) || *bytes == 0 ||
        *bytes > (uint64_t)INT64_MAX >> shift)
        return error_set(error, 0, "%s is not a size: a number, with K, M or G behind it", text);
    *bytes <<= shift;
    return 0;
}

static int set_write(struct options *options, const char *value, struct error *error)
{
    if (options->profile.writable_count == PROFILE_WRITABLE_MAX)
        return error_set(error, 0, "more than %d paths", PROFILE_WRITABLE_MAX);
    /* Kept until the process ends, as the command line is. */
    options->profile.writable[options->profile.writable_count] = realpath(value, NULL);
    if (!options->profile.writable[options->profile.writable_count])
        return error_set(error, errno, "%s", value);
    options->profile.writable_count++;
    return 0;
}

static int set_directory(struct options *options, const char *value, struct error *error)
{
    (void)error;
    options->directory = value;
    return 0;
}

static int set_socket(struct options *options, const char *value, struct error *error)
{
    (void)error;
    options->socket = value;
    return 0;
}

static int set_network(struct options *options, const char *value, struct error *error)
{
    (void)value, (void)error;
    options->profile.network = true;
    return 0;
}

static int set_cpus(struct options *options, const char *value, struct error *error)
{
    uint64_t number;

    if (read_number(value, 1, CPUS_MAX, &number, error) != 0)
        return -1;
    options->profile.cpus = (unsigned)number;
    return 0;
}

static int set_memory(struct options *options, const char *value, struct error *error)
{
    return read_size(value, &options->profile.memory, error);
}

static int set_hostname(struct options *options, const char *value, struct error *error)
{
    if (value[0] == 0 || strlen(value) >= sizeof(((struct utsname *)NULL)->nodename))
        return error_set(error, 0, "a host's name has from 1 to %zu bytes",
                         sizeof(((struct utsname *)NULL)->nodename) - 1);
    options->profile.hostname = value;
    return 0;
}

static int set_seed(struct options *options, const char *value, struct error *error)
{
    options->profile.has_seed = true;
    return read_number(value, 0, UINT64_MAX, &options->profile.seed, error);
}

static int set_shadow(struct options *options, const char *value, struct error *error)
{
    if (!realpath(value, options->profile.shadow))
        return error_set(error, errno, "%s", value);
    return 0;
}

static int set_cow(struct options *options, const char *value, struct error *error)
{
    if (!realpath(value, options->profile.cow))
        return error_set(error, errno, "%s", value);
    if (strcmp(options->profile.cow, "/") == 0)
        return error_set(error, 0, "/ cannot be copy-on-write");
    return 0;
}

static int set_upper(struct options *options, const char *value, struct error *error)
{
    (void)error;
    options->profile.upper = value;
    return 0;
}

static int set_commit(struct options *options, const char *value, struct error *error)
{
    (void)value, (void)error;
    options->profile.commits = true;
    return 0;
}

static int set_discard(struct options *options, const char *value, struct error *error)
{
    (void)value, (void)error;
    options->profile.commits = false;
    return 0;
}

static int set_root(struct options *options, const char *value, struct error *error)
{
    if (!realpath(value, options->profile.root))
        return error_set(error, errno, "%s", value);
    return 0;
}

static int set_shadow_cap(struct options *options, const char *value, struct error *error)
{
    return read_size(value, &options->profile.shadow_cap, error);
}

static int set_shadow_lazy(struct options *options, const char *value, struct error *error)
{
    (void)value, (void)error;
    options->profile.shadow_lazy = true;
    return 0;
}

static int set_shadow_budget(struct options *options, const char *value, struct error *error)
{
    uint64_t most = shadow_budget_most();

    if (read_size(value, &options->profile.shadow_budget, error) != 0)
        return -1;
    if (options->profile.shadow_budget > most)
        return error_set(error, 0, "%s is more than half of this machine's memory", value);
    return 0;
}

static int set_timeout(struct options *options, const char *value, struct error *error)
{
    uint64_t number;

    if (read_number(value, 1, SECONDS_MAX, &number, error) != 0)
        return -1;
    options->timeout_ms = (unsigned)number * MILLISECONDS;
    return 0;
}

static int set_landlock(struct options *options, const char *value, struct error *error)
{
    uint64_t number;

    if (read_number(value, 1, LANDLOCK_MAX, &number, error) != 0)
        return -1;
    options->profile.landlock_abi = (int)number;
    return 0;
}

static int set_defect(struct options *options, const char *value, struct error *error)
{
    return defects_add(&options->profile.defects, value, error);
}

static int set_kind(struct options *options, const char *value, struct error *error)
{
    static const char *const kinds[] = {
        [OPTIONS_PROCESSES] = "process", [OPTIONS_VMS] = "vm", [OPTIONS_MIXED] = "mixed"};

    for (size_t i = 0; i < COUNT(kinds); i++)
        if (strcmp(value, kinds[i]) == 0) {
            options->kind = (enum options_kind)i;
            return 0;
        }
    return error_set(error, 0, "%s is not a kind: process, vm or mixed", value);
}

static int set_count(struct options *options, const char *value, struct error *error)
{
    uint64_t number;

    if (read_number(value, 1, UINT32_MAX, &number, error) != 0)
        return -1;
    options->count = (unsigned long)number;
    return 0;
}

static int set_any_status(struct options *options, const char *value, struct error *error)
{
    (void)value, (void)error;
    options->any_status = true;
    return 0;
}

static int set_jobs(struct options *options, const char *value, struct error *error)
{
    uint64_t number;

    if (read_number(value, 1, JOBS_MAX, &number, error) != 0)
        return -1;
    options->jobs = (unsigned)number;
    return 0;
}

static int set_profile(struct options *options, const char *value, struct error *error);

#define ALL (OPTIONS_RUN | OPTIONS_CHURN | OPTIONS_SERVE)

static const struct option {
    const char *name;
    const char *value; /* what it is called; NULL: the option has none */
    int (*set)(struct options *options, const char *value, struct error *error);
    unsigned commands;
    const char *text;
} table[] = {
    {"kind", "KIND", set_kind, OPTIONS_CHURN, "process, vm or mixed (process)"},
    {"count", "N", set_count, OPTIONS_CHURN, "so many sandboxes (1000)"},
    {"jobs", "J", set_jobs, OPTIONS_CHURN | OPTIONS_SERVE, "so many at once (1; serve: 32)"},
    {"socket", "PATH", set_socket, OPTIONS_SERVE, "where it is served"},
    {"any-status", NULL, set_any_status, OPTIONS_CHURN, "go on however a command has ended"},
    {"profile", "FILE", set_profile, ALL, "options from a file, one a line, without dashes"},
    {"write", "PATH", set_write, ALL, "may be written, and all below it; any number of times"},
    {"directory", "PATH", set_directory, OPTIONS_RUN, "where the command starts"},
    {"network", NULL, set_network, ALL, "sockets"},
    {"cpus", "N", set_cpus, ALL, "so many processors are shown"},
    {"memory", "SIZE", set_memory, ALL, "is shown as all there is; each process's limit of data"},
    {"hostname", "NAME", set_hostname, ALL, "is shown"},
    {"seed", "N", set_seed, ALL, "random bytes come from it, the same ones each time"},
    {"root", "DIR", set_root, ALL, "files are opened as if it were the root, for reading"},
    {"cow", "DIR", set_cow, ALL, "what is changed below it is changed in a layer above it"},
    {"upper", "DIR", set_upper, OPTIONS_RUN, "where that layer is and stays (a temporary one)"},
    {"commit", NULL, set_commit, OPTIONS_RUN, "what changed is written back if all went well"},
    {"discard", NULL, set_discard, OPTIONS_RUN, "what changed is forgotten (so it is)"},
    {"shadow", "DIR", set_shadow, ALL, "files below it are opened as sealed copies"},
    {"shadow-cap", "SIZE", set_shadow_cap, ALL, "of a file that is copied (256M)"},
    {"shadow-budget", "SIZE", set_shadow_budget, ALL, "of all copies at once (1G)"},
    {"shadow-lazy", NULL, set_shadow_lazy, ALL, "large copies are filled when they are read"},
    {"timeout", "SECONDS", set_timeout, ALL, "after which it is killed"},
    {"landlock", "N", set_landlock, ALL, "at most this version, for tests"},
    {"defect", "NAME", set_defect, ALL, "a defect of `boxsup defects`; any number of times"},
};

static const struct option *find(const char *name, size_t length, enum options_command command)
{
    for (size_t i = 0; i < COUNT(table); i++)
        if (strlen(table[i].name) == length && strncmp(name, table[i].name, length) == 0 &&
            (table[i].commands & command))
            return &table[i];
    return NULL;
}

/* `argument` is behind its dashes. */
static int read_one(struct options *options, enum options_command command, const char *argument,
                    struct error *error)
{
    size_t length = strcspn(argument, "=");
    const struct option *option = find(argument, length, command);
    const char *value = argument[length] ? argument + length + 1 : NULL;

    if (!option)
        return error_set(error, 0, "--%.*s is not an option here; --help lists them", (int)length,
                         argument);
    if (!option->value && value)
        return error_set(error, 0, "--%s takes no value", option->name);
    if (option->value && !value)
        return error_set(error, 0, "--%s needs a value: --%s=%s", option->name, option->name,
                         option->value);
    if (option->set(options, value, error) != 0)
        return error_prefix(error, "--%s", option->name);
    return 0;
}

/* The text of a profile, which is kept, as the command line is, until the process ends; or NULL. */
static char *read_text(struct options *options, const char *path, struct error *error)
{
    owned_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    owned_memory char *text = NULL;
    size_t have = 0;
    ssize_t got;

    if (fd >= 0)
        text = calloc(1, PROFILE_BYTES + 1);
    do {
        got = text ? read(fd, text + have, PROFILE_BYTES + 1 - have) : -1;
        have += got > 0 ? (size_t)got : 0;
    } while (got > 0);
    if (got < 0)
        (void)error_set(error, errno, "cannot read %s", path);
    else if (have > PROFILE_BYTES || strlen(text) != have)
        (void)error_set(error, 0, "%s is not a text of at most %d bytes", path, PROFILE_BYTES);
    else
        return options->texts[options->text_count++] = owned_memory_move(text);
    return NULL;
}

static int set_profile(struct options *options, const char *value, struct error *error)
{
    char *rest;

    if (options->in_profile)
        return error_set(error, 0, "a profile cannot name another one");
    if (options->text_count == OPTIONS_PROFILES_MAX)
        return error_set(error, 0, "more than %d profiles", OPTIONS_PROFILES_MAX);
    rest = read_text(options, value, error);
    if (!rest)
        return -1;
    options->in_profile = true;
    for (unsigned number = 1; rest; number++) {
        const char *line = strsep(&rest, "\n");

        line += strspn(line, " \t");
        if (line[0] != 0 && line[0] != '#' && read_one(options, options->command, line, error) != 0)
            return error_prefix(error, "%s, line %u", value, number);
    }
    options->in_profile = false;
    return 0;
}

/* The options that the environment may give. The command line comes after it. */
static int read_environment(struct options *options, struct error *error)
{
    static const struct {
        const char *name;
        int (*set)(struct options *options, const char *value, struct error *error);
    } variables[] = {
        {"BOXSUP_SHADOW_CAP", set_shadow_cap},
        {"BOXSUP_SHADOW_BUDGET", set_shadow_budget},
    };

    for (size_t i = 0; i < COUNT(variables); i++) {
        const char *value = getenv(variables[i].name);

        if (value && variables[i].set(options, value, error) != 0)
            return error_prefix(error, "%s", variables[i].name);
    }
    return 0;
}

/* Whether a writable path and the copy-on-write directory have something in common. */
static bool overlaps(const struct profile *profile, const char *writable)
{
    return strcmp(writable, profile->cow) == 0 || lookup_is_below(writable, profile->cow) ||
           lookup_is_below(profile->cow, writable);
}

static int check_together(const struct profile *profile, struct error *error)
{
    if (profile->root[0] && profile->shadow[0])
        return error_set(error, 0, "--root and --shadow cannot be had together");
    if (profile->cow[0] && (profile->root[0] || profile->shadow[0]))
        return error_set(error, 0, "--cow and --%s cannot be had together",
                         profile->root[0] ? "root" : "shadow");
    if (!profile->cow[0] && (profile->upper || profile->commits))
        return error_set(error, 0, "--%s is for --cow", profile->upper ? "upper" : "commit");
    for (size_t i = 0; profile->cow[0] && i < profile->writable_count; i++)
        if (overlaps(profile, profile->writable[i]))
            return error_set(error, 0, "--cow=%s and --write=%s cannot be had together",
                             profile->cow, profile->writable[i]);
    return 0;
}

int options_read(struct options *options, enum options_command command, int argc, char **argv,
                 struct error *error)
{
    int next = 1;

    *options = (struct options){
        .command = command,
        .count = DEFAULT_CHURN_COUNT,
        .jobs = command == OPTIONS_SERVE ? DEFAULT_SERVE_JOBS : 1,
        .profile = {.shadow_cap = SHADOW_CAP, .shadow_budget = shadow_budget_default()},
    };
    if (read_environment(options, error) != 0)
        return -1;
    for (; next < argc && argv[next][0] == '-' && argv[next][1] != 0; next++) {
        if (strcmp(argv[next], "--") == 0) {
            next++;
            break;
        }
        if (strcmp(argv[next], "--help") == 0) {
            options->help = true;
            return 0;
        }
        if (argv[next][1] != '-')
            return error_set(error, 0, "%s is not an option here; --help lists them", argv[next]);
        if (read_one(options, command, argv[next] + 2, error) != 0)
            return -1;
    }
    if (check_together(&options->profile, error) != 0)
        return -1;
    options->operands = argv + next;
    return 0;
}

void options_print(enum options_command command)
{
    for (size_t i = 0; i < COUNT(table); i++) {
        char name[32];

        if (!(table[i].commands & command))
            continue;
        (void)snprintf(name, sizeof name, "--%s%s%s", table[i].name, table[i].value ? "=" : "",
                       table[i].value ? table[i].value : "");
        (void)printf("    %-22s %s\n", name, table[i].text);
    }
}
