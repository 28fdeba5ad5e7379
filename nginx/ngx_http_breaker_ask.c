/* Asking a route's breaker: the context of a call, who may be a probe, and the early gate. */
#include "ngx_http_breaker.h"


/* ---- The context (G3) ---- */

/* What no one reported is given back when the request's memory goes: subrequests have no log phase. */
static void
ngx_http_breaker_cleanup(void *data)
{
    ngx_http_breaker_ctx_t *ctx = data;

    uint64_t now;

    now = ngx_http_breaker_now();

    if (ctx->exhausted || ctx->taken.len) {
        breaker_count_fallback(&ctx->handle, !ctx->exhausted, now);
    }

    breaker_release(&ctx->handle, &ctx->permit, now);
    breaker_release(&ctx->breaker->streams, &ctx->stream, now);
    breaker_release(&ctx->breaker->fallbacks, &ctx->fallback, now);

    if (ctx->peer) {
        breaker_release(&ctx->peer->server, &ctx->peer->permit, now);
    }
}


/* the newest context of this very request; internal redirects wipe r->ctx, the pool keeps it */
ngx_http_breaker_ctx_t *
ngx_http_breaker_find(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t *cln;
    ngx_http_breaker_ctx_t *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_breaker_module);

    if (ctx != NULL || (!r->internal && !r->filter_finalize)) {
        return ctx;
    }

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_breaker_cleanup) {
            ctx = cln->data;

            if (ctx->request == r) {
                ngx_http_set_ctx(r, ctx, ngx_http_breaker_module);
                return ctx;
            }
        }
    }

    return NULL;
}


ngx_http_breaker_ctx_t *
ngx_http_breaker_begin(ngx_http_request_t *r, ngx_http_breaker_loc_conf_t *blcf, ngx_http_breaker_t *breaker)
{
    ngx_pool_cleanup_t *cln;
    ngx_http_breaker_ctx_t *ctx, *previous;

    previous = ngx_http_breaker_find(r);

    if (previous != NULL && previous->conf == blcf && !previous->judged) {
        return previous; /* gated early, and the variable named an upstream block */
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_breaker_ctx_t));
    if (cln == NULL) {
        return NULL;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_breaker_ctx_t));
    ctx->request = r;
    ctx->conf = blcf;
    ctx->breaker = breaker;
    ctx->previous = previous;
    ctx->attempts = r->upstream_states ? r->upstream_states->nelts : 0;
    cln->handler = ngx_http_breaker_cleanup;
    ngx_http_set_ctx(r, ctx, ngx_http_breaker_module);

    return ctx;
}


/* ---- Asking ---- */

/* May it be done twice? breaker_idempotent says it, else the method (RFC 9110 §9.2.2); one that nobody knows may not. */
ngx_uint_t
ngx_http_breaker_is_idempotent(ngx_http_request_t *r, ngx_http_breaker_loc_conf_t *blcf)
{
    ngx_str_t said;

    if (blcf->idempotent && ngx_http_complex_value(r, blcf->idempotent, &said) == NGX_OK) {

        if (said.len == 2 && ngx_strncmp(said.data, "on", 2) == 0) {
            return 1;
        }

        if (said.len == 3 && ngx_strncmp(said.data, "off", 3) == 0) {
            return 0;
        }
    }

    return !(r->method & (NGX_HTTP_POST | NGX_HTTP_PATCH | NGX_HTTP_LOCK | NGX_HTTP_UNKNOWN));
}


/* may this request be a probe? Trying an unwell service must not do anything twice (G4) */
unsigned
ngx_http_breaker_flags(ngx_http_request_t *r, ngx_http_breaker_loc_conf_t *blcf)
{
    ngx_table_elt_t *key;

    if (ngx_http_breaker_is_idempotent(r, blcf)) {
        return 0;
    }

    key = ngx_http_breaker_header(&r->headers_in.headers, "idempotency-key");

    return key && key->value.len ? 0 : BREAKER_NO_PROBE;
}


/* The breaker of a key; those that find no room share their group's, and the log says so once a minute. */
void
ngx_http_breaker_key(ngx_http_request_t *r, ngx_http_breaker_t *breaker, ngx_str_t *key, uint64_t now,
                     struct breaker *ret_handle)
{
    ngx_http_breaker_main_conf_t *mcf;

