/* /v1/groups: making, deleting and watching consumer groups, and what consumers say of their events. Fetching is in
 * consume.c. All of it happens on workers: a group may be at the disk. */

#include <inttypes.h>
#include <stdio.h>

#include "base/time.h"
#include "os/clock.h"
#include "server/group_body.h"

enum { PARKED_LIMIT_DEFAULT = 100, LOST_SIZE = 8 };

static void on_notice(void *user, const char *sentence)
{
    fprintf(stderr, "daybook serve: %s\n", sentence);
}

int server_groups_open(struct server *server)
{
    const struct groups_options options = {.count_max = server->options->limits.group_count_max,
                                           .ack_delay_ms =
                                               (uint32_t)server->options->limits.group_ack_delay_ms,
                                           .changed = consumers_call,
                                           .notice = on_notice,
                                           .user = server->consumers};

    return groups_open(server->journal, &options, &server->groups);
}

/* ---- answers ---- */

static const struct {
    int answer;
    unsigned status;
    const char *code, *sentence;
} group_answers[] = {
    {GROUP_E_UNKNOWN, 404, "no-such-group", "There is no group of this name."},
    {GROUP_E_LOST, 409, "lease-lost", "The lease of these events has ended; nothing was changed."},
    {GROUP_E_EXISTS, 409, "group-exists", "There is a group of this name, with other rules."},
    {GROUP_E_BEYOND, 409, "beyond-head", "The group would begin after a position that does not exist."},
    {GROUP_E_MANY, 409, "too-many-groups", "There are as many groups as the server takes."},
    {GROUP_E_RETURNED, 409, "too-many-replayed",
     "More than 1000 replayed events would be on their way; acknowledge some, or replay fewer. Nothing was changed."},
    {GROUP_E_NOT_PARKED, 409, "not-parked", "One of these events is not parked; nothing was changed."},
};

void answer_group(struct http_request *request, int answer, const struct journal_result *result)
{
    for (size_t i = 0; i < sizeof(group_answers) / sizeof(group_answers[0]); i++) {
        if (group_answers[i].answer != answer)
            continue;
        http_answer_error(request, group_answers[i].status, group_answers[i].code, "%s",
                          group_answers[i].sentence);
        return;
    }
    if (answer == GROUP_E_CONSUMERS) {
        struct http_problem problem = {.status = 429,
                                       .code = "too-many-consumers",
                                       .detail = "As many consumers have events as a group takes.",
                                       .retry_after_s = 1};
        http_answer_problem(request, &problem);
    } else if (answer == GROUP_E_JOURNAL) {
        answer_journal(request, result->answer, result->detail);
    } else {
        answer_failure(request, answer);
    }
}

static bool name_refused(struct http_request *request)
{
    const char *rule = group_name_rule(http_request_param(request, 0));

    if (rule)
        http_answer_error(request, 400, "group-invalid", "The name of a group %s.", rule);
    return rule != NULL;
}

bool group_refused(struct http_request *request)
{
    struct server *server = server_of(request);

    if (write_refused(request) || parameters_refused(request) || name_refused(request) || damage_refused(request))
        return true;
    if (groups_has(server->groups, http_request_param(request, 0)))
        return false;
    answer_group(request, groups_left_out(server->groups) ? -EBADMSG : GROUP_E_UNKNOWN, NULL);
    return true;
}

static void answer_json(struct http_request *request, unsigned status, struct json_writer *w,
                        struct buffer *body)
{
    int r = json_write_end(w);

    http_header(request, "Cache-Control", "no-store");
    if (r < 0)
        answer_failure(request, r);
    else
        http_answer(request, status, "application/json", body);
    buffer_deinit(body);
}

/* {"done":n}, and how many were parked by it unless that cannot be. */
static void answer_done(struct http_request *request, size_t done, const size_t *parked)
{
    struct buffer body = {0};
    struct json_writer w = json_writer(&body);

    json_write_object_begin(&w);
    json_write_member_u64(&w, "done", done);
    if (parked)
        json_write_member_u64(&w, "parked", *parked);
    json_write_object_end(&w);
    answer_json(request, 200, &w, &body);
}

