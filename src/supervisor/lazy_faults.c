/*
 * lazy_faults.c: see lazy_faults.h. The sandbox's own thread adds to the tables, under their lock;
 * the thread that answers faults takes out what has ended.
 */
#include "supervisor/lazy_faults.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "supervisor/injection.h"
#include "supervisor/lazy_copy.h"
#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/policy.h"
#include "supervisor/proc.h"
#include "supervisor/sandbox.h"

/* Linux 6.1, include/uapi/linux/userfaultfd.h. */
#define DEVICE_NEW _IO(0xAA, 0x00)

/* Linux 6.6, the same file: who touches the page gets SIGBUS. */
#define FEATURE_POISON (UINT64_C(1) << 14)
struct poison {
    struct uffdio_range range;
    uint64_t mode;
    int64_t updated;
};
#define POISON _IOWR(0xAA, 0x08, struct poison)

#define FEATURES (UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_EVENT_REMAP | FEATURE_POISON)

/* Processes of a sandbox that map copies at once; what the others map is filled before. */
#define PROCESSES_MAX 32

/* What a mapping may be asked for with. Others want their pages at once, or are no memory of the
 * kernel's page cache. */
#define FLAGS_KNOWN                                                                                \
    (MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_NORESERVE | MAP_DENYWRITE)

/* Of /proc/PID/maps at once: a line has a path. */
#define MAPS_BYTES ((size_t)4 * PATH_MAX)

#define STACK_BYTES ((size_t)256 * 1024)

struct process {
    pid_t pid;   /* 0: none */
    int faults;  /* its userfaultfd */
    int maps;    /* its /proc/PID/maps: of this address space, whoever has the number later */
    bool forked; /* what it maps from now on is filled before */
    bool gone;   /* its address space is; to be taken out */
};

#define PROCESS_EMPTY ((struct process){.faults = -1, .maps = -1})

struct lazy_faults {
    pthread_t thread;
    int changed; /* an eventfd: the tables have, or it is to end */
    pthread_mutex_t lock;
    bool ends;
    struct process processes[PROCESSES_MAX];
    struct mapped {
        dev_t device;
        ino_t inode;
        struct lazy_copy *copy; /* the sandbox's, until it ends */
    } mapped[SHADOW_FILES_MAX];
    size_t mapped_count;
};

int lazy_faults_open_device(void)
{
    return open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
}

/* --- answering faults ------------------------------------------------------------------------- */

/* Under the lock. */
static struct lazy_copy *find_copy(const struct lazy_faults *faults, dev_t device, ino_t inode)
{
    for (size_t i = 0; i < faults->mapped_count; i++)
        if (faults->mapped[i].device == device && faults->mapped[i].inode == inode)
            return faults->mapped[i].copy;
    return NULL;
}

/* Whether a line of /proc/PID/maps is about an address; then which copy it names, or NULL, and
 * which of its bytes is there. Under the lock. */
static bool read_line(const struct lazy_faults *faults, const char *line, uint64_t address,
                      struct lazy_copy **copy, uint64_t *offset)
{
    uint64_t start, end;
    unsigned major_number, minor_number;
    uintmax_t inode;

    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %x:%x %" SCNuMAX, &start, &end,
               offset, &major_number, &minor_number, &inode) != 6 ||
        address < start || address >= end)
        return false;
    *offset += address - start;
    *copy = find_copy(faults, makedev(major_number, minor_number), (ino_t)inode);
    return true;
}

/* Which copy is mapped at an address, and which of its bytes is there; NULL: none is any more.
 * Under the lock. Not by a stream: it would take what it has read before for what is there. */
static struct lazy_copy *find_mapped(const struct lazy_faults *faults, int maps, uint64_t address,
                                     uint64_t *offset)
{
    char text[MAPS_BYTES + 1];
    size_t have = 0;
    ssize_t got;

    (void)lseek(maps, 0, SEEK_SET);
    while ((got = read(maps, text + have, MAPS_BYTES - have)) > 0) {
        struct lazy_copy *copy = NULL;
        char *line = text;
        char *end;

        have += (size_t)got;
        text[have] = 0;
        for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = 0;
            if (read_line(faults, line, address, &copy, offset))
                return copy;
        }
        have = (size_t)(text + have - line);
        memmove(text, line, have);
    }
    return NULL;
}

