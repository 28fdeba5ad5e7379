#include "journal/retention.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/names.h"
#include "base/time.h"
#include "base/vector.h"

#define STREAM       BYTES_LITERAL("$retention")
#define TYPE_SET     BYTES_LITERAL("$RetentionSet")
#define TYPE_REMOVED BYTES_LITERAL("$RetentionRemoved")

/* ---- a rule as JSON ---- */

static const struct number {
    const char *name, *pointer;
    size_t offset;
    uint64_t max;
} numbers[] = {
    {"max_age_s", "/max_age_s", offsetof(struct retention_rule, max_age_s), RETENTION_AGE_S_MAX},
    {"max_count", "/max_count", offsetof(struct retention_rule, max_count), INT64_MAX},
    {"truncate_before", "/truncate_before", offsetof(struct retention_rule, truncate_before), INT64_MAX},
};
enum { NUMBER_COUNT = sizeof(numbers) / sizeof(numbers[0]) };

static uint64_t *number_of(struct retention_rule *rule, const struct number *number)
{
    return (uint64_t *)((char *)rule + number->offset);
}

static void violation(struct retention_violations *violations, const char *pointer, const char *sentence)
{
    if (violations->count < RETENTION_VIOLATION_COUNT_MAX)
        violations->items[violations->count++] = (struct retention_violation){pointer, sentence};
}

static bool is_known(struct json_value key)
{
    for (size_t i = 0; i < NUMBER_COUNT; i++)
        if (json_string_equals(key, numbers[i].name))
            return true;
    return json_string_equals(key, "stream") || json_string_equals(key, "prefix");
}

static void take_numbers(struct json_value object, struct retention_rule *rule,
                         struct retention_violations *violations)
{
    bool some = false;

    for (struct json_cursor at = json_walk(object); json_next(&at);)
        if (!is_known(at.key))
            violation(violations, "", "has a member that is no part of a retention rule");
    for (size_t i = 0; i < NUMBER_COUNT; i++) {
        struct json_value value = json_get(object, numbers[i].name);
        uint64_t *to = number_of(rule, &numbers[i]);

        *to = 0;
        if (!json_exists(value))
            continue;
        some = true;
        if (json_u64(value, to) != 0 || *to == 0 || *to > numbers[i].max)
            violation(violations, numbers[i].pointer,
                      numbers[i].max == RETENTION_AGE_S_MAX
                          ? "must be a whole number of seconds from 1 to 100000000000"
                          : "must be a whole number from 1 to 9223372036854775807");
    }
    if (!some)
        violation(violations, "", "must have max_age_s, max_count or truncate_before");
}

/* Only an age can concern events in no stream, and a version means nothing to several streams. */
static void check_prefix(const struct retention_rule *rule, struct retention_violations *violations)
{
    if (rule->prefix && rule->truncate_before > 0)
        violation(violations, "/truncate_before", "is for one stream: a version of several means nothing");
}

int retention_parse(struct bytes json, struct retention_rule *rule, struct retention_violations *ret_violations)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct retention_rule parsed = *rule;
    struct json_error error = {0};
    int r;

    *ret_violations = (struct retention_violations){0};
    if (json.size > RETENTION_BODY_SIZE_MAX) {
        snprintf(ret_violations->detail, sizeof(ret_violations->detail), "A rule has at most %d bytes.",
                 RETENTION_BODY_SIZE_MAX);
        return RETENTION_E_MALFORMED;
    }
    r = json_parse(json, &doc, &error);
    if (r < 0)
        return r;
    if (r > 0 || json_type(json_root(&doc)) != JSON_OBJECT) {
        snprintf(ret_violations->detail, sizeof(ret_violations->detail), "At byte %zu: %s.", error.offset,
                 r > 0 ? error.reason : "a rule is a JSON object");
        return RETENTION_E_MALFORMED;
    }
    take_numbers(json_root(&doc), &parsed, ret_violations);
    check_prefix(&parsed, ret_violations);
    if (ret_violations->count > 0)
        return RETENTION_E_INVALID;
    *rule = parsed;
    return 0;
}

int retention_write(const struct retention_rule *rule, struct buffer *out)
{
    struct json_writer w = json_writer(out);

    json_write_object_begin(&w);
    json_write_member_bytes(&w, rule->prefix ? "prefix" : "stream", rule->name);
    for (size_t i = 0; i < NUMBER_COUNT; i++) {
        uint64_t number = *number_of((struct retention_rule *)rule, &numbers[i]);

        if (number > 0)
            json_write_member_u64(&w, numbers[i].name, number);
    }
    json_write_object_end(&w);
    return json_write_end(&w);
}

int retention_event(const struct retention_rule *rule, bool removed, struct buffer *data,
                    struct journal_event_new *ret_event)
{
    struct retention_rule name_only = {.name = rule->name, .prefix = rule->prefix};
    int r = retention_write(removed ? &name_only : rule, data);

    if (r < 0)
        return r;
    *ret_event = (struct journal_event_new){
        .stream = STREAM, .type = removed ? TYPE_REMOVED : TYPE_SET, .data = buffer_bytes(data), .system = true};
    return 0;
}

/* ---- the rules that stand ---- */

struct retention {
    struct retention_rule *rules; /* sorted; names from malloc */
    size_t count, capacity;
};