/* 409 with the tokens that are not good any more, as they were sent. */
static void answer_lost(struct http_request *request, const struct group_body *body, const bool *lost)
{
    struct buffer members = {0};
    int r = buffer_append_string(&members, "\"lost\":[");
    const char *comma = "";

    for (size_t i = 0; i < body->token_count && r == 0; i++) {
        if (!lost[i])
            continue;
        r = buffer_printf(&members, "%s\"%" PRIu64 "-%016" PRIx64 "\"", comma, body->tokens[i].position,
                          body->tokens[i].serial);
        comma = ",";
    }
    if (r == 0)
        r = buffer_append_byte(&members, ']');
    struct http_problem problem = {.status = 409,
                                   .code = "lease-lost",
                                   .detail = "The lease of these events has ended; nothing was changed.",
                                   .members = r == 0 ? buffer_bytes(&members) : (struct bytes){0}};
    http_answer_problem(request, &problem);
    buffer_deinit(&members);
}

/* ---- how they stand ---- */

static void write_consumers(struct json_writer *w, const struct group_status *status)
{
    json_write_key(w, "consumers");
    json_write_array_begin(w);
    for (size_t i = 0; i < status->consumer_count; i++) {
        json_write_object_begin(w);
        json_write_member_string(w, "consumer", status->consumers[i].name);
        json_write_member_u64(w, "in_flight", status->consumers[i].out);
        json_write_object_end(w);
    }
    json_write_array_end(w);
}

/* Why it does not move, and the event that is to blame, if it is so. */
static void write_stall(struct json_writer *w, const struct group_stall *stall)
{
    if (stall->kind == GROUP_MOVES)
        return;
    json_write_member_string(w, "stalled", group_stall_word(stall));
    json_write_member_u64(w, "waiting", stall->waiting);
    if (stall->position > 0) {
        json_write_member_u64(w, "position", stall->position);
        json_write_member_u64(w, "tries", stall->tries);
    }
    if (stall->consumer)
        json_write_member_string(w, "consumer", stall->consumer);
}

static void write_stalled(void *user, const struct group_status *status)
{
    struct json_writer *w = user;

    if (status->stall->kind == GROUP_MOVES)
        return;
    json_write_object_begin(w);
    json_write_member_bytes(w, "group", status->name);
    write_stall(w, status->stall);
    json_write_object_end(w);
}

void groups_write_stalled(struct server *server, struct json_writer *w)
{
    json_write_key(w, "groups");
    json_write_array_begin(w);
    if (server->groups)
        groups_each(server->groups, (struct bytes){0}, false, write_stalled, w);
    json_write_array_end(w);
}

static void write_status(void *user, const struct group_status *status)
{
    struct json_writer *w = user;

    json_write_object_begin(w);
    json_write_member_bytes(w, "group", status->name);
    json_write_key(w, "definition");
    group_definition_write(status->definition, w);
    json_write_member_u64(w, "cursor", status->cursor);
    json_write_member_u64(w, "head", status->head);
    json_write_member_u64(w, "lag", status->lag);
    json_write_member_u64(w, "in_flight", status->out);
    json_write_member_u64(w, "parked", status->parked);
    write_consumers(w, status);
    write_stall(w, status->stall);
    json_write_object_end(w);
}

void handle_groups(struct http_request *request)
{
    struct buffer body = {0};
    struct json_writer w = json_writer(&body);

    if (write_refused(request) || parameters_refused(request) || damage_refused(request))
        return;
    if (groups_left_out(server_of(request)->groups)) {
        answer_failure(request, -EBADMSG);
        return;
    }
    json_write_object_begin(&w);
    json_write_key(&w, "groups");
    json_write_array_begin(&w);
    groups_each(server_of(request)->groups, (struct bytes){0}, true, write_status, &w);
    json_write_array_end(&w);
    json_write_object_end(&w);
    answer_json(request, 200, &w, &body);
}

static void answer_status(struct http_request *request, unsigned status)
{
    struct buffer body = {0};
    struct json_writer w = json_writer(&body);
    int r = groups_each(server_of(request)->groups, http_request_param(request, 0), true, write_status, &w);

    if (r == 0)
        answer_json(request, status, &w, &body);
    else
        answer_group(request, r, NULL);
}

void handle_group_status(struct http_request *request)
{
    if (!group_refused(request))
        answer_status(request, 200);
}

/* ---- making and deleting ---- */

