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

/* The next shard that ever counted; NULL after the last. *left begins as shards_used. */
static const struct shard *shard_next(const struct breaker *breaker, uint64_t *left)
{
    while (*left) {
        uint32_t shard = (uint32_t)__builtin_ctzll(*left);
        *left &= *left - 1;
        if (shard <= breaker->region->shards)
            return slot_shard(breaker->slot, shard);
    }
    return NULL;
}

uint64_t latency_ok_count(const struct breaker *breaker)
{
    uint64_t sum = 0, left = word_load(&region_head(breaker->region)->shards_used);
    for (const struct shard *shard; (shard = shard_next(breaker, &left));)
        for (uint32_t k = 0; k < LATENCY_BUCKETS; k++)
            sum += word_load(&shard->took_ok[k]);
    return sum;
}

void latency_sum(const struct breaker *breaker, struct latency_sum *ret_sum)
{
    uint64_t left = word_load(&region_head(breaker->region)->shards_used);
    memset(ret_sum, 0, sizeof(*ret_sum));
    for (const struct shard *shard; (shard = shard_next(breaker, &left));)
        for (uint32_t k = 0; k < LATENCY_BUCKETS; k++)
            ret_sum->count[k] += word_load(&shard->took_ok[k]) + word_load(&shard->took_other[k]);
}

static uint64_t quarter_ns(const struct rules *rules)
{
    uint64_t window = word_load(&rules->flags) & RULE_COUNT ? LATENCY_WINDOW_NS : word_load(&rules->window_ns);
    return window < LATENCY_MARKS ? 1 : window / LATENCY_MARKS;
}

/* Whoever moves the time on writes the mark; nobody waits for it. */
void latency_mark(const struct breaker *breaker, const struct rules *rules, uint64_t now_ns)
{
    struct slot *slot = breaker->slot;
    uint64_t quarter = quarter_ns(rules), number = now_ns / quarter, due = word_load(&slot->latency_due_ns);
    uint32_t tag = window_tag(rules, 0, number);
    struct latency_sum sum;
    if (now_ns < due || !word_swap(&slot->latency_due_ns, &due, (number + 1) * quarter))
        return;
    latency_sum(breaker, &sum);
    word *mark = slot->mark[number % LATENCY_MARKS];
    for (uint32_t k = 0; k < LATENCY_BUCKETS; k++)
        word_store(&mark[k], (uint64_t)tag << 32 | (uint32_t)sum.count[k]);
}

/* What came after a mark. False: its writer did not finish it, or wrote it for another breaker. */
static bool since_mark(const word *mark, uint32_t tag, const struct latency_sum *now, struct latency_sum *ret_sum)
{
    for (uint32_t k = 0; k < LATENCY_BUCKETS; k++) {
        uint64_t value = word_load(&mark[k]);
        uint32_t more = (uint32_t)now->count[k] - (uint32_t)value;
        if (value >> 32 != tag || more > INT32_MAX)
            return false;
        ret_sum->count[k] = more;
    }
    return true;
}

/* What came after the oldest mark within the window; nothing when there is none, since a call would have made one. */
static void sum_lately(const struct breaker *breaker, const struct rules *rules, uint64_t now_ns,
                       struct latency_sum *ret_sum)
{
    struct slot *slot = breaker->slot;
    struct latency_sum now;
    uint64_t number = now_ns / quarter_ns(rules);
    latency_sum(breaker, &now);
    for (uint64_t back = LATENCY_MARKS; back-- > 0;) {
        if (back <= number && since_mark(slot->mark[(number - back) % LATENCY_MARKS],
                                         window_tag(rules, 0, number - back), &now, ret_sum))
            return;
    }
    memset(ret_sum, 0, sizeof(*ret_sum));
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
    struct latency_sum sum;
    struct breaker_latency latency = {0};
    if (!breaker->slot || breaker_is_gone(breaker))
        return BREAKER_E_UNTRACKED;
    sum_lately(breaker, breaker_rules(breaker), machine_peek(breaker->slot, now_ns), &sum);
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
