/*
 * target.c: looks at a program before it is started: will the loader load a shim into it at all?
 *
 * It refuses only what is certain, in words; everything else is found out by running it. It never
 * runs anything itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <limits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include "cli/cli.h"

#if defined(__x86_64__)
#define OWN_MACHINE EM_X86_64
#define OWN_MACHINE_NAME "x86-64"
#elif defined(__aarch64__)
#define OWN_MACHINE EM_AARCH64
#define OWN_MACHINE_NAME "aarch64"
#endif

static void refuse(struct target *target, const char *path, const char *why)
{
    target->refused = true;
    target->status = CLI_NOT_WATCHED;
    failure_set(&target->failure, "%s: %s, so boxledger cannot be loaded into it", path, why);
}

/* As execvp(3) goes about it. Sets target->status where there is nothing to execute. */
static void find_program(struct target *target, const char *name)
{
    const char *path = getenv("PATH"), *end;
    int error = ENOENT;

    if (strchr(name, '/')) {
        target->path = arena_text(&target->arena, name, strlen(name));
        if (access(name, X_OK) != 0)
            error = errno;
        else
            error = 0;
    } else {
        if (!path)
            path = "/bin:/usr/bin";
        for (; *name; path = end + 1) {
            struct stat file;
            char *candidate;

            end = strchrnul(path, ':');
            candidate = arena_format(&target->arena, "%.*s%s%s", (int)(end - path), path,
                                     end == path ? "" : "/", name);
            if (stat(candidate, &file) == 0 && S_ISREG(file.st_mode)) {
                if (access(candidate, X_OK) == 0) {
                    target->path = candidate;
                    error = 0;
                    break;
                }
                error = EACCES;
            }
            if (!*end)
                break;
        }
    }
    if (error == 0) {
        struct stat file;

        if (stat(target->path, &file) == 0 && S_ISDIR(file.st_mode))
            error = EISDIR;
    }
    if (error) {
        bool missing = error == ENOENT || error == ENOTDIR;

        target->status = missing ? CLI_NOT_FOUND : CLI_NOT_EXECUTABLE;
        failure_set(&target->failure, "%s: %s", name, missing ? "not found" : strerror(error));
    }
}

/* Whether executing the file raises privileges, in which case ld.so(8) ignores LD_PRELOAD. */
static const char *raises_privileges(const char *path, const struct stat *file)
{
    struct statvfs mount;
    char capabilities[64];

    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ||
        (statvfs(path, &mount) == 0 && (mount.f_flag & ST_NOSUID)))
        return NULL;
    if ((file->st_mode & S_ISUID) && file->st_uid != getuid())
        return "is set-user-ID";
    if ((file->st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && file->st_gid != getgid())
        return "is set-group-ID";
    /* For root these grant nothing that it has not got: capabilities(7). */
    if (getuid() != 0 &&
        getxattr(path, "security.capability", capabilities, sizeof capabilities) > 0)
        return "has file capabilities";
    return NULL;
}

/* What must be first in LD_PRELOAD: the sanitizers' runtimes insist on it. */
static bool is_sanitizer(const char *needed)
{
    static const char *const runtimes[] = {"libasan.so", "libtsan.so", "liblsan.so", "libhwasan.so",
                                           "libclang_rt.asan"};

    for (size_t i = 0; i < sizeof runtimes / sizeof *runtimes; i++)
        if (strncmp(needed, runtimes[i], strlen(runtimes[i])) == 0)
            return true;
    return false;
}