void retention_free(struct retention *retention)
{
    if (!retention)
        return;
    for (size_t i = 0; i < retention->count; i++)
        free((void *)retention->rules[i].name.data);
    free(retention->rules);
    free(retention);
}

static int order_rules(const struct retention_rule *rule, struct bytes name, bool prefix)
{
    if (rule->prefix != prefix)
        return rule->prefix ? 1 : -1;
    return bytes_compare(rule->name, name);
}

/* Where the rule of this name is, or would be. */
static bool find_place(const struct retention *retention, struct bytes name, bool prefix, size_t *ret_index)
{
    size_t low = 0, high = retention->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (order_rules(&retention->rules[middle], name, prefix) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_index = low;
    return low < retention->count && order_rules(&retention->rules[low], name, prefix) == 0;
}

static int insert_rule(struct retention *retention, size_t index, const struct retention_rule *rule)
{
    uint8_t *name = malloc(rule->name.size + 1);
    int r = name ? vector_reserve(&retention->rules, &retention->capacity, retention->count + 1) : -ENOMEM;

    if (r < 0) {
        free(name);
        return r;
    }
    if (rule->name.size > 0)
        memcpy(name, rule->name.data, rule->name.size);
    memmove(retention->rules + index + 1, retention->rules + index,
            (retention->count - index) * sizeof(*retention->rules));
    retention->rules[index] = *rule;
    retention->rules[index].name = bytes_make(name, rule->name.size);
    retention->count++;
    return 0;
}

static int put_rule(struct retention *retention, const struct retention_rule *rule)
{
    size_t index;
    struct bytes name;

    if (!find_place(retention, rule->name, rule->prefix, &index))
        return insert_rule(retention, index, rule);
    name = retention->rules[index].name;
    retention->rules[index] = *rule;
    retention->rules[index].name = name;
    return 0;
}

static void remove_rule(struct retention *retention, const struct retention_rule *rule)
{
    size_t index;

    if (!find_place(retention, rule->name, rule->prefix, &index))
        return;
    free((void *)retention->rules[index].name.data);
    retention->count--;
    memmove(retention->rules + index, retention->rules + index + 1,
            (retention->count - index) * sizeof(*retention->rules));
}

/* Whom the event is about; the name is appended to `memory`. */
static bool read_name(struct json_value object, struct buffer *memory, struct retention_rule *rule)
{
    struct json_value stream = json_get(object, "stream"), prefix = json_get(object, "prefix");

    if (json_exists(stream) == json_exists(prefix))
        return false;
    rule->prefix = json_exists(prefix);
    if (json_string(rule->prefix ? prefix : stream, memory) != 0)
        return false;
    rule->name = buffer_bytes(memory);
    return rule->prefix ? rule->name.size <= NAME_SIZE_MAX : name_check(NAME_STREAM, rule->name) == 0;
}

static int take_event(struct retention *retention, const struct journal_event *event)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    _cleanup_(buffer_deinit) struct buffer name = {0};
    struct retention_rule rule = {.position = event->position, .time_us = event->time_us};
    struct retention_violations violations;
    int r = json_parse(event->data, &doc, NULL);

    if (r < 0)
        return r;
    if (r > 0 || !read_name(json_root(&doc), &name, &rule))
        return -EBADMSG;
    if (bytes_equal(event->type, TYPE_REMOVED)) {
        remove_rule(retention, &rule);
        return 0;
    }
    r = retention_parse(event->data, &rule, &violations);
    if (r == 0)
        r = put_rule(retention, &rule);
    return r > 0 ? -EBADMSG : r;
}

int retention_load(struct journal *journal, struct retention **ret_retention)
{
    _cleanup_(retention_freep) struct retention *retention = calloc(1, sizeof(*retention));
    _cleanup_(journal_reader_freep) struct journal_reader *reader = NULL;
    struct journal_event event;
    int r;

    if (!retention)
        return -ENOMEM;
    r = journal_reader_new(journal, &(struct journal_read){.stream = STREAM, .system = true}, &reader);
    while (r == 0 && (r = journal_reader_next(reader, &event)) == 0)
        r = take_event(retention, &event);
    if (r != JOURNAL_E_END)
        return r > 0 ? -EIO : r;
    *ret_retention = take_ptr(retention);
    return 0;
}

const struct retention_rule *retention_rules(const struct retention *retention, size_t *ret_count)
{
    *ret_count = retention->count;
    return retention->rules;
}

const struct retention_rule *retention_of(const struct retention *retention, struct bytes name, bool prefix)
{
    size_t index;

    return find_place(retention, name, prefix, &index) ? &retention->rules[index] : NULL;
}

const struct retention_rule *retention_find(const struct retention *retention, struct bytes stream)
{
    const struct retention_rule *rule = stream.size > 0 ? retention_of(retention, stream, false) : NULL;

    for (size_t size = stream.size + 1; !rule && size-- > 0;)
        rule = retention_of(retention, bytes_slice(stream, 0, size), true);
    return rule;
}

bool retention_is_past(const struct retention_rule *rule, const struct journal_event *event,
                       uint64_t stream_version, int64_t now_us)
{
    if (rule->max_age_s > 0 && event->time_us < now_us - (int64_t)rule->max_age_s * TIME_US_PER_SECOND)
        return true;
    if (event->version == 0)
        return false;
    if (rule->max_count > 0 && event->version <= stream_version &&
        stream_version - event->version >= rule->max_count)
        return true;
    return event->version < rule->truncate_before;
}
