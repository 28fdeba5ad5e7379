#include "lib/cmocka_all.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "command/fields.h"

static const struct daybook_field fields[] = {
    {"name", DAYBOOK_TYPE_TEXT, 1, 8, NULL},      {"note", DAYBOOK_TYPE_TEXT, 0, 0, NULL},
    {"count", DAYBOOK_TYPE_INTEGER, -3, 5, NULL}, {"any", DAYBOOK_TYPE_INTEGER, 0, 0, NULL},
    {"sure", DAYBOOK_TYPE_BOOLEAN, 0, 0, NULL},   {"on", DAYBOOK_TYPE_DATE, 0, 0, NULL},
};
enum { NAME, NOTE, COUNT, ANY, SURE, ON, FIELD_COUNT };

static const struct daybook_command command = {.name = "Try", .fields = fields, .field_count = FIELD_COUNT};

struct reading {
    struct arena arena;
    struct daybook_value values[FIELD_COUNT];
    struct command_violations violations;
    int answer;
};

static void reading_deinit(struct reading *reading)
{
    arena_deinit(&reading->arena);
}

static struct reading read_json(const char *json)
{
    struct reading reading = {0};
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    assert_ok(json_parse(bytes_from_string(json), &doc, NULL));
    reading.answer =
        command_fields_read(&command, json_root(&doc), &reading.arena, reading.values, &reading.violations);
    return reading;
}

#define RIGHT_NAME "\"name\":\"Ana\""
#define RIGHT_REST                                                                                           \
    "\"note\":\"\",\"count\":5,\"any\":-9223372036854775808,\"sure\":true,\"on\":\"1970-01-02\""

static void assert_violation(const struct reading *reading, size_t index, const char *pointer,
                             const char *sentence)
{
    char text[256];
    assert_true(index < reading->violations.count);
    snprintf(text, sizeof(text), "%.*s", BYTES_PRINT(reading->violations.items[index].pointer));
    assert_string_equal(text, pointer);
    snprintf(text, sizeof(text), "%.*s", BYTES_PRINT(reading->violations.items[index].sentence));
    assert_string_equal(text, sentence);
}

static void values_come_in_the_order_of_the_table(void **state)
{
    _cleanup_(reading_deinit) struct reading reading = read_json("{" RIGHT_REST ",\"name\":\"A\\u006ea\"}");
    assert_int_equal(reading.answer, 0);
    assert_int_equal(reading.values[NAME].text.size, 3);
    assert_memory_equal(reading.values[NAME].text.data, "Ana", 3);
    assert_int_equal(reading.values[NOTE].text.size, 0);
    assert_int_equal(reading.values[COUNT].integer, 5);
    assert_true(reading.values[ANY].integer == INT64_MIN);
    assert_int_equal(reading.values[SURE].integer, 1);
    assert_int_equal(reading.values[ON].integer, 1);
    assert_memory_equal(reading.values[ON].text.data, "1970-01-02", 10);
}

static void every_problem_is_told_at_once(void **state)
{
    _cleanup_(reading_deinit) struct reading reading = read_json(
        "{\"name\":\"\",\"note\":7,\"count\":6,\"any\":1.5,\"sure\":0,\"on\":\"2026-02-29\",\"a/b~\":1}");
    assert_int_equal(reading.answer, COMMAND_E_INVALID);
    assert_int_equal(reading.violations.total, 7);
    assert_violation(&reading, 0, "/name", "must not be empty");
    assert_violation(&reading, 1, "/note", "must be a string, not a number");
    assert_violation(&reading, 2, "/count", "must be an integer from -3 to 5");
    assert_violation(&reading, 3, "/any", "must be an integer of 64 bits");
    assert_violation(&reading, 4, "/sure", "must be true or false");
    assert_violation(&reading, 5, "/on", "must be a date that exists, as \"YYYY-MM-DD\"");
    assert_violation(&reading, 6, "/a~1b~0", "is not a field of Try");
}

static void every_field_is_required(void **state)
{
    _cleanup_(reading_deinit) struct reading reading = read_json("{}");
    assert_int_equal(reading.answer, COMMAND_E_INVALID);
    assert_int_equal(reading.violations.total, FIELD_COUNT);
    for (size_t i = 0; i < FIELD_COUNT; i++)
        assert_true(bytes_equal_string(reading.violations.items[i].sentence, "is required"));
}

static void a_wrong_value_is_named(void **state)
{
    static const struct {
        const char *name, *sentence;
    } rows[] = {
        {"\"name\":null", "must be a string, not null"},
        {"\"name\":[]", "must be a string, not an array"},
        {"\"name\":\"123456789\"", "must have 1 to 8 bytes"},
        {"\"name\":\"a\\u0000b\"", "must not have control characters"},
        {"\"name\":\"a\\nb\"", "must not have control characters"},
        {"\"name\":\"a\\u0085b\"", "must not have control characters"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char json[512];
        snprintf(json, sizeof(json), "{%s,%s}", rows[i].name, RIGHT_REST);
        _cleanup_(reading_deinit) struct reading reading = read_json(json);
        assert_int_equal(reading.answer, COMMAND_E_INVALID);
        assert_int_equal(reading.violations.total, 1);
        assert_violation(&reading, 0, "/name", rows[i].sentence);
    }
}

static void a_text_without_a_limit_has_256_bytes_at_most(void **state)
{
    char note[300], json[1024];
    memset(note, 'x', sizeof(note));
    for (int size = 256; size <= 257; size++) {
        snprintf(json, sizeof(json),
                 "{" RIGHT_NAME
                 ",\"note\":\"%.*s\",\"count\":0,\"any\":0,\"sure\":false,\"on\":\"2026-01-01\"}",
                 size, note);
        _cleanup_(reading_deinit) struct reading reading = read_json(json);
        assert_int_equal(reading.answer, size == 256 ? 0 : COMMAND_E_INVALID);
    }
}

/* COMMAND_VIOLATION_COUNT_MAX: a body of nonsense does not make an endless answer. */
static void beyond_the_limit_violations_are_counted_only(void **state)
{
    _cleanup_(buffer_deinit) struct buffer json = {0};
    assert_ok(buffer_append_string(&json, "{" RIGHT_NAME "," RIGHT_REST));
    for (int i = 0; i < COMMAND_VIOLATION_COUNT_MAX + 7; i++)
        assert_ok(buffer_printf(&json, ",\"x%d\":0", i));
    assert_ok(buffer_append_string(&json, "}"));
    _cleanup_(reading_deinit) struct reading reading = read_json(buffer_string(&json));
    assert_int_equal(reading.answer, COMMAND_E_INVALID);
    assert_int_equal(reading.violations.count, COMMAND_VIOLATION_COUNT_MAX);
    assert_int_equal(reading.violations.total, COMMAND_VIOLATION_COUNT_MAX + 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_in_the_order_of_the_table),
        cmocka_unit_test(every_problem_is_told_at_once),
        cmocka_unit_test(every_field_is_required),
        cmocka_unit_test(a_wrong_value_is_named),
        cmocka_unit_test(a_text_without_a_limit_has_256_bytes_at_most),
        cmocka_unit_test(beyond_the_limit_violations_are_counted_only),
    };
    return cmocka_run_group_tests_name("fields", tests, NULL, NULL);
}
