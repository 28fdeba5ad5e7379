#include "lib/cmocka_all.h"

#include <time.h>

#include "base/time.h"
#include "base/uuid.h"

/* The law: counting days and naming them are each other's reverse, on every day of ten thousand years. */
static void every_day_has_one_date_and_the_next_date_is_the_next_day(void **state)
{
    struct time_civil before = {0};

    for (int64_t day = TIME_US_MIN / TIME_US_PER_DAY; day <= TIME_US_MAX / TIME_US_PER_DAY; day++) {
        struct time_civil date = time_civil_from_days(day);

        if (time_days_from_civil(date) != day || !time_date_exists(date.year, date.month, date.day))
            fail_msg("day %lld is wrong", (long long)day);
        if (date.day != 1 && date.day != before.day + 1)
            fail_msg("day %lld does not follow the one before", (long long)day);
        before = date;
    }
}

static void dates_agree_with_the_c_library(void **state)
{
    for (int64_t day = -200000; day < 200000; day += 97) {
        time_t seconds = (time_t)(day * 86400);
        struct tm tm;
        struct time_civil date = time_civil_from_days(day);

        assert_non_null(gmtime_r(&seconds, &tm));
        assert_int_equal(date.year, tm.tm_year + 1900);
        assert_int_equal(date.month, tm.tm_mon + 1);
        assert_int_equal(date.day, tm.tm_mday);
    }
}

static void times_are_written_and_read_back_to_the_microsecond(void **state)
{
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {-1, "1969-12-31T23:59:59.999999Z"},
        {INT64_C(1795414040123456), "2026-11-23T06:07:20.123456Z"},
        {TIME_US_MIN, "0000-01-01T00:00:00.000000Z"},
        {TIME_US_MAX, "9999-12-31T23:59:59.999999Z"},
    };
    char text[TIME_TEXT_SIZE];
    int64_t back;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_ok(time_format(cases[i].us, text));
        assert_string_equal(text, cases[i].text);
        assert_ok(time_parse(bytes_from_string(text), &back));
        assert_true(back == cases[i].us);
    }
    assert_int_equal(time_format(TIME_US_MAX + 1, text), TIME_E_RANGE);
    assert_int_equal(time_format(TIME_US_MIN - 1, text), TIME_E_RANGE);
}

static void every_form_of_rfc_3339_is_read(void **state)
{
    static const struct {
        const char *text;
        int64_t us;
    } cases[] = {
        {"1985-04-12T23:20:50.52Z", INT64_C(482196050520000)}, /* RFC 3339 §5.8 */
        {"1996-12-19T16:39:57-08:00", INT64_C(851042397000000)},
        {"1990-12-31T23:59:60Z", INT64_C(662688000000000)},
        {"1937-01-01T12:00:27.87+00:20", INT64_C(-1041337172130000)},
        {"2026-11-23t06:07:20.1234569z", INT64_C(1795414040123456)},
    };
    int64_t us;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_ok(time_parse(bytes_from_string(cases[i].text), &us));
        assert_true(us == cases[i].us);
    }
}

static void what_is_not_a_time_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        "2026-11-23",
        "2026-11-23T06:07:20",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T06:60:00Z",
        "2026-11-23T06:07:61Z",
        "2026-11-23T06:07:20.Z",
        "2026-11-23T06:07:20+24:00",
        "2026-11-23T06:07:20Zx",
        "26-11-23T06:07:20Z",
        "2026-11-23T06:07:20+0900",
    };
    int64_t us = 7;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(time_parse(bytes_from_string(wrong[i]), &us), TIME_E_INVALID);
    assert_int_equal(time_parse(BYTES_LITERAL("0000-01-01T00:00:00+01:00"), &us), TIME_E_RANGE);
    assert_true(us == 7);
}

static void dates_are_read_and_written(void **state)
{
    char text[TIME_DATE_TEXT_SIZE];
    int64_t days = 7;

    assert_ok(time_parse_date(BYTES_LITERAL("2024-02-29"), &days));
    assert_true(days == 19782);
    assert_ok(time_format_date(days, text));
    assert_string_equal(text, "2024-02-29");
    assert_int_equal(time_parse_date(BYTES_LITERAL("2023-02-29"), &days), TIME_E_INVALID);
    assert_int_equal(time_parse_date(BYTES_LITERAL("2024-2-29"), &days), TIME_E_INVALID);
    assert_int_equal(time_parse_date(BYTES_LITERAL("2024-02-29T"), &days), TIME_E_INVALID);
    assert_int_equal(time_format_date(INT64_C(1) << 40, text), TIME_E_RANGE);
}

static void uuids_read_back_and_later_ones_sort_later(void **state)
{
    const uint8_t random[10] = {0xff, 1, 0xff, 3, 4, 5, 6, 7, 8, 9};
    struct uuid early = uuid_v7(UINT64_C(0x017f22e279b0), random),
                late = uuid_v7(UINT64_C(0x017f22e279b1), random), back;
    char text[UUID_TEXT_SIZE], later[UUID_TEXT_SIZE];

    uuid_format(early, text);
    uuid_format(late, later);
    assert_string_equal(text, "017f22e2-79b0-7f01-bf03-040506070809");
    assert_true(strcmp(text, later) < 0);
    assert_ok(uuid_parse(bytes_from_string(text), &back));
    assert_true(uuid_equal(early, back));
    assert_ok(uuid_parse(BYTES_LITERAL("017F22E2-79B0-7F01-BF03-040506070809"), &back));
    assert_true(uuid_equal(early, back));
    assert_int_equal(uuid_parse(BYTES_LITERAL("017f22e2079b0-7f01-bf03-040506070809"), &back),
                     UUID_E_INVALID);
    assert_int_equal(uuid_parse(BYTES_LITERAL("017f22e2-79b0-7f01-bf03-04050607080"), &back), UUID_E_INVALID);
    assert_int_equal(uuid_parse(BYTES_LITERAL("017f22e2-79b0-7f01-bf03-04050607080g"), &back),
                     UUID_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_day_has_one_date_and_the_next_date_is_the_next_day),
        cmocka_unit_test(dates_agree_with_the_c_library),
        cmocka_unit_test(times_are_written_and_read_back_to_the_microsecond),
        cmocka_unit_test(every_form_of_rfc_3339_is_read),
        cmocka_unit_test(what_is_not_a_time_is_refused),
        cmocka_unit_test(dates_are_read_and_written),
        cmocka_unit_test(uuids_read_back_and_later_ones_sort_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
