/* See chaos() in layout.h. Linked to the race tests only. */
#include <sched.h>

#include "layout.h"

#define ONE_IN 8

void chaos(void)
{
    static _Thread_local uint64_t state;
    if (state == 0)
        state = breaker_clock() ^ (uint64_t)(uintptr_t)&state;
    state = mix64(state + UINT64_C(0x9e3779b97f4a7c15));
    if (state % ONE_IN == 0)
        sched_yield();
}
