#include "lib/cmocka_all.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/hex.h"
#include "base/names.h"
#include "base/utf8.h"
#include "base/vector.h"

static void a_buffer_grows_to_its_ceiling_and_not_beyond(void **state)
{
    _cleanup_(buffer_deinit) struct buffer buffer;

    buffer_init(&buffer, 300);
    for (int i = 0; i < 300; i++)
        assert_ok(buffer_append_byte(&buffer, (uint8_t)i));
    assert_int_equal(buffer_append_byte(&buffer, 0), -E2BIG);
    assert_int_equal(buffer_reserve(&buffer, SIZE_MAX), -E2BIG);
    assert_int_equal(buffer.size, 300);
    for (int i = 0; i < 300; i++)
        assert_int_equal(buffer.data[i], (uint8_t)i);
}

static void a_buffer_prints_and_ends_as_a_string(void **state)
{
    _cleanup_(buffer_deinit) struct buffer buffer = {0};

    assert_string_equal(buffer_string(&buffer), "");
    assert_ok(buffer_append_string(&buffer, "a="));
    assert_ok(buffer_printf(&buffer, "%d, %0200d", 7, 1));
    assert_int_equal(buffer.size, 205);
    assert_int_equal(strlen(buffer_string(&buffer)), 205);
    assert_memory_equal(buffer.data, "a=7, 000", 8);
}

static void spans_compare_by_unsigned_bytes_and_prefixes_come_first(void **state)
{
    assert_true(bytes_compare(BYTES_LITERAL("a"), BYTES_LITERAL("ab")) < 0);
    assert_true(bytes_compare(BYTES_LITERAL("\xff"), BYTES_LITERAL("a")) > 0);
    assert_int_equal(bytes_compare(BYTES_LITERAL(""), (struct bytes){0}), 0);
    assert_true(bytes_equal((struct bytes){0}, BYTES_LITERAL("")));
    assert_int_equal(bytes_slice(BYTES_LITERAL("abc"), 2, 9).size, 1);
    assert_int_equal(bytes_slice(BYTES_LITERAL("abc"), 9, 9).size, 0);
}

static void decimal_numbers_are_read_whole_or_refused(void **state)
{
    uint64_t value = 1;

    assert_ok(bytes_parse_u64(BYTES_LITERAL("18446744073709551615"), &value));
    assert_true(value == UINT64_MAX);
    assert_int_equal(bytes_parse_u64(BYTES_LITERAL("18446744073709551616"), &value), BYTES_E_RANGE);
    assert_int_equal(bytes_parse_u64(BYTES_LITERAL(""), &value), BYTES_E_NOT_NUMBER);
    assert_int_equal(bytes_parse_u64(BYTES_LITERAL("+1"), &value), BYTES_E_NOT_NUMBER);
    assert_int_equal(bytes_parse_u64(BYTES_LITERAL("99999999999999999999x"), &value), BYTES_E_NOT_NUMBER);
}

static void decimal_numbers_are_written_as_they_are_read(void **state)
{
    uint64_t number = 1;
    char text[BYTES_U64_TEXT_SIZE];

    for (unsigned power = 0; power < 20; power++, number *= 10) {
        const uint64_t near[] = {number - 1, number, number + 1, UINT64_MAX - number};
        for (size_t i = 0; i < 4; i++) {
            uint64_t back = 1;
            size_t size = bytes_format_u64(near[i], text);
            assert_ok(bytes_parse_u64(bytes_make(text, size), &back));
            assert_true(back == near[i]);
            assert_true(size == 1 || text[0] != '0');
        }
    }
}

static void signed_numbers_are_written_with_their_sign(void **state)
{
    struct buffer text = {0};

    assert_ok(buffer_append_i64(&text, 0));
    assert_ok(buffer_append_i64(&text, -1));
    assert_ok(buffer_append_i64(&text, 10));
    assert_ok(buffer_append_i64(&text, INT64_MAX));
    assert_ok(buffer_append_i64(&text, INT64_MIN));
    assert_string_equal(buffer_string(&text), "0-1109223372036854775807-9223372036854775808");
    buffer_deinit(&text);
}

static void integers_are_stored_least_byte_first(void **state)
{
    uint8_t raw[8];

    bytes_put_u64(raw, UINT64_C(0x0102030405060708));
    assert_int_equal(raw[0], 8);
    assert_int_equal(raw[7], 1);
    assert_true(bytes_get_u64(raw) == UINT64_C(0x0102030405060708));
    assert_int_equal(bytes_get_u32(raw), 0x05060708);
    assert_int_equal(bytes_get_u16(raw + 1), 0x0607);
}

