#include <inttypes.h>

#include "base/cleanup.h"
#include "base/time.h"
#include "base/utf8.h"
#include "command/fields.h"

enum { TEXT_SIZE_MAX_DEFAULT = 256 };

/* 0001-01-01: years before it are not what a calendar of today means. */
#define DATE_DAYS_MIN INT64_C(-719162)

struct fields {
    const struct daybook_command *command;
    struct arena *arena;
    struct command_violations violations;
    int failure;
};

/* "/name", with ~ and / of the name escaped (RFC 6901 §3). */
static struct bytes pointer_to(struct arena *arena, struct bytes name)
{
    _cleanup_(buffer_deinit) struct buffer pointer = {0};
    int r = buffer_append_byte(&pointer, '/');
    for (size_t i = 0; i < name.size && r == 0; i++) {
        if (name.data[i] == '~')
            r = buffer_append_string(&pointer, "~0");
        else if (name.data[i] == '/')
            r = buffer_append_string(&pointer, "~1");
        else
            r = buffer_append_byte(&pointer, name.data[i]);
    }
    return r == 0 ? memory_copy(arena, buffer_bytes(&pointer)) : (struct bytes){0};
}

static void violate(struct fields *fields, struct bytes name, const char *sentence)
{
    struct command_violations *list = &fields->violations;
    list->total++;
    if (list->count == COMMAND_VIOLATION_COUNT_MAX)
        return;
    if (!list->items)
        list->items = arena_alloc_array(fields->arena, COMMAND_VIOLATION_COUNT_MAX, sizeof(*list->items));
    struct bytes pointer = pointer_to(fields->arena, name);
    if (!list->items || !pointer.data) {
        fields->failure = -ENOMEM;
        return;
    }
    list->items[list->count++] =
        (struct command_violation){.pointer = pointer, .sentence = bytes_from_string(sentence)};
}

static bool has_control(struct bytes text)
{
    while (text.size > 0) {
        uint32_t code_point = 0;
        size_t size = utf8_decode(text, &code_point);
        if (size == 0 || code_point < 0x20 || (code_point >= 0x7f && code_point < 0xa0))
            return true;
        text = bytes_slice(text, size, text.size);
    }
    return false;
}

/* ---- one reader a type: NULL when the value is right, else the sentence of the violation ---- */

static const char *read_text(struct fields *fields, const struct daybook_field *field,
                             struct json_value value, struct daybook_value *ret_value)
{
    int64_t max = field->max > 0 ? field->max : TEXT_SIZE_MAX_DEFAULT;
    if (max > DAYBOOK_TEXT_SIZE_MAX)
        max = DAYBOOK_TEXT_SIZE_MAX;

    _cleanup_(buffer_deinit) struct buffer text = {0};
    int r = json_string(value, &text);
    if (r > 0)
        return memory_printf(fields->arena, "must be a string, not %s", json_type_name(json_type(value)));
    if (r == 0) {
        if ((int64_t)text.size < field->min && text.size == 0)
            return "must not be empty";
        if ((int64_t)text.size < field->min || (int64_t)text.size > max)
            return memory_printf(fields->arena, "must have %" PRId64 " to %" PRId64 " bytes", field->min,
                                 max);
        if (has_control(buffer_bytes(&text)))
            return "must not have control characters";
        struct bytes copy = memory_copy(fields->arena, buffer_bytes(&text));
        ret_value->text = (struct daybook_text){(const char *)copy.data, copy.size};
        r = copy.data ? 0 : -ENOMEM;
    }
    if (r < 0)
        fields->failure = r;
    return NULL;
}

static const char *read_integer(struct fields *fields, const struct daybook_field *field,
                                struct json_value value, struct daybook_value *ret_value)
{
    const bool limited = field->min != 0 || field->max != 0;
    if (json_i64(value, &ret_value->integer) == 0 &&
        (!limited || (ret_value->integer >= field->min && ret_value->integer <= field->max)))
        return NULL;
    if (!limited)
        return "must be an integer of 64 bits";
    return memory_printf(fields->arena, "must be an integer from %" PRId64 " to %" PRId64, field->min,
                         field->max);
}

static const char *read_boolean(struct fields *fields, const struct daybook_field *field,
                                struct json_value value, struct daybook_value *ret_value)
{
    bool truth;
    if (json_bool(value, &truth) != 0)
        return "must be true or false";
    ret_value->integer = truth;
    return NULL;
}

static const char *read_date(struct fields *fields, const struct daybook_field *field,
                             struct json_value value, struct daybook_value *ret_value)
{
    struct bytes text;
    if (!json_string_plain(value, &text) || time_parse_date(text, &ret_value->integer) != 0 ||
        ret_value->integer < DATE_DAYS_MIN)
        return "must be a date that exists, as \"YYYY-MM-DD\"";
    struct bytes copy = memory_copy(fields->arena, text);
    if (!copy.data)
        fields->failure = -ENOMEM;
    ret_value->text = (struct daybook_text){(const char *)copy.data, copy.size};
    return NULL;
}

static const char *(*const readers[])(struct fields *, const struct daybook_field *, struct json_value,
                                      struct daybook_value *) = {
    [DAYBOOK_TYPE_TEXT] = read_text,
    [DAYBOOK_TYPE_INTEGER] = read_integer,
    [DAYBOOK_TYPE_BOOLEAN] = read_boolean,
    [DAYBOOK_TYPE_DATE] = read_date,
};

bool command_field_valid(const struct daybook_field *field)
{
    return field->type >= DAYBOOK_TYPE_TEXT && field->type <= DAYBOOK_TYPE_DATE &&
           (field->min <= field->max || field->max == 0) &&
           (field->type != DAYBOOK_TYPE_TEXT || field->min >= 0);
}

/* Members that the table does not know. */
static void find_unknown(struct fields *fields, struct json_value object)
{
    struct json_cursor cursor = json_walk(object);
    while (json_next(&cursor) && fields->failure == 0) {
        bool known = false;
        for (size_t i = 0; i < fields->command->field_count && !known; i++)
            known = json_string_equals(cursor.key, fields->command->fields[i].name);
        if (known)
            continue;
        _cleanup_(buffer_deinit) struct buffer name = {0};
        int r = json_string(cursor.key, &name);
        if (r != 0)
            fields->failure = -ENOMEM; /* a key is a string */
        else
            violate(fields, buffer_bytes(&name),
                    memory_printf(fields->arena, "is not a field of %s", fields->command->name));
    }
}

int command_fields_read(const struct daybook_command *command, struct json_value object, struct arena *arena,
                        struct daybook_value *ret_values, struct command_violations *ret_violations)
{
    struct fields fields = {.command = command, .arena = arena};
    for (size_t i = 0; i < command->field_count && fields.failure == 0; i++) {
        const struct daybook_field *field = &command->fields[i];
        struct json_value value = json_get(object, field->name);
        const char *problem =
            json_exists(value) ? readers[field->type](&fields, field, value, &ret_values[i]) : "is required";
        if (problem)
            violate(&fields, bytes_from_string(field->name), problem);
    }
    find_unknown(&fields, object);
    if (fields.failure != 0)
        return fields.failure;
    if (fields.violations.total == 0)
        return 0;
    *ret_violations = fields.violations;
    return COMMAND_E_INVALID;
}
