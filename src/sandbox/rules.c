/*
 * rules.c: reads and applies the lines of --rules=FILE. It decides nothing about sandboxes.
 */
#include "rules.h"

/* Strings are arrays, so that the table needs no relocation. */
static const char beginnings[RULES_KINDS][24] = {
    [RULES_OWNER_CHILD] = "owner child exe=",
    [RULES_OWNER_THREAD] = "owner thread name=",
    [RULES_IGNORE_STACK] = "ignore stack=",
    [RULES_IGNORE_RESOURCE] = "ignore resource=",
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* How much of `line` reads like `wanted`; a space stands for any number of blanks. 0: it does not.
 */
static size_t begins_with(struct options_text line, const char *wanted)
{
    size_t at = 0;
    for (; *wanted; wanted++) {
        if (at == line.length ||
            (*wanted == ' ' ? !is_blank(line.text[at]) : line.text[at] != *wanted)) {
            return 0;
        }
        at++;
        while (*wanted == ' ' && at < line.length && is_blank(line.text[at])) {
            at++;
        }
    }
    return at;
}

/* What is wrong with it; NULL: nothing. */
static const char *parse_line(struct rules *rules, struct options_text line)
{
    for (unsigned kind = 0; kind < RULES_KINDS; kind++) {
        size_t length = begins_with(line, beginnings[kind]);
        if (length == 0) {
            continue;
        }
        if (length == line.length) {
            return "the pattern is empty";
        }
        if (rules->count == RULES_MAX) {
            return "more than 64 rules";
        }
        rules->rule[rules->count].kind = (enum rules_kind)kind;
        rules->rule[rules->count].pattern =
            (struct options_text){line.text + length, line.length - length};
        rules->count++;
        rules->of_kind[kind]++;
        return NULL;
    }
    if (begins_with(line, "owner ")) {
        return "neither owner child exe=PATTERN nor owner thread name=PATTERN";
    }
    if (begins_with(line, "ignore ")) {
        return "neither ignore stack=PATTERN nor ignore resource=PATTERN";
    }
    return "no rule begins like this: owner, ignore or #";
}

unsigned rules_parse(struct rules *rules, const char *text, size_t length, rules_complain complain,
                     void *context)
{
    unsigned mistakes = 0;
    *rules = (struct rules){0};
    if (length > RULES_TEXT_MAX) {
        complain(context, 1, "the file has more than 8,192 bytes");
        return 1;
    }
    size_t at = 0;
    for (unsigned number = 1; at < length; number++) {
        struct options_text line = {text + at, 0};
        while (at < length && text[at] != '\n') {
            at++;
        }
        line.length = (size_t)(text + at - line.text);
        at++;
        while (line.length && is_blank(line.text[0])) {
            line.text++;
            line.length--;
        }
        while (line.length && is_blank(line.text[line.length - 1])) {
            line.length--;
        }
        const char *what = line.length == 0 || line.text[0] == '#' ? NULL : parse_line(rules, line);
        if (what) {
            complain(context, number, what);
            mistakes++;
        }
    }
    return mistakes;
}

bool rules_match(const struct rules *rules, enum rules_kind kind, const char *name, size_t length)
{
    size_t base = length;
    while (base > 0 && name[base - 1] != '/') {
        base--;
    }
    for (unsigned i = 0; i < rules->count && rules->of_kind[kind]; i++) {
        if (rules->rule[i].kind == kind &&
            (options_match(rules->rule[i].pattern, name, length) ||
             options_match(rules->rule[i].pattern, name + base, length - base))) {
            return true;
        }
    }
    return false;
}
