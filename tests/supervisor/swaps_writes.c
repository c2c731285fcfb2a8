/*
 * swaps_writes.c: changes what a path leads to, again and again and in every way that a path can be
 * given, while another thread changes the path between one that may be changed and one that may
 * not.
 *
 *     swaps_writes HARMLESS GUARDED ROUNDS
 *
 * Both are directories with a `file`. Prints how many changes succeeded; whether any of them was in
 * GUARDED is for whoever started this to see.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTES 4096

struct swap {
    char path[BYTES], directory[BYTES], other[BYTES]; /* written without any care: the attack */
    const char *harmless, *guarded;
    atomic_bool begun, done;
};

static void put(struct swap *swap, const char *directory)
{
    char text[BYTES];

    memcpy(swap->directory, directory, strlen(directory) + 1);
    (void)snprintf(text, sizeof text, "%s/file", directory);
    memcpy(swap->path, text, strlen(text) + 1);
    (void)snprintf(text, sizeof text, "%s/other", directory);
    memcpy(swap->other, text, strlen(text) + 1);
}

static void *change(void *argument)
{
    struct swap *swap = argument;

    while (!atomic_load(&swap->done)) {
        put(swap, swap->guarded);
        for (volatile int wait = 0; wait < 300; wait++)
            ;
        put(swap, swap->harmless);
        for (volatile int wait = 0; wait < 300; wait++)
            ;
        atomic_store(&swap->begun, true);
    }
    return NULL;
}

static int write_it(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0644);
    int failed = fd >= 0 && write(fd, "x", 1) == 1 ? 0 : -1;

    if (fd >= 0)
        (void)close(fd);
    return failed;
}

/* One of each. */
static long change_all(struct swap *swap)
{
    long done = 0;

    done += write_it(swap->path, O_WRONLY | O_APPEND) == 0;
    done += write_it(swap->path, O_WRONLY | O_CREAT | O_TRUNC) == 0;
    done += write_it(swap->other, O_WRONLY | O_CREAT) == 0;
    done += chmod(swap->path, 0600) == 0;
    done += truncate(swap->path, 1) == 0;
    done += link(swap->path, swap->other) == 0;
    done += rename(swap->path, swap->other) == 0;
    done += rename(swap->other, swap->path) == 0;
    done += unlink(swap->other) == 0;
    done += mkdir(swap->other, 0755) == 0;
    done += rmdir(swap->other) == 0;
    done += symlink("nowhere", swap->other) == 0;
    done += unlink(swap->other) == 0;
    /* From within, when the call that went there was another than the one that was looked at. */
    if (chdir(swap->directory) == 0) {
        done += write_it("file", O_WRONLY | O_APPEND) == 0;
        done += write_it("other", O_WRONLY | O_CREAT) == 0;
        done += unlink("other") == 0;
    }
    return done;
}

int main(int argc, char **argv)
{
    static struct swap swap;
    pthread_t thread;
    long done = 0;

    if (argc != 4)
        return 2;
    swap.harmless = argv[1];
    swap.guarded = argv[2];
    put(&swap, swap.harmless);
    if (pthread_create(&thread, NULL, change, &swap) != 0)
        return 2;
    while (!atomic_load(&swap.begun))
        ;
    for (long round = strtol(argv[3], NULL, 10); round > 0; round--)
        done += change_all(&swap);
    atomic_store(&swap.done, true);
    (void)pthread_join(thread, NULL);
    return printf("changed %ld\n", done) < 0;
}
