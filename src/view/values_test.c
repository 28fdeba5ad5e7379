/* Texts and numbers on their way from an event through SQL into an answer: kept, or said. */
#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "lib/view_kit.h"

static int set_up(void **state)
{
    struct view_kit *kit = calloc(1, sizeof(*kit));
    assert_non_null(kit);
    view_kit_init(kit);
    view_kit_write_application(kit);
    *state = kit;
    return 0;
}

static int tear_down(void **state)
{
    view_kit_deinit(*state);
    free(*state);
    return 0;
}

/* "a", "a\u0000b", "a\u0000c" and "a" with U+FDD0 are four keys, wherever the text comes from and goes to. */
static void texts_that_differ_behind_a_nul_are_different(void **state)
{
    struct view_kit *kit = *state;
    view_kit_write(kit, "views/keys.sql",
                   "-- view: keys\n-- version: 1\ncreate table keys (k text primary key, n integer, j json, w text);\n"
                   "-- on K\ninsert into keys select value, :position, :data, :data -> '$.v[0]' from json_each(:data, '$.v');\n");
    view_kit_write(kit, "queries/by.sql",
                   "-- query: by\n-- uses: keys\nselect k, json_extract(j, '$.v[0]') = k as same, upper(k) as u from keys "
                   "where k = :k group by k");
    assert_ok(view_kit_open(kit));
    view_kit_append_one(kit, "K", "{\"v\":[\"a\\u0000b\"]}");
    view_kit_append_one(kit, "K", "{\"v\":[\"a\\u0000c\"]}");
    view_kit_append_one(kit, "K", "{\"v\":[\"a\"]}");
    view_kit_append_one(kit, "K", "{\"v\":[\"a\xef\xb7\x90" "0b\"]}");
    view_kit_append_one(kit, "K", "{\"v\":[\"a\\uFDD0\\\\u0000\"]}");
    view_kit_catch_up(kit);
    assert_int_equal(view_kit_status(kit, "keys").state, VIEW_LIVE);
    view_kit_expect(kit, "views/keys?order=n",
                    "[{\"k\":\"a\\u0000b\",\"n\":1,\"j\":{\"v\":[\"a\\u0000b\"]},\"w\":\"\\\"a\\\\u0000b\\\"\"},\n"
                    "{\"k\":\"a\\u0000c\",\"n\":2,\"j\":{\"v\":[\"a\\u0000c\"]},\"w\":\"\\\"a\\\\u0000c\\\"\"},\n"
                    "{\"k\":\"a\",\"n\":3,\"j\":{\"v\":[\"a\"]},\"w\":\"\\\"a\\\"\"},\n"
                    "{\"k\":\"a\xef\xb7\x90" "0b\",\"n\":4,\"j\":{\"v\":[\"a\xef\xb7\x90" "0b\"]},\"w\":\"\\\"a\xef\xb7\x90"
                    "0b\\\"\"},\n"
                    "{\"k\":\"a\xef\xb7\x90\\\\u0000\",\"n\":5,\"j\":{\"v\":[\"a\xef\xb7\x90\\\\u0000\"]},"
                    "\"w\":\"\\\"a\xef\xb7\x90\\\\\\\\u0000\\\"\"}]\n");
    struct view_parameter nul[] = {{.name = B("k"), .value = BYTES_LITERAL("eq.a\0b")}, {.name = B("select"), .value = B("n")}};
    struct view_request request = {.name = B("keys"), .parameters = nul, .parameter_count = 2};
    struct view_answer answer;
    assert_ok(view_ask(kit->set, &request, &answer));
    assert_true(bytes_equal_string(buffer_bytes(&answer.body), "[{\"n\":1}]\n"));
    view_answer_deinit(&answer);
    nul[0].value = BYTES_LITERAL("a\0c");
    request = (struct view_request){.kind = VIEW_KIND_QUERY, .name = B("by"), .parameters = nul, .parameter_count = 1};
    assert_ok(view_ask(kit->set, &request, &answer));
    assert_true(bytes_equal_string(buffer_bytes(&answer.body), "[{\"k\":\"a\\u0000c\",\"same\":1,\"u\":\"A\\u0000C\"}]\n"));
    view_answer_deinit(&answer);
}

