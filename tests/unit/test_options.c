/*
 * test_options.c: the options' text form, which the shim reads in its constructor: what it takes,
 * what it complains of, and that a complaint changes nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "options.h"

struct complaints {
    unsigned count;
    struct options_complaint last;
};

static void note(void *context, const struct options_complaint *complaint)
{
    struct complaints *complaints = context;

    complaints->count++;
    complaints->last = *complaint;
}

static struct complaints parse(struct options *options, const char *text)
{
    struct complaints complaints = {0};
    unsigned count;

    options_init(options);
    count = options_parse(options, text, strlen(text), OPTIONS_SHIM | OPTIONS_COMMAND, note,
                          &complaints);
    assert_int_equal(count, complaints.count);
    return complaints;
}

static void assert_text(struct options_text text, const char *expected)
{
    assert_int_equal(text.length, strlen(expected));
    assert_memory_equal(text.text, expected, text.length);
}

static void all_forms_of_a_text_are_taken(void **state)
{
    struct options options;

    (void)state;
    assert_int_equal(
        parse(&options, "ledger='/a b:c':live,verbosity=2 report=\"x'y\"\n:error_exitcode=23")
            .count,
        0);
    assert_text(options.ledger, "/a b:c");
    assert_text(options.report, "x'y");
    assert_true(options.live);
    assert_int_equal(options.verbosity, 2);
    assert_int_equal(options.error_exitcode, 23);
}

static void nothing_written_leaves_the_defaults(void **state)
{
    struct options options;

    (void)state;
    assert_int_equal(parse(&options, "").count, 0);
    assert_int_equal(parse(&options, " :,:\n").count, 0);
    assert_false(options.live);
    assert_true(options.print_suppressions);
    assert_int_equal(options.exit_wait_ms, 2000);
    assert_null(options.ledger.text);
    assert_int_equal(options.given, 0);
}

static void a_switch_is_taken_in_the_sanitizers_words(void **state)
{
    static const char *const on[] = {"live", "live=1", "live=true", "live=yes"};
    static const char *const off[] = {"live=0", "live=false", "live=no"};
    struct options options;

    (void)state;
    for (size_t i = 0; i < sizeof on / sizeof *on; i++) {
        assert_int_equal(parse(&options, on[i]).count, 0);
        assert_true(options.live);
    }
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        assert_int_equal(parse(&options, off[i]).count, 0);
        assert_false(options.live);
        assert_true(options_given(&options, OPTIONS_KEY_live));
    }
    assert_int_equal(parse(&options, "live=on").last.problem, OPTIONS_NOT_A_SWITCH);
}

static void the_later_of_two_counts(void **state)
{
    struct options options;

    (void)state;
    assert_int_equal(parse(&options, "verbosity=1:verbosity=3").count, 0);
    assert_int_equal(options.verbosity, 3);
}

static void a_pattern_may_stand_alone(void **state)
{
    struct options options;

    (void)state;
    assert_int_equal(parse(&options, "follow").count, 0);
    assert_text(options.follow, "*");
    assert_int_equal(parse(&options, "follow=py*").count, 0);
    assert_text(options.follow, "py*");
    assert_int_equal(parse(&options, "follow=0").count, 0);
    assert_null(options.follow.text);
}

static void what_is_wrong_is_told_and_changes_nothing(void **state)
{
    static const struct {
        const char *text;
        enum options_problem problem;
        size_t position;
    } wrong[] = {
        {"nonsense", OPTIONS_UNKNOWN_KEY, 0},
        {"live:nonsense=1", OPTIONS_UNKNOWN_KEY, 5},
        {"=1", OPTIONS_UNKNOWN_KEY, 0},
        {"ledger", OPTIONS_NEEDS_VALUE, 0},
        {"ledger=", OPTIONS_NEEDS_VALUE, 0},
        {"ledger=''", OPTIONS_NEEDS_VALUE, 0},
        {"error_exitcode", OPTIONS_NEEDS_VALUE, 0},
        {"error_exitcode=256", OPTIONS_OUT_OF_RANGE, 0},
        {"error_exitcode=18446744073709551617", OPTIONS_OUT_OF_RANGE, 0},
        {"error_exitcode=-1", OPTIONS_NOT_A_NUMBER, 0},
        {"error_exitcode=1x", OPTIONS_NOT_A_NUMBER, 0},
        {"ledger='/x", OPTIONS_BAD_QUOTE, 0},
        {"ledger='/x'y", OPTIONS_BAD_QUOTE, 0},
        {"attach=/x", OPTIONS_NOT_FOR_YOU, 0},
    };
    struct options options, untouched;

    (void)state;
    options_init(&untouched);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct complaints complaints = parse(&options, wrong[i].text);

        assert_int_equal(complaints.count, 1);
        assert_int_equal(complaints.last.problem, wrong[i].problem);
        assert_int_equal(complaints.last.position, wrong[i].position);
        assert_int_equal(options.error_exitcode, 0);
        assert_null(options.ledger.text);
        assert_null(options.attach.text);
    }
}

static void a_size_may_have_a_unit(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"limit_bytes=0", 0},
        {"limit_bytes=4096", 4096},
        {"limit_bytes=3K", UINT64_C(3) << 10},
        {"limit_bytes=64m", UINT64_C(64) << 20},
        {"limit_bytes=131072G", UINT64_C(1) << 47},
    };
    static const struct {
        const char *text;
        enum options_problem problem;
    } wrong[] = {
        {"limit_bytes", OPTIONS_NEEDS_VALUE},
        {"limit_bytes=", OPTIONS_NEEDS_VALUE},
        {"limit_bytes=-1", OPTIONS_NOT_A_SIZE},
        {"limit_bytes=K", OPTIONS_NOT_A_SIZE},
        {"limit_bytes=1KB", OPTIONS_NOT_A_SIZE},
        {"limit_bytes=1.5G", OPTIONS_NOT_A_SIZE},
        {"limit_bytes=1 G", OPTIONS_UNKNOWN_KEY},
        {"limit_bytes=0x10", OPTIONS_NOT_A_SIZE},
        {"limit_fds=1K", OPTIONS_NOT_A_NUMBER},
        {"limit_bytes=131073G", OPTIONS_OUT_OF_RANGE},
        {"limit_vmas=-5", OPTIONS_NOT_A_NUMBER},
        {"reserve_fds=4294967296", OPTIONS_OUT_OF_RANGE},
        {"limit_bytes=99999999999999999999G", OPTIONS_OUT_OF_RANGE},
        {"limit_bytes=18446744073709551617", OPTIONS_OUT_OF_RANGE},
    };
    struct options options;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(parse(&options, good[i].text).count, 0);
        assert_int_equal(options.limit_bytes, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct complaints complaints = parse(&options, wrong[i].text);

        assert_int_equal(complaints.count, 1);
        assert_int_equal(complaints.last.problem, wrong[i].problem);
    }
    assert_int_equal(parse(&options, "").count, 0);
    assert_int_equal(options.quarantine_bytes, UINT64_C(64) << 20);
}

static void what_makes_no_sense_together_is_found(void **state)
{
    const struct options_host host = {.max_fds = 1024, .max_vmas = 65530, .page = 4096};
    static const struct {
        const char *text;
        enum options_key key;
    } wrong[] = {
        {"quarantine_fds=10", OPTIONS_KEY_quarantine_fds},
        {"reclaim=0:quarantine_bytes=1M", OPTIONS_KEY_quarantine_bytes},
        {"reserve_fds=1024", OPTIONS_KEY_reserve_fds},
        {"reserve_vmas=65530", OPTIONS_KEY_reserve_vmas},
        {"reclaim:quarantine_fds=1000:reserve_fds=24", OPTIONS_KEY_quarantine_fds},
        {"limit_bytes=4095", OPTIONS_KEY_limit_bytes},
    };
    static const char *const good[] = {
        "",
        "reclaim:quarantine_fds=1000:reserve_fds=23:quarantine_bytes=1M",
        "reserve_fds=1023:reserve_vmas=65529:limit_bytes=4096",
        "limit_fds=0:limit_vmas=0:limit_bytes=0:reserve_fds=0:reserve_vmas=0",
    };
    struct options options;
    enum options_key key;
    const char *why;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(parse(&options, wrong[i].text).count, 0);
        assert_true(options_contradiction(&options, &host, &key, &why));
        assert_int_equal(key, wrong[i].key);
        assert_true(strlen(why) > 0);
        options_forget(&options, key);
        assert_false(options_given(&options, key));
        assert_false(options_contradiction(&options, &host, &key, &why));
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(parse(&options, good[i]).count, 0);
        assert_false(options_contradiction(&options, &host, &key, &why));
    }
    /* Of a process whose limits nobody knows, nothing is too much. */
    assert_int_equal(parse(&options, "reserve_fds=1024:reserve_vmas=65530").count, 0);
    assert_false(options_contradiction(&options, &(struct options_host){0}, &key, &why));
}

