/*
 * foreign_close.c: one sandbox's scope closes what belongs to another.
 *
 *     foreign_close LEDGER foreign|own|ended|outside
 *
 * "foreign" does so three times, from one place. The others are what a correct supervisor does:
 * closes in the owner's own scope, after its end, and in no scope at all.
 */
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "boxledger.h"
#include "system.h"

static __attribute__((noinline)) int take_for(boxledger_owner owner)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    check(fd >= 0 && boxledger_assign_fd(owner, fd) == 0, "an eventfd of its own");
    return fd;
}

static __attribute__((noinline)) void close_it(int fd)
{
    check(close(fd) == 0, "close");
}

int main(int argc, char **argv)
{
    system_start(argc, argv, 40);
    const char *how = argc > 2 ? argv[2] : "foreign";
    for (int i = 0; i < 3; i++) {
        boxledger_owner victim = boxledger_begin("victim"), closer = boxledger_begin("closer");
        int fd = take_for(victim);
        boxledger_owner scope = strcmp(how, "own") == 0 ? victim : closer;
        bool scoped = strcmp(how, "outside") != 0;
        if (strcmp(how, "ended") == 0)
            check(boxledger_end(victim) == 0, "the victim's end");
        check(!scoped || boxledger_enter(scope) == 0, "enter");
        close_it(fd);
        check(!scoped || boxledger_leave(scope) == 0, "leave");
        check(boxledger_end(closer) == 0, "the closer's end");
        if (strcmp(how, "ended") != 0)
            check(boxledger_end(victim) == 0, "the victim's end");
    }
    return system_end();
}
