/* Transitions, open times and the trip rules. */
#include "calls.h"
#include "events.h"

/* Publish a time for an epoch unless it, or a later one, is there. Returns what holds. */
static uint64_t mark_publish(word *mark, uint32_t epoch, uint64_t at_ns)
{
    uint64_t fresh = mark_pack(epoch, at_ns ? at_ns : 1), value = word_load(mark);
    for (;;) {
        bool is_later = value != 0 && (int16_t)(uint16_t)((value >> 48) - epoch) > 0;
        if (mark_is_of(value, epoch) || is_later)
            return value;
        if (word_swap(mark, &value, fresh))
            return fresh;
    }
}

uint64_t machine_since(struct slot *slot, uint64_t state, uint64_t now_ns)
{
    uint32_t epoch = state_epoch(state);
    uint64_t mark = word_load(&slot->since);
    if (!mark_is_of(mark, epoch))
        mark = mark_publish(&slot->since, epoch, now_ns);
    return mark_ns(mark);
}

/* min(base·2^(trips−1), max), moved by at most ±jitter percent that all processes draw from
 * the epoch alike. */
static uint64_t open_time(const struct breaker *breaker, const struct rules *rules, uint64_t state)
{
    uint64_t base = word_load(&rules->open_ns), most = word_load(&rules->open_max_ns);
    for (unsigned trips = state_trips(state); trips > 1 && base < most; trips--)
        base *= 2;
    if (base > most && most > 0)
        base = most;
    uint64_t width = base / 100 * word_load(&rules->jitter) * 2;
    uint64_t draw = mix64(state_epoch(state) ^ mix64(region_head(breaker->region)->seed ^
                                                     word_load(&((struct slot *)breaker->slot)->identity)));
    return width && width <= base ? base - width / 2 + draw % (width + 1) : base;
}

/* The end of an open state that begins at now: what the upstream asked for (then jitter only adds), or our
 * own rule. */
static uint64_t open_end(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                         uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    uint64_t hint = word_load(&slot->hint);
    if (state_reason(state) == BREAKER_REASON_FORCED)
        return now_ns;
    if (mark_is_of(hint, state_epoch(state) - 1) && mark_ns(hint) > now_ns) {
        uint64_t width = (mark_ns(hint) - now_ns) / 100 * word_load(&rules->jitter);
        return mark_ns(hint) +
               (width ? mix64(state_epoch(state) ^ region_head(breaker->region)->seed) % width : 0);
    }
    return now_ns + open_time(breaker, rules, state);
}

uint64_t machine_until(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                       uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    uint32_t epoch = state_epoch(state);
    uint64_t mark = word_load(&slot->until);
    if (!mark_is_of(mark, epoch))
        mark = mark_publish(&slot->until, epoch, open_end(breaker, rules, state, now_ns));
    return mark_ns(mark);
}

void machine_hint(struct slot *slot, const struct rules *rules, uint64_t state, uint64_t retry_after_ns,
                  uint64_t now_ns)
{
    uint64_t most = word_load(&rules->retry_after_max_ns);
    if (most == 0 || retry_after_ns == 0)
        return;
    uint64_t asked = retry_after_ns < most ? retry_after_ns : most;
    word_store(&slot->hint, mark_pack(state_epoch(state), now_ns + asked));
}

uint32_t epoch_add(word *counter, uint32_t epoch)
{
    uint64_t value = word_load(counter);
    for (;;) {
        uint64_t next = value >> 32 == epoch ? value + 1 : (uint64_t)epoch << 32 | 1;
        if (word_swap(counter, &value, next))
            return (uint32_t)next;
    }
}

/* Trips by reason; those of an order are in the events only. */
static void trip_count(const struct breaker *breaker, unsigned reason)
{
    static const uint8_t totals[] = {[BREAKER_REASON_CONSECUTIVE] = TOTAL_TRIPS_CONSECUTIVE,
                                     [BREAKER_REASON_FAILURE_RATE] = TOTAL_TRIPS_FAILURE_RATE,
                                     [BREAKER_REASON_SLOW_RATE] = TOTAL_TRIPS_SLOW_RATE,
                                     [BREAKER_REASON_PROBES_FAILED] = TOTAL_TRIPS_PROBES_FAILED};
    if (reason < sizeof(totals) && totals[reason])
        word_add(&breaker_shard(breaker, lane_of(breaker->region))->total[totals[reason]], 1);
}

bool machine_set(const struct breaker *breaker, const struct rules *rules, uint64_t from, uint64_t to,
                 const struct window_sum *numbers, uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    struct window_sum none = {0};
    uint32_t streak = tagged_count(word_load(&slot->streak), state_epoch(from));
    uint64_t expected = from, until_ns = 0;
    if (!word_swap(&slot->state, &expected, to))
        return false;
    mark_publish(&slot->since, state_epoch(to), now_ns);
    if (state_machine(to) == BREAKER_OPEN) {
        until_ns = machine_until(breaker, rules, to, now_ns);
        trip_count(breaker, state_reason(to));
    }
    event_write(breaker, from, to, numbers ? numbers : &none, streak, until_ns > now_ns ? until_ns - now_ns : 0,
                now_ns);
    return true;
}

bool machine_move(const struct breaker *breaker, const struct rules *rules, uint64_t from, unsigned machine,
                  unsigned reason, const struct window_sum *numbers, uint64_t now_ns)
{
    unsigned trips = state_trips(from);
    if (machine == BREAKER_OPEN && trips < 255)
        trips++;
    uint64_t to = state_pack(state_epoch(from) + 1, trips, reason, state_mode(from), machine);
    return machine_set(breaker, rules, from, to, numbers, now_ns);
}

