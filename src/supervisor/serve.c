/*
 * serve.c: see serve.h. Each worker is a thread that takes one connection after another.
 */
#include "supervisor/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "supervisor/children.h"
#include "supervisor/error.h"
#include "supervisor/options.h"
#include "supervisor/owned.h"
#include "supervisor/policy.h"
#include "supervisor/privileges.h"
#include "supervisor/requests.h"
#include "supervisor/say.h"
#include "supervisor/status.h"

/* A longer line is no request. */
#define LINE_BYTES ((size_t)1024 * 1024)

/* Before what there is no room for is tried again. */
static const struct timespec no_room_pause = {.tv_nsec = 10000000};

struct serve;

struct worker {
    struct serve *serve;
    pthread_t thread;
    int connection; /* under the lock */
    char *line;     /* what is asked */
};

struct serve {
    const struct options *options;
    struct policy policy;
    int null;
    int socket;
    bool bound; /* the path is ours to remove */
    atomic_bool stops;
    pthread_mutex_t lock;
    struct worker *workers;
    unsigned count;
};

/* Takes the answer. */
static bool send_line(int connection, char *answer)
{
    owned_memory char *line = answer;
    size_t left = line ? strlen(line) : 0;
    const char *from = line;

    if (!line)
        return false;
    line[left++] = '\n'; /* in the place of the string's end */
    while (left > 0) {
        ssize_t sent = send(connection, from, left, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        from += sent;
        left -= (size_t)sent;
    }
    return true;
}

static bool is_ours(int connection)
{
    struct ucred peer;
    socklen_t bytes = sizeof peer;

    return getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 &&
           peer.uid == geteuid();
}

/* Reads a line without its newline; of one that is too long, nothing is kept. False: there is none
 * any more. */
static bool read_line(FILE *stream, char *line, bool *too_long)
{
    size_t count = 0;
    int c;

    while ((c = getc(stream)) != EOF && c != '\n')
        if (count++ < LINE_BYTES - 1)
            line[count - 1] = (char)c;
    *too_long = count > LINE_BYTES - 1;
    line[*too_long ? 0 : count] = 0;
    return c == '\n' || count > 0;
}

static void serve_connection(struct worker *worker, int connection)
{
    struct serve *serve = worker->serve;
    owned_file FILE *stream = NULL;
    owned_fd int to_read = -1;
    bool too_long = false;

    if (!is_ours(connection)) {
        (void)send_line(connection, requests_refuse("only the user that started boxsup may ask"));
        return;
    }
    to_read = fcntl(connection, F_DUPFD_CLOEXEC, 0);
    stream = to_read >= 0 ? fdopen(to_read, "r") : NULL;
    if (!stream)
        return;
    (void)owned_fd_move(&to_read); /* the stream's */
    while (!atomic_load(&serve->stops) && read_line(stream, worker->line, &too_long)) {
        char *answer = too_long ? requests_refuse("a line of more than a mebibyte")
                                : requests_answer(&serve->policy, serve->null,
                                                  serve->options->timeout_ms, worker->line);

        if (!send_line(connection, answer))
            return;
    }
}

/* False: the worker is to stop. */
static bool take_connection(struct worker *worker, int connection)
{
    bool taken;

    pthread_mutex_lock(&worker->serve->lock);
    taken = !atomic_load(&worker->serve->stops);
    worker->connection = taken ? connection : -1;
    pthread_mutex_unlock(&worker->serve->lock);
    return taken;
}

static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    struct serve *serve = worker->serve;

    while (!atomic_load(&serve->stops)) {
        struct pollfd asked = {.fd = serve->socket, .events = POLLIN};
        owned_fd int connection = -1;

        /* One that waits in accept(2) holds a number already. */
        if (poll(&asked, 1, -1) < 0)
            continue;
        connection = accept4(serve->socket, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0) {
            /* Another worker has it, it is gone already, or we stop; or there is no room. */
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
                (void)nanosleep(&no_room_pause, NULL);
            continue;
        }
        if (!take_connection(worker, connection))
            break;
        serve_connection(worker, connection);
        (void)take_connection(worker, -1);
    }
    return NULL;
}

