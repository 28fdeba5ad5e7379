#pragma once

/*
 * The smallest application with something to decide: counters that never go below zero.
 *
 *   Add {counter, by}         CounterChanged {by}; refused below-zero {value}; by 0: nothing to do
 *   Move {from, to, by}       one CounterChanged on each, all or none
 *   Break {counter, how}      decide() does what an application must not: `how` says what
 *   Grow {counter, size}      CounterGrown: evolve() asks for a state of that many bytes
 *   Tags {how}                tags() does what an application must not
 */

#include <daybook/app.h>

int counter_app(const struct daybook_host *host, struct daybook_app *ret_app);

/* How often decide() has run, in all threads: to see that a replay does not. */
unsigned counter_app_decide_count(void);
