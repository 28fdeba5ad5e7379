/* The tree that json_parse.c has made: everything here may rely on what was checked there (J3). */
#include "base/json.h"

#include <assert.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/json_internal.h"
#include "base/utf8.h"

#define NUMBER_TEXT_SIZE_MAX 64 /* longer numbers go through the heap */

static const struct json_node *node_of(struct json_value value)
{
    return value.doc && value.index < value.doc->count ? &value.doc->nodes[value.index] : NULL;
}

static struct json_value value_at(const struct json_doc *doc, uint32_t index)
{
    return (struct json_value){.doc = doc, .index = index};
}

void json_doc_deinit(struct json_doc *doc)
{
    free(doc->nodes);
    *doc = (struct json_doc){0};
}

struct json_value json_root(const struct json_doc *doc)
{
    return doc->count > 0 ? value_at(doc, 0) : (struct json_value){0};
}

enum json_type json_type(struct json_value value)
{
    const struct json_node *node = node_of(value);

    return node ? (enum json_type)node->type : JSON_MISSING;
}

const char *json_type_name(enum json_type type)
{
    static const char *const names[] = {
        [JSON_MISSING] = "missing",  [JSON_NULL] = "null",       [JSON_BOOL] = "true or false",
        [JSON_NUMBER] = "a number",  [JSON_STRING] = "a string", [JSON_ARRAY] = "an array",
        [JSON_OBJECT] = "an object",
    };

    return names[type];
}

struct bytes json_raw(struct json_value value)
{
    const struct json_node *node = node_of(value);

    return node ? bytes_make(value.doc->text.data + node->offset, node->size) : (struct bytes){0};
}

size_t json_offset(struct json_value value)
{
    const struct json_node *node = node_of(value);

    return node ? node->offset : 0;
}

size_t json_count(struct json_value value)
{
    const struct json_node *node = node_of(value);

    return node ? node->count : 0;
}

struct json_value json_get(struct json_value object, const char *key)
{
    struct json_cursor at = json_walk(object);

    while (json_next(&at)) {
        if (json_string_equals(at.key, key))
            return at.value;
    }
    return (struct json_value){0};
}

struct json_cursor json_walk(struct json_value container)
{
    const struct json_node *node = node_of(container);

    if (!node || node->count == 0)
        return (struct json_cursor){0};
    return (struct json_cursor){
        .doc = container.doc,
        .next = container.index + 1,
        .end = node->end,
        .members = node->type == JSON_OBJECT,
    };
}

bool json_next(struct json_cursor *cursor)
{
    if (cursor->next >= cursor->end)
        return false;
    cursor->index = cursor->next;
    if (cursor->members)
        cursor->key = value_at(cursor->doc, cursor->next++);
    cursor->value = value_at(cursor->doc, cursor->next);
    cursor->next = cursor->doc->nodes[cursor->next].end;
    return true;
}

/* ---- strings ---- */

static uint32_t take_hex4(struct bytes *text)
{
    uint32_t value = 0;

    assert(text->size >= 4);
    for (int i = 0; i < 4; i++)
        value = value << 4 | (uint32_t)hex_value(text->data[i]);
    *text = bytes_slice(*text, 4, SIZE_MAX);
    return value;
}

static uint32_t take_escape(struct bytes *text)
{
    static const char plain[][2] = {{'b', '\b'}, {'f', '\f'}, {'n', '\n'}, {'r', '\r'}, {'t', '\t'}};
    uint8_t c = text->data[1];
    uint32_t unit;

    *text = bytes_slice(*text, 2, SIZE_MAX);
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        if (c == plain[i][0])
            return (uint8_t)plain[i][1];
    }
    if (c != 'u')
        return c;
    unit = take_hex4(text);
    if (unit < 0xd800 || unit > 0xdbff)
        return unit;
    *text = bytes_slice(*text, 2, SIZE_MAX); /* the \u of the low surrogate */
    return 0x10000 + ((unit - 0xd800) << 10) + (take_hex4(text) - 0xdc00);
}

uint32_t json_take_code_point(struct bytes *text)
{
    uint32_t code_point = 0;
    size_t size;

    if (text->data[0] == '\\')
        return take_escape(text);
    size = utf8_decode(*text, &code_point);
    assert(size > 0); /* J3 */
    *text = bytes_slice(*text, size, SIZE_MAX);
    return code_point;
}

int json_compare_strings(const struct json_doc *doc, const struct json_node *a, const struct json_node *b)
{
    struct bytes left = json_node_text(doc, a), right = json_node_text(doc, b);

    if (!a->escaped && !b->escaped)
        return bytes_compare(left, right); /* the order of UTF-8 is that of code points */
    while (left.size > 0 && right.size > 0) {
        uint32_t l = json_take_code_point(&left), r = json_take_code_point(&right);

        if (l != r)
            return l < r ? -1 : 1;
    }
    return (left.size > 0) - (right.size > 0);
}

bool json_string_plain(struct json_value value, struct bytes *ret_text)
{
    const struct json_node *node = node_of(value);

    if (!node || node->type != JSON_STRING || node->escaped)
        return false;
    *ret_text = json_node_text(value.doc, node);
    return true;
}

