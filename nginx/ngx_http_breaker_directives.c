/* The directives: every value is checked where it is read, and a wrong one is an error of `nginx -t` that
 * names it and says what would do. What directives need of each other is checked when all are read
 * (ngx_http_breaker_module.c). */
#include "ngx_http_breaker.h"


static char ngx_http_breaker_duplicate[] = "is duplicate";


/* breaker_zone name size; */
char *
ngx_http_breaker_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_breaker_main_conf_t *mcf = conf;

    ssize_t size;
    ngx_str_t *value;

    if (mcf->zone) {
        return ngx_http_breaker_duplicate;
    }

    value = cf->args->elts;

    size = ngx_parse_size(&value[2]);
    if (size == NGX_ERROR || size < (ssize_t) (8 * ngx_pagesize)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid size \"%V\" of breaker zone \"%V\": a size like 64k or 8m is wanted, at least %uzk", &value[2],
                           &value[1], 8 * ngx_pagesize / 1024);
        return NGX_CONF_ERROR;
    }

    mcf->zone = ngx_shared_memory_add(cf, &value[1], size, &ngx_http_breaker_module);
    if (mcf->zone == NULL) {
        return NGX_CONF_ERROR;
    }

    mcf->zone->init = ngx_http_breaker_init_zone;
    mcf->zone->data = mcf;

    return NGX_CONF_OK;
}


/* breaker_use NAME|off [shadow]; */
char *
ngx_http_breaker_use(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_breaker_loc_conf_t *blcf = conf;

    ngx_str_t *value;

    if (blcf->name.data) {
        return ngx_http_breaker_duplicate;
    }

    value = cf->args->elts;
    blcf->name = value[1];
    blcf->own = 1;
    blcf->file = cf->conf_file->file.name.data;
    blcf->line = cf->conf_file->line;

    if (cf->args->nelts == 3) {
        if (ngx_strcmp(value[2].data, "shadow") != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\": only \"shadow\" may follow the name", &value[2]);
            return NGX_CONF_ERROR;
        }

        blcf->shadow = 1;
    }

    return NGX_CONF_OK;
}


/* "http_502" or "http_5xx"; NGX_ERROR: neither */
static ngx_int_t
ngx_http_breaker_class_status(ngx_http_breaker_class_t *class, ngx_str_t *word)
{
    ngx_int_t first, last, status;
    u_char *s = word->data;

    if (word->len != 8 || ngx_strncmp(s, "http_", 5) != 0) {
        return NGX_ERROR;
    }

    if (s[6] == 'x' && s[7] == 'x' && s[5] >= '1' && s[5] <= '5') {
        first = (s[5] - '0') * 100;
        last = first + 99;

    } else {
        first = last = ngx_atoi(s + 5, 3);
    }

    if (first < NGX_HTTP_BREAKER_STATUS_MIN || last > NGX_HTTP_BREAKER_STATUS_MAX) {
        return NGX_ERROR;
    }

    for (status = first; status <= last; status++) {
        class->statuses[status / 64] |= (uint64_t) 1 << status % 64;
    }

    return NGX_OK;
}


static struct {
    ngx_str_t name;
    ngx_uint_t event;
} ngx_http_breaker_events[] = {
    { ngx_string("error"), NGX_HTTP_BREAKER_ON_ERROR },
    { ngx_string("timeout"), NGX_HTTP_BREAKER_ON_TIMEOUT },
    { ngx_string("invalid_header"), NGX_HTTP_BREAKER_ON_INVALID_HEADER },
    { ngx_string("truncated"), NGX_HTTP_BREAKER_ON_TRUNCATED },
    { ngx_string("client_abort"), NGX_HTTP_BREAKER_ON_ABORT },
    { ngx_null_string, 0 },
};


/* breaker_failure, breaker_neutral: error timeout invalid_header truncated client_abort http_NNN http_Nxx off
 */
