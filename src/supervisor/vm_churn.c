/*
 * vm_churn.c: one VM sandbox of a churn run, from begin to end, with every answer checked. See
 * vm.h. How many, how fast and in which threads is the loop's business.
 *
 * A defect is an option of the VM, or of the order in which sandboxes end (merge-trap). The run
 * itself is the same with and without.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "supervisor/error.h"
#include "supervisor/owned.h"
#include "supervisor/vm.h"

/* The file that every sandbox maps, and how much of it a guest writes to. */
#define FILE_PAGES 16
#define FILE_BYTES (FILE_PAGES * GUEST_PAGE)
#define FILE_WORDS (FILE_BYTES / sizeof(uint64_t))
#define WRITTEN_PAGES 2
#define WRITTEN_BYTES (WRITTEN_PAGES * GUEST_PAGE)
#define WRITTEN_VALUE UINT64_C(0x1122334455667788)

/* What is summed of the file: around the start of its second page, which is written to. Not all of
 * it, since there are KVMs that interpret the guest, at 4 ms for these 16 pages. */
#define SUMMED_FROM (GUEST_PAGE - SUMMED_BYTES / 2)
#define SUMMED_BYTES UINT64_C(512)
#define SCRATCH_SUMMED_BYTES UINT64_C(64)

/* Each word of the file is its number, times this: no two pages have one sum. */
#define FILE_FACTOR UINT64_C(0x9e3779b97f4a7c15)

/* x86-64: mov $imm32, %eax; ret. What the function returns is the sandbox's number. */
#define CODE_MOV_EAX 0xb8
#define CODE_RET 0xc3
#define CODE_RETURNS_AT 1
#define CODE_RET_AT 5
#define CODE_BYTES 6

#define LABEL_BYTES 32

/* Two kinds of guest, so that what one does to another's addresses shows. */
static const struct guest_range windows[][GUEST_REGIONS] = {
    {{0x400000, 0x20000000}, {0x40000000, 0x60000000}},
    {{0x21000000, 0x3f000000}, {0x61000000, 0x80000000}},
};

/* The defect merge-trap. Two sandboxes take turns to map a page each, so that all of them are one
 * VMA, and live on until every second one of their pages would be a VMA more than the process may
 * have. Then the first of each two ends. */
#define TRAP_REGIONS 1024
#define TRAP_MOST 8192 /* sandboxes; a limit for a limit */
#define MAX_MAP_COUNT_PATH "/proc/sys/vm/max_map_count"
#define NUMBER_BYTES 32

struct trap {
    pthread_mutex_t lock;
    struct vm *vms[TRAP_MOST]; /* in the order in which they began */
    size_t count;
    size_t needed;
};

struct vm_churn {
    struct vm_host *host;
    int file;
    uint64_t words[FILE_WORDS]; /* what is in the file */
    unsigned defects;
    struct trap trap;
};

/* --- the file -------------------------------------------------------------------------------- */

static uint64_t sum_of_file(const struct vm_churn *churn)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < SUMMED_BYTES / sizeof(uint64_t); i++)
        sum += churn->words[SUMMED_FROM / sizeof(uint64_t) + i];
    return sum;
}

static uint64_t sum_after_write(const struct vm_churn *churn)
{
    return sum_of_file(churn) + WRITTEN_VALUE - churn->words[GUEST_PAGE / sizeof(uint64_t)];
}

static int make_file(struct vm_churn *churn, struct error *error)
{
    for (size_t i = 0; i < FILE_WORDS; i++)
        churn->words[i] = (i + 1) * FILE_FACTOR;
    churn->file = memfd_create("boxsup-churn", MFD_CLOEXEC);
    if (churn->file < 0)
        return error_set(error, errno, "memfd_create");
    if (pwrite(churn->file, churn->words, sizeof(churn->words), 0) != (ssize_t)sizeof(churn->words))
        return error_set(error, errno, "the file that sandboxes map cannot be written");
    return 0;
}

static int check_file(const struct vm_churn *churn, struct error *error)
{
    uint64_t words[FILE_WORDS];

    if (pread(churn->file, words, sizeof(words), 0) != (ssize_t)sizeof(words))
        return error_set(error, errno, "the mapped file cannot be read");
    if (memcmp(words, churn->words, sizeof(words)) != 0)
        return error_set(error, 0, "a guest changed the mapped file");
    return 0;
}

/* --- one sandbox ----------------------------------------------------------------------------- */

static int expect(const char *what, uint64_t is, uint64_t should_be, struct error *error)
{
    if (is == should_be)
        return 0;
    return error_set(error, 0, "%s is %#" PRIx64 " where %#" PRIx64 " is right", what, is,
                     should_be);
}

static int ask(struct vm *vm, enum vm_work work, uint64_t address, uint64_t bytes, uint64_t value,
               uint64_t should_be, struct error *error)
{
    static const char *const names[] = {
        [VM_STOP] = "the answer to a stop",
        [VM_SUM] = "the sum of a region",
        [VM_WRITE] = "the number of pages written",
        [VM_CALL] = "what a function returned",
    };
    const struct vm_request request = {work, address, bytes, value};
    uint64_t answer = 0;

    return vm_ask(vm, &request, &answer, error) != 0
               ? -1
               : expect(names[work], answer, should_be, error);
}

