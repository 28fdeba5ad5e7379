/* The chain of breaker_fallback: which element is next, and how a request gets there; at its end, the
 * refusal. */
#include "ngx_http_breaker.h"


#define NGX_HTTP_BREAKER_DETAIL_MAX 512 /* bytes of a problem's own members */


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


/* May another service do it? Not when one may have done it already and doing it twice matters. */
static ngx_uint_t
ngx_http_breaker_may_repeat(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx)
{
    if (r->reading_body) {
        return 0; /* proxy_request_buffering off: what was read is gone, the rest is still coming */
    }

    if (!ctx->sent) {
        return 1; /* refused, or nobody took the connection */
    }

    return !r->request_body_no_buffering && ngx_http_breaker_is_idempotent(r, ctx->conf);
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


/* May something else answer? Asked before an answer that is there is dropped, therefore with all that it depends on: what
 * was sent, and a place among the fallbacks under way, which is held until the request is over. */
ngx_uint_t
ngx_http_breaker_reserve_fallback(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx)
{
    ngx_http_breaker_t *breaker = ctx->breaker;

    if (ngx_http_breaker_next_fallback(r, ctx, &ctx->next) == NULL) {
        return 0;
    }

    if (!ctx->reserved && breaker->max_fallbacks) {
        ctx->reserved =
            breaker_acquire(&breaker->fallbacks, ngx_http_breaker_now(), 0, &ctx->fallback) == 0;
    }

    return ctx->reserved || breaker->max_fallbacks == 0;
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

    if (!ngx_http_breaker_reserve_fallback(r, ctx)) {
        ctx->answering = 1;
        ctx->exhausted = ctx->conf->fallbacks != NULL;
        return ctx->refused ? ngx_http_breaker_send_refusal(r, ctx) : NGX_HTTP_BAD_GATEWAY;
    }

    f = (ngx_http_breaker_fallback_t *) ctx->conf->fallbacks->elts + ctx->next++;
    ctx->taken = f->text;

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
    r->expect_tested = 1; /* nobody is going to read the body: a client that waits to send it need not */
    r->err_status = f->status;

    if (r->method != NGX_HTTP_HEAD) {
        r->method = NGX_HTTP_GET;
        r->method_name = ngx_http_core_get_method;
    }

    return ngx_http_internal_redirect(r, &uri, &args);
}
