/*
 * api.c: the shim's side of boxledger.h: errno, and whether this process is watched at all. What
 * the calls mean is src/sandbox/api.c's.
 */
#include "boxledger.h"

#include "police.h"
#include "policy/reclaim.h"
#include "shim.h"

static int result_of(int error)
{
    if (error == 0) {
        return 0;
    }
    errno = error;
    return -1;
}

EXPORT int boxledger_shim_attached(void)
{
    return shim_watching_memory() ? 1 : 0;
}

EXPORT boxledger_owner boxledger_shim_begin(const char *label)
{
    if (!shim_watching()) {
        errno = ENOSYS;
        return 0;
    }
    struct sandbox_event event = shim_sandbox_event(HERE);
    boxledger_owner owner = api_begin(&event, label);
    if (owner == 0) {
        errno = ENOMEM;
    }
    return owner;
}

EXPORT int boxledger_shim_enter(boxledger_owner owner)
{
    if (!shim_watching()) {
        return result_of(ENOSYS);
    }
    struct sandbox_event event = shim_sandbox_event(HERE);
    return result_of(api_enter(&event, owner));
}

EXPORT int boxledger_shim_leave(boxledger_owner owner)
{
    if (!shim_watching()) {
        return result_of(ENOSYS);
    }
    struct sandbox_event event = shim_sandbox_event(HERE);
    return result_of(api_leave(&event, owner));
}

EXPORT int boxledger_shim_end(boxledger_owner owner)
{
    if (!shim_watching()) {
        return result_of(ENOSYS);
    }
    struct sandbox_event event = shim_sandbox_event(HERE);
    int error = FAULT(end_unsaid) ? 0 : api_end(&event, owner);
    police_look(HERE);
    return result_of(error);
}

EXPORT int boxledger_shim_assign_fd(boxledger_owner owner, int fd)
{
    if (!shim_watching()) {
        return result_of(ENOSYS);
    }
    struct sandbox_event event = shim_sandbox_event(HERE);
    int error = api_assign_fd(&event, owner, fd);
    if (error == 0 && shim_polices(POLICY_RECLAIM)) {
        police_fd_owned(HERE, fd, owner != 0);
    }
    return result_of(error);
}

EXPORT int boxledger_shim_assign_range(boxledger_owner owner, const void *start, size_t bytes)
{
    if (!shim_watching()) {
        return result_of(ENOSYS);
    }
    uint64_t first = (uintptr_t)start & shim.page_mask;
    uint64_t end = ((uint64_t)(uintptr_t)start + bytes + ~shim.page_mask) & shim.page_mask;
    struct sandbox_event event = shim_sandbox_event(HERE);
    int error = bytes ? api_assign_range(&event, owner, first, end) : EINVAL;
    if (error == 0 && owner != 0 && shim_polices(POLICY_RECLAIM)) {
        reclaim_range_assigned(first, end);
    }
    return result_of(error);
}

EXPORT int boxledger_shim_usage(boxledger_owner owner, struct boxledger_usage *usage)
{
    if (!shim_watching()) {
        return result_of(ENOSYS);
    }
    ledger_map_catch_up(&shim.ledger, shim_actor());
    const struct ledger_owner *record = api_owner(&shim.ledger, owner);
    if (!record) {
        return result_of(ESRCH);
    }
    usage->fds = __atomic_load_n(&record->fds, __ATOMIC_RELAXED);
    usage->mappings = __atomic_load_n(&record->mappings, __ATOMIC_RELAXED);
    usage->bytes = __atomic_load_n(&record->bytes, __ATOMIC_RELAXED);
    usage->owners = 1;
    return 0;
}

EXPORT int boxledger_shim_mark(void)
{
    if (!shim_watching()) {
        return result_of(ENOSYS);
    }
    ledger_mark_epoch(&shim.ledger);
    return 0;
}
