/*
 * requests.c: see requests.h.
 */
#include "supervisor/requests.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/capture.h"
#include "supervisor/error.h"
#include "supervisor/owned.h"
#include "supervisor/process.h"

#define SECONDS_MAX 86400
#define MILLISECONDS 1000

struct request {
    json_t *root; /* owns all that follows */
    char **command;
    const char *directory;
    unsigned timeout_ms;
};

static void clear_request(struct request *request)
{
    owned_memory_free(&request->command);
    json_decref(request->root);
}

static int read_command(struct request *request, struct error *error)
{
    const json_t *command = json_object_get(request->root, "command");
    size_t count = json_array_size(command);

    if (count == 0)
        return error_set(error, 0, "command is not an array of strings");
    request->command = calloc(count + 1, sizeof *request->command);
    if (!request->command)
        return error_set(error, ENOMEM, "no room for the command");
    for (size_t i = 0; i < count; i++) {
        const json_t *word = json_array_get(command, i);

        /* None has a NUL inside: jansson refuses those. */
        if (!json_is_string(word))
            return error_set(error, 0, "command is not an array of strings");
        request->command[i] = (char *)(uintptr_t)json_string_value(word);
    }
    return 0;
}

static int read_others(struct request *request, struct error *error)
{
    static const char *const keys[] = {"id", "command", "directory", "timeout"};
    const json_t *directory = json_object_get(request->root, "directory");
    const json_t *timeout = json_object_get(request->root, "timeout");
    const char *key;
    json_t *value;

    if (directory && !json_is_string(directory))
        return error_set(error, 0, "directory is not a string");
    request->directory = json_string_value(directory);
    if (timeout && (!json_is_integer(timeout) || json_integer_value(timeout) < 1 ||
                    json_integer_value(timeout) > SECONDS_MAX))
        return error_set(error, 0, "timeout is not a number from 1 to %d", SECONDS_MAX);
    if (timeout)
        request->timeout_ms = (unsigned)json_integer_value(timeout) * MILLISECONDS;
    json_object_foreach(request->root, key, value)
    {
        size_t i = 0;

        while (i < sizeof keys / sizeof keys[0] && strcmp(key, keys[i]) != 0)
            i++;
        if (i == sizeof keys / sizeof keys[0])
            return error_set(error, 0, "%s is not a key of a request", key);
    }
    return 0;
}

static int read_request(struct request *request, const char *line, struct error *error)
{
    json_error_t why;

    request->root = json_loads(line, JSON_REJECT_DUPLICATES, &why);
    if (!request->root)
        return error_set(error, 0, "not JSON: %s", why.text);
    if (!json_is_object(request->root))
        return error_set(error, 0, "not a JSON object");
    return read_command(request, error) == 0 ? read_others(request, error) : -1;
}

/* What a program prints need not be UTF-8; other bytes come as '?'. */
static json_t *make_text(struct capture *capture)
{
    json_t *text = json_stringn(capture->bytes ? capture->bytes : "", capture->count);

    if (text || !capture->bytes)
        return text;
    for (size_t i = 0; i < capture->count; i++)
        if (capture->bytes[i] & 0x80)
            capture->bytes[i] = '?';
    return json_stringn(capture->bytes, capture->count);
}

static json_t *make_answer(const struct process_result *result, struct capture *out,
                           struct capture *err)
{
    return json_pack("{s:i, s:b, s:I, s:o, s:b, s:o, s:b}", "status", process_exit_status(result),
                     "timed_out", result->timed_out, "notifications",
                     (json_int_t)result->notifications, "stdout", make_text(out), "stdout_cut",
                     out->cut, "stderr", make_text(err), "stderr_cut", err->cut);
}

static json_t *run(const struct policy *policy, int null, const struct request *request,
                   struct error *error)
{
    struct capture out = CAPTURE_EMPTY, err = CAPTURE_EMPTY;
    struct process_result result;
    json_t *answer = NULL;

    if (capture_begin(&out, error) == 0 && capture_begin(&err, error) == 0) {
        const struct process_request of_process = {
            .label = request->command[0],
            .command = request->command,
            .environment = environ,
            .directory = request->directory,
            .stdio = {null, out.to, err.to},
            .timeout_ms = request->timeout_ms,
        };
        int failed = process_run(policy, &of_process, &result, error);

        capture_end(&out);
        capture_end(&err);
        if (failed == 0)
            answer = make_answer(&result, &out, &err);
        else
            answer = json_pack("{s:i, s:s}", "status", process_error_status(error), "error",
                               error->text);
    }
    capture_clear(&out);
    capture_clear(&err);
    return answer;
}

char *requests_refuse(const char *sentence)
{
    json_t *answer = json_pack("{s:s}", "error", sentence);
    char *line = json_dumps(answer, JSON_COMPACT);

    json_decref(answer);
    return line;
}

char *requests_answer(const struct policy *policy, int null, unsigned timeout_ms, const char *line)
{
    struct request request = {.timeout_ms = timeout_ms};
    struct error error = {0};
    json_t *answer = NULL;
    char *text = NULL;

    if (read_request(&request, line, &error) == 0 && request.command)
        answer = run(policy, null, &request, &error);
    if (!answer)
        answer = json_pack("{s:s}", "error", error.text);
    if (json_object_get(request.root, "id"))
        (void)json_object_set(answer, "id", json_object_get(request.root, "id"));
    text = json_dumps(answer, JSON_COMPACT);
    json_decref(answer);
    clear_request(&request);
    return text;
}
