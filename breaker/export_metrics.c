/* OpenMetrics (all samples of a family stand together, counters end in _total, # EOF ends the text), and the fields of
 * hystrix.stream, so that dashboards made for Hystrix show
 * these breakers. */
#include <stdio.h>

#include "config.h"
#include "export.h"

#define ULL(value) ((unsigned long long)(value))

static void label(struct text *text, const char *metric, const struct breaker_snapshot *s, const char *more,
                  const char *value)
{
    text_add(text, "%s{breaker=", metric);
    text_quote(text, s->name);
    if (more)
        text_add(text, ",%s=\"%s\"", more, value);
    text_add(text, "} ");
}

/* ---- one writer a family: called for every breaker in turn ---- */

typedef void family_writer(struct text *text, const struct breaker_snapshot *s, uint64_t now_ns);

static void write_state(struct text *text, const struct breaker_snapshot *s, uint64_t now_ns)
{
    for (int state = BREAKER_CLOSED; state <= BREAKER_SHADOW; state++) {
        label(text, "breaker_state", s, "breaker_state", breaker_state_name(state));
        text_add(text, "%d\n", s->state == state);
    }
}

static void write_totals(struct text *text, const struct breaker_snapshot *s, enum total_kind kind,
                         const char *metric, const char *by)
{
    for (size_t i = 0; i < total_name_count; i++)
        if (total_names[i].kind == kind) {
            label(text, metric, s, by, total_names[i].name);
            text_add(text, "%llu\n", ULL(total_value(&s->totals, i)));
        }
}

static void write_calls(struct text *text, const struct breaker_snapshot *s, uint64_t now_ns)
{
    write_totals(text, s, TOTAL_IS_CALL, "breaker_calls_total", "outcome");
}

static void write_refused(struct text *text, const struct breaker_snapshot *s, uint64_t now_ns)
{
    write_totals(text, s, TOTAL_IS_REFUSAL, "breaker_refused_total", "why");
}

static void write_opened(struct text *text, const struct breaker_snapshot *s, uint64_t now_ns)
{
    write_totals(text, s, TOTAL_IS_TRIP, "breaker_opened_total", "reason");
}

static void write_window(struct text *text, const struct breaker_snapshot *s, uint64_t now_ns)
{
    const struct {
        const char *kind;
        uint64_t value;
    } counts[] = {{"total", s->window_total},
                  {"failures", s->window_failures},
                  {"slow", s->window_slow},
                  {"hung", s->window_hung}};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        label(text, "breaker_window_calls", s, "kind", counts[i].kind);
        text_add(text, "%llu\n", ULL(counts[i].value));
    }
}

static void write_retry(struct text *text, const struct breaker_snapshot *s, uint64_t now_ns)
{
    uint64_t left = s->retry_at_ns > now_ns ? (s->retry_at_ns - now_ns) / 1000000 : 0;
    label(text, "breaker_retry_after_seconds", s, NULL, NULL);
    text_add(text, "%llu.%03llu\n", ULL(left / 1000), ULL(left % 1000));
}

#define SIMPLE(function, metric, value)                                                                      \
    static void function(struct text *text, const struct breaker_snapshot *s, uint64_t now_ns)               \
    {                                                                                                        \
        label(text, metric, s, NULL, NULL);                                                                  \
        text_add(text, "%llu\n", ULL(value));                                                                \
    }

SIMPLE(write_transitions, "breaker_transitions_total", s->epoch)
SIMPLE(write_trips, "breaker_trips", s->trips)
SIMPLE(write_share, "breaker_share_percent", s->share)
SIMPLE(write_in_flight, "breaker_in_flight", s->in_flight)
SIMPLE(write_shadow, "breaker_shadow_refused_total", s->totals.shadow_refused)
SIMPLE(write_stale, "breaker_stale_reports_total", s->totals.stale)
SIMPLE(write_probes, "breaker_probes_total", s->totals.probes)
SIMPLE(write_leases, "breaker_leases_ended_total", s->totals.leases_ended)

