/* May this call be made? The closed case is one load and a comparison; everything else is in
 * acquire_slowly(). */
#include "calls.h"
#include "latency.h"

_Thread_local uint32_t thread_number __attribute__((tls_model("initial-exec"), visibility("hidden")));
static _Atomic uint32_t threads_seen;

uint32_t thread_number_make(void)
{
    thread_number = atomic_fetch_add_explicit(&threads_seen, 1, memory_order_relaxed) + 1;
    return thread_number;
}

static void permit_make(struct breaker_permit *ret_permit, enum permit_kind kind, uint64_t state,
                        uint32_t shard, uint64_t now_ns)
{
    *ret_permit = (struct breaker_permit){
        .started_ns = now_ns, .epoch = state_epoch(state), .kind = (uint8_t)kind, .shard = (uint8_t)shard};
}

/* ---- places ---- */

static uint64_t places_taken(const struct breaker *breaker)
{
    uint64_t sum = 0;
    uint64_t lanes = word_load(&region_head(breaker->region)->shards_used);
    for (uint64_t left = lanes; left; left &= left - 1) {
        uint32_t lane = (uint32_t)__builtin_ctzll(left);
        if (lane <= breaker->region->shards)
            sum += atomic_load(breaker_place(breaker, lane));
    }
    return sum;
}

void place_give(const struct breaker *breaker, uint32_t shard)
{
    word *places = breaker_place(breaker, shard);
    uint64_t held = word_load(places);
    while (held > 0 && !word_swap(places, &held, held - 1))
        ;
}

/* Full: perhaps of dead men's places. Looked for once a second; the only system calls of a call, and only of
 * a refused one. */
static bool places_sweep(const struct breaker *breaker, uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    uint64_t swept = word_load(&slot->swept_ns);
    return (swept == 0 || now_ns - swept >= PLACE_SWEEP_NS) && word_swap(&slot->swept_ns, &swept, now_ns) &&
           breaker_region_sweep(breaker->region) > 0;
}

/* Own place first, then the sum: two that race for the last one may both be refused, but never both be let
 * in. */
bool place_take(const struct breaker *breaker, const struct rules *rules, uint32_t shard, uint64_t now_ns)
{
    uint64_t most = word_load(&rules->max_in_flight);
    for (;;) {
        atomic_fetch_add(breaker_place(breaker, shard), 1);
        if (places_taken(breaker) <= most)
            return true;
        place_give(breaker, shard);
        if (!places_sweep(breaker, now_ns))
            return false;
    }
}

/* ---- refusals ---- */

static int refuse(const struct breaker *breaker, struct breaker_permit *ret_permit, uint64_t state,
                  int answer, uint64_t now_ns)
{
    static const enum total totals[] = {[BREAKER_E_OPEN] = TOTAL_REFUSED_OPEN,
                                        [BREAKER_E_PROBING] = TOTAL_REFUSED_PROBING,
                                        [BREAKER_E_RAMP] = TOTAL_REFUSED_RAMP,
                                        [BREAKER_E_FULL] = TOTAL_REFUSED_FULL,
                                        [BREAKER_E_FORCED] = TOTAL_REFUSED_FORCED};
    uint32_t shard = lane_of(breaker->region);
    bool is_shadow = state_mode(state) == BREAKER_MODE_SHADOW;
    latency_look(breaker, now_ns);
    word_add(&breaker_shard(breaker, shard)->total[is_shadow ? TOTAL_SHADOW_REFUSED : totals[answer]], 1);
    permit_make(ret_permit, is_shadow ? PERMIT_SHADOW : PERMIT_SPENT, state, shard, now_ns);
    return is_shadow ? 0 : answer;
}

/* ---- grants ---- */

/* Hung calls end nothing, so nobody reports them: the first call in each slice looks. */
static bool hung_trips(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                       uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    uint64_t slice = slice_of(rules, now_ns), looked = word_load(&slot->hung_slice);
    return __builtin_expect(slice != looked, 0) && word_swap(&slot->hung_slice, &looked, slice) &&
           machine_judge(breaker, rules, state, 0, now_ns);
}

