/*
 * api_calls.c: every function of boxledger.h, as a supervisor calls them.
 *
 * The first argument after the ledger says what is looked at. What is asked of the ledger is asked
 * through boxledger.h alone, but for how long its table of owners is.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "boxledger.h"
#include "system.h"

#define DEEPEST 16 /* boxledger.h says how deep scopes nest */
#define MANY 100000u
#define TABLE_MAX 16384u /* twice LEDGER_OWNERS_KEPT */
#define NOBODY ((UINT64_C(1) << 32) | 700000)

/* The call fails with that errno. */
#define refuses(call, error)                                                                       \
    do {                                                                                           \
        errno = 0;                                                                                 \
        long result_ = (long)(call);                                                               \
        check(result_ == -1 && errno == (error), #call ": %ld, %s", result_, strerror(errno));     \
    } while (0)
#define works(call) check((call) == 0, #call ": %s", strerror(errno))

static int open_null(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static struct boxledger_usage usage_of(boxledger_owner owner)
{
    struct boxledger_usage usage = {0};
    works(boxledger_usage(owner, &usage));
    check(usage.size == sizeof usage, "usage.size is %zu", usage.size);
    return usage;
}

static void expect_usage(const char *when, boxledger_owner owner, uint64_t fds, uint64_t mappings,
                         uint64_t bytes)
{
    struct boxledger_usage usage = usage_of(owner);
    check(usage.fds == fds && usage.mappings == mappings && usage.bytes == bytes,
          "%s: it holds %lu descriptors, %lu mappings, %lu bytes; not %lu, %lu, %lu", when,
          (unsigned long)usage.fds, (unsigned long)usage.mappings, (unsigned long)usage.bytes,
          (unsigned long)fds, (unsigned long)mappings, (unsigned long)bytes);
    check(usage.owners == 1, "%s: %lu owners", when, (unsigned long)usage.owners);
}

/* --- nobody watches --------------------------------------------------------------------------- */

static void all_refuse(void)
{
    struct boxledger_usage usage;
    errno = EXDEV;
    check(boxledger_present() == 0 && errno == EXDEV, "present, or errno changed");
    errno = 0;
    check(boxledger_begin("box") == 0 && errno == ENOSYS, "begin: %s", strerror(errno));
    refuses(boxledger_enter(1), ENOSYS);
    refuses(boxledger_leave(1), ENOSYS);
    refuses(boxledger_end(1), ENOSYS);
    refuses(boxledger_assign_fd(1, 0), ENOSYS);
    refuses(boxledger_assign_range(1, &usage, 1), ENOSYS);
    refuses(boxledger_usage(1, &usage), ENOSYS);
    refuses(boxledger_mark(), ENOSYS);
    refuses(boxledger_check(&usage), ENOSYS);
}

static void in_a_child(void)
{
    boxledger_owner owner = boxledger_begin("parent's");
    int status = -1;
    check(owner != 0, "begin: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0) {
        all_refuse();
        refuses(boxledger_end(owner), ENOSYS);
        _exit(system_end());
    }
    check(waitpid(child, &status, 0) == child && status == 0, "the child: %#x", status);
    expect_usage("after the child", owner, 0, 0, 0);
    works(boxledger_end(owner));
}

/* --- scopes ----------------------------------------------------------------------------------- */

static void scopes_nest(void)
{
    boxledger_owner owner[DEEPEST + 1];
    int fd[DEEPEST];
    for (unsigned i = 0; i <= DEEPEST; i++) {
        owner[i] = boxledger_begin(i ? "inner" : NULL);
        check(owner[i] != 0, "begin: %s", strerror(errno));
        check(i == 0 || owner[i] != owner[i - 1], "two owners have one name");
    }
    for (unsigned i = 0; i < DEEPEST; i++) {
        works(boxledger_enter(owner[i]));
        fd[i] = open_null();
    }
    refuses(boxledger_enter(owner[DEEPEST]), EOVERFLOW);
    refuses(boxledger_leave(owner[DEEPEST]), EINVAL);
    for (unsigned i = DEEPEST; i-- > 0;) {
        if (i > 0) {
            refuses(boxledger_leave(owner[i - 1]), EINVAL);
        }
        works(boxledger_leave(owner[i]));
        expect_usage("left", owner[i], 1, 0, 0);
    }
    refuses(boxledger_leave(owner[0]), EINVAL);
    expect_usage("refused", owner[DEEPEST], 0, 0, 0);
    /* One that is entered twice is left twice; one that has ended can still be left. */
    works(boxledger_enter(owner[0]));
    works(boxledger_enter(owner[0]));
    works(boxledger_end(owner[0]));
    works(boxledger_leave(owner[0]));
    works(boxledger_leave(owner[0]));
    for (unsigned i = 0; i < DEEPEST; i++) {
        close(fd[i]);
        if (i > 0) {
            expect_usage("closed", owner[i], 0, 0, 0);
        }
    }
    for (unsigned i = 1; i <= DEEPEST; i++) {
        works(boxledger_end(owner[i]));
    }
}

#define THREADS 8
#define EACH 10
static boxledger_owner shared;

static void *takes_some(void *fds)
{
    works(boxledger_enter(shared));
    for (unsigned i = 0; i < EACH; i++) {
        ((int *)fds)[i] = open_null();
    }
    works(boxledger_leave(shared));
    ((int *)fds)[EACH] = open_null(); /* the supervisor's */
    return NULL;
}

static void by_several_threads(void)
{
    pthread_t thread[THREADS];
    int fds[THREADS][EACH + 1];
    shared = boxledger_begin("of all threads");
    for (unsigned i = 0; i < THREADS; i++) {
        check(pthread_create(&thread[i], NULL, takes_some, fds[i]) == 0, "no thread");
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
    }
    expect_usage("of all threads", shared, THREADS * EACH, 0, 0);
    for (unsigned i = 0; i < THREADS; i++) {
        for (unsigned n = 0; n <= EACH; n++) {
            close(fds[i][n]);
        }
    }
    expect_usage("all closed", shared, 0, 0, 0);
    works(boxledger_end(shared));
}

static boxledger_owner of_handler;
static volatile int handlers_fd;

static void handler(int number)
{
    int before = errno;
    (void)number;
    of_handler = boxledger_begin("of a handler");
    works(boxledger_enter(of_handler));
    handlers_fd = open_null();
    works(boxledger_leave(of_handler));
    errno = before;
}

static void in_a_handler(void)
{
    boxledger_owner outer = boxledger_begin("interrupted");
    signal(SIGUSR1, handler);
    works(boxledger_enter(outer));
    raise(SIGUSR1);
    int fd = open_null();
    works(boxledger_leave(outer));
    expect_usage("the handler's", of_handler, 1, 0, 0);
    expect_usage("the interrupted one", outer, 1, 0, 0);
    close(fd);
    close(handlers_fd);
    works(boxledger_end(of_handler));
    works(boxledger_end(outer));
}

/* --- what is assigned ------------------------------------------------------------------------- */

static void what_is_assigned(void)
{
    boxledger_owner first = boxledger_begin("first");
    boxledger_owner second = boxledger_begin("second");
    int fd = open_null();
    works(boxledger_assign_fd(first, fd));
    expect_usage("a descriptor assigned", first, 1, 0, 0);
    works(boxledger_assign_fd(second, fd));
    expect_usage("and taken away", first, 0, 0, 0);
    expect_usage("and assigned again", second, 1, 0, 0);
    works(boxledger_assign_fd(0, fd));
    expect_usage("and given back", second, 0, 0, 0);
    close(fd);

    char *map = mmap(NULL, 8 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(map != MAP_FAILED, "mmap: %s", strerror(errno));
    works(boxledger_assign_range(first, map + 2 * PAGE + 1, PAGE)); /* touches two pages */
    expect_usage("a part assigned", first, 0, 1, 2 * PAGE);
    works(boxledger_assign_range(second, map, 8 * PAGE));
    expect_usage("all of it another's", first, 0, 0, 0);
    check(usage_of(second).bytes == 8 * PAGE, "not all of it is the second's");
    works(boxledger_assign_range(0, map, 8 * PAGE));
    expect_usage("all of it given back", second, 0, 0, 0);
    works(boxledger_assign_range(first, map + PAGE, PAGE));
    munmap(map, 8 * PAGE);
    expect_usage("unmapped", first, 0, 0, 0);
    works(boxledger_end(first));
    works(boxledger_end(second));
}

/* --- one sandbox, one owner ------------------------------------------------------------------- */

static uint64_t owners_begun(void)
{
    struct ledger_view view;
    uint64_t begun = 0;
    if (!check(ledger_view_open(&view, system_ledger) == 0, "no ledger")) {
        return 0;
    }
    for (unsigned kind = 0; kind < LEDGER_OWNER_KINDS; kind++) {
        begun += view.header->owners_begun[kind];
    }
    ledger_view_close(&view);
    return begun;
}

static void one_owner(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    uint64_t before = owners_begun();
    boxledger_owner owner = boxledger_begin("with all its parts");
    works(boxledger_enter(owner));
    pid_t child = fork();
    if (child == 0) {
        _exit(0);
    }
    int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
    works(boxledger_leave(owner));
    check(owners_begun() == before + 1, "%lu owners in one scope",
          (unsigned long)(owners_begun() - before));
    waitpid(child, NULL, 0);
    if (vm >= 0) {
        expect_usage("with a VM", owner, 1, 0, 0);
        close(vm);
        int alone = ioctl(kvm, KVM_CREATE_VM, 0);
        check(owners_begun() == before + 2, "a VM outside is no owner");
        works(boxledger_assign_fd(owner, alone));
        check(owners_begun() == before + 1, "the assigned VM is still a sandbox of its own");
        expect_usage("with the VM assigned", owner, 1, 0, 0);
        close(alone);
    }
    expect_usage("without the VM", owner, 0, 0, 0);
    works(boxledger_end(owner));
    if (kvm < 0) {
        system_skip("the VMs' part needs /dev/kvm");
    }
    close(kvm);
}

/* --- many ------------------------------------------------------------------------------------- */

static void many(void)
{
    struct ledger_view view;
    boxledger_owner last = 0;
    for (unsigned i = 0; i < MANY; i++) {
        boxledger_owner owner = boxledger_begin("one of many");
        if (!check(owner != 0 && owner != last, "begin %u: %s", i, strerror(errno))) {
            return;
        }
        last = owner;
        works(boxledger_end(owner));
    }
    if (!check(ledger_view_open(&view, system_ledger) == 0, "no ledger")) {
        return;
    }
    check(view.header->owners_begun[LEDGER_OWNER_API] == MANY &&
              view.header->owners_ended[LEDGER_OWNER_API] == MANY,
          "%lu begun, %lu ended", (unsigned long)view.header->owners_begun[LEDGER_OWNER_API],
          (unsigned long)view.header->owners_ended[LEDGER_OWNER_API]);
    check(view.header->owners_live == 0 && view.header->owners_missed == 0, "%u live, %lu missed",
          view.header->owners_live, (unsigned long)view.header->owners_missed);
    check(view.header->used[LEDGER_OWNERS] <= TABLE_MAX, "the table has %lu owners",
          (unsigned long)view.header->used[LEDGER_OWNERS]);
    ledger_view_close(&view);
}

/* --- what is left behind ---------------------------------------------------------------------- */

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void expect_left(const char *when, uint64_t fds, uint64_t mappings, uint64_t bytes,
                        uint64_t owners)
{
    struct boxledger_usage left = {0};
    int result = boxledger_check(&left);
    check(result == (fds + mappings > 0), "%s: check says %d", when, result);
    check(left.fds == fds && left.mappings == mappings && left.bytes == bytes &&
              left.owners == owners && left.size == sizeof left,
          "%s: %lu descriptors, %lu mappings, %lu bytes, by %lu; not %lu, %lu, %lu, %lu", when,
          (unsigned long)left.fds, (unsigned long)left.mappings, (unsigned long)left.bytes,
          (unsigned long)left.owners, (unsigned long)fds, (unsigned long)mappings,
          (unsigned long)bytes, (unsigned long)owners);
}

#define SETTLE_MS 100 /* the script says so to the shim */
static void what_is_left(void)
{
    int fd[3];
    boxledger_owner owner[2] = {boxledger_begin("one"), boxledger_begin("two")};
    expect_left("nothing has happened", 0, 0, 0, 0);
    works(boxledger_enter(owner[0]));
    fd[0] = open_null();
    fd[1] = open_null();
    char *map = mmap(NULL, 6 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    works(boxledger_leave(owner[0]));
    works(boxledger_enter(owner[1]));
    fd[2] = open_null();
    works(boxledger_leave(owner[1]));
    int supervisors = open_null();
    expect_left("nothing has ended", 0, 0, 0, 0);
    works(boxledger_end(owner[0]));
    expect_left("it may still tidy up", 0, 0, 0, 0);
    pause_ms(3 * SETTLE_MS);
    expect_left("settled", 2, 1, 6 * PAGE, 1);
    expect_left("the same again", 2, 1, 6 * PAGE, 1);
    works(boxledger_end(owner[1]));
    pause_ms(3 * SETTLE_MS);
    expect_left("both settled", 3, 1, 6 * PAGE, 2);
    munmap(map + 2 * PAGE, 2 * PAGE);
    expect_left("a hole in it", 3, 1, 4 * PAGE, 2);
    close(fd[2]);
    expect_left("the second's closed", 2, 1, 4 * PAGE, 1);
    raw(SYS_close, fd[1]); /* the ledger does not see this one */
    expect_left("one closed unseen", 1, 1, 4 * PAGE, 1);
    raw(SYS_munmap, map, 2 * PAGE);
    expect_left("a piece unmapped unseen", 1, 1, 2 * PAGE, 1);
    works(boxledger_assign_fd(0, fd[0]));
    works(boxledger_assign_range(0, map + 4 * PAGE, 2 * PAGE));
    expect_left("given back", 0, 0, 0, 0);
    close(fd[0]);
    close(supervisors);
    works(boxledger_mark());
}

static char *map_and_bind(int vm)
{
    char *map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region region = {
        .guest_phys_addr = 1 << 20, .memory_size = 2 * PAGE, .userspace_addr = (uintptr_t)map};
    works(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region));
    return map;
}

static void unbind(int vm)
{
    struct kvm_userspace_memory_region none = {.guest_phys_addr = 1 << 20};
    works(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &none));
}

/* A VM that lives on and forgets the memory that its slots had. */
static void what_a_vm_forgets(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0) {
        system_skip("no /dev/kvm");
    }
    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    char *map[2];
    volatile bool first = true; /* what is unrolled has two places */
    for (unsigned i = 0; i < 2; i++) {
        map[i] = map_and_bind(vm);
        if (first) {
            first = false;
            unbind(vm);
            pause_ms(3 * SETTLE_MS);
            expect_left("it may be bound again", 0, 0, 0, 0);
        }
    }
    expect_left("another was taken, from the same place", 0, 1, 2 * PAGE, 1);
    munmap(map[0], 2 * PAGE);
    expect_left("unmapped", 0, 0, 0, 0);
    close(vm);
    pause_ms(3 * SETTLE_MS);
    expect_left("the VM has gone, its memory has not", 0, 1, 2 * PAGE, 1);
    munmap(map[1], 2 * PAGE);
    expect_left("nor that", 0, 0, 0, 0);
    close(kvm);
}

/* --- nonsense --------------------------------------------------------------------------------- */

/* Whoever reads the ledger from outside says when to go on. */
static void wait_for_reader(void)
{
    char word;
    raw(SYS_write, 1, "look\n", 5);
    raw(SYS_read, 0, &word, 1);
}

static void nonsense(void)
{
    static char big[200];
    int fd = open_null();
    int closed = open_null();
    char *map = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *gone = mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(big, 'x', sizeof big - 1);
    close(closed);
    boxledger_owner nameless = boxledger_begin(NULL);
    boxledger_owner long_name = boxledger_begin(big);
    boxledger_owner owner = boxledger_begin("live");
    boxledger_owner ended = boxledger_begin("ended");
    works(boxledger_assign_fd(ended, fd));
    works(boxledger_end(ended));
    works(boxledger_enter(owner));
    munmap(gone + PAGE, 2 * PAGE);

    wait_for_reader();
    struct boxledger_usage usage = {0};
    int foreign;
    refuses(boxledger_enter(0), ESRCH);
    refuses(boxledger_enter(NOBODY), ESRCH);
    refuses(boxledger_enter(UINT64_MAX), ESRCH);
    refuses(boxledger_enter(owner ^ (UINT64_C(1) << 32)), ESRCH);
    refuses(boxledger_enter(ended), EINVAL);
    refuses(boxledger_leave(NOBODY), EINVAL);
    refuses(boxledger_leave(nameless), EINVAL);
    refuses(boxledger_end(0), ESRCH);
    refuses(boxledger_end(NOBODY), ESRCH);
    refuses(boxledger_end(ended), EINVAL);
    refuses(boxledger_assign_fd(NOBODY, fd), ESRCH);
    refuses(boxledger_assign_fd(ended, fd), EINVAL);
    refuses(boxledger_assign_fd(owner, closed), EBADF);
    refuses(boxledger_assign_fd(owner, -1), EBADF);
    refuses(boxledger_assign_fd(owner, INT_MAX), EBADF);
    refuses(boxledger_assign_fd(0, closed), EBADF);
    refuses(boxledger_assign_range(NOBODY, map, PAGE), ESRCH);
    refuses(boxledger_assign_range(ended, map, PAGE), EINVAL);
    refuses(boxledger_assign_range(owner, map, 0), EINVAL);
    refuses(boxledger_assign_range(owner, &foreign, 1), ENOMEM);
    refuses(boxledger_assign_range(owner, gone, 4 * PAGE), ENOMEM);
    refuses(boxledger_assign_range(owner, map, (size_t)1 << 46), ENOMEM);
    refuses(boxledger_assign_range(owner, map, SIZE_MAX), EINVAL);
    refuses(boxledger_assign_range(owner, NULL, PAGE), ENOMEM);
    refuses(boxledger_usage(0, &usage), ESRCH);
    refuses(boxledger_usage(NOBODY, &usage), ESRCH);
    wait_for_reader();

    expect_usage("live", owner, 0, 0, 0);
    expect_usage("ended", ended, 1, 0, 0);
    works(boxledger_leave(owner));
    (void)long_name;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*part)(void);
    } parts[] = {{"nobody", all_refuse},    {"child", in_a_child},
                 {"scopes", scopes_nest},   {"threads", by_several_threads},
                 {"handler", in_a_handler}, {"assigned", what_is_assigned},
                 {"one", one_owner},        {"many", many},
                 {"left", what_is_left},    {"forgotten", what_a_vm_forgets},
                 {"nonsense", nonsense}};
    system_start(argc, argv, 60);
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (system_argc == 1 && strcmp(system_argv[0], parts[i].name) == 0) {
            parts[i].part();
            return system_end();
        }
    }
    return 2;
}