static unsigned reason_of(const struct rules *rules, const struct window_sum *sum, bool is_streak)
{
    uint64_t failure_rate = word_load(&rules->failure_rate), slow_rate = word_load(&rules->slow_rate);
    uint64_t min_calls = word_load(&rules->min_calls), begun = sum->total + sum->hung;
    if (is_streak)
        return BREAKER_REASON_CONSECUTIVE;
    if (failure_rate && sum->total && sum->total >= min_calls &&
        sum->failures * RATE_WHOLE >= failure_rate * sum->total)
        return BREAKER_REASON_FAILURE_RATE;
    if (slow_rate && begun && begun >= min_calls && (sum->slow + sum->hung) * RATE_WHOLE >= slow_rate * begun)
        return BREAKER_REASON_SLOW_RATE;
    return BREAKER_REASON_NONE;
}

/* ---- lenience: failing calls that cannot trip need not sum the window ----
 *
 * While no slice ends, nothing leaves a window of time: `bad` of `total` can then reach the rate after d more bad samples
 * at the earliest, where (bad + d)·whole ≥ rate·(total + d), and bad + d ≥ rate·min_calls / whole because no fewer calls
 * count. Good samples in between only make it later. In a window of calls a bad sample may take a good one's place, so
 * there only (bad + d)·whole ≥ rate·max(total, min_calls) holds. The first d − 1 samples are waved through. */

static uint64_t samples_until(uint64_t rate, uint64_t bad, uint64_t total, uint64_t min_calls,
                              bool counts_calls)
{
    uint64_t least = total > min_calls && counts_calls ? total : min_calls;
    uint64_t needed = rate_reached_at(rate, least), by_rate = 0;
    if (rate == 0 || rate > RATE_WHOLE)
        return UINT32_MAX;
    if (!counts_calls && rate * total > RATE_WHOLE * bad)
        by_rate = rate == RATE_WHOLE
                      ? UINT32_MAX
                      : (rate * total - RATE_WHOLE * bad + RATE_WHOLE - 1 - rate) / (RATE_WHOLE - rate);
    uint64_t by_count = needed > bad ? needed - bad : 0;
    uint64_t samples = by_rate > by_count ? by_rate : by_count;
    return samples < 1 ? 1 : samples < UINT32_MAX ? samples : UINT32_MAX;
}

static uint64_t lenience_make(const struct rules *rules, const struct window_sum *sum, uint32_t tag)
{
    bool counts_calls = word_load(&rules->flags) & RULE_COUNT;
    uint64_t min_calls = word_load(&rules->min_calls);
    uint64_t failing =
        samples_until(word_load(&rules->failure_rate), sum->failures, sum->total, min_calls, counts_calls);
    uint64_t slow =
        samples_until(word_load(&rules->slow_rate), sum->slow, sum->total, min_calls, counts_calls);
    return (uint64_t)tag << 32 | ((failing < slow ? failing : slow) - 1);
}

/* Use one up, if there is one under this tag; else *ret_seen is what was there. */
static bool lenience_take(struct slot *slot, uint32_t tag, uint64_t *ret_seen)
{
    *ret_seen = word_load(&slot->lenience);
    while (tagged_count(*ret_seen, tag) > 0)
        if (word_swap(&slot->lenience, ret_seen, *ret_seen - 1))
            return true;
    return false;
}

/* Hung calls come without a sample, and judging on every report is judging on every report: no lenience then. The
 * sample is in the window before lenience is looked at, and lenience is only put where it was seen before the sum: a
 * sample that a sum may have missed finds that sum's lenience and uses some of it up. */
bool machine_judge(const struct breaker *breaker, const struct rules *rules, uint64_t state, uint32_t streak,
                   uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    uint64_t consecutive = word_load(&rules->consecutive), flags = word_load(&rules->flags), seen;
    bool is_streak = consecutive && streak >= consecutive, may_wave = !(flags & (RULE_HUNG | RULE_EVERY));
    if (!is_streak && !word_load(&rules->failure_rate) && !word_load(&rules->slow_rate))
        return false;
    uint64_t slice = flags & RULE_COUNT ? 0 : slice_of(rules, now_ns);
    uint32_t tag =
        window_tag(rules, state_epoch(state), slice) + (uint32_t)word_load(&rules->serial) * 0xc2b2ae35u;
    for (;;) {
        if (lenience_take(slot, tag, &seen) && may_wave && !is_streak)
            return false;
        struct window_sum sum = window_sum(breaker, rules, state_epoch(state), now_ns);
        unsigned reason = reason_of(rules, &sum, is_streak);
        if (reason)
            return machine_move(breaker, rules, state, BREAKER_OPEN, reason, &sum, now_ns);
        if (!may_wave || word_swap(&slot->lenience, &seen, lenience_make(rules, &sum, tag)))
            return false;
    }
}

uint32_t ramp_share(const struct rules *rules, uint32_t successes, uint64_t elapsed_ns, bool *ret_is_done)
{
    uint64_t each = (word_load(&rules->min_calls) + 9) / 10, tenth = word_load(&rules->ramp_ns) / 10;
    uint64_t by_evidence = successes / (each ? each : 1), by_time = tenth ? elapsed_ns / tenth : 10;
    uint64_t steps = by_evidence < by_time ? by_evidence : by_time;
    *ret_is_done = steps >= 10;
    return steps >= 9 ? 100 : (uint32_t)(steps + 1) * 10;
}
