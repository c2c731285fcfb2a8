/*
 * redirect_program.c: see redirect_program.h.
 */
#include "supervisor/redirect_program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "supervisor/looks.h"
#include "supervisor/lookup.h"
#include "supervisor/notify.h"
#include "supervisor/owned.h"
#include "supervisor/redirect.h"
#include "supervisor/redo.h"

/* As many scripts that are interpreted by scripts as the kernel goes through. */
#define SCRIPTS_MAX 4

/* As much of a #! line as the kernel reads: include/uapi/linux/binfmts.h. */
#define LINE_BYTES 256

/* More program headers than this nobody has. */
#define HEADERS_MAX 128

struct execution {
    const struct notification *notification;
    int file;            /* O_PATH */
    char path[PATH_MAX]; /* by which the process would open it */
    char outside[PATH_MAX];
    struct redo_program program;
    /* What the words point to. */
    char lines[SCRIPTS_MAX + 1][LINE_BYTES + 1];
    char names[SCRIPTS_MAX + 1][PATH_MAX];
    char linker[PATH_MAX];
};

/* Goes on with what a path leads to. 0, or an errno value. */
static int find(struct execution *execution, const char *path)
{
    int fd = -1;
    int failed = redirect_find(execution->notification, AT_FDCWD, path, 0, &fd);

    if (failed != 0)
        return failed;
    owned_fd_replace(&execution->file, fd);
    (void)snprintf(execution->path, sizeof execution->path, "%s", path);
    return 0;
}

/* Puts words in the place of the first one there is. The program's own arguments follow them. */
static void replace_first(struct redo_program *program, const char *const *words, size_t count)
{
    size_t kept = program->count > 0 ? program->count - 1 : 0;

    memmove(program->words + count, program->words + program->count - kept,
            kept * sizeof *program->words);
    memcpy(program->words, words, count * sizeof *words);
    program->count = count + kept;
    program->skipped = 1;
}

/* --- scripts ---------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* What a script's line names: the interpreter, and all that follows as one argument or NULL. The
 * line is changed. False: it names none. */
static bool split_line(char *line, char **interpreter, char **argument)
{
    char *end = line + strcspn(line, "\n");

    while (end > line && is_blank(end[-1]))
        end--;
    *end = 0;
    *interpreter = line + strspn(line, " \t");
    *argument = *interpreter + strcspn(*interpreter, " \t");
    if (**argument != 0) {
        *(*argument)++ = 0;
        *argument += strspn(*argument, " \t");
    }
    if (**argument == 0)
        *argument = NULL;
    return **interpreter != 0;
}

static int enter_script(struct execution *execution, const char *start, unsigned depth)
{
    const char *words[3];
    char *line = execution->lines[depth];
    char *interpreter, *argument;
    size_t count = 0;

    (void)snprintf(line, LINE_BYTES + 1, "%s", start);
    (void)snprintf(execution->names[depth], PATH_MAX, "%s", execution->path);
    if (!split_line(line, &interpreter, &argument))
        return ENOEXEC;
    words[count++] = interpreter;
    if (argument)
        words[count++] = argument;
    words[count++] = execution->names[depth];
    replace_first(&execution->program, words, count);
    return find(execution, interpreter);
}

/* --- programs --------------------------------------------------------------------------------- */

/* The path of a program's dynamic linker; "": it needs none. 0, or an errno value. */
static int read_linker(int file, char *path, size_t bytes)
{
    Elf64_Phdr headers[HEADERS_MAX];
    Elf64_Ehdr header;
    ssize_t wanted;

    path[0] = 0;
    if (pread(file, &header, sizeof header, 0) != (ssize_t)sizeof header ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof headers[0] ||
        header.e_phnum > HEADERS_MAX)
        return ENOEXEC;
    wanted = (ssize_t)(header.e_phnum * sizeof headers[0]);
    if (pread(file, headers, (size_t)wanted, (off_t)header.e_phoff) != wanted)
        return ENOEXEC;
    for (unsigned i = 0; i < header.e_phnum; i++)
        if (headers[i].p_type == PT_INTERP) {
            if (headers[i].p_filesz == 0 || headers[i].p_filesz > bytes ||
                pread(file, path, headers[i].p_filesz, (off_t)headers[i].p_offset) !=
                    (ssize_t)headers[i].p_filesz ||
                path[headers[i].p_filesz - 1] != 0)
                return ENOEXEC;
            return 0;
        }
    return 0;
}

