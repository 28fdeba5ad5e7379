/* The parts of http that need no connection: router, queries, fields, problems, limits. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/json.h"
#include "http/field.h"
#include "http/http.h"
#include "http/internal.h"
#include "http/query.h"
#include "http/router.h"

static const struct http_route routes[] = {
    {"GET", "/"},
    {"GET", "/v1/events"},
    {"POST", "/v1/events/query"},
    {"GET", "/v1/streams/{stream}"},
    {"POST", "/v1/streams/{stream}"},
    {"POST", "/v1/views/{view}/rebuild"},
};

static int find(const char *method, const char *path, struct http_match *match, char *allow)
{
    static uint8_t memory[1024];

    return http_route_find(routes, 6, method, bytes_from_string(path), memory, match, allow);
}

static void the_router_compares_segment_by_segment(void **state)
{
    struct http_match match;
    char allow[HTTP_ALLOW_SIZE_MAX];

    assert_int_equal(find("GET", "/", &match, allow), 0);
    assert_ptr_equal(match.route, &routes[0]);
    assert_int_equal(find("GET", "/v1/streams/a%2Fb%20c", &match, allow), 0);
    assert_ptr_equal(match.route, &routes[3]);
    assert_true(bytes_equal_string(match.params[0], "a/b c"));
    assert_int_equal(find("HEAD", "/v1/streams/x", &match, allow), 0);
    assert_ptr_equal(match.route, &routes[3]);
    assert_int_equal(find("POST", "/v1/views/v/rebuild", &match, allow), 0);
    assert_ptr_equal(match.route, &routes[5]);
    assert_int_equal(find("GET", "/v1/streams/", &match, allow), HTTP_E_NOT_FOUND);
    assert_int_equal(find("GET", "/v1/streams/a/b", &match, allow), HTTP_E_NOT_FOUND);
    assert_int_equal(find("GET", "/v1/events/", &match, allow), HTTP_E_NOT_FOUND);
    assert_int_equal(find("GET", "", &match, allow), HTTP_E_NOT_FOUND);
    assert_int_equal(find("GET", "v1", &match, allow), HTTP_E_NOT_FOUND);
    assert_int_equal(find("GET", "/v1/streams/%", &match, allow), HTTP_E_PATH);
    assert_int_equal(find("GET", "/v1/streams/%c3%28", &match, allow), HTTP_E_PATH);
}

/* A pattern ends where its string ends, whatever stands in the path: a sanitizer sees who reads on. */
static void a_nul_in_a_path_is_a_byte_like_any_other(void **state)
{
    static const struct {
        const char *path;
        size_t size;
    } paths[] = {{"/v1/events\0", 11}, {"/\0", 2}, {"/\0/v1/events", 13}, {"/v1/events\0/query", 17}};
    uint8_t memory[64];
    struct http_match match;
    char allow[HTTP_ALLOW_SIZE_MAX];

    for (size_t i = 0; i < 4; i++)
        assert_int_equal(http_route_find(routes, 6, "GET", bytes_make(paths[i].path, paths[i].size), memory,
                                         &match, allow),
                         HTTP_E_NOT_FOUND);
    struct bytes stream = bytes_make("/v1/streams/a\0b", 15);
    assert_int_equal(http_route_find(routes, 6, "GET", stream, memory, &match, allow), 0);
    assert_true(bytes_equal(match.params[0], bytes_make("a\0b", 3)));
}

static void a_wrong_method_is_told_the_right_ones(void **state)
{
    struct http_match match;
    char allow[HTTP_ALLOW_SIZE_MAX];

    assert_int_equal(find("DELETE", "/v1/streams/a", &match, allow), HTTP_E_METHOD);
    assert_string_equal(allow, "GET, HEAD, POST, OPTIONS");
}

