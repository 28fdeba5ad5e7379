/* See model.h. Written from the rules, not from the library: nothing of layout.h is used here. */
#include "model.h"

#include <stdlib.h>
#include <string.h>

static uint64_t tick(struct model *m, uint64_t now)
{
    if (now <= m->clock)
        return m->clock;
    if (now - m->clock >= 1000000)
        m->clock = now;
    return now;
}

static uint64_t at_now(const struct model *m, uint64_t now)
{
    return now > m->clock ? now : m->clock;
}

/* Time in this state: not less than none, though a transition may have seen a time that was too fresh to be kept. */
static uint64_t elapsed(const struct model *m, uint64_t now)
{
    return now > m->since ? now - m->since : 0;
}

static uint64_t slice_of(const struct model *m, uint64_t at)
{
    return at / (m->config.window_ns / m->config.slices);
}

void model_init(struct model *m, const struct breaker_config *config, uint64_t now)
{
    memset(m, 0, sizeof(*m));
    m->config = *config;
    m->since = now;
}

void model_free(struct model *m)
{
    free(m->ends);
}

/* ---- what the window holds ---- */

static struct model_sum sum_of_calls(const struct model *m)
{
    struct model_sum sum = {0};
    for (size_t i = m->end_count; i > 0 && sum.total < m->config.window_count; i--)
        if (m->ends[i - 1].epoch == m->epoch) {
            sum.total++;
            sum.failures += (uint64_t)m->ends[i - 1].failed;
            sum.slow += (uint64_t)m->ends[i - 1].slow;
        }
    return sum;
}

struct model_sum model_sum(const struct model *m, uint64_t now)
{
    struct model_sum sum = {0};
    if (m->config.window_count)
        return sum_of_calls(m);
    now = at_now(m, now);
    uint64_t current = slice_of(m, now), length = m->config.window_ns / m->config.slices;
    for (size_t i = 0; i < m->end_count; i++)
        if (m->ends[i].epoch == m->epoch && current - m->ends[i].slice < m->config.slices) {
            sum.total++;
            sum.failures += (uint64_t)m->ends[i].failed;
            sum.slow += (uint64_t)m->ends[i].slow;
        }
    for (int i = 0; i < MODEL_CALLS && m->config.hung; i++) {
        const struct model_call *call = &m->calls[i];
        uint64_t slice = slice_of(m, call->started);
        if (call->kind == 1 && call->counts_hung && call->epoch == m->epoch &&
            current - slice < m->config.slices && (slice + 1) * length + m->config.slow_call_ns <= now)
            sum.hung++;
    }
    return sum;
}

/* ---- transitions ---- */

static void become(struct model *m, int machine, int reason, uint64_t now)
{
    m->epoch++;
    m->since = now;
    m->machine = machine;
    m->reason = reason;
    m->streak = m->evidence = 0;
    memset(m->probe_state, 0, sizeof(m->probe_state));
    if (machine != BREAKER_OPEN)
        return;
    uint64_t open = m->config.open_ns;
    for (uint32_t i = 1; i < m->trips && open < m->config.open_max_ns; i++)
        open *= 2;
    if (m->config.open_max_ns && open > m->config.open_max_ns)
        open = m->config.open_max_ns;
    m->until = now + open;
    if (m->hint > now && m->hint_epoch == m->epoch - 1)
        m->until = m->hint;
    if (reason == BREAKER_REASON_FORCED)
        m->until = now;
}

static void trip(struct model *m, int reason, uint64_t now)
{
    m->trips += m->trips < 255;
    become(m, BREAKER_OPEN, reason, now);
}

/* Do so many of so many reach a rate? Never, when it is off. */
static int reaches(uint64_t bad, uint64_t of, uint32_t percent, uint32_t thousandths)
{
    uint64_t rate = percent * 1000ull + thousandths;
    return rate > 0 && bad * 100000 >= rate * of;
}

/* What a rate needs; a window of calls cannot hold more than itself. */
static uint32_t min_calls(const struct breaker_config *c)
{
    return c->window_count && c->window_count < c->min_calls ? c->window_count : c->min_calls;
}

