#include <stddef.h>
#include <stdint.h>

#include "names.h"

/* What has no place in a name, from … to, by code point. Joiners and variation selectors have: several scripts need them. */
static const struct range {
    uint32_t first, last;
} hidden[] = {
    {0x0000, 0x001f}, /* control characters, tabs and line feeds among them */
    {0x007f, 0x00a0}, /* more of them, and the blank that does not break */
    {0x00ad, 0x00ad}, /* soft hyphen */
    {0x034f, 0x034f}, /* grapheme joiner */
    {0x061c, 0x061c}, /* direction marks … */
    {0x115f, 0x1160}, /* fillers that look like nothing … */
    {0x1680, 0x1680}, /* other blanks … */
    {0x17b4, 0x17b5}, {0x180e, 0x180e}, {0x2000, 0x200b}, {0x200e, 0x200f},
    {0x2028, 0x202f}, /* line separators, embeddings and overrides of direction */
    {0x205f, 0x206f}, /* invisible operators and isolates */
    {0x2800, 0x2800}, {0x3000, 0x3000}, {0x3164, 0x3164}, {0xfeff, 0xfeff},
    {0xffa0, 0xffa0}, {0xfff0, 0xfffb}, /* annotations */
    {0xe0000, 0xe00ff}, /* tags */
};

static bool is_hidden(uint32_t c)
{
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
        if (c >= hidden[i].first && c <= hidden[i].last)
            return true;
    }
    return c > 0xffff && (c & 0xfffe) == 0xfffe;
}

/* Seen only with what it belongs to. */
static bool is_joiner(uint32_t c)
{
    return c == 0x200c || c == 0x200d || (c >= 0xfe00 && c <= 0xfe0f) || (c >= 0xe0100 && c <= 0xe01ef);
}

/* The code point at *at, of a text that is UTF-8, and *at behind it. */
static uint32_t next(struct daybook_text text, size_t *at)
{
    uint8_t first = (uint8_t)text.data[(*at)++];
    unsigned more = first < 0xc0 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    uint32_t c = more == 0 ? first : first & (0x3fU >> more);
    for (; more > 0 && *at < text.size; more--)
        c = c << 6 | ((uint8_t)text.data[(*at)++] & 0x3f);
    return c;
}

bool name_is_good(struct daybook_text text)
{
    bool seen = false, blank = true; /* no blank at the beginning */
    for (size_t at = 0; at < text.size;) {
        uint32_t c = next(text, &at);
        if (is_hidden(c) || (c == ' ' && blank))
            return false;
        blank = c == ' ';
        seen |= !blank && !is_joiner(c);
    }
    return seen && !blank;
}
