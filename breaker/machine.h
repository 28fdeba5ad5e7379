/* The state machine: one word, changed by compare-and-swap only. Not installed.
 *
 * Who wins the swap has made the transition (B3) and then writes its time, the end of an open time, and the
 * event. It may be killed before: the times carry the epoch, and whoever needs one that is missing computes
 * and publishes it; the first to publish wins, so all agree. A missing event stays missing.
 */
#pragma once

#include "window.h"

/* The caller's time, or the latest anyone has seen if that is later. */
static inline uint64_t machine_clock(struct slot *slot, uint64_t now_ns)
{
    uint64_t seen = word_load(&slot->clock_ns);
    while (now_ns > seen && now_ns - seen >= CLOCK_STEP_NS && !word_swap(&slot->clock_ns, &seen, now_ns))
        ;
    return now_ns > seen ? now_ns : seen;
}

/* The same for who only looks: is not remembered as seen. */
static inline uint64_t machine_peek(const struct slot *slot, uint64_t now_ns)
{
    uint64_t seen = word_load(&slot->clock_ns);
    return now_ns > seen ? now_ns : seen;
}

/* Make the transition away from `from` (the word that was judged). False: someone else was first. */
bool machine_move(const struct breaker *breaker, const struct rules *rules, uint64_t from, unsigned machine,
                  unsigned reason, const struct window_sum *numbers, uint64_t now_ns);

/* The same with all of the new state given: orders. */
bool machine_set(const struct breaker *breaker, const struct rules *rules, uint64_t from, uint64_t to,
                 const struct window_sum *numbers, uint64_t now_ns);

/* When this state began, and when this open state ends. Publish it if that is still missing. */
uint64_t machine_since(struct slot *slot, uint64_t state, uint64_t now_ns);
uint64_t machine_until(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                       uint64_t now_ns);

/* An upstream asked to be left alone until then. */
void machine_hint(struct slot *slot, const struct rules *rules, uint64_t state, uint64_t retry_after_ns,
                  uint64_t now_ns);

/* The fewest of n samples that reach a rate. */
static inline uint64_t rate_reached_at(uint64_t rate, uint64_t n)
{
    return (rate * n + RATE_WHOLE - 1) / RATE_WHOLE;
}

/* Does any rule judge failures? Where none does, a failure is no bad sample. */
static inline bool failures_are_judged(const struct rules *rules)
{
    return word_load(&rules->failure_rate) || word_load(&rules->consecutive);
}

/* Count one more in a word tagged with the epoch; returns the new count. */
uint32_t epoch_add(word *counter, uint32_t epoch);

/* Judge what the window holds, after a failure or slow sample (streak: failures in a row, 0 unknown). True:
 * tripped. */
bool machine_judge(const struct breaker *breaker, const struct rules *rules, uint64_t state, uint32_t streak,
                   uint64_t now_ns);

/* ---- probes ---- */

enum probe_state { PROBE_FREE, PROBE_OUT, PROBE_OK, PROBE_FAILED };

#define PROBE_WAS_SLOW 1u /* in place of the lease's end, once it has ended */

/* A probe's word: epoch 32 | state 2 | lease end, in ms after the epoch began, 30. */
static inline uint64_t probe_pack(uint32_t epoch, unsigned state, uint64_t end_ms)
{
    return (uint64_t)epoch << 32 | (uint64_t)(state & 3) << 30 | (end_ms < 0x3fffffff ? end_ms : 0x3fffffff);
}

static inline unsigned probe_state(uint64_t probe, uint32_t epoch)
{
    return probe >> 32 == epoch ? probe >> 30 & 3 : PROBE_FREE;
}

static inline uint64_t probe_end_ms(uint64_t probe)
{
    return probe & 0x3fffffff;
}

struct probe_count {
    uint32_t out, ok, failed;
    uint32_t slow; /* of ok and failed */
    uint64_t next_end_ns; /* when the first lease ends */
};

/* Count the probes of this half-open epoch; one whose lease has ended is a failed one (B4). Only looks. */
struct probe_count probes_count(const struct breaker *breaker, const struct rules *rules, uint64_t state,
                                uint64_t now_ns);

/* Close or open again if the verdict is certain. True: the state has changed. */
bool probes_judge(const struct breaker *breaker, const struct rules *rules, uint64_t state, uint64_t now_ns);

/* Take a probe; 0 when none is free, else its word, and *ret_number. */
uint64_t probe_take(const struct breaker *breaker, const struct rules *rules, uint64_t state, uint64_t now_ns,
                    uint8_t *ret_number);

/* ---- ramp ---- */

/* Percent of calls that pass now, 10 … 100; *ret_is_done when nothing more is to prove. */
uint32_t ramp_share(const struct rules *rules, uint32_t successes, uint64_t elapsed_ns, bool *ret_is_done);

/* Of each ten calls the share passes, spread over them. Where they begin goes by the golden ratio from ten to ten, which no
 * period divides: calls that come in turn (a read, a write, a read …) all get through. */
static inline bool ramp_passes(uint64_t turn, uint32_t share)
{
    uint64_t first = turn / 10 * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    return (turn + first) % 10 * share % 100 < share;
}
