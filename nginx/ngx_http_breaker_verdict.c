/* After the call: how it ended, read from upstream's own state (G1).
 *
 * nginx's max_fails bookkeeping is no basis: it frees the last try's 5xx, a 500 that proxy_next_upstream does
 * not name and a cut body as successes, and a single server never fails. What is reliable:
 *
 *   header_time    set when the service's header was read whole: from then on there is a status. What is not HTTP at
 *                  all nginx takes for HTTP/0.9, a header without a status; and 1xx for an answer, whatever follows
 *   timedout, eof, error    of the connection, while it is still there (peer.free and finalize_request)
 *   rc of finalize_request  after the header: 502 or 504 mean the body was cut or came too slowly
 *
 * An end is noted first and judged then, since the last attempt may be freed before finalize_request is
 * called. */
#include "ngx_http_breaker.h"


static struct {
    ngx_uint_t event;
    ngx_str_t name;
} ngx_http_breaker_event_names[] = {
    { NGX_HTTP_BREAKER_ON_ERROR, ngx_string("error") },
    { NGX_HTTP_BREAKER_ON_TIMEOUT, ngx_string("timeout") },
    { NGX_HTTP_BREAKER_ON_INVALID_HEADER, ngx_string("invalid_header") },
    { NGX_HTTP_BREAKER_ON_TRUNCATED, ngx_string("truncated") },
    { NGX_HTTP_BREAKER_ON_ABORT, ngx_string("client_abort") },
    { NGX_HTTP_BREAKER_ON_GATEWAY, ngx_string("gateway") },
    { 0, ngx_null_string },
};


/* ---- Noting ---- */

static ngx_msec_t
ngx_http_breaker_took(ngx_http_upstream_t *u)
{
    if (u->state && u->state->header_time != (ngx_msec_t) -1) {
        return u->state->header_time;
    }

    return ngx_current_msec - u->start_time;
}


static ngx_uint_t
ngx_http_breaker_has_header(ngx_http_upstream_t *u)
{
    return u->state && u->state->header_time != (ngx_msec_t) -1;
}


/* Is the header that was read that of an answer? Of a final one, or of an upgrade that the client has asked for. */
ngx_uint_t
ngx_http_breaker_is_answer(ngx_http_upstream_t *u)
{
    return u->headers_in.status_n >= NGX_HTTP_OK || u->upgrade;
}


/* What the header says, once it is there. */
static void
ngx_http_breaker_note_header(ngx_http_upstream_t *u, ngx_http_breaker_end_t *end)
{
    if (ngx_http_breaker_is_answer(u)) {
        end->status = u->headers_in.status_n;

    } else {
        end->event = NGX_HTTP_BREAKER_ON_INVALID_HEADER;
    }
}


/* Has the request left, if only in part? nginx says it of the attempt under way, and of those before it what they sent. */
void
ngx_http_breaker_note_sent(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx)
{
    ngx_uint_t i;
    ngx_http_upstream_state_t *states;

    if (r->upstream->request_sent) {
        ctx->sent = 1;
    }

    states = r->upstream_states ? r->upstream_states->elts : NULL;

    for (i = ctx->attempts; states && i < r->upstream_states->nelts; i++) {
        if (states[i].bytes_sent) {
            ctx->sent = 1;
        }
    }
}


/* An attempt that nginx gives up itself, to try another server or to end with an error. */
void
ngx_http_breaker_note_attempt(ngx_http_breaker_peer_t *p, ngx_peer_connection_t *pc)
{
    ngx_connection_t *c;
    ngx_http_upstream_t *u;

    u = p->upstream;
    c = pc->connection;

    ngx_memzero(&p->end, sizeof(ngx_http_breaker_end_t));
    p->end.took = ngx_http_breaker_took(u);
    ngx_http_breaker_note_sent(p->request, p->ctx);

    if (ngx_http_breaker_has_header(u)) {
        ngx_http_breaker_note_header(u, &p->end);
        return;
    }

    if (c && (c->read->timedout || c->write->timedout)) {
        p->end.event = NGX_HTTP_BREAKER_ON_TIMEOUT;
        return;
    }

    if (u->state && u->state->bytes_received && c && !c->read->eof && !c->read->error) {
        p->end.event = NGX_HTTP_BREAKER_ON_INVALID_HEADER;
        return;
    }

    p->end.event = NGX_HTTP_BREAKER_ON_ERROR;
    p->end.race = pc->cached && u->state && u->state->bytes_received == 0; /* G5 */
}


