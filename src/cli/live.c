/*
 * live.c: `boxledger top LEDGER` and `boxledger metrics LEDGER`: a running process in figures, from
 * its ledger alone. The process is not stopped, not asked, and not slowed down.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "report/gauges.h"

#define TAKES(key) (UINT64_C(1) << OPTIONS_KEY_##key)
#define TOP_ROWS 20u

static bool take(struct gauges *gauges, const char *path)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct failure failure = {0};

    if (fd < 0) {
        cli_say("%s: %s", path, strerror(errno));
        return false;
    }
    if (!gauges_take(gauges, fd, path, &failure)) {
        cli_say("%s", failure.text);
        return false;
    }
    return true;
}

static bool written(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    cli_say("standard output: %s", strerror(errno));
    return false;
}

static int metrics(const struct arguments *arguments)
{
    struct gauges gauges;

    if (!take(&gauges, arguments->operands[0]))
        return CLI_FAILED;
    gauges_write_openmetrics(stdout, &gauges);
    return written() ? 0 : CLI_FAILED;
}

/* Until the process has ended: the last screen stays. */
static int top(const struct arguments *arguments)
{
    uint32_t interval = arguments->options.interval_ms;
    struct timespec pause = {interval / 1000, (long)(interval % 1000) * 1000000};
    bool screen = isatty(STDOUT_FILENO);
    struct gauges gauges;

    do {
        if (!take(&gauges, arguments->operands[0]))
            return CLI_FAILED;
        if (screen)
            (void)fputs("\033[H\033[2J", stdout);
        gauges_write_screen(stdout, &gauges, TOP_ROWS);
        if (!screen)
            (void)fputc('\n', stdout);
        if (!written())
            return CLI_FAILED;
    } while (interval && gauges.running && nanosleep(&pause, NULL) == 0);
    return 0;
}

static int live_main(const char *name, uint64_t keys, int (*show)(const struct arguments *),
                     int argc, char **argv)
{
    struct arguments arguments;
    int status = CLI_USAGE;

    if (!arguments_read(&arguments, name, keys, argc, argv)) {
        status = CLI_USAGE;
    } else if (arguments.help) {
        (void)printf("usage: boxledger %s [--OPTION...] LEDGER\n\n", name);
        arguments_help(stdout, keys);
        status = 0;
    } else if (arguments.operand_count != 1) {
        cli_say("%s: which ledger? boxledger %s LEDGER", name, name);
    } else {
        status = show(&arguments);
    }
    arguments_free(&arguments);
    return status;
}

int top_main(int argc, char **argv)
{
    return live_main("top", TAKES(interval_ms) | TAKES(verbosity), top, argc, argv);
}

int metrics_main(int argc, char **argv)
{
    return live_main("metrics", TAKES(verbosity), metrics, argc, argv);
}