int json_string(struct json_value value, struct buffer *out)
{
    const struct json_node *node = node_of(value);
    struct bytes text;
    int r;

    if (!node || node->type != JSON_STRING)
        return JSON_E_TYPE;
    text = json_node_text(value.doc, node);
    if (!node->escaped)
        return buffer_append_bytes(out, text);
    /* An escape is never shorter than what it stands for, so that room for the raw text is room enough. */
    r = buffer_reserve(out, text.size + UTF8_SIZE_MAX);
    if (r < 0)
        return r;
    while (text.size > 0)
        out->size += utf8_encode(json_take_code_point(&text), out->data + out->size);
    return 0;
}

int json_string_dup(struct json_value value, char **ret_text)
{
    _cleanup_(buffer_deinit) struct buffer text = {.size_max = JSON_SIZE_MAX};
    int r = json_string(value, &text);

    if (r != 0)
        return r;
    if (!buffer_string(&text))
        return -ENOMEM;
    if (memchr(text.data, 0, text.size))
        return JSON_E_TYPE;
    *ret_text = (char *)take_ptr(text.data);
    return 0;
}

bool json_string_equals_bytes(struct json_value value, struct bytes text)
{
    const struct json_node *node = node_of(value);
    struct bytes own;

    if (!node || node->type != JSON_STRING)
        return false;
    own = json_node_text(value.doc, node);
    if (!node->escaped)
        return bytes_equal(own, text);
    while (own.size > 0) {
        uint8_t encoded[UTF8_SIZE_MAX];
        size_t size = utf8_encode(json_take_code_point(&own), encoded);

        if (!bytes_starts_with(text, bytes_make(encoded, size)))
            return false;
        text = bytes_slice(text, size, SIZE_MAX);
    }
    return text.size == 0;
}

bool json_string_equals(struct json_value value, const char *text)
{
    return json_string_equals_bytes(value, bytes_from_string(text));
}

/* ---- numbers and truth ---- */

/* The digits of an integer and its sign. */
static int integer_parts(struct json_value value, bool *ret_negative, uint64_t *ret_magnitude)
{
    struct bytes text = json_raw(value);
    bool negative;
    int r;

    if (json_type(value) != JSON_NUMBER)
        return JSON_E_TYPE;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '.' || text.data[i] == 'e' || text.data[i] == 'E')
            return JSON_E_NOT_INTEGER;
    }
    negative = text.data[0] == '-';
    r = bytes_parse_u64(bytes_slice(text, negative, SIZE_MAX), ret_magnitude);
    if (r != 0)
        return JSON_E_RANGE; /* J3: it is a number, so nothing else can be wrong */
    *ret_negative = negative;
    return 0;
}

int json_u64(struct json_value value, uint64_t *ret_number)
{
    uint64_t magnitude;
    bool negative;
    int r = integer_parts(value, &negative, &magnitude);

    if (r != 0)
        return r;
    if (negative && magnitude != 0)
        return JSON_E_RANGE;
    *ret_number = magnitude;
    return 0;
}

int json_i64(struct json_value value, int64_t *ret_number)
{
    uint64_t magnitude;
    bool negative;
    int r = integer_parts(value, &negative, &magnitude);

    if (r != 0)
        return r;
    if (magnitude > (uint64_t)INT64_MAX + negative)
        return JSON_E_RANGE;
    *ret_number = (int64_t)(negative ? -magnitude : magnitude);
    return 0;
}

static locale_t c_locale;

/* The program around us may have set a locale that writes numbers with a comma. */
static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

int json_double(struct json_value value, double *ret_number)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    _cleanup_(freep) char *long_text = NULL;
    char short_text[NUMBER_TEXT_SIZE_MAX];
    struct bytes text = json_raw(value);
    const char *digits = short_text;
    double number;

    if (json_type(value) != JSON_NUMBER)
        return JSON_E_TYPE;
    (void)pthread_once(&once, make_c_locale);
    if (text.size < sizeof(short_text)) {
        memcpy(short_text, text.data, text.size);
        short_text[text.size] = '\0';
    } else {
        digits = long_text = bytes_dup_string(text);
        if (!long_text)
            return -ENOMEM;
    }
    number = c_locale ? strtod_l(digits, NULL, c_locale) : strtod(digits, NULL);
    if (isinf(number))
        return JSON_E_RANGE;
    *ret_number = number;
    return 0;
}

int json_bool(struct json_value value, bool *ret_truth)
{
    if (json_type(value) != JSON_BOOL)
        return JSON_E_TYPE;
    *ret_truth = json_raw(value).data[0] == 't';
    return 0;
}

/* ---- white space ---- */

int json_minify(struct bytes valid, struct buffer *out)
{
    bool in_string = false;
    uint8_t *to;
    int r = buffer_reserve(out, valid.size);

    if (r < 0)
        return r;
    to = out->data + out->size;
    for (size_t i = 0; i < valid.size; i++) {
        size_t run = in_string ? json_plain_run(valid, i) : 0;
        if (run > 0)
            memcpy(to, valid.data + i, run);
        to += run;
        i += run;
        if (i == valid.size)
            break;
        uint8_t c = valid.data[i];

        if (!in_string && (c == ' ' || c == '\n' || c == '\r' || c == '\t'))
            continue;
        *to++ = c;
        if (in_string && c == '\\' && i + 1 < valid.size)
            *to++ = valid.data[++i];
        else if (c == '"')
            in_string = !in_string;
    }
    out->size = (size_t)(to - out->data);
    return 0;
}
