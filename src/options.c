/*
 * options.c: reads options from text, for the shim and for the command.
 *
 * It never allocates, never sets errno, prints nothing and calls only memcmp, memcpy and strlen:
 * it runs in a preloaded library's constructor, inside somebody else's program.
 */
#include "options.h"

#include <string.h>

#define SHIM OPTIONS_SHIM
#define COMMAND OPTIONS_COMMAND
#define INTERNAL OPTIONS_INTERNAL

const struct options_row options_table[OPTIONS_KEYS] = {
#define OPTION_SWITCH(n, s, initial, h)                                                            \
    {.name = #n,                                                                                   \
     .help = h,                                                                                    \
     .type = OPTIONS_TYPE_SWITCH,                                                                  \
     .scope = (s),                                                                                 \
     .offset = offsetof(struct options, n),                                                        \
     .max = 1},
#define OPTION_NUMBER(n, s, initial, lowest, highest, h)                                           \
    {.name = #n,                                                                                   \
     .value_name = "N",                                                                            \
     .help = h,                                                                                    \
     .type = OPTIONS_TYPE_NUMBER,                                                                  \
     .scope = (s),                                                                                 \
     .offset = offsetof(struct options, n),                                                        \
     .min = (lowest),                                                                              \
     .max = (highest)},
#define OPTION_SIZE(n, s, initial, lowest, highest, h)                                             \
    {.name = #n,                                                                                   \
     .value_name = "SIZE",                                                                         \
     .help = h,                                                                                    \
     .type = OPTIONS_TYPE_SIZE,                                                                    \
     .scope = (s),                                                                                 \
     .offset = offsetof(struct options, n),                                                        \
     .min = (lowest),                                                                              \
     .max = (highest)},
#define OPTION_TEXT(n, s, v, h)                                                                    \
    {.name = #n,                                                                                   \
     .value_name = v,                                                                              \
     .help = h,                                                                                    \
     .type = OPTIONS_TYPE_TEXT,                                                                    \
     .scope = (s),                                                                                 \
     .offset = offsetof(struct options, n)},
#define OPTION_PATTERN(n, s, h)                                                                    \
    {.name = #n,                                                                                   \
     .value_name = "PATTERN",                                                                      \
     .help = h,                                                                                    \
     .type = OPTIONS_TYPE_PATTERN,                                                                 \
     .scope = (s),                                                                                 \
     .offset = offsetof(struct options, n)},
#include "options.def"
#undef OPTION_SWITCH
#undef OPTION_NUMBER
#undef OPTION_SIZE
#undef OPTION_TEXT
#undef OPTION_PATTERN
};

_Static_assert((int)OPTIONS_KEYS <= 64, "struct options has one bit a key");

void options_init(struct options *options)
{
    *options = (struct options){
#define OPTION_SWITCH(n, s, initial, h) .n = (initial),
#define OPTION_NUMBER(n, s, initial, lowest, highest, h) .n = (initial),
#define OPTION_SIZE(n, s, initial, lowest, highest, h) .n = (initial),
#define OPTION_TEXT(n, s, v, h)
#define OPTION_PATTERN(n, s, h)
#include "options.def"
#undef OPTION_SWITCH
#undef OPTION_NUMBER
#undef OPTION_SIZE
#undef OPTION_TEXT
#undef OPTION_PATTERN
    };
}

const char *options_problem_text(enum options_problem problem)
{
    switch (problem) {
    case OPTIONS_UNKNOWN_KEY:
        return "is not an option";
    case OPTIONS_NOT_FOR_YOU:
        return "cannot be set here";
    case OPTIONS_NEEDS_VALUE:
        return "needs a value";
    case OPTIONS_NOT_A_SWITCH:
        return "is a switch: 0 or 1";
    case OPTIONS_NOT_A_NUMBER:
        return "needs a number";
    case OPTIONS_NOT_A_SIZE:
        return "needs a size: bytes, or with K, M or G";
    case OPTIONS_OUT_OF_RANGE:
        return "is out of range";
    case OPTIONS_BAD_QUOTE:
        return "has a quote that does not end its value";
    }
    return "is wrong";
}

static bool text_is(struct options_text text, const char *word)
{
    size_t length = strlen(word);

    return text.length == length && memcmp(text.text, word, length) == 0;
}

static bool key_is(struct options_text key, const char *name)
{
    if (key.length != strlen(name))
        return false;
    for (size_t i = 0; i < key.length; i++)
        if ((key.text[i] == '-' ? '_' : key.text[i]) != name[i])
            return false;
    return true;
}

/* -1: neither. */
static int text_switch(struct options_text text)
{
    if (text_is(text, "1") || text_is(text, "true") || text_is(text, "yes"))
        return 1;
    if (text_is(text, "0") || text_is(text, "false") || text_is(text, "no"))
        return 0;
    return -1;
}

