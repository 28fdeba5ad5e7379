/* Half-open: at most `probes` permits of an epoch, each a lease. A slot that was never taken in this epoch is
 * free by its tag; a lease that has ended is a failure, whoever notices first. So a probe that hangs, or
 * whose process was killed, cannot keep a breaker half-open.
 *
 * Probes are judged by what trips: a failed one is bad where failures are judged, a slow one where slow calls are.
 * Otherwise calls that never open a closed breaker could keep an open one from closing for ever. */
#include "machine.h"

static uint32_t probes_allowed(const struct breaker *breaker, const struct rules *rules)
{
    uint64_t probes = word_load(&rules->probes), room = breaker_probes_room(breaker);
    return probes < 1 ? 1 : (uint32_t)(probes > room ? room : probes);
}

/* A lease has ended: failed, and slow if it was as long as a slow call. */
static uint64_t probe_ended(const struct rules *rules, uint32_t epoch)
{
    uint64_t slow_call = word_load(&rules->slow_call_ns);
    bool is_slow = slow_call && word_load(&rules->probe_lease_ns) >= slow_call;
    return probe_pack(epoch, PROBE_FAILED, is_slow ? PROBE_WAS_SLOW : 0);
}

/* Make what has run out a failure that stays one. */
static void leases_settle(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                          uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    word *probes = breaker_probe(breaker, 0);
    uint32_t epoch = state_epoch(state), allowed = probes_allowed(breaker, rules);
    uint64_t since = machine_since(slot, state, now_ns);
    for (uint32_t i = 0; i < allowed; i++) {
        uint64_t probe = word_load(&probes[i]);
        if (probe_state(probe, epoch) != PROBE_OUT || now_ns < since + probe_end_ms(probe) * 1000000)
            continue;
        if (word_swap(&probes[i], &probe, probe_ended(rules, epoch)))
            word_add(&breaker_shard(breaker, breaker->region->shards)->total[TOTAL_LEASES_ENDED], 1);
    }
}

struct probe_count probes_count(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                                uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    struct probe_count count = {.next_end_ns = UINT64_MAX};
    const word *probes = breaker_probe(breaker, 0);
    uint32_t epoch = state_epoch(state), allowed = probes_allowed(breaker, rules);
    uint64_t since = machine_since(slot, state, now_ns);
    for (uint32_t i = 0; i < allowed; i++) {
        uint64_t probe = word_load(&probes[i]), end = since + probe_end_ms(probe) * 1000000;
        if (probe_state(probe, epoch) == PROBE_OUT && now_ns >= end)
            probe = probe_ended(rules, epoch);
        unsigned is = probe_state(probe, epoch);
        count.out += is == PROBE_OUT;
        count.ok += is == PROBE_OK;
        count.failed += is == PROBE_FAILED;
        count.slow += (is == PROBE_OK || is == PROBE_FAILED) && (probe & PROBE_WAS_SLOW);
        if (is == PROBE_OUT && end < count.next_end_ns)
            count.next_end_ns = end;
    }
    return count;
}

/* The verdict falls over `of` probes, and is bad with so many failed or so many slow ones. */
struct verdict {
    uint64_t of, failed, slow;
};

/* probe_ok 0: by the rates that trip, over as many samples as a rate needs. What no rule judges is never too much. */
static struct verdict verdict_rules(const struct breaker *breaker, const struct rules *rules, uint64_t ended)
{
    uint64_t probes = probes_allowed(breaker, rules), wanted = word_load(&rules->probe_ok);
    uint64_t failure_rate = word_load(&rules->failure_rate), slow_rate = word_load(&rules->slow_rate);
    uint64_t min_calls = word_load(&rules->min_given);
    struct verdict bad = {.of = wanted || min_calls > probes ? probes : min_calls};
    if (bad.of < ended)
        bad.of = ended; /* two have ended at once */
    if (!failures_are_judged(rules))
        bad.failed = bad.of + 1;
    else if (wanted)
        bad.failed = probes - (wanted < probes ? wanted : probes) + 1;
    else
        bad.failed = failure_rate ? rate_reached_at(failure_rate, bad.of) : bad.of;
    bad.slow = slow_rate ? rate_reached_at(slow_rate, bad.of) : bad.of + 1;
    return bad;
}

bool probes_judge(const struct breaker *breaker, const struct rules *rules, uint64_t state, uint64_t now_ns)
{
    leases_settle(breaker, rules, state, now_ns);
    struct probe_count count = probes_count(breaker, rules, state, now_ns);
    uint64_t ended = count.ok + count.failed;
    if (ended == 0)
        return false;
    struct verdict bad = verdict_rules(breaker, rules, ended);
    uint64_t left = bad.of - ended;
    struct window_sum numbers = {.total = ended, .failures = count.failed, .slow = count.slow};
    if (count.failed >= bad.failed || count.slow >= bad.slow) {
        machine_move(breaker, rules, state, BREAKER_OPEN, BREAKER_REASON_PROBES_FAILED, &numbers, now_ns);
        return true;
    }
    if (count.failed + left < bad.failed && count.slow + left < bad.slow) {
        unsigned next = word_load(&rules->ramp_ns) ? BREAKER_RAMP : BREAKER_CLOSED;
        machine_move(breaker, rules, state, next, BREAKER_REASON_PROBES_OK, &numbers, now_ns);
        return true;
    }
    return false;
}

uint64_t probe_take(const struct breaker *breaker, const struct rules *rules, uint64_t state, uint64_t now_ns,
                    uint8_t *ret_number)
{
    struct slot *slot = breaker->slot;
    uint32_t epoch = state_epoch(state), allowed = probes_allowed(breaker, rules);
    uint64_t since = machine_since(slot, state, now_ns);
    uint64_t elapsed = now_ns > since ? now_ns - since : 0;
    word *probes = breaker_probe(breaker, 0);
    uint64_t end_ms = (elapsed + word_load(&rules->probe_lease_ns) + 999999) / 1000000;
    for (uint32_t i = 0; i < allowed; i++) {
        uint64_t probe = word_load(&probes[i]);
        while (probe_state(probe, epoch) == PROBE_FREE && (int32_t)((uint32_t)(probe >> 32) - epoch) <= 0) {
            uint64_t taken = probe_pack(epoch, PROBE_OUT, end_ms);
            if (word_swap(&probes[i], &probe, taken)) {
                *ret_number = (uint8_t)i;
                return taken;
            }
        }
    }
    return 0;
}
