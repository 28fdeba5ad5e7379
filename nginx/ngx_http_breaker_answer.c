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
 * and upstream then finishes with it. */
#include "ngx_http_breaker.h"


#define NGX_HTTP_BREAKER_DETAIL_MAX 512 /* bytes of a problem's own members */


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


/* ---- The chain ---- */

/* a location that this request has been to already: going there again would be a loop (G10) */
static ngx_uint_t
ngx_http_breaker_was_at(ngx_http_breaker_ctx_t *ctx, ngx_str_t *name)
{
    for (/* void */; ctx; ctx = ctx->previous) {
        if (ctx->conf->location.len == name->len &&
            ngx_strncmp(ctx->conf->location.data, name->data, name->len) == 0) {
            return 1;
        }
    }

    return 0;
}


/* May another service do it? Not when the first may have done it already and doing it twice matters. */
static ngx_uint_t
ngx_http_breaker_may_repeat(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx)
{
    if (r->reading_body) {
        return 0; /* proxy_request_buffering off: what was read is gone, the rest is still coming */
    }

    if (ctx->refused) {
        return 1;
    }

    if (ctx->sent && (r->method & (NGX_HTTP_POST | NGX_HTTP_LOCK | NGX_HTTP_PATCH))) {
        return 0;
    }

    return !(ctx->sent && r->request_body_no_buffering);
}


/* the next element that can be tried; NULL: none is left. "cache" is nginx's own doing and has been tried */
static ngx_http_breaker_fallback_t *
ngx_http_breaker_next_fallback(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx, ngx_uint_t *index)
{
    ngx_array_t *chain;
    ngx_http_breaker_fallback_t *f;

    chain = ctx->conf->fallbacks;

    for (/* void */; chain && *index < chain->nelts; (*index)++) {
        f = (ngx_http_breaker_fallback_t *) chain->elts + *index;

        if (f->kind == NGX_HTTP_BREAKER_STATIC ||
            (f->kind == NGX_HTTP_BREAKER_NAMED && !ngx_http_breaker_was_at(ctx, &f->uri) &&
             ngx_http_breaker_may_repeat(r, ctx))) {
            return f;
        }
    }

    return NULL;
}


ngx_uint_t
ngx_http_breaker_has_fallback(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx)
{
    ngx_uint_t index = ctx->next;

    return ngx_http_breaker_next_fallback(r, ctx, &index) != NULL;
}


/* a place among the fallbacks under way, held until the request is over */
static ngx_uint_t
ngx_http_breaker_may_fall_back(ngx_http_breaker_ctx_t *ctx)
{
    ngx_http_breaker_t *breaker = ctx->breaker;

    return breaker->max_fallbacks == 0 || ctx->taken.len ||
           breaker_acquire(&breaker->fallbacks, ngx_http_breaker_now(), 0, &ctx->fallback) == 0;
}


static ngx_uint_t
ngx_http_breaker_has_error_page(ngx_http_request_t *r, ngx_uint_t status)
{
    ngx_uint_t i;
    ngx_http_err_page_t *page;
    ngx_http_core_loc_conf_t *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (r->error_page || clcf->error_pages == NULL) {
        return 0;
    }

    page = clcf->error_pages->elts;

    for (i = 0; i < clcf->error_pages->nelts; i++) {
        if (page[i].status == (ngx_int_t) status) {
            return 1;
        }
    }

    return 0;
}


static ngx_int_t
ngx_http_breaker_send_refusal(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx)
{
    u_char buffer[NGX_HTTP_BREAKER_DETAIL_MAX];
    ngx_str_t members;

    if (ngx_http_breaker_has_error_page(r, NGX_HTTP_SERVICE_UNAVAILABLE)) {
        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }

    members.data = buffer;
    members.len =
        ngx_snprintf(buffer, sizeof(buffer),
                     "\"code\":\"breaker-open\",\"detail\":\"the service is not being called: its breaker is "
                     "%s; try again in %ui s\",\"breaker\":\"%V\",\"state\":\"%s\",\"reason\":\"%V\","
                     "\"retry_after\":%ui",
                     breaker_state_name(breaker_state(&ctx->handle)), ctx->retry_after, &ctx->breaker->name,
                     breaker_state_name(breaker_state(&ctx->handle)), &ctx->reason, ctx->retry_after) -
        buffer;

    return ngx_http_breaker_send_problem(r, NGX_HTTP_SERVICE_UNAVAILABLE, "Service Unavailable", &members);
}


