/*
 * vm_regions.c: what a guest has and what it has not: files that it cannot change, memory that it
 * gets zeroed, addresses of its own, and an end that leaves nothing.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "vm_test.h"

#define WORDS_OF_PAGE (GUEST_PAGE / sizeof(long))
#define FACTOR 0x9e3779b97f4a7c15UL
#define SPARE_ADDRESS UINT64_C(0x9000) /* of the guest's own memory: behind its code */
#define MARK UINT64_C(0xb0)
#define ALARM_US 200
#define INTERRUPTED_SANDBOXES 100

static struct vm *new_vm(struct vm_host *host, const struct guest_range *windows)
{
    const struct vm_options options = {.windows = windows};
    struct error error = {0};
    struct vm *vm = NULL;

    if (!works(vm_create(host, &options, &vm, &error), &error))
        exit(verdict());
    return vm;
}

static bool is_unchanged(int fd, unsigned pages)
{
    for (unsigned long i = 0; i < pages * WORDS_OF_PAGE; i++) {
        unsigned long word = 0;

        if (pread(fd, &word, sizeof(word), (off_t)(i * sizeof(word))) != sizeof(word) ||
            word != (i + 1) * FACTOR)
            return false;
    }
    return true;
}

/* Two mappings of one file, in one guest: what is written to one is in neither the other nor the
 * file, which is open for reading alone. */
static void a_guest_writes_to_copies(struct vm_host *host)
{
    struct error error = {0};
    struct vm *vm = new_vm(host, NULL);
    char path[FILE_PATH_BYTES];
    int fd = make_file(3, FACTOR, path);
    uint64_t first = VM_ANYWHERE, second = 0x8000000, answer = 0;

    works(fchmod(fd, S_IRUSR), &error);
    works(vm_map_file_cow(vm, path, GUEST_WRITABLE, &first, &error), &error);
    works(vm_map_file_cow(vm, path, GUEST_WRITABLE, &second, &error), &error);
    check(second == 0x8000000, "mapped at %#lx", second);
    check(vm_region_bytes(vm, first) == 3 * GUEST_PAGE, "%lu bytes", vm_region_bytes(vm, first));
    works(ask(vm, VM_SUM, first, 3 * GUEST_PAGE, 0, &answer, &error), &error);
    check(answer == sum_of(FACTOR, 0, 3 * WORDS_OF_PAGE), "the sum is %#lx", answer);
    works(ask(vm, VM_WRITE, first, 3 * GUEST_PAGE, MARK, &answer, &error), &error);
    check(answer == 3, "%lu pages written", answer);
    works(ask(vm, VM_SUM, first + 2 * GUEST_PAGE, GUEST_PAGE, 0, &answer, &error), &error);
    check(answer == sum_of(FACTOR, 2 * WORDS_OF_PAGE + 1, WORDS_OF_PAGE - 1) + MARK,
          "the sum after a write is %#lx", answer);
    works(ask(vm, VM_SUM, second, 3 * GUEST_PAGE, 0, &answer, &error), &error);
    check(answer == sum_of(FACTOR, 0, 3 * WORDS_OF_PAGE), "the other mapping's sum is %#lx",
          answer);
    check(is_unchanged(fd, 3), "the file has changed");
    works(vm_destroy(vm, &error), &error);
    check(is_unchanged(fd, 3), "the file has changed at the end");
    close(fd);
}

