/*
 * supervise.h: what the kinds of `supervise` share. A sandbox is a list of things held, each under
 * the name of the site that releases it; the engine in main.c releases them in the order of their
 * keys, a few at a time, while other sandboxes begin and end.
 *
 * Nothing here knows the ledger: what is expected of it is in sites.def and in the truth file.
 */
#ifndef SUPERVISE_H
#define SUPERVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The functions that take things: a report must find each under its own name, by one stack. */
#define TAKES __attribute__((noinline, noclone))
/* So that the call before it is no tail call, and its frame stays. */
#define NOT_LAST() __asm__ volatile("")

enum kind { KVM, CHILD, SECCOMP, API, GROWTH };
enum resource { FD, MAPPING, STREAM, LISTING, PROCESS };
enum verdict { LEAKED, ANCHOR, GROWING, EITHER, UNENDED, KEPT };

enum site {
    NO_SITE,
#define SITE(name, kind, resource, verdict, unseen, function) site_##name,
#include "sites.def"
#undef SITE
    SITES
};

enum { HELD_MAX = 48, PAGE = 4096 };

/* Keys of the order of release: any draw lies between these two. */
#define FIRST 0u
#define LAST UINT32_MAX

struct held {
    enum site site;
    uint32_t key;
    int fd;
    void *start; /* of a mapping; or the stream or listing */
    size_t bytes;
    size_t unbound; /* bytes of these that no slot binds, and nobody is accused of */
};

/* Everything a kind needs to know of one sandbox; unused members cost nothing that matters here. */
struct sandbox {
    unsigned number;
    uint64_t random;
    unsigned step;
    unsigned held_count;
    struct held held[HELD_MAX];
    void *own; /* the kind's */
};

/* A kind of sandbox. */
struct supervisor {
    size_t own_size;
    void (*start)(void);             /* before the first sandbox, by the main thread */
    void (*begin)(struct sandbox *); /* takes everything */
    bool (*work)(struct sandbox *);  /* called until it answers that nothing is left to do */
    void (*before)(struct sandbox *,
                   const struct held *); /* a release of this sandbox's; or NULL */
    void (*drained)(void);               /* no sandbox is live at this moment; or NULL */
    void (*stop)(void);                  /* after the last */
    bool threaded;                       /* its sandboxes run on several threads */
};

extern const struct supervisor supervise_kvm, supervise_child, supervise_seccomp, supervise_api;
int supervise_growth(const char *scenario, unsigned count);

/* Process-global, all of it: one run is one supervisor. Set by main before anything starts. */
struct run {
    enum kind kind;
    unsigned count;
    uint64_t seed;
    enum site mutated;
    const char *order; /* NULL: drawn */
    bool keeps;        /* exits with its caches and pools as they are */
    bool reclaimed;    /* what the mutant left may be gone */
    long pace_ms;      /* between one sandbox's begin and the next */
};
extern struct run run;

/* Draws, each sandbox from its own numbers, so that a mutant's sandboxes are the correct one's. */
uint32_t draw(struct sandbox *sandbox, uint32_t below);
/* One time in so many, and as good as always in the mutant of this site. */
bool draw_for(struct sandbox *sandbox, enum site site, uint32_t one_in);
uint32_t draw_key(struct sandbox *sandbox);
uint32_t draw_global(uint32_t below);

/* Holding and releasing. sandbox may be NULL for the supervisor's own. */
struct held *hold_fd(struct sandbox *sandbox, enum site site, int fd);
struct held *hold_mapping(struct sandbox *sandbox, enum site site, void *start, size_t bytes);
struct held *hold(struct sandbox *sandbox, struct held thing);
/* Whether it is done: false for the mutant, who is noted. */
bool release(struct sandbox *sandbox, const struct held *thing);
bool mutant_skips(struct sandbox *sandbox, enum site site, size_t bytes);
void release_fd(struct sandbox *sandbox, enum site site, int fd);
void release_mapping(struct sandbox *sandbox, enum site site, void *start, size_t bytes);
/* It must be as it was left: what lies in a pool, at its next use. */
void still_there(const struct held *thing);
void kept(unsigned fds, unsigned mappings); /* what stays at the exit on purpose */

/* What the truth says of owners. A count may be -1: one that was counted and does not. */
void owners_begun(int count);
void owners_ended(int count);
void owner_kinds_are(const char *json);

/* A second thread, which runs one job at a time while the caller waits. */
void run_on_worker(void (*job)(void *), void *argument);

/* A second process, which is sent descriptors and keeps the last few. */
void helper_start(void);
void helper_keep(int fd);
int helper_echo(int fd); /* the same, received again */
void helper_stop(void);

bool send_fd(int socket, int fd);
int receive_fd(int socket);

long inline_syscall(long number, long a, long b, long c);
__attribute__((noreturn)) void give_up(const char *what);
__attribute__((noreturn)) void skip(const char *why);
/* A check of the ledger's own answers, or of this program, did not hold. */
void wrong(const char *what, unsigned long got, unsigned long expected);

#endif
