/* The tables that nginx reads, and configurations: created, merged, and checked when all is read. The story
 * of the module is in ngx_http_breaker.h. */
#include "ngx_http_breaker.h"


static void *ngx_http_breaker_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_breaker_create_srv_conf(ngx_conf_t *cf);
static void *ngx_http_breaker_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_breaker_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child);
static ngx_int_t ngx_http_breaker_postconfiguration(ngx_conf_t *cf);


static ngx_command_t ngx_http_breaker_commands[] = {

    { ngx_string("breaker_zone"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE2, ngx_http_breaker_zone,
      NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL },

    { ngx_string("breaker"), NGX_HTTP_MAIN_CONF | NGX_CONF_1MORE, ngx_http_breaker_define,
      NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL },

    { ngx_string("breaker_use"), NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_TAKE12,
      ngx_http_breaker_use, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL },

    { ngx_string("breaker_failure"),
      NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_1MORE, ngx_http_breaker_class,
      NGX_HTTP_LOC_CONF_OFFSET, offsetof(ngx_http_breaker_loc_conf_t, failure), NULL },

    { ngx_string("breaker_neutral"),
      NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_1MORE, ngx_http_breaker_class,
      NGX_HTTP_LOC_CONF_OFFSET, offsetof(ngx_http_breaker_loc_conf_t, neutral), NULL },

    { ngx_string("breaker_class"),
      NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1,
      ngx_http_breaker_set_class, NGX_HTTP_LOC_CONF_OFFSET, offsetof(ngx_http_breaker_loc_conf_t, class), NULL },

    { ngx_string("breaker_idempotent"),
      NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1,
      ngx_http_breaker_set_idempotent, NGX_HTTP_LOC_CONF_OFFSET, offsetof(ngx_http_breaker_loc_conf_t, idempotent), NULL },

    { ngx_string("breaker_fallback"),
      NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_1MORE, ngx_http_breaker_fallback,
      NGX_HTTP_LOC_CONF_OFFSET, 0, NULL },

    { ngx_string("breaker_peers"), NGX_HTTP_UPS_CONF | NGX_CONF_TAKE12, ngx_http_breaker_peers,
      NGX_HTTP_SRV_CONF_OFFSET, 0, NULL },

    { ngx_string("breaker_status"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, ngx_http_breaker_status,
      NGX_HTTP_LOC_CONF_OFFSET, 0, NULL },

    { ngx_string("breaker_control"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, ngx_http_breaker_control,
      NGX_HTTP_LOC_CONF_OFFSET, 0, NULL },

    ngx_null_command
};


static ngx_http_module_t ngx_http_breaker_module_ctx = {
    ngx_http_breaker_add_variables,     /* preconfiguration */
    ngx_http_breaker_postconfiguration, /* postconfiguration */

    ngx_http_breaker_create_main_conf, /* create main configuration */
    NULL,                              /* init main configuration */

    ngx_http_breaker_create_srv_conf, /* create server configuration */
    NULL,                             /* merge server configuration */

    ngx_http_breaker_create_loc_conf, /* create location configuration */
    ngx_http_breaker_merge_loc_conf   /* merge location configuration */
};


ngx_module_t ngx_http_breaker_module = { NGX_MODULE_V1,
                                         &ngx_http_breaker_module_ctx,  /* module context */
                                         ngx_http_breaker_commands,     /* module directives */
                                         NGX_HTTP_MODULE,               /* module type */
                                         NULL,                          /* init master */
                                         ngx_http_breaker_init_module,  /* init module */
                                         ngx_http_breaker_init_process, /* init process */
                                         NULL,                          /* init thread */
                                         NULL,                          /* exit thread */
                                         ngx_http_breaker_exit_process, /* exit process */
                                         NULL,                          /* exit master */
                                         NGX_MODULE_V1_PADDING };


/* ---- Configuration ---- */

static void *
ngx_http_breaker_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_breaker_main_conf_t *mcf;

    mcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_breaker_main_conf_t));
    if (mcf == NULL || ngx_array_init(&mcf->breakers, cf->pool, 4, sizeof(ngx_http_breaker_t *)) != NGX_OK ||
        ngx_array_init(&mcf->locations, cf->pool, 8, sizeof(ngx_http_breaker_loc_conf_t *)) != NGX_OK) {
        return NULL;
    }

    return mcf;
}


static void *
ngx_http_breaker_create_srv_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_breaker_srv_conf_t));
}