static void answer_fault(struct lazy_faults *faults, const struct process *process,
                         uint64_t address)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    struct uffdio_range range = {address / page * page, page};
    struct poison poison = {.range = range};
    struct lazy_copy *copy;
    uint64_t offset = 0;

    pthread_mutex_lock(&faults->lock);
    copy = find_mapped(faults, process->maps, range.start, &offset);
    pthread_mutex_unlock(&faults->lock);
    /* Better no bytes than others. Where nothing is mapped any more the kernel refuses that. */
    if (!copy || lazy_copy_fill(copy, offset, page) != 0)
        (void)ioctl(process->faults, POISON, &poison);
    (void)ioctl(process->faults, UFFDIO_WAKE, &range);
}

/* Other events need no answer but to be read. */
static void answer_events(struct lazy_faults *faults, const struct process *process)
{
    struct uffd_msg event;

    while (read(process->faults, &event, sizeof event) == (ssize_t)sizeof event)
        if (event.event == UFFD_EVENT_PAGEFAULT)
            answer_fault(faults, process, event.arg.pagefault.address);
}

/* Under the lock. */
static void take_out(struct process *process)
{
    owned_fd_close(&process->faults);
    owned_fd_close(&process->maps);
    *process = PROCESS_EMPTY;
}

/* What to wait for, and whom it belongs to. */
static size_t list_events(struct lazy_faults *faults, struct pollfd *polled,
                          const struct process **processes)
{
    size_t count = 0;

    pthread_mutex_lock(&faults->lock);
    for (size_t i = 0; i < PROCESSES_MAX; i++) {
        if (faults->processes[i].gone)
            take_out(&faults->processes[i]);
        if (faults->processes[i].pid != 0) {
            polled[count] = (struct pollfd){.fd = faults->processes[i].faults, .events = POLLIN};
            processes[count++] = &faults->processes[i];
        }
    }
    pthread_mutex_unlock(&faults->lock);
    return count;
}

static bool is_to_end(struct lazy_faults *faults)
{
    bool ends;

    pthread_mutex_lock(&faults->lock);
    ends = faults->ends;
    pthread_mutex_unlock(&faults->lock);
    return ends;
}

static void *answer_all(void *argument)
{
    struct lazy_faults *faults = argument;
    const struct process *processes[PROCESSES_MAX];
    struct pollfd polled[PROCESSES_MAX + 1];

    while (!is_to_end(faults)) {
        size_t count = list_events(faults, polled, processes);
        eventfd_t changes;

        polled[count] = (struct pollfd){.fd = faults->changed, .events = POLLIN};
        if (poll(polled, count + 1, -1) < 0)
            continue;
        if (polled[count].revents)
            (void)eventfd_read(faults->changed, &changes);
        for (size_t i = 0; i < count; i++)
            if (polled[i].revents)
                answer_events(faults, processes[i]);
    }
    return NULL;
}

/* --- the tables ------------------------------------------------------------------------------- */

static void free_faults(struct lazy_faults *faults)
{
    for (size_t i = 0; i < PROCESSES_MAX; i++)
        take_out(&faults->processes[i]);
    owned_fd_close(&faults->changed);
    (void)pthread_mutex_destroy(&faults->lock);
    free(faults);
}

static bool start_thread(struct lazy_faults *faults)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int failed;

    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    /* Signals to boxsup are for its other threads. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&faults->thread, &attributes, answer_all, faults);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    return failed == 0;
}

/* The sandbox's, made at its first use; or NULL. */
static struct lazy_faults *faults_of(struct sandbox *sandbox)
{
    struct lazy_faults *faults = sandbox->faults;

    if (faults)
        return faults;
    faults = calloc(1, sizeof *faults);
    if (!faults)
        return NULL;
    for (size_t i = 0; i < PROCESSES_MAX; i++)
        faults->processes[i] = PROCESS_EMPTY;
    (void)pthread_mutex_init(&faults->lock, NULL);
    faults->changed = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (faults->changed < 0 || !start_thread(faults)) {
        free_faults(faults);
        return NULL;
    }
    sandbox->faults = faults;
    return faults;
}

void lazy_faults_end(struct sandbox *sandbox)
{
    struct lazy_faults *faults = sandbox->faults;

    sandbox->faults = NULL;
    if (!faults)
        return;
    pthread_mutex_lock(&faults->lock);
    faults->ends = true;
    pthread_mutex_unlock(&faults->lock);
    (void)eventfd_write(faults->changed, 1);
    (void)pthread_join(faults->thread, NULL);
    free_faults(faults);
}