/* The dynamic linker takes a name without a slash for a library's. */
static int enter_program(struct execution *execution, int file)
{
    char *name = execution->names[SCRIPTS_MAX];
    const char *words[4];
    bool is_path = strchr(execution->path, '/');
    int failed = read_linker(file, execution->linker, sizeof execution->linker);

    if (failed != 0 || execution->linker[0] == 0)
        return failed;
    if ((size_t)snprintf(name, PATH_MAX, "%s%s", is_path ? "" : "./", execution->path) >= PATH_MAX)
        return ENAMETOOLONG;
    words[0] = execution->linker;
    words[1] = "--argv0";
    words[2] = execution->program.count > 0 ? execution->program.words[0] : NULL;
    words[3] = name;
    replace_first(&execution->program, words, sizeof words / sizeof words[0]);
    return find(execution, execution->linker);
}

/* --- the whole -------------------------------------------------------------------------------- */

/* One step: *done, when the file is what the kernel can execute without another one. */
static int step(struct execution *execution, unsigned depth, bool *done)
{
    char start[LINE_BYTES + 1] = "";
    owned_fd int file = -1;
    struct stat status;
    ssize_t got;

    if (fstat(execution->file, &status) != 0)
        return errno;
    if (!S_ISREG(status.st_mode))
        return EACCES;
    if (looks_access(execution->file, X_OK, 0) != 0)
        return EACCES;
    file = lookup_open(execution->file, O_RDONLY);
    got = file >= 0 ? pread(file, start, LINE_BYTES, 0) : -1;
    if (got < 0)
        return errno;
    if (start[0] == '#' && start[1] == '!')
        return depth < SCRIPTS_MAX ? enter_script(execution, start + 2, depth) : ELOOP;
    if (memcmp(start, ELFMAG, SELFMAG) != 0)
        return ENOEXEC;
    *done = true;
    return enter_program(execution, file);
}

/* What follows a directory's descriptor is found by its whole path. */
static int name_program(struct execution *execution, int directory, const char *path)
{
    if (path[0] == '/' || directory == AT_FDCWD)
        (void)snprintf(execution->path, sizeof execution->path, "%s", path);
    else if (!lookup_name(execution->file, execution->path, sizeof execution->path) ||
             !redirect_name_inside(execution->notification, execution->path,
                                   sizeof execution->path))
        return ENAMETOOLONG;
    return 0;
}

/* 0, with all that the process is to execute; or an errno value. */
static int prepare(struct execution *execution, int directory, const char *path, int target)
{
    bool done = false;
    int failed;

    execution->file = fcntl(target, F_DUPFD_CLOEXEC, 0);
    if (execution->file < 0)
        return errno;
    failed = name_program(execution, directory, path);
    for (unsigned depth = 0; failed == 0 && !done; depth++)
        failed = step(execution, depth, &done);
    if (failed == 0 && !lookup_name(execution->file, execution->outside, sizeof execution->outside))
        failed = ENAMETOOLONG;
    execution->program.path = execution->outside;
    return failed;
}

void redirect_program_execute(const struct notification *notification, int directory,
                              const char *path, int target)
{
    struct execution execution = {.notification = notification, .file = -1};
    int failed = prepare(&execution, directory, path, target);

    owned_fd_close(&execution.file);
    if (failed == 0)
        redo_execve(notification, &execution.program);
    else
        notify_fail(notification, failed);
}