static ngx_uint_t
ngx_http_breaker_is_aborted(ngx_http_breaker_peer_t *p, ngx_int_t rc)
{
    ngx_http_upstream_t *u = p->upstream;

    /* nginx sets downstream_error also where it fetches for its cache what the client has not asked to see */
    return rc == NGX_HTTP_CLIENT_CLOSED_REQUEST || rc == NGX_HTTP_REQUEST_TIME_OUT || rc == NGX_DONE ||
           p->request->connection->error ||
           (u->pipe && u->pipe->downstream_error && !p->request->header_only);
}


/* The end of an upstream request whose last attempt is still held. */
void
ngx_http_breaker_note_end(ngx_http_breaker_peer_t *p, ngx_int_t rc)
{
    ngx_uint_t aborted;
    ngx_http_upstream_t *u;

    u = p->upstream;
    aborted = ngx_http_breaker_is_aborted(p, rc);

    ngx_memzero(&p->end, sizeof(ngx_http_breaker_end_t));
    p->end.took = ngx_http_breaker_took(u);
    ngx_http_breaker_note_sent(p->request, p->ctx);

    if (!ngx_http_breaker_has_header(u)) {
        /* Nothing is known about the service: the client left or its body made no sense (4xx), or nginx failed. */
        p->end.event = aborted || (rc >= NGX_HTTP_BAD_REQUEST && rc < NGX_HTTP_INTERNAL_SERVER_ERROR)
                           ? NGX_HTTP_BREAKER_ON_ABORT
                           : NGX_HTTP_BREAKER_ON_GATEWAY;
        return;
    }

    ngx_http_breaker_note_header(u, &p->end);

    if (!u->header_sent || p->end.event) {
        return; /* intercepted, replaced, or answered from the cache after all */
    }

    if (rc == NGX_HTTP_BAD_GATEWAY || rc == NGX_HTTP_GATEWAY_TIME_OUT || (rc == NGX_ERROR && !aborted)) {
        p->end.event = NGX_HTTP_BREAKER_ON_TRUNCATED;

    } else if (aborted) {
        p->end.event = NGX_HTTP_BREAKER_ON_ABORT;
    }
}


/* ---- Judging ---- */

static ngx_uint_t
ngx_http_breaker_class_has(ngx_http_breaker_class_t *class, ngx_uint_t status)
{
    return status <= NGX_HTTP_BREAKER_STATUS_MAX && (class->statuses[status / 64] >> status % 64 & 1);
}


static ngx_uint_t
ngx_http_breaker_status_fails(ngx_http_breaker_loc_conf_t *conf, ngx_uint_t status)
{
    return ngx_http_breaker_class_has(&conf->failure, status) &&
           !ngx_http_breaker_class_has(&conf->neutral, status);
}


static enum breaker_outcome
ngx_http_breaker_outcome(ngx_http_breaker_loc_conf_t *conf, ngx_http_breaker_end_t *end)
{
    if (end->race) {
        return BREAKER_NEUTRAL;
    }

    /* a bad status counts even if the client left while the rest of it came */
    if (end->status && (end->event == 0 || end->event == NGX_HTTP_BREAKER_ON_ABORT)) {
        if (ngx_http_breaker_status_fails(conf, end->status)) {
            return BREAKER_FAILURE;
        }

        if (ngx_http_breaker_class_has(&conf->neutral, end->status)) {
            return BREAKER_NEUTRAL;
        }
    }

    if (end->event == 0) {
        return BREAKER_OK;
    }

    if (!(conf->failure.events & end->event)) {
        return conf->neutral.events & end->event || !end->status ? BREAKER_NEUTRAL : BREAKER_OK;
    }

    return end->event == NGX_HTTP_BREAKER_ON_TIMEOUT ? BREAKER_TIMEOUT : BREAKER_FAILURE;
}


