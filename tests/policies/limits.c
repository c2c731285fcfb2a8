/*
 * limits.c: sandboxes at their limits.
 *
 *   limits LEDGER each DIRECTORY     limit_fds=8: every call that takes a descriptor
 *   limits LEDGER maps               limit_vmas=6:limit_bytes=256K: every call that maps
 *   limits LEDGER crowd VMAS FDS     one takes without end, 50 do honest work
 *   limits LEDGER chaos              the same with no limit
 *   limits LEDGER reserve_fds N      sandboxes take all there is, N stay for the supervisor
 *   limits LEDGER reserve_vmas N
 *   limits LEDGER thread             limit_fds=8:placement, and a rule for threads: limited-*
 *   limits LEDGER kvm                limit_fds=4:limit_bytes=1M: what a VM has
 *
 * At a limit each call must answer as it does at the process's own, and must not have happened:
 * no file, no message, no connection is lost. The supervisor is never refused anything.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "boxledger.h"
#include "policy_test.h"

enum {
    LIMIT_FDS = 8,
    LIMIT_VMAS = 6,
    LIMIT_BYTES = 256 << 10,
    KVM_FDS = 4,
    KVM_BYTES = 1 << 20,
    HONEST = 50,
    HONEST_ROUNDS = 200,
    HONEST_HOLDS = 4,
    FDS_MAX = 4096,
    PATH_BYTES = 256,
};

static boxledger_owner begin(const char *label)
{
    boxledger_owner owner = boxledger_begin(label);
    check(owner != 0, "boxledger_begin");
    return owner;
}

static uint64_t limited(void)
{
    struct ledger_view view;
    uint64_t count = 0;
    if (system_ledger && ledger_view_open(&view, system_ledger) == 0) {
        count = view.header->limited;
        ledger_view_close(&view);
    }
    return count;
}

/* How often a limit was noted with this kind, for this owner. */
static uint64_t noted(enum ledger_event_kind kind, int error, uint32_t owner)
{
    struct ledger_view view;
    uint64_t count = 0;
    if (!system_ledger || ledger_view_open(&view, system_ledger) != 0) {
        return 0;
    }
    for (uint64_t i = 1; i < view.header->used[LEDGER_EVENTS]; i++) {
        const struct ledger_event *event = ledger_view_record(&view, LEDGER_EVENTS, i);
        if (event && event->kind == kind && event->error == error && event->owner == owner) {
            check(event->stack != 0, "a limit was noted without its stack");
            count += event->count;
        }
    }
    ledger_view_close(&view);
    return count;
}

/* --- descriptors, one call after another --- */

static char directory[PATH_BYTES], path[PATH_BYTES];
static int listener, sender, receiver, spare = -1;

static int own_file(void)
{
    return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}
static int own_file_at(void)
{
    return openat(AT_FDCWD, path, O_RDWR | O_CREAT, 0600);
}
static int own_creat(void)
{
    return creat(path, 0600);
}
static int own_stream(void)
{
    FILE *stream = fopen(path, "w");
    return stream ? fileno(stream) : -1;
}
static int own_temporary(void)
{
    char name[2 * PATH_BYTES];
    snprintf(name, sizeof name, "%s/XXXXXX", directory);
    int fd = mkstemp(name);
    if (fd >= 0) {
        unlink(name);
    }
    return fd;
}
static int own_directory(void)
{
    DIR *opened = opendir("/");
    return opened ? dirfd(opened) : -1;
}
static int own_memfd(void)
{
    return memfd_create("x", MFD_CLOEXEC);
}
static int own_eventfd(void)
{
    return eventfd(0, EFD_CLOEXEC);
}
static int own_epoll(void)
{
    return epoll_create1(EPOLL_CLOEXEC);
}
static int own_timer(void)
{
    return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
}
static int own_inotify(void)
{
    return inotify_init1(IN_CLOEXEC);
}
static int own_signalfd(void)
{
    sigset_t none;
    sigemptyset(&none);
    return signalfd(-1, &none, SFD_CLOEXEC);
}
static int own_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0);
}
static int own_dup(void)
{
    return dup(0);
}
static int own_dup2(void)
{
    return dup2(0, spare);
}
static int own_dup3(void)
{
    return dup3(0, spare, O_CLOEXEC);
}
static int own_fcntl(void)
{
    return fcntl(0, F_DUPFD_CLOEXEC, 0);
}
static int own_accept(void)
{
    return accept(listener, NULL, NULL);
}
static int own_accept4(void)
{
    return accept4(listener, NULL, NULL, SOCK_CLOEXEC);
}
static int own_queue(void)
{
    char name[64];
    snprintf(name, sizeof name, "/boxledger-limits-%d", (int)getpid());
    int fd = mq_open(name, O_RDWR | O_CREAT, 0600, NULL);
    int error = errno;
    bool made = mq_unlink(name) == 0;
    check(made == (fd >= 0), "a queue was made, or was not");
    errno = error;
    return fd;
}
static int own_pty(void)
{
    return posix_openpt(O_RDWR | O_NOCTTY);
}
static int own_pidfd(void)
{
    return (int)syscall(SYS_pidfd_open, getpid(), 0);
}
static int own_openat_raw(void)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT, 0600);
}
static int own_memfd_raw(void)
{
    return (int)syscall(SYS_memfd_create, "x", 0);
}
static int own_dup_raw(void)
{
    return (int)syscall(SYS_dup, 0);
}
static int own_fcntl_raw(void)
{
    return (int)syscall(SYS_fcntl, 0, F_DUPFD, 0);
}
static int own_accept_raw(void)
{
    return (int)syscall(SYS_accept4, listener, NULL, NULL, 0);
}

