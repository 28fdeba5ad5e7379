/* CloudEvents: what we write is read again as it was; what others write keeps all it says; what is none is refused. */
#include "lib/cmocka_all.h"

#include "base/cleanup.h"
#include "journal/cloudevents.h"

#define ID "\"id\":\"0193e5c2-7a4b-7cde-8f00-0123456789ab\""

static const char *from(const char *line, struct buffer *out)
{
    buffer_clear(out);
    assert_ok(cloudevents_from_line(bytes_from_string(line), "urn:daybook:j", out));
    return buffer_string(out);
}

static const char *to(const char *event, struct buffer *out)
{
    const char *reason = "";

    buffer_clear(out);
    if (cloudevents_to_line(bytes_from_string(event), out, &reason) != 0)
        fail_msg("%s: %s", event, reason);
    return buffer_string(out);
}

static void an_event_is_written_by_the_names_of_the_specification(void **state)
{
    _cleanup_(buffer_deinit) struct buffer out = {0};

    assert_string_equal(
        from("{\"position\":7,\"stream\":\"room-1\",\"version\":2,\"type\":\"RoomBooked\"," ID
             ",\"time\":\"2026-11-23T06:07:20.123456Z\",\"tags\":[\"room:1\"],\"data\":{\"n\":1.50},\"meta\":{\"m\":1}}",
             &out),
        "{\"specversion\":\"1.0\"," ID ",\"source\":\"urn:daybook:j\",\"type\":\"RoomBooked\",\"subject\":\"room-1\","
        "\"time\":\"2026-11-23T06:07:20.123456Z\",\"datacontenttype\":\"application/json\",\"data\":{\"n\":1.50},"
        "\"tags\":\"[\\\"room:1\\\"]\",\"meta\":\"{\\\"m\\\":1}\",\"position\":\"7\",\"streamversion\":\"2\"}");
    assert_string_equal(from("{\"position\":8,\"type\":\"A\"," ID ",\"tags\":[],\"stub\":true}", &out),
                        "{\"specversion\":\"1.0\"," ID ",\"source\":\"urn:daybook:j\",\"type\":\"A\",\"stub\":true,"
                        "\"position\":\"8\"}");
}

/* In the order that an import's line has; position, version and time are not read back. */
static void what_was_written_is_read_again_as_it_was(void **state)
{
    static const char *const lines[] = {
        "{\"stream\":\"s\",\"type\":\"A\"," ID ",\"data\":{\"i\":1.50,\"s\":\"\\u00e4\"},\"tags\":[\"x\",\"y \\\"z\\\"\"],\"meta\":{\"m\":[1,2]}}",
        "{\"type\":\"A\"," ID ",\"data\":null}",
        "{\"type\":\"A \\u2603\"," ID ",\"data\":\"text\"}",
        "{\"type\":\"A\"," ID ",\"content_type\":\"application/octet-stream\",\"data_base64\":\"AQL/\"}",
        "{\"stream\":\"s\",\"type\":\"A\"," ID ",\"data\":1,\"subject\":\"person:7\"}",
    };

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        _cleanup_(buffer_deinit) struct buffer event = {0};
        _cleanup_(buffer_deinit) struct buffer line = {0};
        assert_string_equal(to(from(lines[i], &event), &line), lines[i]);
    }
}

static void what_others_wrote_keeps_everything_it_says(void **state)
{
    _cleanup_(buffer_deinit) struct buffer out = {0};
    _cleanup_(buffer_deinit) struct buffer again = {0};

    assert_string_equal(
        to("{\"specversion\":\"1.0\",\"type\":\"com.example.some\",\"source\":\"/ctx\"," ID
           ",\"time\":\"2018-04-05T17:31:00Z\",\"comexampleother\":5,\"unset\":null,\"subject\":\"a/b\",\"data\":{ \"a\" : 1 }}",
           &out),
        "{\"type\":\"com.example.some\"," ID ",\"data\":{ \"a\" : 1 },\"meta\":{\"cloudevents\":{\"source\":\"/ctx\","
        "\"time\":\"2018-04-05T17:31:00Z\",\"comexampleother\":5,\"subject\":\"a/b\"}}}");
    /* an id that is no UUID: the same at every try, and another with another source */
    const char *first = to("{\"specversion\":\"1.0\",\"type\":\"A\",\"source\":\"/ctx\",\"id\":\"B234\",\"subject\":\"s\"}", &out);
    assert_non_null(strstr(first, "{\"stream\":\"s\",\"type\":\"A\",\"id\":\""));
    assert_non_null(strstr(first, "\"data\":null,\"meta\":{\"cloudevents\":{\"source\":\"/ctx\",\"id\":\"B234\"}}}"));
    assert_string_equal(first, to("{\"specversion\":\"1.0\",\"type\":\"A\",\"source\":\"/ctx\",\"id\":\"B234\",\"subject\":\"s\"}", &again));
    to("{\"specversion\":\"1.0\",\"type\":\"A\",\"source\":\"/cty\",\"id\":\"B234\",\"subject\":\"s\"}", &again);
    assert_memory_not_equal(strstr(first, "\"id\":\"") + 6, strstr(buffer_string(&again), "\"id\":\"") + 6, 36);
}

