/* scheduler: threads, locks, time and chance from one seed.
 *
 * It stands in for src/os/thread.c, clock.c and random.c: a program that links it instead of them runs the very code of
 * log and journal, but on one thread at a time, and each time a lock is taken or let go, a condition is waited for or a
 * call of the disk is made, a die decides who goes on. Time is a number: it moves a little with every step, and when all
 * threads wait it jumps to the first deadline. When all wait and there is no deadline, that is a deadlock, and is told.
 *
 * The same seed gives the same run, step for step: scheduler_end() answers a hash of all of them to prove it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* The calling thread becomes the first one of a new world. `verbose`: scheduler_note() prints. */
void scheduler_begin(uint64_t seed, bool verbose);
/* All threads but the calling one have ended. The hash of every step taken. */
uint64_t scheduler_end(void);

/* A number below `sides`; the world's only source of chance. */
uint32_t scheduler_dice(uint32_t sides);
/* True once in `n`. */
static inline bool scheduler_chance(uint32_t n)
{
    return scheduler_dice(n) == 0;
}

/* A step of the calling thread that takes so long; another may be given its turn. */
void scheduler_step(uint64_t ns);
/* The calling thread does nothing for a while. */
void scheduler_sleep(uint64_t ns);
/* The wall clock is set, by so many microseconds, forwards or backwards. */
void scheduler_shift_clock(int64_t us);

/* Put something that happened into the hash. */
void scheduler_trace(uint64_t value);
/* Likewise, and print it with time and thread when verbose. */
_printf_(1, 2) void scheduler_note(const char *format, ...);
/* A promise is broken: say so, with the seed that shows it again, and end the process with status 1. */
_printf_(1, 2) _Noreturn void scheduler_fail(const char *format, ...);
