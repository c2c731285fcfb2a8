/*
 * nearly_full.c: uses up a part of a limit, and goes on.
 *
 * What it is told to: "fds N": until N descriptors are open; "vmas N": about N VMAs more; "raise
 * N": the soft limit of descriptors; "high N": one descriptor at number N; "elsewhere FILE": stderr
 * is that file from now on; "filter": this thread gets a filter, which allows everything; "boxes
 * N": so many sandboxes, each of which leaves four descriptors; "pause N": N seconds.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "boxledger.h"

#define LEAVES 4

static int open_one(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* With nothing at a high number, the highest number says how many are open. */
static void use_fds(int count)
{
    int fd;
    do {
        fd = open_one();
    } while (fd >= 0 && fd < count - 1);
}

/* Neighbours that are unlike stay apart. */
static void use_vmas(int count)
{
    size_t size = (size_t)count * 4096;
    char *room = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (int i = 0; i < count && room != MAP_FAILED; i++) {
        int prot = i % 2 ? PROT_READ : PROT_READ | PROT_WRITE;
        mmap(room + (size_t)i * 4096, 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    }
}

static void raise_limit(int count)
{
    struct rlimit limit = {(rlim_t)count, (rlim_t)count};
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void go_elsewhere(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    dup2(fd, 2);
    close(fd);
}

static void put_on_filter(void)
{
    struct sock_filter allow = {.code = BPF_RET | BPF_K, .k = SECCOMP_RET_ALLOW};
    struct sock_fprog program = {1, &allow};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        exit(77);
    }
}

static void run_boxes(int count)
{
    for (int i = 0; i < count; i++) {
        boxledger_owner box = boxledger_begin("box");
        boxledger_enter(box);
        for (int n = 0; n < LEAVES; n++) {
            open_one();
        }
        boxledger_leave(box);
        boxledger_end(box);
    }
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        const char *what = argv[i];
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        int number = atoi(value);
        if (strcmp(what, "fds") == 0) {
            use_fds(number);
        } else if (strcmp(what, "vmas") == 0) {
            use_vmas(number);
        } else if (strcmp(what, "raise") == 0) {
            raise_limit(number);
        } else if (strcmp(what, "high") == 0) {
            dup2(0, number);
        } else if (strcmp(what, "elsewhere") == 0) {
            go_elsewhere(value);
        } else if (strcmp(what, "filter") == 0) {
            put_on_filter();
        } else if (strcmp(what, "boxes") == 0) {
            run_boxes(number);
        } else if (strcmp(what, "pause") == 0) {
            sleep((unsigned)number);
        } else {
            return 2;
        }
    }
    puts("done");
    return 0;
}
