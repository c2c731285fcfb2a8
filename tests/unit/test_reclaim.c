/*
 * test_reclaim.c: the parts of reclaim, each by itself: what counts as evidence, what a descriptor
 * is known by, what the kernel says of a range, whose names are an allocator's, and what stays in
 * quarantine. Real descriptors and mappings, in a ledger of the test's own.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "policy/allocator.h"
#include "policy/evidence.h"
#include "policy/identity.h"
#include "policy/maps.h"
#include "policy/quarantine.h"
#include "policy_world.h"

enum {
    SETTLE = 100,
    STACK = 7,
    THREAD = 11,
    OTHER_THREAD = 12,
    PAGES = 8,
};

static void *zeroed(size_t size)
{
    void *memory = calloc(1, size);
    assert_non_null(memory);
    return memory;
}

/* --- evidence ----------------------------------------------------------------------------------
 */

static const struct evidence_key fds = {.stack = STACK, .kind = LEDGER_FD_MEMFD};

static struct evidence_case *accused(struct evidence *evidence)
{
    struct evidence_case *the = evidence_of(evidence, &fds, true);
    assert_non_null(the);
    for (uint64_t owner = 1; owner <= EVIDENCE_SANDBOXES; owner++) {
        evidence_left(the, owner, 1000 + owner);
    }
    return the;
}

static void eight_sandboxes_and_patience_convict(void **state)
{
    struct evidence *evidence = zeroed(sizeof *evidence);
    struct evidence_case *the = evidence_of(evidence, &fds, true);
    (void)state;
    for (uint64_t owner = 1; owner < EVIDENCE_SANDBOXES; owner++) {
        evidence_left(the, owner, 1000);
        evidence_left(the, owner, 1000); /* a second thing of the same sandbox */
        assert_false(evidence_convicts(the, 0, 1000000));
    }
    evidence_left(the, EVIDENCE_SANDBOXES, 1500);
    assert_true(evidence_convicts(the, SETTLE, 1000 + EVIDENCE_PATIENCE * SETTLE));
    assert_false(evidence_convicts(the, SETTLE, 1000 + EVIDENCE_PATIENCE * SETTLE - 1));
    free(evidence);
}

static void a_release_acquits_for_good(void **state)
{
    struct evidence *evidence = zeroed(sizeof *evidence);
    struct evidence_case *the = accused(evidence);
    (void)state;
    assert_true(evidence_convicts(the, 0, 2000));
    evidence_acquit(evidence, STACK);
    evidence_left(the, 100, 2000);
    assert_false(evidence_convicts(the, 0, UINT64_MAX));
    free(evidence);
}

static void a_late_release_differs_from_what_was_reclaimed(void **state)
{
    struct evidence *evidence = zeroed(sizeof *evidence);
    (void)state;
    evidence_reclaims(evidence, STACK);
    evidence_reclaims(evidence, STACK);
    evidence_reclaims(evidence, 0);
    assert_int_equal(evidence_reclaimed(evidence, STACK), 2);
    assert_int_equal(evidence_reclaimed(evidence, STACK + 1), 0);
    evidence_late(evidence, STACK);
    assert_int_equal(evidence_reclaimed(evidence, STACK), 1);
    free(evidence);
}

static void take(struct evidence *evidence, unsigned count, uint32_t tid, uint64_t from_ns)
{
    for (unsigned i = 0; i < count; i++) {
        evidence_count(evidence, &fds, tid, from_ns + i);
    }
}

static void the_thread_itself_must_take_eight_more(void **state)
{
    struct evidence *evidence = zeroed(sizeof *evidence);
    struct evidence_case *the = accused(evidence);
    (void)state;
    evidence_count_begins(evidence);
    take(evidence, EVIDENCE_TAKEN - 1, THREAD, 5000);
    take(evidence, EVIDENCE_TAKEN, OTHER_THREAD, 5000);
    assert_false(evidence_taken_since(evidence, the, THREAD, 4000));
    assert_true(evidence_taken_since(evidence, the, OTHER_THREAD, 4000));
    assert_true(evidence_taken_since(evidence, the, EVIDENCE_ANY_THREAD, 4000));
    assert_false(evidence_taken_since(evidence, the, OTHER_THREAD, 5000)); /* one was before */
    /* The same things, seen by the next look, are no others. */
    evidence_count_begins(evidence);
    take(evidence, EVIDENCE_TAKEN - 1, THREAD, 5000);
    assert_false(evidence_taken_since(evidence, the, THREAD, 4000));
    take(evidence, 1, THREAD, 6000);
    assert_true(evidence_taken_since(evidence, the, THREAD, 4000));
    free(evidence);
}

