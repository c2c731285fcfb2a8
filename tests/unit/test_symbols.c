/*
 * test_symbols.c: functions, files, lines and inlined calls of this very program, found through a
 * ledger that names it; and that nothing is found where the file is not the one that ran.
 */
#include <elf.h>
#include <limits.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ledger_writer.h"
#include "report/symbols.h"

struct own {
    uint64_t start, end, bias;
    const uint8_t *build_id;
    uint8_t build_id_len;
    char path[PATH_MAX];
};

static int note_own(struct dl_phdr_info *info, size_t size, void *context)
{
    struct own *own = context;

    (void)size;
    own->bias = info->dlpi_addr;
    own->start = UINT64_MAX;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uint64_t start = info->dlpi_addr + segment->p_vaddr;

        if (segment->p_type == PT_LOAD) {
            own->start = start < own->start ? start : own->start;
            own->end = start + segment->p_memsz > own->end ? start + segment->p_memsz : own->end;
        } else if (segment->p_type == PT_NOTE) {
            const char *at = (const char *)(uintptr_t)start, *end = at + segment->p_memsz;

            while (at + sizeof(ElfW(Nhdr)) <= end) {
                const ElfW(Nhdr) *note = (const void *)at;
                const char *name = at + sizeof *note;
                const char *value = name + ((note->n_namesz + 3u) & ~3u);

                if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
                    memcmp(name, "GNU", 4) == 0) {
                    own->build_id = (const uint8_t *)value;
                    own->build_id_len = (uint8_t)note->n_descsz;
                }
                at = value + ((note->n_descsz + 3u) & ~3u);
            }
        }
    }
    return 1; /* the first is the program itself */
}

static uintptr_t called_from;

static __attribute__((noinline)) void note_caller(void)
{
    called_from = (uintptr_t)__builtin_return_address(0);
    __asm__ volatile("");
}

static inline __attribute__((always_inline)) void inlined_function(void)
{
    note_caller();
    __asm__ volatile("");
}

static __attribute__((noinline)) void outer_function(void)
{
    inlined_function();
    __asm__ volatile("");
}

/* The stack of one frame, the call in inlined_function, in a ledger whose module is this program;
 * `build_id` NULL for none. */
static const struct symbols_stack *resolve(struct symbols *symbols, struct reader **reader,
                                           const uint8_t *build_id, bool exact)
{
    struct ledger_writer writer;
    struct failure failure = {0};
    struct ledger_module *module;
    struct own own = {0};
    ssize_t length;
    uint32_t stack;
    int fd;

    (void)dl_iterate_phdr(note_own, &own);
    length = readlink("/proc/self/exe", own.path, sizeof own.path - 1);
    own.path[length > 0 ? length : 0] = '\0';
    outer_function();
    writer_begin(&writer);
    module = writer_record(&writer, LEDGER_MODULES,
                           writer_module(&writer, own.path, own.start, own.end));
    module->bias = own.bias;
    if (build_id) {
        module->build_id_len = own.build_id_len;
        for (unsigned i = 0; i < own.build_id_len && i < sizeof module->build_id; i++)
            module->build_id[i] = (uint8_t)(own.build_id[i] ^ *build_id);
    }
    stack = writer_stack(&writer,
                         (const uint64_t[]){called_from | (exact ? LEDGER_FRAME_EXACT : 0), 0});
    (void)writer_fd(&writer, 7, LEDGER_FD_FILE, stack);
    fd = writer_open(&writer);
    *reader = reader_open_fd(fd, "L", &failure);
    close(fd);
    writer_end(&writer);
    assert_non_null(*reader);
    return symbols_resolve(symbols, *reader, stack);
}

static void inlined_calls_are_expanded_with_their_lines(void **state)
{
    static const uint8_t same = 0;
    struct symbols *symbols = symbols_new();
    const struct symbols_stack *stack;
    struct reader *reader;

    (void)state;
    stack = resolve(symbols, &reader, &same, false);
    assert_non_null(stack);
    if (!stack->frames[0].file[0]) {
        symbols_free(symbols);
        reader_close(reader);
        skip(); /* built without -g */
    }
    assert_int_equal(stack->count, 2);
    assert_string_equal(stack->frames[0].function, "inlined_function");
    assert_true(stack->frames[0].inlined);
    assert_non_null(strstr(stack->frames[0].file, "test_symbols.c"));
    assert_string_equal(stack->frames[1].function, "outer_function");
    assert_false(stack->frames[1].inlined);
    assert_true(stack->frames[0].line < stack->frames[1].line);
    assert_int_equal(stack->frames[0].pc, called_from - 1);
    reader_close(reader);
    symbols_free(symbols);
}

static void what_was_read_ahead_makes_the_same_names(void **state)
{
    struct symbols *symbols = symbols_new(), *ahead = symbols_new();
    const struct symbols_stack *stack, *same;
    const struct ledger_fd *held;
    struct reader *reader;

    (void)state;
    stack = resolve(symbols, &reader, NULL, false);
    held = reader_record(reader, LEDGER_FDS, 7);
    symbols_read_ahead(ahead, reader);
    same = symbols_resolve(ahead, reader, held->stack);
    assert_non_null(stack);
    assert_non_null(same);
    assert_int_equal(same->count, stack->count);
    for (size_t i = 0; i < stack->count; i++) {
        assert_string_equal(same->frames[i].function, stack->frames[i].function);
        assert_string_equal(same->frames[i].file, stack->frames[i].file);
        assert_int_equal(same->frames[i].line, stack->frames[i].line);
    }
    reader_close(reader);
    symbols_free(ahead);
    symbols_free(symbols);
}

