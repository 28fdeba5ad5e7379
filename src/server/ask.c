/* What query parameters and header fields say, checked. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "server/internal.h"

bool ask_u64(struct http_request *request, const char *name, uint64_t min, uint64_t max, uint64_t *value)
{
    struct bytes text;
    uint64_t number;

    if (!http_request_parameter(request, name, &text))
        return true;
    if (bytes_parse_u64(text, &number) != 0 || number < min || number > max) {
        if (max == UINT64_MAX)
            answer_parameter(request, name, "must be a whole number from %" PRIu64, min);
        else
            answer_parameter(request, name, "must be a whole number from %" PRIu64 " to %" PRIu64, min, max);
        return false;
    }
    *value = number;
    return true;
}

bool ask_flag(struct http_request *request, const char *name, bool *value)
{
    struct bytes text;

    if (!http_request_parameter(request, name, &text))
        return true;
    if (bytes_equal_string(text, "1") || bytes_equal_string(text, "true")) {
        *value = true;
    } else if (bytes_equal_string(text, "0") || bytes_equal_string(text, "false")) {
        *value = false;
    } else {
        answer_parameter(request, name, "must be 1 or 0");
        return false;
    }
    return true;
}

bool ask_direction(struct http_request *request, enum journal_direction *value)
{
    struct bytes text;

    if (!http_request_parameter(request, "direction", &text))
        return true;
    if (bytes_equal_string(text, "forward")) {
        *value = JOURNAL_FORWARD;
    } else if (bytes_equal_string(text, "backward")) {
        *value = JOURNAL_BACKWARD;
    } else {
        answer_parameter(request, "direction", "must be forward or backward");
        return false;
    }
    return true;
}

int cursor_parse(const struct server *server, struct bytes text, uint64_t *ret_position)
{
    const size_t id_size = JOURNAL_ID_TEXT_SIZE - 1;
    uint64_t position;

    if (bytes_parse_u64(text, &position) == 0) {
        *ret_position = position;
        return 0;
    }
    if (text.size < id_size + 2 || text.data[id_size] != '-' ||
        bytes_parse_u64(bytes_slice(text, id_size + 1, SIZE_MAX), &position) != 0)
        return CURSOR_E_INVALID;
    if (memcmp(text.data, server->journal_id, id_size) != 0)
        return CURSOR_E_OTHER;
    *ret_position = position;
    return 0;
}

void cursor_format(const struct server *server, uint64_t position, char ret_text[CURSOR_TEXT_SIZE])
{
    snprintf(ret_text, CURSOR_TEXT_SIZE, "%s-%" PRIu64, server->journal_id, position);
}

bool position_is_beyond(const struct server *server, uint64_t position)
{
    return !server->options->follow && position > journal_tail(server->journal) &&
           !journal_is_incomplete(server->journal); /* damage proves nothing about what was there */
}

/* `exact`: a number counts as much as a cursor. */
static bool take_position(struct http_request *request, const char *name, bool exact, uint64_t *value)
{
    struct server *server = server_of(request);
    uint64_t position = *value, number;
    struct bytes text;

    if (!http_request_parameter(request, name, &text))
        return true;
    switch (cursor_parse(server, text, &position)) {
    case 0: break;
    case CURSOR_E_OTHER:
        http_answer_error(
            request, 409, "other-journal",
            "The cursor is of another journal: this one was restored or made anew. Start over.");
        return false;
    default: answer_parameter(request, name, "must be a position or a cursor"); return false;
    }
    if (position_is_beyond(server, position) && (exact || bytes_parse_u64(text, &number) != 0)) {
        answer_beyond(request, position, journal_tail(server->journal));
        return false;
    }
    *value = position;
    return true;
}

bool ask_position(struct http_request *request, const char *name, uint64_t *value)
{
    return take_position(request, name, true, value);
}

bool ask_bound(struct http_request *request, const char *name, uint64_t *value)
{
    return take_position(request, name, false, value);
}

/* Where the value of a preference begins ("" when it has none), or NULL. */
static const char *find_preference(const struct http_request *request, const char *preference)
{
    const char *field = http_request_header(request, "Prefer");
    size_t size = strlen(preference);

    while (field && *field) {
        field += strspn(field, " \t,;");
        size_t token = strcspn(field, ",;=");
        if (token == size && strncasecmp(field, preference, size) == 0)
            return field[token] == '=' ? field + token + 1 : "";
        field += strcspn(field, ",;");
    }
    return NULL;
}

uint32_t ask_prefer_wait_ms(const struct http_request *request)
{
    const char *value = find_preference(request, "wait");
    double seconds = value ? strtod(value, NULL) : 0;

    return seconds <= 0 ? 0 : seconds >= 3600 ? 3600000 : (uint32_t)(seconds * 1000);
}

bool ask_prefer(const struct http_request *request, const char *preference)
{
    const char *equals = strchr(preference, '=');
    char name[32];

    if (!equals)
        return find_preference(request, preference) != NULL;
    snprintf(name, sizeof(name), "%.*s", (int)(equals - preference), preference);
    const char *value = find_preference(request, name);
    size_t size = value ? strcspn(value, ",; \t") : 0;
    return value && size == strlen(equals + 1) && strncasecmp(value, equals + 1, size) == 0;
}

struct bytes ask_traceparent(const struct http_request *request)
{
    const char *value = http_request_header(request, "traceparent");
    size_t size = value ? strlen(value) : 0;

    /* version "-" trace id "-" parent id "-" flags: lower-case hexadecimal, and later versions may add to the end. */
    if (size < 55 || size > 128 || strspn(value, "0123456789abcdef-") != size || value[2] != '-' ||
        value[35] != '-' || value[52] != '-')
        return (struct bytes){0};
    return bytes_make(value, size);
}