static int map_file(const struct vm_churn *churn, struct vm *vm, uint64_t should_be,
                    struct error *error)
{
    uint64_t address = VM_ANYWHERE;

    if (vm_map_descriptor_cow(vm, churn->file, "the mapped file", GUEST_WRITABLE, &address,
                              error) != 0)
        return -1;
    return expect("the guest address of a mapped file", address, should_be, error);
}

static int sum_file(struct vm *vm, uint64_t address, uint64_t should_be, struct error *error)
{
    return ask(vm, VM_SUM, address + SUMMED_FROM, SUMMED_BYTES, 0, should_be, error);
}

static int write_to_file(const struct vm_churn *churn, struct vm *vm, uint64_t address,
                         struct error *error)
{
    if (sum_file(vm, address, sum_of_file(churn), error) != 0 ||
        ask(vm, VM_WRITE, address, WRITTEN_BYTES, WRITTEN_VALUE, WRITTEN_PAGES, error) != 0 ||
        sum_file(vm, address, sum_after_write(churn), error) != 0)
        return -1;
    return check_file(churn, error);
}

static int call_function(struct vm *vm, uint64_t should_be, uint32_t returns, struct error *error)
{
    uint64_t address = VM_ANYWHERE;
    void *memory = NULL;
    uint8_t code[CODE_BYTES] = {[0] = CODE_MOV_EAX, [CODE_RET_AT] = CODE_RET};

    if (vm_map_scratch(vm, GUEST_EXECUTABLE, GUEST_PAGE, &address, &memory, error) != 0 ||
        expect("the guest address of a function", address, should_be, error) != 0)
        return -1;
    memcpy(code + CODE_RETURNS_AT, &returns, sizeof(returns));
    memcpy(memory, code, sizeof(code));
    return ask(vm, VM_CALL, address, 0, 0, returns, error);
}

/* Regions come, change and go; each address is what this guest's own layout gives. */
static int use_regions(const struct vm_churn *churn, struct vm *vm,
                       const struct guest_range window[GUEST_REGIONS], unsigned long number,
                       struct error *error)
{
    uint64_t first = window[GUEST_WRITABLE].start;
    uint64_t scratch = VM_ANYWHERE;
    uint64_t second = first + FILE_BYTES + GUEST_PAGE;

    if (map_file(churn, vm, first, error) != 0 || write_to_file(churn, vm, first, error) != 0 ||
        vm_map_scratch(vm, GUEST_WRITABLE, GUEST_PAGE, &scratch, NULL, error) != 0 ||
        expect("the guest address of scratch memory", scratch, first + FILE_BYTES, error) != 0 ||
        ask(vm, VM_WRITE, scratch, GUEST_PAGE, number, 1, error) != 0 ||
        call_function(vm, window[GUEST_EXECUTABLE].start, (uint32_t)number, error) != 0 ||
        map_file(churn, vm, second, error) != 0 ||
        vm_resize_scratch(vm, 2 * GUEST_PAGE, &scratch, error) != 0 ||
        expect("the guest address of moved memory", scratch, second + FILE_BYTES, error) != 0)
        return -1;
    return ask(vm, VM_SUM, scratch, SCRATCH_SUMMED_BYTES, 0, number, error);
}

/* What is unmapped after a snapshot is back, what is mapped after it is gone. */
static int snapshot_and_restore(const struct vm_churn *churn, struct vm *vm, uint64_t first,
                                struct error *error)
{
    struct vm_snapshot *snapshot = NULL;
    int result = -1;

    if (vm_snapshot_take(vm, &snapshot, error) != 0)
        return -1;
    if (vm_unmap(vm, first, error) == 0 && map_file(churn, vm, first, error) == 0 &&
        write_to_file(churn, vm, first, error) == 0 &&
        ask(vm, VM_WRITE, first, WRITTEN_BYTES, 0, WRITTEN_PAGES, error) == 0 &&
        vm_snapshot_restore(vm, snapshot, error) == 0 &&
        sum_file(vm, first, sum_after_write(churn), error) == 0)
        result = vm_unmap(vm, first, error);
    if (vm_snapshot_free(snapshot, result == 0 ? error : NULL) != 0)
        result = -1;
    return result;
}

static int run_sandbox(const struct vm_churn *churn, struct vm *vm,
                       const struct guest_range window[GUEST_REGIONS], unsigned long number,
                       struct error *error)
{
    uint64_t first = window[GUEST_WRITABLE].start;
    uint64_t second = first + FILE_BYTES + GUEST_PAGE;

    if (use_regions(churn, vm, window, number, error) != 0 ||
        snapshot_and_restore(churn, vm, first, error) != 0 || vm_unmap(vm, second, error) != 0)
        return -1;
    /* The rest is for the end to give back. */
    return ask(vm, VM_STOP, 0, 0, 0, 0, error);
}

