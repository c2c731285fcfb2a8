/*
 * symbols.c: resolves frames with libdw: build-ids, debug files, inlined calls, demangling.
 *
 * It reads object files named by a ledger and nothing else of them than symbols and DWARF; it
 * never loads or runs one.
 */
#include "report/symbols.h"

#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libiberty/demangle.h>
#include <limits.h>
#include <string.h>
#include <uthash.h>

/* Code ranges of the units of an object whose compiler wrote no .debug_aranges. */
struct unit_range {
    uint64_t start, end;
    Dwarf_Off unit;
};

struct object {
    char *key; /* path and build-id */
    Dwfl *dwfl;
    Dwfl_Module *module; /* NULL: nothing is to be had */
    struct unit_range *units;
    size_t unit_count;
    bool units_read;
    UT_hash_handle hh;
};

/* What one address resolves to: itself, or itself and what is inlined there, innermost first. */
struct place {
    struct place_key {
        const struct object *object;
        uint64_t offset;
    } key;
    struct symbols_frame *frames;
    size_t count;
    UT_hash_handle hh;
};

/* A stack of one ledger that was resolved before. */
struct resolved {
    struct resolved_key {
        const struct reader *reader;
        uint64_t stack;
    } key;
    struct symbols_stack stack;
    UT_hash_handle hh;
};

struct symbols {
    struct arena arena;
    struct object *objects;
    struct place *places;
    struct resolved *stacks;
    bool one_place;
};

struct symbols *symbols_new(void)
{
    return base_alloc(sizeof(struct symbols));
}

void symbols_free(struct symbols *symbols)
{
    struct object *object, *next;
    struct place *place, *next_place;
    struct resolved *stack, *next_stack;

    if (!symbols)
        return;
    HASH_ITER (hh, symbols->objects, object, next) {
        HASH_DEL(symbols->objects, object);
        if (object->dwfl)
            dwfl_end(object->dwfl);
        free(object->units);
    }
    HASH_ITER (hh, symbols->places, place, next_place)
        HASH_DEL(symbols->places, place);
    HASH_ITER (hh, symbols->stacks, stack, next_stack)
        HASH_DEL(symbols->stacks, stack);
    arena_free(&symbols->arena);
    free(symbols);
}

void symbols_name_one_place(struct symbols *symbols)
{
    symbols->one_place = true;
}

