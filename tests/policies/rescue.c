/*
 * rescue.c: munmap at the limit of VMAs, under rescue=1 (or not: then as the kernel has it).
 *
 * "rounds": the program of F3, twice: 131,030 one-page maps, each written to, every second one
 * unmapped, then the rest. Prints how many unmaps failed, and what is left. "kinds": what may be
 * rescued and what must not, byte by byte. "again": what waits serves the next mmap, where it is
 * like it. "over": what is mapped over it stays, whatever is unmapped later. "waits": three pages
 * wait at the end, from two calls. "stack": from a handler on a small stack.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "raw.h"
#include "tests/system/system.h"

#define LIMIT 65530
#define MAPS 131030u
#define FILLERS 66000u
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define NOREPLACE 0x100000 /* MAP_FIXED_NOREPLACE */

static char *maps[MAPS];

/* --- looking, with what changes nothing --- */

static struct ledger_header header; /* as of the last look */

static void look(void)
{
    if (!system_ledger)
        return;
    long fd = raw_syscall4(SYS_openat, AT_FDCWD, system_ledger, O_RDONLY | O_CLOEXEC, 0);
    check(fd >= 0 && raw_syscall4(SYS_pread64, fd, &header, sizeof header, 0) == sizeof header,
          "the ledger cannot be read");
    raw_syscall1(SYS_close, fd);
}

static bool is_mapped(const void *at, size_t pages)
{
    return raw_syscall3(SYS_msync, at, pages * PAGE, MS_ASYNC) != -ENOMEM;
}

static unsigned resident(const void *at, size_t pages)
{
    unsigned char there[64];
    unsigned count = 0;
    if (raw_failed(raw_syscall3(SYS_mincore, at, pages * PAGE, there)))
        return 0;
    for (size_t i = 0; i < pages; i++)
        count += there[i] & 1;
    return count;
}

static bool is_filled(const char *at, size_t pages, char with)
{
    for (size_t i = 0; i < pages * PAGE; i++)
        if (at[i] != with)
            return false;
    return true;
}

static char *map(size_t pages, int prot, int flags)
{
    char *at = mmap(NULL, pages * PAGE, prot, flags, -1, 0);
    if (at == MAP_FAILED) {
        check(false, "mmap: %s", strerror(errno));
        _exit(1);
    }
    return at;
}

/* `pages` that merge with nothing, filled. */
static char *island(size_t pages, int flags)
{
    char *at = map(pages + 2, PROT_NONE, ANON | MAP_NORESERVE) + PAGE;
    check(mmap(at, pages * PAGE, RW, flags | MAP_FIXED, -1, 0) == at, "mmap: %s", strerror(errno));
    memset(at, 'x', pages * PAGE);
    return at;
}

/* The same where the kernel chose the address: a mapping of that protection by itself. */
static char *islet(size_t pages)
{
    char *low = map(1, PROT_NONE, ANON), *at = map(pages, RW, ANON),
         *high = map(1, PROT_NONE, ANON);
    (void)low;
    (void)high;
    memset(at, 'x', pages * PAGE);
    return at;
}

/* --- the limit --- */

static char *fillers[FILLERS];
static size_t filled;

/* Seen by nobody, so that nobody makes use of it. */
static void make_room_unseen(unsigned vmas)
{
    for (; vmas; vmas--)
        raw_syscall2(SYS_munmap, fillers[--filled], PAGE);
}

/* VMAs until there can be no more, or all but `spare`. Unlike its neighbours, each. */
static void fill_up(unsigned spare)
{
    for (;;) {
        char *at = mmap(NULL, PAGE, filled % 2 ? PROT_READ : PROT_READ | PROT_EXEC, ANON, -1, 0);
        if (at == MAP_FAILED || filled == FILLERS)
            break;
        fillers[filled++] = at;
    }
    check(errno == ENOMEM && filled > 10000, "the limit is not reached: %zu maps", filled);
    make_room_unseen(spare);
}

static void make_room(unsigned vmas)
{
    for (; vmas && filled; vmas--)
        munmap(fillers[--filled], PAGE);
}

/* A munmap of the middle, at the limit. */
static bool refused(char *at, size_t pages)
{
    errno = EDOM;
    int result = munmap(at, pages * PAGE);
    if (result == 0)
        check(errno == EDOM, "munmap succeeds and changes errno to %d", errno);
    else
        check(errno == ENOMEM, "munmap: %s", strerror(errno));
    return result != 0;
}

/* --- what may be rescued --- */