/* O1, O2 */
static void a_page_of_another_origin_is_known_by_what_its_browser_says(void **state)
{
    assert_false(origin_is_foreign("POST", NULL, NULL, "a:1")); /* a program */
    assert_false(origin_is_foreign("POST", "same-origin", "http://other", "a:1"));
    assert_true(origin_is_foreign("POST", "same-site", "http://a:1", "a:1"));
    assert_false(origin_is_foreign("POST", "none", "http://a:1", "a:1"));
    assert_true(origin_is_foreign("POST", "none", "http://b:1", "a:1"));
    assert_true(origin_is_foreign("DELETE", "cross-site", NULL, "a:1"));
    assert_false(origin_is_foreign("GET", "cross-site", "http://other", "a:1"));
    assert_false(origin_is_foreign("POST", NULL, "http://A:1", "a:1"));
    assert_true(origin_is_foreign("POST", NULL, "http://a:10", "a:1"));
    assert_true(origin_is_foreign("POST", NULL, "http://a", "a:1"));
    assert_false(origin_is_foreign("POST", NULL, "http://a:10", "a"));
    assert_true(origin_is_foreign("POST", NULL, "http://ab:10", "a"));
    assert_false(origin_is_foreign("POST", NULL, "http://[::1]:10", "[::1]"));
    assert_true(origin_is_foreign("POST", NULL, "null", "null"));
    assert_true(origin_is_foreign("POST", NULL, "http://", ""));
    assert_true(origin_is_foreign("POST", NULL, "http://a", NULL));
}

static void a_query_is_decoded_strictly(void **state)
{
    struct http_parameter p[4];
    uint8_t memory[64];
    size_t count;
    const char *text = "a=1&&b=x%20y+z&c&d=%3D%26";

    assert_int_equal(http_query_count(bytes_from_string(text)), 4);
    assert_int_equal(http_query_parse(bytes_from_string(text), memory, p, 4, &count), 0);
    assert_int_equal(count, 4);
    assert_true(bytes_equal_string(p[1].value, "x y z"));
    assert_true(bytes_equal_string(p[2].name, "c") && p[2].value.size == 0);
    assert_true(bytes_equal_string(p[3].value, "=&"));
    assert_int_equal(http_query_parse(bytes_from_string(text), memory, p, 3, &count), HTTP_E_COUNT);
    for (const char *const *bad = (const char *const[]){"a=%", "a=%1", "%g0=1", "a=%ff", "a=%c0%80", NULL};
         *bad; bad++)
        assert_int_equal(http_query_parse(bytes_from_string(*bad), memory, p, 4, &count), HTTP_E_ENCODING);
}

static void an_entity_tag_is_found_in_its_list(void **state)
{
    assert_true(http_etag_listed("\"7\"", "7", false));
    assert_true(http_etag_listed("\"5\", W/\"7\"", "7", true));
    assert_false(http_etag_listed("W/\"7\"", "7", false));
    assert_false(http_etag_listed("\"77\"", "7", true));
    assert_false(http_etag_listed("7", "7", true));
    assert_false(http_etag_listed("\"7", "7", true));
    assert_true(http_etag_listed("rubbish, \"7\"", "7", true));
}

static void accept_prefers_by_quality_and_closeness(void **state)
{
    const char *const types[] = {"application/json", "text/event-stream", "application/x-ndjson"};

    assert_int_equal(http_accept_choose(NULL, types, 3), 0);
    assert_int_equal(http_accept_choose("*/*", types, 3), 0);
    assert_int_equal(http_accept_choose("text/event-stream", types, 3), 1);
    assert_int_equal(http_accept_choose("application/json;q=0.5, application/x-ndjson", types, 3), 2);
    assert_int_equal(http_accept_choose("text/*, application/json;q=0.9", types, 3), 1);
    assert_int_equal(http_accept_choose("*/*, application/json;q=0", types, 3), 1);
    assert_int_equal(http_accept_choose("image/png", types, 3), -1);
}

