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
#include <time.h>

#include "supervisor/defects.h"
#include "supervisor/error.h"
#include "supervisor/lazy_copy.h"
#include "supervisor/lookup.h"
#include "supervisor/memory_file.h"
#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/policy.h"
#include "supervisor/sandbox.h"
#include "supervisor/version.h"

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* How often a file is copied again that has changed meanwhile. */
#define ATTEMPTS 3

/* Smaller files are copied whole, whatever is asked for: it costs less than to do it by halves. */
#define LAZY_BYTES (1 << 20)
#define SETTLED_SECONDS 2

#define DEFAULT_BUDGET (UINT64_C(1) << 30)

struct shadow_budget {
    uint64_t bytes;
    _Atomic uint64_t used;
};

struct shadow {
    char *path;             /* of the file */
    struct version version; /* what it was when it was copied */
    struct version told;    /* the last one that the user was told about */
    int copy;               /* the memfd, of one that is copied whole */
    struct lazy_copy *lazy; /* or NULL */
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

/* --- copies ----------------------------------------------------------------------------------- */

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
    owned_fd int to = memory_file_make("boxsup-shadow");
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
    if (!version_is_same(&before, &after))
        return EBUSY;
    if (sealed &&
        (fchmod(to, S_IRUSR | S_IRGRP | S_IROTH) != 0 || fcntl(to, F_ADD_SEALS, SEALS) != 0))
        return errno;
    *copy = owned_fd_move(&to);
    return 0;
}

/* Whether a file has been what it is for longer than the clock of any file system takes to show a
 * change: one that came at once would not be seen. */
static bool is_settled(const struct stat *status)
{
    struct timespec now;

    return clock_gettime(CLOCK_REALTIME, &now) == 0 &&
           now.tv_sec - status->st_ctim.tv_sec > SETTLED_SECONDS;
}

/* A copy of a file of *status in the one way or the other. 0, or an errno value. */
static int copy_as_asked(const struct sandbox *sandbox, int *from, const struct stat *status,
                         struct shadow *shadow)
{
    const struct profile *profile = &sandbox->policy->profile;
    bool sealed = !(profile->defects & DEFECT_SHADOW_UNSEALED);

    if (profile->shadow_lazy && sealed && status->st_size >= LAZY_BYTES && is_settled(status) &&
        lazy_copy_make(from, status, shadow->path, sandbox->tell, &shadow->lazy) == 0)
        return 0;
    return copy_once(*from, status, sealed, &shadow->copy);
}

static int memory_of(const struct shadow *shadow)
{
    return shadow->lazy ? lazy_copy_fd(shadow->lazy) : shadow->copy;
}

/* Copies a file within the cap and the budget; `shadow` has its version then. */
static int copy_file(const struct sandbox *sandbox, int *from, struct shadow *shadow)
{
    const struct policy *policy = sandbox->policy;
    const struct profile *profile = &policy->profile;
    bool bounded = !(profile->defects & DEFECT_SHADOW_UNBOUNDED);
    struct stat status;
    int failed = EBUSY;

    for (int attempt = 0; attempt < ATTEMPTS && failed == EBUSY; attempt++) {
        uint64_t bytes;

        if (fstat(*from, &status) != 0)
            return errno;
        bytes = bounded ? (uint64_t)status.st_size : 0;
        if (bytes > profile->shadow_cap)
            return EFBIG;
        if (!reserve(policy->shadow_budget, bytes))
            return ENOMEM;
        failed = copy_as_asked(sandbox, from, &status, shadow);
        if (failed != 0)
            release(policy->shadow_budget, bytes);
    }
    if (failed != 0)
        return failed;
    shadow->version = shadow->told = version_of(&status);
    if (fstat(memory_of(shadow), &status) != 0)
        return errno;
    shadow->copy_device = status.st_dev;
    shadow->copy_inode = status.st_ino;
    return 0;
}

static void drop(const struct policy *policy, struct shadow *shadow)
{
    if (memory_of(shadow) >= 0 && !(policy->profile.defects & DEFECT_SHADOW_UNBOUNDED))
        release(policy->shadow_budget, (uint64_t)shadow->version.size);
    owned_fd_close(&shadow->copy);
    lazy_copy_free(&shadow->lazy);
    owned_memory_free(&shadow->path);
}

/* The copy of a file as it is now, a new one if there is none. 0, or an errno value. *from may be
 * empty afterwards. */
static int find_or_copy(struct sandbox *sandbox, int *from, const char *path, int *copy)
{
    struct shadows *shadows = &sandbox->shadows;
    struct shadow shadow = {.copy = -1};
    struct version version;
    struct stat status;
    int failed;

    if (fstat(*from, &status) != 0)
        return errno;
    version = version_of(&status);
    for (size_t i = 0; i < shadows->count; i++)
        if (version_is_same(&shadows->items[i].version, &version)) {
            *copy = memory_of(&shadows->items[i]);
            return 0;
        }
    if (shadows->count == SHADOW_FILES_MAX)
        return ENFILE;
    if (!shadows->items)
        shadows->items = calloc(SHADOW_FILES_MAX, sizeof *shadows->items);
    shadow.path = strdup(path);
    failed = shadows->items && shadow.path ? copy_file(sandbox, from, &shadow) : ENOMEM;
    if (failed != 0) {
        drop(sandbox->policy, &shadow);
        return failed;
    }
    *copy = memory_of(&shadow);
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
    int failed;

    if (from < 0 && errno == EWOULDBLOCK) /* a regular file with a lease: as for open(2) */
        from = lookup_open(target, O_RDONLY);
    failed = errno;
    if (from >= 0)
        failed = lookup_name(from, path, sizeof path) ? find_or_copy(sandbox, &from, path, &copy)
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

/* --- those that are filled when they are read ------------------------------------------------ */

static bool is_missing(const struct shadow *shadow)
{
    return shadow->lazy && !lazy_copy_is_whole(shadow->lazy);
}

bool shadow_is_any_missing(const struct sandbox *sandbox)
{
    for (size_t i = 0; i < sandbox->shadows.count; i++)
        if (is_missing(&sandbox->shadows.items[i]))
            return true;
    return false;
}

struct lazy_copy *shadow_find_missing(const struct sandbox *sandbox, const struct stat *copy)
{
    for (size_t i = 0; i < sandbox->shadows.count; i++) {
        const struct shadow *shadow = &sandbox->shadows.items[i];

        if (shadow->copy_device == copy->st_dev && shadow->copy_inode == copy->st_ino)
            return is_missing(shadow) ? shadow->lazy : NULL;
    }
    return NULL;
}

int shadow_fill_all(const struct sandbox *sandbox)
{
    int failed = 0;

    for (size_t i = 0; i < sandbox->shadows.count && failed == 0; i++)
        if (is_missing(&sandbox->shadows.items[i]))
            failed = lazy_copy_fill_whole(sandbox->shadows.items[i].lazy);
    return failed;
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
    if (version_is_as_read(&version, &shadow->told) || !sandbox->tell)
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
