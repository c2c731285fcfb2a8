/*
 * run.h: `boxsup run`: one command in a process sandbox.
 */
#ifndef SUPERVISOR_RUN_H
#define SUPERVISOR_RUN_H

/* Returns the exit status. */
int run_command(int argc, char **argv);

#endif
