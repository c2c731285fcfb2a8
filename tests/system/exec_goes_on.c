/*
 * exec_goes_on.c: the supervised process itself execs (promise 6): the ledger goes on in the next
 * image; close-on-exec records end, the others stay, mappings are gone; an exec that fails ends
 * nothing. Each image execs the next in another way.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system.h"
#include "workload.h"

extern char **environ;

int main(int argc, char **argv)
{
    system_start(argc, argv, 20);
    int image = system_argc > 0 ? atoi(system_argv[0]) : 0;
    int kept = system_argc > 1 ? atoi(system_argv[1]) : -1;
    char self[300], number[12], keep[12];
    char *next[] = {argv[0], argv[1], number, keep, NULL};

    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    snprintf(number, sizeof number, "%d", image + 1);
    expect_exact("at the start of an image");
    check(getenv("LD_PRELOAD") == NULL && getenv("BOXLEDGER_OPTIONS") == NULL,
          "image %d sees our variables", image);
    if (kept >= 0) {
        check(fcntl(kept, F_GETFD) >= 0, "the kept descriptor is gone");
        check(is_recorded(kept), "image %d: the kept descriptor is not in the ledger", image);
    }
    int fd = memfd_create("kept", 0), ends = memfd_create("ends", MFD_CLOEXEC);
    snprintf(keep, sizeof keep, "%d", fd);
    mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(execv("/nonexistent", next) == -1, "it exists");
    check(execvp("/", next) == -1 && errno == EACCES, "a directory was executed");
    check(is_recorded(ends) && is_recorded(fd), "a failed exec ended records");
    check(getenv("LD_PRELOAD") == NULL && getenv("BOXLEDGER_OPTIONS") == NULL,
          "after a failed exec our variables are there");
    expect_exact("after a failed exec");
    if (system_end())
        return 1;
    switch (image) {
    case 0:
        execv(self, next);
        break;
    case 1:
        execve(self, next, environ);
        break;
    case 2:
        execl(self, argv[0], argv[1], number, keep, NULL);
        break;
    case 3:
        execvp(self, next);
        break;
    case 4:
        fexecve(open(self, O_RDONLY | O_CLOEXEC), next, environ);
        break;
    case 5:
        execve(self, next, (char *[]){(char *)"ONLY=this", NULL});
        break;
    case 6:
        execle(self, argv[0], argv[1], number, keep, NULL, environ);
        break;
    case 7:
        execveat(AT_FDCWD, self, next, environ, 0);
        break;
    case 8:
        syscall(SYS_execve, self, next, environ);
        break;
    case 9:
        execvpe(self, next, environ);
        break;
    default:
        printf("images %d\n", image + 1);
        return 0;
    }
    return 2;
}
