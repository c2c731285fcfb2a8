/*
 * shadow.c: see shadow.h.
 */
#include "supervisor/shadow.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>

#include "supervisor/defects.h"
#include "supervisor/error.h"
#include "supervisor/lookup.h"
#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/policy.h"
#include "supervisor/sandbox.h"

/* Linux 6.3, include/uapi/linux/memfd.h: execve(2) of it is refused, for good. */
#define SHADOW_NOEXEC_SEAL 0x0008U
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* How often a file is copied again that has changed meanwhile. */
#define ATTEMPTS 3

#define DEFAULT_BUDGET (UINT64_C(1) << 30)

struct shadow_budget {
    uint64_t bytes;
    _Atomic uint64_t used;
};

/* What a file was when it was copied. */
struct version {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
    struct timespec changed;
};

struct shadow {
    char *path; /* of the file */
    struct version version;
    struct version told; /* the last one that the user was told about */
    int copy;            /* the memfd */
    dev_t copy_device;
    ino_t copy_inode;
};

/* --- the budget ------------------------------------------------------------------------------- */

uint64_t shadow_budget_most(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) / 2 * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t shadow_budget_default(void)
{
    uint64_t most = shadow_budget_most();

    return most < DEFAULT_BUDGET ? most : DEFAULT_BUDGET;
}

int shadow_budget_make(struct shadow_budget **budget, uint64_t bytes, struct error *error)
{
    *budget = calloc(1, sizeof **budget);
    if (!*budget)
        return error_set(error, ENOMEM, "no room for the budget of shadows");
    (*budget)->bytes = bytes;
    return 0;
}

static bool reserve(struct shadow_budget *budget, uint64_t bytes)
{
    uint64_t used = atomic_load(&budget->used);

    do {
        if (bytes > budget->bytes - used)
            return false;
    } while (!atomic_compare_exchange_weak(&budget->used, &used, used + bytes));
    return true;
}

static void release(struct shadow_budget *budget, uint64_t bytes)
{
    atomic_fetch_sub(&budget->used, bytes);
}

/* --- versions --------------------------------------------------------------------------------- */

static struct version version_of(const struct stat *status)
{
    return (struct version){status->st_dev, status->st_ino, status->st_size, status->st_mtim,
                            status->st_ctim};
}

static bool is_same_time(const struct timespec *one, const struct timespec *other)
{
    return one->tv_sec == other->tv_sec && one->tv_nsec == other->tv_nsec;
}

/* `changed` too: times of modification can be set back. */
static bool is_same(const struct version *one, const struct version *other)
{
    return one->device == other->device && one->inode == other->inode && one->size == other->size &&
           is_same_time(&one->modified, &other->modified) &&
           is_same_time(&one->changed, &other->changed);
}

/* What a reader of the copy has to know; a change of mode or links is not. */
static bool is_as_read(const struct version *one, const struct version *other)
{
    return one->device == other->device && one->inode == other->inode && one->size == other->size &&
           is_same_time(&one->modified, &other->modified);
}

/* --- copies ----------------------------------------------------------------------------------- */