static void an_unmap_removes_slot_and_mapping(struct vm_host *host)
{
    struct error error = {0};
    struct vm *vm = new_vm(host, NULL);
    char path[FILE_PATH_BYTES];
    int fd = make_file(1, FACTOR, path);
    uint64_t file = VM_ANYWHERE, scratch = VM_ANYWHERE, again = VM_ANYWHERE, answer = 0;
    void *memory = NULL;
    struct holds before = count_holds();

    works(vm_map_file_cow(vm, path, GUEST_WRITABLE, &file, &error), &error);
    works(vm_map_scratch(vm, GUEST_WRITABLE, GUEST_PAGE, &scratch, &memory, &error), &error);
    works(ask(vm, VM_SUM, scratch, GUEST_PAGE, 0, &answer, &error), &error);
    works(vm_unmap(vm, scratch, &error), &error);
    check(msync(memory, GUEST_PAGE, MS_ASYNC) != 0 && errno == ENOMEM, "it is still mapped");
    works(vm_unmap(vm, file, &error), &error);
    check(count_holds().vmas == before.vmas, "VMAs: %lu, then %lu", before.vmas,
          count_holds().vmas);
    check(vm_region_bytes(vm, file) == 0, "the region is still there");
    refused(vm_unmap(vm, file, &error), &error, "no region starts at guest address 0x400000");
    works(vm_map_file_cow(vm, path, GUEST_WRITABLE, &again, &error), &error);
    check(again == file, "the next is at %#lx", again);
    works(vm_unmap(vm, again, &error), &error);
    refused(ask(vm, VM_SUM, file, GUEST_PAGE, 0, &answer, &error), &error,
            "the guest read from address 0x400000, where it has no memory");
    works(vm_destroy(vm, &error), &error);
    close(fd);
}

static void an_executable_region_is_read_only(struct vm_host *host)
{
    static const uint8_t code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42, %eax; ret */
    struct error error = {0};
    struct vm *vm = new_vm(host, NULL);
    uint64_t address = VM_ANYWHERE, answer = 0;
    void *memory = NULL;

    works(vm_map_scratch(vm, GUEST_EXECUTABLE, GUEST_PAGE, &address, &memory, &error), &error);
    memcpy(memory, code, sizeof(code));
    works(ask(vm, VM_CALL, address, 0, 0, &answer, &error), &error);
    check(answer == 42, "the function returned %lu", answer);
    refused(ask(vm, VM_WRITE, address, GUEST_PAGE, 1, &answer, &error), &error,
            "where it has no writable memory");
    works(vm_destroy(vm, &error), &error);
}

static void guests_have_addresses_of_their_own(struct vm_host *host)
{
    static const struct guest_range windows[GUEST_REGIONS] = {{0x50000000, 0x60000000},
                                                              {0x10000000, 0x20000000}};
    struct error error = {0};
    struct vm *vms[] = {new_vm(host, NULL), new_vm(host, windows)};
    const uint64_t bases[] = {vm_default_windows[GUEST_WRITABLE].start,
                              windows[GUEST_WRITABLE].start};

    for (unsigned i = 0; i < 20; i++) {
        for (unsigned guest = 0; guest < 2; guest++) {
            uint64_t address = VM_ANYWHERE;

            works(vm_map_scratch(vms[guest], GUEST_WRITABLE, GUEST_PAGE, &address, NULL, &error),
                  &error);
            check(address == bases[guest] + i * GUEST_PAGE, "guest %u, region %u is at %#lx", guest,
                  i, address);
        }
    }
    works(vm_destroy(vms[1], &error), &error);
    works(vm_destroy(vms[0], &error), &error);
}

/* The pool hands the memory of one guest to the next. */
static void no_guest_sees_what_another_wrote(struct vm_host *host)
{
    struct error error = {0};
    uint64_t answer = 0;

    for (unsigned i = 0; i < 3; i++) {
        struct vm *vm = new_vm(host, NULL);

        works(ask(vm, VM_SUM, SPARE_ADDRESS, 4 * GUEST_PAGE, 0, &answer, &error), &error);
        check(answer == 0, "guest %u finds %#lx", i, answer);
        works(ask(vm, VM_WRITE, SPARE_ADDRESS, 4 * GUEST_PAGE, MARK, &answer, &error), &error);
        works(vm_destroy(vm, &error), &error);
    }
}