static const struct {
    const char *name, *type, *help;
    family_writer *write;
} families[] = {
    {"breaker_state", "stateset", "State as a user sees it.", write_state},
    {"breaker_calls", "counter", "Calls that ended, by how.", write_calls},
    {"breaker_refused", "counter", "Calls that were refused, by why.", write_refused},
    {"breaker_opened", "counter", "Times it opened, by reason.", write_opened},
    {"breaker_window_calls", "gauge", "What the sliding window holds.", write_window},
    {"breaker_retry_after_seconds", "gauge", "What remains of the open time.", write_retry},
    {"breaker_transitions", "counter", "Changes of state.", write_transitions},
    {"breaker_trips", "gauge", "Times it opened since it was last stable.", write_trips},
    {"breaker_share_percent", "gauge", "Share of calls that pass.", write_share},
    {"breaker_in_flight", "gauge", "Calls under way while max_in_flight is set.", write_in_flight},
    {"breaker_shadow_refused", "counter", "Calls that shadow mode would have refused.", write_shadow},
    {"breaker_stale_reports", "counter", "Reports that came too late to count.", write_stale},
    {"breaker_probes", "counter", "Permits granted as probes.", write_probes},
    {"breaker_leases_ended", "counter", "Probes that never reported.", write_leases},
};

void export_metrics(struct text *text, struct breaker_region *region, uint64_t now_ns)
{
    struct breaker breaker;
    struct breaker_snapshot snapshot;
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        text_add(text, "# TYPE %s %s\n# HELP %s %s\n", families[i].name, families[i].type, families[i].name,
                 families[i].help);
        uint32_t cursor = 0;
        while (breaker_next(region, &cursor, &breaker) == 0)
            if (breaker_snapshot(&breaker, now_ns, &snapshot) == 0)
                families[i].write(text, &snapshot, now_ns);
    }
    text_add(text,
             "# TYPE breaker_untracked counter\n# HELP breaker_untracked Calls that passed unguarded.\n");
    text_add(text, "breaker_untracked_total %llu\n# EOF\n",
             ULL(__atomic_load_n(&region->untracked, __ATOMIC_RELAXED)));
}

/* ---- hystrix.stream ---- */

/* Refusals of about the last window: the base is moved on when it is older than one. base 32 | time in 2²⁴ ns 32. */
static uint64_t refused_lately(struct slot *slot, const struct breaker_snapshot *s, uint64_t now_ns)
{
    const struct breaker_totals *t = &s->totals;
    uint64_t all =
        t->refused_open + t->refused_probing + t->refused_ramp + t->refused_full + t->refused_forced;
    uint64_t window = s->config.window_ns ? s->config.window_ns : UINT64_C(10000000000);
    uint64_t base = word_load(&slot->stream_base);
    uint32_t age = (uint32_t)(now_ns >> 24) - (uint32_t)base;
    uint32_t lately = (uint32_t)all - (uint32_t)(base >> 32);
    if (base == 0 || age > window >> 24)
        word_store(&slot->stream_base, all << 32 | (uint32_t)(now_ns >> 24));
    return base == 0 ? 0 : lately;
}

/* Zeros of what has no counterpart here: Hystrix's dashboard wants the fields to be there. */
static const char *const stream_zeros[] = {
    "rollingCountBadRequests",
    "rollingCountCollapsedRequests",
    "rollingCountEmit",
    "rollingCountExceptionsThrown",
    "rollingCountFallbackEmit",
    "rollingCountFallbackFailure",
    "rollingCountFallbackMissing",
    "rollingCountFallbackRejection",
    "rollingCountFallbackSuccess",
    "rollingCountResponsesFromCache",
    "rollingCountSemaphoreRejected",
    "rollingCountThreadPoolRejected",
    "rollingMaxConcurrentExecutionCount",
    "latencyExecute_mean",
    "latencyTotal_mean",
};

static void stream_latency(struct text *text, const char *name)
{
    text_add(text,
             ",\"%s\":{\"0\":0,\"25\":0,\"50\":0,\"75\":0,\"90\":0,\"95\":0,\"99\":0,\"99.5\":0,\"100\":0}",
             name);
}

