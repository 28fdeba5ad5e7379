#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hex.h"
#include "base/json_internal.h"
#include "base/utf8.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

struct json_writer json_writer(struct buffer *out)
{
    return (struct json_writer){.out = out};
}

int json_write_end(struct json_writer *w)
{
    assert(w->failure != 0 || (w->depth == 0 && w->has_value));
    return w->failure;
}

static void put(struct json_writer *w, struct bytes bytes)
{
    if (w->failure == 0)
        w->failure = buffer_append_bytes(w->out, bytes);
}

/* The bit of the innermost open container in has_items and objects. */
static uint64_t level_bit(const struct json_writer *w)
{
    assert(w->depth > 0);
    return UINT64_C(1) << (w->depth - 1);
}

static bool in_object(const struct json_writer *w)
{
    return w->depth > 0 && (w->objects & level_bit(w));
}

/* A comma, if something stands before in this container. */
static void separate(struct json_writer *w)
{
    if (w->has_items & level_bit(w))
        put(w, BYTES_LITERAL(","));
    w->has_items |= level_bit(w);
}

/* Before every value. */
static void begin_value(struct json_writer *w)
{
    if (w->after_key) {
        w->after_key = false;
    } else if (w->depth > 0) {
        assert(!in_object(w)); /* in an object a key comes first */
        separate(w);
    } else {
        assert(!w->has_value); /* one value a document */
        w->has_value = true;
    }
}

static void begin_container(struct json_writer *w, struct bytes bracket, bool object)
{
    begin_value(w);
    put(w, bracket);
    assert(w->depth < JSON_DEPTH_MAX);
    w->depth++;
    w->has_items &= ~level_bit(w);
    w->objects = object ? w->objects | level_bit(w) : w->objects & ~level_bit(w);
}

static void end_container(struct json_writer *w, struct bytes bracket, bool object)
{
    assert(w->depth > 0 && !w->after_key && in_object(w) == object);
    w->depth--;
    put(w, bracket);
}

void json_write_object_begin(struct json_writer *w)
{
    begin_container(w, BYTES_LITERAL("{"), true);
}

void json_write_object_end(struct json_writer *w)
{
    end_container(w, BYTES_LITERAL("}"), true);
}

void json_write_array_begin(struct json_writer *w)
{
    begin_container(w, BYTES_LITERAL("["), false);
}

void json_write_array_end(struct json_writer *w)
{
    end_container(w, BYTES_LITERAL("]"), false);
}

/* ---- strings ---- */

static void put_escape(struct json_writer *w, uint8_t c)
{
    static const char letters[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    uint8_t escape[6] = {'\\', 'u', '0', '0', (uint8_t)hex_digits[c >> 4], (uint8_t)hex_digits[c & 15]};

    if (c == '"' || c == '\\')
        escape[1] = c;
    else if (c < sizeof(letters) && letters[c])
        escape[1] = (uint8_t)letters[c];
    put(w, bytes_make(escape, escape[1] == 'u' ? 6 : 2));
}

/* How much from `offset` on can be written as it is. */
static size_t plain_run(struct bytes text, size_t offset)
{
    size_t at = offset;

    for (;;) {
        uint32_t code_point;
        size_t size;

        at += json_plain_run(text, at);
        if (at == text.size)
            break;
        if (text.data[at] < 0x80)
            break;
        size = utf8_decode(bytes_make(text.data + at, text.size - at), &code_point);
        if (size == 0)
            break;
        at += size;
    }
    return at - offset;
}

bool json_is_plain(struct bytes text)
{
    return json_plain_run(text, 0) == text.size;
}

static void put_string(struct json_writer *w, struct bytes text)
{
    size_t offset = 0;

    put(w, BYTES_LITERAL("\""));
    while (offset < text.size && w->failure == 0) {
        size_t run = plain_run(text, offset);

        put(w, bytes_slice(text, offset, run));
        offset += run;
        if (offset == text.size)
            break;
        if (text.data[offset] >= 0x80)
            put(w, BYTES_LITERAL(REPLACEMENT));
        else
            put_escape(w, text.data[offset]);
        offset++;
    }
    put(w, BYTES_LITERAL("\""));
}

void json_write_key_bytes(struct json_writer *w, struct bytes key)
{
    assert(in_object(w) && !w->after_key);
    separate(w);
    put_string(w, key);
    put(w, BYTES_LITERAL(":"));
    w->after_key = true;
}

void json_write_key(struct json_writer *w, const char *key)
{
    json_write_key_bytes(w, bytes_from_string(key));
}

void json_write_bytes(struct json_writer *w, struct bytes text)
{
    begin_value(w);
    put_string(w, text);
}

void json_write_string(struct json_writer *w, const char *text)
{
    json_write_bytes(w, bytes_from_string(text));
}

/* ---- the rest ---- */

void json_write_raw(struct json_writer *w, struct bytes valid)
{
    begin_value(w);
    put(w, valid);
}

void json_write_u64(struct json_writer *w, uint64_t number)
{
    char text[BYTES_U64_TEXT_SIZE];

    json_write_raw(w, bytes_make(text, bytes_format_u64(number, text)));
}

void json_write_i64(struct json_writer *w, int64_t number)
{
    char text[24];
    int size = snprintf(text, sizeof(text), "%lld", (long long)number);

    json_write_raw(w, bytes_make(text, (size_t)size));
}

void json_write_double(struct json_writer *w, double number)
{
    char text[40];
    int size = 0;

    if (!isfinite(number)) {
        json_write_null(w);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        size = snprintf(text, sizeof(text), "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    for (int i = 0; i < size; i++) {
        if (!strchr("0123456789+-e", text[i]))
            text[i] = '.'; /* the point of another locale */
    }
    json_write_raw(w, bytes_make(text, (size_t)size));
}

void json_write_bool(struct json_writer *w, bool truth)
{
    json_write_raw(w, truth ? BYTES_LITERAL("true") : BYTES_LITERAL("false"));
}

void json_write_null(struct json_writer *w)
{
    json_write_raw(w, BYTES_LITERAL("null"));
}

void json_write_member_string(struct json_writer *w, const char *key, const char *text)
{
    json_write_key(w, key);
    json_write_string(w, text);
}

void json_write_member_bytes(struct json_writer *w, const char *key, struct bytes text)
{
    json_write_key(w, key);
    json_write_bytes(w, text);
}

void json_write_member_u64(struct json_writer *w, const char *key, uint64_t number)
{
    json_write_key(w, key);
    json_write_u64(w, number);
}

void json_write_member_i64(struct json_writer *w, const char *key, int64_t number)
{
    json_write_key(w, key);
    json_write_i64(w, number);
}

void json_write_member_bool(struct json_writer *w, const char *key, bool truth)
{
    json_write_key(w, key);
    json_write_bool(w, truth);
}

void json_write_member_raw(struct json_writer *w, const char *key, struct bytes valid)
{
    json_write_key(w, key);
    json_write_raw(w, valid);
}
