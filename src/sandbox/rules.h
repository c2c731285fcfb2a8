/*
 * rules.h: what a user says of sandboxes that fit no kind, and of what is no leak: --rules=FILE.
 *
 *   owner child exe=PATTERN      only children that run such a program are sandboxes
 *   owner thread name=PATTERN    a thread is a sandbox from when it is given such a name
 *   ignore stack=PATTERN         findings with such a function, object or file in their stack
 *   ignore resource=PATTERN      findings of such things
 *   # comment
 *
 * A PATTERN is the rest of the line; options_match has its meaning, on all of a name or on what
 * comes after its last slash. The shim and the command read the same file with the same parser. It
 * never allocates and never asks the system for anything.
 */
#ifndef BOXLEDGER_SANDBOX_RULES_H
#define BOXLEDGER_SANDBOX_RULES_H

#include "options.h"

#define RULES_MAX 64u
#define RULES_TEXT_MAX 8192u

enum rules_kind {
    RULES_OWNER_CHILD,
    RULES_OWNER_THREAD,
    RULES_IGNORE_STACK,
    RULES_IGNORE_RESOURCE,
    RULES_KINDS
};

/* Zeroed, it has no rules. */
struct rules {
    unsigned count;
    unsigned of_kind[RULES_KINDS];
    struct {
        enum rules_kind kind;
        struct options_text pattern;
    } rule[RULES_MAX];
};

/* What is wrong with line `line`, from 1; the end of a sentence that begins with FILE:LINE:. */
typedef void (*rules_complain)(void *context, unsigned line, const char *what);

/* Reads rules from the text of a file, which stays where it is. Lines with a mistake go to
 * `complain` and are left out. Returns how many there were. */
unsigned rules_parse(struct rules *rules, const char *text, size_t length, rules_complain complain,
                     void *context);

/* Whether there is a rule of that kind that the name is like; a name with slashes also by what
 * comes after the last. */
bool rules_match(const struct rules *rules, enum rules_kind kind, const char *name, size_t length);

#endif