/* The common shard has no owner whose death would give its places back: who counts there takes none. */
static bool needs_place(const struct breaker *breaker, const struct rules *rules)
{
    return (word_load(&rules->flags) & RULE_PLACES) && !breaker->region->is_common;
}

static int grant_normal(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                        uint64_t now_ns, struct breaker_permit *ret_permit)
{
    uint64_t flags = word_load(&rules->flags);
    uint32_t shard = lane_of(breaker->region);
    bool has_place = needs_place(breaker, rules);
    if (has_place && !place_take(breaker, rules, shard, now_ns))
        return refuse(breaker, ret_permit, state, BREAKER_E_FULL, now_ns);
    permit_make(ret_permit, PERMIT_NORMAL, state, shard, now_ns);
    ret_permit->flags = has_place ? PERMIT_PLACE : 0;
    if (flags & RULE_HUNG) {
        window_start(breaker, rules, shard, state_epoch(state), slice_of(rules, now_ns));
        ret_permit->flags |= permit_started_in(rules);
    }
    return 0;
}

static int grant_ramp(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                      uint64_t now_ns, struct breaker_permit *ret_permit)
{
    struct slot *slot = breaker->slot;
    bool is_done;
    uint64_t since = machine_since(slot, state, now_ns);
    uint32_t successes = tagged_count(word_load(&slot->evidence), state_epoch(state));
    uint32_t share = ramp_share(rules, successes, now_ns > since ? now_ns - since : 0, &is_done);
    uint64_t turn = word_add(&breaker_shard(breaker, lane_of(breaker->region))->turn, 1);
    if (!ramp_passes(turn, share))
        return refuse(breaker, ret_permit, state, BREAKER_E_RAMP, now_ns);
    return grant_normal(breaker, rules, state, now_ns, ret_permit);
}

/* -1: the state has changed, look again. */
static int grant_probe(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                       uint64_t now_ns, unsigned flags, struct breaker_permit *ret_permit)
{
    struct slot *slot = breaker->slot;
    uint32_t shard = lane_of(breaker->region);
    uint64_t since = machine_since(slot, state, now_ns);
    if ((flags & BREAKER_NO_PROBE) && now_ns < since + word_load(&rules->open_ns))
        return probes_judge(breaker, rules, state, now_ns)
                   ? -1
                   : refuse(breaker, ret_permit, state, BREAKER_E_PROBING, now_ns);
    bool has_places = needs_place(breaker, rules);
    if (has_places && !place_take(breaker, rules, shard, now_ns))
        return refuse(breaker, ret_permit, state, BREAKER_E_FULL, now_ns);
    permit_make(ret_permit, PERMIT_PROBE, state, shard, now_ns);
    ret_permit->flags = has_places ? PERMIT_PLACE : 0;
    ret_permit->lease = probe_take(breaker, rules, state, now_ns, &ret_permit->probe);
    if (ret_permit->lease) {
        word_add(&breaker_shard(breaker, shard)->total[TOTAL_PROBES], 1);
        return 0;
    }
    if (has_places)
        place_give(breaker, shard);
    if (probes_judge(breaker, rules, state, now_ns))
        return -1;
    return refuse(breaker, ret_permit, state, BREAKER_E_PROBING, now_ns);
}

static int grant_open(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                      uint64_t now_ns, unsigned flags, struct breaker_permit *ret_permit)
{
    struct slot *slot = breaker->slot;
    uint64_t until = machine_until(breaker, rules, state, now_ns);
    uint64_t patience = 0;
    if (flags & BREAKER_NO_PROBE) {
        uint64_t since = machine_since(slot, state, now_ns);
        patience = until > since ? until - since : 0;
    }
    if (now_ns < until + patience)
        return refuse(breaker, ret_permit, state, BREAKER_E_OPEN, now_ns);
    machine_move(breaker, rules, state, BREAKER_HALF_OPEN, BREAKER_REASON_RETRY, NULL, now_ns);
    return -1;
}

