/*
 * random.c: see random.h. The generator is SplitMix64 (Steele, Lea and Flood, "Fast splittable
 * pseudorandom number generators", 2014).
 */
#include "supervisor/random.h"

#include <string.h>

static uint64_t next(struct random *random)
{
    uint64_t word = random->state += UINT64_C(0x9e3779b97f4a7c15);

    word = (word ^ (word >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    word = (word ^ (word >> 27)) * UINT64_C(0x94d049bb133111eb);
    return word ^ (word >> 31);
}

void random_fill(struct random *random, void *bytes, size_t count)
{
    char *to = bytes;

    while (count > 0) {
        uint64_t word = next(random);
        size_t part = count < sizeof word ? count : sizeof word;

        memcpy(to, &word, part);
        to += part;
        count -= part;
    }
}
