/*
 * ahead.c: debug information is read while the kernel is asked what a program holds at its exit,
 * and takes it apart: a thread reads it, as it takes longer than all else that a report needs.
 *
 * Nobody else may use the symbols meanwhile, and nobody may fork.
 */
#include <signal.h>

#include "cli/cli.h"

static void *read_names(void *argument)
{
    const struct ahead *ahead = argument;
    cleanup_reader struct reader *reader = reader_open_fd(ahead->ledger, "the ledger", NULL);

    /* What is wrong with a ledger is told when the report is made. */
    if (reader)
        symbols_read_ahead(ahead->symbols, reader);
    return NULL;
}

void ahead_begin(struct ahead *ahead, int ledger)
{
    pthread_attr_t attributes;
    sigset_t all, before;

    if (ahead->begun)
        return;
    ahead->ledger = ledger;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* the command's handlers are not for it */
    if (pthread_attr_init(&attributes) == 0) {
        /* Without a thread the names are read later. */
        ahead->begun = pthread_attr_setstacksize(&attributes, CLI_STACK_SIZE) == 0 &&
                       pthread_create(&ahead->thread, &attributes, read_names, ahead) == 0;
        (void)pthread_attr_destroy(&attributes);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void ahead_finish(struct ahead *ahead)
{
    if (ahead->begun)
        (void)pthread_join(ahead->thread, NULL);
    ahead->begun = false;
}
