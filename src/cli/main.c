/*
 * main.c: the command `boxledger`: picks the subcommand. It does nothing else.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "config.h"

static const char usage[] =
    "usage: boxledger run [--OPTION...] [--] COMMAND [ARGUMENT...]\n"
    "       boxledger report [--OPTION...] LEDGER...\n"
    "       boxledger --help | --version\n"
    "\n"
    "boxledger run starts COMMAND under the ledger of its mappings and descriptors and reports,\n"
    "when it ends, what is wrong. boxledger report does so for a ledger that was saved, or that a\n"
    "running process writes. `boxledger run --help` lists the options; boxledger(1) explains "
    "them.\n";

void cli_say(const char *format, ...)
{
    struct failure line;
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(line.text, sizeof line.text, format, arguments);
    va_end(arguments);
    for (char *c = line.text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    (void)fflush(stdout);
    (void)fprintf(stderr, "boxledger: %s\n", line.text);
}

/* Where a standard descriptor is closed, a ledger would get its number, and what is said on stderr
 * would go into it. Close-on-exec: the program finds them closed, as they were. */
static void occupy_standard_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    const char *subcommand = argc > 1 ? argv[1] : NULL;

    occupy_standard_descriptors();
    if (!subcommand) {
        cli_say("what is to be done? boxledger run COMMAND..., boxledger report LEDGER..., "
                "boxledger --help");
        return CLI_USAGE;
    }
    if (strcmp(subcommand, "run") == 0)
        return run_main(argc - 1, argv + 1);
    if (strcmp(subcommand, "report") == 0)
        return report_main(argc - 1, argv + 1);
    if (strcmp(subcommand, "--help") == 0 || strcmp(subcommand, "-h") == 0 ||
        strcmp(subcommand, "help") == 0) {
        (void)fputs(usage, stdout);
        return 0;
    }
    if (strcmp(subcommand, "--version") == 0) {
        (void)puts("boxledger " PACKAGE_VERSION);
        return 0;
    }
    cli_say("%s is not a subcommand: run, report, --help or --version", subcommand);
    return CLI_USAGE;
}
