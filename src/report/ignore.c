/*
 * ignore.c: see ignore.h.
 */
#include "report/ignore.h"

#include <string.h>

#include "report/report.h"

static bool is_like(const struct rules *rules, enum rules_kind kind, const char *name)
{
    return name && *name && rules_match(rules, kind, name, strlen(name));
}

bool ignore_finding(const struct rules *rules, const struct report_finding *finding)
{
    if (is_like(rules, RULES_IGNORE_RESOURCE, finding->what))
        return true;
    for (unsigned i = 0; i < finding->name_count; i++)
        if (is_like(rules, RULES_IGNORE_RESOURCE, finding->names[i]))
            return true;
    for (size_t i = 0; finding->stack && i < finding->stack->count; i++) {
        const struct symbols_frame *frame = &finding->stack->frames[i];

        if (is_like(rules, RULES_IGNORE_STACK, frame->function) ||
            is_like(rules, RULES_IGNORE_STACK, frame->object) ||
            is_like(rules, RULES_IGNORE_STACK, frame->file))
            return true;
    }
    return false;
}