static void expect_rescued(const char *what, char *at, size_t pages)
{
    check(!refused(at, pages), "%s: refused", what);
    check(resident(at, pages) == 0, "%s: %u pages are still there", what, resident(at, pages));
}

static void expect_refused(const char *what, char *at, size_t pages, char with)
{
    check(refused(at, pages), "%s: not refused", what);
    check(is_filled(at, pages, with), "%s: refused, and changed", what);
}

static char *watched_by_userfaultfd(void)
{
    char *at = island(3, ANON);
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register registered = {.range = {(uintptr_t)at, 3 * PAGE},
                                         .mode = UFFDIO_REGISTER_MODE_MISSING};
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &registered)) {
        printf("no userfaultfd here\n");
        return NULL;
    }
    return at;
}

static char *in_a_slot(void)
{
    char *at = island(3, ANON);
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
    struct kvm_userspace_memory_region region = {.userspace_addr = (uintptr_t)at + PAGE,
                                                 .memory_size = PAGE};
    if (vm < 0 || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region)) {
        printf("no KVM here\n");
        return NULL;
    }
    return at;
}

static void kinds(void)
{
    char *plain = islet(5), *locked = island(3, ANON),
         *shared = island(3, MAP_SHARED | MAP_ANONYMOUS);
    char *watched = watched_by_userfaultfd(), *slot = in_a_slot(), *written = island(3, ANON);
    char *unseen = (char *)raw_syscall6(SYS_mmap, 0, 5 * PAGE, RW, ANON, -1, 0) + PAGE;
    char *file = map(5, PROT_NONE, ANON) + PAGE;
    int memfd = memfd_create("rescue", MFD_CLOEXEC);

    check(ftruncate(memfd, 3 * PAGE) == 0 &&
              mmap(file, 3 * PAGE, RW, MAP_PRIVATE | MAP_FIXED, memfd, 0) == file,
          "a private file mapping: %s", strerror(errno));
    memset(file, 'x', 3 * PAGE);
    memset(unseen, 'x', 3 * PAGE);
    check(mprotect(unseen - PAGE, PAGE, PROT_NONE) == 0 &&
              mprotect(unseen + 3 * PAGE, PAGE, PROT_NONE) == 0,
          "mprotect: %s", strerror(errno));
    check(mlock(locked, 3 * PAGE) == 0, "mlock: %s", strerror(errno));
    fill_up(0);
    expect_rescued("plain memory", plain + PAGE, 3);
    expect_rescued("memory that was placed", written + PAGE, 1);
    expect_refused("locked memory", locked + PAGE, 1, 'x');
    expect_refused("shared memory", shared + PAGE, 1, 'x');
    expect_refused("a file's", file + PAGE, 1, 'x');
    expect_refused("what was mapped unseen", unseen + PAGE, 1, 'x');
    if (watched)
        expect_refused("what userfaultfd watches", watched + PAGE, 1, 'x');
    if (slot)
        expect_refused("what a slot maps", slot + PAGE, 1, 'x');
    check(is_filled(plain, 1, 'x') && is_filled(plain + 4 * PAGE, 1, 'x'),
          "its neighbours changed");
    look();
    check(header.rescued == 2 && header.rescue_waiting_ranges == 2 &&
              header.rescue_waiting_bytes == 4 * PAGE,
          "rescued %lu, waiting %lu, %lu bytes", header.rescued, header.rescue_waiting_ranges,
          header.rescue_waiting_bytes);
    /* Once more: for the program there is nothing. */
    check(!refused(plain + PAGE, 3), "a second munmap is refused");
    look();
    check(header.rescued == 2 && header.rescue_waiting_bytes == 4 * PAGE, "counted twice");
    /* A neighbour joins it, and both reach the end of their VMA: no VMA is needed. */
    check(!refused(plain, 1) && !is_mapped(plain, 1) && !is_mapped(plain + PAGE, 3),
          "what lies at an end of its VMA is not unmapped");
    make_room(4);
    check(!is_mapped(written + PAGE, 1), "there is room, and nothing is unmapped");
    look();
    check(header.rescue_waiting_ranges == 0 && header.rescue_waiting_bytes == 0 &&
              header.rescue_unmapped == 2,
          "waiting %lu, %lu bytes; %lu unmapped", header.rescue_waiting_ranges,
          header.rescue_waiting_bytes, header.rescue_unmapped);
    expect_exact("after all of it");
}

/* --- what waits serves again --- */

