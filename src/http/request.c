/* A request: what was asked, and the way from its header to its handler. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/time.h"
#include "http/field.h"
#include "http/internal.h"
#include "http/query.h"

enum { MEMORY_BLOCK_SIZE = 1024 };

/* ---- life ---- */

/* One that was used before, or a new one; all but its buffers as if new. */
static struct http_request *request_take(struct http *http)
{
    struct http_request *request = http->spare;

    if (!request)
        return calloc(1, sizeof(*request));
    http->spare = request->kept;
    http->spare_count--;
    memset(request, 0, offsetof(struct http_request, kept));
    request->body = request->body_kept;
    request->answer = request->answer_kept;
    return request;
}

/* Its memory, or NULL when it has grown too large to be kept. */
static struct buffer buffer_keep(struct buffer *buffer)
{
    struct buffer kept = {.data = buffer->data, .capacity = buffer->capacity};

    if (kept.capacity <= REQUEST_BUFFER_SIZE_MAX)
        return kept;
    buffer_deinit(buffer);
    return (struct buffer){0};
}

static void request_drop(struct http_request *request)
{
    buffer_deinit(&request->body);
    buffer_deinit(&request->answer);
    free(request);
}

static void request_give(struct http_request *request)
{
    struct http *http = request->http;

    if (http->spare_count >= REQUEST_SPARE_COUNT_MAX) {
        request_drop(request);
        return;
    }
    request->body_kept = buffer_keep(&request->body);
    request->answer_kept = buffer_keep(&request->answer);
    request->kept = http->spare;
    http->spare = request;
    http->spare_count++;
}

void request_spares_free(struct http *http)
{
    while (http->spare) {
        struct http_request *request = http->spare;
        http->spare = request->kept;
        buffer_deinit(&request->body_kept);
        buffer_deinit(&request->answer_kept);
        free(request);
    }
    http->spare_count = 0;
}

struct http_request *request_new(struct http_connection *connection, const char *target)
{
    struct http_request *request = request_take(connection->http);
    size_t size = strlen(target) + 1;

    if (!request)
        return NULL;
    request->target = http_request_alloc(request, size);
    if (!request->target) {
        request_drop(request);
        return NULL;
    }
    memcpy(request->target, target, size);
    request->http = connection->http;
    request->connection = connection;
    request->file_fd = -1;
    request->fields_tail = &request->fields;
    request->started_us = http_now_us();
    request->http->counters.requests++;
    request->http->counters.requests_open++;
    return request;
}

void request_free(struct http_request *request)
{
    if (request->is_stream && request->source.free)
        request->source.free(request->source_user);
    for (struct request_end *end = request->ends; end; end = end->next)
        end->release(end->user);
    while (request->memory) {
        struct request_memory *memory = request->memory;
        request->memory = memory->next;
        free(memory);
    }
    pressure_release(request);
    request->http->counters.requests_open--;
    request->http->file_count -= request->is_file;
    if (request->file_fd >= 0)
        close(request->file_fd);
    request_give(request);
}

void *http_request_alloc(struct http_request *request, size_t size)
{
    struct request_memory *block = request->memory;
    void *piece;

    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size + 15) & ~(size_t)15;
    if (size <= REQUEST_OWN_SIZE - request->own_used) {
        piece = request->own + request->own_used;
        request->own_used += size;
        return memset(piece, 0, size);
    }
    if (!block || block->size - block->used < size) {
        size_t block_size = size > MEMORY_BLOCK_SIZE ? size : MEMORY_BLOCK_SIZE;
        block = calloc(1, sizeof(*block) + block_size);
        if (!block)
            return NULL;
        block->size = block_size;
        block->next = request->memory;
        request->memory = block;
    }
    piece = block->data + block->used;
    block->used += size;
    return piece;
}

int http_request_on_end(struct http_request *request, void (*release)(void *user), void *user)
{
    struct request_end *end = http_request_alloc(request, sizeof(*end));

    if (!end)
        return -ENOMEM;
    *end = (struct request_end){release, user, request->ends};
    request->ends = end;
    return 0;
}

/* ---- what was asked ---- */

uint64_t http_request_age_us(const struct http_request *request)
{
    return http_now_us() - request->started_us;
}

unsigned http_request_status(const struct http_request *request)
{
    return request->status;
}

