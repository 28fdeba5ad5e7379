#include "journal/times.h"

#include <assert.h>
#include <stdlib.h>

#include "base/vector.h"

int times_add(struct times *times, uint64_t position, int64_t time_us)
{
    if (times_sample_from(position) != position)
        return 0;
    if (times->count == 0)
        times->first = position;
    assert((position - times->first) / TIMES_STEP == times->count);
    int r = vector_reserve(&times->samples, &times->capacity, times->count + 1);
    if (r == 0)
        times->samples[times->count++] = time_us;
    return r;
}

uint64_t times_find(const struct times *times, int64_t time_us)
{
    size_t low = 0, high = times->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (times->samples[middle] <= time_us)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? 0 : times->first + (uint64_t)(low - 1) * TIMES_STEP;
}

void times_deinit(struct times *times)
{
    free(times->samples);
    *times = (struct times){0};
}
