/* Headers: looking one up in any list of nginx's, and adding to the answer. */
#include "ngx_http_breaker.h"


/* The first header of that name (in lower case) that was not taken out; NULL: there is none. nginx zeroes the hash of an
 * answer's header that it takes out; a request's has one always, a service's too. */
ngx_table_elt_t *
ngx_http_breaker_header(ngx_list_t *headers, const char *name)
{
    size_t len;
    ngx_uint_t i;
    ngx_list_part_t *part;
    ngx_table_elt_t *h;

    len = ngx_strlen(name);

    for (part = &headers->part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].hash && h[i].key.len == len &&
                ngx_strncasecmp(h[i].key.data, (u_char *) name, len) == 0) {
                return &h[i];
            }
        }
    }

    return NULL;
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


/* unless the answer has one */
ngx_int_t
ngx_http_breaker_set_retry_after(ngx_http_request_t *r, ngx_uint_t seconds)
{
    u_char *p;

    if (ngx_http_breaker_header(&r->headers_out.headers, "retry-after")) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_INT_T_LEN + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    *ngx_sprintf(p, "%ui", seconds) = '\0';

    return ngx_http_breaker_add_header(r, "Retry-After", (char *) p);
}
