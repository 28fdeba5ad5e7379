/* GET /v1/views/{view} and /v1/queries/{name}: the question as HTTP puts it, and its answer; what views there are. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "server/internal.h"

static const struct view_outcome {
    unsigned status;
    const char *code;
    unsigned retry_after_s;
} outcomes[] = {
    [VIEW_E_UNKNOWN] = {404, "no-such-view", 0},
    [VIEW_E_COLUMN] = {400, "column-unknown", 0},
    [VIEW_E_OPERATOR] = {400, "operator-unknown", 0},
    [VIEW_E_PARAMETER] = {400, "parameter-invalid", 0},
    [VIEW_E_RANGE] = {416, "range-invalid", 0},
    [VIEW_E_NOT_CAUGHT_UP] = {409, "not-caught-up", 1},
    [VIEW_E_TIMEOUT] = {503, "query-timeout", 1},
    [VIEW_E_TOO_LARGE] = {422, "answer-too-large", 0},
    [VIEW_E_BUSY] = {429, "busy", 1},
    [VIEW_E_CLOSING] = {503, "draining", 1},
    [VIEW_E_SCAVENGED] = {409, "scavenged", 0},
    [VIEW_E_FAILED] = {422, "query-failed", 0},
    [VIEW_E_REBUILDING] = {503, "view-rebuilding", 1},
    [VIEW_E_NO_ROOM] = {507, "disk-full", 1},
};
enum { OUTCOME_COUNT = sizeof(outcomes) / sizeof(outcomes[0]) };

static const char *const row_types[] = {"application/json", "text/csv", "application/x-ndjson"};
static const enum view_format row_formats[] = {VIEW_JSON, VIEW_CSV, VIEW_NDJSON};

/* ---- the answer ---- */

static void answer_refused(struct http_request *request, enum view_kind kind,
                           const struct view_answer *answer)
{
    const struct view_outcome *outcome = &outcomes[answer->answer];
    char pointer[VIEW_NAME_SIZE_MAX + 2], members[64];
    struct http_problem problem = {.status = outcome->status,
                                   .code = outcome->code,
                                   .detail = answer->detail,
                                   .retry_after_s = outcome->retry_after_s};
    struct http_violation violation;

    if (answer->answer == VIEW_E_UNKNOWN && kind == VIEW_KIND_QUERY)
        problem.code = "no-such-query";
    if (answer->parameter[0] != '\0') {
        snprintf(pointer, sizeof(pointer), "?%s", answer->parameter);
        violation = (struct http_violation){bytes_from_string(pointer), bytes_from_string(answer->detail)};
        problem.violations = &violation;
        problem.violation_count = 1;
    }
    if (answer->answer == VIEW_E_NOT_CAUGHT_UP) {
        snprintf(members, sizeof(members), "\"reached\":%" PRIu64, answer->position);
        problem.members = bytes_from_string(members);
    }
    if (answer->answer == VIEW_E_SCAVENGED) {
        snprintf(members, sizeof(members), "\"first\":%" PRIu64, answer->first);
        problem.members = bytes_from_string(members);
    }
    if (answer->answer == VIEW_E_RANGE && answer->has_total)
        http_header_printf(request, "Content-Range", "*/%" PRIu64, answer->total);
    http_answer_problem(request, &problem);
}

/* "0-24/573", "*" where a number is not known (RFC 9110 §14.4, and PostgREST's use of it). */
static void set_content_range(struct http_request *request, const struct view_answer *answer)
{
    char total[24] = "*", range[48] = "*";

    if (answer->has_total)
        snprintf(total, sizeof(total), "%" PRIu64, answer->total);
    if (answer->row_count > 0)
        snprintf(range, sizeof(range), "%" PRIu64 "-%" PRIu64, answer->offset,
                 answer->offset + answer->row_count - 1);
    http_header_printf(request, "Content-Range", "%s/%s", range, total);
    if (answer->has_total)
        http_header(request, "Preference-Applied", "count=exact");
}

static void answer_rows(struct http_request *request, enum view_format format, struct view_answer *answer)
{
    bool partial = answer->has_total && answer->row_count < answer->total;

    set_content_range(request, answer);
    http_header(request, "Cache-Control", "no-cache");
    http_header(request, "Vary", "Accept, Prefer, Range");
    if (answer->body_fd >= 0) {
        int fd = answer->body_fd;
        answer->body_fd = -1;
        http_answer_file(request, partial ? 206 : 200, view_format_media_type(format), fd, answer->body_size);
    } else {
        http_answer(request, partial ? 206 : 200, view_format_media_type(format), &answer->body);
    }
}

/* On a worker of the views, or before view_submit() returns. */
static void view_done(struct view_request *question, struct view_answer *answer)
{
    struct http_request *request = question->user;
    struct view_answer own = *answer;

    if (own.position > 0 || own.answer == 0)
        answer_position(request, own.position);
    if (own.answer == 0)
        answer_rows(request, question->format, &own);
    else if (own.answer > 0 && own.answer < OUTCOME_COUNT && outcomes[own.answer].status > 0)
        answer_refused(request, question->kind, &own);
    else
        answer_failure(request, own.answer);
    view_answer_deinit(&own);
}

