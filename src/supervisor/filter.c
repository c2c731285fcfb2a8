/*
 * filter.c: see filter.h.
 */
#include "supervisor/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervisor/access.h"
#include "supervisor/cow_calls.h"
#include "supervisor/error.h"
#include "supervisor/lazy_faults.h"
#include "supervisor/profile.h"
#include "supervisor/redirect_calls.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Newer than Debian 12's headers; the same for all architectures that boxsup is for.
 * Linux 6.6, 6.13, 6.13 and 6.17. */
enum {
    CALL_FCHMODAT2 = 452,
    CALL_SETXATTRAT = 463,
    CALL_REMOVEXATTRAT = 466,
    CALL_FILE_SETATTR = 469,
};

static const struct {
    int call;
    int number;
} refused[] = {
    /* What would open files past the notifications. */
    {SCMP_SYS(io_uring_setup), ENOSYS},
    {SCMP_SYS(io_uring_enter), ENOSYS},
    {SCMP_SYS(io_uring_register), ENOSYS},
    {SCMP_SYS(openat2), ENOSYS},
    {SCMP_SYS(open_by_handle_at), EPERM},
    /* clone's flags are numbers; clone3's are memory. The C library tries clone next. */
    {SCMP_SYS(clone3), ENOSYS},
    /* Another root would give paths another meaning. */
    {SCMP_SYS(chroot), EPERM},
    {SCMP_SYS(pivot_root), EPERM},
    {SCMP_SYS(unshare), EPERM},
    {SCMP_SYS(setns), EPERM},
    {SCMP_SYS(mount), EPERM},
    {SCMP_SYS(umount2), EPERM},
    {SCMP_SYS(open_tree), EPERM},
    {SCMP_SYS(move_mount), EPERM},
    {SCMP_SYS(fsopen), EPERM},
    {SCMP_SYS(fsconfig), EPERM},
    {SCMP_SYS(fsmount), EPERM},
    {SCMP_SYS(fspick), EPERM},
    {SCMP_SYS(mount_setattr), EPERM},
    /* What changes a file without writing to it, and has a form that boxsup answers (attributes.h),
     * or that programs do without. Landlock restricts none of it. */
    {SCMP_SYS(utime), ENOSYS},
    {SCMP_SYS(utimes), ENOSYS},
    {SCMP_SYS(futimesat), ENOSYS},
    {SCMP_SYS(setxattr), ENOTSUP},
    {SCMP_SYS(lsetxattr), ENOTSUP},
    {SCMP_SYS(fsetxattr), ENOTSUP},
    {SCMP_SYS(removexattr), ENOTSUP},
    {SCMP_SYS(lremovexattr), ENOTSUP},
    {SCMP_SYS(fremovexattr), ENOTSUP},
    {CALL_FCHMODAT2, ENOSYS},
    {CALL_SETXATTRAT, ENOSYS},
    {CALL_REMOVEXATTRAT, ENOSYS},
    {CALL_FILE_SETATTR, ENOSYS},
    /* The machine's, not a sandbox's. */
    {SCMP_SYS(kexec_load), EPERM},
    {SCMP_SYS(kexec_file_load), EPERM},
    {SCMP_SYS(reboot), EPERM},
    {SCMP_SYS(swapon), EPERM},
    {SCMP_SYS(swapoff), EPERM},
    {SCMP_SYS(init_module), EPERM},
    {SCMP_SYS(finit_module), EPERM},
    {SCMP_SYS(delete_module), EPERM},
    {SCMP_SYS(acct), EPERM},
    {SCMP_SYS(settimeofday), EPERM},
    {SCMP_SYS(clock_settime), EPERM},
    {SCMP_SYS(sethostname), EPERM},
    {SCMP_SYS(setdomainname), EPERM},
    {SCMP_SYS(quotactl), EPERM},
    {SCMP_SYS(syslog), EPERM},
    {SCMP_SYS(iopl), EPERM},
    {SCMP_SYS(ioperm), EPERM},
    /* Much of the kernel behind one call, and nothing that a sandboxed program needs. */
    {SCMP_SYS(bpf), EPERM},
    {SCMP_SYS(perf_event_open), EPERM},
    {SCMP_SYS(userfaultfd), EPERM},
    {SCMP_SYS(add_key), EPERM},
    {SCMP_SYS(request_key), EPERM},
    {SCMP_SYS(keyctl), EPERM},
};

