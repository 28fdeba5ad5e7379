/* libmicrohttpd's callbacks, and what a connection may take its time for.
 *
 * libmicrohttpd calls: on_connection (made, gone), on_target (a request line is there: the request is born), on_request
 * (header there; pieces of body; body complete; and once more after each resume until an answer is queued), on_completed
 * (the request is over, whatever way). Its own timeout knows only silence; a client that sends a byte now and then never
 * ends. So each phase has a deadline of ours, looked at ten times a second. */

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "http/internal.h"
#include "http/query.h"

/* ---- phases and deadlines ---- */

static uint64_t phase_ms_max(const struct http_limits *limits, enum connection_phase phase)
{
    switch (phase) {
    case PHASE_IDLE: return limits->idle_ms_max;
    case PHASE_HEADER: return limits->header_ms_max;
    case PHASE_BODY: return limits->body_ms_max;
    case PHASE_SENDING: return limits->write_ms_max;
    case PHASE_HANDLED:
    case PHASE_WAITING: break;
    }
    return 0;
}

void connection_phase_set(struct http_connection *connection, enum connection_phase phase)
{
    uint64_t ms_max = phase_ms_max(&connection->http->options.limits, phase);

    connection->phase = phase;
    pressure_place(connection, !connection->gone && (phase == PHASE_IDLE || (phase == PHASE_HEADER && !connection->request)));
    connection->deadline_ms = ms_max == 0 ? UINT64_MAX : connection->http->now_ms + ms_max;
}

static struct tcp_info connection_figures(const struct http_connection *connection)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof(info);

    getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, &info, &size);
    return info;
}

void connection_shut(struct http_connection *connection)
{
    connection->deadline_ms = UINT64_MAX;
    connection->http->leaving_count += !connection->gone;
    connection->gone = true;
    pressure_place(connection, false);
    shutdown(connection->fd, SHUT_RDWR);
}

void connection_cut(struct http_connection *connection, unsigned status, const char *code, const char *detail)
{
    struct http_problem problem = {.status = status, .code = code, .detail = detail};
    struct buffer body = {0}, head = {0};

    /* Nothing has been sent for this request yet and nothing waits to be, so the answer cannot be torn in. */
    if (http_problem_write(&problem, connection->http->options.problem_prefix, (struct bytes){0}, &body) ==
            0 &&
        buffer_printf(&head,
                      "HTTP/1.1 %u %s\r\nContent-Type: application/problem+json\r\nContent-Length: %zu\r\n"
                      "%sConnection: close\r\n\r\n%.*s",
                      status, http_status_phrase(status), body.size,
                      status == 503 ? "Retry-After: 1\r\n" : "", BYTES_PRINT(buffer_bytes(&body))) == 0) {
        ssize_t sent = send(connection->fd, head.data, head.size, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)sent; /* a courtesy */
        connection->http->counters.answers[status / 100]++;
    }
    buffer_deinit(&head);
    buffer_deinit(&body);
    connection_shut(connection);
}

static void connection_expire(struct http_connection *connection)
{
    uint64_t mark;

    switch (connection->phase) {
    case PHASE_SENDING:
        mark = connection_taken_mark(connection);
        if (mark != connection->taken_mark) {
            connection->taken_mark = mark;
            connection_phase_set(connection, PHASE_SENDING);
            return;
        }
        break;
    case PHASE_HEADER:
        if (connection_figures(connection).tcpi_bytes_received == 0)
            break; /* opened in advance and not used: nothing to say */
        connection_cut(connection, 408, "header-timeout", "The header of the request did not end in time.");
        break;
    case PHASE_BODY:
        connection_cut(connection, 408, "body-timeout", "The body of the request did not end in time.");
        break;
    case PHASE_IDLE: connection_shut(connection); return; /* not worth counting */
    case PHASE_HANDLED:
    case PHASE_WAITING: return;
    }
    connection->http->counters.connections_timed_out++;
    connection_shut(connection);
}

static void authorize_streams(struct http *http, uint64_t now_ms)
{
    bool all = http->authorize_again;

    http->authorize_again = false;
    http->authorize_ms = now_ms + AUTHORIZE_MS;
    for (struct http_connection *connection = http->connections; connection; connection = connection->next) {
        struct http_request *request = connection->request;
        if (!request || !request->queued || request->authorized_until_ms == 0 || request->withdrawn ||
            (!all && request->authorized_until_ms > now_ms))
            continue;
        if (!answer_authorize(request))
            connection_shut(connection); /* what is sent from memory or from a file has no end but this */
    }
}

void http_authorize_again(struct http *http)
{
    http->authorize_again = true;
}

void connection_sweep(struct http *http, uint64_t now_ms)
{
    if (http->options.authorize && (http->authorize_again || now_ms >= http->authorize_ms))
        authorize_streams(http, now_ms);
    for (struct http_connection *connection = http->connections; connection; connection = connection->next) {
        if (connection->deadline_ms <= now_ms)
            connection_expire(connection);
    }
}

