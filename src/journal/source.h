/* source: the journal's clock, which never goes back (J6), and its ids. Belongs to the writer.
 *
 * A clock that leaps forward while the journal is open is not believed at once: for JOURNAL_CLOCK_DOUBT_S events are stamped as if it
 * had gone on, by the monotonic clock. If it still says so then, it is right (a machine that slept). A clock that was ahead
 * all along cannot be told from a right one; when it is put right, the last event is in its future until a
 * correction (journal_correct_clock()). */
#pragma once

#include <stdatomic.h>

#include "base/bytes.h"
#include "os/clock.h"
#include "os/random.h"

struct source {
    const struct os_clock *clock;
    const struct os_random *random;
    int64_t time_last_us; /* of the last event */
    int64_t step_max_us;  /* the largest leap that is believed at once; 0: any */
    int64_t read_us;      /* what the clock was believed to say last, and at which moment; 0: it was not asked yet */
    uint64_t read_ns, doubt_ns; /* doubt_ns: since when it is doubted, 0: it is not */
    _Atomic int64_t leap_us;    /* how far it is ahead of what is believed */
    _Atomic int64_t behind_us;  /* how far it was behind the last event, when it was last asked */
};

/* NULL: the real ones. */
void source_init(struct source *source, const struct os_clock *clock, const struct os_random *random);

/* max(clock, time of the event before), microseconds since 1970. */
int64_t source_time(struct source *source);
/* From now on times follow the clock again, also if that is back. */
void source_correct(struct source *source);

/* A UUIDv7 of a time. 0 or -errno: no randomness. */
_must_check_ int source_id(struct source *source, int64_t time_us, uint8_t ret_id[16]);
