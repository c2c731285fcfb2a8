/*
 * annotations.c: a gate's result as GitHub's workflow commands, which show it beside the lines of
 * a pull request. Paths are below the project's root; a finding without such a line is an
 * annotation of the whole run.
 */
#include "report/escape.h"
#include "report/judged_write.h"

static void put_command(FILE *out, const char *command, const char *title,
                        const struct judged_site *site, const char *message)
{
    (void)fprintf(out, "::%s title=", command);
    escape_workflow(out, title, true);
    if (site && site->in_project) {
        (void)fputs(",file=", out);
        escape_workflow(out, site->file, true);
        (void)fprintf(out, ",line=%u", site->line);
    }
    (void)fputs("::", out);
    escape_workflow(out, message, false);
    (void)fputc('\n', out);
}

void judged_write_annotations(FILE *out, struct judged *judged)
{
    if (judged->trouble)
        put_command(out, "error", "boxledger: no verdict", NULL, judged->trouble);
    for (size_t i = 0; i < judged->count; i++) {
        const struct judged_item *item = &judged->items[i];
        struct judged_site site = judged_site_of(judged, item);
        const char *command = item->state <= JUDGED_GROWN                                ? "error"
                              : item->state == JUDGED_TOLD || item->state == JUDGED_RARE ? "warning"
                              : item->state == JUDGED_GONE                               ? "notice"
                                                                                         : NULL;

        if (command)
            put_command(out, command,
                        arena_format(&judged->arena, "boxledger: %s, %s", item->entry.verdict,
                                     judged_state_name(item->state)),
                        &site, judged_sentence(judged, item));
    }
    if (judged->doubt)
        put_command(out, "warning", "boxledger", NULL, judged->doubt);
}
