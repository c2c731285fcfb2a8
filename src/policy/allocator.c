/*
 * allocator.c: see allocator.h. Object files are read by pread(2), never mapped: one that is
 * truncated meanwhile is a short read then, and no SIGBUS.
 */
#include "allocator.h"

#include <elf.h>
#include <fcntl.h>
#include <stddef.h>

#include "raw.h"

#define NAME_MAX_SIZE 256u /* of a function, as far as it is looked at */

/* --- names ------------------------------------------------------------------------------------ */

static const char *const functions[] = {
#define ALLOCATOR_FUNCTION(name) name,
#define ALLOCATOR_PREFIX(name)
#define ALLOCATOR_MANGLED(name)
#include "allocators.def"
#undef ALLOCATOR_FUNCTION
#undef ALLOCATOR_PREFIX
#undef ALLOCATOR_MANGLED
};

static const char *const beginnings[] = {
#define ALLOCATOR_FUNCTION(name)
#define ALLOCATOR_PREFIX(name) name,
#define ALLOCATOR_MANGLED(name) name,
#include "allocators.def"
#undef ALLOCATOR_FUNCTION
#undef ALLOCATOR_PREFIX
#undef ALLOCATOR_MANGLED
};

static bool begins_with(const char *text, const char *beginning)
{
    while (*beginning && *text == *beginning) {
        text++;
        beginning++;
    }
    return *beginning == 0;
}

/* Rust's mangling has the name of its hooks within others. */
static bool has(const char *text, const char *part)
{
    for (; *text; text++) {
        if (begins_with(text, part)) {
            return true;
        }
    }
    return false;
}

static bool is_function(const char *name)
{
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        size_t length = 0;
        while (functions[i][length]) {
            length++;
        }
        if (begins_with(name, functions[i]) && name[length] == 0) {
            return true;
        }
    }
    return false;
}

bool allocator_is_named(const char *name)
{
    for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++) {
        if (begins_with(name, beginnings[i]) ||
            (beginnings[i][0] == '_' && has(name, beginnings[i]))) {
            return true;
        }
    }
    return is_function(name);
}

/* --- an object file --------------------------------------------------------------------------- */

struct object {
    int fd;
    char *buffer;
    const struct ledger_module *module;
    Elf64_Ehdr header;
};

static bool read_at(const struct object *object, uint64_t offset, void *to, uint64_t size)
{
    return raw_syscall4(SYS_pread64, object->fd, to, size, offset) == (long)size;
}

static bool read_section(const struct object *object, unsigned index, Elf64_Shdr *section)
{
    return index < object->header.e_shnum &&
           read_at(object, object->header.e_shoff + (uint64_t)index * sizeof(*section), section,
                   sizeof(*section));
}

/* A name that does not fit is cut: what is looked for is short. */
static bool read_name(const struct object *object, const Elf64_Shdr *strings, uint32_t at,
                      char *name)
{
    uint64_t left = at < strings->sh_size ? strings->sh_size - at : 0;
    uint64_t size = left < NAME_MAX_SIZE - 1 ? left : NAME_MAX_SIZE - 1;
    if (size == 0 || !read_at(object, strings->sh_offset + at, name, size)) {
        return false;
    }
    name[size] = 0;
    return true;
}

/* The build-id that the ledger has must be the file's: another may lie there by now. */
static bool is_that_file(const struct object *object)
{
    const struct ledger_module *module = object->module;
    for (unsigned i = 0; module->build_id_len && i < object->header.e_shnum; i++) {
        Elf64_Shdr section;
        Elf64_Nhdr note;
        uint8_t id[sizeof(module->build_id)];
        if (!read_section(object, i, &section)) {
            return false;
        }
        if (section.sh_type != SHT_NOTE ||
            !read_at(object, section.sh_offset, &note, sizeof note) ||
            note.n_type != NT_GNU_BUILD_ID || note.n_descsz != module->build_id_len ||
            note.n_descsz > sizeof id ||
            !read_at(object, section.sh_offset + sizeof note + ((note.n_namesz + 3) & ~3u), id,
                     note.n_descsz)) {
            continue;
        }
        unsigned same = 0;
        while (same < note.n_descsz && id[same] == module->build_id[same]) {
            same++;
        }
        return same == note.n_descsz;
    }
    return module->build_id_len == 0;
}

/* What is known of the addresses that lie in this object. */
struct wanted {
    uint64_t address[LEDGER_FRAMES_MAX]; /* in the file's own terms */
    bool named[LEDGER_FRAMES_MAX];
    unsigned count;
    bool is_allocator; /* one of the names is an allocator's */
    bool defines_one;  /* the object has such a function */
    bool is_libc;      /* which has, too, and maps for it past every wrapper */
};

static void look_at_symbol(const struct object *object, const Elf64_Shdr *strings,
                           const Elf64_Sym *symbol, bool dynamic, struct wanted *wanted)
{
    unsigned type = ELF64_ST_TYPE(symbol->st_info);
    char name[NAME_MAX_SIZE];
    bool is_wanted = false;
    if ((type != STT_FUNC && type != STT_GNU_IFUNC) || symbol->st_shndx == SHN_UNDEF) {
        return;
    }
    for (unsigned i = 0; i < wanted->count; i++) {
        if (wanted->address[i] >= symbol->st_value &&
            wanted->address[i] < symbol->st_value + symbol->st_size) {
            is_wanted = wanted->named[i] = true;
        }
    }
    if ((is_wanted || (dynamic && !wanted->is_libc)) &&
        read_name(object, strings, symbol->st_name, name)) {
        wanted->is_allocator |= is_wanted && allocator_is_named(name);
        wanted->defines_one |= is_function(name);
        wanted->is_libc |= begins_with(name, "__libc_start_main");
    }
}

