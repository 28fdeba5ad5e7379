/* What acquire and report share. Not installed. */
#pragma once

#include "machine.h"

enum permit_kind {
    PERMIT_SPENT,
    PERMIT_NORMAL,    /* enters the window */
    PERMIT_PROBE,     /* decides a half-open epoch */
    PERMIT_COUNTED,   /* forced closed: totals only */
    PERMIT_SHADOW,    /* would have been refused: totals only */
    PERMIT_UNTRACKED, /* no breaker */
};

/* Above them, six bits of the geometry the start was counted in: the start is gone when the geometry changed. */
enum permit_flags { PERMIT_PLACE = 1, PERMIT_STARTED = 2, PERMIT_GEOMETRY = 4 };

static inline uint8_t permit_started_in(const struct rules *rules)
{
    return (uint8_t)(PERMIT_STARTED | word_load(&rules->geometry) * PERMIT_GEOMETRY);
}

static inline bool permit_has_start(const struct breaker_permit *permit, const struct rules *rules)
{
    return (permit->flags & ~PERMIT_PLACE) == permit_started_in(rules);
}

/* Threads are numbered from 1 in the order in which they first call; 0: not yet. */
extern _Thread_local uint32_t thread_number __attribute__((tls_model("initial-exec"), visibility("hidden")));
uint32_t thread_number_make(void);

/* The shard this thread counts in: threads are spread over the lanes of their process. */
static inline uint32_t lane_of(const struct breaker_region *region)
{
    if (region->lanes <= 1)
        return region->lane[0];
    uint32_t number = thread_number;
    return region->lane[(__builtin_expect(number == 0, 0) ? thread_number_make() : number) % region->lanes];
}

/* Was this keyed breaker evicted since it was looked up? */
static inline bool breaker_is_gone(const struct breaker *breaker)
{
    return breaker->id && word_load(&((struct slot *)breaker->slot)->identity) != breaker->id;
}

/* A place in flight: taken from max_in_flight, given back to the shard it was taken in. */
bool place_take(const struct breaker *breaker, const struct rules *rules, uint32_t shard, uint64_t now_ns);
void place_give(const struct breaker *breaker, uint32_t shard);