static void other_sizes_are_other_cases(void **state)
{
    struct evidence *evidence = zeroed(sizeof *evidence);
    const struct evidence_key small = {STACK, EVIDENCE_MAPPING, 4096};
    const struct evidence_key large = {STACK, EVIDENCE_MAPPING, 8192};
    (void)state;
    assert_ptr_not_equal(evidence_of(evidence, &small, true), evidence_of(evidence, &large, true));
    assert_null(evidence_of(evidence, &fds, false));
    assert_null(evidence_of(evidence, &(struct evidence_key){.stack = 0}, true));
    free(evidence);
}

static void witnesses_are_of_one_look(void **state)
{
    struct evidence_case the = {.look = 0};
    (void)state;
    evidence_witness(&the, 1, 1);
    evidence_witness(&the, 1, 1);
    assert_false(evidence_has_witnesses(&the, 1));
    evidence_witness(&the, 2, 2); /* the first is gone by then */
    assert_false(evidence_has_witnesses(&the, 2));
    evidence_witness(&the, 1, 2);
    assert_true(evidence_has_witnesses(&the, 2));
    assert_false(evidence_has_witnesses(&the, 3));
}

/* --- identity ----------------------------------------------------------------------------------
 */

static uint32_t word_of(int fd)
{
    return ledger_fd_record(world_ledger(), fd)->state;
}

static void a_successor_is_another(void **state)
{
    struct identity *identity = zeroed(sizeof *identity);
    int fd = memfd_create("one", MFD_CLOEXEC);
    (void)state;
    world_take_fd(fd, 0);
    identity_take_fd(identity, world_ledger(), fd, false);
    assert_int_equal(identity_of_fd(identity, fd, word_of(fd)), IDENTITY_UNIQUE);
    int other = memfd_create("other", MFD_CLOEXEC);
    dup2(other, fd); /* unseen */
    assert_int_equal(identity_of_fd(identity, fd, word_of(fd)), IDENTITY_NONE);
    world_take_fd(fd, 0); /* seen, and not asked yet */
    dup2(other, fd);
    assert_int_equal(identity_of_fd(identity, fd, word_of(fd)), IDENTITY_NONE);
    identity_take_fd(identity, world_ledger(), fd, true);
    assert_int_equal(identity_of_fd(identity, fd, word_of(fd)), IDENTITY_UNIQUE);
    assert_true(identity_fd_assigned(identity, fd));
    identity_forget_fd(identity, fd);
    assert_int_equal(identity_of_fd(identity, fd, word_of(fd)), IDENTITY_NONE);
    close(fd);
    close(other);
    free(identity);
}

static void what_has_a_name_is_weaker(void **state)
{
    struct identity *identity = zeroed(sizeof *identity);
    char path[] = "/tmp/boxledger-XXXXXX";
    int fd = mkstemp(path), ends[2];
    (void)state;
    assert_true(fd >= 0);
    world_take_fd(fd, 0);
    identity_take_fd(identity, world_ledger(), fd, false);
    assert_int_equal(identity_of_fd(identity, fd, word_of(fd)), IDENTITY_NAMED);
    unlink(path);
    identity_take_fd(identity, world_ledger(), fd, false);
    assert_int_equal(identity_of_fd(identity, fd, word_of(fd)), IDENTITY_UNIQUE);
    assert_int_equal(pipe(ends), 0);
    world_take_fd(ends[0], 0);
    identity_take_fd(identity, world_ledger(), ends[0], false);
    assert_int_equal(identity_of_fd(identity, ends[0], word_of(ends[0])), IDENTITY_UNIQUE);
    close(ends[0]);
    close(ends[1]);
    close(fd);
    free(identity);
}

