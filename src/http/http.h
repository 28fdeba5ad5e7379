#pragma once

/*
 * http: HTTP/1.1 for a server of JSON, streams and files, over libmicrohttpd. It has never heard of events.
 *
 * Life: http_new() takes options and routes, http_listen() opens the port, http_run() serves on the calling thread
 * until http_drain() was called and the last request under way has been answered, http_free() ends it.
 *
 * A request lives from its first line until its answer is sent. Its route's handler is called once, when the whole
 * body is there (never above the route's limit), and must see to it that exactly one http_answer*() follows: before
 * it returns or later, on any thread. After answering, the request is http's again and must not be touched, except by
 * the answer's own source.
 *
 * Threads: everything that touches connections happens on the one thread that is in http_run(), the loop. Handlers
 * run there too and must not block, unless their route says HTTP_BLOCKING: those run on a small pool of workers. Any
 * thread brings work to the loop with http_post(). What a request was asked (header, query, body) may be read by the
 * thread that presently works on it; answering is allowed on any thread.
 *
 * Answers http gives by itself, as problem+json: 400 for a malformed or ambiguous header (framing.c), target, query or Host, 403 to a
 * page of another origin (origin.c), 404, 405 with Allow, 408, 413, 414, 415, 417, 421 for an unknown Host, 431, 501 for an unknown transfer coding, 503 for too many connections or when draining. What libmicrohttpd
 * refuses before any of our code sees it (a header that cannot be read) becomes a problem too (mhd_errors.c).
 *
 * Invariants:
 * T1 a request is answered exactly once; a second answer is a bug and asserted.
 * T2 a request does not vanish under who works on it: its connection is suspended meanwhile, or, where the answer comes
 *    soon, the request outlives its connection.
 * T3 memory for one connection is bounded: its header, one body, one answer. Streams hold nothing but what their
 *    source holds, and are asked for more only when the client has taken what it got.
 * T4 nobody is sent an answer for longer than authorize() lets them in: one that it refuses now ends within AUTHORIZE_MS, a
 *    stream as its source does it (withdraw), all others cut.
 * T5 memory for all bodies that are not whole is bounded together (bodies_size_max), and so is memory for all answers that are not
 *    sent (answers_size_max): what finds no room is answered 503 with Retry-After, and who does not move while it is
 *    nearly all taken is ended.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/bytes.h"
#include "http/limits.h"
#include "http/problem.h"

struct http;
struct http_request;

/* ---- routes ---- */

enum {
    HTTP_BLOCKING = 1u,       /* the handler may wait for disk or locks: run it on a worker */
    HTTP_JSON = 2u,           /* Content-Type must be application/json (or the route's other type), also without a
                               * body, else 415: no page of another origin can send that unasked (origin.c, O3) */
    HTTP_ANY_HOST = 4u,       /* answered whatever Host says: for probes */
    HTTP_PUBLIC = 8u,         /* answered without asking options.authorize */
    HTTP_LARGE = 16u,         /* its answer may be large: refused when memory for answers is short (T5) */
};

enum { HTTP_PARAM_COUNT_MAX = 4 };

struct http_route {
    const char *method; /* GET answers HEAD too; OPTIONS is answered by http */
    const char *path;   /* "/v1/streams/{stream}": a {name} takes one whole segment, percent-decoded */
    void (*handle)(struct http_request *request);
    unsigned flags;
    size_t body_size_max;  /* 0: limits.body_size_max */
    const char *type_also; /* with HTTP_JSON: another media type a body may have; or NULL */
    const void *data;      /* the owner's own, http_request_route() leads to it */
};

/* ---- the server ---- */

struct http_options {
    const struct http_route *routes; /* the caller's, for the server's life; the first that fits is taken */
    size_t route_count;
    struct http_limits limits;
    const char *const
        *hosts; /* names a Host field may have besides localhost and addresses; copied by nobody */
    size_t host_count;
    const char *problem_prefix; /* of the problem's type: "urn:NAME:problem:" */
    const char *folder;         /* files served where no route fits; NULL: none */
    int log_fd;                 /* one JSON line a request is written here; -1: none */
    void *user;
    /* Called on the loop for every request that is not HTTP_PUBLIC, when its header is there. NULL or 0: go on; else
     * the status (401, 403) the request is refused with. */
    unsigned (*authorize)(void *user, struct http_request *request);
    /* It is called again for an answer that is still being sent, after http_request_authorized_for() and
     * http_authorize_again(). Refused then, the stream ends (T4). */
    /* Called on the loop right before an answer is sent, http's own included, to add fields. May be NULL. */
    void (*decorate)(void *user, struct http_request *request);
    /* Called on the loop when draining begins: answer what only waits. May be NULL. */
    void (*drained)(void *user);
};

