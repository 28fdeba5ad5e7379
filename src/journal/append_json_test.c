/* What clients send: everything wrong is said at once, by JSON pointer; what is right arrives byte for byte. */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "journal/append_json.h"
#include "journal/event_json.h"
#include "lib/journal_kit.h"

static const struct append_json_options request = {.form = APPEND_JSON_REQUEST};

static struct append_json *parse(const char *text, const struct append_json_options *options, int answer)
{
    struct append_json *parsed = NULL;
    int r = append_json_parse(B(text), options, &parsed);
    if (r != answer)
        print_message("%d for %s: %s\n", r, text, parsed ? parsed->detail : "");
    assert_int_equal(r, answer);
    assert_non_null(parsed);
    return parsed;
}

static void assert_text(struct bytes bytes, const char *text)
{
    if (!bytes_equal_string(bytes, text))
        print_message("%.*s\n", BYTES_PRINT(bytes));
    assert_true(bytes_equal_string(bytes, text));
}

static void a_whole_request_is_taken_apart(void **state)
{
    struct append_json *parsed =
        parse("{\"events\":[{\"type\":\"A\",\"data\":{ \"b\" : 1.50, \"a\":[1, 2] "
              "},\"stream\":\"s\",\"tags\":[\"x\",\"\\u0079\"],"
              "\"id\":\"0193e5c2-7a4b-7cde-8f00-0123456789AB\",\"meta\":{ \"m\" : 1 }},"
              "{\"type\":\"B\",\"data_base64\":\"AAEC\",\"content_type\":\"application/octet-stream\"}],"
              "\"condition\":{\"failIfEventsMatch\":{\"items\":[{\"types\":[\"A\"],\"tags\":[\"x\"]},{"
              "\"tags\":[\"$t\"]}]},\"after\":7},"
              "\"streams\":{\"s\":7,\"t\":\"none\",\"u\":\"exists\",\"v/w\":\"any\"}}",
              &request, APPEND_JSON_E_INVALID);
    assert_int_equal(parsed->violation_count, 1); /* a slash in a name, escaped in the pointer */
    assert_string_equal(parsed->violations[0].pointer, "/streams/v~1w");
    assert_int_equal(parsed->item_count, 1);
    const struct journal_append *append = &parsed->items[0].append;
    assert_int_equal(append->event_count, 2);
    assert_text(append->events[0].data, "{\"b\":1.50,\"a\":[1,2]}");
    assert_text(append->events[0].meta, "{\"m\":1}");
    assert_text(append->events[0].stream, "s");
    assert_text(append->events[0].tags[1], "y");
    assert_true(append->events[0].has_id);
    assert_int_equal(append->events[0].id[15], 0xab);
    assert_true(bytes_equal(append->events[1].data, BYTES_LITERAL("\0\1\2")));
    assert_text(append->events[1].content_type, "application/octet-stream");
    assert_int_equal(append->condition->after, 7);
    assert_int_equal(append->condition->query.count, 2);
    assert_text(append->condition->query.items[0].types[0], "A");
    assert_int_equal(append->condition->query.items[1].type_count, 0);
    assert_int_equal(append->expectation_count, 4);
    assert_int_equal(append->expectations[0].expect, JOURNAL_EXPECT_VERSION);
    assert_int_equal(append->expectations[0].version, 7);
    assert_int_equal(append->expectations[1].expect, JOURNAL_EXPECT_NONE);
    assert_int_equal(append->expectations[2].expect, JOURNAL_EXPECT_EXISTS);
    append_json_free(parsed);
}

