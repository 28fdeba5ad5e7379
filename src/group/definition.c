#include "group/definition.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/names.h"

#define TAG_ORDER "tag:"

/* A reading under way: where it goes, and what is wrong so far. */
struct reading {
    struct group_definition *definition;
    struct group_violation *violations;
    size_t count;
    int failure;
};

_printf_(3, 4) static void violate(struct reading *reading, const char *pointer, const char *format, ...)
{
    va_list arguments;

    if (reading->count == GROUP_VIOLATION_COUNT_MAX)
        return;
    struct group_violation *violation = &reading->violations[reading->count++];
    snprintf(violation->pointer, sizeof(violation->pointer), "%s", pointer);
    va_start(arguments, format);
    vsnprintf(violation->detail, sizeof(violation->detail), format, arguments);
    va_end(arguments);
}

/* A string, its escapes undone, in the definition's memory. False: it is none, which has been said. */
static bool take_string(struct reading *reading, struct json_value value, const char *pointer,
                        struct bytes *ret_text)
{
    _cleanup_(buffer_deinit) struct buffer text = {0};
    int r = json_string(value, &text);

    if (r == JSON_E_TYPE) {
        violate(reading, pointer, "must be a string");
        return false;
    }
    if (r == 0)
        r = arena_copy(&reading->definition->arena, buffer_bytes(&text), ret_text);
    if (r < 0)
        reading->failure = r;
    return r == 0;
}

static void check_name(struct reading *reading, enum name_kind kind, const char *pointer, struct bytes name)
{
    int rule = name_check(kind, name);

    if (rule != 0)
        violate(reading, pointer, "%s", name_rule(rule));
}

static void take_names(struct reading *reading, struct json_value value, const char *field,
                       enum name_kind kind, const struct bytes **ret_names, size_t *ret_count)
{
    struct json_cursor at = json_walk(value);
    size_t count = json_count(value), i = 0;
    char pointer[64];

    snprintf(pointer, sizeof(pointer), "/%s", field);
    if (json_type(value) != JSON_ARRAY || count > GROUP_TERM_COUNT_MAX) {
        violate(reading, pointer, "must be an array of at most %d names", GROUP_TERM_COUNT_MAX);
        return;
    }
    struct bytes *names = arena_alloc_array(&reading->definition->arena, count, sizeof(*names));
    if (!names) {
        reading->failure = -ENOMEM;
        return;
    }
    for (; json_next(&at); i++) {
        names[i] = (struct bytes){0};
        snprintf(pointer, sizeof(pointer), "/%s/%zu", field, i);
        if (take_string(reading, at.value, pointer, &names[i]))
            check_name(reading, kind, pointer, names[i]);
    }
    *ret_names = names;
    *ret_count = count;
}

static void take_types(struct reading *reading, struct json_value value)
{
    take_names(reading, value, "types", NAME_TYPE, &reading->definition->types,
               &reading->definition->type_count);
}

static void take_tags(struct reading *reading, struct json_value value)
{
    take_names(reading, value, "tags", NAME_TAG, &reading->definition->tags, &reading->definition->tag_count);
}

static void take_prefix(struct reading *reading, struct json_value value)
{
    struct bytes prefix = {0};

    if (!take_string(reading, value, "/prefix", &prefix) || prefix.size == 0)
        return;
    int rule = name_check(NAME_STREAM, prefix);
    if (rule != 0 && rule != NAME_E_DOT)
        violate(reading, "/prefix", "%s", name_rule(rule));
    reading->definition->prefix = prefix;
}

static void take_after(struct reading *reading, struct json_value value)
{
    struct group_definition *definition = reading->definition;

    definition->after_now = json_string_equals(value, "now");
    if (!definition->after_now && json_u64(value, &definition->after) != 0)
        violate(reading, "/after", "must be a position or \"now\"");
}

static void take_order(struct reading *reading, struct json_value value)
{
    struct group_definition *definition = reading->definition;
    struct bytes text = {0}, tag = BYTES_LITERAL(TAG_ORDER);

    if (!take_string(reading, value, "/order", &text))
        return;
    if (bytes_equal_string(text, "none")) {
        definition->order = GROUP_ORDER_NONE;
    } else if (bytes_equal_string(text, "stream")) {
        definition->order = GROUP_ORDER_STREAM;
    } else if (bytes_starts_with(text, tag) && text.size > tag.size) {
        definition->order = GROUP_ORDER_TAG;
        definition->order_prefix = bytes_slice(text, tag.size, SIZE_MAX);
        check_name(reading, NAME_TAG, "/order", definition->order_prefix);
    } else {
        violate(reading, "/order", "must be none, stream or tag:PREFIX");
    }
}

static void take_number(struct reading *reading, struct json_value value, const char *pointer, uint64_t max,
                        uint64_t *number)
{
    uint64_t found;

    if (json_u64(value, &found) != 0 || found < 1 || found > max)
        violate(reading, pointer, "must be a whole number from 1 to %llu", (unsigned long long)max);
    else
        *number = found;
}

static void take_lease(struct reading *reading, struct json_value value)
{
    take_number(reading, value, "/lease_seconds", GROUP_LEASE_SECONDS_MAX, &reading->definition->lease_s);
}

static void take_tries(struct reading *reading, struct json_value value)
{
    take_number(reading, value, "/tries_max", GROUP_TRIES_MAX, &reading->definition->tries_max);
}

