/*
 * mappings_queue.c: the events that wait for the mappings' lock: a lock-free list, a list of free
 * places, and the range in which events were lost for want of one. It applies nothing.
 */
#include "mappings_queue.h"
#include "fault.h"
#include "mappings_records.h"

/* Tagged indices + 1, so that a head that came back is told apart. */
#define HEAD_INDEX(head) ((uint32_t)(head))
#define HEAD_NEXT(head, index) ((((head) >> 32) + 1) << 32 | (index))

static uint32_t next_of(const struct ledger *ledger, uint32_t index)
{
    return __atomic_load_n(&ledger->queue[index - 1].next, __ATOMIC_RELAXED);
}

static void set_next(struct ledger *ledger, uint32_t index, uint32_t next)
{
    __atomic_store_n(&ledger->queue[index - 1].next, next, __ATOMIC_RELAXED);
}

static void push(struct ledger *ledger, uint64_t *list, uint32_t index)
{
    uint64_t head = __atomic_load_n(list, __ATOMIC_RELAXED);
    do {
        set_next(ledger, index, HEAD_INDEX(head));
    } while (!__atomic_compare_exchange_n(list, &head, HEAD_NEXT(head, index), false,
                                          __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
}

static uint32_t pop(struct ledger *ledger, uint64_t *list)
{
    uint64_t head = __atomic_load_n(list, __ATOMIC_ACQUIRE);
    uint32_t index;
    do {
        index = HEAD_INDEX(head);
        if (index == 0) {
            return 0;
        }
    } while (!__atomic_compare_exchange_n(list, &head, HEAD_NEXT(head, next_of(ledger, index)),
                                          false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    return index;
}

static void widen(uint64_t *bound, uint64_t value)
{
    uint64_t old = __atomic_load_n(bound, __ATOMIC_RELAXED);
    while (value > old && !__atomic_compare_exchange_n(bound, &old, value, true, __ATOMIC_SEQ_CST,
                                                       __ATOMIC_RELAXED)) {
    }
}

/* What an event that is not applied would have changed is unsure from now on. The range only ever
 * grows: it is rare, and being unsure costs a reader no more than a look at the kernel. */
static void lose_range(struct ledger *ledger, uint64_t start, uint64_t end)
{
    widen(&ledger->lost_low, ~start); /* kept inverted, so that it starts at zero */
    widen(&ledger->lost_high, end);
    __atomic_store_n(&ledger->lost, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&ledger->header->lost_events, 1, __ATOMIC_RELAXED);
    ledger_incomplete(ledger, LEDGER_INCOMPLETE_EVENTS);
}

static uint32_t free_slot(struct ledger *ledger)
{
    uint32_t index = pop(ledger, &ledger->unused);
    if (index == 0 && __atomic_load_n(&ledger->fresh, __ATOMIC_RELAXED) < LEDGER_QUEUE_EVENTS) {
        index = __atomic_add_fetch(&ledger->fresh, 1, __ATOMIC_RELAXED);
    }
    return index <= LEDGER_QUEUE_EVENTS ? index : 0;
}

bool ledger_queue_add(struct ledger *ledger, const struct ledger_map_event *event)
{
    uint32_t index = FAULT(ring_not_drained) ? 0 : free_slot(ledger);
    if (index == 0) {
        return false;
    }
    ledger->queue[index - 1].event = *event;
    push(ledger, &ledger->queued, index);
    return true;
}

void ledger_queue_lose(struct ledger *ledger, const struct ledger_map_event *event)
{
    lose_range(ledger, event->start, event->end);
    if (event->op == LEDGER_MAP_MOVE) {
        lose_range(ledger, event->to_start, event->to_end);
    }
}

void ledger_queue_take(struct ledger *ledger)
{
    ledger->sorting = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    uint64_t head = __atomic_load_n(&ledger->queued, __ATOMIC_ACQUIRE);
    while (!__atomic_compare_exchange_n(&ledger->queued, &head, HEAD_NEXT(head, 0), false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE)) {
    }
    uint32_t oldest = 0;
    for (uint32_t index = HEAD_INDEX(head); index;) {
        uint32_t next = next_of(ledger, index);
        set_next(ledger, index, oldest);
        oldest = index;
        index = next;
    }
    ledger->draining = oldest;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    ledger->sorting = 0;
}

void ledger_queue_done(struct ledger *ledger)
{
    uint32_t index = ledger->draining;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    ledger->draining = next_of(ledger, index);
    push(ledger, &ledger->unused, index);
}

void ledger_queue_mark_lost(struct ledger *ledger)
{
    if (__builtin_expect(__atomic_load_n(&ledger->lost, __ATOMIC_SEQ_CST) == 0, 1)) {
        return;
    }
    __atomic_store_n(&ledger->lost, 0, __ATOMIC_SEQ_CST);
    uint64_t low = ~__atomic_load_n(&ledger->lost_low, __ATOMIC_SEQ_CST);
    uint64_t high = __atomic_load_n(&ledger->lost_high, __ATOMIC_SEQ_CST);
    struct ledger_position position = ledger_index_find(ledger, low);
    for (; position.node && ledger_record_at(ledger, position)->start < high;
         position = ledger_index_next(position)) {
        ledger_record_at(ledger, position)->flags |= LEDGER_UNSURE;
    }
}

void ledger_queue_repair(struct ledger *ledger)
{
    if (ledger->sorting) { /* the list that was being turned round is lost */
        ledger->sorting = 0;
        lose_range(ledger, 0, UINT64_MAX);
    }
}