/* ---- the question ---- */

/* Range: items=0-24, or 0-24 with Range-Unit: items. */
static struct bytes range_asked(const struct http_request *request)
{
    const char *range = http_request_header(request, "Range");

    return range && strncmp(range, "bytes", 5) != 0 ? bytes_from_string(range) : (struct bytes){0};
}

static void ask_view(struct http_request *request, enum view_kind kind)
{
    struct server *server = server_of(request);
    struct view_request *question = http_request_alloc(request, sizeof(*question));
    const struct http_parameter *parameters;
    size_t count = http_request_parameters(request, &parameters);
    struct view_parameter *own = http_request_alloc(request, (count + 1) * sizeof(*own));
    int form = http_request_accepts(request, row_types, 3);

    if (!question || !own) {
        answer_failure(request, -ENOMEM);
        return;
    }
    if (form < 0) {
        http_answer_error(request, 406, "not-acceptable",
                          "Here are application/json, text/csv and "
                          "application/x-ndjson.");
        return;
    }
    for (size_t i = 0; i < count; i++)
        own[i] = (struct view_parameter){parameters[i].name, parameters[i].value};
    *question = (struct view_request){.kind = kind,
                                      .name = http_request_param(request, 0),
                                      .parameters = own,
                                      .parameter_count = count,
                                      .range = range_asked(request),
                                      .count_exact = ask_prefer(request, "count=exact"),
                                      .wait_ms = ask_prefer_wait_ms(request),
                                      .format = row_formats[form],
                                      .done = view_done,
                                      .user = request};
    view_submit(server->views, question);
}

void handle_view(struct http_request *request)
{
    ask_view(request, VIEW_KIND_VIEW);
}

void handle_query(struct http_request *request)
{
    ask_view(request, VIEW_KIND_QUERY);
}

/* ---- how they stand ---- */

void view_status_write(struct json_writer *w, const struct view_status *status)
{
    json_write_object_begin(w);
    json_write_member_string(w, "name", status->name);
    json_write_member_u64(w, "version", status->version);
    json_write_member_u64(w, "generation", status->generation);
    json_write_member_string(w, "state", view_state_name(status->state));
    json_write_member_u64(w, "position", status->position);
    json_write_member_u64(w, "lag", status->lag);
    json_write_key(w, "progress");
    json_write_double(w, status->progress);
    if (status->rebuild_version > 0) {
        json_write_key(w, "rebuild");
        json_write_object_begin(w);
        json_write_member_u64(w, "version", status->rebuild_version);
        json_write_member_u64(w, "position", status->rebuild_position);
        json_write_object_end(w);
    }
    if (status->error[0] != '\0') {
        json_write_key(w, "error");
        json_write_object_begin(w);
        json_write_member_string(w, "detail", status->error);
        json_write_member_u64(w, "position", status->error_position);
        json_write_object_end(w);
    }
    json_write_object_end(w);
}

static void queries_write(struct json_writer *w, const struct view_set *views)
{
    json_write_key(w, "queries");
    json_write_array_begin(w);
    for (size_t i = 0; i < view_query_count(views); i++) {
        const char *name, *parameters;
        view_query_describe(views, i, &name, &parameters);
        json_write_object_begin(w);
        json_write_member_string(w, "name", name);
        json_write_key(w, "parameters");
        json_write_array_begin(w);
        while (*parameters) {
            size_t size = strcspn(parameters, ",");
            json_write_bytes(w, bytes_make(parameters, size));
            parameters += size + (parameters[size] == ',');
        }
        json_write_array_end(w);
        json_write_object_end(w);
    }
    json_write_array_end(w);
}

void handle_views(struct http_request *request)
{
    struct server *server = server_of(request);
    struct buffer body = {0};
    struct json_writer w = json_writer(&body);
    struct view_status status;

    if (parameters_refused(request))
        return;
    json_write_object_begin(&w);
    json_write_key(&w, "views");
    json_write_array_begin(&w);
    for (size_t i = 0; i < view_set_count(server->views); i++) {
        view_set_status(server->views, i, &status);
        view_status_write(&w, &status);
    }
    json_write_array_end(&w);
    queries_write(&w, server->views);
    json_write_member_u64(&w, "head", journal_head(server->journal));
    json_write_object_end(&w);
    http_header(request, "Cache-Control", "no-store");
    int r = json_write_end(&w);
    if (r < 0)
        answer_failure(request, r);
    else
        http_answer(request, 200, "application/json", &body);
    buffer_deinit(&body);
}

void handle_rebuild(struct http_request *request)
{
    struct server *server = server_of(request);
    int r;

    if (parameters_refused(request))
        return;
    r = view_rebuild(server->views, http_request_param(request, 0));
    if (r == VIEW_E_UNKNOWN)
        http_answer_error(request, 404, "no-such-view", "There is no view of this name.");
    else if (r < 0)
        answer_failure(request, r);
    else
        http_answer_text(request, 202, "application/json", "{\"rebuilding\":true}");
}
