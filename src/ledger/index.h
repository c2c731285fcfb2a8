/*
 * index.h: mapping records by address. A B+tree whose leaves know their fences, with a cursor.
 *
 * Used under the mappings' lock only. Keys are the records' start addresses; the caller keeps
 * their ranges from overlapping.
 */
#ifndef BOXLEDGER_LEDGER_INDEX_H
#define BOXLEDGER_LEDGER_INDEX_H

#include "ledger.h"

/* An entry; node is NULL behind the last. Any insertion or removal makes positions stale. */
struct ledger_position {
    struct ledger_index_node *node;
    uint32_t at;
};

/* Nodes for any one insertion can be had from now on without the arena. False: no memory. */
bool ledger_index_provide(struct ledger *ledger, const struct ledger_actor *actor, uint32_t nodes);

/* The last entry with a start at or below `key`, or else the first entry. */
struct ledger_position ledger_index_find(struct ledger *ledger, uint64_t key);

uint32_t ledger_index_record(struct ledger_position position);
struct ledger_position ledger_index_next(struct ledger_position position);
struct ledger_position ledger_index_previous(struct ledger_position position);

/* `key` must not be there. Needs what ledger_index_provide made sure of. */
void ledger_index_insert(struct ledger *ledger, uint64_t key, uint32_t record);

/* `key` must be there. */
void ledger_index_remove(struct ledger *ledger, uint64_t key);

/* Empties it; its nodes are used again. */
void ledger_index_reset(struct ledger *ledger);

#define LEDGER_INDEX_DEPTH                                                                         \
    8u /* 14 children at least of a node that was split: beyond 2^30 records */

#endif