/* Bits of clone's flags: each makes a namespace. */
static const unsigned long namespaces[] = {
    CLONE_NEWUSER, CLONE_NEWNS,  CLONE_NEWPID,    CLONE_NEWNET,
    CLONE_NEWUTS,  CLONE_NEWIPC, CLONE_NEWCGROUP,
};

/* What puts characters into a terminal that the sandbox shares with a shell outside, and what
 * changes the attributes of a file that is open for reading. */
static const unsigned long requests[] = {
    TIOCSTI, TIOCLINUX, FS_IOC_SETFLAGS, FS_IOC32_SETFLAGS, FS_IOC_FSSETXATTR,
};

static const struct {
    int call;
    unsigned flags; /* the number of the argument; 0: it has none */
} opens[] = {{SCMP_SYS(open), 1}, {SCMP_SYS(openat), 2}, {SCMP_SYS(creat), 0}};

struct maker {
    scmp_filter_ctx context;
    int failed; /* the first errno value */
};

/* A call that this architecture does not have needs no rule. */
static void add(struct maker *maker, uint32_t action, int call, unsigned count,
                const struct scmp_arg_cmp *arguments)
{
    int result;

    if (call < 0 || maker->failed != 0)
        return;
    result = seccomp_rule_add_array(maker->context, action, call, count, arguments);
    if (result != 0)
        maker->failed = -result;
}

static void refuse_one_bit(struct maker *maker, int call, unsigned argument, unsigned long bit)
{
    struct scmp_arg_cmp has_bit = SCMP_CMP64(argument, SCMP_CMP_MASKED_EQ, bit, bit);

    add(maker, SCMP_ACT_ERRNO(EPERM), call, 1, &has_bit);
}

static void refuse_always(struct maker *maker)
{
    const struct scmp_arg_cmp reaper = SCMP_CMP32(0, SCMP_CMP_EQ, PR_SET_CHILD_SUBREAPER);
    const unsigned long low = 0xffffffffUL; /* ioctl's request is 32 bits; the rest is ignored */

    for (size_t i = 0; i < COUNT(refused); i++)
        add(maker, SCMP_ACT_ERRNO((uint16_t)refused[i].number), refused[i].call, 0, NULL);
    for (size_t i = 0; i < COUNT(namespaces); i++)
        refuse_one_bit(maker, SCMP_SYS(clone), 0, namespaces[i]);
    for (size_t i = 0; i < COUNT(requests); i++) {
        struct scmp_arg_cmp request = SCMP_CMP64(1, SCMP_CMP_MASKED_EQ, low, requests[i]);

        add(maker, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1, &request);
    }
    /* children.h: no process of a sandbox adopts for longer than its main process. */
    add(maker, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prctl), 1, &reaper);
}

/* What tells how old a shadow's file is. */
static const int stats[] = {
    SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(statx),
};

/* What changes a file's attributes. */
static const int attributes[] = {
    SCMP_SYS(chmod),  SCMP_SYS(fchmod), SCMP_SYS(fchmodat), SCMP_SYS(chown),
    SCMP_SYS(lchown), SCMP_SYS(fchown), SCMP_SYS(fchownat), SCMP_SYS(utimensat),
};

#define MARK_ARGUMENT 5

/* Asks boxsup about a call, but for boxsup's own (redo.h). The mark is no secret that anything
 * depends on: whoever knows it has the kernel and Landlock decide on the call, which is enough for
 * those that are asked about in this way. */
static void ask(struct maker *maker, int call, uint64_t mark)
{
    const struct scmp_arg_cmp is_not_ours = SCMP_CMP64(MARK_ARGUMENT, SCMP_CMP_NE, mark);

    add(maker, SCMP_ACT_NOTIFY, call, 1, &is_not_ours);
}