static void *
ngx_http_breaker_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_breaker_loc_conf_t *blcf;

    blcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_breaker_loc_conf_t));
    if (blcf != NULL) {
        blcf->fallbacks = NGX_CONF_UNSET_PTR;
        blcf->class = NGX_CONF_UNSET_PTR;
        blcf->idempotent = NGX_CONF_UNSET_PTR;
    }

    return blcf;
}


/* The upstream settings of whichever *_pass the location has. Each of these modules keeps them first in its
 * own configuration. Ours is the last module, so that theirs is merged already. */
static ngx_http_upstream_conf_t *
ngx_http_breaker_pass_conf(ngx_conf_t *cf, ngx_uint_t *ret_is_passing)
{
    static const char *names[] = { "ngx_http_proxy_module", "ngx_http_fastcgi_module",
                                   "ngx_http_uwsgi_module", "ngx_http_scgi_module",
                                   "ngx_http_grpc_module",  NULL };
    void **loc_conf;
    ngx_uint_t i, n;
    ngx_module_t *module;
    ngx_http_upstream_conf_t *conf, *proxy;

    loc_conf = ((ngx_http_conf_ctx_t *) cf->ctx)->loc_conf;
    proxy = NULL;

    for (i = 0; cf->cycle->modules[i]; i++) {
        module = cf->cycle->modules[i];

        for (n = 0; names[n]; n++) {
            if (module->type != NGX_HTTP_MODULE || ngx_strcmp(module->name, names[n]) != 0) {
                continue;
            }

            conf = loc_conf[module->ctx_index];

            if (n == 0) {
                proxy = conf;
            }

            if (conf->upstream) {
                *ret_is_passing = 1;
                return conf;
            }
        }
    }

    return proxy; /* a proxy_pass with a variable has no upstream yet */
}


static ngx_http_breaker_class_t ngx_http_breaker_default_failure = {
    1,
    NGX_HTTP_BREAKER_ON_ERROR | NGX_HTTP_BREAKER_ON_TIMEOUT | NGX_HTTP_BREAKER_ON_INVALID_HEADER |
        NGX_HTTP_BREAKER_ON_TRUNCATED,
    /* 500, 502, 503 and 504 */
    { 0, 0, 0, 0, 0, 0, 0,
      (uint64_t) 1 << 500 % 64 | (uint64_t) 1 << 502 % 64 | (uint64_t) 1 << 503 % 64 |
          (uint64_t) 1 << 504 % 64 }
};

static ngx_http_breaker_class_t ngx_http_breaker_default_neutral = {
    1, NGX_HTTP_BREAKER_ON_ABORT, { 0, 0, 0, 0, 0, 0, (uint64_t) 1 << 429 % 64 }
};


/* server_names is temporary memory: what breaker_control needs of it is copied */
static ngx_int_t
ngx_http_breaker_copy_hosts(ngx_conf_t *cf, ngx_http_breaker_loc_conf_t *conf)
{
    ngx_str_t *host;
    ngx_uint_t i;
    ngx_http_server_name_t *names;
    ngx_http_core_srv_conf_t *cscf;

    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);
    names = cscf->server_names.elts;

    conf->hosts = ngx_array_create(cf->pool, cscf->server_names.nelts + 1, sizeof(ngx_str_t));
    if (conf->hosts == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < cscf->server_names.nelts; i++) {
        if (names[i].name.len) {
            host = ngx_array_push(conf->hosts);
            *host = names[i].name;
        }
    }

    return NGX_OK;
}


/* what a location is, once its directives are known: where it stands, what it calls, which breaker it has */
static char *
ngx_http_breaker_place(ngx_conf_t *cf, ngx_http_breaker_loc_conf_t *conf, ngx_http_core_loc_conf_t *clcf)
{
    ngx_http_breaker_loc_conf_t **slot;
    ngx_http_breaker_main_conf_t *mcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_breaker_module);
    conf->location = clcf->name;
    conf->server = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);
    conf->proxy = ngx_http_breaker_pass_conf(cf, &conf->passing);

    if (conf->name.data && (conf->name.len != 3 || ngx_strncmp(conf->name.data, "off", 3) != 0)) {

        conf->breaker = ngx_http_breaker_lookup(mcf, &conf->name);
        if (conf->breaker == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "breaker_use: unknown breaker \"%V\" in %s:%ui",
                          &conf->name, conf->file, conf->line);
            return NGX_CONF_ERROR;
        }

        /* A handler without an upstream block: a proxy_pass to a variable host. A status page looks the same,
         * therefore breaker_use must stand in the very location. */
        if (!conf->passing && clcf->handler != NULL && conf->own) {
            conf->early = 1;
            conf->passing = 1;
        }
    }

    slot = ngx_array_push(&mcf->locations);
    if (slot == NULL) {
        return NGX_CONF_ERROR;
    }

    *slot = conf;

    return NGX_CONF_OK;
}


