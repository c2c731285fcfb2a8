/*
 * api_present.c: a supervisor asks whether the shim is there, by the public header alone.
 *
 * Prints what it is told itself, and what a forked child is told.
 */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "boxledger.h"

int main(void)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        _exit(boxledger_present());
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
        return 1;
    }
    printf("%d %d\n", boxledger_present(), WEXITSTATUS(status));
    return 0;
}