/* Does breaker_class say this word of this request? */
ngx_uint_t
ngx_http_breaker_class_is(ngx_http_request_t *r, ngx_http_breaker_loc_conf_t *conf, const char *word)
{
    ngx_str_t class;

    return conf->class && ngx_http_complex_value(r, conf->class, &class) == NGX_OK &&
           class.len == ngx_strlen(word) && ngx_strncmp(class.data, word, class.len) == 0;
}


/* breaker_class overrules: ok, failure, neutral or no_slow; anything else leaves the verdict alone */
static void
ngx_http_breaker_overrule(ngx_http_request_t *r, ngx_http_breaker_loc_conf_t *conf,
                          struct breaker_result *result)
{
    if (conf->class == NULL) {
        return;
    }

    if (ngx_http_breaker_class_is(r, conf, "ok")) {
        result->outcome = BREAKER_OK;

    } else if (ngx_http_breaker_class_is(r, conf, "failure")) {
        result->outcome = BREAKER_FAILURE;

    } else if (ngx_http_breaker_class_is(r, conf, "neutral")) {
        result->outcome = BREAKER_NEUTRAL;

    } else if (ngx_http_breaker_class_is(r, conf, "no_slow")) {
        result->flags |= BREAKER_NEVER_SLOW;
    }
}


/* the service's own Retry-After, if it is a number of seconds (RFC 9110 §10.2.3) */
static uint64_t
ngx_http_breaker_upstream_retry_after(ngx_http_upstream_t *u)
{
    ngx_int_t n;
    ngx_table_elt_t *h;

    h = ngx_http_breaker_header(&u->headers_in.headers, "retry-after");
    n = h ? ngx_atoi(h->value.data, h->value.len) : 0;

    return n > 0 && n < 86400 ? (uint64_t) n * 1000000000 : 0;
}


static void
ngx_http_breaker_fill(ngx_http_request_t *r, ngx_http_breaker_loc_conf_t *conf, ngx_http_upstream_t *u,
                      ngx_http_breaker_end_t *end, struct breaker_result *ret_result)
{
    ngx_memzero(ret_result, sizeof(struct breaker_result));

    ret_result->outcome = ngx_http_breaker_outcome(conf, end);
    ret_result->took_ns = end->took ? (uint64_t) end->took * 1000000 : 1; /* 0 would read as: until now */
    ngx_http_breaker_overrule(r, conf, ret_result);

    if (u && (end->status == NGX_HTTP_SERVICE_UNAVAILABLE || end->status == NGX_HTTP_TOO_MANY_REQUESTS)) {
        ret_result->retry_after_ns = ngx_http_breaker_upstream_retry_after(u);
    }
}


/* Static text: most calls end so, and few are asked how. */
static void
ngx_http_breaker_explain_status(ngx_uint_t status, ngx_str_t *ret_reason)
{
    static u_char names[NGX_HTTP_BREAKER_STATUS_MAX + 1][sizeof("http_599")];

    if (status > NGX_HTTP_BREAKER_STATUS_MAX) { /* a service may say 999 */
        ngx_str_set(ret_reason, "http_other");
        return;
    }

    if (names[status][0] == '\0') {
        ngx_sprintf(names[status], "http_%03ui", status);
    }

    ret_reason->data = names[status];
    ret_reason->len = sizeof("http_599") - 1;
}


static void
ngx_http_breaker_explain(ngx_http_breaker_end_t *end, ngx_str_t *ret_reason)
{
    ngx_uint_t i;

    if (end->race) {
        ngx_str_set(ret_reason, "keepalive_race");
        return;
    }

    for (i = 0; ngx_http_breaker_event_names[i].event; i++) {
        if (end->event == ngx_http_breaker_event_names[i].event) {
            *ret_reason = ngx_http_breaker_event_names[i].name;
            return;
        }
    }

    ngx_http_breaker_explain_status(end->status, ret_reason);
}