static bool look_at_table(const struct object *object, const Elf64_Shdr *table,
                          struct wanted *wanted)
{
    Elf64_Shdr strings;
    const uint64_t most = ALLOCATOR_BUFFER / sizeof(Elf64_Sym);
    uint64_t count = table->sh_size / sizeof(Elf64_Sym);
    if (!read_section(object, table->sh_link, &strings)) {
        return false;
    }
    for (uint64_t from = 0; from < count; from += most) {
        uint64_t part = count - from < most ? count - from : most;
        if (!read_at(object, table->sh_offset + from * sizeof(Elf64_Sym), object->buffer,
                     part * sizeof(Elf64_Sym))) {
            return false;
        }
        for (uint64_t i = 0; i < part; i++) {
            Elf64_Sym symbol = ((const Elf64_Sym *)(const void *)object->buffer)[i];
            look_at_symbol(object, &strings, &symbol, table->sh_type == SHT_DYNSYM, wanted);
        }
    }
    return true;
}

static bool look_at_object(const struct object *object, struct wanted *wanted)
{
    bool read = false;
    for (unsigned i = 0; i < object->header.e_shnum; i++) {
        Elf64_Shdr section;
        if (!read_section(object, i, &section)) {
            return false;
        }
        if (section.sh_type == SHT_SYMTAB || section.sh_type == SHT_DYNSYM) {
            read = look_at_table(object, &section, wanted);
            if (!read) {
                return false;
            }
        }
    }
    return read;
}

static bool open_object(const struct ledger *ledger, struct object *object)
{
    const char *path = ledger_at(ledger, LEDGER_STRINGS, object->module->path);
    long fd =
        path ? raw_syscall4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0) : -1;
    if (raw_failed(fd)) {
        return false;
    }
    object->fd = (int)fd;
    const unsigned char *ident = object->header.e_ident;
    bool good = read_at(object, 0, &object->header, sizeof(object->header)) &&
                ident[EI_MAG0] == ELFMAG0 && ident[EI_MAG1] == ELFMAG1 &&
                ident[EI_MAG2] == ELFMAG2 && ident[EI_MAG3] == ELFMAG3 &&
                ident[EI_CLASS] == ELFCLASS64 && object->header.e_shentsize == sizeof(Elf64_Shdr) &&
                is_that_file(object);
    if (!good) {
        raw_syscall1(SYS_close, fd);
    }
    return good;
}

/* --- stacks ----------------------------------------------------------------------------------- */

static const struct ledger_module *module_of(const struct ledger *ledger, uint64_t address)
{
    uint64_t used = __atomic_load_n(&ledger->header->used[LEDGER_MODULES], __ATOMIC_ACQUIRE);
    for (uint32_t i = 1; i < used; i++) {
        const struct ledger_module *module = ledger_at(ledger, LEDGER_MODULES, i);
        if (module && __atomic_load_n(&module->state, __ATOMIC_ACQUIRE) == LEDGER_LIVE &&
            address >= module->start && address < module->end) {
            return module;
        }
    }
    return NULL;
}

static uint64_t address_of(uint64_t frame)
{
    return frame & LEDGER_FRAME_EXACT ? frame & ~LEDGER_FRAME_EXACT : frame - 1;
}

/* All frames of one object at a time, at the first of them. */
static bool object_allocates(struct allocator *allocator, const struct ledger *ledger,
                             const struct ledger_module *module, const uint64_t *frames,
                             unsigned count)
{
    struct object object = {.buffer = allocator->buffer, .module = module};
    struct wanted wanted = {.count = 0};
    for (unsigned i = 0; i < count; i++) {
        uint64_t address = address_of(frames[i]);
        if (address >= module->start && address < module->end) {
            wanted.address[wanted.count++] = address - module->bias;
        }
    }
    if (!open_object(ledger, &object)) {
        return true;
    }
    bool known = look_at_object(&object, &wanted);
    raw_syscall1(SYS_close, object.fd);
    for (unsigned i = 0; i < wanted.count; i++) {
        if (!wanted.named[i] && wanted.defines_one && !wanted.is_libc) {
            return true;
        }
    }
    return !known || wanted.is_allocator;
}

static bool stack_allocates(struct allocator *allocator, const struct ledger *ledger,
                            uint32_t index)
{
    const struct ledger_stack *stack = ledger_stack(ledger, index);
    const uint64_t *frames = stack ? ledger_at(ledger, LEDGER_FRAMES, stack->first_frame) : NULL;
    if (!frames) {
        return true;
    }
    for (unsigned i = 0; i < stack->frames; i++) {
        const struct ledger_module *module = module_of(ledger, address_of(frames[i]));
        bool seen = false;
        for (unsigned k = 0; k < i && module; k++) {
            uint64_t before = address_of(frames[k]);
            seen |= before >= module->start && before < module->end;
        }
        if (!module ||
            (!seen && object_allocates(allocator, ledger, module, frames, stack->frames))) {
            return true;
        }
    }
    return false;
}

bool allocator_made(struct allocator *allocator, const struct ledger *ledger, uint32_t stack)
{
    struct allocator_stack *place = &allocator->stacks[stack % ALLOCATOR_STACKS];
    if (stack == 0) {
        return true;
    }
    if (place->stack != stack) {
        place->made = stack_allocates(allocator, ledger, stack);
        place->stack = stack;
    }
    return place->made;
}
