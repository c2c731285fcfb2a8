/*
 * bytes.c: the shim's own copies of what it needs of <string.h>, hidden in it.
 *
 * libc's names are not for us to call: a sanitizer's runtime in the program defines them too, and
 * there they take our lock-free updates for the program's races (ThreadSanitizer),
 * or are called before the runtime was started, which ends in a crash: our constructor comes first.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The compiler makes calls of loops that look like these functions: here, endless ones. */
#if defined(__clang__)
#define OWN __attribute__((no_builtin))
#else
#define OWN __attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif

/* Two words at any address, of any type. */
typedef uint64_t block __attribute__((vector_size(16), aligned(1), may_alias));

OWN void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    unsigned char *t = to;
    const unsigned char *f = from;
    size_t at = 0;
    for (; size - at >= sizeof(block); at += sizeof(block)) {
        *(block *)(void *)(t + at) = *(const block *)(const void *)(f + at);
    }
    for (; at < size; at++) {
        t[at] = f[at];
    }
    return to;
}

OWN void *memmove(void *to, const void *from, size_t size)
{
    unsigned char *t = to;
    const unsigned char *f = from;
    if ((uintptr_t)t - (uintptr_t)f >= size) { /* upwards nothing is overwritten too early */
        return memcpy(to, from, size);
    }
    for (; size >= sizeof(block); size -= sizeof(block)) {
        *(block *)(void *)(t + size - sizeof(block)) =
            *(const block *)(const void *)(f + size - sizeof(block));
    }
    while (size-- > 0) {
        t[size] = f[size];
    }
    return to;
}

OWN void *memset(void *to, int byte, size_t size)
{
    unsigned char *t = to;
    const uint64_t word = UINT64_C(0x0101010101010101) * (unsigned char)byte;
    size_t at = 0;
    for (; size - at >= sizeof(block); at += sizeof(block)) {
        *(block *)(void *)(t + at) = (block){word, word};
    }
    for (; at < size; at++) {
        t[at] = (unsigned char)byte;
    }
    return to;
}

OWN int memcmp(const void *one, const void *two, size_t size)
{
    const unsigned char *a = one;
    const unsigned char *b = two;
    for (size_t i = 0; i < size; i++) {
        if (a[i] != b[i]) {
            return a[i] - b[i];
        }
    }
    return 0;
}

OWN size_t strlen(const char *text)
{
    size_t length = 0;
    while (text[length]) {
        length++;
    }
    return length;
}

OWN char *strcpy(char *restrict to, const char *restrict from)
{
    return memcpy(to, from, strlen(from) + 1);
}

OWN int strncmp(const char *one, const char *two, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (one[i] != two[i] || !one[i]) {
            return (unsigned char)one[i] - (unsigned char)two[i];
        }
    }
    return 0;
}

OWN int strcmp(const char *one, const char *two)
{
    return strncmp(one, two, SIZE_MAX);
}

OWN char *strchr(const char *text, int letter)
{
    while (*text != (char)letter) {
        if (!*text++) {
            return NULL;
        }
    }
    return (char *)(uintptr_t)text;
}

static bool holds(const char *set, char letter)
{
    return letter && strchr(set, letter);
}

OWN size_t strspn(const char *text, const char *set)
{
    size_t length = 0;
    while (holds(set, text[length])) {
        length++;
    }
    return length;
}

OWN size_t strcspn(const char *text, const char *set)
{
    size_t length = 0;
    while (text[length] && !holds(set, text[length])) {
        length++;
    }
    return length;
}

OWN char *strstr(const char *text, const char *part)
{
    size_t length = strlen(part);
    for (; strncmp(text, part, length) != 0; text++) {
        if (!*text) {
            return NULL;
        }
    }
    return (char *)(uintptr_t)text;
}
