#pragma once

/*
 * Times as daybook keeps them: int64 microseconds since 1970-01-01T00:00:00Z, without leap seconds; their RFC
 * 3339 text; and dates of the proleptic Gregorian calendar as days since 1970-01-01. What the time is now is
 * a question for os/clock.h.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define TIME_TEXT_SIZE      28 /* "2026-11-23T06:07:20.123456Z" with its NUL */
#define TIME_DATE_TEXT_SIZE 11 /* "2026-11-23" with its NUL */

#define TIME_US_PER_SECOND INT64_C(1000000)
#define TIME_US_PER_DAY    (INT64_C(86400) * TIME_US_PER_SECOND)

/* 0000-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z: what four digits of year can say. */
#define TIME_US_MIN (INT64_C(-719528) * TIME_US_PER_DAY)
#define TIME_US_MAX (INT64_C(2932897) * TIME_US_PER_DAY - 1)

enum { TIME_E_INVALID = 1, TIME_E_RANGE };

struct time_civil {
    int32_t year;
    uint8_t month, day; /* from 1 */
};

/* Days since 1970-01-01 of a date that exists, and back. */
int64_t time_days_from_civil(struct time_civil date);
struct time_civil time_civil_from_days(int64_t days);

/* Whether there is such a day in years 0 to 9999. */
bool time_date_exists(int64_t year, int64_t month, int64_t day);

/* Always six digits of fraction and "Z", so that text order is time order. TIME_E_RANGE outside
 * TIME_US_MIN…MAX. */
_must_check_ int time_format(int64_t time_us, char ret_text[TIME_TEXT_SIZE]);

/* Reads an RFC 3339 time with any offset and any number of fraction digits (those beyond microseconds are
 * cut). A leap second, 60, is read as the second after it. TIME_E_INVALID: not such a text or no such day;
 * TIME_E_RANGE: its offset takes it out of the years 0 to 9999. */
_must_check_ int time_parse(struct bytes text, int64_t *ret_time_us);

/* "YYYY-MM-DD" to days since 1970-01-01 and back. TIME_E_INVALID, TIME_E_RANGE. */
_must_check_ int time_parse_date(struct bytes text, int64_t *ret_days);
_must_check_ int time_format_date(int64_t days, char ret_text[TIME_DATE_TEXT_SIZE]);
