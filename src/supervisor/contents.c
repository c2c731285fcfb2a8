/*
 * contents.c: see contents.h.
 */
#include "supervisor/contents.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "supervisor/owned.h"

#define NUMBER_BYTES (3 * sizeof(int))
#define KIB 1024

/* The first line of a machine's file that begins so: the number behind it, or 0. */
static uint64_t read_number(const char *path, const char *key)
{
    owned_file FILE *file = fopen(path, "re");
    owned_memory char *line = NULL;
    size_t room = 0;

    while (file && getline(&line, &room, file) > 0)
        if (strncmp(line, key, strlen(key)) == 0)
            return strtoull(line + strlen(key), NULL, 10);
    return 0;
}

static bool begins_with(const char *line, const char *key)
{
    return strncmp(line, key, strlen(key)) == 0;
}

/* What /proc/cpuinfo says of the first processor, up to the empty line.
 * process-global: it is the machine's. Read once, since the kernel asks every processor for its
 * frequency each time, which costs more than all else that is done for an open. */
static struct {
    pthread_once_t once;
    char *text; /* NULL: it cannot be read */
} first_processor = {PTHREAD_ONCE_INIT, NULL};

static void read_first_processor(void)
{
    owned_file FILE *from = fopen("/proc/cpuinfo", "re");
    owned_memory char *text = NULL; /* before `to`, which writes to it when it is closed */
    owned_file FILE *to = NULL;
    owned_memory char *line = NULL;
    size_t bytes = 0, room = 0;

    if (!from || !(to = open_memstream(&text, &bytes)))
        return;
    while (getline(&line, &room, from) > 0 && line[0] != '\n')
        (void)fputs(line, to);
    owned_file_close(&to);
    first_processor.text = owned_memory_move(text);
}

static void write_processor(FILE *to, unsigned number, unsigned cpus)
{
    const char *line = first_processor.text;

    for (const char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        int key = (int)strcspn(line, ":");

        if (begins_with(line, "processor") || begins_with(line, "core id") ||
            begins_with(line, "apicid") || begins_with(line, "initial apicid"))
            (void)fprintf(to, "%.*s: %u\n", key, line, number);
        else if (begins_with(line, "siblings") || begins_with(line, "cpu cores"))
            (void)fprintf(to, "%.*s: %u\n", key, line, cpus);
        else
            (void)fwrite(line, 1, (size_t)(end - line) + 1, to);
    }
    (void)fputc('\n', to);
}

char *contents_cpuinfo(unsigned cpus)
{
    owned_memory char *text = NULL; /* before `to`, which writes to it when it is closed */
    owned_file FILE *to = NULL;
    size_t bytes = 0;

    (void)pthread_once(&first_processor.once, read_first_processor);
    if (!first_processor.text || !(to = open_memstream(&text, &bytes)))
        return NULL;
    for (unsigned number = 0; number < cpus; number++)
        write_processor(to, number, cpus);
    owned_file_close(&to);
    return owned_memory_move(text);
}

char *contents_stat(unsigned cpus)
{
    owned_file FILE *from = fopen("/proc/stat", "re");
    owned_memory char *text = NULL; /* before `to`, which writes to it when it is closed */
    owned_file FILE *to = NULL;
    owned_memory char *line = NULL;
    size_t bytes = 0, room = 0;

    if (!from || !(to = open_memstream(&text, &bytes)))
        return NULL;
    while (getline(&line, &room, from) > 0) {
        /* The processors' lines follow that of their sum. */
        if (begins_with(line, "cpu") && isdigit((unsigned char)line[3])) {
            if (line[3] != '0' || line[4] != ' ')
                continue;
            for (unsigned number = 0; number < cpus; number++)
                (void)fprintf(to, "cpu%u%s", number, line + 4);
        } else {
            (void)fputs(line, to);
        }
    }
    owned_file_close(&to);
    return owned_memory_move(text);
}

char *contents_meminfo(uint64_t memory)
{
    uint64_t total = memory / KIB;
    uint64_t available = read_number("/proc/meminfo", "MemAvailable:");
    uint64_t free_now = read_number("/proc/meminfo", "MemFree:");
    char *text = NULL;

    if (available > total)
        available = total;
    if (free_now > available)
        free_now = available;
    if (asprintf(&text,
                 "MemTotal:       %8" PRIu64 " kB\n"
                 "MemFree:        %8" PRIu64 " kB\n"
                 "MemAvailable:   %8" PRIu64 " kB\n"
                 "Buffers:        %8d kB\n"
                 "Cached:         %8" PRIu64 " kB\n"
                 "SwapCached:     %8d kB\n"
                 "SwapTotal:      %8d kB\n"
                 "SwapFree:       %8d kB\n",
                 total, free_now, available, 0, available - free_now, 0, 0, 0) < 0)
        return NULL;
    return text;
}

/* How many lines of a file are its headings. */
static int headings(const char *name)
{
    static const char *const with_one[] = {
        "arp",   "icmp", "netlink", "packet", "raw",  "raw6", "ptype",
        "route", "tcp",  "tcp6",    "udp",    "udp6", "unix",
    };

    if (strcmp(name, "dev") == 0)
        return 2;
    for (size_t i = 0; i < sizeof with_one / sizeof with_one[0]; i++)
        if (strcmp(name, with_one[i]) == 0)
            return 1;
    return 0;
}

char *contents_network(int target, const char *name)
{
    char path[sizeof "/proc/self/fd/" + NUMBER_BYTES];
    owned_file FILE *from = NULL;
    owned_memory char *text = NULL; /* before `to`, which writes to it when it is closed */
    owned_file FILE *to = NULL;
    owned_memory char *line = NULL;
    size_t bytes = 0, room = 0;

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", target);
    from = fopen(path, "re");
    if (!from || !(to = open_memstream(&text, &bytes)))
        return NULL;
    for (int left = headings(name); left > 0 && getline(&line, &room, from) > 0; left--)
        (void)fputs(line, to);
    owned_file_close(&to);
    return owned_memory_move(text);
}