static void inspect_dynamic(struct target *target, Elf *elf, bool *has_soname)
{
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section));) {
        GElf_Shdr header;
        Elf_Data *data;

        if (!gelf_getshdr(section, &header) || header.sh_type != SHT_DYNAMIC ||
            header.sh_entsize == 0 || !(data = elf_getdata(section, NULL)))
            continue;
        for (size_t i = 0; i < header.sh_size / header.sh_entsize && i < INT_MAX; i++) {
            const char *name;
            GElf_Dyn entry;

            if (!gelf_getdyn(data, (int)i, &entry) || entry.d_tag == DT_NULL)
                break;
            *has_soname |= entry.d_tag == DT_SONAME;
            name =
                entry.d_tag == DT_NEEDED ? elf_strptr(elf, header.sh_link, entry.d_un.d_val) : NULL;
            if (name && !target->preload && is_sanitizer(name))
                target->preload = arena_text(&target->arena, name, strlen(name));
        }
    }
}

static void inspect_elf(struct target *target, const char *path, Elf *elf)
{
    const char *interpreter = NULL;
    bool has_soname = false;
    GElf_Ehdr header;
    size_t count = 0, size = 0;
    const char *raw = elf_rawfile(elf, &size);

    if (!gelf_getehdr(elf, &header))
        return;
    if (header.e_machine != OWN_MACHINE || gelf_getclass(elf) != ELFCLASS64) {
        refuse(target, path, "is not a 64-bit program for " OWN_MACHINE_NAME);
        return;
    }
    if (elf_getphdrnum(elf, &count) != 0)
        return;
    for (size_t i = 0; i < count && i < INT_MAX; i++) {
        GElf_Phdr segment;

        if (!gelf_getphdr(elf, (int)i, &segment) || segment.p_type != PT_INTERP)
            continue;
        if (raw && segment.p_filesz && segment.p_offset < size &&
            segment.p_filesz <= size - segment.p_offset &&
            raw[segment.p_offset + segment.p_filesz - 1] == '\0')
            interpreter = raw + segment.p_offset;
        else
            interpreter = "";
    }
    inspect_dynamic(target, elf, &has_soname);
    /* The loader itself has no interpreter but a name: `ld.so PROGRAM` works. */
    if (!interpreter && !has_soname) {
        refuse(target, path, "is statically linked");
    } else if (interpreter) {
        const char *name = strrchr(interpreter, '/');

        if (strncmp(name ? name + 1 : interpreter, "ld-musl", 7) == 0)
            refuse(target, path, "is linked with musl, not glibc");
    }
}

/* Returns the interpreter of a script in *line, or false. */
static bool script_interpreter(int fd, char *line, size_t size)
{
    ssize_t got = pread(fd, line, size - 1, 0);
    char *start, *end;

    if (got < 3 || line[0] != '#' || line[1] != '!')
        return false;
    line[got] = '\0';
    line[strcspn(line, "\n")] = '\0';
    start = line + 2 + strspn(line + 2, " \t");
    end = start + strcspn(start, " \t");
    *end = '\0';
    memmove(line, start, (size_t)(end - start) + 1);
    return *line != '\0';
}

static void inspect_file(struct target *target, const char *path, unsigned depth)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    char line[PATH_MAX];
    const char *why;
    struct stat file;
    Elf *elf;

    /* What cannot be read can often be run all the same: not certain, so not refused. */
    if (fd < 0 || fstat(fd, &file) < 0 || !S_ISREG(file.st_mode))
        return;
    if (script_interpreter(fd, line, sizeof line)) {
        if (depth < 4)
            inspect_file(target, line, depth + 1);
        return;
    }
    why = raises_privileges(path, &file);
    if (why) {
        refuse(target, path, why);
        return;
    }
    (void)elf_version(EV_CURRENT);
    elf = elf_begin(fd, ELF_C_READ, NULL);
    if (elf && elf_kind(elf) == ELF_K_ELF)
        inspect_elf(target, path, elf);
    if (elf)
        elf_end(elf);
}

void target_inspect(struct target *target, const char *name)
{
    *target = (struct target){0};
    find_program(target, name);
    if (target->status == 0)
        inspect_file(target, target->path, 0);
}

void target_free(struct target *target)
{
    arena_free(&target->arena);
}
