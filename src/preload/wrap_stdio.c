/*
 * wrap_stdio.c: streams and directories, as far as a descriptor comes or goes with them.
 *
 * libc opens and closes those by calls of its own, which no wrapper sees.
 */
#include <fcntl.h>
#include <stdio_ext.h>
#include <string.h>

#include "calls.h"
#include "police.h"
#include "policy/reclaim.h"
#include "wrap.h"

/* fileno and dirfd set errno for a stream that has no descriptor. */
static int descriptor_of(FILE *stream)
{
    int error = errno;
    int fd = stream ? fileno(stream) : -1;
    errno = error;
    return fd;
}

static int descriptor_of_directory(DIR *directory)
{
    int error = errno;
    int fd = directory ? dirfd(directory) : -1;
    errno = error;
    return fd;
}

static bool mode_cloexec(const char *mode)
{
    return mode && strchr(mode, 'e');
}

/* What a stream has not written yet would be lost if a policy closed its descriptor. */
static void note_buffer(FILE *stream, int fd)
{
    if (shim_polices(POLICY_RECLAIM) && stream && __fwritable(stream)) {
        reclaim_fd_buffered(fd);
    }
}

/* fopen.3, popen.3, tmpfile.3 */
static FILE *took_stream(const struct unwind_start *here, FILE *stream, enum ledger_fd_kind kind,
                         bool cloexec, const char *path)
{
    int fd = stream ? descriptor_of(stream) : -1;
    if (fd >= 0 || !stream) {
        shim_took_for(here, fd, kind, cloexec, fd >= 0 && path ? shim_path_owner(path) : 0);
    }
    note_buffer(stream, fd);
    return stream;
}

#define TAKES_STREAM(name, kind, params, args, cloexec, path)                                      \
    EXPORT FILE *name params                                                                       \
    {                                                                                              \
        if (shim_limits_fds(HERE, 1)) {                                                            \
            return NULL;                                                                           \
        }                                                                                          \
        FILE *stream = REAL(name) args;                                                            \
        if (unlikely(stream == NULL) && police_retries(HERE)) {                                    \
            stream = REAL(name) args;                                                              \
        }                                                                                          \
        return took_stream(HERE, stream, LEDGER_FD_##kind, cloexec, path);                         \
    }
TAKES_STREAM(fopen, FILE, (const char *path, const char *mode), (path, mode), mode_cloexec(mode),
             path)
TAKES_STREAM(fopen64, FILE, (const char *path, const char *mode), (path, mode), mode_cloexec(mode),
             path)
TAKES_STREAM(tmpfile, FILE, (void), (), false, NULL)
TAKES_STREAM(tmpfile64, FILE, (void), (), false, NULL)
TAKES_STREAM(popen, PIPE, (const char *command, const char *mode), (command, mode),
             mode_cloexec(mode), NULL)

EXPORT FILE *fdopen(int fd, const char *mode)
{
    FILE *stream = REAL(fdopen)(fd, mode);
    if (stream && shim_watching()) {
        shim_fd_named(HERE, fd);
    }
    note_buffer(stream, fd);
    return stream;
}

/* freopen.3: the old descriptor is closed whatever comes of it. With no path the stream keeps its
 * file and gets a new number for it, or the same. */
#define REOPENS(name)                                                                              \
    EXPORT FILE *name(const char *path, const char *mode, FILE *old)                               \
    {                                                                                              \
        int fd = descriptor_of(old);                                                               \
        struct shim_release release = shim_fd_releasing(HERE, fd);                                 \
        FILE *stream = REAL(name)(path, mode, old);                                                \
        if (release.watching) {                                                                    \
            shim_fd_gone(fd, &release);                                                            \
        }                                                                                          \
        return took_stream(HERE, stream, LEDGER_FD_FILE, mode_cloexec(mode), path);                \
    }
REOPENS(freopen)
REOPENS(freopen64)

/* fclose.3, pclose.3: the descriptor is gone even where they fail. */
#define CLOSES_STREAM(name)                                                                        \
    EXPORT int name(FILE *stream)                                                                  \
    {                                                                                              \
        int fd = descriptor_of(stream);                                                            \
        struct shim_release release = shim_fd_releasing(HERE, fd);                                 \
        int result = REAL(name)(stream);                                                           \
        if (release.watching) {                                                                    \
            shim_fd_gone(fd, &release);                                                            \
        }                                                                                          \
        return result;                                                                             \
    }
CLOSES_STREAM(fclose)
CLOSES_STREAM(pclose)

/* opendir.3 */
EXPORT DIR *opendir(const char *path)
{
    if (shim_limits_fds(HERE, 1)) {
        return NULL;
    }
    DIR *directory = REAL(opendir)(path);
    if (unlikely(directory == NULL) && police_retries(HERE)) {
        directory = REAL(opendir)(path);
    }
    shim_took_for(HERE, descriptor_of_directory(directory), LEDGER_FD_DIRECTORY, true,
                  directory ? shim_path_owner(path) : 0);
    return directory;
}

EXPORT DIR *fdopendir(int fd)
{
    DIR *directory = REAL(fdopendir)(fd);
    if (directory && shim_watching()) {
        shim_fd_named(HERE, fd);
    }
    return directory;
}

EXPORT int closedir(DIR *directory)
{
    int fd = descriptor_of_directory(directory);
    struct shim_release release = shim_fd_releasing(HERE, fd);
    int result = REAL(closedir)(directory);
    if (release.watching) {
        shim_fd_gone(fd, &release);
    }
    return result;
}

/* mkstemp.3 */
#define OPEN_CLOEXEC ((flags & O_CLOEXEC) != 0)
TAKES_FD(mkstemp, FILE, (char *path), (path), false)
TAKES_FD(mkstemp64, FILE, (char *path), (path), false)
TAKES_FD(mkostemp, FILE, (char *path, int flags), (path, flags), OPEN_CLOEXEC)
TAKES_FD(mkostemp64, FILE, (char *path, int flags), (path, flags), OPEN_CLOEXEC)
TAKES_FD(mkstemps, FILE, (char *path, int suffix), (path, suffix), false)
TAKES_FD(mkstemps64, FILE, (char *path, int suffix), (path, suffix), false)
TAKES_FD(mkostemps, FILE, (char *path, int suffix, int flags), (path, suffix, flags), OPEN_CLOEXEC)
TAKES_FD(mkostemps64, FILE, (char *path, int suffix, int flags), (path, suffix, flags),
         OPEN_CLOEXEC)
