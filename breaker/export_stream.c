/* The fields of hystrix.stream, so that dashboards made for Hystrix show these breakers. */
#include "export.h"

#define ULL(value) ((unsigned long long)(value))

/* Zeros of what has no counterpart here: Hystrix's dashboard wants the fields to be there. */
static const char *const stream_zeros[] = {
    "rollingCountBadRequests",
    "rollingCountCollapsedRequests",
    "rollingCountEmit",
    "rollingCountExceptionsThrown",
    "rollingCountFallbackEmit",
    "rollingCountFallbackMissing",
    "rollingCountFallbackRejection",
    "rollingCountResponsesFromCache",
    "rollingCountSemaphoreRejected",
    "rollingCountThreadPoolRejected",
    "rollingMaxConcurrentExecutionCount",
};

/* Whole milliseconds, as Hystrix has them. What the call took is all there is: no queue comes before it. */
static void stream_latency(struct text *text, const char *name, const struct breaker_latency *latency)
{
    static const char *const levels[BREAKER_LEVELS] = {"0", "25", "50", "75", "90", "95", "99", "99.5", "100"};
    text_add(text, ",\"%s_mean\":%llu,\"%s\":{", name, ULL((latency->mean_ns + 500000) / 1000000), name);
    for (size_t i = 0; i < BREAKER_LEVELS; i++)
        text_add(text, "%s\"%s\":%llu", i ? "," : "", levels[i], ULL((latency->level_ns[i] + 500000) / 1000000));
    text_add(text, "}");
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

static void stream_breaker(struct text *text, const struct breaker *breaker, const struct breaker_snapshot *s,
                           uint64_t now_ns, uint64_t wall_ms)
{
    struct breaker_latency latency = {0};
    const struct breaker_lately *n = &s->lately;
    uint64_t rate = n->total ? n->failures * 100 / n->total : 0;
    bool is_open =
        s->state == BREAKER_OPEN || s->state == BREAKER_FORCED_OPEN || s->state == BREAKER_HALF_OPEN;
    text_add(text, "data: {\"type\":\"HystrixCommand\",\"name\":");
    text_quote(text, s->name);
    text_add(
        text,
        ",\"group\":\"breaker\",\"threadPool\":\"breaker\",\"currentTime\":%llu,\"isCircuitBreakerOpen\":%s"
        ",\"errorPercentage\":%llu,\"errorCount\":%llu,\"requestCount\":%llu",
        ULL(wall_ms), is_open ? "true" : "false", ULL(rate), ULL(n->failures), ULL(n->total));
    text_add(text,
             ",\"rollingCountFailure\":%llu,\"rollingCountSuccess\":%llu,\"rollingCountTimeout\":%llu"
             ",\"rollingCountShortCircuited\":%llu,\"rollingCountFallbackSuccess\":%llu"
             ",\"rollingCountFallbackFailure\":%llu,\"currentConcurrentExecutionCount\":%llu",
             ULL(n->failures - n->timeouts), ULL(n->total - n->failures), ULL(n->timeouts), ULL(n->refused),
             ULL(n->fallbacks), ULL(n->fallbacks_failed), ULL(s->in_flight));
    for (size_t i = 0; i < sizeof(stream_zeros) / sizeof(stream_zeros[0]); i++)
        text_add(text, ",\"%s\":0", stream_zeros[i]);
    breaker_latency(breaker, now_ns, &latency);
    stream_latency(text, "latencyExecute", &latency);
    stream_latency(text, "latencyTotal", &latency);
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
            stream_breaker(text, &breaker, &snapshot, now_ns, wall_ms);
    if (text->length == 0)
        text_add(text, "ping: \n\n");
}
