/*
 * process.h: a process sandbox from its begin to its end, in one call of one thread.
 *
 * When it returns nothing of the sandbox is left: no process, however it tried to get away, and
 * none of its descriptors, whether it ended well or was killed in the middle of a notification.
 */
#ifndef SUPERVISOR_PROCESS_H
#define SUPERVISOR_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct policy;

struct process_request {
    const char *label; /* in the ledger */
    char *const *command;
    char *const *environment;
    const char *directory;              /* to start in; NULL: ours */
    int stdio[3];                       /* descriptors, which stay the caller's; -1: ours */
    unsigned timeout_ms;                /* 0: none */
    void (*tell)(const char *sentence); /* what the user should know; NULL: nobody listens */
};

struct process_result {
    int status; /* as of wait(2) */
    bool timed_out;
    uint64_t notifications;
};

/* Returns 0 with *result, or -1 with the reason in *error: the command did not start. Then the
 * error's number is ENOENT, EACCES and the like where that is the command's fault, and 0 or
 * another one where it is the sandbox's. */
int process_run(const struct policy *policy, const struct process_request *request,
                struct process_result *result, struct error *error);

/* The exit status that says the same as a result: the command's own, or 128 and the signal. */
int process_exit_status(const struct process_result *result);

/* The exit status that says why process_run failed. */
int process_error_status(const struct error *error);

#endif
