/* What has happened lately: the sliding window of one breaker, over all its shards. Not installed.
 *
 * A window of time is cut in slices; each shard has a ring of them. A window of calls is one ring of outcomes
 * that all processes write. Both forget by tag: whatever was counted in another epoch or another geometry
 * reads as nothing.
 */
#pragma once

#include "layout.h"

struct window_sum {
    uint64_t total, failures, slow, hung, timeouts;
};

/* Exact division by multiplication with the inverse, which is ⌊2⁶⁴ / divisor⌋ or one less: the product falls short of
 * the quotient by less than two. */
static inline uint64_t divide(uint64_t value, uint64_t divisor, uint64_t inverse)
{
    uint64_t quotient = (uint64_t)((unsigned __int128)value * inverse >> 64);
    quotient += value - quotient * divisor >= divisor;
    return quotient;
}

static inline uint64_t slice_of(const struct rules *rules, uint64_t at_ns)
{
    return divide(at_ns, word_load(&rules->slice_ns), word_load(&rules->slice_inverse));
}

/* The tag of a slice (0: of a ring) in this epoch and geometry. Epochs are spread by the golden ratio: two slices of
 * epochs k apart share a tag only when they are at least 2³² / (√5·k) slices apart. */
static inline uint32_t window_tag(const struct rules *rules, uint32_t epoch, uint64_t slice)
{
    return (uint32_t)slice + epoch * 0x9e3779b9u + (uint32_t)word_load(&rules->geometry) * 0x85ebca6bu;
}

#define NEWER_SLICES (1u << 20) /* a tag that far ahead is a later slice of the same epoch */

/* Add one under a tag. A word that already counts a later slice keeps it: the call is credited to that one. */
static inline void tagged_add(word *counter, uint32_t tag)
{
    uint64_t value = word_load(counter);
    while (__builtin_expect((uint32_t)(value >> 32) - tag >= NEWER_SLICES || value == 0, 0))
        if (word_swap(counter, &value, (uint64_t)tag << 32 | 1))
            return;
    word_add(counter, 1);
}

/* Add many. Only while nobody else counts there. */
static inline void tagged_add_many(word *counter, uint32_t tag, uint32_t more)
{
    uint64_t value = word_load(counter);
    bool is_older = value == 0 || (uint32_t)(value >> 32) - tag >= NEWER_SLICES;
    word_store(counter, is_older ? (uint64_t)tag << 32 | more : value + more);
}

/* The number of slices in force, whatever another process wrote there. */
static inline uint32_t ring_slices(const struct breaker *breaker, const struct rules *rules)
{
    uint64_t slices = word_load(&rules->slices);
    return slices >= 1 && slices <= breaker_slices(breaker) ? (uint32_t)slices : 1;
}

/* Where a shard counts a slice. */
static inline struct cell *slice_cell(const struct breaker *breaker, const struct rules *rules,
                                      uint32_t shard, uint64_t slice)
{
    uint64_t slices = word_load(&rules->slices);
    uint64_t place = slice - divide(slice, slices, word_load(&rules->slices_inverse)) * slices;
    return &breaker_cells(breaker, shard)[place < breaker_slices(breaker) ? place : 0];
}

/* Count a call that begins now; for windows that count hung calls. */
static inline void window_start(const struct breaker *breaker, const struct rules *rules, uint32_t shard,
                                uint32_t epoch, uint64_t slice)
{
    tagged_add(&slice_cell(breaker, rules, shard, slice)->count[TOTAL_STARTED],
               window_tag(rules, epoch, slice));
}

void ring_add(const struct breaker *breaker, const struct rules *rules, uint32_t epoch, enum total how);

/* Count how a call ended (TOTAL_OK … TOTAL_NEUTRAL), in the slice it began in while that is live, else in the current
 * one. has_start: window_start() counted it. */
static inline void window_end(const struct breaker *breaker, const struct rules *rules, uint32_t shard,
                              uint32_t epoch, uint64_t started_ns, bool has_start, enum total how,
                              uint64_t now_ns)
{
    uint64_t flags = word_load(&rules->flags), slices = word_load(&rules->slices);
    if (__builtin_expect(flags & RULE_COUNT, 0)) {
        ring_add(breaker, rules, epoch, how);
        return;
    }
    uint64_t slice = slice_of(rules, started_ns);
    if (now_ns - started_ns >= word_load(&rules->slice_ns) * (slices - 1)) {
        uint64_t current = slice_of(rules, now_ns);
        if (current - slice >= slices) {
            slice = current;
            has_start = false; /* its start went with its slice */
        }
    }
    struct cell *cell = slice_cell(breaker, rules, shard, slice);
    uint32_t tag = window_tag(rules, epoch, slice);
    if (!has_start && (flags & RULE_HUNG))
        tagged_add(&cell->count[TOTAL_STARTED], tag);
    tagged_add(&cell->count[how], tag);
}

/* All that is live. */
struct window_sum window_sum(const struct breaker *breaker, const struct rules *rules, uint32_t epoch,
                             uint64_t now_ns);

/* Forget everything, when the geometry changes. */
void window_clear(const struct breaker *breaker);
