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

/* The slice a time lies in: exact division by multiplication with the inverse. */
static inline uint64_t slice_of(const struct rules *rules, uint64_t at_ns)
{
    uint64_t length = word_load(&rules->slice_ns);
    uint64_t slice = (uint64_t)((unsigned __int128)at_ns * word_load(&rules->slice_inverse) >> 64);
    if (at_ns - slice * length >= length)
        slice++;
    return slice;
}

/* The tag of a slice (0: of a ring) in this epoch and geometry. Epochs are spread by the golden ratio: two
 * slices of epochs k apart share a tag only when they are at least 2³² / (√5·k) slices apart. */
static inline uint32_t window_tag(const struct rules *rules, uint32_t epoch, uint64_t slice)
{
    return (uint32_t)slice + epoch * 0x9e3779b9u + (uint32_t)word_load(&rules->geometry) * 0x85ebca6bu;
}

/* Count a call that begins now; for windows that count hung calls. */
void window_start(const struct breaker *breaker, const struct rules *rules, uint32_t shard, uint32_t epoch,
                  uint64_t now_ns);

/* Count how a call ended (TOTAL_OK … TOTAL_NEUTRAL), in the slice it began in while that is live, else in the
 * current one. has_start: window_start() counted it. */
void window_end(const struct breaker *breaker, const struct rules *rules, uint32_t shard, uint32_t epoch,
                uint64_t started_ns, bool has_start, enum total how, uint64_t now_ns);

/* All that is live. */
struct window_sum window_sum(const struct breaker *breaker, const struct rules *rules, uint32_t epoch,
                             uint64_t now_ns);

/* Forget everything, when the geometry changes. */
void window_clear(const struct breaker *breaker);