static int make_memory(void)
{
    int fd = memfd_create("boxsup-shadow", MFD_CLOEXEC | MFD_ALLOW_SEALING | SHADOW_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("boxsup-shadow", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

/* Copies exactly `size` bytes and finds the file's end behind them. 0, or an errno value; EBUSY:
 * the file is shorter or longer now. */
static int copy_bytes(int from, int to, off_t size)
{
    off_t offset = 0;
    char beyond;

    while (offset < size) {
        ssize_t copied = sendfile(to, from, &offset, (size_t)(size - offset));

        if (copied < 0)
            return errno;
        if (copied == 0)
            return EBUSY;
    }
    return pread(from, &beyond, 1, size) == 0 ? 0 : EBUSY;
}

/* Copies a file of *status, which says afterwards what was copied. 0, or an errno value. */
static int copy_once(int from, const struct stat *status, bool sealed, int *copy)
{
    owned_fd int to = make_memory();
    struct version before = version_of(status), after;
    struct stat now;
    int failed;

    if (to < 0)
        return errno;
    failed = copy_bytes(from, to, status->st_size);
    if (failed != 0)
        return failed;
    if (fstat(from, &now) != 0)
        return errno;
    after = version_of(&now);
    if (!is_same(&before, &after))
        return EBUSY;
    if (sealed &&
        (fchmod(to, S_IRUSR | S_IRGRP | S_IROTH) != 0 || fcntl(to, F_ADD_SEALS, SEALS) != 0))
        return errno;
    *copy = owned_fd_move(&to);
    return 0;
}

/* Copies a file within the cap and the budget; `shadow` has its version then. */
static int copy_file(const struct policy *policy, int from, struct shadow *shadow)
{
    const struct profile *profile = &policy->profile;
    bool bounded = !(profile->defects & DEFECT_SHADOW_UNBOUNDED);
    struct stat status;
    int failed = EBUSY;

    for (int attempt = 0; attempt < ATTEMPTS && failed == EBUSY; attempt++) {
        uint64_t bytes;

        if (fstat(from, &status) != 0)
            return errno;
        bytes = bounded ? (uint64_t)status.st_size : 0;
        if (bytes > profile->shadow_cap)
            return EFBIG;
        if (!reserve(policy->shadow_budget, bytes))
            return ENOMEM;
        failed =
            copy_once(from, &status, !(profile->defects & DEFECT_SHADOW_UNSEALED), &shadow->copy);
        if (failed != 0)
            release(policy->shadow_budget, bytes);
    }
    if (failed != 0)
        return failed;
    shadow->version = shadow->told = version_of(&status);
    if (fstat(shadow->copy, &status) != 0)
        return errno;
    shadow->copy_device = status.st_dev;
    shadow->copy_inode = status.st_ino;
    return 0;
}

static void drop(const struct policy *policy, struct shadow *shadow)
{
    if (shadow->copy >= 0 && !(policy->profile.defects & DEFECT_SHADOW_UNBOUNDED))
        release(policy->shadow_budget, (uint64_t)shadow->version.size);
    owned_fd_close(&shadow->copy);
    owned_memory_free(&shadow->path);
}

/* The copy of a file as it is now, a new one if there is none. 0, or an errno value. */
static int find_or_copy(struct sandbox *sandbox, int from, const char *path, int *copy)
{
    struct shadows *shadows = &sandbox->shadows;
    struct shadow shadow = {.copy = -1};
    struct version version;
    struct stat status;
    int failed;

    if (fstat(from, &status) != 0)
        return errno;
    version = version_of(&status);
    for (size_t i = 0; i < shadows->count; i++)
        if (is_same(&shadows->items[i].version, &version)) {
            *copy = shadows->items[i].copy;
            return 0;
        }
    if (shadows->count == SHADOW_FILES_MAX)
        return ENFILE;
    if (!shadows->items)
        shadows->items = calloc(SHADOW_FILES_MAX, sizeof *shadows->items);
    shadow.path = strdup(path);
    failed = shadows->items && shadow.path ? copy_file(sandbox->policy, from, &shadow) : ENOMEM;
    if (failed != 0) {
        drop(sandbox->policy, &shadow);
        return failed;
    }
    *copy = shadow.copy;
    shadows->items[shadows->count++] = shadow;
    return 0;
}

bool shadow_is_meant(const struct notification *notification, int target, int flags)
{
    const struct profile *profile = &notification->sandbox->policy->profile;
    char path[PATH_MAX];

    return (flags & O_ACCMODE) == O_RDONLY && !(flags & O_TRUNC) &&
           lookup_name(target, path, sizeof path) && lookup_is_below(path, profile->shadow);
}

void shadow_answer_open(const struct notification *notification, int target, int flags)
{
    struct sandbox *sandbox = notification->sandbox;
    bool sealed = !(sandbox->policy->profile.defects & DEFECT_SHADOW_UNSEALED);
    owned_fd int from = lookup_open(target, O_RDONLY | O_NONBLOCK);
    owned_fd int fd = -1;
    char path[PATH_MAX];
    int copy = -1; /* the sandbox's, until it ends */
    int failed = errno;

    if (from >= 0)
        failed = lookup_name(from, path, sizeof path) ? find_or_copy(sandbox, from, path, &copy)
                                                      : ENOENT;
    if (copy >= 0) {
        /* Opened anew: each open has an offset of its own. */
        fd = lookup_open(copy, sealed ? O_RDONLY : O_RDWR);
        failed = errno;
    }
    if (fd < 0)
        notify_fail(notification, failed);
    else
        notify_inject(notification, fd, flags & O_CLOEXEC);
}

/* --- staleness -------------------------------------------------------------------------------- */

static void check(const struct sandbox *sandbox, struct shadow *shadow)
{
    char sentence[ERROR_TEXT_BYTES + PATH_MAX];
    struct version version = {0};
    struct stat status;

    if (sandbox->policy->profile.defects & DEFECT_SHADOW_STALE_SILENT)
        return;
    if (stat(shadow->path, &status) == 0)
        version = version_of(&status);
    if (is_as_read(&version, &shadow->told) || !sandbox->tell)
        return;
    shadow->told = version;
    (void)snprintf(sentence, sizeof sentence,
                   "the shadow of %s is stale: modified %" PRIdMAX ".%09ld, now %" PRIdMAX
                   ".%09ld; %" PRIdMAX " bytes, now %" PRIdMAX,
                   shadow->path, (intmax_t)shadow->version.modified.tv_sec,
                   shadow->version.modified.tv_nsec, (intmax_t)version.modified.tv_sec,
                   version.modified.tv_nsec, (intmax_t)shadow->version.size,
                   (intmax_t)version.size);
    sandbox->tell(sentence);
}

void shadow_check_copy(const struct sandbox *sandbox, const struct stat *copy)
{
    for (size_t i = 0; i < sandbox->shadows.count; i++) {
        struct shadow *shadow = &sandbox->shadows.items[i];

        if (shadow->copy_device == copy->st_dev && shadow->copy_inode == copy->st_ino)
            check(sandbox, shadow);
    }
}

void shadow_check_source(const struct sandbox *sandbox, int target)
{
    char path[PATH_MAX];

    if (sandbox->shadows.count == 0 || !lookup_name(target, path, sizeof path))
        return;
    for (size_t i = 0; i < sandbox->shadows.count; i++)
        if (strcmp(sandbox->shadows.items[i].path, path) == 0)
            check(sandbox, &sandbox->shadows.items[i]);
}

void shadow_clear(struct sandbox *sandbox)
{
    while (sandbox->shadows.count > 0)
        drop(sandbox->policy, &sandbox->shadows.items[--sandbox->shadows.count]);
    owned_memory_free(&sandbox->shadows.items);
}