struct http *http_request_server(const struct http_request *request)
{
    return request->http;
}

void *http_request_user(const struct http_request *request)
{
    return request->http->options.user;
}

const struct http_route *http_request_route(const struct http_request *request)
{
    return request->match.route;
}

const char *http_request_method(const struct http_request *request)
{
    return request->method;
}

struct bytes http_request_path(const struct http_request *request)
{
    return request->path;
}

struct bytes http_request_query(const struct http_request *request)
{
    return request->query;
}

struct bytes http_request_param(const struct http_request *request, size_t index)
{
    assert(index < request->match.param_count); /* the route's own pattern says how many */
    return request->match.params[index];
}

struct bytes http_request_body(const struct http_request *request)
{
    return buffer_bytes(&request->body);
}

const char *http_request_header(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection->mhd, MHD_HEADER_KIND, name);
}

size_t http_request_parameters(const struct http_request *request,
                               const struct http_parameter **ret_parameters)
{
    *ret_parameters = request->parameters;
    return request->parameter_count;
}

bool http_request_parameter(const struct http_request *request, const char *name, struct bytes *ret_value)
{
    for (size_t i = 0; i < request->parameter_count; i++) {
        if (bytes_equal_string(request->parameters[i].name, name)) {
            *ret_value = request->parameters[i].value;
            return true;
        }
    }
    return false;
}

void http_request_peer(const struct http_request *request, char ret_peer[HTTP_PEER_SIZE])
{
    const struct http_connection *connection = request->connection;
    bool v6 = strchr(connection->peer, ':') != NULL;

    if (strcmp(connection->peer, HTTP_PEER_LOCAL) == 0)
        snprintf(ret_peer, HTTP_PEER_SIZE, "%s", connection->peer);
    else
        snprintf(ret_peer, HTTP_PEER_SIZE, "%s%s%s:%u", v6 ? "[" : "", connection->peer, v6 ? "]" : "",
             connection->peer_port);
}

bool http_request_is_answered(const struct http_request *request)
{
    return request->queued;
}

void http_request_authorized_for(struct http_request *request, uint64_t ms)
{
    uint64_t now_ms = http_now_ms();

    request->authorized_until_ms = ms < UINT64_MAX - now_ms ? now_ms + ms : UINT64_MAX;
}

bool http_request_is_head(const struct http_request *request)
{
    return strcmp(request->method, "HEAD") == 0;
}

int http_request_accepts(const struct http_request *request, const char *const *types, size_t count)
{
    return http_accept_choose(http_request_header(request, "Accept"), types, count);
}

/* ---- from the header to the handler ---- */

/* The target is a path and a query; before them may stand a scheme and an authority (RFC 9112 §3.2.2), which then
 * count instead of Host. */
static void split_target(struct http_request *request)
{
    const char *begin = request->target;

    if (strncasecmp(begin, "http://", 7) == 0) {
        request->authority = bytes_make(begin + 7, strcspn(begin + 7, "/?"));
        begin += 7 + request->authority.size;
    }
    request->path = bytes_make(begin, strcspn(begin, "?"));
    begin += request->path.size;
    request->query = bytes_from_string(*begin ? begin + 1 : begin);
}

/* Fields that may come once: of two of them one reader takes the first, another the last. */
static const char *const single_names[] = {"host",   "content-length", "transfer-encoding", "content-type",  "authorization",
                                           "origin", "sec-fetch-site", "expect",            "content-encoding",
                                           "idempotency-key", "x-required-role", "last-event-id"};
enum { SINGLE_HOST, SINGLE_LENGTH, SINGLE_ENCODING, SINGLE_COUNT = sizeof(single_names) / sizeof(single_names[0]) };

struct header_counts {
    size_t fields;
    unsigned single[SINGLE_COUNT];
    bool repeated;
};

static enum MHD_Result count_header(void *user, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct header_counts *counts = user;

    counts->fields++;
    for (size_t i = 0; i < SINGLE_COUNT; i++) {
        if ((name[0] | 0x20) != single_names[i][0] || strcasecmp(name, single_names[i]) != 0)
            continue;
        counts->repeated = counts->repeated || counts->single[i] > 0;
        counts->single[i]++;
    }
    return MHD_YES;
}