static void again(void)
{
    char *plain = islet(7), *advised = islet(3), *placed = island(3, ANON);
    char *joined = islet(6);

    check(madvise(advised, 3 * PAGE, MADV_DONTFORK) == 0, "madvise: %s", strerror(errno));
    fill_up(0);
    check(mmap(NULL, PAGE, RW, ANON, -1, 0) == MAP_FAILED, "there is room");
    check(!refused(advised + PAGE, 1), "refused");
    check(!refused(placed + PAGE, 1), "refused");
    /* A fork would lose the one; the other is where the program may map again. */
    check(mmap(NULL, PAGE, RW, ANON, -1, 0) == MAP_FAILED, "what is not alike is given away");
    check(!refused(plain + PAGE, 5), "refused");
    raw_syscall3(SYS_madvise, plain + PAGE, PAGE, MADV_POPULATE_WRITE);
    plain[PAGE] = 'y'; /* a bug of the program's: it finds its way to nobody */
    check(mmap(NULL, PAGE, PROT_READ, ANON, -1, 0) == MAP_FAILED, "of another protection");
    check(mmap(NULL, 6 * PAGE, RW, ANON, -1, 0) == MAP_FAILED, "of another size");
    check(mmap(NULL, PAGE, RW, ANON | MAP_POPULATE, -1, 0) == MAP_FAILED, "with other flags");
    errno = EDOM;
    char *one = mmap(NULL, 100, RW, ANON, -1, 0);
    check(one == plain + PAGE && is_filled(one, 1, 0) && errno == EDOM,
          "%p is given out, not %p, or not empty (errno %d)", (void *)one, (void *)(plain + PAGE),
          errno);
    memset(one, '1', PAGE);
    char *two = mmap(NULL, 2 * PAGE, RW, ANON, -1, 0);
    check(two == plain + 2 * PAGE && is_filled(two, 2, 0), "%p is given out", (void *)two);
    char *two_more = mmap(NULL, 2 * PAGE, RW, ANON, -1, 0);
    check(two_more == plain + 4 * PAGE && is_filled(two_more, 2, 0), "%p", (void *)two_more);
    look();
    check(header.rescue_reused == 3 && header.rescue_waiting_ranges == 2, "reused %lu",
          header.rescue_reused);
    /* Neighbours are one range, whatever their order. */
    check(!refused(joined + PAGE, 1) && !refused(joined + 3 * PAGE, 2) &&
              !refused(joined + 2 * PAGE, 1),
          "refused");
    check(mmap(NULL, 4 * PAGE, RW, ANON, -1, 0) == joined + PAGE, "neighbours are not joined");
    check(is_filled(one, 1, '1') && is_filled(plain, 1, 'x') && is_filled(plain + 6 * PAGE, 1, 'x'),
          "somebody's memory changed");
    make_room(100);
    expect_exact("with room again");
    expect_recorded(one, 5 * PAGE, true, "what was given out");
    check(is_filled(one, 1, '1'), "what was given out is lost");
}

/* --- what is mapped over it --- */