static void ilike_finds_a_text_as_people_see_it(void **state)
{
    struct view_kit *kit = *state;
    view_kit_write(kit, "views/names.sql",
                   "-- view: names\n-- version: 1\ncreate table names (id integer primary key, n text);\n"
                   "-- on N\ninsert into names values (:position, :data ->> 'n');\n");
    assert_ok(view_kit_open(kit));
    view_kit_append_one(kit, "N", "{\"n\":\"Zoe\u0308 ÅNGSTRÖM\"}");
    view_kit_append_one(kit, "N", "{\"n\":\"\u1112\u1161\u11ab\u1100\u1173\u11af\"}");
    view_kit_append_one(kit, "N", "{\"n\":\"Zoe\"}");
    view_kit_catch_up(kit);
    view_kit_expect(kit, "views/names?select=id&n=ilike.zoë*", "[{\"id\":1}]\n");
    view_kit_expect(kit, "views/names?select=id&n=ilike.*ångstro\u0308m", "[{\"id\":1}]\n");
    view_kit_expect(kit, "views/names?select=id&n=ilike.한글", "[{\"id\":2}]\n");
    view_kit_expect(kit, "views/names?select=id&n=ilike._글", "[{\"id\":2}]\n");
    view_kit_expect(kit, "views/names?select=id&n=not.ilike.zoë*", "[{\"id\":2},\n{\"id\":3}]\n");
    view_kit_expect(kit, "views/names?select=id&n=like.zoë*", "[]\n");
}

static void numbers_in_a_json_column_keep_their_digits(void **state)
{
    struct view_kit *kit = *state;
    view_kit_write(kit, "views/numbers.sql",
                   "-- view: numbers\n-- version: 1\ncreate table if not exists numbers (id integer primary key, -- json\n"
                   "  j json, k JSON not null, /* json, */ json text, primary_json json default 1.50);\n"
                   "-- on N\ninsert into numbers (id, j, k, json) values (:position, :data -> '$.n', :data, :data -> 'n');\n");
    static const char *const numbers[] = {"12345678901234567890", "1.10", "1e400", "-0", "1E-7", "0.1000000000000000055"};
    assert_ok(view_kit_open(kit));
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        char data[64], url[64], expected[256];
        (void)snprintf(data, sizeof(data), "{\"n\":%s}", numbers[i]);
        view_kit_append_one(kit, "N", data);
        view_kit_catch_up(kit);
        (void)snprintf(url, sizeof(url), "views/numbers?id=eq.%zu&select=j,k,json,primary_json", i + 1);
        (void)snprintf(expected, sizeof(expected), "[{\"j\":%s,\"k\":{\"n\":%s},\"json\":\"%s\",\"primary_json\":1.5}]\n",
                       numbers[i], numbers[i], numbers[i]);
        view_kit_expect(kit, url, expected);
    }
}

/* What JSON and CSV have no word for, and what only looks alike. */
static void each_format_says_what_it_has_no_number_for(void **state)
{
    struct view_kit *kit = *state;
    view_kit_write(kit, "queries/odd.sql",
                   "-- query: odd\n-- uses: counts\nselect 9e999 as i, -9e999 as m, 9e999 - 9e999 as nan, null as n, '' as e, "
                   "9007199254740993 as big, -9223372036854775808 as least, x'00ff' as b, cast(x'61ff62' as text) as bad, "
                   "'null' as w");
    view_kit_write(kit, "views/reals.sql",
                   "-- view: reals\n-- version: 1\ncreate table reals (id integer primary key, r real);\n"
                   "-- on R\ninsert into reals values (:position, :data ->> 'r');\n");
    assert_ok(view_kit_open(kit));
    view_kit_append_one(kit, "R", "{\"r\":1e400}");
    view_kit_append_one(kit, "R", "{\"r\":-1e400}");
    view_kit_append_one(kit, "R", "{\"r\":1.5}");
    view_kit_catch_up(kit);
    view_kit_expect(kit, "queries/odd",
                    "[{\"i\":\"Infinity\",\"m\":\"-Infinity\",\"nan\":null,\"n\":null,\"e\":\"\",\"big\":9007199254740993,"
                    "\"least\":-9223372036854775808,\"b\":\"AP8=\",\"bad\":\"a\xef\xbf\xbd" "b\",\"w\":\"null\"}]\n");
    struct view_request csv = {.format = VIEW_CSV}, lines = {.format = VIEW_NDJSON};
    _cleanup_(freep) char *a = view_kit_ask(kit, "queries/odd", &csv, NULL);
    assert_string_equal(a, "i,m,nan,n,e,big,least,b,bad,w\r\nInfinity,-Infinity,,,\"\",9007199254740993,-9223372036854775808,"
                           "AP8=,a\xef\xbf\xbd" "b,null\r\n");
    _cleanup_(freep) char *b = view_kit_ask(kit, "views/reals?r=eq.-Infinity", &lines, NULL);
    assert_string_equal(b, "{\"id\":2,\"r\":\"-Infinity\"}\n");
    view_kit_expect(kit, "views/reals?r=lt.Infinity&select=id", "[{\"id\":2},\n{\"id\":3}]\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define VALUES_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        VALUES_TEST(texts_that_differ_behind_a_nul_are_different),
        VALUES_TEST(ilike_finds_a_text_as_people_see_it),
        VALUES_TEST(numbers_in_a_json_column_keep_their_digits),
        VALUES_TEST(each_format_says_what_it_has_no_number_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