static bool read_definition(struct http_request *request, struct group_definition *ret_definition)
{
    _cleanup_(json_doc_deinit) struct json_doc doc = {0};
    struct group_violation violations[GROUP_VIOLATION_COUNT_MAX];
    struct json_error error = {0};
    size_t count = 0;
    int r = json_parse(http_request_body(request), &doc, &error);

    if (r > 0) {
        http_answer_error(request, 400, "malformed", "At byte %zu of the body: %s.", error.offset,
                          error.reason);
        return false;
    }
    if (r == 0)
        r = group_definition_read(json_root(&doc), ret_definition, violations, &count);
    if (r < 0)
        answer_failure(request, r);
    else if (r > 0)
        answer_violations(request, violations, count);
    return r == 0;
}

void handle_group_create(struct http_request *request)
{
    struct group_definition definition = {0};
    struct journal_result result = {0};

    if (write_refused(request) || parameters_refused(request) || name_refused(request) ||
        !read_definition(request, &definition))
        return;
    int r = groups_create(server_of(request)->groups, http_request_param(request, 0), &definition, &result);
    group_definition_deinit(&definition);
    if (r == 0 || r == GROUP_E_SAME)
        answer_status(request, r == 0 ? 201 : 200);
    else
        answer_group(request, r, &result);
}

void handle_group_delete(struct http_request *request)
{
    struct journal_result result = {0};

    if (group_refused(request))
        return;
    int r = groups_delete(server_of(request)->groups, http_request_param(request, 0), &result);
    if (r == 0)
        http_answer_text(request, 204, NULL, NULL);
    else
        answer_group(request, r, &result);
}

/* ---- what consumers say ---- */

static int ack(struct groups *groups, struct bytes name, const struct group_body *body, bool *lost,
               size_t *parked)
{
    return groups_ack(groups, name, body->tokens, body->token_count, lost);
}

static int nack(struct groups *groups, struct bytes name, const struct group_body *body, bool *lost,
                size_t *parked)
{
    if (body->untried)
        return groups_untry(groups, name, body->tokens, body->token_count);
    return groups_nack(groups, name, body->tokens, body->token_count, body->delay_s * 1000, body->reason,
                       lost, parked);
}

static int extend(struct groups *groups, struct bytes name, const struct group_body *body, bool *lost,
                  size_t *parked)
{
    return groups_extend(groups, name, body->tokens, body->token_count, body->lease_s * 1000, lost);
}

static void handle_tokens(struct http_request *request, enum group_body_kind kind,
                          int (*say)(struct groups *groups, struct bytes name, const struct group_body *body,
                                     bool *lost, size_t *parked))
{
    struct group_body body = {0};
    size_t parked = 0;
    bool lost[GROUP_TOKEN_COUNT_MAX];

    if (group_refused(request) || !group_body_read(request, kind, &body))
        return;
    int r = say(server_of(request)->groups, http_request_param(request, 0), &body, lost, &parked);
    if (r == 0)
        answer_done(request, body.token_count, kind == GROUP_BODY_NACK ? &parked : NULL);
    else if (r == GROUP_E_LOST)
        answer_lost(request, &body, lost);
    else
        answer_group(request, r, NULL);
    group_body_deinit(&body);
}

void handle_group_ack(struct http_request *request)
{
    handle_tokens(request, GROUP_BODY_ACK, ack);
}

void handle_group_nack(struct http_request *request)
{
    handle_tokens(request, GROUP_BODY_NACK, nack);
}

void handle_group_extend(struct http_request *request)
{
    handle_tokens(request, GROUP_BODY_EXTEND, extend);
}

/* ---- the parked ---- */

struct parked_page {
    struct json_writer w;
    uint64_t after, limit;
};

static void write_parked(struct json_writer *w, const struct group_parked *parked)
{
    char time[TIME_TEXT_SIZE] = "";
    int r = time_format(parked->time_us, time);

    (void)r; /* a time beyond the year 9999 is said as nothing */
    json_write_object_begin(w);
    json_write_member_u64(w, "position", parked->position);
    json_write_member_u64(w, "tries", parked->tries);
    json_write_member_string(w, "reason", parked->reason);
    json_write_member_string(w, "time", time);
    json_write_object_end(w);
}

