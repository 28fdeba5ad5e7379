/* PUT, GET and DELETE /v1/streams/{stream}/retention and /v1/retention: how long events are kept. On a worker: rules are
 * read from the journal each time, for they are asked for rarely. */

#include <stdio.h>

#include "base/names.h"
#include "base/time.h"
#include "journal/retention.h"
#include "server/internal.h"

/* ---- whose rule ---- */

/* The stream of the path, or ?prefix= . False: answered. */
static bool take_stream(struct http_request *request, struct retention_rule *rule)
{
    int broken;

    *rule = (struct retention_rule){.name = http_request_param(request, 0)};
    if (parameters_refused(request))
        return false;
    broken = name_check(NAME_STREAM, rule->name);
    if (broken == 0)
        return true;
    http_answer_error(request, 400, "stream-invalid", "The name of a stream %s.", name_rule(broken));
    return false;
}

static bool take_prefix(struct http_request *request, struct retention_rule *rule)
{
    *rule = (struct retention_rule){.prefix = true};
    if (parameters_refused(request))
        return false;
    if (!http_request_parameter(request, "prefix", &rule->name)) {
        answer_parameter(request, "prefix", "is needed; the empty one is for every event");
        return false;
    }
    int broken = rule->name.size > 0 ? name_check(NAME_STREAM, rule->name) : 0;
    if (broken == 0)
        return true;
    answer_parameter(request, "prefix", "%s", name_rule(broken));
    return false;
}

/* ---- answering ---- */

static void write_rule(struct json_writer *w, const struct retention_rule *rule)
{
    struct buffer text = {0};
    char time[TIME_TEXT_SIZE];

    json_write_object_begin(w);
    json_write_key(w, "rule");
    if (retention_write(rule, &text) == 0)
        json_write_raw(w, buffer_bytes(&text));
    else
        json_write_null(w);
    json_write_member_u64(w, "position", rule->position);
    if (time_format(rule->time_us, time) == 0)
        json_write_member_string(w, "time", time);
    json_write_object_end(w);
    buffer_deinit(&text);
}

static void answer_written(struct http_request *request, struct json_writer *w, struct buffer *body)
{
    int r = json_write_end(w);

    http_header(request, "Cache-Control", "no-store");
    if (r < 0)
        answer_failure(request, r);
    else
        http_answer(request, 200, "application/json", body);
    buffer_deinit(body);
}

static void answer_none(struct http_request *request)
{
    http_answer_error(request, 404, "no-such-rule", "There is no retention rule of exactly this name.");
}

static struct retention *load(struct http_request *request)
{
    struct retention *retention = NULL;
    int r = retention_load(server_of(request)->journal, &retention);

    if (r < 0)
        answer_failure(request, r);
    return retention;
}

static void answer_rule(struct http_request *request, const struct retention_rule *asked)
{
    _cleanup_(retention_freep) struct retention *retention = load(request);
    const struct retention_rule *rule;
    struct buffer body = {0};
    struct json_writer w = json_writer(&body);

    if (!retention)
        return;
    rule = retention_of(retention, asked->name, asked->prefix);
    if (!rule) {
        answer_none(request);
        return;
    }
    write_rule(&w, rule);
    answer_written(request, &w, &body);
}

/* ---- setting and removing ---- */

static void answer_violations(struct http_request *request, const struct retention_violations *violations)
{
    struct http_violation items[RETENTION_VIOLATION_COUNT_MAX];

    for (size_t i = 0; i < violations->count; i++)
        items[i] = (struct http_violation){bytes_from_string(violations->items[i].pointer),
                                           bytes_from_string(violations->items[i].sentence)};
    http_answer_problem(request, &(struct http_problem){.status = 422,
                                                        .code = "invalid",
                                                        .detail = "The retention rule breaks the rules.",
                                                        .violations = items,
                                                        .violation_count = violations->count});
}

/* False: answered. */
static bool take_numbers(struct http_request *request, struct retention_rule *rule)
{
    struct retention_violations violations;
    int r = retention_parse(http_request_body(request), rule, &violations);

    if (r == RETENTION_E_MALFORMED)
        http_answer_error(request, 400, "malformed", "%s", violations.detail);
    else if (r == RETENTION_E_INVALID)
        answer_violations(request, &violations);
    else if (r < 0)
        answer_failure(request, r);
    return r == 0;
}

/* Append the event and answer with the rule as it is now, or with nothing when it is gone. */
static void store(struct http_request *request, struct retention_rule *rule, bool removed)
{
    struct server *server = server_of(request);
    struct journal_event_new event;
    struct journal_result result = {0};
    struct buffer data = {0};
    int r = retention_event(rule, removed, &data, &event);

    if (r == 0) {
        struct journal_append append = {.events = &event, .event_count = 1};
        r = journal_append_wait(server->journal, &append, &result);
    }
    buffer_deinit(&data);
    if (r != 0) {
        answer_journal(request, r, result.detail);
        return;
    }
    answer_position(request, result.last);
    if (removed)
        http_answer_text(request, 204, NULL, NULL);
    else
        answer_rule(request, rule);
}

static void set_rule(struct http_request *request, struct retention_rule *rule)
{
    _cleanup_(retention_freep) struct retention *retention = NULL;
    size_t count;

    if (!take_numbers(request, rule) || !(retention = load(request)))
        return;
    (void)retention_rules(retention, &count);
    if (count >= RETENTION_RULE_COUNT_MAX && !retention_of(retention, rule->name, rule->prefix)) {
        http_answer_error(request, 422, "invalid", "There are %d retention rules, the most there may be.",
                          RETENTION_RULE_COUNT_MAX);
        return;
    }
    store(request, rule, false);
}

static void remove_rule(struct http_request *request, struct retention_rule *rule)
{
    _cleanup_(retention_freep) struct retention *retention = load(request);

    if (!retention)
        return;
    if (!retention_of(retention, rule->name, rule->prefix))
        answer_none(request);
    else
        store(request, rule, true);
}

/* ---- the routes ---- */

void handle_stream_retention(struct http_request *request)
{
    struct retention_rule rule;

    if (take_stream(request, &rule))
        answer_rule(request, &rule);
}

void handle_stream_retention_set(struct http_request *request)
{
    struct retention_rule rule;

    if (!write_refused(request) && take_stream(request, &rule))
        set_rule(request, &rule);
}

void handle_stream_retention_remove(struct http_request *request)
{
    struct retention_rule rule;

    if (!write_refused(request) && take_stream(request, &rule))
        remove_rule(request, &rule);
}

void handle_prefix_retention_set(struct http_request *request)
{
    struct retention_rule rule;

    if (!write_refused(request) && take_prefix(request, &rule))
        set_rule(request, &rule);
}

void handle_prefix_retention_remove(struct http_request *request)
{
    struct retention_rule rule;

    if (!write_refused(request) && take_prefix(request, &rule))
        remove_rule(request, &rule);
}

void handle_retention(struct http_request *request)
{
    struct buffer body = {0};
    struct json_writer w = json_writer(&body);
    const struct retention_rule *rules;
    size_t count;

    if (parameters_refused(request))
        return;
    _cleanup_(retention_freep) struct retention *retention = load(request);
    if (!retention)
        return;
    rules = retention_rules(retention, &count);
    json_write_object_begin(&w);
    json_write_key(&w, "rules");
    json_write_array_begin(&w);
    for (size_t i = 0; i < count; i++)
        write_rule(&w, &rules[i]);
    json_write_array_end(&w);
    json_write_object_end(&w);
    answer_written(request, &w, &body);
}