static int pair[2];

static int two_pipe(void)
{
    return pipe(pair);
}
static int two_pipe2(void)
{
    return pipe2(pair, O_CLOEXEC);
}
static int two_sockets(void)
{
    return socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
}
static int two_pty(void)
{
    return openpty(&pair[0], &pair[1], NULL, NULL, NULL);
}
static int two_pipe_raw(void)
{
    return (int)syscall(SYS_pipe2, pair, O_CLOEXEC);
}
static int two_sockets_raw(void)
{
    return (int)syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, pair);
}

#define CALL(name, takes)                                                                          \
    {                                                                                              \
#name, name, takes                                                                         \
    }
static const struct call {
    const char *name;
    int (*make)(void);
    unsigned takes;
} calls[] = {
    CALL(own_file, 1),    CALL(own_file_at, 1),    CALL(own_creat, 1),
    CALL(own_stream, 1),  CALL(own_temporary, 1),  CALL(own_directory, 1),
    CALL(own_memfd, 1),   CALL(own_eventfd, 1),    CALL(own_epoll, 1),
    CALL(own_timer, 1),   CALL(own_inotify, 1),    CALL(own_signalfd, 1),
    CALL(own_socket, 1),  CALL(own_dup, 1),        CALL(own_dup2, 1),
    CALL(own_dup3, 1),    CALL(own_fcntl, 1),      CALL(own_accept, 1),
    CALL(own_accept4, 1), CALL(own_queue, 1),      CALL(own_pty, 1),
    CALL(own_pidfd, 1),   CALL(own_openat_raw, 1), CALL(own_memfd_raw, 1),
    CALL(own_dup_raw, 1), CALL(own_fcntl_raw, 1),  CALL(own_accept_raw, 1),
    CALL(two_pipe, 2),    CALL(two_pipe2, 2),      CALL(two_sockets, 2),
    CALL(two_pty, 2),     CALL(two_pipe_raw, 2),   CALL(two_sockets_raw, 2),
};

/* One connection waits at the listener, always. */
static int connect_one(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t length = sizeof address;
    getsockname(listener, (struct sockaddr *)&address, &length);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(connect(fd, (struct sockaddr *)&address, length) == 0, "connect: %s", strerror(errno));
    return fd;
}