static void what_is_forgotten_was_never_written(void **state)
{
    struct options options, untouched;

    (void)state;
    options_init(&untouched);
    assert_int_equal(
        parse(&options, "limit_bytes=1G:verbosity=2:live:ledger=/x:follow:quarantine_bytes=1")
            .count,
        0);
    for (unsigned i = 0; i < OPTIONS_KEYS; i++)
        options_forget(&options, (enum options_key)i);
    assert_int_equal(options.given, 0);
    assert_int_equal(options.limit_bytes, 0);
    assert_int_equal(options.quarantine_bytes, untouched.quarantine_bytes);
    assert_int_equal(options.verbosity, 0);
    assert_false(options.live);
    assert_null(options.ledger.text);
    assert_null(options.follow.text);
}

static void a_mistake_does_not_spoil_what_follows(void **state)
{
    struct options options;

    (void)state;
    assert_int_equal(
        parse(&options, "nonsense=2:ledger='x'y:live:verbosity=9:error_exitcode=7").count, 3);
    assert_true(options.live);
    assert_int_equal(options.error_exitcode, 7);
}

static void any_bytes_are_survived(void **state)
{
    char text[64];
    uint32_t random = 1;

    (void)state;
    for (unsigned round = 0; round < 200000; round++) {
        static const char alphabet[] = "livedgr=':\", \n01\\\0";
        struct options options;
        size_t length = round % sizeof text;

        for (size_t i = 0; i < length; i++) {
            random = random * 1664525u + 1013904223u;
            text[i] = alphabet[(random >> 16) % (sizeof alphabet - 1)];
        }
        options_init(&options);
        (void)options_parse(&options, text, length, OPTIONS_SHIM, NULL, NULL);
        if (options.ledger.text) {
            assert_true(options.ledger.text >= text);
            assert_true(options.ledger.text + options.ledger.length <= text + length);
        }
    }
}

