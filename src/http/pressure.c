/* What is done when room runs short: memory for bodies and answers, and places for connections.
 *
 * Memory is counted, not measured: what a client has sent of a body that is not whole, and what is kept of an answer that its
 * client has not taken. Small bodies and pieces of answers may use all of it, large ones not the last part, so that clients
 * who do not send on or do not read leave room for everyday requests. When nearly all is taken, who has not moved for
 * STALLED_MS is ended: what it held is free again.
 *
 * Places: connections on which nothing is asked stand in a list, the one that has been so for longest first. When all places
 * are taken it makes room for a new one. */

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "http/internal.h"

enum {
    BODY_SMALL_SIZE = 64 * 1024, /* a body up to here may use all of bodies_size_max, a larger one three quarters */
    ANSWER_SMALL_SIZE = 4096,    /* an answer up to here is not counted: it fits into the socket */
    ANSWER_LARGE_SIZE = 16384,   /* one above, of a route that says HTTP_LARGE, is refused when there is no room */
    STALLED_MS = 2000,
};

/* ---- memory ---- */

static bool take(atomic_uint_fast64_t *total, uint64_t max, size_t *held, size_t size)
{
    uint64_t before = *total;

    if (size <= *held) {
        *total -= *held - size;
        *held = size;
        return true;
    }
    do {
        if (before >= max || size - *held > max - before)
            return false;
    } while (!atomic_compare_exchange_weak(total, &before, before + (size - *held)));
    *held = size;
    return true;
}

bool http_memory_take(struct http *http, size_t *held, size_t size, enum http_share share)
{
    uint64_t max = http->options.limits.answers_size_max;

    return take(&http->counters.answers_size, share == HTTP_SHARE_HALF ? max / 2 : max, held, size);
}

void http_memory_set(struct http *http, size_t *held, size_t size)
{
    http->counters.answers_size += size - *held; /* unsigned: also less */
    *held = size;
}

bool http_memory_is_tight(const struct http *http)
{
    return http->counters.answers_size >= http->options.limits.answers_size_max / 2;
}

void http_memory_refuse(struct http_request *request)
{
    static const struct http_problem problem = {
        .status = 503,
        .code = "too-many-answers",
        .detail = "Answers that their clients have not taken fill the memory there is for them.",
        .retry_after_s = 1};

    request->http->counters.answers_refused++;
    request->fields = NULL;
    request->fields_tail = &request->fields;
    http_header(request, "Cache-Control", "no-store");
    http_answer_problem(request, &problem);
}

bool http_memory_is_full(const struct http *http)
{
    return http->counters.answers_size >= http->options.limits.answers_size_max;
}

bool http_memory_refused(struct http_request *request)
{
    if (!http_memory_is_full(request->http))
        return false;
    http_memory_refuse(request);
    return true;
}

bool pressure_answer_fits(struct http_request *request, size_t size)
{
    bool large = request->match.route && request->match.route->flags & HTTP_LARGE;

    if (size <= ANSWER_SMALL_SIZE)
        return true;
    if (large && size > ANSWER_LARGE_SIZE)
        return http_memory_take(request->http, &request->answer_held, size, HTTP_SHARE_ALL);
    http_memory_set(request->http, &request->answer_held, size);
    return true;
}

bool pressure_body_fits(struct http_request *request, uint64_t size)
{
    uint64_t max = request->http->options.limits.bodies_size_max;

    if (size > BODY_SMALL_SIZE)
        max -= max / 4;
    return take(&request->http->counters.bodies_size, max, &request->body_held, size);
}

bool pressure_body_may_fit(const struct http_request *request, uint64_t size)
{
    uint64_t max = request->http->options.limits.bodies_size_max, taken = request->http->counters.bodies_size;

    if (size > BODY_SMALL_SIZE)
        max -= max / 4;
    return taken < max && size <= max - taken;
}

void pressure_body_refuse(struct http_request *request)
{
    static const struct http_problem problem = {
        .status = 503,
        .code = "too-many-bodies",
        .detail = "Bodies of other requests, not yet whole, fill the memory there is for them.",
        .retry_after_s = 1};

    request->http->counters.bodies_refused++;
    http_answer_problem(request, &problem);
}

void pressure_release(struct http_request *request)
{
    if (request->answer_held > 0)
        http_memory_set(request->http, &request->answer_held, 0);
    if (request->body_held > 0)
        (void)take(&request->http->counters.bodies_size, 0, &request->body_held, 0);
}

/* ---- who holds it and does not move ---- */

uint64_t connection_taken_mark(const struct http_connection *connection)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof(info);
    int left = 0;

    if (getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
        return info.tcpi_bytes_acked;
    (void)ioctl(connection->fd, SIOCOUTQ, &left);
    return (uint64_t)left ^ connection->request->sent << 32;
}

static bool answer_stalls(struct http_connection *connection, uint64_t now_ms)
{
    uint64_t mark = connection_taken_mark(connection);

    if (!connection->pressed || mark != connection->pressed_mark)
        connection->moved_ms = now_ms;
    connection->pressed = true;
    connection->pressed_mark = mark;
    return now_ms - connection->moved_ms >= STALLED_MS;
}

static bool nearly_full(uint64_t taken, uint64_t max, uint64_t part)
{
    return taken >= max - max / part;
}

void pressure_sweep(struct http *http, uint64_t now_ms)
{
    const struct http_limits *limits = &http->options.limits;
    bool answers = nearly_full(http->counters.answers_size, limits->answers_size_max, 8);
    bool bodies = nearly_full(http->counters.bodies_size, limits->bodies_size_max, 3);

    if (!answers && !bodies)
        return;
    for (struct http_connection *connection = http->connections; connection; connection = connection->next) {
        if (connection->gone || !connection->request)
            continue;
        if (answers && connection->phase == PHASE_SENDING && answer_stalls(connection, now_ms)) {
            http->counters.connections_pressed++;
            connection_shut(connection);
        } else if (bodies && connection->phase == PHASE_BODY && connection->request->body_held > 0 &&
                   now_ms - connection->moved_ms >= STALLED_MS) {
            http->counters.connections_pressed++;
            connection_cut(connection, 503, "too-many-bodies",
                           "The body of the request did not go on while memory for bodies was short.");
        }
    }
}

/* ---- places ---- */

static void unused_remove(struct http_connection *connection)
{
    struct http *http = connection->http;

    if (!connection->unused)
        return;
    connection->unused = false;
    if (connection->unused_previous)
        connection->unused_previous->unused_next = connection->unused_next;
    else
        http->unused_first = connection->unused_next;
    if (connection->unused_next)
        connection->unused_next->unused_previous = connection->unused_previous;
    else
        http->unused_last = connection->unused_previous;
}

void pressure_place(struct http_connection *connection, bool unused)
{
    struct http *http = connection->http;

    if (!unused || connection->unused) {
        if (!unused)
            unused_remove(connection);
        return;
    }
    connection->unused = true;
    connection->unused_next = NULL;
    connection->unused_previous = http->unused_last;
    if (http->unused_last)
        http->unused_last->unused_next = connection;
    else
        http->unused_first = connection;
    http->unused_last = connection;
}

bool pressure_make_place(struct http *http)
{
    struct http_connection *oldest = http->unused_first;

    if (http->connection_count - http->leaving_count < http->options.limits.connection_count_max)
        return true;
    if (!oldest)
        return false;
    http->counters.connections_evicted++;
    if (oldest->phase == PHASE_HEADER) /* its request may be on its way: it finds the answer there */
        connection_cut(oldest, 503, "too-many-connections", "The server has as many connections as it takes.");
    connection_shut(oldest);
    return true;
}
