/*
 * vm_test.h: what the tests of boxsup's VM half share: what this process holds, and a verdict.
 */
#ifndef TESTS_VM_TEST_H
#define TESTS_VM_TEST_H

#include <stdbool.h>
#include <stddef.h>

#include "supervisor/error.h"
#include "supervisor/vm.h"

struct holds {
    unsigned long descriptors;
    unsigned long vmas;
    unsigned long resident_kib;
};

struct holds count_holds(void);

/* Fails the test, and says where, unless `is_true`. Returns it. */
bool check_at(bool is_true, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
#define check(is_true, ...) check_at((is_true), __FILE__, __LINE__, __VA_ARGS__)

/* A call that must succeed, or fail with a sentence that has `part` in it. */
#define works(call, error) check((call) == 0, "%s: %s", #call, (error)->text)
#define refused(call, error, part)                                                                 \
    check((call) != 0 && strstr((error)->text, part) != NULL, "%s: not refused with \"%s\": %s",   \
          #call, part, (error)->text)

/* The host, or the program ends with 77 because there is none here. */
struct vm_host *need_host(void);

/* A new file of `pages` pages in $TMPDIR that has no name any more; word i is (i + 1) * factor. Its
 * path, good as long as it is open, goes to `path`. */
#define FILE_PATH_BYTES 32
int make_file(unsigned pages, unsigned long factor, char path[FILE_PATH_BYTES]);

/* The sum that a guest must find there. */
unsigned long sum_of(unsigned long factor, unsigned long first_word, unsigned long words);

int ask(struct vm *vm, enum vm_work work, uint64_t address, uint64_t bytes, uint64_t value,
        uint64_t *answer, struct error *error);

/* The program's exit status. */
int verdict(void);

#endif
