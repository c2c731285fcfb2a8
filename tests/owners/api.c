/*
 * api.c: a supervisor that names its sandboxes through boxledger.h, and keeps nothing of them. It
 * checks what boxledger_usage answers against its own books where there is a shim; without one it
 * is the same program.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "boxledger.h"
#include "supervise.h"

enum { POOL = 8, INSIDE = 4 * PAGE, THIRDS = 3 * PAGE, LABEL_BYTES = 32, AGAIN_MAX = 3 };

struct box {
    boxledger_owner owner, inner; /* inner: 0 where there is none */
    unsigned fds, mappings;       /* that the owner has by our books */
    unsigned inner_fds;
    unsigned again;
    struct pooled *pooled;
    struct sandbox *sandbox;
};

/* Process-global: what one owner after the other is given, and none keeps. */
struct pooled {
    bool there, used;
    unsigned uses;
    int fd;
    void *start;
};
static struct pooled pool[POOL];
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;

/* --- what takes ------------------------------------------------------------------------------- */

#define MAKES_EVENTFD(name)                                                                        \
    TAKES static int name(void)                                                                    \
    {                                                                                              \
        int fd = eventfd(0, EFD_CLOEXEC);                                                          \
        NOT_LAST();                                                                                \
        return fd;                                                                                 \
    }
MAKES_EVENTFD(make_eventfd_inside)
MAKES_EVENTFD(make_fd_to_assign)
MAKES_EVENTFD(make_fd_to_hand_over)
MAKES_EVENTFD(make_fd_in_outer)
MAKES_EVENTFD(make_fd_in_inner)
MAKES_EVENTFD(make_fd_on_worker)
MAKES_EVENTFD(make_fd_outside)
MAKES_EVENTFD(make_pooled_fd)

