#include "journal/cloudevents.h"

#include <strings.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/names.h"
#include "base/uuid.h"

#define JSON_TYPE "application/json"

static int fail(const char **ret_reason, const char *reason)
{
    if (ret_reason)
        *ret_reason = reason;
    return CLOUDEVENTS_E_INVALID;
}

/* A member as it stands, under another name; nothing when there is none. */
static void copy_member(struct json_writer *w, const char *key, struct json_value value)
{
    if (json_exists(value))
        json_write_member_raw(w, key, json_raw(value));
}

/* ---- from a line ---- */

/* JSON as a string: an extension's value is a string, a number or a truth value, and no array or object. */
static void write_as_string(struct json_writer *w, const char *key, struct json_value value)
{
    if (json_count(value) > 0)
        json_write_member_bytes(w, key, json_raw(value));
}

static void write_event_data(struct json_writer *w, struct json_value line)
{
    if (json_exists(json_get(line, "data_base64"))) {
        copy_member(w, "datacontenttype", json_get(line, "content_type"));
        copy_member(w, "data_base64", json_get(line, "data_base64"));
    } else if (json_exists(json_get(line, "data"))) {
        json_write_member_string(w, "datacontenttype", JSON_TYPE);
        copy_member(w, "data", json_get(line, "data"));
    }
}

static void write_event(struct json_writer *w, struct json_value line, const char *source)
{
    json_write_object_begin(w);
    json_write_member_string(w, "specversion", "1.0");
    copy_member(w, "id", json_get(line, "id"));
    json_write_member_string(w, "source", source);
    copy_member(w, "type", json_get(line, "type"));
    copy_member(w, "subject", json_get(line, "stream"));
    copy_member(w, "time", json_get(line, "time"));
    write_event_data(w, line);
    write_as_string(w, "tags", json_get(line, "tags"));
    write_as_string(w, "meta", json_get(line, "meta"));
    copy_member(w, "datasubject", json_get(line, "subject"));
    copy_member(w, "stub", json_get(line, "stub"));
    copy_member(w, "erased", json_get(line, "erased"));
    copy_member(w, "sealed", json_get(line, "sealed"));
    if (json_exists(json_get(line, "position")))
        json_write_member_bytes(w, "position", json_raw(json_get(line, "position")));
    if (json_exists(json_get(line, "version")))
        json_write_member_bytes(w, "streamversion", json_raw(json_get(line, "version")));
    json_write_object_end(w);
}

int cloudevents_from_line(struct bytes line, const char *source, struct buffer *out)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct json_writer w = json_writer(out);
    size_t size_before = out->size;
    int r = json_parse(line, &doc, NULL);

    if (r < 0)
        return r;
    if (r > 0 || json_type(json_get(json_root(&doc), "type")) != JSON_STRING ||
        json_type(json_get(json_root(&doc), "id")) != JSON_STRING)
        return CLOUDEVENTS_E_INVALID;
    write_event(&w, json_root(&doc), source);
    r = json_write_end(&w);
    if (r < 0)
        out->size = size_before;
    return r;
}

/* ---- to a line ---- */

/* One CloudEvent being read. Members that are null count as left out. */
struct reading {
    struct json_value event;
    struct json_writer w;
    struct buffer text; /* of one value, escapes undone */
    bool ours;          /* written by a daybook: nothing of it needs to be kept in meta */
    bool id_changed, subject_is_stream;
    const char **ret_reason;
};

static struct json_value member(const struct reading *reading, const char *key)
{
    struct json_value value = json_get(reading->event, key);

    return json_type(value) == JSON_NULL ? (struct json_value){0} : value;
}

/* The text of a member that is a string; false when it is none, or empty. */
static bool text_of(struct reading *reading, const char *key, struct bytes *ret_text)
{
    buffer_clear(&reading->text);
    if (json_string(member(reading, key), &reading->text) != 0 || reading->text.size == 0)
        return false;
    *ret_text = buffer_bytes(&reading->text);
    return true;
}

