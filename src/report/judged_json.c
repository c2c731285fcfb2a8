/*
 * judged_json.c: a gate's result for programs, version 1, as doc/gate.schema.json has it. Things
 * may be added to it; nothing is ever renamed.
 */
#include <inttypes.h>

#include "report/escape.h"
#include "report/judged_write.h"

/* Takes the reference; without memory there is no document. */
static void put(json_t *object, const char *key, json_t *value)
{
    if (!value || json_object_set_new(object, key, value) != 0)
        base_no_memory();
}

static void put_text(struct judged *judged, json_t *object, const char *key, const char *text)
{
    put(object, key, json_string(escape_utf8(&judged->arena, text)));
}

static void put_number(json_t *object, const char *key, uint64_t number)
{
    put(object, key, json_integer(number > INT64_MAX ? INT64_MAX : (json_int_t)number));
}

static json_t *item_of(struct judged *judged, const struct judged_item *item)
{
    struct judged_site site = judged_site_of(judged, item);
    json_t *object = json_object(), *stack = json_array();

    put_text(judged, object, "state", judged_state_name(item->state));
    put(object, "fails", json_boolean(item->state <= JUDGED_GROWN));
    put_text(judged, object, "text", judged_sentence(judged, item));
    put_text(judged, object, "verdict", item->entry.verdict);
    put_text(judged, object, "resource", item->entry.resource);
    put_text(judged, object, "what", item->entry.what);
    put_number(object, "count", item->finding ? item->entry.count : 0);
    if (item->entry.rate > 0)
        put(object, "rate", json_real(item->entry.rate));
    if (item->known)
        put_number(object, "known_count", item->known->count);
    put_number(object, "runs", item->runs);
    put_text(judged, object, "function", site.function);
    put_text(judged, object, "file", site.file);
    put_number(object, "line", site.line);
    for (size_t i = 0; i < item->entry.depth; i++)
        if (json_array_append_new(stack, json_string(item->entry.stack[i])) != 0)
            base_no_memory();
    put(object, "stack", stack);
    return object;
}

void judged_write_json(FILE *out, struct judged *judged, json_t *runs, json_t *suppressions)
{
    json_t *document = json_object(), *items = json_array(), *tally = json_object();

    put(document, "boxledger_gate", json_integer(1));
    put_text(judged, document, "result",
             judged->trouble        ? "no-verdict"
             : judged_fails(judged) ? "findings"
                                    : "clean");
    put(document, "status", json_integer(judged->status));
    put_text(judged, document, "program", judged->program);
    put_text(judged, document, "command", judged->command);
    if (judged->baseline_path)
        put_text(judged, document, "baseline", judged->baseline_path);
    if (judged->trouble)
        put_text(judged, document, "trouble", judged->trouble);
    if (judged->doubt)
        put_text(judged, document, "doubt", judged->doubt);
    put_number(document, "sandboxes", judged->sandboxes);
    for (enum judged_state state = 0; state < JUDGED_STATES; state++)
        put_number(tally, judged_state_name(state), judged->tally[state]);
    put(document, "tally", tally);
    for (size_t i = 0; i < judged->count; i++)
        if (json_array_append_new(items, item_of(judged, &judged->items[i])) != 0)
            base_no_memory();
    put(document, "findings", items);
    put(document, "runs", runs);
    if (suppressions)
        put(document, "suppressions", suppressions);
    (void)json_write(out, document);
    json_decref(document);
}