char *
ngx_http_breaker_class(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t *value;
    ngx_uint_t i, e;
    ngx_http_breaker_class_t *class;

    class = (ngx_http_breaker_class_t *) ((char *) conf + cmd->offset);

    if (class->set) {
        return ngx_http_breaker_duplicate;
    }

    class->set = 1;
    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        for (e = 0; ngx_http_breaker_events[e].event; e++) {
            if (value[i].len == ngx_http_breaker_events[e].name.len &&
                ngx_strcmp(value[i].data, ngx_http_breaker_events[e].name.data) == 0) {
                class->events |= ngx_http_breaker_events[e].event;
                break;
            }
        }

        if (ngx_http_breaker_events[e].event || ngx_http_breaker_class_status(class, &value[i]) == NGX_OK) {
            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\": error, timeout, invalid_header, truncated, client_abort, "
                           "http_100 to http_599, http_1xx to http_5xx, or off alone are wanted",
                           &value[i]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_breaker_fallback_element(ngx_http_breaker_fallback_t *f, ngx_str_t *text)
{
    u_char *eq;

    f->text = *text;

    if (ngx_strcmp(text->data, "cache") == 0) {
        f->kind = NGX_HTTP_BREAKER_CACHE;
        return NGX_OK;
    }

    if (text->data[0] == '@' && text->len > 1) {
        f->kind = NGX_HTTP_BREAKER_NAMED;
        f->uri = *text;
        return NGX_OK;
    }

    eq = ngx_strlchr(text->data, text->data + text->len, '=');
    if (eq == NULL || eq[1] != '/') {
        return NGX_ERROR;
    }

    f->kind = NGX_HTTP_BREAKER_STATIC;
    f->status = (ngx_uint_t) ngx_atoi(text->data, eq - text->data);
    f->uri.data = eq + 1;
    f->uri.len = text->data + text->len - f->uri.data;

    return f->status >= 200 && f->status <= NGX_HTTP_BREAKER_STATUS_MAX ? NGX_OK : NGX_ERROR;
}


/* A value of variables is looked at for each request; a constant must be one of the words, of which the last is NULL. */
static char *
ngx_http_breaker_set_word(ngx_conf_t *cf, ngx_command_t *cmd, void *conf, const char **words, const char *wanted)
{
    char *rv;
    ngx_str_t *value;
    ngx_uint_t i;
    ngx_http_complex_value_t **cv;

    rv = ngx_http_set_complex_value_slot(cf, cmd, conf);
    cv = (ngx_http_complex_value_t **) ((char *) conf + cmd->offset);

    if (rv != NGX_CONF_OK || (*cv)->lengths != NULL) {
        return rv;
    }

    value = cf->args->elts;

    for (i = 0; words[i]; i++) {
        if (ngx_strcmp(value[1].data, words[i]) == 0) {
            return NGX_CONF_OK;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid value \"%V\" of \"%V\": %s or a variable is wanted", &value[1],
                       &cmd->name, wanted);

    return NGX_CONF_ERROR;
}


/* breaker_class VALUE; */
char *
ngx_http_breaker_set_class(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    static const char *words[] = { "ok", "failure", "neutral", "no_slow", "feed", NULL };

    return ngx_http_breaker_set_word(cf, cmd, conf, words, "ok, failure, neutral, no_slow, feed");
}


/* breaker_idempotent on|off|VALUE; */
char *
ngx_http_breaker_set_idempotent(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    static const char *words[] = { "on", "off", NULL };

    return ngx_http_breaker_set_word(cf, cmd, conf, words, "on, off");
}


/* breaker_fallback [cache] [@named …] [STATUS=/uri]; or off */
char *
ngx_http_breaker_fallback(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_breaker_loc_conf_t *blcf = conf;

    ngx_str_t *value;
    ngx_uint_t i;
    ngx_http_breaker_fallback_t *f;

    if (blcf->fallbacks != NGX_CONF_UNSET_PTR) {
        return ngx_http_breaker_duplicate;
    }

    value = cf->args->elts;
    blcf->fallback_file = cf->conf_file->file.name.data;
    blcf->fallback_line = cf->conf_file->line;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        blcf->fallbacks = NULL;
        return NGX_CONF_OK;
    }

    if (cf->args->nelts - 1 > NGX_HTTP_BREAKER_FALLBACKS_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "breaker_fallback has %ui elements, %d are allowed",
                           cf->args->nelts - 1, NGX_HTTP_BREAKER_FALLBACKS_MAX);
        return NGX_CONF_ERROR;
    }

    blcf->fallbacks = ngx_array_create(cf->pool, cf->args->nelts - 1, sizeof(ngx_http_breaker_fallback_t));
    if (blcf->fallbacks == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {
        f = ngx_array_push(blcf->fallbacks);
        ngx_memzero(f, sizeof(ngx_http_breaker_fallback_t));

        if (ngx_http_breaker_fallback_element(f, &value[i]) != NGX_OK) {
            ngx_conf_log_error(
                NGX_LOG_EMERG, cf, 0,
                "invalid fallback \"%V\": cache, @name, or STATUS=/uri with a status of 200 to 599 "
                "are wanted",
                &value[i]);
            return NGX_CONF_ERROR;
        }

        if (f->kind == NGX_HTTP_BREAKER_CACHE && i != 1) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "fallback \"cache\" must come first");
            return NGX_CONF_ERROR;
        }

        if (f->kind == NGX_HTTP_BREAKER_STATIC && i != cf->args->nelts - 1) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "fallback \"%V\" must come last: it always answers",
                               &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* breaker_peers NAME [max_ejected=N%]; */
char *
ngx_http_breaker_peers(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_breaker_srv_conf_t *bscf = conf;

    ngx_int_t n;
    ngx_str_t *value, percent;

    if (bscf->name.data) {
        return ngx_http_breaker_duplicate;
    }

    value = cf->args->elts;
    bscf->name = value[1];
    bscf->max_ejected = 100;
    bscf->file = cf->conf_file->file.name.data;
    bscf->line = cf->conf_file->line;

    if (cf->args->nelts == 3) {
        percent = value[2];
        n = NGX_ERROR;

        if (percent.len > 13 && ngx_strncmp(percent.data, "max_ejected=", 12) == 0 &&
            percent.data[percent.len - 1] == '%') {
            n = ngx_atoi(percent.data + 12, percent.len - 13);
        }

        if (n == NGX_ERROR || n > 100) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\": max_ejected=0%% to 100%% is wanted", &value[2]);
            return NGX_CONF_ERROR;
        }

        bscf->max_ejected = n;
    }

    return NGX_CONF_OK;
}
