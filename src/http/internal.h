#pragma once

/* What the files of http share and nobody else includes. Everything here belongs to the loop unless it says otherwise. */

#include <assert.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "http/http.h"
#include "http/pool.h"
#include "http/router.h"

/* What a connection is doing, and so which limit its deadline comes from. */
enum connection_phase {
    PHASE_IDLE,    /* nothing asked: idle_ms_max */
    PHASE_HEADER,  /* connected, or the request line is there: header_ms_max */
    PHASE_BODY,    /* body_ms_max */
    PHASE_HANDLED, /* somebody works on the answer: no deadline of ours */
    PHASE_SENDING, /* write_ms_max without progress */
    PHASE_WAITING, /* the source has nothing to send: no deadline, but the client's leaving is watched */
};

struct http_connection {
    struct http *http;
    struct MHD_Connection *mhd;
    int fd;
    enum connection_phase phase;
    uint64_t deadline_ms;
    uint64_t taken_mark; /* when progress was last seen */
    bool watched;         /* in our epoll set, for its leaving */
    bool left;            /* the client has closed its side, or all of it */
    bool gone;            /* shut down: nothing more is sent */
    bool surplus;         /* above connection_count_max: only good for a 503 */
    bool unused;          /* nothing is asked on it: in the list of those that make room for others */
    bool pressed;         /* pressed_mark is set */
    uint64_t pressed_mark, moved_ms; /* when its client last took or sent something, as far as pressure.c looked */
    struct http_connection *unused_next, *unused_previous;
    struct http_request *request;
    struct http_connection *next, *previous;
    char peer[48];
    uint16_t peer_port;
};

enum {
    REQUEST_OWN_SIZE = 1024,        /* of memory in the request itself: enough for an everyday one */
    REQUEST_BUFFER_SIZE_MAX = 8192, /* a buffer that has grown larger is not kept for the next request */
    REQUEST_SPARE_COUNT_MAX = 256,  /* requests kept for the next ones: a bounded few megabytes */
    POLLED_COUNT_MAX = 64,          /* requests whose answer is looked for, instead of suspending their connection */
    POLLED_MS_MAX = 5,              /* and for how long */
};

/* A block that small pieces of memory are cut from; all of a request's go together. */
struct request_memory {
    struct request_memory *next;
    size_t size, used;
    _Alignas(16) uint8_t data[];
};

struct request_end {
    void (*release)(void *user);
    void *user;
    struct request_end *next;
};

struct response_field {
    const char *name;
    char *value;
    struct response_field *next;
};

/* The first members are made anew for each request; what stands behind `kept` goes from one request to the next, so that
 * an everyday one takes no memory from malloc(), whose fast path a burst of requests overruns. */
struct http_request {
    struct http *http;
    struct http_connection *connection;
    const char *method;
    char *target;           /* as sent; path and query are parts of it */
    struct bytes authority; /* data NULL: none stood in the target */
    struct bytes path, query;
    struct http_match match;
    struct http_parameter *parameters;
    size_t parameter_count;
    struct buffer body;
    size_t body_size_max;
    size_t body_held, answer_held; /* what pressure.c has counted */
    uint64_t received; /* bytes of body, kept or not */
    uint64_t started_us;
    struct request_memory *memory;
    struct request_end *ends;
    struct http_task task; /* on its way to a worker, or with its answer back to the loop */
    bool suspended;
    bool soon;     /* its handler said so: http_answer_soon() */
    bool polled;   /* not suspended though worked on elsewhere: libmicrohttpd asks for the answer each time round */
    uint64_t polled_until_ms;
    bool orphaned; /* was polled, and its connection has ended: freed when its answer comes */
    uint64_t authorized_until_ms; /* when authorize is to be asked again; 0: it was not asked */
    bool withdrawn;               /* it was, and refused */
    bool unframed;   /* refused, and where its body ends is not certain: nothing more is read */
    bool discarding; /* the answer stands already; the rest of the body is thrown away */

    /* the answer */
    bool given;    /* T1: whoever works on the request has answered it */
    bool answered; /* and the loop knows */
    bool queued;
    bool is_stream, is_file;
    unsigned status;
    const char *type;
    struct response_field *fields, **fields_tail;
    struct buffer answer;
    const char *answer_text; /* constant */
    int file_fd;             /* -1: none */
    uint64_t file_size;
    struct http_source source;
    void *source_user;
    uint64_t sent; /* bytes of a stream */
    size_t own_used;

    struct http_request *kept; /* among the spare ones: the next */
    struct buffer body_kept, answer_kept;
    _Alignas(16) uint8_t own[REQUEST_OWN_SIZE];
};

