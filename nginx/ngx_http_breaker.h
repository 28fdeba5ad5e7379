/* ngx_http_breaker_module: circuit breakers at the gateway.
 *
 * Thin glue: all counting and deciding is libbreaker's (breaker.h). This module knows where in nginx a call
 * begins and ends, and what to answer when it may not begin.
 *
 *   ngx_http_breaker_module.c     the tables nginx reads, and configurations merged and checked
 *   ngx_http_breaker_directives.c one function for each directive; _define.c has `breaker` itself
 *   ngx_http_breaker_zone.c       shared zone, processes
 *   ngx_http_breaker_gate.c       before the call: around peer.get
 *   ngx_http_breaker_ask.c        … the context of a call, and asking the route's breaker
 *   ngx_http_breaker_peers.c      … a breaker for each server of an upstream block
 *   ngx_http_breaker_verdict.c    after the call: what upstream's state says about it
 *   ngx_http_breaker_answer.c     instead of the call: nginx's own answer is replaced
 *   ngx_http_breaker_fallback.c   … by the next element of the chain, or the refusal
 *   ngx_http_breaker_problem.c    … as problem+json; _headers.c looks headers up and adds them
 *   ngx_http_breaker_status.c     breaker_status; _control.c has breaker_control, _variables.c $breaker_…
 *
 * The life of a route call: peer.init finds that the location has a breaker and puts a wrapper around the
 * balancer; the first peer.get acquires a permit or refuses; finalize_request, which nginx calls exactly once
 * for each upstream request, reports the verdict. A pool cleanup gives back what no one reported. Numbers in
 * comments (G1…) are the rules that the tests in test/ cite:
 *
 *   G1  Verdicts come from upstream's state, never from max_fails bookkeeping.
 *   G2  The gate is in peer.get, after the cache; a refusal is 503, never 502, and is not logged as an error.
 *   G3  The context lives in a pool cleanup: internal redirects wipe r->ctx.
 *   G4  Probes are idempotent requests first, and are never retried on the same breaker. What was sent to one service goes
 *       to another only if it is idempotent; when nobody else may answer, the service's own answer passes.
 *   G5  Errors on reused connections, and clients that left, are neutral.
 *   G6  A route breaker counts a request once; server breakers count attempts.
 *   G7  Feeds are reported at their header and have a limit of their own.
 *   G8  Nothing on the request path locks; names are resolved at configuration.
 *   G9  State outlives reloads and killed workers.
 *   G10 Fallbacks have their own limit and never loop.
 *   G11 Orders need POST, application/json and a known Host.
 */
#ifndef NGX_HTTP_BREAKER_H
#define NGX_HTTP_BREAKER_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "breaker.h"

#define NGX_HTTP_BREAKER_FALLBACKS_MAX 8   /* elements of one breaker_fallback */
#define NGX_HTTP_BREAKER_STATUS_MIN    100 /* statuses that can be classified */
#define NGX_HTTP_BREAKER_STATUS_MAX    599
#define NGX_HTTP_BREAKER_SLICES_MAX    60   /* of a time window; the zone has room for so many */
#define NGX_HTTP_BREAKER_KEY_SLICES    20   /* at least, of a breaker by key */
#define NGX_HTTP_BREAKER_KEY_PROBES    16   /* … */
#define NGX_HTTP_BREAKER_FULL_MS       60000 /* between two log lines that say that keys find no room */
#define NGX_HTTP_BREAKER_STREAM_MS     1000 /* between two frames of ?format=stream */


/* one `breaker` directive */
typedef struct {
    ngx_str_t name;
    struct breaker_config config;
    ngx_http_complex_value_t *key; /* NULL: one breaker for all requests */
    ngx_uint_t max_streams;        /* open feeds; 0: no limit */
    ngx_uint_t max_fallbacks;      /* fallbacks under way; 0: no limit */
    ngx_uint_t retry_budget;       /* nginx's retries per 100 calls; 0: as many as nginx likes */

    struct breaker handle;    /* this process's, set in init_process */
    struct breaker streams;   /* "NAME.streams": bulkheads of their own */
    struct breaker fallbacks; /* "NAME.fallbacks" */
    struct breaker_retry retry;

    u_char *file; /* where it was written, for messages */
    ngx_uint_t line;
} ngx_http_breaker_t;