bool symbols_is_libc(const char *object)
{
    static const char *const names[] = {"libc.so", "libc-", "libpthread", "ld-linux", "ld-2"};
    const char *name = strrchr(object, '/');

    name = name ? name + 1 : object;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(name, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

const struct ledger_module *symbols_module(const struct reader *reader, uint32_t generation,
                                           uint64_t pc)
{
    for (uint64_t i = reader->tables[LEDGER_MODULES].count; i-- > 1;) {
        const struct ledger_module *module = reader_record(reader, LEDGER_MODULES, i);

        if (module->state != LEDGER_EMPTY && pc >= module->start && pc < module->end &&
            generation >= module->generation_first && generation <= module->generation_last)
            return module;
    }
    return NULL;
}

const char *symbols_demangle(struct arena *arena, const char *name)
{
    char *plain = NULL;
    const char *result;

    if (name[0] == '_' && (name[1] == 'Z' || name[1] == 'R' || name[1] == '_'))
        plain = cplus_demangle(name, DMGL_AUTO | DMGL_ANSI | DMGL_PARAMS);
    if (!plain)
        return name;
    result = arena_text(arena, plain, strlen(plain));
    free(plain);
    return result;
}

/* --- objects -----------------------------------------------------------------------------------
 */

/* process-global because libdwfl keeps a pointer to it: where debug files are looked for, NULL for
 * its own default (beside the object, .debug, /usr/lib/debug). */
static char *debuginfo_path;

static const Dwfl_Callbacks callbacks = {
    .find_elf = dwfl_build_id_find_elf,
    .find_debuginfo = dwfl_standard_find_debuginfo,
    .section_address = dwfl_offline_section_address,
    .debuginfo_path = &debuginfo_path,
};

/* Opens `path` as the object, if its build-id is that of the ledger. */
static bool open_object(struct object *object, const char *path, const uint8_t *build_id,
                        unsigned length)
{
    const unsigned char *bits;
    Dwfl_Module *module;
    GElf_Addr bias, address;
    struct stat file;
    Dwfl *dwfl;
    int fd;

    /* The path is a ledger's word: no FIFO to wait for, no device to wake. */
    if (stat(path, &file) < 0 || !S_ISREG(file.st_mode))
        return false;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return false;
    dwfl = dwfl_begin(&callbacks);
    if (!dwfl) {
        close(fd);
        return false;
    }
    dwfl_report_begin(dwfl);
    /* At base 0, so that an address is what the file itself calls it. */
    module = dwfl_report_elf(dwfl, path, path, fd, 0, true);
    if (!module)
        close(fd);
    if (module && dwfl_report_end(dwfl, NULL, NULL) == 0 && dwfl_module_getelf(module, &bias)) {
        int bits_length = dwfl_module_build_id(module, &bits, &address);

        if (length == 0 || (bits_length == (int)length && memcmp(bits, build_id, length) == 0)) {
            object->dwfl = dwfl;
            object->module = module;
            return true;
        }
    }
    dwfl_end(dwfl);
    return false;
}

static struct object *find_object(struct symbols *symbols, const char *path,
                                  const uint8_t *build_id, unsigned length)
{
    char hex[2 * 32 + 1] = "";
    struct object *object;
    const char *key;

    if (length > 31)
        length = 31;
    for (unsigned i = 0; i < length; i++)
        (void)snprintf(hex + (size_t)2 * i, 3, "%02x", build_id[i]);
    key = arena_format(&symbols->arena, "%s\n%s", path, hex);
    HASH_FIND_STR(symbols->objects, key, object);
    if (object)
        return object;
    object = arena_alloc(&symbols->arena, sizeof *object);
    object->key = arena_text(&symbols->arena, key, strlen(key));
    HASH_ADD_KEYPTR(hh, symbols->objects, object->key, strlen(object->key), object);
    if (path[0] != '/' || open_object(object, path, build_id, length))
        return object;
    if (length > 1) {
        /* Replaced or gone since: a debug file of that very build may still be there. */
        char debug[128];

        (void)snprintf(debug, sizeof debug, "/usr/lib/debug/.build-id/%.2s/%s.debug", hex, hex + 2);
        (void)open_object(object, debug, build_id, length);
    }
    return object;
}

/* --- DWARF ---------------------------------------------------------------------------------------
 */

static int by_start(const void *a, const void *b)
{
    const struct unit_range *x = a, *y = b;

    return (x->start > y->start) - (x->start < y->start);
}

static void read_units(struct object *object)
{
    Dwarf_Die *unit = NULL;
    Dwarf_Addr bias;

    object->units_read = true;
    while ((unit = dwfl_module_nextcu(object->module, unit, &bias))) {
        Dwarf_Addr base, start, end;
        ptrdiff_t at = 0;

        while ((at = dwarf_ranges(unit, at, &base, &start, &end)) > 0) {
            if (end <= start)
                continue;
            object->units = base_grow(object->units, object->unit_count, sizeof *object->units);
            object->units[object->unit_count++] =
                (struct unit_range){start, end, dwarf_dieoffset(unit)};
        }
    }
    if (object->unit_count)
        qsort(object->units, object->unit_count, sizeof *object->units, by_start);
}

/* The unit that holds an address; *bias is what to subtract for DWARF's own addresses. */
static bool find_unit(struct object *object, uint64_t address, Dwarf_Die *unit, Dwarf_Addr *bias)
{
    Dwarf_Die *found = dwfl_module_addrdie(object->module, address, bias);
    size_t low = 0, high;
    Dwarf *dwarf;

    if (found) {
        *unit = *found;
        return true;
    }
    dwarf = dwfl_module_getdwarf(object->module, bias);
    if (!dwarf)
        return false;
    /* clang and rustc write no .debug_aranges. */
    if (!object->units_read)
        read_units(object);
    address -= *bias;
    high = object->unit_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (object->units[middle].start > address)
            high = middle;
        else
            low = middle + 1;
    }
    while (low-- > 0) {
        if (object->units[low].end > address)
            return dwarf_offdie(dwarf, object->units[low].unit, unit) != NULL;
        if (address - object->units[low].start > 1u << 26)
            return false;
    }
    return false;
}

static const char *die_name(struct arena *arena, Dwarf_Die *die)
{
    Dwarf_Attribute attribute;
    const char *name = NULL;

    if (dwarf_attr_integrate(die, DW_AT_linkage_name, &attribute) ||
        dwarf_attr_integrate(die, DW_AT_MIPS_linkage_name, &attribute))
        name = dwarf_formstring(&attribute);
    if (name)
        return symbols_demangle(arena, name);
    if (dwarf_attr_integrate(die, DW_AT_name, &attribute))
        name = dwarf_formstring(&attribute);
    return name;
}

static const char *call_file(Dwarf_Die *unit, Dwarf_Die *die)
{
    Dwarf_Attribute attribute;
    Dwarf_Files *files;
    Dwarf_Word index;
    size_t count;

    if (!dwarf_attr(die, DW_AT_call_file, &attribute) || dwarf_formudata(&attribute, &index) != 0 ||
        dwarf_getsrcfiles(unit, &files, &count) != 0 || index >= count)
        return NULL;
    return dwarf_filesrc(files, index, NULL, NULL);
}

static unsigned call_line(Dwarf_Die *die)
{
    Dwarf_Attribute attribute;
    Dwarf_Word line;

    if (!dwarf_attr(die, DW_AT_call_line, &attribute) || dwarf_formudata(&attribute, &line) != 0 ||
        line > UINT_MAX)
        return 0;
    return (unsigned)line;
}

static void add_frame(struct place *place, const char *function, const char *file, unsigned line)
{
    place->frames = base_grow(place->frames, place->count, sizeof *place->frames);
    place->frames[place->count++] = (struct symbols_frame){
        .function = function ? function : "",
        .file = file ? file : "",
        .line = line,
        .inlined = true,
    };
}

#define SCOPES_MAX 64

/* The scopes below `parent` that hold an address, outermost first, as they lie in the code: an
 * inlined call in what it was inlined into. (libdw's own dwarf_getscopes leads from an inlined
 * call to where it was written instead.) Returns how many. */
static unsigned find_scopes(Dwarf_Die *parent, Dwarf_Addr address, Dwarf_Die *scopes, unsigned room)
{
    Dwarf_Die die;

    if (room == 0 || dwarf_child(parent, &die) != 0)
        return 0;
    do {
        unsigned count;

        switch (dwarf_tag(&die)) {
        case DW_TAG_subprogram:
        case DW_TAG_entry_point:
        case DW_TAG_inlined_subroutine:
        case DW_TAG_lexical_block:
        case DW_TAG_try_block:
        case DW_TAG_catch_block:
            if (dwarf_haspc(&die, address) != 1)
                break;
            scopes[0] = die;
            return 1 + find_scopes(&die, address, scopes + 1, room - 1);
        case DW_TAG_namespace:
        case DW_TAG_module:
        case DW_TAG_structure_type:
        case DW_TAG_class_type:
        case DW_TAG_union_type:
        case DW_TAG_enumeration_type:
            /* `room` bounds the depth of these as well. */
            count = find_scopes(&die, address, scopes, room - 1);
            if (count)
                return count;
            break;
        default:
            break;
        }
    } while (dwarf_siblingof(&die, &die) == 0);
    return 0;
}

static void read_place(struct symbols *symbols, struct object *object, uint64_t address,
                       struct place *place)
{
    const char *file = NULL, *symbol;
    Dwarf_Die scopes[SCOPES_MAX];
    Dwarf_Die unit, whole;
    Dwarf_Addr bias = 0;
    unsigned line = 0, count = 0;

    symbol = dwfl_module_addrname(object->module, address);
    if (find_unit(object, address, &unit, &bias)) {
        Dwarf_Line *row = dwarf_getsrc_die(&unit, address - bias);
        int number;

        if (row) {
            file = dwarf_linesrc(row, NULL, NULL);
            if (dwarf_lineno(row, &number) == 0 && number > 0)
                line = (unsigned)number;
        }
        /* With split DWARF the functions are in the other half. */
        whole = unit;
        if (dwarf_tag(&unit) == DW_TAG_skeleton_unit) {
            Dwarf_Die sub;

            if (dwarf_cu_info(unit.cu, NULL, NULL, NULL, &sub, NULL, NULL, NULL) == 0 &&
                dwarf_tag(&sub) != DW_TAG_invalid)
                whole = sub;
        }
        count = find_scopes(&whole, address - bias, scopes, SCOPES_MAX);
    }
    while (count-- > 0) {
        int tag = dwarf_tag(&scopes[count]);

        if (tag == DW_TAG_inlined_subroutine) {
            add_frame(place, die_name(&symbols->arena, &scopes[count]), file, line);
            file = call_file(&whole, &scopes[count]);
            line = call_line(&scopes[count]);
        } else if (tag == DW_TAG_subprogram || tag == DW_TAG_entry_point) {
            const char *name = die_name(&symbols->arena, &scopes[count]);

            if (name)
                symbol = name;
            break;
        }
    }
    if (symbol)
        symbol = symbols_demangle(&symbols->arena, symbol);
    add_frame(place, symbol, file, line);
    place->frames[place->count - 1].inlined = false;
}

static const struct place *find_place(struct symbols *symbols, struct object *object,
                                      uint64_t offset)
{
    struct place_key key;
    struct place *place;
    struct symbols_frame *frames;

    memset(&key, 0, sizeof key);
    key.object = object;
    key.offset = offset;
    HASH_FIND(hh, symbols->places, &key, sizeof key, place);
    if (place)
        return place;
    place = arena_alloc(&symbols->arena, sizeof *place);
    memcpy(&place->key, &key, sizeof key);
    if (object->module)
        read_place(symbols, object, offset, place);
    else
        add_frame(place, NULL, NULL, 0);
    place->frames[place->count - 1].inlined = false;
    frames = place->frames;
    place->frames = arena_alloc(&symbols->arena, place->count * sizeof *frames);
    memcpy(place->frames, frames, place->count * sizeof *frames);
    free(frames);
    HASH_ADD(hh, symbols->places, key, sizeof key, place);
    return place;
}

/* --- stacks
 * --------------------------------------------------------------------------------------- */

static bool is_ours(const char *path)
{
    const char *name = strrchr(path, '/');

    name = name ? name + 1 : path;
    return strncmp(name, "libboxledger", 12) == 0 && strstr(name, ".so");
}

const struct symbols_stack *symbols_resolve(struct symbols *symbols, const struct reader *reader,
                                            uint32_t stack)
{
    const struct ledger_stack *record;
    struct resolved_key key;
    const uint64_t *addresses;
    struct resolved *resolved;
    struct symbols_frame *frames = NULL;
    size_t count = 0;
    unsigned depth;

    memset(&key, 0, sizeof key);
    key.reader = reader;
    key.stack = stack;
    HASH_FIND(hh, symbols->stacks, &key, sizeof key, resolved);
    if (resolved)
        return &resolved->stack;
    record = reader_stack(reader, stack, &addresses, &depth);
    if (!record)
        return NULL;
    for (unsigned i = 0; i < depth; i++) {
        bool exact = (addresses[i] & LEDGER_FRAME_EXACT) != 0;
        uint64_t pc = (addresses[i] & ~LEDGER_FRAME_EXACT) - (exact ? 0 : 1);
        const struct ledger_module *module = symbols_module(reader, record->generation, pc);
        const char *path = module ? reader_string(reader, module->path) : "";
        const struct place *place;
        struct object *object;

        if (is_ours(path) || (symbols->one_place && symbols_is_libc(path)))
            continue;
        if (!module) {
            frames = base_grow(frames, count, sizeof *frames);
            frames[count++] = (struct symbols_frame){
                .pc = pc, .offset = pc, .object = "", .function = "", .file = ""};
            if (symbols->one_place)
                break;
            continue;
        }
        object = find_object(symbols, path, module->build_id, module->build_id_len);
        place = find_place(symbols, object, pc - module->bias);
        for (size_t j = 0; j < place->count; j++) {
            frames = base_grow(frames, count, sizeof *frames);
            frames[count] = place->frames[j];
            frames[count].pc = pc;
            frames[count].offset = pc - module->bias;
            frames[count++].object = arena_text(&symbols->arena, path, strlen(path));
        }
        if (symbols->one_place)
            break;
    }
    resolved = arena_alloc(&symbols->arena, sizeof *resolved);
    memcpy(&resolved->key, &key, sizeof key);
    resolved->stack.count = count;
    resolved->stack.truncated = (record->flags & (LEDGER_STACK_TRUNCATED | LEDGER_STACK_FULL)) != 0;
    resolved->stack.frames = arena_alloc(&symbols->arena, count * sizeof *frames);
    if (count)
        memcpy(resolved->stack.frames, frames, count * sizeof *frames);
    free(frames);
    HASH_ADD(hh, symbols->stacks, key, sizeof key, resolved);
    return &resolved->stack;
}

/* --- ahead ---------------------------------------------------------------------------------------
 */

#define STACKS_AHEAD 4096u /* by then every object that matters has been met */

/* What was met already, a byte each. */
struct met {
    struct symbols *symbols;
    const struct reader *reader;
    uint8_t *stacks, *modules;
    unsigned count; /* of stacks */
};

static void meet(struct met *met, uint32_t stack)
{
    const struct reader *reader = met->reader;
    const struct ledger_module *modules = reader_record(reader, LEDGER_MODULES, 0);
    const struct ledger_stack *record;
    const uint64_t *addresses;
    unsigned depth;

    if (met->count == STACKS_AHEAD || stack >= reader->tables[LEDGER_STACKS].count ||
        met->stacks[stack])
        return;
    met->stacks[stack] = 1;
    met->count++;
    record = reader_stack(reader, stack, &addresses, &depth);
    for (unsigned i = 0; record && i < depth; i++) {
        uint64_t pc = (addresses[i] & ~LEDGER_FRAME_EXACT) - 1;
        const struct ledger_module *module = symbols_module(reader, record->generation, pc);
        const char *path = module ? reader_string(reader, module->path) : "";

        if (!module || met->modules[module - modules] || is_ours(path))
            continue;
        met->modules[module - modules] = 1;
        (void)find_place(met->symbols,
                         find_object(met->symbols, path, module->build_id, module->build_id_len),
                         pc - module->bias);
    }
}

void symbols_read_ahead(struct symbols *symbols, const struct reader *reader)
{
    struct met met = {symbols, reader, base_alloc(reader->tables[LEDGER_STACKS].count + 1),
                      base_alloc(reader->tables[LEDGER_MODULES].count + 1), 0};

    for (uint64_t i = 0; i < reader->tables[LEDGER_FDS].count; i++) {
        const struct ledger_fd *fd = reader_record(reader, LEDGER_FDS, i);

        if ((fd->state & 7) == LEDGER_LIVE)
            meet(&met, fd->stack);
    }
    for (uint64_t i = 0; i < reader->tables[LEDGER_MAPPINGS].count; i++) {
        const struct ledger_mapping *mapping = reader_record(reader, LEDGER_MAPPINGS, i);

        if (mapping->state == LEDGER_LIVE)
            meet(&met, mapping->stack);
    }
    free(met.stacks);
    free(met.modules);
}
