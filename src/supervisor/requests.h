/*
 * requests.h: one request to `boxsup serve`, a JSON object on a line, and its answer, another.
 *
 *     {"id": 7, "command": ["sh", "-c", "echo hi"], "directory": "/", "timeout": 10}
 *     {"id": 7, "status": 0, "timed_out": false, "stdout": "hi\n", "stderr": "", ...}
 *
 * `command` alone must be there. What cannot be done is answered by an `error`, a sentence.
 */
#ifndef SUPERVISOR_REQUESTS_H
#define SUPERVISOR_REQUESTS_H

struct policy;

/* Runs what a line asks for. The answer is a line without its newline, which the caller frees;
 * NULL: there was no room for one. `null` is /dev/null: the sandbox's stdin. */
char *requests_answer(const struct policy *policy, int null, unsigned timeout_ms, const char *line);

/* An answer that says only what is wrong. */
char *requests_refuse(const char *sentence);

#endif
