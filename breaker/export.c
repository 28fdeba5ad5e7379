/* The writer, and JSON. */
#include <stdio.h>

#include "config.h"
#include "export.h"

#define TOTAL(name)                                                                                          \
    {                                                                                                        \
#name, offsetof(struct breaker_totals, name), TOTAL_IS_CALL                                          \
    }

const struct total_name total_names[] = {
    TOTAL(ok),
    TOTAL(failure),
    TOTAL(timeout),
    TOTAL(slow),
    TOTAL(slow_failure),
    TOTAL(slow_timeout),
    TOTAL(neutral),
    {"open", offsetof(struct breaker_totals, refused_open), TOTAL_IS_REFUSAL},
    {"probing", offsetof(struct breaker_totals, refused_probing), TOTAL_IS_REFUSAL},
    {"ramp", offsetof(struct breaker_totals, refused_ramp), TOTAL_IS_REFUSAL},
    {"full", offsetof(struct breaker_totals, refused_full), TOTAL_IS_REFUSAL},
    {"forced", offsetof(struct breaker_totals, refused_forced), TOTAL_IS_REFUSAL},
    {"consecutive", offsetof(struct breaker_totals, trips_consecutive), TOTAL_IS_TRIP},
    {"failure_rate", offsetof(struct breaker_totals, trips_failure_rate), TOTAL_IS_TRIP},
    {"slow_rate", offsetof(struct breaker_totals, trips_slow_rate), TOTAL_IS_TRIP},
    {"probes_failed", offsetof(struct breaker_totals, trips_probes_failed), TOTAL_IS_TRIP},
};

const size_t total_name_count = sizeof(total_names) / sizeof(total_names[0]);

uint64_t total_value(const struct breaker_totals *totals, size_t index)
{
    uint64_t value;
    memcpy(&value, (const char *)totals + total_names[index].offset, sizeof(value));
    return value;
}

void text_add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t left = text->length < text->size ? text->size - text->length : 0;
    int wrote = vsnprintf(left ? text->buffer + text->length : NULL, left, format, arguments);
    va_end(arguments);
    text->length += wrote > 0 ? (size_t)wrote : 0;
}

