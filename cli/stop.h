/* stop: SIGTERM, SIGINT and SIGHUP as a request, for subcommands that have something to bring to an end first.
 *
 * After stop_catch() the first of them only notes that the end is asked for; whoever waits does so with stop_fd() beside
 * and whoever works looks at stop_asked() between two pieces of work. The second one asks for haste: stop_hurried(); what the
 * subcommand runs for somebody (stop_guard()) is killed by it. The third one ends the program as if nothing had been caught. A
 * signal that was ignored when the program began stays ignored.
 *
 * One thread; the handlers restart what they interrupt, but for waits.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* 0 or -errno. */
int stop_catch(void);

bool stop_asked(void);
bool stop_hurried(void);

/* Readable from the first signal on; -1 before stop_catch(). */
int stop_fd(void);

/* Wait up to `ms`, or for the next signal. */
void stop_wait_ms(unsigned ms);

/* The process group that the second signal kills; 0: none. */
void stop_guard(pid_t group);