static int judge(struct model *m, uint32_t streak, uint64_t now)
{
    const struct breaker_config *c = &m->config;
    struct model_sum sum = model_sum(m, now);
    uint64_t begun = sum.total + sum.hung;
    if (c->consecutive && streak >= c->consecutive)
        trip(m, BREAKER_REASON_CONSECUTIVE, now);
    else if (sum.total >= min_calls(c) && reaches(sum.failures, sum.total, c->failure_rate, c->failure_rate_milli))
        trip(m, BREAKER_REASON_FAILURE_RATE, now);
    else if (begun >= min_calls(c) && reaches(sum.slow + sum.hung, begun, c->slow_rate, c->slow_rate_milli))
        trip(m, BREAKER_REASON_SLOW_RATE, now);
    else
        return 0;
    return 1;
}

/* ---- probes ---- */

/* README.md, "Coming back", sentence by sentence. */

static int judges_failures(const struct model *m)
{
    return m->config.failure_rate > 0 || m->config.failure_rate_milli > 0 || m->config.consecutive > 0;
}

/* Would so many bad ones of n be too many? */
static int too_many_failed(const struct model *m, uint64_t failed, uint64_t n)
{
    if (!judges_failures(m))
        return 0;
    if (m->config.probe_ok)
        return failed > m->config.probes - m->config.probe_ok;
    if (m->config.failure_rate || m->config.failure_rate_milli)
        return reaches(failed, n, m->config.failure_rate, m->config.failure_rate_milli);
    return failed == n;
}

static int too_many_slow(const struct model *m, uint64_t slow, uint64_t n)
{
    return reaches(slow, n, m->config.slow_rate, m->config.slow_rate_milli);
}

static int lease_is_slow(const struct breaker_config *c)
{
    return c->slow_call_ns && c->probe_lease_ns >= c->slow_call_ns;
}

struct model_probes model_probes(const struct model *m, uint64_t now)
{
    struct model_probes p = {0};
    now = at_now(m, now);
    for (uint32_t i = 0; i < m->config.probes && m->machine == BREAKER_HALF_OPEN; i++) {
        int has_ended = m->probe_state[i] == 1 && now >= m->probe_end[i];
        p.out += m->probe_state[i] == 1 && !has_ended;
        p.ok += m->probe_state[i] == 2;
        p.failed += m->probe_state[i] == 3 || has_ended;
        p.slow += has_ended ? (uint32_t)lease_is_slow(&m->config) : m->probe_state[i] >= 2 && m->probe_slow[i];
    }
    return p;
}

static int verdict(struct model *m, uint64_t now)
{
    const struct breaker_config *c = &m->config;
    uint64_t n = c->probe_ok || c->min_calls > c->probes ? c->probes : c->min_calls;
    uint64_t ended = 0, failed = 0, slow = 0;
    for (uint32_t i = 0; i < c->probes; i++) {
        if (m->probe_state[i] == 1 && now >= m->probe_end[i]) {
            m->probe_state[i] = 3;
            m->probe_slow[i] = lease_is_slow(c);
        }
        if (m->probe_state[i] < 2)
            continue;
        ended++;
        failed += m->probe_state[i] == 3;
        slow += m->probe_slow[i] != 0;
    }
    n = ended > n ? ended : n;
    uint64_t left = n - ended;
    if (too_many_failed(m, failed, n) || too_many_slow(m, slow, n))
        trip(m, BREAKER_REASON_PROBES_FAILED, now);
    else if (ended && !too_many_failed(m, failed + left, n) && !too_many_slow(m, slow + left, n))
        become(m, c->ramp_ns ? BREAKER_RAMP : BREAKER_CLOSED, BREAKER_REASON_PROBES_OK, now);
    else
        return 0;
    return 1;
}

static int take_probe(struct model *m, struct model_call *call, uint64_t now)
{
    for (uint32_t i = 0; i < m->config.probes; i++)
        if (m->probe_state[i] == 0) {
            uint64_t ms = (elapsed(m, now) + m->config.probe_lease_ns + 999999) / 1000000;
            m->probe_state[i] = 1;
            m->probe_end[i] = call->lease_end = m->since + ms * 1000000;
            call->probe = (int)i;
            return 1;
        }
    return 0;
}

/* ---- acquire ---- */

static int share(const struct model *m, uint64_t now, int *is_done)
{
    uint64_t each = (min_calls(&m->config) + 9) / 10, evidence = m->evidence / each;
    uint64_t tenth = m->config.ramp_ns / 10, time = tenth ? elapsed(m, now) / tenth : 10;
    uint64_t steps = evidence < time ? evidence : time;
    *is_done = steps >= 10;
    return steps >= 9 ? 100 : (int)(steps + 1) * 10;
}

