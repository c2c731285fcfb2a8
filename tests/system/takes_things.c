/*
 * takes_things.c: takes what it is told to, each from a function of its own, and ends as it is
 * told to: a program whose report is known beforehand.
 *
 *   takes_things [memfds=N] [maps=N] [adopts=N] [closes_twice=N] [children=N] [sleeps=MS] [END]
 *
 * END is exit=N, _exit=N, signal=N, or execs=PROGRAM. It needs no ledger and knows nothing of one.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KEEP __attribute__((noinline, noclone))

static void must(int good, const char *what)
{
    if (!good) {
        perror(what);
        exit(99);
    }
}

/* A call that no wrapper sees. */
static long inline_syscall2(long number, long a, long b)
{
#if defined(__x86_64__)
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b)
                     : "rcx", "r11", "memory");
    return result;
#else
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;

    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1) : "memory");
    return x0;
#endif
}

static KEEP void take_memfd(void)
{
    must(memfd_create("taken", MFD_CLOEXEC) >= 0, "memfd_create");
}

static KEEP void take_mapping(void)
{
    must(mmap(NULL, 3 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED, "mmap");
}

/* Made where nobody looks, seen when it is used. */
static KEEP void adopt_memfd(int number)
{
    char name[32];
    void *mapped;
    int fd;

    (void)snprintf(name, sizeof name, "adopted-%d", number % 2);
    fd = (int)inline_syscall2(SYS_memfd_create, (long)name, 0);
    must(fd >= 0 && ftruncate(fd, 4096) == 0, "inline memfd_create");
    mapped = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    must(mapped != MAP_FAILED && munmap(mapped, 4096) == 0, "mmap of a memfd");
}

static KEEP void close_first(int fd)
{
    must(close(fd) == 0, "close");
}

static KEEP void close_again(int fd)
{
    must(close(fd) == -1, "the second close");
}

static KEEP void start_child(void)
{
    pid_t child = fork();

    if (child == 0) {
        take_memfd();
        _exit(7);
    }
    must(child > 0 && waitpid(child, NULL, 0) == child, "fork");
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        const char *value = equals ? equals + 1 : "";
        size_t length = equals ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        int number = atoi(value);

#define IS(word) (length == sizeof(word) - 1 && memcmp(argv[i], word, length) == 0)
        if (IS("memfds")) {
            for (int j = 0; j < number; j++)
                take_memfd();
        } else if (IS("maps")) {
            for (int j = 0; j < number; j++)
                take_mapping();
        } else if (IS("adopts")) {
            for (int j = 0; j < number; j++)
                adopt_memfd(j);
        } else if (IS("closes_twice")) {
            for (int j = 0; j < number; j++) {
                int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

                close_first(fd);
                close_again(fd);
            }
        } else if (IS("children")) {
            for (int j = 0; j < number; j++)
                start_child();
        } else if (IS("sleeps")) {
            struct timespec while_ = {number / 1000, number % 1000 * 1000000L};

            (void)fflush(stdout);
            while (nanosleep(&while_, &while_) != 0)
                continue;
        } else if (IS("says")) {
            (void)puts(value);
        } else if (IS("exit")) {
            exit(number);
        } else if (IS("_exit")) {
            _exit(number);
        } else if (IS("signal")) {
            (void)raise(number);
        } else if (IS("execs")) {
            (void)execlp(value, value, (char *)NULL);
            must(0, value);
        } else {
            (void)fprintf(stderr, "%s?\n", argv[i]);
            return 98;
        }
    }
    return 0;
}
