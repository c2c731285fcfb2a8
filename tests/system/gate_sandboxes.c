/*
 * gate_sandboxes.c: a supervisor whose sandboxes leave behind what they are told to, each kind
 * from a function of its own: a program whose verdict is known beforehand.
 *
 *   gate_sandboxes [clean=N] [keeps_fd=N] [keeps_more=N] [keeps_map=N] [keeps_other=N] [each=N]
 *                  [grows=N] [unseen=N] [twice=N] [rarely=FILE] [says=WORD] [sleeps=MS] [END]
 *
 * grows=N takes what no sandbox has, each=N (1) of it, between sandboxes; unseen=N does so by
 * inline system calls, and is in no hurry. rarely=FILE leaves a descriptor behind only if FILE is
 * there, and removes or makes it: in every second run. END is exit=N, signal=N or execs=PROGRAM.
 * The test that rebuilds it defines REBUILT.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "boxledger.h"

#define KEEP __attribute__((noinline, noclone))

#ifdef REBUILT
/* What moves every line and address below. */
static int moved[1000];

static KEEP int move(int by)
{
    return moved[by % 1000] += by;
}
#endif

static void must(int good, const char *what)
{
    if (!good) {
        perror(what);
        exit(99);
    }
}

static KEEP void keep_descriptor(void)
{
    must(memfd_create("kept", MFD_CLOEXEC) >= 0, "memfd_create");
}

/* The same thing from another function. */
static KEEP void keep_more(void)
{
    must(memfd_create("kept", MFD_CLOEXEC) >= 0, "memfd_create");
}

static KEEP void keep_mapping(void)
{
    must(mmap(NULL, 3 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED, "mmap");
}

static KEEP void keep_other(void)
{
    must(eventfd(0, EFD_CLOEXEC) >= 0, "eventfd");
}

static KEEP void keep_rarely(void)
{
    must(open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0, "open");
}

static KEEP void let_grow(void)
{
    must(memfd_create("grown", MFD_CLOEXEC) >= 0, "memfd_create");
}

/* A call that no wrapper sees. */
static KEEP void take_unseen(void)
{
    static const char name[] = "unseen";
    long result;

#if defined(__x86_64__)
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_memfd_create), "D"(name), "S"(MFD_CLOEXEC)
                     : "rcx", "r11", "memory");
#else
    register long x8 __asm__("x8") = SYS_memfd_create;
    register long x0 __asm__("x0") = (long)name;
    register long x1 __asm__("x1") = MFD_CLOEXEC;

    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1) : "memory");
    result = x0;
#endif
    must(result >= 0, "inline memfd_create");
}

static void sleep_ms(int ms)
{
    struct timespec while_ = {ms / 1000, ms % 1000 * 1000000L};

    while (nanosleep(&while_, &while_) != 0)
        continue;
}

static KEEP void close_again(int fd)
{
    must(close(fd) == -1, "the second close");
}

static KEEP void run_sandbox(void (*take)(void))
{
    boxledger_owner owner = boxledger_begin("sandbox");

    must(boxledger_enter(owner) == 0 || !boxledger_present(), "boxledger_enter");
    if (take)
        take();
    must(boxledger_leave(owner) == 0 || !boxledger_present(), "boxledger_leave");
    must(boxledger_end(owner) == 0 || !boxledger_present(), "boxledger_end");
}

static void run_rarely(const char *file)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd >= 0) {
        close(fd);
    } else {
        must(unlink(file) == 0, file);
        run_sandbox(keep_rarely);
    }
}

int main(int argc, char **argv)
{
    int each = 1;

#ifdef REBUILT
    move(argc);
#endif

    for (int i = 1; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        const char *value = equals ? equals + 1 : "";
        size_t length = equals ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        int number = atoi(value);

#define IS(word) (length == sizeof(word) - 1 && memcmp(argv[i], word, length) == 0)
        if (IS("clean")) {
            for (int j = 0; j < number; j++)
                run_sandbox(NULL);
        } else if (IS("keeps_fd")) {
            for (int j = 0; j < number; j++)
                run_sandbox(keep_descriptor);
        } else if (IS("keeps_more")) {
            for (int j = 0; j < number; j++)
                run_sandbox(keep_more);
        } else if (IS("keeps_map")) {
            for (int j = 0; j < number; j++)
                run_sandbox(keep_mapping);
        } else if (IS("keeps_other")) {
            for (int j = 0; j < number; j++)
                run_sandbox(keep_other);
        } else if (IS("each")) {
            each = number;
        } else if (IS("grows")) {
            for (int j = 0; j < number; j++) {
                for (int k = 0; k < each; k++)
                    let_grow();
                run_sandbox(NULL);
            }
        } else if (IS("unseen")) {
            for (int j = 0; j < number; j++) {
                take_unseen();
                run_sandbox(NULL);
                sleep_ms(10);
            }
        } else if (IS("twice")) {
            for (int j = 0; j < number; j++) {
                int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

                must(close(fd) == 0, "close");
                close_again(fd);
            }
        } else if (IS("rarely")) {
            run_rarely(value);
        } else if (IS("sleeps")) {
            (void)fflush(stdout);
            sleep_ms(number);
        } else if (IS("says")) {
            (void)puts(value);
        } else if (IS("exit")) {
            exit(number);
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