/* one `breaker_peers` directive: a breaker for each server, keyed by its address */
typedef struct {
    ngx_str_t name;
    ngx_http_breaker_t *breaker;
    ngx_uint_t max_ejected; /* percent */
    u_char *file;
    ngx_uint_t line;
} ngx_http_breaker_srv_conf_t;


/* an upstream whose peer.init is ours; sorted by address */
typedef struct {
    ngx_http_upstream_srv_conf_t *upstream;
    ngx_http_upstream_init_peer_pt init;
    ngx_http_breaker_srv_conf_t *peers; /* NULL: no breaker_peers */
    ngx_array_t servers;                /* of ngx_str_t: their addresses, with breaker_peers */
} ngx_http_breaker_upstream_t;


typedef struct {
    ngx_shm_zone_t *zone;
    void *memory; /* the region inside the zone */
    size_t memory_size;
    ngx_uint_t fresh;             /* made by this configuration, not kept from the one before */
    ngx_msec_t full;              /* when this process last said that keys find no room */
    ngx_int_t workers;            /* as configured, to size the region */
    struct breaker_region region; /* this process's door to it */
    ngx_array_t breakers;         /* of ngx_http_breaker_t * */
    ngx_array_t upstreams;        /* of ngx_http_breaker_upstream_t */
    ngx_array_t locations;        /* of ngx_http_breaker_loc_conf_t *, checked when all is read */
} ngx_http_breaker_main_conf_t;


enum {
    NGX_HTTP_BREAKER_ON_ERROR = 1,
    NGX_HTTP_BREAKER_ON_TIMEOUT = 2,
    NGX_HTTP_BREAKER_ON_INVALID_HEADER = 4,
    NGX_HTTP_BREAKER_ON_TRUNCATED = 8,
    NGX_HTTP_BREAKER_ON_ABORT = 16,
    NGX_HTTP_BREAKER_ON_GATEWAY = 32, /* nginx itself failed; no directive names it */
};


/* what breaker_failure or breaker_neutral names */
typedef struct {
    ngx_uint_t set; /* unset values are inherited */
    ngx_uint_t events;
    uint64_t statuses[(NGX_HTTP_BREAKER_STATUS_MAX + 64) / 64];
} ngx_http_breaker_class_t;


typedef enum {
    NGX_HTTP_BREAKER_CACHE,
    NGX_HTTP_BREAKER_NAMED,
    NGX_HTTP_BREAKER_STATIC,
} ngx_http_breaker_fallback_kind_e;


typedef struct {
    ngx_http_breaker_fallback_kind_e kind;
    ngx_str_t text; /* as written, for $breaker_fallback */
    ngx_str_t uri;  /* "@service2", "/sorry.json" */
    ngx_uint_t status;
} ngx_http_breaker_fallback_t;


typedef struct {
    ngx_str_t name; /* of breaker_use; "off" switches an inherited one off */
    ngx_http_breaker_t *breaker;
    ngx_uint_t shadow;
    ngx_http_breaker_class_t failure;
    ngx_http_breaker_class_t neutral;
    ngx_http_complex_value_t *class;
    ngx_http_complex_value_t *idempotent; /* of breaker_idempotent: on, off, else the method says it */
    ngx_array_t *fallbacks; /* of ngx_http_breaker_fallback_t */
    u_char *fallback_file;
    ngx_uint_t fallback_line;
    ngx_uint_t own;     /* breaker_use stands in this very location */
    ngx_uint_t passing; /* the location calls a service */
    ngx_uint_t early;   /* no upstream block: gate before the content phase */

    ngx_uint_t control; /* breaker_control stands here */
    ngx_array_t *hosts; /* of ngx_str_t: names under which it takes orders */

    ngx_str_t location;
    ngx_http_core_srv_conf_t *server;
    ngx_http_upstream_conf_t *proxy; /* of proxy_pass, fastcgi_pass …; NULL: none */
    u_char *file;
    ngx_uint_t line;
} ngx_http_breaker_loc_conf_t;


