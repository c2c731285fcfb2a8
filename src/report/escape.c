/*
 * escape.c: writes names so that JSON, XML, URIs and workflow commands can carry them. It loses
 * nothing and lets no name end what it stands in.
 */
#include "report/escape.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

/* The length of the UTF-8 sequence at `text`, with its code point; 0 where there is none (RFC
 * 3629: no surrogates, nothing overlong, nothing above U+10FFFF). */
static size_t decode(const char *text, uint32_t *point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *bytes = (const unsigned char *)text;
    size_t length;

    if (bytes[0] < 0x80) {
        *point = bytes[0];
        return 1;
    }
    if (bytes[0] < 0xc2 || bytes[0] > 0xf4)
        return 0;
    length = bytes[0] >= 0xf0 ? 4 : bytes[0] >= 0xe0 ? 3 : 2;
    *point = bytes[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
        *point = *point << 6 | (bytes[i] & 0x3f);
    }
    if (*point < least[length] || *point > 0x10ffff || (*point >= 0xd800 && *point <= 0xdfff))
        return 0;
    return length;
}

const char *escape_utf8(struct arena *arena, const char *text)
{
    enum { ESCAPED = 4 }; /* \xNN */
    const char *at = text;
    uint32_t point;
    char *escaped, *to;
    size_t length;

    while (*at && (length = decode(at, &point)) != 0)
        at += length;
    if (!*at)
        return text;
    escaped = to = arena_alloc(arena, ESCAPED * strlen(text) + 1);
    for (at = text; *at; at++) {
        if ((unsigned char)*at >= 0x80)
            to += sprintf(to, "\\x%02x", (unsigned char)*at);
        else
            *to++ = *at;
    }
    return escaped;
}

/* XML 1.0, production 2, without what XML has but advises against. */
static bool xml_has(uint32_t point)
{
    if (point < ' ')
        return point == '\t' || point == '\n';
    return !(point >= 0x7f && point <= 0x9f) && (point & 0xfffe) != 0xfffe;
}

void escape_xml(FILE *out, const char *text)
{
    while (*text) {
        uint32_t point;
        size_t length = decode(text, &point);

        if (length == 0 || !xml_has(point)) {
            (void)fprintf(out, "\\x%02x", (unsigned char)*text++);
            continue;
        }
        if (point == '&')
            (void)fputs("&amp;", out);
        else if (point == '<')
            (void)fputs("&lt;", out);
        else if (point == '>')
            (void)fputs("&gt;", out);
        else if (point == '"')
            (void)fputs("&quot;", out);
        else
            (void)fwrite(text, 1, length, out);
        text += length;
    }
}

char *escape_uri(struct arena *arena, const char *path)
{
    enum { ESCAPED = 3 }; /* %NN */
    char *uri = arena_alloc(arena, ESCAPED * strlen(path) + 1), *to = uri;

    for (; *path; path++) {
        unsigned char c = (unsigned char)*path;

        if (c < 0x80 && (isalnum(c) || strchr("/-._~", c)))
            *to++ = (char)c;
        else
            to += sprintf(to, "%%%02X", c);
    }
    return uri;
}

void escape_workflow(FILE *out, const char *text, bool property)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < ' ' || c == '%' || c == 0x7f || (property && (c == ':' || c == ',')))
            (void)fprintf(out, "%%%02X", c);
        else
            (void)fputc(c, out);
    }
}