void connection_drain(struct http *http, bool all)
{
    for (struct http_connection *connection = http->connections; connection; connection = connection->next) {
        bool unused =
            connection->phase == PHASE_IDLE || (connection->phase == PHASE_HEADER && !connection->request);
        if (connection->phase == PHASE_WAITING)
            http_wake(connection->request);
        if (unused || all)
            connection_shut(connection);
    }
}

/* Told once (the watch is edge-triggered), maybe while something is being sent: what waits ends now, the rest when it would
 * wait next. */
void connection_left(struct http *http, int fd)
{
    for (struct http_connection *connection = http->connections; connection; connection = connection->next) {
        if (connection->fd != fd || !connection->watched)
            continue;
        connection->left = true;
        if (connection->phase == PHASE_WAITING)
            http_wake(connection->request);
    }
}

/* ---- callbacks ---- */

static struct http_connection *connection_of(struct MHD_Connection *mhd)
{
    return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static void peer_note(struct http_connection *connection)
{
    const struct sockaddr *address =
        MHD_get_connection_info(connection->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;

    if (address && address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &in->sin_addr, connection->peer, sizeof(connection->peer));
        connection->peer_port = ntohs(in->sin_port);
    } else if (address && address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &in6->sin6_addr, connection->peer, sizeof(connection->peer));
        connection->peer_port = ntohs(in6->sin6_port);
    } else {
        memcpy(connection->peer, HTTP_PEER_LOCAL, sizeof(HTTP_PEER_LOCAL));
    }
}

static struct http_connection *connection_new(struct http *http, struct MHD_Connection *mhd)
{
    struct http_connection *connection = calloc(1, sizeof(*connection));

    if (!connection)
        return NULL;
    connection->http = http;
    connection->mhd = mhd;
    connection->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    peer_note(connection);
    connection_phase_set(connection, PHASE_HEADER);
    connection->surplus = http->next_is_surplus;
    connection->next = http->connections;
    if (connection->next)
        connection->next->previous = connection;
    http->connections = connection;
    http->connection_count++;
    http->counters.connections_open = http->connection_count;
    return connection;
}

static void connection_free(struct http_connection *connection)
{
    struct http *http = connection->http;

    if (connection->previous)
        connection->previous->next = connection->next;
    else
        http->connections = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    pressure_place(connection, false);
    http->connection_count--;
    http->leaving_count -= connection->gone;
    http->counters.connections_open = http->connection_count;
    free(connection);
}

static void on_connection(void *user, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    ((struct http *)user)->stirred = true;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = connection_new(user, mhd);
    } else if (*context) {
        connection_free(*context);
        *context = NULL;
    }
}

/* libmicrohttpd goes on to make a list of the query's parameters in the connection's memory, and closes without a word
 * when they do not fit: too many are answered here, over the bare socket. */
static void *on_target(void *user, const char *target, struct MHD_Connection *mhd)
{
    struct http_connection *connection = connection_of(mhd);
    struct http_request *request = connection ? request_new(connection, target) : NULL;
    const char *query = strchr(target, '?');

    ((struct http *)user)->stirred = true;
    if (!request)
        return NULL;
    connection->request = request;
    connection_phase_set(connection, PHASE_HEADER);
    if (query &&
        http_query_count(bytes_from_string(query)) > connection->http->options.limits.parameter_count_max)
        connection_cut(connection, 400, "too-many-parameters", "The query has too many parameters.");
    return request;
}

/* Polled, its answer may be on its way: then it stays until that has come (T2). */
static void request_end(struct http_request *request)
{
    struct http *http = request->http;

    if (request->polled)
        http->polled_count--;
    if (request->polled && !request->answered) {
        request->orphaned = true;
        request->connection = NULL;
        http->orphan_count++;
        return;
    }
    request_free(request);
}

static void on_completed(void *user, struct MHD_Connection *mhd, void **request_at,
                         enum MHD_RequestTerminationCode how)
{
    struct http_request *request = *request_at;

    ((struct http *)user)->stirred = true;
    if (!request)
        return;
    struct http_connection *connection = request->connection;
    if (connection->watched)
        epoll_ctl(connection->http->epoll_fd, EPOLL_CTL_DEL, connection->fd, NULL);
    connection->watched = connection->left = false;
    connection->request = NULL;
    connection_phase_set(connection, PHASE_IDLE);
    request_log(request);
    request_end(request);
    *request_at = NULL;
    if (http_draining(connection->http))
        connection_shut(connection);
}

/* ---- answers to libmicrohttpd ---- */

/* Hands the answer over. MHD_NO closes the connection. */
static enum MHD_Result request_send(struct http_request *request)
{
    struct MHD_Response *response = answer_response(request);
    enum MHD_Result result;

