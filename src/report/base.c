/*
 * base.c: arenas, growing arrays and failures. It never runs inside the supervised program, and
 * may therefore end the command when memory runs out.
 */
#include "base.h"

#include <string.h>

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    _Alignas(16) unsigned char bytes[];
};

bool failure_set(struct failure *failure, const char *format, ...)
{
    va_list arguments;

    if (!failure)
        return false;
    va_start(arguments, format);
    (void)vsnprintf(failure->text, sizeof failure->text, format, arguments);
    va_end(arguments);
    /* One line, whatever a path may hold. */
    for (char *c = failure->text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    return false;
}

/* process-global because it is how the process ends */
static int failed_status = BASE_STATUS_FAILED;

void base_fails_with(int status)
{
    failed_status = status;
}

void base_no_memory(void)
{
    static const char line[] = "boxledger: out of memory\n";

    if (write(STDERR_FILENO, line, sizeof line - 1) < 0)
        _exit(failed_status);
    exit(failed_status);
}

void *base_alloc(size_t size)
{
    void *memory = calloc(1, size ? size : 1);

    if (!memory)
        base_no_memory();
    return memory;
}

void *base_resize(void *memory, size_t size)
{
    void *resized = realloc(memory, size ? size : 1);

    if (!resized)
        base_no_memory();
    return resized;
}

void *base_grow(void *items, size_t count, size_t size)
{
    size_t room = count ? 2 * count : 16;

    if (count != 0 && (count < 16 || (count & (count - 1)) != 0))
        return items;
    if (size == 0 || room > SIZE_MAX / size)
        base_no_memory();
    return base_resize(items, room * size);
}

FILE *base_open_memory(char **text, size_t *length)
{
    FILE *memory = open_memstream(text, length);

    if (!memory)
        base_no_memory();
    return memory;
}

void base_close_memory(FILE *memory)
{
    if (fclose(memory) != 0)
        base_no_memory();
}

void *arena_alloc(struct arena *arena, size_t size)
{
    struct arena_block *block = arena->blocks;
    void *memory;

    size = (size + 15) & ~(size_t)15;
    if (!block || block->size - block->used < size) {
        size_t room = size > 65536 ? size : 65536;

        block = calloc(1, sizeof *block + room);
        if (!block)
            base_no_memory();
        block->size = room;
        block->next = arena->blocks;
        arena->blocks = block;
    }
    memory = block->bytes + block->used;
    block->used += size;
    return memory;
}

char *arena_text(struct arena *arena, const char *text, size_t length)
{
    char *copy = arena_alloc(arena, length + 1);

    memcpy(copy, text, length);
    return copy;
}

char *arena_format(struct arena *arena, const char *format, ...)
{
    va_list arguments;
    char *text, *copy;
    int length;

    va_start(arguments, format);
    length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0)
        base_no_memory();
    copy = arena_text(arena, text, (size_t)length);
    free(text);
    return copy;
}

void arena_free(struct arena *arena)
{
    while (arena->blocks) {
        struct arena_block *next = arena->blocks->next;

        free(arena->blocks);
        arena->blocks = next;
    }
}
