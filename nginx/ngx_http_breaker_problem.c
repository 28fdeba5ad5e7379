/* problem+json (RFC 9457): what the module says by itself. */
#include "ngx_http_breaker.h"


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


ngx_int_t
ngx_http_breaker_problem(ngx_http_request_t *r, ngx_uint_t status, const char *title, const char *members)
{
    ngx_str_t text;

    text.data = (u_char *) members;
    text.len = ngx_strlen(members);

    return ngx_http_breaker_send_problem(r, status, title, &text);
}
