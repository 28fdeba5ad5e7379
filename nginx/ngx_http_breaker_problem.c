/* Headers and problem+json (RFC 9457) that the module writes itself. */
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


ngx_int_t
ngx_http_breaker_add_header(ngx_http_request_t *r, const char *name, const char *value)
{
    ngx_table_elt_t *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value.data = (u_char *) value;
    h->value.len = ngx_strlen(value);

    return NGX_OK;
}


ngx_int_t
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
