#include "lib/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/json_peer.h"

static int parse(const char *text, struct json_doc *doc)
{
    struct json_error error = {0};
    int r = json_parse(bytes_from_string(text), doc, &error);

    if (r == JSON_E_INVALID)
        assert_non_null(error.reason);
    return r;
}

static const char *const accepted[] = {
    "0",
    "-0",
    "1.5e-3",
    "1E+2",
    "\"\"",
    "null",
    "true",
    " [ ] ",
    "{}",
    "[[],{}]",
    "\"\\u0000\"",
    "\"\\ud83d\\ude00\"",
    "\"\xf0\x9f\x9b\x8f\"",
    "{\"a\":1,\"b\":{\"a\":2}}",
    "[1,\n2\t,\r3]",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    "\"\x7f\"",
    "{\"\":0}",
};

static const char *const refused[] = {
    "",
    " ",
    "nul",
    "nulll",
    "TRUE",
    "01",
    "-",
    "+1",
    "1.",
    ".5",
    "1e",
    "1e+",
    "0x1",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[",
    "]",
    "{",
    "}",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{a:1}",
    "{'a':1}",
    "{1:1}",
    "[1}",
    "{\"a\":1]",
    "\"",
    "\"\\",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\u12g4\"",
    "\"\\ud800\"",
    "\"\\udc00\"",
    "\"\\ud800\\ud800\"",
    "\"\\ud800x\"",
    "\"\n\"",
    "\"\x1f\"",
    "\"\xff\"",
    "\"\xc0\xaf\"",
    "\"\xed\xa0\x80\"",
    "\"\xf4\x90\x80\x80\"",
    "\"\xe2\x82\"",
    "1 1",
    "[] []",
    "NaN",
    "Infinity",
    "// x\n1",
    "\xef\xbb\xbf"
    "1",
    "{\"a\":1,\"a\":2}",
    "{\"a\":1,\"\\u0061\":2}",
    "[{\"b\":{\"x\":1,\"y\":2,\"x\":3}}]",
    "\f1",
};

/* What RFC 8259 allows is read; jansson agrees. */
static void json_that_follows_the_rfc_is_accepted(void **state)
{
    for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
        _cleanup_(json_doc_deinit) struct json_doc doc = {0};

        assert_ok(parse(accepted[i], &doc));
        assert_int_equal(peer_parse(bytes_from_string(accepted[i])), PEER_ACCEPTS);
    }
}

/* Everything else is refused, and leaves an empty document; jansson agrees. */
static void json_that_breaks_the_rfc_is_refused(void **state)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        _cleanup_(json_doc_deinit) struct json_doc doc = {0};

        assert_int_equal(parse(refused[i], &doc), JSON_E_INVALID);
        assert_false(json_exists(json_root(&doc)));
        assert_int_equal(peer_parse(bytes_from_string(refused[i])), PEER_REFUSES);
    }
}

/* Ten thousand random edits of good texts: both parsers always agree, and white space never carries meaning. */
static void ten_thousand_edited_texts_are_judged_as_jansson_judges_them(void **state)
{
    static const char alphabet[] = "{}[]:,\"\\u0d8e1a -.\n\xc3\xa9";
    unsigned random = 1;
    size_t both_accept = 0;

    for (int round = 0; round < 10000; round++) {
        _cleanup_(json_doc_deinit) struct json_doc doc = {0};
        _cleanup_(buffer_deinit) struct buffer text = {0}, small = {0};
        enum peer_opinion peer;
        int r;

        assert_ok(
            buffer_append_string(&text, accepted[(size_t)round % (sizeof(accepted) / sizeof(accepted[0]))]));
        for (int edits = round % 4; edits > 0; edits--) {
            random = random * 1103515245 + 12345;
            text.data[(random >> 16) % text.size] = (uint8_t)alphabet[(random >> 8) % (sizeof(alphabet) - 1)];
        }
        r = json_parse(buffer_bytes(&text), &doc, NULL);
        peer = peer_parse(buffer_bytes(&text));
        if (peer == PEER_CANNOT)
            continue;
        assert_int_equal(r, peer == PEER_ACCEPTS ? 0 : JSON_E_INVALID);
        if (r != 0)
            continue;
        both_accept++;
        assert_ok(json_minify(json_raw(json_root(&doc)), &small));
        assert_true(peer_same_value(buffer_bytes(&text), buffer_bytes(&small)));
    }
    assert_true(both_accept > 1000);
}

static void an_error_names_its_place_and_reason(void **state)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct json_error error = {0};

    assert_int_equal(json_parse(BYTES_LITERAL("{\"a\": 1, \"b\": 2, \"a\": 3}"), &doc, &error),
                     JSON_E_INVALID);
    assert_int_equal(error.offset, 17);
    assert_string_equal(error.reason, "the key is there twice");
    assert_int_equal(json_parse(BYTES_LITERAL("[1, x]"), &doc, &error), JSON_E_INVALID);
    assert_int_equal(error.offset, 4);
}