/* As the ledger records what open or an ioctl made. */
static enum identity_strength claimed(struct identity *identity, int fd, uint16_t kind)
{
    struct ledger_fd_event event = {.kind = kind, .now_ns = 1};
    ledger_fd_take(world_ledger(), world_actor(), fd, &event);
    identity_take_fd(identity, world_ledger(), fd, false);
    return identity_claimed(identity, fd, word_of(fd));
}

static void a_process_in_proc_is_unique_once_it_is_gone(void **state)
{
    struct identity *identity = zeroed(sizeof *identity);
    static const char *const names[] = {"", "/status", "/task"};
    int files[3], own = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    int general = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    for (unsigned i = 0; i < 3; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d%s", child, names[i]);
        files[i] = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(files[i] >= 0);
        assert_int_equal(claimed(identity, files[i], LEDGER_FD_FILE), IDENTITY_PROCESS);
        assert_int_equal(identity_of_fd(identity, files[i], word_of(files[i])), IDENTITY_NAMED);
    }
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(identity_of_fd(identity, files[i], word_of(files[i])), IDENTITY_UNIQUE);
    }
    claimed(identity, own, LEDGER_FD_FILE);
    assert_int_equal(identity_of_fd(identity, own, word_of(own)), IDENTITY_NAMED);
    claimed(identity, general, LEDGER_FD_FILE);
    assert_int_equal(identity_of_fd(identity, general, word_of(general)), IDENTITY_NAMED);
    /* The number is another's, which was put there unseen. */
    dup2(general, files[1]);
    assert_int_equal(identity_of_fd(identity, files[1], word_of(files[1])), IDENTITY_NONE);
    for (unsigned i = 0; i < 3; i++) {
        close(files[i]);
    }
    close(own);
    close(general);
    free(identity);
}

struct guest_memfd { /* linux/kvm.h, Linux 6.8 */
    uint64_t size, flags, reserved[6];
};
#define CREATE_GUEST_MEMFD _IOWR(KVMIO, 0xd4, struct guest_memfd)

static void a_guest_memfd_is_unique_and_a_vm_is_not(void **state)
{
    struct identity *identity = zeroed(sizeof *identity);
    struct guest_memfd create = {.size = WORLD_PAGE};
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int vm = kvm >= 0 ? ioctl(kvm, KVM_CREATE_VM, 0) : -1;
    int memory = vm >= 0 ? ioctl(vm, CREATE_GUEST_MEMFD, &create) : -1;
    (void)state;
    if (memory < 0) {
        free(identity);
        skip(); /* no /dev/kvm, or an older kernel */
    }
    assert_int_equal(claimed(identity, memory, LEDGER_FD_KVM_DEVICE), IDENTITY_UNIQUE);
    assert_int_equal(identity_of_fd(identity, memory, word_of(memory)), IDENTITY_UNIQUE);
    assert_int_equal(claimed(identity, vm, LEDGER_FD_KVM_DEVICE), IDENTITY_NONE);
    close(memory);
    close(vm);
    close(kvm);
    free(identity);
}

/* --- maps --------------------------------------------------------------------------------------
 */

static struct maps_range asked(uint64_t start, uint64_t end, const char *const *lines)
{
    struct maps_range range = {.start = start, .end = end, .seen = start};
    uint32_t first = 0;
    for (; *lines; lines++) {
        first = maps_line(&range, 1, first, *lines, strlen(*lines));
    }
    return range;
}

#define ASKED(start, end, ...) asked(start, end, (const char *const[]){__VA_ARGS__, NULL})

