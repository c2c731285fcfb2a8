/*
 * children.c: see children.h. One lock for the list: between a fork and its entry in it the child
 * would be taken for an orphan. Another one for the forks themselves.
 */
#include "supervisor/children.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "supervisor/error.h"
#include "supervisor/owned.h"

/* Sandboxes that run at once, and children that were there before us. */
#define CHILDREN_MAX 4096

/* process-global: children and their reaping are the process's, whoever forked them. */
static struct {
    pthread_mutex_t lock;
    pid_t known[CHILDREN_MAX];
    size_t count;
} children = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* process-global: a fork copies the descriptors of all threads. Many hold it off; one that is to be
 * made does not wait for those that come later. */
static pthread_rwlock_t forks = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

void children_hold_forks(void)
{
    pthread_rwlock_rdlock(&forks);
}

void children_permit_forks(void)
{
    pthread_rwlock_unlock(&forks);
}

static bool is_known(pid_t pid)
{
    for (size_t i = 0; i < children.count; i++)
        if (children.known[i] == pid)
            return true;
    return false;
}

static void forget(pid_t pid)
{
    for (size_t i = 0; i < children.count; i++)
        if (children.known[i] == pid) {
            children.known[i] = children.known[--children.count];
            return;
        }
}

/* Calls `each` with the children of the first thread, which the kernel gives all orphans to as long
 * as it lives. Takes one descriptor: there may be no more. */
static int each_child(void (*each)(pid_t))
{
    char path[sizeof "/proc/self/task//children" + 3 * sizeof(pid_t)];
    owned_file FILE *list = NULL;
    int pid;

    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    list = fopen(path, "re");
    if (!list)
        return -1;
    while (fscanf(list, "%d", &pid) == 1)
        each(pid);
    return 0;
}

static void learn(pid_t pid)
{
    if (children.count < CHILDREN_MAX)
        children.known[children.count++] = pid;
}

/* An unreaped child of ours: its number is its own until we reap it. */
static void end_orphan(pid_t pid)
{
    if (is_known(pid))
        return;
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        ;
}

int children_begin(struct error *error)
{
    const struct sigaction waited_for = {.sa_handler = SIG_DFL};

    /* Ignored by whoever started us, the kernel reaps each child before we know how it ended. */
    (void)sigaction(SIGCHLD, &waited_for, NULL);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        return error_set(error, errno, "cannot become a subreaper");
    if (each_child(learn) != 0)
        return error_set(error, errno, "cannot list my own children in /proc");
    return 0;
}

pid_t children_fork(void)
{
    pid_t pid;

    pthread_mutex_lock(&children.lock);
    if (children.count == CHILDREN_MAX) {
        pthread_mutex_unlock(&children.lock);
        errno = EAGAIN;
        return -1;
    }
    pthread_rwlock_wrlock(&forks);
    pid = fork();
    if (pid == 0)
        return 0; /* the locks are the parent's; the child never takes them */
    pthread_rwlock_unlock(&forks);
    if (pid > 0)
        learn(pid);
    pthread_mutex_unlock(&children.lock);
    return pid;
}

int children_reap(pid_t pid)
{
    siginfo_t seen;
    int status = 0;

    while (waitid(P_PID, (id_t)pid, &seen, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&children.lock);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    forget(pid);
    pthread_mutex_unlock(&children.lock);
    return status;
}

void children_kill_orphans(void)
{
    pthread_mutex_lock(&children.lock);
    (void)each_child(end_orphan);
    pthread_mutex_unlock(&children.lock);
}
