/*
 * vm_snapshots.c: a restore brings back what the snapshot has, contents and addresses too, and
 * releases what it has not, however often; and a file that becomes shorter is an error, no signal.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vm_test.h"

#define PAGES 4
#define BYTES (PAGES * GUEST_PAGE)
#define WORDS (BYTES / sizeof(long))
#define FACTOR 0x51ed270b7f4a7c15UL
#define OWN_ADDRESS UINT64_C(0xa000) /* of the guest's own memory: behind its code */
#define ROUNDS 50

struct guest {
    struct vm *vm;
    char path[FILE_PATH_BYTES];
    int fd;
    uint64_t file;
    uint64_t scratch;
};

/* With a file of which the second page is written to, scratch memory, and a mark of its own. */
static struct guest new_guest(struct vm_host *host)
{
    const struct vm_options options = {0};
    struct error error = {0};
    struct guest guest = {.file = VM_ANYWHERE, .scratch = VM_ANYWHERE};
    uint64_t answer = 0;

    guest.fd = make_file(PAGES, FACTOR, guest.path);
    if (!works(vm_create(host, &options, &guest.vm, &error), &error))
        exit(verdict());
    works(vm_map_file_cow(guest.vm, guest.path, GUEST_WRITABLE, &guest.file, &error), &error);
    works(vm_map_scratch(guest.vm, GUEST_WRITABLE, BYTES, &guest.scratch, NULL, &error), &error);
    works(ask(guest.vm, VM_WRITE, guest.file + GUEST_PAGE, GUEST_PAGE, 1, &answer, &error), &error);
    works(ask(guest.vm, VM_WRITE, guest.scratch, GUEST_PAGE, 2, &answer, &error), &error);
    works(ask(guest.vm, VM_WRITE, OWN_ADDRESS, GUEST_PAGE, 3, &answer, &error), &error);
    return guest;
}

static void end_guest(struct guest *guest)
{
    struct error error = {0};

    works(vm_destroy(guest->vm, &error), &error);
    close(guest->fd);
}

static void expect_sum(const struct guest *guest, uint64_t address, uint64_t bytes, uint64_t is,
                       int line)
{
    struct error error = {0};
    uint64_t answer = 0;

    works(ask(guest->vm, VM_SUM, address, bytes, 0, &answer, &error), &error);
    check(answer == is, "line %d: the sum at %#lx is %#lx, not %#lx", line, address, answer, is);
}

/* As it was when it was new. */
static void expect_state(const struct guest *guest, int line)
{
    uint64_t second_word = GUEST_PAGE / sizeof(long);

    expect_sum(guest, guest->file, BYTES,
               sum_of(FACTOR, 0, WORDS) - sum_of(FACTOR, second_word, 1) + 1, line);
    expect_sum(guest, guest->scratch, BYTES, 2, line);
    expect_sum(guest, OWN_ADDRESS, GUEST_PAGE, 3, line);
}

static void change_everything(const struct guest *guest)
{
    struct error error = {0};
    uint64_t answer = 0;

    works(ask(guest->vm, VM_WRITE, guest->file, BYTES, 77, &answer, &error), &error);
    works(ask(guest->vm, VM_WRITE, guest->scratch, BYTES, 78, &answer, &error), &error);
    works(ask(guest->vm, VM_WRITE, OWN_ADDRESS, GUEST_PAGE, 79, &answer, &error), &error);
}

static struct vm_snapshot *take(const struct guest *guest)
{
    struct error error = {0};
    struct vm_snapshot *snapshot = NULL;

    if (!works(vm_snapshot_take(guest->vm, &snapshot, &error), &error))
        exit(verdict());
    return snapshot;
}

static void contents_are_back(struct vm_host *host)
{
    struct error error = {0};
    struct guest guest = new_guest(host);
    struct vm_snapshot *snapshot = take(&guest);

    for (unsigned i = 0; i < 3; i++) {
        change_everything(&guest);
        works(vm_snapshot_restore(guest.vm, snapshot, &error), &error);
        expect_state(&guest, __LINE__);
    }
    works(vm_snapshot_free(snapshot, &error), &error);
    expect_state(&guest, __LINE__);
    end_guest(&guest);
}

