/*
 * The parser is a machine of seven states, each a function from "what stands here" to the next state, with
 * the open containers on a stack of 64: no input can make it recurse. An object's keys are looked at for
 * duplicates when it is closed: few by pairs, many by sorting, which no choice of keys can make slow (a table
 * by hash could be).
 */
#include <assert.h>
#include <stdlib.h>

#include "base/json_internal.h"
#include "base/utf8.h"
#include "base/vector.h"

/* Up to this many keys, comparing all pairs is cheaper than sorting. */
#define PAIRWISE_COUNT_MAX 8

/* Room for a document of everyday size from the start. */
#define NODE_COUNT_FIRST 32

enum state {
    STATE_VALUE,        /* a value */
    STATE_ARRAY_FIRST,  /* a value or ] */
    STATE_OBJECT_FIRST, /* a key or } */
    STATE_KEY,          /* a key */
    STATE_COLON,        /* : */
    STATE_AFTER,        /* a comma, the end of the container, or the end of the text */
    STATE_DONE,
    STATE_WRONG, /* parser.failure and parser.error say why */
};

struct parser {
    struct json_doc *doc;
    struct bytes text;
    size_t offset;
    uint32_t open[JSON_DEPTH_MAX]; /* the containers around the offset, outermost first */
    size_t depth;
    int failure;
    struct json_error error;
    uint32_t *keys; /* scratch for the search for duplicates among many */
    size_t keys_capacity;
    uint32_t few_keys[PAIRWISE_COUNT_MAX];
};

static enum state wrong(struct parser *p, size_t offset, const char *reason)
{
    p->failure = JSON_E_INVALID;
    p->error = (struct json_error){.offset = offset, .reason = reason};
    return STATE_WRONG;
}

