/* fake_clock: a clock that stands still until the test moves it. */
#pragma once

#include <stdatomic.h>

#include "os/clock.h"

struct fake_clock {
    struct os_clock clock; /* first: hand out &fake.clock */
    _Atomic int64_t realtime_us;
    _Atomic uint64_t monotonic_ns;
};

static inline int64_t fake_clock_realtime_us(const struct os_clock *clock)
{
    return atomic_load(&((struct fake_clock *)clock)->realtime_us);
}

static inline uint64_t fake_clock_monotonic_ns(const struct os_clock *clock)
{
    return atomic_load(&((struct fake_clock *)clock)->monotonic_ns);
}

static inline void fake_clock_init(struct fake_clock *fake, int64_t realtime_us)
{
    *fake = (struct fake_clock){
        .clock = {.realtime_us = fake_clock_realtime_us, .monotonic_ns = fake_clock_monotonic_ns},
        .realtime_us = realtime_us,
        .monotonic_ns = OS_NS_PER_SECOND,
    };
}

/* Both clocks go on. */
static inline void fake_clock_advance(struct fake_clock *fake, uint64_t ms)
{
    atomic_fetch_add(&fake->realtime_us, (int64_t)ms * 1000);
    atomic_fetch_add(&fake->monotonic_ns, ms * OS_NS_PER_MS);
}