static int is_full(const struct model *m)
{
    return m->config.max_in_flight && (uint32_t)m->in_flight >= m->config.max_in_flight;
}

static void grant(struct model *m, struct model_call *call, int kind, uint64_t now)
{
    call->kind = kind;
    call->started = now;
    call->epoch = m->epoch;
    call->counts_hung = kind == 1 && m->config.hung;
    call->has_place = kind <= 2 && m->config.max_in_flight > 0;
    m->in_flight += call->has_place;
}

static int in_half_open(struct model *m, struct model_call *call, unsigned flags, uint64_t now, int *again)
{
    if ((flags & BREAKER_NO_PROBE) && now < m->since + m->config.open_ns) {
        *again = verdict(m, now);
        return BREAKER_E_PROBING;
    }
    if (is_full(m))
        return BREAKER_E_FULL;
    if (take_probe(m, call, now)) {
        grant(m, call, 2, now);
        return 0;
    }
    *again = verdict(m, now);
    return BREAKER_E_PROBING;
}

static int in_machine(struct model *m, struct model_call *call, unsigned flags, uint64_t now, int *again)
{
    int is_done;
    uint64_t patience = (flags & BREAKER_NO_PROBE) && m->until > m->since ? m->until - m->since : 0;
    if (m->machine == BREAKER_OPEN) {
        if (now < m->until + patience)
            return BREAKER_E_OPEN;
        become(m, BREAKER_HALF_OPEN, BREAKER_REASON_RETRY, now);
        *again = 1;
        return 0;
    }
    if (m->machine == BREAKER_HALF_OPEN)
        return in_half_open(m, call, flags, now, again);
    if (m->config.hung && slice_of(m, now) != m->looked) {
        m->looked = slice_of(m, now);
        if (judge(m, 0, now)) {
            *again = 1;
            return 0;
        }
    }
    if (m->machine == BREAKER_RAMP) {
        uint64_t percent = (uint64_t)share(m, now, &is_done);
        uint64_t first = m->turn / 10 * UINT64_C(0x9e3779b97f4a7c15) >> 32; /* golden ratio */
        if ((m->turn++ + first) % 10 * percent % 100 >= percent)
            return BREAKER_E_RAMP;
    }
    if (is_full(m))
        return BREAKER_E_FULL;
    grant(m, call, 1, now);
    return 0;
}

int model_acquire(struct model *m, int number, uint64_t now, unsigned flags)
{
    struct model_call *call = &m->calls[number];
    memset(call, 0, sizeof(*call));
    /* a closed breaker made by name, without hung calls or places, does not look at the clock */
    if (!m->is_keyed && m->machine == BREAKER_CLOSED && m->mode == 0 && !m->config.hung && !m->config.max_in_flight) {
        grant(m, call, 1, now);
        return 0;
    }
    now = tick(m, now);
    if (m->mode == BREAKER_MODE_FORCED_OPEN)
        return BREAKER_E_FORCED;
    if (m->mode == BREAKER_MODE_FORCED_CLOSED) {
        grant(m, call, 3, now);
        return 0;
    }
    int answer, again;
    do {
        again = 0;
        answer = in_machine(m, call, flags, now, &again);
    } while (again);
    if (answer && m->mode == BREAKER_MODE_SHADOW) {
        grant(m, call, 4, now);
        return 0;
    }
    return answer;
}

/* ---- report ---- */

static void remember(struct model *m, const struct model_call *call, int failed, int slow, uint64_t now)
{
    if (m->end_count == m->end_room) {
        m->end_room = m->end_room ? 2 * m->end_room : 256;
        m->ends = realloc(m->ends, m->end_room * sizeof(m->ends[0]));
        if (!m->ends)
            abort();
    }
    struct model_end end = {.epoch = m->epoch, .failed = failed, .slow = slow};
    if (!m->config.window_count) {
        uint64_t started = call->started < now ? call->started : now;
        end.slice = slice_of(m, started);
        if (slice_of(m, now) - end.slice >= m->config.slices)
            end.slice = slice_of(m, now);
    }
    m->ends[m->end_count++] = end;
}

