/* A walk over the document with tables of fields: each field of an object has a function that takes its value, checks it
 * and puts it where it belongs. A violated rule is noted with the path that led there, and the walk goes on.
 *
 * `int` results are failures only (-ENOMEM, -E2BIG): a violation is not one. */

#include "journal/append_json.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/names.h"
#include "base/uuid.h"
#include "base/vector.h"
#include "journal/arena.h"

enum { PATH_SIZE_MAX = 16 * 1024 };

/* What the caller gets, and what it does not need to see. */
struct parsed {
    struct append_json public; /* first */
    struct arena arena;
    struct append_json_violation *violations;
    size_t violation_count, violation_capacity;
    size_t *firsts; /* of each item: index of its first violation */
};

struct parser {
    struct parsed *parsed;
    struct append_json_options options;
    struct buffer path;       /* JSON pointer of the value being looked at */
    size_t violations_before; /* of the append being looked at: where its own begin */
    struct buffer text;       /* scratch */
};

/* ---- violations and paths ---- */

_printf_(2, 3) static int violation(struct parser *parser, const char *format, ...)
{
    struct parsed *parsed = parser->parsed;
    char detail[256];
    struct bytes kept[2];
    va_list arguments;
    parsed->public.violation_count_all++;
    if (parsed->violation_count - parser->violations_before >= APPEND_JSON_VIOLATION_COUNT_MAX)
        return 0;
    va_start(arguments, format);
    vsnprintf(detail, sizeof(detail), format, arguments);
    va_end(arguments);
    const char *path = buffer_string(&parser->path);
    int r =
        path ? vector_reserve(&parsed->violations, &parsed->violation_capacity, parsed->violation_count + 1)
             : -ENOMEM;
    if (r == 0)
        r = arena_copy(&parsed->arena, bytes_make(path, strlen(path) + 1), &kept[0]);
    if (r == 0)
        r = arena_copy(&parsed->arena, bytes_make(detail, strlen(detail) + 1), &kept[1]);
    if (r == 0)
        parsed->violations[parsed->violation_count++] =
            (struct append_json_violation){(const char *)kept[0].data, (const char *)kept[1].data};
    return r;
}

/* Go into a member or an item; the answer is what path_leave() needs. A path too long for the buffer is cut. */
static size_t path_enter(struct parser *parser, struct bytes key)
{
    size_t before = parser->path.size;
    int r = buffer_append_byte(&parser->path, '/');
    for (size_t i = 0; r == 0 && i < key.size; i++) {
        if (key.data[i] == '~')
            r = buffer_append_string(&parser->path, "~0");
        else if (key.data[i] == '/')
            r = buffer_append_string(&parser->path, "~1");
        else
            r = buffer_append_byte(&parser->path, key.data[i]);
    }
    return before;
}

static size_t path_enter_index(struct parser *parser, size_t index)
{
    char text[24];
    snprintf(text, sizeof(text), "%zu", index);
    return path_enter(parser, bytes_from_string(text));
}

static void path_leave(struct parser *parser, size_t before)
{
    parser->path.size = before;
}

static int violation_at(struct parser *parser, const char *key, const char *detail)
{
    size_t before = path_enter(parser, bytes_from_string(key));
    int r = violation(parser, "%s", detail);
    path_leave(parser, before);
    return r;
}

/* Whether the value has this type; if not, that is noted. */
static bool expect_type(struct parser *parser, struct json_value value, enum json_type type, int *r)
{
    if (json_type(value) == type)
        return true;
    *r = violation(parser, "must be %s", json_type_name(type));
    return false;
}

/* ---- objects by table ---- */

struct field {
    const char *name;
    int (*take)(struct parser *parser, struct json_value value, void *into);
};

static const struct field *find_field(const struct field *fields, struct json_value key)
{
    for (; fields->name; fields++)
        if (json_string_equals(key, fields->name))
            return fields;
    return NULL;
}

static int take_member(struct parser *parser, const struct field *fields, const struct json_cursor *member,
                       void *into)
{
    const struct field *field = find_field(fields, member->key);
    buffer_clear(&parser->text);
    int r = json_string(member->key, &parser->text);
    if (r != 0)
        return r;
    size_t before = path_enter(parser, buffer_bytes(&parser->text));
    r = !field        ? violation(parser, "is not known here")
        : field->take ? field->take(parser, member->value, into)
                      : 0;
    path_leave(parser, before);
    return r;
}

