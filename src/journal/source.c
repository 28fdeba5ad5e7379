#include "journal/source.h"

#include "base/uuid.h"
#include "journal/journal.h"

void source_init(struct source *source, const struct os_clock *clock, const struct os_random *random)
{
    source->clock = clock ? clock : os_clock_real();
    source->random = random ? random : os_random_real();
    source->time_last_us = 0;
}

/* What the clock says, as far as it is believed. */
static int64_t read_clock(struct source *source)
{
    int64_t now = source->clock->realtime_us(source->clock);
    uint64_t now_ns = source->clock->monotonic_ns(source->clock);
    int64_t expected = source->read_us + (int64_t)((now_ns - source->read_ns) / 1000);
    bool leap = source->step_max_us > 0 && source->read_us != 0 && now - expected > source->step_max_us;
    if (leap && source->doubt_ns == 0)
        source->doubt_ns = now_ns;
    if (leap && now_ns - source->doubt_ns >= JOURNAL_CLOCK_DOUBT_S * OS_NS_PER_SECOND)
        leap = false;
    atomic_store(&source->leap_us, leap ? now - expected : 0);
    if (leap)
        now = expected;
    else
        source->doubt_ns = 0;
    source->read_us = now;
    source->read_ns = now_ns;
    return now;
}

void source_correct(struct source *source)
{
    source->time_last_us = read_clock(source);
}

int64_t source_time(struct source *source)
{
    int64_t now = read_clock(source);
    atomic_store(&source->behind_us, now < source->time_last_us ? source->time_last_us - now : 0);
    if (now > source->time_last_us)
        source->time_last_us = now;
    return source->time_last_us;
}

int source_id(struct source *source, int64_t time_us, uint8_t ret_id[16])
{
    uint8_t random[10];
    int r = source->random->fill(source->random, random, sizeof(random));
    if (r < 0)
        return r;
    struct uuid id = uuid_v7((uint64_t)(time_us / 1000), random);
    memcpy(ret_id, id.data, sizeof(id.data));
    return 0;
}
