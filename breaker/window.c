/* Counting. The only writes are to tagged words (layout.h); sums are read without stopping anyone and may
 * miss what is just being written, which the writer then sees: who reports a failure sums
 * after counting it. */
#include "window.h"

/* ---- a window of calls ---- */

/* An entry: 29 bits of the era, failure, slow, written. */
static uint32_t ring_entry(uint32_t era, enum total how)
{
    bool failed = how != TOTAL_OK && how != TOTAL_SLOW;
    bool slow = how >= TOTAL_SLOW;
    return (era & ~7u) | (failed ? 4u : 0) | (slow ? 2u : 0) | 1u;
}

static _Atomic uint32_t *ring_of(const struct breaker *breaker)
{
    return (_Atomic uint32_t *)breaker_cells(breaker, 0);
}

static uint32_t ring_size(const struct breaker *breaker, const struct rules *rules)
{
    uint64_t count = word_load(&rules->window_count);
    return count >= 1 && count <= ring_capacity(breaker) ? (uint32_t)count : 1;
}

/* Take the next place. The position runs 0 … 2N−1 and from there back to N: below N the ring is
 * not full yet. */
static uint32_t ring_take(struct slot *slot, uint32_t era, uint32_t size)
{
    uint64_t value = word_load(&slot->position);
    for (;;) {
        uint32_t at = tagged_count(value, era);
        uint32_t next = at + 1 >= 2 * size ? size : at + 1;
        if (word_swap(&slot->position, &value, (uint64_t)era << 32 | next))
            return at % size;
    }
}

void ring_add(const struct breaker *breaker, const struct rules *rules, uint32_t epoch, enum total how)
{
    if (how == TOTAL_NEUTRAL)
        return;
    uint32_t era = window_tag(rules, epoch, 0);
    uint32_t at = ring_take(breaker->slot, era, ring_size(breaker, rules));
    atomic_store_explicit(&ring_of(breaker)[at], ring_entry(era, how), memory_order_relaxed);
}

static struct window_sum ring_sum(const struct breaker *breaker, const struct rules *rules, uint32_t epoch)
{
    struct window_sum sum = {0};
    struct slot *slot = breaker->slot;
    uint32_t era = window_tag(rules, epoch, 0), size = ring_size(breaker, rules);
    uint32_t filled = tagged_count(word_load(&slot->position), era);
    for (uint32_t i = 0; i < size && i < filled; i++) {
        uint32_t entry = atomic_load_explicit(&ring_of(breaker)[i], memory_order_relaxed);
        if ((entry & ~7u) != (era & ~7u) || !(entry & 1))
            continue;
        sum.total++;
        sum.failures += entry >> 2 & 1;
        sum.slow += entry >> 1 & 1;
    }
    return sum;
}

/* ---- a window of time ---- */

/* One cell. Returns how many of the calls that began in it are running, less those that others ended. */
static int64_t cell_sum(const struct cell *cell, uint32_t tag, struct window_sum *sum)
{
    uint64_t count[8];
    for (int i = 0; i < 8; i++)
        count[i] = tagged_count(word_load(&cell->count[i]), tag);
    uint64_t timeouts = count[TOTAL_TIMEOUT] + count[TOTAL_SLOW_TIMEOUT];
    uint64_t slow_failures = count[TOTAL_SLOW_FAILURE] + count[TOTAL_SLOW_TIMEOUT];
    uint64_t failures = count[TOTAL_FAILURE] + count[TOTAL_TIMEOUT] + slow_failures;
    uint64_t total = count[TOTAL_OK] + count[TOTAL_SLOW] + failures;
    sum->total += total;
    sum->failures += failures;
    sum->timeouts += timeouts;
    sum->slow += count[TOTAL_SLOW] + slow_failures;
    return (int64_t)count[TOTAL_STARTED] - (int64_t)(total + count[TOTAL_NEUTRAL]);
}

/* The slices of one shard, from the current one back; running[back] adds up over shards. */
static void shard_sum(const struct breaker *breaker, const struct rules *rules, uint32_t shard,
                      uint32_t epoch, uint64_t current, struct window_sum *sum, int64_t *running)
{
    const struct cell *cells = breaker_cells(breaker, shard);
    uint32_t slices = ring_slices(breaker, rules), place = (uint32_t)(current % slices);
    uint32_t tag = window_tag(rules, epoch, current);
    for (uint32_t back = 0; back < slices && back <= current; back++, tag--) {
        running[back] += cell_sum(&cells[place], tag, sum);
        place = place ? place - 1 : slices - 1;
    }
}

struct window_sum window_sum(const struct breaker *breaker, const struct rules *rules, uint32_t epoch,
                             uint64_t now_ns)
{
    uint64_t flags = word_load(&rules->flags);
    if (flags & RULE_COUNT)
        return ring_sum(breaker, rules, epoch);
    struct window_sum sum = {0};
    int64_t running[BREAKER_SLICES_MAX] = {0};
    uint64_t current = slice_of(rules, now_ns), length = word_load(&rules->slice_ns);
    uint64_t slow_ns = word_load(&rules->slow_call_ns);
    for (uint64_t left = breaker_shard_bits(breaker); left; left &= left - 1)
        shard_sum(breaker, rules, (uint32_t)__builtin_ctzll(left), epoch, current, &sum, running);
    for (uint64_t back = 0; (flags & RULE_HUNG) && back < ring_slices(breaker, rules) && back <= current;
         back++)
        if (running[back] > 0 && (current - back + 1) * length + slow_ns <= now_ns)
            sum.hung += (uint64_t)running[back];
    return sum;
}

void window_clear(const struct breaker *breaker)
{
    struct cell *cells = breaker_cells(breaker, 0);
    for (uint64_t i = 0; i < (uint64_t)breaker_shards(breaker) * breaker_slices(breaker); i++)
        for (int k = 0; k < 8; k++)
            word_store(&cells[i].count[k], 0);
}
