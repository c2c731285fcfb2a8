/*
 * floods.c: opens files from many threads until its time is over, or somebody kills it: what a
 * sandbox does that wants its supervisor to do nothing else.
 *
 *     floods SECONDS
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define THREADS 8

static void *open_files(void *argument)
{
    const time_t *end = argument;

    while (time(NULL) < *end) {
        int fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);

        if (fd >= 0)
            (void)close(fd);
        (void)open("/proc/self/nothing", O_RDONLY | O_CLOEXEC);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    time_t end;

    if (argc != 2)
        return 2;
    end = time(NULL) + strtol(argv[1], NULL, 10);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, open_files, &end) != 0)
            return 1;
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    return puts("flooded") == EOF;
}
