/* breaker_status: JSON, ?format=prometheus (OpenMetrics for those who accept it, the older text format for the others),
 * ?format=stream (a frame a second, until the client leaves). */
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


char *
ngx_http_breaker_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_breaker_status_handler;

    return NGX_CONF_OK;
}


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

    (void) breaker_region_sweep(&mcf->region); /* what is told as under way is: not the calls of killed workers */

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


/* Prometheus says that it takes OpenMetrics; what does not gets what everything reads. */
static ngx_int_t
ngx_http_breaker_send_metrics(ngx_http_request_t *r)
{
    ngx_table_elt_t *accept;

    accept = ngx_http_breaker_header(&r->headers_in.headers, "accept");

    if (accept && ngx_strlcasestrn(accept->value.data, accept->value.data + accept->value.len,
                                   (u_char *) "application/openmetrics-text", 28 - 1)) {
        return ngx_http_breaker_send_text(r, BREAKER_OPENMETRICS,
                                          "application/openmetrics-text; version=1.0.0; charset=utf-8");
    }

    return ngx_http_breaker_send_text(r, BREAKER_PROMETHEUS, "text/plain; version=0.0.4; charset=utf-8");
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


static ngx_uint_t
ngx_http_breaker_is(ngx_str_t *text, const char *word)
{
    return text->len == ngx_strlen(word) && ngx_strncmp(text->data, word, text->len) == 0;
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

    if (ngx_http_arg(r, (u_char *) "format", 6, &format) != NGX_OK) {
        ngx_str_set(&format, "json");
    }

    if (ngx_http_breaker_is(&format, "json")) {
        return ngx_http_breaker_send_text(r, BREAKER_JSON, "application/json");
    }

    if (ngx_http_breaker_is(&format, "prometheus")) {
        return ngx_http_breaker_send_metrics(r);
    }

    if (ngx_http_breaker_is(&format, "stream")) {
        return r == r->main ? ngx_http_breaker_send_stream(r) : NGX_HTTP_NOT_FOUND;
    }

    return ngx_http_breaker_problem(
        r, NGX_HTTP_BAD_REQUEST, "Bad Request",
        "\"code\":\"unknown-format\",\"detail\":\"format is json, prometheus or stream\"");
}