/* How much a size's last letter multiplies by, as a shift; 0: it has none. */
static unsigned unit_of(struct options_text value)
{
    char last = value.length ? value.text[value.length - 1] : '\0';

    switch (last) {
    case 'K':
    case 'k':
        return 10;
    case 'M':
    case 'm':
        return 20;
    case 'G':
    case 'g':
        return 30;
    default:
        return 0;
    }
}

/* Returns 0, or what is wrong. */
static enum options_problem read_number(uint64_t *number, const struct options_row *row,
                                        struct options_text value, enum options_problem wrong)
{
    unsigned shift = row->type == OPTIONS_TYPE_SIZE ? unit_of(value) : 0;
    size_t digits = value.length - (shift ? 1 : 0);
    uint64_t sum = 0;

    if (value.length == 0)
        return OPTIONS_NEEDS_VALUE;
    if (digits == 0)
        return wrong;
    for (size_t i = 0; i < digits; i++)
        if (value.text[i] < '0' || value.text[i] > '9')
            return wrong;
    for (size_t i = 0; i < digits; i++) {
        sum = sum * 10 + (uint64_t)(value.text[i] - '0');
        if (sum > row->max >> shift)
            return OPTIONS_OUT_OF_RANGE;
    }
    if (sum << shift < row->min)
        return OPTIONS_OUT_OF_RANGE;
    *number = sum << shift;
    return 0;
}

static enum options_problem set_value(struct options *options, const struct options_row *row,
                                      struct options_text value)
{
    void *field = (char *)options + row->offset;
    enum options_problem problem;
    uint64_t number = 0;
    int on;

    switch ((enum options_type)row->type) {
    case OPTIONS_TYPE_SWITCH:
        on = value.text ? text_switch(value) : 1;
        if (on < 0)
            return OPTIONS_NOT_A_SWITCH;
        *(bool *)field = on == 1;
        return 0;
    case OPTIONS_TYPE_NUMBER:
        problem = read_number(&number, row, value, OPTIONS_NOT_A_NUMBER);
        if (problem == 0)
            *(uint32_t *)field = (uint32_t)number;
        return problem;
    case OPTIONS_TYPE_SIZE:
        problem = read_number(&number, row, value, OPTIONS_NOT_A_SIZE);
        if (problem == 0)
            *(uint64_t *)field = number;
        return problem;
    case OPTIONS_TYPE_TEXT:
        if (value.length == 0)
            return OPTIONS_NEEDS_VALUE;
        *(struct options_text *)field = value;
        return 0;
    case OPTIONS_TYPE_PATTERN:
        on = value.text ? text_switch(value) : 1;
        if (on < 0 && value.length == 0)
            return OPTIONS_NEEDS_VALUE;
        *(struct options_text *)field = on < 0    ? value
                                        : on == 1 ? (struct options_text){"*", 1}
                                                  : (struct options_text){NULL, 0};
        return 0;
    }
    return OPTIONS_UNKNOWN_KEY;
}

static bool set_key(struct options *options, struct options_complaint *now, unsigned scope,
                    options_complain complain, void *context)
{
    now->problem = OPTIONS_UNKNOWN_KEY;
    now->row = NULL;
    for (unsigned i = 0; i < OPTIONS_KEYS; i++) {
        const struct options_row *row = &options_table[i];

        if (!key_is(now->key, row->name))
            continue;
        now->row = row;
        now->problem =
            (row->scope & scope) ? set_value(options, row, now->value) : OPTIONS_NOT_FOR_YOU;
        if (now->problem == 0) {
            options->given |= UINT64_C(1) << i;
            return true;
        }
        break;
    }
    if (complain)
        complain(context, now);
    return false;
}

bool options_set(struct options *options, struct options_text key, struct options_text value,
                 unsigned scope, options_complain complain, void *context)
{
    struct options_complaint now = {.key = key, .value = value};

    return set_key(options, &now, scope, complain, context);
}

