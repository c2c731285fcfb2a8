/*
 * test_injection.c: which threads are held, by a child that waits in a call and a kernel's answer
 * of our own about its notification. Where no process may be traced, it is skipped.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "supervisor/injection.h"
#include "supervisor/notify.h"
#include "supervisor/sandbox.h"

#define STATUS 42
#define LOOK_US 1000

static bool notification_is_valid;
static unsigned asked;
static int tracer_when_asked;

/* Reads one value of /proc/PID/status. */
static void read_status(pid_t pid, const char *form, void *value)
{
    char path[64], line[128];
    FILE *file;
    int found = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/status", pid);
    file = fopen(path, "re");
    assert_non_null(file);
    while (found != 1 && fgets(line, sizeof line, file))
        found = sscanf(line, form, value);
    (void)fclose(file);
    assert_int_equal(found, 1);
}

static int tracer_of(pid_t pid)
{
    int tracer;

    read_status(pid, "TracerPid: %d", &tracer);
    return tracer;
}

/* The kernel's part. */
bool notify_is_valid(const struct notification *notification)
{
    asked++;
    tracer_when_asked = tracer_of(notify_thread(notification));
    return notification_is_valid;
}

/* Waits in a call, and ends with what that returned. */
static pid_t start_child(void)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit((int)syscall(SYS_pause));
    for (char state = 0; state != 'S'; (void)usleep(LOOK_US))
        read_status(pid, "State: %c", &state);
    return pid;
}

static int end_of(pid_t pid)
{
    int status = -1;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void needs_ptrace(void **state)
{
    pid_t pid = start_child();
    int failed = ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0 ? 0 : errno;

    (void)state;
    assert_int_equal(kill(pid, SIGKILL), 0);
    (void)end_of(pid);
#ifndef __x86_64__
    failed = ENOSYS;
#endif
    if (failed != 0) {
        print_message("no process can be traced here: %s\n", strerror(failed));
        skip();
    }
}

static void a_thread_that_waits_does_our_calls(void **state)
{
    struct injection injection = INJECTION_EMPTY;
    pid_t pid;
    struct sandbox sandbox = {.listener = -1};
    struct notification notification = {.sandbox = &sandbox};

    needs_ptrace(state);
    pid = start_child();
    sandbox.main = pid;
    notification.request.pid = (uint32_t)pid;
    notification_is_valid = true;
    asked = 0;
    assert_true(injection_begin(&injection, &notification));
    assert_int_equal(asked, 1);
    assert_int_equal(tracer_when_asked, gettid()); /* before, it would say nothing */
    assert_true(injection_wait(&injection));
    assert_int_equal(injection_call(&injection, SYS_getpid, (const uint64_t[6]){0}), pid);
    injection_end(&injection, STATUS);
    assert_int_equal(WEXITSTATUS(end_of(pid)), STATUS);
}

static void another_thread_of_that_number_goes_on_untraced(void **state)
{
    struct injection injection = INJECTION_EMPTY;
    pid_t pid;
    struct sandbox sandbox = {.listener = -1, .main = -1};
    struct notification notification = {.sandbox = &sandbox};

    needs_ptrace(state);
    pid = start_child();
    notification.request.pid = (uint32_t)pid;
    notification_is_valid = false;
    assert_false(injection_begin(&injection, &notification));
    assert_int_equal(injection.thread, -1);
    assert_null(injection.registers);
    assert_int_equal(tracer_of(pid), 0);
    assert_int_equal(kill(pid, SIGTERM), 0); /* no signal of it is blocked */
    assert_int_equal(WTERMSIG(end_of(pid)), SIGTERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_that_waits_does_our_calls),
        cmocka_unit_test(another_thread_of_that_number_goes_on_untraced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
