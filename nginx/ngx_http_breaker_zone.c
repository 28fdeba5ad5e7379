/* The shared zone and the processes (G9): a region of libbreaker inside a zone of nginx, made once, kept over
 * reloads.
 *
 * The master makes the breakers when a new configuration is certain to be used, and gives them its rules;
 * each worker attaches and owns a shard of counters. A worker that is killed leaves its shard to the next
 * one. */
#include "ngx_http_breaker.h"


/* as many breakers as fit; shards for two generations of workers, since a reload runs both for a while */
static size_t
ngx_http_breaker_fit(struct breaker_region_options *options, size_t size)
{
    uint32_t low, high, middle;

    low = 0;
    high = BREAKER_BREAKERS_MAX;

    while (low < high) {
        middle = (low + high + 1) / 2;
        options->breakers = middle;

        if (breaker_region_size(options) <= size) {
            low = middle;

        } else {
            high = middle - 1;
        }
    }

    options->breakers = low;

    return low ? breaker_region_size(options) : 0;
}


static ngx_uint_t
ngx_http_breaker_needed(ngx_http_breaker_main_conf_t *mcf)
{
    ngx_uint_t i, n;
    ngx_http_breaker_t **b;

    b = mcf->breakers.elts;

    for (i = 0, n = 0; i < mcf->breakers.nelts; i++) {
        n += 1 + (b[i]->max_streams > 0) + (b[i]->max_fallbacks > 0);
    }

    return n;
}


ngx_int_t
ngx_http_breaker_init_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_http_breaker_main_conf_t *old = data;

    int answer;
    ngx_uint_t needed;
    ngx_slab_pool_t *pool;
    struct breaker_region_options options;
    ngx_http_breaker_main_conf_t *mcf;

    mcf = zone->data;

    if (old) { /* a reload: all counts stay */
        mcf->memory = old->memory;
        mcf->memory_size = old->memory_size;
        return NGX_OK;
    }

    pool = (ngx_slab_pool_t *) zone->shm.addr;
    mcf->memory_size = pool->pfree * ngx_pagesize;
    mcf->memory = ngx_slab_alloc(pool, mcf->memory_size);
    if (mcf->memory == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&options, sizeof(struct breaker_region_options));
    options.struct_size = sizeof(struct breaker_region_options);
    options.slices = NGX_HTTP_BREAKER_SLICES_MAX; /* a reload may ask for more than the first start */
    options.shards = ngx_min(ngx_max(4 * mcf->workers, 8), BREAKER_SHARDS_MAX);

    needed = ngx_http_breaker_needed(mcf);

    if (ngx_http_breaker_fit(&options, mcf->memory_size) == 0 || options.breakers < needed) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0,
                      "breaker_zone \"%V\" of %uz bytes holds %uD breakers, %ui are configured: enlarge it",
                      &zone->shm.name, zone->shm.size, options.breakers, needed);
        return NGX_ERROR;
    }

    answer = breaker_region_init(mcf->memory, mcf->memory_size, &options);
    if (answer != 0) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0, "breaker_zone \"%V\": %s", &zone->shm.name,
                      breaker_answer_text(answer));
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_http_breaker_main_conf_t *
ngx_http_breaker_cycle_conf(ngx_cycle_t *cycle)
{
    ngx_http_breaker_main_conf_t *mcf;

    if (cycle->conf_ctx[ngx_http_module.index] == NULL) {
        return NULL;
    }

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_breaker_module);

    return mcf && mcf->memory ? mcf : NULL;
}


static void
ngx_http_breaker_make(ngx_cycle_t *cycle, ngx_http_breaker_main_conf_t *mcf, ngx_str_t *name,
                      const char *suffix, const struct breaker_config *config, struct breaker *ret_handle)
{
    int answer;
    char full[BREAKER_NAME_MAX + 1];
    struct breaker_problem problem;

    problem.message[0] = '\0';
    ngx_sprintf((u_char *) full, "%V%s%Z", name, suffix);

    answer = breaker_get(&mcf->region, full, config, ngx_http_breaker_now(), ret_handle, &problem);
    if (answer != 0) {
        ngx_log_error(NGX_LOG_ERR, cycle->log, 0, "breaker \"%s\": %s; calls pass unguarded", full,
                      problem.message[0] ? problem.message : breaker_answer_text(answer));
    }
}


