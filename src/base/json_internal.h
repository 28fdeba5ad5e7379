#pragma once

/* What json.c (the tree), json_parse.c and json_write.c share. */

#include "base/json.h"

struct json_node {
    uint32_t offset, size; /* of the value in the text, quotes and braces included (J1) */
    uint32_t end;          /* index of the first node behind this one and its descendants (J2) */
    uint32_t count;        /* items of an array, members of an object */
    uint8_t type;          /* enum json_type */
    bool escaped;          /* a string with at least one backslash */
};

/* The text of a string node, without its quotes, escapes still in it. */
static inline struct bytes json_node_text(const struct json_doc *doc, const struct json_node *node)
{
    return bytes_make(doc->text.data + node->offset + 1, node->size - 2);
}

/* How many bytes from `offset` on are plain: ASCII but for control characters below space, quotes and backslashes. Eight at a time: the
 * classic test for a byte below n (or equal to c, as zero after xor) in a word, which is exact on whether there is one. */
static inline size_t json_plain_run(struct bytes text, size_t offset)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones * 0x80;
    size_t at = offset;

    while (text.size - at >= sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, text.data + at, sizeof(word));
        uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
        uint64_t special = (word - ones * 0x20) & ~word;
        special |= ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) | word;
        if (special & tops)
            break;
        at += sizeof(word);
    }
    while (at < text.size && text.data[at] >= 0x20 && text.data[at] < 0x80 && text.data[at] != '"' &&
           text.data[at] != '\\')
        at++;
    return at - offset;
}

/* Takes one code point off the front of a string's text, undoing an escape; the text is valid and not empty.
 */
uint32_t json_take_code_point(struct bytes *text);

/* The order of two strings' texts by code points, escapes undone. */
int json_compare_strings(const struct json_doc *doc, const struct json_node *a, const struct json_node *b);
