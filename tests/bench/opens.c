/*
 * opens.c: what an open and close of a file costs whoever does it: in a sandbox, or in none.
 *
 *     opens COUNT FILE...
 *
 * Prints a line a file: its name, and the median of ROUNDS loops of COUNT, in nanoseconds for one.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 9

static double now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int compare(const void *one, const void *other)
{
    double difference = *(const double *)one - *(const double *)other;

    return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv)
{
    long count = argc > 2 ? strtol(argv[1], NULL, 10) : 0;

    if (count < 1)
        return 2;
    for (int file = 2; file < argc; file++) {
        double rounds[ROUNDS];

        for (int round = 0; round < ROUNDS; round++) {
            double began = now();

            for (long i = 0; i < count; i++) {
                int fd = open(argv[file], O_RDONLY | O_CLOEXEC);

                if (fd < 0 || close(fd) != 0) {
                    perror(argv[file]);
                    return 1;
                }
            }
            rounds[round] = (now() - began) / (double)count;
        }
        qsort(rounds, ROUNDS, sizeof rounds[0], compare);
        (void)printf("%s %.0f\n", argv[file], rounds[ROUNDS / 2]);
    }
    return fflush(stdout) != 0;
}