static int acquire_state(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                         uint64_t now_ns, unsigned flags, struct breaker_permit *ret_permit)
{
    bool counts_hung = word_load(&rules->flags) & RULE_HUNG;
    if (state_mode(state) == BREAKER_MODE_FORCED_OPEN)
        return refuse(breaker, ret_permit, state, BREAKER_E_FORCED, now_ns);
    if (state_mode(state) == BREAKER_MODE_FORCED_CLOSED) {
        permit_make(ret_permit, PERMIT_COUNTED, state, lane_of(breaker->region), now_ns);
        return 0;
    }
    switch (state_machine(state)) {
    case BREAKER_OPEN: return grant_open(breaker, rules, state, now_ns, flags, ret_permit);
    case BREAKER_HALF_OPEN: return grant_probe(breaker, rules, state, now_ns, flags, ret_permit);
    case BREAKER_RAMP:
        if (counts_hung && hung_trips(breaker, rules, state, now_ns))
            return -1;
        return grant_ramp(breaker, rules, state, now_ns, ret_permit);
    default:
        if (counts_hung && hung_trips(breaker, rules, state, now_ns))
            return -1;
        return grant_normal(breaker, rules, state, now_ns, ret_permit);
    }
}

static int pass_untracked(const struct breaker *breaker, uint64_t now_ns, struct breaker_permit *ret_permit)
{
    if (breaker->region)
        __atomic_fetch_add(&breaker->region->untracked, 1, __ATOMIC_RELAXED);
    permit_make(ret_permit, PERMIT_UNTRACKED, 0, 0, now_ns);
    return 0;
}

/* The identity is read after the state: an eviction adds to the epoch first and changes the identity then, so
 * a permit of the former owner's epoch is stale, and one of the new owner's is never given to the former. */
static int acquire_slowly(const struct breaker *breaker, uint64_t now_ns, unsigned flags,
                          struct breaker_permit *ret_permit)
{
    struct slot *slot = breaker->slot;
    for (;;) {
        uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
        if (breaker_is_gone(breaker))
            return pass_untracked(breaker, now_ns, ret_permit);
        uint64_t now = machine_clock(slot, now_ns);
        int answer = acquire_state(breaker, breaker_rules(breaker), state, now, flags, ret_permit);
        if (answer == 0 && breaker_is_gone(breaker)) { /* evicted just now: the place may be the next one's */
            if (ret_permit->flags & PERMIT_PLACE)
                place_give(breaker, ret_permit->shard);
            return pass_untracked(breaker, now_ns, ret_permit);
        }
        if (answer >= 0)
            return answer;
    }
}

/* Closed, hung calls counted, and this slice was looked at: only the start is to be counted. */
static bool acquire_started(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                            uint64_t now_ns, struct breaker_permit *ret_permit)
{
    struct slot *slot = breaker->slot;
    uint64_t now = machine_clock(slot, now_ns), slice = slice_of(rules, now);
    if (slice != word_load(&slot->hung_slice))
        return false;
    uint32_t shard = lane_of(breaker->region);
    permit_make(ret_permit, PERMIT_NORMAL, state, shard, now);
    ret_permit->flags = permit_started_in(rules);
    window_start(breaker, rules, shard, state_epoch(state), slice);
    return true;
}

int breaker_acquire(const struct breaker *breaker, uint64_t now_ns, unsigned flags,
                    struct breaker_permit *ret_permit)
{
    struct slot *slot = breaker->slot;
    if (__builtin_expect(!slot, 0))
        return pass_untracked(breaker, now_ns, ret_permit);
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
    const struct rules *rules = breaker_rules(breaker);
    if (__builtin_expect((state & 0xff) == 0 && !breaker->id, 1)) {
        uint64_t kind = word_load(&rules->flags) & (RULE_HUNG | RULE_PLACES);
        if (kind == 0) {
            permit_make(ret_permit, PERMIT_NORMAL, state, lane_of(breaker->region), now_ns);
            return 0;
        }
        if (kind == RULE_HUNG && acquire_started(breaker, rules, state, now_ns, ret_permit))
            return 0;
    }
    return acquire_slowly(breaker, now_ns, flags, ret_permit);
}

int breaker_permit_is_probe(const struct breaker_permit *permit)
{
    return permit->kind == PERMIT_PROBE;
}

int breaker_permit_is_shadow(const struct breaker_permit *permit)
{
    return permit->kind == PERMIT_SHADOW;
}

int breaker_permit_is_untracked(const struct breaker_permit *permit)
{
    return permit->kind == PERMIT_UNTRACKED;
}
