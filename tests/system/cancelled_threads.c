/*
 * cancelled_threads.c: threads cancelled while they wait in open, accept, recvmsg and the like,
 * and on their way into close and open (promises 1 and 4): cancellation points stay what they
 * are, and a frame that never returns leaves the ledger true.
 */
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "system.h"
#include "workload.h"

static char fifo[300]; /* opened for reading by threads that never get a writer */
static int listener, quiet;
static sem_t ready;

static void *waits(void *which)
{
    char bytes[64];
    struct iovec io = {bytes, 1};
    struct msghdr message = {
        .msg_iov = &io, .msg_iovlen = 1, .msg_control = bytes, .msg_controllen = sizeof bytes};
    struct mmsghdr many = {message, 0};
    struct flock lock = {.l_type = F_WRLCK};
    sem_post(&ready);
    switch ((intptr_t)which) {
    case 0:
        open(fifo, O_RDONLY);
        break;
    case 1:
        openat(AT_FDCWD, fifo, O_RDONLY);
        break;
    case 2:
        open64(fifo, O_RDONLY);
        break;
    case 3:
        creat(fifo, 0600);
        break;
    case 4:
        accept(listener, NULL, NULL);
        break;
    case 5:
        accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        break;
    case 6:
        recvmsg(quiet, &message, 0);
        break;
    case 7:
        recvmmsg(quiet, &many, 1, 0, NULL);
        break;
    case 8:
        fcntl(quiet, F_SETLKW, &lock);
        pause();
        break;
    }
    return "was not cancelled";
}

static void *on_the_way(void *which)
{
    int old;
    intptr_t fd = (intptr_t)which;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    sem_post(&ready);
    struct timespec moment = {0, 2000000};
    nanosleep(&moment, NULL); /* the cancellation is pending now */
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
    if (fd >= 0)
        close((int)fd);
    else
        open("/dev/null", O_RDONLY);
    return "was not cancelled";
}

static void cancel_one(void *(*run)(void *), intptr_t which, const char *what)
{
    struct timespec moment = {0, 200000}, limit;
    pthread_t thread;
    void *result = NULL;
    pthread_create(&thread, NULL, run, (void *)which);
    sem_wait(&ready);
    if (run == waits)
        nanosleep(&moment, NULL);
    pthread_cancel(thread);
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 5;
    if (!check(pthread_timedjoin_np(thread, &result, &limit) == 0,
               "a thread waiting in %s %ld cannot be cancelled", what, (long)which))
        _exit(1);
    check(result == PTHREAD_CANCELED || run == on_the_way, "%s %ld: the thread was not cancelled",
          what, (long)which);
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 80);
    int rounds = system_long() ? 2000 : 100, pair[2];

    snprintf(fifo, sizeof fifo, "%s/fifo", system_argv[0]);
    check(mkfifo(fifo, 0600) == 0, "no fifo at %s", fifo);
    sem_init(&ready, 0, 0);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(listener, &(struct sockaddr){.sa_family = AF_UNIX}, sizeof(sa_family_t));
    listen(listener, 8);
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    quiet = pair[0];
    for (int round = 0; round < rounds; round++)
        for (intptr_t which = 0; which < 9; which++)
            cancel_one(waits, which, "call");
    expect_exact("after threads were cancelled as they waited");
    int stayed = 0;
    for (int round = 0; round < rounds / 4; round++) {
        int fd = dup(2);
        cancel_one(on_the_way, fd, "close");
        /* On a busy machine the thread may be through with it before the cancellation comes. */
        bool open_still = fcntl(fd, F_GETFD) != -1;
        stayed += open_still;
        check(system_ledger == NULL || is_recorded(fd) == open_still,
              "a descriptor whose close was cancelled is %s, in the ledger it is not",
              open_still ? "open" : "closed");
        if (open_still)
            close(fd);
        cancel_one(on_the_way, -1, "open");
    }
    check(stayed > 0, "no close was cancelled in %d rounds", rounds / 4);
    expect_exact("after threads were cancelled on their way");
    workload();
    int fd = dup(2);
    check(is_recorded(fd), "nothing is recorded after the cancellations");
    close(fd);
    unlink(fifo);
    return system_end();
}