/* a breaker that never trips and only counts what is under way */
static void
ngx_http_breaker_make_bulkhead(ngx_cycle_t *cycle, ngx_http_breaker_main_conf_t *mcf, ngx_str_t *name,
                               const char *suffix, ngx_uint_t limit, struct breaker *ret_handle)
{
    struct breaker_config config;

    if (limit == 0) {
        return;
    }

    breaker_config_init(&config);
    config.failure_rate = 0;
    config.consecutive = 0;
    config.slow_rate = 0;
    config.max_in_flight = limit;

    ngx_http_breaker_make(cycle, mcf, name, suffix, &config, ret_handle);
}


/* Once the new configuration is certain to be used: its rules win, the counts stay. */
ngx_int_t
ngx_http_breaker_init_module(ngx_cycle_t *cycle)
{
    int answer;
    ngx_uint_t i;
    ngx_http_breaker_t **b;
    ngx_http_breaker_main_conf_t *mcf;

    mcf = ngx_http_breaker_cycle_conf(cycle);
    if (mcf == NULL) {
        return NGX_OK;
    }

    answer = breaker_region_observe(&mcf->region, mcf->memory, mcf->memory_size, 0);
    if (answer != 0) {
        ngx_log_error(NGX_LOG_ERR, cycle->log, 0, "breaker_zone: %s; calls pass unguarded",
                      breaker_answer_text(answer));
        return NGX_OK;
    }

    b = mcf->breakers.elts;

    for (i = 0; i < mcf->breakers.nelts; i++) {
        ngx_http_breaker_make(cycle, mcf, &b[i]->name, "", &b[i]->config, &b[i]->handle);
        ngx_http_breaker_make_bulkhead(cycle, mcf, &b[i]->name, ".streams", b[i]->max_streams,
                                       &b[i]->streams);
        ngx_http_breaker_make_bulkhead(cycle, mcf, &b[i]->name, ".fallbacks", b[i]->max_fallbacks,
                                       &b[i]->fallbacks);
    }

    breaker_region_detach(&mcf->region);

    return NGX_OK;
}


ngx_int_t
ngx_http_breaker_init_process(ngx_cycle_t *cycle)
{
    int answer;
    ngx_uint_t i;
    ngx_http_breaker_t **b;
    ngx_http_breaker_main_conf_t *mcf;

    mcf = ngx_http_breaker_cycle_conf(cycle);

    if (mcf == NULL || (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)) {
        return NGX_OK;
    }

    answer = breaker_region_attach(&mcf->region, mcf->memory, mcf->memory_size, 1, 0);
    if (answer != 0) {
        ngx_log_error(NGX_LOG_ERR, cycle->log, 0, "breaker_zone: %s", breaker_answer_text(answer));
    }

    b = mcf->breakers.elts;

    for (i = 0; i < mcf->breakers.nelts; i++) {
        ngx_http_breaker_make(cycle, mcf, &b[i]->name, "", NULL, &b[i]->handle);

        if (b[i]->retry_budget) {
            (void) breaker_retry_init(&b[i]->retry, 0, 0, 0, b[i]->retry_budget, 0, ngx_pid);
        }

        if (b[i]->max_streams) {
            ngx_http_breaker_make(cycle, mcf, &b[i]->name, ".streams", NULL, &b[i]->streams);
        }

        if (b[i]->max_fallbacks) {
            ngx_http_breaker_make(cycle, mcf, &b[i]->name, ".fallbacks", NULL, &b[i]->fallbacks);
        }
    }

    return NGX_OK;
}


void
ngx_http_breaker_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_breaker_main_conf_t *mcf;

    mcf = ngx_http_breaker_cycle_conf(cycle);

    if (mcf && (ngx_process == NGX_PROCESS_WORKER || ngx_process == NGX_PROCESS_SINGLE)) {
        breaker_region_detach(&mcf->region);
    }
}
