/*
 * serve.h: `boxsup serve`: one long-lived process that runs what comes over a Unix socket. Only the
 * user that started it may connect; requests of one connection are served one after the other.
 */
#ifndef SUPERVISOR_SERVE_H
#define SUPERVISOR_SERVE_H

/* Returns the exit status, once SIGTERM or SIGINT has come and what runs has ended. */
int serve_command(int argc, char **argv);

#endif
