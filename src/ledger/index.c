/*
 * index.c: the B+tree of index.h.
 *
 * Leaves carry fences (`low` <= every key that belongs here < `high`), so that the cursor can
 * answer without a descent. A node that runs empty is removed; nodes are never merged: the
 * addresses that a program frees are the ones it is given next.
 */
#include "index.h"

#define CACHE_LINE 64u
#define NODES_A_PAGE 512u /* 256 KiB at a time */

/* Room on small stacks is scarce (DESIGN 3.7): only who needs a path has one, and its functions are
 * kept apart from the usual case. */
#define APART __attribute__((noinline))

struct path {
    struct ledger_index_node *node[LEDGER_INDEX_DEPTH];
    uint8_t at[LEDGER_INDEX_DEPTH];
    uint8_t depth; /* of the leaf */
};

_Static_assert(LEDGER_INNER_KEYS <= UINT8_MAX, "a place in a node is a byte");

bool ledger_index_provide(struct ledger *ledger, const struct ledger_actor *actor, uint32_t nodes)
{
    struct ledger_index *index = &ledger->index;
    if (__builtin_expect(index->free_count >= nodes, 1)) {
        return true;
    }
    if (!actor->may_grow) {
        ledger_incomplete(ledger, LEDGER_INCOMPLETE_FILTERED);
        return false;
    }
    struct ledger_index_node *page =
        ledger->backing->arena(ledger->backing, NODES_A_PAGE * sizeof(*page));
    if (!page) {
        return false;
    }
    /* Its first node links the pages. A rebuild goes through them from the newest. */
    page->next = index->pages;
    index->pages = page;
    for (uint32_t i = 1; i < NODES_A_PAGE; i++) {
        page[i].next = index->free;
        index->free = &page[i];
    }
    index->free_count += NODES_A_PAGE - 1;
    return index->free_count >= nodes;
}

void ledger_index_reset(struct ledger *ledger)
{
    struct ledger_index *index = &ledger->index;
    index->root = index->cursor = index->free = index->vacant = NULL;
    index->free_count = 0;
    for (struct ledger_index_node *page = index->pages; page; page = page->next) {
        for (uint32_t i = 1; i < NODES_A_PAGE; i++) {
            page[i].next = index->free;
            index->free = &page[i];
        }
        index->free_count += NODES_A_PAGE - 1;
    }
}

static struct ledger_index_node *new_node(struct ledger_index *index, uint32_t leaf)
{
    struct ledger_index_node *node = index->free;
    index->free = node->next;
    index->free_count--;
    node->count = 0;
    node->leaf = leaf;
    node->next = node->previous = NULL;
    node->low = 0;
    node->high = UINT64_MAX;
    return node;
}

static void free_node(struct ledger_index *index, struct ledger_index_node *node)
{
    if (index->cursor == node) {
        index->cursor = NULL;
    }
    node->next = index->free;
    index->free = node;
    index->free_count++;
}

static struct ledger_index_node *descend(struct ledger_index *index, uint64_t key,
                                         struct path *path)
{
    struct ledger_index_node *node = index->root;
    path->depth = 0;
    while (!node->leaf) {
        uint32_t at = ledger_index_rank(node->i.key + 1, node->count - 1, key);
        path->node[path->depth] = node;
        path->at[path->depth] = (uint8_t)at;
        path->depth++;
        node = node->i.child[at];
    }
    index->cursor = node;
    return node;
}

struct ledger_index_node *ledger_index_leaf(struct ledger_index *index, uint64_t key)
{
    struct ledger_index_node *node = index->root;
    while (!node->leaf) {
        node = node->i.child[ledger_index_rank(node->i.key + 1, node->count - 1, key)];
        /* Of a large index all of it is out of the cache, and comes faster at once than line by
         * line. */
        for (size_t line = 0; line < sizeof(*node); line += CACHE_LINE) {
            __builtin_prefetch((const char *)node + line);
        }
    }
    index->cursor = node;
    return node;
}

static void put_in_leaf(struct ledger_index_node *leaf, uint32_t at, uint64_t key, uint32_t record)
{
    for (uint32_t i = leaf->count; i > at; i--) {
        leaf->l.key[i] = leaf->l.key[i - 1];
        leaf->l.record[i] = leaf->l.record[i - 1];
    }
    leaf->l.key[at] = key;
    leaf->l.record[at] = record;
    leaf->count++;
}

static void put_in_inner(struct ledger_index_node *node, uint32_t at, uint64_t key,
                         struct ledger_index_node *child)
{
    for (uint32_t i = node->count; i > at; i--) {
        node->i.key[i] = node->i.key[i - 1];
        node->i.child[i] = node->i.child[i - 1];
    }
    node->i.key[at] = key;
    node->i.child[at] = child;
    node->count++;
}

/* Addresses come from the top down: a leaf that is full because of a run of ever lower keys is
 * split so that its upper part stays full. */
static APART struct ledger_index_node *split_leaf(struct ledger_index *index,
                                                  struct ledger_index_node *leaf, uint64_t key)
{
    uint32_t keep = LEDGER_LEAF_KEYS / 2;
    if (key < leaf->l.key[0]) {
        keep = 1;
    } else if (key > leaf->l.key[LEDGER_LEAF_KEYS - 1]) {
        keep = LEDGER_LEAF_KEYS - 1;
    }
    struct ledger_index_node *right = new_node(index, 1);
    for (uint32_t i = keep; i < leaf->count; i++) {
        right->l.key[i - keep] = leaf->l.key[i];
        right->l.record[i - keep] = leaf->l.record[i];
    }
    right->count = leaf->count - keep;
    leaf->count = keep;
    right->low = right->l.key[0];
    right->high = leaf->high;
    leaf->high = right->low;
    right->next = leaf->next;
    right->previous = leaf;
    if (leaf->next) {
        leaf->next->previous = right;
    }
    leaf->next = right;
    return right;
}