/* The guest has halted, or crashed: its registers are back too. */
static void a_halted_guest_runs_again(struct vm_host *host)
{
    struct error error = {0};
    struct guest guest = new_guest(host);
    struct vm_snapshot *snapshot = take(&guest);
    uint64_t answer = 0;

    works(ask(guest.vm, VM_STOP, 0, 0, 0, &answer, &error), &error);
    works(vm_snapshot_restore(guest.vm, snapshot, &error), &error);
    expect_state(&guest, __LINE__);
    refused(ask(guest.vm, VM_SUM, 0x7000000, GUEST_PAGE, 0, &answer, &error), &error,
            "has no memory");
    works(vm_snapshot_restore(guest.vm, snapshot, &error), &error);
    expect_state(&guest, __LINE__);
    works(vm_snapshot_free(snapshot, &error), &error);
    end_guest(&guest);
}

static void what_was_unmapped_is_back_and_what_is_new_is_gone(struct vm_host *host)
{
    struct error error = {0};
    struct guest guest = new_guest(host);
    struct vm_snapshot *snapshot = take(&guest);
    uint64_t answer = 0;
    struct holds before = {0};

    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t file = VM_ANYWHERE, other = VM_ANYWHERE, third = VM_ANYWHERE;
        void *memory = NULL;

        works(vm_unmap(guest.vm, guest.file, &error), &error);
        works(vm_unmap(guest.vm, guest.scratch, &error), &error);
        works(vm_map_scratch(guest.vm, GUEST_WRITABLE, 2 * BYTES, &other, &memory, &error), &error);
        works(vm_map_file_cow(guest.vm, guest.path, GUEST_WRITABLE, &file, &error), &error);
        works(vm_map_file_cow(guest.vm, guest.path, GUEST_EXECUTABLE, &third, &error), &error);
        check(other == guest.file, "what is new is at %#lx", other);
        works(ask(guest.vm, VM_WRITE, other, 2 * BYTES, 5, &answer, &error), &error);
        works(vm_snapshot_restore(guest.vm, snapshot, &error), &error);
        check(msync(memory, GUEST_PAGE, MS_ASYNC) != 0, "what is new is still mapped");
        check(vm_region_bytes(guest.vm, third) == 0, "what is new is still a region");
        expect_state(&guest, __LINE__);
        if (i == 0)
            before = count_holds();
    }

    struct holds after = count_holds();

    check(after.vmas == before.vmas && after.descriptors == before.descriptors,
          "VMAs: %lu, then %lu; descriptors: %lu, then %lu", before.vmas, after.vmas,
          before.descriptors, after.descriptors);
    works(vm_snapshot_free(snapshot, &error), &error);
    end_guest(&guest);
}

/* The layout is the snapshot's: addresses are given as if nothing had happened since. */
static void addresses_are_as_they_were(struct vm_host *host)
{
    struct error error = {0};
    struct guest guest = new_guest(host);
    struct vm_snapshot *snapshot = take(&guest);
    uint64_t first = VM_ANYWHERE, again = VM_ANYWHERE, resized = guest.scratch;

    works(vm_map_scratch(guest.vm, GUEST_WRITABLE, GUEST_PAGE, &first, NULL, &error), &error);
    works(vm_resize_scratch(guest.vm, 3 * BYTES, &resized, &error), &error);
    check(resized != guest.scratch, "it has not moved");
    works(vm_snapshot_restore(guest.vm, snapshot, &error), &error);
    expect_state(&guest, __LINE__);
    works(vm_map_scratch(guest.vm, GUEST_WRITABLE, GUEST_PAGE, &again, NULL, &error), &error);
    check(first == again, "first at %#lx, then at %#lx", first, again);
    works(vm_snapshot_free(snapshot, &error), &error);
    end_guest(&guest);
}