static void dashes_are_underscores_on_a_command_line(void **state)
{
    struct options options;
    struct options_text key = {"error-exitcode", 14}, value = {"9", 1};

    (void)state;
    options_init(&options);
    assert_true(options_set(&options, key, value, OPTIONS_COMMAND, NULL, NULL));
    assert_int_equal(options.error_exitcode, 9);
}

static void names_are_matched_as_fnmatch_does(void **state)
{
    static const struct {
        const char *pattern, *name;
        bool match;
    } cases[] = {
        {"*", "", true},         {"*", "x", true},        {"a*b", "ab", true},
        {"a*b", "axxb", true},   {"a*b", "axxc", false},  {"a*b*c", "abbc", true},
        {"?", "", false},        {"??", "ab", true},      {"[a-c]x", "bx", true},
        {"[a-c]x", "dx", false}, {"[!a-c]x", "dx", true}, {"[]]", "]", true},
        {"[a", "[a", true},      {"\\*", "*", true},      {"\\*", "x", false},
        {"", "", true},          {"", "x", false},        {"python3*", "python3.11", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct options_text pattern = {cases[i].pattern, strlen(cases[i].pattern)};

        assert_int_equal(options_match(pattern, cases[i].name, strlen(cases[i].name)),
                         cases[i].match);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_forms_of_a_text_are_taken),
        cmocka_unit_test(nothing_written_leaves_the_defaults),
        cmocka_unit_test(a_switch_is_taken_in_the_sanitizers_words),
        cmocka_unit_test(the_later_of_two_counts),
        cmocka_unit_test(a_pattern_may_stand_alone),
        cmocka_unit_test(what_is_wrong_is_told_and_changes_nothing),
        cmocka_unit_test(a_size_may_have_a_unit),
        cmocka_unit_test(what_makes_no_sense_together_is_found),
        cmocka_unit_test(what_is_forgotten_was_never_written),
        cmocka_unit_test(a_mistake_does_not_spoil_what_follows),
        cmocka_unit_test(any_bytes_are_survived),
        cmocka_unit_test(dashes_are_underscores_on_a_command_line),
        cmocka_unit_test(names_are_matched_as_fnmatch_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
