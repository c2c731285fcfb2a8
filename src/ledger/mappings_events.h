/*
 * mappings_events.h: what each event does to the records. One function an event; enum ledger_map_op
 * in ledger.h says what each event means.
 *
 * For the files mappings*.c alone, and only under the mappings' lock. Each can be applied twice:
 * an update may have been cut short anywhere, and is applied once more from its beginning.
 */
#ifndef BOXLEDGER_LEDGER_MAPPINGS_EVENTS_H
#define BOXLEDGER_LEDGER_MAPPINGS_EVENTS_H

#include "ledger.h"

/* Kept apart, so that an update takes no more of a small stack than its own kind needs. */
#define APART __attribute__((noinline))

/* --- mappings_taken.c: ranges are mapped and released --- */

/* Enters [start, end), unless a younger record has it; `to_start`: like what is recorded there. */
void ledger_apply_insert(struct ledger *ledger, struct ledger_actor *actor,
                         const struct ledger_map_event *event);

/* Puts in flight what is recorded of the range and older than the event; `end` UINT64_MAX: the
 * pieces of the System V attachment at `start`. */
void ledger_apply_fly(struct ledger *ledger, struct ledger_actor *actor,
                      const struct ledger_map_event *event);

/* Drops what this release had put in flight. */
void ledger_apply_commit(struct ledger *ledger, const struct ledger_map_event *event);

/* What this release had put in flight is held again. */
void ledger_apply_rollback(struct ledger *ledger, const struct ledger_map_event *event);

/* What a fixed mapping takes over from what was there: the slots, which go by the address. */
struct ledger_bindings {
    uint32_t owner;
    uint16_t flags;
};
#define LEDGER_BOUND_FLAGS (LEDGER_BINDINGS | LEDGER_SHARED | LEDGER_BOUND_OVER)

/* Empties [start, end) for something that the kernel put there under ticket `own`. `heir` is set
 * where there is something to take over. False: a younger record has it. */
bool ledger_apply_over(struct ledger *ledger, struct ledger_actor *actor, uint64_t start,
                       uint64_t end, const struct ledger_map_event *event, uint64_t own,
                       struct ledger_bindings *heir);

/* --- mappings_moved.c: ranges change their place, or their protection --- */

/* What this mremap had put in flight goes to its new place, which is the program's whatever was
 * recorded at the old one. */
void ledger_apply_move(struct ledger *ledger, struct ledger_actor *actor,
                       const struct ledger_map_event *event);

/* Splits where protections differ from now on, and joins where they do no longer. */
void ledger_apply_protect(struct ledger *ledger, struct ledger_actor *actor,
                          const struct ledger_map_event *event);

/* --- mappings_marked.c: something is said of a range --- */

/* Whose it is. */
void ledger_apply_assign(struct ledger *ledger, struct ledger_actor *actor,
                         const struct ledger_map_event *event);

/* That a policy keeps what the program has released: nobody's, and counted for nobody. */
void ledger_apply_keep(struct ledger *ledger, struct ledger_actor *actor,
                       const struct ledger_map_event *event);

/* Any of the marks in `detail`. */
void ledger_apply_mark(struct ledger *ledger, struct ledger_actor *actor,
                       const struct ledger_map_event *event);

/* --- mappings_bound.c: memory slots of VMs --- */

/* Adds the slot and counts it for what it maps, which is split off; what is not recorded is
 * adopted. A slot of that number that was there before is unbound first. */
void ledger_apply_bind(struct ledger *ledger, struct ledger_actor *actor,
                       const struct ledger_map_event *event);

/* Removes one slot, or all of an owner that has ended. */
void ledger_apply_unbind(struct ledger *ledger, const struct ledger_map_event *event);
void ledger_apply_unbind_all(struct ledger *ledger, const struct ledger_map_event *event);

/* For ledger_record_rebuild: the slots' lists, and how many slots map each record, from the slots.
 * Needs the index, and LEDGER_BINDINGS cleared in every record. */
void ledger_bindings_rebuild(struct ledger *ledger);

#endif
