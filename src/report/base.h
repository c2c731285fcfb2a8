/*
 * base.h: what every part of the command leans on: memory that goes all at once, descriptors and
 * buffers that free themselves, and failures that carry a sentence.
 *
 * It never runs inside the supervised program.
 */
#ifndef BOXLEDGER_REPORT_BASE_H
#define BOXLEDGER_REPORT_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void base_cleanup_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void base_cleanup_free(void *pointer)
{
    free(*(void **)pointer);
}

static inline void base_cleanup_file(FILE **file)
{
    if (*file)
        fclose(*file);
}

/* Moves a descriptor out of a variable that would close it. */
static inline int base_take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

#define cleanup_close __attribute__((cleanup(base_cleanup_close)))
#define cleanup_free __attribute__((cleanup(base_cleanup_free)))
#define cleanup_file __attribute__((cleanup(base_cleanup_file)))

/* Why something did not work: one line, without a full stop. Empty: it worked. */
struct failure {
    char text[1024];
};
/* Returns false, so that `return failure_set(...)` reads well. */
bool failure_set(struct failure *failure, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Memory that lives as long as its arena: a report is built, written and dropped as a whole.
 * Nothing here returns NULL; without memory the command ends with one line (base_no_memory). */
struct arena {
    struct arena_block *blocks;
};
void *arena_alloc(struct arena *arena, size_t size); /* zeroed, aligned to 16 */
char *arena_text(struct arena *arena, const char *text, size_t length);
char *arena_format(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void arena_free(struct arena *arena);

/* For arrays that grow: returns `items` with room for one more than `count`, reallocated when
 * that is a power of two (or 0). */
void *base_grow(void *items, size_t count, size_t size);
void *base_alloc(size_t size); /* zeroed */
void *base_resize(void *memory, size_t size);

/* A stream into memory, as open_memstream(3) has it; never NULL, and closed by base_close_memory.
 */
FILE *base_open_memory(char **text, size_t *length);
void base_close_memory(FILE *memory);

/* Says that memory ran out, and ends the command. */
_Noreturn void base_no_memory(void);
/* ... with this status; BASE_STATUS_FAILED unless it is said. */
void base_fails_with(int status);
#define BASE_STATUS_FAILED 125

#endif
