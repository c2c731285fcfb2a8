/*
 * usage.h: what this process holds right now, as the kernel counts it.
 */
#ifndef SUPERVISOR_USAGE_H
#define SUPERVISOR_USAGE_H

struct usage {
    unsigned long descriptors;
    unsigned long vmas;
    unsigned long resident_kib;
};

/* What cannot be counted is 0. What counting itself takes is not in it. */
struct usage usage_now(void);

#endif