static void an_interrupted_instruction_is_looked_up_itself(void **state)
{
    struct symbols *symbols = symbols_new();
    const struct symbols_stack *stack;
    struct reader *reader;

    (void)state;
    stack = resolve(symbols, &reader, NULL, true);
    assert_non_null(stack);
    assert_int_equal(stack->frames[0].pc, called_from);
    reader_close(reader);
    symbols_free(symbols);
}

static void another_build_of_the_file_gives_no_names(void **state)
{
    static const uint8_t other = 0x5a;
    struct symbols *symbols = symbols_new();
    const struct symbols_stack *stack;
    struct reader *reader;
    struct own own = {0};

    (void)state;
    (void)dl_iterate_phdr(note_own, &own);
    if (own.build_id_len == 0)
        skip(); /* linked without a build-id */
    stack = resolve(symbols, &reader, &other, false);
    assert_non_null(stack);
    assert_int_equal(stack->count, 1);
    assert_string_equal(stack->frames[0].function, "");
    assert_string_equal(stack->frames[0].file, "");
    assert_true(stack->frames[0].object[0] == '/');
    assert_int_equal(stack->frames[0].offset, called_from - 1 - own.bias);
    reader_close(reader);
    symbols_free(symbols);
}

static void code_outside_of_all_modules_has_only_an_address(void **state)
{
    struct symbols *symbols = symbols_new();
    const struct symbols_stack *stack;
    struct ledger_writer writer;
    struct failure failure = {0};
    struct reader *reader;
    uint32_t index;
    int fd;

    (void)state;
    writer_begin(&writer);
    (void)writer_module(&writer, "/etc/passwd", 0x1000, 0x2000); /* not even an object */
    (void)writer_module(&writer, "/dev/zero", 0x3000, 0x4000);
    index = writer_stack(&writer, (const uint64_t[]){0x1010, 0x2010, 0x3010, 0});
    fd = writer_open(&writer);
    reader = reader_open_fd(fd, "L", &failure);
    close(fd);
    writer_end(&writer);
    stack = symbols_resolve(symbols, reader, index);
    assert_int_equal(stack->count, 3);
    assert_string_equal(stack->frames[0].object, "/etc/passwd");
    assert_int_equal(stack->frames[0].offset, 0xf);
    assert_string_equal(stack->frames[1].object, "");
    assert_int_equal(stack->frames[1].pc, 0x200f);
    assert_string_equal(stack->frames[2].function, "");
    reader_close(reader);
    symbols_free(symbols);
}

static void one_place_is_the_innermost_outside_of_the_c_library(void **state)
{
    struct symbols *symbols = symbols_new();
    const struct symbols_stack *stack;
    struct ledger_writer writer;
    struct failure failure = {0};
    struct reader *reader;
    uint32_t index, inside;
    int fd;

    (void)state;
    writer_begin(&writer);
    (void)writer_module(&writer, "/none/libc.so.6", 0x1000, 0x2000);
    (void)writer_module(&writer, "/none/program", 0x3000, 0x4000);
    index = writer_stack(&writer, (const uint64_t[]){0x1010, 0x3010, 0x3020, 0x1020, 0});
    inside = writer_stack(&writer, (const uint64_t[]){0x1010, 0x1020, 0});
    fd = writer_open(&writer);
    reader = reader_open_fd(fd, "L", &failure);
    close(fd);
    writer_end(&writer);
    symbols_name_one_place(symbols);
    stack = symbols_resolve(symbols, reader, index);
    assert_int_equal(stack->count, 1);
    assert_int_equal(stack->frames[0].offset, 0xf);
    assert_string_equal(stack->frames[0].object, "/none/program");
    assert_int_equal(symbols_resolve(symbols, reader, inside)->count, 0);
    reader_close(reader);
    symbols_free(symbols);
}

static void names_of_cxx_and_both_manglings_of_rust_are_demangled(void **state)
{
    static const char *const names[][2] = {
        {"main", "main"},
        {"_start", "_start"},
        {"_ZN2vm7Sandbox3runEiPKc", "vm::Sandbox::run(int, char const*)"},
        {"_ZN3std2io5Write9write_fmt17h0123456789abcdefE", "std::io::Write::write_fmt"},
        {"_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"},
        {"_Znonsense", "_Znonsense"},
        {"_R", "_R"},
    };
    struct arena arena = {0};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_string_equal(symbols_demangle(&arena, names[i][0]), names[i][1]);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inlined_calls_are_expanded_with_their_lines),
        cmocka_unit_test(what_was_read_ahead_makes_the_same_names),
        cmocka_unit_test(an_interrupted_instruction_is_looked_up_itself),
        cmocka_unit_test(another_build_of_the_file_gives_no_names),
        cmocka_unit_test(code_outside_of_all_modules_has_only_an_address),
        cmocka_unit_test(one_place_is_the_innermost_outside_of_the_c_library),
        cmocka_unit_test(names_of_cxx_and_both_manglings_of_rust_are_demangled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
