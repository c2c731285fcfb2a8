/*
 * usage.c: see usage.h.
 */
#include "supervisor/usage.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>

#include "supervisor/owned.h"

#define KIB 1024

/* /proc/self/statm is shorter. */
#define LINE_BYTES 256

static unsigned long count_descriptors(void)
{
    owned_directory DIR *directory = opendir("/proc/self/fd");
    const struct dirent *entry;
    unsigned long count = 0;

    while (directory && (entry = readdir(directory)))
        count += isdigit((unsigned char)entry->d_name[0]) != 0;
    return count > 0 ? count - 1 : 0; /* the directory's own */
}

static unsigned long count_vmas(void)
{
    owned_file FILE *file = fopen("/proc/self/maps", "re");
    unsigned long count = 0;
    int c;

    while (file && (c = getc(file)) != EOF)
        count += c == '\n';
    return count;
}

static unsigned long read_resident(void)
{
    owned_fd int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    char text[LINE_BYTES] = "";
    unsigned long pages = 0;

    if (fd < 0 || read(fd, text, sizeof text - 1) < 0 || sscanf(text, "%*u %lu", &pages) != 1)
        return 0;
    return pages * (unsigned long)(sysconf(_SC_PAGESIZE) / KIB);
}

struct usage usage_now(void)
{
    return (struct usage){count_descriptors(), count_vmas(), read_resident()};
}
