/*
 * system.h: what the programs under test share: checks that count, and one comparison of the
 * ledger with the kernel.
 *
 * Every program takes the ledger's path as its first argument, or "-" when it runs bare: then it
 * checks only that it works. Looking is done with inline system calls and changes nothing.
 */
#ifndef TESTS_SYSTEM_SYSTEM_H
#define TESTS_SYSTEM_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../truth/kernel_view.h"
#include "../truth/ledger_view.h"

#define PAGE 4096u
#define SKIPPED 77

/* Reads the arguments, starts a watchdog that ends a hanging program after `seconds` (0: none). */
void system_start(int argc, char **argv, unsigned seconds);
int system_end(void); /* the exit status: 0 or 1 */
void system_skip(const char *why) __attribute__((noreturn));

extern const char *system_ledger; /* NULL: bare */
extern int system_argc;           /* what follows the ledger's path */
extern char **system_argv;

/* Long runs only where BOXLEDGER_LONG is set. */
bool system_long(void);

bool check_that(bool good, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
#define check(good, ...) check_that(!!(good), __FILE__, __LINE__, __VA_ARGS__)

/* How the ledger differs from the kernel; what is marked unsure or in flight differs in nothing
 * when `lenient`. Mappings: every record not inherited must be mapped, with its protection. */
struct system_difference {
    unsigned fds_missing; /* open, not in the ledger */
    unsigned fds_stale;   /* in the ledger, not open */
    unsigned maps_stale;  /* records whose range is not mapped */
    unsigned protections; /* ... is mapped, but not with the protection they say */
    unsigned fds, maps;   /* in the ledger */
    unsigned incomplete;
};
struct system_difference system_compare(const char *when, bool quiet, bool lenient);

/* Fails unless descriptors are equal both ways and every record's range is mapped. */
void expect_exact(const char *when);

/* Fails unless all of [start, start + bytes) is (or none of it is) in records of the ledger. */
void expect_recorded(const void *start, size_t bytes, bool recorded, const char *when);

/* Is this descriptor in the ledger? True when bare. */
bool is_recorded(int fd);

#endif