#define MAPS(name, bytes)                                                                          \
    TAKES static void *name(void)                                                                  \
    {                                                                                              \
        void *start =                                                                              \
            mmap(NULL, (bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);       \
        NOT_LAST();                                                                                \
        return start;                                                                              \
    }
MAPS(map_inside, INSIDE)
MAPS(map_to_assign, INSIDE)
MAPS(map_to_assign_in_part, THIRDS)
MAPS(map_on_worker, INSIDE)
MAPS(map_pooled_range, INSIDE)

TAKES static int make_memfd_inside(void)
{
    int fd = memfd_create("inside", MFD_CLOEXEC);
    NOT_LAST();
    return fd;
}

TAKES static int make_socket_inside(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    NOT_LAST();
    return fd;
}

TAKES static void *map_file_inside(int fd)
{
    void *start = mmap(NULL, INSIDE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    NOT_LAST();
    return start;
}

/* --- asking the ledger ------------------------------------------------------------------------ */

static void must(const char *what, int result)
{
    if (boxledger_present() && result != 0) {
        wrong(what, (unsigned long)errno, 0);
    }
}

/* boxledger.h: EAGAIN while the ledger is being changed; so again. */
static int assign_range(boxledger_owner owner, const void *start, size_t bytes)
{
    int result;
    do {
        result = boxledger_assign_range(owner, start, bytes);
    } while (result != 0 && errno == EAGAIN && sched_yield() == 0);
    return result;
}

static void check_usage(const struct box *box)
{
    struct boxledger_usage usage;
    if (!boxledger_present()) {
        return;
    }
    must("usage", boxledger_usage(box->owner, &usage));
    if (usage.fds != box->fds) {
        wrong("descriptors by boxledger_usage", usage.fds, box->fds);
    }
    if (usage.mappings != box->mappings) {
        wrong("mappings by boxledger_usage", usage.mappings, box->mappings);
    }
    if (box->inner != 0 && boxledger_usage(box->inner, &usage) == 0 &&
        usage.fds != box->inner_fds) {
        wrong("the inner owner's descriptors", usage.fds, box->inner_fds);
    }
}

/* --- a sandbox -------------------------------------------------------------------------------- */

static void own_fd(struct sandbox *sandbox, enum site site, int fd)
{
    struct box *box = sandbox->own;
    hold_fd(sandbox, site, fd);
    box->fds++;
}

static void own_mapping(struct sandbox *sandbox, enum site site, void *start, size_t bytes)
{
    struct box *box = sandbox->own;
    hold_mapping(sandbox, site, start, bytes);
    box->mappings++;
}

static void take_inside(struct sandbox *sandbox)
{
    if (draw_for(sandbox, site_api_memfd, 2) || run.mutated == site_api_file_mapping) {
        int fd = make_memfd_inside();
        if (fd < 0 || ftruncate(fd, INSIDE) != 0) {
            give_up("a memfd");
        }
        own_fd(sandbox, site_api_memfd, fd);
        if (draw_for(sandbox, site_api_file_mapping, 2)) {
            own_mapping(sandbox, site_api_file_mapping, map_file_inside(fd), INSIDE);
        }
    }
    if (draw_for(sandbox, site_api_eventfd, 2)) {
        own_fd(sandbox, site_api_eventfd, make_eventfd_inside());
    }
    if (draw_for(sandbox, site_api_socket, 4)) {
        own_fd(sandbox, site_api_socket, make_socket_inside());
    }
    if (draw_for(sandbox, site_api_mapping, 2)) {
        own_mapping(sandbox, site_api_mapping, map_inside(), INSIDE);
    }
}

/* A sandbox that starts another, which is an owner of its own. */
static void take_nested(struct sandbox *sandbox, struct box *box)
{
    int handed = -1;
    box->inner = boxledger_begin(NULL);
    owners_begun(1);
    owners_ended(1);
    if (draw_for(sandbox, site_api_handed_over, 2)) {
        handed = make_fd_to_hand_over(); /* by the outer, for the inner */
        hold_fd(sandbox, site_api_handed_over, handed);
    }
    must("enter, nested", boxledger_enter(box->inner));
    hold_fd(sandbox, site_api_nested_inner, make_fd_in_inner());
    box->inner_fds++;
    must("leave, nested", boxledger_leave(box->inner));
    own_fd(sandbox, site_api_nested_outer, make_fd_in_outer());
    if (handed >= 0) {
        must("handing over", boxledger_assign_fd(box->inner, handed));
        box->inner_fds++;
    }
}

static void take_on_worker(void *argument)
{
    struct box *box = argument;
    must("enter on the worker", boxledger_enter(box->owner));
    own_fd(box->sandbox, site_api_worker_fd, make_fd_on_worker());
    own_mapping(box->sandbox, site_api_worker_mapping, map_on_worker(), INSIDE);
    must("leave on the worker", boxledger_leave(box->owner));
}

static void assign(struct sandbox *sandbox, struct box *box)
{
    if (draw_for(sandbox, site_api_assigned_fd, 3)) {
        int fd = make_fd_to_assign();
        own_fd(sandbox, site_api_assigned_fd, fd);
        must("assigning a descriptor", boxledger_assign_fd(box->owner, fd));
    }
    if (draw_for(sandbox, site_api_assigned_mapping, 3)) {
        void *start = map_to_assign();
        own_mapping(sandbox, site_api_assigned_mapping, start, INSIDE);
        must("assigning a range", assign_range(box->owner, start, INSIDE));
    }
    if (draw_for(sandbox, site_api_assigned_middle, 4)) {
        char *start = map_to_assign_in_part();
        own_mapping(sandbox, site_api_assigned_middle, start + PAGE, PAGE);
        must("assigning a part", assign_range(box->owner, start + PAGE, PAGE));
        if (munmap(start, PAGE) != 0 || munmap(start + 2 * PAGE, PAGE) != 0) {
            give_up("the outer parts");
        }
    }
}

static struct pooled *from_pool(void)
{
    struct pooled *item = NULL;
    pthread_mutex_lock(&pool_lock);
    for (int i = 0; i < POOL && item == NULL; i++) {
        item = pool[i].used ? NULL : &pool[i];
    }
    if (item != NULL) {
        item->used = true;
        item->uses++;
    }
    pthread_mutex_unlock(&pool_lock);
    if (item != NULL && !item->there) {
        item->there = true;
        item->fd = make_pooled_fd();
        hold_fd(NULL, site_api_pooled_fd, item->fd);
        item->start = map_pooled_range();
        hold_mapping(NULL, site_api_pooled_mapping, item->start, INSIDE);
    } else if (item != NULL) {
        still_there(&(struct held){.site = site_api_pooled_fd, .fd = item->fd});
        still_there(&(struct held){.site = site_api_pooled_mapping, .start = item->start});
    }
    return item;
}

static void begin(struct sandbox *sandbox)
{
    struct box *box = sandbox->own;
    char label[LABEL_BYTES];
    snprintf(label, sizeof label, "box %u", sandbox->number);
    box->sandbox = sandbox;
    if (draw_for(sandbox, site_api_outside, 4)) {
        hold_fd(sandbox, site_api_outside, make_fd_outside());
    }
    box->owner = boxledger_begin(draw(sandbox, 4) != 0 ? label : NULL);
    if (boxledger_present() && box->owner == 0) {
        wrong("begin", (unsigned long)errno, 0);
    }
    owners_begun(1);
    owners_ended(run.mutated != site_api_end);
    hold(sandbox, (struct held){.site = site_api_end, .fd = -1});
    must("enter", boxledger_enter(box->owner));
    take_inside(sandbox);
    if (draw(sandbox, 4) == 0 || run.mutated == site_api_nested_inner ||
        run.mutated == site_api_nested_outer || run.mutated == site_api_handed_over) {
        take_nested(sandbox, box);
    }
    must("leave", boxledger_leave(box->owner));
    assign(sandbox, box);
    if (draw(sandbox, 4) == 0 || run.mutated == site_api_worker_fd ||
        run.mutated == site_api_worker_mapping) {
        run_on_worker(take_on_worker, box);
    }
    if (draw(sandbox, 3) == 0 && (box->pooled = from_pool()) != NULL) {
        must("assigning from the pool", boxledger_assign_fd(box->owner, box->pooled->fd));
        must("assigning from the pool", assign_range(box->owner, box->pooled->start, INSIDE));
        box->fds++;
        box->mappings++;
    }
    check_usage(box);
}

static bool work(struct sandbox *sandbox)
{
    struct box *box = sandbox->own;
    if (box->pooled != NULL) {
        must("back to the pool", boxledger_assign_fd(0, box->pooled->fd));
        must("back to the pool", assign_range(0, box->pooled->start, INSIDE));
        box->fds--;
        box->mappings--;
        pthread_mutex_lock(&pool_lock);
        box->pooled->used = false;
        pthread_mutex_unlock(&pool_lock);
        box->pooled = NULL;
    }
    check_usage(box);
    if (box->inner != 0) {
        must("the inner owner's end", boxledger_end(box->inner));
        box->inner = 0;
    }
    /* The end comes first, or last, or anywhere between. */
    uint32_t order = draw(sandbox, 3);
    for (unsigned i = 0; i < sandbox->held_count && order < 2; i++) {
        if (sandbox->held[i].site == site_api_end) {
            sandbox->held[i].key = order == 0 ? FIRST : LAST;
        }
    }
    return false;
}

static void before_release(struct sandbox *sandbox, const struct held *held)
{
    const struct box *box = sandbox->own;
    if (held->site == site_api_end && run.mutated != site_api_end) {
        must("end", boxledger_end(box->owner));
    }
}

static void start(void)
{
    owner_kinds_are("\"api\"");
}

static void stop(void)
{
    for (int i = 0; i < POOL; i++) {
        if (!pool[i].there) {
            continue;
        }
        if (run.keeps && run.mutated == NO_SITE) {
            kept(1, 1);
            continue;
        }
        release_fd(NULL, site_api_pooled_fd, pool[i].fd);
        release_mapping(NULL, site_api_pooled_mapping, pool[i].start, INSIDE);
    }
}

const struct supervisor supervise_api = {.own_size = sizeof(struct box),
                                         .start = start,
                                         .begin = begin,
                                         .work = work,
                                         .before = before_release,
                                         .stop = stop,
                                         .threaded = true};
