/*
 * same_system_calls.c: traces a child and prints the system calls between two marks, so that the
 * same program's calls with and without the shim can be compared (promise 1: the shim makes none
 * that the program did not ask for). Between the marks the child does only what it has done
 * before, from the same places, so that nothing is left to learn or to make room for.
 *
 * same_system_calls LEDGER|- [PRELOAD OPTIONS]: the child alone gets LD_PRELOAD.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "system.h"
#include "workload.h"

#define MARK 0x626c6467 /* getpriority's `which`: no program means this */

static void mark(int n)
{
    raw(SYS_getpriority, MARK, n);
}

static __attribute__((noinline)) void subject(int pair[2], int file)
{
    char byte = 0;
    struct iovec io = {&byte, 1};
    struct msghdr message = {.msg_iov = &io, .msg_iovlen = 1};
    int two[2];

    for (int i = 0; i < 3; i++) {
        workload();
        int fd = memfd_create("subject", MFD_CLOEXEC);
        close(fcntl(fd, F_DUPFD_CLOEXEC, 20));
        (void)!write(fd, "x", 1);
        (void)!read(fd, &byte, 1);
        void *map = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0);
        map = mremap(map, PAGE, 8 * PAGE, MREMAP_MAYMOVE);
        munmap(map, 8 * PAGE);
        close(fd);
        close(fd);
        if (pipe2(two, O_CLOEXEC) == 0)
            close_range((unsigned)two[0], (unsigned)two[1], 0);
        send(pair[0], "x", 1, 0);
        recvmsg(pair[1], &message, 0);
        fclose(fopen("/dev/null", "r"));
        syscall(SYS_close, dup(2));
        ioctl(file, 0x1234, 0);
        mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 9999, 0);
    }
}

static int child(void)
{
    int pair[2], file = open("/proc/self/exe", O_RDONLY);
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    for (int i = 0; i < 5; i++) {
        if (i == 4)
            mark(1);
        subject(pair, file);
    }
    mark(2);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "child") == 0)
        return child();
    system_start(argc, argv, 30);
    pid_t pid = fork();
    if (pid == 0) {
        if (system_argc == 2) {
            setenv("LD_PRELOAD", system_argv[0], 1);
            setenv("BOXLEDGER_OPTIONS", system_argv[1], 1);
        }
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        execl("/proc/self/exe", "same_system_calls", "child", NULL);
        _exit(127);
    }
    int status, inside = 0, calls = 0;
    waitpid(pid, &status, 0);
    if (ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) != 0)
        system_skip("ptrace is not allowed here");
    for (int sig = 0;;) {
        struct __ptrace_syscall_info info;
        ptrace(PTRACE_SYSCALL, pid, 0, sig);
        sig = 0;
        if (waitpid(pid, &status, 0) != pid || WIFEXITED(status) || WIFSIGNALED(status))
            break;
        if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {
            sig = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
            continue;
        }
        if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) <= 0 ||
            info.op != PTRACE_SYSCALL_INFO_ENTRY)
            continue;
        if (info.entry.nr == SYS_getpriority && info.entry.args[0] == MARK) {
            inside = info.entry.args[1] == 1;
            continue;
        }
        if (inside) {
            printf("%llu\n", (unsigned long long)info.entry.nr);
            calls++;
        }
    }
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with 0x%x", status);
    check(calls > 50, "only %d calls were seen", calls);
    return system_end();
}