/* Figures since the start; read on any thread, each by itself consistent. */
struct http_counters {
    uint64_t connections, connections_open, connections_refused, connections_timed_out;
    uint64_t requests, requests_open, answers[6]; /* by hundreds of the status: answers[2] are 2xx */
    uint64_t bytes_received;                      /* of bodies */
    uint64_t connections_evicted;                 /* unused, closed to make room for another */
    uint64_t connections_pressed;                 /* ended because they did not move while memory was short */
    uint64_t bodies_size, bodies_refused, answers_size, answers_refused; /* T5 */
    uint64_t worker_queue;
};

/* Allocates everything the options ask for and starts the workers. 0, -ENOMEM, -errno. The options are copied, what
 * they point at stays the caller's and must live as long as the server. */
int http_new(const struct http_options *options, struct http **ret_http);

/* Listens on a numeric address ("127.0.0.1", "::1") and port; 0 picks a free one. `ret_port` is the one in use.
 * -EINVAL: not an address; -EADDRINUSE and the like from the kernel. */
int http_listen(struct http *http, const char *address, uint16_t port, uint16_t *ret_port);
/* Serves on a socket that listens already: non-blocking, of any family; it is the server's from then on, also on failure. */
int http_listen_socket(struct http *http, int fd);

/* Serves until drained. 0, or the loop's failure. */
int http_run(struct http *http);

/* Stop accepting, let requests under way end (limits.drain_ms_max), end streams, then let http_run() return. May be
 * called from a signal handler and from any thread; more than once is fine. */
void http_drain(struct http *http);
bool http_draining(const struct http *http);

/* Ends the workers and frees everything; http_run() has returned or never ran. NULL is fine. */
void http_free(struct http *http);

void http_counters(const struct http *http, struct http_counters *ret_counters);
const struct http_limits *http_limits(const struct http *http);

/* Ask options.authorize again, soon, for everybody whose answer is being sent. Loop only. */
void http_authorize_again(struct http *http);

/* ---- work for the loop and for the workers ---- */

struct http_task {
    void (*run)(struct http_task *task);
    struct http_task *next; /* http's */
};

/* Run the task on the loop, soon and in the order posted. Any thread. The memory is the caller's until it runs. */
void http_post(struct http *http, struct http_task *task);

/* Run the task on a worker. HTTP_E_BUSY: the queue is full or the server is ending; the task will not run. */
enum { HTTP_E_BUSY = 1 };
int http_work(struct http *http, struct http_task *task);

/* Run the task on the loop after `delay_ms`. Loop only. http_timer_cancel() may be called also when it has run. */
struct http_timer {
    struct http_task task;
    uint64_t due_ms;
    size_t slot; /* place in http's heap, from 1; 0: not set */
};
int http_timer_set(struct http *http, struct http_timer *timer, uint32_t delay_ms);
void http_timer_cancel(struct http *http, struct http_timer *timer);

/* ---- what was asked ---- */

struct http *http_request_server(const struct http_request *request);
void *http_request_user(const struct http_request *request); /* options.user */
const struct http_route *http_request_route(const struct http_request *request);
const char *http_request_method(const struct http_request *request);
/* The path as sent, and the query string behind its "?", as sent. */
struct bytes http_request_path(const struct http_request *request);
struct bytes http_request_query(const struct http_request *request);
/* The decoded value of the route's i-th {parameter}. */
struct bytes http_request_param(const struct http_request *request, size_t index);
struct bytes http_request_body(const struct http_request *request);
/* A header field's value, or NULL; `name` in any case. Of a repeated field the first. */
const char *http_request_header(const struct http_request *request, const char *name);
/* Query parameters, decoded, in the order sent. */
struct http_parameter {
    struct bytes name, value;
    struct bytes raw; /* the value as it came, for lists: what separates is not what was encoded */
};
size_t http_request_parameters(const struct http_request *request,
                               const struct http_parameter **ret_parameters);
/* The first parameter of a name; false: none. */
bool http_request_parameter(const struct http_request *request, const char *name, struct bytes *ret_value);
bool http_request_is_head(const struct http_request *request);
/* Who is at the other end of the connection, a proxy perhaps: "127.0.0.1:4711", "[::1]:4711", "unix". Loop only. */
enum { HTTP_PEER_SIZE = 64 };
#define HTTP_PEER_LOCAL "unix" /* of a socket in the file system: nobody's name */
void http_request_peer(const struct http_request *request, char ret_peer[HTTP_PEER_SIZE]);
/* Accept names this media type at least as much as any other of `types` (first wins a tie): its index. Nothing
 * acceptable: -1. No Accept: 0. */
int http_request_accepts(const struct http_request *request, const char *const *types, size_t count);
/* Whether its answer is being sent already: authorize is asked again then. */
bool http_request_is_answered(const struct http_request *request);
/* For options.authorize: ask again after so long, if the answer is still being sent then. UINT64_MAX, and without it: never. */
void http_request_authorized_for(struct http_request *request, uint64_t ms);
/* Since its first line was there; and the status it is answered with, 0 before. Loop only. */
uint64_t http_request_age_us(const struct http_request *request);
unsigned http_request_status(const struct http_request *request);
/* Memory that lives as long as the request; NULL when there is none. Zeroed. */
void *http_request_alloc(struct http_request *request, size_t size);
/* Let `release(user)` be called when the request's life ends. */
int http_request_on_end(struct http_request *request, void (*release)(void *user), void *user);

