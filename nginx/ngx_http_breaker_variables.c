/* $breaker_name, $breaker_state, $breaker_decision, $breaker_reason, $breaker_retry_after, $breaker_fallback:
 * the first breaker that the request met, also in the location it fell back to. */
#include "ngx_http_breaker.h"


typedef enum {
    NGX_HTTP_BREAKER_VAR_NAME,
    NGX_HTTP_BREAKER_VAR_STATE,
    NGX_HTTP_BREAKER_VAR_DECISION,
    NGX_HTTP_BREAKER_VAR_REASON,
    NGX_HTTP_BREAKER_VAR_RETRY_AFTER,
    NGX_HTTP_BREAKER_VAR_FALLBACK,
} ngx_http_breaker_variable_e;


static ngx_int_t ngx_http_breaker_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
                                           uintptr_t data);


static ngx_http_variable_t ngx_http_breaker_vars[] = {

    { ngx_string("breaker_name"), NULL, ngx_http_breaker_variable, NGX_HTTP_BREAKER_VAR_NAME,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("breaker_state"), NULL, ngx_http_breaker_variable, NGX_HTTP_BREAKER_VAR_STATE,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("breaker_decision"), NULL, ngx_http_breaker_variable, NGX_HTTP_BREAKER_VAR_DECISION,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("breaker_reason"), NULL, ngx_http_breaker_variable, NGX_HTTP_BREAKER_VAR_REASON,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("breaker_retry_after"), NULL, ngx_http_breaker_variable, NGX_HTTP_BREAKER_VAR_RETRY_AFTER,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("breaker_fallback"), NULL, ngx_http_breaker_variable, NGX_HTTP_BREAKER_VAR_FALLBACK,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    ngx_http_null_variable
};


ngx_int_t
ngx_http_breaker_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t *var, *v;

    for (v = ngx_http_breaker_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static void
ngx_http_breaker_set(ngx_str_t *value, const char *text)
{
    value->data = (u_char *) text;
    value->len = ngx_strlen(text);
}


/* the breaker that was asked: the route's, or that of the server which was chosen last */
static struct breaker *
ngx_http_breaker_asked(ngx_http_breaker_ctx_t *ctx)
{
    return ctx->conf->breaker || ctx->peer == NULL ? &ctx->handle : &ctx->peer->server;
}


/* pass, probe, shadow (passed, and would have been refused), untracked or refused */
static const char *
ngx_http_breaker_decision(ngx_http_breaker_ctx_t *ctx)
{
    if (ctx->refused) {
        return "refused";
    }

    if (ctx->shadow) {
        return "shadow";
    }

    if (ctx->probe) {
        return "probe";
    }

    return ngx_http_breaker_asked(ctx)->slot ? "pass" : "untracked";
}


static ngx_int_t
ngx_http_breaker_retry_after_text(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx, ngx_str_t *ret_value)
{
    u_char *p;

    p = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ret_value->data = p;
    ret_value->len = ngx_sprintf(p, "%ui", ctx->retry_after) - p;

    return NGX_OK;
}


static ngx_int_t
ngx_http_breaker_value(ngx_http_request_t *r, ngx_http_breaker_ctx_t *ctx, uintptr_t which,
                       ngx_str_t *ret_value)
{
    switch (which) {

    case NGX_HTTP_BREAKER_VAR_NAME: *ret_value = ctx->breaker->name; break;
    case NGX_HTTP_BREAKER_VAR_STATE:
        ngx_http_breaker_set(ret_value, breaker_state_name(breaker_state(ngx_http_breaker_asked(ctx))));
        break;
    case NGX_HTTP_BREAKER_VAR_DECISION:
        ngx_http_breaker_set(ret_value, ngx_http_breaker_decision(ctx));
        break;
    case NGX_HTTP_BREAKER_VAR_REASON: *ret_value = ctx->reason; break;
    case NGX_HTTP_BREAKER_VAR_FALLBACK: *ret_value = ctx->taken; break;
    case NGX_HTTP_BREAKER_VAR_RETRY_AFTER:
        return ctx->refused ? ngx_http_breaker_retry_after_text(r, ctx, ret_value) : NGX_OK;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_breaker_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t value;
    ngx_http_breaker_ctx_t *ctx;

    ngx_str_null(&value);
    ctx = ngx_http_breaker_find(r);

    while (ctx && ctx->previous) {
        ctx = ctx->previous;
    }

    if (ctx && ctx->asked && ngx_http_breaker_value(r, ctx, data, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    v->not_found = value.len == 0;
    v->valid = value.len != 0;
    v->no_cacheable = 1;
    v->data = value.data;
    v->len = value.len;

    return NGX_OK;
}