/* Under another root boxsup's own opens only name something, and others are always asked about. */
static void ask_but_for_names(struct maker *maker, int call, unsigned flags, uint64_t mark)
{
    const struct scmp_arg_cmp is_not_a_name = SCMP_CMP64(flags, SCMP_CMP_MASKED_EQ, O_PATH, 0);

    ask(maker, call, mark);
    add(maker, SCMP_ACT_NOTIFY, call, 1, &is_not_a_name);
}

static void ask_about_opens(struct maker *maker, const struct profile *profile, uint64_t mark)
{
    /* Landlock decides on all of an open if it knows truncation. */
    bool enough = profile->cow[0] && access_refuses_truncation(profile);

    for (size_t i = 0; i < COUNT(opens); i++) {
        if (enough)
            ask(maker, opens[i].call, mark);
        else if (profile->root[0] && opens[i].flags != 0)
            ask_but_for_names(maker, opens[i].call, opens[i].flags, mark);
        else
            add(maker, SCMP_ACT_NOTIFY, opens[i].call, 0, NULL);
    }
}

/* Landlock may not know it; then boxsup refuses it of what is not copy-on-write. */
static void ask_about_truncation(struct maker *maker, const struct profile *profile, uint64_t mark)
{
    if (access_refuses_truncation(profile) && profile->cow[0])
        ask(maker, SCMP_SYS(truncate), mark);
    else if (profile->cow[0])
        add(maker, SCMP_ACT_NOTIFY, SCMP_SYS(truncate), 0, NULL);
    else if (!access_refuses_truncation(profile))
        add(maker, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(truncate), 0, NULL);
}

/* What reads a file, for copies that are filled when they are read (lazy_calls.h). */
static const int reads[] = {
    SCMP_SYS(read),      SCMP_SYS(readv),    SCMP_SYS(pread64),          SCMP_SYS(preadv),
    SCMP_SYS(preadv2),   SCMP_SYS(sendfile), SCMP_SYS(splice),           SCMP_SYS(copy_file_range),
    SCMP_SYS(io_submit), SCMP_SYS(fork),     SCMP_SYS(remap_file_pages),
};

static void notify_of_reads(struct maker *maker)
{
    const struct scmp_arg_cmp of_file =
        SCMP_CMP64(3, SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS | LAZY_FAULTS_OWN_CALL, 0);
    const struct scmp_arg_cmp for_holes = SCMP_CMP32(2, SCMP_CMP_GE, SEEK_DATA);
    /* Those of new namespaces are refused, and stay so. */
    scmp_datum_t bits = CLONE_VM;
    struct scmp_arg_cmp of_fork;

    for (size_t i = 0; i < COUNT(namespaces); i++)
        bits |= namespaces[i];
    of_fork = SCMP_CMP64(0, SCMP_CMP_MASKED_EQ, bits, 0);
    for (size_t i = 0; i < COUNT(reads); i++)
        add(maker, SCMP_ACT_NOTIFY, reads[i], 0, NULL);
    add(maker, SCMP_ACT_NOTIFY, SCMP_SYS(mmap), 1, &of_file);
    add(maker, SCMP_ACT_NOTIFY, SCMP_SYS(lseek), 1, &for_holes);
    add(maker, SCMP_ACT_NOTIFY, SCMP_SYS(clone), 1, &of_fork);
}

/* Memory for random numbers from the vDSO, which asks nobody (Linux 6.11). A C library that does
 * not get it makes the call. */
#define MAP_DROPPABLE_TYPE 0x08

