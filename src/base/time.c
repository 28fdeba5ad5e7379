/*
 * Civil dates by counting in eras of 400 years, which are all alike (146,097 days), in years that begin on 1
 * March, so that the leap day is a year's last. A month's first day is then (153 m + 2) / 5 days into its
 * year.
 */
#include "base/time.h"

#include <assert.h>
#include <stdio.h>

#define DAYS_PER_ERA 146097
#define ERA_OFFSET   719468 /* days from 0000-03-01 to 1970-01-01 */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

int64_t time_days_from_civil(struct time_civil date)
{
    int64_t year = (int64_t)date.year - (date.month <= 2);
    int64_t era = floor_div(year, 400);
    int64_t year_of_era = year - era * 400;
    int64_t month = (date.month + 9) % 12; /* March is 0 */
    int64_t day_of_year = (153 * month + 2) / 5 + date.day - 1;

    return era * DAYS_PER_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           ERA_OFFSET;
}

struct time_civil time_civil_from_days(int64_t days)
{
    int64_t era = floor_div(days + ERA_OFFSET, DAYS_PER_ERA);
    int64_t day_of_era = days + ERA_OFFSET - era * DAYS_PER_ERA;
    /* Takes the leap days out, so that every year has 365: the day after 4 years, 100 years and 400 years. */
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / (DAYS_PER_ERA - 1)) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153;

    return (struct time_civil){
        .year = (int32_t)(era * 400 + year_of_era + (month >= 10)),
        .month = (uint8_t)(month < 10 ? month + 3 : month - 9),
        .day = (uint8_t)(day_of_year - (153 * month + 2) / 5 + 1),
    };
}

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

bool time_date_exists(int64_t year, int64_t month, int64_t day)
{
    static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    if (year < 0 || year > 9999 || month < 1 || month > 12 || day < 1)
        return false;
    return day <= lengths[month - 1] + (month == 2 && is_leap(year));
}

/* `count` digits of a number, the last ones. Event times are in every event that is read; printf() is slow. */
static char *put_digits(char *to, unsigned number, unsigned count)
{
    for (unsigned i = count; i-- > 0; number /= 10)
        to[i] = (char)('0' + number % 10);
    return to + count;
}

static char *put_date(char *to, struct time_civil date)
{
    to = put_digits(to, (unsigned)date.year, 4);
    *to++ = '-';
    to = put_digits(to, date.month, 2);
    *to++ = '-';
    return put_digits(to, date.day, 2);
}

int time_format(int64_t time_us, char ret_text[TIME_TEXT_SIZE])
{
    int64_t days, us;
    char *to;

    if (time_us < TIME_US_MIN || time_us > TIME_US_MAX)
        return TIME_E_RANGE;
    days = floor_div(time_us, TIME_US_PER_DAY);
    us = time_us - days * TIME_US_PER_DAY;
    to = put_date(ret_text, time_civil_from_days(days));
    *to++ = 'T';
    to = put_digits(to, (unsigned)(us / 3600000000), 2);
    *to++ = ':';
    to = put_digits(to, (unsigned)(us / 60000000 % 60), 2);
    *to++ = ':';
    to = put_digits(to, (unsigned)(us / 1000000 % 60), 2);
    *to++ = '.';
    to = put_digits(to, (unsigned)(us % 1000000), 6);
    *to++ = 'Z';
    *to = '\0';
    assert(to - ret_text == TIME_TEXT_SIZE - 1);
    return 0;
}

int time_format_date(int64_t days, char ret_text[TIME_DATE_TEXT_SIZE])
{
    if (days < TIME_US_MIN / TIME_US_PER_DAY || days > TIME_US_MAX / TIME_US_PER_DAY)
        return TIME_E_RANGE;
    *put_date(ret_text, time_civil_from_days(days)) = '\0';
    return 0;
}

/* A cursor over text; once something did not fit, nothing fits any more. */
struct scan {
    struct bytes text;
    size_t offset;
    bool wrong;
};

static int64_t scan_digits(struct scan *scan, size_t count)
{
    int64_t value = 0;

    for (size_t i = 0; i < count; i++) {
        uint8_t c = scan->offset < scan->text.size ? scan->text.data[scan->offset++] : 0;

        if (c < '0' || c > '9')
            scan->wrong = true;
        else
            value = value * 10 + (c - '0');
    }
    return value;
}

/* Takes one character of a set; answers it, or 0. */
static uint8_t scan_one_of(struct scan *scan, const char *set)
{
    uint8_t c = scan->offset < scan->text.size ? scan->text.data[scan->offset] : 0;

    if (c == 0 || !strchr(set, c)) {
        scan->wrong = true;
        return 0;
    }
    scan->offset++;
    return c;
}

static bool scan_at_digit(const struct scan *scan)
{
    return scan->offset < scan->text.size && scan->text.data[scan->offset] >= '0' &&
           scan->text.data[scan->offset] <= '9';
}

static int64_t scan_date(struct scan *scan)
{
    int64_t year, month, day;

    year = scan_digits(scan, 4);
    scan_one_of(scan, "-");
    month = scan_digits(scan, 2);
    scan_one_of(scan, "-");
    day = scan_digits(scan, 2);
    if (scan->wrong || !time_date_exists(year, month, day)) {
        scan->wrong = true;
        return 0;
    }
    return time_days_from_civil(
        (struct time_civil){.year = (int32_t)year, .month = (uint8_t)month, .day = (uint8_t)day});
}

static int64_t scan_fraction_us(struct scan *scan)
{
    int64_t us = 0, unit = 100000;

    if (scan->offset >= scan->text.size || scan->text.data[scan->offset] != '.')
        return 0;
    scan->offset++;
    if (!scan_at_digit(scan))
        scan->wrong = true;
    for (; scan_at_digit(scan); unit /= 10)
        us += unit * scan_digits(scan, 1);
    return us;
}

static int64_t scan_offset_us(struct scan *scan)
{
    uint8_t sign = scan_one_of(scan, "Zz+-");
    int64_t hours, minutes;

    if (sign != '+' && sign != '-')
        return 0;
    hours = scan_digits(scan, 2);
    scan_one_of(scan, ":");
    minutes = scan_digits(scan, 2);
    if (hours > 23 || minutes > 59)
        scan->wrong = true;
    return (hours * 60 + minutes) * 60 * TIME_US_PER_SECOND * (sign == '+' ? 1 : -1);
}

int time_parse(struct bytes text, int64_t *ret_time_us)
{
    struct scan scan = {.text = text};
    int64_t us = scan_date(&scan) * TIME_US_PER_DAY, hours, minutes, seconds;

    scan_one_of(&scan, "Tt ");
    hours = scan_digits(&scan, 2);
    scan_one_of(&scan, ":");
    minutes = scan_digits(&scan, 2);
    scan_one_of(&scan, ":");
    seconds = scan_digits(&scan, 2);
    us += ((hours * 60 + minutes) * 60 + seconds) * TIME_US_PER_SECOND;
    us += scan_fraction_us(&scan);
    us -= scan_offset_us(&scan);
    if (scan.wrong || scan.offset != text.size || hours > 23 || minutes > 59 || seconds > 60)
        return TIME_E_INVALID;
    if (us < TIME_US_MIN || us > TIME_US_MAX)
        return TIME_E_RANGE;
    *ret_time_us = us;
    return 0;
}

int time_parse_date(struct bytes text, int64_t *ret_days)
{
    struct scan scan = {.text = text};
    int64_t days = scan_date(&scan);

    if (scan.wrong || scan.offset != text.size)
        return TIME_E_INVALID;
    *ret_days = days;
    return 0;
}
