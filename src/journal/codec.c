/* The event record. Reading goes through a cursor that knows what is left, and every rule of docs/formats/event.md is one
 * line of a check; the first broken one is named. */

#include "journal/codec.h"

#include <assert.h>

#include "base/names.h"
#include "vault/vault.h"

enum { FLAG_STREAM = 1u, FLAG_KEY = 2u, FLAGS_KNOWN = FLAG_STREAM | FLAG_KEY };

/* Where the fields of fixed size stand. */
enum {
    AT_FORMAT = 0,
    AT_FLAGS = 1,
    AT_APPEND_INDEX = 2,
    AT_APPEND_COUNT = 4,
    AT_TAG_COUNT = 6,
    AT_ID = 8,
    AT_TIME = 24,
    AT_VERSION = 32,
    AT_TYPE_SIZE = 40,
    AT_STREAM_SIZE = 42,
    AT_KEY_SIZE = 44,
    AT_RESERVED = 46,
};
enum { AT_CONTENT_TYPE_SIZE = 2, AT_META_SIZE = 4 };

size_t codec_head_size(const struct journal_event *event)
{
    size_t size = CODEC_HEAD_FIXED_SIZE + event->type.size + event->stream.size;
    if (event->key.size > 0)
        size += event->key.size + CODEC_KEY_HASH_SIZE;
    for (size_t i = 0; i < event->tag_count; i++)
        size += 2 + event->tags[i].size;
    return size;
}

size_t codec_body_size(const struct journal_event *event)
{
    return CODEC_BODY_FIXED_SIZE + event->content_type.size + event->meta.size + event->data.size;
}

static uint8_t *put(uint8_t *to, struct bytes bytes)
{
    if (bytes.size > 0)
        memcpy(to, bytes.data, bytes.size);
    return to + bytes.size;
}

void codec_write_head(const struct journal_event *event, uint8_t *to)
{
    uint64_t append_index = event->position - event->append_first;
    assert(event->append_first <= event->position && append_index < event->append_count);
    assert((event->version > 0) == (event->stream.size > 0));
    assert(event->key.size == 0 || event->key_hash.size == CODEC_KEY_HASH_SIZE);

    to[AT_FORMAT] = CODEC_FORMAT;
    to[AT_FLAGS] = (event->stream.size > 0 ? FLAG_STREAM : 0) | (event->key.size > 0 ? FLAG_KEY : 0);
    bytes_put_u16(to + AT_APPEND_INDEX, (uint16_t)append_index);
    bytes_put_u16(to + AT_APPEND_COUNT, (uint16_t)event->append_count);
    bytes_put_u16(to + AT_TAG_COUNT, (uint16_t)event->tag_count);
    memcpy(to + AT_ID, event->id, sizeof(event->id));
    bytes_put_u64(to + AT_TIME, (uint64_t)event->time_us);
    bytes_put_u64(to + AT_VERSION, event->version);
    bytes_put_u16(to + AT_TYPE_SIZE, (uint16_t)event->type.size);
    bytes_put_u16(to + AT_STREAM_SIZE, (uint16_t)event->stream.size);
    bytes_put_u16(to + AT_KEY_SIZE, (uint16_t)event->key.size);
    bytes_put_u16(to + AT_RESERVED, 0);

    uint8_t *end = put(to + CODEC_HEAD_FIXED_SIZE, event->type);
    end = put(end, event->stream);
    if (event->key.size > 0) {
        end = put(end, event->key);
        end = put(end, event->key_hash);
    }
    for (size_t i = 0; i < event->tag_count; i++) {
        assert(i == 0 || bytes_compare(event->tags[i - 1], event->tags[i]) < 0);
        bytes_put_u16(end, (uint16_t)event->tags[i].size);
        end = put(end + 2, event->tags[i]);
    }
    assert((size_t)(end - to) == codec_head_size(event));
}

void codec_write_body(const struct journal_event *event, uint8_t *to)
{
    to[0] = CODEC_FORMAT;
    to[1] = 0;
    bytes_put_u16(to + AT_CONTENT_TYPE_SIZE, (uint16_t)event->content_type.size);
    bytes_put_u32(to + AT_META_SIZE, (uint32_t)event->meta.size);
    uint8_t *end = put(to + CODEC_BODY_FIXED_SIZE, event->content_type);
    end = put(end, event->meta);
    end = put(end, event->data);
    assert((size_t)(end - to) == codec_body_size(event));
}

