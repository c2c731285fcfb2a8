/*
 * arguments.c: the command line and BOXLEDGER_OPTIONS, which share their keys (options.def). A
 * mistake is one line on stderr; nothing is guessed.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli/cli.h"

struct complaint_context {
    const char *subcommand;
    const char *where; /* "--" on the command line, "BOXLEDGER_OPTIONS: " in the environment */
};

static void complain(void *context, const struct options_complaint *complaint)
{
    const struct complaint_context *from = context;
    const struct options_row *row = complaint->row;
    int key = (int)complaint->key.length;

    switch (complaint->problem) {
    case OPTIONS_UNKNOWN_KEY:
    case OPTIONS_NOT_FOR_YOU:
        cli_say("%s%.*s is not an option of boxledger %s", from->where, key, complaint->key.text,
                from->subcommand);
        break;
    case OPTIONS_NEEDS_VALUE:
        cli_say("%s%.*s needs a value: %s%.*s=%s", from->where, key, complaint->key.text,
                from->where, key, complaint->key.text, row->value_name);
        break;
    case OPTIONS_OUT_OF_RANGE:
        cli_say("%s%.*s=%.*s is out of range: %llu to %llu", from->where, key, complaint->key.text,
                (int)complaint->value.length, complaint->value.text, (unsigned long long)row->min,
                (unsigned long long)row->max);
        break;
    default:
        cli_say("%s%.*s %s", from->where, key, complaint->key.text,
                options_problem_text(complaint->problem));
        break;
    }
}

/* Which key an argument names, OPTIONS_KEYS if none. */
static unsigned key_of(struct options_text key)
{
    for (unsigned i = 0; i < OPTIONS_KEYS; i++) {
        const char *name = options_table[i].name;
        size_t at = 0;

        while (at < key.length && name[at] == (key.text[at] == '-' ? '_' : key.text[at]))
            at++;
        if (at == key.length && !name[at])
            return i;
    }
    return OPTIONS_KEYS;
}

static bool read_argument(struct arguments *arguments, const char *subcommand, uint64_t only,
                          const char *argument)
{
    struct complaint_context context = {subcommand, "--"};
    const char *equals = strchr(argument, '=');
    struct options_text key, value = {NULL, 0};
    unsigned index;

    key = (struct options_text){argument, equals ? (size_t)(equals - argument) : strlen(argument)};
    if (equals)
        value = (struct options_text){equals + 1, strlen(equals + 1)};
    index = key_of(key);
    if (index < OPTIONS_KEYS && !(only >> index & 1)) {
        cli_say("--%.*s is not an option of boxledger %s", (int)key.length, key.text, subcommand);
        return false;
    }
    if (!options_set(&arguments->options, key, value, OPTIONS_SHIM | OPTIONS_COMMAND, complain,
                     &context))
        return false;
    if (index == OPTIONS_KEY_report) {
        arguments->reports =
            base_grow(arguments->reports, arguments->report_count, sizeof *arguments->reports);
        arguments->reports[arguments->report_count++] = value.text;
    }
    return true;
}

bool arguments_read(struct arguments *arguments, const char *subcommand, uint64_t only, int argc,
                    char **argv)
{
    struct complaint_context context = {subcommand, "BOXLEDGER_OPTIONS: "};
    const char *environment = getenv("BOXLEDGER_OPTIONS");
    int i;

    *arguments = (struct arguments){0};
    options_init(&arguments->options);
    /* Of a command that follows this one as well: they are its own options, not the user's. */
    if (environment && strstr(environment, "follow_dir="))
        environment = NULL;
    if (environment) {
        environment = arena_text(&arguments->arena, environment, strlen(environment));
        if (options_parse(&arguments->options, environment, strlen(environment),
                          OPTIONS_SHIM | OPTIONS_COMMAND, complain, &context) != 0)
            return false;
    }
    for (i = 1; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            arguments->help = true;
        } else if (strcmp(argv[i], "--version") == 0) {
            arguments->version = true;
        } else if (strncmp(argv[i], "--", 2) != 0) {
            cli_say("%s is not an option of boxledger %s", argv[i], subcommand);
            return false;
        } else if (!read_argument(arguments, subcommand, only, argv[i] + 2)) {
            return false;
        }
    }
    arguments->operands = argv + i;
    arguments->operand_count = argc - i;
    return true;
}

/* What a process that the command starts would have. */
static struct options_host know_host(void)
{
    struct options_host host = {.page = (uint64_t)sysconf(_SC_PAGESIZE)};
    cleanup_close int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
    char text[32] = "";
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        host.max_fds = limit.rlim_cur;
    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0)
        host.max_vmas = strtoull(text, NULL, 10);
    return host;
}

bool arguments_agree(const struct arguments *arguments)
{
    struct options_host host = know_host();
    enum options_key key;
    const char *why;

    if (!options_contradiction(&arguments->options, &host, &key, &why))
        return true;
    cli_say("%s %s", options_table[key].name, why);
    return false;
}

void arguments_free(struct arguments *arguments)
{
    arena_free(&arguments->arena);
    free(arguments->reports);
}

char *arguments_text(struct arguments *arguments, struct options_text text)
{
    return text.text ? arena_text(&arguments->arena, text.text, text.length) : NULL;
}

void arguments_help(FILE *out, uint64_t only)
{
    for (unsigned i = 0; i < OPTIONS_KEYS; i++) {
        const struct options_row *row = &options_table[i];
        char name[64];

        if (!(only >> i & 1))
            continue;
        (void)snprintf(name, sizeof name,
                       row->type == OPTIONS_TYPE_PATTERN ? "--%s[=%s]"
                       : row->value_name[0]              ? "--%s=%s"
                                                         : "--%s",
                       row->name, row->value_name);
        for (char *c = name + 2; *c && *c != '='; c++)
            if (*c == '_')
                *c = '-';
        (void)fprintf(out, "  %-26s %s\n", name, row->help);
    }
}
