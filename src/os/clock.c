#include "os/clock.h"

#include <assert.h>
#include <time.h>

static struct timespec now(clockid_t id)
{
    struct timespec time;
    int r = clock_gettime(id, &time);

    assert(r == 0); /* it fails only for a clock that does not exist */
    return time;
}

int64_t os_realtime_us(void)
{
    struct timespec time = now(CLOCK_REALTIME);

    return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

uint64_t os_monotonic_ns(void)
{
    struct timespec time = now(CLOCK_MONOTONIC);

    return (uint64_t)time.tv_sec * OS_NS_PER_SECOND + (uint64_t)time.tv_nsec;
}

static int64_t real_realtime_us(const struct os_clock *clock)
{
    return os_realtime_us();
}

static uint64_t real_monotonic_ns(const struct os_clock *clock)
{
    return os_monotonic_ns();
}

const struct os_clock *os_clock_real(void)
{
    static const struct os_clock clock = {.realtime_us = real_realtime_us, .monotonic_ns = real_monotonic_ns};

    return &clock;
}