static int open_socket(struct serve *serve, struct error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    mode_t mask;
    int failed;

    if (strlen(serve->options->socket) >= sizeof address.sun_path)
        return error_set(error, ENAMETOOLONG, "%s", serve->options->socket);
    memcpy(address.sun_path, serve->options->socket, strlen(serve->options->socket));
    serve->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (serve->socket < 0)
        return error_set(error, errno, "cannot make a socket");
    mask = umask(S_IRWXG | S_IRWXO);
    failed = bind(serve->socket, (struct sockaddr *)&address, sizeof address) != 0 ? errno : 0;
    (void)umask(mask);
    if (failed != 0)
        return error_set(error, failed, "cannot make %s", serve->options->socket);
    serve->bound = true;
    if (listen(serve->socket, SOMAXCONN) != 0)
        return error_set(error, errno, "cannot listen at %s", serve->options->socket);
    return 0;
}

static int start_workers(struct serve *serve, struct error *error)
{
    serve->workers = calloc(serve->options->jobs, sizeof *serve->workers);
    if (!serve->workers)
        return error_set(error, ENOMEM, "no room for the workers");
    while (serve->count < serve->options->jobs) {
        struct worker *worker = &serve->workers[serve->count];
        int failed;

        *worker = (struct worker){.serve = serve, .connection = -1};
        worker->line = malloc(LINE_BYTES);
        if (!worker->line)
            return error_set(error, ENOMEM, "no room for the workers");
        failed = pthread_create(&worker->thread, NULL, run_worker, worker);
        if (failed != 0) {
            owned_memory_free(&worker->line);
            return error_set(error, failed, "cannot start a worker");
        }
        serve->count++;
    }
    return 0;
}

/* From any state. What runs now ends first. */
static void stop(struct serve *serve)
{
    pthread_mutex_lock(&serve->lock);
    atomic_store(&serve->stops, true);
    for (unsigned i = 0; i < serve->count; i++)
        if (serve->workers[i].connection >= 0)
            (void)shutdown(serve->workers[i].connection, SHUT_RD);
    pthread_mutex_unlock(&serve->lock);
    if (serve->socket >= 0)
        (void)shutdown(serve->socket, SHUT_RDWR); /* wakes those who wait in accept */
    while (serve->count > 0) {
        struct worker *worker = &serve->workers[--serve->count];

        (void)pthread_join(worker->thread, NULL);
        owned_memory_free(&worker->line);
    }
    owned_memory_free(&serve->workers);
    owned_fd_close(&serve->socket);
    if (serve->bound)
        (void)unlink(serve->options->socket);
    policy_clear(&serve->policy);
    owned_fd_close(&serve->null);
}

static int start(struct serve *serve, struct error *error)
{
    serve->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (serve->null < 0)
        return error_set(error, errno, "cannot open /dev/null");
    if (children_begin(error) != 0 ||
        policy_make(&serve->policy, &serve->options->profile, error) != 0 ||
        open_socket(serve, error) != 0 || privileges_reduce(error) != 0)
        return -1;
    return start_workers(serve, error);
}

static int serve_until_told(const struct options *options)
{
    struct serve serve = {
        .options = options,
        .policy = {.ruleset = -1, .root = -1, .userfaultfd = -1},
        .null = -1,
        .socket = -1,
        .lock = PTHREAD_MUTEX_INITIALIZER,
    };
    struct error error = {0};
    sigset_t ends;
    int number, failed;

    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGINT);
    (void)sigaddset(&ends, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &ends, NULL); /* of the workers, too */
    failed = start(&serve, &error);
    if (failed != 0)
        say("%s", error.text);
    else
        (void)sigwait(&ends, &number);
    stop(&serve);
    return failed == 0 ? 0 : STATUS_FAILED;
}

int serve_command(int argc, char **argv)
{
    struct error error = {0};
    struct options options;
    const char *why_not;

    if (options_read(&options, OPTIONS_SERVE, argc, argv, &error) != 0) {
        say("%s", error.text);
        return STATUS_USAGE;
    }
    if (options.help) {
        (void)puts("usage: boxsup serve --socket=PATH [--OPTION...]");
        options_print(OPTIONS_SERVE);
        return 0;
    }
    if (!options.socket || options.operands[0]) {
        say("usage: boxsup serve --socket=PATH [--OPTION...]");
        return STATUS_USAGE;
    }
    why_not = policy_why_not(&options.profile);
    if (why_not) {
        say("%s", why_not);
        return STATUS_UNSUPPORTED;
    }
    return serve_until_told(&options);
}