static void write_page(void *user, const struct group_status *status)
{
    struct parked_page *page = user;
    uint64_t count = 0;
    size_t i = 0;

    json_write_key(&page->w, "parked");
    json_write_array_begin(&page->w);
    for (; i < status->parked && count < page->limit; i++) {
        if (status->parked_events[i].position <= page->after)
            continue;
        write_parked(&page->w, &status->parked_events[i]);
        count++;
    }
    json_write_array_end(&page->w);
    json_write_member_bool(&page->w, "more", i < status->parked);
}

void handle_group_parked(struct http_request *request)
{
    struct buffer body = {0};
    struct parked_page page = {.w = json_writer(&body), .limit = PARKED_LIMIT_DEFAULT};

    if (group_refused(request) || !ask_position(request, "after", &page.after) ||
        !ask_u64(request, "limit", 1, GROUP_PARKED_COUNT_MAX, &page.limit))
        return;
    json_write_object_begin(&page.w);
    int r = groups_each(server_of(request)->groups, http_request_param(request, 0), false, write_page, &page);
    json_write_object_end(&page.w);
    if (r == 0)
        answer_json(request, 200, &page.w, &body);
    else
        answer_group(request, r, NULL);
    buffer_deinit(&body);
}

void handle_group_replay(struct http_request *request)
{
    struct journal_result result = {0};
    struct group_body body = {0};
    size_t count = 0;

    if (group_refused(request) || !group_body_read(request, GROUP_BODY_REPLAY, &body))
        return;
    int r = groups_replay(server_of(request)->groups, http_request_param(request, 0), body.positions,
                          body.position_count, &result, &count);
    if (r == 0)
        answer_done(request, count, NULL);
    else
        answer_group(request, r, &result);
    group_body_deinit(&body);
}

/* ---- figures ---- */

static const struct {
    const char *name, *type, *help;
} families[] = {
    {"group_lag", "gauge", "events a consumer group has not done with, at most"},
    {"group_in_flight", "gauge", "events that consumers of a group have now"},
    {"group_parked", "gauge", "events of a group that failed too often"},
    {"group_stalled", "gauge", "1 for a group that can park nothing more, or whose first event holds up all others"},
    {"group_failing", "gauge", "events of a group that failed too often and cannot be parked"},
    {"group_delivered_total", "counter", "events handed to consumers since the server started"},
    {"group_acknowledged_total", "counter", "events acknowledged since then"},
    {"group_refused_total", "counter", "events given back since then"},
    {"group_expired_total", "counter", "leases that ran out since then"},
};
enum { FAMILY_COUNT = sizeof(families) / sizeof(families[0]) };

struct families {
    struct buffer rows[FAMILY_COUNT];
    int failure;
};

/* A label's value: quotes and backslashes are escaped, control characters no name has. */
static int write_label(struct buffer *out, struct bytes name)
{
    int r = 0;

    for (size_t i = 0; i < name.size && r == 0; i++) {
        if (name.data[i] == '"' || name.data[i] == '\\')
            r = buffer_append_byte(out, '\\');
        if (r == 0)
            r = buffer_append_byte(out, name.data[i]);
    }
    return r;
}

static void write_rows(void *user, const struct group_status *status)
{
    struct families *all = user;
    const uint64_t values[FAMILY_COUNT] = {status->lag,       status->out,          status->parked,
                                           status->stall->kind != GROUP_MOVES,      status->stall->waiting,
                                           status->delivered, status->acknowledged, status->refused,
                                           status->expired};

    for (size_t i = 0; i < FAMILY_COUNT && all->failure == 0; i++) {
        int r = buffer_printf(&all->rows[i], "daybook_%s{group=\"", families[i].name);
        r = r < 0 ? r : write_label(&all->rows[i], status->name);
        all->failure = r < 0 ? r : buffer_printf(&all->rows[i], "\"} %" PRIu64 "\n", values[i]);
    }
}

int group_metrics(struct server *server, struct buffer *out)
{
    struct families all = {0};

    if (!server->groups || groups_count(server->groups) == 0)
        return 0;
    groups_each(server->groups, (struct bytes){0}, false, write_rows,
                &all); /* on the loop: nothing is read */
    int r = all.failure;
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        if (r == 0)
            r = metric_family(out, families[i].name, families[i].type, families[i].help);
        if (r == 0)
            r = buffer_append_bytes(out, buffer_bytes(&all.rows[i]));
        buffer_deinit(&all.rows[i]);
    }
    return r;
}