/* the end of a call whose header is there */
static void
ngx_http_breaker_end_at_header(ngx_http_request_t *r, ngx_http_breaker_end_t *ret_end)
{
    ngx_memzero(ret_end, sizeof(ngx_http_breaker_end_t));
    ngx_http_breaker_note_header(r->upstream, ret_end);
    ret_end->took = ngx_http_breaker_took(r->upstream);
}


/* Would the verdict be a failure if the answer ended here, with all that overrules a status? */
ngx_uint_t
ngx_http_breaker_header_fails(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx)
{
    ngx_http_breaker_end_t end;
    struct breaker_result result;

    ngx_http_breaker_end_at_header(r, &end);
    ngx_http_breaker_fill(r, ctx->conf, r->upstream, &end, &result);

    return result.outcome == BREAKER_FAILURE || result.outcome == BREAKER_TIMEOUT;
}


static void
ngx_http_breaker_judge(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx, ngx_http_breaker_end_t *end)
{
    struct breaker_result result;

    ngx_http_breaker_fill(r, ctx->conf, r->upstream, end, &result);

    ctx->judged = 1;
    /* a race says nothing about the service, but its client has no answer */
    ctx->failed = result.outcome == BREAKER_FAILURE || result.outcome == BREAKER_TIMEOUT || end->race;

    if (!ctx->shadow) {
        ngx_http_breaker_explain(end, &ctx->reason);
    }

    (void) breaker_report_result(&ctx->handle, &ctx->permit, &result, ngx_http_breaker_now());

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0, "breaker \"%V\" verdict %ui: %V",
                   &ctx->breaker->name, (ngx_uint_t) result.outcome, &ctx->reason);
}


void
ngx_http_breaker_judge_route(ngx_http_breaker_peer_t *p)
{
    ngx_http_breaker_ctx_t *ctx = p->ctx;

    if (ctx->asked && !ctx->judged) {
        ngx_http_breaker_judge(p->request, ctx, &p->end);
    }
}


/* Feeds and upgraded connections are judged when their header is there: they end when someone leaves (G7). So is an answer
 * that goes no further. */
void
ngx_http_breaker_judge_header(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx)
{
    ngx_http_breaker_end_t end;

    ngx_http_breaker_end_at_header(r, &end);
    ngx_http_breaker_judge(r, ctx, &end);

    if (ctx->peer) { /* its server likewise: a second report of one permit changes nothing */
        ctx->peer->end = end;
        ngx_http_breaker_judge_server(ctx->peer);
    }
}


/* A call without an upstream block: there is no wrapper that noted its end. */
void
ngx_http_breaker_judge_early(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx, ngx_int_t rc)
{
    ngx_http_breaker_peer_t p;

    ngx_memzero(&p, sizeof(ngx_http_breaker_peer_t));
    p.request = r;
    p.upstream = r->upstream;
    p.ctx = ctx;

    ngx_http_breaker_note_end(&p, rc);

    if (ngx_http_breaker_has_header(r->upstream)) {
        /* void */

    } else if (rc == NGX_HTTP_GATEWAY_TIME_OUT) {
        p.end.event = NGX_HTTP_BREAKER_ON_TIMEOUT;

    } else if (rc == NGX_HTTP_BAD_GATEWAY) {
        p.end.event = NGX_HTTP_BREAKER_ON_ERROR;
    }

    ngx_http_breaker_judge(r, ctx, &p.end);
}


void
ngx_http_breaker_judge_server(ngx_http_breaker_peer_t *p)
{
    struct breaker_result result;
    ngx_http_breaker_loc_conf_t *blcf;

    if (p->peers == NULL) {
        return;
    }

    blcf = ngx_http_get_module_loc_conf(p->request, ngx_http_breaker_module);
    ngx_http_breaker_fill(p->request, blcf, p->upstream, &p->end, &result);
    (void) breaker_report_result(&p->server, &p->permit, &result, ngx_http_breaker_now());
}