static void a_range_is_whole_and_alike(void **state)
{
    (void)state;
    struct maps_range range = ASKED(0x2000, 0x5000, "1000-3000 rw-p 00000000 00:00 0 ",
                                    "3000-9000 rw-p 00000000 00:00 0                  [anon:box]");
    assert_true(range.whole && range.name == MAPS_NOTHING && range.inode == 0 && !range.shared);
    assert_int_equal(range.prot, PROT_READ | PROT_WRITE);
    range = ASKED(0x2000, 0x5000, "1000-3000 rw-p 00000000 00:00 0 ",
                  "4000-9000 rw-p 00000000 00:00 0 ");
    assert_false(range.whole);
    range = ASKED(0x2000, 0x5000, "1000-3000 rw-p 00000000 00:00 0 ",
                  "3000-9000 r--p 00000000 00:00 0 ");
    assert_false(range.whole);
    range = ASKED(0x2000, 0x5000, "3000-9000 rw-p 00000000 00:00 0 ");
    assert_false(range.whole);
    range = ASKED(0x2000, 0x5000, "2000-4fff rw-p 00000000 00:00 0 ");
    assert_false(range.whole);
}

static void names_tell_what_it_is(void **state)
{
    (void)state;
    struct maps_range range =
        ASKED(0x2000, 0x3000, "2000-3000 r-xs 00001000 fe:00 611    /a file (deleted)");
    assert_true(range.whole && range.name == MAPS_FILE && range.inode == 611 && range.shared);
    range = ASKED(0x2000, 0x3000, "2000-3000 rw-p 00000000 00:00 0     [heap]");
    assert_int_equal(range.name, MAPS_KERNELS);
    range = ASKED(0x2000, 0x3000, "2000-3000 rw-s 00000000 00:01 9     /dev/zero (deleted)");
    assert_int_equal(range.name, MAPS_ZERO);
}

/* --- quarantine --------------------------------------------------------------------------------
 */

struct kept {
    struct quarantine *quarantine;
    struct quarantine_placeholder placeholder;
    char *buffer;
    uint64_t start; /* PAGES pages, each the placeholder's */
    struct policy_event event;
};

static struct kept begin(void)
{
    struct kept kept = {.quarantine = zeroed(sizeof *kept.quarantine),
                        .buffer = zeroed(MAPS_BUFFER),
                        .event = world_event(0)};
    kept.event.may_call = true;
    assert_true(quarantine_open(&kept.placeholder));
    kept.start = (uintptr_t)mmap(NULL, (PAGES + 2) * WORLD_PAGE, PROT_NONE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) +
                 WORLD_PAGE;
    kept.quarantine->bytes_max = PAGES * WORLD_PAGE;
    return kept;
}

static void put_page(struct kept *kept, unsigned page)
{
    uint64_t start = kept->start + page * WORLD_PAGE;
    assert_true(quarantine_map(start, start + WORLD_PAGE, kept->placeholder.memory) == (long)start);
    quarantine_put_range(kept->quarantine, start, start + WORLD_PAGE, STACK,
                         kept->placeholder.inode);
}

static bool is_mapped(const struct kept *kept, unsigned page)
{
    return msync((void *)(uintptr_t)(kept->start + page * WORLD_PAGE), WORLD_PAGE, MS_ASYNC) == 0;
}

static void end(struct kept *kept)
{
    munmap((void *)(uintptr_t)(kept->start - WORLD_PAGE), (PAGES + 2) * WORLD_PAGE);
    quarantine_close(&kept->placeholder);
    free(kept->quarantine);
    free(kept->buffer);
}

static bool keeps(const struct kept *kept, unsigned from, unsigned to)
{
    return quarantine_keeps(kept->quarantine, kept->start + from * WORLD_PAGE,
                            kept->start + to * WORLD_PAGE);
}

static void neighbours_are_one_and_parts_can_go(void **state)
{
    struct kept kept = begin();
    uint32_t stack = 0;
    (void)state;
    for (unsigned page = PAGES; page-- > 0;) {
        put_page(&kept, page);
    }
    assert_int_equal(kept.quarantine->ranges_kept, 1);
    assert_true(keeps(&kept, 0, PAGES));
    uint64_t bytes = quarantine_take_range(kept.quarantine, kept.start + 2 * WORLD_PAGE,
                                           kept.start + 4 * WORLD_PAGE, true, &stack);
    assert_int_equal(bytes, 2 * WORLD_PAGE);
    assert_int_equal(stack, STACK);
    assert_int_equal(kept.quarantine->ranges_kept, 2);
    assert_true(keeps(&kept, 0, 2) && keeps(&kept, 4, PAGES) && !keeps(&kept, 1, 3));
    assert_int_equal(kept.quarantine->bytes, (PAGES - 2) * WORLD_PAGE);
    bytes = quarantine_take_range(kept.quarantine, 0, UINT64_MAX, true, &stack);
    assert_int_equal(bytes, (PAGES - 2) * WORLD_PAGE);
    assert_int_equal(kept.quarantine->bytes + kept.quarantine->ranges_kept, 0);
    end(&kept);
}

