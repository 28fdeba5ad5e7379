/* Written by hand rather than through json_write: an event is encoded for each answer and each subscription, and the
 * writer's bookkeeping (commas, nesting, room) was nine tenths of 8,400 instructions. Room for the whole object is made
 * once, counting every byte of a string as an escape; what is put then cannot run out of it. */

#include "journal/event_json.h"

#include <assert.h>

#include "base/checked.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/time.h"
#include "base/uuid.h"

enum {
    ESCAPED_SIZE_MAX = 6, /* of one byte: \u001f */
    STRING_SIZE_MAX = 3,  /* around one: quotes, comma */
    FIXED_SIZE_MAX = 512, /* keys, id, time, numbers */
};

/* ---- putting ---- */

#define put_literal(to, text) put_raw(to, BYTES_LITERAL(text))

static uint8_t *put_raw(uint8_t *to, struct bytes text)
{
    if (text.size > 0)
        memcpy(to, text.data, text.size);
    return to + text.size;
}

static uint8_t *put_u64(uint8_t *to, uint64_t number)
{
    return to + bytes_format_u64(number, (char *)to);
}

/* The last step of putting into a buffer with room: `to` is where its content ends now. */
static void put_end(struct buffer *out, const uint8_t *to)
{
    out->size = (size_t)(to - out->data);
    assert(out->size < out->capacity); /* size_bound() */
}

/* A string; names are plain text almost always. */
static int put_string(struct buffer *out, uint8_t **to, struct bytes text)
{
    if (json_is_plain(text)) {
        *(*to)++ = '"';
        *to = put_raw(*to, text);
        *(*to)++ = '"';
        return 0;
    }
    put_end(out, *to);
    struct json_writer w = json_writer(out);
    json_write_bytes(&w, text);
    int r = json_write_end(&w);
    *to = out->data + out->size;
    return r;
}

/* ---- the parts of an event ---- */

static int put_tags(struct buffer *out, uint8_t **to, const struct journal_event *event)
{
    int r = 0;

    *to = put_literal(*to, ",\"tags\":[");
    for (size_t i = 0; r == 0 && i < event->tag_count; i++) {
        if (i > 0)
            *(*to)++ = ',';
        r = put_string(out, to, event->tags[i]);
    }
    *(*to)++ = ']';
    return r;
}

static int put_names(struct buffer *out, uint8_t **to, const struct journal_event *event)
{
    char id[UUID_TEXT_SIZE], time[TIME_TEXT_SIZE];
    struct uuid uuid;
    int r = 0;

    *to = put_u64(put_literal(*to, "{\"position\":"), event->position);
    if (event->stream.size > 0) {
        *to = put_literal(*to, ",\"stream\":");
        r = put_string(out, to, event->stream);
        *to = put_u64(put_literal(*to, ",\"version\":"), event->version);
    }
    *to = put_literal(*to, ",\"type\":");
    r = error_first(r, put_string(out, to, event->type));
    memcpy(uuid.data, event->id, sizeof(uuid.data));
    uuid_format(uuid, id);
    /* A clock that says year 20000 makes no good time, but an event all the same. */
    if (time_format(event->time_us, time) != 0)
        memcpy(time, "9999-12-31T23:59:59.999999Z", sizeof(time));
    *to = put_raw(put_literal(*to, ",\"id\":\""), bytes_make(id, sizeof(id) - 1));
    *to = put_raw(put_literal(*to, "\",\"time\":\""), bytes_make(time, sizeof(time) - 1));
    *(*to)++ = '"';
    return error_first(r, put_tags(out, to, event));
}

static int put_content(struct buffer *out, uint8_t **to, const struct journal_event *event)
{
    int r = 0;

    if (event->stub || event->erased || event->sealed) {
        *to = event->stub     ? put_literal(*to, ",\"stub\":true")
              : event->erased ? put_literal(*to, ",\"erased\":true")
                              : put_literal(*to, ",\"sealed\":true");
        return 0;
    }
    if (event->subject.size > 0) {
        *to = put_literal(*to, ",\"subject\":");
        r = put_string(out, to, event->subject);
    }
    if (event->content_type.size > 0) {
        *to = put_literal(*to, ",\"data_base64\":\"");
        put_end(out, *to);
        r = error_first(r, base64_encode(event->data, out));
        *to = put_literal(out->data + out->size, "\",\"content_type\":");
        r = error_first(r, put_string(out, to, event->content_type));
    } else if (event->data.size > 0) {
        *to = put_raw(put_literal(*to, ",\"data\":"), event->data);
    }
    if (event->meta.size > 0)
        *to = put_raw(put_literal(*to, ",\"meta\":"), event->meta);
    return r;
}

/* ---- all of it ---- */

static bool add_strings(size_t *size, const struct bytes *strings, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t escaped;
        if (!checked_mul_size(strings[i].size, ESCAPED_SIZE_MAX, &escaped) ||
            !checked_add_size(*size, escaped, size) || !checked_add_size(*size, STRING_SIZE_MAX, size))
            return false;
    }
    return true;
}

/* No more than this is put for an event. */
static bool size_bound(const struct journal_event *event, size_t *ret_size)
{
    const struct bytes names[] = {event->stream, event->type, event->content_type, event->subject};
    size_t data = event->content_type.size > 0 ? event->data.size / 3 + 1 : event->data.size;

    *ret_size = FIXED_SIZE_MAX;
    return add_strings(ret_size, names, 4) && add_strings(ret_size, event->tags, event->tag_count) &&
           checked_mul_size(data, event->content_type.size > 0 ? 4 : 1, &data) &&
           checked_add_size(*ret_size, data, ret_size) &&
           checked_add_size(*ret_size, event->meta.size, ret_size);
}

int event_json_write(const struct journal_event *event, struct buffer *out)
{
    size_t size_before = out->size, bound;
    int r = size_bound(event, &bound) ? buffer_reserve(out, bound) : -E2BIG;

    if (r < 0)
        return r;
    uint8_t *to = out->data + out->size;
    r = put_names(out, &to, event);
    if (r == 0)
        r = put_content(out, &to, event);
    *to++ = '}';
    put_end(out, to);
    if (r < 0)
        out->size = size_before;
    return r;
}