/* one call of one route: from peer.init to the verdict */
typedef struct ngx_http_breaker_ctx_s ngx_http_breaker_ctx_t;
typedef struct ngx_http_breaker_peer_s ngx_http_breaker_peer_t;

struct ngx_http_breaker_ctx_s {
    ngx_http_request_t *request;
    ngx_http_breaker_loc_conf_t *conf;
    ngx_http_breaker_t *breaker; /* the route's, or that of its servers */
    ngx_http_breaker_peer_t *peer;
    ngx_http_breaker_ctx_t *previous; /* the location that fell back to this one */

    struct breaker handle;
    struct breaker_permit permit;
    struct breaker_permit stream;
    struct breaker_permit fallback;

    int answer;             /* of acquire */
    ngx_str_t reason;       /* why it was refused, or how it was judged */
    ngx_str_t taken;        /* the fallback that answered */
    ngx_uint_t next;        /* element of the chain to try next */
    ngx_uint_t attempts;    /* in r->upstream_states that others made before this call */
    ngx_uint_t retry_after; /* seconds */
    void (*finalize)(ngx_http_request_t *r, ngx_int_t rc);

    unsigned asked : 1;   /* acquire was called */
    unsigned granted : 1; /* and let the call pass */
    unsigned refused : 1;
    unsigned shadow : 1; /* passed, and would have been refused */
    unsigned probe : 1;
    unsigned judged : 1;
    unsigned failed : 1;    /* and it was a failure */
    unsigned sent : 1;      /* bytes of the request may have reached a service */
    unsigned reserved : 1;  /* it has its place among the fallbacks under way */
    unsigned hooked : 1;    /* finalize_request is ours */
    unsigned replacing : 1; /* the answer under way is to be replaced */
    unsigned answering : 1; /* the answer under way is ours */
    unsigned error_page : 1;
    unsigned exhausted : 1; /* no element of the chain was left */
    unsigned header_only : 1;
};


/* how an attempt ended */
typedef struct {
    ngx_uint_t event;  /* NGX_HTTP_BREAKER_ON_…, or 0: the service answered in full, with status */
    ngx_uint_t status; /* what the service answered; 0: nothing */
    ngx_uint_t race;   /* the reused connection was closed under it */
    ngx_msec_t took;   /* to the header, or to the end without one */
} ngx_http_breaker_end_t;


/* around the balancer of one upstream request */
struct ngx_http_breaker_peer_s {
    ngx_http_request_t *request;
    ngx_http_upstream_t *upstream;
    ngx_http_breaker_ctx_t *ctx;
    ngx_http_breaker_upstream_t *peers; /* servers; NULL: none */

    struct breaker server;
    struct breaker_permit permit;

    ngx_http_breaker_end_t end; /* of the last attempt */
    ngx_uint_t attempts;        /* begun so far */
    uint64_t tried;             /* of the first 64 servers: the balancer offered it */
    ngx_uint_t final;           /* finalize_request was called */

    void *data;
    ngx_event_get_peer_pt get;
    ngx_event_free_peer_pt free;
    ngx_event_notify_peer_pt notify;
    ngx_event_set_peer_session_pt set_session;
    ngx_event_save_peer_session_pt save_session;
    void (*finalize)(ngx_http_request_t *r, ngx_int_t rc);
};


extern ngx_module_t ngx_http_breaker_module;

/* the monotonic clock of this turn of the event loop (G8) */
static inline uint64_t
ngx_http_breaker_now(void)
{
    return (uint64_t) ngx_current_msec * 1000000;
}

