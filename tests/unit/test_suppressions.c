/*
 * test_suppressions.c: LeakSanitizer's format as we take it: patterns, budgets, the opposite, and
 * errors that name their line.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "report/report.h"

static struct symbols_frame frames[] = {
    {.function = "inject_fd_and_send", .file = "/src/inject.c", .object = "/usr/lib/libbox.so"},
    {.function = "vm::Sandbox::run(int, char const*)", .file = "", .object = "/usr/bin/supervisor"},
};
static const struct symbols_stack stack = {.frames = frames, .count = 2};

static struct report_finding finding_of(uint64_t count)
{
    return (struct report_finding){.verdict = REPORT_LEAKED,
                                   .resource = REPORT_FD,
                                   .what = "memfd:cpuinfo",
                                   .count = count,
                                   .bytes = 10,
                                   .stack = &stack,
                                   .names = {"/memfd:cpuinfo"},
                                   .name_count = 1};
}

static bool parse(struct suppressions *suppressions, const char *text, struct failure *failure)
{
    *suppressions = (struct suppressions){0};
    return suppressions_parse(suppressions, "S", text, strlen(text), failure);
}

/* Whether one finding of `count` is hidden by a file of this text. */
static bool hides(const char *text, uint64_t count)
{
    struct report_finding finding = finding_of(count);
    struct suppressions suppressions;
    struct failure failure = {0};
    bool hidden;

    if (!parse(&suppressions, text, &failure))
        fail_msg("%s", failure.text);
    suppressions_count(&suppressions, &finding, false);
    hidden = suppressions_hide(&suppressions, &finding, false);
    suppressions_free(&suppressions);
    return hidden;
}

static void patterns_match_as_the_sanitizers_do(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool match;
    } cases[] = {
        {"foo", "xfoox", true},
        {"foo", "fo", false},
        {"^foo", "foox", true},
        {"^foo", "xfoo", false},
        {"foo$", "xfoo", true},
        {"foo$", "foox", false},
        {"^foo$", "foo", true},
        {"^foo$", "fooo", false},
        {"f*o", "xfxxox", true},
        {"^f*o$", "fxxo", true},
        {"^f*o$", "fxxox", false},
        {"*", "", true},
        {"^*$", "anything", true},
        {"a*b*c", "xaxbxcx", true},
        {"a*b*c", "xaxcxb", false},
        {"aab", "aaab", true},
        {"", "x", true},
        {"^", "x", true},
        {"x$y", "x$y", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (suppressions_match(cases[i].pattern, cases[i].text) != cases[i].match)
            fail_msg("%s on %s", cases[i].pattern, cases[i].text);
}

static void all_that_a_finding_has_can_be_matched(void **state)
{
    (void)state;
    assert_true(hides("leak:inject_fd", 1));                          /* function */
    assert_true(hides("leak:^/src/inject.c$", 1));                    /* source file */
    assert_true(hides("leak:libbox.so", 1));                          /* object */
    assert_true(hides("leak:^memfd:cpu*", 1));                        /* resource */
    assert_true(hides("leak:vm::Sandbox::run(int, char const*)", 1)); /* spaces and stars */
    assert_false(hides("leak:^inject$", 1));
    assert_false(hides("leak:meminfo", 1));
}

static void comments_and_empty_files_are_valid(void **state)
{
    (void)state;
    assert_false(hides("", 1));
    assert_false(hides("\n\n  \n# leak:inject\n   # leak:inject\n", 1));
    assert_true(hides("# first\r\n  leak:inject  \r\n", 1));
    assert_true(hides("leak:inject", 1)); /* no newline at the end */
}

static void a_budget_hides_up_to_its_sum_and_nothing_beyond(void **state)
{
    struct report_finding two = finding_of(2), three = finding_of(3);
    struct suppressions suppressions;
    struct failure failure = {0};

    (void)state;
    assert_true(hides("leak:inject max:4", 4));
    assert_false(hides("leak:inject max:4", 5));
    assert_true(hides("leak:inject \t max:0\nleak:memfd", 5)); /* another one has no budget */
    /* It is about all that it matches, together. */
    assert_true(parse(&suppressions, "leak:inject max:4", &failure));
    suppressions_count(&suppressions, &two, false);
    suppressions_count(&suppressions, &three, false);
    assert_false(suppressions_hide(&suppressions, &two, false));
    assert_true(suppressions.items[0].exceeded);
    /* And about one process: the next starts anew. */
    suppressions_begin(&suppressions);
    suppressions_count(&suppressions, &two, false);
    assert_true(suppressions_hide(&suppressions, &two, false));
    assert_int_equal(suppressions.items[0].totals[0].count, 7);
    suppressions_free(&suppressions);
}

static void only_hides_the_rest(void **state)
{
    (void)state;
    assert_false(hides("only:inject", 1));
    assert_true(hides("only:something else", 1));
    assert_false(hides("only:something else\nonly:memfd", 1));
    assert_true(hides("only:inject\nleak:libbox", 1)); /* wanted, and suppressed */
}

static void an_error_names_its_line(void **state)
{
    static const char *const wrong[][2] = {
        {"leak:x\nrace:y", "S:2: "},
        {"leak", "S:1: "},
        {"leak:", "S:1: "},
        {"\n\nleak: max:3", "S:3: "},
        {"leak:x max:", "S:1: "},
        {"leak:x max:3y", "S:1: "},
        {"leak:x max:-1", "S:1: "},
        {"only:x max:3", "S:1: "},
        {"leak:x max:99999999999999999999999", "S:1: "},
    };

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct suppressions suppressions;
        struct failure failure = {0};

        if (parse(&suppressions, wrong[i][0], &failure))
            fail_msg("%s was taken", wrong[i][0]);
        assert_int_equal(strncmp(failure.text, wrong[i][1], strlen(wrong[i][1])), 0);
        suppressions_free(&suppressions);
    }
}

static void a_file_that_cannot_be_read_is_an_error(void **state)
{
    struct suppressions suppressions = {0};
    struct failure failure = {0};

    (void)state;
    assert_false(suppressions_load(&suppressions, "/nonexistent/suppressions", &failure));
    assert_non_null(strstr(failure.text, "/nonexistent/suppressions"));
    assert_false(suppressions_load(&suppressions, "/", &failure));
    assert_true(suppressions_load(&suppressions, "/dev/null", &failure));
    assert_int_equal(suppressions.count, 0);
    suppressions_free(&suppressions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_as_the_sanitizers_do),
        cmocka_unit_test(all_that_a_finding_has_can_be_matched),
        cmocka_unit_test(comments_and_empty_files_are_valid),
        cmocka_unit_test(a_budget_hides_up_to_its_sum_and_nothing_beyond),
        cmocka_unit_test(only_hides_the_rest),
        cmocka_unit_test(an_error_names_its_line),
        cmocka_unit_test(a_file_that_cannot_be_read_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