static void checked_arithmetic_refuses_to_wrap_and_leaves_the_result_alone(void **state)
{
    uint64_t u = 5;
    size_t s = 5;
    int64_t i = 5;

    assert_false(checked_add_u64(UINT64_MAX, 1, &u));
    assert_false(checked_mul_size(SIZE_MAX, 2, &s));
    assert_false(checked_sub_u64(1, 2, &u));
    assert_false(checked_add_i64(INT64_MAX, 1, &i));
    assert_int_equal(u, 5);
    assert_int_equal(s, 5);
    assert_int_equal(i, 5);
    assert_true(checked_add_u64(2, 3, &u) && u == 5);
}

static void a_vector_keeps_its_items_when_it_grows(void **state)
{
    _cleanup_(freep) int *items = NULL;
    size_t capacity = 0;

    for (int i = 0; i < 1000; i++) {
        assert_ok(vector_reserve(&items, &capacity, (size_t)i + 1));
        items[i] = i;
    }
    for (int i = 0; i < 1000; i++)
        assert_int_equal(items[i], i);
    assert_int_equal(vector_reserve(&items, &capacity, SIZE_MAX / 2), -ENOMEM);
    assert_int_equal(items[999], 999);
}

static void a_taken_pointer_is_not_freed_twice(void **state)
{
    _cleanup_(freep) void *kept = NULL;
    {
        _cleanup_(freep) void *given = malloc(1);

        kept = take_ptr(given);
        assert_null(given);
    }
    assert_non_null(kept);
}

static void text_forms_of_bytes_read_back(void **state)
{
    _cleanup_(buffer_deinit) struct buffer text = {0}, back = {0};
    static const struct {
        const char *bytes, *base64;
    } cases[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) { /* RFC 4648 §10 */
        buffer_clear(&text);
        buffer_clear(&back);
        assert_ok(base64_encode(bytes_from_string(cases[i].bytes), &text));
        assert_string_equal(buffer_string(&text), cases[i].base64);
        assert_ok(base64_decode(buffer_bytes(&text), &back));
        assert_string_equal(buffer_string(&back), cases[i].bytes);
    }
    buffer_clear(&text);
    buffer_clear(&back);
    assert_ok(hex_encode(BYTES_LITERAL("\x00\xff\x1a"), &text));
    assert_string_equal(buffer_string(&text), "00ff1a");
    assert_ok(hex_decode(BYTES_LITERAL("00fF1A"), &back));
    assert_true(bytes_equal(buffer_bytes(&back), BYTES_LITERAL("\x00\xff\x1a")));
}

static void wrong_text_forms_are_refused_and_leave_the_buffer_alone(void **state)
{
    static const char *const wrong[] = {
        "Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Z===", "====", "Zm 9", "Zg==Zg=="};
    _cleanup_(buffer_deinit) struct buffer out = {0};

    assert_ok(buffer_append_string(&out, "x"));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(base64_decode(bytes_from_string(wrong[i]), &out), TEXT_E_INVALID);
    assert_int_equal(hex_decode(BYTES_LITERAL("abc"), &out), TEXT_E_INVALID);
    assert_int_equal(hex_decode(BYTES_LITERAL("0g"), &out), TEXT_E_INVALID);
    assert_int_equal(out.size, 1);
}

static void every_code_point_survives_utf8_and_nothing_else_is_valid(void **state)
{
    for (uint32_t code_point = 0; code_point <= 0x10ffff; code_point++) {
        uint8_t text[UTF8_SIZE_MAX];
        uint32_t back = 0;
        size_t size;

        if (code_point >= 0xd800 && code_point < 0xe000)
            continue;
        size = utf8_encode(code_point, text);
        if (utf8_decode(bytes_make(text, size), &back) != size || back != code_point)
            fail_msg("U+%04X does not survive", code_point);
        if (size > 1 && utf8_valid(bytes_make(text, size - 1)))
            fail_msg("U+%04X is valid though it is cut", code_point);
    }
    assert_false(utf8_valid(BYTES_LITERAL("\xed\xa0\x80")));     /* a surrogate */
    assert_false(utf8_valid(BYTES_LITERAL("\xc1\x81")));         /* overlong */
    assert_false(utf8_valid(BYTES_LITERAL("\xf4\x90\x80\x80"))); /* beyond U+10FFFF */
    assert_false(utf8_valid(BYTES_LITERAL("a\x80")));
}