/* The four attributes that every CloudEvent has. */
static int check_required(struct reading *reading)
{
    struct bytes text;

    if (json_type(reading->event) != JSON_OBJECT)
        return fail(reading->ret_reason, "it is no JSON object");
    if (!text_of(reading, "specversion", &text) || !bytes_starts_with(text, BYTES_LITERAL("1.")))
        return fail(reading->ret_reason, "its specversion is not 1.x");
    if (!text_of(reading, "id", &text))
        return fail(reading->ret_reason, "it has no id");
    if (!text_of(reading, "type", &text))
        return fail(reading->ret_reason, "it has no type");
    if (!text_of(reading, "source", &text))
        return fail(reading->ret_reason, "it has no source");
    reading->ours = bytes_starts_with(text, bytes_from_string(CLOUDEVENTS_SOURCE_PREFIX));
    return 0;
}

/* Source and id together name an event, by the specification; ours must be a UUID. */
static void write_id(struct reading *reading)
{
    struct hash_blake_state state;
    struct bytes text = {0};
    struct uuid uuid;
    char id[UUID_TEXT_SIZE];

    (void)text_of(reading, "id", &text);
    reading->id_changed = uuid_parse(text, &uuid) != 0;
    if (reading->id_changed) {
        hash_blake_init(&state, (struct bytes){0});
        hash_blake_update(&state, text);
        (void)text_of(reading, "source", &text);
        hash_blake_update(&state, bytes_make("\0", 1)); /* no id of ours to be mistaken for another's */
        hash_blake_update(&state, text);
        struct hash256 hash = hash_blake_final(&state);
        memcpy(uuid.data, hash.data, sizeof(uuid.data));
        uuid.data[6] = (uint8_t)(0x80 | (uuid.data[6] & 0x0f)); /* version 8 (RFC 9562 §5.8) */
        uuid.data[8] = (uint8_t)(0x80 | (uuid.data[8] & 0x3f));
    }
    uuid_format(uuid, id);
    json_write_member_string(&reading->w, "id", id);
}

static void write_stream(struct reading *reading)
{
    struct bytes text;

    reading->subject_is_stream = text_of(reading, "subject", &text) && name_check(NAME_STREAM, text) == 0;
    if (reading->subject_is_stream)
        json_write_member_bytes(&reading->w, "stream", text);
}

/* "application/json", with parameters or without. */
static bool is_json_type(struct bytes type)
{
    size_t size = sizeof(JSON_TYPE) - 1;

    return type.size >= size && strncasecmp((const char *)type.data, JSON_TYPE, size) == 0 &&
           (type.size == size || type.data[size] == ';' || type.data[size] == ' ');
}

static int write_base64(struct reading *reading, struct bytes data)
{
    _cleanup_(buffer_deinit) struct buffer base64 = {0};
    int r = base64_encode(data, &base64);

    if (r == 0)
        json_write_member_bytes(&reading->w, "data_base64", buffer_bytes(&base64));
    return r;
}

/* `data` of a type that is not JSON: a string is its text, anything else the JSON it is. */
static int write_other_data(struct reading *reading, struct json_value data)
{
    if (json_type(data) != JSON_STRING)
        return write_base64(reading, json_raw(data));
    buffer_clear(&reading->text);
    int r = json_string(data, &reading->text);
    return r == 0 ? write_base64(reading, buffer_bytes(&reading->text)) : r;
}

static int write_data(struct reading *reading)
{
    struct json_value data = json_get(reading->event, "data"), base64 = member(reading, "data_base64");
    struct json_writer *w = &reading->w;
    struct bytes type = {0};
    bool typed = text_of(reading, "datacontenttype", &type), json = !typed || is_json_type(type);

    if (json_exists(base64) && json_exists(data))
        return fail(reading->ret_reason, "it has both data and data_base64");
    if (json_exists(base64) && json_type(base64) != JSON_STRING)
        return fail(reading->ret_reason, "its data_base64 is no string");
    if (!json || (json_exists(base64) && typed))
        json_write_member_bytes(w, "content_type", json ? BYTES_LITERAL(JSON_TYPE) : type);
    else if (json_exists(base64))
        json_write_member_string(w, "content_type", "application/octet-stream");
    if (json_exists(base64))
        copy_member(w, "data_base64", base64);
    else if (json)
        json_write_member_raw(w, "data", json_exists(data) ? json_raw(data) : BYTES_LITERAL("null"));
    else
        return write_other_data(reading, data);
    return 0;
}

