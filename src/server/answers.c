/* What the layers below answer, as HTTP: one table from answer to status, code and sentence. */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "server/internal.h"

static const struct journal_answer {
    int answer;
    unsigned status;
    const char *code, *sentence;
    unsigned retry_after_s;
} journal_answers[] = {
    {JOURNAL_E_INVALID, 422, "invalid", "The events break a rule.", 0},
    {JOURNAL_E_CONFLICT, 409, "append-condition-failed", "The journal is not as the append expects it.", 0},
    {JOURNAL_E_ID_REUSED, 422, "event-id-reused", "An event id is known with other content.", 0},
    {JOURNAL_E_FULL, 507, "disk-full", "There is no room on the disk; reads go on.", 5},
    {JOURNAL_E_READ_ONLY, 503, "read-only", "The journal takes no writes; reads go on.", 30},
    {JOURNAL_E_TOO_LARGE, 413, "append-too-large", "The events of an append take too many bytes.", 0},
    {JOURNAL_E_BUSY, 429, "busy", "Too many appends are waiting.", 1},
    {JOURNAL_E_UNKNOWN, 503, "outcome-unknown",
     "Whether the events are stored is not known; send them again with the same ids.", 5},
    {JOURNAL_E_FAILED, 503, "write-failed", "The disk failed; nothing was stored.", 30},
    /* Failures: what they say of themselves is not for a client, so the sentence here is all that is told. */
    {-EAGAIN, 503, "index-rebuilding",
     "A part of the index was damaged and is being made again from the log; nothing was stored.", 1},
    {-ENOSPC, 507, "disk-full", "There is no room on the disk for what the answer needs.", 5},
    {-EBADMSG, 500, "damaged", "The journal is damaged here; `daybook verify` tells where.", 0},
};

static const struct journal_answer *find_answer(int answer)
{
    for (size_t i = 0; i < sizeof(journal_answers) / sizeof(journal_answers[0]); i++)
        if (journal_answers[i].answer == answer)
            return &journal_answers[i];
    return NULL;
}

struct http_problem journal_problem(int answer, const char *detail)
{
    const struct journal_answer *row = find_answer(answer);
    if (!row)
        return (struct http_problem){.status = 500, .code = "internal", .detail = "The server failed."};
    return (struct http_problem){.status = row->status,
                                 .code = row->code,
                                 .detail = answer > 0 && detail && *detail ? detail : row->sentence,
                                 .retry_after_s = row->retry_after_s};
}

void answer_journal(struct http_request *request, int answer, const char *detail)
{
    if (answer < 0) {
        answer_failure(request, answer);
        return;
    }
    struct http_problem problem = journal_problem(answer, detail);
    http_answer_problem(request, &problem);
}

void damage_name(struct server *server, struct journal_status *status, struct http_problem *problem)
{
    journal_status(server->journal, status);
    if ((status->log.damaged || status->incomplete) && status->reason[0] != '\0')
        problem->detail = status->reason;
}

bool damage_refused(struct http_request *request)
{
    if (!journal_is_incomplete(server_of(request)->journal))
        return false;
    answer_failure(request, -EBADMSG);
    return true;
}

void answer_failure(struct http_request *request, int failure)
{
    struct http_problem problem = journal_problem(failure, NULL);
    struct journal_status status;
    if (failure == -EBADMSG)
        damage_name(server_of(request), &status, &problem);
    if (find_answer(failure))
        http_answer_problem(request, &problem);
    else
        http_answer_error(request, 500, "internal", "The server failed: %s.", strerror(-failure));
}

void answer_busy(struct http_request *request)
{
    struct http_problem problem = {.status = 503,
                                   .code = "busy",
                                   .detail = "More requests are waiting than the server takes.",
                                   .retry_after_s = 1};
    http_answer_problem(request, &problem);
}

bool write_refused(struct http_request *request)
{
    struct server *server = server_of(request);
    struct buffer members = {0};
    struct json_writer w = json_writer(&members);

    if (!server->options->follow)
        return false;
    json_write_string(&w, server->options->follow);
    struct http_problem problem = {.status = 421,
                                   .code = "not-leader",
                                   .detail = "This server follows another, which takes the writes."};
    struct buffer text = {0};
    if (json_write_end(&w) == 0 &&
        buffer_printf(&text, "\"leader\":%.*s", BYTES_PRINT(buffer_bytes(&members))) == 0)
        problem.members = buffer_bytes(&text);
    http_header(request, "Daybook-Leader", server->options->follow);
    http_answer_problem(request, &problem);
    buffer_deinit(&text);
    buffer_deinit(&members);
    return true;
}

static void write_expected(struct json_writer *w, const struct journal_conflict *conflict)
{
    json_write_key(w, "expected");
    switch (conflict->expect) {
    case JOURNAL_EXPECT_VERSION: json_write_u64(w, conflict->expected); break;
    case JOURNAL_EXPECT_NONE: json_write_string(w, "none"); break;
    case JOURNAL_EXPECT_EXISTS: json_write_string(w, "exists"); break;
    case JOURNAL_EXPECT_ANY: json_write_string(w, "any"); break;
    }
}

int conflicts_write(const struct journal_result *result, struct buffer *out)
{
    int r = buffer_append_string(out, "\"conflicts\":");
    struct json_writer w = json_writer(out);

    json_write_array_begin(&w);
    for (size_t i = 0; i < result->conflict_count; i++) {
        const struct journal_conflict *conflict = &result->conflicts[i];
        json_write_object_begin(&w);
        if (conflict->stream.size > 0) {
            json_write_member_bytes(&w, "stream", conflict->stream);
            write_expected(&w, conflict);
            json_write_member_u64(&w, "actual", conflict->actual);
        } else if (conflict->beyond) {
            json_write_member_u64(&w, "after", conflict->expected);
            json_write_member_u64(&w, "head", conflict->actual);
        } else {
            json_write_member_u64(&w, "item", conflict->item);
            json_write_member_u64(&w, "position", conflict->position);
        }
        json_write_object_end(&w);
    }
    json_write_array_end(&w);
    return error_first(r, json_write_end(&w));
}

int problem_text(const struct http_request *request, const struct http_problem *problem, struct buffer *out)
{
    return http_problem_write(problem, SERVER_PROBLEM_PREFIX, http_request_path(request), out);
}

void answer_beyond(struct http_request *request, uint64_t asked, uint64_t end)
{
    char members[48], detail[256];

    snprintf(members, sizeof(members), "\"head\":%" PRIu64, end);
    snprintf(detail, sizeof(detail),
             "%" PRIu64 " lies beyond the end, which is %" PRIu64
             ": what was there is lost, or was never here. Start over.",
             asked, end);
    struct http_problem problem = {
        .status = 409, .code = "beyond-head", .detail = detail, .members = bytes_from_string(members)};
    http_answer_problem(request, &problem);
}

void answer_position(struct http_request *request, uint64_t position)
{
    http_header_printf(request, "Daybook-Position", "%llu", (unsigned long long)position);
}

void answer_parameter(struct http_request *request, const char *name, const char *format, ...)
{
    char detail[256], pointer[128];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(detail, sizeof(detail), format, arguments);
    va_end(arguments);
    snprintf(pointer, sizeof(pointer), "?%s", name);
    const struct http_violation violation = {bytes_from_string(pointer), bytes_from_string(detail)};
    struct http_problem problem = {.status = 400,
                                   .code = "parameter-invalid",
                                   .detail = "A query parameter is not as it should be.",
                                   .violations = &violation,
                                   .violation_count = 1};
    http_answer_problem(request, &problem);
}