/* Hangs `right`, whose lowest key is `key`, behind the node that `path` went through. */
static APART void insert_above(struct ledger_index *index, struct path *path, uint64_t key,
                               struct ledger_index_node *right)
{
    for (uint32_t depth = path->depth; depth-- > 0;) {
        struct ledger_index_node *node = path->node[depth];
        uint32_t at = path->at[depth] + 1;
        if (node->count < LEDGER_INNER_KEYS) {
            put_in_inner(node, at, key, right);
            return;
        }
        struct ledger_index_node *half = new_node(index, 0);
        uint32_t keep = LEDGER_INNER_KEYS / 2;
        for (uint32_t i = keep; i < LEDGER_INNER_KEYS; i++) {
            half->i.key[i - keep] = node->i.key[i];
            half->i.child[i - keep] = node->i.child[i];
        }
        half->count = LEDGER_INNER_KEYS - keep;
        node->count = keep;
        if (at <= keep) {
            put_in_inner(node, at, key, right);
        } else {
            put_in_inner(half, at - keep, key, right);
        }
        key = half->i.key[0];
        right = half;
    }
    struct ledger_index_node *root = new_node(index, 0);
    root->i.key[0] = 0;
    root->i.child[0] = index->root;
    root->i.key[1] = key;
    root->i.child[1] = right;
    root->count = 2;
    index->root = root;
}

static APART struct ledger_index_node *leaf_with_room(struct ledger_index *index, uint64_t key)
{
    struct path path;
    struct ledger_index_node *leaf = descend(index, key, &path);
    if (leaf->count == LEDGER_LEAF_KEYS) {
        struct ledger_index_node *right = split_leaf(index, leaf, key);
        insert_above(index, &path, right->low, right);
        leaf = key >= right->low ? right : leaf;
        index->cursor = leaf;
    }
    return leaf;
}

void ledger_index_settle(struct ledger *ledger)
{
    struct ledger_index *index = &ledger->index;
    uint64_t key = index->vacant->l.key[index->vacant_at];
    index->vacant = NULL;
    ledger_index_remove(ledger, key);
}

void ledger_index_insert(struct ledger *ledger, uint64_t key, uint32_t record)
{
    struct ledger_index *index = &ledger->index;
    if (index->vacant) {
        ledger_index_settle(ledger);
    }
    if (!index->root) {
        index->root = index->cursor = new_node(index, 1);
    }
    struct ledger_index_node *leaf = index->cursor;
    if (!ledger_index_at_cursor(index, key) || leaf->count == LEDGER_LEAF_KEYS) {
        leaf = leaf_with_room(index, key);
    }
    put_in_leaf(leaf, ledger_index_rank(leaf->l.key, leaf->count, key), key, record);
}

/* Takes the child that `path` went through out of its parent, and parents that run empty. */
static void remove_above(struct ledger_index *index, struct path *path)
{
    for (uint32_t depth = path->depth; depth-- > 0;) {
        struct ledger_index_node *node = path->node[depth];
        node->count--;
        for (uint32_t i = path->at[depth]; i < node->count; i++) {
            node->i.key[i] = node->i.key[i + 1];
            node->i.child[i] = node->i.child[i + 1];
        }
        if (node->count > 0) {
            break;
        }
        free_node(index, node);
        if (depth == 0) {
            index->root = NULL;
        }
    }
    while (index->root && !index->root->leaf && index->root->count == 1) {
        struct ledger_index_node *only = index->root->i.child[0];
        free_node(index, index->root);
        index->root = only;
    }
}

/* The keys that belonged to an emptied leaf are now led to the neighbour that a descent reaches:
 * the one before, unless it was the first child all the way up to where the paths part. */
static void hand_over_fences(struct ledger_index_node *leaf, const struct path *path)
{
    bool first = true;
    for (uint32_t depth = path->depth; first && depth-- > 0;) {
        if (path->at[depth] > 0) {
            first = false;
        } else if (path->node[depth]->count > 1) {
            break; /* the next child of this very node becomes its first */
        }
    }
    if (first || !leaf->previous) {
        leaf->next->low = leaf->low;
    } else {
        leaf->previous->high = leaf->high;
    }
}

/* Takes out the leaf that `key` belongs to and that has run empty. */
static APART void remove_leaf(struct ledger_index *index, uint64_t key)
{
    struct path path;
    struct ledger_index_node *leaf = descend(index, key, &path);
    if (leaf->previous || leaf->next) {
        hand_over_fences(leaf, &path);
    }
    if (leaf->previous) {
        leaf->previous->next = leaf->next;
    }
    if (leaf->next) {
        leaf->next->previous = leaf->previous;
    }
    if (index->root == leaf) {
        index->root = NULL;
    } else {
        remove_above(index, &path);
    }
    free_node(index, leaf);
}

void ledger_index_remove(struct ledger *ledger, uint64_t key)
{
    struct ledger_index *index = &ledger->index;
    if (index->vacant) {
        ledger_index_settle(ledger);
    }
    struct ledger_index_node *leaf = index->cursor;
    if (!ledger_index_at_cursor(index, key)) {
        leaf = ledger_index_leaf(index, key);
    }
    uint32_t at = ledger_index_rank(leaf->l.key, leaf->count, key) - 1;
    leaf->count--;
    for (uint32_t i = at; i < leaf->count; i++) {
        leaf->l.key[i] = leaf->l.key[i + 1];
        leaf->l.record[i] = leaf->l.record[i + 1];
    }
    if (leaf->count == 0) {
        remove_leaf(index, key);
    }
}
