/*
 * main.c: the command `boxledger`: picks the subcommand, and sees to it that the subcommand has
 * standard descriptors and a stack. It does nothing else.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <ucontext.h>

#include "cli/cli.h"
#include "config.h"

static const char usage[] =
    "usage: boxledger run [--OPTION...] [--] COMMAND [ARGUMENT...]\n"
    "       boxledger gate [--OPTION...] [--] COMMAND [ARGUMENT...]\n"
    "       boxledger report [--OPTION...] LEDGER...\n"
    "       boxledger top | metrics [--OPTION...] LEDGER\n"
    "       boxledger --help | --version\n"
    "\n"
    "boxledger run starts COMMAND under the ledger of its mappings and descriptors and reports,\n"
    "when it ends, what is wrong. boxledger gate does so for a CI job: it fails if there is "
    "anything\n"
    "that a baseline does not know of. boxledger report does so for a ledger that was saved, or "
    "that\n"
    "a running process writes; boxledger top shows the latter's figures, and metrics prints them\n"
    "as OpenMetrics. `boxledger run --help` lists the options; boxledger(1) explains "
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
 * would go into it. Close-on-exec: the program finds them closed, as they were. Read-only: a report
 * that goes there fails, as it would if nothing were there. */
static void occupy_standard_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* process-global because makecontext hands no pointer on */
static struct {
    int (*subcommand)(int, char **);
    int argc;
    char **argv;
    int status;
} call;

static void call_subcommand(void)
{
    call.status = call.subcommand(call.argc, call.argv);
}

/* Where the hard limit keeps the main stack small, the subcommand gets one that no limit concerns.
 * Not a thread: signals are to interrupt it. */
static int run_with_stack(int (*subcommand)(int, char **), int argc, char **argv)
{
    struct rlimit limit;
    ucontext_t here, there;
    char *stack;

    if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_max >= CLI_STACK_SIZE ||
        getcontext(&there) != 0)
        return subcommand(argc, argv);
    stack = mmap(NULL, CLI_STACK_SIZE, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return subcommand(argc, argv);
    (void)mprotect(stack, (size_t)sysconf(_SC_PAGESIZE), PROT_NONE);
    call.subcommand = subcommand;
    call.argc = argc;
    call.argv = argv;
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = CLI_STACK_SIZE;
    there.uc_link = &here;
    makecontext(&there, call_subcommand, 0);
    (void)swapcontext(&here, &there);
    return call.status;
}

int main(int argc, char **argv)
{
    const char *subcommand = argc > 1 ? argv[1] : NULL;

    occupy_standard_descriptors();
    streams_begin();
    if (!subcommand) {
        cli_say("what is to be done? boxledger run COMMAND..., boxledger gate COMMAND..., "
                "boxledger report LEDGER..., boxledger --help");
        return CLI_USAGE;
    }
    if (strcmp(subcommand, "run") == 0)
        return run_with_stack(run_main, argc - 1, argv + 1);
    if (strcmp(subcommand, "gate") == 0)
        return run_with_stack(gate_main, argc - 1, argv + 1);
    if (strcmp(subcommand, "report") == 0)
        return run_with_stack(report_main, argc - 1, argv + 1);
    if (strcmp(subcommand, "top") == 0)
        return run_with_stack(top_main, argc - 1, argv + 1);
    if (strcmp(subcommand, "metrics") == 0)
        return run_with_stack(metrics_main, argc - 1, argv + 1);
    if (strcmp(subcommand, "--help") == 0 || strcmp(subcommand, "-h") == 0 ||
        strcmp(subcommand, "help") == 0) {
        (void)fputs(usage, stdout);
        return 0;
    }
    if (strcmp(subcommand, "--version") == 0) {
        (void)puts("boxledger " PACKAGE_VERSION);
        return 0;
    }
    cli_say("%s is not a subcommand: run, gate, report, top, metrics, --help or --version",
            subcommand);
    return CLI_USAGE;
}