static bool connection_waits(void)
{
    struct pollfd poll_fd = {.fd = listener, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1;
}

/* Which one is left unused: the highest that is open, and one more. */
static int free_number(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(fd);
    return fd;
}

static void close_taken(const struct call *call, int result)
{
    if (call->takes == 2) {
        close(pair[0]);
        close(pair[1]);
    } else {
        close(result);
    }
    unlink(path);
}

/* At its limit, less `room`. */
static boxledger_owner full_box(int *held, unsigned room)
{
    boxledger_owner owner = begin("full");
    boxledger_enter(owner);
    for (unsigned i = 0; i + room < LIMIT_FDS; i++) {
        held[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        check(held[i] >= 0, "the %u-th of %d is refused: %s", i + 1, LIMIT_FDS, strerror(errno));
    }
    boxledger_leave(owner);
    return owner;
}

static void empty_box(boxledger_owner owner, const int *held, unsigned room)
{
    for (unsigned i = 0; i + room < LIMIT_FDS; i++) {
        close(held[i]);
    }
    boxledger_end(owner);
}

static void one_call(const struct call *call)
{
    int held[LIMIT_FDS];
    bool accepts = strstr(call->name, "accept") != NULL;
    int client = connect_one();
    boxledger_owner owner = full_box(held, call->takes - 1);
    spare = free_number();
    uint64_t before = open_fds(), refused = limited();

    boxledger_enter(owner);
    errno = 0;
    int result = call->make();
    int error = errno;
    boxledger_leave(owner);
    check(result == -1 && error == EMFILE, "%s at the limit: %d, %s", call->name, result,
          strerror(error));
    check(access(path, F_OK) != 0, "%s left a file", call->name);
    check(connection_waits(), "%s took a connection", call->name);
    check(open_fds() == before, "%s left a descriptor", call->name);
    check(limited() == refused + 1, "%s was not counted as refused", call->name);
    check(noted(LEDGER_EVENT_LIMITED_FD, EMFILE, (uint32_t)owner) >= 1, "%s was not noted",
          call->name);

    /* The supervisor's own; then the sandbox's, once it has room. */
    for (unsigned sandbox = 0; sandbox < 2; sandbox++) {
        if (accepts && !connection_waits()) {
            close(client);
            client = connect_one();
        }
        if (sandbox) {
            close(held[0]);
            boxledger_enter(owner);
        }
        result = call->make();
        check(result >= 0, "%s with room: %s", call->name, strerror(errno));
        if (sandbox) {
            boxledger_leave(owner);
        }
        close_taken(call, result);
    }
    held[0] = -1;
    empty_box(owner, held, call->takes - 1);
    close(client);
    while (connection_waits()) {
        close(accept(listener, NULL, NULL));
    }
}

/* dup2 over what is its own takes nothing more, and is not refused. */
static void over_its_own(void)
{
    int held[LIMIT_FDS];
    boxledger_owner owner = full_box(held, 0);
    boxledger_enter(owner);
    check(dup2(0, held[3]) == held[3], "dup2 over its own: %s", strerror(errno));
    check(dup2(held[3], held[3]) == held[3], "dup2 to itself: %s", strerror(errno));
    check(close(held[3]) == 0 && (held[3] = dup(0)) >= 0, "one for one: %s", strerror(errno));
    boxledger_leave(owner);
    empty_box(owner, held, 0);
}

static ssize_t send_fds(const int *fds, unsigned count, char word)
{
    char space[CMSG_SPACE(16 * sizeof(int))] = {0};
    struct iovec part = {&word, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = space,
                             .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(control), fds, count * sizeof(int));
    return sendmsg(sender, &message, 0);
}

/* How many came, with the message whole; and whether it says that there were more. */
static unsigned receive_fds(int *fds, char *word, bool *truncated, bool many)
{
    char space[CMSG_SPACE(16 * sizeof(int))] = {0};
    struct iovec part = {word, 1};
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &part,
                                          .msg_iovlen = 1,
                                          .msg_control = space,
                                          .msg_controllen = sizeof space}};
    if (many) {
        check(recvmmsg(receiver, &message, 1, MSG_CMSG_CLOEXEC, NULL) == 1, "recvmmsg");
    } else {
        check(recvmsg(receiver, &message.msg_hdr, MSG_CMSG_CLOEXEC) == 1, "recvmsg");
    }
    *truncated = (message.msg_hdr.msg_flags & MSG_CTRUNC) != 0;
    struct cmsghdr *control = CMSG_FIRSTHDR(&message.msg_hdr);
    if (!control) {
        return 0;
    }
    unsigned count = (unsigned)((control->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(fds, CMSG_DATA(control), count * sizeof(int));
    check(count > 0 || message.msg_hdr.msg_controllen == 0, "an empty message of rights");
    return count;
}

static void received(bool many)
{
    const int sent[4] = {0, 0, 0, 0};
    int held[LIMIT_FDS], got[16];
    char word = 0;
    bool truncated;
    for (unsigned room = 0; room <= 5; room++) {
        boxledger_owner owner = full_box(held, room);
        uint64_t before = open_fds();
        check(send_fds(sent, 4, (char)('a' + room)) == 1, "sendmsg");
        boxledger_enter(owner);
        unsigned count = receive_fds(got, &word, &truncated, many);
        boxledger_leave(owner);
        unsigned due = room < 4 ? room : 4;
        check(word == (char)('a' + room), "the message was lost");
        check(count == due, "room for %u: %u of 4 came", room, count);
        check(truncated == (due < 4), "room for %u: truncated %d", room, truncated);
        check(open_fds() == before + due, "descriptors that nobody knows of stay open");
        for (unsigned i = 0; i < count; i++) {
            check(fcntl(got[i], F_GETFD) == FD_CLOEXEC, "descriptor %d is not open", got[i]);
            close(got[i]);
        }
        empty_box(owner, held, room);
    }
}

static void each(const char *where)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX}; /* the kernel names it: unix.7 */
    int ends[2];
    snprintf(directory, sizeof directory, "%s", where);
    snprintf(path, sizeof path, "%s/made", where);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)) == 0, "bind");
    check(listen(listener, 8) == 0, "listen");
    check(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    sender = ends[0];
    receiver = ends[1];
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
        one_call(&calls[i]);
    }
    over_its_own();
    received(false);
    received(true);
    expect_exact("after every call");
}

