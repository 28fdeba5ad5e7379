/* POST /v1/commands/{Name}: hand the body to the application's decider, and say what came of it. */

#include <stdio.h>

#include "server/internal.h"

static const struct command_outcome {
    unsigned status;
    const char *code;
    unsigned retry_after_s;
} outcomes[COMMAND_E_COUNT] = {
    [COMMAND_E_UNKNOWN] = {404, "no-such-command", 0},
    [COMMAND_E_MALFORMED] = {400, "malformed", 0},
    [COMMAND_E_INVALID] = {422, "invalid", 0},
    [COMMAND_E_REJECTED] = {422, "rejected", 0},
    [COMMAND_E_KEY_INVALID] = {400, "idempotency-key-invalid", 0},
    [COMMAND_E_KEY_REUSED] = {422, "idempotency-key-reused", 0},
    [COMMAND_E_CONTENTION] = {409, "contention", 1},
    [COMMAND_E_BUSY] = {429, "busy", 1},
    [COMMAND_E_CLOSING] = {503, "draining", 1},
    [COMMAND_E_APP] = {500, "application-failed", 0},
    [COMMAND_E_SCAVENGED] = {409, "scavenged", 0},
};

/* ---- decided ---- */

static void write_event(struct json_writer *w, const struct command_event *event)
{
    json_write_object_begin(w);
    json_write_member_u64(w, "position", event->position);
    if (event->stream.size > 0)
        json_write_member_bytes(w, "stream", event->stream);
    json_write_member_bytes(w, "type", event->type);
    json_write_key(w, "tags");
    json_write_array_begin(w);
    for (size_t i = 0; i < event->tag_count; i++)
        json_write_bytes(w, event->tags[i]);
    json_write_array_end(w);
    json_write_member_raw(w, "data", event->data.size > 0 ? event->data : BYTES_LITERAL("null"));
    json_write_object_end(w);
}

static void answer_decided(struct http_request *request, const struct command_result *result)
{
    struct buffer body = {0};
    struct json_writer w = json_writer(&body);

    json_write_object_begin(&w);
    json_write_member_u64(&w, "position", result->position);
    json_write_key(&w, "events");
    json_write_array_begin(&w);
    for (size_t i = 0; i < result->event_count; i++)
        write_event(&w, &result->events[i]);
    json_write_array_end(&w);
    json_write_member_bool(&w, "replayed", result->replayed);
    json_write_object_end(&w);
    int r = json_write_end(&w);
    if (r < 0)
        answer_failure(request, r);
    else
        http_answer(request, result->event_count > 0 ? 201 : 200, "application/json", &body);
    buffer_deinit(&body);
}

/* ---- not decided ---- */

/* `"rule":…` and the facts as further members: {"nights":[…]} becomes "nights":[…]. */
static int write_rule(const struct command_result *result, struct buffer *out)
{
    int r = buffer_append_string(out, "\"rule\":");
    struct json_writer w = json_writer(out);
    struct bytes facts =
        result->facts.size > 2 ? bytes_slice(result->facts, 1, result->facts.size - 2) : (struct bytes){0};

    json_write_bytes(&w, result->rule);
    r = error_first(r, json_write_end(&w));
    if (r == 0 && facts.size > 0)
        r = buffer_append_byte(out, ',');
    return r == 0 ? buffer_append_bytes(out, facts) : r;
}

static void answer_refused(struct http_request *request, const struct command_result *result)
{
    const struct command_outcome *outcome = &outcomes[result->answer];
    struct http_violation *violations =
        http_request_alloc(request, (result->violation_count + 1) * sizeof(*violations));
    struct buffer members = {0};
    char sentence[512];
    struct http_problem problem = {.status = outcome->status,
                                   .code = outcome->code,
                                   .detail = result->detail,
                                   .retry_after_s = outcome->retry_after_s};

    if (result->answer == COMMAND_E_REJECTED) {
        snprintf(sentence, sizeof(sentence), "%.*s", BYTES_PRINT(result->sentence));
        problem.detail = sentence;
        if (write_rule(result, &members) == 0)
            problem.members = buffer_bytes(&members);
    }
    for (size_t i = 0; violations && i < result->violation_count; i++)
        violations[i] =
            (struct http_violation){result->violations[i].pointer, result->violations[i].sentence};
    problem.violations = violations;
    problem.violation_count = violations ? result->violation_count : 0;
    http_answer_problem(request, &problem);
    buffer_deinit(&members);
}

/* On the writer thread or one of the runtime's. */
static void command_done(void *user, const struct command_result *result)
{
    struct http_request *request = user;

    if (result->position > 0)
        answer_position(request, result->position);
    if (result->answer == 0)
        answer_decided(request, result);
    else if (result->answer == COMMAND_E_JOURNAL)
        answer_journal(request, result->journal_answer, result->detail);
    else
        answer_refused(request, result);
}

void answer_compacted(struct http_request *request, int answer, const struct command_compacted *compacted)
{
    if (answer < 0)
        answer_failure(request, answer);
    else if (answer == COMMAND_E_JOURNAL)
        answer_journal(request, compacted->journal_answer, compacted->detail);
    else
        answer_refused(request, &(struct command_result){.answer = answer, .detail = compacted->detail});
}

void handle_command(struct http_request *request)
{
    struct server *server = server_of(request);
    const char *key = http_request_header(request, "Idempotency-Key");
    struct bytes trace = ask_traceparent(request);
    char caller[AUTH_CALLER_SIZE], meta[192] = "";

    if (write_refused(request) || parameters_refused(request) || binary_refused(request))
        return;
    if (!server->commands) {
        http_answer_error(request, 404, "no-such-command",
                          "This server has no application that takes commands.");
        return;
    }
    door_caller(request, caller);
    if (trace.size > 0)
        snprintf(meta, sizeof(meta), "{\"traceparent\":\"%.*s\"}", BYTES_PRINT(trace));
    const struct command_request command = {
        .name = http_request_param(request, 0),
        .body = http_request_body(request),
        .key = bytes_from_string(key),
        .caller = bytes_from_string(caller),
        .meta = bytes_from_string(meta),
        .done = command_done,
        .user = request,
    };
    command_submit(server->commands, &command);
}
