/* The shared zone and the processes (G9): a region of libbreaker inside a zone of nginx, made once, kept over
 * reloads.
 *
 * The master makes the breakers when a new configuration is certain to be used, and gives them its rules;
 * each worker attaches and owns a shard of counters. A worker that is killed leaves its shard to the next
 * one. */
#include "ngx_http_breaker.h"


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


static ngx_uint_t
ngx_http_breaker_is_keyed(ngx_http_breaker_main_conf_t *mcf, ngx_http_breaker_t *breaker, ngx_uint_t *servers)
{
    ngx_uint_t i, n;
    ngx_http_breaker_upstream_t *u;

    u = mcf->upstreams.elts;

    for (i = 0, n = 0; i < mcf->upstreams.nelts; i++) {
        if (u[i].peers && u[i].peers->breaker == breaker) {
            n += u[i].servers.nelts;
        }
    }

    *servers += n;

    return n > 0 || breaker->key != NULL;
}


/* What the breakers by key need of each: slices (or 16 calls of a window that counts them) and probes. Returns how many
 * there must be room for: one for each server, and at least one for clients. */
static ngx_uint_t
ngx_http_breaker_key_options(ngx_http_breaker_main_conf_t *mcf, struct breaker_region_options *options)
{
    ngx_uint_t i, servers, keyed;
    ngx_http_breaker_t **b;

    b = mcf->breakers.elts;
    options->key_slices = NGX_HTTP_BREAKER_KEY_SLICES;
    options->key_probes = NGX_HTTP_BREAKER_KEY_PROBES;

    for (i = 0, servers = 0, keyed = 0; i < mcf->breakers.nelts; i++) {
        if (!ngx_http_breaker_is_keyed(mcf, b[i], &servers)) {
            continue;
        }

        keyed = 1;
        options->key_slices = ngx_max(options->key_slices, b[i]->config.window_count
                                                               ? (b[i]->config.window_count + 15) / 16
                                                               : b[i]->config.slices);
        options->key_probes = ngx_max(options->key_probes, b[i]->config.probes);
    }

    return servers + keyed;
}


/* the most of *count, which is one of options' own, that fits into so many bytes; 0: not even one */
static uint32_t
ngx_http_breaker_fit(struct breaker_region_options *options, uint32_t *count, size_t size)
{
    uint32_t low, high;

    low = 0;
    high = BREAKER_BREAKERS_MAX;

    while (low < high) {
        *count = (low + high + 1) / 2;

        if (breaker_region_size(options) <= size) {
            low = *count;

        } else {
            high = *count - 1;
        }
    }

    *count = low ? low : 1;

    return low;
}


static uint32_t
ngx_http_breaker_shards(ngx_http_breaker_main_conf_t *mcf)
{
    return ngx_min(ngx_max(4 * mcf->workers, 8), BREAKER_SHARDS_MAX);
}


/* Named breakers as configured and some more for reloads, half of the zone if no key is used; all the rest is for
 * keys. Shards for two generations of workers, since a reload runs both for a while. NGX_DECLINED: too small. */
static ngx_int_t
ngx_http_breaker_divide(ngx_http_breaker_main_conf_t *mcf, struct breaker_region_options *options, size_t size)
{
    ngx_uint_t needed, keys;

    needed = ngx_max(ngx_http_breaker_needed(mcf), 1);
    keys = ngx_http_breaker_key_options(mcf, options);
    options->struct_size = sizeof(struct breaker_region_options);
    options->slices = NGX_HTTP_BREAKER_SLICES_MAX; /* a reload may ask for more than the first start */
    options->shards = ngx_http_breaker_shards(mcf);
    options->keys = ngx_max(keys, 1);

    if (ngx_http_breaker_fit(options, &options->breakers, keys ? size : size / 2) < needed) {
        (void) ngx_http_breaker_fit(options, &options->breakers, size);
    }

    if (options->breakers < needed || breaker_region_size(options) > size) {
        return NGX_DECLINED;
    }

    if (keys) {
        options->breakers = ngx_min(options->breakers, needed + ngx_max(needed / 2, 2));
    }

    (void) ngx_http_breaker_fit(options, &options->keys, size);

    return NGX_OK;
}


static void
ngx_http_breaker_say_sizes(ngx_shm_zone_t *zone, struct breaker_region_options *options)
{
    ngx_log_error(NGX_LOG_NOTICE, zone->shm.log, 0, "breaker_zone \"%V\" of %uz bytes holds %uD breakers and %uD by key",
                  &zone->shm.name, zone->shm.size, options->breakers, options->keys);

    if (ngx_test_config && !ngx_quiet_mode) {
        ngx_log_stderr(0, "breaker_zone \"%V\" of %uz bytes holds %uD breakers and %uD by key", &zone->shm.name,
                       zone->shm.size, options->breakers, options->keys);
    }
}


