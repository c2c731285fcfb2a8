/*
 * test_baseline.c: what identifies a finding, whatever a compiler or a distribution makes of its
 * names, and baselines and escapes of all kinds of bytes.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "report/baseline.h"
#include "report/escape.h"

static struct report_finding finding_of(struct symbols_stack *stack)
{
    return (struct report_finding){
        .verdict = REPORT_LEAKED,
        .resource = REPORT_FD,
        .what = "memfd",
        .count = 3,
        .stack = stack,
    };
}

/* The function's name as a baseline has it. */
static const char *known_as(struct arena *arena, const char *function, const char *object)
{
    struct symbols_frame frame = {.function = function, .object = object, .file = "x.c", .line = 9};
    struct symbols_stack stack = {.frames = &frame, .count = 1};
    struct report_finding finding = finding_of(&stack);
    struct baseline_entry entry = baseline_entry_of(arena, &finding);

    return entry.depth ? entry.stack[0] : "";
}

static void names_are_as_written(void **state)
{
    static const char *const names[][2] = {
        {"take", "take"},
        {"take.constprop.0", "take"},
        {"take.isra.0.constprop.1", "take"},
        {"take.part.0", "take"},
        {"take.cold", "take"},
        {"take.lto_priv.0", "take"},
        {"take.llvm.1234567", "take"},
        {"take(int) [clone .isra.0]", "take(int)"},
        {"take(int) [clone .cold]", "take(int)"},
        {"box::{{closure}}", "box::{{closure}}"},
        {"box::part.rs", "box::part.rs"},
        {"main.take", "main.take"},
        {"", "(libbox.so.1)"},
        {"caf\xe9", "caf\\xe9"},
        {"caf\xc3\xa9", "caf\xc3\xa9"},
    };
    struct arena arena = {0};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_string_equal(known_as(&arena, names[i][0], "/opt/libbox.so.1"), names[i][1]);
    arena_free(&arena);
}

static void frames_of_libc_are_left_out(void **state)
{
    static const char *const objects[] = {"/lib/x86_64-linux-gnu/libc.so.6", "/lib/libc-2.31.so",
                                          "/lib64/ld-linux-x86-64.so.2", "/lib/libpthread-2.31.so"};
    struct arena arena = {0};

    (void)state;
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
        assert_string_equal(known_as(&arena, "__libc_start_main", objects[i]), "");
    assert_string_equal(known_as(&arena, "_start", "/usr/bin/box"), "");
    assert_string_equal(known_as(&arena, "start", "/opt/libcbox.so"), "start");
    arena_free(&arena);
}

/* Two findings that differ in one thing only. */
static void everything_else_tells_findings_apart(void **state)
{
    struct symbols_frame frames[] = {{.function = "take", .object = "a", .file = "x.c", .line = 1},
                                     {.function = "main", .object = "a", .file = "x.c", .line = 2}};
    struct symbols_frame others[] = {{.function = "take", .object = "b", .file = "y.c", .line = 8},
                                     {.function = "main", .object = "b", .file = "y.c", .line = 9}};
    struct symbols_frame longer[] = {{.function = "takemain", .object = "a", .file = ""}};
    struct symbols_stack stack = {.frames = frames, .count = 2};
    struct symbols_stack moved = {.frames = others, .count = 2};
    struct symbols_stack shorter = {.frames = frames, .count = 1};
    struct symbols_stack joined = {.frames = longer, .count = 1};
    struct report_finding one = finding_of(&stack), same = finding_of(&moved), other;
    struct arena arena = {0};
    const char *key;

    (void)state;
    key = baseline_entry_of(&arena, &one).key;
    same.count = 99;
    same.bytes = 7;
    same.owners = 3;
    assert_string_equal(baseline_entry_of(&arena, &same).key, key);
    other = one;
    other.verdict = REPORT_DOUBLE_CLOSE;
    assert_string_not_equal(baseline_entry_of(&arena, &other).key, key);
    other = one;
    other.resource = REPORT_MAPPING;
    assert_string_not_equal(baseline_entry_of(&arena, &other).key, key);
    other = one;
    other.what = "memfd:box";
    assert_string_not_equal(baseline_entry_of(&arena, &other).key, key);
    other = one;
    other.stack = &shorter;
    assert_string_not_equal(baseline_entry_of(&arena, &other).key, key);
    other.stack = &joined;
    assert_string_not_equal(baseline_entry_of(&arena, &other).key, key);
    other.stack = NULL;
    assert_string_not_equal(baseline_entry_of(&arena, &other).key, key);
    arena_free(&arena);
}

/* What is written is read again, and no part of it, nor any with a byte changed, is more than an
 * error. */
static void what_is_written_is_read(void **state)
{
    struct symbols_frame frames[] = {{.function = "a\"b\\c\n\x1f", .object = "a", .file = ""},
                                     {.function = "\xff\xfe", .object = "a", .file = ""}};
    struct symbols_stack stack = {.frames = frames, .count = 2};
    struct report_finding finding = finding_of(&stack);
    struct baseline baseline = {0};
    struct baseline_entry entries[2];
    struct failure failure = {0};
    struct arena arena = {0};
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    (void)state;
    assert_non_null(out);
    entries[0] = baseline_entry_of(&arena, &finding);
    finding.verdict = REPORT_GROWING;
    finding.rate = 1.25;
    entries[1] = baseline_entry_of(&arena, &finding);
    assert_true(baseline_write(out, "box", entries, 2));
    assert_int_equal(fclose(out), 0);
    assert_true(baseline_parse(&baseline, "x", text, length, "box", &failure));
    assert_int_equal(baseline.count, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct baseline_entry *found = baseline_find(&baseline, &entries[i]);

        assert_non_null(found);
        assert_int_equal(found->count, entries[i].count);
        assert_true(found->rate == entries[i].rate);
    }
    baseline_free(&baseline);
    for (size_t cut = 0; cut + 2 < length; cut++) {
        failure.text[0] = '\0';
        assert_false(baseline_parse(&baseline, "x", text, cut, "box", &failure));
        assert_true(failure.text[0] != '\0');
        baseline_free(&baseline);
    }
    for (size_t at = 0; at < length; at++) {
        static const char bytes[] = "\0\xff\"{[]}9-";

        for (size_t i = 0; i < sizeof bytes - 1; i++) {
            char before = text[at];

            text[at] = bytes[i];
            failure.text[0] = '\0';
            if (!baseline_parse(&baseline, "x", text, length, "box", &failure))
                assert_true(failure.text[0] != '\0');
            baseline_free(&baseline);
            text[at] = before;
        }
    }
    free(text);
    arena_free(&arena);
}

static void utf8_is_told_from_bytes(void **state)
{
    static const char *const good[] = {"",
                                       "a",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[][2] = {
        {"\x80", "\\x80"},
        {"a\xc2", "a\\xc2"},
        {"\xc1\xbf", "\\xc1\\xbf"},
        {"\xe0\x9f\xbf", "\\xe0\\x9f\\xbf"},
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},
        {"\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf"},
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
        {"\xf8\x88\x80\x80\x80", "\\xf8\\x88\\x80\\x80\\x80"},
    };
    struct arena arena = {0};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_ptr_equal(escape_utf8(&arena, good[i]), good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_string_equal(escape_utf8(&arena, bad[i][0]), bad[i][1]);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_as_written),
        cmocka_unit_test(frames_of_libc_are_left_out),
        cmocka_unit_test(everything_else_tells_findings_apart),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(utf8_is_told_from_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
