/* The directive `breaker`: a name and its rules. What is libbreaker's is parsed by libbreaker; the module's
 * own parameters are key, max_streams, max_fallbacks and retry_budget. */
#include "ngx_http_breaker.h"


/* libbreaker wants strings that end in a zero */
static char *
ngx_http_breaker_cstr(ngx_pool_t *pool, u_char *data, size_t len)
{
    char *s;

    s = ngx_pnalloc(pool, len + 1);
    if (s != NULL) {
        ngx_memcpy(s, data, len);
        s[len] = '\0';
    }

    return s;
}


/* retry_budget=N% */
static ngx_int_t
ngx_http_breaker_retry_budget(ngx_conf_t *cf, ngx_http_breaker_t *breaker, ngx_str_t *arg)
{
    ngx_int_t n;

    n = arg->len > 14 && arg->data[arg->len - 1] == '%' ? ngx_atoi(arg->data + 13, arg->len - 14) : NGX_ERROR;

    if (n == NGX_ERROR || n < 1 || n > 1000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\": 1%% to 1000%% is wanted", arg);
        return NGX_ERROR;
    }

    breaker->retry_budget = n;

    return NGX_OK;
}


/* a parameter that is the module's own; NGX_DECLINED: it is libbreaker's */
static ngx_int_t
ngx_http_breaker_own_parameter(ngx_conf_t *cf, ngx_http_breaker_t *breaker, ngx_str_t *arg)
{
    ngx_int_t n;
    ngx_str_t value;
    ngx_uint_t *slot;
    ngx_http_compile_complex_value_t ccv;

    if (ngx_strncmp(arg->data, "key=", 4) == 0) {
        value.data = arg->data + 4;
        value.len = arg->len - 4;

        breaker->key = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
        if (breaker->key == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));
        ccv.cf = cf;
        ccv.value = &value;
        ccv.complex_value = breaker->key;

        if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
            return NGX_ERROR;
        }

        if (value.len == 0 || breaker->key->lengths == NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\": key must hold a variable",
                               arg);
            return NGX_ERROR;
        }

        return NGX_OK;
    }

    if (ngx_strncmp(arg->data, "max_streams=", 12) == 0) {
        slot = &breaker->max_streams;
        value.data = arg->data + 12;

    } else if (ngx_strncmp(arg->data, "max_fallbacks=", 14) == 0) {
        slot = &breaker->max_fallbacks;
        value.data = arg->data + 14;

    } else if (ngx_strncmp(arg->data, "retry_budget=", 13) == 0) {
        return ngx_http_breaker_retry_budget(cf, breaker, arg);

    } else {
        return NGX_DECLINED;
    }

    value.len = arg->data + arg->len - value.data;

    n = ngx_atoi(value.data, value.len);
    if (n == NGX_ERROR || n > 1000000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\": a number from 0 to 1000000 is wanted", arg);
        return NGX_ERROR;
    }

    *slot = n;

    return NGX_OK;
}


static ngx_int_t
ngx_http_breaker_parameter(ngx_conf_t *cf, ngx_http_breaker_t *breaker, ngx_str_t *arg)
{
    char *field, *value;
    u_char *eq;
    ngx_int_t rc;
    struct breaker_problem problem;

    rc = ngx_http_breaker_own_parameter(cf, breaker, arg);
    if (rc != NGX_DECLINED) {
        return rc;
    }

    eq = ngx_strlchr(arg->data, arg->data + arg->len, '=');
    if (eq == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\": name=value is wanted", arg);
        return NGX_ERROR;
    }

    field = ngx_http_breaker_cstr(cf->temp_pool, arg->data, eq - arg->data);
    value = ngx_http_breaker_cstr(cf->temp_pool, eq + 1, arg->data + arg->len - eq - 1);
    if (field == NULL || value == NULL) {
        return NGX_ERROR;
    }

    if (breaker_config_set(&breaker->config, field, value, &problem) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\": %s", arg, problem.message);
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_http_breaker_t *
ngx_http_breaker_lookup(ngx_http_breaker_main_conf_t *mcf, ngx_str_t *name)
{
    ngx_uint_t i;
    ngx_http_breaker_t **breakers;

    breakers = mcf->breakers.elts;

    for (i = 0; i < mcf->breakers.nelts; i++) {
        if (breakers[i]->name.len == name->len &&
            ngx_strncmp(breakers[i]->name.data, name->data, name->len) == 0) {
            return breakers[i];
        }
    }

    return NULL;
}


/* a name goes into paths, JSON, metrics and logs as it is; ":" and "." part it from keys and bulkheads */
static ngx_int_t
ngx_http_breaker_name_is_valid(ngx_str_t *name)
{
    u_char c;
    ngx_uint_t i;

    for (i = 0; i < name->len; i++) {
        c = name->data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
              c == '-')) {
            return 0;
        }
    }

    return name->len > 0 && name->len + sizeof(".fallbacks") - 1 <= BREAKER_NAME_MAX;
}


/* breaker NAME field=value …; */
char *
ngx_http_breaker_define(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_breaker_main_conf_t *mcf = conf;

    ngx_str_t *value, *arg;
    ngx_uint_t i, is_preset;
    ngx_http_breaker_t *breaker, **slot;
    struct breaker_problem problem;

    value = cf->args->elts;

    if (!ngx_http_breaker_name_is_valid(&value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid breaker name \"%V\": 1 to %uz of A-Z a-z 0-9 _ - are wanted", &value[1],
                           (size_t) BREAKER_NAME_MAX - (sizeof(".fallbacks") - 1));
        return NGX_CONF_ERROR;
    }

    if (ngx_http_breaker_lookup(mcf, &value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "breaker \"%V\" is defined twice", &value[1]);
        return NGX_CONF_ERROR;
    }

    breaker = ngx_pcalloc(cf->pool, sizeof(ngx_http_breaker_t));
    slot = ngx_array_push(&mcf->breakers);
    if (breaker == NULL || slot == NULL) {
        return NGX_CONF_ERROR;
    }

    *slot = breaker;
    breaker->name = value[1];
    breaker->file = cf->conf_file->file.name.data;
    breaker->line = cf->conf_file->line;
    breaker_config_init(&breaker->config);

    for (i = 2; i < 2 * cf->args->nelts - 2; i++) { /* twice: a preset comes first, wherever it stands */
        arg = &value[i < cf->args->nelts ? i : i - cf->args->nelts + 2];
        is_preset = ngx_strncmp(arg->data, "preset=", 7) == 0;

        if (is_preset == (i < cf->args->nelts) && ngx_http_breaker_parameter(cf, breaker, arg) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    if (breaker->config.slices > NGX_HTTP_BREAKER_SLICES_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "breaker \"%V\": slices=%uD: at most %d are possible in a zone", &breaker->name,
                           breaker->config.slices, NGX_HTTP_BREAKER_SLICES_MAX);
        return NGX_CONF_ERROR;
    }

    if (breaker_config_check(&breaker->config, &problem) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "breaker \"%V\": %s", &breaker->name, problem.message);
        return NGX_CONF_ERROR;
    }

    if (problem.is_warning) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0, "breaker \"%V\": %s", &breaker->name, problem.message);
    }

    return NGX_CONF_OK;
}
