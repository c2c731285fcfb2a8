/*
 * codes.c: numbers the stacks of a ledger so that the same places in the same objects have the
 * same number. It resolves no names: symbols.c does.
 */
#include "report/codes.h"

#include <string.h>
#include <uthash.h>

#include "report/symbols.h"

struct place {
    uint64_t object; /* a hash of the path, or 0 */
    uint64_t offset;
};

struct code { /* one for all stacks of the same places */
    uint32_t id;
    struct place *places;
    UT_hash_handle hh;
};

static uint64_t hash_text(const char *text)
{
    uint64_t hash = 14695981039346656037u;

    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    return hash | 1;
}

void codes_begin(struct codes *codes, const struct reader *reader)
{
    *codes = (struct codes){.reader = reader};
    codes->of_stack = base_alloc(reader->tables[LEDGER_STACKS].count * sizeof *codes->of_stack);
}

void codes_end(struct codes *codes)
{
    struct code *code, *next;

    HASH_ITER (hh, codes->all, code, next)
        HASH_DEL(codes->all, code);
    free(codes->of_stack);
    arena_free(&codes->arena);
    *codes = (struct codes){0};
}

uint32_t codes_of_stack(struct codes *codes, uint32_t stack)
{
    const struct reader *reader = codes->reader;
    struct place places[LEDGER_FRAMES_MAX];
    const struct ledger_stack *record;
    const uint64_t *frames;
    struct code *code;
    unsigned depth;

    record = reader_stack(reader, stack, &frames, &depth);
    if (!record)
        return 0;
    if (codes->of_stack[stack])
        return codes->of_stack[stack];
    for (unsigned i = 0; i < depth; i++) {
        uint64_t pc = frames[i] & ~LEDGER_FRAME_EXACT;
        const struct ledger_module *module = symbols_module(
            reader, record->generation, frames[i] & LEDGER_FRAME_EXACT ? pc : pc - 1);

        places[i] = (struct place){
            module ? hash_text(reader_string(reader, module->path)) : 0,
            module ? frames[i] - module->bias : frames[i],
        };
    }
    HASH_FIND(hh, codes->all, places, depth * sizeof *places, code);
    if (!code) {
        code = arena_alloc(&codes->arena, sizeof *code);
        code->id = ++codes->count;
        code->places = arena_alloc(&codes->arena, depth * sizeof *places);
        memcpy(code->places, places, depth * sizeof *places);
        HASH_ADD_KEYPTR(hh, codes->all, code->places, depth * sizeof *places, code);
    }
    codes->of_stack[stack] = code->id;
    return code->id;
}
