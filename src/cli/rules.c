/*
 * rules.c: reads --rules=FILE before anything is started: a mistake in it ends the command. What
 * the rules mean for owners is the shim's, which reads the same file.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "cli/cli.h"

struct mistakes {
    const char *path;
    bool any;
};

/* The first one is told. */
static void complain(void *context, unsigned line, const char *what)
{
    struct mistakes *mistakes = context;

    if (!mistakes->any)
        cli_say("%s:%u: %s", mistakes->path, line, what);
    mistakes->any = true;
}

bool rules_load(struct rules *rules, struct arena *arena, const char *path)
{
    struct mistakes mistakes = {path, false};
    char *text = arena_alloc(arena, RULES_TEXT_MAX + 1);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    size_t length = 0;
    ssize_t got = 1;

    while (fd >= 0 && got != 0 && length <= RULES_TEXT_MAX) {
        got = read(fd, text + length, RULES_TEXT_MAX + 1 - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            break;
        length += (size_t)got;
    }
    if (fd < 0 || got < 0) {
        cli_say("--rules: %s: %s", path, strerror(errno));
        return false;
    }
    return rules_parse(rules, text, length, complain, &mistakes) == 0;
}

bool rules_make_absolute(struct arguments *arguments)
{
    struct options_text *rules = &arguments->options.rules;
    const char *path = arguments_text(arguments, *rules);
    char real[PATH_MAX];

    if (!path)
        return true;
    if (!realpath(path, real)) {
        cli_say("--rules: %s: %s", path, strerror(errno));
        return false;
    }
    rules->length = strlen(real);
    rules->text = arena_text(&arguments->arena, real, rules->length);
    return true;
}