struct http {
    struct http_options options;
    struct MHD_Daemon *daemon;
    int epoll_fd, wake_fd, listen_fd;
    pthread_t loop;
    atomic_bool running, draining;
    bool drain_begun, accept_paused;
    uint64_t drain_deadline_ms, sweep_ms;
    uint64_t authorize_ms; /* when who is being streamed to is looked at again */
    bool authorize_again;  /* and all of them, whatever they were given */
    struct http_connection *connections;
    size_t connection_count, leaving_count; /* of those: shut already */
    struct http_connection *unused_first, *unused_last;
    bool next_is_surplus;
    struct http_request *spare;
    size_t spare_count;
    size_t polled_count, orphan_count;
    size_t file_count; /* answers being sent from files */
    uint64_t now_ms; /* when this turn of the loop began */
    bool stirred;    /* libmicrohttpd did something in its last run: it may have more to do at once */
    struct http_timer accept_timer;
    struct http_timer **timers; /* heap by due_ms, from slot 1 */
    size_t timer_count, timer_capacity;
    struct pool pool;
    pthread_mutex_t lock; /* the tasks */
    struct http_task *tasks, **tasks_tail;
    struct {
        atomic_uint_fast64_t connections, connections_open, connections_refused, connections_timed_out,
            connections_evicted, connections_pressed, requests, requests_open, answers[6], bytes_received,
            bodies_size, bodies_refused, answers_size, answers_refused;
    } counters;
};

uint64_t http_now_ms(void); /* monotonic */
uint64_t http_now_us(void);
bool http_on_loop(const struct http *http);

/* connection.c: libmicrohttpd's callbacks */
int connection_daemon_start(struct http *http);
void connection_phase_set(struct http_connection *connection, enum connection_phase phase);
void connection_sweep(struct http *http, uint64_t now_ms);
void connection_drain(struct http *http, bool all);
/* Answer over the bare socket, where libmicrohttpd lets nobody answer, and end the connection. */
void connection_cut(struct http_connection *connection, unsigned status, const char *code,
                    const char *detail);

/* A number that changes when the client takes something: by TCP what it has acknowledged, else what is left to take. */
uint64_t connection_taken_mark(const struct http_connection *connection);
/* End it without a word: libmicrohttpd finds the socket ended and cleans up. */
void connection_shut(struct http_connection *connection);

/* A watched client has closed its side. */
void connection_left(struct http *http, int fd);

/* request.c */
struct http_request *request_new(struct http_connection *connection, const char *target);
void request_free(struct http_request *request);
void request_spares_free(struct http *http);
/* The header is there: find the route, check what can be checked. Answers by itself when something is wrong. */
void request_begin(struct http_request *request, const char *method, const char *version);
void request_body(struct http_request *request, const void *data, size_t size);
/* The body is there: hand the request to its route, a file, or nobody. */
void request_dispatch(struct http_request *request);
void request_log(struct http_request *request);

enum { AUTHORIZE_MS = 200 }; /* between two looks at who is being streamed to */

/* answer.c */
/* Asks authorize again for an answer that is being sent. False: refused, and its connection is to be ended; a stream is told,
 * and ends itself. */
bool answer_authorize(struct http_request *request);
struct MHD_Response *answer_response(struct http_request *request);

/* origin.c */

/* Whether a request was made by a page of another origin: what `Sec-Fetch-Site`, `Origin` and `Host` say, each NULL when
 * it is missing. False for a safe method. */
bool origin_is_foreign(const char *method, const char *site, const char *origin, const char *host);

/* pressure.c */
/* Counts an answer of this size for the request; false: there is no room for it, and it is to be refused. Any thread. */
bool pressure_answer_fits(struct http_request *request, size_t size);
/* Counts the request's body, now of this size; false: there is no room. */
bool pressure_body_fits(struct http_request *request, uint64_t size);
/* Whether a body of this size would find room now. */
bool pressure_body_may_fit(const struct http_request *request, uint64_t size);
void pressure_body_refuse(struct http_request *request);
/* Nothing is counted for the request any more. */
void pressure_release(struct http_request *request);
/* Ends who holds memory and does not move, where it is nearly all taken. */
void pressure_sweep(struct http *http, uint64_t now_ms);
/* Whether nothing is asked on the connection, and it may have to make room for another. */
void pressure_place(struct http_connection *connection, bool unused);
/* Sees that there is a place for one more connection; false: there is none. */
bool pressure_make_place(struct http *http);

/* framing.c */
/* Whether the header in memory is all that was sent, in the form of RFC 9112: 400 when not. */
bool framing_is_exact(struct MHD_Connection *mhd, const char *method, const char *target, const char *version);

/* mhd_errors.c */
/* MHD_queue_response() for our own answers; what libmicrohttpd queues by itself becomes a problem. */
enum MHD_Result mhd_queue(struct MHD_Connection *mhd, unsigned status, struct MHD_Response *response);

/* files.c */
void files_answer(struct http_request *request);

/* timer.c */
int timers_timeout_ms(const struct http *http, uint64_t now_ms); /* -1: none */
void timers_run(struct http *http, uint64_t now_ms);
