/*
 * mappings_lock.h: the mappings' lock, for whoever looks under it: open, look, close.
 *
 * For the files mappings*.c alone. Nobody waits for the lock (DESIGN 3.3): who does not get it is
 * told so. `frame` is a word in the caller's own frame that holds LEDGER_CANARY of its address; a
 * handler that jumps out between open and close leaves it behind, and the thread's next entry
 * notices (DESIGN 3.4).
 */
#ifndef BOXLEDGER_LEDGER_MAPPINGS_LOCK_H
#define BOXLEDGER_LEDGER_MAPPINGS_LOCK_H

#include "ledger.h"

enum ledger_patience {
    LEDGER_LOCK_ONCE, /* one try */
    /* Another thread's update takes less than a microsecond, unless that thread is put aside in the
     * middle of it: then it is given some time. One that was stopped for good is not waited for. */
    LEDGER_LOCK_SOON,
};

/* Takes the lock and applies what has waited for it. False: this very thread's update is under
 * way below this handler, or another thread's; nothing is to be closed. */
bool ledger_map_open(struct ledger *ledger, struct ledger_actor *actor, ledger_mark frame,
                     enum ledger_patience patience);

/* Between open and close: applies this event, now. */
void ledger_map_apply(struct ledger *ledger, struct ledger_actor *actor,
                      const struct ledger_map_event *event);

/* Lets go, and applies what was queued meanwhile. */
void ledger_map_close(struct ledger *ledger, struct ledger_actor *actor, ledger_mark frame);

#endif
