/* times: from a time to a position, without reading the journal twice over.
 *
 * Event times never go back (J6), so the time of every TIMES_STEP-th event tells between which two to look. {0} is a valid
 * empty table. The caller's lock guards it.
 */
#pragma once

#include "base/bytes.h"

enum { TIMES_STEP = 256 };

struct times {
    uint64_t first;   /* position of the first sample */
    int64_t *samples; /* of positions first, first + TIMES_STEP, first + 2 * TIMES_STEP, … */
    size_t count, capacity;
};

/* The first sampled position that is not below `position`: samples are those of 1, 1 + TIMES_STEP, … */
static inline uint64_t times_sample_from(uint64_t position)
{
    return (position - 1 + TIMES_STEP - 1) / TIMES_STEP * TIMES_STEP + 1;
}

/* Positions come in order. 0 or -ENOMEM. */
_must_check_ int times_add(struct times *times, uint64_t position, int64_t time_us);

/* The highest sampled position whose time is not later than `time_us`; 0: none. */
uint64_t times_find(const struct times *times, int64_t time_us);

void times_deinit(struct times *times);
