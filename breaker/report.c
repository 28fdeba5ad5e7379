/* How a call ended, and what follows from it. */
#include "calls.h"
#include "latency.h"

/* Which of the seven ends. A neutral end that waited longer than slow_call is a slow sample all the same. */
static enum total classify(const struct rules *rules, const struct breaker_result *result, uint64_t took_ns)
{
    uint64_t slow_call = word_load(&rules->slow_call_ns);
    bool is_slow = slow_call && took_ns > slow_call && !(result->flags & BREAKER_NEVER_SLOW);
    switch (result->outcome) {
    case BREAKER_OK: return is_slow ? TOTAL_SLOW : TOTAL_OK;
    case BREAKER_FAILURE: return is_slow ? TOTAL_SLOW_FAILURE : TOTAL_FAILURE;
    case BREAKER_TIMEOUT: return is_slow ? TOTAL_SLOW_TIMEOUT : TOTAL_TIMEOUT;
    case BREAKER_SLOW: return TOTAL_SLOW;
    default: return is_slow ? TOTAL_SLOW : TOTAL_NEUTRAL;
    }
}

static bool is_failure(enum total how)
{
    return how == TOTAL_FAILURE || how == TOTAL_TIMEOUT || how == TOTAL_SLOW_FAILURE ||
           how == TOTAL_SLOW_TIMEOUT;
}

/* The lease word must be the one that was given: a probe whose lease ended has failed already (B4). */
static int report_probe(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                        const struct breaker_permit *permit, enum total how, uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    uint64_t expected = permit->lease;
    uint32_t epoch = state_epoch(state);
    bool is_slow = how >= TOTAL_SLOW && how != TOTAL_NEUTRAL;
    unsigned verdict = how == TOTAL_NEUTRAL ? PROBE_FREE : is_failure(how) ? PROBE_FAILED : PROBE_OK;
    uint64_t ended = probe_pack(epoch, verdict, is_slow ? PROBE_WAS_SLOW : 0);
    uint64_t since = machine_since(slot, state, now_ns);
    if (now_ns >= since + probe_end_ms(permit->lease) * 1000000) {
        probes_judge(breaker, rules, state, now_ns);
        return BREAKER_E_STALE;
    }
    if (permit->probe >= breaker_probes_room(breaker) ||
        !word_swap(breaker_probe(breaker, permit->probe), &expected, ended))
        return BREAKER_E_STALE;
    probes_judge(breaker, rules, state, now_ns);
    return 0;
}

/* A ramp that has lasted a window of time, and still so few calls that no rate means anything: only more calls can tell. */
static bool is_overdue(struct slot *slot, const struct rules *rules, uint64_t state, uint64_t now_ns)
{
    uint64_t window = word_load(&rules->window_ns);
    return state_machine(state) == BREAKER_RAMP && window && now_ns >= machine_since(slot, state, now_ns) + window;
}

/* What proves the service well unless it trips: a success, slow or not, and a failure where no rule judges failures, or
 * not for a whole window. */
static bool is_proof(struct slot *slot, const struct rules *rules, uint64_t state, enum total how, uint64_t now_ns)
{
    return how == TOTAL_OK || how == TOTAL_SLOW || !failures_are_judged(rules) ||
           is_overdue(slot, rules, state, now_ns);
}

/* It counts only while coming back, or while trips are remembered. */
static void success_prove(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                          uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    if (state_machine(state) == BREAKER_CLOSED && state_trips(state) == 0)
        return;
    uint32_t successes = epoch_add(&slot->evidence, state_epoch(state));
    uint64_t since = machine_since(slot, state, now_ns), elapsed = now_ns > since ? now_ns - since : 0;
    bool is_done;
    if (state_machine(state) == BREAKER_RAMP) {
        ramp_share(rules, successes, elapsed, &is_done);
        if (is_done)
            machine_move(breaker, rules, state, BREAKER_CLOSED, BREAKER_REASON_RAMPED, NULL, now_ns);
    } else if (elapsed >= word_load(&rules->forget_ns) && successes >= word_load(&rules->min_calls)) {
        uint64_t forgotten = state & ~(UINT64_C(255) << 16);
        word_swap(&slot->state, &state, forgotten);
    }
}

static void streak_end(struct slot *slot, uint32_t epoch)
{
    uint64_t streak = word_load(&slot->streak);
    if (tagged_count(streak, epoch) != 0)
        word_swap(&slot->streak, &streak, (uint64_t)epoch << 32);
}

static void report_normal(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                          const struct breaker_permit *permit, enum total how, bool is_neutral,
                          uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    uint32_t epoch = state_epoch(state), streak = 0;
    uint64_t started = permit->started_ns < now_ns ? permit->started_ns : now_ns;
    window_end(breaker, rules, lane_of(breaker->region), epoch, started, permit_has_start(permit, rules), how,
               now_ns);
    if (how == TOTAL_NEUTRAL)
        return;
    if (is_failure(how))
        streak = epoch_add(&slot->streak, epoch);
    else if (!is_neutral)
        streak_end(slot, epoch);
    if (how == TOTAL_OK && !(word_load(&rules->flags) & RULE_EVERY)) {
        success_prove(breaker, rules, state, now_ns);
        return;
    }
    if (!machine_judge(breaker, rules, state, streak, now_ns) && is_proof(slot, rules, state, how, now_ns))
        success_prove(breaker, rules, state, now_ns);
}

