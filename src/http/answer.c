/* Answering: from what a handler says to what libmicrohttpd sends. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>

#include "http/internal.h"

enum { STREAM_BLOCK_SIZE = 1024 };

/* ---- on whatever thread ---- */

void http_header(struct http_request *request, const char *name, const char *value)
{
    struct response_field *field = http_request_alloc(request, sizeof(*field) + strlen(value) + 1);

    if (!field)
        return;
    field->name = name;
    field->value = (char *)(field + 1);
    memcpy(field->value, value, strlen(value) + 1);
    *request->fields_tail = field;
    request->fields_tail = &field->next;
}

void http_header_printf(struct http_request *request, const char *name, const char *format, ...)
{
    char value[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(value, sizeof(value), format, arguments);
    va_end(arguments);
    http_header(request, name, value);
}

bool http_header_is_set(const struct http_request *request, const char *name)
{
    for (const struct response_field *field = request->fields; field; field = field->next) {
        if (strcasecmp(field->name, name) == 0)
            return true;
    }
    return false;
}

static void resume(struct http_request *request)
{
    if (!request->suspended)
        return; /* still inside on_request(), or polled by it, which looks at the answer next */
    request->suspended = false;
    MHD_resume_connection(request->connection->mhd);
}

static void answer_arrived(struct http_task *task)
{
    struct http_request *request =
        (struct http_request *)((char *)task - offsetof(struct http_request, task));

    request->answered = true;
    if (request->orphaned) {
        request->http->orphan_count--;
        request_free(request);
        return;
    }
    resume(request);
}

/* The answer stands. From here on the request is the loop's. */
static void answer_given(struct http_request *request, unsigned status, const char *type)
{
    assert(!request->given); /* T1 */
    request->given = true;
    request->status = status;
    request->type = type;
    request->task.run = answer_arrived;
    if (http_on_loop(request->http))
        answer_arrived(&request->task);
    else
        http_post(request->http, &request->task);
}

struct buffer http_answer_buffer(struct http_request *request)
{
    struct buffer buffer = request->answer;

    request->answer = (struct buffer){0};
    return buffer;
}

void http_answer_soon(struct http_request *request)
{
    request->soon = true;
}

void http_answer(struct http_request *request, unsigned status, const char *type, struct buffer *body)
{
    buffer_deinit(&request->answer);
    if (!pressure_answer_fits(request, body->size)) {
        buffer_deinit(body);
        http_memory_refuse(request);
        return;
    }
    request->answer = *body;
    *body = (struct buffer){.size_max = body->size_max};
    request->answer_text = NULL;
    answer_given(request, status, type);
}

void http_answer_text(struct http_request *request, unsigned status, const char *type, const char *text)
{
    request->answer_text = text ? text : "";
    answer_given(request, status, type);
}

void http_answer_file(struct http_request *request, unsigned status, const char *type, int fd, uint64_t size)
{
    request->file_fd = fd;
    request->file_size = size;
    answer_given(request, status, type);
}

void http_answer_problem(struct http_request *request, const struct http_problem *problem)
{
    struct buffer body = {0};

    if (problem->retry_after_s > 0)
        http_header_printf(request, "Retry-After", "%u", problem->retry_after_s);
    if (http_problem_write(problem, request->http->options.problem_prefix, request->path, &body) == 0) {
        http_answer(request, problem->status, "application/problem+json", &body);
    } else {
        buffer_deinit(&body);
        http_answer_text(request, problem->status, NULL, NULL);
    }
}

void http_answer_error(struct http_request *request, unsigned status, const char *code, const char *format,
                       ...)
{
    char detail[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(detail, sizeof(detail), format, arguments);
    va_end(arguments);
    struct http_problem problem = {.status = status, .code = code, .detail = detail};
    http_answer_problem(request, &problem);
}

bool http_answer_not_modified(struct http_request *request, const char *etag)
{
    const char *field = http_request_header(request, "If-None-Match");

    http_header_printf(request, "ETag", "\"%s\"", etag);
    if (!field || (strcmp(field, "*") != 0 && !http_etag_listed(field, etag, true)))
        return false;
    http_answer_text(request, 304, NULL, NULL);
    return true;
}

/* ---- streams ---- */

/* Sleep until http_wake(). A suspended connection is not read, so where waiting has no end the client's leaving is watched
 * for; a client of a finite answer may well have closed its own side and still listen. */
static ssize_t stream_wait(struct http_request *request)
{
    struct http_connection *connection = request->connection;
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLET, .data.fd = connection->fd};

    if ((request->source.endless || request->source.watched) && !connection->watched)
        connection->watched = epoll_ctl(request->http->epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) == 0;
    connection_phase_set(connection, PHASE_WAITING);
    request->suspended = true;
    MHD_suspend_connection(connection->mhd);
    return 0;
}

static ssize_t stream_read(void *user, uint64_t offset, char *buffer, size_t size)
{
    struct http_request *request = user;

    request->http->stirred = true;
    if (request->connection->gone || request->connection->left || (request->withdrawn && !request->source.withdraw))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (!request->source.read || (request->source.endless && http_draining(request->http)))
        return MHD_CONTENT_READER_END_OF_STREAM;
    ssize_t r = request->source.read(request->source_user, (uint8_t *)buffer, size);
    if (r == HTTP_SOURCE_WAIT)
        return stream_wait(request);
    if (r < 0)
        return r == HTTP_SOURCE_END ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
    request->sent += (size_t)r;
    connection_phase_set(request->connection, PHASE_SENDING);
    return r;
}

void http_answer_stream(struct http_request *request, unsigned status, const char *type,
                        const struct http_source *source, void *user)
{
    request->is_stream = true;
    request->source = *source;
    request->source_user = user;
    answer_given(request, status, type);
}

void http_wake(struct http_request *request)
{
    assert(http_on_loop(request->http));
    if (!request->queued || !request->suspended)
        return;
    connection_phase_set(request->connection, PHASE_SENDING);
    resume(request);
}

/* T4 */
bool answer_authorize(struct http_request *request)
{
    const struct http_options *options = &request->http->options;
    unsigned status = options->authorize(options->user, request);

    if (status == 0)
        return true;
    request->withdrawn = true;
    if (!request->is_stream)
        return false;
    if (request->source.withdraw)
        request->source.withdraw(request->source_user, status);
    http_wake(request);
    return true;
}

/* ---- on the loop, right before it is sent ---- */

static struct MHD_Response *answer_body(struct http_request *request)
{
    struct buffer *body = &request->answer;

    if (request->is_stream)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_SIZE, stream_read, request,
                                                 NULL);
    if (request->file_fd >= 0) {
        int fd = request->file_fd;
        request->file_fd = -1; /* libmicrohttpd closes it */
        request->is_file = true;
        request->http->file_count++;
        request->sent = request->file_size;
        return MHD_create_response_from_fd64(request->file_size, fd);
    }
    if (request->answer_text) {
        request->sent = strlen(request->answer_text);
        return MHD_create_response_from_buffer(request->sent, (void *)request->answer_text,
                                               MHD_RESPMEM_PERSISTENT);
    }
    /* The request outlives its answer's sending, so the memory may stay here. */
    request->sent = body->size;
    return MHD_create_response_from_buffer(body->size, body->data, MHD_RESPMEM_PERSISTENT);
}

struct MHD_Response *answer_response(struct http_request *request)
{
    struct http *http = request->http;

    if (http->options.decorate)
        http->options.decorate(http->options.user, request);
    struct MHD_Response *response = answer_body(request);
    if (!response)
        return NULL;
    if (request->type)
        MHD_add_response_header(response, "Content-Type", request->type);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    for (struct response_field *field = request->fields; field; field = field->next)
        MHD_add_response_header(response, field->name, field->value);
    if (http_draining(http) || request->connection->surplus)
        MHD_add_response_header(response, "Connection", "close");
    return response;
}