/* The sanitizers' own separators. */
static bool separates(char c)
{
    return c == ':' || c == ',' || c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

unsigned options_parse(struct options *options, const char *text, size_t length, unsigned scope,
                       options_complain complain, void *context)
{
    unsigned complaints = 0;
    size_t at = 0;

    while (at < length) {
        struct options_complaint now = {.position = at};
        bool quoted_well = true;

        if (separates(text[at])) {
            at++;
            continue;
        }
        now.key.text = text + at;
        while (at < length && text[at] != '=' && !separates(text[at]))
            at++;
        now.key.length = (size_t)(text + at - now.key.text);
        if (at < length && text[at] == '=') {
            char quote = ++at < length ? text[at] : '\0';

            if (quote == '\'' || quote == '"') {
                now.value.text = text + ++at;
                while (at < length && text[at] != quote)
                    at++;
                now.value.length = (size_t)(text + at - now.value.text);
                quoted_well = at < length && (at + 1 == length || separates(text[at + 1]));
                at++;
                while (!quoted_well && at < length && !separates(text[at]))
                    at++;
            } else {
                now.value.text = text + at;
                while (at < length && !separates(text[at]))
                    at++;
                now.value.length = (size_t)(text + at - now.value.text);
            }
        }
        if (!quoted_well) {
            now.problem = OPTIONS_BAD_QUOTE;
            if (complain)
                complain(context, &now);
            complaints++;
        } else if (!set_key(options, &now, scope, complain, context)) {
            complaints++;
        }
    }
    return complaints;
}

/* Numbers of 0 that mean "none" are in no contradiction to anything. */
bool options_contradiction(const struct options *options, const struct options_host *host,
                           enum options_key *key, const char **why)
{
    const struct {
        bool holds;
        enum options_key key;
        const char *why;
    } all[] = {
        {options_given(options, OPTIONS_KEY_quarantine_fds) && !options->reclaim,
         OPTIONS_KEY_quarantine_fds, "does nothing without reclaim"},
        {options_given(options, OPTIONS_KEY_quarantine_bytes) && !options->reclaim,
         OPTIONS_KEY_quarantine_bytes, "does nothing without reclaim"},
        {options->reserve_fds && host->max_fds && options->reserve_fds >= host->max_fds,
         OPTIONS_KEY_reserve_fds, "leaves sandboxes nothing of the soft limit of descriptors"},
        {options->reserve_vmas && host->max_vmas && options->reserve_vmas >= host->max_vmas,
         OPTIONS_KEY_reserve_vmas, "leaves sandboxes nothing of vm.max_map_count"},
        {options_given(options, OPTIONS_KEY_quarantine_fds) && host->max_fds &&
             (uint64_t)options->quarantine_fds + options->reserve_fds >= host->max_fds,
         OPTIONS_KEY_quarantine_fds, "and reserve_fds come to more than the limit of descriptors"},
        {options->limit_bytes && options->limit_bytes < host->page, OPTIONS_KEY_limit_bytes,
         "is less than a page: nothing could be mapped"},
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].holds) {
            *key = all[i].key;
            *why = all[i].why;
            return true;
        }
    return false;
}

void options_forget(struct options *options, enum options_key key)
{
    struct options untouched;
    size_t offset = options_table[key].offset, size = 0;

    options_init(&untouched);
    switch ((enum options_type)options_table[key].type) {
    case OPTIONS_TYPE_SWITCH:
        size = sizeof(bool);
        break;
    case OPTIONS_TYPE_NUMBER:
        size = sizeof(uint32_t);
        break;
    case OPTIONS_TYPE_SIZE:
        size = sizeof(uint64_t);
        break;
    case OPTIONS_TYPE_TEXT:
    case OPTIONS_TYPE_PATTERN:
        size = sizeof(struct options_text);
        break;
    }
    memcpy((char *)options + offset, (const char *)&untouched + offset, size);
    options->given &= ~(UINT64_C(1) << key);
}

/* Reads the bracket expression at pattern[*at] == '['. Returns 1 or 0 for a match or none, with
 * *at behind the ']'; -1 if there is no end to it: the '[' is then an ordinary byte. */
static int match_bracket(struct options_text pattern, size_t *at, unsigned char c)
{
    size_t i = *at + 1;
    bool inverted = false, found = false, first = true;

    if (i < pattern.length && (pattern.text[i] == '!' || pattern.text[i] == '^')) {
        inverted = true;
        i++;
    }
    for (; i < pattern.length && (pattern.text[i] != ']' || first); i++, first = false) {
        unsigned char low = (unsigned char)pattern.text[i], high = low;

        if (i + 2 < pattern.length && pattern.text[i + 1] == '-' && pattern.text[i + 2] != ']') {
            high = (unsigned char)pattern.text[i + 2];
            i += 2;
        }
        found = found || (low <= c && c <= high);
    }
    if (i >= pattern.length)
        return -1;
    *at = i + 1;
    return found != inverted;
}

/* Matches one pattern element against c and moves *at behind it. */
static bool match_one(struct options_text pattern, size_t *at, char c)
{
    char p = pattern.text[*at];
    int bracket;

    if (p == '?') {
        ++*at;
        return true;
    }
    if (p == '[') {
        bracket = match_bracket(pattern, at, (unsigned char)c);
        if (bracket >= 0)
            return bracket == 1;
    } else if (p == '\\' && *at + 1 < pattern.length) {
        p = pattern.text[++*at];
    }
    ++*at;
    return p == c;
}

bool options_match(struct options_text pattern, const char *name, size_t length)
{
    /* The last star seen, and where in the name it was: enough to backtrack, in linear space. */
    size_t star = SIZE_MAX, star_name = 0, at = 0, i = 0;

    while (i < length) {
        size_t next = at;

        if (at < pattern.length && pattern.text[at] == '*') {
            star = ++at;
            star_name = i;
        } else if (at < pattern.length && match_one(pattern, &next, name[i])) {
            at = next;
            i++;
        } else if (star != SIZE_MAX) {
            at = star;
            i = ++star_name;
        } else {
            return false;
        }
    }
    while (at < pattern.length && pattern.text[at] == '*')
        at++;
    return at == pattern.length;
}
