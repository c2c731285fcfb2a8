/*
 * options.h: the options of the shim and of the command, which are the same keys.
 *
 * `BOXLEDGER_OPTIONS` is written as the sanitizers' options are: key=value, separated by colons
 * (also commas or white space); a value in ' or " may hold anything but that quote; a switch may
 * stand alone. options.def is the table.
 *
 * The parser runs in the shim's constructor: it never allocates, never touches errno or stdio,
 * and calls nothing but memcmp and strlen. Texts it hands out are slices of what it was given.
 */
#ifndef BOXLEDGER_OPTIONS_H
#define BOXLEDGER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A slice of somebody else's text; `text` is NULL where nothing was given. */
struct options_text {
    const char *text;
    size_t length;
};

enum options_scope {
    OPTIONS_SHIM = 1,
    OPTIONS_COMMAND = 2,
    OPTIONS_INTERNAL = 4, /* set by the command, read by the shim, never by a user */
};

#define OPTIONS_SIZE_MAX (UINT64_C(1) << 47) /* all that a process can map on x86-64 */

/* The values. Numbers are within their bounds whatever was parsed. */
struct options {
#define OPTION_SWITCH(name, scope, initial, help) bool name;
#define OPTION_NUMBER(name, scope, initial, min, max, help) uint32_t name;
#define OPTION_SIZE(name, scope, initial, min, max, help) uint64_t name;
#define OPTION_TEXT(name, scope, value_name, help) struct options_text name;
#define OPTION_PATTERN(name, scope, help) struct options_text name;
#include "options.def"
#undef OPTION_SWITCH
#undef OPTION_NUMBER
#undef OPTION_SIZE
#undef OPTION_TEXT
#undef OPTION_PATTERN
    uint64_t given; /* bit 1 << enum options_key: the key was written by somebody */
};

enum options_key {
#define OPTION_SWITCH(name, scope, initial, help) OPTIONS_KEY_##name,
#define OPTION_NUMBER(name, scope, initial, min, max, help) OPTIONS_KEY_##name,
#define OPTION_SIZE(name, scope, initial, min, max, help) OPTIONS_KEY_##name,
#define OPTION_TEXT(name, scope, value_name, help) OPTIONS_KEY_##name,
#define OPTION_PATTERN(name, scope, help) OPTIONS_KEY_##name,
#include "options.def"
#undef OPTION_SWITCH
#undef OPTION_NUMBER
#undef OPTION_SIZE
#undef OPTION_TEXT
#undef OPTION_PATTERN
    OPTIONS_KEYS
};

enum options_type {
    OPTIONS_TYPE_SWITCH,
    OPTIONS_TYPE_NUMBER,
    OPTIONS_TYPE_SIZE,
    OPTIONS_TYPE_TEXT,
    OPTIONS_TYPE_PATTERN,
};

/* A row of options.def. Strings are arrays, so that the table needs no relocation. */
struct options_row {
    char name[24];
    char value_name[16]; /* "" where a switch */
    char help[64];
    uint8_t type;    /* enum options_type */
    uint8_t scope;   /* enum options_scope, or'ed */
    uint16_t offset; /* in struct options */
    uint64_t min, max;
};
extern const struct options_row options_table[OPTIONS_KEYS];

enum options_problem {
    OPTIONS_UNKNOWN_KEY = 1,
    OPTIONS_NOT_FOR_YOU,  /* a key outside of the caller's scope; its value is not taken */
    OPTIONS_NEEDS_VALUE,  /* a bare key, or an empty value, where text or a number belongs */
    OPTIONS_NOT_A_SWITCH, /* not 0, 1, true, false, yes, no */
    OPTIONS_NOT_A_NUMBER, /* not decimal digits */
    OPTIONS_NOT_A_SIZE,   /* not decimal digits with nothing, K, M or G behind them */
    OPTIONS_OUT_OF_RANGE, /* see the row's min and max */
    OPTIONS_BAD_QUOTE,    /* a quote without its end, or text right after it */
};

/* What is wrong, where: `key` as written, `value` (or an empty slice), and the byte position of
 * the key in the text. `row` is NULL for an unknown key. */
struct options_complaint {
    enum options_problem problem;
    struct options_text key, value;
    size_t position;
    const struct options_row *row;
};
typedef void (*options_complain)(void *context, const struct options_complaint *complaint);

/* All defaults. */
void options_init(struct options *options);

/* Adds what `text` says to *options; of a key given twice the later one counts. What is wrong
 * with a key goes to `complain` (which may be NULL), leaves that option as it was, and parsing
 * goes on. Only keys within `scope` are taken. Returns how many complaints there were. The texts
 * in *options point into `text`. */
unsigned options_parse(struct options *options, const char *text, size_t length, unsigned scope,
                       options_complain complain, void *context);

/* One key, as --key=value on a command line: '-' counts as '_'. A value.text of NULL means that
 * the key stood alone; quotes in the value are part of it. Returns false after a complaint. */
bool options_set(struct options *options, struct options_text key, struct options_text value,
                 unsigned scope, options_complain complain, void *context);

/* "is not an option", "needs a value" ... : the end of a sentence that begins with the key. */
const char *options_problem_text(enum options_problem problem);

/* Whether `name` is like `pattern`, as fnmatch(3) without flags has it (`*`, `?`, `[a-z]`, `[!a]`,
 * `\`), on bytes, for the shim, which may not call fnmatch: that allocates. */
bool options_match(struct options_text pattern, const char *name, size_t length);

/* What a process may have as it starts; 0: not known. */
struct options_host {
    uint64_t max_fds;  /* soft RLIMIT_NOFILE */
    uint64_t max_vmas; /* vm.max_map_count */
    uint64_t page;     /* bytes */
};

/* Options that are good each by itself and make no sense together, or not in such a process.
 * False: there are none. Otherwise `*key` is one to do without, and `*why` the end of a sentence
 * that begins with it. */
bool options_contradiction(const struct options *options, const struct options_host *host,
                           enum options_key *key, const char **why);

/* The key as if nobody had written it. */
void options_forget(struct options *options, enum options_key key);

static inline bool options_given(const struct options *options, enum options_key key)
{
    return (options->given >> key & 1) != 0;
}

#endif
