/*
 * seccomp.c: a supervisor that answers the system calls of filtered processes. Each sandbox asks a
 * few times (getppid, which is harmless) and exits; the answers come from the thread that received
 * the question, from another, late, or never, with and without a descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervise.h"

enum {
    CALLS_MAX = 4,
    PATH_BYTES = 64,
    CACHED = 3,
    VALUE = 100000, /* as an answer: no descriptor, no error */
    WAIT_MS = 10000,
    ASKED = SYS_getppid,
};

/* Who starts the sandboxed process, and how its listener comes here. */
enum launched_by {
    SENDS,      /* a child, which sends its listener by socket */
    IS_FETCHED, /* a child, whose listener is fetched with a pidfd */
    GRANDCHILD, /* the child of a child, which sends it */
    ORPHAN,     /* the child of a process that is nobody's here */
    LAUNCHED_BYS
};

enum answer {
    WITH_VALUE,
    WITH_ERROR,
    CONTINUE,
    MEMFD,
    UNSEEN_MEMFD, /* made by an inline system call, as sandlock does; closed through libc */
    OPENED_FILE,
    CACHED_FD,
    CACHED_LAZILY,
    ANSWERS
};

enum who { HERE, LATE, NEVER, PASSED, ELSEWHERE, WORKER, WHOS };

struct box {
    enum launched_by launched_by;
    pid_t child; /* 0: not ours */
    int listener, pidfd, control[2];
    unsigned calls;
    bool begun, killed;

    /* The notification at hand. */
    bool received;
    uint64_t id;
    pid_t asking;
    enum answer answer;
    enum who who;
    bool sends, waits; /* ADDFD with the SEND flag; a late one waits for another turn */
    enum site site;    /* of the descriptor to inject */
    int fd;
    struct sandbox *sandbox;
};

/* Process-global: what is injected into many is the supervisor's own. */
static int cached_fd = -1, lazily[CACHED] = {-1, -1, -1};
static unsigned lazily_used[CACHED];
static unsigned last_user[CACHED]; /* a sandbox's number and one */
static int zygote = -1;
static bool pending; /* a notification was received and not answered: the loop must go round */

/* --- inside the sandbox: system calls only ------------------------------------------------------
 */

static int install_filter(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ASKED, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                        &program);
}

static void ask(unsigned calls)
{
    char byte;
    for (unsigned i = 0; i < calls; i++) {
        long answer = syscall(ASKED);
        if (answer > STDERR_FILENO && answer < VALUE && read((int)answer, &byte, 1) >= 0) {
            close((int)answer);
        }
    }
}

static __attribute__((noreturn)) void be_sandbox(const struct box *box, int control)
{
    int listener = install_filter();
    char byte;
    if (box->launched_by == IS_FETCHED) {
        if (write(control, &listener, sizeof listener) != sizeof listener ||
            read(control, &byte, 1) != 1) {
            _exit(1);
        }
    } else if (!send_fd(control, listener)) {
        _exit(1);
    }
    close(listener);
    ask(box->calls);
    _exit(0);
}

/* --- what takes ------------------------------------------------------------------------------- */

TAKES static void make_control(int pair[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        give_up("a control socket");
    }
    NOT_LAST();
}

TAKES static int open_sandbox_pidfd(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    NOT_LAST();
    return fd;
}

TAKES static int fetch_listener(int pidfd, int theirs)
{
    int fd = (int)syscall(SYS_pidfd_getfd, pidfd, theirs, 0);
    NOT_LAST();
    return fd;
}

/* The same as receive_fd, which a report must not name instead. */
#define RECEIVES(name)                                                                             \
    TAKES static int name(int socket)                                                              \
    {                                                                                              \
        char byte;                                                                                 \
        union {                                                                                    \
            struct cmsghdr header;                                                                 \
            char space[CMSG_SPACE(sizeof(int))];                                                   \
        } control;                                                                                 \
        struct iovec data = {&byte, 1};                                                            \
        struct msghdr message = {.msg_iov = &data,                                                 \
                                 .msg_iovlen = 1,                                                  \
                                 .msg_control = &control,                                          \
                                 .msg_controllen = sizeof control};                                \
        ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);                                 \
        int fd = -1;                                                                               \
        if (got == 1 && CMSG_FIRSTHDR(&message) != NULL) {                                         \
            memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);                            \
        }                                                                                          \
        return fd;                                                                                 \
    }
