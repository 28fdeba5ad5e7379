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

/* Takes one code point off the front of a string's text, undoing an escape; the text is valid and not empty.
 */
uint32_t json_take_code_point(struct bytes *text);

/* The order of two strings' texts by code points, escapes undone. */
int json_compare_strings(const struct json_doc *doc, const struct json_node *a, const struct json_node *b);
