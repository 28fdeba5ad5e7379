/* What the client gets instead: fallbacks, and 503 problem+json with Retry-After.
 *
 * A refused or failed call ends in ngx_http_upstream_finalize_request() with a status, nginx makes its own
 * error answer of it, and its header comes through our filter, which is the outermost. There the answer is
 * dropped: the filter makes nginx believe that it was a header without a body, and posts
 * ngx_http_breaker_resume(), which runs when the stack is unwound and takes the next element of the chain, or
 * sends the problem. error_page is kept out of the way until then (r->error_page) and is honoured after: a
 * 503 of ours can still be mapped by `error_page 503`.
 *
 * A failing answer of the service itself is first turned into that case: a header filter may return a status,
 * and upstream then finishes with it. It is dropped only when something else may answer in its place; that is asked when
 * all is known that it depends on, for afterwards the service's own answer is gone. */
#include "ngx_http_breaker.h"


static ngx_int_t ngx_http_breaker_header_filter(ngx_http_request_t *r);
static void ngx_http_breaker_resume(ngx_http_request_t *r);

static ngx_http_output_header_filter_pt ngx_http_next_header_filter;


ngx_int_t
ngx_http_breaker_answer_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_breaker_header_filter;

    return NGX_OK;
}


/* ---- Replacing nginx's own answer ---- */

/* In finalize_request: if another answer is to come, keep error_page away from the one that nginx makes now.
 */
void
ngx_http_breaker_replace_answer(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx)
{
    if (r->upstream->header_sent || r->header_sent || r->connection->error || r->background || r->cached ||
        ctx->replacing) {
        return;
    }

    if (ctx->refused || (ctx->failed && ngx_http_breaker_reserve_fallback(r, ctx))) {
        ctx->replacing = 1;
        ctx->error_page = r->error_page;
        r->error_page = 1;
    }
}