static int report_counted(const struct breaker *breaker, const struct breaker_permit *permit,
                          const struct breaker_result *result, uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    const struct rules *rules = breaker_rules(breaker);
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
    uint64_t now = machine_clock(slot, now_ns);
    uint64_t took = result->took_ns            ? result->took_ns
                    : now > permit->started_ns ? now - permit->started_ns
                                               : 0;
    enum total how = classify(rules, result, took);
    struct shard *shard = breaker_shard(breaker, lane_of(breaker->region));
    if (breaker_is_gone(breaker))
        return BREAKER_E_STALE;
    if (permit->flags & PERMIT_PLACE)
        place_give(breaker, permit->shard);
    latency_look(breaker, now);
    if (how == TOTAL_NEUTRAL || (result->flags & BREAKER_NEVER_SLOW)) /* its time says nothing */
        word_add(&shard->total[how], 1);
    else
        latency_add(breaker, shard, how, took);
    if (permit->kind != PERMIT_NORMAL && permit->kind != PERMIT_PROBE)
        return 0;
    int answer = BREAKER_E_STALE;
    if (permit->epoch == state_epoch(state)) {
        if (result->retry_after_ns)
            machine_hint(slot, rules, state, result->retry_after_ns, now);
        answer = 0;
        if (permit->kind == PERMIT_PROBE)
            answer = report_probe(breaker, rules, state, permit, how, now);
        else
            report_normal(breaker, rules, state, permit, how, result->outcome == BREAKER_NEUTRAL, now);
    }
    if (answer)
        word_add(&shard->total[TOTAL_STALE], 1);
    return answer;
}

int breaker_report_result(const struct breaker *breaker, struct breaker_permit *permit,
                          const struct breaker_result *result, uint64_t now_ns)
{
    struct breaker_permit given = *permit;
    if (given.kind == PERMIT_SPENT)
        return BREAKER_E_SPENT;
    permit->kind = PERMIT_SPENT;
    if (given.kind == PERMIT_UNTRACKED || !breaker->slot || given.shard > breaker->region->shards)
        return 0;
    return report_counted(breaker, &given, result, now_ns);
}

int breaker_report(const struct breaker *breaker, struct breaker_permit *permit, enum breaker_outcome outcome,
                   uint64_t now_ns)
{
    struct breaker_result result = {.outcome = outcome};
    return breaker_report_result(breaker, permit, &result, now_ns);
}

int breaker_release(const struct breaker *breaker, struct breaker_permit *permit, uint64_t now_ns)
{
    return breaker_report(breaker, permit, BREAKER_NEUTRAL, now_ns);
}

void breaker_count_fallback(const struct breaker *breaker, int has_served, uint64_t now_ns)
{
    if (!breaker->slot || breaker_is_gone(breaker))
        return;
    latency_look(breaker, machine_clock(breaker->slot, now_ns));
    struct shard *shard = breaker_shard(breaker, lane_of(breaker->region));
    word_add(&shard->total[has_served ? TOTAL_FALLBACK : TOTAL_FALLBACK_FAILED], 1);
}

uint64_t breaker_retry_after(const struct breaker *breaker, uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    if (!slot)
        return 0;
    const struct rules *rules = breaker_rules(breaker);
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
    uint64_t now = machine_peek(slot, now_ns), end = now;
    if (state_mode(state) == BREAKER_MODE_FORCED_OPEN)
        return word_load(&rules->open_ns);
    if (state_mode(state) != BREAKER_MODE_AUTO)
        return 0;
    if (state_machine(state) == BREAKER_OPEN)
        end = machine_until(breaker, rules, state, now);
    else if (state_machine(state) == BREAKER_RAMP)
        end = now + word_load(&rules->ramp_ns) / 10;
    else if (state_machine(state) == BREAKER_HALF_OPEN) {
        struct probe_count count = probes_count(breaker, rules, state, now);
        end = count.out ? count.next_end_ns : now;
    }
    return end > now ? end - now : 0;
}

uint32_t breaker_retry_after_seconds(const struct breaker *breaker, uint64_t now_ns)
{
    uint64_t seconds = (breaker_retry_after(breaker, now_ns) + 999999999) / 1000000000;
    return seconds < 1 ? 1 : seconds > UINT32_MAX ? UINT32_MAX : (uint32_t)seconds;
}

enum breaker_state breaker_state(const struct breaker *breaker)
{
    struct slot *slot = breaker->slot;
    static const uint8_t visible[] = {0, BREAKER_FORCED_OPEN, BREAKER_FORCED_CLOSED, BREAKER_SHADOW};
    if (!slot)
        return BREAKER_FORCED_CLOSED;
    uint64_t state = word_load(&slot->state);
    unsigned mode = state_mode(state), machine = state_machine(state);
    return (enum breaker_state)(mode > 0 && mode < 4 ? visible[mode] : machine <= BREAKER_RAMP ? machine : 0);
}

uint32_t breaker_epoch(const struct breaker *breaker)
{
    return breaker->slot ? state_epoch(word_load(&((struct slot *)breaker->slot)->state)) : 0;
}