/* ---- reading ---- */

/* Takes `size` bytes off the front of `left`; false when there are not so many. */
static bool take(struct bytes *left, size_t size, struct bytes *ret_taken)
{
    if (left->size < size)
        return false;
    *ret_taken = bytes_make(left->data, size);
    *left = bytes_make(left->data + size, left->size - size);
    return true;
}

static bool name_good(enum name_kind kind, struct bytes name)
{
    int broken = name_check(kind, name);
    return broken == 0 || broken == NAME_E_SYSTEM;
}

static const char *read_fixed(const uint8_t *head, uint64_t position, struct journal_event *event)
{
    unsigned flags = head[AT_FLAGS];
    unsigned append_index = bytes_get_u16(head + AT_APPEND_INDEX);
    event->append_count = bytes_get_u16(head + AT_APPEND_COUNT);
    event->tag_count = bytes_get_u16(head + AT_TAG_COUNT);
    event->time_us = (int64_t)bytes_get_u64(head + AT_TIME);
    event->version = bytes_get_u64(head + AT_VERSION);
    memcpy(event->id, head + AT_ID, sizeof(event->id));
    event->append_first = position - append_index;

    if (flags & ~FLAGS_KNOWN)
        return "unknown flags in the head";
    if (event->append_count == 0 || event->append_count > JOURNAL_EVENT_COUNT_MAX)
        return "events of the append must be 1 to 1000";
    if (append_index >= event->append_count)
        return "place in the append must be below its number of events";
    if (append_index >= position)
        return "the append must not begin before position 1";
    if (event->tag_count > JOURNAL_TAG_COUNT_MAX)
        return "too many tags";
    if ((event->version > 0) != ((flags & FLAG_STREAM) != 0))
        return "version must be 0 exactly outside of streams";
    if ((bytes_get_u16(head + AT_STREAM_SIZE) > 0) != ((flags & FLAG_STREAM) != 0))
        return "a stream's name must stand exactly where the flag says so";
    if ((bytes_get_u16(head + AT_KEY_SIZE) > 0) != ((flags & FLAG_KEY) != 0))
        return "a key must stand exactly where the flag says so";
    if (bytes_get_u16(head + AT_KEY_SIZE) > JOURNAL_KEY_SIZE_MAX)
        return "the key is too long";
    if (bytes_get_u16(head + AT_RESERVED) != 0)
        return "reserved bytes must be 0";
    return NULL;
}

static const char *read_tags(struct bytes *left, struct codec_tags *tags, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct bytes size;
        if (!take(left, 2, &size) || !take(left, bytes_get_u16(size.data), &tags->tags[i]))
            return "the head ends within a tag";
        if (!name_good(NAME_TAG, tags->tags[i]))
            return "a tag is not a name";
        if (i > 0 && bytes_compare(tags->tags[i - 1], tags->tags[i]) >= 0)
            return "tags must ascend";
    }
    return NULL;
}

static const char *read_head(struct bytes head, uint64_t position, struct codec_tags *tags,
                             struct journal_event *event)
{
    const char *rule = read_fixed(head.data, position, event);
    if (rule)
        return rule;
    struct bytes left = bytes_make(head.data + CODEC_HEAD_FIXED_SIZE, head.size - CODEC_HEAD_FIXED_SIZE);
    size_t key_size = bytes_get_u16(head.data + AT_KEY_SIZE);
    if (!take(&left, bytes_get_u16(head.data + AT_TYPE_SIZE), &event->type) ||
        !take(&left, bytes_get_u16(head.data + AT_STREAM_SIZE), &event->stream) ||
        !take(&left, key_size, &event->key) ||
        !take(&left, key_size > 0 ? CODEC_KEY_HASH_SIZE : 0, &event->key_hash))
        return "the head ends within a name";
    if (!name_good(NAME_TYPE, event->type))
        return "the type is not a name";
    if (event->stream.size > 0 && !name_good(NAME_STREAM, event->stream))
        return "the stream is not a name";
    rule = read_tags(&left, tags, event->tag_count);
    if (rule)
        return rule;
    event->tags = tags->tags;
    return left.size > 0 ? "the head is longer than its fields" : NULL;
}

