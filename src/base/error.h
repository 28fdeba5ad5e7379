#pragma once

/*
 * How a function says how it went, everywhere in daybook.
 *
 *   0    done
 *   > 0  an *answer*, named MODULE_E_* in the module's header: something a correct program meets and its direct
 *        caller is expected to handle (no such stream, a lost race, malformed input). An answer is never passed
 *        up as it is: two modules may use the same number.
 *   < 0  a *failure*, -errno: the world did not keep its part (memory, disk, network). It is passed up untouched
 *        until somebody turns it into a decision, and logs it, once.
 *
 * Outputs are the last arguments, are named ret_…, and are untouched unless the function returned 0.
 */

#include <errno.h>

/* The caller must look at what this function returns. */
#define _must_check_ __attribute__((warn_unused_result))

/* A function that takes a format like printf: which argument is the format, which the first value. */
#define _printf_(format_index, first) __attribute__((format(printf, format_index, first)))

/* The failure that errno stands for, right after a call that set it; never 0. */
static inline int error_from_errno(void)
{
    return errno > 0 ? -errno : -EIO;
}

/* Keeps the first of two outcomes: what went wrong first is what is reported. */
static inline int error_first(int first, int second)
{
    return first != 0 ? first : second;
}
