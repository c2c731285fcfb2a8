/*
 * vm_test.c: see vm_test.h.
 */
#include "vm_test.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/owned.h"

/* process-global: the test's verdict */
static unsigned failures;

static unsigned long count_descriptors(void)
{
    owned_directory DIR *directory = opendir("/proc/self/fd");
    unsigned long count = 0;

    while (directory != NULL && readdir(directory) != NULL)
        count++;
    return count - 3; /* ., .. and its own */
}

static unsigned long count_vmas(void)
{
    owned_file FILE *maps = fopen("/proc/self/maps", "re");
    unsigned long count = 0;
    int c;

    while (maps != NULL && (c = getc(maps)) != EOF)
        count += c == '\n';
    return count;
}

static unsigned long count_resident_kib(void)
{
    owned_file FILE *statm = fopen("/proc/self/statm", "re");
    unsigned long total = 0;
    unsigned long resident = 0;

    if (statm == NULL || fscanf(statm, "%lu %lu", &total, &resident) != 2)
        return 0;
    return resident * (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
}

struct holds count_holds(void)
{
    return (struct holds){.descriptors = count_descriptors(),
                          .vmas = count_vmas(),
                          .resident_kib = count_resident_kib()};
}

bool check_at(bool is_true, const char *file, int line, const char *format, ...)
{
    va_list arguments;

    if (is_true)
        return true;
    failures++;
    fprintf(stderr, "%s:%d: ", file, line);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return false;
}

struct vm_host *need_host(void)
{
    struct vm_host *host = NULL;
    struct error error = {0};

    if (vm_host_open(&host, &error) != 0) {
        printf("skip: %s\n", error.text);
        exit(77);
    }
    return host;
}

int make_file(unsigned pages, unsigned long factor, char path[FILE_PATH_BYTES])
{
    const char *directory = getenv("TMPDIR");
    char name[256];
    int fd;

    snprintf(name, sizeof(name), "%s/vm-test-XXXXXX", directory ? directory : "/tmp");
    fd = mkstemp(name);
    if (fd < 0 || unlink(name) != 0)
        abort();
    for (unsigned long i = 0; i < pages * GUEST_PAGE / sizeof(long); i++) {
        unsigned long word = (i + 1) * factor;

        if (pwrite(fd, &word, sizeof(word), (off_t)(i * sizeof(word))) != sizeof(word))
            abort();
    }
    snprintf(path, FILE_PATH_BYTES, "/proc/self/fd/%d", fd);
    return fd;
}

unsigned long sum_of(unsigned long factor, unsigned long first_word, unsigned long words)
{
    unsigned long sum = 0;

    for (unsigned long i = first_word; i < first_word + words; i++)
        sum += (i + 1) * factor;
    return sum;
}

int ask(struct vm *vm, enum vm_work work, uint64_t address, uint64_t bytes, uint64_t value,
        uint64_t *answer, struct error *error)
{
    const struct vm_request request = {work, address, bytes, value};

    return vm_ask(vm, &request, answer, error);
}

int verdict(void)
{
    if (failures != 0)
        fprintf(stderr, "%u checks failed\n", failures);
    return failures != 0;
}