static const struct {
    const char *name;
    void (*take)(struct reading *reading, struct json_value value);
} fields[] = {
    {"types", take_types}, {"tags", take_tags},           {"prefix", take_prefix},   {"after", take_after},
    {"order", take_order}, {"lease_seconds", take_lease}, {"tries_max", take_tries},
};
enum { FIELD_COUNT = sizeof(fields) / sizeof(fields[0]) };

static void take_field(struct reading *reading, struct json_value key, struct json_value value)
{
    struct bytes raw = json_raw(key);
    char pointer[64];

    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (json_string_equals(key, fields[i].name)) {
            fields[i].take(reading, value);
            return;
        }
    }
    raw = bytes_slice(raw, 1, raw.size - 2 < 40 ? raw.size - 2 : 40);
    snprintf(pointer, sizeof(pointer), "/%.*s", BYTES_PRINT(raw));
    violate(reading, pointer, "is not a field of a group");
}

int group_definition_read(struct json_value value, struct group_definition *ret_definition,
                          struct group_violation ret_violations[GROUP_VIOLATION_COUNT_MAX], size_t *ret_count)
{
    struct group_definition definition = {.lease_s = GROUP_LEASE_SECONDS_DEFAULT,
                                          .tries_max = GROUP_TRIES_DEFAULT};
    struct reading reading = {.definition = &definition, .violations = ret_violations};
    struct json_cursor at = json_walk(value);

    if (json_type(value) != JSON_OBJECT)
        violate(&reading, "", "must be an object");
    while (json_type(value) == JSON_OBJECT && json_next(&at))
        take_field(&reading, at.key, at.value);
    *ret_count = reading.count;
    if (reading.failure == 0 && reading.count == 0) {
        *ret_definition = definition;
        return 0;
    }
    arena_deinit(&definition.arena);
    return reading.failure < 0 ? reading.failure : GROUP_DEFINITION_E_INVALID;
}

static void write_names(struct json_writer *w, const char *field, const struct bytes *names, size_t count)
{
    json_write_key(w, field);
    json_write_array_begin(w);
    for (size_t i = 0; i < count; i++)
        json_write_bytes(w, names[i]);
    json_write_array_end(w);
}

int group_order_write(const struct group_definition *definition, struct buffer *out)
{
    if (definition->order == GROUP_ORDER_NONE)
        return buffer_append_string(out, "none");
    if (definition->order == GROUP_ORDER_STREAM)
        return buffer_append_string(out, "stream");
    int r = buffer_append_string(out, TAG_ORDER);
    return r < 0 ? r : buffer_append_bytes(out, definition->order_prefix);
}

void group_definition_write(const struct group_definition *definition, struct json_writer *w)
{
    _cleanup_(buffer_deinit) struct buffer order = {0};
    int r = group_order_write(definition, &order);

    if (r < 0 && w->failure == 0)
        w->failure = r;
    json_write_object_begin(w);
    write_names(w, "types", definition->types, definition->type_count);
    write_names(w, "tags", definition->tags, definition->tag_count);
    json_write_member_bytes(w, "prefix", definition->prefix);
    json_write_member_u64(w, "after", definition->after);
    json_write_member_bytes(w, "order", buffer_bytes(&order));
    json_write_member_u64(w, "lease_seconds", definition->lease_s);
    json_write_member_u64(w, "tries_max", definition->tries_max);
    json_write_object_end(w);
}

void group_definition_deinit(struct group_definition *definition)
{
    arena_deinit(&definition->arena);
    *definition = (struct group_definition){0};
}

static bool same_names(const struct bytes *a, size_t a_count, const struct bytes *b, size_t b_count)
{
    bool same = a_count == b_count;

    for (size_t i = 0; i < a_count && same; i++)
        same = bytes_equal(a[i], b[i]);
    return same;
}

bool group_definition_same(const struct group_definition *a, const struct group_definition *b)
{
    return same_names(a->types, a->type_count, b->types, b->type_count) &&
           same_names(a->tags, a->tag_count, b->tags, b->tag_count) && bytes_equal(a->prefix, b->prefix) &&
           a->order == b->order && bytes_equal(a->order_prefix, b->order_prefix) &&
           a->lease_s == b->lease_s && a->tries_max == b->tries_max;
}

struct journal_query group_definition_query(const struct group_definition *definition,
                                            struct journal_item *ret_item)
{
    *ret_item = (struct journal_item){.types = definition->types,
                                      .type_count = definition->type_count,
                                      .tags = definition->tags,
                                      .tag_count = definition->tag_count};
    bool some = definition->type_count + definition->tag_count > 0;
    return (struct journal_query){.items = some ? ret_item : NULL, .count = some};
}

size_t group_definition_keys(const struct group_definition *definition, const struct journal_event *event,
                             uint64_t *ret_keys)
{
    size_t count = 0;

    if (definition->order == GROUP_ORDER_STREAM && event->stream.size > 0)
        ret_keys[count++] = hash_fast64(event->stream, 0);
    for (size_t i = 0; definition->order == GROUP_ORDER_TAG && i < event->tag_count; i++) {
        if (bytes_starts_with(event->tags[i], definition->order_prefix))
            ret_keys[count++] = hash_fast64(event->tags[i], 0);
    }
    return count;
}

const char *group_name_rule(struct bytes name)
{
    int rule = name_check(NAME_STREAM, name);

    if (rule != 0)
        return name_rule(rule);
    return name.size > GROUP_NAME_SIZE_MAX ? "must have at most 128 bytes" : NULL;
}