static void add_rules(struct maker *maker, const struct profile *profile, uint64_t mark)
{
    const struct scmp_arg_cmp droppable =
        SCMP_CMP64(3, SCMP_CMP_MASKED_EQ, MAP_TYPE, MAP_DROPPABLE_TYPE);

    refuse_always(maker);
    ask_about_truncation(maker, profile, mark);
    if (!profile->network)
        add(maker, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 0, NULL);
    ask_about_opens(maker, profile, mark);
    for (unsigned i = 0; profile->cow[0] && i < cow_call_count(); i++)
        if (cow_call(i) != SYS_truncate)
            ask(maker, cow_call(i), mark);
    for (unsigned i = 0; profile->root[0] && i < redirect_call_count(); i++)
        ask(maker, redirect_call(i), mark);
    for (size_t i = 0; i < COUNT(attributes); i++)
        add(maker, SCMP_ACT_NOTIFY, attributes[i], 0, NULL);
    for (size_t i = 0; profile->shadow[0] && i < COUNT(stats); i++)
        add(maker, SCMP_ACT_NOTIFY, stats[i], 0, NULL);
    if (profile->shadow[0] && profile->shadow_lazy)
        notify_of_reads(maker);
    if (profile->hostname)
        add(maker, SCMP_ACT_NOTIFY, SCMP_SYS(uname), 0, NULL);
    if (profile->has_seed) {
        add(maker, SCMP_ACT_NOTIFY, SCMP_SYS(getrandom), 0, NULL);
        add(maker, SCMP_ACT_ERRNO(EOPNOTSUPP), SCMP_SYS(mmap), 1, &droppable);
    }
}

/* libseccomp 2.5 writes a program to descriptors only. */
static int export_program(struct filter *filter, scmp_filter_ctx context, struct error *error)
{
    owned_fd int fd = memfd_create("boxsup-filter", MFD_CLOEXEC);
    owned_memory struct sock_filter *instructions = NULL;
    struct stat status;
    int result;

    if (fd < 0)
        return error_set(error, errno, "cannot make a memfd for the filter");
    result = seccomp_export_bpf(context, fd);
    if (result != 0)
        return error_set(error, -result, "libseccomp cannot write the filter");
    if (fstat(fd, &status) != 0)
        return error_set(error, errno, "cannot measure the filter");
    instructions = malloc((size_t)status.st_size);
    if (!instructions)
        return error_set(error, ENOMEM, "no room for the filter");
    if (pread(fd, instructions, (size_t)status.st_size, 0) != status.st_size)
        return error_set(error, EIO, "cannot read the filter back");
    filter->program.len = (unsigned short)((size_t)status.st_size / sizeof *instructions);
    filter->program.filter = owned_memory_move(instructions);
    return 0;
}

bool filter_is_supported(void)
{
    const uint32_t action = SECCOMP_RET_USER_NOTIF;

    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

int filter_make(struct filter *filter, const struct profile *profile, struct error *error)
{
    struct maker maker = {NULL, 0};
    int result;

    *filter = (struct filter){{0, NULL}, 0};
    if (getrandom(&filter->mark, sizeof filter->mark, 0) != (ssize_t)sizeof filter->mark)
        return error_set(error, errno, "cannot have a random number");
    maker.context = seccomp_init(SCMP_ACT_ALLOW);
    if (!maker.context)
        return error_set(error, ENOMEM, "libseccomp cannot begin a filter");
    /* A tree by the call's number: made a little slower, installed and passed through faster. An
     * older libseccomp makes a list. */
    (void)seccomp_attr_set(maker.context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    add_rules(&maker, profile, filter->mark);
    result = maker.failed != 0 ? error_set(error, maker.failed, "libseccomp refuses a rule")
                               : export_program(filter, maker.context, error);
    seccomp_release(maker.context);
    return result;
}

void filter_clear(struct filter *filter)
{
    owned_memory_free(&filter->program.filter);
    filter->program.len = 0;
}

int filter_install(const struct filter *filter)
{
    const unsigned long kinds[] = {
        /* Linux 5.19: no signal but a fatal one takes back a call that is being answered. */
        SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
        SECCOMP_FILTER_FLAG_NEW_LISTENER,
    };
    long fd = -1;

    for (size_t i = 0; i < COUNT(kinds) && fd < 0; i++) {
        fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, kinds[i], &filter->program);
        if (fd < 0 && errno != EINVAL)
            break;
    }
    return (int)fd;
}
