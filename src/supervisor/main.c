/*
 * main.c: the command `boxsup`: picks the subcommand. It does nothing else.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "supervisor/churn.h"
#include "supervisor/defects.h"
#include "supervisor/run.h"
#include "supervisor/say.h"
#include "supervisor/serve.h"
#include "supervisor/status.h"
#include "supervisor/vm.h"

static const char usage[] =
    "usage: boxsup run [--OPTION...] [--] COMMAND [ARGUMENT...]\n"
    "       boxsup vm [--OPTION...]\n"
    "       boxsup churn [--OPTION...] [--] [COMMAND [ARGUMENT...]]\n"
    "       boxsup serve --socket=PATH [--OPTION...]\n"
    "       boxsup defects\n"
    "       boxsup --help | --version\n"
    "\n"
    "A supervisor of untrusted programs, and of small VMs, that owns exactly what it uses. Each\n"
    "command has a --help; boxsup(1) explains them.\n";

static int defects_command(int argc, char **argv)
{
    if (argc > 1) {
        say("boxsup defects takes no %s", argv[1]);
        return STATUS_USAGE;
    }
    defects_print();
    return 0;
}

static int help_command(int argc, char **argv)
{
    (void)argc, (void)argv;
    (void)fputs(usage, stdout);
    return 0;
}

static int version_command(int argc, char **argv)
{
    (void)argc, (void)argv;
    (void)puts("boxsup " PACKAGE_VERSION);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", run_command},           {"vm", vm_command},           {"churn", churn_command},
    {"serve", serve_command},       {"defects", defects_command}, {"--help", help_command},
    {"--version", version_command},
};

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* Where a standard descriptor is closed, something of ours would get its number, and the sandbox
 * would have it. */
static void occupy_standard_descriptors(void)
{
    int fd;

    do
        /* For what nobody does with that number, so that who reads or writes learns of it. */
        fd = open("/dev/null", (is_open(STDIN_FILENO) ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        (void)close(fd);
}

int main(int argc, char **argv)
{
    occupy_standard_descriptors();
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (argc > 1)
        say("%s is not a command: boxsup --help", argv[1]);
    else
        say("what is to be done? boxsup run COMMAND..., boxsup vm, boxsup --help");
    return STATUS_USAGE;
}