static void prove(struct model *m, uint64_t now)
{
    int is_done;
    if (m->machine == BREAKER_CLOSED && m->trips == 0)
        return;
    m->evidence++;
    if (m->machine == BREAKER_RAMP) {
        share(m, now, &is_done);
        if (is_done)
            become(m, BREAKER_CLOSED, BREAKER_REASON_RAMPED, now);
    } else if (elapsed(m, now) >= m->config.forget_ns && m->evidence >= min_calls(&m->config))
        m->trips = 0;
}

static int end_probe(struct model *m, const struct model_call *call, int neutral, int failed, int slow, uint64_t now)
{
    int answer = BREAKER_E_STALE;
    if (now < call->lease_end) {
        if (m->probe_state[call->probe] != 1 || m->probe_end[call->probe] != call->lease_end)
            return BREAKER_E_STALE;
        m->probe_state[call->probe] = neutral ? 0 : failed ? 3 : 2;
        m->probe_slow[call->probe] = slow;
        answer = 0;
    }
    verdict(m, now);
    return answer;
}

static void end_normal(struct model *m, const struct model_call *call, int failed, int slow, int gave_up,
                       uint64_t now)
{
    remember(m, call, failed, slow, now);
    if (failed)
        m->streak++;
    else if (!gave_up)
        m->streak = 0;
    int good = !failed && !slow;
    if ((!good || m->config.every) && judge(m, failed ? m->streak : 0, now))
        return;
    int is_overdue = m->machine == BREAKER_RAMP && m->config.window_ns && elapsed(m, now) >= m->config.window_ns;
    if (!failed || !judges_failures(m) || is_overdue)
        prove(m, now);
}

int model_report(struct model *m, int number, const struct breaker_result *r, uint64_t now)
{
    struct model_call call = m->calls[number];
    m->calls[number].kind = 0;
    if (call.kind == 0)
        return BREAKER_E_SPENT;
    now = tick(m, now);
    m->in_flight -= call.has_place;
    if (call.kind > 2)
        return 0;
    if (call.epoch != m->epoch)
        return BREAKER_E_STALE;
    uint64_t took = r->took_ns ? r->took_ns : now > call.started ? now - call.started : 0;
    int slow =
        (m->config.slow_call_ns && took > m->config.slow_call_ns && !(r->flags & BREAKER_NEVER_SLOW)) ||
        r->outcome == BREAKER_SLOW;
    int gave_up = r->outcome == BREAKER_NEUTRAL, neutral = gave_up && !slow;
    int failed = r->outcome == BREAKER_FAILURE || r->outcome == BREAKER_TIMEOUT;
    if (r->retry_after_ns && m->config.retry_after_max_ns) {
        uint64_t most = m->config.retry_after_max_ns;
        m->hint = now + (r->retry_after_ns < most ? r->retry_after_ns : most);
        m->hint_epoch = m->epoch;
    }
    if (call.kind == 2)
        return end_probe(m, &call, neutral, failed, slow, now);
    if (!neutral)
        end_normal(m, &call, failed, slow, gave_up, now);
    return 0;
}

/* ---- orders ---- */

void model_force(struct model *m, int mode, uint64_t now)
{
    now = tick(m, now);
    if (m->mode == mode)
        return;
    m->mode = mode;
    int machine = mode == BREAKER_MODE_FORCED_OPEN     ? BREAKER_OPEN
                  : mode == BREAKER_MODE_FORCED_CLOSED ? BREAKER_CLOSED
                                                       : m->machine;
    become(m, machine, BREAKER_REASON_FORCED, now);
}

void model_reset(struct model *m, uint64_t now)
{
    m->clock = now;
    m->mode = (int)m->config.mode;
    m->trips = 0;
    become(m, m->mode == BREAKER_MODE_FORCED_OPEN ? BREAKER_OPEN : BREAKER_CLOSED, BREAKER_REASON_RESET, now);
}

void model_configure(struct model *m, const struct breaker_config *config, uint64_t now)
{
    struct breaker_config before = m->config;
    m->config = *config;
    if (before.window_ns != config->window_ns || before.window_count != config->window_count ||
        (!config->window_count && before.slices != config->slices) || before.hung != config->hung) {
        m->end_count = 0;
        for (int i = 0; i < MODEL_CALLS; i++)
            m->calls[i].counts_hung = 0;
    }
    if (config->mode != before.mode)
        model_force(m, (int)config->mode, now);
}
