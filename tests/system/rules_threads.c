/*
 * rules_threads.c: threads that get their names in every way there is, and leave a descriptor.
 *
 * vm-self names itself; vm-raw does so through syscall(2); vm-idle is called otherwise later, and
 * leaves one of each name; vm-other is named by the main thread; clean closes what it took.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_barrier_t named;

static int leave_one(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void *names_itself(void *name)
{
    leave_one(); /* the supervisor's still */
    prctl(PR_SET_NAME, name);
    leave_one();
    return NULL;
}

static void *names_itself_raw(void *name)
{
    syscall(SYS_prctl, PR_SET_NAME, name);
    leave_one();
    return NULL;
}

static void *is_renamed(void *name)
{
    pthread_setname_np(pthread_self(), name);
    leave_one();
    pthread_setname_np(pthread_self(), name); /* changes nothing */
    leave_one();
    pthread_setname_np(pthread_self(), "idle");
    leave_one(); /* the supervisor's again */
    return NULL;
}

static void *is_named(void *unused)
{
    pthread_barrier_wait(&named);
    pthread_barrier_wait(&named);
    leave_one();
    return unused;
}

static void *is_clean(void *name)
{
    prctl(PR_SET_NAME, name);
    close(leave_one());
    munmap(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096);
    return NULL;
}

static void run(void *(*start)(void *), const char *name)
{
    pthread_t thread;
    char copy[16] = "";
    strncpy(copy, name, sizeof copy - 1);
    if (pthread_create(&thread, NULL, start, copy) == 0) {
        pthread_join(thread, NULL);
    }
}

int main(void)
{
    pthread_t other;
    run(names_itself, "vm-self");
    run(names_itself_raw, "vm-raw");
    run(is_renamed, "vm-idle");
    run(is_clean, "vm-clean");
    run(names_itself, "worker");
    pthread_barrier_init(&named, NULL, 2);
    pthread_create(&other, NULL, is_named, NULL);
    pthread_barrier_wait(&named);
    if (pthread_setname_np(other, "vm-other") != 0) {
        return 1;
    }
    pthread_barrier_wait(&named);
    pthread_join(other, NULL);
    puts("done");
    return 0;
}
