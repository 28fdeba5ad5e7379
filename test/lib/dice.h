#pragma once

/* dice: numbers that look random and are the same for the same seed, so that a failing test fails again. */

#include <stdint.h>

static uint64_t dice_state = 1;

static inline void dice_seed(uint64_t seed)
{
    dice_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

/* A number below `sides` (xorshift64*, Vigna 2016). */
static inline uint32_t dice(uint32_t sides)
{
    dice_state ^= dice_state >> 12;
    dice_state ^= dice_state << 25;
    dice_state ^= dice_state >> 27;
    return (uint32_t)((dice_state * UINT64_C(0x2545f4914f6cdd1d)) >> 33) % sides;
}