static void a_snapshot_is_freed_before_or_after_its_vm(struct vm_host *host)
{
    struct error error = {0};
    struct holds before = {0};

    for (unsigned i = 0; i < 4; i++) {
        struct guest guest = new_guest(host);
        struct vm_snapshot *snapshot = take(&guest);
        struct vm_snapshot *other = take(&guest);

        if (i % 2 == 0)
            works(vm_snapshot_free(snapshot, &error), &error);
        end_guest(&guest);
        if (i % 2 == 1)
            works(vm_snapshot_free(snapshot, &error), &error);
        works(vm_snapshot_free(other, &error), &error);
        if (i == 1)
            before = count_holds();
    }

    struct holds after = count_holds();

    check(after.vmas == before.vmas, "VMAs: %lu, then %lu", before.vmas, after.vmas);
}

/* A snapshot has a copy of what was written to, and of nothing else, however much was read. */
static void pages_that_nobody_wrote_to_are_still_the_files(struct vm_host *host)
{
    struct error error = {0};
    struct guest guest = new_guest(host);
    struct vm_snapshot *snapshot;
    const unsigned long other[] = {7};

    expect_state(&guest, __LINE__); /* has read every page */
    snapshot = take(&guest);
    check(pwrite(guest.fd, other, sizeof(other), 0) == sizeof(other), "the file is not written");
    works(vm_snapshot_restore(guest.vm, snapshot, &error), &error);
    expect_sum(&guest, guest.file, GUEST_PAGE,
               sum_of(FACTOR, 0, GUEST_PAGE / sizeof(long)) - sum_of(FACTOR, 0, 1) + other[0],
               __LINE__);
    works(vm_snapshot_free(snapshot, &error), &error);
    end_guest(&guest);
}

static void another_vm_cannot_have_it(struct vm_host *host)
{
    struct error error = {0};
    struct guest guest = new_guest(host);
    struct guest other = new_guest(host);
    struct vm_snapshot *snapshot = take(&guest);

    refused(vm_snapshot_restore(other.vm, snapshot, &error), &error, "only be restored to its own");
    expect_state(&other, __LINE__);
    works(vm_snapshot_free(snapshot, &error), &error);
    end_guest(&other);
    end_guest(&guest);
}

/* Truncating a file takes its pages from every mapping, private copies too. */
static void a_file_that_became_shorter_is_an_error(struct vm_host *host)
{
    struct error error = {0};
    struct guest guest = new_guest(host);
    struct vm_snapshot *snapshot = take(&guest);
    struct vm_snapshot *other = NULL;
    uint64_t answer = 0;

    works(ftruncate(guest.fd, GUEST_PAGE), &error);
    refused(ask(guest.vm, VM_SUM, guest.file, BYTES, 0, &answer, &error), &error, "the guest");
    refused(vm_snapshot_restore(guest.vm, snapshot, &error), &error,
            "restore: a page of the guest cannot be restored");
    refused(vm_snapshot_take(guest.vm, &other, &error), &error, "can only be destroyed");
    refused(ask(guest.vm, VM_SUM, guest.file, BYTES, 0, &answer, &error), &error,
            "can only be destroyed");
    end_guest(&guest);
    works(vm_snapshot_free(snapshot, &error), &error);
}

int main(void)
{
    struct vm_host *host = need_host();
    struct error error = {0};

    contents_are_back(host);
    a_halted_guest_runs_again(host);
    what_was_unmapped_is_back_and_what_is_new_is_gone(host);
    addresses_are_as_they_were(host);
    a_snapshot_is_freed_before_or_after_its_vm(host);
    pages_that_nobody_wrote_to_are_still_the_files(host);
    another_vm_cannot_have_it(host);
    a_file_that_became_shorter_is_an_error(host);
    works(vm_host_close(host, &error), &error);
    return verdict();
}
