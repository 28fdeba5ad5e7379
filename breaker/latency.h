/* How long calls took, and what happened lately: counts that only grow, lock-free like everything else. Not installed.
 *
 * A bucket is a quarter of an octave: the time is cut in units of 31.25 µs, and each doubling in four, so what is
 * read back is at most an eighth off. Every fourth bound is 125 µs times a power of two, which are the bounds that
 * metrics show, and the only ones of a breaker made by key. Two rows of buckets for each shard only grow: calls that were
 * ok, whose count is this row's sum, so that a call costs no further addition, and the others.
 *
 * What happened lately is the difference to older sums. The first report or refusal in each quarter of a window writes
 * them down – a mark – before it counts itself. From the oldest mark that still lies in the window to now it is three
 * quarters of a window at least and one at most. Changes of state do not touch it, so it tells of the calls that tripped
 * a breaker when the window that is judged is empty again. A mark whose writer was killed in the middle is left out, and
 * the next one serves.
 */
#pragma once

#include "window.h"

#define LATENCY_WINDOW_NS UINT64_C(10000000000) /* for a window that counts calls */

/* (0, 1], (1, 2] … units; took_ns 0 is in the first one. */
static inline uint32_t latency_bucket(uint64_t took_ns)
{
    uint64_t units = (took_ns - (took_ns > 0)) / LATENCY_UNIT_NS;
    if (units < 4)
        return (uint32_t)units;
    uint32_t octave = 63 - (uint32_t)__builtin_clzll(units);
    uint32_t bucket = (octave - 1) * 4 + (uint32_t)(units >> (octave - 2) & 3);
    return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

/* The longest time of a bucket; the last one has none and tells its shortest. */
uint64_t latency_bound_ns(uint32_t bucket);

void latency_mark(const struct breaker *breaker, const struct rules *rules, uint64_t now_ns);

/* Before anything is counted: is a mark to be written? */
static inline void latency_look(const struct breaker *breaker, uint64_t now_ns)
{
    if (__builtin_expect(now_ns >= word_load(&((struct slot *)breaker->slot)->latency_due_ns), 0))
        latency_mark(breaker, breaker_rules(breaker), now_ns);
}

/* Count a call by how it ended and how long it took. */
static inline void latency_add(const struct breaker *breaker, struct shard *shard, enum total how, uint64_t took_ns)
{
    uint32_t bucket = latency_bucket(took_ns), row = LATENCY_BUCKETS;
    if (breaker_is_keyed(breaker)) {
        bucket /= LATENCY_BUCKETS / KEY_BUCKETS;
        row = KEY_BUCKETS;
    }
    if (how == TOTAL_OK) {
        word_add(&shard->took[bucket], 1);
        return;
    }
    word_add(&shard->took[row + bucket], 1);
    word_add(&shard->total[how], 1);
}

/* Calls that were ok and have a time. */
uint64_t latency_ok_count(const struct breaker *breaker);

struct latency_sum {
    uint64_t count[LATENCY_BUCKETS];
};

/* All calls since the breaker was made. */
void latency_sum(const struct breaker *breaker, struct latency_sum *ret_sum);

/* What is told of the last window. */
void latency_lately(const struct breaker *breaker, const struct rules *rules, uint64_t now_ns,
                    struct breaker_lately *ret_lately);

/* Of all of them together: the middle of each bucket counts. */
uint64_t latency_total_ns(const struct latency_sum *sum);