static void stream_properties(struct text *text, const struct breaker_snapshot *s)
{
    const struct breaker_config *c = &s->config;
    text_add(text,
             ",\"propertyValue_circuitBreakerRequestVolumeThreshold\":%u"
             ",\"propertyValue_circuitBreakerSleepWindowInMilliseconds\":%llu"
             ",\"propertyValue_circuitBreakerErrorThresholdPercentage\":%u"
             ",\"propertyValue_circuitBreakerForceOpen\":%s,\"propertyValue_circuitBreakerForceClosed\":%s"
             ",\"propertyValue_circuitBreakerEnabled\":%s",
             c->min_calls, ULL(c->open_ns / 1000000), c->failure_rate,
             s->mode == BREAKER_MODE_FORCED_OPEN ? "true" : "false",
             s->mode == BREAKER_MODE_FORCED_CLOSED ? "true" : "false",
             s->mode == BREAKER_MODE_AUTO ? "true" : "false");
    text_add(text,
             ",\"propertyValue_executionIsolationStrategy\":\"SEMAPHORE\""
             ",\"propertyValue_executionIsolationThreadTimeoutInMilliseconds\":%llu"
             ",\"propertyValue_executionTimeoutInMilliseconds\":%llu"
             ",\"propertyValue_executionIsolationThreadInterruptOnTimeout\":false"
             ",\"propertyValue_executionIsolationThreadPoolKeyOverride\":null"
             ",\"propertyValue_executionIsolationSemaphoreMaxConcurrentRequests\":%u"
             ",\"propertyValue_fallbackIsolationSemaphoreMaxConcurrentRequests\":0"
             ",\"propertyValue_metricsRollingStatisticalWindowInMilliseconds\":%llu"
             ",\"propertyValue_requestCacheEnabled\":false,\"propertyValue_requestLogEnabled\":false",
             ULL(c->slow_call_ns / 1000000), ULL(c->slow_call_ns / 1000000), c->max_in_flight,
             ULL(c->window_ns / 1000000));
}

static void stream_breaker(struct text *text, struct slot *slot, const struct breaker_snapshot *s,
                           uint64_t now_ns, uint64_t wall_ms)
{
    uint64_t rate = s->window_total ? s->window_failures * 100 / s->window_total : 0;
    bool is_open =
        s->state == BREAKER_OPEN || s->state == BREAKER_FORCED_OPEN || s->state == BREAKER_HALF_OPEN;
    text_add(text, "data: {\"type\":\"HystrixCommand\",\"name\":");
    text_quote(text, s->name);
    text_add(
        text,
        ",\"group\":\"breaker\",\"threadPool\":\"breaker\",\"currentTime\":%llu,\"isCircuitBreakerOpen\":%s"
        ",\"errorPercentage\":%llu,\"errorCount\":%llu,\"requestCount\":%llu",
        ULL(wall_ms), is_open ? "true" : "false", ULL(rate), ULL(s->window_failures), ULL(s->window_total));
    text_add(text,
             ",\"rollingCountFailure\":%llu,\"rollingCountSuccess\":%llu,\"rollingCountTimeout\":%llu"
             ",\"rollingCountShortCircuited\":%llu"
             ",\"currentConcurrentExecutionCount\":%llu",
             ULL(s->window_failures - s->window_timeouts), ULL(s->window_total - s->window_failures),
             ULL(s->window_timeouts), ULL(refused_lately(slot, s, now_ns)), ULL(s->in_flight));
    for (size_t i = 0; i < sizeof(stream_zeros) / sizeof(stream_zeros[0]); i++)
        text_add(text, ",\"%s\":0", stream_zeros[i]);
    stream_latency(text, "latencyExecute");
    stream_latency(text, "latencyTotal");
    stream_properties(text, s);
    text_add(text, ",\"reportingHosts\":1}\n\n");
}

void export_stream(struct text *text, struct breaker_region *region, uint64_t now_ns, uint64_t wall_ms)
{
    struct breaker breaker;
    struct breaker_snapshot snapshot;
    uint32_t cursor = 0;
    while (breaker_next(region, &cursor, &breaker) == 0)
        if (breaker_snapshot(&breaker, now_ns, &snapshot) == 0)
            stream_breaker(text, breaker.slot, &snapshot, now_ns, wall_ms);
    if (text->length == 0)
        text_add(text, "ping: \n\n");
}