RECEIVES(receive_listener)
RECEIVES(receive_orphans_listener)

/* All of them hold a byte, which the sandbox reads. */
static int filled(int fd)
{
    if (fd < 0 || write(fd, "x", 1) != 1) {
        give_up("an answer");
    }
    return fd;
}

TAKES static int make_answer(void)
{
    int fd = memfd_create("answer", MFD_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static int make_answer_elsewhere(void)
{
    int fd = memfd_create("answer", MFD_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static int make_cached_answer(void)
{
    int fd = memfd_create("cached", MFD_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static int make_cached_answer_lazily(void)
{
    int fd = memfd_create("lazily", MFD_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static int open_answer(void)
{
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static int open_memory_of_child(pid_t pid)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static void *map_scratch(void)
{
    void *start = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NOT_LAST();
    return start;
}

/* What was made unseen is first seen here. */
TAKES static int inject(int listener, uint64_t id, int fd, bool sends)
{
    struct seccomp_notif_addfd add = {.id = id,
                                      .flags = sends ? SECCOMP_ADDFD_FLAG_SEND : 0,
                                      .srcfd = (uint32_t)fd,
                                      .newfd_flags = O_CLOEXEC};
    int result = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
    NOT_LAST();
    return result;
}

/* --- a notification --------------------------------------------------------------------------- */

static bool receive(struct box *box)
{
    struct seccomp_notif notification;
    memset(&notification, 0, sizeof notification);
    bool first = !box->begun;
    box->begun = true;
    if (box->launched_by == ORPHAN && first) { /* an owner by its first ioctl */
        owners_begun(1);
        owners_ended(run.mutated != site_seccomp_listener_orphan);
    }
    if (ioctl(box->listener, SECCOMP_IOCTL_NOTIF_RECV, &notification) != 0) {
        return false;
    }
    box->id = notification.id;
    box->asking = (pid_t)notification.pid;
    return true;
}

static void respond(struct box *box, int64_t value, int error, uint32_t flags)
{
    struct seccomp_notif_resp response = {
        .id = box->id, .val = value, .error = error, .flags = flags};
    ioctl(box->listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

/* In the scope of the notification, on the thread that received it; or elsewhere. */
static void take_answer(struct box *box)
{
    struct sandbox *sandbox = box->sandbox;
    unsigned entry = sandbox->number / 2 % CACHED;
    box->fd = -1;
    switch (box->answer) {
    case MEMFD:
        box->fd = filled(box->who == ELSEWHERE ? make_answer_elsewhere() : make_answer());
        break;
    case UNSEEN_MEMFD:
        box->fd = filled((int)inline_syscall(SYS_memfd_create, (long)"unseen", MFD_CLOEXEC, 0));
        break;
    case OPENED_FILE:
        box->fd = open_answer();
        break;
    case CACHED_FD:
        box->fd = cached_fd;
        break;
    case CACHED_LAZILY:
        if (lazily[entry] < 0) {
            lazily[entry] = filled(make_cached_answer_lazily());
            hold_fd(NULL, site_seccomp_cached_lazily, lazily[entry]);
        }
        still_there(&(struct held){.site = site_seccomp_cached_lazily, .fd = lazily[entry]});
        if (last_user[entry] != sandbox->number + 1) {
            lazily_used[entry]++;
            last_user[entry] = sandbox->number + 1;
        }
        box->fd = lazily[entry];
        break;
    default:
        break;
    }
    if (box->site != NO_SITE) {
        hold_fd(NULL, box->site, box->fd);
    }
}

static void give_answer(struct box *box)
{
    if (box->fd >= 0) {
        int theirs = inject(box->listener, box->id, box->fd, box->sends);
        if (theirs < 0 && errno != ENOENT) {
            give_up("ADDFD");
        }
        if (!box->sends) {
            respond(box, theirs, 0, 0);
        }
    } else if (box->answer == WITH_ERROR) {
        respond(box, 0, -EPERM, 0);
    } else {
        respond(box, box->answer == CONTINUE ? 0 : VALUE, 0,
                box->answer == CONTINUE ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0);
    }
}

static void drop_answer(struct box *box)
{
    if (box->site != NO_SITE) {
        release_fd(box->sandbox, box->site, box->fd);
        box->site = NO_SITE;
    }
    box->received = false;
    box->calls--;
}

static void all_on_worker(void *argument)
{
    struct box *box = argument;
    if (receive(box)) {
        take_answer(box);
        give_answer(box);
        drop_answer(box);
    }
}

static void answer_on_worker(void *argument)
{
    struct box *box = argument;
    if (box->who == ELSEWHERE) {
        take_answer(box);
    }
    give_answer(box);
    drop_answer(box);
}

/* The site that releases what the drawn answer takes. */
static enum site site_of(const struct box *box)
{
    static const enum site memfds[WHOS] = {
        [HERE] = site_seccomp_memfd,          [LATE] = site_seccomp_memfd_late,
        [NEVER] = site_seccomp_memfd_never,   [PASSED] = site_seccomp_memfd_passed,
        [WORKER] = site_seccomp_memfd_worker, [ELSEWHERE] = site_seccomp_memfd_elsewhere};
    static const enum site unseen[WHOS] = {[HERE] = site_seccomp_unseen_memfd,
                                           [LATE] = site_seccomp_unseen_memfd_late,
                                           [PASSED] = site_seccomp_unseen_memfd_elsewhere,
                                           [WORKER] = site_seccomp_unseen_memfd_worker,
                                           [ELSEWHERE] = site_seccomp_unseen_memfd_elsewhere};
    switch (box->answer) {
    case MEMFD:
        return memfds[box->who];
    case UNSEEN_MEMFD:
        return unseen[box->who];
    case OPENED_FILE:
        return site_seccomp_file;
    default:
        return NO_SITE;
    }
}

/* Everything that lets the site come up: the mutant draws it half of the time. */
static void aim_at(struct sandbox *sandbox, struct box *box)
{
    for (enum answer answer = 0; answer < ANSWERS; answer++) {
        for (enum who who = 0; who < WHOS; who++) {
            struct box aim = {.answer = answer, .who = who};
            if (site_of(&aim) == run.mutated && run.mutated != NO_SITE &&
                run.mutated != site_seccomp_file && draw_for(sandbox, run.mutated, 2)) {
                box->answer = answer;
                box->who = who;
                return;
            }
        }
    }
    if (run.mutated == site_seccomp_file && draw(sandbox, 2) == 0) {
        box->answer = OPENED_FILE;
    }
}

static void draw_answer(struct sandbox *sandbox, struct box *box)
{
    box->answer = draw(sandbox, ANSWERS);
    box->who = draw(sandbox, 2) == 0 ? HERE : draw(sandbox, WHOS);
    box->sends = draw(sandbox, 2) == 0;
    aim_at(sandbox, box);
    if (box->answer == UNSEEN_MEMFD && box->who == NEVER) {
        box->who = HERE; /* never injected, it is never seen */
    }
    if (box->answer == OPENED_FILE) {
        box->who = HERE;
    }
    if (box->answer == CACHED_LAZILY && box->who != HERE) {
        box->who = PASSED; /* filled by one thread only */
    }
    box->site = site_of(box);
}

/* --- a sandbox -------------------------------------------------------------------------------- */

static void start_sandbox(struct box *box)
{
    box->child = fork();
    if (box->child < 0) {
        give_up("a sandbox");
    }
    if (box->child != 0) {
        return;
    }
    if (box->launched_by == GRANDCHILD) {
        pid_t pid = fork();
        if (pid != 0) {
            _exit(pid < 0 || waitpid(pid, NULL, 0) != pid);
        }
    }
    be_sandbox(box, box->control[1]);
}

static void begin_own(struct sandbox *sandbox, struct box *box)
{
    make_control(box->control);
    hold_fd(sandbox, site_seccomp_control, box->control[0]);
    start_sandbox(box);
    owners_begun(1);
    owners_ended(run.mutated != site_seccomp_reap);
    hold_fd(NULL, site_seccomp_control_theirs, box->control[1]);
    release_fd(sandbox, site_seccomp_control_theirs, box->control[1]);
    hold(sandbox, (struct held){.site = site_seccomp_reap, .fd = -1});
    int theirs;
    if (draw_for(sandbox, site_seccomp_pidfd, 4) || box->launched_by == IS_FETCHED) {
        box->pidfd = open_sandbox_pidfd(box->child);
        hold_fd(sandbox, site_seccomp_pidfd, box->pidfd);
    }
    if (box->launched_by != IS_FETCHED) {
        box->listener = receive_listener(box->control[0]);
        hold_fd(sandbox, site_seccomp_listener_sent, box->listener);
        return;
    }
    if (read(box->control[0], &theirs, sizeof theirs) != sizeof theirs) {
        give_up("a listener's number");
    }
    box->listener = fetch_listener(box->pidfd, theirs);
    hold_fd(sandbox, site_seccomp_listener_fetched, box->listener);
    if (write(box->control[0], "g", 1) != 1) {
        give_up("a control socket");
    }
}

static void begin(struct sandbox *sandbox)
{
    struct box *box = sandbox->own;
    if (pending) {
        poll(NULL, 0, 1); /* as an event loop does between two events */
        pending = false;
    }
    box->sandbox = sandbox;
    box->pidfd = -1;
    box->calls = 1 + draw(sandbox, CALLS_MAX);
    box->launched_by = draw(sandbox, LAUNCHED_BYS);
    /* A mutant's sandboxes are all of one kind, so that its finding is of one. */
    bool orphans = run.mutated == site_seccomp_listener_orphan ||
                   (run.seed % 4 == 0 && run.mutated >= site_seccomp_memfd);
    if (run.mutated != NO_SITE) {
        box->launched_by = orphans ? ORPHAN : draw(sandbox, ORPHAN);
    }
    if (run.mutated == site_seccomp_listener_fetched || run.mutated == site_seccomp_pidfd) {
        box->launched_by = IS_FETCHED;
    } else if (run.mutated == site_seccomp_listener_sent) {
        box->launched_by = SENDS;
    }
    if (box->launched_by != ORPHAN) {
        begin_own(sandbox, box);
        return;
    }
    char calls = (char)box->calls;
    if (write(zygote, &calls, 1) != 1) {
        give_up("the zygote");
    }
    box->listener = receive_orphans_listener(zygote);
    hold_fd(sandbox, site_seccomp_listener_orphan, box->listener);
}

/* In the scope: what a handler needs for a while. */
static void take_tools(struct sandbox *sandbox, struct box *box)
{
    int fd;
    if (draw_for(sandbox, site_seccomp_memory_of_child, 8) &&
        (fd = open_memory_of_child(box->asking)) >= 0) {
        hold_fd(sandbox, site_seccomp_memory_of_child, fd);
    }
    if (draw_for(sandbox, site_seccomp_scratch, 8)) {
        hold_mapping(sandbox, site_seccomp_scratch, map_scratch(), PAGE);
    }
    /* Some give these back before they answer. */
    while (sandbox->held_count > 0 && draw(sandbox, 2) == 0) {
        struct held *last = &sandbox->held[sandbox->held_count - 1];
        if (last->site != site_seccomp_memory_of_child && last->site != site_seccomp_scratch) {
            break;
        }
        sandbox->held_count--;
        release(sandbox, last);
    }
}

static void end_early(struct box *box)
{
    kill(box->asking, SIGKILL);
    box->killed = true;
    pending = true;
}

/* One question, or a part of it. False: there will be none. */
static bool work(struct sandbox *sandbox)
{
    struct box *box = sandbox->own;
    box->sandbox = sandbox; /* the engine moves its list */
    if (box->received) {    /* the late answer */
        give_answer(box);
        drop_answer(box);
        return true;
    }
    /* A listener that was never asked anything is a descriptor like others. */
    bool matters = box->launched_by == ORPHAN || run.mutated == site_seccomp_listener_sent;
    bool must_ask = matters && !box->begun;
    bool gives_up = draw(sandbox, 16) == 0;
    if (box->calls == 0 || box->killed || (gives_up && !must_ask)) {
        /* At times the listener goes with questions still to come: ENOSYS for them. */
        bool poll_it = draw(sandbox, 2) == 0;
        struct pollfd hangup = {.fd = box->listener, .events = POLLIN};
        if (poll_it && (box->calls == 0 || box->killed)) {
            poll(&hangup, 1, WAIT_MS);
        }
        return false;
    }
    struct pollfd question = {.fd = box->listener, .events = POLLIN};
    if (poll(&question, 1, WAIT_MS) != 1) {
        give_up("no question comes");
    }
    if (!(question.revents & POLLIN)) {
        return false;
    }
    draw_answer(sandbox, box);
    if (box->who == WORKER) {
        run_on_worker(all_on_worker, box);
        return true;
    }
    if (!receive(box)) {
        return false;
    }
    take_tools(sandbox, box);
    if (box->who == ELSEWHERE) {
        run_on_worker(answer_on_worker, box);
        return true;
    }
    take_answer(box);
    switch (box->who) {
    case PASSED:
        run_on_worker(answer_on_worker, box);
        break;
    case LATE:
        box->received = true;
        pending = true;
        break;
    case NEVER:
        end_early(box);
        drop_answer(box);
        break;
    default:
        give_answer(box);
        drop_answer(box);
    }
    return true;
}

static void before_release(struct sandbox *sandbox, const struct held *held)
{
    struct box *box = sandbox->own;
    if (held->site != site_seccomp_reap || run.mutated == site_seccomp_reap) {
        return;
    }
    /* It may have questions still, and nobody to answer them. */
    if (box->calls != 0) {
        kill(box->child, SIGKILL);
    }
    if (waitpid(box->child, NULL, 0) != box->child) {
        give_up("a sandbox's end");
    }
}

/* --- the zygote: nobody's child, which forks sandboxes on request -------------------------------
 */

static __attribute__((noreturn)) void be_zygote(int socket)
{
    char calls;
    signal(SIGCHLD, SIG_IGN);
    while (read(socket, &calls, 1) == 1) {
        if (fork() == 0) {
            struct box box = {.launched_by = ORPHAN, .calls = (unsigned)calls};
            be_sandbox(&box, socket);
        }
    }
    _exit(0);
}

static void start_zygote(void)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        give_up("the zygote's socket");
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        if (fork() == 0) {
            be_zygote(pair[1]);
        }
        _exit(0);
    }
    close(pair[1]);
    if (pid < 0 || waitpid(pid, NULL, 0) != pid) {
        give_up("the zygote");
    }
    zygote = pair[0];
    owners_begun(1);
    owners_ended(1);
}

static void start(void)
{
    start_zygote();
    cached_fd = filled(make_cached_answer());
    hold_fd(NULL, site_seccomp_cached, cached_fd);
    bool orphans = run.mutated == site_seccomp_listener_orphan ||
                   (run.seed % 4 == 0 && run.mutated >= site_seccomp_memfd);
    /* Where a child and its listener announce one sandbox, either kind is right. */
    owner_kinds_are(orphans ? "\"seccomp\"" : "\"child\", \"seccomp\"");
}

static void stop(void)
{
    bool keeps = run.keeps && run.mutated == NO_SITE;
    if (keeps) {
        kept(1, 0);
    } else {
        release_fd(NULL, site_seccomp_cached, cached_fd);
    }
    for (int i = 0; i < CACHED; i++) {
        if (lazily[i] < 0) {
            continue;
        }
        if (keeps && lazily_used[i] > 1) {
            kept(1, 0);
            continue;
        }
        enum site mutated = run.mutated;
        if (lazily_used[i] <= 1) {
            run.mutated = NO_SITE; /* what served one sandbox is no cache, not even the mutant's */
        }
        release_fd(NULL, site_seccomp_cached_lazily, lazily[i]);
        run.mutated = mutated;
    }
    close(zygote);
}

const struct supervisor supervise_seccomp = {.own_size = sizeof(struct box),
                                             .start = start,
                                             .begin = begin,
                                             .work = work,
                                             .before = before_release,
                                             .stop = stop};
