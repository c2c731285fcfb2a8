/*
 * first_descriptors.c: prints what is open at the start, which numbers come next, and what is
 * in the environment. The shim holds no descriptor and shows nothing of itself (promises 1, 6).
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "system.h"

extern char **environ;
static int in_constructor; /* what the first free number was before main */

__attribute__((constructor)) static void early(void)
{
    in_constructor = dup(2);
    close(in_constructor);
}

int main(int argc, char **argv)
{
    uint64_t bits[1024];
    system_start(argc, argv, 0);
    long count = kernel_view_fds(bits, sizeof bits * 8);
    printf("open:");
    for (unsigned fd = 0; fd < sizeof bits * 8; fd++)
        if (kernel_view_has(bits, fd))
            printf(" %u", fd);
    printf(" (%ld)\nnext: %d", count, in_constructor);
    for (int i = 0; i < 5; i++)
        printf(" %d", i % 2 ? dup(2) : open("/dev/null", O_RDONLY));
    printf("\n");
    for (char **e = environ; *e; e++)
        printf("%s\n", *e);
    printf("LD_PRELOAD: %s\n", getenv("LD_PRELOAD") ? getenv("LD_PRELOAD") : "not set");
    return 0;
}
