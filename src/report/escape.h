/*
 * escape.h: names in the alphabets of the formats that machines read. Names come from files and
 * other people's programs and may be any bytes.
 */
#ifndef BOXLEDGER_REPORT_ESCAPE_H
#define BOXLEDGER_REPORT_ESCAPE_H

#include "report/base.h"

/* The text itself where it is UTF-8 (as JSON wants it), else with its bytes from 0x80 on as \xNN.
 * What is returned lives in `arena`, or is `text`. */
const char *escape_utf8(struct arena *arena, const char *text);

/* For XML 1.0, in an element or a quoted attribute: what XML has no way to write, control
 * characters and the like, comes as \xNN. */
void escape_xml(FILE *out, const char *text);

/* A path as the relative or absolute reference of RFC 3986. */
char *escape_uri(struct arena *arena, const char *path);

/* The value of a GitHub workflow command: its message, or one of its `properties`. */
void escape_workflow(FILE *out, const char *text, bool property);

#endif
