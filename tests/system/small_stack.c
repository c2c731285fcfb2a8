/*
 * small_stack.c: wrapped calls from a handler on an alternate stack of 8 KiB with a guard page
 * below (promise 7). Prints how much of the stack each call took; the test allows the shim
 * 1 KiB more than the bare call.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "system.h"

#define STACK 8192u

static volatile int which;
static char *stack;
static int fds[2];
static void *map;
static char *other;             /* three pages, mapped over again and again */
static volatile size_t entered; /* bytes of the stack in use when the handler starts */

static void one_call(void)
{
    char bytes[8];
    struct iovec io = {bytes, 1};
    struct msghdr message = {.msg_iov = &io, .msg_iovlen = 1};
    int two[2];
    switch (which) {
    case 0:
        map = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        break;
    case 1:
        mprotect(map, PAGE, PROT_NONE);
        break;
    case 2:
        map = mremap(map, PAGE, PAGE, MREMAP_MAYMOVE);
        break;
    case 3:
        munmap(map, 2 * PAGE);
        break;
    case 4:
        fds[0] = dup(2);
        break;
    case 5:
        fds[1] = open("/dev/null", O_RDONLY);
        break;
    case 6:
        close(fds[0]);
        break;
    case 7:
        close(fds[1]);
        break;
    case 8:
        fds[0] = eventfd(0, 0);
        break;
    case 9:
        close_range((unsigned)fds[0], (unsigned)fds[0], 0);
        break;
    case 10:
        if (pipe2(two, 0) == 0) {
            fds[0] = two[0];
            fds[1] = two[1];
        }
        break;
    case 11:
        dup2(fds[0], fds[1]);
        break;
    case 12:
        recvmsg(fds[0], &message, MSG_DONTWAIT);
        break;
    case 13:
        fcntl(fds[0], F_DUPFD, fds[0]) >= 0 ? close(fds[0]) : 0;
        break;
    case 14:
        syscall(SYS_close, fds[1]);
        break;
    case 15:
        mmap(other, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        break;
    case 16:
        mremap(other, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, other + 2 * PAGE);
        break;
    }
}
#define CALLS 17

static __attribute__((noinline)) void on_signal(int sig)
{
    (void)sig;
    char here;
    entered = (size_t)(stack + STACK - &here);
    one_call();
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 30);
    size_t frame = getauxval(AT_MINSIGSTKSZ);
    char *area =
        mmap(NULL, STACK + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    sigset_t all;

    other = mmap(NULL, 3 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (frame > STACK - 3000)
        system_skip("this processor's signal frame leaves no room on 8 KiB");
    mprotect(area, PAGE, PROT_NONE);
    stack = area + PAGE;
    sigfillset(&all);
    /* The first round resolves symbols, on the big stack; the second is the one that counts, and
     * a third asks for new ones: from handlers on a small stack there has been no call yet. */
    for (which = 0; which < CALLS; which++)
        one_call();
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = STACK}, NULL);
    sigaction(SIGUSR1, &action, NULL);
    for (which = 0; which < CALLS; which++) {
        memset(stack, 0xa5, STACK);
        raise(SIGUSR1);
        size_t untouched = 0;
        while (untouched < STACK && (unsigned char)stack[untouched] == 0xa5)
            untouched++;
        printf("%d %zu\n", which, STACK - untouched - entered);
        check(untouched > 0, "call %d used up the stack", which);
    }
    for (int round = 0; round < 1000; round++) {
        which = round % CALLS;
        raise(SIGUSR1);
    }
    if (1000 % CALLS)
        for (which = 1000 % CALLS; which < CALLS; which++)
            raise(SIGUSR1);
    expect_exact("after calls on a small stack");
    return system_end();
}