static char *
ngx_http_breaker_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_breaker_loc_conf_t *prev = parent;
    ngx_http_breaker_loc_conf_t *conf = child;

    ngx_http_core_loc_conf_t *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (conf->name.data == NULL) {
        conf->own = clcf->noname && prev->own;
        conf->name = prev->name;
        conf->shadow = prev->shadow;
        conf->file = prev->file;
        conf->line = prev->line;
    }

    if (!conf->failure.set) {
        conf->failure = prev->failure.set ? prev->failure : ngx_http_breaker_default_failure;
    }

    if (!conf->neutral.set) {
        conf->neutral = prev->neutral.set ? prev->neutral : ngx_http_breaker_default_neutral;
    }

    if (conf->control && ngx_http_breaker_copy_hosts(cf, conf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    ngx_conf_merge_ptr_value(conf->class, prev->class, NULL);
    ngx_conf_merge_ptr_value(conf->idempotent, prev->idempotent, NULL);

    if (conf->fallbacks == NGX_CONF_UNSET_PTR) {
        conf->fallback_file = prev->fallback_file;
        conf->fallback_line = prev->fallback_line;
    }

    ngx_conf_merge_ptr_value(conf->fallbacks, prev->fallbacks, NULL);

    return ngx_http_breaker_place(cf, conf, clcf);
}


static ngx_int_t
ngx_http_breaker_has_location(ngx_http_core_srv_conf_t *cscf, ngx_str_t *name)
{
    ngx_http_core_loc_conf_t **clcfp;

    for (clcfp = cscf->named_locations; clcfp && *clcfp; clcfp++) {
        if ((*clcfp)->name.len == name->len && ngx_strncmp((*clcfp)->name.data, name->data, name->len) == 0) {
            return 1;
        }
    }

    return 0;
}


/* what a chain needs, once everything is read: proxy_cache for "cache", the location for "@name" */
static ngx_int_t
ngx_http_breaker_check_fallbacks(ngx_conf_t *cf, ngx_http_breaker_loc_conf_t *blcf)
{
    ngx_uint_t i;
    ngx_http_breaker_fallback_t *f;

    if (blcf->fallbacks == NULL || !blcf->passing) {
        return NGX_OK; /* inherited by something that calls no service */
    }

    f = blcf->fallbacks->elts;

    for (i = 0; i < blcf->fallbacks->nelts; i++) {

        if (f[i].kind == NGX_HTTP_BREAKER_NAMED && !ngx_http_breaker_has_location(blcf->server, &f[i].uri)) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "breaker_fallback: the server has no location \"%V\" in %s:%ui", &f[i].uri,
                          blcf->fallback_file, blcf->fallback_line);
            return NGX_ERROR;
        }

#if (NGX_HTTP_CACHE)
        if (f[i].kind == NGX_HTTP_BREAKER_CACHE &&
            (blcf->proxy == NULL || blcf->proxy->cache <= 0 ||
             !(blcf->proxy->cache_use_stale & NGX_HTTP_UPSTREAM_FT_ERROR))) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "breaker_fallback: \"cache\" needs proxy_cache and \"proxy_cache_use_stale error\" "
                          "in its location in %s:%ui",
                          blcf->fallback_file, blcf->fallback_line);
            return NGX_ERROR;
        }
#endif
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_breaker_postconfiguration(ngx_conf_t *cf)
{
    ngx_uint_t i;
    ngx_core_conf_t *ccf;
    ngx_http_handler_pt *h;
    ngx_http_breaker_loc_conf_t **locations;
    ngx_http_core_main_conf_t *cmcf;
    ngx_http_breaker_main_conf_t *mcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_breaker_module);

    if (mcf->breakers.nelts && mcf->zone == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "\"breaker\" needs a \"breaker_zone\" in the http block");
        return NGX_ERROR;
    }

    locations = mcf->locations.elts;

    for (i = 0; i < mcf->locations.nelts; i++) {
        if (ngx_http_breaker_check_fallbacks(cf, locations[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (mcf->breakers.nelts == 0) {
        return NGX_OK;
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(cf->cycle->conf_ctx, ngx_core_module);
    mcf->workers = ccf->worker_processes > 0 ? ccf->worker_processes : ngx_ncpu;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_breaker_early_handler;

    if (ngx_http_breaker_wrap_upstreams(cf, mcf) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_breaker_answer_init(cf);
}
