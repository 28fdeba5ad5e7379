/* source: the journal's clock, which never goes back (J6), and its ids. Belongs to the writer. */
#pragma once

#include "base/bytes.h"
#include "os/clock.h"
#include "os/random.h"

struct source {
    const struct os_clock *clock;
    const struct os_random *random;
    int64_t time_last_us; /* of the last event */
};

/* NULL: the real ones. */
void source_init(struct source *source, const struct os_clock *clock, const struct os_random *random);

/* max(clock, time of the event before), microseconds since 1970. */
int64_t source_time(struct source *source);

/* A UUIDv7 of a time. 0 or -errno: no randomness. */
_must_check_ int source_id(struct source *source, int64_t time_us, uint8_t ret_id[16]);
