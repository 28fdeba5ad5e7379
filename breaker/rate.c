/* Rate limiter and throttle.
 *
 * A bucket that fills evenly is known by the time at which it would be full: taking a token moves that time on by one
 * token's interval, and a token is there as long as the bucket would be full within a burst's time (the generic cell rate
 * algorithm, ITU-T I.371). One word, so taking is one compare-and-swap.
 */
#include "kit.h"

#define PER_SECOND_MAX 1000000000u

int breaker_rate_init(struct breaker_rate *rate, uint32_t tokens_per_second, uint32_t burst)
{
    if (tokens_per_second == 0 || tokens_per_second > PER_SECOND_MAX || burst == 0 || burst > PER_SECOND_MAX)
        return BREAKER_E_OPTIONS;
    uint64_t token_ns = UINT64_C(1000000000) / tokens_per_second;
    *rate = (struct breaker_rate){.token_ns = token_ns, .burst_ns = token_ns * burst};
    return 0;
}

int breaker_rate_take(struct breaker_rate *rate, uint32_t tokens, uint64_t now_ns, uint64_t *ret_wait_ns)
{
    uint64_t full_at = plain_load(&rate->full_at_ns), cost = rate->token_ns * tokens;
    uint64_t unheard, *wait = ret_wait_ns ? ret_wait_ns : &unheard;
    if (rate->token_ns == 0)
        return 0;
    if (cost > rate->burst_ns) {
        *wait = UINT64_MAX;
        return BREAKER_E_RATE;
    }
    for (;;) {
        uint64_t next = (full_at > now_ns ? full_at : now_ns) + cost;
        if (next - now_ns > rate->burst_ns) {
            *wait = next - now_ns - rate->burst_ns;
            return BREAKER_E_RATE;
        }
        if (plain_swap(&rate->full_at_ns, &full_at, next))
            return 0;
    }
}

/* ---- throttle ---- */

int breaker_throttle_init(struct breaker_throttle *throttle, uint32_t k_percent, uint64_t window_ns,
                          uint64_t seed)
{
    window_ns = window_ns ? window_ns : UINT64_C(120000000000);
    if ((k_percent && (k_percent < 100 || k_percent > 10000)) ||
        window_ns < BREAKER_THROTTLE_SLICES * SLICE_NS_MIN)
        return BREAKER_E_OPTIONS;
    *throttle = (struct breaker_throttle){.slice_ns = window_ns / BREAKER_THROTTLE_SLICES,
                                          .k_percent = k_percent ? k_percent : 200,
                                          .random = seed};
    return 0;
}

/* Tagged words as in a window: slice 32 | count 32. */
static void slice_count(const struct breaker_throttle *throttle, uint64_t *slices, uint64_t now_ns)
{
    uint64_t slice = now_ns / throttle->slice_ns, *place = &slices[slice % BREAKER_THROTTLE_SLICES];
    uint64_t value = plain_load(place);
    while (!plain_swap(place, &value, value >> 32 == (uint32_t)slice ? value + 1 : slice << 32 | 1))
        ;
}

static uint64_t slices_sum(const struct breaker_throttle *throttle, const uint64_t *slices, uint64_t now_ns)
{
    uint64_t slice = now_ns / throttle->slice_ns, sum = 0;
    for (uint64_t i = 0; i < BREAKER_THROTTLE_SLICES && i <= slice; i++)
        sum +=
            tagged_count(plain_load(&slices[(slice - i) % BREAKER_THROTTLE_SLICES]), (uint32_t)(slice - i));
    return sum;
}

int breaker_throttle_enter(struct breaker_throttle *throttle, uint64_t now_ns)
{
    if (throttle->slice_ns == 0)
        return 0;
    uint64_t requests = slices_sum(throttle, throttle->requests, now_ns);
    uint64_t allowed = slices_sum(throttle, throttle->accepts, now_ns) * throttle->k_percent / 100;
    slice_count(throttle, throttle->requests, now_ns); /* what we refuse was asked for too */
    if (requests <= allowed)
        return 0;
    uint64_t surplus = requests - allowed;
    bool is_refused = random_next(&throttle->random) % (requests + 1) < surplus;
    return is_refused ? BREAKER_E_THROTTLED : 0;
}

void breaker_throttle_report(struct breaker_throttle *throttle, enum breaker_outcome outcome, uint64_t now_ns)
{
    if (throttle->slice_ns && outcome != BREAKER_FAILURE && outcome != BREAKER_TIMEOUT)
        slice_count(throttle, throttle->accepts, now_ns);
}
