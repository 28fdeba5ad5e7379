/* breaker_status: JSON, ?format=prometheus, ?format=stream. breaker_control: POST
 * …/NAME/{open,close,auto,reset}. */
#include "ngx_http_breaker.h"


#define NGX_HTTP_BREAKER_EXPORT_SLACK 4096 /* what one export may grow until the next */
#define NGX_HTTP_BREAKER_EXPORT_TRIES 4


/* a client of ?format=stream; one buffer, filled anew when all of it has been sent */
typedef struct {
    ngx_http_request_t *request;
    ngx_event_t timer;
    ngx_buf_t buf;
    size_t size;
} ngx_http_breaker_stream_t;


static ngx_int_t ngx_http_breaker_status_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_breaker_control_handler(ngx_http_request_t *r);


char *
ngx_http_breaker_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_breaker_status_handler;

    return NGX_CONF_OK;
}


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


static ngx_int_t
ngx_http_breaker_problem(ngx_http_request_t *r, ngx_uint_t status, const char *title, const char *members)
{
    ngx_str_t text;

    text.data = (u_char *) members;
    text.len = ngx_strlen(members);

    return ngx_http_breaker_send_problem(r, status, title, &text);
}


static ngx_int_t
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


/* ---- Status ---- */

/* all breakers as text in *text, which grows in the request's pool when it is too small */
static ngx_int_t
ngx_http_breaker_export(ngx_http_request_t *r, enum breaker_format format, u_char **text, size_t *size,
                        size_t *ret_length)
{
    ngx_uint_t i;
    ngx_time_t *tp;
    ngx_http_breaker_main_conf_t *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_breaker_module);
    tp = ngx_timeofday();

    for (i = 0; i < NGX_HTTP_BREAKER_EXPORT_TRIES; i++) {

        if (breaker_export(&mcf->region, format, ngx_http_breaker_now(), (uint64_t) tp->sec * 1000 + tp->msec,
                           (char *) *text, *size, ret_length) == 0) {
            return NGX_OK;
        }

        *size = *ret_length + NGX_HTTP_BREAKER_EXPORT_SLACK;

        (void) ngx_pfree(r->pool, *text);
        *text = ngx_palloc(r->pool, *size);
        if (*text == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_ERROR;
}


static ngx_int_t
ngx_http_breaker_send_status_header(ngx_http_request_t *r, const char *type, off_t length)
{
    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = length;
    r->headers_out.content_type.data = (u_char *) type;
    r->headers_out.content_type.len = ngx_strlen(type);
    r->headers_out.content_type_len = r->headers_out.content_type.len;

    if (ngx_http_breaker_add_header(r, "Cache-Control", "no-store") != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_send_header(r);
}


static ngx_int_t
ngx_http_breaker_send_text(ngx_http_request_t *r, enum breaker_format format, const char *type)
{
    u_char *text;
    size_t size, length;
    ngx_int_t rc;
    ngx_buf_t *b;
    ngx_chain_t out;

    size = NGX_HTTP_BREAKER_EXPORT_SLACK;
    length = 0;
    text = ngx_palloc(r->pool, size);
    b = ngx_calloc_buf(r->pool);

    if (text == NULL || b == NULL || ngx_http_breaker_export(r, format, &text, &size, &length) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_breaker_send_status_header(r, type, length);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b->pos = text;
    b->last = text + length;
    b->memory = length > 0;
    b->last_buf = r == r->main;
    b->last_in_chain = 1;
    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


static void
ngx_http_breaker_stream_cleanup(void *data)
{
    ngx_http_breaker_stream_t *s = data;

    if (s->timer.timer_set) {
        ngx_del_timer(&s->timer);
    }
}


/* what a slow client has not taken yet; a client that does not read is given send_timeout */
static void
ngx_http_breaker_stream_writer(ngx_http_request_t *r)
{
    ngx_event_t *wev;
    ngx_http_core_loc_conf_t *clcf;

    wev = r->connection->write;

    if (wev->timedout) {
        r->connection->timedout = 1;
        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (ngx_http_output_filter(r, NULL) == NGX_ERROR) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (!r->buffered && !r->connection->buffered) {
        if (wev->timer_set) {
            ngx_del_timer(wev);
        }

    } else if (!wev->timer_set) {
        ngx_add_timer(wev, clcf->send_timeout);
    }

    if (ngx_handle_write_event(wev, 0) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_ERROR);
    }
}


static void
ngx_http_breaker_stream_frame(ngx_event_t *ev)
{
    size_t length;
    ngx_chain_t out;
    ngx_connection_t *c;
    ngx_http_request_t *r;
    ngx_http_breaker_stream_t *s;

    s = ev->data;
    r = s->request;
    c = r->connection;

    if (ngx_exiting) {
        ngx_http_finalize_request(r, ngx_http_send_special(r, NGX_HTTP_LAST));
        ngx_http_run_posted_requests(c);
        return;
    }

    ngx_add_timer(ev, NGX_HTTP_BREAKER_STREAM_MS);

    if (!r->buffered && !c->buffered) {
        length = 0;

        if (ngx_http_breaker_export(r, BREAKER_STREAM, &s->buf.start, &s->size, &length) != NGX_OK) {
            ngx_http_finalize_request(r, NGX_ERROR);
            ngx_http_run_posted_requests(c);
            return;
        }

        s->buf.pos = s->buf.start;
        s->buf.last = s->buf.start + length;
        s->buf.temporary = length > 0;
        s->buf.flush = 1;
        out.buf = &s->buf;
        out.next = NULL;

        if (ngx_http_output_filter(r, &out) == NGX_ERROR) {
            ngx_http_finalize_request(r, NGX_ERROR);
            ngx_http_run_posted_requests(c);
            return;
        }
    }

    ngx_http_breaker_stream_writer(r);
    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_http_breaker_send_stream(ngx_http_request_t *r)
{
    ngx_int_t rc;
    ngx_pool_cleanup_t *cln;
    ngx_http_breaker_stream_t *s;

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_breaker_stream_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    s = cln->data;
    ngx_memzero(s, sizeof(ngx_http_breaker_stream_t));
    cln->handler = ngx_http_breaker_stream_cleanup;

    s->request = r;
    s->size = NGX_HTTP_BREAKER_EXPORT_SLACK;
    s->buf.start = ngx_palloc(r->pool, s->size);
    s->timer.handler = ngx_http_breaker_stream_frame;
    s->timer.data = s;
    s->timer.log = r->connection->log;
    s->timer.cancelable = 1;

    rc = ngx_http_breaker_send_status_header(r, "text/event-stream", -1);

    if (s->buf.start == NULL || rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    r->main->count++;
    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_breaker_stream_writer;
    ngx_add_timer(&s->timer, 0);

    return NGX_DONE;
}


static ngx_int_t
ngx_http_breaker_status_handler(ngx_http_request_t *r)
{
    ngx_int_t rc;
    ngx_str_t format;

    if (!(r->method & (NGX_HTTP_GET | NGX_HTTP_HEAD))) {
        if (ngx_http_breaker_add_header(r, "Allow", "GET, HEAD") != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_breaker_problem(r, NGX_HTTP_NOT_ALLOWED, "Method Not Allowed",
                                        "\"code\":\"method-not-allowed\"");
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_arg(r, (u_char *) "format", 6, &format) != NGX_OK ||
        (format.len == 4 && ngx_strncmp(format.data, "json", 4) == 0)) {
        return ngx_http_breaker_send_text(r, BREAKER_JSON, "application/json");
    }

    if (format.len == 10 && ngx_strncmp(format.data, "prometheus", 10) == 0) {
        return ngx_http_breaker_send_text(r, BREAKER_OPENMETRICS,
                                          "application/openmetrics-text; version=1.0.0; charset=utf-8");
    }

    if (format.len == 6 && ngx_strncmp(format.data, "stream", 6) == 0) {
        return r == r->main ? ngx_http_breaker_send_stream(r) : NGX_HTTP_NOT_FOUND;
    }

    return ngx_http_breaker_problem(
        r, NGX_HTTP_BAD_REQUEST, "Bad Request",
        "\"code\":\"unknown-format\",\"detail\":\"format is json, prometheus or stream\"");
}


/* ---- Control (G11) ---- */

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
ngx_http_breaker_control_handler(ngx_http_request_t *r)
{
    ngx_int_t rc;
    ngx_uint_t order;
    struct breaker breaker;

    if (r->method != NGX_HTTP_POST) {
        if (ngx_http_breaker_add_header(r, "Allow", "POST") != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
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
