#include "view/carry.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"

#define MARK      "\xef\xb7\x90" /* U+FDD0 */
#define MARK_SIZE 3

static bool is_mark(struct bytes text, size_t at)
{
    return at + MARK_SIZE <= text.size && memcmp(text.data + at, MARK, MARK_SIZE) == 0;
}

/* A text that is copied only from its first difference on. */
struct changes {
    struct bytes text;
    struct buffer *out;
    size_t kept; /* bytes of `text` that are in `out`, or were replaced there */
    int failure;
};

static void change(struct changes *changes, size_t from, size_t to, const char *by)
{
    int r = changes->failure;
    if (r == 0)
        r = buffer_append_bytes(changes->out, bytes_slice(changes->text, changes->kept, from - changes->kept));
    if (r == 0)
        r = buffer_append_string(changes->out, by);
    changes->failure = r;
    changes->kept = to;
}

static int end_changes(struct changes *changes, struct bytes *ret_text)
{
    int r = changes->failure;
    if (changes->kept == 0) {
        *ret_text = changes->text;
        return 0;
    }
    if (r == 0)
        r = buffer_append_bytes(changes->out, bytes_slice(changes->text, changes->kept, changes->text.size));
    if (r == 0)
        *ret_text = buffer_bytes(changes->out);
    return r;
}

static struct changes begin_changes(struct bytes text, struct buffer *out)
{
    buffer_clear(out);
    return (struct changes){.text = text, .out = out};
}

/* --- in --------------------------------------------------------------------------------------------------------------------- */

int carry_text(struct bytes text, struct buffer *out, struct bytes *ret_carried)
{
    struct changes changes = begin_changes(text, out);
    for (size_t at = 0; at < text.size; at++) {
        if (text.data[at] == 0)
            change(&changes, at, at + 1, MARK "0");
        else if (is_mark(text, at))
            change(&changes, at, at + MARK_SIZE, MARK "1");
    }
    return end_changes(&changes, ret_carried);
}

static int digit_of(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* The value of the escape \uXXXX that stands at `at`; -1: another escape. */
static int escape_at(struct bytes json, size_t at)
{
    enum { SIZE = 6 };
    int value = 0;
    if (at + SIZE > json.size || json.data[at + 1] != 'u')
        return -1;
    for (size_t i = at + 2; i < at + SIZE; i++) {
        int digit = digit_of(json.data[i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

int carry_json(struct bytes json, struct buffer *out, struct bytes *ret_carried)
{
    enum { ESCAPE_SIZE = 6, MARK_CODE = 0xfdd0 };
    struct changes changes = begin_changes(json, out);
    for (size_t at = 0; at < json.size;) {
        if (json.data[at] == '\\') { /* within a string: nowhere else may one stand */
            int value = escape_at(json, at);
            if (value == 0 || value == MARK_CODE)
                change(&changes, at, at + ESCAPE_SIZE, value == 0 ? MARK "0" : MARK "1");
            at += value >= 0 ? ESCAPE_SIZE : 2;
        } else if (json.data[at] == (uint8_t)MARK[0] && is_mark(json, at)) {
            change(&changes, at, at + MARK_SIZE, MARK "1");
            at += MARK_SIZE;
        } else {
            at++;
        }
    }
    return end_changes(&changes, ret_carried);
}

/* --- out -------------------------------------------------------------------------------------------------------------------- */

bool carry_is_in(struct bytes text)
{
    return text.size >= MARK_SIZE && memmem(text.data, text.size, MARK, MARK_SIZE) != NULL;
}

static bool is_json(struct bytes text)
{
    struct json_doc doc = {0};
    bool yes = json_parse(text, &doc, NULL) == 0;
    json_doc_deinit(&doc);
    return yes;
}

int carry_out(struct bytes text, struct buffer *out)
{
    bool json = is_json(text);
    size_t kept = 0;
    int r = 0;
    for (size_t at = 0; r == 0 && at < text.size; at++) {
        uint8_t which = is_mark(text, at) && at + MARK_SIZE < text.size ? text.data[at + MARK_SIZE] : 0;
        if (which != '0' && which != '1')
            continue;
        r = buffer_append_bytes(out, bytes_slice(text, kept, at - kept));
        if (r == 0)
            r = which == '1' ? buffer_append_string(out, MARK)
                : json       ? buffer_append_string(out, "\\u0000")
                             : buffer_append_byte(out, 0);
        at += MARK_SIZE;
        kept = at + 1;
    }
    return r == 0 ? buffer_append_bytes(out, bytes_slice(text, kept, text.size)) : r;
}
