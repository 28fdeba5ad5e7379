#pragma once

/* What time it is. A table, so that a test can say (test/lib/fake_clock.h). */

#include <stdint.h>

#define OS_NS_PER_MS     UINT64_C(1000000)
#define OS_NS_PER_SECOND UINT64_C(1000000000)

struct os_clock {
    /* Microseconds since 1970, UTC; may jump. */
    int64_t (*realtime_us)(const struct os_clock *clock);
    /* Nanoseconds since some moment; never goes back. For measuring and for deadlines. */
    uint64_t (*monotonic_ns)(const struct os_clock *clock);
};

/* The machine's own clock. */
const struct os_clock *os_clock_real(void);

int64_t os_realtime_us(void);
uint64_t os_monotonic_ns(void);

static inline uint64_t os_monotonic_ms(void)
{
    return os_monotonic_ns() / OS_NS_PER_MS;
}
