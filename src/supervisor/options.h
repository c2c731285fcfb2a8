/*
 * options.h: the options of boxsup's commands, and what a bad one is told.
 */
#ifndef SUPERVISOR_OPTIONS_H
#define SUPERVISOR_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "supervisor/profile.h"

struct error;

/* More --profile options than this are a mistake. */
#define OPTIONS_PROFILES_MAX 16

/* Which commands an option belongs to: bits. */
enum options_command {
    OPTIONS_RUN = 1 << 0,
    OPTIONS_CHURN = 1 << 1,
    OPTIONS_SERVE = 1 << 2,
};

enum options_kind {
    OPTIONS_PROCESSES,
    OPTIONS_VMS,
    OPTIONS_MIXED,
};

struct options {
    struct profile profile;
    const char *directory; /* --directory */
    unsigned timeout_ms;   /* --timeout */
    const char *socket;    /* serve */
    /* churn; jobs: serve, too */
    enum options_kind kind;
    unsigned long count;
    unsigned jobs;
    bool any_status; /* a command that fails is not the run's end */
    /* What follows the options: argv's, ends in NULL; empty: nothing does. */
    char **operands;
    bool help;
    /* While they are read. */
    enum options_command command;
    bool in_profile;
    char *texts[OPTIONS_PROFILES_MAX]; /* of profiles */
    size_t text_count;
};

/* Reads argv, whose first is the command's own name. Returns 0, or -1 with the reason. */
int options_read(struct options *options, enum options_command command, int argc, char **argv,
                 struct error *error);

/* Prints the options of a command. */
void options_print(enum options_command command);

#endif
