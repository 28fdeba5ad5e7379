/* One event: its fields, and what they must be together. */

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/uuid.h"
#include "journal/append_json_walk.h"

struct event_parts {
    struct journal_event_new *event;
    bool has_type, has_data, has_base64, has_content_type, stub;
};

static int take_event_type(struct parser *parser, struct json_value value, void *into)
{
    struct event_parts *parts = into;
    parts->has_type = true;
    int r = append_json_take_name(parser, value, NAME_TYPE, parser->options.system, &parts->event->type);
    return r == 0 && name_type_is_reserved(parts->event->type)
               ? append_json_violation(parser, "%s", name_rule(NAME_E_RESERVED))
               : r;
}

static int take_event_stream(struct parser *parser, struct json_value value, void *into)
{
    struct event_parts *parts = into;
    int r = append_json_take_name(parser, value, NAME_STREAM, parser->options.system, &parts->event->stream);
    if (r == 0 && parser->options.form == APPEND_JSON_EVENTS &&
        !bytes_equal(parts->event->stream, parser->options.stream))
        r = append_json_violation(parser, "must be the stream of the request or left out");
    return r;
}

static int take_event_id(struct parser *parser, struct json_value value, void *into)
{
    struct event_parts *parts = into;
    struct bytes text;
    struct uuid uuid;
    int r = 0;
    if (!append_json_expect_type(parser, value, JSON_STRING, &r))
        return r;
    r = append_json_keep_string(parser, value, &text);
    if (r < 0)
        return r;
    if (uuid_parse(text, &uuid) != 0)
        return append_json_violation(parser, "must be a UUID, like 0193e5c2-7a4b-7cde-8f00-0123456789ab");
    memcpy(parts->event->id, uuid.data, sizeof(parts->event->id));
    parts->event->has_id = true;
    return 0;
}

static int take_event_tags(struct parser *parser, struct json_value value, void *into)
{
    struct event_parts *parts = into;
    return append_json_take_names(parser, value, NAME_TAG, parser->options.system, JOURNAL_TAG_COUNT_MAX,
                                  &parts->event->tags, &parts->event->tag_count);
}

static int take_event_data(struct parser *parser, struct json_value value, void *into)
{
    struct event_parts *parts = into;
    parts->has_data = true;
    return append_json_keep_minified(parser, json_raw(value), &parts->event->data);
}

static int take_event_base64(struct parser *parser, struct json_value value, void *into)
{
    struct event_parts *parts = into;
    struct bytes text;
    int r = 0;
    parts->has_base64 = true;
    if (!append_json_expect_type(parser, value, JSON_STRING, &r))
        return r;
    r = append_json_keep_string(parser, value, &text);
    if (r < 0)
        return r;
    buffer_clear(&parser->text);
    r = base64_decode(text, &parser->text);
    if (r == TEXT_E_INVALID)
        return append_json_violation(parser, "must be base64 with padding (RFC 4648, section 4)");
    return r == 0 ? arena_copy(&parser->parsed->arena, buffer_bytes(&parser->text), &parts->event->data) : r;
}

static int take_event_content_type(struct parser *parser, struct json_value value, void *into)
{
    struct event_parts *parts = into;
    int r = 0;
    parts->has_content_type = true;
    if (!append_json_expect_type(parser, value, JSON_STRING, &r))
        return r;
    r = append_json_keep_string(parser, value, &parts->event->content_type);
    if (r < 0)
        return r;
    bool printable = parts->event->content_type.size > 0;
    for (size_t i = 0; i < parts->event->content_type.size; i++)
        printable &= parts->event->content_type.data[i] >= 0x20 && parts->event->content_type.data[i] <= 0x7e;
    if (!printable || parts->event->content_type.size > JOURNAL_CONTENT_TYPE_SIZE_MAX)
        return append_json_violation(parser, "must be 1 to %d printable ASCII characters",
                                     JOURNAL_CONTENT_TYPE_SIZE_MAX);
    return 0;
}

static int take_event_meta(struct parser *parser, struct json_value value, void *into)
{
    struct event_parts *parts = into;
    int r = 0;
    if (!append_json_expect_type(parser, value, JSON_OBJECT, &r))
        return r;
    return append_json_keep_minified(parser, json_raw(value), &parts->event->meta);
}

static int take_event_subject(struct parser *parser, struct json_value value, void *into)
{
    struct event_parts *parts = into;
    return append_json_take_name(parser, value, NAME_TAG, false, &parts->event->subject);
}

