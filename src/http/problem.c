/* The body of an RFC 9457 problem, and the phrases of the statuses (RFC 9110 §15) that daybook gives. */

#include "http/problem.h"

#include <stdio.h>

#include "base/json.h"

static const struct status_phrase {
    unsigned status;
    const char *phrase;
} status_phrases[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

const char *http_status_phrase(unsigned status)
{
    for (size_t i = 0; i < sizeof(status_phrases) / sizeof(status_phrases[0]); i++) {
        if (status_phrases[i].status == status)
            return status_phrases[i].phrase;
    }
    return "Error";
}

static void write_violations(struct json_writer *w, const struct http_problem *problem)
{
    json_write_key(w, "violations");
    json_write_array_begin(w);
    for (size_t i = 0; i < problem->violation_count; i++) {
        json_write_object_begin(w);
        json_write_member_bytes(w, "pointer", problem->violations[i].pointer);
        json_write_member_bytes(w, "detail", problem->violations[i].detail);
        json_write_object_end(w);
    }
    json_write_array_end(w);
}

int http_problem_write(const struct http_problem *problem, const char *prefix, struct bytes instance,
                       struct buffer *out)
{
    struct json_writer w = json_writer(out);
    char type[128];

    snprintf(type, sizeof(type), "%s%s", prefix, problem->code);
    json_write_object_begin(&w);
    json_write_member_string(&w, "type", type);
    json_write_member_string(&w, "title",
                             problem->title ? problem->title : http_status_phrase(problem->status));
    json_write_member_u64(&w, "status", problem->status);
    if (problem->detail)
        json_write_member_string(&w, "detail", problem->detail);
    if (instance.size > 0)
        json_write_member_bytes(&w, "instance", instance);
    json_write_member_string(&w, "code", problem->code);
    if (problem->violation_count > 0)
        write_violations(&w, problem);
    json_write_object_end(&w);
    int r = json_write_end(&w);
    if (r < 0 || problem->members.size == 0)
        return r;
    /* The members come as text: they go before the closing brace. */
    out->size--;
    r = buffer_append_byte(out, ',');
    if (r == 0)
        r = buffer_append_bytes(out, problem->members);
    return r < 0 ? r : buffer_append_byte(out, '}');
}
