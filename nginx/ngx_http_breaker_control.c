/* breaker_control: POST …/NAME/{open,close,auto,reset} (G11). */
#include "ngx_http_breaker.h"


static ngx_int_t ngx_http_breaker_control_handler(ngx_http_request_t *r);


char *
ngx_http_breaker_control(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_breaker_loc_conf_t *blcf = conf;

    ngx_http_core_loc_conf_t *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_breaker_control_handler;
    blcf->control = 1;

    return NGX_CONF_OK;
}


static const struct {
    ngx_str_t name;
    int mode; /* enum breaker_mode; -1: reset */
} ngx_http_breaker_orders[] = {
    { ngx_string("open"), BREAKER_MODE_FORCED_OPEN },
    { ngx_string("close"), BREAKER_MODE_FORCED_CLOSED },
    { ngx_string("auto"), BREAKER_MODE_AUTO },
    { ngx_string("reset"), -1 },
    { ngx_null_string, 0 },
};


/* A page elsewhere can make a browser on this machine POST here under a name of its own (DNS rebinding): only
 * this machine's and the server block's own names count. */
static ngx_uint_t
ngx_http_breaker_host_is_known(ngx_http_request_t *r)
{
    static ngx_str_t local[] = { ngx_string("localhost"), ngx_string("127.0.0.1"), ngx_string("[::1]"),
                                 ngx_null_string };
    ngx_str_t *host, *names;
    ngx_uint_t i;
    ngx_http_breaker_loc_conf_t *blcf;

    host = &r->headers_in.server; /* without the port, in lower case */

    for (i = 0; local[i].len; i++) {
        if (host->len == local[i].len && ngx_strncmp(host->data, local[i].data, host->len) == 0) {
            return 1;
        }
    }

    blcf = ngx_http_get_module_loc_conf(r, ngx_http_breaker_module);
    names = blcf->hosts->elts;

    for (i = 0; i < blcf->hosts->nelts; i++) {
        if (host->len == names[i].len && ngx_strncmp(host->data, names[i].data, host->len) == 0) {
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_http_breaker_is_json(ngx_http_request_t *r)
{
    static ngx_str_t json = ngx_string("application/json");
    ngx_str_t *type;

    if (r->headers_in.content_type == NULL) {
        return 0;
    }

    type = &r->headers_in.content_type->value;

    return type->len >= json.len && ngx_strncasecmp(type->data, json.data, json.len) == 0 &&
           (type->len == json.len || type->data[json.len] == ';' || type->data[json.len] == ' ');
}


/* NAME and what to do from the rest of the path; an answer of breaker_find() otherwise */
static int
ngx_http_breaker_parse_order(ngx_http_request_t *r, struct breaker *ret_breaker, ngx_uint_t *ret_order)
{
    char name[2 * BREAKER_NAME_MAX + 2];
    u_char *p, *end, *slash;
    ngx_uint_t i;
    ngx_http_core_loc_conf_t *clcf;
    ngx_http_breaker_main_conf_t *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_breaker_module);
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    p = r->uri.data + ngx_min(clcf->name.len, r->uri.len);
    end = r->uri.data + r->uri.len;

    for (slash = end; slash > p && slash[-1] != '/'; slash--) { /* void */
    }

    if (slash - p < 2 || (size_t) (slash - p) > sizeof(name)) {
        return BREAKER_E_ABSENT;
    }

    for (i = 0; ngx_http_breaker_orders[i].name.len; i++) {
        if ((size_t) (end - slash) == ngx_http_breaker_orders[i].name.len &&
            ngx_strncmp(slash, ngx_http_breaker_orders[i].name.data, end - slash) == 0) {
            *ret_order = i;
            ngx_cpystrn((u_char *) name, p, slash - p);
            return breaker_find(&mcf->region, name, ret_breaker);
        }
    }

    return BREAKER_E_ABSENT;
}


static ngx_int_t
ngx_http_breaker_obey(ngx_http_request_t *r, struct breaker *breaker, ngx_uint_t order)
{
    int answer;
    u_char *p, *last;
    ngx_str_t type = ngx_string("application/json");
    struct breaker_snapshot snapshot;
    ngx_http_complex_value_t cv;

    answer = ngx_http_breaker_orders[order].mode < 0
                 ? breaker_reset(breaker, ngx_http_breaker_now())
                 : breaker_force(breaker, ngx_http_breaker_orders[order].mode, ngx_http_breaker_now());

    ngx_memzero(&snapshot, sizeof(struct breaker_snapshot));

    if (answer != 0 || breaker_snapshot(breaker, ngx_http_breaker_now(), &snapshot) != 0) {
        return ngx_http_breaker_problem(r, NGX_HTTP_SERVICE_UNAVAILABLE, "Service Unavailable",
                                        "\"code\":\"breaker-untracked\"");
    }

    ngx_log_error(NGX_LOG_NOTICE, r->connection->log, 0, "breaker \"%s\": %V ordered by %V, now %s",
                  snapshot.name, &ngx_http_breaker_orders[order].name, &r->connection->addr_text,
                  breaker_state_name(snapshot.state));

    p = ngx_pnalloc(r->pool, BREAKER_NAME_MAX + 128);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    last = ngx_sprintf(p, "{\"state\":\"%s\",\"mode\":\"%s\"}\n", breaker_state_name(snapshot.state),
                       breaker_mode_name(snapshot.mode));

    ngx_memzero(&cv, sizeof(ngx_http_complex_value_t));
    cv.value.data = p;
    cv.value.len = last - p;

    return ngx_http_send_response(r, NGX_HTTP_OK, &type, &cv);
}


static ngx_int_t
ngx_http_breaker_no_content(ngx_http_request_t *r)
{
    ngx_int_t rc;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    r->headers_out.status = NGX_HTTP_NO_CONTENT;
    r->header_only = 1;

    return ngx_http_send_header(r);
}


static ngx_int_t
ngx_http_breaker_control_handler(ngx_http_request_t *r)
{
    ngx_int_t rc;
    ngx_uint_t order;
    struct breaker breaker;

    if (r->method != NGX_HTTP_POST) {
        if (ngx_http_breaker_add_header(r, "Allow", "OPTIONS, POST") != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        if (r->method == NGX_HTTP_OPTIONS) { /* who gets here may give orders: the page shows its buttons */
            return ngx_http_breaker_no_content(r);
        }

        return ngx_http_breaker_problem(r, NGX_HTTP_NOT_ALLOWED, "Method Not Allowed",
                                        "\"code\":\"method-not-allowed\"");
    }

    if (!ngx_http_breaker_host_is_known(r)) {
        return ngx_http_breaker_problem(
            r, NGX_HTTP_FORBIDDEN, "Forbidden",
            "\"code\":\"unknown-host\",\"detail\":\"the Host is none of this server's "
            "names\"");
    }

    if (!ngx_http_breaker_is_json(r)) {
        return ngx_http_breaker_problem(
            r, NGX_HTTP_UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type",
            "\"code\":\"unsupported-media-type\",\"detail\":\"Content-Type must be "
            "application/json\"");
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_breaker_parse_order(r, &breaker, &order) != 0) {
        return ngx_http_breaker_problem(
            r, NGX_HTTP_NOT_FOUND, "Not Found",
            "\"code\":\"unknown-breaker\",\"detail\":\"POST NAME/open, close, auto or "
            "reset of a breaker that exists\"");
    }

    return ngx_http_breaker_obey(r, &breaker, order);
}
