/* All numbers of one breaker at once, read without stopping anyone. */
#include "calls.h"
#include "config.h"
#include "events.h"
#include "latency.h"
#include "registry.h"

static uint64_t total_of(const struct breaker *breaker, enum total which)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < breaker_shards(breaker); i++)
        sum += word_load(&breaker_shard(breaker, i)->total[which]);
    return sum;
}

static struct breaker_totals totals_of(const struct breaker *b)
{
    return (struct breaker_totals){
        .ok = total_of(b, TOTAL_OK) + latency_ok_count(b),
        .failure = total_of(b, TOTAL_FAILURE),
        .timeout = total_of(b, TOTAL_TIMEOUT),
        .slow = total_of(b, TOTAL_SLOW),
        .slow_failure = total_of(b, TOTAL_SLOW_FAILURE),
        .slow_timeout = total_of(b, TOTAL_SLOW_TIMEOUT),
        .neutral = total_of(b, TOTAL_NEUTRAL),
        .refused_open = total_of(b, TOTAL_REFUSED_OPEN),
        .refused_probing = total_of(b, TOTAL_REFUSED_PROBING),
        .refused_ramp = total_of(b, TOTAL_REFUSED_RAMP),
        .refused_full = total_of(b, TOTAL_REFUSED_FULL),
        .refused_forced = total_of(b, TOTAL_REFUSED_FORCED),
        .shadow_refused = total_of(b, TOTAL_SHADOW_REFUSED),
        .stale = total_of(b, TOTAL_STALE),
        .probes = total_of(b, TOTAL_PROBES),
        .leases_ended = total_of(b, TOTAL_LEASES_ENDED),
        .trips_consecutive = total_of(b, TOTAL_TRIPS_CONSECUTIVE),
        .trips_failure_rate = total_of(b, TOTAL_TRIPS_FAILURE_RATE),
        .trips_slow_rate = total_of(b, TOTAL_TRIPS_SLOW_RATE),
        .trips_probes_failed = total_of(b, TOTAL_TRIPS_PROBES_FAILED),
        .fallbacks = total_of(b, TOTAL_FALLBACK),
        .fallbacks_failed = total_of(b, TOTAL_FALLBACK_FAILED),
    };
}

static uint64_t in_flight_of(const struct breaker *breaker)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i <= breaker->region->shards; i++)
        sum += word_load(breaker_place(breaker, i));
    return sum;
}

static uint32_t share_of(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                         uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    bool is_done;
    if (state_mode(state) == BREAKER_MODE_FORCED_OPEN)
        return 0;
    if (state_mode(state) != BREAKER_MODE_AUTO || state_machine(state) == BREAKER_CLOSED)
        return 100;
    if (state_machine(state) != BREAKER_RAMP)
        return 0;
    uint64_t since = machine_since(slot, state, now_ns);
    uint32_t successes = tagged_count(word_load(&slot->evidence), state_epoch(state));
    return ramp_share(rules, successes, now_ns > since ? now_ns - since : 0, &is_done);
}

static void fill_machine(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                         uint64_t now, struct breaker_snapshot *s)
{
    struct slot *slot = breaker->slot;
    s->state = (int)state_visible(state);
    s->machine = (int)state_machine(state);
    s->mode = (int)state_mode(state);
    s->reason = (int)state_reason(state);
    s->epoch = state_epoch(state);
    s->trips = state_trips(state);
    s->share = share_of(breaker, rules, state, now);
    s->since_ns = machine_since(slot, state, now);
    if (state_machine(state) == BREAKER_OPEN)
        s->retry_at_ns = machine_until(breaker, rules, state, now);
    if (state_machine(state) == BREAKER_HALF_OPEN) {
        struct probe_count probes = probes_count(breaker, rules, state, now);
        s->probes_out = probes.out;
        s->probes_ok = probes.ok;
        s->probes_failed = probes.failed;
        s->probes_slow = probes.slow;
    }
}

int breaker_snapshot(const struct breaker *breaker, uint64_t now_ns, struct breaker_snapshot *ret_snapshot)
{
    if (!breaker->slot || breaker_is_gone(breaker))
        return BREAKER_E_UNTRACKED;
    struct slot *slot = breaker->slot;
    const struct rules *rules = breaker_rules(breaker);
    struct breaker_snapshot s = {.struct_size = sizeof(s)};
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
    uint64_t now = machine_peek(slot, now_ns);
    slot_name(slot, s.name);
    fill_machine(breaker, rules, state, now, &s);
    struct window_sum sum = window_sum(breaker, rules, s.epoch, now);
    s.window_total = sum.total;
    s.window_failures = sum.failures;
    s.window_timeouts = sum.timeouts;
    s.window_slow = sum.slow;
    s.window_hung = sum.hung;
    s.consecutive = tagged_count(word_load(&slot->streak), s.epoch);
    s.in_flight = in_flight_of(breaker);
    s.totals = totals_of(breaker);
    latency_lately(breaker, rules, now, &s.lately);
    rules_read(rules, &s.config);
    *ret_snapshot = s;
    return 0;
}
