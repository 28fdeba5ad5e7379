/* Metrics for Prometheus, from one table of families. OpenMetrics names a counter's family without _total, knows state
 * sets and ends with # EOF; the older text format, which everything that reads metrics understands, does not. All
 * samples of a family stand together. */
#include <stdio.h>

#include "config.h"
#include "export.h"
#include "latency.h"

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

typedef void family_writer(struct text *text, const struct breaker_snapshot *s, const struct breaker *breaker,
                           uint64_t now_ns);

static void write_state(struct text *text, const struct breaker_snapshot *s,
                        const struct breaker *breaker, uint64_t now_ns)
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

static void write_calls(struct text *text, const struct breaker_snapshot *s,
                        const struct breaker *breaker, uint64_t now_ns)
{
    write_totals(text, s, TOTAL_IS_CALL, "breaker_calls_total", "outcome");
}

static void write_refused(struct text *text, const struct breaker_snapshot *s,
                        const struct breaker *breaker, uint64_t now_ns)
{
    write_totals(text, s, TOTAL_IS_REFUSAL, "breaker_refused_total", "why");
}

static void write_opened(struct text *text, const struct breaker_snapshot *s,
                        const struct breaker *breaker, uint64_t now_ns)
{
    write_totals(text, s, TOTAL_IS_TRIP, "breaker_opened_total", "reason");
}

static void write_window(struct text *text, const struct breaker_snapshot *s,
                        const struct breaker *breaker, uint64_t now_ns)
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

static void write_lately(struct text *text, const struct breaker_snapshot *s,
                        const struct breaker *breaker, uint64_t now_ns)
{
    const struct {
        const char *kind;
        uint64_t value;
    } counts[] = {{"total", s->lately.total},     {"failures", s->lately.failures},   {"timeouts", s->lately.timeouts},
                  {"slow", s->lately.slow},       {"refused", s->lately.refused}, {"shadow_refused", s->lately.shadow_refused},
                  {"fallbacks", s->lately.fallbacks}, {"fallbacks_failed", s->lately.fallbacks_failed}};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        label(text, "breaker_lately_calls", s, "kind", counts[i].kind);
        text_add(text, "%llu\n", ULL(counts[i].value));
    }
}

static void write_fallbacks(struct text *text, const struct breaker_snapshot *s,
                        const struct breaker *breaker, uint64_t now_ns)
{
    label(text, "breaker_fallbacks_total", s, "outcome", "ok");
    text_add(text, "%llu\n", ULL(s->totals.fallbacks));
    label(text, "breaker_fallbacks_total", s, "outcome", "failure");
    text_add(text, "%llu\n", ULL(s->totals.fallbacks_failed));
}

static void write_retry(struct text *text, const struct breaker_snapshot *s,
                        const struct breaker *breaker, uint64_t now_ns)
{
    uint64_t left = s->retry_at_ns > now_ns ? (s->retry_at_ns - now_ns) / 1000000 : 0;
    label(text, "breaker_retry_after_seconds", s, NULL, NULL);
    text_add(text, "%llu.%03llu\n", ULL(left / 1000), ULL(left % 1000));
}

#define SIMPLE(function, metric, value)                                                                      \
    static void function(struct text *text, const struct breaker_snapshot *s,                          \
                         const struct breaker *breaker, uint64_t now_ns)                                     \
    {                                                                                                        \
        label(text, metric, s, NULL, NULL);                                                                  \
        text_add(text, "%llu\n", ULL(value));                                                                \
    }

/* Seconds, all digits that matter: bounds are whole numbers of 125 µs. */
static void seconds(struct text *text, uint64_t ns)
{
    char digits[16];
    int length = snprintf(digits, sizeof(digits), "%06llu", ULL(ns / 1000 % 1000000));
    while (length > 1 && digits[length - 1] == '0')
        length--;
    text_add(text, "%llu.%.*s", ULL(ns / 1000000000), length, digits);
}

static void write_seconds(struct text *text, const struct breaker_snapshot *s, const struct breaker *breaker,
                          uint64_t now_ns)
{
    struct latency_sum sum;
    uint64_t count = 0;
    latency_sum(breaker, &sum);
    for (uint32_t k = 0; k < LATENCY_BUCKETS; k++) {
        count += sum.count[k];
        if (k % 4 != 3 || k == LATENCY_BUCKETS - 1)
            continue;
        text_add(text, "breaker_call_seconds_bucket{breaker=");
        text_quote(text, s->name);
        text_add(text, ",le=\"");
        seconds(text, latency_bound_ns(k));
        text_add(text, "\"} %llu\n", ULL(count));
    }
    label(text, "breaker_call_seconds_bucket", s, "le", "+Inf");
    text_add(text, "%llu\n", ULL(count));
    label(text, "breaker_call_seconds_sum", s, NULL, NULL);
    seconds(text, latency_total_ns(&sum));
    text_add(text, "\n");
    label(text, "breaker_call_seconds_count", s, NULL, NULL);
    text_add(text, "%llu\n", ULL(count));
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
    {"breaker_call_seconds", "histogram", "How long calls took; the sum is made of the middles of finer buckets.",
     write_seconds},
    {"breaker_refused", "counter", "Calls that were refused, by why.", write_refused},
    {"breaker_opened", "counter", "Times it opened, by reason.", write_opened},
    {"breaker_window_calls", "gauge", "What the sliding window holds that is judged; empty after each change of state.",
     write_window},
    {"breaker_lately_calls", "gauge", "What happened within the last window, whatever the state.", write_lately},
    {"breaker_fallbacks", "counter", "Fallbacks in place of calls, by how they ended.", write_fallbacks},
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

/* The same family in the words of the older format. */
static void family_head(struct text *text, const char *name, const char *type, const char *help, bool is_openmetrics)
{
    const char *ending = !is_openmetrics && strcmp(type, "counter") == 0 ? "_total" : "";
    if (!is_openmetrics && strcmp(type, "stateset") == 0)
        type = "gauge";
    text_add(text, "# TYPE %s%s %s\n# HELP %s%s %s\n", name, ending, type, name, ending, help);
}

void export_metrics(struct text *text, struct breaker_region *region, bool is_openmetrics, uint64_t now_ns)
{
    struct breaker breaker;
    struct breaker_snapshot snapshot;
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        family_head(text, families[i].name, families[i].type, families[i].help, is_openmetrics);
        uint32_t cursor = 0;
        while (breaker_next(region, &cursor, &breaker) == 0)
            if (breaker_snapshot(&breaker, now_ns, &snapshot) == 0)
                families[i].write(text, &snapshot, &breaker, now_ns);
    }
    family_head(text, "breaker_untracked", "counter", "Calls that passed unguarded.", is_openmetrics);
    text_add(text, "breaker_untracked_total %llu\n", ULL(__atomic_load_n(&region->untracked, __ATOMIC_RELAXED)));
    uint32_t used;
    uint64_t shared;
    uint32_t room = breaker_keys_room(region, &used, &shared);
    family_head(text, "breaker_keys", "gauge", "Breakers made by key: room for them, and how many there are.", is_openmetrics);
    text_add(text, "breaker_keys{is=\"room\"} %u\nbreaker_keys{is=\"used\"} %u\n", room, used);
    family_head(text, "breaker_keys_shared", "counter", "Look-ups of keys that found no room and shared their group's breaker.",
                is_openmetrics);
    text_add(text, "breaker_keys_shared_total %llu\n", ULL(shared));
    if (is_openmetrics)
        text_add(text, "# EOF\n");
}