/* ---- answering ---- */

/* Add a field to the answer to come; the value is copied. Quietly dropped when there is no memory. */
void http_header(struct http_request *request, const char *name, const char *value);
_printf_(3, 4) void http_header_printf(struct http_request *request, const char *name, const char *format,
                                       ...);

/* Whether the answer to come has this field already. */
bool http_header_is_set(const struct http_request *request, const char *name);

/* Answer with a body, whose memory is taken (the buffer is empty afterwards); `type` may be NULL for none. */
void http_answer(struct http_request *request, unsigned status, const char *type, struct buffer *body);
/* The same with constant text; `text` NULL: no body. */
void http_answer_text(struct http_request *request, unsigned status, const char *type, const char *text);
/* An empty buffer to write the answer's body into, of the request's own memory where it has some: for http_answer(), or
 * the caller's to deinit. Whoever works on the request. */
struct buffer http_answer_buffer(struct http_request *request);
/* Called by a handler on the loop that hands the request on: the answer comes within milliseconds as a rule, and whoever
 * works on it looks at nothing that came in the header (T2: the connection may end meanwhile). It is then looked for each
 * time round, for a while, instead of suspending the connection, which costs three system calls a request. */
void http_answer_soon(struct http_request *request);
/* Answer with `size` bytes of a file from its start; the descriptor is taken. */
void http_answer_file(struct http_request *request, unsigned status, const char *type, int fd, uint64_t size);
/* A problem (RFC 9457), with Retry-After if it has one. */
void http_answer_problem(struct http_request *request, const struct http_problem *problem);
/* Shorthand for a problem without members. */
_printf_(4, 5) void http_answer_error(struct http_request *request, unsigned status, const char *code,
                                      const char *format, ...);
/* Set ETag and compare If-None-Match (RFC 9110 §13.1.2): true when 304 has been answered. `etag` without quotes. */
bool http_answer_not_modified(struct http_request *request, const char *etag);

/* An answer whose body comes piece by piece, on the loop. */
enum { HTTP_SOURCE_WAIT = 0, HTTP_SOURCE_END = -1, HTTP_SOURCE_FAILED = -2 };
struct http_source {
    /* Write up to `size` bytes and say how many; HTTP_SOURCE_WAIT: none now, http_wake() will tell; _END; _FAILED: the
     * connection is cut, so that the client sees that something is missing. */
    ssize_t (*read)(void *user, uint8_t *buffer, size_t size);
    /* Always called once, last, when the answer is over or the client gone; also when the answer never began. */
    void (*free)(void *user);
    /* Who it is for is not let in any more (401, 403): say so where it can be said, and end. NULL: the connection is cut. Called
     * once at most, on the loop; reading goes on until _END. */
    void (*withdraw)(void *user, unsigned status);
    bool endless; /* a subscription: ended, as by HTTP_SOURCE_END, when the server drains; also watched */
    bool watched; /* it may wait for long: a client that leaves meanwhile is noticed at once */
};
void http_answer_stream(struct http_request *request, unsigned status, const char *type,
                        const struct http_source *source, void *user);
/* The waiting source has more, or wants to end. Loop only; harmless when it does not wait. */
void http_wake(struct http_request *request);

/* ---- memory that answers hold (T5) ---- */

/* http_answer() counts its buffer by itself. Who keeps other memory for an answer that is being sent counts it here: `*held`
 * is what is counted for him now, 0 at first, and 0 again before he ends. Any thread, one at a time for a `held`. */
enum http_share { HTTP_SHARE_ALL, HTTP_SHARE_HALF /* what can be made smaller, or in pieces, leaves the other half alone */ };
/* Hold `size` bytes from now on; false: there is no room for more, and nothing changes. Less always succeeds. */
_must_check_ bool http_memory_take(struct http *http, size_t *held, size_t size, enum http_share share);
/* The same for what is held already, room or not. */
void http_memory_set(struct http *http, size_t *held, size_t size);
/* More than half is taken: keep pieces small. */
bool http_memory_is_tight(const struct http *http);
/* All is taken. */
bool http_memory_is_full(const struct http *http);
/* All is taken: true when the request has been answered 503. For who begins a large answer after having waited. */
bool http_memory_refused(struct http_request *request);
/* Answer it so: there was no room. What was said in header fields so far is forgotten. */
void http_memory_refuse(struct http_request *request);

/* ---- pieces that stand alone ---- */

/* A media type with parameters or case ("Application/JSON; charset=utf-8") is this one. */
bool http_media_type_is(const char *field, const char *type);
/* An If-Match or If-None-Match field names this tag; "*" does not count here. Weak tags compare equal if `weak`. */
bool http_etag_listed(const char *field, const char *etag, bool weak);