static const char *read_body(struct bytes body, struct journal_event *event)
{
    if (body.data[1] != 0)
        return "unknown flags in the body";
    struct bytes left = bytes_make(body.data + CODEC_BODY_FIXED_SIZE, body.size - CODEC_BODY_FIXED_SIZE);
    size_t content_type_size = bytes_get_u16(body.data + AT_CONTENT_TYPE_SIZE);
    if (content_type_size > JOURNAL_CONTENT_TYPE_SIZE_MAX)
        return "the content type is too long";
    if (!take(&left, content_type_size, &event->content_type) ||
        !take(&left, bytes_get_u32(body.data + AT_META_SIZE), &event->meta))
        return "the body ends within meta";
    event->data = left;
    return NULL;
}

size_t codec_plain_size(const struct journal_event *event)
{
    return CODEC_PLAIN_FIXED_SIZE + event->subject.size + codec_body_size(event);
}

void codec_write_plain(const struct journal_event *event, uint8_t *to)
{
    bytes_put_u16(to, (uint16_t)event->subject.size);
    codec_write_body(event, put(to + CODEC_PLAIN_FIXED_SIZE, event->subject));
}

const char *codec_read_plain(struct bytes plain, struct journal_event *event)
{
    struct bytes size;
    if (!take(&plain, CODEC_PLAIN_FIXED_SIZE, &size) ||
        !take(&plain, bytes_get_u16(size.data), &event->subject))
        return "what was sealed ends within the subject";
    if (!name_good(NAME_TAG, event->subject))
        return "the subject is not a name";
    if (plain.size < CODEC_BODY_FIXED_SIZE || plain.data[0] != CODEC_FORMAT)
        return "what was sealed is no event's body";
    return read_body(plain, event);
}

static const char *read_sealed(struct bytes body, struct journal_event *event)
{
    struct vault_id fingerprint;
    event->sealed = true;
    return vault_sealed_check(body, &fingerprint);
}

/* What neither a head nor every body says. The rest is set as it is read: clearing all of an event first costs a reader as
 * much as a name. */
static void begin_event(const struct log_record *record, struct journal_event *event)
{
    event->position = record->position;
    event->stub = record->flags & LOG_RECORD_STUB;
    event->erased = event->sealed = false;
    event->content_type = event->meta = event->data = event->subject = (struct bytes){0};
}

static int refuse(int answer, const char *rule, const char **ret_rule)
{
    if (ret_rule)
        *ret_rule = rule;
    return answer;
}

int codec_read(const struct log_record *record, struct codec_tags *tags, struct journal_event *ret_event,
               const char **ret_rule)
{
    struct journal_event event;

    if (record->head.size > 0 && record->head.data[AT_FORMAT] > CODEC_FORMAT)
        return refuse(CODEC_E_NEWER, "the head has a format newer than this daybook", ret_rule);
    if (record->head.size < CODEC_HEAD_FIXED_SIZE || record->head.data[AT_FORMAT] != CODEC_FORMAT)
        return refuse(CODEC_E_DAMAGED, "the head is no event's", ret_rule);
    begin_event(record, &event);
    const char *rule = read_head(record->head, record->position, tags, &event);
    if (rule)
        return refuse(CODEC_E_DAMAGED, rule, ret_rule);

    if (event.stub) {
        *ret_event = event;
        return 0;
    }
    if (record->body.size > 0 && record->body.data[0] > CODEC_FORMAT_SEALED)
        return refuse(CODEC_E_NEWER, "the body has a format newer than this daybook", ret_rule);
    if (record->body.size < CODEC_BODY_FIXED_SIZE || record->body.data[0] == 0)
        return refuse(CODEC_E_DAMAGED, "the body is no event's", ret_rule);
    rule = record->body.data[0] == CODEC_FORMAT ? read_body(record->body, &event)
                                                : read_sealed(record->body, &event);
    if (rule)
        return refuse(CODEC_E_DAMAGED, rule, ret_rule);
    *ret_event = event;
    return 0;
}

bool codec_ends_append(const struct log_record *record)
{
    if (record->head.size < CODEC_HEAD_FIXED_SIZE)
        return false;
    return bytes_get_u16(record->head.data + AT_APPEND_INDEX) + 1u ==
           bytes_get_u16(record->head.data + AT_APPEND_COUNT);
}

bool codec_has_type(const struct log_record *record, struct bytes type)
{
    return record->head.size >= CODEC_HEAD_FIXED_SIZE + type.size &&
           bytes_get_u16(record->head.data + AT_TYPE_SIZE) == type.size &&
           bytes_equal(bytes_slice(record->head, CODEC_HEAD_FIXED_SIZE, type.size), type);
}
