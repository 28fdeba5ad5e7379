/* Half-open: at most `probes` permits of an epoch, each a lease. A slot that was never taken in this epoch is
 * free by its tag; a lease that has ended is a failure, whoever notices first. So a probe that hangs, or
 * whose process was killed, cannot keep a
 * breaker half-open. */
#include "machine.h"

uint32_t probes_allowed(const struct rules *rules)
{
    uint64_t probes = word_load(&rules->probes);
    return probes < 1 ? 1 : probes > BREAKER_PROBES_MAX ? BREAKER_PROBES_MAX : (uint32_t)probes;
}

/* Make what has run out a failure that stays one. */
static void leases_settle(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                          uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    uint32_t epoch = state_epoch(state), allowed = probes_allowed(rules);
    uint64_t since = machine_since(slot, state, now_ns);
    for (uint32_t i = 0; i < allowed; i++) {
        uint64_t probe = word_load(&slot->probe[i]);
        if (probe_state(probe, epoch) != PROBE_OUT || now_ns < since + probe_end_ms(probe) * 1000000)
            continue;
        if (word_swap(&slot->probe[i], &probe, probe_pack(epoch, PROBE_FAILED, 0)))
            word_add(&slot_shard(slot, breaker->region->shards)->total[TOTAL_LEASES_ENDED], 1);
    }
}

struct probe_count probes_count(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                                uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    struct probe_count count = {.next_end_ns = UINT64_MAX};
    uint32_t epoch = state_epoch(state), allowed = probes_allowed(rules);
    uint64_t since = machine_since(slot, state, now_ns);
    for (uint32_t i = 0; i < allowed; i++) {
        uint64_t probe = word_load(&slot->probe[i]), end = since + probe_end_ms(probe) * 1000000;
        unsigned is = probe_state(probe, epoch);
        if (is == PROBE_OUT && now_ns >= end)
            is = PROBE_FAILED;
        count.out += is == PROBE_OUT;
        count.ok += is == PROBE_OK;
        count.failed += is == PROBE_FAILED;
        if (is == PROBE_OUT && end < count.next_end_ns)
            count.next_end_ns = end;
    }
    return count;
}

bool probes_judge(const struct breaker *breaker, const struct rules *rules, uint64_t state, uint64_t now_ns)
{
    leases_settle(breaker, rules, state, now_ns);
    struct probe_count count = probes_count(breaker, rules, state, now_ns);
    uint32_t allowed = probes_allowed(rules);
    uint64_t wanted = word_load(&rules->probe_ok);
    uint32_t needed = wanted < 1 ? 1 : wanted > allowed ? allowed : (uint32_t)wanted;
    struct window_sum numbers = {.total = count.ok + count.failed, .failures = count.failed};
    if (count.ok >= needed) {
        unsigned next = word_load(&rules->ramp_ns) ? BREAKER_RAMP : BREAKER_CLOSED;
        machine_move(breaker, rules, state, next, BREAKER_REASON_PROBES_OK, &numbers, now_ns);
        return true;
    }
    if (count.failed > allowed - needed) {
        machine_move(breaker, rules, state, BREAKER_OPEN, BREAKER_REASON_PROBES_FAILED, &numbers, now_ns);
        return true;
    }
    return false;
}

uint64_t probe_take(const struct breaker *breaker, const struct rules *rules, uint64_t state, uint64_t now_ns,
                    uint8_t *ret_number)
{
    struct slot *slot = breaker->slot;
    uint32_t epoch = state_epoch(state), allowed = probes_allowed(rules);
    uint64_t since = machine_since(slot, state, now_ns);
    uint64_t elapsed = now_ns > since ? now_ns - since : 0;
    uint64_t end_ms = (elapsed + word_load(&rules->probe_lease_ns) + 999999) / 1000000;
    for (uint32_t i = 0; i < allowed; i++) {
        uint64_t probe = word_load(&slot->probe[i]);
        while (probe_state(probe, epoch) == PROBE_FREE && (int32_t)((uint32_t)(probe >> 32) - epoch) <= 0) {
            uint64_t taken = probe_pack(epoch, PROBE_OUT, end_ms);
            if (word_swap(&slot->probe[i], &probe, taken)) {
                *ret_number = (uint8_t)i;
                return taken;
            }
        }
    }
    return 0;
}
