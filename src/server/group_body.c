#include "server/group_body.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/names.h"

struct reading {
    struct group_body *body;
    const struct server_limits *limits;
    struct group_violation violations[GROUP_VIOLATION_COUNT_MAX];
    size_t count;
    int failure;
};

_printf_(3, 4) static void violate(struct reading *reading, const char *pointer, const char *format, ...)
{
    va_list arguments;

    if (reading->count == GROUP_VIOLATION_COUNT_MAX)
        return;
    struct group_violation *violation = &reading->violations[reading->count++];
    snprintf(violation->pointer, sizeof(violation->pointer), "%s", pointer);
    va_start(arguments, format);
    vsnprintf(violation->detail, sizeof(violation->detail), format, arguments);
    va_end(arguments);
}

/* ---- one field each ---- */

static void take_number(struct reading *reading, struct json_value value, const char *pointer, uint64_t min,
                        uint64_t max, uint64_t *number)
{
    uint64_t found;

    if (json_u64(value, &found) != 0 || found < min || found > max)
        violate(reading, pointer, "must be a whole number from %llu to %llu", (unsigned long long)min,
                (unsigned long long)max);
    else
        *number = found;
}

/* A short text without control characters, copied behind what the memory holds. */
static void take_text(struct reading *reading, struct json_value value, const char *pointer, size_t size_max,
                      struct bytes *ret_text)
{
    struct buffer *memory = &reading->body->memory;
    size_t begin = memory->size;
    int r = json_string(value, memory);

    if (r < 0)
        reading->failure = r;
    if (r > 0)
        violate(reading, pointer, "must be a string");
    if (r != 0)
        return;
    struct bytes text = bytes_slice(buffer_bytes(memory), begin, SIZE_MAX);
    int rule = text.size == 0 ? 0 : name_check(NAME_TAG, text);
    if (text.size > size_max)
        violate(reading, pointer, "must have at most %zu bytes", size_max);
    else if (rule == NAME_E_CONTROL)
        violate(reading, pointer, "%s", name_rule(rule));
    else
        *ret_text = text;
}

static void take_consumer(struct reading *reading, struct json_value value)
{
    struct bytes name = {0};
    size_t before = reading->count;

    take_text(reading, value, "/consumer", GROUP_CONSUMER_SIZE_MAX, &name);
    if (name.size == 0 && reading->count == before)
        violate(reading, "/consumer", "must not be empty");
    reading->body->consumer = name;
}

static void take_count(struct reading *reading, struct json_value value)
{
    take_number(reading, value, "/count", 1, GROUP_FETCH_COUNT_MAX, &reading->body->count);
}

static void take_wait(struct reading *reading, struct json_value value)
{
    take_number(reading, value, "/wait_seconds", 0, reading->limits->group_wait_seconds_max,
                &reading->body->wait_s);
}

static void take_delay(struct reading *reading, struct json_value value)
{
    take_number(reading, value, "/delay_seconds", 0, GROUP_DELAY_SECONDS_MAX, &reading->body->delay_s);
}

static void take_lease(struct reading *reading, struct json_value value)
{
    take_number(reading, value, "/lease_seconds", 1, GROUP_LEASE_SECONDS_MAX, &reading->body->lease_s);
}

static void take_reason(struct reading *reading, struct json_value value)
{
    take_text(reading, value, "/reason", GROUP_REASON_SIZE_MAX, &reading->body->reason);
}

static void take_untried(struct reading *reading, struct json_value value)
{
    if (json_bool(value, &reading->body->untried) != 0)
        violate(reading, "/untried", "must be true or false");
}

static void take_token(struct reading *reading, struct json_value value, size_t index)
{
    struct bytes text = {0};
    char pointer[32];

    if (!json_string_plain(value, &text) || group_token_parse(text, &reading->body->tokens[index]) != 0) {
        snprintf(pointer, sizeof(pointer), "/tokens/%zu", index);
        violate(reading, pointer, "must be a token of a fetch");
    }
}

static void take_tokens(struct reading *reading, struct json_value value)
{
    struct json_cursor at = json_walk(value);
    size_t count = json_count(value), i = 0;

    if (json_type(value) != JSON_ARRAY || count < 1 || count > GROUP_TOKEN_COUNT_MAX) {
        violate(reading, "/tokens", "must be an array of 1 to %d tokens", GROUP_TOKEN_COUNT_MAX);
        return;
    }
    reading->body->tokens = calloc(count, sizeof(*reading->body->tokens));
    if (!reading->body->tokens) {
        reading->failure = -ENOMEM;
        return;
    }
    while (json_next(&at))
        take_token(reading, at.value, i++);
    reading->body->token_count = count;
}

