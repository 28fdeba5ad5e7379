#pragma once

/*
 * Arithmetic on sizes and positions that cannot wrap silently. Each returns true when the result fits and has
 * been stored; on false *ret is untouched.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHECKED_DEFINE(NAME, TYPE, BUILTIN)                                                                  \
    static inline bool NAME(TYPE a, TYPE b, TYPE *ret)                                                       \
    {                                                                                                        \
        TYPE result;                                                                                         \
        if (BUILTIN(a, b, &result))                                                                          \
            return false;                                                                                    \
        *ret = result;                                                                                       \
        return true;                                                                                         \
    }

CHECKED_DEFINE(checked_add_size, size_t, __builtin_add_overflow)
CHECKED_DEFINE(checked_mul_size, size_t, __builtin_mul_overflow)
CHECKED_DEFINE(checked_add_u64, uint64_t, __builtin_add_overflow)
CHECKED_DEFINE(checked_sub_u64, uint64_t, __builtin_sub_overflow)
CHECKED_DEFINE(checked_mul_u64, uint64_t, __builtin_mul_overflow)
CHECKED_DEFINE(checked_add_i64, int64_t, __builtin_add_overflow)
CHECKED_DEFINE(checked_sub_i64, int64_t, __builtin_sub_overflow)
CHECKED_DEFINE(checked_mul_i64, int64_t, __builtin_mul_overflow)

#undef CHECKED_DEFINE
