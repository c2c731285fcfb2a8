/*
 * random.h: bytes from a seed: the same ones for the same seed, in the order in which they are
 * asked for. For programs that are to be repeated, never for secrets.
 */
#ifndef SUPERVISOR_RANDOM_H
#define SUPERVISOR_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random {
    uint64_t state;
};

void random_fill(struct random *random, void *bytes, size_t count);

#endif