/* The byte at the offset; -1 at the end of the text. */
static int peek(const struct parser *p)
{
    return p->offset < p->text.size ? p->text.data[p->offset] : -1;
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static void skip_space(struct parser *p)
{
    int c = peek(p);

    while (c == ' ' || c == '\n' || c == '\r' || c == '\t') {
        p->offset++;
        c = peek(p);
    }
}

/* ---- nodes ---- */

/* Adds a node that begins at `offset`; its size, end and count are set when it is complete. */
static bool add_node(struct parser *p, enum json_type type, size_t offset)
{
    struct json_doc *doc = p->doc;
    int r = vector_reserve(&doc->nodes, &doc->capacity, doc->count + 1);

    if (r < 0) {
        p->failure = r;
        return false;
    }
    doc->nodes[doc->count++] = (struct json_node){.offset = (uint32_t)offset, .type = (uint8_t)type};
    return true;
}

/* Adds the node of a scalar that begins at `offset` and ends here. */
static bool add_scalar(struct parser *p, enum json_type type, size_t offset, bool escaped)
{
    struct json_node *node;

    if (!add_node(p, type, offset))
        return false;
    node = &p->doc->nodes[p->doc->count - 1];
    node->size = (uint32_t)(p->offset - offset);
    node->end = (uint32_t)p->doc->count;
    node->escaped = escaped;
    return true;
}

/* A value begins: the container around it has one more. (Of an object, values count, not keys.) */
static void count_value(struct parser *p)
{
    if (p->depth > 0)
        p->doc->nodes[p->open[p->depth - 1]].count++;
}

/* ---- scalars ---- */

static bool scan_hex4(struct parser *p, uint32_t *ret_value)
{
    uint32_t value = 0;

    for (int i = 0; i < 4; i++) {
        int c = peek(p), lower = c | 0x20;

        if (is_digit(c))
            value = value << 4 | (uint32_t)(c - '0');
        else if (c >= 0 && lower >= 'a' && lower <= 'f')
            value = value << 4 | (uint32_t)(lower - 'a' + 10);
        else
            return false;
        p->offset++;
    }
    *ret_value = value;
    return true;
}

/* Behind "\u". Answers NULL or what is wrong. */
static const char *scan_unicode_escape(struct parser *p)
{
    uint32_t unit, second;

    if (!scan_hex4(p, &unit))
        return "four hexadecimal digits are expected after \\u";
    if (unit >= 0xdc00 && unit <= 0xdfff)
        return "a low surrogate stands without its high one";
    if (unit < 0xd800 || unit > 0xdbff)
        return NULL;
    if (peek(p) != '\\' || p->offset + 1 >= p->text.size || p->text.data[p->offset + 1] != 'u')
        return "a high surrogate stands without its low one";
    p->offset += 2;
    if (!scan_hex4(p, &second) || second < 0xdc00 || second > 0xdfff)
        return "a high surrogate stands without its low one";
    return NULL;
}

/* At a backslash. */
static const char *scan_escape(struct parser *p)
{
    int c;

    p->offset++;
    c = peek(p);
    if (c < 0 || !memchr("\"\\/bfnrtu", c, 9))
        return "no such escape in a string";
    p->offset++;
    return c == 'u' ? scan_unicode_escape(p) : NULL;
}

/* At a byte that is not plain. */
static const char *scan_special(struct parser *p)
{
    uint32_t code_point;
    size_t size;

    if (peek(p) < 0)
        return "the string does not end";
    if (peek(p) < 0x20)
        return "a control character stands in a string";
    if (peek(p) == '\\')
        return scan_escape(p);
    size = utf8_decode(bytes_make(p->text.data + p->offset, p->text.size - p->offset), &code_point);
    p->offset += size;
    return size == 0 ? "the text is not valid UTF-8" : NULL;
}

/* At a quote. Adds the string's node. */
static enum state scan_string(struct parser *p, enum state next)
{
    size_t begin = p->offset++;
    bool escaped = false;

    for (;;) {
        p->offset += json_plain_run(p->text, p->offset);
        int c = peek(p);
        size_t offset = p->offset;
        const char *reason;

        if (c == '"')
            break;
        escaped = escaped || c == '\\';
        reason = scan_special(p);
        if (reason)
            return wrong(p, offset, reason);
    }
    p->offset++;
    return add_scalar(p, JSON_STRING, begin, escaped) ? next : STATE_WRONG;
}

static bool scan_digits(struct parser *p)
{
    size_t begin = p->offset;

    while (is_digit(peek(p)))
        p->offset++;
    return p->offset > begin;
}

static const char *scan_number_text(struct parser *p)
{
    if (peek(p) == '-')
        p->offset++;
    if (peek(p) == '0') {
        p->offset++;
        if (is_digit(peek(p)))
            return "a number does not begin with 0";
    } else if (!scan_digits(p)) {
        return "a digit is expected";
    }
    if (peek(p) == '.') {
        p->offset++;
        if (!scan_digits(p))
            return "a digit is expected after the point";
    }
    if (peek(p) == 'e' || peek(p) == 'E') {
        p->offset++;
        if (peek(p) == '+' || peek(p) == '-')
            p->offset++;
        if (!scan_digits(p))
            return "a digit is expected in the exponent";
    }
    return NULL;
}

static enum state scan_number(struct parser *p)
{
    size_t begin = p->offset;
    const char *reason = scan_number_text(p);

    if (reason)
        return wrong(p, p->offset, reason);
    return add_scalar(p, JSON_NUMBER, begin, false) ? STATE_AFTER : STATE_WRONG;
}

static enum state scan_word(struct parser *p, struct bytes word, enum json_type type)
{
    size_t begin = p->offset;

    if (!bytes_starts_with(bytes_slice(p->text, begin, word.size), word))
        return wrong(p, begin, "a value is expected");
    p->offset += word.size;
    return add_scalar(p, type, begin, false) ? STATE_AFTER : STATE_WRONG;
}

/* ---- containers ---- */

static int compare_keys(const void *a, const void *b, void *doc_pointer)
{
    const struct json_doc *doc = (const struct json_doc *)doc_pointer;

    return json_compare_strings(doc, &doc->nodes[*(const uint32_t *)a], &doc->nodes[*(const uint32_t *)b]);
}

/* The key among `count` collected ones that is there twice (the later one), or UINT32_MAX. */
static uint32_t find_duplicate(struct parser *p, uint32_t *keys, size_t count)
{
    if (count <= PAIRWISE_COUNT_MAX) {
        for (size_t later = 1; later < count; later++) {
            for (size_t earlier = 0; earlier < later; earlier++) {
                if (compare_keys(&keys[earlier], &keys[later], p->doc) == 0)
                    return keys[later];
            }
        }
        return UINT32_MAX;
    }
    qsort_r(keys, count, sizeof(*keys), compare_keys, p->doc);
    for (size_t i = 1; i < count; i++) {
        if (compare_keys(&keys[i - 1], &keys[i], p->doc) == 0)
            return keys[i - 1] > keys[i] ? keys[i - 1] : keys[i];
    }
    return UINT32_MAX;
}

static bool check_duplicates(struct parser *p, uint32_t object)
{
    const struct json_node *nodes = p->doc->nodes;
    size_t count = 0;
    bool few = nodes[object].count <= PAIRWISE_COUNT_MAX;
    uint32_t duplicate;
    int r = few ? 0 : vector_reserve(&p->keys, &p->keys_capacity, nodes[object].count);

    if (r < 0) {
        p->failure = r;
        return false;
    }
    uint32_t *keys = few ? p->few_keys : p->keys;
    for (uint32_t key = object + 1; key < p->doc->count; key = nodes[key + 1].end)
        keys[count++] = key;
    assert(count == nodes[object].count); /* J2 */
    duplicate = find_duplicate(p, keys, count);
    if (duplicate == UINT32_MAX)
        return true;
    wrong(p, nodes[duplicate].offset, "the key is there twice");
    return false;
}

static enum state open_container(struct parser *p, enum json_type type)
{
    if (p->depth == JSON_DEPTH_MAX)
        return wrong(p, p->offset, "the value is nested deeper than 64 levels");
    if (!add_node(p, type, p->offset))
        return STATE_WRONG;
    p->open[p->depth++] = (uint32_t)(p->doc->count - 1);
    p->offset++;
    return type == JSON_ARRAY ? STATE_ARRAY_FIRST : STATE_OBJECT_FIRST;
}

static enum state close_container(struct parser *p)
{
    uint32_t index = p->open[p->depth - 1];
    struct json_node *node = &p->doc->nodes[index];

    if (node->type == JSON_OBJECT && node->count > 1 && !check_duplicates(p, index))
        return STATE_WRONG;
    p->offset++;
    p->depth--;
    node->size = (uint32_t)(p->offset - node->offset);
    node->end = (uint32_t)p->doc->count;
    return STATE_AFTER;
}

/* ---- states ---- */

static enum state on_value(struct parser *p)
{
    int c = peek(p);

    count_value(p);
    switch (c) {
    case '{': return open_container(p, JSON_OBJECT);
    case '[': return open_container(p, JSON_ARRAY);
    case '"': return scan_string(p, STATE_AFTER);
    case 't': return scan_word(p, BYTES_LITERAL("true"), JSON_BOOL);
    case 'f': return scan_word(p, BYTES_LITERAL("false"), JSON_BOOL);
    case 'n': return scan_word(p, BYTES_LITERAL("null"), JSON_NULL);
    default: break;
    }
    if (c == '-' || is_digit(c))
        return scan_number(p);
    return wrong(p, p->offset, "a value is expected");
}

static enum state on_array_first(struct parser *p)
{
    return peek(p) == ']' ? close_container(p) : on_value(p);
}

static enum state on_key(struct parser *p)
{
    if (peek(p) != '"')
        return wrong(p, p->offset, "a key in double quotes is expected");
    return scan_string(p, STATE_COLON);
}

static enum state on_object_first(struct parser *p)
{
    return peek(p) == '}' ? close_container(p) : on_key(p);
}

static enum state on_colon(struct parser *p)
{
    if (peek(p) != ':')
        return wrong(p, p->offset, "a colon is expected");
    p->offset++;
    return STATE_VALUE;
}

static enum state on_after(struct parser *p)
{
    bool in_array;

    if (p->depth == 0)
        return peek(p) < 0 ? STATE_DONE : wrong(p, p->offset, "nothing is expected after the value");
    in_array = p->doc->nodes[p->open[p->depth - 1]].type == JSON_ARRAY;
    if (peek(p) == ',') {
        p->offset++;
        return in_array ? STATE_VALUE : STATE_KEY;
    }
    if (peek(p) == (in_array ? ']' : '}'))
        return close_container(p);
    return wrong(p, p->offset, in_array ? "a comma or ] is expected" : "a comma or } is expected");
}

static void run(struct parser *p)
{
    static enum state (*const on[])(struct parser *) = {
        [STATE_VALUE] = on_value,
        [STATE_ARRAY_FIRST] = on_array_first,
        [STATE_OBJECT_FIRST] = on_object_first,
        [STATE_KEY] = on_key,
        [STATE_COLON] = on_colon,
        [STATE_AFTER] = on_after,
    };
    enum state state = STATE_VALUE;

    while (state < STATE_DONE) {
        skip_space(p);
        state = on[state](p);
    }
    assert((state == STATE_DONE) == (p->failure == 0));
}

int json_parse(struct bytes text, struct json_doc *doc, struct json_error *ret_error)
{
    struct parser parser = {.doc = doc, .text = text};

    doc->count = 0;
    doc->text = text;
    parser.failure = vector_reserve(&doc->nodes, &doc->capacity, NODE_COUNT_FIRST);
    if (parser.failure == 0 && text.size > JSON_SIZE_MAX)
        wrong(&parser, JSON_SIZE_MAX, "the text is larger than 1 GiB");
    else if (parser.failure == 0)
        run(&parser);
    free(parser.keys);
    if (parser.failure == 0)
        return 0;
    doc->count = 0;
    if (parser.failure > 0 && ret_error)
        *ret_error = parser.error;
    return parser.failure;
}
