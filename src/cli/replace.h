/*
 * replace.h: a file that is there as it was, or as it is to be, and never half of it.
 */
#ifndef BOXLEDGER_CLI_REPLACE_H
#define BOXLEDGER_CLI_REPLACE_H

#include "report/base.h"

/* Whether a file could be put there as far as that can be told without doing it. */
bool replace_possible(const char *path, struct failure *failure);

/* Puts `text` there: into a new file beside it, onto the disk, and then in its place, through a
 * symbolic link too. What is no regular file, and what lies in /dev or /proc, is written to. */
bool replace_file(const char *path, const char *text, size_t length, struct failure *failure);

#endif
