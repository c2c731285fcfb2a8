/*
 * report.c: `boxledger report LEDGER...`: reports from ledgers that were saved, or that running
 * processes write at this moment. It changes nothing in them.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cli/cli.h"

#define TAKES(key) (UINT64_C(1) << OPTIONS_KEY_##key)
static const uint64_t keys = TAKES(report) | TAKES(format) | TAKES(live) | TAKES(error_exitcode) |
                             TAKES(suppressions) | TAKES(print_suppressions) | TAKES(settle_ms) |
                             TAKES(rules) | TAKES(verbosity);

/* Adds one ledger. Returns false after saying why not. */
static bool add_ledger(struct output *output, const char *path)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct kernel_view view = {0};
    struct failure failure = {0};
    struct reader *reader;
    bool lives = false;

    if (fd < 0) {
        cli_say("%s: %s%s", path, strerror(errno), save_says_lost(path));
        return false;
    }
    reader = reader_open_fd(fd, path, &failure);
    if (!reader) {
        cli_say("%s", failure.text);
        return false;
    }
    if (reader->header.images == 0) {
        cli_say("%s: no program ever wrote this ledger", path);
        reader_close(reader);
        return false;
    }
    /* Still written, by the process that it names? Its number may be another's by now. */
    if (reader->outside.annex_size == 0 && reader->outside.ended == LEDGER_ENDED_UNKNOWN &&
        kernel_maps_file((pid_t)reader->header.pid, fd)) {
        view.running = true;
        kernel_look(&view, (pid_t)reader->header.pid);
        kernel_look_at_owners(&view, (pid_t)reader->header.pid, fd);
        kernel_sample_threads(&view, (pid_t)reader->header.pid);
        lives = true;
        /* Anew: what was taken since the first look must not seem unknown to the ledger. */
        reader_close(reader);
        reader = reader_open_fd(fd, path, &failure);
        if (!reader) {
            kernel_view_free(&view);
            cli_say("%s", failure.text);
            return false;
        }
    }
    if (!output_add(output, reader, lives ? &view : NULL, &failure)) {
        cli_say("%s", failure.text);
        return false;
    }
    return true;
}

static int report_all(struct arguments *arguments)
{
    struct output output;
    int status = 0;

    if (!output_begin(&output, arguments, stdout)) {
        output_free(&output, true);
        return CLI_USAGE;
    }
    for (int i = 0; i < arguments->operand_count; i++)
        if (!add_ledger(&output, arguments->operands[i]))
            status = CLI_FAILED;
    if (output.count && !output_end(&output, false))
        status = CLI_FAILED;
    if (status == 0 && arguments->options.error_exitcode && output_has_errors(&output))
        status = (int)arguments->options.error_exitcode;
    output_free(&output, output.count == 0);
    return status;
}

int report_main(int argc, char **argv)
{
    struct arguments arguments;
    int status = CLI_USAGE;

    if (!arguments_read(&arguments, "report", keys, argc, argv)) {
        status = CLI_USAGE;
    } else if (arguments.help) {
        (void)puts("usage: boxledger report [--OPTION...] LEDGER...\n");
        arguments_help(stdout, keys);
        status = 0;
    } else if (arguments.operand_count == 0) {
        cli_say("report: which ledger? boxledger report LEDGER...");
    } else {
        status = report_all(&arguments);
    }
    arguments_free(&arguments);
    return status;
}