/* Length of the UTF-8 sequence that begins here, 0 if it is none (RFC 3629 §4, shortest forms only). */
static int sequence_length(const unsigned char *at)
{
    int length = at[0] < 0x80 ? 1 : at[0] >= 0xc2 && at[0] < 0xe0 ? 2 : (at[0] & 0xf0) == 0xe0 ? 3 : 0;
    if (at[0] >= 0xf0 && at[0] < 0xf5)
        length = 4;
    for (int i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool is_wrong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
                    (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f);
    return is_wrong ? 0 : length;
}

void text_quote(struct text *text, const char *string)
{
    text_add(text, "\"");
    for (const unsigned char *at = (const unsigned char *)string; *at;) {
        int length = sequence_length(at);
        if (length == 0)
            text_add(text, "?");
        else if (*at == '"' || *at == '\\')
            text_add(text, "\\%c", *at);
        else if (*at < ' ')
            text_add(text, "\\u%04x", *at);
        else
            text_add(text, "%.*s", length, (const char *)at);
        at += length ? length : 1;
    }
    text_add(text, "\"");
}

/* ---- JSON ---- */

#define ULL(value) ((unsigned long long)(value))

static uint64_t ms_between(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (to_ns - from_ns) / 1000000 : 0;
}

static void json_totals(struct text *text, const struct breaker_totals *t)
{
    static const char *const groups[] = {"calls", "refused", "opened"};
    for (unsigned kind = TOTAL_IS_CALL; kind <= TOTAL_IS_TRIP; kind++) {
        text_add(text, ",\"%s\":{", groups[kind]);
        const char *comma = "";
        for (size_t i = 0; i < total_name_count; i++)
            if (total_names[i].kind == kind) {
                text_add(text, "%s\"%s\":%llu", comma, total_names[i].name, ULL(total_value(t, i)));
                comma = ",";
            }
        text_add(text, "}");
    }
    text_add(text,
             ",\"shadow_refused\":%llu,\"stale\":%llu,\"probes_granted\":%llu,\"leases_ended\":%llu,"
             "\"fallbacks\":%llu,\"fallbacks_failed\":%llu",
             ULL(t->shadow_refused), ULL(t->stale), ULL(t->probes), ULL(t->leases_ended), ULL(t->fallbacks),
             ULL(t->fallbacks_failed));
}

/* Milliseconds with three digits behind the point. */
static void json_ms(struct text *text, const char *name, uint64_t ns)
{
    text_add(text, ",\"%s\":%llu.%03llu", name, ULL(ns / 1000000), ULL(ns / 1000 % 1000));
}

static void json_latency(struct text *text, const struct breaker *breaker, uint64_t now_ns)
{
    struct breaker_latency latency = {0};
    breaker_latency(breaker, now_ns, &latency);
    text_add(text, ",\"latency\":{\"calls\":%llu", ULL(latency.count));
    json_ms(text, "mean_ms", latency.mean_ns);
    json_ms(text, "p50_ms", latency.level_ns[BREAKER_P50]);
    json_ms(text, "p90_ms", latency.level_ns[BREAKER_P90]);
    json_ms(text, "p95_ms", latency.level_ns[BREAKER_P95]);
    json_ms(text, "p99_ms", latency.level_ns[BREAKER_P99]);
    json_ms(text, "max_ms", latency.level_ns[BREAKER_MOST]);
    text_add(text, "}");
}

static void json_events(struct text *text, const struct breaker *breaker, uint64_t now_ns)
{
    struct breaker_event events[BREAKER_EVENTS];
    uint32_t epoch = breaker_epoch(breaker);
    size_t count =
        breaker_events(breaker, epoch > BREAKER_EVENTS ? epoch - BREAKER_EVENTS : 0, events, BREAKER_EVENTS);
    text_add(text, ",\"events\":[");
    for (size_t i = 0; i < count; i++) {
        const struct breaker_event *e = &events[i];
        text_add(
            text,
            "%s{\"epoch\":%u,\"ago_ms\":%llu,\"from\":\"%s\",\"to\":\"%s\",\"reason\":\"%s\",\"mode\":\"%s\","
            "\"open_ms\":%llu,\"trips\":%u,\"total\":%u,\"failures\":%u,\"slow\":%u,\"hung\":%u,"
            "\"consecutive\":%u}",
            i ? "," : "", e->epoch, ULL(ms_between(e->at_ns, now_ns)), breaker_state_name(e->from),
            breaker_state_name(e->to), breaker_reason_name(e->reason), breaker_mode_name(e->mode),
            ULL(e->open_ns / 1000000), e->trips, e->total, e->failures, e->slow, e->hung, e->consecutive);
    }
    text_add(text, "]");
}

static void json_breaker(struct text *text, const struct breaker *breaker, const struct breaker_snapshot *s,
                         uint64_t now_ns)
{
    char config[640] = "";
    breaker_config_format(&s->config, config, sizeof(config));
    text_add(text, "{\"name\":");
    text_quote(text, s->name);
    text_add(
        text,
        ",\"state\":\"%s\",\"machine\":\"%s\",\"mode\":\"%s\",\"reason\":\"%s\",\"epoch\":%u,\"trips\":%u,"
        "\"share\":%u,\"since_ms\":%llu,\"retry_after_ms\":%llu,\"failure_rate\":%llu",
        breaker_state_name(s->state), breaker_state_name(s->machine), breaker_mode_name(s->mode),
        breaker_reason_name(s->reason), s->epoch, s->trips, s->share, ULL(ms_between(s->since_ns, now_ns)),
        ULL(breaker_retry_after(breaker, now_ns) / 1000000),
        ULL(s->lately.total ? s->lately.failures * 100 / s->lately.total : 0));
    text_add(
        text,
        ",\"window\":{\"total\":%llu,\"failures\":%llu,\"slow\":%llu,\"hung\":%llu,\"consecutive\":%llu}",
        ULL(s->window_total), ULL(s->window_failures), ULL(s->window_slow), ULL(s->window_hung),
        ULL(s->consecutive));
    text_add(text,
             ",\"lately\":{\"total\":%llu,\"failures\":%llu,\"timeouts\":%llu,\"slow\":%llu,\"refused\":%llu,"
             "\"shadow_refused\":%llu,\"fallbacks\":%llu,\"fallbacks_failed\":%llu}",
             ULL(s->lately.total), ULL(s->lately.failures), ULL(s->lately.timeouts), ULL(s->lately.slow),
             ULL(s->lately.refused), ULL(s->lately.shadow_refused), ULL(s->lately.fallbacks),
             ULL(s->lately.fallbacks_failed));
    text_add(text, ",\"in_flight\":%llu,\"probes\":{\"out\":%u,\"ok\":%u,\"failed\":%u,\"slow\":%u}",
             ULL(s->in_flight), s->probes_out, s->probes_ok, s->probes_failed, s->probes_slow);
    json_latency(text, breaker, now_ns);
    json_totals(text, &s->totals);
    text_add(text, ",\"config\":\"%s\"", config);
    json_events(text, breaker, now_ns);
    text_add(text, "}");
}

void export_json(struct text *text, struct breaker_region *region, uint64_t now_ns)
{
    struct breaker breaker;
    struct breaker_snapshot snapshot;
    uint32_t cursor = 0;
    const char *comma = "";
    uint32_t used;
    uint64_t shared;
    uint32_t room = breaker_keys_room(region, &used, &shared);
    text_add(text,
             "{\"region\":\"%s\",\"untracked\":%llu,\"keys\":{\"room\":%u,\"used\":%u,\"shared\":%llu},\"breakers\":[",
             breaker_answer_name(region->answer), ULL(__atomic_load_n(&region->untracked, __ATOMIC_RELAXED)), room, used,
             ULL(shared));
    while (breaker_next(region, &cursor, &breaker) == 0) {
        if (breaker_snapshot(&breaker, now_ns, &snapshot))
            continue;
        text_add(text, "%s", comma);
        json_breaker(text, &breaker, &snapshot, now_ns);
        comma = ",";
    }
    text_add(text, "]}\n");
}

int breaker_export(struct breaker_region *region, enum breaker_format format, uint64_t now_ns,
                   uint64_t wall_ms, char *buffer, size_t size, size_t *ret_length)
{
    struct text text = {buffer, size, 0};
    if (size)
        buffer[0] = 0;
    if (format == BREAKER_OPENMETRICS || format == BREAKER_PROMETHEUS)
        export_metrics(&text, region, format == BREAKER_OPENMETRICS, now_ns);
    else if (format == BREAKER_STREAM)
        export_stream(&text, region, now_ns, wall_ms);
    else
        export_json(&text, region, now_ns);
    *ret_length = text.length;
    return text.length < size ? 0 : BREAKER_E_SPACE;
}