static int take_event_sealed(struct parser *parser, struct json_value value, void *into)
{
    return append_json_violation(parser, "an event whose key is missing cannot be taken in");
}

static int take_event_stub(struct parser *parser, struct json_value value, void *into)
{
    return append_json_violation(parser, "an event whose data was erased cannot be taken in");
}

static const struct field event_fields[] = {
    {"type", take_event_type},
    {"stream", take_event_stream},
    {"id", take_event_id},
    {"tags", take_event_tags},
    {"subject", take_event_subject},
    {"data", take_event_data},
    {"data_base64", take_event_base64},
    {"content_type", take_event_content_type},
    {"meta", take_event_meta},
    {0},
};

/* As it was exported: what the other journal made is read over. */
static const struct field line_fields[] = {
    {"position", NULL},
    {"version", NULL},
    {"time", NULL},
    {"stub", take_event_stub},
    {"erased", take_event_stub},
    {"sealed", take_event_sealed},
    {"type", take_event_type},
    {"stream", take_event_stream},
    {"id", take_event_id},
    {"tags", take_event_tags},
    {"subject", take_event_subject},
    {"data", take_event_data},
    {"data_base64", take_event_base64},
    {"content_type", take_event_content_type},
    {"meta", take_event_meta},
    {0},
};

/* Data of type application/json that came as base64 is JSON all the same, and stored like all JSON. */
static int check_json_in_base64(struct parser *parser, struct journal_event_new *event)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct json_error error;
    int r = json_parse(event->data, &doc, &error);
    if (r == JSON_E_INVALID)
        return append_json_violation_at(parser, "data_base64", "must be JSON, as content_type says");
    return r == 0 ? append_json_keep_minified(parser, json_raw(json_root(&doc)), &event->data) : r;
}

static int check_data(struct parser *parser, const struct event_parts *parts)
{
    bool json = bytes_equal_string(parts->event->content_type, "application/json");
    if (parts->has_data && parts->has_base64)
        return append_json_violation_at(parser, "data_base64", "must not stand beside data");
    if (parts->has_data && parts->has_content_type && !json)
        return append_json_violation_at(parser, "content_type",
                                        "belongs to data_base64: data is application/json");
    if (parts->has_base64 && !parts->has_content_type)
        return append_json_violation_at(parser, "content_type", "is required beside data_base64");
    if (parts->has_base64 && json && parts->event->data.data)
        return check_json_in_base64(parser, parts->event);
    if (!parts->has_data && !parts->has_base64 && parser->options.form != APPEND_JSON_LINE)
        return append_json_violation_at(parser, "data", "is required, or data_base64 with content_type");
    return 0;
}

/* Put "traceparent" into the event's meta unless it has one. */
static int add_traceparent(struct parser *parser, struct journal_event_new *event)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct bytes meta = event->meta.size > 0 ? event->meta : BYTES_LITERAL("{}");
    int r = json_parse(meta, &doc, NULL);
    if (r != 0 || json_exists(json_get(json_root(&doc), "traceparent")))
        return r < 0 ? r : 0;
    buffer_clear(&parser->text);
    r = buffer_append_bytes(&parser->text, bytes_slice(meta, 0, meta.size - 1));
    if (r == 0)
        r = buffer_append_string(&parser->text, meta.size > 2 ? ",\"traceparent\":" : "\"traceparent\":");
    struct json_writer w = json_writer(&parser->text);
    json_write_bytes(&w, parser->options.traceparent);
    if (r == 0)
        r = json_write_end(&w);
    if (r == 0)
        r = buffer_append_byte(&parser->text, '}');
    return r == 0 ? arena_copy(&parser->parsed->arena, buffer_bytes(&parser->text), &event->meta) : r;
}

int append_json_take_event(struct parser *parser, struct json_value value, struct journal_event_new *event)
{
    bool line = parser->options.form == APPEND_JSON_LINE;
    struct event_parts parts = {.event = event};
    *event = (struct journal_event_new){.stream = parser->options.stream, .system = parser->options.system};
    if (json_type(value) != JSON_OBJECT)
        return append_json_violation(parser, "must be an object");
    int r = append_json_take_object(parser, value, line ? line_fields : event_fields, &parts);
    if (r == 0 && !parts.has_type)
        r = append_json_violation_at(parser, "type", "is required");
    if (r == 0)
        r = check_data(parser, &parts);
    if (r == 0 && parser->options.traceparent.size > 0)
        r = add_traceparent(parser, event);
    return r;
}