static int create(struct vm_churn *churn, unsigned long number, const struct guest_range *window,
                  struct vm **vm, struct error *error)
{
    char label[LABEL_BYTES];
    const struct vm_options options = {label, churn->defects, window};

    (void)snprintf(label, sizeof(label), "churn-vm-%lu", number);
    return vm_create(churn->host, &options, vm, error);
}

static int churn_sandbox(struct vm_churn *churn, unsigned long number, struct error *error)
{
    const struct guest_range *window = windows[number % (sizeof(windows) / sizeof(windows[0]))];
    struct vm *vm = NULL;
    int result;

    if (create(churn, number, window, &vm, error) != 0)
        return -1;
    result = run_sandbox(churn, vm, window, number, error);
    if (vm_destroy(vm, result == 0 ? error : NULL) != 0)
        result = -1;
    return result;
}

/* --- the defect merge-trap ------------------------------------------------------------------- */

/* So many sandboxes that half of their pages are more than the VMAs that a process may have. */
static int init_trap(struct trap *trap, struct error *error)
{
    owned_fd int limit = open(MAX_MAP_COUNT_PATH, O_RDONLY | O_CLOEXEC);
    char text[NUMBER_BYTES] = {0};
    unsigned long most;

    if (limit < 0 || read(limit, text, sizeof(text) - 1) <= 0)
        return error_set(error, errno, "%s cannot be read", MAX_MAP_COUNT_PATH);
    most = strtoul(text, NULL, 10);
    trap->needed = 2 * (most / TRAP_REGIONS + 1);
    if (trap->needed > TRAP_MOST)
        return error_set(error, 0, "merge-trap: vm.max_map_count is too high, %lu", most);
    return 0;
}

static int map_in_turns(struct vm *one, struct vm *other, struct error *error)
{
    for (unsigned i = 0; i < TRAP_REGIONS; i++) {
        uint64_t first = VM_ANYWHERE;
        uint64_t second = VM_ANYWHERE;

        if (vm_map_scratch(one, GUEST_WRITABLE, GUEST_PAGE, &first, NULL, error) != 0 ||
            vm_map_scratch(other, GUEST_WRITABLE, GUEST_PAGE, &second, NULL, error) != 0)
            return -1;
    }
    return 0;
}

/* Ends every second sandbox, each page of which lies between two of its neighbour's. */
static int end_half(struct trap *trap, struct error *error)
{
    for (size_t i = 0; i < trap->count; i += 2) {
        struct vm *vm = trap->vms[i];

        trap->vms[i] = NULL;
        if (vm_destroy(vm, error) != 0)
            return error_prefix(error, "the end of sandbox %zu", i + 1);
    }
    return 0;
}

static int churn_into_trap(struct vm_churn *churn, unsigned long number, struct error *error)
{
    struct trap *trap = &churn->trap;
    struct vm *vm = NULL;

    if (trap->count == trap->needed)
        return churn_sandbox(churn, number, error);
    if (create(churn, number, vm_default_windows, &vm, error) != 0)
        return -1;
    trap->vms[trap->count++] = vm;
    if (trap->count % 2 == 0 && map_in_turns(trap->vms[trap->count - 2], vm, error) != 0)
        return -1;
    return trap->count == trap->needed ? end_half(trap, error) : 0;
}

/* --- the run --------------------------------------------------------------------------------- */

int vm_churn_open(struct vm_churn **churn, const struct vm_churn_options *options,
                  struct error *error)
{
    struct vm_churn *made = calloc(1, sizeof(*made));

    if (made == NULL)
        return error_set(error, ENOMEM, "cannot churn");
    made->file = -1;
    made->defects = options->defects;
    pthread_mutex_init(&made->trap.lock, NULL);
    if (vm_host_open(&made->host, error) != 0 || make_file(made, error) != 0 ||
        ((made->defects & VM_MERGE_TRAP) && init_trap(&made->trap, error) != 0)) {
        vm_churn_close(made, NULL);
        return -1;
    }
    *churn = made;
    return 0;
}

int vm_churn_one(struct vm_churn *churn, unsigned long number, struct error *error)
{
    int result;

    if (churn->defects & VM_MERGE_TRAP) {
        pthread_mutex_lock(&churn->trap.lock);
        result = churn_into_trap(churn, number, error);
        pthread_mutex_unlock(&churn->trap.lock);
    } else {
        result = churn_sandbox(churn, number, error);
    }
    return result;
}

int vm_churn_close(struct vm_churn *churn, struct error *error)
{
    int result = 0;

    if (churn == NULL)
        return 0;
    for (size_t i = 0; i < churn->trap.count; i++)
        if (vm_destroy(churn->trap.vms[i], result == 0 ? error : NULL) != 0)
            result = -1;
    pthread_mutex_destroy(&churn->trap.lock);
    owned_fd_close(&churn->file);
    if (vm_host_close(churn->host, result == 0 ? error : NULL) != 0)
        result = -1;
    free(churn);
    return result;
}
