/* Reading back how long calls took. */
#include "calls.h"
#include "latency.h"

static uint64_t bound_units(uint32_t bucket)
{
    uint32_t octave = bucket / 4 + 1;
    return bucket < 4 ? bucket + UINT64_C(1) : (UINT64_C(5) + bucket % 4) << (octave - 2);
}

uint64_t latency_bound_ns(uint32_t bucket)
{
    bool is_last = bucket >= LATENCY_BUCKETS - 1;
    return bound_units(is_last ? LATENCY_BUCKETS - 2 : bucket) * LATENCY_UNIT_NS;
}

/* ---- sums and marks ---- */

/* Buckets of all calls, as many as this breaker has; then enum lately. */
struct sums {
    uint64_t count[LATENCY_BUCKETS + LATELY_COUNTS];
};

static const uint8_t lately_totals[][2] = {
    {LATELY_OK, TOTAL_OK},
    {LATELY_FAILURE, TOTAL_FAILURE},
    {LATELY_TIMEOUT, TOTAL_TIMEOUT},
    {LATELY_SLOW, TOTAL_SLOW},
    {LATELY_SLOW_FAILURE, TOTAL_SLOW_FAILURE},
    {LATELY_SLOW_TIMEOUT, TOTAL_SLOW_TIMEOUT},
    {LATELY_REFUSED, TOTAL_REFUSED_OPEN},
    {LATELY_REFUSED, TOTAL_REFUSED_PROBING},
    {LATELY_REFUSED, TOTAL_REFUSED_RAMP},
    {LATELY_REFUSED, TOTAL_REFUSED_FULL},
    {LATELY_REFUSED, TOTAL_REFUSED_FORCED},
    {LATELY_FALLBACK, TOTAL_FALLBACK},
    {LATELY_FALLBACK_FAILED, TOTAL_FALLBACK_FAILED},
    {LATELY_SHADOW, TOTAL_SHADOW_REFUSED},
};

static void sums_read(const struct breaker *breaker, struct sums *ret_sums)
{
    uint32_t buckets = breaker_buckets(breaker);
    uint64_t *lately = ret_sums->count + buckets;
    memset(ret_sums, 0, sizeof(*ret_sums));
    for (uint64_t left = breaker_shard_bits(breaker); left; left &= left - 1) {
        const struct shard *shard = breaker_shard(breaker, (uint32_t)__builtin_ctzll(left));
        for (uint32_t k = 0; k < buckets; k++) {
            uint64_t ok = word_load(&shard->took[k]);
            ret_sums->count[k] += ok + word_load(&shard->took[buckets + k]);
            lately[LATELY_OK] += ok;
        }
        for (size_t i = 0; i < sizeof(lately_totals) / sizeof(lately_totals[0]); i++)
            lately[lately_totals[i][0]] += word_load(&shard->total[lately_totals[i][1]]);
    }
}

uint64_t latency_ok_count(const struct breaker *breaker)
{
    uint64_t sum = 0;
    for (uint64_t left = breaker_shard_bits(breaker); left; left &= left - 1) {
        const struct shard *shard = breaker_shard(breaker, (uint32_t)__builtin_ctzll(left));
        for (uint32_t k = 0; k < breaker_buckets(breaker); k++)
            sum += word_load(&shard->took[k]);
    }
    return sum;
}

/* An octave of a breaker made by key is taken to be spread evenly over its four quarters. */
static void spread(const struct breaker *breaker, const struct sums *sums, struct latency_sum *ret_sum)
{
    uint32_t parts = LATENCY_BUCKETS / breaker_buckets(breaker);
    for (uint32_t k = 0; k < LATENCY_BUCKETS; k++) {
        uint64_t all = sums->count[k / parts];
        ret_sum->count[k] = all * (k % parts + 1) / parts - all * (k % parts) / parts;
    }
}

void latency_sum(const struct breaker *breaker, struct latency_sum *ret_sum)
{
    struct sums sums;
    sums_read(breaker, &sums);
    spread(breaker, &sums, ret_sum);
}

static uint64_t quarter_ns(const struct rules *rules)
{
    uint64_t window = word_load(&rules->flags) & RULE_COUNT ? LATENCY_WINDOW_NS : word_load(&rules->window_ns);
    return window < LATENCY_MARKS ? 1 : window / LATENCY_MARKS;
}

static uint64_t mark_tag(const struct rules *rules, uint64_t number)
{
    return UINT64_C(1) << 32 | window_tag(rules, 0, number);
}

/* Whoever moves the time on writes the mark; nobody waits for it. */
void latency_mark(const struct breaker *breaker, const struct rules *rules, uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    uint64_t quarter = quarter_ns(rules), number = now_ns / quarter, due = word_load(&slot->latency_due_ns);
    struct sums sums;
    if (now_ns < due || !word_swap(&slot->latency_due_ns, &due, (number + 1) * quarter))
        return;
    sums_read(breaker, &sums);
    struct mark *mark = breaker_mark(breaker, number);
    atomic_store_explicit(&mark->tag, 0, memory_order_release);
    for (uint32_t k = 0; k < breaker_buckets(breaker) + LATELY_COUNTS; k++)
        atomic_store_explicit(&mark->count[k], (uint32_t)sums.count[k], memory_order_release);
    chaos();
    atomic_store_explicit(&mark->tag, mark_tag(rules, number), memory_order_release);
}

