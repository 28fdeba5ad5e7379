/* Just enough of SQL to know where a column's type stands: in `create table`, within the first parentheses, the second word
 * behind "(" or ",". */
#include "view/schema.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

static bool is_word(uint8_t c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || c == '$' || c >= 0x80;
}

/* Where what is quoted from `at` on ends. */
static size_t quoted_end(struct bytes sql, size_t at)
{
    uint8_t close = sql.data[at] == '[' ? ']' : sql.data[at];
    const uint8_t *end = memchr(sql.data + at + 1, close, sql.size - at - 1);
    return end ? (size_t)(end - sql.data) + 1 : sql.size;
}

static size_t comment_end(struct bytes sql, size_t at)
{
    const char *close = sql.data[at] == '-' ? "\n" : "*/";
    const uint8_t *end = memmem(sql.data + at + 2, sql.size - at - 2, close, strlen(close));
    return end ? (size_t)(end - sql.data) + strlen(close) : sql.size;
}

static bool begins_comment(struct bytes sql, size_t at)
{
    return at + 2 <= sql.size && (memcmp(sql.data + at, "--", 2) == 0 || memcmp(sql.data + at, "/*", 2) == 0);
}

/* The next token from *at on, and *at behind it; empty at the end. */
static struct bytes next_token(struct bytes sql, size_t *at)
{
    while (*at < sql.size && (strchr(" \t\r\n\f", sql.data[*at]) || begins_comment(sql, *at)))
        *at = begins_comment(sql, *at) ? comment_end(sql, *at) : *at + 1;
    size_t first = *at;
    if (first == sql.size)
        return (struct bytes){0};
    if (strchr("'\"`[", sql.data[first])) {
        *at = quoted_end(sql, first);
    } else {
        while (*at < sql.size && is_word(sql.data[*at]))
            ++*at;
        *at += *at == first;
    }
    return bytes_slice(sql, first, *at - first);
}

static bool is(struct bytes token, const char *word)
{
    return token.size == strlen(word) && strncasecmp((const char *)token.data, word, token.size) == 0;
}

/* What may follow a column's type that is one word. */
static bool ends_type(struct bytes token)
{
    static const char *const words[] = {",",       ")",       "constraint", "primary", "not",       "null", "unique",
                                        "check",   "default", "collate",    "generated", "references", "as"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (is(token, words[i]))
            return true;
    }
    return false;
}

static bool begins_constraint(struct bytes token)
{
    return is(token, "constraint") || is(token, "primary") || is(token, "unique") || is(token, "check") ||
           is(token, "foreign");
}

struct reading {
    bool creates, table; /* within `create`, `create table` */
    unsigned depth;
    int word; /* of a column's definition: 1 the next is its name, 2 its type; 0 neither */
};

/* Whether the token is a column's type. */
static bool read_token(struct reading *reading, struct bytes token)
{
    int word = reading->word;
    reading->word = 0;
    if (is(token, ";")) {
        *reading = (struct reading){0};
    } else if (is(token, "(")) {
        reading->word = reading->table && ++reading->depth == 1;
    } else if (is(token, ")")) {
        reading->table &= reading->depth > 1; /* what follows the columns is none */
        reading->depth -= reading->depth > 0;
    } else if (is(token, ",")) {
        reading->word = reading->table && reading->depth == 1;
    } else if (word == 1) {
        reading->word = begins_constraint(token) ? 0 : 2;
    } else if (reading->depth == 0 && is(token, "create")) {
        reading->creates = true;
    } else if (reading->depth == 0 && (is(token, "view") || is(token, "trigger") || is(token, "index") || is(token, "as"))) {
        reading->creates = reading->table = false;
    } else if (reading->depth == 0 && is(token, "table")) {
        reading->table = reading->creates;
    }
    return word == 2;
}

int schema_declare(struct bytes sql, struct buffer *out)
{
    struct reading reading = {0};
    size_t at = 0, kept = 0;
    int r = 0;
    for (struct bytes token; r == 0 && (token = next_token(sql, &at)).size > 0;) {
        size_t ahead = at;
        if (!read_token(&reading, token) || !is(token, "json") || !ends_type(next_token(sql, &ahead)))
            continue;
        r = buffer_append_bytes(out, bytes_slice(sql, kept, at - kept));
        if (r == 0)
            r = buffer_append_string(out, " blob");
        kept = at;
    }
    return r == 0 ? buffer_append_bytes(out, bytes_slice(sql, kept, sql.size)) : r;
}