static int take_object(struct parser *parser, struct json_value value, const struct field *fields, void *into)
{
    int r = 0;
    if (!expect_type(parser, value, JSON_OBJECT, &r))
        return r;
    struct json_cursor member = json_walk(value);
    while (r == 0 && json_next(&member))
        r = take_member(parser, fields, &member, into);
    return r;
}

/* ---- values ---- */

static int keep_string(struct parser *parser, struct json_value value, struct bytes *ret_text)
{
    struct bytes plain;
    if (json_string_plain(value, &plain))
        return arena_copy(&parser->parsed->arena, plain, ret_text);
    buffer_clear(&parser->text);
    int r = json_string(value, &parser->text);
    return r == 0 ? arena_copy(&parser->parsed->arena, buffer_bytes(&parser->text), ret_text) : r;
}

static int keep_minified(struct parser *parser, struct bytes valid, struct bytes *ret_text)
{
    buffer_clear(&parser->text);
    int r = json_minify(valid, &parser->text);
    return r == 0 ? arena_copy(&parser->parsed->arena, buffer_bytes(&parser->text), ret_text) : r;
}

static int check_name(struct parser *parser, enum name_kind kind, struct bytes name, bool system)
{
    int broken = name_check(kind, name);
    if (broken == 0 || (broken == NAME_E_SYSTEM && system))
        return 0;
    return violation(parser, "%s", name_rule(broken));
}

static int take_name(struct parser *parser, struct json_value value, enum name_kind kind, bool system,
                     struct bytes *ret_name)
{
    int r = 0;
    if (!expect_type(parser, value, JSON_STRING, &r))
        return r;
    r = keep_string(parser, value, ret_name);
    return r == 0 ? check_name(parser, kind, *ret_name, system) : r;
}

static int take_names(struct parser *parser, struct json_value value, enum name_kind kind, bool system,
                      size_t max, const struct bytes **ret_names, size_t *ret_count)
{
    int r = 0;
    size_t count = 0;
    if (!expect_type(parser, value, JSON_ARRAY, &r))
        return r;
    if (json_count(value) > max)
        return violation(parser, "has more than %zu items", max);
    struct bytes *names = arena_alloc_array(&parser->parsed->arena, json_count(value), sizeof(*names));
    if (!names)
        return -ENOMEM;
    struct json_cursor item = json_walk(value);
    while (r == 0 && json_next(&item)) {
        size_t before = path_enter_index(parser, count);
        r = take_name(parser, item.value, kind, system, &names[count++]);
        path_leave(parser, before);
    }
    *ret_names = names;
    *ret_count = count;
    return r;
}

/* ---- an event ---- */

struct event_parts {
    struct journal_event_new *event;
    bool has_type, has_data, has_base64, has_content_type, stub;
};

static int take_event_type(struct parser *parser, struct json_value value, void *into)
{
    struct event_parts *parts = into;
    parts->has_type = true;
    return take_name(parser, value, NAME_TYPE, parser->options.system, &parts->event->type);
}

static int take_event_stream(struct parser *parser, struct json_value value, void *into)
{
    struct event_parts *parts = into;
    int r = take_name(parser, value, NAME_STREAM, parser->options.system, &parts->event->stream);
    if (r == 0 && parser->options.form == APPEND_JSON_EVENTS &&
        !bytes_equal(parts->event->stream, parser->options.stream))
        r = violation(parser, "must be the stream of the request or left out");
    return r;
}

static int take_event_id(struct parser *parser, struct json_value value, void *into)
{
    struct event_parts *parts = into;
    struct bytes text;
    struct uuid uuid;
    int r = 0;
    if (!expect_type(parser, value, JSON_STRING, &r))
        return r;
    r = keep_string(parser, value, &text);
    if (r < 0)
        return r;
    if (uuid_parse(text, &uuid) != 0)
        return violation(parser, "must be a UUID, like 0193e5c2-7a4b-7cde-8f00-0123456789ab");
    memcpy(parts->event->id, uuid.data, sizeof(parts->event->id));
    parts->event->has_id = true;
    return 0;
}

static int take_event_tags(struct parser *parser, struct json_value value, void *into)
{
    struct event_parts *parts = into;
    return take_names(parser, value, NAME_TAG, parser->options.system, JOURNAL_TAG_COUNT_MAX,
                      &parts->event->tags, &parts->event->tag_count);
}