/* Calls that a window can count: 16 for each slice of each shard and of the common one. */
static ngx_int_t
ngx_http_breaker_check_windows(ngx_shm_zone_t *zone, ngx_http_breaker_main_conf_t *mcf, uint32_t shards, uint32_t slices)
{
    uint32_t most;
    ngx_uint_t i;
    ngx_http_breaker_t **b;

    b = mcf->breakers.elts;
    most = 16 * slices * (shards + 1);

    for (i = 0; i < mcf->breakers.nelts; i++) {
        if (b[i]->config.window_count > most) {
            ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0,
                          "breaker \"%V\": window=count:%uD: a zone for so many workers has room for count:%uD at most in %s:%ui",
                          &b[i]->name, b[i]->config.window_count, most, b[i]->file, b[i]->line);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* A reload with the same size: the memory stays as it was divided, if the new configuration fits. */
static ngx_int_t
ngx_http_breaker_keep(ngx_shm_zone_t *zone, ngx_http_breaker_main_conf_t *mcf)
{
    ngx_uint_t needed, keys;
    struct breaker_region region;
    struct breaker_region_options options;

    ngx_memzero(&options, sizeof(struct breaker_region_options));
    needed = ngx_http_breaker_needed(mcf);
    keys = ngx_http_breaker_key_options(mcf, &options);

    if (breaker_region_observe(&region, mcf->memory, mcf->memory_size, 0) != 0) {
        return NGX_OK; /* said when the workers attach */
    }

    if (region.breakers < needed || region.keys < keys || (keys && region.key_slices < options.key_slices) ||
        (keys && region.key_probes < options.key_probes)) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0,
                      "breaker_zone \"%V\" was divided for %uD breakers and %uD by key with %uD slices and %uD probes; "
                      "%ui, %ui, %uD and %uD are configured: give it another size, all states are kept",
                      &zone->shm.name, region.breakers, region.keys, region.key_slices, region.key_probes, needed, keys,
                      options.key_slices, options.key_probes);
        return NGX_ERROR;
    }

    return ngx_http_breaker_check_windows(zone, mcf, region.shards, region.slices);
}


ngx_int_t
ngx_http_breaker_init_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_http_breaker_main_conf_t *old = data;

    int answer;
    ngx_slab_pool_t *pool;
    struct breaker_region_options options;
    ngx_http_breaker_main_conf_t *mcf;

    mcf = zone->data;

    if (old) { /* a reload: all counts stay */
        mcf->memory = old->memory;
        mcf->memory_size = old->memory_size;
        return ngx_http_breaker_keep(zone, mcf);
    }

    pool = (ngx_slab_pool_t *) zone->shm.addr;
    mcf->memory_size = pool->pfree * ngx_pagesize;
    mcf->memory = ngx_slab_alloc(pool, mcf->memory_size);
    if (mcf->memory == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&options, sizeof(struct breaker_region_options));

    /* first: a window that never fits needs no larger zone */
    if (ngx_http_breaker_check_windows(zone, mcf, ngx_http_breaker_shards(mcf), NGX_HTTP_BREAKER_SLICES_MAX) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_breaker_divide(mcf, &options, mcf->memory_size) != NGX_OK) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0,
                      "breaker_zone \"%V\" of %uz bytes holds %uD breakers, %ui are configured, and %uD by key: enlarge it",
                      &zone->shm.name, zone->shm.size, options.breakers, ngx_http_breaker_needed(mcf), options.keys);
        return NGX_ERROR;
    }

    answer = breaker_region_init(mcf->memory, mcf->memory_size, &options);
    if (answer != 0) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0, "breaker_zone \"%V\": %s", &zone->shm.name,
                      breaker_answer_text(answer));
        return NGX_ERROR;
    }

    ngx_http_breaker_say_sizes(zone, &options);
    mcf->fresh = 1;

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


/* A reload gave the zone another size or name: its memory is new, and what the breakers were goes there. The old workers go
 * on with the old one. */
static void
ngx_http_breaker_carry_over(ngx_cycle_t *cycle, ngx_http_breaker_main_conf_t *mcf)
{
    int answer;
    ngx_uint_t i;
    struct breaker_region region;
    ngx_http_breaker_main_conf_t *old;

    if (ngx_cycle == NULL || ngx_cycle == cycle || ngx_cycle->conf_ctx == NULL || ngx_cycle->modules == NULL) {
        return;
    }

    for (i = 0; ngx_cycle->modules[i] != &ngx_http_breaker_module; i++) {
        if (ngx_cycle->modules[i] == NULL) {
            return; /* it was not loaded then */
        }
    }

    old = ngx_http_breaker_cycle_conf((ngx_cycle_t *) ngx_cycle);

    if (old == NULL || old->memory == mcf->memory ||
        breaker_region_observe(&region, old->memory, old->memory_size, 0) != 0) {
        return;
    }

    answer = breaker_region_copy(&mcf->region, &region, ngx_http_breaker_now());
    if (answer != 0) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, 0, "breaker_zone: not all breakers were carried over: %s",
                      breaker_answer_text(answer));
    }

    breaker_region_detach(&region);
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

    if (mcf->fresh) {
        ngx_http_breaker_carry_over(cycle, mcf);
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