/* directives */
char *ngx_http_breaker_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_breaker_define(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_breaker_use(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_breaker_class(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_breaker_set_class(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_breaker_set_idempotent(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_breaker_fallback(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_breaker_peers(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
ngx_http_breaker_t *ngx_http_breaker_lookup(ngx_http_breaker_main_conf_t *mcf, ngx_str_t *name);

/* zone and processes */
ngx_int_t ngx_http_breaker_init_zone(ngx_shm_zone_t *zone, void *data);
ngx_int_t ngx_http_breaker_init_module(ngx_cycle_t *cycle);
ngx_int_t ngx_http_breaker_init_process(ngx_cycle_t *cycle);
void ngx_http_breaker_exit_process(ngx_cycle_t *cycle);

/* gate: before the call */
ngx_int_t ngx_http_breaker_wrap_upstreams(ngx_conf_t *cf, ngx_http_breaker_main_conf_t *mcf);
ngx_int_t ngx_http_breaker_early_handler(ngx_http_request_t *r);
ngx_http_breaker_ctx_t *ngx_http_breaker_find(ngx_http_request_t *r);

ngx_uint_t ngx_http_breaker_is_idempotent(ngx_http_request_t *r, ngx_http_breaker_loc_conf_t *blcf);
void ngx_http_breaker_key(ngx_http_request_t *r, ngx_http_breaker_t *breaker, ngx_str_t *key, uint64_t now,
                          struct breaker *ret_handle);
unsigned ngx_http_breaker_flags(ngx_http_request_t *r, ngx_http_breaker_loc_conf_t *blcf);
ngx_int_t ngx_http_breaker_ask(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx);
ngx_http_breaker_ctx_t *ngx_http_breaker_begin(ngx_http_request_t *r, ngx_http_breaker_loc_conf_t *blcf,
                                               ngx_http_breaker_t *breaker);

/* server breakers */
ngx_int_t ngx_http_breaker_list_servers(ngx_conf_t *cf, ngx_http_breaker_upstream_t *wrapped);
ngx_int_t ngx_http_breaker_ask_server(ngx_http_breaker_peer_t *p, ngx_peer_connection_t *pc);
void ngx_http_breaker_give_back(ngx_http_breaker_peer_t *p, ngx_peer_connection_t *pc);
void ngx_http_breaker_refuse_all(ngx_http_breaker_peer_t *p);
ngx_uint_t ngx_http_breaker_has_other(ngx_http_breaker_peer_t *p, ngx_str_t *name);

/* verdict: after the call */
void ngx_http_breaker_note_attempt(ngx_http_breaker_peer_t *p, ngx_peer_connection_t *pc);
void ngx_http_breaker_note_end(ngx_http_breaker_peer_t *p, ngx_int_t rc);
void ngx_http_breaker_judge_server(ngx_http_breaker_peer_t *p);
void ngx_http_breaker_judge_route(ngx_http_breaker_peer_t *p);
void ngx_http_breaker_judge_early(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx, ngx_int_t rc);
void ngx_http_breaker_judge_header(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx);
ngx_uint_t ngx_http_breaker_class_is(ngx_http_request_t *r, ngx_http_breaker_loc_conf_t *conf, const char *word);
ngx_uint_t ngx_http_breaker_is_answer(ngx_http_upstream_t *u);
ngx_uint_t ngx_http_breaker_header_fails(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx);
void ngx_http_breaker_note_sent(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx);

/* answer: instead of the call */
ngx_int_t ngx_http_breaker_answer_init(ngx_conf_t *cf);
ngx_uint_t ngx_http_breaker_reserve_fallback(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx);
ngx_int_t ngx_http_breaker_fall_back(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx);
void ngx_http_breaker_replace_answer(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx);

/* headers and problems */
ngx_int_t ngx_http_breaker_send_problem(ngx_http_request_t *r, ngx_uint_t status, const char *title,
                                        ngx_str_t *members);
ngx_int_t ngx_http_breaker_problem(ngx_http_request_t *r, ngx_uint_t status, const char *title,
                                   const char *members);
ngx_table_elt_t *ngx_http_breaker_header(ngx_list_t *headers, const char *name);
ngx_int_t ngx_http_breaker_add_header(ngx_http_request_t *r, const char *name, const char *value);
ngx_int_t ngx_http_breaker_set_retry_after(ngx_http_request_t *r, ngx_uint_t seconds);

/* status, orders and variables */
char *ngx_http_breaker_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_breaker_control(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
ngx_int_t ngx_http_breaker_add_variables(ngx_conf_t *cf);

#endif