static void data_of_every_type_comes_over(void **state)
{
    static const struct {
        const char *data, *line;
    } cases[] = {
        {"\"datacontenttype\":\"application/json; charset=utf-8\",\"data\":[1]", "\"data\":[1]"},
        {"\"datacontenttype\":\"text/xml\",\"data\":\"<a b=\\\"c\\\"/>\"", "\"content_type\":\"text/xml\",\"data_base64\":\"PGEgYj0iYyIvPg==\""},
        {"\"datacontenttype\":\"application/x+json\",\"data\":{\"a\":1}", "\"content_type\":\"application/x+json\",\"data_base64\":\"eyJhIjoxfQ==\""},
        {"\"data_base64\":\"AQI=\"", "\"content_type\":\"application/octet-stream\",\"data_base64\":\"AQI=\""},
        {"\"datacontenttype\":\"application/json\",\"data_base64\":\"MQ==\"", "\"content_type\":\"application/json\",\"data_base64\":\"MQ==\""},
        {"\"data\":null", "\"data\":null"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        _cleanup_(buffer_deinit) struct buffer event = {0};
        _cleanup_(buffer_deinit) struct buffer line = {0};
        assert_ok(buffer_printf(&event, "{\"specversion\":\"1.0\",\"source\":\"urn:daybook:x\",\"type\":\"A\"," ID ",%s}", cases[i].data));
        const char *expected = strstr(to(buffer_string(&event), &line), cases[i].line);
        if (!expected)
            fail_msg("%s is not in %s", cases[i].line, buffer_string(&line));
    }
}

static void what_is_no_cloudevent_is_refused_and_told_why(void **state)
{
#define GOOD "\"specversion\":\"1.0\",\"source\":\"urn:daybook:x\",\"type\":\"A\",\"id\":\"1\""
    static const struct {
        const char *event, *reason;
    } cases[] = {
        {"", "value"},
        {"[]", "object"},
        {"{}", "specversion"},
        {"{\"specversion\":\"0.3\",\"source\":\"s\",\"type\":\"A\",\"id\":\"1\"}", "specversion"},
        {"{\"specversion\":\"1.0\",\"source\":\"s\",\"type\":\"A\"}", "id"},
        {"{\"specversion\":\"1.0\",\"source\":\"s\",\"type\":7,\"id\":\"1\"}", "type"},
        {"{\"specversion\":\"1.0\",\"source\":null,\"type\":\"A\",\"id\":\"1\"}", "source"},
        {"{" GOOD ",\"data\":1,\"data_base64\":\"AQI=\"}", "both"},
        {"{" GOOD ",\"data_base64\":5}", "data_base64"},
        {"{" GOOD ",\"tags\":\"{}\"}", "tags"},
        {"{" GOOD ",\"meta\":\"[]\"}", "meta"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        _cleanup_(buffer_deinit) struct buffer line = {0};
        const char *reason = "";
        assert_int_equal(cloudevents_to_line(bytes_from_string(cases[i].event), &line, &reason), CLOUDEVENTS_E_INVALID);
        if (!strstr(reason, cases[i].reason))
            fail_msg("%s: %s", cases[i].event, reason);
        assert_int_equal(line.size, 0);
    }
    _cleanup_(buffer_deinit) struct buffer event = {0};
    assert_int_equal(cloudevents_from_line(BYTES_LITERAL("{\"type\":\"A\"}"), "s", &event), CLOUDEVENTS_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_written_by_the_names_of_the_specification),
        cmocka_unit_test(what_was_written_is_read_again_as_it_was),
        cmocka_unit_test(what_others_wrote_keeps_everything_it_says),
        cmocka_unit_test(data_of_every_type_comes_over),
        cmocka_unit_test(what_is_no_cloudevent_is_refused_and_told_why),
    };

    return cmocka_run_group_tests_name("journal/cloudevents", tests, NULL, NULL);
}