static bool note_copy(struct lazy_faults *faults, struct lazy_copy *copy)
{
    struct stat status;
    bool noted = false;

    if (fstat(lazy_copy_fd(copy), &status) != 0)
        return false;
    pthread_mutex_lock(&faults->lock);
    for (size_t i = 0; i < faults->mapped_count && !noted; i++)
        noted = faults->mapped[i].copy == copy;
    if (!noted && faults->mapped_count < SHADOW_FILES_MAX) {
        faults->mapped[faults->mapped_count++] =
            (struct mapped){status.st_dev, status.st_ino, copy};
        noted = true;
    }
    pthread_mutex_unlock(&faults->lock);
    return noted;
}

/* For the sandbox's own thread. What it returns stays until that thread has seen that it is gone;
 * 0 finds room for one more. */
static struct process *find_process(struct lazy_faults *faults, pid_t pid)
{
    struct process *found = NULL;

    pthread_mutex_lock(&faults->lock);
    for (size_t i = 0; i < PROCESSES_MAX && !found; i++)
        if (faults->processes[i].pid == pid && !faults->processes[i].gone)
            found = &faults->processes[i];
    pthread_mutex_unlock(&faults->lock);
    return found;
}

/* Whether the address space that an entry is of is still there: it ends with its processes, and
 * with execve(2). Where it is not, the entry is to be taken out. */
static bool is_there(struct lazy_faults *faults, struct process *process)
{
    bool used, there;
    char c;

    pthread_mutex_lock(&faults->lock);
    used = process->pid != 0 && !process->gone;
    there = used && pread(process->maps, &c, sizeof c, 0) > 0;
    if (used)
        process->gone = !there;
    pthread_mutex_unlock(&faults->lock);
    if (used && !there)
        (void)eventfd_write(faults->changed, 1);
    return there;
}

/* Has those taken out that are gone. */
static void sweep(struct lazy_faults *faults)
{
    for (size_t i = 0; i < PROCESSES_MAX; i++)
        (void)is_there(faults, &faults->processes[i]);
}

/* --- holding the process ---------------------------------------------------------------------- */

/* Takes what is a userfaultfd of a held process by the number that it has there. */
static int take_userfaultfd(pid_t pid, int64_t number)
{
    struct uffdio_api api = {.api = UFFD_API, .features = FEATURES};
    owned_fd int process = (int)syscall(SYS_pidfd_open, pid, 0);
    owned_fd int faults = process < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, process, (int)number, 0);

    /* Should it be anything else, it refuses this. */
    if (faults < 0 || ioctl(faults, UFFDIO_API, &api) != 0)
        return -1;
    return owned_fd_move(&faults);
}

/* Makes a userfaultfd in a held process, where `device` is the number of /dev/userfaultfd. Nothing
 * of either stays there. */
static int make_userfaultfd(struct injection *injection, pid_t pid, int device)
{
    const uint64_t to_make[6] = {(uint64_t)device, DEVICE_NEW, O_CLOEXEC | O_NONBLOCK};
    const uint64_t to_close[6] = {(uint64_t)device};
    int64_t number = injection_call(injection, SYS_ioctl, to_make);
    int faults = number >= 0 ? take_userfaultfd(pid, number) : -1;

    if (number >= 0)
        (void)injection_call(injection, SYS_close, (const uint64_t[6]){(uint64_t)number});
    (void)injection_call(injection, SYS_close, to_close);
    return faults;
}

static struct process *add_process(struct lazy_faults *faults, struct injection *injection,
                                   pid_t pid, int device)
{
    char path[sizeof "/proc//maps" + 3 * sizeof(pid_t)];
    struct process made = {.pid = pid, .faults = make_userfaultfd(injection, pid, device)};
    struct process *room = find_process(faults, 0);

    (void)snprintf(path, sizeof path, "/proc/%d/maps", pid);
    made.maps = made.faults >= 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (!room)
        sweep(faults); /* for the next one */
    if (made.maps < 0 || !room) {
        take_out(&made);
        return NULL;
    }
    pthread_mutex_lock(&faults->lock);
    *room = made;
    pthread_mutex_unlock(&faults->lock);
    (void)eventfd_write(faults->changed, 1);
    return room;
}

/* Has a range of the process caught. */
static bool catch_range(const struct process *process, uint64_t start, uint64_t bytes)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    struct uffdio_register request = {
        .range = {start, (bytes + page - 1) / page * page},
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };

    return process && ioctl(process->faults, UFFDIO_REGISTER, &request) == 0;
}

