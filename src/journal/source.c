#include "journal/source.h"

#include "base/uuid.h"

void source_init(struct source *source, const struct os_clock *clock, const struct os_random *random)
{
    source->clock = clock ? clock : os_clock_real();
    source->random = random ? random : os_random_real();
    source->time_last_us = 0;
}

int64_t source_time(struct source *source)
{
    int64_t now = source->clock->realtime_us(source->clock);
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