/* What two readers may read in two ways (RFC 9112 §3.2, §6.1, §6.3): answered at once, for where it ends is not certain. */
static void check_ambiguous(struct http_request *request, const struct header_counts *counts, const char *version)
{
    const char *encoding = http_request_header(request, "Transfer-Encoding");
    bool both = counts->single[SINGLE_LENGTH] && counts->single[SINGLE_ENCODING];

    if (encoding && !both && counts->single[SINGLE_ENCODING] > 1)
        http_answer_error(request, 501, "transfer-encoding", "Transfer-Encoding may stand there once.");
    else if (counts->repeated || both || (encoding && strcmp(version, "HTTP/1.1") != 0))
        http_answer_error(
            request, 400, "ambiguous-header",
            "Host, Content-Length, Content-Type, Authorization and their like may stand there once, Content-Length not "
            "beside Transfer-Encoding, which is of HTTP/1.1.");
    else if (encoding && strcasecmp(encoding, "chunked") != 0)
        http_answer_error(request, 501, "transfer-encoding",
                          "The one Transfer-Encoding known here is chunked.");
    request->unframed = request->answered;
}

static void check_framing(struct http_request *request, const struct header_counts *counts, const char *version)
{
    const char *expect = http_request_header(request, "Expect");

    if (!framing_is_exact(request->connection->mhd, request->method, request->target, version)) {
        http_answer_error(request, 400, "malformed-request",
                          "The header is not as RFC 9112 has it: lines end in CR LF and are not folded, a name is a token "
                          "with its colon right behind it, a value has no control characters, one space stands between "
                          "the parts of the first line.");
        request->unframed = true;
        return;
    }
    check_ambiguous(request, counts, version);
    if (!request->answered && expect && strcasecmp(expect, "100-continue") != 0)
        http_answer_error(request, 417, "expectation-failed", "The one expectation met here is 100-continue.");
}

/* Target or header is too large. Of a header above the limit libmicrohttpd's buffer may be so full that the fields of an answer
 * find no room in it, and the connection would end without a word: it is answered over the bare socket. */
static void refuse_size(struct http_request *request, size_t header_size, unsigned status, const char *code,
                        const char *what, uint64_t size_max)
{
    char detail[96];

    snprintf(detail, sizeof(detail), "%s may have %" PRIu64 " bytes.", what, size_max);
    if (header_size <= request->http->options.limits.header_size_max) {
        http_answer_error(request, status, code, "%s", detail);
        return;
    }
    request->answered = request->given = true;
    request->status = status;
    connection_cut(request->connection, status, code, detail);
}

/* Sizes and counts. */
static void check_header(struct http_request *request, const char *version)
{
    const struct http_limits *limits = &request->http->options.limits;
    struct header_counts counts = {0};
    size_t size = MHD_get_connection_info(request->connection->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)
                      ->header_size;

    MHD_get_connection_values(request->connection->mhd, MHD_HEADER_KIND, count_header, &counts);
    if (request->connection->surplus) {
        struct http_problem problem = {.status = 503,
                                       .code = "too-many-connections",
                                       .detail = "The server has as many connections as it takes.",
                                       .retry_after_s = 1};
        http_answer_problem(request, &problem);
    } else if (strlen(request->target) > limits->target_size_max) {
        refuse_size(request, size, 414, "target-too-long", "Path and query", limits->target_size_max);
    } else if (size > limits->header_size_max) {
        refuse_size(request, size, 431, "header-too-large", "The header", limits->header_size_max);
    } else if (counts.fields > limits->header_count_max) {
        http_answer_error(request, 431, "too-many-header-fields",
                          "A request may have %" PRIu64 " header fields.", limits->header_count_max);
    } else {
        check_framing(request, &counts, version);
    }
    if (request->answered)
        http_header(request, "Connection", "close");
}

static void check_host(struct http_request *request)
{
    const struct http_options *options = &request->http->options;
    const char *host = http_request_header(request, "Host");
    char authority[HTTP_HOST_SIZE_MAX] = "";

    if (request->authority.data) {
        if (request->authority.size < sizeof(authority))
            memcpy(authority, request->authority.data, request->authority.size);
        host = authority;
    }
    switch (http_host_check(host, options->hosts, options->host_count)) {
    case HTTP_E_HOST_INVALID:
        http_header(request, "Connection", "close");
        http_answer_error(request, 400, "host-invalid", "The Host field is missing or is not a host.");
        break;
    case HTTP_E_HOST_UNKNOWN:
        http_answer_error(request, 421, "unknown-host",
                          "This server is not known as %s; its operator can name it with --host.", host);
        break;
    }
}

