/* The last 64 transitions of a breaker, or four of one made by key. Not installed.
 *
 * The epoch is the number of an event, so there is no head to advance: epoch e lies in record e mod their number. A
 * record is valid when its check mixes all its other words; one that is being written, or that two writers so many
 * transitions apart have torn, is not and is left out.
 */
#pragma once

#include "window.h"

/* What a user calls the state: a mode other than auto overrules the machine. */
unsigned state_visible(uint64_t state);

void event_write(const struct breaker *breaker, uint64_t from, uint64_t to, const struct window_sum *numbers,
                 uint32_t streak, uint64_t open_ns, uint64_t now_ns);
