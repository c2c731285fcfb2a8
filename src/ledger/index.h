/*
 * index.h: mapping records by address. A B+tree whose leaves know their fences, with a cursor.
 *
 * Used under the mappings' lock only. Keys are the records' start addresses; the caller keeps
 * their ranges from overlapping.
 */
#ifndef BOXLEDGER_LEDGER_INDEX_H
#define BOXLEDGER_LEDGER_INDEX_H

#include "ledger.h"

#define LEDGER_LEAF_KEYS 38u
#define LEDGER_INNER_KEYS 28u

struct ledger_index_node {
    uint32_t count;
    uint32_t leaf;
    struct ledger_index_node *next, *previous; /* leaves, in order */
    uint64_t low, high;                        /* leaves */
    union {
        struct {
            uint64_t key[LEDGER_LEAF_KEYS];
            uint32_t record[LEDGER_LEAF_KEYS];
        } l;
        struct { /* key[0] is not looked at: the first child takes all that is lower */
            uint64_t key[LEDGER_INNER_KEYS];
            struct ledger_index_node *child[LEDGER_INNER_KEYS];
        } i;
    };
};

_Static_assert(sizeof(struct ledger_index_node) <= 512, "8 cache lines a node");

/* An entry; node is NULL behind the last. Any insertion or removal makes positions stale. */
struct ledger_position {
    struct ledger_index_node *node;
    uint32_t at;
};

/* Nodes for any one insertion can be had from now on without the arena. False: no memory. */
bool ledger_index_provide(struct ledger *ledger, const struct ledger_actor *actor, uint32_t nodes);

/* How many keys are at or below `key`. Halves without a branch that could be guessed wrong. */
static inline uint32_t ledger_index_rank(const uint64_t *keys, uint32_t count, uint64_t key)
{
    const uint64_t *first = keys;
    while (count > 1) {
        uint32_t half = count / 2;
        keys = keys[half - 1] <= key ? keys + half : keys;
        count -= half;
    }
    return (uint32_t)(keys - first) + (count == 1 && *keys <= key);
}

/* Removes the entry that is vacant. */
void ledger_index_settle(struct ledger *ledger);

/* Goes down from the root, and leaves the cursor there. */
struct ledger_index_node *ledger_index_leaf(struct ledger_index *index, uint64_t key);

static inline bool ledger_index_at_cursor(const struct ledger_index *index, uint64_t key)
{
    return index->cursor && index->cursor->low <= key && key < index->cursor->high;
}

/* The last entry with a start at or below `key`, or else the first entry. */
static inline struct ledger_position ledger_index_find(struct ledger *ledger, uint64_t key)
{
    struct ledger_index *index = &ledger->index;
    if (__builtin_expect(index->vacant != NULL, 0)) {
        ledger_index_settle(ledger);
    }
    struct ledger_index_node *leaf = index->cursor;
    if (!index->root) {
        return (struct ledger_position){NULL, 0};
    }
    if (__builtin_expect(!ledger_index_at_cursor(index, key), 0)) {
        leaf = ledger_index_leaf(index, key);
    }
    uint32_t below = ledger_index_rank(leaf->l.key, leaf->count, key);
    if (below > 0) {
        return (struct ledger_position){leaf, below - 1};
    }
    if (leaf->previous) {
        return (struct ledger_position){leaf->previous, leaf->previous->count - 1};
    }
    return (struct ledger_position){leaf, 0};
}

static inline uint32_t ledger_index_record(struct ledger_position position)
{
    return position.node->l.record[position.at];
}

static inline struct ledger_position ledger_index_next(struct ledger_position position)
{
    if (++position.at == position.node->count) {
        position.node = position.node->next;
        position.at = 0;
    }
    return position;
}

static inline struct ledger_position ledger_index_previous(struct ledger_position position)
{
    if (position.at == 0) {
        position.node = position.node->previous;
        position.at = position.node ? position.node->count : 1;
    }
    position.at--;
    return position;
}

/* Removes an entry, of a range with this end, but not yet: a range that is released is what is
 * mapped next, most often, at that very place. `position` is from the last search. Every other use
 * of the index finds it gone. */
static inline void ledger_index_vacate(struct ledger *ledger, struct ledger_position position,
                                       uint64_t end)
{
    ledger->index.vacant = position.node;
    ledger->index.vacant_at = position.at;
    ledger->index.vacant_end = end;
}

static inline bool ledger_index_is_vacant(const struct ledger *ledger, uint64_t start, uint64_t end)
{
    const struct ledger_index *index = &ledger->index;
    return index->vacant && index->vacant->l.key[index->vacant_at] == start &&
           index->vacant_end == end;
}

/* The vacant entry is that record's now. */
static inline struct ledger_position ledger_index_reoccupy(struct ledger *ledger, uint32_t record)
{
    struct ledger_index *index = &ledger->index;
    struct ledger_position position = {index->vacant, index->vacant_at};
    position.node->l.record[position.at] = record;
    index->vacant = NULL;
    return position;
}

/* `key` must not be there. Needs what ledger_index_provide made sure of. */
void ledger_index_insert(struct ledger *ledger, uint64_t key, uint32_t record);

/* `key` must be there. */
void ledger_index_remove(struct ledger *ledger, uint64_t key);

/* Empties it; its nodes are used again. */
void ledger_index_reset(struct ledger *ledger);

#define LEDGER_INDEX_DEPTH                                                                         \
    8u /* 14 children at least of a node that was split: beyond 2^30 records */

#endif
