/*
 * virtual.c: see virtual.h.
 */
#include "supervisor/virtual.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/utsname.h>

#include "supervisor/contents.h"
#include "supervisor/defects.h"
#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/policy.h"
#include "supervisor/sandbox.h"

#define NUMBER_BYTES (3 * sizeof(int))
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

#define UUID_BYTES 16

/* getrandom(2) fills at most this much at once; more is asked for again. */
#define GETRANDOM_BYTES 65536
#define GETRANDOM_FLAGS (GRND_NONBLOCK | GRND_RANDOM | 0x4 /* GRND_INSECURE, Linux 5.6 */)

/* A read-only descriptor of a file that nobody can change, or -1. */
static int make_file(const char *name, const void *bytes, size_t count)
{
    owned_fd int memory = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    char path[sizeof "/proc/self/fd/" + NUMBER_BYTES];

    if (memory < 0 || write(memory, bytes, count) != (ssize_t)count ||
        fcntl(memory, F_ADD_SEALS, SEALS) != 0)
        return -1;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Answers for what could not be made, and for opens for writing. */
static bool is_refused(const struct notification *notification, int flags)
{
    if ((flags & O_ACCMODE) == O_RDONLY && !(flags & O_TRUNC))
        return false;
    notify_fail(notification, EACCES);
    return true;
}

static bool has_defect(const struct notification *notification, uint32_t defect)
{
    return notification->sandbox->policy->profile.defects & defect;
}

/* Takes the contents, which may be NULL: there was no room for them. */
static void answer_contents(const struct notification *notification, char *contents, int flags)
{
    owned_memory char *text = contents;
    owned_fd int fd = text ? make_file("boxsup-proc", text, strlen(text)) : -1;

    if (fd < 0) {
        notify_fail(notification, text ? errno : ENOMEM);
        return;
    }
    notify_inject(notification, fd, flags & O_CLOEXEC);
    if (has_defect(notification, DEFECT_ADDFD_LEAK_PROC))
        (void)owned_fd_move(&fd);
}

/* One of random numbers, as RFC 9562 writes it (version 4), and as the kernel's file has it. NULL:
 * there is no room. */
static char *make_uuid(const struct notification *notification)
{
    unsigned char bytes[UUID_BYTES];
    char *text = NULL;

    random_fill(&notification->sandbox->random, bytes, sizeof bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    if (asprintf(&text, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x\n",
                 bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
                 bytes[8], bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14],
                 bytes[15]) < 0)
        return NULL;
    return text;
}

bool virtual_answer_proc(const struct notification *notification, const char *name, int flags)
{
    const struct profile *profile = &notification->sandbox->policy->profile;

    if (profile->cpus > 0 && strcmp(name, "cpuinfo") == 0) {
        if (!is_refused(notification, flags))
            answer_contents(notification, contents_cpuinfo(profile->cpus), flags);
    } else if (profile->cpus > 0 && strcmp(name, "stat") == 0) {
        if (!is_refused(notification, flags))
            answer_contents(notification, contents_stat(profile->cpus), flags);
    } else if (profile->memory > 0 && strcmp(name, "meminfo") == 0) {
        if (!is_refused(notification, flags))
            answer_contents(notification, contents_meminfo(profile->memory), flags);
    } else if (profile->hostname && strcmp(name, "sys/kernel/hostname") == 0) {
        virtual_answer_hostname(notification, flags);
    } else if (profile->has_seed && strcmp(name, "sys/kernel/random/uuid") == 0) {
        if (!is_refused(notification, flags))
            answer_contents(notification, make_uuid(notification), flags);
    } else {
        return false;
    }
    return true;
}

void virtual_answer_network(const struct notification *notification, int target, const char *name,
                            int flags)
{
    if (!is_refused(notification, flags))
        answer_contents(notification, contents_network(target, name), flags);
}

void virtual_answer_hostname(const struct notification *notification, int flags)
{
    const char *hostname = notification->sandbox->policy->profile.hostname;
    char line[sizeof(((struct utsname *)NULL)->nodename) + 1];
    owned_fd int fd = -1;

    if (is_refused(notification, flags))
        return;
    (void)snprintf(line, sizeof line, "%s\n", hostname);
    fd = make_file("boxsup-hostname", line, strlen(line));
    if (fd < 0) {
        notify_fail(notification, errno);
        return;
    }
    notify_inject(notification, fd, flags & O_CLOEXEC);
    if (has_defect(notification, DEFECT_ADDFD_LEAK_HOSTNAME))
        (void)owned_fd_move(&fd);
}

void virtual_answer_random(const struct notification *notification, int flags)
{
    char bytes[VIRTUAL_RANDOM_BYTES];
    owned_fd int fd = -1;

    if (is_refused(notification, flags))
        return;
    random_fill(&notification->sandbox->random, bytes, VIRTUAL_RANDOM_BYTES);
    fd = make_file("boxsup-random", bytes, VIRTUAL_RANDOM_BYTES);
    if (fd < 0) {
        notify_fail(notification, errno);
        return;
    }
    notify_inject(notification, fd, flags & O_CLOEXEC);
    if (has_defect(notification, DEFECT_ADDFD_LEAK_RANDOM))
        (void)owned_fd_move(&fd);
}

void virtual_answer_getrandom(const struct notification *notification)
{
    const struct seccomp_data *data = &notification->request.data;
    size_t count = data->args[1] < GETRANDOM_BYTES ? (size_t)data->args[1] : GETRANDOM_BYTES;
    char bytes[GETRANDOM_BYTES];
    int failed;

    if (data->args[2] & ~(uint64_t)GETRANDOM_FLAGS) {
        notify_fail(notification, EINVAL);
        return;
    }
    random_fill(&notification->sandbox->random, bytes, count);
    failed = notify_write(notification, data->args[0], bytes, count);
    if (failed != 0)
        notify_fail(notification, failed);
    else
        notify_return(notification, (int64_t)count);
}

void virtual_answer_uname(const struct notification *notification)
{
    const struct profile *profile = &notification->sandbox->policy->profile;
    struct utsname names;
    int failed;

    if (uname(&names) != 0) {
        notify_fail(notification, errno);
        return;
    }
    memset(names.nodename, 0, sizeof names.nodename);
    (void)snprintf(names.nodename, sizeof names.nodename, "%s", profile->hostname);
    failed = notify_write(notification, notification->request.data.args[0], &names, sizeof names);
    if (failed != 0)
        notify_fail(notification, failed);
    else
        notify_return(notification, 0);
}