    if (breaker_key(&breaker->handle, key->data, key->len, now, ret_handle) != BREAKER_E_CAPACITY) {
        return;
    }

    mcf = ngx_http_get_module_main_conf(r, ngx_http_breaker_module);

    if (mcf->full && ngx_current_msec - mcf->full < NGX_HTTP_BREAKER_FULL_MS) {
        return;
    }

    mcf->full = ngx_current_msec;
    ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                  "breaker_zone \"%V\" is full: %uD breakers by key are in use, further keys of \"%V\" share one",
                  &mcf->zone->shm.name, breaker_keys_room(&mcf->region, NULL, NULL), &breaker->name);
}


/* NGX_OK: the call may be made. NGX_DECLINED: refused. */
ngx_int_t
ngx_http_breaker_ask(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx)
{
    uint64_t now;
    ngx_str_t key;
    const char *name;
    ngx_http_breaker_t *breaker;

    if (ctx->asked) {
        return ctx->refused ? NGX_DECLINED : NGX_OK;
    }

    ctx->asked = 1;

    if (ctx->conf->breaker == NULL) { /* only its servers have breakers */
        ctx->granted = 1;
        return NGX_OK;
    }

    breaker = ctx->breaker;
    now = ngx_http_breaker_now();
    ctx->handle = breaker->handle;

    if (breaker->key && ngx_http_complex_value(r, breaker->key, &key) == NGX_OK && key.len) {
        ngx_http_breaker_key(r, breaker, &key, now, &ctx->handle);
    }

    ctx->answer = breaker_acquire(&ctx->handle, now, ngx_http_breaker_flags(r, ctx->conf), &ctx->permit);

    if (ctx->answer == 0) {
        ctx->granted = 1;
        ctx->probe = breaker_permit_is_probe(&ctx->permit);
        ctx->shadow = breaker_permit_is_shadow(&ctx->permit);
        return NGX_OK;
    }

    name = breaker_answer_name(ctx->answer);
    ctx->reason.data = (u_char *) name;
    ctx->reason.len = ngx_strlen(name);

    if (ctx->conf->shadow) {
        ctx->shadow = 1;
        ctx->granted = 1;
        return NGX_OK;
    }

    ctx->refused = 1;
    ctx->judged = 1;
    ctx->retry_after = breaker_retry_after_seconds(&ctx->handle, now);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0, "breaker \"%V\" refused: %V", &breaker->name,
                   &ctx->reason);

    return NGX_DECLINED;
}


/* Would it be refused whatever it is? While it is open, and where no cache could answer, a refusal here spares the
 * request to the service that would be built, and nginx's own error answer that would be dropped. Who may be granted
 * is asked at peer.get: by then the client's body is there, and a probe does not wait for it. */
static ngx_uint_t
ngx_http_breaker_is_open(ngx_http_breaker_loc_conf_t *blcf)
{
    struct breaker *handle = &blcf->breaker->handle;

    if (blcf->shadow || blcf->breaker->key || blcf->proxy == NULL) {
        return 0;
    }

#if (NGX_HTTP_CACHE)
    if (blcf->proxy->cache) {
        return 0;
    }
#endif

    switch (breaker_state(handle)) {
    case BREAKER_FORCED_OPEN: return 1;
    case BREAKER_OPEN: return breaker_retry_after(handle, ngx_http_breaker_now()) > 0;
    default: return 0;
    }
}


/* In the last phase before the content, after access and limits (a 401 must not burn a probe). A proxy_pass to a variable
 * host has no upstream block and no peer.init: it is always asked here. */
ngx_int_t
ngx_http_breaker_early_handler(ngx_http_request_t *r)
{
    ngx_http_breaker_ctx_t *ctx;
    ngx_http_breaker_loc_conf_t *blcf;

    blcf = ngx_http_get_module_loc_conf(r, ngx_http_breaker_module);

    if (blcf->breaker == NULL || !blcf->passing || (!blcf->early && !ngx_http_breaker_is_open(blcf))) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_breaker_begin(r, blcf, blcf->breaker);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_breaker_ask(r, ctx) == NGX_OK) {
        return NGX_DECLINED;
    }

    ngx_http_finalize_request(r, ngx_http_breaker_fall_back(r, ctx));

    return NGX_DONE;
}