static void scratch_memory_keeps_its_contents_when_resized(struct vm_host *host)
{
    struct error error = {0};
    struct vm *vm = new_vm(host, NULL);
    uint64_t moved = VM_ANYWHERE, wall = VM_ANYWHERE, answer = 0;

    works(vm_map_scratch(vm, GUEST_WRITABLE, 2 * GUEST_PAGE, &moved, NULL, &error), &error);
    works(vm_map_scratch(vm, GUEST_WRITABLE, GUEST_PAGE, &wall, NULL, &error), &error);
    works(ask(vm, VM_WRITE, moved, 2 * GUEST_PAGE, MARK, &answer, &error), &error);
    works(vm_resize_scratch(vm, 3 * GUEST_PAGE, &moved, &error), &error);
    check(moved == wall + GUEST_PAGE, "it has moved to %#lx", moved);
    works(ask(vm, VM_SUM, moved, 3 * GUEST_PAGE, 0, &answer, &error), &error);
    check(answer == 2 * MARK, "the sum is %#lx", answer);
    works(vm_resize_scratch(vm, GUEST_PAGE, &moved, &error), &error);
    works(ask(vm, VM_SUM, moved, GUEST_PAGE, 0, &answer, &error), &error);
    check(answer == MARK, "the sum is %#lx", answer);
    refused(vm_resize_scratch(vm, 1, &moved, &error), &error, "not whole pages");
    works(vm_destroy(vm, &error), &error);
}

static void bad_maps_are_refused_and_change_nothing(struct vm_host *host)
{
    struct error error = {0};
    struct vm *vm = new_vm(host, NULL);
    char path[FILE_PATH_BYTES];
    int fd = make_file(2, FACTOR, path);
    uint64_t own = 0xf000, odd = 0x500001, end = 0x7ffff000, past = 0x80000000, taken = 0x500000,
             overlapping = 0x501000, anywhere = VM_ANYWHERE, answer = 0;

    works(vm_map_file_cow(vm, path, GUEST_WRITABLE, &taken, &error), &error);

    struct holds before = count_holds();

    refused(vm_map_file_cow(vm, path, GUEST_WRITABLE, &own, &error), &error, "own memory");
    refused(vm_map_file_cow(vm, path, GUEST_WRITABLE, &odd, &error), &error, "not a multiple");
    refused(vm_map_file_cow(vm, path, GUEST_WRITABLE, &end, &error), &error,
            "addresses, which end");
    refused(vm_map_file_cow(vm, path, GUEST_WRITABLE, &past, &error), &error,
            "addresses, which end");
    refused(vm_map_file_cow(vm, path, GUEST_WRITABLE, &overlapping, &error), &error,
            "overlap another region");
    refused(vm_map_file_cow(vm, "/nonexistent", GUEST_WRITABLE, &anywhere, &error), &error,
            "cannot open /nonexistent: No such file");
    refused(vm_map_file_cow(vm, "/dev/null", GUEST_WRITABLE, &anywhere, &error), &error,
            "not a regular file");
    refused(vm_map_file_cow(vm, "/", GUEST_WRITABLE, &anywhere, &error), &error,
            "not a regular file");
    works(ftruncate(fd, 5), &error);
    refused(vm_map_file_cow(vm, path, GUEST_WRITABLE, &anywhere, &error), &error,
            "5 bytes are not a whole number of pages");
    works(ftruncate(fd, 0), &error);
    refused(vm_map_file_cow(vm, path, GUEST_WRITABLE, &anywhere, &error), &error,
            "0 bytes are not a whole number of pages");
    works(ftruncate(fd, 0x80001000), &error);
    refused(vm_map_file_cow(vm, path, GUEST_WRITABLE, &anywhere, &error), &error,
            "more than a guest can address");
    works(ftruncate(fd, 0x40000000), &error);
    refused(vm_map_file_cow(vm, path, GUEST_WRITABLE, &anywhere, &error), &error,
            "the guest has no room");
    refused(vm_map_scratch(vm, GUEST_WRITABLE, 0, &anywhere, NULL, &error), &error,
            "not whole pages");
    check(anywhere == VM_ANYWHERE, "a refused map has the address %#lx", anywhere);

    struct holds after = count_holds();

    check(after.vmas == before.vmas && after.descriptors == before.descriptors,
          "VMAs: %lu, then %lu; descriptors: %lu, then %lu", before.vmas, after.vmas,
          before.descriptors, after.descriptors);
    works(ask(vm, VM_STOP, 0, 0, 0, &answer, &error), &error);
    works(vm_destroy(vm, &error), &error);
    close(fd);
}

