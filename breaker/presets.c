/* Presets: what a user of another system knows, in our words. README.md says where each number is published
 * and what has no counterpart.
 *
 * Only what the system itself fixes stands here. What it derives from other settings is left to follow them (config.c),
 * so that a preset with one setting changed is that system with that setting changed. */
#include "config.h"

static const struct {
    const char *name, *text;
} presets[] = {
    {"default", ""},
    {"hystrix",
     "window=10s slices=10 min_calls=20 failure_rate=50% consecutive=off slow_rate=off slow_call=off "
     "evaluate=every open=5s open_max=off jitter=0% probes=1 probe_lease=1s ramp=0 "
     "max_in_flight=10 retry_after_max=0"},
    {"resilience4j",
     "window=count:100 min_calls=100 failure_rate=50% consecutive=off slow_rate=100% slow_call=60s "
     "evaluate=every open=60s open_max=off jitter=0% probes=10 probe_lease=10m ramp=0 "
     "retry_after_max=0"},
    {"envoy",
     "window=10s slices=20 min_calls=100 failure_rate=off consecutive=5 slow_rate=off slow_call=off "
     "open=30s open_max=300s jitter=0% probes=1 probe_lease=15s ramp=0 max_in_flight=1024 "
     "retry_after_max=0"},
};

void config_base(uint32_t preset, struct breaker_config *ret_config)
{
    char pair[96];
    breaker_config_init(ret_config);
    if (preset >= sizeof(presets) / sizeof(presets[0]))
        return;
    ret_config->preset = preset;
    for (const char *at = presets[preset].text; *at;) {
        size_t length = strcspn(at, " ");
        memcpy(pair, at, length);
        pair[length] = 0;
        char *equals = strchr(pair, '=');
        *equals = 0;
        config_store(ret_config, config_field_find(pair), equals + 1, NULL);
        at += length + (at[length] == ' ');
    }
}

int breaker_config_preset(struct breaker_config *config, const char *name,
                          struct breaker_problem *ret_problem)
{
    for (uint32_t i = 0; i < sizeof(presets) / sizeof(presets[0]); i++)
        if (strcmp(presets[i].name, name) == 0) {
            config_base(i, config);
            return 0;
        }
    return problem_say(ret_problem, "preset", name, "default | hystrix | resilience4j | envoy",
                       "no such preset", 0);
}

void rules_write(struct rules *rules, const struct breaker_config *c, uint64_t geometry, uint64_t serial)
{
    uint64_t slice = c->window_ns ? c->window_ns / c->slices : 1;
    uint64_t flags = (c->hung ? RULE_HUNG : 0) | (c->max_in_flight ? RULE_PLACES : 0) |
                     (c->window_count ? RULE_COUNT : 0) | (c->every ? RULE_EVERY : 0);
    word_store(&rules->flags, flags);
    word_store(&rules->slice_ns, slice);
    word_store(&rules->slice_inverse, UINT64_MAX / slice);
    word_store(&rules->slices, c->slices);
    word_store(&rules->slices_inverse, UINT64_MAX / c->slices);
    word_store(&rules->slow_call_ns, c->slow_call_ns);
    word_store(&rules->geometry, geometry);
    word_store(&rules->max_in_flight, c->max_in_flight);
    word_store(&rules->window_count, c->window_count);
    word_store(&rules->min_calls, c->window_count && c->window_count < c->min_calls ? c->window_count : c->min_calls);
    word_store(&rules->min_given, c->min_calls);
    word_store(&rules->failure_rate, c->failure_rate * UINT64_C(1000) + c->failure_rate_milli);
    word_store(&rules->consecutive, c->consecutive);
    word_store(&rules->slow_rate, c->slow_rate * UINT64_C(1000) + c->slow_rate_milli);
    word_store(&rules->open_ns, c->open_ns);
    word_store(&rules->open_max_ns, c->open_max_ns);
    word_store(&rules->jitter, c->jitter);
    word_store(&rules->probes, c->probes);
    word_store(&rules->probe_ok, c->probe_ok);
    word_store(&rules->probe_lease_ns, c->probe_lease_ns);
    word_store(&rules->ramp_ns, c->ramp_ns);
    word_store(&rules->forget_ns, c->forget_ns);
    word_store(&rules->retry_after_max_ns, c->retry_after_max_ns);
    word_store(&rules->key_idle_ns, c->key_idle_ns);
    word_store(&rules->mode, c->mode);
    word_store(&rules->window_ns, c->window_ns);
    word_store(&rules->serial, serial);
    word_store(&rules->origin, (uint64_t)c->preset << 32 | c->given);
}

void rules_read(const struct rules *rules, struct breaker_config *ret_config)
{
    uint64_t flags = word_load(&rules->flags);
    *ret_config = (struct breaker_config){
        .struct_size = sizeof(*ret_config),
        .mode = (uint32_t)word_load(&rules->mode),
        .window_ns = word_load(&rules->window_ns),
        .window_count = (uint32_t)word_load(&rules->window_count),
        .slices = (uint32_t)word_load(&rules->slices),
        .min_calls = (uint32_t)word_load(&rules->min_given),
        .failure_rate = (uint32_t)(word_load(&rules->failure_rate) / 1000),
        .failure_rate_milli = (uint32_t)(word_load(&rules->failure_rate) % 1000),
        .consecutive = (uint32_t)word_load(&rules->consecutive),
        .slow_rate = (uint32_t)(word_load(&rules->slow_rate) / 1000),
        .slow_rate_milli = (uint32_t)(word_load(&rules->slow_rate) % 1000),
        .slow_call_ns = word_load(&rules->slow_call_ns),
        .hung = (flags & RULE_HUNG) != 0,
        .every = (flags & RULE_EVERY) != 0,
        .open_ns = word_load(&rules->open_ns),
        .open_max_ns = word_load(&rules->open_max_ns),
        .jitter = (uint32_t)word_load(&rules->jitter),
        .probes = (uint32_t)word_load(&rules->probes),
        .probe_ok = (uint32_t)word_load(&rules->probe_ok),
        .max_in_flight = (uint32_t)word_load(&rules->max_in_flight),
        .probe_lease_ns = word_load(&rules->probe_lease_ns),
        .ramp_ns = word_load(&rules->ramp_ns),
        .forget_ns = word_load(&rules->forget_ns),
        .retry_after_max_ns = word_load(&rules->retry_after_max_ns),
        .key_idle_ns = word_load(&rules->key_idle_ns),
        .preset = (uint32_t)(word_load(&rules->origin) >> 32),
        .given = (uint32_t)word_load(&rules->origin),
    };
}
