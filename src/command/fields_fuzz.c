/* Any body is read, or refused with at least one violation whose pointer begins with a slash; texts are what a tag and an
 * event may hold, numbers and dates lie within their limits. */
#include <assert.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "command/fields.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct daybook_field fields[] = {
    {"text", DAYBOOK_TYPE_TEXT, 1, 8, NULL},      {"long", DAYBOOK_TYPE_TEXT, 0, 0, NULL},
    {"count", DAYBOOK_TYPE_INTEGER, -3, 5, NULL}, {"any", DAYBOOK_TYPE_INTEGER, 0, 0, NULL},
    {"sure", DAYBOOK_TYPE_BOOLEAN, 0, 0, NULL},   {"on", DAYBOOK_TYPE_DATE, 0, 0, NULL},
};
enum { TEXT, LONG, COUNT, ANY, SURE, ON, FIELD_COUNT };

static const struct daybook_command command = {.name = "Try", .fields = fields, .field_count = FIELD_COUNT};

static void check_values(const struct daybook_value *values)
{
    assert(values[TEXT].text.size >= 1 && values[TEXT].text.size <= 8);
    assert(values[LONG].text.size <= 256);
    assert(utf8_valid(bytes_make(values[LONG].text.data, values[LONG].text.size)));
    for (size_t i = 0; i < values[LONG].text.size; i++)
        assert((uint8_t)values[LONG].text.data[i] >= 0x20);
    assert(values[COUNT].integer >= -3 && values[COUNT].integer <= 5);
    assert(values[SURE].integer == 0 || values[SURE].integer == 1);
    assert(values[ON].text.size == 10 && values[ON].integer >= -719162 && values[ON].integer <= 2932896);
}

static void check_violations(const struct command_violations *violations)
{
    assert(violations->count > 0 && violations->count <= COMMAND_VIOLATION_COUNT_MAX);
    assert(violations->total >= violations->count);
    for (size_t i = 0; i < violations->count; i++) {
        assert(violations->items[i].pointer.data[0] == '/');
        assert(violations->items[i].sentence.size > 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    _cleanup_(arena_deinit) struct arena arena = {0};
    struct daybook_value values[FIELD_COUNT] = {0};
    struct command_violations violations = {0};
    if (json_parse(bytes_make(data, size), &doc, NULL) != 0 || json_type(json_root(&doc)) != JSON_OBJECT)
        return 0;

    int r = command_fields_read(&command, json_root(&doc), &arena, values, &violations);
    assert(r == 0 || r == COMMAND_E_INVALID);
    if (r == 0)
        check_values(values);
    else
        check_violations(&violations);
    return 0;
}