/* Whatever the guest did last, its VM can go. */
static void a_vm_ends_in_any_state(struct vm_host *host)
{
    enum { JUST_MADE, ASKED, HALTED, HALTED_AND_ASKED, CRASHED, STATES };
    struct error error = {0};
    struct holds before = {0};

    for (unsigned state = 0; state < 2 * STATES; state++) {
        struct vm *vm = new_vm(host, NULL);
        uint64_t region = VM_ANYWHERE, answer = 0;

        if (state == STATES) /* the pool is filled by the first round */
            before = count_holds();
        works(vm_map_scratch(vm, GUEST_WRITABLE, GUEST_PAGE, &region, NULL, &error), &error);
        switch (state % STATES) {
        case ASKED:
            works(ask(vm, VM_SUM, region, GUEST_PAGE, 0, &answer, &error), &error);
            break;
        case HALTED:
        case HALTED_AND_ASKED:
            works(ask(vm, VM_STOP, 0, 0, 0, &answer, &error), &error);
            if (state % STATES == HALTED_AND_ASKED)
                refused(ask(vm, VM_SUM, region, GUEST_PAGE, 0, &answer, &error), &error,
                        "has halted");
            break;
        case CRASHED: /* where nothing is to be called */
            refused(ask(vm, VM_CALL, region, 0, 0, &answer, &error), &error, "the guest");
            break;
        default:
            break;
        }
        check(strstr(vm_console(vm), "in long mode") != NULL || state % STATES == JUST_MADE,
              "the guest said \"%s\"", vm_console(vm));
        works(vm_destroy(vm, &error), &error);
    }

    struct vm *last = new_vm(host, NULL);
    struct holds after = count_holds();

    check(after.vmas == before.vmas && after.descriptors == before.descriptors,
          "VMAs: %lu, then %lu; descriptors: %lu, then %lu", before.vmas, after.vmas,
          before.descriptors, after.descriptors);
    works(vm_destroy(last, &error), &error);
}

static void on_alarm(int number)
{
    (void)number;
}

/* A signal interrupts a run, and whatever else the kernel lets it interrupt. */
static void signals_interrupt_nothing(void)
{
    const struct vm_churn_options options = {0};
    const struct sigaction action = {.sa_handler = on_alarm};
    const struct itimerval often = {{.tv_usec = ALARM_US}, {.tv_usec = ALARM_US}};
    const struct itimerval never = {0};
    struct error error = {0};
    struct vm_churn *churn = NULL;

    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    works(vm_churn_open(&churn, &options, &error), &error);
    for (unsigned i = 1; i <= INTERRUPTED_SANDBOXES; i++)
        works(vm_churn_one(churn, i, &error), &error);
    works(vm_churn_close(churn, &error), &error);
    setitimer(ITIMER_REAL, &never, NULL);
}

int main(void)
{
    struct vm_host *host = need_host();
    struct error error = {0};

    a_guest_writes_to_copies(host);
    an_unmap_removes_slot_and_mapping(host);
    an_executable_region_is_read_only(host);
    guests_have_addresses_of_their_own(host);
    no_guest_sees_what_another_wrote(host);
    scratch_memory_keeps_its_contents_when_resized(host);
    bad_maps_are_refused_and_change_nothing(host);
    a_vm_ends_in_any_state(host);
    works(vm_host_close(host, &error), &error);
    signals_interrupt_nothing();
    return verdict();
}