static void find_route(struct http_request *request)
{
    const struct http_options *options = &request->http->options;
    char allow[HTTP_ALLOW_SIZE_MAX];
    uint8_t *memory = http_request_alloc(request, request->path.size + 1);
    int r = memory ? http_route_find(options->routes, options->route_count, request->method, request->path,
                                     memory, &request->match, allow)
                   : -ENOMEM;

    if (r == HTTP_E_METHOD && strcmp(request->method, "OPTIONS") == 0) {
        http_header(request, "Allow", allow);
        http_answer_text(request, 204, NULL, NULL);
    } else if (r == HTTP_E_METHOD) {
        http_header(request, "Allow", allow);
        http_answer_error(request, 405, "method-not-allowed", "Here one may %s.", allow);
    } else if (r == HTTP_E_PATH) {
        http_answer_error(request, 400, "path-invalid",
                          "The path has a broken percent escape or is not UTF-8.");
    } else if (r == HTTP_E_NOT_FOUND && !options->folder) {
        http_answer_error(request, 404, "not-found", "There is nothing at this path.");
    } else if (r < 0) {
        http_answer_error(request, 500, "out-of-memory", "There is no memory for this request.");
    }
}

static void parse_query(struct http_request *request)
{
    size_t count = http_query_count(request->query);
    uint8_t *memory;
    int r = -ENOMEM;

    if (count == 0)
        return;
    memory = http_request_alloc(request, request->query.size);
    request->parameters = http_request_alloc(request, count * sizeof(*request->parameters));
    if (memory && request->parameters)
        r = http_query_parse(request->query, memory, request->parameters, count, &request->parameter_count);
    if (r == HTTP_E_ENCODING)
        http_answer_error(request, 400, "query-invalid",
                          "The query has a broken percent escape or is not UTF-8.");
    else if (r < 0)
        http_answer_error(request, 500, "out-of-memory", "There is no memory for this request.");
}

static void check_body(struct http_request *request)
{
    const struct http_route *route = request->match.route;
    const char *type = http_request_header(request, "Content-Type");
    const char *length = http_request_header(request, "Content-Length");
    const char *coding = http_request_header(request, "Content-Encoding");
    uint64_t size;

    if (coding && strcasecmp(coding, "identity") != 0) {
        http_header(request, "Accept-Encoding", "identity"); /* RFC 9110 §12.5.3, §15.5.16 */
        http_answer_error(request, 415, "content-encoding", "A body is taken as it is, without Content-Encoding.");
        return;
    }
    request->body_size_max = request->http->options.limits.body_size_max;
    if (route && route->body_size_max > 0 && route->body_size_max < request->body_size_max)
        request->body_size_max = route->body_size_max;
    request->body.size_max = request->body_size_max;
    if (route && route->flags & HTTP_JSON && !http_media_type_is(type, "application/json") &&
        !(route->type_also && http_media_type_is(type, route->type_also)))
        http_answer_error(request, 415, "json-needed", "Content-Type must be application/json, also where no body is needed.");
    else if (length &&
             (bytes_parse_u64(bytes_from_string(length), &size) != 0 || size > request->body_size_max))
        http_answer_error(request, 413, "body-too-large", "The body may have %zu bytes.",
                          request->body_size_max);
    else if (length && !pressure_body_may_fit(request, size))
        pressure_body_refuse(request);
}

static void check_origin(struct http_request *request)
{
    char authority[HTTP_HOST_SIZE_MAX] = "";

    if (request->authority.size < sizeof(authority) && request->authority.size > 0)
        memcpy(authority, request->authority.data, request->authority.size);
    if (origin_is_foreign(request->method, http_request_header(request, "Sec-Fetch-Site"),
                          http_request_header(request, "Origin"),
                          request->authority.data ? authority : http_request_header(request, "Host")))
        http_answer_error(request, 403, "cross-site",
                          "A page of another origin may not send this; programs that are no browsers send neither "
                          "Origin nor Sec-Fetch-Site.");
}

