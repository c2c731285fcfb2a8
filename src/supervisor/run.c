/*
 * run.c: see run.h.
 */
#include "supervisor/run.h"

#include <stdio.h>
#include <unistd.h>

#include "supervisor/access.h"
#include "supervisor/children.h"
#include "supervisor/error.h"
#include "supervisor/options.h"
#include "supervisor/policy.h"
#include "supervisor/privileges.h"
#include "supervisor/process.h"
#include "supervisor/say.h"
#include "supervisor/status.h"

static void tell(const char *sentence)
{
    say("%s", sentence);
}

static int run_one(const struct policy *policy, const struct options *options)
{
    const struct process_request request = {
        .label = options->operands[0],
        .command = options->operands,
        .environment = environ,
        .directory = options->directory,
        .stdio = {-1, -1, -1},
        .timeout_ms = options->timeout_ms,
        .tell = tell,
    };
    struct process_result result;
    struct error error = {0};

    if (process_run(policy, &request, &result, &error) != 0) {
        say("%s", error.text);
        return process_error_status(&error);
    }
    if (result.timed_out)
        say("%s was killed after %u s", options->operands[0], options->timeout_ms / 1000);
    return process_exit_status(&result);
}

int run_command(int argc, char **argv)
{
    struct error error = {0};
    struct options options;
    struct policy policy;
    const char *why_not, *missing;
    int status;

    if (options_read(&options, OPTIONS_RUN, argc, argv, &error) != 0) {
        say("%s", error.text);
        return STATUS_USAGE;
    }
    if (options.help) {
        (void)puts("usage: boxsup run [--OPTION...] [--] COMMAND [ARGUMENT...]");
        options_print(OPTIONS_RUN);
        return 0;
    }
    if (!options.operands[0]) {
        say("which command is to be run? boxsup run [--OPTION...] [--] COMMAND [ARGUMENT...]");
        return STATUS_USAGE;
    }
    why_not = policy_why_not(&options.profile);
    if (why_not) {
        say("%s", why_not);
        return STATUS_UNSUPPORTED;
    }
    missing = access_missing(access_version(&options.profile));
    if (missing)
        say("Landlock is of version %d here: %s", access_version(&options.profile), missing);
    if (children_begin(&error) != 0 || policy_make(&policy, &options.profile, &error) != 0) {
        say("%s", error.text);
        return STATUS_FAILED;
    }
    if (privileges_reduce(&error) == 0) {
        status = run_one(&policy, &options);
    } else {
        say("%s", error.text);
        status = STATUS_FAILED;
    }
    policy_clear(&policy);
    return status;
}
