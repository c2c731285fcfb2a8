/*
 * results_same.c: every wrapped call, good and bad, with its result and errno on stdout, one a
 * line. Run with and without the shim the two outputs must be the same (promise 1).
 *
 * errno is 777 before each call, so that a call that succeeds and changes it is seen as well.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system.h"

#define SAY(call)                                                                                  \
    do {                                                                                           \
        errno = 777;                                                                               \
        long result_ = (long)(call);                                                               \
        printf("%d %s = %ld errno %d\n", __LINE__, #call, result_, errno);                         \
    } while (0)
#define SAYP(call)                                                                                 \
    do {                                                                                           \
        errno = 777;                                                                               \
        void *result_ = (void *)(call);                                                            \
        const char *is_ = result_ == NULL ? "NULL" : result_ == MAP_FAILED ? "-1" : "pointer";     \
        printf("%d %s = %s errno %d\n", __LINE__, #call, is_, errno);                              \
        last = result_;                                                                            \
    } while (0)

static void *last;
static void *volatile bad_pointer = (void *)8; /* EFAULT; hidden from the compiler */
int __open_2(const char *, int);
int __open64_2(const char *, int);
int __openat_2(int, const char *, int);
int __openat64_2(int, const char *, int);

static void mappings(void)
{
    char *fixed = (void *)0x300000000000;
    int fd = open("/proc/self/exe", O_RDONLY);

    SAYP(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    SAYP(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0));
    SAYP(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 9999, 0));
    SAYP(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 1));
    SAYP(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    SAYP(mmap(NULL, PAGE, PROT_READ, 0, fd, 0));
    SAYP(mmap(NULL, (size_t)1 << 47, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    SAYP(mmap(fixed + 1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    SAYP(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0));
    SAY(munmap(last, PAGE));
    SAYP(mmap64(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, PAGE));
    SAY(munmap(last, PAGE));
    SAY(mmap(fixed, 8 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    SAYP(mmap(fixed, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    SAY(syscall(SYS_mmap, fixed, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, PAGE));
    SAY(munmap(fixed + 1, PAGE));
    SAY(munmap(fixed, 0));
    SAY(munmap((void *)-PAGE, PAGE));
    SAY(munmap(fixed + 2 * PAGE, PAGE));
    SAY(munmap(fixed + 2 * PAGE, PAGE));
    SAY(mprotect(fixed, 8 * PAGE, PROT_READ)); /* over the hole: ENOMEM */
    SAY(mprotect(fixed, PAGE, PROT_NONE));
    SAY(mprotect(fixed + 1, PAGE, PROT_NONE));
    SAY(mprotect(fixed, PAGE, 0x40000000));
    SAY(pkey_mprotect(fixed, PAGE, PROT_READ, -1));
    SAY(pkey_mprotect(fixed, PAGE, PROT_READ, 99));
    SAY(mremap(fixed, PAGE, 0, 0));
    SAY(mremap(fixed + 1, PAGE, PAGE, 0));
    SAY(mremap(fixed, PAGE, 2 * PAGE, 0));
    SAY(mremap(fixed, PAGE, 2 * PAGE, 0xff00));
    SAY(mremap(fixed, PAGE, PAGE, MREMAP_FIXED, fixed + 16 * PAGE));
    SAY(mremap(fixed, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, fixed + 16 * PAGE));
    SAY(mremap(fixed + 16 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, fixed + 1));
    SAY(mremap(fixed + 64 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE));
    SAYP(mremap(fixed + 16 * PAGE, PAGE, 64 * PAGE, MREMAP_MAYMOVE));
    SAY(munmap(last, 64 * PAGE));
    SAY(munmap(fixed, 64 * PAGE));
    SAYP(shmat(-1, NULL, 0));
    int id = shmget(IPC_PRIVATE, 2 * PAGE, 0600);
    SAYP(shmat(id, fixed + 1, 0));
    SAY(shmat(id, fixed + 1, SHM_RND));
    SAYP(shmat(id, fixed, 0));
    SAY(shmdt(fixed + PAGE));
    SAY(shmdt(fixed));
    SAY(shmdt(fixed));
    SAYP(shmat(id, NULL, SHM_RDONLY));
    SAY(shmdt(last));
    shmctl(id, IPC_RMID, NULL);
    SAY(close(fd));
}

static void opening(const char *dir)
{
    char path[300], name[320];
    struct stat st;
    snprintf(path, sizeof path, "%s/f", dir);

    SAY(open("/nonexistent", O_RDONLY));
    SAY(open(bad_pointer, O_RDONLY));
    SAY(open("/", O_WRONLY));
    SAY(open("/dev/null", O_DIRECTORY));
    SAY(open(path, O_CREAT | O_EXCL | O_RDWR, 0640));
    SAY(fstat(3, &st) == 0 ? (int)st.st_mode : -1);
    SAY(open(path, O_CREAT | O_EXCL | O_RDWR, 0640));
    SAY(open64(path, O_RDWR));
    SAY(openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
    SAY(fcntl(5, F_GETFD));
    SAY(openat(99, "f", O_RDONLY));
    SAY(openat64(AT_FDCWD, path, O_CREAT | O_WRONLY, 0600));
    SAY(creat(path, 0600));
    SAY(creat64("/nonexistent/x", 0600));
    SAY(open(dir, O_TMPFILE | O_RDWR, 0604));
    SAY(fstat(8, &st) == 0 ? (int)st.st_mode & 0777 : -1);
    SAY(__open_2(path, O_RDONLY));
    SAY(__open64_2(path, O_RDONLY));
    SAY(__openat_2(AT_FDCWD, path, O_RDONLY));
    SAY(__openat64_2(AT_FDCWD, "/nonexistent", O_RDONLY));
    SAY(open(dir, O_PATH));
    SAY(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY));
    uint64_t how[3] = {O_RDONLY, 0, 0};
    SAY(syscall(SYS_openat2, AT_FDCWD, path, how, sizeof how));
    SAY(syscall(SYS_openat2, AT_FDCWD, path, how, 1));
    SAY(syscall(SYS_openat2, AT_FDCWD, path, 8, sizeof how));
    SAY((closefrom(3), 0));
    snprintf(name, sizeof name, "%s/XXXXXX", dir);
    SAY(mkstemp(name));
    snprintf(name, sizeof name, "%s/XXXXX", dir);
    SAY(mkstemp(name));
    snprintf(name, sizeof name, "%s/XXXXXX.c", dir);
    SAY(mkstemps(name, 2));
    SAY(mkostemps(name, 2, 0));
    snprintf(name, sizeof name, "/nonexistent/XXXXXX");
    SAY(mkostemp(name, O_CLOEXEC));
    SAYP(fopen("/nonexistent", "r"));
    SAYP(fopen(path, "z"));
    SAYP(fopen64(path, "we"));
    SAY(fileno(last));
    SAY(fputs("x", last));
    SAYP(freopen(path, "r", last));
    SAY(fgetc(last));
    SAYP(freopen("/nonexistent", "r", last));
    SAYP(fdopen(77, "r"));
    SAYP(fdopen(3, "q"));
    SAYP(fdopen(3, "r+"));
    SAY(fclose(last));
    SAY(close(3));
    SAYP(tmpfile());
    SAY(fclose(last));
    SAYP(opendir("/nonexistent"));
    SAYP(opendir("/dev/null"));
    SAYP(opendir(dir));
    SAY(dirfd(last));
    SAY(closedir(last));
    SAYP(fdopendir(99));
    SAYP(fdopendir(4));
    SAY(open(dir, O_RDONLY));
    SAYP(fdopendir(3));
    SAY(closedir(last));
    SAYP(popen("exit 3", "r"));
    SAY(pclose(last));
    SAYP(popen("exit 3", "q"));
    SAY((closefrom(3), 0));
}

static void descriptors(void)
{
    int two[2] = {-7, -7}, fd;
    char byte;
    struct flock lock = {.l_type = F_RDLCK};

    SAY(close(-1));
    SAY(close(3));
    SAY(dup(99));
    SAY(dup(-1));
    SAY(dup(0));
    SAY(dup2(3, 3));
    SAY(dup2(99, 3));
    SAY(dup2(3, -1));
    SAY(dup2(3, 1 << 30));
    SAY(dup2(3, 30));
    SAY(dup3(3, 3, 0));
    SAY(dup3(3, 31, 1));
    SAY(dup3(3, 31, O_CLOEXEC));
    SAY(fcntl(31, F_GETFD));
    SAY(fcntl(3, F_DUPFD, 10));
    SAY(fcntl(3, F_DUPFD, 1 << 30));
    SAY(fcntl(3, F_DUPFD, -1));
    SAY(fcntl(99, F_DUPFD, 3));
    SAY(fcntl(3, F_DUPFD_CLOEXEC, 10));
    SAY(fcntl(3, F_SETFD, FD_CLOEXEC));
    SAY(fcntl(3, F_GETLK, &lock));
    SAY(fcntl(3, F_GETLK, bad_pointer));
    SAY(fcntl(3, 4711));
    SAY(close_range(10, 31, 0));
    SAY(close_range(31, 10, 0));
    SAY(close_range(3, 31, 0x100));
    SAY(fcntl(30, F_GETFD));
    SAY(pipe(two));
    SAY(two[0] * 100 + two[1]);
    SAY(pipe(bad_pointer));
    SAY(pipe2(two, 0x7f000000));
    SAY(pipe2(two, O_CLOEXEC | O_NONBLOCK));
    SAY(two[0] * 100 + two[1]);
    SAY(read(two[0], &byte, 1));
    SAY(socket(AF_UNIX, SOCK_STREAM, 0));
    SAY(socket(AF_UNIX, 999, 0));
    SAY(socket(999, SOCK_STREAM, 0));
    SAY(socketpair(AF_UNIX, SOCK_STREAM, 0, two));
    SAY(socketpair(AF_UNIX, SOCK_STREAM, 0, bad_pointer));
    SAY(accept(0, NULL, NULL));
    SAY(accept(99, NULL, NULL));
    SAY(accept4(two[0], NULL, NULL, 0));
    SAY(accept4(two[0], NULL, NULL, 0x12345));
    SAY(recvmsg(99, NULL, 0));
    SAY(recvmsg(two[0], bad_pointer, 0));
    SAY(recvmsg(two[0], bad_pointer, MSG_DONTWAIT));
    SAY(recvmmsg(two[0], NULL, 1, MSG_DONTWAIT, NULL));
    SAY((closefrom(3), 0));
    SAY(eventfd(0, 0));
    SAY(eventfd(0, 0x12345));
    SAY(epoll_create(0));
    SAY(epoll_create(1));
    SAY(epoll_create1(1));
    SAY(timerfd_create(99, 0));
    SAY(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    sigset_t set;
    sigemptyset(&set);
    SAY(signalfd(-1, &set, 0));
    SAY(signalfd(3, &set, 0));
    SAY(fd = signalfd(-1, &set, SFD_CLOEXEC));
    SAY(signalfd(fd, &set, 0)); /* the same descriptor again */
    SAY(inotify_init());
    SAY(inotify_init1(7));
    SAY(fanotify_init(0xffffffff, 0));
    SAY(memfd_create("x", 0x8000));
    SAY(memfd_create(bad_pointer, 0));
    SAY(memfd_create("x", MFD_CLOEXEC));
    SAY(pidfd_open(-1, 0));
    SAY(pidfd_open(getpid(), 0xff));
    SAY(pidfd_open(getpid(), 0));
    SAY(pidfd_getfd(99, 0, 0));
    SAY(pidfd_getfd(0, 0, 0));
    SAY(shm_open("/no/such", O_RDONLY, 0));
    SAY(shm_open("/boxledger-none-such", O_RDONLY, 0));
    SAY(mq_open("/boxledger-none-such", O_RDONLY));
    SAY(mq_open("bad", O_RDONLY));
    SAY(posix_openpt(O_RDWR | O_NOCTTY) >= 0);
    SAY(openpty(&two[0], &two[1], NULL, NULL, NULL));
    SAY(fsopen("no-such-filesystem", 0));
    SAY(fsmount(99, 0, 0));
    SAY(open_tree(99, "x", 0));
    SAY(syscall(SYS_io_uring_setup, 0, NULL));
    SAY(syscall(SYS_userfaultfd, 0xffff));
    SAY(syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0));
    SAY(syscall(SYS_bpf, 9999, NULL, 0));
    SAY(syscall(SYS_memfd_secret, 0xffff));
    SAY(syscall(-1));
    SAY(syscall(99999));
    SAY(syscall(SYS_close, 99));
    SAY(syscall(SYS_dup, 0) > 2);
    SAY(syscall(SYS_getpid) == getpid());
    SAY(ioctl(99, FIONREAD, &fd));
    SAY(ioctl(0, 0xdeadbeef, 1));
    SAY(ioctl(two[0], TIOCGPTPEER, O_RDWR | O_NOCTTY) > 0);
    SAY(ioctl(two[0], TIOCGWINSZ, 8));
    SAY(unshare(0x1));
    SAY((closefrom(3), 0));
}

static void processes(void)
{
    int status = -1;
    pid_t pid;
    char *none[] = {NULL}, *env[] = {NULL}, *argv[] = {(char *)"true", NULL};

    SAY((pid = fork()) == 0 ? (_exit(5), 0) : waitpid(pid, &status, 0) == pid);
    SAY(WEXITSTATUS(status));
    SAY((pid = vfork()) == 0 ? (_Exit(6), 0) : waitpid(pid, &status, 0) == pid);
    SAY(WEXITSTATUS(status));
    SAY((pid = fork()) == 0 ? (quick_exit(7), 0) : waitpid(pid, &status, 0) == pid);
    SAY(WEXITSTATUS(status));
    SAY(execv("/nonexistent", none));
    SAY(execve("/nonexistent", none, env));
    SAY(execve("/", argv, env));
    SAY(execve("/bin/true", bad_pointer, env));
    SAY(execvp("no-such-program-anywhere", argv));
    SAY(execvpe("no-such-program-anywhere", argv, env));
    SAY(execl("/nonexistent", "x", "y", NULL));
    SAY(execlp("no-such-program-anywhere", "x", NULL));
    SAY(execle("/nonexistent", "x", NULL, env));
    SAY(fexecve(99, argv, env));
    SAY(execveat(99, "", argv, env, AT_EMPTY_PATH));
    SAY((pid = fork()) == 0 ? execl("/bin/sh", "sh", "-c", "exit 9", NULL)
                            : waitpid(pid, &status, 0) == pid);
    SAY(WEXITSTATUS(status));
    SAY((pid = vfork()) == 0
            ? execle("/bin/sh", "sh", "-c", "exit ${X}1", NULL, (char *[]){(char *)"X=1", NULL})
            : waitpid(pid, &status, 0) == pid);
    SAY(WEXITSTATUS(status));
    SAY(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, env));
    SAY(waitpid(pid, &status, 0) == pid ? WEXITSTATUS(status) : -1);
    SAY(posix_spawn(&pid, "/nonexistent", NULL, NULL, argv, env));
    SAY(system("exit 4"));
    SAY(clone(NULL, NULL, 0, NULL));
}

/* Every call that takes a descriptor, with none to be had. */
static void exhausted(const char *dir)
{
    struct rlimit few = {4, 0}, old;
    char path[300], temp[300];
    int two[2], master, slave;
    sigset_t set;

    sigemptyset(&set);
    snprintf(path, sizeof path, "%s/g", dir);
    getrlimit(RLIMIT_NOFILE, &old);
    few.rlim_max = old.rlim_max;
    int have = open(dir, O_RDONLY);
    setrlimit(RLIMIT_NOFILE, &few);
    SAY(have);
    SAY(open("/dev/null", O_RDONLY));
    SAY(openat(AT_FDCWD, "/dev/null", O_RDONLY));
    SAY(creat(path, 0600));
    SAYP(fopen("/dev/null", "r"));
    SAYP(tmpfile());
    SAYP(opendir("/"));
    SAYP(popen(":", "r"));
    snprintf(temp, sizeof temp, "%s/XXXXXX", dir);
    SAY(mkstemp(temp));
    SAY(dup(0));
    SAY(dup2(0, 4));
    SAY(dup3(0, 4, O_CLOEXEC));
    SAY(fcntl(0, F_DUPFD, 0));
    SAY(fcntl(0, F_DUPFD, 4));
    SAY(pipe(two));
    SAY(pipe2(two, 0));
    SAY(socket(AF_UNIX, SOCK_STREAM, 0));
    SAY(socketpair(AF_UNIX, SOCK_STREAM, 0, two));
    SAY(eventfd(0, 0));
    SAY(epoll_create1(0));
    SAY(timerfd_create(CLOCK_REALTIME, 0));
    SAY(signalfd(-1, &set, 0));
    SAY(inotify_init());
    SAY(pidfd_open(getpid(), 0));
    SAY(memfd_create("x", 0));
    SAY(shm_open("/boxledger-none-such", O_RDWR, 0));
    SAY(openpty(&master, &slave, NULL, NULL, NULL));
    SAY(syscall(SYS_dup, 0));
    SAY(close(have));
    SAY(dup(0));
    SAY(close(3));
    setrlimit(RLIMIT_NOFILE, &old);
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 60);
    const char *dir = system_argv[0];
    setvbuf(stdout, NULL, _IONBF, 0); /* nothing waits in a buffer when a child is made */
    mappings();
    opening(dir);
    descriptors();
    processes();
    exhausted(dir);
    return system_end();
}
