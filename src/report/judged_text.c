/*
 * judged_text.c: a gate's result for people: a line for each finding, and one at the end. The
 * reports themselves come before it, and are text.c's.
 */
#include <ctype.h>
#include <inttypes.h>

#include "report/judged_write.h"

/* Names come from other people's programs: no control characters on a terminal. */
static void put_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < ' ' || c == 0x7f)
            (void)fprintf(out, "\\x%02x", c);
        else
            (void)fputc(c, out);
    }
}

void judged_write_text(FILE *out, struct judged *judged)
{
    for (size_t i = 0; i < judged->count; i++) {
        const char *state = judged_state_name(judged->items[i].state);

        (void)fprintf(out, "%c%s: ", toupper((unsigned char)state[0]), state + 1);
        put_text(out, judged_sentence(judged, &judged->items[i]));
        (void)fputc('\n', out);
    }
    if (judged->doubt) {
        (void)fputs("Doubt: ", out);
        put_text(out, judged->doubt);
        (void)fputc('\n', out);
    }
    if (judged->trouble) {
        (void)fputs("No verdict: ", out);
        put_text(out, judged->trouble);
        (void)fputc('\n', out);
    }
    (void)fprintf(out, "SUMMARY: boxledger: gate %s", judged_summary(judged));
    if (judged->runs > 1)
        (void)fprintf(out, "; %u runs", judged->runs);
    (void)fputc('\n', out);
}
