/* Counting. The only writes are to tagged words (layout.h); sums are read without stopping anyone and may
 * miss what is just being written, which the writer then sees: who reports a failure sums after counting it.
 */
#include "window.h"

#define NEWER_SLICES (1u << 20) /* a tag that far ahead is a later slice of the same epoch */

/* Add one under a tag. A word that already counts a later slice keeps it: the call is credited to that one.
 */
static void tagged_add(word *counter, uint32_t tag)
{
    uint64_t value = word_load(counter);
    for (;;) {
        uint32_t ahead = (uint32_t)(value >> 32) - tag;
        if (ahead < NEWER_SLICES && value != 0) {
            word_add(counter, 1);
            return;
        }
        if (word_swap(counter, &value, (uint64_t)tag << 32 | 1))
            return;
    }
}

static uint32_t ring_slices(const struct breaker *breaker, const struct rules *rules)
{
    uint64_t slices = word_load(&rules->slices);
    return slices >= 1 && slices <= breaker->region->slices ? (uint32_t)slices : 1;
}

void window_start(const struct breaker *breaker, const struct rules *rules, uint32_t shard, uint32_t epoch,
                  uint64_t now_ns)
{
    uint64_t slice = slice_of(rules, now_ns);
    struct cell *cells = slot_cells(breaker->region, breaker->slot, shard);
    tagged_add(&cells[slice % ring_slices(breaker, rules)].count[TOTAL_STARTED],
               window_tag(rules, epoch, slice));
}

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
    return (_Atomic uint32_t *)slot_cells(breaker->region, breaker->slot, 0);
}

static uint32_t ring_size(const struct breaker *breaker, const struct rules *rules)
{
    uint64_t count = word_load(&rules->window_count);
    return count >= 1 && count <= ring_capacity(breaker->region) ? (uint32_t)count : 1;
}

/* Take the next place. The position runs 0 … 2N−1 and from there back to N: below N the ring is not full yet.
 */
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

static void ring_add(const struct breaker *breaker, const struct rules *rules, uint32_t epoch, enum total how)
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

void window_end(const struct breaker *breaker, const struct rules *rules, uint32_t shard, uint32_t epoch,
                uint64_t started_ns, bool has_start, enum total how, uint64_t now_ns)
{
    if (word_load(&rules->flags) & RULE_COUNT) {
        ring_add(breaker, rules, epoch, how);
        return;
    }
    uint32_t slices = ring_slices(breaker, rules);
    uint64_t slice = slice_of(rules, started_ns);
    if (now_ns - started_ns >= word_load(&rules->slice_ns) * (slices - 1)) {
        uint64_t current = slice_of(rules, now_ns);
        if (current - slice >= slices) {
            slice = current;
            has_start = false; /* its start went with its slice */
        }
    }
    struct cell *cell = &slot_cells(breaker->region, breaker->slot, shard)[slice % slices];
    uint32_t tag = window_tag(rules, epoch, slice);
    if (!has_start && (word_load(&rules->flags) & RULE_HUNG))
        tagged_add(&cell->count[TOTAL_STARTED], tag);
    tagged_add(&cell->count[how], tag);
}

/* One slice over all shards. */
static void slice_sum(const struct breaker *breaker, uint64_t shards, uint32_t place, uint32_t tag,
                      bool is_overdue, struct window_sum *sum)
{
    int64_t running = 0;
    for (uint64_t left = shards; left; left &= left - 1) {
        uint32_t shard = (uint32_t)__builtin_ctzll(left);
        if (shard > breaker->region->shards)
            break;
        const struct cell *cell = &slot_cells(breaker->region, breaker->slot, shard)[place];
        uint64_t count[8];
        for (int i = 0; i < 8; i++)
            count[i] = tagged_count(word_load(&cell->count[i]), tag);
        uint64_t failures = count[TOTAL_FAILURE] + count[TOTAL_TIMEOUT];
        uint64_t slow_failures = count[TOTAL_SLOW_FAILURE] + count[TOTAL_SLOW_TIMEOUT];
        uint64_t total = count[TOTAL_OK] + failures + count[TOTAL_SLOW] + slow_failures;
        sum->total += total;
        sum->failures += failures + slow_failures;
        sum->timeouts += count[TOTAL_TIMEOUT] + count[TOTAL_SLOW_TIMEOUT];
        sum->slow += count[TOTAL_SLOW] + slow_failures;
        running += (int64_t)count[TOTAL_STARTED] - (int64_t)(total + count[TOTAL_NEUTRAL]);
    }
    if (is_overdue && running > 0)
        sum->hung += (uint64_t)running;
}

struct window_sum window_sum(const struct breaker *breaker, const struct rules *rules, uint32_t epoch,
                             uint64_t now_ns)
{
    uint64_t flags = word_load(&rules->flags);
    if (flags & RULE_COUNT)
        return ring_sum(breaker, rules, epoch);
    struct window_sum sum = {0};
    uint32_t slices = ring_slices(breaker, rules);
    uint64_t current = slice_of(rules, now_ns), length = word_load(&rules->slice_ns);
    uint64_t slow_ns = word_load(&rules->slow_call_ns);
    uint64_t shards = word_load(&region_head(breaker->region)->shards_used);
    for (uint64_t back = 0; back < slices && back <= current; back++) {
        uint64_t slice = current - back;
        bool is_overdue = (flags & RULE_HUNG) && (slice + 1) * length + slow_ns <= now_ns;
        slice_sum(breaker, shards, (uint32_t)(slice % slices), window_tag(rules, epoch, slice), is_overdue,
                  &sum);
    }
    return sum;
}

void window_clear(const struct breaker *breaker)
{
    const struct breaker_region *region = breaker->region;
    struct cell *cells = slot_cells(region, breaker->slot, 0);
    for (uint64_t i = 0; i < (region->shards + UINT64_C(1)) * region->slices; i++)
        for (int k = 0; k < 8; k++)
            word_store(&cells[i].count[k], 0);
}
