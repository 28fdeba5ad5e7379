/* Small things the kit's parts share: plain words of the caller's structs, used atomically. Not installed. */
#pragma once

#include "layout.h"

static inline uint64_t plain_load(const uint64_t *from)
{
    return __atomic_load_n(from, __ATOMIC_ACQUIRE);
}

static inline void plain_store(uint64_t *to, uint64_t value)
{
    __atomic_store_n(to, value, __ATOMIC_RELEASE);
}

static inline bool plain_swap(uint64_t *to, uint64_t *expected, uint64_t value)
{
    return __atomic_compare_exchange_n(to, expected, value, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* The next number of a sequence that all threads draw from: a counter, mixed. */
static inline uint64_t random_next(uint64_t *counter)
{
    return mix64(__atomic_add_fetch(counter, UINT64_C(0x9e3779b97f4a7c15), __ATOMIC_RELAXED));
}
