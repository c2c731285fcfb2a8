/*
 * owners.c: reads the owners of a ledger. It judges none of what they hold: verdicts.c does.
 */
#include "report/owners.h"

/* Parts of parts, and no more than a broken ledger could make us follow. */
#define PARTS_DEEP 32u

static bool is_there(const struct ledger_owner *record)
{
    return record && (record->state == LEDGER_LIVE || record->state == LEDGER_ENDED) &&
           record->kind != LEDGER_OWNER_NONE; /* dismissed */
}

static uint32_t find_outermost(const struct owners *owners, uint32_t index)
{
    for (unsigned deep = 0; deep < PARTS_DEEP; deep++) {
        const struct ledger_owner *record = owners->items[index].record;

        if (!record)
            return 0;
        if (record->parent == 0)
            return index;
        if (record->parent >= owners->count)
            return 0;
        index = record->parent;
    }
    return 0;
}

static uint32_t later_ends(const struct ledger_header *header, const struct ledger_owner *record)
{
    int32_t later;

    if (record->state != LEDGER_ENDED || record->kind >= LEDGER_OWNER_KINDS)
        return 0;
    /* Counts wrap; and of a live ledger the header was read first. */
    later = (int32_t)((uint32_t)header->owners_ended[record->kind] - record->ended_order);
    return later > 0 ? (uint32_t)later : 0;
}

void owners_begin(struct owners *owners, const struct reader *reader,
                  const struct kernel_view *view)
{
    *owners = (struct owners){.count = reader->tables[LEDGER_OWNERS].count};
    owners->items = base_alloc(owners->count * sizeof *owners->items);
    for (unsigned kind = 0; kind < LEDGER_OWNER_KINDS; kind++) {
        owners->begun += reader->header.owners_begun[kind];
        owners->ended += reader->header.owners_ended[kind];
    }
    for (size_t i = 1; i < owners->count; i++) {
        const struct ledger_owner *record = reader_record(reader, LEDGER_OWNERS, i);

        if (is_there(record))
            owners->items[i] = (struct owners_item){
                .record = record,
                .ended = record->state == LEDGER_ENDED,
                .ended_ns = record->ended_ns,
                .later_ends = later_ends(&reader->header, record),
            };
    }
    for (size_t i = 1; i < owners->count; i++) {
        struct owners_item *item = &owners->items[i];

        item->outermost = find_outermost(owners, (uint32_t)i);
        if (!item->record || item->ended || !view ||
            !kernel_owner_is_gone(view, item->record->serial))
            continue;
        item->ended = true;
        item->ended_ns = view->taken_ns;
        item->later_ends = (uint32_t)kernel_owners_gone_after(view, item->record->serial);
        owners->ended += item->outermost == i;
    }
}

void owners_end(struct owners *owners)
{
    free(owners->items);
    *owners = (struct owners){0};
}

const struct owners_item *owners_outermost(const struct owners *owners, uint32_t index)
{
    if (index == 0 || index >= owners->count || owners->items[index].outermost == 0)
        return NULL;
    return &owners->items[owners->items[index].outermost];
}
