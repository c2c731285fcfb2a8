/*
 * access.c: see access.h.
 */
#include "supervisor/access.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "supervisor/error.h"
#include "supervisor/owned.h"
#include "supervisor/profile.h"

/* Newer than Debian 12's headers; from include/uapi/linux/landlock.h. */
#define ACCESS_FS_REFER (UINT64_C(1) << 13)
#define ACCESS_FS_TRUNCATE (UINT64_C(1) << 14)
#define ACCESS_FS_IOCTL_DEV (UINT64_C(1) << 15)
#define SCOPE_ABSTRACT_UNIX_SOCKET (UINT64_C(1) << 0)
#define SCOPE_SIGNAL (UINT64_C(1) << 1)

/* The versions in which they came. */
enum {
    VERSION_REFER = 2,
    VERSION_TRUNCATE = 3,
    VERSION_IOCTL_DEV = 5,
    VERSION_SCOPE = 6,
};

/* landlock_ruleset_attr as of version 6; an older kernel is given its first members only. */
struct ruleset_attributes {
    uint64_t handled_access_fs;
    uint64_t handled_access_net;
    uint64_t scoped;
};

#define READ_FILE LANDLOCK_ACCESS_FS_READ_FILE
#define READ_DIR LANDLOCK_ACCESS_FS_READ_DIR
#define READ (READ_FILE | READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE)
#define WRITE_FILE (LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_FS_TRUNCATE)
#define DEVICE (READ_FILE | WRITE_FILE | ACCESS_FS_IOCTL_DEV)
/* All of version 1, and what became part of it since. */
#define EVERYTHING                                                                                 \
    (((UINT64_C(1) << 13) - 1) | ACCESS_FS_REFER | ACCESS_FS_TRUNCATE | ACCESS_FS_IOCTL_DEV)
/* Writable directories: everything but device nodes. */
#define CHANGE                                                                                     \
    (EVERYTHING & ~(uint64_t)(LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK))
/* What a rule on something that is not a directory may name. */
#define OF_FILES (DEVICE | LANDLOCK_ACCESS_FS_EXECUTE)

/* What of /dev is granted. The random ones are not, where their bytes are to come from a seed. */
static const char *const devices[] = {"null", "zero", "full", "tty", "ptmx", "pts"};
static const char *const random_devices[] = {"random", "urandom"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

int access_version(const struct profile *profile)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    if (version < 0)
        return 0;
    if (profile->landlock_abi > 0 && profile->landlock_abi < version)
        return profile->landlock_abi;
    return (int)version;
}

bool access_refuses_truncation(const struct profile *profile)
{
    return access_version(profile) >= VERSION_TRUNCATE;
}

const char *access_missing(int version)
{
    /* The filter makes up for what else is newer: truncation, and the network. */
    if (version < VERSION_REFER)
        return "files cannot be moved between directories; ioctl on devices and signals to "
               "processes outside are not refused";
    if (version < VERSION_IOCTL_DEV)
        return "ioctl on devices and signals to processes outside are not refused";
    if (version < VERSION_SCOPE)
        return "signals to processes outside are not refused";
    return NULL;
}

static uint64_t handled(int version)
{
    uint64_t access = EVERYTHING;

    if (version < VERSION_REFER)
        access &= ~ACCESS_FS_REFER;
    if (version < VERSION_TRUNCATE)
        access &= ~ACCESS_FS_TRUNCATE;
    if (version < VERSION_IOCTL_DEV)
        access &= ~ACCESS_FS_IOCTL_DEV;
    return access;
}

struct ruleset {
    int fd;
    uint64_t handled;
};