static void sixty_four_levels_are_read_and_sixty_five_are_not(void **state)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    char text[2 * (JSON_DEPTH_MAX + 1) + 1] = {0};

    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    assert_ok(parse(text, &doc));
    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    assert_int_equal(parse(text, &doc), JSON_E_INVALID);
}

static void a_text_beyond_the_largest_size_is_refused_unread(void **state)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct json_error error = {0};

    assert_int_equal(json_parse(bytes_make("1", JSON_SIZE_MAX + 1), &doc, &error), JSON_E_INVALID);
    assert_string_equal(error.reason, "the text is larger than 1 GiB");
}

/* A hundred thousand keys take a moment, not minutes, and one duplicate among them is found. */
static void duplicates_among_many_keys_are_found_without_quadratic_work(void **state)
{
    for (int duplicate = 0; duplicate <= 1; duplicate++) {
        _cleanup_(json_doc_deinit) struct json_doc doc = {0};
        _cleanup_(buffer_deinit) struct buffer text = {0};

        assert_ok(buffer_append_byte(&text, '{'));
        for (int i = 0; i < 100000; i++)
            assert_ok(buffer_printf(&text, "\"key%d\":%d,", i, i));
        assert_ok(buffer_append_string(&text, duplicate ? "\"key\\u0034711\":0}" : "\"last\":0}"));
        assert_int_equal(json_parse(buffer_bytes(&text), &doc, NULL), duplicate ? JSON_E_INVALID : 0);
    }
}

static void values_are_spans_of_the_clients_own_text(void **state)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    const char *text = " {\"price\": 12.50 , \"k\": {\"z\":1, \"a\":\"\\u00e9\"}}";
    struct bytes raw;

    assert_ok(parse(text, &doc));
    raw = json_raw(json_get(json_root(&doc), "price"));
    assert_true(bytes_equal(raw, BYTES_LITERAL("12.50")));
    assert_ptr_equal(raw.data, (const uint8_t *)text + 11);
    assert_true(
        bytes_equal(json_raw(json_get(json_root(&doc), "k")), BYTES_LITERAL("{\"z\":1, \"a\":\"\\u00e9\"}")));
    assert_true(json_string_equals(json_get(json_get(json_root(&doc), "k"), "a"), "\xc3\xa9"));
    assert_int_equal(json_type(json_get(json_get(json_root(&doc), "missing"), "a")), JSON_MISSING);
}

static void walking_yields_members_and_items_in_their_order(void **state)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct json_cursor at;
    uint64_t number, expected = 1;

    assert_ok(parse("{\"a\":1,\"b\":[2,[9],3],\"c\":{}}", &doc));
    at = json_walk(json_root(&doc));
    assert_true(json_next(&at) && json_string_equals(at.key, "a"));
    assert_true(json_next(&at) && json_string_equals(at.key, "b"));
    assert_int_equal(json_count(at.value), 3);
    assert_true(json_next(&at) && json_string_equals(at.key, "c"));
    assert_false(json_next(&at));
    at = json_walk(json_get(json_root(&doc), "b"));
    while (json_next(&at)) {
        if (json_type(at.value) == JSON_NUMBER) {
            assert_ok(json_u64(at.value, &number));
            assert_int_equal(number, ++expected);
        }
    }
    assert_int_equal(expected, 3);
}

static void integers_are_read_exactly_or_refused_clearly(void **state)
{
    static const struct {
        const char *text;
        int as_u64, as_i64;
    } cases[] = {
        {"0", 0, 0},
        {"-0", 0, 0},
        {"-1", JSON_E_RANGE, 0},
        {"18446744073709551615", 0, JSON_E_RANGE},
        {"18446744073709551616", JSON_E_RANGE, JSON_E_RANGE},
        {"9223372036854775807", 0, 0},
        {"-9223372036854775808", JSON_E_RANGE, 0},
        {"-9223372036854775809", JSON_E_RANGE, JSON_E_RANGE},
        {"1.0", JSON_E_NOT_INTEGER, JSON_E_NOT_INTEGER},
        {"1e3", JSON_E_NOT_INTEGER, JSON_E_NOT_INTEGER},
        {"\"1\"", JSON_E_TYPE, JSON_E_TYPE},
        {"null", JSON_E_TYPE, JSON_E_TYPE},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        _cleanup_(json_doc_deinit) struct json_doc doc = {0};
        uint64_t u = 42;
        int64_t s = 42;

        assert_ok(parse(cases[i].text, &doc));
        assert_int_equal(json_u64(json_root(&doc), &u), cases[i].as_u64);
        assert_int_equal(json_i64(json_root(&doc), &s), cases[i].as_i64);
        if (cases[i].as_u64 == 0)
            assert_true(u == strtoull(cases[i].text, NULL, 10));
        if (cases[i].as_i64 == 0)
            assert_true(s == strtoll(cases[i].text, NULL, 10));
        if (cases[i].as_u64 != 0)
            assert_int_equal(u, 42);
    }
}