/* What came after a mark. False: its writer did not finish it, or wrote it for another breaker. */
static bool since_mark(const struct mark *mark, uint64_t tag, uint32_t counts, const struct sums *now,
                       struct sums *ret_sums)
{
    if (atomic_load_explicit((word *)&mark->tag, memory_order_acquire) != tag)
        return false;
    for (uint32_t k = 0; k < counts; k++) {
        uint32_t then = atomic_load_explicit((_Atomic uint32_t *)&mark->count[k], memory_order_acquire);
        uint32_t more = (uint32_t)now->count[k] - then;
        if (more > INT32_MAX)
            return false;
        ret_sums->count[k] = more;
    }
    return word_load(&mark->tag) == tag;
}

/* What came after the oldest mark within the window; nothing when there is none, since a call would have made one. */
static void sums_lately(const struct breaker *breaker, const struct rules *rules, uint64_t now_ns,
                        struct sums *ret_sums)
{
    struct sums now;
    uint32_t counts = breaker_buckets(breaker) + LATELY_COUNTS;
    uint64_t number = now_ns / quarter_ns(rules);
    sums_read(breaker, &now);
    for (uint64_t back = LATENCY_MARKS; back-- > 0;) {
        if (back <= number && since_mark(breaker_mark(breaker, number - back), mark_tag(rules, number - back), counts,
                                         &now, ret_sums))
            return;
    }
    memset(ret_sums, 0, sizeof(*ret_sums));
}

void latency_lately(const struct breaker *breaker, const struct rules *rules, uint64_t now_ns,
                    struct breaker_lately *ret_lately)
{
    struct sums sums;
    sums_lately(breaker, rules, now_ns, &sums);
    const uint64_t *n = sums.count + breaker_buckets(breaker);
    uint64_t timeouts = n[LATELY_TIMEOUT] + n[LATELY_SLOW_TIMEOUT];
    uint64_t failures = n[LATELY_FAILURE] + n[LATELY_SLOW_FAILURE] + timeouts;
    *ret_lately = (struct breaker_lately){
        .total = n[LATELY_OK] + n[LATELY_SLOW] + failures,
        .failures = failures,
        .timeouts = timeouts,
        .slow = n[LATELY_SLOW] + n[LATELY_SLOW_FAILURE] + n[LATELY_SLOW_TIMEOUT],
        .refused = n[LATELY_REFUSED],
        .shadow_refused = n[LATELY_SHADOW],
        .fallbacks = n[LATELY_FALLBACK],
        .fallbacks_failed = n[LATELY_FALLBACK_FAILED],
    };
}

/* ---- what people ask for ---- */

static uint64_t bucket_begin_ns(uint32_t bucket)
{
    return bucket == 0 ? 0 : bound_units(bucket - 1) * LATENCY_UNIT_NS;
}

uint64_t latency_total_ns(const struct latency_sum *sum)
{
    uint64_t total = 0;
    for (uint32_t k = 0; k < LATENCY_BUCKETS; k++)
        total += sum->count[k] * ((bucket_begin_ns(k) + latency_bound_ns(k)) / 2);
    return total;
}

/* The time that `rank` of the calls did not exceed: as if those of a bucket were spread evenly over it. */
static uint64_t time_of_rank(const struct latency_sum *sum, uint64_t rank)
{
    uint64_t before = 0;
    for (uint32_t k = 0; k < LATENCY_BUCKETS; k++) {
        uint64_t count = sum->count[k], begin = bucket_begin_ns(k);
        if (count && before + count >= rank)
            return begin + (uint64_t)((double)(latency_bound_ns(k) - begin) * (double)(rank - before) / (double)count);
        before += count;
    }
    return 0;
}

int breaker_latency(const struct breaker *breaker, uint64_t now_ns, struct breaker_latency *ret_latency)
{
    static const uint32_t permille[BREAKER_LEVELS] = {0, 250, 500, 750, 900, 950, 990, 995, 1000};
    struct sums sums;
    struct latency_sum sum;
    struct breaker_latency latency = {0};
    if (!breaker->slot || breaker_is_gone(breaker))
        return BREAKER_E_UNTRACKED;
    sums_lately(breaker, breaker_rules(breaker), machine_peek(breaker->slot, now_ns), &sums);
    spread(breaker, &sums, &sum);
    for (uint32_t k = 0; k < LATENCY_BUCKETS; k++)
        latency.count += sum.count[k];
    for (uint32_t i = 0; latency.count && i < BREAKER_LEVELS; i++) {
        uint64_t rank = (latency.count * permille[i] + 999) / 1000;
        latency.level_ns[i] = time_of_rank(&sum, rank ? rank : 1);
    }
    latency.mean_ns = latency.count ? latency_total_ns(&sum) / latency.count : 0;
    *ret_latency = latency;
    return 0;
}