/* Grants `access` to what is open by O_PATH, and below it; `name` is for the message. */
static int grant_open(const struct ruleset *ruleset, int fd, mode_t mode, const char *name,
                      uint64_t access, struct error *error)
{
    struct landlock_path_beneath_attr rule;

    if (!S_ISDIR(mode))
        access &= OF_FILES;
    rule.allowed_access = access & ruleset->handled;
    rule.parent_fd = fd;
    if (rule.allowed_access != 0 &&
        syscall(SYS_landlock_add_rule, ruleset->fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        return error_set(error, errno, "cannot grant %s to the sandbox", name);
    return 0;
}

/* Grants `access` to what `name` in `directory` is, and below it. */
static int grant(const struct ruleset *ruleset, int directory, const char *name, uint64_t access,
                 struct error *error)
{
    owned_fd int fd = openat(directory, name, O_PATH | O_CLOEXEC);
    struct stat status;

    if (fd < 0 || fstat(fd, &status) != 0)
        return error_set(error, errno, "cannot open %s", name);
    return grant_open(ruleset, fd, status.st_mode, name, access, error);
}

/* What is not there, not for us, or on a mount whose server is dead, cannot be granted, and is not
 * missed. */
static int grant_if_there(const struct ruleset *ruleset, int directory, const char *name,
                          uint64_t access, struct error *error)
{
    owned_fd int fd = openat(directory, name, O_PATH | O_CLOEXEC);
    struct stat status;

    if (fd >= 0 && fstat(fd, &status) == 0)
        return grant_open(ruleset, fd, status.st_mode, name, access, error);
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
        return error_set(error, errno, "cannot open %s", name);
    return 0;
}

/* What is not granted, as absolute paths without links; ends in NULL. */
struct exclusions {
    const char *paths[5 + 1];
    size_t count;
};

static bool is_below(const char *path, const char *directory)
{
    size_t length = strlen(directory);

    return strncmp(path, directory, length) == 0 &&
           (path[length] == '/' || strcmp(directory, "/") == 0);
}

static bool is_excluded(const struct exclusions *exclusions, const char *path)
{
    for (size_t i = 0; i < exclusions->count; i++)
        if (strcmp(exclusions->paths[i], path) == 0)
            return true;
    return false;
}

static bool holds_excluded(const struct exclusions *exclusions, const char *path)
{
    for (size_t i = 0; i < exclusions->count; i++)
        if (is_below(exclusions->paths[i], path))
            return true;
    return false;
}

/* Grants reading of everything in a directory but what is excluded. What comes into it later, the
 * sandbox cannot read. */
static int grant_around(const struct ruleset *ruleset, const char *path,
                        const struct exclusions *exclusions, struct error *error)
{
    owned_directory DIR *directory = opendir(path);
    const struct dirent *entry;

    if (!directory)
        return error_set(error, errno, "cannot list %s", path);
    while ((entry = readdir(directory))) {
        owned_memory char *child = NULL;
        int failed;

        /* A link's target is granted where it is. */
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            entry->d_type == DT_LNK)
            continue;
        if (asprintf(&child, "%s/%s", strcmp(path, "/") == 0 ? "" : path, entry->d_name) < 0) {
            child = NULL;
            return error_set(error, ENOMEM, "no room for a path");
        }
        if (is_excluded(exclusions, child))
            continue;
        failed = holds_excluded(exclusions, child)
                     ? grant_around(ruleset, child, exclusions, error)
                     : grant_if_there(ruleset, AT_FDCWD, child, READ, error);
        if (failed != 0)
            return -1;
    }
    return 0;
}

static int grant_devices(const struct ruleset *ruleset, bool random, struct error *error)
{
    owned_fd int directory = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (directory < 0)
        return 0;
    for (size_t i = 0; i < COUNT(devices); i++)
        if (grant_if_there(ruleset, directory, devices[i], DEVICE | READ_DIR, error) != 0)
            return -1;
    for (size_t i = 0; random && i < COUNT(random_devices); i++)
        if (grant_if_there(ruleset, directory, random_devices[i], DEVICE, error) != 0)
            return -1;
    return 0;
}

/* What boxsup answers for (proc.c, virtual.c, shadow.c, cow_calls.c) is not granted, but for
 * directories. */
static int grant_reading(const struct ruleset *ruleset, const struct profile *profile,
                         struct error *error)
{
    struct exclusions exclusions = {{"/proc", "/dev"}, 2};

    if (profile->hostname)
        exclusions.paths[exclusions.count++] = "/etc/hostname";
    if (profile->shadow[0])
        exclusions.paths[exclusions.count++] = profile->shadow;
    if (profile->cow[0])
        exclusions.paths[exclusions.count++] = profile->cow;
    if (grant(ruleset, AT_FDCWD, "/", READ_DIR, error) != 0 ||
        grant_around(ruleset, "/", &exclusions, error) != 0)
        return -1;
    return grant_devices(ruleset, !profile->has_seed, error);
}

int access_make_ruleset(const struct profile *profile, const char *upper, struct error *error)
{
    int version = access_version(profile);
    struct ruleset_attributes attributes = {handled(version), 0,
                                            SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL};
    size_t bytes =
        version >= VERSION_SCOPE ? sizeof attributes : sizeof attributes.handled_access_fs;
    owned_fd int fd = -1;
    struct ruleset ruleset;

    if (version == 0)
        return error_set(error, 0, "this kernel has no Landlock, or it is switched off");
    fd = (int)syscall(SYS_landlock_create_ruleset, &attributes, bytes, 0);
    if (fd < 0)
        return error_set(error, errno, "cannot make a Landlock ruleset");
    ruleset = (struct ruleset){fd, attributes.handled_access_fs};
    if (grant_reading(&ruleset, profile, error) != 0)
        return -1;
    if (upper && grant(&ruleset, AT_FDCWD, upper, READ, error) != 0)
        return -1;
    for (size_t i = 0; i < profile->writable_count; i++)
        if (grant(&ruleset, AT_FDCWD, profile->writable[i], CHANGE, error) != 0)
            return -1;
    return owned_fd_move(&fd);
}
