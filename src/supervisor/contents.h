/*
 * contents.h: what the virtual files of /proc say: the machine's own, but for the processors, the
 * memory and the connections that are not the sandbox's. It answers nobody and holds nothing.
 *
 * Each returns text that the caller frees, or NULL with errno.
 */
#ifndef SUPERVISOR_CONTENTS_H
#define SUPERVISOR_CONTENTS_H

#include <stdint.h>

/* As many processors, each as the machine's first was when one was first asked for. */
char *contents_cpuinfo(unsigned cpus);

/* /proc/stat with the lines of as many processors. */
char *contents_stat(unsigned cpus);

/* `memory` bytes in all, of which as much is free as the machine has. No swap. */
char *contents_meminfo(uint64_t memory);

/* A file of /proc/net with its headings and nothing else. `target` is an O_PATH descriptor of it,
 * `name` its name. */
char *contents_network(int target, const char *name);

#endif
