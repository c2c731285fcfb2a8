/*
 * vm_command.c: `boxsup vm`: one VM sandbox that sums and writes to the files of its command line,
 * and says what it did. It writes to no file.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "supervisor/error.h"
#include "supervisor/owned.h"
#include "supervisor/status.h"
#include "supervisor/vm.h"

/* What the guest puts at the start of each page: "boxsup" in ASCII. */
#define MARK UINT64_C(0x707573786f62)

static const char usage[] =
    "usage: boxsup vm [--map FILE[@ADDRESS]]...\n"
    "\n"
    "Runs a small guest in long mode on /dev/kvm. It sums each FILE, which is mapped copy on "
    "write\n"
    "at the guest ADDRESS or anywhere, then writes to each of its pages and sums it again. The\n"
    "files do not change. Sizes and addresses are whole pages of 4096 bytes. A FILE with an @ in\n"
    "its name needs one more at its end.\n";

struct file_map {
    char *path;
    uint64_t address;
};

struct command {
    struct file_map *maps;
    size_t count;
};

static int say(int status, const struct error *error)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "boxsup: vm: %s\n", error->text);
    return status;
}

/* FILE@ADDRESS. */
static int read_map(struct file_map *map, char *text, struct error *error)
{
    char *at = strrchr(text, '@');
    char *end = NULL;

    map->path = text;
    map->address = VM_ANYWHERE;
    if (at == NULL)
        return 0;
    *at = '\0';
    if (at[1] == '\0')
        return 0;
    errno = 0;
    map->address = strtoull(at + 1, &end, 0);
    if (errno != 0 || *end != '\0' || at[1] < '0' || at[1] > '9' || map->address == VM_ANYWHERE)
        return error_set(error, 0, "%s is not a guest address", at + 1);
    return 0;
}

/* 1: done, as for --help. */
static int read_arguments(struct command *command, int argc, char **argv, struct error *error)
{
    static const struct option options[] = {
        {"map", required_argument, NULL, 'm'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int option;

    command->maps = calloc((size_t)argc, sizeof(*command->maps));
    if (command->maps == NULL)
        return error_set(error, ENOMEM, "cannot read the command line");
    optind = 0; /* from the start, whatever was read before */
    opterr = 0;
    while ((option = getopt_long(argc, argv, "+:h", options, NULL)) != -1) {
        switch (option) {
        case 'm':
            if (read_map(&command->maps[command->count], optarg, error) != 0)
                return -1;
            command->count++;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 1;
        case ':':
            return error_set(error, 0, "%s needs a value", argv[optind - 1]);
        default:
            return error_set(error, 0, "unknown option %s", argv[optind - 1]);
        }
    }
    if (optind < argc)
        return error_set(error, 0, "unexpected argument %s", argv[optind]);
    return 0;
}

static int ask(struct vm *vm, enum vm_work work, uint64_t address, uint64_t bytes, uint64_t *answer,
               struct error *error)
{
    const struct vm_request request = {work, address, bytes, MARK};

    return vm_ask(vm, &request, answer, error);
}

static int sum_and_write(struct vm *vm, const struct file_map *map, struct error *error)
{
    uint64_t bytes = vm_region_bytes(vm, map->address);
    uint64_t before = 0;
    uint64_t pages = 0;
    uint64_t after = 0;

    if (ask(vm, VM_SUM, map->address, bytes, &before, error) != 0 ||
        ask(vm, VM_WRITE, map->address, bytes, &pages, error) != 0 ||
        ask(vm, VM_SUM, map->address, bytes, &after, error) != 0)
        return error_prefix(error, "%s", map->path);
    (void)printf("%s: %" PRIu64 " bytes at %#" PRIx64 ", sum %#" PRIx64 "; after a write to "
                 "%" PRIu64 " pages, sum %#" PRIx64 "\n",
                 map->path, bytes, map->address, before, pages, after);
    return 0;
}

/* Nothing to sum, but the guest has started when it answers. */
static int greet(struct vm *vm, struct error *error)
{
    uint64_t nothing = 0;

    if (ask(vm, VM_SUM, 0, 0, &nothing, error) != 0)
        return -1;
    (void)fputs(vm_console(vm), stdout);
    return 0;
}

/* The files are all mapped before the guest starts: a mistake in one leaves nothing half done. */
static int run(const struct command *command, struct vm *vm, struct error *error)
{
    uint64_t nothing = 0;

    for (size_t i = 0; i < command->count; i++) {
        struct file_map *map = &command->maps[i];

        if (vm_map_file_cow(vm, map->path, GUEST_WRITABLE, &map->address, error) != 0)
            return -1;
    }
    if (greet(vm, error) != 0)
        return -1;
    for (size_t i = 0; i < command->count; i++)
        if (sum_and_write(vm, &command->maps[i], error) != 0)
            return -1;
    if (ask(vm, VM_STOP, 0, 0, &nothing, error) != 0)
        return -1;
    return fflush(stdout) != 0 ? error_set(error, errno, "cannot write to standard output") : 0;
}

static int run_in_vm(const struct command *command, struct vm_host *host, struct error *error)
{
    const struct vm_options options = {.label = "vm"};
    struct vm *vm = NULL;
    int result;

    if (vm_create(host, &options, &vm, error) != 0)
        return -1;
    result = run(command, vm, error);
    return vm_destroy(vm, result == 0 ? error : NULL) != 0 ? -1 : result;
}

static int run_on_host(const struct command *command)
{
    struct vm_host *host = NULL;
    struct error error = {0};
    int result;

    if (vm_host_open(&host, &error) != 0)
        return say(STATUS_UNSUPPORTED, &error);
    result = run_in_vm(command, host, &error);
    if (vm_host_close(host, result == 0 ? &error : NULL) != 0)
        result = -1;
    return result == 0 ? 0 : say(STATUS_FAILED, &error);
}

int vm_command(int argc, char **argv)
{
    struct command command = {0};
    struct error error = {0};
    int result = read_arguments(&command, argc, argv, &error);
    int status = result < 0 ? say(STATUS_USAGE, &error) : result > 0 ? 0 : run_on_host(&command);

    free(command.maps);
    return status;
}
