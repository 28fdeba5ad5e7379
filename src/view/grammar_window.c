#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "view/grammar.h"

int grammar_refuse(struct grammar_error *error, int answer, struct bytes parameter, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    error->answer = answer;
    (void)snprintf(error->parameter, sizeof(error->parameter), "%.*s",
                   BYTES_PRINT(bytes_slice(parameter, 0, VIEW_NAME_SIZE_MAX)));
    (void)vsnprintf(error->detail, sizeof(error->detail), format, arguments);
    va_end(arguments);
    return answer;
}

bool grammar_is_common(struct bytes name)
{
    static const char *const names[] = {"limit", "offset", "min_position", "as_of"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (bytes_equal_string(name, names[i]))
            return true;
    }
    return false;
}

int grammar_find_once(const struct view_parameter *parameters, size_t count, const char *name,
                      struct bytes *ret_value, struct grammar_error *error)
{
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        if (!bytes_equal_string(parameters[i].name, name))
            continue;
        if (found) {
            (void)grammar_refuse(error, VIEW_E_PARAMETER, parameters[i].name, "%s is given more than once",
                                 name);
            return -1;
        }
        found = true;
        *ret_value = parameters[i].value;
    }
    return found;
}

static size_t digits(struct bytes text, size_t at)
{
    size_t end = at;
    while (end < text.size && text.data[end] >= '0' && text.data[end] <= '9')
        end++;
    return end - at;
}

/* -?D(.D)?([eE][+-]?D)? ; ret_integer: no fraction and no exponent. */
static bool is_number(struct bytes text, bool *ret_integer)
{
    size_t at = text.size > 0 && text.data[0] == '-';
    size_t whole = digits(text, at);
    if (whole == 0)
        return false;
    at += whole;
    *ret_integer = at == text.size;
    if (at < text.size && text.data[at] == '.') {
        size_t fraction = digits(text, at + 1);
        if (fraction == 0)
            return false;
        at += 1 + fraction;
    }
    if (at < text.size && (text.data[at] | 0x20) == 'e') {
        at++;
        at += at < text.size && (text.data[at] == '+' || text.data[at] == '-');
        size_t exponent = digits(text, at);
        if (exponent == 0)
            return false;
        at += exponent;
    }
    return at == text.size;
}

bool grammar_number(struct bytes text, struct grammar_value *ret_value)
{
    char copy[64];
    bool integer = false;
    if (text.size >= sizeof(copy) || !is_number(text, &integer))
        return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    if (integer) {
        errno = 0;
        long long value = strtoll(copy, NULL, 10);
        if (errno == 0) {
            *ret_value = (struct grammar_value){.type = GRAMMAR_INTEGER, .integer = value};
            return true;
        }
    }
    *ret_value = (struct grammar_value){.type = GRAMMAR_REAL, .real = strtod(copy, NULL)};
    return true;
}

static int read_count(const struct view_parameter *parameters, size_t count, const char *name, uint64_t max,
                      uint64_t *value, bool *ret_given, struct grammar_error *error)
{
    struct bytes text;
    int found = grammar_find_once(parameters, count, name, &text, error);
    if (found < 0)
        return error->answer;
    *ret_given |= found > 0;
    if (found > 0 && (bytes_parse_u64(text, value) != 0 || *value > max))
        return grammar_refuse(error, VIEW_E_PARAMETER, bytes_from_string(name),
                              "%s is a whole number from 0 to %llu", name, (unsigned long long)max);
    return 0;
}

/* FIRST-LAST, FIRST- or the same behind "items="; a range in other words is passed over (RFC 9110 §14.2). */
static int read_range(struct bytes range, struct grammar_window *window, struct grammar_error *error)
{
    if (bytes_starts_with(range, BYTES_LITERAL("items=")))
        range = bytes_slice(range, 6, range.size);
    const uint8_t *dash = range.size > 0 ? memchr(range.data, '-', range.size) : NULL;
    uint64_t first, last;
    if (!dash || bytes_parse_u64(bytes_make(range.data, (size_t)(dash - range.data)), &first) != 0)
        return 0;
    struct bytes rest = bytes_slice(range, (size_t)(dash - range.data) + 1, range.size);
    if (first > INT64_MAX)
        return grammar_refuse(error, VIEW_E_RANGE, BYTES_LITERAL("Range"), "the range begins beyond any row");
    if (rest.size == 0) {
        window->offset = first;
        return 0;
    }
    if (bytes_parse_u64(rest, &last) != 0)
        return 0;
    if (last < first)
        return grammar_refuse(error, VIEW_E_RANGE, BYTES_LITERAL("Range"), "the range ends before it begins");
    if (last - first >= VIEW_ROW_COUNT_MAX)
        return grammar_refuse(error, VIEW_E_PARAMETER, BYTES_LITERAL("Range"),
                              "a range holds at most %d rows", VIEW_ROW_COUNT_MAX);
    *window = (struct grammar_window){.offset = first, .limit = last - first + 1};
    return 0;
}

int grammar_window(const struct view_parameter *parameters, size_t count, struct bytes range,
                   uint64_t limit_default, struct grammar_window *ret_window, struct grammar_error *error)
{
    struct grammar_window window = {.limit = limit_default};
    bool given = false;
    int r = read_count(parameters, count, "limit", VIEW_ROW_COUNT_MAX, &window.limit, &given, error);
    if (r == 0)
        r = read_count(parameters, count, "offset", INT64_MAX, &window.offset, &given, error);
    if (r == 0 && !given)
        r = read_range(range, &window, error);
    if (r == 0)
        *ret_window = window;
    return r;
}
