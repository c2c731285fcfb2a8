/*
 * warning.c: before it is too late: 80% of the descriptors, or of the VMAs, are in use.
 *
 * The kernel hands out the lowest free number, so a high number is where the table is counted, and
 * nothing is counted before. In the ledger it is an event; a command says it, or else the shim, in
 * one line. Each limit is told of once. In a thread that may make no calls, nothing is.
 */
#include <sys/resource.h>

#include "report/plain.h"
#include "shim.h"

/* Descriptors later, where one was put at a high number: dup2. Of what is left, an eighth. */
#define LOOK_AGAIN_MAX 16u

/* process-global because the process has one table of descriptors */
static uint32_t not_yet;
/* process-global, like the limits */
static uint32_t fds_told, vmas_told;

static uint64_t nearly(uint64_t limit)
{
    return limit - limit / 5;
}

static uint32_t number_for(uint64_t limit)
{
    return nearly(limit) < UINT32_MAX && limit ? (uint32_t)nearly(limit) - 1 : UINT32_MAX;
}

void shim_warning_begin(void)
{
    const struct ledger_header *header = shim.ledger.header;
    fds_told = vmas_told = not_yet = 0;
    shim.nearly_full_fd = number_for(header->max_fds);
    shim.nearly_full_vmas =
        header->max_map_count ? (int64_t)nearly(header->max_map_count) : INT64_MAX;
}

static void tell(int error, uint32_t stack, const struct plain_warning *warning)
{
    ledger_note(&shim.ledger, shim_actor(), LEDGER_EVENT_NEARLY_FULL, error, stack, 0,
                warning->used, 0, shim_now());
    shim_warn(warning);
}

/* Those below the limit: higher ones, from before it was lowered, take nothing of it. */
static uint64_t count_fds(uint64_t limit)
{
    uint64_t used = __atomic_load_n(&shim.ledger.header->used[LEDGER_FDS], __ATOMIC_ACQUIRE);
    uint64_t count = 0;
    for (uint32_t fd = 0; fd < used && fd < limit; fd++) {
        count += ledger_fd_record(&shim.ledger, (int)fd) != NULL;
    }
    return count;
}

/* The limit is asked for again: many programs raise it at their start. */
void shim_nearly_full_fds(uint32_t stack)
{
    struct rlimit64 limit;
    bool may_call = shim_actor()->may_grow || FAULT(warns_filtered);
    if (!may_call || __atomic_load_n(&fds_told, __ATOMIC_RELAXED)) {
        return;
    }
    if (__atomic_load_n(&not_yet, __ATOMIC_RELAXED)) {
        __atomic_sub_fetch(&not_yet, 1, __ATOMIC_RELAXED);
        return;
    }
    if (raw_failed(raw_syscall4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &limit))) {
        return;
    }
    uint64_t count = count_fds(limit.rlim_cur);
    shim.nearly_full_fd = number_for(limit.rlim_cur);
    if (count < nearly(limit.rlim_cur) && !FAULT(warns_by_number)) {
        uint64_t left = limit.rlim_cur - nearly(limit.rlim_cur);
        uint32_t later = left / 8 < LOOK_AGAIN_MAX ? (uint32_t)(left / 8) : LOOK_AGAIN_MAX;
        __atomic_store_n(&not_yet, later, __ATOMIC_RELAXED);
        return;
    }
    if (!__atomic_exchange_n(&fds_told, 1, __ATOMIC_RELAXED)) {
        shim.nearly_full_fd = UINT32_MAX;
        tell(EMFILE, stack, &(struct plain_warning){true, count, limit.rlim_cur});
    }
}

void shim_nearly_full_vmas(uint32_t stack)
{
    const struct ledger_header *header = shim.ledger.header;
    if (!shim_actor()->may_grow || __atomic_exchange_n(&vmas_told, 1, __ATOMIC_RELAXED)) {
        return;
    }
    shim.nearly_full_vmas = INT64_MAX;
    tell(ENOMEM, stack,
         &(struct plain_warning){false, (uint64_t)header->vmas_estimated, header->max_map_count});
}