static void take_positions(struct reading *reading, struct json_value value)
{
    struct json_cursor at = json_walk(value);
    size_t count = json_count(value);
    char pointer[32];

    if (json_type(value) != JSON_ARRAY || count < 1 || count > GROUP_POSITION_COUNT_MAX) {
        violate(reading, "/positions", "must be an array of 1 to %d positions", GROUP_POSITION_COUNT_MAX);
        return;
    }
    reading->body->positions = calloc(count, sizeof(*reading->body->positions));
    if (!reading->body->positions) {
        reading->failure = -ENOMEM;
        return;
    }
    for (size_t i = 0; json_next(&at); i++) {
        snprintf(pointer, sizeof(pointer), "/positions/%zu", i);
        take_number(reading, at.value, pointer, 1, UINT64_MAX, &reading->body->positions[i]);
    }
    reading->body->position_count = count;
}

/* ---- the whole ---- */

enum {
    OF_FETCH = 1 << GROUP_BODY_FETCH,
    OF_ACK = 1 << GROUP_BODY_ACK,
    OF_NACK = 1 << GROUP_BODY_NACK,
    OF_EXTEND = 1 << GROUP_BODY_EXTEND,
    OF_REPLAY = 1 << GROUP_BODY_REPLAY,
};

static const struct {
    const char *name;
    unsigned kinds;
    bool required;
    void (*take)(struct reading *reading, struct json_value value);
} fields[] = {
    {"consumer", OF_FETCH, true, take_consumer},
    {"count", OF_FETCH, false, take_count},
    {"wait_seconds", OF_FETCH, false, take_wait},
    {"tokens", OF_ACK | OF_NACK | OF_EXTEND, true, take_tokens},
    {"delay_seconds", OF_NACK, false, take_delay},
    {"reason", OF_NACK, false, take_reason},
    {"untried", OF_NACK, false, take_untried},
    {"lease_seconds", OF_EXTEND, false, take_lease},
    {"positions", OF_REPLAY, false, take_positions},
};
enum { FIELD_COUNT = sizeof(fields) / sizeof(fields[0]) };

static bool is_known(struct json_value key, unsigned kind)
{
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (fields[i].kinds & kind && json_string_equals(key, fields[i].name))
            return true;
    }
    return false;
}

static void read_fields(struct reading *reading, struct json_value object, unsigned kind)
{
    struct json_cursor at = json_walk(object);
    char pointer[64];

    if (json_type(object) != JSON_OBJECT) {
        violate(reading, "", "must be an object");
        return;
    }
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        struct json_value value = json_get(object, fields[i].name);
        if (!(fields[i].kinds & kind))
            continue;
        snprintf(pointer, sizeof(pointer), "/%s", fields[i].name);
        if (json_exists(value))
            fields[i].take(reading, value);
        else if (fields[i].required)
            violate(reading, pointer, "must be there");
    }
    while (json_next(&at)) {
        struct bytes name = json_raw(at.key);
        if (is_known(at.key, kind))
            continue;
        snprintf(pointer, sizeof(pointer), "/%.*s",
                 BYTES_PRINT(bytes_slice(name, 1, name.size < 42 ? name.size - 2 : 40)));
        violate(reading, pointer, "is not a field of this request");
    }
}

void answer_violations(struct http_request *request, const struct group_violation *violations, size_t count)
{
    struct http_violation list[GROUP_VIOLATION_COUNT_MAX];

    for (size_t i = 0; i < count; i++)
        list[i] = (struct http_violation){bytes_from_string(violations[i].pointer),
                                          bytes_from_string(violations[i].detail)};
    struct http_problem problem = {.status = 422,
                                   .code = "invalid",
                                   .detail = "The request breaks a rule.",
                                   .violations = list,
                                   .violation_count = count};
    http_answer_problem(request, &problem);
}

void group_body_deinit(struct group_body *body)
{
    free(take_ptr(body->tokens));
    free(take_ptr(body->positions));
    buffer_deinit(&body->memory);
}

static void answer_malformed(struct http_request *request, const struct json_error *error)
{
    http_answer_error(request, 400, "malformed", "At byte %zu of the body: %s.", error->offset,
                      error->reason);
}

bool group_body_read(struct http_request *request, enum group_body_kind kind, struct group_body *body)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct reading reading = {.body = body, .limits = &server_of(request)->options->limits};
    struct bytes text = http_request_body(request);
    struct json_error error = {0};
    int r = json_parse(text.size > 0 ? text : BYTES_LITERAL("{}"), &doc, &error);

    if (r == 0)
        r = buffer_reserve(&body->memory, text.size); /* spans into it must stay */
    if (r == 0)
        read_fields(&reading, json_root(&doc), 1u << kind);
    if (r == 0 && reading.failure == 0 && reading.count == 0)
        return true;
    if (r > 0)
        answer_malformed(request, &error);
    else if (r < 0 || reading.failure < 0)
        answer_failure(request, r < 0 ? r : reading.failure);
    else
        answer_violations(request, reading.violations, reading.count);
    group_body_deinit(body);
    return false;
}