    if (!response)
        return MHD_NO;
    request->queued = true;
    connection_phase_set(request->connection, PHASE_SENDING);
    request->connection->taken_mark = 0;
    request->connection->pressed = false;
    result = mhd_queue(request->connection->mhd, request->status, response);
    MHD_destroy_response(response); /* libmicrohttpd keeps its own reference */
    return result;
}

/* The header is there. A request that is refused already may still have a body coming: it is read and thrown away, for a
 * connection closed with bytes unread takes the answer with it; unless the client waits for a word, or it is too long. */
static enum MHD_Result header_received(struct http_request *request, const char *method,
                                       const char *version)
{
    const char *expect, *length;
    uint64_t size = 0;

    connection_phase_set(request->connection, PHASE_BODY);
    request->connection->moved_ms = request->http->now_ms;
    request_begin(request, method, version);
    if (request->connection->gone)
        return MHD_NO;
    if (!request->answered)
        return MHD_YES;
    request->discarding = true;
    expect = http_request_header(request, "Expect");
    length = http_request_header(request, "Content-Length");
    if (expect || request->unframed ||
        (length && bytes_parse_u64(bytes_from_string(length), &size) != 0) ||
        size > request->http->options.limits.discard_size_max) {
        http_header(request, "Connection", "close");
        return request_send(request);
    }
    return MHD_YES;
}

static enum MHD_Result body_received(struct http_request *request, const char *data, size_t size)
{
    request->connection->moved_ms = request->http->now_ms;
    request_body(request, data, size);
    if (request->received <= request->http->options.limits.discard_size_max + request->body_size_max)
        return MHD_YES;
    connection_cut(request->connection, 413, "body-too-large", "The body of the request is too large.");
    return MHD_YES;
}

/* Somebody else works on the request. Suspending a connection takes it out of libmicrohttpd's epoll set, resuming it puts it
 * back and looks for more to read: three system calls. An answer that comes soon is cheaper looked for each time round; not
 * for long and not for many at once, though, for looking costs too. */
static void wait_for_answer(struct http_request *request, struct MHD_Connection *mhd)
{
    struct http *http = request->http;

    if (request->soon && !request->polled && http->polled_count < POLLED_COUNT_MAX) {
        request->polled = true;
        request->polled_until_ms = http->now_ms + POLLED_MS_MAX;
        http->polled_count++;
    }
    if (request->polled && http->now_ms < request->polled_until_ms)
        return;
    if (request->polled)
        http->polled_count--;
    request->polled = request->soon = false;
    request->suspended = true;
    MHD_suspend_connection(mhd); /* T2 */
}

/* The answer is there: no more looking for it. */
static enum MHD_Result answer_found(struct http_request *request)
{
    if (request->polled)
        request->http->polled_count--;
    request->polled = false;
    return request->queued ? MHD_YES : request_send(request);
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *mhd, const char *url, const char *method,
                                  const char *version, const char *data, size_t *size, void **request_at)
{
    struct http_request *request = *request_at;

    if (!request || request->connection->gone)
        return MHD_NO; /* there was no memory for it, or it has been answered over the bare socket */
    request->suspended = false;
    if (!request->polled || request->answered)
        request->http->stirred = true;
    if (!request->method)
        return header_received(request, method, version);
    if (*size > 0) {
        size_t piece = *size;
        *size = 0;
        return body_received(request, data, piece);
    }
    if (request->connection->phase == PHASE_BODY && !request->answered) {
        connection_phase_set(request->connection, PHASE_HANDLED);
        request_dispatch(request);
    }
    if (request->answered)
        return answer_found(request);
    wait_for_answer(request, mhd);
    return MHD_YES;
}

static size_t on_unescape(void *user, struct MHD_Connection *mhd, char *text)
{
    return strlen(text); /* the router decodes, segment by segment */
}

static void on_panic(void *user, const char *file, unsigned line, const char *reason)
{
    fprintf(stderr, "libmicrohttpd: %s (%s:%u)\n", reason ? reason : "panic", file, line);
    abort();
}

int connection_daemon_start(struct http *http)
{
    const struct http_limits *limits = &http->options.limits;
    /* Room for the header as it came and for the lists made of it. libmicrohttpd clears all of it after each request, half of
     * it once more in between: no more than needed, for at 28 KiB that was a tenth of the loop's time. */
    size_t memory = (size_t)limits->header_size_max + 4096;

    MHD_set_panic_func(on_panic, NULL);
    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, http,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)limits->connection_count_max + 1024,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, http, MHD_OPTION_URI_LOG_CALLBACK, on_target, http,
        MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, http, MHD_OPTION_END);
    return http->daemon ? 0 : errno != 0 ? error_from_errno() : -ENOMEM;
}