/* Does the mapping in the held process. Until its faults are caught, or it is filled, nobody can
 * touch it; and it is private, since nobody's writes are to be caught by the copy. Returns what
 * mmap(2) returns. */
static int64_t map_caught(struct injection *injection, const struct process *process,
                          const struct seccomp_data *data, struct lazy_copy *copy)
{
    uint64_t flags = (data->args[3] & ~(uint64_t)MAP_TYPE) | MAP_PRIVATE | LAZY_FAULTS_OWN_CALL;
    const uint64_t map[6] = {data->args[0], data->args[1], PROT_NONE,
                             flags,         data->args[4], data->args[5]};
    int64_t start = injection_call(injection, SYS_mmap, map);
    int64_t failed;

    if (start < 0 && start > -4096)
        return start;
    failed = catch_range(process, (uint64_t)start, data->args[1])
                 ? 0
                 : -lazy_copy_fill(copy, data->args[5], UINT64_MAX);
    if (failed == 0)
        failed = injection_call(injection, SYS_mprotect,
                                (const uint64_t[6]){(uint64_t)start, data->args[1], data->args[2]});
    if (failed == 0)
        return start;
    (void)injection_call(injection, SYS_munmap,
                         (const uint64_t[6]){(uint64_t)start, data->args[1]});
    return failed;
}

static bool can_be_caught(const struct notification *notification)
{
    const __u64 *args = notification->request.data.args;
    uint64_t type = args[3] & MAP_TYPE;

    return notification->sandbox->policy->userfaultfd >= 0 &&
           (args[3] & ~(uint64_t)FLAGS_KNOWN) == 0 &&
           (type == MAP_PRIVATE || (type == MAP_SHARED && !(args[2] & PROT_WRITE)));
}

/* Gives the process /dev/userfaultfd. Its number there, or -1. */
static int lend_device(const struct notification *notification)
{
    struct seccomp_notif_addfd request = {
        .id = notification->request.id,
        .srcfd = (uint32_t)notification->sandbox->policy->userfaultfd,
        .newfd_flags = O_CLOEXEC,
    };

    return ioctl(notification->sandbox->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &request);
}

bool lazy_faults_answer_map(const struct notification *notification, struct lazy_copy *copy)
{
    const struct seccomp_data *data = &notification->request.data;
    struct injection injection = INJECTION_EMPTY;
    struct lazy_faults *faults;
    struct process *process;
    pid_t pid;
    int device = -1;
    int64_t result = -ENOMEM;

    if (!can_be_caught(notification))
        return false;
    pid = proc_process_of(notify_thread(notification));
    faults = pid > 0 ? faults_of(notification->sandbox) : NULL;
    if (!faults)
        return false;
    process = find_process(faults, pid);
    if (process && !is_there(faults, process))
        process = NULL;
    if ((process && process->forked) || !note_copy(faults, copy) ||
        !injection_begin(&injection, notification))
        return false;
    if (!process)
        device = lend_device(notification);
    notify_fail(notification, ENOMEM); /* which the process never sees */
    if (injection_wait(&injection)) {
        if (device >= 0)
            process = add_process(faults, &injection, pid, device);
        result = map_caught(&injection, process, data, copy);
    }
    injection_end(&injection, result);
    return true;
}

/* Whether a process has the address space of an entry: its own, or that of whoever made it without
 * copying it. Where the kernel does not tell, it has. */
static bool shares(struct lazy_faults *faults, struct process *process, pid_t pid)
{
    long differ;

    if (!is_there(faults, process))
        return false;
    differ = process->pid == pid ? 0 : syscall(SYS_kcmp, process->pid, pid, KCMP_VM, 0, 0);
    return differ <= 0;
}

int lazy_faults_before_fork(const struct notification *notification)
{
    struct lazy_faults *faults = notification->sandbox->faults;
    pid_t pid = faults ? proc_process_of(notify_thread(notification)) : 0;
    bool maps = false;
    int failed = 0;

    if (!faults)
        return 0;
    for (size_t i = 0; i < PROCESSES_MAX; i++)
        if (shares(faults, &faults->processes[i], pid))
            maps = faults->processes[i].forked = true;
    /* Which of them it maps is not known, and costs more to find out. */
    for (size_t i = 0; maps && i < faults->mapped_count && failed == 0; i++)
        failed = lazy_copy_fill_whole(faults->mapped[i].copy);
    return failed;
}