static int take_event_data(struct parser *parser, struct json_value value, void *into)
{
    struct event_parts *parts = into;
    parts->has_data = true;
    return keep_minified(parser, json_raw(value), &parts->event->data);
}

static int take_event_base64(struct parser *parser, struct json_value value, void *into)
{
    struct event_parts *parts = into;
    struct bytes text;
    int r = 0;
    parts->has_base64 = true;
    if (!expect_type(parser, value, JSON_STRING, &r))
        return r;
    r = keep_string(parser, value, &text);
    if (r < 0)
        return r;
    buffer_clear(&parser->text);
    r = base64_decode(text, &parser->text);
    if (r == TEXT_E_INVALID)
        return violation(parser, "must be base64 with padding (RFC 4648, section 4)");
    return r == 0 ? arena_copy(&parser->parsed->arena, buffer_bytes(&parser->text), &parts->event->data) : r;
}

static int take_event_content_type(struct parser *parser, struct json_value value, void *into)
{
    struct event_parts *parts = into;
    int r = 0;
    parts->has_content_type = true;
    if (!expect_type(parser, value, JSON_STRING, &r))
        return r;
    r = keep_string(parser, value, &parts->event->content_type);
    if (r < 0)
        return r;
    bool printable = parts->event->content_type.size > 0;
    for (size_t i = 0; i < parts->event->content_type.size; i++)
        printable &= parts->event->content_type.data[i] >= 0x20 && parts->event->content_type.data[i] <= 0x7e;
    if (!printable || parts->event->content_type.size > JOURNAL_CONTENT_TYPE_SIZE_MAX)
        return violation(parser, "must be 1 to %d printable ASCII characters", JOURNAL_CONTENT_TYPE_SIZE_MAX);
    return 0;
}

static int take_event_meta(struct parser *parser, struct json_value value, void *into)
{
    struct event_parts *parts = into;
    int r = 0;
    if (!expect_type(parser, value, JSON_OBJECT, &r))
        return r;
    return keep_minified(parser, json_raw(value), &parts->event->meta);
}

static int take_event_stub(struct parser *parser, struct json_value value, void *into)
{
    return violation(parser, "an event whose data was erased cannot be taken in");
}

static const struct field event_fields[] = {
    {"type", take_event_type},
    {"stream", take_event_stream},
    {"id", take_event_id},
    {"tags", take_event_tags},
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
    {"type", take_event_type},
    {"stream", take_event_stream},
    {"id", take_event_id},
    {"tags", take_event_tags},
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
        return violation_at(parser, "data_base64", "must be JSON, as content_type says");
    return r == 0 ? keep_minified(parser, json_raw(json_root(&doc)), &event->data) : r;
}