/* The next two make nginx drop the answer whose header is in the filter, and come back later. */
static ngx_int_t
ngx_http_breaker_postpone(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx)
{
    ctx->header_only = r->header_only;
    r->header_only = 1;
    r->main->count++;
    r->write_event_handler = ngx_http_breaker_resume;

    if (ngx_http_post_request(r, NULL) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_DONE;
}


static void
ngx_http_breaker_resume(ngx_http_request_t *r)
{
    ngx_http_breaker_ctx_t *ctx;

    ctx = ngx_http_breaker_find(r);

    r->write_event_handler = ngx_http_request_empty_handler;
    r->header_only = ctx->header_only;
    r->error_page = ctx->error_page;
    r->err_status = 0;
    ctx->replacing = 0;

    if (r->connection->error) {
        ngx_http_finalize_request(r, NGX_HTTP_CLIENT_CLOSED_REQUEST);
        return;
    }

    ngx_http_clean_header(r);
    ngx_http_finalize_request(r, ngx_http_breaker_fall_back(r, ctx));
}


/* ---- The filter ---- */

/* the context whose refusal is the reason for this answer */
static ngx_http_breaker_ctx_t *
ngx_http_breaker_refused(ngx_http_breaker_ctx_t *ctx)
{
    for (/* void */; ctx; ctx = ctx->previous) {
        if (ctx->refused) {
            return ctx;
        }
    }

    return NULL;
}


static ngx_uint_t
ngx_http_breaker_is_feed(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx)
{
    static ngx_str_t type = ngx_string("text/event-stream");

    return r->headers_out.status == NGX_HTTP_SWITCHING_PROTOCOLS ||
           (r->headers_out.content_type.len >= type.len &&
            ngx_strncasecmp(r->headers_out.content_type.data, type.data, type.len) == 0) ||
           ngx_http_breaker_class_is(r, ctx->conf, "feed");
}


/* Drops the answer that is under way; its verdict stands. Of something that is no HTTP, nginx would send the bytes on as they
 * are, as an HTTP/0.9 server's: it answers 502 instead, as to any header that is wrong. */
static ngx_int_t
ngx_http_breaker_drop_answer(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx)
{
    ngx_http_breaker_judge_header(r, ctx);
    ngx_http_clean_header(r);

    if (ngx_http_breaker_is_answer(r->upstream)) {
        return NGX_HTTP_SERVICE_UNAVAILABLE; /* finalize_request replaces it */
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0, "upstream sent no HTTP answer");

    r->http_version = r != r->main ? r->main->http_version : (ngx_uint_t) r->http_major * 1000 + r->http_minor;
#if (NGX_HTTP_V2)
    r->http_version = r->stream ? NGX_HTTP_VERSION_20 : r->http_version;
#endif
    r->upstream->state->status = NGX_HTTP_BAD_GATEWAY;
    r->upstream->keepalive = 0;

    return NGX_HTTP_BAD_GATEWAY;
}


/* The service answers, and the call is not judged yet. NGX_OK: send it on. */
static ngx_int_t
ngx_http_breaker_filter_answer(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx)
{
    ngx_http_breaker_t *breaker = ctx->breaker;

    ngx_http_breaker_note_sent(r, ctx);

    if (!r->background && ngx_http_breaker_header_fails(r, ctx) &&
        (ngx_http_breaker_reserve_fallback(r, ctx) || !ngx_http_breaker_is_answer(r->upstream))) {
        return ngx_http_breaker_drop_answer(r, ctx);
    }

    if (!ngx_http_breaker_is_feed(r, ctx)) {
        return NGX_OK;
    }

    ngx_http_breaker_judge_header(r, ctx);

    if (breaker->max_streams) {
        ctx->answer = breaker_acquire(&breaker->streams, ngx_http_breaker_now(), 0, &ctx->stream);

        if (ctx->answer != 0) {
            ctx->refused = 1;
            ctx->retry_after = 1;
            ngx_str_set(&ctx->reason, "streams");
            ngx_http_clean_header(r);
            return NGX_HTTP_SERVICE_UNAVAILABLE;
        }
    }

    return NGX_OK;
}


/* finalize_request of a call without an upstream block, from its header on */
static void
ngx_http_breaker_finalize_early(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_http_breaker_ctx_t *ctx;

    ctx = ngx_http_breaker_find(r);
    ctx->finalize(r, rc);

    if (!ctx->judged) {
        ngx_http_breaker_judge_early(r, ctx, rc);
    }

    ngx_http_breaker_replace_answer(r, ctx);
}


/* An answer to a call that is not judged yet: the service's, or nginx's own about a call without an upstream
 * block. */
static ngx_int_t
ngx_http_breaker_filter_call(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx)
{
    if (r->upstream->cleanup) { /* under way */

        if (!ctx->hooked) {
            ctx->hooked = 1;
            ctx->finalize = r->upstream->finalize_request;
            r->upstream->finalize_request = ngx_http_breaker_finalize_early;
        }

        return ngx_http_breaker_filter_answer(r, ctx);
    }

    if (!ctx->hooked) {
        ngx_http_breaker_judge_early(r, ctx, r->headers_out.status);
        ngx_http_breaker_replace_answer(r, ctx);
    }

    return ctx->replacing ? ngx_http_breaker_postpone(r, ctx) : NGX_OK;
}


static ngx_int_t
ngx_http_breaker_header_filter(ngx_http_request_t *r)
{
    ngx_int_t rc;
    ngx_http_breaker_ctx_t *ctx, *refused;

    ctx = ngx_http_breaker_find(r);
    if (ctx == NULL) {
        return ngx_http_next_header_filter(r);
    }

    if (ctx->replacing) {
        return ngx_http_breaker_postpone(r, ctx);
    }

    if (r->cached) {
        if (ctx->refused ||
            (ctx->asked && r->upstream && r->upstream->cache_status == NGX_HTTP_CACHE_STALE)) {
            ngx_str_set(&ctx->taken, "cache");
        }

        return ngx_http_next_header_filter(r);
    }

    if (ctx->granted && !ctx->judged && r->upstream) {
        rc = ngx_http_breaker_filter_call(r, ctx);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    refused = ngx_http_breaker_refused(ctx);

    if (refused && r->headers_out.status == NGX_HTTP_SERVICE_UNAVAILABLE &&
        ngx_http_breaker_set_retry_after(r, refused->retry_after) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_next_header_filter(r);
}