static void the_oldest_go_first(void **state)
{
    struct kept kept = begin();
    (void)state;
    for (unsigned page = PAGES; page-- > 0;) { /* as the kernel gives out addresses */
        put_page(&kept, page);
    }
    kept.quarantine->bytes_max = 3 * WORLD_PAGE;
    quarantine_trim_ranges(kept.quarantine, &kept.event, kept.buffer);
    for (unsigned page = 0; page < PAGES; page++) {
        assert_int_equal(is_mapped(&kept, page), page < 3);
    }
    assert_true(keeps(&kept, 0, 3));
    end(&kept);
}

static void what_is_foreign_by_now_stays(void **state)
{
    struct kept kept = begin();
    (void)state;
    put_page(&kept, 0);
    put_page(&kept, 4);
    void *other = mmap((void *)(uintptr_t)kept.start, WORLD_PAGE, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    assert_int_equal((uintptr_t)other, kept.start);
    kept.quarantine->bytes_max = 0;
    quarantine_trim_ranges(kept.quarantine, &kept.event, kept.buffer);
    assert_true(is_mapped(&kept, 0));
    assert_false(is_mapped(&kept, 4));
    assert_int_equal(kept.quarantine->bytes, 0);
    end(&kept);
}

static void later_looks_join_what_earlier_ones_kept(void **state)
{
    struct kept kept = begin();
    struct quarantine_placeholder earlier = kept.placeholder;
    (void)state;
    put_page(&kept, 1);
    put_page(&kept, 2);
    assert_true(quarantine_open(&kept.placeholder));
    put_page(&kept, 0);
    assert_int_equal(kept.quarantine->ranges_kept, 2);
    quarantine_join_ranges(kept.quarantine, &kept.placeholder, kept.buffer);
    assert_int_equal(kept.quarantine->ranges_kept, 1);
    struct maps_range range = {.start = kept.start, .end = kept.start + 3 * WORLD_PAGE};
    assert_true(maps_ask(&range, 1, kept.buffer) && range.whole);
    assert_int_equal(range.inode, kept.placeholder.inode);
    quarantine_close(&earlier);
    end(&kept);
}

static int keep_number(struct kept *kept, uint64_t since_ns)
{
    int fd = memfd_create("left", MFD_CLOEXEC);
    world_take_fd(fd, 0);
    assert_true(ledger_fd_reclaim(world_ledger(), world_actor(), fd, word_of(fd), since_ns));
    assert_int_equal(dup3(kept->placeholder.number, fd, O_CLOEXEC), fd);
    quarantine_put_fd(kept->quarantine, fd, since_ns, kept->placeholder.inode);
    return fd;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void numbers_go_by_age_unless_they_are_foreign(void **state)
{
    struct kept kept = begin();
    char byte;
    (void)state;
    int oldest = keep_number(&kept, 1), foreign = keep_number(&kept, 2);
    int released = keep_number(&kept, 3), last = keep_number(&kept, 4);
    assert_true(read(last, &byte, 1) < 0); /* as if it were closed */
    int other = memfd_create("other", MFD_CLOEXEC);
    dup2(other, foreign);     /* unseen */
    world_close_fd(released); /* late */
    close(released);
    kept.quarantine->fds_max = 1;
    quarantine_trim_fds(kept.quarantine, &kept.event, 1024);
    assert_int_equal(kept.quarantine->count, 1);
    assert_false(is_open(oldest));
    assert_true(is_open(foreign));
    assert_true(is_open(last));
    assert_int_equal(world_ledger()->header->quarantined_fds, 1);
    quarantine_trim_fds(kept.quarantine, &kept.event, 7); /* an eighth of that is none */
    assert_false(is_open(last));
    close(foreign);
    close(other);
    end(&kept);
}

/* --- allocators --------------------------------------------------------------------------------
 */

static void allocators_are_known_by_name(void **state)
{
    static const char *const are[] = {"malloc",
                                      "posix_memalign",
                                      "_Znwm",
                                      "_ZnamRKSt9nothrow_t",
                                      "je_arena_new",
                                      "_rjem_malloc",
                                      "mi_malloc_aligned",
                                      "_RNvCs1_7___rustc12___rust_alloc"};
    static const char *const are_not[] = {"main", "vm_allocate", "malloc_trim_later", "object_new"};
    (void)state;
    for (size_t i = 0; i < sizeof are / sizeof *are; i++) {
        assert_true(allocator_is_named(are[i]));
    }
    for (size_t i = 0; i < sizeof are_not / sizeof *are_not; i++) {
        assert_false(allocator_is_named(are_not[i]));
    }
}

__attribute__((noinline)) static uint64_t mi_test_alloc(void)
{
    return (uintptr_t)__builtin_return_address(0);
}

/* The test's own module, as the shim would have recorded it. */
static void record_module(void)
{
    extern const char __ehdr_start[], _end[];
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path);
    assert_true(length > 0 && length < (ssize_t)sizeof path);
    uint32_t index = ledger_reserve(world_ledger(), world_actor(), LEDGER_MODULES, 1);
    struct ledger_module *module = ledger_at(world_ledger(), LEDGER_MODULES, index);
    module->path = ledger_string(world_ledger(), world_actor(), path, (size_t)length);
    module->start = module->bias = (uintptr_t)__ehdr_start;
    module->end = (uintptr_t)_end;
    module->state = LEDGER_LIVE;
}

static uint32_t stack_in(uint64_t address)
{
    return ledger_stack_intern(world_ledger(), world_actor(), &address, 1, 0, 1);
}

static void stacks_through_them_are_told(void **state)
{
    struct allocator *allocator = zeroed(sizeof *allocator);
    (void)state;
    assert_int_not_equal(mi_test_alloc(), 0);
    uint32_t through = stack_in((uintptr_t)mi_test_alloc + 2);
    uint32_t beside = stack_in((uintptr_t)record_module + 2);
    uint32_t nowhere = stack_in(2);
    record_module();
    assert_true(allocator_made(allocator, world_ledger(), through));
    assert_false(allocator_made(allocator, world_ledger(), beside));
    assert_true(allocator_made(allocator, world_ledger(), nowhere));
    assert_true(allocator_made(allocator, world_ledger(), 0));
    free(allocator);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, world_begin, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_sandboxes_and_patience_convict),
        cmocka_unit_test(a_release_acquits_for_good),
        cmocka_unit_test(a_late_release_differs_from_what_was_reclaimed),
        cmocka_unit_test(the_thread_itself_must_take_eight_more),
        cmocka_unit_test(other_sizes_are_other_cases),
        cmocka_unit_test(witnesses_are_of_one_look),
        IN_WORLD(a_successor_is_another),
        IN_WORLD(what_has_a_name_is_weaker),
        IN_WORLD(a_process_in_proc_is_unique_once_it_is_gone),
        IN_WORLD(a_guest_memfd_is_unique_and_a_vm_is_not),
        cmocka_unit_test(a_range_is_whole_and_alike),
        cmocka_unit_test(names_tell_what_it_is),
        IN_WORLD(neighbours_are_one_and_parts_can_go),
        IN_WORLD(the_oldest_go_first),
        IN_WORLD(what_is_foreign_by_now_stays),
        IN_WORLD(later_looks_join_what_earlier_ones_kept),
        IN_WORLD(numbers_go_by_age_unless_they_are_foreign),
        cmocka_unit_test(allocators_are_known_by_name),
        IN_WORLD(stacks_through_them_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