/* Takes the next element, or sends the refusal. The caller finalizes the request with what it returns. */
ngx_int_t
ngx_http_breaker_fall_back(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx)
{
    ngx_str_t uri, args;
    ngx_uint_t flags;
    ngx_http_breaker_fallback_t *f;

    f = ngx_http_breaker_may_fall_back(ctx) ? ngx_http_breaker_next_fallback(r, ctx, &ctx->next) : NULL;

    if (f == NULL) {
        ctx->answering = 1;
        return ctx->refused ? ngx_http_breaker_send_refusal(r, ctx) : NGX_HTTP_BAD_GATEWAY;
    }

    ctx->next++;
    ctx->taken = f->text;
    r->expect_tested = 1;

    if (f->kind == NGX_HTTP_BREAKER_NAMED) {
        return ngx_http_named_location(r, &f->uri);
    }

    uri = f->uri;
    flags = NGX_HTTP_LOG_UNSAFE;
    ngx_str_null(&args);

    if (ngx_http_parse_unsafe_uri(r, &uri, &args, &flags) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->answering = 1;
    r->err_status = f->status;

    if (r->method != NGX_HTTP_HEAD) {
        r->method = NGX_HTTP_GET;
        r->method_name = ngx_http_core_get_method;
    }

    return ngx_http_internal_redirect(r, &uri, &args);
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

    if (ctx->refused || (ctx->failed && ngx_http_breaker_has_fallback(r, ctx))) {
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

static ngx_int_t
ngx_http_breaker_set_retry_after(ngx_http_request_t *r, ngx_uint_t seconds)
{
    u_char *p;
    ngx_uint_t i;
    ngx_list_part_t *part;
    ngx_table_elt_t *h;

    part = &r->headers_out.headers.part;

    for (h = part->elts, i = 0; part; i++) {
        if (i >= part->nelts) {
            part = part->next;
            if (part) {
                h = part->elts;
            }
            i = (ngx_uint_t) -1;
            continue;
        }

        if (h[i].hash && h[i].key.len == 11 &&
            ngx_strncasecmp(h[i].key.data, (u_char *) "Retry-After", 11) == 0) {
            return NGX_OK;
        }
    }

    p = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    h = ngx_list_push(&r->headers_out.headers);
    if (p == NULL || h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    ngx_str_set(&h->key, "Retry-After");
    h->value.data = p;
    h->value.len = ngx_sprintf(p, "%ui", seconds) - p;

    return NGX_OK;
}


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
ngx_http_breaker_is_feed(ngx_http_request_t *r)
{
    static ngx_str_t type = ngx_string("text/event-stream");

    return r->headers_out.status == NGX_HTTP_SWITCHING_PROTOCOLS ||
           (r->headers_out.content_type.len >= type.len &&
            ngx_strncasecmp(r->headers_out.content_type.data, type.data, type.len) == 0);
}


/* The service answers, and the call is not judged yet. NGX_OK: send it on. */
static ngx_int_t
ngx_http_breaker_filter_answer(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx)
{
    ngx_http_breaker_t *breaker = ctx->breaker;

    if (ngx_http_breaker_status_fails(ctx->conf, r->headers_out.status) &&
        ngx_http_breaker_has_fallback(r, ctx)) {
        ngx_http_clean_header(r);
        return NGX_HTTP_SERVICE_UNAVAILABLE; /* finalize_request judges and replaces */
    }

    if (!ngx_http_breaker_is_feed(r)) {
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


/* ---- problem+json (RFC 9457) ---- */

/* members: further ones, `"name":value,…`, as JSON already */
ngx_int_t
ngx_http_breaker_send_problem(ngx_http_request_t *r, ngx_uint_t status, const char *title, ngx_str_t *members)
{
    u_char *p;
    ngx_str_t body;
    ngx_http_complex_value_t cv;
    ngx_str_t type = ngx_string("application/problem+json");

    p = ngx_pnalloc(r->pool, members->len + ngx_strlen(title) + 128);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body.data = p;
    body.len = ngx_sprintf(p, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%ui,%V}\n", title,
                           status, members) -
               p;

    ngx_memzero(&cv, sizeof(ngx_http_complex_value_t));
    cv.value = body;

    return ngx_http_send_response(r, status, &type, &cv);
}