/* --- mappings --- */

static char *map(size_t bytes, int prot)
{
    return mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static bool refused(const void *result)
{
    return result == MAP_FAILED && errno == ENOMEM;
}

static void maps(void)
{
    char *page[LIMIT_VMAS];
    int file = memfd_create("mapped", MFD_CLOEXEC);
    int segment = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
    check(ftruncate(file, PAGE) == 0, "ftruncate");
    boxledger_owner owner = begin("maps");
    boxledger_enter(owner);
    for (unsigned i = 0; i < LIMIT_VMAS; i++) {
        page[i] = map(2 * PAGE, PROT_READ | PROT_WRITE);
        check(page[i] != MAP_FAILED, "the %u-th mapping: %s", i + 1, strerror(errno));
    }
    check(refused(map(PAGE, PROT_READ)), "one mapping too many");
    check(refused(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0)), "a file too many");
    check(refused(
              (void *)syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
          "one too many by syscall");
    check(refused(mremap(page[0], 0, PAGE, MREMAP_MAYMOVE)) || errno == EINVAL, "one more alias");
    if (segment >= 0) {
        check(refused(shmat(segment, NULL, 0)), "a segment too many");
    }
    check(mprotect(page[1], PAGE, PROT_READ) == -1 && errno == ENOMEM, "a split too many");
    page[1][0] = 1; /* as it was */
    check(mprotect(page[1], 2 * PAGE, PROT_READ) == 0, "no split: %s", strerror(errno));
    check(mprotect(page[1], PAGE, PROT_READ) == 0, "no change: %s", strerror(errno));
    check(mmap(page[2], 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
              page[2],
          "over its own: %s", strerror(errno));
    check(refused(mmap(page[3], PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)),
          "over one end of its own, which makes two");
    page[3][0] = 1; /* as it was */
    check(munmap(page[3] + PAGE, PAGE) == 0 && munmap(page[3], PAGE) == 0, "munmap");
    page[3] = map(2 * PAGE, PROT_READ | PROT_WRITE);
    check(page[3] != MAP_FAILED, "one for one: %s", strerror(errno));
    boxledger_leave(owner);
    void *mine = map(PAGE, PROT_READ); /* the supervisor's */
    check(mine != MAP_FAILED, "the supervisor's: %s", strerror(errno));
    boxledger_enter(owner);

    /* Bytes: in all 12 pages now. */
    for (unsigned i = 1; i < LIMIT_VMAS; i++) {
        check(munmap(page[i], 2 * PAGE) == 0, "munmap");
    }
    check(refused(map(LIMIT_BYTES, PROT_READ)), "so many bytes and two pages");
    check(refused(map((size_t)1 << 46, PROT_NONE)), "64 TiB");
    check(refused(map(SIZE_MAX - PAGE, PROT_NONE)), "more than there are");
    char *much = map(LIMIT_BYTES - 2 * PAGE, PROT_READ | PROT_WRITE);
    check(much != MAP_FAILED, "exactly the limit: %s", strerror(errno));
    check(refused(map(PAGE, PROT_READ)), "a page more");
    check(refused(mremap(much, LIMIT_BYTES - 2 * PAGE, LIMIT_BYTES, MREMAP_MAYMOVE)), "growth");
    much[0] = much[LIMIT_BYTES - 2 * PAGE - 1] = 1; /* all as it was */
    check(mmap(much, 8 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == much,
          "over its own bytes: %s", strerror(errno));
    check(munmap(much, LIMIT_BYTES - 2 * PAGE) == 0, "munmap");
    boxledger_leave(owner);
    check(noted(LEDGER_EVENT_LIMITED_MAPPING, ENOMEM, (uint32_t)owner) >= 10, "it was not noted");
    check(limited() >= 10, "it was not counted");
    check(munmap(page[0], 2 * PAGE) == 0 && munmap(mine, PAGE) == 0, "munmap");
    boxledger_end(owner);
    shmctl(segment, IPC_RMID, NULL);
    close(file);
    expect_exact("after every mapping");
}

/* --- one among many --- */

static pthread_barrier_t together;
static unsigned honest_failures, honest_finished, greedy_refusals;
static bool honest_are_done, greedy_is_full; /* of descriptors */

static void failed(const char *what)
{
    if (__atomic_add_fetch(&honest_failures, 1, __ATOMIC_RELAXED) == 1) {
        fprintf(stderr, "honest work: %s: %s\n", what, strerror(errno));
    }
}

static void *honest(void *argument)
{
    unsigned self = (unsigned)(uintptr_t)argument;
    boxledger_owner owner = begin("honest");
    boxledger_enter(owner);
    pthread_barrier_wait(&together);
    while (!__atomic_load_n(&greedy_is_full, __ATOMIC_RELAXED)) {
        sched_yield();
    }
    for (unsigned round = 0; round < HONEST_ROUNDS; round++) {
        int fd[HONEST_HOLDS];
        unsigned *page[HONEST_HOLDS];
        for (unsigned i = 0; i < HONEST_HOLDS; i++) {
            fd[i] = memfd_create("work", MFD_CLOEXEC);
            page[i] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (fd[i] < 0 || page[i] == MAP_FAILED) {
                failed(fd[i] < 0 ? "memfd_create" : "mmap");
                return NULL;
            }
            *page[i] = self + round;
        }
        for (unsigned i = 0; i < HONEST_HOLDS; i++) {
            if (*page[i] != self + round || munmap(page[i], PAGE) != 0 || close(fd[i]) != 0) {
                failed("what it holds");
            }
        }
    }
    boxledger_leave(owner);
    boxledger_end(owner);
    __atomic_add_fetch(&honest_finished, 1, __ATOMIC_RELAXED);
    return NULL;
}

/* Keeps all that it gets, and tries on. */
static void *greedy(void *argument)
{
    boxledger_owner owner = *(boxledger_owner *)argument;
    unsigned turn = 0;
    boxledger_enter(owner);
    pthread_barrier_wait(&together);
    while (!__atomic_load_n(&honest_are_done, __ATOMIC_RELAXED)) {
        int prot = turn++ % 2 ? PROT_READ : PROT_READ | PROT_WRITE; /* each a VMA of its own */
        bool took = map(PAGE, prot) != MAP_FAILED;
        bool opened = open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0;
        if (!opened) {
            __atomic_store_n(&greedy_is_full, true, __ATOMIC_RELAXED);
        }
        if (!took && !opened) {
            __atomic_add_fetch(&greedy_refusals, 1, __ATOMIC_RELAXED);
            sched_yield();
        }
    }
    boxledger_leave(owner);
    return NULL;
}

static void crowd(bool expect_peace, unsigned vmas, unsigned fds)
{
    pthread_t thread[HONEST + 1];
    boxledger_owner owner = begin("greedy"); /* the first of all */
    struct boxledger_usage usage;
    pthread_barrier_init(&together, NULL, HONEST + 1);
    check(pthread_create(&thread[0], NULL, greedy, &owner) == 0, "a thread");
    for (unsigned i = 1; i <= HONEST; i++) {
        check(pthread_create(&thread[i], NULL, honest, (void *)(uintptr_t)(i << 16)) == 0,
              "a thread");
    }
    for (unsigned i = 1; i <= HONEST; i++) {
        pthread_join(thread[i], NULL);
    }
    __atomic_store_n(&honest_are_done, true, __ATOMIC_RELAXED);
    pthread_join(thread[0], NULL);
    check(boxledger_usage(owner, &usage) == 0, "boxledger_usage");
    printf("crowd: %u of %u finished, %u failures; the greedy one holds %llu mappings and %llu "
           "descriptors, and was refused %u times\n",
           honest_finished, HONEST, honest_failures, (unsigned long long)usage.mappings,
           (unsigned long long)usage.fds, greedy_refusals);
    if (expect_peace) {
        check(honest_finished == HONEST && honest_failures == 0, "honest ones failed");
        check(greedy_refusals > 0, "the greedy one met no limit");
        check(usage.mappings <= vmas && usage.fds <= fds, "the greedy one has more than it may");
    } else {
        check(honest_failures > 0, "without limits nobody failed: this shows nothing");
    }
}

/* --- what is the supervisor's --- */

static void reserve_fds(unsigned reserve)
{
    static uint64_t bits[FDS_MAX / 64];
    struct rlimit limit;
    unsigned sandboxes = 0, own = 0;
    int fd = 0;
    check(getrlimit(RLIMIT_NOFILE, &limit) == 0 && kernel_view_fds(bits, FDS_MAX) > 0, "a look");
    for (rlim_t i = limit.rlim_cur - reserve; i < limit.rlim_cur; i++) {
        own += kernel_view_has(bits, (unsigned)i); /* from before */
    }
    while (fd >= 0 && sandboxes < FDS_MAX) {
        boxledger_owner owner = begin("takes");
        boxledger_enter(owner);
        for (unsigned i = 0; i < 10 && fd >= 0; i++) {
            fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        }
        check(fd >= 0 || errno == EMFILE, "a sandbox: %s", strerror(errno));
        boxledger_leave(owner);
        sandboxes++;
    }
    boxledger_owner vm_like = begin("late");
    boxledger_enter(vm_like);
    check(open("/dev/null", O_RDONLY) == -1 && errno == EMFILE, "a sandbox that comes late");
    boxledger_leave(vm_like);
    while (open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) {
        own++;
    }
    check(errno == EMFILE, "the supervisor: %s", strerror(errno));
    check(own == reserve, "%u of %u were left for the supervisor", own, reserve);

    /* A limit that is raised is noticed. */
    limit.rlim_cur += 5;
    if (limit.rlim_cur <= limit.rlim_max && setrlimit(RLIMIT_NOFILE, &limit) == 0) {
        /* All numbers below the old limit are in use, and of the new ones none is a sandbox's. */
        close(0);
        boxledger_enter(vm_like);
        check(open("/dev/null", O_RDONLY) == 0, "one below the reserve: %s", strerror(errno));
        check(open("/dev/null", O_RDONLY) == -1 && errno == EMFILE, "one of the reserve");
        boxledger_leave(vm_like);
    }
}

static long count_vmas(struct kernel_range *ranges, size_t max)
{
    return kernel_view_maps(ranges, max);
}

static void reserve_vmas(unsigned reserve)
{
    enum { RANGES = 70000, TURNS = 20000, THREADS = 20, THREAD_STACK = 1 << 20 };
    struct kernel_range *ranges = kernel_view_memory(RANGES * sizeof *ranges);
    unsigned max = 0, taken = 0;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
    check(file && fscanf(file, "%u", &max) == 1, "max_map_count");
    fclose(file);
    /* What libc maps for threads, no wrapper sees; the count must have it all the same. */
    long room = (long)max - (long)reserve;
    boxledger_owner owner = begin("takes");
    void *unseen[200];
    for (unsigned i = 0; i < 200; i++) {
        unseen[i] = (void *)raw(SYS_mmap, 0, PAGE, i % 2 ? PROT_READ : PROT_NONE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    boxledger_enter(owner);
    for (; taken < TURNS; taken++) {
        int prot = taken % 2 ? PROT_READ : PROT_READ | PROT_WRITE;
        if (map(PAGE, prot) == MAP_FAILED) {
            break;
        }
    }
    check(taken < TURNS && errno == ENOMEM, "the sandbox took %u and is not refused", taken);
    boxledger_leave(owner);
    long used = count_vmas(ranges, RANGES);
    check(used <= room + 4 && used >= room - 64, "%ld VMAs; the reserve begins at %ld", used, room);
    for (unsigned i = 0; i < 100; i++) {
        check(map(PAGE, i % 2 ? PROT_READ : PROT_NONE) != MAP_FAILED, "the supervisor: %s",
              strerror(errno));
    }
    check(unseen[0] != NULL, "never");
    boxledger_end(owner);
}

/* --- a VM's --- */

static void kvm(void)
{
    int device = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int vm = device >= 0 ? ioctl(device, KVM_CREATE_VM, 0) : -1;
    if (vm < 0) {
        system_skip("KVM cannot be used here");
    }
    char *memory = map(2 * KVM_BYTES, PROT_READ | PROT_WRITE);
    char *small = map(KVM_BYTES / 2, PROT_READ | PROT_WRITE);
    struct kvm_userspace_memory_region region = {.memory_size = KVM_BYTES + PAGE,
                                                 .userspace_addr = (uintptr_t)memory};
    check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == -1 && errno == ENOMEM,
          "more than a VM may have");
    region.memory_size = PAGE;
    region.userspace_addr = (uintptr_t)small;
    check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0, "a slot: %s", strerror(errno));
    region.flags = KVM_MEM_LOG_DIRTY_PAGES;
    check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0, "the same: %s", strerror(errno));
    region.memory_size = 0;
    check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0, "deleted: %s", strerror(errno));

    int cpu[KVM_FDS];
    for (unsigned i = 0; i + 1 < KVM_FDS; i++) {
        cpu[i] = ioctl(vm, KVM_CREATE_VCPU, i);
        check(cpu[i] >= 0, "vCPU %u: %s", i, strerror(errno));
    }
    check(ioctl(vm, KVM_CREATE_VCPU, KVM_FDS) == -1 && errno == EMFILE, "a vCPU too many");
    check(syscall(SYS_ioctl, vm, KVM_CREATE_VCPU, KVM_FDS) == -1 && errno == EMFILE,
          "a vCPU too many by syscall");
    check(dup(0) >= 0, "the supervisor's own: %s", strerror(errno));
    int other = ioctl(device, KVM_CREATE_VM, 0);
    check(other >= 0 && ioctl(other, KVM_CREATE_VCPU, 0) >= 0, "another VM: %s", strerror(errno));
    close(cpu[0]);
    check(ioctl(vm, KVM_CREATE_VCPU, KVM_FDS) >= 0, "one for one: %s", strerror(errno));
}

/* --- a thread that a rule makes a sandbox --- */

static void *named(void *argument)
{
    unsigned taken = 0;
    char *page[2];
    (void)argument;
    check(pthread_setname_np(pthread_self(), "limited-1") == 0, "a name");
    while (open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0 && taken < 2 * LIMIT_FDS) {
        taken++;
    }
    check(taken == LIMIT_FDS && errno == EMFILE, "the thread took %u: %s", taken, strerror(errno));
    page[0] = map(PAGE, PROT_READ | PROT_WRITE);
    page[1] = map(PAGE, PROT_READ | PROT_WRITE);
    check(page[1] == page[0] + PAGE, "the thread has no window of its own");
    check(pthread_setname_np(pthread_self(), "free") == 0, "another name");
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    check(fd >= 0, "the supervisor's thread again: %s", strerror(errno));
    close(fd);
    char *mine = map(PAGE, PROT_READ | PROT_WRITE);
    check(mine < page[0] - (1 << 20) || mine > page[0] + (1 << 20), "still in the window");
    munmap(mine, PAGE);
    return NULL;
}

static void thread_rule(void)
{
    pthread_t thread;
    check(pthread_create(&thread, NULL, named, NULL) == 0, "a thread");
    pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 100);
    const char *mode = system_argc > 0 ? system_argv[0] : "";
    unsigned number = system_argc > 1 ? (unsigned)atoi(system_argv[1]) : 0;
    if (strcmp(mode, "each") == 0 && system_argc == 2) {
        each(system_argv[1]);
    } else if (strcmp(mode, "maps") == 0) {
        maps();
    } else if (strcmp(mode, "crowd") == 0 && system_argc == 3) {
        crowd(true, number, (unsigned)atoi(system_argv[2]));
    } else if (strcmp(mode, "chaos") == 0) {
        crowd(false, 0, 0);
    } else if (strcmp(mode, "reserve_fds") == 0) {
        reserve_fds(number);
    } else if (strcmp(mode, "reserve_vmas") == 0) {
        reserve_vmas(number);
    } else if (strcmp(mode, "thread") == 0) {
        thread_rule();
    } else if (strcmp(mode, "kvm") == 0) {
        kvm();
    } else {
        fprintf(stderr, "limits: which test?\n");
        return 2;
    }
    return system_end();
}
