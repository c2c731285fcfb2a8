/*
 * api.c: sandboxes that the supervisor names itself: boxledger.h.
 *
 * An id holds the owner's place in the table and its serial number, so that one that ended long
 * ago is never taken for the one that has its place now. A call that fails has changed nothing.
 */
#include <errno.h>
#include <stddef.h>

#include "ledger/fault.h"
#include "sandbox.h"

static uint64_t id_of(const struct ledger_owner *record, uint32_t owner)
{
    return record->serial << 32 | owner;
}

static uint32_t text_length(const char *text)
{
    uint32_t length = 0;
    while (text && length < LEDGER_LABEL_SIZE && text[length]) {
        length++;
    }
    return length;
}

const struct ledger_owner *api_owner(const struct ledger *ledger, uint64_t id)
{
    uint32_t owner = (uint32_t)id;
    const struct ledger_owner *record = id ? ledger_owner(ledger, owner) : NULL;
    return record && id_of(record, owner) == id ? record : NULL;
}

uint64_t api_begin(const struct sandbox_event *event, const char *label)
{
    struct ledger_owner_event begin = {.kind = LEDGER_OWNER_API,
                                       .label = label,
                                       .label_length = text_length(label),
                                       .stack = sandbox_stack(event),
                                       .now_ns = event->now_ns};
    uint32_t owner = ledger_owner_begin(event->ledger, event->actor, &begin);
    return owner ? id_of(ledger_owner(event->ledger, owner), owner) : 0;
}

/* 0 if `id` is a live owner of boxledger_begin. */
static int check(const struct sandbox_event *event, uint64_t id)
{
    const struct ledger_owner *record = api_owner(event->ledger, id);
    if (!record) {
        return ESRCH;
    }
    bool live = __atomic_load_n(&record->state, __ATOMIC_ACQUIRE) == LEDGER_LIVE;
    return live && record->kind == LEDGER_OWNER_API ? 0 : EINVAL;
}

int api_enter(const struct sandbox_event *event, uint64_t id)
{
    struct sandbox_thread *thread = event->thread;
    int error = check(event, id);
    if (error) {
        return error;
    }
    if (thread->depth == SANDBOX_SCOPES) {
        return EOVERFLOW;
    }
    thread->entered[thread->depth] = (uint32_t)id;
    thread->entered_serial[thread->depth] = (uint32_t)(id >> 32);
    thread->ledger = event->ledger;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    thread->depth++;
    return 0;
}

int api_leave(const struct sandbox_event *event, uint64_t id)
{
    struct sandbox_thread *thread = event->thread;
    if (thread->depth == 0 || thread->entered[thread->depth - 1] != (uint32_t)id ||
        thread->entered_serial[thread->depth - 1] != (uint32_t)(id >> 32)) {
        return EINVAL;
    }
    thread->depth--;
    return 0;
}

int api_end(const struct sandbox_event *event, uint64_t id)
{
    int error = check(event, id);
    if (error) {
        return error;
    }
    return ledger_owner_end(event->ledger, event->actor, (uint32_t)id, sandbox_stack(event))
               ? 0
               : EINVAL;
}

/* 0 gives back to the supervisor. */
static int check_target(const struct sandbox_event *event, uint64_t id)
{
    if (FAULT(assigned_unsaid)) {
        return EINVAL;
    }
    return id == 0 ? 0 : check(event, id);
}

int api_assign_fd(const struct sandbox_event *event, uint64_t id, int fd)
{
    int error = check_target(event, id);
    if (error) {
        return error;
    }
    const struct ledger_fd *record = ledger_fd_record(event->ledger, fd);
    if (!record) {
        return EBADF;
    }
    /* A VM stays the VM's; whose sandbox the VM is, is what is being said. */
    const struct ledger_owner *part = ledger_owner(event->ledger, record->owner);
    if (id && (record->flags & LEDGER_ANCHOR) && part && part->kind == LEDGER_OWNER_KVM) {
        return ledger_owner_join(event->ledger, record->owner, (uint32_t)id) ? 0 : EINVAL;
    }
    return ledger_fd_assign(event->ledger, event->actor, fd, (uint32_t)id, 0,
                            LEDGER_SCOPED | LEDGER_TIED | LEDGER_SHARED | LEDGER_ANCHOR,
                            LEDGER_FD_UNKNOWN)
               ? 0
               : EBADF;
}

int api_assign_range(const struct sandbox_event *event, uint64_t id, uint64_t start, uint64_t end)
{
    int error = check_target(event, id);
    if (error) {
        return error;
    }
    if (start >= end) {
        return EINVAL;
    }
    struct ledger_map_event assign = {.op = LEDGER_MAP_ASSIGN,
                                      .start = start,
                                      .end = end,
                                      .owner = (uint32_t)id,
                                      .detail = id ? LEDGER_ASSIGNED : 0,
                                      .ticket = ledger_ticket(event->ledger),
                                      .now_ns = event->now_ns};
    return ledger_map_assign(event->ledger, event->actor, &assign);
}