static void each_rule_for_names_is_named_when_broken(void **state)
{
    char long_name[NAME_SIZE_MAX + 2] = {0};

    memset(long_name, 'x', NAME_SIZE_MAX);
    assert_ok(name_check(NAME_STREAM, bytes_from_string(long_name)));
    long_name[NAME_SIZE_MAX] = 'x';
    assert_int_equal(name_check(NAME_STREAM, bytes_from_string(long_name)), NAME_E_LONG);
    assert_int_equal(name_check(NAME_STREAM, BYTES_LITERAL("")), NAME_E_EMPTY);
    assert_int_equal(name_check(NAME_TAG, BYTES_LITERAL("a\xff")), NAME_E_UTF8);
    assert_int_equal(name_check(NAME_TYPE, BYTES_LITERAL("a\nb")), NAME_E_CONTROL);
    assert_int_equal(name_check(NAME_TYPE, BYTES_LITERAL("a\xc2\x85")), NAME_E_CONTROL);
    assert_int_equal(name_check(NAME_STREAM, BYTES_LITERAL("a/b")), NAME_E_SLASH);
    assert_ok(name_check(NAME_TAG, BYTES_LITERAL("a/b")));
    assert_int_equal(name_check(NAME_STREAM, BYTES_LITERAL("..")), NAME_E_DOT);
    assert_int_equal(name_check(NAME_STREAM, BYTES_LITERAL("$sys")), NAME_E_SYSTEM);
    assert_int_equal(name_check(NAME_STREAM, BYTES_LITERAL("$a/b")), NAME_E_SLASH);
    assert_ok(name_check(NAME_STREAM, BYTES_LITERAL("\xea\xb9\x80 room:1")));
    for (int answer = 0; answer <= NAME_E_SYSTEM + 1; answer++)
        assert_true(strlen(name_rule(answer)) > 0);
}

/* What the rules say of a name of `x` in which one byte is another: only ASCII is whole by itself. */
static int answer_for(enum name_kind kind, uint8_t byte, size_t at, size_t size)
{
    if (byte >= 0x80)
        return NAME_E_UTF8;
    if (byte < 0x20 || byte == 0x7f)
        return NAME_E_CONTROL;
    if (byte == '/' && kind == NAME_STREAM)
        return NAME_E_SLASH;
    if (byte == '.' && size == 1)
        return NAME_E_DOT;
    return byte == '$' && at == 0 ? NAME_E_SYSTEM : 0;
}

/* Names are looked at eight bytes at a time: no byte may hide at the seams, or behind its neighbour. */
static void every_byte_of_a_name_counts_wherever_it_stands(void **state)
{
    enum { SIZE_MAX_TRIED = 34 };
    uint8_t name[SIZE_MAX_TRIED];

    memset(name, 'x', sizeof(name));
    for (size_t size = 1; size <= SIZE_MAX_TRIED; size++) {
        for (size_t at = 0; at < size; at++) {
            for (unsigned byte = 0; byte < 256; byte++) {
                name[at] = (uint8_t)byte;
                for (enum name_kind kind = NAME_STREAM; kind <= NAME_TAG; kind++)
                    assert_int_equal(name_check(kind, bytes_make(name, size)),
                                     answer_for(kind, (uint8_t)byte, at, size));
            }
            name[at] = 'x';
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_grows_to_its_ceiling_and_not_beyond),
        cmocka_unit_test(a_buffer_prints_and_ends_as_a_string),
        cmocka_unit_test(spans_compare_by_unsigned_bytes_and_prefixes_come_first),
        cmocka_unit_test(decimal_numbers_are_read_whole_or_refused),
        cmocka_unit_test(decimal_numbers_are_written_as_they_are_read),
        cmocka_unit_test(signed_numbers_are_written_with_their_sign),
        cmocka_unit_test(integers_are_stored_least_byte_first),
        cmocka_unit_test(checked_arithmetic_refuses_to_wrap_and_leaves_the_result_alone),
        cmocka_unit_test(a_vector_keeps_its_items_when_it_grows),
        cmocka_unit_test(a_taken_pointer_is_not_freed_twice),
        cmocka_unit_test(text_forms_of_bytes_read_back),
        cmocka_unit_test(wrong_text_forms_are_refused_and_leave_the_buffer_alone),
        cmocka_unit_test(every_code_point_survives_utf8_and_nothing_else_is_valid),
        cmocka_unit_test(each_rule_for_names_is_named_when_broken),
        cmocka_unit_test(every_byte_of_a_name_counts_wherever_it_stands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