/* An extension that holds JSON in a string: of ours it must. *ret_raw is empty when there is none. */
static int parse_extension(struct reading *reading, const char *key, enum json_type type, struct buffer *ret_raw)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct bytes text;

    if (!reading->ours || !text_of(reading, key, &text))
        return 0;
    int r = json_parse(text, &doc, NULL);
    if (r < 0)
        return r;
    if (r > 0 || json_type(json_root(&doc)) != type)
        return fail(reading->ret_reason, type == JSON_ARRAY ? "its tags are no JSON array" : "its meta is no JSON object");
    return buffer_append_bytes(ret_raw, text);
}

/* What has a place of its own in an event, or is made anew. */
static bool has_place(const struct reading *reading, struct json_value key)
{
    static const char *const keys[] = {"specversion", "type", "datacontenttype", "data", "data_base64"};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (json_string_equals(key, keys[i]))
            return true;
    return (json_string_equals(key, "id") && !reading->id_changed) ||
           (json_string_equals(key, "subject") && reading->subject_is_stream);
}

/* Everything else of a stranger's event. */
static void write_foreign_meta(struct reading *reading)
{
    struct json_cursor at = json_walk(reading->event);
    struct json_writer *w = &reading->w;

    json_write_key(w, "meta");
    json_write_object_begin(w);
    json_write_key(w, "cloudevents");
    json_write_object_begin(w);
    while (json_next(&at)) {
        struct bytes key = json_raw(at.key);
        if (has_place(reading, at.key) || json_type(at.value) == JSON_NULL)
            continue;
        buffer_clear(&reading->text);
        if (json_string(at.key, &reading->text) == 0)
            key = buffer_bytes(&reading->text);
        json_write_key_bytes(w, key);
        json_write_raw(w, json_raw(at.value));
    }
    json_write_object_end(w);
    json_write_object_end(w);
}

static int write_tags_and_meta(struct reading *reading)
{
    _cleanup_(buffer_deinit) struct buffer tags = {0};
    _cleanup_(buffer_deinit) struct buffer meta = {0};
    int r = parse_extension(reading, "tags", JSON_ARRAY, &tags);

    if (r == 0)
        r = parse_extension(reading, "meta", JSON_OBJECT, &meta);
    if (r != 0)
        return r;
    if (tags.size > 0)
        json_write_member_raw(&reading->w, "tags", buffer_bytes(&tags));
    if (meta.size > 0)
        json_write_member_raw(&reading->w, "meta", buffer_bytes(&meta));
    if (!reading->ours)
        write_foreign_meta(reading);
    return 0;
}

/* Of ours: for whom the data is encrypted, and that it is gone. */
static void write_own_extensions(struct reading *reading)
{
    if (!reading->ours)
        return;
    copy_member(&reading->w, "subject", member(reading, "datasubject"));
    copy_member(&reading->w, "stub", member(reading, "stub"));
    copy_member(&reading->w, "erased", member(reading, "erased"));
    copy_member(&reading->w, "sealed", member(reading, "sealed"));
}

static int write_line(struct reading *reading)
{
    json_write_object_begin(&reading->w);
    write_stream(reading);
    copy_member(&reading->w, "type", member(reading, "type"));
    write_id(reading);
    int r = write_data(reading);
    if (r == 0)
        r = write_tags_and_meta(reading);
    if (r != 0)
        return r;
    write_own_extensions(reading);
    json_write_object_end(&reading->w);
    return json_write_end(&reading->w);
}

int cloudevents_to_line(struct bytes event, struct buffer *out, const char **ret_reason)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct reading reading = {.w = json_writer(out), .ret_reason = ret_reason};
    struct json_error error;
    size_t size_before = out->size;
    int r = json_parse(event, &doc, &error);

    if (r > 0)
        return fail(ret_reason, error.reason);
    reading.event = json_root(&doc);
    if (r == 0)
        r = check_required(&reading);
    if (r == 0)
        r = write_line(&reading);
    buffer_deinit(&reading.text);
    if (r != 0)
        out->size = size_before;
    return r;
}