static int check_data(struct parser *parser, const struct event_parts *parts)
{
    bool json = bytes_equal_string(parts->event->content_type, "application/json");
    if (parts->has_data && parts->has_base64)
        return violation_at(parser, "data_base64", "must not stand beside data");
    if (parts->has_data && parts->has_content_type && !json)
        return violation_at(parser, "content_type", "belongs to data_base64: data is application/json");
    if (parts->has_base64 && !parts->has_content_type)
        return violation_at(parser, "content_type", "is required beside data_base64");
    if (parts->has_base64 && json && parts->event->data.data)
        return check_json_in_base64(parser, parts->event);
    if (!parts->has_data && !parts->has_base64 && parser->options.form != APPEND_JSON_LINE)
        return violation_at(parser, "data", "is required, or data_base64 with content_type");
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

static int take_event(struct parser *parser, struct json_value value, struct journal_event_new *event)
{
    bool line = parser->options.form == APPEND_JSON_LINE;
    struct event_parts parts = {.event = event};
    *event = (struct journal_event_new){.stream = parser->options.stream, .system = parser->options.system};
    if (json_type(value) != JSON_OBJECT)
        return violation(parser, "must be an object");
    int r = take_object(parser, value, line ? line_fields : event_fields, &parts);
    if (r == 0 && !parts.has_type)
        r = violation_at(parser, "type", "is required");
    if (r == 0)
        r = check_data(parser, &parts);
    if (r == 0 && parser->options.traceparent.size > 0)
        r = add_traceparent(parser, event);
    return r;
}

/* ---- an append ---- */

static int take_events(struct parser *parser, struct json_value value, void *into)
{
    struct journal_append *append = into;
    int r = 0;
    size_t count = 0;
    if (!expect_type(parser, value, JSON_ARRAY, &r))
        return r;
    if (json_count(value) == 0)
        return violation(parser, "must have at least one event");
    if (json_count(value) > JOURNAL_EVENT_COUNT_MAX)
        return violation(parser, "has more than %d events", JOURNAL_EVENT_COUNT_MAX);
    struct journal_event_new *events =
        arena_alloc_array(&parser->parsed->arena, json_count(value), sizeof(*events));
    if (!events)
        return -ENOMEM;
    struct json_cursor item = json_walk(value);
    while (r == 0 && json_next(&item)) {
        size_t before = path_enter_index(parser, count);
        r = take_event(parser, item.value, &events[count++]);
        path_leave(parser, before);
    }
    append->events = events;
    append->event_count = count;
    return r;
}

static int take_item_types(struct parser *parser, struct json_value value, void *into)
{
    struct journal_item *item = into;
    return take_names(parser, value, NAME_TYPE, true, JOURNAL_QUERY_TERM_COUNT_MAX, &item->types,
                      &item->type_count);
}

static int take_item_tags(struct parser *parser, struct json_value value, void *into)
{
    struct journal_item *item = into;
    return take_names(parser, value, NAME_TAG, true, JOURNAL_QUERY_TERM_COUNT_MAX, &item->tags,
                      &item->tag_count);
}

static const struct field item_fields[] = {{"types", take_item_types}, {"tags", take_item_tags}, {0}};

static int take_item(struct parser *parser, struct json_value value, struct journal_item *item)
{
    size_t before = parser->parsed->public.violation_count_all;
    int r = take_object(parser, value, item_fields, item);
    bool sound = parser->parsed->public.violation_count_all == before;
    if (r == 0 && sound && item->type_count == 0 && item->tag_count == 0)
        r = violation(parser, "must have types or tags");
    return r;
}

static int take_items(struct parser *parser, struct json_value value, void *into)
{
    struct journal_query *query = into;
    int r = 0;
    size_t count = 0, terms = 0;
    if (!expect_type(parser, value, JSON_ARRAY, &r))
        return r;
    if (json_count(value) > JOURNAL_ITEM_COUNT_MAX)
        return violation(parser, "has more than %d items", JOURNAL_ITEM_COUNT_MAX);
    struct journal_item *items = arena_alloc_array(&parser->parsed->arena, json_count(value), sizeof(*items));
    if (!items)
        return -ENOMEM;
    struct json_cursor item = json_walk(value);
    while (r == 0 && json_next(&item)) {
        size_t before = path_enter_index(parser, count);
        r = take_item(parser, item.value, &items[count]);
        terms += items[count].type_count + items[count].tag_count;
        count++;
        path_leave(parser, before);
    }
    if (r == 0 && terms > JOURNAL_QUERY_TERM_COUNT_MAX)
        r = violation(parser, "have more than %d types and tags in all", JOURNAL_QUERY_TERM_COUNT_MAX);
    *query = (struct journal_query){.items = items, .count = count};
    return r;
}

static const struct field query_fields[] = {{"items", take_items}, {0}};

static int take_query(struct parser *parser, struct json_value value, void *into)
{
    int r = take_object(parser, value, query_fields, into);
    if (r == 0 && json_type(value) == JSON_OBJECT && !json_exists(json_get(value, "items")))
        r = violation_at(parser, "items", "is required; [] means everything");
    return r;
}

static int take_condition_query(struct parser *parser, struct json_value value, void *into)
{
    return take_query(parser, value, &((struct journal_condition *)into)->query);
}

static int take_condition_after(struct parser *parser, struct json_value value, void *into)
{
    if (json_u64(value, &((struct journal_condition *)into)->after) != 0)
        return violation(parser, "must be a position: an integer from 0 on");
    return 0;
}

static const struct field condition_fields[] = {
    {"failIfEventsMatch", take_condition_query}, {"after", take_condition_after}, {0}};

static int take_condition(struct parser *parser, struct json_value value, void *into)
{
    struct journal_append *append = into;
    struct journal_condition *condition = arena_alloc_array(&parser->parsed->arena, 1, sizeof(*condition));
    if (!condition)
        return -ENOMEM;
    int r = take_object(parser, value, condition_fields, condition);
    if (r == 0 && json_type(value) == JSON_OBJECT && !json_exists(json_get(value, "failIfEventsMatch")))
        r = violation_at(parser, "failIfEventsMatch", "is required");
    append->condition = condition;
    return r;
}

static int take_expectation(struct parser *parser, struct json_value key, struct json_value value,
                            struct journal_expectation *expectation)
{
    static const struct {
        const char *word;
        enum journal_expect expect;
    } words[] = {
        {"any", JOURNAL_EXPECT_ANY}, {"none", JOURNAL_EXPECT_NONE}, {"exists", JOURNAL_EXPECT_EXISTS}};
    int r = keep_string(parser, key, &expectation->stream);
    if (r == 0)
        r = check_name(parser, NAME_STREAM, expectation->stream, true);
    if (r < 0)
        return r;
    if (json_u64(value, &expectation->version) == 0) {
        expectation->expect = JOURNAL_EXPECT_VERSION;
        return 0;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (json_string_equals(value, words[i].word)) {
            expectation->expect = words[i].expect;
            return 0;
        }
    return violation(parser, "must be a version, \"none\", \"exists\" or \"any\"");
}

static int take_streams(struct parser *parser, struct json_value value, void *into)
{
    struct journal_append *append = into;
    int r = 0;
    size_t count = 0;
    if (!expect_type(parser, value, JSON_OBJECT, &r))
        return r;
    if (json_count(value) > JOURNAL_EXPECTATION_COUNT_MAX)
        return violation(parser, "has more than %d streams", JOURNAL_EXPECTATION_COUNT_MAX);
    struct journal_expectation *expectations =
        arena_alloc_array(&parser->parsed->arena, json_count(value), sizeof(*expectations));
    if (!expectations)
        return -ENOMEM;
    struct json_cursor member = json_walk(value);
    while (r == 0 && json_next(&member)) {
        buffer_clear(&parser->text);
        r = json_string(member.key, &parser->text);
        if (r != 0)
            break;
        size_t before = path_enter(parser, buffer_bytes(&parser->text));
        r = take_expectation(parser, member.key, member.value, &expectations[count++]);
        path_leave(parser, before);
    }
    append->expectations = expectations;
    append->expectation_count = count;
    return r;
}

static const struct field append_fields[] = {
    {"events", take_events}, {"condition", take_condition}, {"streams", take_streams}, {0}};

/* ---- a request ---- */

static int take_append(struct parser *parser, struct json_value value, struct append_json_item *item)
{
    struct journal_append *append = &item->append;
    if (parser->options.form == APPEND_JSON_REQUEST) {
        int r = take_object(parser, value, append_fields, append);
        if (r == 0 && json_type(value) == JSON_OBJECT && !json_exists(json_get(value, "events")))
            r = violation_at(parser, "events", "is required");
        return r;
    }
    if (parser->options.form == APPEND_JSON_EVENTS && json_type(value) == JSON_ARRAY)
        return take_events(parser, value, append);
    struct journal_event_new *event = arena_alloc_array(&parser->parsed->arena, 1, sizeof(*event));
    if (!event)
        return -ENOMEM;
    append->events = event;
    append->event_count = 1;
    return take_event(parser, value, event);
}

static int make_items(struct parsed *parsed, size_t count)
{
    parsed->public.items = arena_alloc_array(&parsed->arena, count, sizeof(*parsed->public.items));
    parsed->firsts = arena_alloc_array(&parsed->arena, count, sizeof(*parsed->firsts));
    return parsed->public.items && parsed->firsts ? 0 : -ENOMEM;
}

/* One item, and the account of its violations: their number now, the pointer when all are there. */
static int take_item_of_request(struct parser *parser, struct json_value value)
{
    struct parsed *parsed = parser->parsed;
    struct append_json_item *item = &parsed->public.items[parsed->public.item_count];
    parser->violations_before = parsed->violation_count;
    parsed->firsts[parsed->public.item_count] = parsed->violation_count;
    int r = take_append(parser, value, item);
    item->violation_count = parsed->violation_count - parser->violations_before;
    parsed->public.item_count++;
    return r;
}

static int take_appends(struct parser *parser, struct json_value value, void *into)
{
    struct parsed *parsed = parser->parsed;
    int r = 0;
    if (!expect_type(parser, value, JSON_ARRAY, &r))
        return r;
    if (json_count(value) == 0)
        return violation(parser, "must have at least one append");
    if (json_count(value) > APPEND_JSON_APPEND_COUNT_MAX)
        return violation(parser, "has more than %d appends", APPEND_JSON_APPEND_COUNT_MAX);
    r = make_items(parsed, json_count(value));
    struct json_cursor item = json_walk(value);
    while (r == 0 && json_next(&item)) {
        size_t before = path_enter_index(parser, parsed->public.item_count);
        r = take_item_of_request(parser, item.value);
        path_leave(parser, before);
    }
    return r;
}

static const struct field appends_fields[] = {{"appends", take_appends}, {0}};

static int take_request(struct parser *parser, struct json_value root)
{
    struct parsed *parsed = parser->parsed;
    if (parser->options.form == APPEND_JSON_REQUEST && json_exists(json_get(root, "appends"))) {
        parsed->public.many = true;
        return take_object(parser, root, appends_fields, NULL);
    }
    int r = make_items(parsed, 1);
    return r == 0 ? take_item_of_request(parser, root) : r;
}

/* Now that no more come, their place is known. */
static void place_violations(struct parsed *parsed)
{
    for (size_t i = 0; i < parsed->public.item_count; i++)
        parsed->public.items[i].violations = parsed->violations + parsed->firsts[i];
    parsed->public.violations = parsed->violations;
    parsed->public.violation_count = parsed->violation_count;
}

/* With `appends` each item is right or wrong by itself; the request is wrong by what belongs to no item. */
static int conclude(struct parsed *parsed)
{
    size_t of_items = 0;
    place_violations(parsed);
    for (size_t i = 0; i < parsed->public.item_count; i++)
        of_items += parsed->public.items[i].violation_count;
    bool wrong = parsed->public.many ? parsed->violation_count > of_items : parsed->violation_count > 0;
    if (!wrong)
        return 0;
    snprintf(parsed->public.detail, sizeof(parsed->public.detail), "%s: %s",
             parsed->violations[0].pointer[0] ? parsed->violations[0].pointer : "the body",
             parsed->violations[0].detail);
    return APPEND_JSON_E_INVALID;
}

typedef int take_root(struct parser *parser, struct json_value root, void *into);

static int take_request_root(struct parser *parser, struct json_value root, void *into)
{
    return take_request(parser, root);
}

static int parse_text(struct bytes text, struct parser *parser, take_root *take, void *into)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct json_error error = {0};
    int r = json_parse(text, &doc, &error);
    if (r == JSON_E_INVALID) {
        struct append_json *public = &parser->parsed->public;
        public->offset = error.offset;
        snprintf(public->detail, sizeof(public->detail), "not JSON at byte %zu: %s", error.offset,
                 error.reason);
        return APPEND_JSON_E_MALFORMED;
    }
    if (r == 0)
        r = take(parser, json_root(&doc), into);
    return r < 0 ? r : conclude(parser->parsed);
}

static int parse(struct bytes text, const struct append_json_options *options, take_root *take, void *into,
                 struct append_json **ret_parsed)
{
    struct parsed *parsed = calloc(1, sizeof(*parsed));
    if (!parsed)
        return -ENOMEM;
    struct parser parser = {.parsed = parsed, .options = *options};
    buffer_init(&parser.path, PATH_SIZE_MAX);
    int r = arena_copy(&parsed->arena, options->stream, &parser.options.stream);
    if (r == 0)
        r = parse_text(text, &parser, take, into);
    buffer_deinit(&parser.path);
    buffer_deinit(&parser.text);
    if (r < 0)
        append_json_free(&parsed->public);
    else
        *ret_parsed = &parsed->public;
    return r;
}

int append_json_parse(struct bytes text, const struct append_json_options *options,
                      struct append_json **ret_parsed)
{
    return parse(text, options, take_request_root, NULL, ret_parsed);
}

int append_json_parse_query(struct bytes text, struct append_json **ret_parsed,
                            struct journal_query *ret_query)
{
    static const struct append_json_options options = {0};
    struct journal_query query = {0};
    int r = parse(text, &options, take_query, &query, ret_parsed);
    if (r == 0)
        *ret_query = query;
    return r;
}

void append_json_free(struct append_json *parsed_public)
{
    struct parsed *parsed = (struct parsed *)parsed_public;
    if (!parsed)
        return;
    arena_deinit(&parsed->arena);
    free(parsed->violations);
    free(parsed);
}