static void over(void)
{
    char *islands[8];
    for (int i = 0; i < 8; i++)
        islands[i] = island(5, ANON);
    fill_up(1);
    for (int i = 0; i < 8; i++)
        check(!refused(islands[i] + PAGE, 3), "refused");
    /* mremap.2, mprotect.2: it is not mapped. */
    check(mremap(islands[0] + PAGE, PAGE, PAGE, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT,
          "mremap of what waits: %s", strerror(errno));
    check(mprotect(islands[0] + PAGE, PAGE, PROT_READ) != 0 && errno == ENOMEM,
          "mprotect of what waits: %s", strerror(errno));
    /* At the limit: what is alike is served, anything else is refused, and nothing lost. */
    char *at = islands[0] + PAGE;
    check(mmap(at, PAGE, RW, ANON | MAP_FIXED, -1, 0) == at && is_filled(at, 1, 0), "MAP_FIXED: %s",
          strerror(errno));
    memset(at, '0', PAGE);
    at = islands[1] + 2 * PAGE;
    check(mmap(at, PAGE, RW, ANON | NOREPLACE, -1, 0) == at && is_filled(at, 1, 0),
          "MAP_FIXED_NOREPLACE: %s", strerror(errno));
    memset(at, '1', PAGE);
    check(mmap(at, PAGE, RW, ANON | NOREPLACE, -1, 0) == MAP_FAILED && errno == EEXIST,
          "MAP_FIXED_NOREPLACE of what is there: %s", strerror(errno));
    check(mmap(islands[2] + PAGE, PAGE, PROT_READ, ANON | NOREPLACE, -1, 0) == MAP_FAILED &&
              errno == EEXIST,
          "MAP_FIXED_NOREPLACE of another protection: %s", strerror(errno));
    look();
    check(header.rescue_waiting_ranges == 9 && header.rescue_waiting_bytes == 22ul * PAGE,
          "waiting %lu, %lu bytes", header.rescue_waiting_ranges, header.rescue_waiting_bytes);
    /* With room for what follows, and none for what waits: it takes its place. */
    make_room_unseen(8);
    at = islands[2] + PAGE;
    check(mmap(at, 3 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, ANON | MAP_FIXED, -1, 0) == at,
          "MAP_FIXED: %s", strerror(errno));
    memset(at, '2', 3 * PAGE);
    make_room_unseen(8);
    char *source = islands[7];
    memset(source, '3', PAGE);
    at = islands[3] + 2 * PAGE;
    check(mremap(source, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at, "mremap: %s",
          strerror(errno));
    make_room_unseen(8);
    at = islands[4] + PAGE;
    check(mmap(at, PAGE, PROT_READ | PROT_EXEC, ANON | NOREPLACE, -1, 0) == at,
          "MAP_FIXED_NOREPLACE: %s", strerror(errno));
    /* All of it, with what waits within; then something else is there. */
    check(munmap(islands[5], 5 * PAGE) == 0 && !is_mapped(islands[5] + PAGE, 3), "munmap: %s",
          strerror(errno));
    at = mmap(islands[5] + PAGE, 3 * PAGE, RW, ANON, -1, 0); /* a hint, and it is free */
    check(at == islands[5] + PAGE, "mmap: %p, %s", (void *)at, strerror(errno));
    memset(at, '5', 3 * PAGE);
    make_room(200);
    check(is_filled(islands[0] + PAGE, 1, '0') && is_filled(islands[1] + 2 * PAGE, 1, '1') &&
              is_filled(islands[2] + PAGE, 3, '2') && is_filled(islands[3] + 2 * PAGE, 1, '3') &&
              is_filled(islands[5] + PAGE, 3, '5'),
          "what was mapped over what waited is lost");
    check(is_mapped(islands[4] + PAGE, 1), "what was mapped over what waited is unmapped");
    check(!is_mapped(islands[6] + PAGE, 1) && !is_mapped(islands[0] + 2 * PAGE, 1) &&
              !is_mapped(islands[1] + PAGE, 1) && !is_mapped(islands[3] + PAGE, 1),
          "what waits is not unmapped when there is room");
    look();
    check(header.rescue_waiting_ranges == 0, "%lu ranges wait", header.rescue_waiting_ranges);
}

/* --- what still waits at the end --- */

static __attribute__((noinline)) void leave_waiting(char *at, size_t pages)
{
    check(!refused(at, pages), "refused");
    __asm__ volatile("");
}

static void waits(void)
{
    char *at = islet(6), *other = islet(3);

    fill_up(0);
    /* What cannot be made up for is told. */
    check(mprotect(other + PAGE, PAGE, PROT_READ) != 0 && errno == ENOMEM, "mprotect: %s",
          strerror(errno));
    check(madvise(other + PAGE, PAGE, MADV_DONTFORK) != 0 && errno == EAGAIN, "madvise: %s",
          strerror(errno));
    check(mremap(other + PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED && errno == ENOMEM,
          "mremap: %s", strerror(errno));
    check(madvise(other - PAGE, 4 * PAGE, MADV_DONTNEED) == 0, "madvise: %s", strerror(errno));
    /* From one place, whatever the compiler would make of a loop of two. */
    volatile size_t calls = 2;
    for (size_t pages = 1; pages <= calls; pages++)
        leave_waiting(at + (2 * pages - 1) * PAGE, pages);
}

/* --- how much of a small stack it needs --- */

#define STACK 16384u
#define STACK_MORE 1536u /* what a call may take of it while something waits: doc/limits.md */

static char small[STACK] __attribute__((aligned(64)));
static const char *doing;
static char *object;
static size_t entered; /* bytes of it in use when the handler begins */

static __attribute__((noinline)) void on_small_stack(int number)
{
    char here;
    (void)number;
    entered = (size_t)(small + STACK - &here);
    if (strcmp(doing, "munmap") == 0)
        (void)munmap(object, PAGE);
    else if (strcmp(doing, "mmap") == 0)
        (void)mmap(NULL, PAGE, RW, ANON, -1, 0);
    else
        (void)mmap(object, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0);
}

/* A stack that is captured for the first time takes its own. */
static void needs_little(const char *what, char *at, bool again)
{
    size_t untouched = 0;
    doing = what;
    object = at;
    memset(small, 0xa5, STACK);
    raise(SIGUSR1);
    while (untouched < STACK && (unsigned char)small[untouched] == 0xa5)
        untouched++;
    check(!again || STACK - untouched - entered <= STACK_MORE, "%s needs %zu bytes of the stack",
          what, STACK - untouched - entered);
}

static void stack(void)
{
    struct sigaction action = {.sa_handler = on_small_stack, .sa_flags = SA_ONSTACK};
    char *at = islet(9);

    sigaltstack(&(stack_t){.ss_sp = small, .ss_size = STACK}, NULL);
    sigaction(SIGUSR1, &action, NULL);
    fill_up(1);
    for (size_t i = 1; i < 8; i += 2)
        needs_little("munmap", at + i * PAGE, i > 1);
    look();
    check(header.rescued == 4, "rescued %lu", header.rescued);
    needs_little("mmap", NULL, false);
    needs_little("mmap", NULL, true);
    look();
    check(header.rescue_reused == 2, "reused %lu", header.rescue_reused);
    make_room_unseen(8);
    needs_little("MAP_FIXED", at + 5 * PAGE, false);
    needs_little("MAP_FIXED", at + 7 * PAGE, true);
    make_room(1);
    check(!refused(at + PAGE, 1), "refused");
    needs_little("munmap", fillers[--filled], true); /* and a retry, if anything waits */
    look();
    check(header.rescue_waiting_ranges == 0, "%lu wait", header.rescue_waiting_ranges);
}

/* --- F3 --- */

static long resident_pages(void)
{
    char text[100] = {0};
    long fd = raw_syscall4(SYS_openat, AT_FDCWD, "/proc/self/statm", O_RDONLY | O_CLOEXEC, 0);
    raw_syscall3(SYS_read, fd, text, sizeof text - 1);
    raw_syscall1(SYS_close, fd);
    char *end;
    (void)strtol(text, &end, 10);
    return strtol(end, NULL, 10);
}

static long vmas(void)
{
    static struct kernel_range ranges[70000]; /* room for a look */
    long count = kernel_view_maps(ranges, 70000);
    if (count > 0 && ranges[count - 1].start >= UINT64_C(0xffffffff00000000))
        count--; /* [vsyscall] is the same for all and no VMA */
    return count;
}

static __attribute__((noinline)) int unmap_one(char *at)
{
    int bad = munmap(at, PAGE);
    __asm__ volatile("");
    return bad;
}

static void rounds(void)
{
    for (int round = 1; round <= 2; round++) {
        unsigned bad = 0;
        for (unsigned i = 0; i < MAPS; i++) {
            maps[i] = mmap(NULL, PAGE, RW, ANON, -1, 0);
            if (maps[i] == MAP_FAILED) {
                check(false, "mmap %u is refused", i);
                return;
            }
            check(maps[i][0] == 0, "mmap %u is not empty", i);
            maps[i][0] = 'x';
        }
        long before = resident_pages();
        for (unsigned i = 0; i < MAPS; i += 2)
            bad += unmap_one(maps[i]) != 0;
        printf("round %d: %u unmaps failed\n", round, bad);
        printf("round %d: %ld pages are back, %ld VMAs\n", round, before - resident_pages(),
               vmas());
        for (unsigned i = 1; i < MAPS; i += 2)
            check(maps[i][0] == 'x' && unmap_one(maps[i]) == 0, "munmap %u: %s", i,
                  strerror(errno));
        printf("round %d: %ld VMAs at its end\n", round, vmas());
    }
}

int main(int argc, char **argv)
{
    int limit = 0;
    FILE *stream = fopen("/proc/sys/vm/max_map_count", "r");

    system_start(argc, argv, 100);
    if (!stream || fscanf(stream, "%d", &limit) != 1 || limit != LIMIT)
        system_skip("vm.max_map_count is not 65,530 here");
    fclose(stream);
    const char *what = system_argc ? system_argv[0] : "";
    if (strcmp(what, "rounds") == 0)
        rounds();
    else if (strcmp(what, "kinds") == 0)
        kinds();
    else if (strcmp(what, "again") == 0)
        again();
    else if (strcmp(what, "over") == 0)
        over();
    else if (strcmp(what, "stack") == 0)
        stack();
    else
        waits();
    (void)fflush(stdout);
    return system_end();
}
