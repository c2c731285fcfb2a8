/*
 * check.c: boxledger_check: what ended sandboxes have left behind right now.
 *
 * It prints nothing, ends nothing and changes nothing. What counts is src/policy/left.c's.
 */
#include "boxledger.h"
#include "policy/left.h"
#include "shim.h"

EXPORT int boxledger_shim_check(struct boxledger_usage *usage)
{
    if (!shim_watching()) {
        errno = ENOSYS;
        return -1;
    }
    struct ledger_actor *actor = shim_actor();
    struct left_terms terms = {
        .now_ns = shim_now(),
        .settle_ns = FAULT(settles_at_once) ? 0 : (uint64_t)shim.options.settle_ms * 1000000u,
        .may_call = actor->may_grow};
    struct left left;
    if (!left_count(&shim.ledger, &terms, actor->tid, &left)) {
        errno = EAGAIN;
        return -1;
    }
    usage->fds = left.fds;
    usage->mappings = left.mappings;
    usage->bytes = left.bytes;
    usage->owners = left.owners;
    return left.fds + left.mappings > 0;
}
