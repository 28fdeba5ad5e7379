#include "journal/append_json_walk.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/vector.h"

/* ---- violations and paths ---- */

_printf_(2, 3) int append_json_violation(struct parser *parser, const char *format, ...)
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

size_t append_json_path_enter(struct parser *parser, struct bytes key)
{
    size_t before = parser->path.size;
    int r = buffer_append_byte(&parser->path, '/');
    if (r == 0 && key.size > 0 && !memchr(key.data, '~', key.size) && !memchr(key.data, '/', key.size)) {
        r = buffer_append_bytes(&parser->path, key);
        key.size = 0;
    }
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

size_t append_json_path_enter_index(struct parser *parser, size_t index)
{
    char text[BYTES_U64_TEXT_SIZE];
    return append_json_path_enter(parser, bytes_make(text, bytes_format_u64(index, text)));
}

void append_json_path_leave(struct parser *parser, size_t before)
{
    parser->path.size = before;
}

int append_json_violation_at(struct parser *parser, const char *key, const char *detail)
{
    size_t before = append_json_path_enter(parser, bytes_from_string(key));
    int r = append_json_violation(parser, "%s", detail);
    append_json_path_leave(parser, before);
    return r;
}

bool append_json_expect_type(struct parser *parser, struct json_value value, enum json_type type, int *r)
{
    if (json_type(value) == type)
        return true;
    *r = append_json_violation(parser, "must be %s", json_type_name(type));
    return false;
}

/* ---- objects by table ---- */

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
    size_t before = append_json_path_enter(parser, buffer_bytes(&parser->text));
    r = !field        ? append_json_violation(parser, "is not known here")
        : field->take ? field->take(parser, member->value, into)
                      : 0;
    append_json_path_leave(parser, before);
    return r;
}

int append_json_take_object(struct parser *parser, struct json_value value, const struct field *fields,
                            void *into)
{
    int r = 0;
    if (!append_json_expect_type(parser, value, JSON_OBJECT, &r))
        return r;
    struct json_cursor member = json_walk(value);
    while (r == 0 && json_next(&member))
        r = take_member(parser, fields, &member, into);
    return r;
}

/* ---- values ---- */

int append_json_keep_string(struct parser *parser, struct json_value value, struct bytes *ret_text)
{
    struct bytes plain;
    if (json_string_plain(value, &plain))
        return arena_copy(&parser->parsed->arena, plain, ret_text);
    buffer_clear(&parser->text);
    int r = json_string(value, &parser->text);
    return r == 0 ? arena_copy(&parser->parsed->arena, buffer_bytes(&parser->text), ret_text) : r;
}

int append_json_keep_minified(struct parser *parser, struct bytes valid, struct bytes *ret_text)
{
    buffer_clear(&parser->text);
    int r = json_minify(valid, &parser->text);
    return r == 0 ? arena_copy(&parser->parsed->arena, buffer_bytes(&parser->text), ret_text) : r;
}

int append_json_check_name(struct parser *parser, enum name_kind kind, struct bytes name, bool system)
{
    int broken = name_check(kind, name);
    if (broken == 0 || (broken == NAME_E_SYSTEM && system))
        return 0;
    return append_json_violation(parser, "%s", name_rule(broken));
}

int append_json_take_name(struct parser *parser, struct json_value value, enum name_kind kind, bool system,
                          struct bytes *ret_name)
{
    int r = 0;
    if (!append_json_expect_type(parser, value, JSON_STRING, &r))
        return r;
    r = append_json_keep_string(parser, value, ret_name);
    return r == 0 ? append_json_check_name(parser, kind, *ret_name, system) : r;
}

int append_json_take_names(struct parser *parser, struct json_value value, enum name_kind kind, bool system,
                           size_t max, const struct bytes **ret_names, size_t *ret_count)
{
    int r = 0;
    size_t count = 0;
    if (!append_json_expect_type(parser, value, JSON_ARRAY, &r))
        return r;
    if (json_count(value) > max)
        return append_json_violation(parser, "has more than %zu items", max);
    struct bytes *names = arena_alloc_array(&parser->parsed->arena, json_count(value), sizeof(*names));
    if (!names)
        return -ENOMEM;
    struct json_cursor item = json_walk(value);
    while (r == 0 && json_next(&item)) {
        size_t before = append_json_path_enter_index(parser, count);
        r = append_json_take_name(parser, item.value, kind, system, &names[count++]);
        append_json_path_leave(parser, before);
    }
    *ret_names = names;
    *ret_count = count;
    return r;
}