/* Each wrong request with the pointers it must be answered with, in order. */
static void every_violation_is_named_by_its_pointer(void **state)
{
    static const struct {
        const char *text, *pointers;
    } cases[] = {
        {"[]", " "},
        {"7", " "},
        {"{}", "/events "},
        {"{\"events\":{}}", "/events "},
        {"{\"events\":[]}", "/events "},
        {"{\"events\":[7]}", "/events/0 "},
        {"{\"events\":[{}]}", "/events/0/type /events/0/data "},
        {"{\"events\":[{\"type\":7,\"data\":1}]}", "/events/0/type "},
        {"{\"events\":[{\"type\":\"\",\"data\":1},{\"type\":\"$A\",\"data\":1}]}",
         "/events/0/type /events/1/type "},
        {"{\"events\":[{\"type\":\"A\",\"data\":1,\"more\":1}],\"extra~\":2}", "/events/0/more /extra~0 "},
        {"{\"events\":[{\"type\":\"A\",\"data\":1,\"stream\":\"a/"
         "b\",\"id\":\"x\",\"tags\":[\"t\",7,\"\"],\"meta\":[]}]}",
         "/events/0/stream /events/0/id /events/0/tags/1 /events/0/tags/2 /events/0/meta "},
        {"{\"events\":[{\"type\":\"A\",\"data\":1,\"data_base64\":\"AA==\",\"content_type\":\"a/b\"}]}",
         "/events/0/data_base64 "},
        {"{\"events\":[{\"type\":\"A\",\"data_base64\":\"AA==\"}]}", "/events/0/content_type "},
        {"{\"events\":[{\"type\":\"A\",\"data_base64\":\"A\",\"content_type\":\"a/b\"}]}",
         "/events/0/data_base64 "},
        {"{\"events\":[{\"type\":\"A\",\"data\":1,\"content_type\":\"text/plain\"}]}",
         "/events/0/content_type "},
        {"{\"events\":[{\"type\":\"A\",\"data_base64\":\"e30\",\"content_type\":\"\"}]}",
         "/events/0/data_base64 /events/0/content_type "},
        {"{\"events\":[{\"type\":\"A\",\"data_base64\":\"e30K\",\"content_type\":\"application/json\"}]}",
         ""},
        {"{\"events\":[{\"type\":\"A\",\"data_base64\":\"AAAA\",\"content_type\":\"application/json\"}]}",
         "/events/0/data_base64 "},
        {"{\"events\":[{\"type\":\"A\",\"data\":1}],\"condition\":{}}", "/condition/failIfEventsMatch "},
        {"{\"events\":[{\"type\":\"A\",\"data\":1}],\"condition\":{\"failIfEventsMatch\":{},\"after\":-1}}",
         "/condition/failIfEventsMatch/items /condition/after "},
        {"{\"events\":[{\"type\":\"A\",\"data\":1}],\"condition\":{\"failIfEventsMatch\":{\"items\":[{},{"
         "\"types\":[]},"
         "{\"tags\":\"x\"},{\"typs\":[]}]}}}",
         "/condition/failIfEventsMatch/items/0 /condition/failIfEventsMatch/items/1 "
         "/condition/failIfEventsMatch/items/2/tags /condition/failIfEventsMatch/items/3/typs "},
        {"{\"events\":[{\"type\":\"A\",\"data\":1}],\"streams\":{\"a\":1.5,\"b\":\"no\",\"c\":null}}",
         "/streams/a /streams/b /streams/c "},
        {"{\"appends\":7}", "/appends "},
        {"{\"appends\":[]}", "/appends "},
        {"{\"events\":[{\"type\":\"A\",\"data\":null}]}", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char pointers[512] = "";
        size_t size = 0;
        struct append_json *parsed =
            parse(cases[i].text, &request, cases[i].pointers[0] ? APPEND_JSON_E_INVALID : 0);
        for (size_t j = 0; j < parsed->violation_count; j++) {
            size += (size_t)snprintf(pointers + size, sizeof(pointers) - size, "%s ",
                                     parsed->violations[j].pointer);
            assert_true(strlen(parsed->violations[j].detail) > 5);
        }
        assert_string_equal(pointers, cases[i].pointers);
        append_json_free(parsed);
    }
}

static void what_is_no_json_is_malformed_and_not_invalid(void **state)
{
    static const char *const texts[] = {
        "", "{", "{\"events\":[}", "{\"a\":1,\"a\":2}", "{\"events\":[]} x", "\xff"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct append_json *parsed = parse(texts[i], &request, APPEND_JSON_E_MALFORMED);
        assert_true(parsed->offset <= strlen(texts[i]));
        assert_true(parsed->detail[0] != 0);
        append_json_free(parsed);
    }
}

static void of_many_appends_each_is_right_or_wrong_by_itself(void **state)
{
    struct append_json *parsed =
        parse("{\"appends\":[{\"events\":[{\"type\":\"A\",\"data\":1}]},{\"events\":[{}]},"
              "{\"events\":[{\"type\":\"C\",\"data\":3}]}]}",
              &request, 0);
    assert_true(parsed->many);
    assert_int_equal(parsed->item_count, 3);
    assert_int_equal(parsed->items[0].violation_count, 0);
    assert_int_equal(parsed->items[1].violation_count, 2);
    assert_string_equal(parsed->items[1].violations[0].pointer, "/appends/1/events/0/type");
    assert_int_equal(parsed->items[2].violation_count, 0);
    assert_text(parsed->items[2].append.events[0].type, "C");
    append_json_free(parsed);

    parsed = parse("{\"x\":1,\"appends\":[{\"events\":[{}]}]}", &request, APPEND_JSON_E_INVALID);
    assert_int_equal(parsed->violation_count, 3);
    assert_string_equal(parsed->violations[0].pointer, "/x");
    assert_string_equal(parsed->items[0].violations[0].pointer, "/appends/0/events/0/type");
    append_json_free(parsed);
}

static void the_events_of_a_stream_come_single_or_as_an_array(void **state)
{
    struct append_json_options options = {.form = APPEND_JSON_EVENTS, .stream = B("s")};
    struct append_json *parsed = parse("{\"type\":\"A\",\"data\":1,\"stream\":\"s\"}", &options, 0);
    assert_int_equal(parsed->items[0].append.event_count, 1);
    assert_text(parsed->items[0].append.events[0].stream, "s");
    append_json_free(parsed);
    parsed = parse("[{\"type\":\"A\",\"data\":1},{\"type\":\"B\",\"data\":1}]", &options, 0);
    assert_int_equal(parsed->items[0].append.event_count, 2);
    assert_text(parsed->items[0].append.events[1].stream, "s");
    append_json_free(parsed);
    parsed = parse("[{\"type\":\"A\",\"data\":1,\"stream\":\"t\"}]", &options, APPEND_JSON_E_INVALID);
    assert_string_equal(parsed->violations[0].pointer, "/0/stream");
    append_json_free(parsed);
}

static void a_traceparent_goes_into_meta_unless_it_is_there(void **state)
{
    static const char *const cases[][2] = {
        {"{\"type\":\"A\",\"data\":1}", "{\"traceparent\":\"00-1\"}"},
        {"{\"type\":\"A\",\"data\":1,\"meta\":{}}", "{\"traceparent\":\"00-1\"}"},
        {"{\"type\":\"A\",\"data\":1,\"meta\":{\"a\":1}}", "{\"a\":1,\"traceparent\":\"00-1\"}"},
        {"{\"type\":\"A\",\"data\":1,\"meta\":{\"traceparent\":2}}", "{\"traceparent\":2}"},
    };
    struct append_json_options options = {
        .form = APPEND_JSON_EVENTS, .stream = B("s"), .traceparent = B("00-1")};
    for (size_t i = 0; i < 4; i++) {
        struct append_json *parsed = parse(cases[i][0], &options, 0);
        assert_text(parsed->items[0].append.events[0].meta, cases[i][1]);
        append_json_free(parsed);
    }
}

static void the_limits_of_a_request_are_told(void **state)
{
    struct buffer text = {0};
    assert_ok(buffer_append_string(&text, "{\"events\":["));
    for (unsigned i = 0; i <= JOURNAL_EVENT_COUNT_MAX; i++)
        assert_ok(buffer_printf(&text, "%s{}", i > 0 ? "," : ""));
    assert_ok(buffer_append_string(&text, "]}"));
    struct append_json *parsed = parse(buffer_string(&text), &request, APPEND_JSON_E_INVALID);
    assert_int_equal(parsed->violation_count, 1);
    assert_string_equal(parsed->violations[0].pointer, "/events");
    append_json_free(parsed);

    buffer_clear(&text);
    assert_ok(buffer_append_string(&text, "{\"events\":["));
    for (unsigned i = 0; i < JOURNAL_EVENT_COUNT_MAX; i++)
        assert_ok(buffer_printf(&text, "%s{}", i > 0 ? "," : ""));
    assert_ok(buffer_append_string(&text, "]}"));
    parsed = parse(buffer_string(&text), &request, APPEND_JSON_E_INVALID);
    assert_int_equal(parsed->violation_count, APPEND_JSON_VIOLATION_COUNT_MAX);
    assert_int_equal(parsed->violation_count_all, 2 * JOURNAL_EVENT_COUNT_MAX);
    append_json_free(parsed);
    buffer_deinit(&text);
}

/* A list one longer than its limit is one violation, at the list. */
static void check_list_limit(const char *before, const char *const item[2], unsigned limit, const char *after,
                             const char *pointer)
{
    for (unsigned over = 0; over < 2; over++) {
        struct buffer text = {0};
        assert_ok(buffer_append_string(&text, before));
        for (unsigned i = 0; i < limit + over; i++) {
            assert_ok(buffer_append_string(&text, i > 0 ? "," : ""));
            assert_ok(buffer_printf(&text, "%s%u%s", item[0], i, item[1]));
        }
        assert_ok(buffer_append_string(&text, after));
        struct append_json *parsed = parse(buffer_string(&text), &request, over ? APPEND_JSON_E_INVALID : 0);
        assert_int_equal(parsed->violation_count, over);
        if (over)
            assert_string_equal(parsed->violations[0].pointer, pointer);
        append_json_free(parsed);
        buffer_deinit(&text);
    }
}

static void each_list_has_its_limit(void **state)
{
    static const char one[] = "{\"events\":[{\"type\":\"A\",\"data\":1}],";
    static const char *const appends[2] = {"{\"events\":[{\"type\":\"A\",\"data\":", "}]}"};
    static const char *const streams[2] = {"\"s", "\":1"}, *const items[2] = {"{\"tags\":[\"t", "\"]}"};
    static const char *const tags[2] = {"\"t", "\""};
    char before[256];
    check_list_limit("{\"appends\":[", appends, APPEND_JSON_APPEND_COUNT_MAX, "]}", "/appends");
    check_list_limit("{\"events\":[{\"type\":\"A\",\"data\":1,\"tags\":[", tags, JOURNAL_TAG_COUNT_MAX,
                     "]}]}", "/events/0/tags");
    snprintf(before, sizeof(before), "%s\"streams\":{", one);
    check_list_limit(before, streams, JOURNAL_EXPECTATION_COUNT_MAX, "}}", "/streams");
    snprintf(before, sizeof(before), "%s\"condition\":{\"failIfEventsMatch\":{\"items\":[", one);
    check_list_limit(before, items, JOURNAL_ITEM_COUNT_MAX, "]}}}", "/condition/failIfEventsMatch/items");
    snprintf(before, sizeof(before), "%s\"condition\":{\"failIfEventsMatch\":{\"items\":[{\"tags\":[", one);
    check_list_limit(before, tags, JOURNAL_QUERY_TERM_COUNT_MAX, "]}]}}}",
                     "/condition/failIfEventsMatch/items/0/tags");
}

static void a_query_is_parsed_by_the_same_rules(void **state)
{
    struct append_json *parsed;
    struct journal_query query;
    assert_ok(append_json_parse_query(B("{\"items\":[{\"types\":[\"A\",\"B\"]},{\"tags\":[\"x\"]}]}"),
                                      &parsed, &query));
    assert_int_equal(query.count, 2);
    assert_int_equal(query.items[0].type_count, 2);
    append_json_free(parsed);
    assert_ok(append_json_parse_query(B("{\"items\":[]}"), &parsed, &query));
    assert_int_equal(query.count, 0);
    append_json_free(parsed);
    assert_int_equal(append_json_parse_query(B("{\"items\":[{}]}"), &parsed, &query), APPEND_JSON_E_INVALID);
    assert_string_equal(parsed->violations[0].pointer, "/items/0");
    append_json_free(parsed);
    assert_int_equal(append_json_parse_query(B("{}"), &parsed, &query), APPEND_JSON_E_INVALID);
    append_json_free(parsed);
}

/* ---- an event as JSON ---- */

static const struct bytes two_tags[] = {{(const uint8_t *)"a", 1}, {(const uint8_t *)"b\"c", 3}};

static struct journal_event some_event(void)
{
    struct journal_event event = {.position = 7,
                                  .version = 2,
                                  .time_us = 1700000000123456,
                                  .append_first = 7,
                                  .append_count = 1,
                                  .stream = BYTES_LITERAL("room-1"),
                                  .type = BYTES_LITERAL("Booked"),
                                  .data = BYTES_LITERAL("{\"n\":1.50}"),
                                  .meta = BYTES_LITERAL("{\"m\":1}"),
                                  .tags = two_tags,
                                  .tag_count = 2};
    memset(event.id, 0xab, sizeof(event.id));
    return event;
}

static void an_event_is_written_in_the_order_of_the_contract(void **state)
{
    struct buffer out = {0};
    struct journal_event event = some_event();
    assert_ok(event_json_write(&event, &out));
    assert_string_equal(
        buffer_string(&out),
        "{\"position\":7,\"stream\":\"room-1\",\"version\":2,\"type\":\"Booked\","
        "\"id\":\"abababab-abab-abab-abab-abababababab\",\"time\":\"2023-11-14T22:13:20.123456Z\","
        "\"tags\":[\"a\",\"b\\\"c\"],\"data\":{\"n\":1.50},\"meta\":{\"m\":1}}");
    buffer_clear(&out);
    event.stream = event.meta = (struct bytes){0};
    event.version = event.tag_count = 0;
    event.content_type = BYTES_LITERAL("text/plain");
    event.data = BYTES_LITERAL("\0\1");
    assert_ok(event_json_write(&event, &out));
    assert_string_equal(buffer_string(&out),
                        "{\"position\":7,\"type\":\"Booked\",\"id\":\"abababab-abab-abab-abab-abababababab\","
                        "\"time\":\"2023-11-14T22:13:20.123456Z\",\"tags\":[],\"data_base64\":\"AAE=\","
                        "\"content_type\":\"text/plain\"}");
    buffer_clear(&out);
    event.stub = true;
    assert_ok(event_json_write(&event, &out));
    assert_non_null(strstr(buffer_string(&out), "\"stub\":true}"));
    buffer_deinit(&out);
}

static void an_exported_line_is_read_as_the_event_it_was(void **state)
{
    struct append_json_options options = {.form = APPEND_JSON_LINE};
    struct journal_event event = some_event();
    for (unsigned i = 0; i < 3; i++) {
        struct buffer out = {0};
        if (i == 1) {
            event.content_type = BYTES_LITERAL("image/png");
            event.data = BYTES_LITERAL("\0\xff\n");
        }
        if (i == 2) {
            event.content_type = event.data = event.meta = event.stream = (struct bytes){0};
            event.version = 0;
        }
        assert_ok(event_json_write(&event, &out));
        struct append_json *parsed = parse(buffer_string(&out), &options, 0);
        const struct journal_event_new *read = &parsed->items[0].append.events[0];
        assert_true(bytes_equal(read->stream, event.stream));
        assert_true(bytes_equal(read->type, event.type));
        assert_true(bytes_equal(read->data, event.data));
        assert_true(bytes_equal(read->meta, event.meta));
        assert_true(bytes_equal(read->content_type, event.content_type));
        assert_memory_equal(read->id, event.id, 16);
        assert_int_equal(read->tag_count, 2);
        assert_true(bytes_equal(read->tags[1], event.tags[1]));
        append_json_free(parsed);
        buffer_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_request_is_taken_apart),
        cmocka_unit_test(every_violation_is_named_by_its_pointer),
        cmocka_unit_test(what_is_no_json_is_malformed_and_not_invalid),
        cmocka_unit_test(of_many_appends_each_is_right_or_wrong_by_itself),
        cmocka_unit_test(the_events_of_a_stream_come_single_or_as_an_array),
        cmocka_unit_test(a_traceparent_goes_into_meta_unless_it_is_there),
        cmocka_unit_test(the_limits_of_a_request_are_told),
        cmocka_unit_test(each_list_has_its_limit),
        cmocka_unit_test(a_query_is_parsed_by_the_same_rules),
        cmocka_unit_test(an_event_is_written_in_the_order_of_the_contract),
        cmocka_unit_test(an_exported_line_is_read_as_the_event_it_was),
    };
    return cmocka_run_group_tests_name("journal/append_json", tests, NULL, NULL);
}