static void strings_come_out_with_their_escapes_undone(void **state)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    _cleanup_(buffer_deinit) struct buffer text = {0};
    _cleanup_(freep) char *copy = NULL;

    assert_ok(parse("[\"a\\n\\\"\\u00e9\\ud83d\\ude00\\u0000\",\"x\"]", &doc));
    assert_ok(json_string((struct json_value){&doc, 1}, &text));
    assert_true(bytes_equal(buffer_bytes(&text), BYTES_LITERAL("a\n\"\xc3\xa9\xf0\x9f\x98\x80\0")));
    assert_int_equal(json_string_dup((struct json_value){&doc, 1}, &copy), JSON_E_TYPE);
    assert_ok(json_string_dup((struct json_value){&doc, 2}, &copy));
    assert_string_equal(copy, "x");
    assert_int_equal(json_string(json_root(&doc), &text), JSON_E_TYPE);
}

static void the_writer_puts_commas_and_escapes_by_itself(void **state)
{
    _cleanup_(buffer_deinit) struct buffer out = {0};
    struct json_writer w = json_writer(&out);

    json_write_object_begin(&w);
    json_write_member_string(&w, "s", "a\"\\\n\x01\xff\xc3\xa9");
    json_write_member_u64(&w, "u", UINT64_MAX);
    json_write_member_i64(&w, "i", INT64_MIN);
    json_write_member_bool(&w, "b", true);
    json_write_member_raw(&w, "r", BYTES_LITERAL("[1.50]"));
    json_write_key(&w, "a");
    json_write_array_begin(&w);
    json_write_double(&w, 0.1);
    json_write_double(&w, 1.0 / 0.0);
    json_write_null(&w);
    json_write_object_begin(&w);
    json_write_object_end(&w);
    json_write_array_end(&w);
    json_write_object_end(&w);
    assert_ok(json_write_end(&w));
    assert_string_equal(buffer_string(&out),
                        "{\"s\":\"a\\\"\\\\\\n\\u0001\xef\xbf\xbd\xc3\xa9\",\"u\":18446744073709551615,"
                        "\"i\":-9223372036854775808,\"b\":true,\"r\":[1.50],\"a\":[0.1,null,null,{}]}");
}

/* Strings are looked through eight bytes at a time: what is special must be seen wherever in the eight it stands. */
static void a_special_byte_is_seen_wherever_it_stands(void **state)
{
    static const uint8_t specials[] = {0x00, 0x1f, 0x20, '!', '"', '#', '[', '\\', ']', 0x7f, 0x80, 0xc3, 0xff};

    for (size_t length = 1; length < 20; length++) {
        for (size_t at = 0; at < length; at++) {
            for (size_t i = 0; i < sizeof(specials); i++) {
                struct buffer out = {0};
                struct json_doc doc = {0};
                struct json_writer w = json_writer(&out);
                uint8_t text[20], c = specials[i];
                bool broken = c >= 0x80;
                memset(text, 'a', sizeof(text));
                text[at] = c;
                json_write_bytes(&w, bytes_make(text, length));
                assert_ok(json_write_end(&w));
                assert_ok(json_parse(buffer_bytes(&out), &doc, NULL));
                assert_true(json_string_equals_bytes(json_root(&doc), bytes_make(text, length)) != broken);
                struct buffer same = {0};
                assert_ok(json_minify(buffer_bytes(&out), &same));
                assert_true(bytes_equal(buffer_bytes(&same), buffer_bytes(&out)));
                buffer_deinit(&same);
                buffer_deinit(&out);
                json_doc_deinit(&doc);
            }
        }
    }
}

static void a_writer_that_meets_its_ceiling_says_so_at_the_end(void **state)
{
    _cleanup_(buffer_deinit) struct buffer out = {.size_max = 8};
    struct json_writer w = json_writer(&out);

    json_write_string(&w, "much too long for eight bytes");
    assert_int_equal(json_write_end(&w), -E2BIG);
    assert_true(out.size <= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_that_follows_the_rfc_is_accepted),
        cmocka_unit_test(json_that_breaks_the_rfc_is_refused),
        cmocka_unit_test(ten_thousand_edited_texts_are_judged_as_jansson_judges_them),
        cmocka_unit_test(an_error_names_its_place_and_reason),
        cmocka_unit_test(sixty_four_levels_are_read_and_sixty_five_are_not),
        cmocka_unit_test(a_text_beyond_the_largest_size_is_refused_unread),
        cmocka_unit_test(duplicates_among_many_keys_are_found_without_quadratic_work),
        cmocka_unit_test(values_are_spans_of_the_clients_own_text),
        cmocka_unit_test(walking_yields_members_and_items_in_their_order),
        cmocka_unit_test(integers_are_read_exactly_or_refused_clearly),
        cmocka_unit_test(strings_come_out_with_their_escapes_undone),
        cmocka_unit_test(the_writer_puts_commas_and_escapes_by_itself),
        cmocka_unit_test(a_special_byte_is_seen_wherever_it_stands),
        cmocka_unit_test(a_writer_that_meets_its_ceiling_says_so_at_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