static void check_authorized(struct http_request *request)
{
    const struct http_options *options = &request->http->options;
    unsigned status = options->authorize ? options->authorize(options->user, request) : 0;

    if (status == 401 && !http_header_is_set(request, "WWW-Authenticate"))
        http_header(request, "WWW-Authenticate", "Bearer");
    if (status != 0)
        http_answer_error(request, status, status == 401 ? "unauthorized" : "forbidden",
                          status == 401 ? "A bearer token is needed that this server knows."
                                        : "This token does not allow that.");
}

void request_begin(struct http_request *request, const char *method, const char *version)
{
    unsigned flags;

    request->method = method; /* libmicrohttpd's memory, for as long as the request */
    split_target(request);
    check_header(request, version);
    if (!request->answered)
        find_route(request);
    flags = request->match.route ? request->match.route->flags : 0;
    if (!request->answered && !(flags & HTTP_ANY_HOST))
        check_host(request);
    if (!request->answered)
        check_origin(request);
    /* Files are an application's pages: code, not data. */
    if (!request->answered && request->match.route && !(flags & HTTP_PUBLIC))
        check_authorized(request);
    if (!request->answered)
        check_body(request);
    if (!request->answered)
        parse_query(request);
}

/* It is refused: what has come of it is of no use. */
static void body_forget(struct http_request *request)
{
    buffer_deinit(&request->body);
    pressure_release(request);
}

void request_body(struct http_request *request, const void *data, size_t size)
{
    request->received += size;
    request->http->counters.bytes_received += size;
    if (request->discarding)
        return;
    if (request->received <= request->body_size_max && !pressure_body_fits(request, request->received)) {
        request->discarding = true;
        body_forget(request);
        pressure_body_refuse(request);
        return;
    }
    int r = buffer_append(&request->body, data, size);
    if (r == 0)
        return;
    request->discarding = true;
    body_forget(request);
    if (r == -E2BIG)
        http_answer_error(request, 413, "body-too-large", "The body may have %zu bytes.",
                          request->body_size_max);
    else
        http_answer_error(request, 500, "out-of-memory", "There is no memory for this request.");
}

static void run_blocking(struct http_task *task)
{
    struct http_request *request =
        (struct http_request *)((char *)task - offsetof(struct http_request, task));

    request->match.route->handle(request);
}

void request_dispatch(struct http_request *request)
{
    const struct http_route *route = request->match.route;

    if (route && route->flags & HTTP_LARGE && http_memory_refused(request))
        return;
    if (!route) {
        files_answer(request);
    } else if (!(route->flags & HTTP_BLOCKING)) {
        route->handle(request);
    } else {
        request->task.run = run_blocking;
        if (http_work(request->http, &request->task) != 0) {
            struct http_problem problem = {.status = 503,
                                           .code = "busy",
                                           .detail = "More requests are waiting than the server takes.",
                                           .retry_after_s = 1};
            http_answer_problem(request, &problem);
        }
    }
}

/* ---- the log ---- */

void request_log(struct http_request *request)
{
    int fd = request->http->options.log_fd;
    struct buffer line = {0};
    struct json_writer w = json_writer(&line);
    struct timespec now;
    char time[TIME_TEXT_SIZE] = "";

    if (request->queued)
        request->http->counters.answers[request->status / 100 % 6]++;
    if (fd < 0)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    if (time_format(now.tv_sec * TIME_US_PER_SECOND + now.tv_nsec / 1000, time) != 0)
        return;
    json_write_object_begin(&w);
    json_write_member_string(&w, "time", time);
    json_write_member_string(&w, "client", request->connection->peer);
    json_write_member_string(&w, "method", request->method ? request->method : "");
    json_write_member_string(&w, "target", request->target);
    json_write_member_u64(&w, "status", request->queued ? request->status : 0);
    json_write_member_u64(&w, "duration_us", http_now_us() - request->started_us);
    json_write_member_u64(&w, "received_bytes", request->received);
    json_write_member_u64(&w, "sent_bytes", request->sent);
    const char *trace = request->method ? http_request_header(request, "traceparent") : NULL;
    if (trace)
        json_write_member_string(&w, "traceparent", trace);
    json_write_object_end(&w);
    if (json_write_end(&w) == 0 && buffer_append_byte(&line, '\n') == 0) {
        ssize_t written = write(fd, line.data, line.size); /* nobody left to tell if this fails */
        (void)written;
    }
    buffer_deinit(&line);
}