static void only_our_own_names_are_hosts(void **state)
{
    const char *const known[] = {"hotel.example"};

    assert_int_equal(http_host_check("localhost:7070", known, 1), 0);
    assert_int_equal(http_host_check("127.0.0.1:1", known, 1), 0);
    assert_int_equal(http_host_check("[::1]:80", known, 1), 0);
    assert_int_equal(http_host_check("HOTEL.example", known, 1), 0);
    assert_int_equal(http_host_check("evil.example", known, 1), HTTP_E_HOST_UNKNOWN);
    assert_int_equal(http_host_check("localhost.evil.example", known, 1), HTTP_E_HOST_UNKNOWN);
    for (const char *const *bad =
             (const char *const[]){"", ":80", "[::1", "localhost:x", "localhost:1/x", NULL};
         *bad; bad++)
        assert_int_equal(http_host_check(*bad, known, 1), HTTP_E_HOST_INVALID);
    assert_int_equal(http_host_check(NULL, known, 1), HTTP_E_HOST_INVALID);
}

static void a_media_type_is_compared_without_its_parameters(void **state)
{
    assert_true(http_media_type_is("Application/JSON; charset=utf-8", "application/json"));
    assert_false(http_media_type_is("application/json5", "application/json"));
    assert_false(http_media_type_is(NULL, "application/json"));
}

static void a_problem_is_a_document(void **state)
{
    const struct http_violation violations[] = {
        {BYTES_LITERAL("/events/0/type"), BYTES_LITERAL("must not be \"empty\"")}};
    const struct http_problem problem = {.status = 422,
                                         .code = "invalid",
                                         .detail = "One thing is wrong.",
                                         .violations = violations,
                                         .violation_count = 1,
                                         .members = BYTES_LITERAL("\"actual\":7")};
    struct buffer out = {0};
    struct json_doc doc = {0};
    uint64_t actual;

    assert_int_equal(http_problem_write(&problem, "urn:test:", BYTES_LITERAL("/v1/append"), &out), 0);
    assert_int_equal(json_parse(buffer_bytes(&out), &doc, NULL), 0);
    struct json_value root = json_root(&doc);
    assert_true(json_string_equals(json_get(root, "type"), "urn:test:invalid"));
    assert_true(json_string_equals(json_get(root, "title"), "Unprocessable Content"));
    assert_true(json_string_equals(json_get(root, "instance"), "/v1/append"));
    assert_int_equal(json_count(json_get(root, "violations")), 1);
    assert_int_equal(json_u64(json_get(root, "actual"), &actual), 0);
    assert_int_equal(actual, 7);
    json_doc_deinit(&doc);
    buffer_deinit(&out);
}

static void every_limit_has_a_name_a_unit_and_a_sentence(void **state)
{
    struct http_limits limits;

    limits_init(http_limit_rows, http_limit_row_count, &limits);
    for (size_t i = 0; i < http_limit_row_count; i++) {
        const struct limit_row *row = &http_limit_rows[i];
        assert_true(strlen(row->name) > 0 && strlen(row->unit) > 0 && strlen(row->sentence) > 0);
        assert_int_equal(limits_get(row, &limits), row->value_default);
        assert_int_equal(
            limits_set(http_limit_rows, http_limit_row_count, &limits, row->name, strlen(row->name), i), 0);
        assert_int_equal(limits_get(row, &limits), i);
    }
    assert_int_equal(limits_set(http_limit_rows, http_limit_row_count, &limits, "nothing", 7, 1),
                     LIMITS_E_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_router_compares_segment_by_segment),
        cmocka_unit_test(a_nul_in_a_path_is_a_byte_like_any_other),
        cmocka_unit_test(a_wrong_method_is_told_the_right_ones),
        cmocka_unit_test(a_page_of_another_origin_is_known_by_what_its_browser_says),
        cmocka_unit_test(a_query_is_decoded_strictly),
        cmocka_unit_test(an_entity_tag_is_found_in_its_list),
        cmocka_unit_test(accept_prefers_by_quality_and_closeness),
        cmocka_unit_test(only_our_own_names_are_hosts),
        cmocka_unit_test(a_media_type_is_compared_without_its_parameters),
        cmocka_unit_test(a_problem_is_a_document),
        cmocka_unit_test(every_limit_has_a_name_a_unit_and_a_sentence),
    };

    return cmocka_run_group_tests_name("http parts", tests, NULL, NULL);
}
